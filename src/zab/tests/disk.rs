//! What of a server survives its crash: its history (snapshot, then log), and its epochs.

use crate::types::{QuorumConfig, Zxid};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub zxid: Zxid,
    pub bytes: Arc<[u8]>,
}

#[derive(Debug, Default)]
pub struct Disk {
    /// The whole history, what is staged and not flushed included.
    pub entries: Vec<Entry>,
    /// So many of them are in the snapshot alone: the log begins behind.
    pub in_snapshot: usize,
    /// So many of them are flushed.
    pub flushed: usize,
    /// A flush in flight covers so many of them.
    pub flushing: Option<usize>,
    pub accepted_epoch: i64,
    pub current_epoch: i64,
    /// The committed configuration, and a newer one that was heard of.
    pub config: Arc<QuorumConfig>,
    pub last_seen: Option<Arc<QuorumConfig>>,
    /// It lost what it had, and nobody has filled it yet: its server does not say where its history ends.
    pub is_lost: bool,
}

impl Disk {
    pub fn newest_config(&self) -> &Arc<QuorumConfig> {
        self.last_seen.as_ref().unwrap_or(&self.config)
    }

    pub fn zxid_at(&self, count: usize) -> Zxid {
        count.checked_sub(1).map_or(Zxid::ZERO, |index| self.entries[index].zxid)
    }

    pub fn last_zxid(&self) -> Zxid {
        self.zxid_at(self.entries.len())
    }

    pub fn flushed_history(&self) -> &[Entry] {
        &self.entries[..self.flushed]
    }

    /// How many entries there are through `zxid`, which is one of them (or the beginning of all).
    pub fn count_through(&self, zxid: Zxid) -> Option<usize> {
        let count = self.entries.partition_point(|entry| entry.zxid <= zxid);
        (self.zxid_at(count) == zxid).then_some(count)
    }

    pub fn cut(&mut self, count: usize) {
        assert_eq!(self.flushing, None, "the log is cut while a flush is in flight");
        self.entries.truncate(count);
        self.flushed = self.flushed.min(count);
        self.in_snapshot = self.in_snapshot.min(count);
    }

    /// A snapshot is durable under its name; the log begins behind it.
    pub fn replace(&mut self, entries: Vec<Entry>) {
        assert_eq!(self.flushing, None, "the state is replaced while a flush is in flight");
        self.entries = entries;
        self.flushed = self.entries.len();
        self.in_snapshot = self.flushed;
        self.is_lost = false;
    }

    /// Of what was not flushed, the first `surviving` entries are found again.
    pub fn crash(&mut self, surviving: usize) {
        self.flushing = None;
        self.entries.truncate(self.flushed + surviving);
        self.flushed = self.entries.len();
    }
}
