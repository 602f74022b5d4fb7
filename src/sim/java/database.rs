//! `ZKDatabase`: the tree, what it was made of last (`committedLog`), and how far it has come. What a transaction does to the
//! tree is `request`'s business, for servers of both kinds.

use super::disk::{Cut, Entry, JavaDisk, Snapshot};
use super::outbox::{DATA_BYTES_MAX, Failure};
use crate::ensemble::{SnapshotLoad, SnapshotOf};
use crate::request::{self, RequestRules};
use crate::storage::write_stream;
use crate::tree::{TreeWriter, View};
use crate::types::{QuorumConfig, WallMillis, Zxid};
use crate::wire::txn;
use std::collections::VecDeque;
use std::sync::Arc;

pub struct Database {
    pub tree: TreeWriter,
    pub rules: RequestRules,
    config: String,
    /// `lastProcessedZxid`: of an established leader that of its epoch, until it has a transaction.
    pub last_processed: Zxid,
    /// What comes right before the oldest entry of the list.
    base: Zxid,
    list: VecDeque<Entry>,
    /// `commitLogCount`
    list_max: usize,
}

impl Database {
    pub fn load(disk: &JavaDisk, rules: &RequestRules, config: &QuorumConfig, list_max: usize) -> Database {
        let tree = TreeWriter::fresh(rules.owner, true, 0);
        let mut database = Database {
            tree,
            rules: rules.clone(),
            config: config.to_string(),
            last_processed: Zxid::ZERO,
            base: Zxid::ZERO,
            list: VecDeque::new(),
            list_max,
        };
        database.reload(disk);
        database
    }

    /// What the disk says: snapshot, and the log behind it.
    pub fn reload(&mut self, disk: &JavaDisk) {
        self.tree.clear();
        match disk.snapshot() {
            None => {
                self.tree.found();
                self.tree.set_last_zxid(Zxid::ZERO);
                self.begin_at(Zxid::ZERO);
            }
            Some(Snapshot { zxid, stream }) => {
                let mut load = SnapshotLoad::begin(zxid, &self.rules, DATA_BYTES_MAX);
                let loaded = load.push(&stream, &mut self.tree).expect("it was written by this model");
                assert!(loaded.1, "a snapshot is whole");
                self.begin_at(zxid);
            }
        }
        self.fast_forward(disk);
    }

    /// The state is that of a snapshot: nothing is known of what comes before.
    pub fn begin_at(&mut self, zxid: Zxid) {
        (self.last_processed, self.base) = (zxid, zxid);
        self.list.clear();
        let (config, mut effects) = (self.config.clone(), Vec::new());
        request::show_config(&mut self.tree, &config, Zxid::ZERO, WallMillis(0), &mut effects);
    }

    /// `fastForwardDataBase`: applies all that is in the log and not in the tree, committed or not.
    pub fn fast_forward(&mut self, disk: &JavaDisk) {
        for entry in disk.log_after(self.last_processed) {
            self.process(&entry);
            self.keep(entry);
        }
    }

    /// Applies a transaction.
    pub fn process(&mut self, (zxid, entry): &Entry) {
        let txn = txn::decode(entry).expect("it was decoded when it came");
        request::replay(&mut self.tree, &txn.header, &txn.body);
        self.last_processed = *zxid;
    }

    /// `addCommittedProposal`. False: it is not the one that follows, where Java throws.
    pub fn keep(&mut self, entry: Entry) -> bool {
        if let Some((last, _)) = self.list.back() {
            if entry.0 <= *last {
                return true;
            }
            if entry.0 != last.next() && entry.0.epoch() <= last.epoch() {
                return false;
            }
        }
        self.list.push_back(entry);
        if self.list.len() > self.list_max {
            self.base = self.list.pop_front().map_or(self.base, |(zxid, _)| zxid);
        }
        true
    }

    /// A transaction is committed.
    pub fn commit(&mut self, entry: Entry) -> Result<(), Failure> {
        self.process(&entry);
        let zxid = entry.0;
        match self.keep(entry) {
            true => Ok(()),
            false => Failure::misled(format!("committed transaction {zxid} does not follow the one before")),
        }
    }

    /// `truncateLog`
    pub fn cut_behind(&mut self, to: Zxid, disk: &JavaDisk) -> Cut {
        let cut = disk.cut_behind(to);
        if cut == Cut::Done {
            self.reload(disk);
            self.last_processed = to;
        }
        cut
    }

    /// What a cut is meant to do.
    pub fn forget_above(&mut self, to: Zxid, disk: &JavaDisk) {
        disk.forget_above(to);
        self.reload(disk);
        self.last_processed = to;
    }

    pub fn list(&self) -> &VecDeque<Entry> {
        &self.list
    }

    /// Everything behind `zxid`; `None` when that is more than is kept.
    pub fn history_after(&self, zxid: Zxid) -> Option<Vec<Entry>> {
        (self.base <= zxid).then(|| self.list.iter().filter(|(entry, _)| *entry > zxid).cloned().collect())
    }

    /// Lets readers see the state as it is.
    pub fn publish(&mut self) {
        let version = self.tree.seal();
        self.tree.publish_through(version);
    }

    /// A snapshot of the whole tree at hand.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { zxid: self.last_processed, stream: stream_of(self.tree.view()) }
    }
}

/// As it travels.
pub fn stream_of(view: View<'_>) -> Arc<[u8]> {
    let mut stream = Vec::new();
    let source = SnapshotOf { view, digest: false, last_zxid: false };
    write_stream(&source, &mut stream).expect("memory takes it");
    stream.into()
}
