//! The shard against what Java was seen to do (`golden/modes.txt`), and against a slow model with random requests
//! and changes.

use super::*;
use crate::message::{Effect, EffectKind};
use crate::types::{Acl, AclList, path};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const REMOVALS: [WatchRemovalKind; 5] = [
    WatchRemovalKind::Children,
    WatchRemovalKind::Data,
    WatchRemovalKind::Any,
    WatchRemovalKind::Persistent,
    WatchRemovalKind::PersistentRecursive,
];
const KINDS: [WatchKind; 4] =
    [WatchKind::Data, WatchKind::Child, WatchKind::Persistent, WatchKind::PersistentRecursive];
const ZXID: Zxid = Zxid(77);

/// A list under which the connections whose bits are set may read.
fn readers(mask: i32) -> AclList {
    vec![Acl::new(mask, "test", "")].into()
}

fn may_read(conn: ConnId, acl: &AclList) -> bool {
    acl[0].perms >> conn.0 & 1 == 1
}

fn effect(kind: EffectKind, path: &str, mask: i32, parent_mask: i32) -> Effect {
    Effect {
        zxid: ZXID,
        kind,
        path: path.into(),
        acl: readers(mask),
        parent_acl: (kind != EffectKind::DataChanged).then(|| readers(parent_mask)),
    }
}

fn trigger(shard: &mut WatchShard, effect: &Effect) -> Events {
    let mut events = Events::new();
    shard.trigger(effect, may_read, &mut events);
    events
}

/// What one connection hears: `3/a,4/`.
fn heard(events: &Events, conn: ConnId) -> String {
    let mine = events.iter().filter(|(told, _)| *told == conn);
    let words: Vec<String> = mine.map(|(_, event)| format!("{}{}", event.kind as i32, event.path)).collect();
    match words.is_empty() {
        true => "-".to_owned(),
        false => words.join(","),
    }
}

fn kind_of(letter: char) -> WatchKind {
    match letter {
        'D' => WatchKind::Data,
        'C' => WatchKind::Child,
        'P' => WatchKind::Persistent,
        'R' => WatchKind::PersistentRecursive,
        other => panic!("no kind of watch: {other}"),
    }
}

#[test]
fn modes_mix_as_in_java() {
    use EffectKind::{Created, DataChanged, Deleted};
    let changes = [
        (DataChanged, "/g"),
        (DataChanged, "/g"),
        (Created, "/g/k"),
        (Deleted, "/g/k"),
        (Deleted, "/g"),
        (Created, "/g"),
    ];
    let conn = ConnId(1);
    let lines = include_str!("golden/modes.txt").lines();
    let mut rows = 0;
    for line in lines.filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut shard = WatchShard::new(1);
        for letter in words[0].chars().filter(|letter| *letter != '-') {
            shard.add(conn, "/g", kind_of(letter));
        }
        let removal: usize = words[1].parse().unwrap();
        if removal > 0 {
            let found = shard.remove(conn, "/g", REMOVALS[removal - 1]);
            assert_eq!(found, words[2] == "ok", "{line}");
        }
        let checks = REMOVALS.map(|kind| match shard.check(conn, "/g", kind) {
            true => 'Y',
            false => '-',
        });
        assert_eq!(checks.iter().collect::<String>(), words[3], "{line}");
        for ((kind, path), word) in changes.into_iter().zip(&words[4..]) {
            let events = trigger(&mut shard, &effect(kind, path, -1, -1));
            assert_eq!(heard(&events, conn), **word, "{kind:?} {path}: {line}");
        }
        rows += 1;
    }
    assert_eq!(rows, 96);
}

#[test]
fn events_of_one_change_come_in_order_and_once_per_connection() {
    let mut shard = WatchShard::new(1);
    let (a, b, c) = (ConnId(1), ConnId(2), ConnId(3));
    shard.add(a, "/", WatchKind::PersistentRecursive);
    shard.add(b, "/p/q", WatchKind::Child);
    shard.add(a, "/p/q", WatchKind::Data);
    shard.add(a, "/p/q", WatchKind::Child);
    shard.add(c, "/p", WatchKind::Child);
    shard.add(c, "/p", WatchKind::PersistentRecursive);
    let events = trigger(&mut shard, &effect(EffectKind::Deleted, "/p/q", -1, -1));
    let told: Vec<(i32, &str, &[ConnId])> = events
        .groups()
        .map(|(event, conns)| {
            assert_eq!(event.zxid, ZXID);
            (event.kind as i32, &*event.path, conns)
        })
        .collect();
    assert_eq!(told, [(2, "/p/q", &[a, c, b][..]), (4, "/p", &[c][..])]);
    assert_eq!(events.count(), 4);
    assert_eq!(shard.counts().watches_of_both_sides, 2);
}

#[test]
fn a_filtered_standard_watch_is_used_up_a_persistent_one_stays() {
    let mut shard = WatchShard::new(1);
    let (a, b) = (ConnId(1), ConnId(2));
    for conn in [a, b] {
        shard.add(conn, "/p", WatchKind::Data);
        shard.add(conn, "/p", WatchKind::Child);
    }
    shard.add(a, "/p", WatchKind::Persistent);
    let only_b = 1 << b.0;
    let events = trigger(&mut shard, &effect(EffectKind::DataChanged, "/p", only_b, 0));
    assert_eq!((heard(&events, a), heard(&events, b)), ("-".into(), "3/p".into()));
    // The parent's list filters events of children.
    let events = trigger(&mut shard, &effect(EffectKind::Created, "/p/q", 0, only_b));
    assert_eq!((heard(&events, a), heard(&events, b)), ("-".into(), "4/p".into()));
    let events = trigger(&mut shard, &effect(EffectKind::DataChanged, "/p", -1, -1));
    assert_eq!((heard(&events, a), heard(&events, b)), ("3/p".into(), "-".into()));
}

/// Java keeps a watch of the empty path (getData accepts it for the root), but no change ever has that path.
#[test]
fn the_empty_path_is_not_the_root() {
    let mut shard = WatchShard::new(1);
    let conn = ConnId(1);
    for kind in KINDS {
        shard.add(conn, "", kind);
    }
    for (kind, path) in [(EffectKind::DataChanged, "/"), (EffectKind::Created, "/e"), (EffectKind::Deleted, "/e")] {
        assert!(trigger(&mut shard, &effect(kind, path, -1, -1)).is_empty());
    }
    assert!(shard.check(conn, "", WatchRemovalKind::PersistentRecursive));
    assert!(!shard.check(conn, "/", WatchRemovalKind::Any));
}

/// As seen with Java 3.9.5: the three rows are a client that saw nothing, the creation of /s, everything.
#[test]
fn set_watches_catches_up_in_list_order() {
    let watches = |relative_zxid| WatchesToSet {
        relative_zxid,
        data: vec!["/s", "/nope", "/s"],
        exist: vec!["/s", "/nope2"],
        child: vec!["/s", "/nope", "/s"],
        persistent: vec!["/s", "/nope"],
        persistent_recursive: vec!["/s", "/nope3"],
    };
    let rows = [
        (0, "3/s,2/nope,3/s,1/s,4/s,2/nope,4/s", "--YYY"),
        (1, "2/nope,1/s,4/s,2/nope,4/s", "-YYYY"),
        (2, "2/nope,1/s,2/nope", "YYYYY"),
    ];
    for (seen, told, checks) in rows {
        let mut shard = WatchShard::new(1);
        let conn = ConnId(1);
        let mut events = Events::new();
        let lookup = |path: &str| (path == "/s").then_some(LastChange { mzxid: Zxid(1), pzxid: Zxid(2) });
        shard.set_watches(conn, &watches(Zxid(seen)), lookup, &mut events);
        assert_eq!(heard(&events, conn), told);
        assert!(events.iter().all(|(_, event)| event.zxid == Zxid(-1)));
        let found = |path| {
            REMOVALS.map(|kind| if shard.check(conn, path, kind) { 'Y' } else { '-' }).iter().collect::<String>()
        };
        assert_eq!(found("/s"), checks);
        assert_eq!(found("/nope"), "--YY-");
        assert_eq!(found("/nope2"), "-YY--");
        assert_eq!(found("/nope3"), "--Y-Y");
    }
}

#[test]
fn a_herd_is_told_once_and_leaves_nothing_behind() {
    let mut shard = WatchShard::new(1);
    let herd = 100_000;
    for round in 0..3 {
        for conn in 0..herd {
            shard.add(ConnId(conn), "/herd", WatchKind::Data);
            shard.add(ConnId(conn), "/herd", WatchKind::Child);
        }
        assert_eq!(shard.counts().watches, herd as usize);
        let mut events = Events::new();
        let change = effect(EffectKind::Deleted, "/herd", -1, -1);
        shard.trigger(&change, |_, _| true, &mut events);
        let told: Vec<u64> = events.iter().map(|(conn, _)| conn.0).collect();
        assert!(told.iter().copied().eq(0..herd), "round {round}");
        assert_eq!(shard.counts(), WatchCounts::default());
    }
}

/// A watch per line: slow, and obviously what the sheet says.
#[derive(Clone, Default)]
struct Model {
    watches: BTreeSet<(ConnId, String, &'static str)>,
}

/// Lines of a kind of watch: table and mode.
fn lines(kind: WatchKind) -> &'static [&'static str] {
    match kind {
        WatchKind::Data => &["data standard"],
        WatchKind::Child => &["child standard"],
        WatchKind::Persistent => &["data persistent", "child persistent"],
        WatchKind::PersistentRecursive => &["data recursive"],
    }
}

fn lines_of_removal(kind: WatchRemovalKind) -> Vec<&'static str> {
    match kind {
        WatchRemovalKind::Children => vec!["child standard"],
        WatchRemovalKind::Data => vec!["data standard"],
        WatchRemovalKind::Persistent => vec!["data persistent", "child persistent"],
        WatchRemovalKind::PersistentRecursive => vec!["data recursive"],
        WatchRemovalKind::Any => KINDS.iter().flat_map(|kind| lines(*kind)).copied().collect(),
    }
}

type Told = (i32, String, BTreeSet<ConnId>);

impl Model {
    fn add(&mut self, conn: ConnId, path: &str, kind: WatchKind) {
        for line in lines(kind) {
            self.watches.insert((conn, path.to_owned(), *line));
        }
    }

    fn check(&self, conn: ConnId, path: &str, kind: WatchRemovalKind) -> bool {
        lines_of_removal(kind).into_iter().any(|line| self.watches.contains(&(conn, path.to_owned(), line)))
    }

    fn remove(&mut self, conn: ConnId, path: &str, kind: WatchRemovalKind) -> bool {
        let before = self.watches.len();
        for line in lines_of_removal(kind) {
            self.watches.remove(&(conn, path.to_owned(), line));
        }
        self.watches.len() < before
    }

    /// Takes who matches out of one table, at one path.
    fn fire(&mut self, table: &str, path: &str) -> BTreeSet<ConnId> {
        let at = |watch: &(ConnId, String, &str)| watch.1 == path && watch.2.starts_with(table);
        let told = self.watches.iter().filter(|watch| at(watch)).map(|watch| watch.0);
        let told = told.collect();
        self.watches.retain(|watch| !(at(watch) && watch.2.ends_with("standard")));
        told
    }

    fn trigger(&mut self, effect: &Effect) -> Vec<Told> {
        let mut told = Vec::new();
        let changed = effect.path.to_string();
        let mut of_node = self.fire("data", &changed);
        let mut above = changed.clone();
        while above != "/" {
            above = path::parent(&above).to_owned();
            let recursive = self.watches.iter().filter(|w| w.1 == above && w.2 == "data recursive");
            of_node.extend(recursive.map(|watch| watch.0));
        }
        let code = match effect.kind {
            EffectKind::Created => 1,
            EffectKind::Deleted => 2,
            EffectKind::DataChanged => 3,
        };
        if effect.kind == EffectKind::Deleted {
            of_node.extend(self.fire("child", &changed));
        }
        of_node.retain(|conn| may_read(*conn, &effect.acl));
        told.push((code, changed.clone(), of_node));
        if effect.kind != EffectKind::DataChanged {
            let parent = path::parent(&changed).to_owned();
            let mut of_children = self.fire("child", &parent);
            let acl = effect.parent_acl.as_ref().unwrap();
            of_children.retain(|conn| may_read(*conn, acl));
            told.push((4, parent, of_children));
        }
        told.retain(|(_, _, conns)| !conns.is_empty());
        told
    }

    fn by_path(&self) -> BTreeMap<&str, BTreeSet<ConnId>> {
        let mut map: BTreeMap<&str, BTreeSet<ConnId>> = BTreeMap::new();
        for (conn, path, line) in &self.watches {
            if line.starts_with("data") {
                map.entry(path).or_default().insert(*conn);
            }
        }
        map
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(u64, usize, usize),
    Remove(u64, usize, usize),
    Drop(u64),
    Change(EffectKind, usize, i32, i32),
}

const PATHS: [&str; 7] = ["/", "/a", "/a/b", "/a/b/c", "/ab", "", "/a/b/c/d"];
/// Of `PATHS`: those that can be created or deleted.
const CHANGING: [usize; 5] = [1, 2, 3, 4, 6];

fn any_step() -> impl Strategy<Value = Step> {
    let conn = || 0..5u64;
    let mask = || prop_oneof![3 => Just(-1), 1 => 0..32];
    prop_oneof![
        6 => (conn(), 0..PATHS.len(), 0..KINDS.len()).prop_map(|(c, p, k)| Step::Add(c, p, k)),
        2 => (conn(), 0..PATHS.len(), 0..REMOVALS.len()).prop_map(|(c, p, k)| Step::Remove(c, p, k)),
        1 => conn().prop_map(Step::Drop),
        3 => (any::<bool>(), prop::sample::select(&CHANGING[..]), mask(), mask()).prop_map(|(created, p, m, n)| {
            let kind = if created { EffectKind::Created } else { EffectKind::Deleted };
            Step::Change(kind, p, m, n)
        }),
        2 => (prop_oneof![Just(0usize), prop::sample::select(&CHANGING[..])], mask())
            .prop_map(|(p, m)| Step::Change(EffectKind::DataChanged, p, m, m)),
    ]
}

fn by_path(shard: &WatchShard) -> BTreeMap<&str, BTreeSet<ConnId>> {
    let paths = shard.paths_watched();
    paths.map(|(path, conns)| (path, conns.collect())).collect()
}

fn compare(shard: &WatchShard, model: &Model) -> Result<(), TestCaseError> {
    for conn in (0..5).map(ConnId) {
        for path in PATHS {
            for kind in REMOVALS {
                let expected = model.check(conn, path, kind);
                prop_assert_eq!(shard.check(conn, path, kind), expected, "{:?} {} {:?}", conn, path, kind);
            }
        }
    }
    let by_path = by_path(shard);
    prop_assert_eq!(&by_path, &model.by_path());
    let mut turned: BTreeMap<&str, BTreeSet<ConnId>> = BTreeMap::new();
    for (conn, paths) in shard.conns_watching() {
        for path in paths {
            prop_assert!(turned.entry(path).or_default().insert(conn), "twice in a list");
        }
    }
    prop_assert_eq!(&turned, &by_path);
    let conns: BTreeSet<&ConnId> = by_path.values().flatten().collect();
    let entries: BTreeSet<(ConnId, &str, &str)> =
        model.watches.iter().map(|(conn, path, line)| (*conn, path.as_str(), &line[..5])).collect();
    let counts = WatchCounts {
        conns: conns.len(),
        paths: by_path.len(),
        watches: by_path.values().map(BTreeSet::len).sum(),
        watches_of_both_sides: entries.len(),
    };
    prop_assert_eq!(shard.counts(), counts);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_shard_agrees_with_the_model(steps in prop::collection::vec(any_step(), 1..60), seed in any::<u64>()) {
        let mut shard = WatchShard::new(seed);
        // The order of what comes out depends on what went in, not on the hashes.
        let mut twin = WatchShard::new(!seed);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Add(conn, path, kind) => {
                    for shard in [&mut shard, &mut twin] {
                        shard.add(ConnId(conn), PATHS[path], KINDS[kind]);
                    }
                    model.add(ConnId(conn), PATHS[path], KINDS[kind]);
                }
                Step::Remove(conn, path, kind) => {
                    let expected = model.remove(ConnId(conn), PATHS[path], REMOVALS[kind]);
                    for shard in [&mut shard, &mut twin] {
                        prop_assert_eq!(shard.remove(ConnId(conn), PATHS[path], REMOVALS[kind]), expected);
                    }
                }
                Step::Drop(conn) => {
                    for shard in [&mut shard, &mut twin] {
                        shard.drop_connection(ConnId(conn));
                    }
                    model.watches.retain(|watch| watch.0 != ConnId(conn));
                }
                Step::Change(kind, path, mask, parent_mask) => {
                    let change = effect(kind, PATHS[path], mask, parent_mask);
                    let events = trigger(&mut shard, &change);
                    let told: Vec<Told> = events
                        .groups()
                        .map(|(event, conns)| {
                            let set: BTreeSet<ConnId> = conns.iter().copied().collect();
                            assert_eq!(set.len(), conns.len(), "told twice");
                            (event.kind as i32, event.path.to_string(), set)
                        })
                        .collect();
                    prop_assert_eq!(told, model.trigger(&change));
                    let twins = trigger(&mut twin, &change);
                    prop_assert!(events.iter().eq(twins.iter()));
                }
            }
            compare(&shard, &model)?;
        }
    }
}
