//! What one learner is sent, as one ordered stream: DIFF, TRUNC or SNAP, the history behind it, NEWLEADER, and from then on
//! every proposal and commit. A feed is a position in the history, not a queue of copies: a slow learner costs nothing but
//! its position, and never holds up another. Where the history in memory no longer reaches, the log files are read.
//!
//! Invariants: proposals leave in order without holes; a commit leaves behind its proposal; SYNC behind the commits it
//! waits for. A learner that cannot be fed from the log either is closed; it comes back and gets a snapshot.

use super::history::{Entry, History};
use super::log_feed::{LogAccess, LogFeed};
use super::snapshot_feed::SnapshotFeed;
use crate::message::QuorumPacket;
use crate::types::{ServerId, Zxid};
use crate::wire::quorum::{Side, encode};
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
    /// SYNC packets that wait for commits.
    syncs: VecDeque<Zxid>,
}

#[derive(Clone, Copy)]
struct NewLeader {
    zxid: Zxid,
    history_ends: Zxid,
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
                let zxid = snapshot.as_ref().expect("a snapshot to send").zxid();
                (QuorumPacket::Snap { zxid }, zxid)
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

    /// A SYNC packet is to follow the commit of `after`.
    pub fn sync_after(&mut self, after: Zxid) {
        self.syncs.push_back(after);
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
        while self.new_leader.is_none()
            && self.syncs.front().is_some_and(|after| self.has_committed_through(*after, history, progress.committed))
        {
            self.syncs.pop_front();
            encode(&QuorumPacket::Sync, Side::Leader, out);
        }
        Ok(())
    }

    fn send_from_log(&mut self, progress: Progress, words: &Words<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        while out.len() < OUTPUT_BYTES_MAX
            && let Some(log) = &mut self.log
            && let Some(entry) = log.take()
        {
            self.send_entry(entry, progress, words, out);
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
            self.send_entry(entry.clone(), progress, words, out);
        }
    }

    fn send_entry(&mut self, entry: Entry, progress: Progress, words: &Words<'_>, out: &mut Vec<u8>) {
        let Entry { zxid, bytes } = entry;
        self.sent = zxid;
        if self.observer && self.new_leader.is_none() {
            let packet = match words.activations.get(&zxid) {
                Some(designated) => QuorumPacket::InformAndActivate { zxid, designated: *designated, entry: bytes },
                None => QuorumPacket::Inform { zxid, entry: bytes },
            };
            return encode(&packet, Side::Leader, out);
        }
        encode(&QuorumPacket::Proposal { zxid, entry: bytes }, Side::Leader, out);
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

    /// Everything is in memory.
    fn no_log() -> LogAccess {
        let nobody_asks = Arc::new(|_| unreachable!("the log is not read"));
        LogAccess {
            place: LogPlace { disk: Arc::new(RealDisk), snapshots: "".into(), logs: "".into() },
            writer: FeedWriter { background: nobody_asks, pieces_max: 1 },
            wake: Arc::new(|| {}),
        }
    }

    fn pump(feed: &mut Feed, history: &History, progress: Progress) -> Vec<u8> {
        let words = Words { config: Some("".into()), activations: &BTreeMap::new() };
        let mut out = Vec::new();
        feed.pump(history, progress, &no_log(), &words, &mut out).expect("nothing is lacking");
        out
    }

    fn in_sync(history: &History, observer: bool, progress: Progress) -> Feed {
        let plan = SyncPlan::Diff { head: history.last(), after: history.last() };
        let mut feed = Feed::begin(ServerId(1), observer, plan, None, progress, progress.committed, &mut Vec::new());
        pump(&mut feed, history, progress);
        feed
    }

    fn said(feed: &mut Feed, history: &History, progress: Progress) -> usize {
        pump(feed, history, progress).len()
    }

    /// A sync is answered behind what was proposed before it, and at once where nothing was, be it the first thing that is
    /// asked for in an epoch.
    #[test]
    fn a_sync_waits_for_what_was_proposed_before_it() {
        let (before, epoch) = (Zxid(0x1_0000_0005), Zxid(0x2_0000_0000));
        for observer in [false, true] {
            let mut history = History::new(before, 10);
            let mut progress = Progress { committed: epoch, proposed: epoch, flushed: epoch };
            let mut feed = in_sync(&history, observer, progress);
            feed.sync_after(epoch);
            let sync_bytes = said(&mut feed, &history, progress);
            assert!(sync_bytes > 0, "the first sync of an epoch, to an observer: {observer}");

            history.push(epoch.next(), [0; 8].as_slice().into());
            progress.proposed = epoch.next();
            feed.sync_after(epoch.next());
            let mut before_commit = said(&mut feed, &history, progress);
            before_commit += said(&mut feed, &history, progress);
            progress.committed = epoch.next();
            let behind = said(&mut feed, &history, progress);
            assert!(behind > sync_bytes, "a commit and a SYNC: {before_commit} and then {behind} bytes");
            assert_eq!(said(&mut feed, &history, progress), 0);
        }
    }
}
