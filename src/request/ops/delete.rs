//! delete, and the sweeper's deleteContainer.

use super::rough_path;
use crate::message::{Effect, EffectKind, TxnBody, TxnHeader};
use crate::request::prepare::{Context, next_version};
use crate::request::quota;
use crate::tree::{NodeRef, ParentChange, TreeWriter, View};
use crate::types::{EphemeralOwner, ErrorCode, OpCode, StatPersisted, path, perms};

pub(in crate::request) fn prepare(
    view: View<'_>,
    path: Option<String>,
    version: i32,
    context: &Context<'_>,
) -> Result<TxnBody, ErrorCode> {
    context.check_session()?;
    let path = deletable(rough_path(path)?)?;
    let parent = view.lookup(path::parent(&path)).ok_or(ErrorCode::NoNode)?;
    let access = &context.rules.access;
    access.check(parent.acl(), perms::DELETE, context.by.ids)?;
    let node = child(parent, &path).ok_or(ErrorCode::NoNode)?;
    next_version(node.stat_persisted().version, version)?;
    if node.child_count() > 0 {
        return Err(ErrorCode::NotEmpty);
    }
    Ok(TxnBody::Delete { op: OpCode::Delete, path })
}

/// The sweeper's request has no session and no ids, so nothing of them is checked; it must still find the znode empty.
pub(in crate::request) fn prepare_container(view: View<'_>, path: String) -> Result<TxnBody, ErrorCode> {
    let path = deletable(rough_path(Some(path))?)?;
    let node = view.lookup(&path).ok_or(ErrorCode::NoNode)?;
    if node.child_count() > 0 {
        return Err(ErrorCode::NotEmpty);
    }
    if let EphemeralOwner::Session(_) = node.owner() {
        return Err(ErrorCode::BadVersion);
    }
    Ok(TxnBody::Delete { op: OpCode::DeleteContainer, path })
}

/// The znodes every server has are not for deleting.
fn deletable(path: String) -> Result<String, ErrorCode> {
    match path.as_str() {
        path::ROOT | path::ZOOKEEPER | path::QUOTA | path::CONFIG => Err(ErrorCode::BadArguments),
        _ => Ok(path),
    }
}

fn child<'a>(parent: NodeRef<'a>, path: &str) -> Option<NodeRef<'a>> {
    let (_, name) = path::split(path)?;
    parent.child(name)
}

/// `DataTree.deleteNode`. A znode that is gone already still leaves its mark on the parent: a snapshot written while
/// writes went on may have it without the znode but with the parent from before.
pub(in crate::request) fn apply(
    tree: &mut TreeWriter,
    header: &TxnHeader,
    path: &str,
    effects: Option<&mut Vec<Effect>>,
) -> Result<(), ErrorCode> {
    let (parent_path, name) = path::split(path).ok_or(ErrorCode::NoNode)?;
    if name.is_empty() {
        return Err(ErrorCode::NoNode);
    }
    let view = tree.view();
    let parent = view.lookup(parent_path).ok_or(ErrorCode::NoNode)?;
    let parent_stat = parent.stat_persisted();
    let pzxid = parent_stat.pzxid.max(header.zxid);
    let Some(node) = parent.child(name) else {
        let stat = StatPersisted { pzxid, ..parent_stat };
        tree.set_stat(parent_path, &stat);
        return Err(ErrorCode::NoNode);
    };
    let bytes = node.data().map_or(0, <[u8]>::len) as i64;
    let effect = effects.is_some().then(|| Effect {
        zxid: header.zxid,
        kind: EffectKind::Deleted,
        path: path.into(),
        acl: node.acl().clone(),
        parent_acl: Some(parent.acl().clone()),
    });
    let parent_change = ParentChange { cversion: None, pzxid: Some(pzxid) };
    tree.remove(path, parent_change);
    quota::record_change(tree, path, -1, -bytes);
    if let Some(effects) = effects {
        effects.extend(effect);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{WriteOp, WriteResult};
    use crate::request::testbed::{Testbed, create, delete, set_data};
    use crate::types::{Acl, Zxid};

    #[test]
    fn a_deleted_znode_leaves_its_mark_on_the_parent() {
        let mut bed = Testbed::default();
        bed.add("/a");
        bed.add_guarded("/a/x", perms::READ, "ip", "127.0.0.1");
        assert_eq!(bed.stat("/a").cversion, 1);
        assert_eq!(bed.run(delete("/a/x", 0)), Ok(WriteResult::Nothing));
        let parent = bed.stat("/a");
        // Clients see a count of creates and deletes.
        assert_eq!((parent.cversion, parent.pzxid, parent.num_children), (2, Zxid(3), 0));
        assert_eq!(bed.changes(), [(EffectKind::Deleted, "/a/x")]);
        assert_eq!(*bed.effects[0].acl, [Acl::new(perms::READ, "ip", "127.0.0.1")]);
        assert_eq!(bed.effects[0].parent_acl.as_deref(), Some(&Acl::open_unsafe()[..]));
    }

    /// Each request fails in all that follow, too; the first of them names the error.
    #[test]
    fn the_first_check_that_fails_names_the_error() {
        let mut bed = Testbed::default();
        bed.add("/a");
        bed.add("/a/x");
        bed.add("/shut");
        bed.add("/shut/x");
        let read_only = vec![Acl::new(perms::READ, "world", "anyone")];
        bed.run(crate::request::testbed::set_acl("/shut", read_only, -1)).expect("shut");
        for (path, version, error) in [
            ("", -1, ErrorCode::BadArguments),
            ("a", -1, ErrorCode::BadArguments),
            ("/a\0", -1, ErrorCode::BadArguments),
            ("/", -1, ErrorCode::BadArguments),
            ("/zookeeper", -1, ErrorCode::BadArguments),
            ("/zookeeper/quota", -1, ErrorCode::BadArguments),
            ("/zookeeper/config", -1, ErrorCode::BadArguments),
            ("/none/x", 5, ErrorCode::NoNode),
            ("/shut/none", 5, ErrorCode::NoAuth),
            ("/a/none", 5, ErrorCode::NoNode),
            ("/a/", 5, ErrorCode::NoNode),
            ("a/b", 5, ErrorCode::NoNode),
            ("/a", 5, ErrorCode::BadVersion),
            ("/a", 0, ErrorCode::NotEmpty),
            ("/a", -1, ErrorCode::NotEmpty),
        ] {
            assert_eq!(bed.run(delete(path, version)), Err(error), "{path:?}");
        }
        let null = WriteOp::Delete { path: None, version: -1 };
        assert_eq!(bed.run(null.clone()), Err(ErrorCode::MarshallingError));
        bed.refusal = Some(ErrorCode::SessionExpired);
        assert_eq!(bed.run(null), Err(ErrorCode::SessionExpired));
    }

    #[test]
    fn the_sweeper_asks_for_no_rights_but_for_an_empty_znode() {
        let mut bed = Testbed::default();
        bed.add_guarded("/a", 0, "world", "anyone");
        bed.run(create("/e", 1)).expect("created");
        bed.add("/full");
        bed.add("/full/x");
        let sweep = |path: &str| WriteOp::DeleteContainer { path: path.to_owned() };
        for (path, error) in [
            ("/zookeeper/quota", ErrorCode::BadArguments),
            ("/none", ErrorCode::NoNode),
            ("/full", ErrorCode::NotEmpty),
            ("/e", ErrorCode::BadVersion),
        ] {
            assert_eq!(bed.run(sweep(path)), Err(error), "{path}");
        }
        bed.refusal = Some(ErrorCode::SessionExpired);
        assert_eq!(bed.run(sweep("/a")), Ok(WriteResult::Nothing));
        assert_eq!(bed.body.op_code(), OpCode::DeleteContainer);
        assert!(bed.view().lookup("/a").is_none());
    }

    #[test]
    fn versions_are_those_of_the_data() {
        let mut bed = Testbed::default();
        bed.add("/a");
        bed.run(set_data("/a", "x", 0)).expect("set");
        assert_eq!(bed.run(delete("/a", 0)), Err(ErrorCode::BadVersion));
        bed.run(delete("/a", 1)).expect("deleted");
    }

    /// Replay over a snapshot that was written while writes went on (storage sheet §6).
    #[test]
    fn a_replayed_delete_marks_the_parent_even_without_the_znode() {
        let mut bed = Testbed::default();
        bed.add("/a");
        let pzxid = |bed: &Testbed| bed.stat("/a").pzxid;
        let header = |zxid| TxnHeader {
            session: crate::request::testbed::BOB,
            cxid: 0,
            zxid: Zxid(zxid),
            time: crate::types::WallMillis(0),
        };
        assert_eq!(apply(&mut bed.tree, &header(9), "/a/x", None), Err(ErrorCode::NoNode));
        assert_eq!(pzxid(&bed), Zxid(9));
        assert_eq!(apply(&mut bed.tree, &header(5), "/a/x", None), Err(ErrorCode::NoNode));
        assert_eq!(pzxid(&bed), Zxid(9));
        bed.zxid = 9;
        bed.add("/a/y");
        assert_eq!(apply(&mut bed.tree, &header(6), "/a/y", None), Ok(()));
        assert_eq!(pzxid(&bed), Zxid(10));
        for path in ["/none/x", "x", "/"] {
            assert_eq!(apply(&mut bed.tree, &header(30), path, None), Err(ErrorCode::NoNode));
        }
    }
}
