//! setData, and the change a reconfig makes to `/zookeeper/config`.

use super::legal_path;
use crate::message::{Effect, EffectKind, TxnBody, TxnHeader};
use crate::request::prepare::{Context, next_version};
use crate::request::quota::{self, Allowance};
use crate::tree::{TreeWriter, View};
use crate::types::{ErrorCode, OpCode, SessionId, Stat, StatPersisted, WallMillis, Zxid, path, perms};

pub(in crate::request) fn prepare(
    view: View<'_>,
    path: Option<String>,
    data: Option<Vec<u8>>,
    version: i32,
    allowance: &Allowance,
    context: &Context<'_>,
) -> Result<TxnBody, ErrorCode> {
    context.check_session()?;
    let path = legal_path(path)?;
    let node = view.lookup(&path).ok_or(ErrorCode::NoNode)?;
    let access = &context.rules.access;
    access.check(node.acl(), perms::WRITE, context.by.ids)?;
    if quota::set_data_breaks_java(&path, data.as_deref()) {
        return Err(ErrorCode::BadArguments);
    }
    allowance.check(0, bytes(data.as_deref()) - bytes(node.data()))?;
    let version = next_version(node.stat_persisted().version, version)?;
    Ok(TxnBody::SetData { op: OpCode::SetData, path, data, version })
}

fn bytes(data: Option<&[u8]>) -> i64 {
    data.map_or(0, <[u8]>::len) as i64
}

/// `DataTree.setData`: applied whatever the znode's version is, since a replay ends at the newest one anyway.
pub(in crate::request) fn apply(
    tree: &mut TreeWriter,
    header: &TxnHeader,
    path: &str,
    data: Option<&[u8]>,
    version: i32,
    effects: Option<&mut Vec<Effect>>,
) -> Result<Stat, ErrorCode> {
    let mut done = None;
    tree.set_data(path, data, |node| {
        let shown =
            Stat { mzxid: header.zxid, mtime: header.time.0, version, data_length: bytes(data) as i32, ..node.stat() };
        if let Some(effects) = effects {
            effects.push(Effect {
                zxid: header.zxid,
                kind: EffectKind::DataChanged,
                path: path.into(),
                acl: node.acl().clone(),
                parent_acl: None,
            });
        }
        done = Some((shown, bytes(data) - bytes(node.data())));
        StatPersisted { mzxid: header.zxid, mtime: header.time.0, version, ..node.stat_persisted() }
    });
    let (shown, more_bytes) = done.ok_or(ErrorCode::NoNode)?;
    quota::record_change(tree, path, 0, more_bytes);
    Ok(shown)
}

/// The configuration that a member of an ensemble works with, put where clients read it (`initConfigInZKDatabase`). No
/// transaction: every member does it by itself, and digests leave the place out.
pub fn show_config(tree: &mut TreeWriter, text: &str, version: Zxid, time: WallMillis, effects: &mut Vec<Effect>) {
    let shown = tree.view().lookup(path::CONFIG).and_then(|node| node.data());
    // Watchers hear of it if it is another one.
    let effects = (shown != Some(text.as_bytes())).then_some(effects);
    let header = TxnHeader { session: SessionId::NONE, cxid: 0, zxid: version, time };
    // A snapshot from before 3.5 has no such znode; Java's servers make one then, which nobody needs.
    let _ = apply(tree, &header, path::CONFIG, Some(text.as_bytes()), -1, effects);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{WriteOp, WriteResult};
    use crate::request::testbed::{BOB, Testbed, set_acl, set_data};
    use crate::types::Acl;

    #[test]
    fn data_and_its_three_marks_change_and_nothing_else() {
        let mut bed = Testbed::default();
        bed.add("/a");
        bed.add("/a/x");
        let before = bed.stat("/a");
        bed.now = 2000;
        let result = bed.run(set_data("/a", "hello", 0));
        let expected = Stat { version: 1, mtime: 2000, mzxid: Zxid(3), data_length: 5, ..before };
        assert_eq!(bed.stat("/a"), expected);
        assert_eq!(result, Ok(WriteResult::Stat(expected)));
        assert_eq!(bed.data("/a"), "hello");
        assert_eq!(bed.changes(), [(EffectKind::DataChanged, "/a")]);
        assert_eq!(bed.effects[0].parent_acl, None);
    }

    /// Each request fails in all that follow, too; the first of them names the error.
    #[test]
    fn the_first_check_that_fails_names_the_error() {
        let mut bed = Testbed::default();
        bed.add("/a");
        for (path, version, error) in [
            ("", 5, ErrorCode::BadArguments),
            ("/none/", 5, ErrorCode::BadArguments),
            ("/none", 5, ErrorCode::NoNode),
            ("/zookeeper/config", 5, ErrorCode::NoAuth),
            ("/a", 5, ErrorCode::BadVersion),
            ("/a", -2, ErrorCode::BadVersion),
        ] {
            assert_eq!(bed.run(set_data(path, "x", version)), Err(error), "{path:?}");
        }
        let null = WriteOp::SetData { path: None, data: None, version: 0 };
        assert_eq!(bed.run(null.clone()), Err(ErrorCode::BadArguments));
        bed.refusal = Some(ErrorCode::SessionExpired);
        assert_eq!(bed.run(null), Err(ErrorCode::SessionExpired));
    }

    #[test]
    fn null_and_empty_data_are_two_things() {
        let mut bed = Testbed::default();
        bed.add_with("/a", "x");
        let null = WriteOp::SetData { path: Some("/a".to_owned()), data: None, version: -1 };
        bed.run(null).expect("set");
        assert_eq!(bed.view().lookup("/a").expect("there").data(), None);
        bed.run(set_data("/a", "", -1)).expect("set");
        assert_eq!(bed.data("/a"), "");
    }

    #[test]
    fn the_version_wraps() {
        assert_eq!(next_version(i32::MAX, i32::MAX), Ok(i32::MIN));
        assert_eq!(next_version(-2, -2), Ok(-1));
        assert_eq!(next_version(-1, -1), Ok(0));
        assert_eq!(next_version(3, 4), Err(ErrorCode::BadVersion));
    }

    #[test]
    fn a_change_of_the_acl_touches_nothing_but_its_version() {
        let mut bed = Testbed::default();
        bed.add_with("/a", "x");
        let before = bed.stat("/a");
        bed.now = 9999;
        let list = vec![Acl::new(31, "digest", "u:h"), Acl::new(1, "world", "anyone")];
        let result = bed.run(set_acl("/a", list.clone(), 0));
        let expected = Stat { aversion: 1, ..before };
        assert_eq!(result, Ok(WriteResult::Stat(expected)));
        assert_eq!(bed.stat("/a"), expected);
        assert_eq!(**bed.view().lookup("/a").expect("there").acl(), list);
        assert!(bed.effects.is_empty());
        let again = bed.run(set_acl("/a", list, 1));
        assert_eq!(again, Err(ErrorCode::NoAuth));
    }

    /// setACL: each request fails in all that follow, too; the first of them names the error.
    #[test]
    fn an_acl_is_looked_at_before_the_znode() {
        let mut bed = Testbed::default();
        bed.add("/a");
        let bad = vec![Acl::new(31, "nobody", "knows")];
        let open = Acl::open_unsafe();
        for (path, acl, version, error) in [
            ("/none/", &bad, 5, ErrorCode::BadArguments),
            ("/none", &bad, 5, ErrorCode::InvalidAcl),
            ("/none", &open, 5, ErrorCode::NoNode),
            ("/zookeeper/config", &open, 5, ErrorCode::NoAuth),
            ("/a", &open, 5, ErrorCode::BadVersion),
        ] {
            let result = bed.run(set_acl(path, acl.clone(), version));
            assert_eq!(result, Err(error), "{path:?}");
        }
        bed.refusal = Some(ErrorCode::SessionMoved);
        assert_eq!(bed.run(set_acl("", bad, 0)), Err(ErrorCode::SessionMoved));
    }

    /// A reconfig that an ensemble agreed on, as its log holds it.
    #[test]
    fn a_reconfig_sets_the_config_and_its_version() {
        let mut bed = Testbed::default();
        let body = TxnBody::SetData {
            op: OpCode::Reconfig,
            path: "/zookeeper/config".to_owned(),
            data: Some(b"version=1".to_vec()),
            version: -1,
        };
        let header = bed.header(BOB);
        let mut effects = Vec::new();
        let result = crate::request::apply(&mut bed.tree, &header, &body, Some(&mut effects));
        let stat = bed.stat("/zookeeper/config");
        assert_eq!(result, Ok(WriteResult::Data(Some(b"version=1".to_vec()), stat)));
        assert_eq!((stat.version, stat.mzxid), (-1, header.zxid));
        assert_eq!(effects[0].kind, EffectKind::DataChanged);
        let missing = apply(&mut bed.tree, &header, "/none", None, 0, None);
        assert_eq!(missing, Err(ErrorCode::NoNode));
    }
}
