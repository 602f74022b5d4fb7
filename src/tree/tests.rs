//! The tree against a plain map, through random changes, savepoints, publications and holds.

#![allow(clippy::map_entry)] // the branches are asserted, not merged

use super::*;
use crate::types::{Acl, EphemeralOwner, OwnerRules, SessionId, StatPersisted, Zxid};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

const RULES: OwnerRules = OwnerRules { extended_types: true, emulate_353_ttl: false };

#[derive(Clone, Debug, PartialEq)]
struct Plain {
    data: Option<Vec<u8>>,
    acl: Vec<Acl>,
    stat: StatPersisted,
}

type Model = BTreeMap<String, Plain>;

fn dump(view: View<'_>) -> Model {
    let mut model = Model::new();
    let mut to_visit = vec![(String::new(), view.root())];
    while let Some((path, node)) = to_visit.pop() {
        let mut children = 0;
        for child in node.children() {
            children += 1;
            to_visit.push((format!("{path}/{}", child.name()), child));
        }
        assert_eq!(children, node.child_count(), "count of {path}");
        let plain =
            Plain { data: node.data().map(<[u8]>::to_vec), acl: node.acl().to_vec(), stat: node.stat_persisted() };
        assert_eq!(view.lookup(&path).map(|n| n.stat_persisted()), Some(plain.stat));
        model.insert(path, plain);
    }
    model
}

fn check(view: View<'_>, model: &Model) {
    assert_eq!(&dump(view), model);
    assert_eq!(view.node_count(), model.len() as u64);
    let digest = model.iter().fold(0u64, |sum, (path, n)| {
        sum.wrapping_add(u64::from(super::digest::of_node(path, n.data.as_deref(), &n.stat)))
    });
    assert_eq!(view.digest(), digest);
    let bytes: usize = 1 + model.iter().map(|(p, n)| p.len() + n.data.as_ref().map_or(0, Vec::len)).sum::<usize>();
    assert_eq!(view.data_bytes(), bytes as u64);
    let mut by_owner: BTreeMap<SessionId, Vec<&str>> = BTreeMap::new();
    for (path, n) in model {
        if let EphemeralOwner::Session(session) = EphemeralOwner::from_raw(n.stat.ephemeral_owner, RULES) {
            by_owner.entry(session).or_default().push(path);
        }
    }
    for (session, paths) in &by_owner {
        let mut ours: Vec<&str> = view.ephemerals(*session).collect();
        ours.sort_unstable();
        assert_eq!(&ours, paths);
    }
    assert_eq!(view.ephemeral_owners().count(), by_owner.len());
    let mut lists: Vec<_> = model.values().map(|n| &n.acl).filter(|a| **a != Acl::open_unsafe()).collect();
    lists.sort();
    lists.dedup();
    assert_eq!(view.acls().count(), lists.len(), "the ACL table holds what is used and nothing else");
}

fn random_owner(rng: &mut SmallRng) -> i64 {
    match rng.random_range(0..8) {
        0 => rng.random_range(1..5),
        1 => EphemeralOwner::CONTAINER_RAW,
        2 => EphemeralOwner::Ttl { ttl_ms: 1000 }.to_raw(),
        _ => 0,
    }
}

fn random_change(rng: &mut SmallRng, tree: &mut TreeWriter, model: &mut Model, zxid: i64) {
    let paths: Vec<String> = model.keys().cloned().collect();
    let path = paths[rng.random_range(0..paths.len())].clone();
    let data = rng.random_bool(0.9).then(|| vec![zxid as u8; rng.random_range(0..40)]);
    let acl = match rng.random_range(0..4) {
        0 => vec![Acl::new(rng.random_range(1..4), "digest", "a:b")],
        _ => Acl::open_unsafe(),
    };
    match rng.random_range(0..10) {
        0..4 => {
            let child = format!("{path}/{}", rng.random_range(0..60));
            let stat = StatPersisted {
                czxid: Zxid(zxid),
                mzxid: Zxid(zxid),
                pzxid: Zxid(zxid),
                ctime: zxid * 7,
                mtime: zxid * 7,
                ephemeral_owner: random_owner(rng),
                ..Default::default()
            };
            let parent = model[&path].stat;
            let change = ParentChange { cversion: Some(parent.cversion + 1), pzxid: Some(Zxid(zxid)) };
            let inserted = tree.insert(&child, data.as_deref(), Some(&acl), &stat, change);
            if model.contains_key(&child) {
                assert_eq!(inserted, Err(InsertError::Exists));
            } else {
                assert_eq!(inserted, Ok(()));
                model.insert(child, Plain { data, acl, stat });
                let parent = &mut model.get_mut(&path).unwrap().stat;
                parent.cversion += 1;
                parent.pzxid = Zxid(zxid);
            }
        }
        4..6 if !path.is_empty() => {
            let change = ParentChange { cversion: None, pzxid: Some(Zxid(zxid)) };
            assert!(tree.remove(&path, change));
            let below = format!("{path}/");
            model.retain(|p, _| *p != path && !p.starts_with(&below));
            let (parent, _) = crate::types::path::split(&path).unwrap();
            model.get_mut(parent).unwrap().stat.pzxid = Zxid(zxid);
        }
        6 => {
            let node = model.get_mut(&path).unwrap();
            node.acl = acl;
            node.stat.aversion += 1;
            assert!(tree.set_acl(&path, Some(&node.acl), &node.stat));
        }
        _ => {
            let node = model.get_mut(&path).unwrap();
            node.data = data;
            node.stat.version += 1;
            node.stat.mzxid = Zxid(zxid);
            node.stat.mtime = zxid * 7;
            assert!(tree.set_data(&path, node.data.as_deref(), |_| node.stat));
        }
    }
}

#[test]
fn every_version_equals_a_plain_map() {
    let (seeds, steps) = if cfg!(miri) { (2, 60) } else { (20, 600) };
    for seed in 0..seeds {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut tree = TreeWriter::fresh(RULES, true, seed);
        let mut model = dump(tree.view());
        let reader = tree.reader();
        let mut sealed: Vec<(VersionNumber, Model)> = Vec::new();
        let mut held: Vec<(Held, Model)> = Vec::new();
        // Of the batch that grows; of those that are sealed, with the version at their end; of those that are published.
        let mut cut: Vec<Model> = Vec::new();
        let mut sealed_cuts: Vec<(VersionNumber, Cuts, Vec<Model>)> = Vec::new();
        let mut shown_cuts: Vec<(Cuts, Vec<Model>)> = Vec::new();
        let mut published = None;
        for step in 1..steps {
            match rng.random_range(0..20) {
                0..2 => {
                    let cuts = tree.take_cuts();
                    sealed.push((tree.seal(), model.clone()));
                    assert_eq!(cuts.is_some(), !cut.is_empty());
                    sealed_cuts.extend(cuts.map(|cuts| (sealed[sealed.len() - 1].0, cuts, std::mem::take(&mut cut))));
                }
                2 if !sealed.is_empty() => {
                    let upto = rng.random_range(0..sealed.len());
                    tree.publish_through(sealed[upto].0);
                    published = sealed.drain(..=upto).next_back();
                    let through = published.as_ref().map_or(0, |(number, _)| *number);
                    let shown = sealed_cuts.extract_if(.., |(number, ..)| *number <= through);
                    shown_cuts.extend(shown.map(|(_, cuts, models)| (cuts, models)));
                }
                3 => {
                    let savepoint = tree.savepoint();
                    let mut tried = model.clone();
                    for _ in 0..rng.random_range(0..6) {
                        random_change(&mut rng, &mut tree, &mut tried, step);
                    }
                    check(tree.view(), &tried);
                    if rng.random_bool(0.5) {
                        tree.rollback(savepoint);
                    } else {
                        tree.release(savepoint);
                        model = tried;
                    }
                }
                4 => {
                    if let Some((_, model)) = &published {
                        held.push((tree.hold(), model.clone()));
                    }
                }
                5 if !held.is_empty() => {
                    let at = rng.random_range(0..held.len());
                    let (held, model) = held.swap_remove(at);
                    check(held.view(), &model);
                }
                6..8 => {
                    assert_eq!(tree.cut() as usize, cut.len());
                    cut.push(model.clone());
                }
                8 if !shown_cuts.is_empty() => {
                    let (cuts, models) = shown_cuts.swap_remove(rng.random_range(0..shown_cuts.len()));
                    (0..).zip(&models).for_each(|(nth, model)| check(cuts.view(nth), model));
                }
                9 => tree.tidy(),
                _ => random_change(&mut rng, &mut tree, &mut model, step),
            }
            if let Some((number, model)) = &published {
                let pinned = reader.pin();
                assert_eq!(pinned.number(), *number);
                if step % 16 == 0 {
                    check(pinned.view(), model);
                }
            }
        }
        check(tree.view(), &model);
        let count = |is: fn(EphemeralOwner) -> bool| {
            model.values().filter(|n| is(EphemeralOwner::from_raw(n.stat.ephemeral_owner, RULES))).count()
        };
        assert_eq!(tree.containers().count(), count(|o| o == EphemeralOwner::Container));
        assert_eq!(tree.ttl_nodes().count(), count(|o| matches!(o, EphemeralOwner::Ttl { .. })));
        for (held, model) in held {
            check(held.view(), &model);
        }
    }
}

#[test]
fn a_fresh_tree_has_the_digest_and_the_stats_of_javas() {
    let tree = TreeWriter::fresh(OwnerRules::default(), true, 1);
    assert_eq!(tree.view().digest(), 0x51c6_d660);
    assert_eq!(tree.view().node_count(), 4);
    assert_eq!(tree.view().data_bytes(), 44);
    assert_eq!(tree.view().lookup("/").unwrap().stat().cversion, -1);
    assert_eq!(tree.view().lookup("/zookeeper").unwrap().stat().cversion, -2);
    assert_eq!(tree.view().lookup("/zookeeper/config").unwrap().stat().aversion, -1);
    assert!(tree.view().lookup("/zookeeper/").is_none());
    assert!(tree.view().lookup("zookeeper").is_none());
}

/// Readers on other threads must never see half a version, nor a version older than one seen before.
#[test]
fn readers_see_whole_versions_that_move_forward() {
    let rounds = if cfg!(miri) { 30 } else { 3000 };
    let mut tree = TreeWriter::fresh(RULES, true, 3);
    for name in ["/a", "/b"] {
        tree.insert(name, Some(b"0"), None, &StatPersisted::default(), ParentChange::default()).unwrap();
    }
    let number = tree.seal();
    tree.publish_through(number);
    let done = &std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let reader = tree.reader();
            scope.spawn(move || {
                let mut newest = 0;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let pinned = reader.pin();
                    let view = pinned.view();
                    let a = view.lookup("/a").unwrap();
                    assert_eq!(a.data(), view.lookup("/b").unwrap().data());
                    assert_eq!(a.stat().version, a.child_count() as i32);
                    assert!(pinned.number() >= newest);
                    newest = pinned.number();
                }
            });
        }
        for round in 1..rounds {
            let data = round.to_string();
            for name in ["/a", "/b"] {
                let stat = StatPersisted { version: round, ..Default::default() };
                tree.set_data(name, Some(data.as_bytes()), |_| stat);
            }
            let child = format!("/a/{round}");
            tree.insert(&child, None, None, &StatPersisted::default(), ParentChange::default()).unwrap();
            let number = tree.seal();
            tree.publish_through(number);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// A server that is given another state: whoever looks at the old one, published or held, sees it whole; what was never
/// published is gone.
#[test]
fn a_cleared_tree_leaves_readers_what_they_look_at() {
    let mut rng = SmallRng::seed_from_u64(5);
    let mut tree = TreeWriter::fresh(RULES, true, 5);
    let mut held: Vec<(Held, Model)> = Vec::new();
    for round in 0..if cfg!(miri) { 6 } else { 60 } {
        let insert = |tree: &mut TreeWriter, nth: u32| {
            let path = format!("/{round}-{nth}");
            tree.insert(&path, Some(b"data"), None, &StatPersisted::default(), ParentChange::default()).unwrap();
        };
        (0..rng.random_range(1..20)).for_each(|nth| insert(&mut tree, nth));
        let number = tree.seal();
        tree.publish_through(number);
        let published = dump(tree.reader().pin().view());
        if rng.random_bool(0.5) {
            let hold = tree.hold();
            held.push((hold, published.clone()));
        }
        // Sealed and not published, with znodes of the published version replaced and new ones removed again.
        for nth in 100..rng.random_range(101..110) {
            insert(&mut tree, nth);
            tree.set_data(&format!("/{round}-0"), Some(b"other"), |_| StatPersisted::default());
            tree.seal();
            tree.remove(&format!("/{round}-{nth}"), ParentChange::default());
        }
        let reader = tree.reader();
        let pinned = reader.pin();
        tree.clear();
        tree.found();
        check(tree.view(), &dump(tree.view()));
        assert_eq!(dump(pinned.view()), published);
        drop(pinned);
        if rng.random_bool(0.5) {
            let number = tree.seal();
            tree.publish_through(number);
            assert_eq!(tree.reader().pin().view().node_count(), 4);
        }
        if held.len() > 3 {
            held.remove(0);
        }
        for (hold, model) in &held {
            assert_eq!(&dump(hold.view()), model);
        }
    }
}

/// What a snapshot may hold: few znodes with many children, many with few, names that sort before and behind the slash.
fn snapshot_of(rng: &mut SmallRng, znodes: usize) -> Model {
    let mut model = dump(TreeWriter::empty(RULES, true, 5).view());
    let mut paths = vec![String::new()];
    while model.len() < znodes {
        let parent = &paths[rng.random_range(0..paths.len().min(30))];
        let path = format!("{parent}/{}{}", rng.random_range(0..1000), ["", "-", "x"][rng.random_range(0..3)]);
        let (czxid, ctime) = (Zxid(rng.random_range(1..100)), rng.random_range(1..100));
        let mut stat = StatPersisted { czxid, mzxid: czxid, pzxid: czxid, ctime, mtime: ctime, ..Default::default() };
        // Without it a record has no room for children before they come.
        stat.cversion = rng.random_range(0..2);
        stat.ephemeral_owner = random_owner(rng);
        let acl = [Acl::open_unsafe(), vec![Acl::new(1, "digest", "a:b")]][rng.random_range(0..2)].clone();
        if model.insert(path.clone(), Plain { data: Some(path.clone().into()), acl, stat }).is_none() {
            paths.push(path);
        }
    }
    model
}

fn load<'a>(tree: &mut TreeWriter, nodes: impl Iterator<Item = (&'a String, &'a Plain)>) -> Result<(), InsertError> {
    let mut loading = Loading::default();
    for (path, node) in nodes {
        let acl = tree.intern_acl(Some(&node.acl));
        loading.insert(tree, path, node.data.as_deref(), acl, &node.stat)?;
    }
    loading.finish(tree)
}

#[test]
fn a_loaded_tree_is_like_one_that_grew() {
    for seed in 0..if cfg!(miri) { 2 } else { 40 } {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut model = snapshot_of(&mut rng, if cfg!(miri) { 15 } else { 30 << (seed % 6) });
        let mut tree = TreeWriter::empty(RULES, true, seed);
        // In the order of paths everything below a znode follows it, but for siblings whose name goes on with a character
        // that sorts before the slash. By length every level comes before the next.
        let mut nodes: Vec<_> = model.iter().collect();
        if seed % 4 == 0 {
            nodes.sort_by_key(|(path, _)| path.len());
        }
        let loaded = load(&mut tree, nodes.into_iter());
        assert_eq!(loaded, Ok(()));
        check(tree.view(), &model);
        let number = tree.seal();
        tree.publish_through(number);
        for zxid in 100_000..100_000 + if cfg!(miri) { 8 } else { 400 } {
            random_change(&mut rng, &mut tree, &mut model, zxid);
        }
        check(tree.view(), &model);
    }
}

#[test]
fn what_no_tree_can_be_is_not_loaded() {
    let plain = Plain { data: None, acl: Acl::open_unsafe(), stat: StatPersisted::default() };
    for (paths, refused) in [
        (&["", "/a", "/a/b", "/a/c", "/d"][..], None),
        // Not the usual order, and yet all parents come first.
        (&["", "/a", "/d", "/a/b", "/d/e", "/a/b/c"], None),
        (&["", "/a", "/a/b", "/c", "/a/b", "/d"], Some(InsertError::Exists)),
        (&["", "/a", "/b", "/a"], Some(InsertError::Exists)),
        (&["", "/a", "/a/x", "/a", "/a/y"], Some(InsertError::Exists)),
        (&["", "/"], Some(InsertError::Exists)),
        (&["", "/a", "/b/c"], Some(InsertError::NoParent)),
        (&["", "/a/b"], Some(InsertError::NoParent)),
        (&["", "/a", "/ab/c"], Some(InsertError::NoParent)),
        (&["", "a"], Some(InsertError::NoParent)),
    ] {
        let mut tree = TreeWriter::empty(RULES, true, 9);
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let loaded = load(&mut tree, paths.iter().map(|path| (path, &plain)));
        assert_eq!(loaded.err(), refused, "{paths:?}");
        if refused.is_none() {
            assert_eq!(dump(tree.view()).into_keys().collect::<BTreeSet<_>>(), paths.into_iter().collect());
        }
    }
}
