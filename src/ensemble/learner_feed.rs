//! What one learner is sent, as one ordered stream: DIFF, TRUNC or SNAP, the history behind it, NEWLEADER, and from then on
//! every proposal and commit. A feed is a position in the history, not a queue of copies: a slow learner costs nothing but
//! its position, and never holds up another. Where the history in memory no longer reaches, the log files are read.
//!
//! Invariants: proposals leave in order without holes; a commit leaves behind its proposal; SYNC behind the commits it
//! waits for, and before all others: a Java learner takes what its clients asked for, syncs and writes, for done in the order in
//! which it asked, and stops answering them for good where that order is not kept. A learner that cannot be fed from the log
//! either is closed; it comes back and gets a snapshot.

use super::history::History;
use super::log_feed::{LogAccess, LogFeed};
use super::snapshot_feed::SnapshotFeed;
use crate::message::QuorumPacket;
use crate::types::{ServerId, Zxid};
use crate::wire::quorum::{Side, encode, encode_inform, encode_inform_and_activate, encode_proposal};
use crate::zab::SyncPlan;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes that one turn puts behind what a link has not sent yet.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

pub(super) struct Feed {
    pub server: ServerId,
    observer: bool,
    pub begins_with_snapshot: bool,
    /// A snapshot on its way; nothing follows before its last byte.
    snapshot: Option<SnapshotFeed>,
    /// What is read from the log files; nothing newer goes before it.
    log: Option<LogFeed>,
    /// Last proposal sent, or what the learner has.
    sent: Zxid,
    /// Sent as proposals, not as commits.
    uncommitted: VecDeque<Zxid>,
    /// NEWLEADER is owed, with this zxid, once the history through the other is sent.
    new_leader: Option<NewLeader>,
    /// Syncs that were asked for, in order.
    syncs: VecDeque<Sync>,
}

#[derive(Clone, Copy)]
struct NewLeader {
    zxid: Zxid,
    history_ends: Zxid,
}

#[derive(Clone, Copy)]
struct Sync {
    /// It follows this commit; no later one overtakes it.
    after: Zxid,
    /// May be answered.
    is_proven: bool,
}

/// What the leader has to say beside transactions.
pub(super) struct Words<'a> {
    /// The configuration that NEWLEADER names; without one it has to wait.
    pub config: Option<Arc<str>>,
    /// Commits that put a configuration in force, and who leads then.
    pub activations: &'a BTreeMap<Zxid, ServerId>,
}

/// Where the leader stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub committed: Zxid,
    /// Last proposal that learners may be sent.
    pub proposed: Zxid,
    /// The log files are read through here and no farther: behind it may stand anything.
    pub flushed: Zxid,
}

impl Feed {
    /// Begins with the first packet of `plan`. NEWLEADER leaves when everything through `progress.proposed` has left: what is
    /// committed, and for a voter what is not yet.
    pub fn begin(
        server: ServerId,
        observer: bool,
        plan: SyncPlan,
        snapshot: Option<SnapshotFeed>,
        progress: Progress,
        new_leader: Zxid,
        out: &mut Vec<u8>,
    ) -> Feed {
        let (first, sent) = match (plan, &snapshot) {
            (SyncPlan::Diff { head, after } | SyncPlan::DiffFromDisk { head, after }, _) => {
                (QuorumPacket::Diff { zxid: head }, after)
            }
            (SyncPlan::Trunc { to } | SyncPlan::TruncFromDisk { to }, _) => (QuorumPacket::Trunc { zxid: to }, to),
            (SyncPlan::Snap, snapshot) => {
                let snapshot = snapshot.as_ref().expect("a snapshot to send");
                (QuorumPacket::Snap { zxid: snapshot.named() }, snapshot.zxid())
            }
        };
        encode(&first, Side::Leader, out);
        let history_ends = if observer { progress.committed } else { progress.proposed };
        Feed {
            server,
            observer,
            begins_with_snapshot: snapshot.is_some(),
            snapshot,
            log: None,
            sent,
            uncommitted: VecDeque::new(),
            new_leader: Some(NewLeader { zxid: new_leader, history_ends }),
            syncs: VecDeque::new(),
        }
    }

    /// Everything through this has been sent.
    pub fn sent(&self) -> Zxid {
        self.sent
    }

    /// A SYNC packet is owed behind the commit of `after`, the last proposal; not before it is proven that this server leads.
    pub fn sync_asked(&mut self, after: Zxid) {
        self.syncs.push_back(Sync { after, is_proven: false });
    }

    /// The oldest sync that waited for it is proven.
    pub fn sync_proven(&mut self) {
        if let Some(sync) = self.syncs.iter_mut().find(|sync| !sync.is_proven) {
            sync.is_proven = true;
        }
    }

    /// Appends what the learner lacks, as far as there is room. An error says why it cannot be fed any longer.
    pub fn pump(
        &mut self,
        history: &History,
        progress: Progress,
        access: &LogAccess,
        words: &Words<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        if let Some(snapshot) = &mut self.snapshot {
            if !snapshot.pump(out, OUTPUT_BYTES_MAX)? {
                return Ok(());
            }
            self.snapshot = None;
        }
        loop {
            // What comes behind a sync waits with it.
            let committed = self.syncs.front().map_or(progress.committed, |sync| progress.committed.min(sync.after));
            self.pump_through(history, Progress { committed, ..progress }, access, words, out)?;
            let is_due = |sync: &Sync| sync.is_proven && self.has_committed_through(sync.after, history, committed);
            if self.new_leader.is_some() || !self.syncs.front().is_some_and(is_due) {
                return Ok(());
            }
            self.syncs.pop_front();
            encode(&QuorumPacket::Sync, Side::Leader, out);
        }
    }

    fn pump_through(
        &mut self,
        history: &History,
        progress: Progress,
        access: &LogAccess,
        words: &Words<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let may_send = if self.observer { progress.committed } else { progress.proposed };
        self.send_from_log(progress, words, out)?;
        if self.log.is_none() && self.sent < may_send && !history.reaches_back_to(self.sent) {
            // What is not flushed yet will be.
            let through = history.base().min(may_send).min(progress.flushed);
            self.log = (through > self.sent).then(|| LogFeed::begin(access, self.sent, through));
            self.send_from_log(progress, words, out)?;
        }
        if self.log.is_none() && history.reaches_back_to(self.sent) {
            self.send_entries(history, progress, may_send, words, out);
        }
        self.send_commits(progress.committed, words, out);
        if let Some(NewLeader { zxid, history_ends }) = self.new_leader
            && let Some(config) = &words.config
            && (self.sent >= history_ends || history.last() <= self.sent)
        {
            self.new_leader = None;
            encode(&QuorumPacket::NewLeader { zxid, config: Some(config.clone()) }, Side::Leader, out);
        }
        Ok(())
    }

    fn send_from_log(&mut self, progress: Progress, words: &Words<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        while out.len() < OUTPUT_BYTES_MAX
            && let Some(log) = &mut self.log
            && let Some(entry) = log.take()
        {
            self.send_entry(entry.zxid, &entry.bytes, progress, words, out);
        }
        if let Some(log) = &self.log
            && log.is_over()?
        {
            self.sent = self.sent.max(log.through);
            self.log = None;
        }
        Ok(())
    }

    fn send_entries(
        &mut self,
        history: &History,
        progress: Progress,
        may_send: Zxid,
        words: &Words<'_>,
        out: &mut Vec<u8>,
    ) {
        for entry in history.after(self.sent) {
            if entry.zxid > may_send || out.len() >= OUTPUT_BYTES_MAX {
                break;
            }
            self.send_entry(entry.zxid, entry.bytes, progress, words, out);
        }
    }

    fn send_entry(&mut self, zxid: Zxid, entry: &[u8], progress: Progress, words: &Words<'_>, out: &mut Vec<u8>) {
        self.sent = zxid;
        if self.observer && self.new_leader.is_none() {
            return match words.activations.get(&zxid) {
                Some(designated) => encode_inform_and_activate(zxid, *designated, entry, out),
                None => encode_inform(zxid, entry, out),
            };
        }
        encode_proposal(zxid, entry, out);
        self.uncommitted.push_back(zxid);
        // Java's leader sends history pair by pair; and what is committed need not be remembered.
        self.send_commits(progress.committed, words, out);
    }

    /// As long as NEWLEADER is owed it will say which configuration is in force.
    fn send_commits(&mut self, committed: Zxid, words: &Words<'_>, out: &mut Vec<u8>) {
        while let Some(zxid) = self.uncommitted.front().copied().filter(|zxid| *zxid <= committed) {
            self.uncommitted.pop_front();
            let packet = match words.activations.get(&zxid).filter(|_| self.new_leader.is_none()) {
                Some(designated) => QuorumPacket::CommitAndActivate { zxid, designated: *designated },
                None => QuorumPacket::Commit { zxid },
            };
            encode(&packet, Side::Leader, out);
        }
    }

    /// `after` need not be a transaction: an epoch begins with a zxid that is none.
    fn has_committed_through(&self, after: Zxid, history: &History, committed: Zxid) -> bool {
        if self.sent < after && (self.log.is_some() || !history.reaches_back_to(self.sent)) {
            return false;
        }
        let next_unsent = history.after(self.sent).next().map(|entry| entry.zxid);
        let next_uncommitted = self.uncommitted.front().copied();
        committed >= after && [next_unsent, next_uncommitted].into_iter().flatten().all(|zxid| zxid > after)
    }
}

#[cfg(test)]
mod tests {
    use super::super::pieces::FeedWriter;
    use super::*;
    use crate::io::real_disk::RealDisk;
    use crate::storage::LogPlace;
    use crate::wire::Decoded;
    use crate::wire::quorum::QuorumDecoder;

    const DATA_BYTES_MAX: usize = 1 << 20;

    /// Everything is in memory.
    fn no_log() -> LogAccess {
        let nobody_asks = Arc::new(|_| unreachable!("the log is not read"));
        LogAccess {
            place: LogPlace { disk: Arc::new(RealDisk), snapshots: "".into(), logs: "".into() },
            writer: FeedWriter { background: nobody_asks, pieces_max: 1 },
            wake: Arc::new(|| {}),
        }
    }

    struct Stage {
        feed: Feed,
        history: History,
        progress: Progress,
        activations: BTreeMap<Zxid, ServerId>,
        config: Option<Arc<str>>,
    }

    impl Stage {
        fn new(observer: bool) -> Stage {
            let start = Zxid::new(1, 0);
            let progress = Progress { committed: start, proposed: start, flushed: start };
            let plan = SyncPlan::Diff { head: start, after: start };
            let feed = Feed::begin(ServerId(1), observer, plan, None, progress, start, &mut Vec::new());
            let history = History::new(start, 500);
            Stage { feed, history, progress, activations: BTreeMap::new(), config: Some("config".into()) }
        }

        fn propose(&mut self, counter: u32) {
            self.progress.proposed = Zxid::new(1, counter);
            let mut entry = vec![0; 32];
            entry[12..20].copy_from_slice(&self.progress.proposed.0.to_be_bytes());
            self.history.push(self.progress.proposed, &entry);
        }

        fn commit(&mut self, counter: u32) {
            self.progress.committed = Zxid::new(1, counter);
        }

        /// What leaves, in short.
        fn pumped(&mut self) -> Vec<String> {
            let mut out = Vec::new();
            let words = Words { config: self.config.clone(), activations: &self.activations };
            self.feed.pump(&self.history, self.progress, &no_log(), &words, &mut out).unwrap();
            let mut decoder = QuorumDecoder::new(Side::Leader, DATA_BYTES_MAX);
            let mut at = 0;
            let mut said = Vec::new();
            while let Ok(Decoded::Whole { value, consumed }) = decoder.next(&out[at..]) {
                at += consumed;
                said.push(match value {
                    QuorumPacket::Proposal { zxid, .. } => format!("proposal {}", zxid.counter()),
                    QuorumPacket::Commit { zxid } => format!("commit {}", zxid.counter()),
                    QuorumPacket::CommitAndActivate { zxid, .. } => format!("activate {}", zxid.counter()),
                    QuorumPacket::Inform { zxid, .. } => format!("inform {}", zxid.counter()),
                    QuorumPacket::InformAndActivate { zxid, .. } => format!("inform and activate {}", zxid.counter()),
                    QuorumPacket::NewLeader { .. } => "newleader".to_owned(),
                    QuorumPacket::Sync => "sync".to_owned(),
                    other => format!("{other:?}"),
                });
            }
            assert_eq!(at, out.len());
            said
        }
    }

    /// A learner's clients ask for a sync and then for a write: answered in that order, whatever is committed meanwhile.
    #[test]
    fn no_commit_overtakes_a_sync() {
        for (observer, one, two, three) in [
            (false, vec!["proposal 1", "commit 1", "proposal 2", "proposal 3"], vec!["commit 2"], vec!["commit 3"]),
            (true, vec!["inform 1"], vec!["inform 2"], vec!["inform 3"]),
        ] {
            let mut stage = Stage::new(observer);
            assert_eq!(stage.pumped(), ["newleader"]);
            stage.propose(1);
            stage.feed.sync_asked(Zxid::new(1, 1));
            stage.propose(2);
            stage.feed.sync_asked(Zxid::new(1, 2));
            stage.propose(3);
            stage.commit(3);
            assert_eq!(stage.pumped(), one, "the rest waits for the sync");
            stage.feed.sync_proven();
            assert_eq!(stage.pumped(), [vec!["sync"], two].concat());
            stage.feed.sync_proven();
            assert_eq!(stage.pumped(), [vec!["sync"], three].concat());
        }
    }

    /// There is nothing to wait for.
    #[test]
    fn the_first_sync_of_an_epoch_is_answered_at_once() {
        for observer in [false, true] {
            let mut stage = Stage::new(observer);
            let epoch = Zxid::new(2, 0);
            stage.progress = Progress { committed: epoch, proposed: epoch, flushed: epoch };
            stage.feed.sync_asked(epoch);
            assert_eq!(stage.pumped(), ["newleader"]);
            stage.feed.sync_proven();
            assert_eq!(stage.pumped(), ["sync"]);
        }
    }

    #[test]
    fn newleader_waits_for_a_change_and_says_itself_what_came_of_it() {
        for (observer, before, after) in [
            (false, vec!["proposal 1", "commit 1"], vec!["proposal 2", "activate 2"]),
            (true, vec!["proposal 1", "commit 1"], vec!["inform and activate 2"]),
        ] {
            let mut stage = Stage::new(observer);
            stage.config = None;
            stage.propose(1);
            stage.commit(1);
            stage.activations.insert(Zxid::new(1, 1), ServerId(3));
            assert_eq!(stage.pumped(), before);
            stage.config = Some("config".into());
            assert_eq!(stage.pumped(), ["newleader"]);
            stage.propose(2);
            stage.commit(2);
            stage.activations.insert(Zxid::new(1, 2), ServerId(3));
            assert_eq!(stage.pumped(), after);
        }
    }
}
