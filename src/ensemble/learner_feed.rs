//! What one learner is sent, as one ordered stream: DIFF, TRUNC or SNAP, the history behind it, NEWLEADER, and from then on
//! every proposal and commit. A feed is a position in the history, not a queue of copies: a slow learner costs nothing but
//! its position, and never holds up another.
//!
//! Invariants: proposals leave in order without holes; a commit leaves behind its proposal; SYNC behind the commits it
//! waits for. A learner whose position the history no longer reaches is closed; it comes back and gets a snapshot.

use super::history::History;
use super::snapshot_feed::SnapshotFeed;
use crate::message::QuorumPacket;
use crate::types::{ServerId, Zxid};
use crate::wire::quorum::{Side, encode};
use crate::zab::SyncPlan;
use std::collections::VecDeque;

/// Bytes that one turn puts behind what a link has not sent yet.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

pub(super) struct Feed {
    pub server: ServerId,
    observer: bool,
    pub begins_with_snapshot: bool,
    /// A snapshot on its way; nothing follows before its last byte.
    snapshot: Option<SnapshotFeed>,
    /// Last proposal sent, or what the learner has.
    sent: Zxid,
    /// Sent as proposals, not as commits.
    uncommitted: VecDeque<Zxid>,
    /// NEWLEADER, until the history through this zxid is sent.
    new_leader: Option<(Zxid, QuorumPacket)>,
    /// SYNC packets that wait for commits.
    syncs: VecDeque<Zxid>,
}

/// Where the leader stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub committed: Zxid,
    /// Last proposal that learners may be sent.
    pub proposed: Zxid,
}

impl Feed {
    /// Begins with the first packet of `plan`. `new_leader` leaves when everything through `progress.proposed` has left: what is
    /// committed, and for a voter what is not yet.
    pub fn begin(
        server: ServerId,
        observer: bool,
        plan: SyncPlan,
        snapshot: Option<SnapshotFeed>,
        progress: Progress,
        new_leader: QuorumPacket,
        out: &mut Vec<u8>,
    ) -> Feed {
        let (first, sent) = match (plan, &snapshot) {
            (SyncPlan::Diff { head, after } | SyncPlan::DiffFromDisk { head, after }, _) => {
                (QuorumPacket::Diff { zxid: head }, after)
            }
            (SyncPlan::Trunc { to }, _) => (QuorumPacket::Trunc { zxid: to }, to),
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
            sent,
            uncommitted: VecDeque::new(),
            new_leader: Some((history_ends, new_leader)),
            syncs: VecDeque::new(),
        }
    }

    /// A SYNC packet is to follow the commit of `after`.
    pub fn sync_after(&mut self, after: Zxid) {
        self.syncs.push_back(after);
    }

    /// Appends what the learner lacks, as far as there is room. An error says why it cannot be fed any longer.
    pub fn pump(&mut self, history: &History, progress: Progress, out: &mut Vec<u8>) -> Result<(), String> {
        if let Some(snapshot) = &mut self.snapshot {
            if !snapshot.pump(out, OUTPUT_BYTES_MAX)? {
                return Ok(());
            }
            self.snapshot = None;
        }
        let may_send = if self.observer { progress.committed } else { progress.proposed };
        if self.sent < may_send && history.last() > self.sent {
            if !history.reaches_back_to(self.sent) {
                return Err(format!(
                    "server {} is at {} and no longer reached by what is kept in memory: it has to synchronize again",
                    self.server.0, self.sent
                ));
            }
            self.send_entries(history, progress, may_send, out);
        }
        self.send_commits(progress.committed, out);
        if let Some((history_ends, _)) = &self.new_leader
            && (self.sent >= *history_ends || history.last() <= self.sent)
        {
            let (_, packet) = self.new_leader.take().expect("just seen");
            encode(&packet, Side::Leader, out);
        }
        while self.new_leader.is_none()
            && self.syncs.front().is_some_and(|after| self.has_committed_through(*after, history, progress.committed))
        {
            self.syncs.pop_front();
            encode(&QuorumPacket::Sync, Side::Leader, out);
        }
        Ok(())
    }

    fn send_entries(&mut self, history: &History, progress: Progress, may_send: Zxid, out: &mut Vec<u8>) {
        for entry in history.after(self.sent) {
            if entry.zxid > may_send || out.len() >= OUTPUT_BYTES_MAX {
                break;
            }
            let (zxid, bytes) = (entry.zxid, entry.bytes.clone());
            self.sent = zxid;
            if self.observer && self.new_leader.is_none() {
                encode(&QuorumPacket::Inform { zxid, entry: bytes }, Side::Leader, out);
                continue;
            }
            encode(&QuorumPacket::Proposal { zxid, entry: bytes }, Side::Leader, out);
            self.uncommitted.push_back(zxid);
            // Java's leader sends history pair by pair; and what is committed need not be remembered.
            self.send_commits(progress.committed, out);
        }
    }

    fn send_commits(&mut self, committed: Zxid, out: &mut Vec<u8>) {
        while let Some(zxid) = self.uncommitted.front().copied().filter(|zxid| *zxid <= committed) {
            self.uncommitted.pop_front();
            encode(&QuorumPacket::Commit { zxid }, Side::Leader, out);
        }
    }

    /// `after` need not be a transaction: an epoch begins with a zxid that is none.
    fn has_committed_through(&self, after: Zxid, history: &History, committed: Zxid) -> bool {
        let next_unsent = history.after(self.sent).next().map(|entry| entry.zxid);
        let next_uncommitted = self.uncommitted.front().copied();
        committed >= after && [next_unsent, next_uncommitted].into_iter().flatten().all(|zxid| zxid > after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_sync(history: &History, observer: bool, progress: Progress) -> Feed {
        let plan = SyncPlan::Diff { head: history.last(), after: history.last() };
        let new_leader = QuorumPacket::NewLeader { zxid: progress.committed, config: None };
        let mut out = Vec::new();
        let mut feed = Feed::begin(ServerId(1), observer, plan, None, progress, new_leader, &mut out);
        feed.pump(history, progress, &mut out).expect("nothing is lacking");
        feed
    }

    fn said(feed: &mut Feed, history: &History, progress: Progress) -> usize {
        let mut out = Vec::new();
        feed.pump(history, progress, &mut out).expect("nothing is lacking");
        out.len()
    }

    /// A sync is answered behind what was proposed before it, and at once where nothing was, be it the first thing that is
    /// asked for in an epoch.
    #[test]
    fn a_sync_waits_for_what_was_proposed_before_it() {
        let (before, epoch) = (Zxid(0x1_0000_0005), Zxid(0x2_0000_0000));
        for observer in [false, true] {
            let mut history = History::new(before, 10);
            let mut progress = Progress { committed: epoch, proposed: epoch };
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
