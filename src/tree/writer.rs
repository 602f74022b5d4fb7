//! The only writer: the head, its savepoints, and the versions made of it. Changes of znodes are in `change`, the
//! tables beside them in `tables`.

use super::change::ParentChange;
use super::cut::Cuts;
use super::digest;
use super::node::{Parts, Znode};
use super::reader::{Held, Published, TreeReader, Version, free_roots};
use super::reclaim::{Reclaim, Released, Retired, VersionNumber};
use super::trie::{EMPTY, HashSeed, Record, Slot};
use super::view::{Roots, View};
use crate::types::{Acl, AclList, EphemeralOwner, OwnerRules, StatPersisted, Zxid, path};
use crossbeam::epoch;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ptr::NonNull;
use std::sync::Arc;

/// Room for so many retired records of a version at most is taken in advance.
const RETIRED_EXPECTED_MAX: usize = 4096;

/// The head, and the versions that wait to be published.
pub struct TreeWriter {
    pub(super) head: Roots,
    /// Where the root hangs while a change is made; see `change.rs`.
    pub(super) root_place: NonNull<Slot>,
    pub(super) reclaim: Reclaim,
    pub(super) sealed: VecDeque<Sealed>,
    /// Of the batch that grows.
    pub(super) open_cuts: Option<Cuts>,
    pub(super) published: Arc<Published>,
    published_version: VersionNumber,
    pub(super) digest_enabled: bool,
    pub(super) acl_keys: HashMap<AclList, AclUse>,
    pub(super) acl_key_last: u32,
    pub(super) containers: BTreeSet<Box<str>>,
    pub(super) ttl_nodes: BTreeSet<Box<str>>,
    /// What a rollback has to undo in the tables beside the head; recorded only while a savepoint is open.
    pub(super) journal: Option<Vec<Undo>>,
}

// SAFETY: the writer owns what its pointers reach, together with the published versions, which are only read elsewhere;
// nothing is tied to the thread it was made on.
unsafe impl Send for TreeWriter {}

pub(super) struct Sealed {
    version: Version,
    retired: Vec<Retired>,
    /// It is the first cut of a batch: as long as those may be looked at, nothing that they reach is freed.
    pub cuts: Option<Released>,
}

pub(super) struct AclUse {
    pub key: u32,
    pub znodes: u64,
}

pub(super) enum Undo {
    AclAcquired(AclList),
    AclReleased { list: AclList, key: u32 },
    OwnerAdded(Box<str>, i64),
    OwnerRemoved(Box<str>, i64),
}

/// A state of the head to come back to.
pub struct Savepoint {
    head: Roots,
    retired: usize,
    birth: VersionNumber,
}

impl TreeWriter {
    /// A tree that holds nothing but the root, as a snapshot is loaded into. `hash_seed` places names in memory
    /// and has no other effect.
    pub fn empty(owner_rules: OwnerRules, digest_enabled: bool, hash_seed: u64) -> TreeWriter {
        let seed = HashSeed::with_seed(hash_seed);
        let head = Roots::empty(owner_rules);
        let mut reclaim = Reclaim::new(1);
        // The published version must not share records with the head before both are one, so it gets its own root.
        let unborn = Roots { root: new_root(0), ..head };
        // SAFETY: reachable from version 0 alone, and freed once that is no longer the published one.
        unsafe { reclaim.retire(unborn.root.record(), 0, Znode::free) };
        let published = Arc::new(Published::new(Version { number: 0, roots: unborn }, seed));
        let mut tree = TreeWriter {
            head,
            root_place: NonNull::from(Box::leak(Box::new(EMPTY))),
            reclaim,
            sealed: VecDeque::new(),
            open_cuts: None,
            published,
            published_version: 0,
            digest_enabled,
            acl_keys: HashMap::new(),
            acl_key_last: 0,
            containers: BTreeSet::new(),
            ttl_nodes: BTreeSet::new(),
            journal: None,
        };
        tree.begin_head();
        tree
    }

    /// Begins anew, with what `empty` makes, as the head: another state is loaded in place of this one. Readers go on with the
    /// published version until the new head is published; version numbers go on counting.
    pub fn clear(&mut self) {
        assert!(self.journal.is_none(), "no version ends inside a multi");
        let published = self.published_version;
        let sealed = self.sealed.drain(..).flat_map(|sealed| sealed.retired);
        let retired: Vec<Retired> = sealed.chain(std::mem::take(&mut self.reclaim.retired)).collect();
        // What was born after the published version is seen by nobody; what that version reaches is retired as a whole.
        for record in retired {
            record.free_if_born_after(published);
        }
        // SAFETY: reachable from the head alone, and the head is replaced.
        unsafe { free_roots(&self.head, published + 1) };
        let old = {
            let reader = self.reader();
            *reader.pin().view().roots
        };
        self.reclaim.birth += 1;
        let owner_rules = old.owner_rules;
        let whole: *mut Roots = Box::into_raw(Box::new(old));
        // SAFETY: the published version reaches these records and no newer one does.
        unsafe { self.reclaim.retire(whole.cast(), 0, free_whole) };
        self.open_cuts = None;
        self.head = Roots::empty(owner_rules);
        self.begin_head();
        self.acl_keys.clear();
        self.acl_key_last = 0;
        self.containers.clear();
        self.ttl_nodes.clear();
    }

    /// Gives the head its root.
    fn begin_head(&mut self) {
        self.head.root = new_root(self.reclaim.birth);
        self.head.node_count = 1;
        self.head.data_bytes = 1;
        if self.digest_enabled {
            self.head.digest = u64::from(digest::of_node("", Some(&[]), &StatPersisted::default()));
            // SAFETY: the record was just made.
            unsafe { (*self.head.root.record::<Znode>()).digest = self.head.digest as u32 };
        }
    }

    /// The tree of a new server: root, `/zookeeper`, its `quota` and its `config` (readable by all, written by none).
    pub fn fresh(owner_rules: OwnerRules, digest_enabled: bool, hash_seed: u64) -> TreeWriter {
        let mut tree = TreeWriter::empty(owner_rules, digest_enabled, hash_seed);
        tree.found();
        tree
    }

    /// Puts what every new server has under the root of an empty tree.
    pub fn found(&mut self) {
        let stat = StatPersisted::default();
        let config_stat = StatPersisted { aversion: -1, ..stat };
        let read_only = [Acl::new(crate::types::perms::READ, "world", "anyone")];
        for (path, stat, acl) in [
            (path::ZOOKEEPER, stat, None),
            (path::QUOTA, stat, None),
            (path::CONFIG, config_stat, Some(&read_only[..])),
        ] {
            self.insert(path, Some(&[]), acl, &stat, ParentChange::default()).expect("the tree is empty");
        }
    }

    /// Access for another thread; sees nothing before the first publication.
    pub fn reader(&self) -> TreeReader {
        TreeReader { published: self.published.clone() }
    }

    /// The newest state, published or not.
    pub fn view(&self) -> View<'_> {
        View { roots: &self.head, seed: &self.published.seed }
    }

    /// The version being built.
    pub fn version(&self) -> VersionNumber {
        self.reclaim.birth
    }

    pub fn published_version(&self) -> VersionNumber {
        self.published_version
    }

    pub fn set_last_zxid(&mut self, zxid: Zxid) {
        self.head.last_zxid = zxid;
    }

    /// A state to come back to; exactly one may be open, and it ends by `rollback` or `release`.
    pub fn savepoint(&mut self) -> Savepoint {
        assert!(self.journal.is_none(), "savepoints do not nest");
        self.journal = Some(Vec::new());
        // From here on the records made so far count as shared, so a rollback finds them unchanged.
        self.reclaim.birth += 1;
        Savepoint { head: self.head, retired: self.reclaim.retired.len(), birth: self.reclaim.birth }
    }

    /// Undoes everything since the savepoint.
    pub fn rollback(&mut self, savepoint: Savepoint) {
        // SAFETY: what was born since is reachable from the head alone, and the head is replaced.
        unsafe { free_roots(&self.head, savepoint.birth) };
        self.head = savepoint.head;
        self.reclaim.retired.truncate(savepoint.retired);
        for undo in self.journal.take().expect("a savepoint is open").into_iter().rev() {
            self.undo(undo);
        }
    }

    /// Keeps everything since the savepoint.
    pub fn release(&mut self, _savepoint: Savepoint) {
        assert!(self.journal.take().is_some(), "a savepoint is open");
    }

    fn undo(&mut self, undo: Undo) {
        let rules = self.head.owner_rules;
        let is_container = |raw| EphemeralOwner::from_raw(raw, rules) == EphemeralOwner::Container;
        let is_ttl = |raw| matches!(EphemeralOwner::from_raw(raw, rules), EphemeralOwner::Ttl { .. });
        match undo {
            Undo::AclAcquired(list) => {
                let users = self.acl_keys.get_mut(&list).expect("acquired since the savepoint");
                users.znodes -= 1;
                if users.znodes == 0 {
                    self.acl_keys.remove(&list);
                }
            }
            Undo::AclReleased { list, key } => {
                self.acl_keys.entry(list).or_insert(AclUse { key, znodes: 0 }).znodes += 1;
            }
            // Ephemerals are part of the head, which is restored already.
            Undo::OwnerAdded(path, raw) if is_container(raw) => {
                let _ = self.containers.remove(&path);
            }
            Undo::OwnerAdded(path, raw) if is_ttl(raw) => {
                let _ = self.ttl_nodes.remove(&path);
            }
            Undo::OwnerRemoved(path, raw) if is_container(raw) => {
                let _ = self.containers.insert(path);
            }
            Undo::OwnerRemoved(path, raw) if is_ttl(raw) => {
                let _ = self.ttl_nodes.insert(path);
            }
            Undo::OwnerAdded(..) | Undo::OwnerRemoved(..) => {}
        }
    }

    /// Ends the version being built and begins the next; its number is what `publish_through` takes.
    pub fn seal(&mut self) -> VersionNumber {
        assert!(self.journal.is_none(), "no version ends inside a multi");
        let number = self.reclaim.birth;
        // The next version will retire about as much.
        let expected = Vec::with_capacity(self.reclaim.retired.len().min(RETIRED_EXPECTED_MAX));
        let retired = std::mem::replace(&mut self.reclaim.retired, expected);
        self.sealed.push_back(Sealed { version: Version { number, roots: self.head }, retired, cuts: None });
        self.reclaim.birth += 1;
        number
    }

    /// Lets readers see every sealed version up to `number`.
    pub fn publish_through(&mut self, number: VersionNumber) {
        let mut newest = None;
        let (mut retired, mut cuts) = (Vec::new(), Vec::new());
        while self.sealed.front().is_some_and(|sealed| sealed.version.number <= number) {
            let sealed = self.sealed.pop_front().expect("just seen");
            newest = Some(sealed.version);
            cuts.extend(sealed.cuts);
            if retired.is_empty() {
                retired = sealed.retired;
            } else {
                retired.extend(sealed.retired);
            }
        }
        let Some(version) = newest else { return };
        self.published_version = version.number;
        let guard = epoch::pin();
        self.published.publish(version, &guard);
        self.reclaim.published(self.published_version, retired, cuts, &guard);
    }

    /// Frees some of what was kept for cuts and holds that have ended since; to be called now and then, also when nothing is written.
    pub fn tidy(&mut self) {
        if self.reclaim.has_backlog() {
            self.reclaim.go_on(&epoch::pin());
        }
    }

    /// The published version, to be looked at for as long as wanted.
    pub fn hold(&mut self) -> Held {
        let reader = self.reader();
        let pinned = reader.pin();
        let version = Version { number: pinned.number(), roots: *pinned.view().roots };
        let token = self.reclaim.hold(version.number);
        Held { version, published: self.published.clone(), _token: token }
    }
}

impl Drop for TreeWriter {
    fn drop(&mut self) {
        self.open_cuts = None;
        // The published tree belongs to `Published`; making the head the published one leaves a single owner of all.
        let number = self.seal();
        self.publish_through(number);
        // SAFETY: made by a box, and no change is under way.
        drop(unsafe { Box::from_raw(self.root_place.as_ptr()) });
    }
}

/// Frees a whole retired version.
///
/// # Safety
/// `roots` came from a box, and nobody reads what it reaches any more.
unsafe fn free_whole(roots: *mut ()) {
    unsafe {
        let roots = Box::from_raw(roots.cast::<Roots>());
        free_roots(&roots, 0);
    }
}

fn new_root(birth: VersionNumber) -> Slot {
    let parts = Parts {
        name: "",
        data: Some(&[]),
        stat: StatPersisted::default(),
        acl: 0,
        digest: 0,
        children: EMPTY,
        child_count: 0,
    };
    // SAFETY: name and data are constants.
    Slot::of(unsafe { Znode::build(birth, &parts) })
}
