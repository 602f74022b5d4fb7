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
use std::collections::VecDeque;

/// Bytes that one turn puts behind what a link has not sent yet.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

pub(super) struct Feed {
    pub server: ServerId,
    observer: bool,
    /// A snapshot on its way; nothing follows before its last byte.
    snapshot: Option<SnapshotFeed>,
    /// What is read from the log files; nothing newer goes before it.
    log: Option<LogFeed>,
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
    /// The log files are read through here and no farther: behind it may stand anything.
    pub flushed: Zxid,
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
            snapshot,
            log: None,
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
    pub fn pump(
        &mut self,
        history: &History,
        progress: Progress,
        access: &LogAccess,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        if let Some(snapshot) = &mut self.snapshot {
            if !snapshot.pump(out, OUTPUT_BYTES_MAX)? {
                return Ok(());
            }
            self.snapshot = None;
        }
        let may_send = if self.observer { progress.committed } else { progress.proposed };
        self.send_from_log(progress, out)?;
        if self.log.is_none() && self.sent < may_send && !history.reaches_back_to(self.sent) {
            // What is not flushed yet will be.
            let through = history.base().min(may_send).min(progress.flushed);
            self.log = (through > self.sent).then(|| LogFeed::begin(access, self.sent, through));
            self.send_from_log(progress, out)?;
        }
        if self.log.is_none() && history.reaches_back_to(self.sent) {
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
            && self.syncs.front().is_some_and(|after| self.has_committed_through(*after, progress.committed))
        {
            self.syncs.pop_front();
            encode(&QuorumPacket::Sync, Side::Leader, out);
        }
        Ok(())
    }

    fn send_from_log(&mut self, progress: Progress, out: &mut Vec<u8>) -> Result<(), String> {
        while out.len() < OUTPUT_BYTES_MAX
            && let Some(log) = &mut self.log
            && let Some(entry) = log.take()
        {
            self.send_entry(entry, progress, out);
        }
        if let Some(log) = &self.log
            && log.is_over()?
        {
            self.sent = self.sent.max(log.through);
            self.log = None;
        }
        Ok(())
    }

    fn send_entries(&mut self, history: &History, progress: Progress, may_send: Zxid, out: &mut Vec<u8>) {
        for entry in history.after(self.sent) {
            if entry.zxid > may_send || out.len() >= OUTPUT_BYTES_MAX {
                break;
            }
            self.send_entry(entry.clone(), progress, out);
        }
    }

    fn send_entry(&mut self, entry: Entry, progress: Progress, out: &mut Vec<u8>) {
        let Entry { zxid, bytes } = entry;
        self.sent = zxid;
        if self.observer && self.new_leader.is_none() {
            return encode(&QuorumPacket::Inform { zxid, entry: bytes }, Side::Leader, out);
        }
        encode(&QuorumPacket::Proposal { zxid, entry: bytes }, Side::Leader, out);
        self.uncommitted.push_back(zxid);
        // Java's leader sends history pair by pair; and what is committed need not be remembered.
        self.send_commits(progress.committed, out);
    }

    fn send_commits(&mut self, committed: Zxid, out: &mut Vec<u8>) {
        while let Some(zxid) = self.uncommitted.front().copied().filter(|zxid| *zxid <= committed) {
            self.uncommitted.pop_front();
            encode(&QuorumPacket::Commit { zxid }, Side::Leader, out);
        }
    }

    fn has_committed_through(&self, after: Zxid, committed: Zxid) -> bool {
        let next_uncommitted = self.uncommitted.front().copied();
        committed >= after && self.sent >= after.min(committed) && next_uncommitted.is_none_or(|zxid| zxid > after)
    }
}
