//! A follower or an observer: `Learner.java`, `Follower.java`, `Observer.java`.
//!
//! ```text
//! Connecting → Introducing → Promising → Synchronizing → Settling → Ready → Broadcast
//!             FOLLOWERINFO   ACKEPOCH     DIFF|TRUNC|SNAP  NEWLEADER  its ack  UPTODATE
//! ```
//! Between NEWLEADER and its acknowledgement the learner waits for its own disk: history and, where there was one, snapshot
//! first, then the epoch, then the word. Proposals are logged as they come and acknowledged when their flush is done, but
//! not before UPTODATE.

use super::learner_io::{LearnerInput, LearnerOutput};
use super::{Limits, epoch_of, first_of};
use crate::message::{LearnerInfo, QuorumPacket};
use crate::types::{Instant, PutBack, QuorumConfig, ServerId, Zxid};
use std::collections::VecDeque;
use std::sync::Arc;

/// What a server has when it begins to follow.
#[derive(Clone, Debug)]
pub struct LearnerStart {
    pub me: ServerId,
    pub observer: bool,
    /// An observer that has heard of a configuration in which it votes: its promises count already.
    pub votes_next: bool,
    pub limits: Limits,
    /// From the epoch files.
    pub accepted_epoch: i64,
    pub current_epoch: i64,
    /// End of the flushed log, all of it applied: no flush is in flight when a role begins. Unknown where no leader may build
    /// upon what is there: it sends everything.
    pub last_zxid: Zxid,
    /// Version of the committed configuration.
    pub config_version: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Introducing,
    Promising,
    Synchronizing,
    /// NEWLEADER has come; history, snapshot and epoch are on their way to the disk.
    Settling,
    /// NEWLEADER is acknowledged.
    Ready,
    Broadcast,
    Over,
}

#[derive(Debug)]
pub struct Learner {
    start: LearnerStart,
    phase: Phase,
    epoch: i64,
    /// Last proposal appended, or what history ended with.
    appended: Zxid,
    flushed: Zxid,
    /// Appended and not committed, oldest first.
    uncommitted: VecDeque<Zxid>,
    /// Appended and not acknowledged, oldest first.
    unacknowledged: VecDeque<Zxid>,
    /// What the log ended with when NEWLEADER came; proposals behind it are another matter.
    history_ends: Zxid,
    /// Last zxid known to be committed.
    committed: Zxid,
    /// What NEWLEADER named, until UPTODATE.
    named: Option<Arc<QuorumConfig>>,
    /// A snapshot is on its way to the disk.
    saving: bool,
    /// What came behind it. A log must not go on where the snapshot is not durable: after a crash there would be a hole.
    held: Vec<LearnerOutput>,
    /// Before this the leader has to be heard of.
    patience_ends: Instant,
}

impl Learner {
    pub fn new(start: LearnerStart, now: Instant) -> Learner {
        Learner {
            phase: Phase::Connecting,
            epoch: 0,
            appended: start.last_zxid,
            flushed: start.last_zxid,
            uncommitted: VecDeque::new(),
            unacknowledged: VecDeque::new(),
            history_ends: start.last_zxid,
            committed: start.last_zxid,
            named: None,
            saving: false,
            held: Vec::new(),
            patience_ends: now.plus_millis(start.limits.init_ms()),
            start,
        }
    }

    pub fn epoch(&self) -> Option<i64> {
        (self.epoch > 0).then_some(self.epoch)
    }

    pub fn is_serving(&self) -> bool {
        self.phase == Phase::Broadcast
    }

    /// Everything through this zxid is in the log, flushed or not.
    pub fn appended(&self) -> Zxid {
        self.appended
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        (self.phase != Phase::Over).then_some(self.patience_ends)
    }

    pub fn step(&mut self, now: Instant, input: LearnerInput, out: &mut Vec<LearnerOutput>) {
        if self.phase == Phase::Over {
            return;
        }
        match input {
            LearnerInput::Connected => self.introduce(now, out),
            LearnerInput::Packet(packet) => {
                match self.packet(now, packet, out) {
                    Ok(()) => self.be_patient(now),
                    Err(why) => self.end(why, true, out),
                }
                if PutBack::AckBeforeFlush.is_on() {
                    self.acknowledge(out);
                }
            }
            LearnerInput::Lost { why } => self.give_up(why, out),
            LearnerInput::Flushed { through } => {
                self.flushed = through.max(self.flushed);
                self.settle(now, out);
                self.acknowledge(out);
            }
            LearnerInput::SnapshotSaved => {
                self.saving = false;
                out.append(&mut self.held);
                self.settle(now, out);
            }
            LearnerInput::Tick if now >= self.patience_ends => {
                // A disk that is slow to take the history is no silence of the leader's.
                if self.phase == Phase::Settling || self.saving {
                    self.be_patient(now);
                } else {
                    let (limit, ms) = self.patience();
                    self.give_up(format!("the leader was not heard of for {ms} ms ({limit})"), out);
                }
            }
            LearnerInput::Tick => {}
        }
    }

    fn be_patient(&mut self, now: Instant) {
        self.patience_ends = now.plus_millis(self.patience().1);
    }

    /// How long the leader may be silent, in ms, and the setting that says so.
    fn patience(&self) -> (&'static str, u64) {
        let limits = self.start.limits;
        match self.phase {
            Phase::Broadcast => ("syncLimit", limits.sync_ms()),
            // Until UPTODATE the leader waits for others, up to initLimit, and a Java leader says nothing meanwhile.
            _ => ("initLimit", limits.init_ms().max(limits.sync_ms())),
        }
    }

    fn give_up(&mut self, why: String, out: &mut Vec<LearnerOutput>) {
        self.end(why, false, out);
    }

    fn end(&mut self, why: String, is_breach: bool, out: &mut Vec<LearnerOutput>) {
        self.phase = Phase::Over;
        out.push(LearnerOutput::GiveUp { why, is_breach });
    }

    /// What this server has promised already. The fault: what its data are of.
    fn accepted_epoch(&self) -> i64 {
        if PutBack::ReuseEpoch.is_on() { epoch_of(self.start.last_zxid).max(0) } else { self.start.accepted_epoch }
    }

    fn introduce(&mut self, now: Instant, out: &mut Vec<LearnerOutput>) {
        self.phase = Phase::Introducing;
        self.be_patient(now);
        let info = LearnerInfo {
            server: self.start.me,
            protocol_version: LearnerInfo::PROTOCOL_VERSION,
            config_version: self.start.config_version,
            drops_log: true,
        };
        out.push(LearnerOutput::Send(QuorumPacket::LearnerInfo {
            observer: self.start.observer,
            accepted_epoch: self.accepted_epoch(),
            info: Some(info),
        }));
    }

    fn packet(&mut self, now: Instant, packet: QuorumPacket, out: &mut Vec<LearnerOutput>) -> Result<(), String> {
        use Phase::*;
        match (self.phase, packet) {
            (Introducing, QuorumPacket::LeaderInfo { epoch, .. }) => self.promise(epoch, out)?,
            (Promising, QuorumPacket::Diff { .. }) if self.start.last_zxid == Zxid::UNKNOWN => {
                return Err("the leader sent a DIFF, but there is nothing that transactions could follow".to_owned());
            }
            (Promising, QuorumPacket::Diff { .. }) => self.phase = Synchronizing,
            (Promising, QuorumPacket::Trunc { zxid }) => {
                if zxid > self.appended {
                    return Err(format!("the leader wants the log cut at {zxid}, but it ends at {}", self.appended));
                }
                out.push(LearnerOutput::Truncate { to: zxid });
                self.begin_from(zxid);
            }
            (Promising, QuorumPacket::Snap { zxid }) => {
                out.push(LearnerOutput::TakeSnapshot { zxid });
                self.saving = true;
                self.begin_from(zxid);
            }
            (Synchronizing | Settling | Ready | Broadcast, QuorumPacket::Proposal { zxid, entry }) => {
                if !self.start.observer || self.phase != Broadcast {
                    self.append(zxid, entry, out)?;
                }
            }
            (Settling | Ready, QuorumPacket::Commit { zxid }) if PutBack::CommitBeforeUpToDate.is_on() => {
                return Err(format!("the leader committed {zxid} before UPTODATE"));
            }
            (Synchronizing | Settling | Ready | Broadcast, QuorumPacket::Commit { zxid }) => {
                if !self.start.observer || self.phase != Broadcast {
                    self.commit(zxid, out)?;
                }
            }
            (Synchronizing | Settling | Ready | Broadcast, QuorumPacket::CommitAndActivate { zxid, designated }) => {
                self.commit(zxid, out)?;
                self.when_saved(out).push(LearnerOutput::Activate { zxid, designated });
            }
            (Synchronizing | Settling | Ready | Broadcast, QuorumPacket::Inform { zxid, entry }) => {
                self.append(zxid, entry, out)?;
                self.commit(zxid, out)?;
            }
            (
                Synchronizing | Settling | Ready | Broadcast,
                QuorumPacket::InformAndActivate { zxid, designated, entry },
            ) => {
                self.append(zxid, entry, out)?;
                self.commit(zxid, out)?;
                self.when_saved(out).push(LearnerOutput::Activate { zxid, designated });
            }
            (Synchronizing, QuorumPacket::NewLeader { zxid, config }) => {
                if zxid != first_of(self.epoch) {
                    return Err(format!("NEWLEADER names {zxid}, the epoch is {:x}", self.epoch));
                }
                self.take_named(config.as_deref(), out);
                self.phase = Settling;
                self.history_ends = self.appended;
                self.settle(now, out);
            }
            (Ready, QuorumPacket::UpToDate) => {
                self.phase = Broadcast;
                if let Some(config) = self.named.take().filter(|config| !self.is_undecided(config)) {
                    out.push(LearnerOutput::Adopt { config });
                }
                out.push(LearnerOutput::Serve { epoch: self.epoch });
                out.push(LearnerOutput::Send(QuorumPacket::Ack { zxid: first_of(self.epoch) }));
                self.acknowledge(out);
            }
            (Broadcast, QuorumPacket::Ping { zxid, .. }) => out.push(LearnerOutput::Ping { zxid }),
            // Java's leader pings before UPTODATE too, and expects no answer then.
            (_, QuorumPacket::Ping { .. }) => {}
            (Broadcast, QuorumPacket::Sync) => out.push(LearnerOutput::Synced),
            (Broadcast, QuorumPacket::Revalidated { session, valid }) => {
                out.push(LearnerOutput::Revalidated { session, valid });
            }
            (phase, other) => {
                return Err(format!("the leader sent {other:?} in phase {phase:?}"));
            }
        }
        Ok(())
    }

    fn promise(&mut self, epoch: i64, out: &mut Vec<LearnerOutput>) -> Result<(), String> {
        let accepted = self.accepted_epoch();
        // An observer's promise counts for nobody: it need not wait until the voters' epochs have caught up with it.
        let is_free = self.start.observer && !self.start.votes_next;
        let lowest = if is_free { self.start.current_epoch } else { accepted };
        if epoch < lowest {
            // It was elected before this server promised more to another one.
            self.give_up(format!("the leader's epoch {epoch:x} is below the accepted one, {accepted:x}"), out);
            return Ok(());
        }
        let current_epoch = if epoch > accepted {
            out.push(LearnerOutput::PersistAcceptedEpoch { epoch });
            let current = self.start.current_epoch;
            Some(i32::try_from(current).map_err(|_| format!("epoch {current:x} does not fit its packet"))?)
        } else {
            None
        };
        self.epoch = epoch;
        self.phase = Phase::Promising;
        out.push(LearnerOutput::Send(QuorumPacket::AckEpoch { last_zxid: self.start.last_zxid, current_epoch }));
        Ok(())
    }

    /// A text of one byte is none, as in Java.
    fn take_named(&mut self, text: Option<&str>, out: &mut Vec<LearnerOutput>) {
        let Some(text) = text.filter(|text| text.len() > 1) else { return };
        match QuorumConfig::parse(text) {
            Ok(config) => {
                let config = Arc::new(config);
                self.named = Some(config.clone());
                out.push(LearnerOutput::Seen { config });
            }
            Err(why) => out.push(LearnerOutput::Unreadable { why: why.to_string() }),
        }
    }

    /// A Java leader names a reconfiguration of this epoch that it has proposed and not committed; its commit will say when
    /// it is in force. Who takes it to be so before may vote with it, while others decide without.
    fn is_undecided(&self, config: &QuorumConfig) -> bool {
        let version = Zxid(config.version);
        epoch_of(version) == self.epoch && version.counter() > 0 && version > self.committed
    }

    /// The log ends at `zxid` now.
    fn begin_from(&mut self, zxid: Zxid) {
        self.phase = Phase::Synchronizing;
        self.committed = zxid;
        self.appended = zxid;
        self.flushed = zxid;
    }

    fn append(&mut self, zxid: Zxid, entry: Arc<[u8]>, out: &mut Vec<LearnerOutput>) -> Result<(), String> {
        let follows = match epoch_of(zxid) == epoch_of(self.appended) {
            true => zxid.0 == self.appended.0 + 1,
            false => zxid > self.appended && zxid.counter() == 1,
        };
        let passes = follows || PutBack::DiffWithHole.is_on();
        if !passes || epoch_of(zxid) > self.epoch {
            return Err(format!("the leader sent {zxid} behind {}: its history has a hole", self.appended));
        }
        self.appended = zxid;
        self.uncommitted.push_back(zxid);
        if !self.start.observer {
            self.unacknowledged.push_back(zxid);
        }
        self.when_saved(out).push(LearnerOutput::Append { zxid, entry });
        Ok(())
    }

    /// Where outputs go that must not overtake a snapshot on its way to the disk.
    fn when_saved<'a>(&'a mut self, out: &'a mut Vec<LearnerOutput>) -> &'a mut Vec<LearnerOutput> {
        if self.saving { &mut self.held } else { out }
    }

    fn commit(&mut self, zxid: Zxid, out: &mut Vec<LearnerOutput>) -> Result<(), String> {
        match self.uncommitted.pop_front() {
            Some(oldest) if oldest == zxid => {
                if self.phase != Phase::Broadcast {
                    // Part of the history: nobody waits for an acknowledgement of it. Nothing was acknowledged yet, so both
                    // queues begin with the same proposal.
                    self.unacknowledged.pop_front();
                }
                self.committed = zxid;
                self.when_saved(out).push(LearnerOutput::Commit { through: zxid });
                Ok(())
            }
            Some(oldest) => Err(format!("the leader committed {zxid}, but {oldest} comes first")),
            None => Err(format!("the leader committed {zxid}, which it never proposed")),
        }
    }

    /// NEWLEADER is acknowledged once everything it stands for is on disk.
    fn settle(&mut self, now: Instant, out: &mut Vec<LearnerOutput>) {
        if self.phase != Phase::Settling {
            return;
        }
        if PutBack::EpochBeforeHistory.is_on() {
            out.push(LearnerOutput::PersistCurrentEpoch { epoch: self.epoch });
        }
        let saving = self.saving && !PutBack::NewLeaderAckBeforeSnapshotSaved.is_on();
        let flushed = self.flushed >= self.history_ends || PutBack::AckBeforeFlush.is_on();
        if saving || !flushed {
            return;
        }
        out.push(LearnerOutput::PersistCurrentEpoch { epoch: self.epoch });
        out.push(LearnerOutput::Send(QuorumPacket::Ack { zxid: first_of(self.epoch) }));
        self.phase = Phase::Ready;
        self.be_patient(now);
    }

    fn acknowledge(&mut self, out: &mut Vec<LearnerOutput>) {
        while self.phase == Phase::Broadcast
            && let Some(zxid) = self.unacknowledged.front().copied()
            && (zxid <= self.flushed || PutBack::AckBeforeFlush.is_on())
        {
            self.unacknowledged.pop_front();
            out.push(LearnerOutput::Send(QuorumPacket::Ack { zxid }));
        }
    }
}
