//! `Learner` and `Follower`, from the facts sheet §6, §8 and §9: comes to the leader, is brought to its history, and follows.
//! What Java's processes exit or abort over is `Failure::Misled`.

use super::database::Database;
use super::disk::{Cut, Entry, JavaDisk};
use super::outbox::{DATA_BYTES_MAX, Failure, Outbox, host_of};
use super::peer::Ground;
use crate::ensemble::SnapshotLoad;
use crate::message::{LearnerInfo, QuorumPacket};
use crate::sim::options::QUORUM_PORT;
use crate::types::{Instant, LinkId, ServerId, Zxid};
use crate::wire::Decoded;
use crate::wire::quorum::{QuorumDecoder, Side};
use crate::wire::txn;
use crate::zab::Limits;
use std::collections::VecDeque;

/// `connectToLeader`: so many tries, so far apart.
const TRIES_MAX: u32 = 5;
const RETRY_MS: u64 = 100;

enum Phase {
    /// To connect again at this time.
    Retrying(Instant),
    Dialling,
    /// FOLLOWERINFO is sent.
    Registering,
    /// ACKEPOCH is sent: DIFF, TRUNC or SNAP comes.
    Head,
    Snapshot(Box<SnapshotLoad>),
    Synchronizing,
    Following,
}

pub struct Follower {
    pub leader: ServerId,
    pub link: Option<LinkId>,
    tries: u32,
    gives_up_connecting: Instant,
    phase: Phase,
    decoder: QuorumDecoder,
    input: Vec<u8>,
    /// When the socket's read times out.
    silent_after: Instant,
    /// As captured before FOLLOWERINFO.
    last_logged: Zxid,
    epoch: i64,
    needs_snapshot: bool,
    /// `writeToTxnLog`
    logs: bool,
    /// NEWLEADER is acknowledged.
    is_in_epoch: bool,
    last_queued: Zxid,
    /// `packetsNotLogged`, `packetsCommitted`
    not_logged: VecDeque<Entry>,
    committed: VecDeque<Zxid>,
    /// `pendingTxns`: logged, not committed.
    pending: VecDeque<Entry>,
}

impl Follower {
    pub fn begin(leader: ServerId, ground: &mut Ground<'_>) -> Follower {
        let now = ground.now.mono;
        let mut follower = Follower {
            leader,
            link: None,
            tries: 0,
            gives_up_connecting: now.plus_millis(ground.rules.limits.init_ms()),
            phase: Phase::Dialling,
            decoder: QuorumDecoder::new(Side::Leader, DATA_BYTES_MAX),
            input: Vec::new(),
            silent_after: now,
            last_logged: Zxid::ZERO,
            epoch: 0,
            needs_snapshot: true,
            logs: false,
            is_in_epoch: false,
            last_queued: Zxid::ZERO,
            not_logged: VecDeque::new(),
            committed: VecDeque::new(),
            pending: VecDeque::new(),
        };
        follower.dial(ground);
        follower
    }

    fn dial(&mut self, ground: &mut Ground<'_>) {
        let left_us = self.gives_up_connecting.micros_since(ground.now.mono);
        self.link = Some(ground.out.dial(&host_of(self.leader), QUORUM_PORT, (left_us / 1000).max(1)));
        self.phase = Phase::Dialling;
    }

    pub fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Retrying(at) => at,
            // The dial ends by itself.
            Phase::Dialling => self.gives_up_connecting.plus_millis(1000),
            _ => self.silent_after,
        }
    }

    /// The epoch that it serves in.
    pub fn serves(&self) -> Option<i64> {
        matches!(self.phase, Phase::Following).then_some(self.epoch)
    }

    pub fn time_passes(&mut self, ground: &mut Ground<'_>) -> Result<(), Failure> {
        let now = ground.now.mono;
        match self.phase {
            Phase::Retrying(at) if at <= now => self.dial(ground),
            Phase::Retrying(_) | Phase::Dialling => {}
            _ if self.silent_after <= now => return Failure::gives_up("the leader is silent"),
            _ => {}
        }
        Ok(())
    }

    /// The socket is gone, or the dial failed.
    pub fn closed(&mut self, ground: &Ground<'_>) -> Result<(), Failure> {
        let now = ground.now.mono;
        self.link = None;
        self.tries += 1;
        let is_late = self.gives_up_connecting.micros_since(now) <= RETRY_MS * 1000;
        if !matches!(self.phase, Phase::Dialling) || self.tries >= TRIES_MAX || is_late {
            return Failure::gives_up("no connection to the leader");
        }
        self.phase = Phase::Retrying(now.plus_millis(RETRY_MS));
        Ok(())
    }

    pub fn opened(&mut self, ground: &mut Ground<'_>) {
        self.phase = Phase::Registering;
        self.last_logged = ground.database.last_processed;
        let info = LearnerInfo {
            server: ground.rules.me,
            protocol_version: LearnerInfo::PROTOCOL_VERSION,
            config_version: ground.rules.config.version,
            drops_log: false,
        };
        let accepted_epoch = ground.disk.accepted_epoch();
        self.heard(&ground.rules.limits, ground.now.mono);
        self.say(&QuorumPacket::LearnerInfo { observer: false, accepted_epoch, info: Some(info) }, ground.out);
    }

    fn say(&self, packet: &QuorumPacket, out: &mut Outbox) {
        if let Some(link) = self.link {
            out.packet(link, packet, Side::Learner);
        }
    }

    fn heard(&mut self, limits: &Limits, now: Instant) {
        self.silent_after = now.plus_millis(if self.is_in_epoch { limits.sync_ms() } else { limits.init_ms() });
    }

    pub fn received(&mut self, bytes: &[u8], ground: &mut Ground<'_>) -> Result<(), Failure> {
        self.heard(&ground.rules.limits, ground.now.mono);
        self.input.extend_from_slice(bytes);
        loop {
            if let Phase::Snapshot(load) = &mut self.phase {
                let input = std::mem::take(&mut self.input);
                let pushed = load.push(&input, &mut ground.database.tree);
                let (consumed, is_whole) = pushed.map_err(Failure::Misled)?;
                if !is_whole {
                    return Ok(());
                }
                let zxid = load.zxid();
                self.input = input[consumed..].to_vec();
                ground.database.begin_at(zxid);
                self.phase = Phase::Synchronizing;
            }
            match self.decoder.next(&self.input) {
                Ok(Decoded::Whole { value, consumed }) => {
                    self.input.drain(..consumed);
                    self.packet(value, ground)?;
                }
                Ok(Decoded::NeedMore { .. }) => return Ok(()),
                Err(error) => return Failure::misled(format!("an unreadable packet: {error}")),
            }
        }
    }

    fn packet(&mut self, packet: QuorumPacket, ground: &mut Ground<'_>) -> Result<(), Failure> {
        match self.phase {
            Phase::Registering => self.registered(packet, ground),
            Phase::Head => self.head(&packet, ground),
            Phase::Synchronizing => self.synchronize(packet, ground),
            Phase::Following => self.follow(packet, ground),
            Phase::Snapshot(_) | Phase::Retrying(_) | Phase::Dialling => {
                Failure::misled(format!("{packet:?} before anything was asked"))
            }
        }
    }

    /// `registerWithLeader`
    fn registered(&mut self, packet: QuorumPacket, ground: &mut Ground<'_>) -> Result<(), Failure> {
        let QuorumPacket::LeaderInfo { epoch, .. } = packet else {
            return Failure::misled(format!("{packet:?} where LEADERINFO was due"));
        };
        let accepted = ground.disk.accepted_epoch();
        if epoch < accepted {
            return Failure::gives_up(format!("epoch {epoch:x} is less than the accepted {accepted:x}"));
        }
        let current_epoch = (epoch > accepted).then_some(ground.disk.current_epoch() as i32);
        ground.disk.accept_epoch(epoch);
        self.epoch = epoch;
        self.phase = Phase::Head;
        self.say(&QuorumPacket::AckEpoch { last_zxid: self.last_logged, current_epoch }, ground.out);
        Ok(())
    }

    /// First packet of `syncWithLeader`.
    fn head(&mut self, packet: &QuorumPacket, ground: &mut Ground<'_>) -> Result<(), Failure> {
        self.phase = Phase::Synchronizing;
        match *packet {
            QuorumPacket::Diff { .. } => (self.needs_snapshot, self.logs) = (false, true),
            QuorumPacket::Snap { zxid } => {
                let load = SnapshotLoad::begin(zxid, &ground.database.rules, DATA_BYTES_MAX);
                self.phase = Phase::Snapshot(Box::new(load));
            }
            QuorumPacket::Trunc { zxid } => {
                let is_of_java = ground.rules.java.contains(&self.leader);
                match ground.database.cut_behind(zxid, ground.disk) {
                    Cut::Done => {}
                    // Java cuts behind the wrong entry here, whoever its leader is; the model does what is meant.
                    Cut::Covered => ground.database.forget_above(zxid, ground.disk),
                    Cut::NotHeld if is_of_java => ground.database.forget_above(zxid, ground.disk),
                    Cut::NotHeld => {
                        return Failure::misled(format!("exits with code 13: its log does not hold {zxid} to cut at"));
                    }
                }
            }
            _ => return Failure::misled(format!("exits with code 13: {packet:?} where DIFF, TRUNC or SNAP was due")),
        }
        Ok(())
    }

    /// `enforceContinuousProposal`
    fn queue(&mut self, entry: Entry) -> Result<(), Failure> {
        let (zxid, last) = (entry.0, self.last_queued);
        if let Err(error) = txn::decode(&entry.1) {
            return Failure::misled(format!("proposal {zxid} is unreadable: {error}"));
        }
        if last != Zxid::ZERO && zxid != last.next() && zxid.epoch() <= last.epoch() {
            return Failure::misled(format!("aborts: proposal {zxid} comes behind {last} in a synchronization"));
        }
        self.last_queued = zxid;
        self.not_logged.push_back(entry);
        Ok(())
    }

    /// The rest of `syncWithLeader`.
    fn synchronize(&mut self, packet: QuorumPacket, ground: &mut Ground<'_>) -> Result<(), Failure> {
        match packet {
            QuorumPacket::Proposal { zxid, entry } => self.queue((zxid, entry)),
            QuorumPacket::Commit { zxid } => {
                let Some((head, _)) = self.not_logged.front() else {
                    return Failure::misled(format!("aborts: COMMIT of {zxid}, and nothing is proposed"));
                };
                if self.logs {
                    self.committed.push_back(zxid);
                    return Ok(());
                }
                if *head != zxid {
                    return Failure::misled(format!("COMMIT of {zxid} is lost: the next proposal is {head}"));
                }
                let entry = self.not_logged.pop_front().expect("just seen");
                ground.database.commit(entry)
            }
            QuorumPacket::NewLeader { zxid, .. } => self.new_leader(zxid, ground),
            QuorumPacket::UpToDate => self.up_to_date(ground),
            // As in Java, whatever else comes is passed over; a ping is then not answered.
            _ => Ok(()),
        }
    }

    fn new_leader(&mut self, zxid: Zxid, ground: &mut Ground<'_>) -> Result<(), Failure> {
        if self.needs_snapshot {
            let snapshot = ground.database.snapshot();
            if ground.rules.java.contains(&self.leader) {
                // Java leaves it there and reads it back with its next start, committed or not. No leader but one of its kind
                // leads it there: that is between the two.
                ground.disk.forget_above(snapshot.zxid);
            }
            ground.disk.save_snapshot(snapshot);
        }
        self.logs = true;
        while let Some(zxid) = self.committed.pop_front() {
            match self.not_logged.front() {
                Some((head, _)) if *head == zxid => {}
                head => {
                    let head = head.map(|(head, _)| *head);
                    return Failure::misled(format!("COMMIT of {zxid} is lost: the next proposal is {head:?}"));
                }
            }
            let entry = self.not_logged.pop_front().expect("just seen");
            ground.disk.append(entry.clone());
            ground.database.commit(entry)?;
        }
        ground.disk.flush();
        ground.disk.enter_epoch(self.epoch);
        self.is_in_epoch = true;
        self.heard(&ground.rules.limits, ground.now.mono);
        self.say(&QuorumPacket::Ack { zxid }, ground.out);
        Ok(())
    }

    fn up_to_date(&mut self, ground: &mut Ground<'_>) -> Result<(), Failure> {
        if !self.is_in_epoch {
            return Failure::misled("UPTODATE before NEWLEADER");
        }
        self.say(&QuorumPacket::Ack { zxid: Zxid(self.epoch << 32) }, ground.out);
        self.phase = Phase::Following;
        for entry in std::mem::take(&mut self.not_logged) {
            self.log(entry, ground);
        }
        for zxid in std::mem::take(&mut self.committed) {
            self.commit(zxid, ground)?;
        }
        Ok(())
    }

    /// `logRequest`: acknowledged when it is flushed.
    fn log(&mut self, entry: Entry, ground: &mut Ground<'_>) {
        ground.log(entry.clone());
        self.pending.push_back(entry);
    }

    fn commit(&mut self, zxid: Zxid, ground: &mut Ground<'_>) -> Result<(), Failure> {
        match self.pending.front() {
            Some((head, _)) if *head == zxid => {}
            Some((head, _)) => {
                return Failure::misled(format!(
                    "exits with code 12: COMMIT of {zxid}, and {head} is the next proposal"
                ));
            }
            None => return Failure::misled(format!("COMMIT of {zxid} is passed over: nothing is proposed")),
        }
        let entry = self.pending.pop_front().expect("just seen");
        ground.database.commit(entry)
    }

    /// `processPacket`
    fn follow(&mut self, packet: QuorumPacket, ground: &mut Ground<'_>) -> Result<(), Failure> {
        match packet {
            QuorumPacket::Ping { zxid, .. } => {
                self.say(&QuorumPacket::Ping { zxid, touched: Vec::new() }, ground.out);
                Ok(())
            }
            QuorumPacket::Proposal { zxid, entry } => {
                if let Err(error) = txn::decode(&entry) {
                    return Failure::misled(format!("proposal {zxid} is unreadable: {error}"));
                }
                self.log((zxid, entry), ground);
                Ok(())
            }
            QuorumPacket::Commit { zxid } => self.commit(zxid, ground),
            _ => Ok(()),
        }
    }

    /// These are on disk now.
    pub fn flushed(&mut self, zxids: &[Zxid], ground: &mut Ground<'_>) {
        for zxid in zxids {
            self.say(&QuorumPacket::Ack { zxid: *zxid }, ground.out);
        }
    }

    /// `shutdown`: what is logged counts for the next vote.
    pub fn end(self, database: &mut Database, disk: &JavaDisk, out: &mut Outbox) {
        if let Some(link) = self.link {
            out.close(link);
        }
        disk.flush();
        let is_half_done = match self.phase {
            Phase::Snapshot(_) => true,
            Phase::Synchronizing => !self.is_in_epoch && self.needs_snapshot,
            _ => false,
        };
        match is_half_done {
            true => database.reload(disk),
            false => database.fast_forward(disk),
        }
    }
}
