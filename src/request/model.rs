//! A slow, plain reading of what creates, deletes, setData, check, multi and closeSession do: a map of paths, cloned to
//! take a multi back. Random histories run against it and the real thing; results, every stat, ephemerals and the
//! digest, computed anew from all znodes, must agree after every step. Java, asked by the differential test, is the
//! judge of both; this finds what they disagree about in a second.

use super::testbed::{ALICE, BOB, Testbed, check, codes, create, delete, in_multi, set_data};
use crate::message::{MultiOp, WriteOp};
use crate::types::{SessionId, StatPersisted, Zxid};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NO_NODE: i32 = -101;
const BAD_VERSION: i32 = -103;
const NO_CHILDREN: i32 = -108;
const EXISTS: i32 = -110;
const NOT_EMPTY: i32 = -111;
const SYSTEM_NODE: i32 = -8;

#[derive(Clone, Default)]
struct Model {
    nodes: BTreeMap<String, (Vec<u8>, StatPersisted)>,
}

#[derive(Clone, Debug)]
enum Step {
    Create { path: String, flags: i32 },
    Delete { path: String, version: i32 },
    SetData { path: String, text: String, version: i32 },
    Check { path: String, version: i32 },
}

#[derive(Clone, Debug)]
enum Action {
    One(SessionId, Step),
    Multi(SessionId, Vec<Step>),
    Close(SessionId),
}

impl Model {
    fn fresh() -> Model {
        let mut model = Model::default();
        for path in ["", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
            model.nodes.insert(path.to_owned(), Default::default());
        }
        model
    }

    fn children(&self, path: &str) -> usize {
        let is_child = |other: &&String| other.rsplit_once('/').is_some_and(|(parent, _)| parent == path);
        self.nodes.keys().filter(is_child).count()
    }

    fn run(&mut self, session: SessionId, step: &Step, zxid: i64, time: i64) -> i32 {
        match step {
            Step::Create { path, flags } => self.create(session, path, *flags, zxid, time),
            Step::Delete { path, version } => self.delete(path, *version, zxid),
            Step::SetData { path, text, version } => match self.versioned(path, *version) {
                Ok((data, stat)) => {
                    *data = text.clone().into();
                    stat.version += 1;
                    (stat.mzxid, stat.mtime) = (Zxid(zxid), time);
                    0
                }
                Err(code) => code,
            },
            Step::Check { path, version } => self.versioned(path, *version).err().unwrap_or(0),
        }
    }

    fn create(&mut self, session: SessionId, path: &str, flags: i32, zxid: i64, time: i64) -> i32 {
        let (parent_path, _) = path.rsplit_once('/').expect("a slash");
        let Some((_, parent)) = self.nodes.get(parent_path).cloned() else {
            return NO_NODE;
        };
        let suffix = match flags {
            2 | 3 => format!("{:010}", parent.cversion),
            _ => String::new(),
        };
        let path = format!("{path}{suffix}");
        if self.nodes.contains_key(&path) {
            return EXISTS;
        }
        if parent.ephemeral_owner != 0 {
            return NO_CHILDREN;
        }
        let stat = StatPersisted {
            czxid: Zxid(zxid),
            mzxid: Zxid(zxid),
            pzxid: Zxid(zxid),
            ctime: time,
            mtime: time,
            ephemeral_owner: if flags % 2 == 1 { session.0 } else { 0 },
            ..StatPersisted::default()
        };
        let (_, parent) = self.nodes.get_mut(parent_path).expect("just seen");
        parent.cversion += 1;
        parent.pzxid = Zxid(zxid);
        self.nodes.insert(path, (Vec::new(), stat));
        0
    }

    fn delete(&mut self, path: &str, version: i32, zxid: i64) -> i32 {
        if path == "/zookeeper" {
            return SYSTEM_NODE;
        }
        if let Err(code) = self.versioned(path, version) {
            return code;
        }
        if self.children(path) > 0 {
            return NOT_EMPTY;
        }
        self.remove(path, zxid);
        0
    }

    fn remove(&mut self, path: &str, zxid: i64) {
        let (parent_path, _) = path.rsplit_once('/').expect("a slash");
        self.nodes.remove(path);
        self.nodes.get_mut(parent_path).expect("a parent").1.pzxid = Zxid(zxid);
    }

    fn versioned(&mut self, path: &str, version: i32) -> Result<&mut (Vec<u8>, StatPersisted), i32> {
        match self.nodes.get_mut(path) {
            None => Err(NO_NODE),
            Some((_, stat)) if version != -1 && version != stat.version => Err(BAD_VERSION),
            Some(found) => Ok(found),
        }
    }

    /// What each entry of the reply says; `None` is success.
    fn multi(&mut self, session: SessionId, steps: &[Step], zxid: i64, time: i64) -> Vec<Option<i32>> {
        let before = self.clone();
        for (index, step) in steps.iter().enumerate() {
            let code = self.run(session, step, zxid, time);
            if code != 0 {
                *self = before;
                let mut codes = vec![Some(0); index];
                codes.push(Some(code));
                codes.resize(steps.len(), Some(-2));
                return codes;
            }
        }
        vec![None; steps.len()]
    }

    fn ephemerals(&self, session: SessionId) -> Vec<String> {
        let owned = |(_, (_, stat)): &(&String, &(Vec<u8>, StatPersisted))| stat.ephemeral_owner == session.0;
        self.nodes.iter().filter(owned).map(|(path, _)| path.clone()).collect()
    }

    fn digest(&self) -> u64 {
        let counted = self.nodes.iter().filter(|(path, _)| !path.starts_with("/zookeeper/"));
        counted.map(|(path, (data, stat))| node_digest(path, data, stat)).sum()
    }
}

fn node_digest(path: &str, data: &[u8], stat: &StatPersisted) -> u64 {
    let mut bytes = [path.as_bytes(), data].concat();
    for long in [stat.czxid.0, stat.mzxid.0, stat.pzxid.0, stat.ctime, stat.mtime] {
        bytes.extend(long.to_be_bytes());
    }
    for int in [stat.version, stat.cversion, stat.aversion] {
        bytes.extend(int.to_be_bytes());
    }
    bytes.extend(stat.ephemeral_owner.to_be_bytes());
    u64::from(crc32fast::hash(&bytes))
}

fn op_of(step: &Step) -> Option<WriteOp> {
    Some(match step {
        Step::Create { path, flags } => create(path, *flags),
        Step::Delete { path, version } => delete(path, *version),
        Step::SetData { path, text, version } => set_data(path, text, *version),
        Step::Check { .. } => return None,
    })
}

fn in_multi_of(step: &Step) -> MultiOp {
    match step {
        Step::Check { path, version } => check(path, *version),
        other => in_multi(op_of(other).expect("not a check")),
    }
}

fn act(bed: &mut Testbed, model: &mut Model, action: &Action) -> Result<(), TestCaseError> {
    let (zxid, time) = (bed.zxid + 1, bed.now);
    match action {
        Action::One(session, step) => {
            let Some(op) = op_of(step) else { return Ok(()) };
            let code = bed.run_as(*session, op).err().map_or(0, |error| error.code());
            prop_assert_eq!(code, model.run(*session, step, zxid, time));
        }
        Action::Multi(session, steps) => {
            let ops = steps.iter().map(in_multi_of).collect();
            let result = bed.run_as(*session, WriteOp::Multi(ops));
            let expected = model.multi(*session, steps, zxid, time);
            prop_assert_eq!(codes(result), expected);
        }
        Action::Close(session) => {
            bed.close(*session);
            for path in model.ephemerals(*session) {
                model.remove(&path, zxid);
            }
        }
    }
    Ok(())
}

fn compare(bed: &Testbed, model: &Model) -> Result<(), TestCaseError> {
    prop_assert_eq!(bed.view().node_count(), model.nodes.len() as u64);
    for (path, (data, stat)) in &model.nodes {
        let node = bed.view().lookup(path);
        prop_assert!(node.is_some(), "{} is missing", path);
        let node = node.expect("just seen");
        prop_assert_eq!(node.data(), Some(&data[..]), "{}", path);
        if path != "/zookeeper/config" {
            prop_assert_eq!(node.stat_persisted(), *stat, "{}", path);
        }
        prop_assert_eq!(node.child_count() as usize, model.children(path), "{}", path);
    }
    for session in [ALICE, BOB] {
        let mut ours: Vec<_> = bed.view().ephemerals(session).map(str::to_owned).collect();
        ours.sort();
        prop_assert_eq!(ours, model.ephemerals(session));
    }
    prop_assert_eq!(bed.view().digest(), model.digest());
    Ok(())
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "(/[ab]){1,3}",
        1 => "(/[ab]){0,2}/s000000000[0-3]",
        1 => Just("/zookeeper".to_owned()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let version = || prop_oneof![3 => Just(-1), 2 => 0..3i32];
    prop_oneof![
        4 => (path(), 0..2i32).prop_map(|(path, flags)| Step::Create { path, flags }),
        1 => ("(/[ab]){0,2}/s", 2..4i32).prop_map(|(path, flags)| Step::Create { path, flags }),
        3 => (path(), version()).prop_map(|(path, version)| Step::Delete { path, version }),
        2 => (path(), "[xy]{0,3}", version())
            .prop_map(|(path, text, version)| Step::SetData { path, text, version }),
        1 => (path(), version()).prop_map(|(path, version)| Step::Check { path, version }),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let session = || prop_oneof![Just(ALICE), Just(BOB)];
    prop_oneof![
        12 => (session(), step()).prop_map(|(session, step)| Action::One(session, step)),
        4 => (session(), prop::collection::vec(step(), 0..5))
            .prop_map(|(session, steps)| Action::Multi(session, steps)),
        1 => session().prop_map(Action::Close),
    ]
}

proptest! {
    #[test]
    fn random_histories_go_as_the_model_says(actions in prop::collection::vec(action(), 1..60)) {
        let mut bed = Testbed::default();
        let mut model = Model::fresh();
        for action in &actions {
            bed.now += 1;
            act(&mut bed, &mut model, action)?;
            compare(&bed, &model)?;
        }
    }
}
