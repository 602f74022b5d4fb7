//! The newest transactions, as they stand in the log and travel to learners (`ZKDatabase.committedLog`, and on a leader its
//! proposals): what a learner is fed from as long as it is not too far behind.

use crate::types::{PutBack, Zxid};
use std::collections::VecDeque;
use std::sync::Arc;

/// Kept beyond `commitLogCount` as long as they are small, bytes: learners that stumble catch up from memory.
const HISTORY_BYTES_MAX: usize = 16 << 20;

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub zxid: Zxid,
    /// Header ‖ record ‖ digest.
    pub bytes: Arc<[u8]>,
}

/// Invariant: zxids ascend, and nothing is missing behind `base`.
#[derive(Debug)]
pub(super) struct History {
    /// What comes right before the oldest entry.
    base: Zxid,
    entries: VecDeque<Entry>,
    bytes: usize,
    /// `commitLogCount`: so many are kept whatever their size.
    count_min: usize,
}

impl History {
    /// Nothing is at hand yet; what comes follows `base`.
    pub fn new(base: Zxid, count_min: usize) -> History {
        History { base, entries: VecDeque::new(), bytes: 0, count_min }
    }

    pub fn push(&mut self, zxid: Zxid, bytes: Arc<[u8]>) {
        assert!(self.entries.back().is_none_or(|last| last.zxid < zxid), "history ascends");
        self.bytes += bytes.len();
        self.entries.push_back(Entry { zxid, bytes });
        while self.entries.len() > self.count_min && self.bytes > HISTORY_BYTES_MAX {
            let oldest = self.entries.pop_front().expect("more than some");
            self.bytes -= oldest.bytes.len();
            self.base = oldest.zxid;
        }
    }

    /// Begins anew behind `base`: what follows has no connection to what was.
    pub fn begin_at(&mut self, base: Zxid) {
        *self = History::new(base, self.count_min);
    }

    /// What comes right before the oldest entry.
    pub fn base(&self) -> Zxid {
        self.base
    }

    /// The newest entry, or what it would follow.
    pub fn last(&self) -> Zxid {
        self.entries.back().map_or(self.base, |entry| entry.zxid)
    }

    /// Transactions that a learner can go on from, through `last`: the one right before the oldest entry is such, unless
    /// it stands for an empty database, which says nothing about what a learner has.
    pub fn zxids_through(&self, last: Zxid) -> Vec<Zxid> {
        let base = Some(self.base).filter(|base| *base != Zxid::ZERO || PutBack::DiffFromEmpty.is_on());
        base.into_iter().chain(self.entries.iter().map(|entry| entry.zxid)).take_while(|zxid| *zxid <= last).collect()
    }

    /// Whether everything behind `zxid` is here.
    pub fn reaches_back_to(&self, zxid: Zxid) -> bool {
        self.base <= zxid
    }

    /// Everything behind `zxid`, in order.
    pub fn after(&self, zxid: Zxid) -> impl Iterator<Item = &Entry> {
        let from = self.entries.partition_point(|entry| entry.zxid <= zxid);
        self.entries.range(from..)
    }
}
