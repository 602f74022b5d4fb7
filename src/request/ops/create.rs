//! create, create2, createContainer and createTTL.

use super::rough_path;
use crate::message::{CreateOp, Effect, EffectKind, TxnBody, TxnHeader};
use crate::request::prepare::Context;
use crate::request::quota::{self, Allowance};
use crate::tree::{InsertError, NodeRef, ParentChange, TreeWriter, View};
use crate::types::{Acl, CreateMode, EphemeralOwner, ErrorCode, OpCode, Stat, StatPersisted, path, perms};
use std::fmt::Write;

/// Digits of a sequence number; a negative one has its sign among them.
const SEQUENCE_DIGITS: usize = 10;

pub(in crate::request) fn prepare(
    view: View<'_>,
    op: CreateOp,
    allowance: &Allowance,
    context: &Context<'_>,
) -> Result<TxnBody, ErrorCode> {
    let access = &context.rules.access;
    let mode = legal_mode(&op, context)?;
    match mode.is_ephemeral() {
        true => context.check_ephemeral_session()?,
        false => context.check_session()?,
    }
    let path = rough_path(op.path)?;
    let acl = access.fix_up(op.acl, context.by.ids)?;
    let parent = view.lookup(path::parent(&path)).ok_or(ErrorCode::NoNode)?;
    access.check(parent.acl(), perms::CREATE, context.by.ids)?;
    let parent_cversion = parent.stat_persisted().cversion;
    let path = final_path(path, mode, parent_cversion)?;
    check_place(parent, &path)?;
    allowance.check(1, bytes(op.data.as_deref()))?;

    let parent_cversion = parent_cversion.wrapping_add(1);
    let (data, acl) = (op.data, Some(acl));
    Ok(match op.op {
        OpCode::CreateContainer => TxnBody::CreateContainer { path, data, acl, parent_cversion },
        OpCode::CreateTtl => TxnBody::CreateTtl { path, data, acl, parent_cversion, ttl_ms: op.ttl_ms },
        op => TxnBody::Create { op, path, data, acl, ephemeral: mode.is_ephemeral(), parent_cversion },
    })
}

/// Whether this is a create that gives its session an ephemeral, as `QuorumZooKeeperServer.checkUpgradeSession` sees it: the
/// creates of containers and TTLs are none, whatever their flags say.
pub(in crate::request) fn makes_ephemeral(op: OpCode, flags: i32) -> bool {
    matches!(op, OpCode::Create | OpCode::Create2)
        && CreateMode::from_flags(flags).is_some_and(CreateMode::is_ephemeral)
}

/// Flags, and what they ask of the TTL. A createTTL without a TTL mode would break a Java server when it applies it.
fn legal_mode(op: &CreateOp, context: &Context<'_>) -> Result<CreateMode, ErrorCode> {
    let mode = CreateMode::from_flags(op.flags).ok_or(ErrorCode::BadArguments)?;
    if mode.is_ttl() && !context.rules.owner.extended_types {
        return Err(ErrorCode::Unimplemented);
    }
    let is_ttl_op = op.op == OpCode::CreateTtl;
    let ttl_is_legal = (1..=EphemeralOwner::TTL_MS_MAX).contains(&op.ttl_ms);
    if mode.is_ttl() != is_ttl_op || (is_ttl_op && !ttl_is_legal) {
        return Err(ErrorCode::BadArguments);
    }
    Ok(mode)
}

/// The path with its sequence number, validated in full only now: a sequential `/a/` is legal.
fn final_path(mut path: String, mode: CreateMode, parent_cversion: i32) -> Result<String, ErrorCode> {
    if mode.is_sequential() {
        path.reserve_exact(SEQUENCE_DIGITS + 1);
        write!(path, "{parent_cversion:0SEQUENCE_DIGITS$}").expect("a string takes what it is given");
    }
    if path::validate(&path).is_err() || quota::create_breaks_java(&path) {
        return Err(ErrorCode::BadArguments);
    }
    Ok(path)
}

fn check_place(parent: NodeRef<'_>, path: &str) -> Result<(), ErrorCode> {
    let (_, name) = path::split(path).ok_or(ErrorCode::BadArguments)?;
    // Only the root itself has no name.
    if name.is_empty() || parent.child(name).is_some() {
        return Err(ErrorCode::NodeExists);
    }
    match parent.owner() {
        EphemeralOwner::Session(_) => Err(ErrorCode::NoChildrenForEphemerals),
        _ => Ok(()),
    }
}

fn bytes(data: Option<&[u8]>) -> i64 {
    data.map_or(0, <[u8]>::len) as i64
}

/// A znode as a transaction describes it.
pub(in crate::request) struct NewNode<'a> {
    pub path: &'a str,
    pub data: Option<&'a [u8]>,
    pub acl: Option<&'a [Acl]>,
    pub owner: EphemeralOwner,
    /// Number of creates under the parent, this one included; -1 = one more than now (logs before 3.4).
    pub parent_cversion: i32,
    /// Type 1 only: when the znode is there already, the parent's count is raised all the same.
    pub raises_parent_if_exists: bool,
}

/// `DataTree.createNode`, and what `processTxn` does when the znode is there already, which happens when a log is
/// replayed over a snapshot that was written while writes went on.
pub(in crate::request) fn apply(
    tree: &mut TreeWriter,
    header: &TxnHeader,
    new: &NewNode<'_>,
    effects: Option<&mut Vec<Effect>>,
) -> Result<Stat, ErrorCode> {
    let (parent_path, name) = path::split(new.path).ok_or(ErrorCode::NoNode)?;
    let parent = tree.view().lookup(parent_path).ok_or(ErrorCode::NoNode)?;
    let parent = parent.stat_persisted();
    let parent_change = parent_change(&parent, new.parent_cversion, header);
    let stat = StatPersisted {
        czxid: header.zxid,
        mzxid: header.zxid,
        pzxid: header.zxid,
        ctime: header.time.0,
        mtime: header.time.0,
        ephemeral_owner: new.owner.to_raw(),
        ..StatPersisted::default()
    };
    match tree.insert(new.path, new.data, new.acl, &stat, parent_change) {
        Ok(()) => {}
        Err(InsertError::NoParent) => return Err(ErrorCode::NoNode),
        Err(InsertError::Exists) => {
            meet_existing(tree, new, parent_path, &parent, parent_change);
            return Err(ErrorCode::NodeExists);
        }
    }
    quota::record_creation(tree, new.path);
    quota::record_change(tree, new.path, 1, bytes(new.data));
    if let Some(effects) = effects {
        effects.extend(created(tree.view(), header, new.path, parent_path, name));
    }
    Ok(shown(&stat, new))
}

/// The parent's count never goes back, so that replaying an old create over a newer state changes nothing.
fn parent_change(parent: &StatPersisted, cversion: i32, header: &TxnHeader) -> ParentChange {
    let cversion = match cversion {
        -1 => parent.cversion.wrapping_add(1),
        given => given,
    };
    if cversion <= parent.cversion {
        return ParentChange::default();
    }
    ParentChange { cversion: Some(cversion), pzxid: Some(header.zxid) }
}

/// The znode in place takes the transaction's ACL: a snapshot may hold it with a key from before.
fn meet_existing(
    tree: &mut TreeWriter,
    new: &NewNode<'_>,
    parent_path: &str,
    parent: &StatPersisted,
    change: ParentChange,
) {
    let existing = tree.view().lookup(new.path).map(NodeRef::stat_persisted);
    if let Some(stat) = existing {
        tree.set_acl(new.path, new.acl, &stat);
    }
    if let (true, Some(cversion), Some(pzxid)) = (new.raises_parent_if_exists, change.cversion, change.pzxid) {
        let raised = StatPersisted { cversion, pzxid, ..*parent };
        tree.set_stat(parent_path, &raised);
    }
}

fn created(view: View<'_>, header: &TxnHeader, path: &str, parent_path: &str, name: &str) -> Option<Effect> {
    let parent = view.lookup(parent_path)?;
    Some(Effect {
        zxid: header.zxid,
        kind: EffectKind::Created,
        path: path.into(),
        acl: parent.child(name)?.acl().clone(),
        parent_acl: Some(parent.acl().clone()),
    })
}

/// A new znode as clients see it.
fn shown(stat: &StatPersisted, new: &NewNode<'_>) -> Stat {
    Stat {
        czxid: stat.czxid,
        mzxid: stat.mzxid,
        pzxid: stat.pzxid,
        ctime: stat.ctime,
        mtime: stat.mtime,
        ephemeral_owner: new.owner.shown(),
        data_length: bytes(new.data) as i32,
        ..Stat::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{EffectKind, WriteOp, WriteResult};
    use crate::request::testbed::{ALICE, BOB, Testbed, create, create_op, delete};
    use crate::types::Zxid;

    fn ttl(path: &str, flags: i32, ttl_ms: i64) -> WriteOp {
        WriteOp::Create(CreateOp { op: OpCode::CreateTtl, ttl_ms, ..create_op(path, flags) })
    }

    fn by(op: OpCode, path: &str, flags: i32) -> WriteOp {
        WriteOp::Create(CreateOp { op, ..create_op(path, flags) })
    }

    #[test]
    fn a_new_znode_and_its_parent_get_the_stats_of_the_book() {
        let mut bed = Testbed::default();
        bed.add_with("/a", "data");
        let stat = bed.stat("/a");
        let expected = Stat {
            czxid: Zxid(1),
            mzxid: Zxid(1),
            pzxid: Zxid(1),
            ctime: 1000,
            mtime: 1000,
            data_length: 4,
            ..Stat::default()
        };
        assert_eq!(stat, expected);
        let root = bed.stat("/");
        assert_eq!((root.cversion, root.pzxid, root.num_children), (0, Zxid(1), 2));
        assert_eq!(bed.changes(), [(EffectKind::Created, "/a")]);
        assert_eq!(bed.effects[0].zxid, Zxid(1));
        assert_eq!(*bed.effects[0].acl, Acl::open_unsafe());
        assert_eq!(bed.effects[0].parent_acl.as_deref(), Some(&Acl::open_unsafe()[..]));
    }

    #[test]
    fn only_the_oldest_create_answers_without_a_stat() {
        let mut bed = Testbed::default();
        let plain = bed.run(create("/a", 0));
        assert_eq!(plain, Ok(WriteResult::Path("/a".to_owned())));
        let op = WriteOp::Create(CreateOp { ttl_ms: 5, ..create_op("/t", 5) });
        assert_eq!(bed.run(op), Err(ErrorCode::BadArguments));
        for (op, path) in [
            (by(OpCode::Create2, "/b", 1), "/b"),
            (by(OpCode::CreateContainer, "/c", 4), "/c"),
            (ttl("/d", 5, 77), "/d"),
        ] {
            let result = bed.run(op);
            let stat = bed.stat(path);
            assert_eq!(result, Ok(WriteResult::PathAndStat(path.to_owned(), stat)));
        }
    }

    #[test]
    fn owners_are_stored_as_the_mode_says() {
        let mut bed = Testbed::default();
        for (op, path, owner, shown) in [
            (create("/p", 0), "/p", EphemeralOwner::Persistent, 0),
            (create("/e", 1), "/e", EphemeralOwner::Session(ALICE), ALICE.0),
            (by(OpCode::CreateContainer, "/c", 4), "/c", EphemeralOwner::Container, 0),
            (ttl("/t", 5, 9), "/t", EphemeralOwner::Ttl { ttl_ms: 9 }, 0),
            // The opcode makes a container, not the flags; flags make an ephemeral only where the opcode lets them.
            (create("/p4", 4), "/p4", EphemeralOwner::Persistent, 0),
            (by(OpCode::CreateContainer, "/c1", 1), "/c1", EphemeralOwner::Container, 0),
        ] {
            bed.run(op).expect(path);
            let node = bed.view().lookup(path).expect(path);
            assert_eq!(node.owner(), owner, "{path}");
            assert_eq!(node.stat().ephemeral_owner, shown, "{path}");
        }
        let raw = |path| bed.view().lookup(path).expect(path).stat_persisted().ephemeral_owner;
        assert_eq!(raw("/c"), i64::MIN);
        assert_eq!(raw("/t") as u64, 0xff00_0000_0000_0009);
    }

    #[test]
    fn flags_and_ttl_must_agree() {
        let mut bed = Testbed::default();
        for op in [
            create("/x", -1),
            create("/x", 7),
            create("/x", 5),
            by(OpCode::CreateContainer, "/x", 6),
            ttl("/x", 0, 5),
            ttl("/x", 0, -1),
            ttl("/x", 4, 5),
            ttl("/x", 5, 0),
            ttl("/x", 5, -1),
            ttl("/x", 6, EphemeralOwner::TTL_MS_MAX + 1),
        ] {
            assert_eq!(bed.run(op.clone()), Err(ErrorCode::BadArguments), "{op:?}");
        }
        bed.run(ttl("/x", 6, EphemeralOwner::TTL_MS_MAX)).expect("the longest there is");
        bed.rules.owner.extended_types = false;
        assert_eq!(bed.run(ttl("/y", 5, 5)), Err(ErrorCode::Unimplemented));
        assert_eq!(bed.run(create("/y", 5)), Err(ErrorCode::Unimplemented));
        assert_eq!(bed.run(ttl("/y", 0, 5)), Err(ErrorCode::BadArguments));
    }

    #[test]
    fn sequence_numbers_are_the_parents_count_of_creates() {
        let mut bed = Testbed::default();
        bed.add("/q");
        bed.add("/q/other");
        let path = |result| match result {
            Ok(WriteResult::Path(path)) => path,
            other => panic!("{other:?}"),
        };
        assert_eq!(path(bed.run(create("/q/n-", 2))), "/q/n-0000000001");
        bed.run(delete("/q/n-0000000001", -1)).expect("deleted");
        // A delete does not count back, and a name may consist of the number alone.
        assert_eq!(path(bed.run(create("/q/", 3))), "/q/0000000002");
        assert_eq!(path(bed.run(create("/", 2))), "/0000000001");
    }

    /// The counter's turn, as Java prints and keeps it.
    #[test]
    fn a_wrapped_sequence_number_carries_its_sign() {
        for (count, name) in [(i32::MAX, "/q/2147483647"), (-1, "/q/-000000001"), (i32::MIN, "/q/-2147483648")] {
            let made = final_path("/q/".to_owned(), CreateMode::PersistentSequential, count);
            assert_eq!(made.as_deref(), Ok(name));
        }
        let stat = StatPersisted { cversion: i32::MAX, ..StatPersisted::default() };
        let header = Testbed::default().header(ALICE);
        let kept = parent_change(&stat, i32::MAX.wrapping_add(1), &header);
        assert_eq!(kept, ParentChange::default());
    }

    /// What Java answers to these paths, seen on a running server.
    #[test]
    fn paths_are_refused_where_java_refuses_them() {
        let mut bed = Testbed::default();
        bed.add("/a");
        for (path, flags, error) in [
            ("", 0, ErrorCode::BadArguments),
            ("a", 0, ErrorCode::BadArguments),
            ("/a\0", 0, ErrorCode::BadArguments),
            ("a/b", 0, ErrorCode::NoNode),
            ("/none/b", 0, ErrorCode::NoNode),
            ("/none/", 0, ErrorCode::NoNode),
            ("/a/", 0, ErrorCode::BadArguments),
            ("//", 0, ErrorCode::BadArguments),
            ("/a/..", 0, ErrorCode::BadArguments),
            ("/a/\u{1}", 2, ErrorCode::BadArguments),
            ("/", 0, ErrorCode::NodeExists),
            ("/a", 0, ErrorCode::NodeExists),
            ("/zookeeper/config/x", 0, ErrorCode::NoAuth),
        ] {
            assert_eq!(bed.run(create(path, flags)), Err(error), "{path:?}");
        }
        bed.add("/zookeeper/x");
        let null = CreateOp { path: None, ..create_op("", 0) };
        assert_eq!(bed.run(WriteOp::Create(null.clone())), Err(ErrorCode::MarshallingError));
        let null_and_bad_flags = CreateOp { flags: 9, ..null };
        let refused = bed.run(WriteOp::Create(null_and_bad_flags));
        assert_eq!(refused, Err(ErrorCode::BadArguments));
    }

    /// Each request fails in all that follow, too; the first of them names the error.
    #[test]
    fn the_first_check_that_fails_names_the_error() {
        let mut bed = Testbed::default();
        bed.add_guarded("/shut", perms::READ, "world", "anyone");
        bed.run(create("/e", 1)).expect("created");
        let bad_acl = || Some(vec![Acl::new(31, "nobody", "knows")]);
        let op = |path: &str, flags, acl| WriteOp::Create(CreateOp { acl, ..create_op(path, flags) });
        let open = || Some(Acl::open_unsafe());
        bed.refusal = Some(ErrorCode::SessionExpired);
        assert_eq!(bed.run(op("", 9, None)), Err(ErrorCode::BadArguments));
        assert_eq!(bed.run(op("", 0, None)), Err(ErrorCode::SessionExpired));
        bed.refusal = Some(ErrorCode::SessionMoved);
        assert_eq!(bed.run(op("", 0, None)), Err(ErrorCode::SessionMoved));
        bed.refusal = None;
        bed.ephemeral_refusal = Some(ErrorCode::EphemeralOnLocalSession);
        assert_eq!(bed.run(op("", 9, None)), Err(ErrorCode::BadArguments));
        assert_eq!(bed.run(op("", 1, None)), Err(ErrorCode::EphemeralOnLocalSession));
        let container = CreateOp { op: OpCode::CreateContainer, ..create_op("", 1) };
        assert_eq!(bed.run(WriteOp::Create(container)), Err(ErrorCode::EphemeralOnLocalSession));
        assert_eq!(bed.run(op("", 0, bad_acl())), Err(ErrorCode::BadArguments));
        bed.ephemeral_refusal = None;
        assert_eq!(bed.run(op("/none/x/", 0, bad_acl())), Err(ErrorCode::InvalidAcl));
        assert_eq!(bed.run(op("/none/x/", 0, None)), Err(ErrorCode::InvalidAcl));
        assert_eq!(bed.run(op("/none/x/", 0, open())), Err(ErrorCode::NoNode));
        assert_eq!(bed.run(op("/shut/", 0, open())), Err(ErrorCode::NoAuth));
        assert_eq!(bed.run(op("/e/", 0, open())), Err(ErrorCode::BadArguments));
        assert_eq!(bed.run(op("/e/x", 0, open())), Err(ErrorCode::NoChildrenForEphemerals));
    }

    #[test]
    fn containers_and_ttl_znodes_may_have_children() {
        let mut bed = Testbed::default();
        bed.run(by(OpCode::CreateContainer, "/c", 4)).expect("created");
        bed.run(ttl("/t", 5, 1)).expect("created");
        bed.add("/c/x");
        bed.add("/t/x");
    }

    #[test]
    fn null_data_stays_null() {
        let mut bed = Testbed::default();
        let null = CreateOp { data: None, ..create_op("/n", 0) };
        bed.run(WriteOp::Create(null)).expect("created");
        assert_eq!(bed.view().lookup("/n").expect("there").data(), None);
        assert_eq!(bed.stat("/n").data_length, 0);
    }

    #[test]
    fn limits_nodes_that_would_break_java_are_refused() {
        let mut bed = Testbed::default();
        bed.add("/zookeeperX");
        bed.add("/zookeeper-abcde");
        bed.add("/zookeeper-abcdef");
        for path in [
            "/zookeeper/zookeeper_limits",
            "/zookeeper/quota/zookeeper_limits",
            "/zookeeperX/zookeeper_limits",
            "/zookeeper-abcde/zookeeper_limits",
        ] {
            assert_eq!(bed.run(create(path, 0)), Err(ErrorCode::BadArguments), "{path}");
        }
        bed.add("/zookeeper_limits");
        bed.add("/zookeeper-abcdef/zookeeper_limits");
    }

    fn old_create(path: &str, parent_cversion: i32, op: OpCode) -> TxnBody {
        TxnBody::Create {
            op,
            path: path.to_owned(),
            data: Some(Vec::new()),
            acl: Some(vec![Acl::new(1, "world", "anyone")]),
            ephemeral: false,
            parent_cversion,
        }
    }

    /// Replay over a snapshot that was written while writes went on (storage sheet §6).
    #[test]
    fn a_replayed_create_never_takes_the_parent_back() {
        use crate::request::replay;
        let mut bed = Testbed::default();
        bed.add("/a");
        bed.add("/a/x");
        let parent = |bed: &Testbed| {
            let stat = bed.view().lookup("/a").expect("there").stat_persisted();
            (stat.cversion, stat.pzxid)
        };
        assert_eq!(parent(&bed), (1, Zxid(2)));
        for (body, expected) in [
            // Older than the state: only the znode comes.
            (old_create("/a/old", 1, OpCode::Create), (1, Zxid(2))),
            (old_create("/a/older", 0, OpCode::Create), (1, Zxid(2))),
            // From before 3.4: one more than now.
            (old_create("/a/v0", -1, OpCode::Create), (2, Zxid(5))),
            // There already: the parent moves on, for type 1 only.
            (old_create("/a/x", 9, OpCode::Create), (9, Zxid(6))),
            (old_create("/a/x", 10, OpCode::Create2), (9, Zxid(6))),
            (old_create("/none/x", 11, OpCode::Create), (9, Zxid(6))),
        ] {
            let header = bed.header(BOB);
            replay(&mut bed.tree, &header, &body);
            assert_eq!(parent(&bed), expected, "{body:?}");
            assert_eq!(bed.view().last_zxid(), header.zxid);
        }
        let met = bed.view().lookup("/a/x").expect("there");
        assert_eq!(**met.acl(), [Acl::new(1, "world", "anyone")]);
        assert_eq!(met.stat_persisted().czxid, Zxid(2));
        let header = bed.header(BOB);
        for (path, error) in [
            ("/a/x", ErrorCode::NodeExists),
            ("/none/x", ErrorCode::NoNode),
            ("no slash", ErrorCode::NoNode),
            ("/", ErrorCode::NodeExists),
        ] {
            let body = old_create(path, -1, OpCode::Create2);
            let result = crate::request::apply(&mut bed.tree, &header, &body, None);
            assert_eq!(result, Err(error), "{path}");
        }
    }
}
