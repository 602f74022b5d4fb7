//! Reads, answered from any version of the tree. Answers borrow from it: reading data or a stat allocates nothing.
//! Registering the watch a read asks for is the caller's business, at the same version: after success, and for `exists`
//! after `NoNode` too, but not after any other error.

use super::permission::{AccessRules, without_digest_hashes};
use crate::message::{MultiReadOp, MultiReadResult, ReadOp};
use crate::tree::{NodeRef, View};
use crate::types::{Acl, ErrorCode, Id, SessionId, Stat, path, perms};
use std::borrow::Cow;

/// Body of a read's reply.
#[derive(Clone)]
pub enum ReadAnswer<'a> {
    Stat(Stat),
    Data(Option<&'a [u8]>, Stat),
    Acl(Cow<'a, [Acl]>, Stat),
    /// The names of this node's children.
    Children(NodeRef<'a>),
    /// The names of this node's children, and its stat.
    ChildrenAndStat(NodeRef<'a>),
    Number(i32),
    Paths(Vec<&'a str>),
    MultiRead(MultiReadAnswer<'a>),
}

/// Body of a multiRead's reply, and the error that its header says. A list refused as a whole still has a body: what was
/// read before the fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiReadAnswer<'a> {
    pub entries: Vec<MultiReadResult<'a>>,
    pub refusal: Option<ErrorCode>,
}

/// Answers what the tree can answer. `None`: ping, sync, whoAmI and the operations on watches, which do not concern it.
pub fn read<'a>(
    view: View<'a>,
    op: &ReadOp<'_>,
    session: SessionId,
    ids: &[Id],
    access: &AccessRules,
) -> Option<Result<ReadAnswer<'a>, ErrorCode>> {
    Some(match op {
        ReadOp::Exists { path, .. } => exists(view, path, ids, access).map(ReadAnswer::Stat),
        ReadOp::GetData { path, .. } => {
            get_data(view, path, ids, access).map(|(data, stat)| ReadAnswer::Data(data, stat))
        }
        ReadOp::GetAcl { path } => get_acl(view, path, ids, access).map(|(acl, stat)| ReadAnswer::Acl(acl, stat)),
        ReadOp::GetChildren { path, .. } => get_children(view, path, ids, access).map(ReadAnswer::Children),
        ReadOp::GetChildren2 { path, .. } => get_children(view, path, ids, access).map(ReadAnswer::ChildrenAndStat),
        ReadOp::GetAllChildrenNumber { path } => {
            get_all_children_number(view, path, ids, access).map(ReadAnswer::Number)
        }
        ReadOp::GetEphemerals { prefix } => Ok(ReadAnswer::Paths(get_ephemerals(view, *prefix, session).collect())),
        ReadOp::MultiRead { ops: Some(ops) } => Ok(ReadAnswer::MultiRead(multi_read(view, ops, ids, access))),
        ReadOp::MultiRead { ops: None } => {
            Ok(ReadAnswer::MultiRead(MultiReadAnswer { entries: vec![], refusal: Some(ErrorCode::MarshallingError) }))
        }
        ReadOp::Sync { .. }
        | ReadOp::Ping
        | ReadOp::WhoAmI
        | ReadOp::SetWatches(_)
        | ReadOp::AddWatch { .. }
        | ReadOp::CheckWatches { .. }
        | ReadOp::RemoveWatches { .. } => return None,
    })
}

pub fn exists(view: View<'_>, path: &str, ids: &[Id], access: &AccessRules) -> Result<Stat, ErrorCode> {
    if path.contains('\0') {
        return Err(ErrorCode::BadArguments);
    }
    readable(view, path, ids, access).map(NodeRef::stat)
}

pub fn get_data<'a>(
    view: View<'a>,
    path: &str,
    ids: &[Id],
    access: &AccessRules,
) -> Result<(Option<&'a [u8]>, Stat), ErrorCode> {
    let node = readable(view, path, ids, access)?;
    Ok((node.data(), node.stat()))
}

/// Names and stat are to be taken from the node.
pub fn get_children<'a>(
    view: View<'a>,
    path: &str,
    ids: &[Id],
    access: &AccessRules,
) -> Result<NodeRef<'a>, ErrorCode> {
    readable(view, path, ids, access)
}

/// READ or ADMIN opens it; only ADMIN sees the hashes of digest ids.
pub fn get_acl<'a>(
    view: View<'a>,
    path: &str,
    ids: &[Id],
    access: &AccessRules,
) -> Result<(Cow<'a, [Acl]>, Stat), ErrorCode> {
    let node = view.lookup(path).ok_or(ErrorCode::NoNode)?;
    let acl: &'a [Acl] = node.acl();
    access.check(acl, perms::READ | perms::ADMIN, ids)?;
    let shown = match access.check(acl, perms::ADMIN, ids) {
        Ok(()) => Cow::Borrowed(acl),
        Err(_) => Cow::Owned(without_digest_hashes(acl)),
    };
    Ok((shown, node.stat()))
}

/// Everything below the node. Java counts by paths: the empty one, which reads as the root, counts the root as well.
pub fn get_all_children_number(view: View<'_>, path: &str, ids: &[Id], access: &AccessRules) -> Result<i32, ErrorCode> {
    let node = readable(view, path, ids, access)?;
    let count = match path {
        path::ROOT => view.node_count() - 1,
        "" => view.node_count(),
        _ => node.descendant_count(),
    };
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

/// Ephemerals of the session that asks, by the beginning of their paths; null, blank and `/` mean all.
pub fn get_ephemerals<'a>(view: View<'a>, prefix: Option<&str>, session: SessionId) -> impl Iterator<Item = &'a str> {
    let prefix = match prefix {
        Some(prefix) if !matches!(prefix.trim(), "" | "/") => prefix,
        _ => "",
    };
    view.ephemerals(session).filter(move |path| path.starts_with(prefix))
}

/// Each item succeeds or fails for itself; a null path refuses the list, and what comes behind it is not read.
pub fn multi_read<'a>(
    view: View<'a>,
    ops: &[MultiReadOp<'_>],
    ids: &[Id],
    access: &AccessRules,
) -> MultiReadAnswer<'a> {
    let mut entries = Vec::with_capacity(ops.len());
    for op in ops {
        let (MultiReadOp::GetData { path } | MultiReadOp::GetChildren { path }) = *op;
        let Some(path) = path else {
            return MultiReadAnswer { entries, refusal: Some(ErrorCode::MarshallingError) };
        };
        let item = readable(view, path, ids, access).map(|node| match op {
            MultiReadOp::GetData { .. } => MultiReadResult::Data(node.data(), node.stat()),
            MultiReadOp::GetChildren { .. } => MultiReadResult::Children(node.children().map(NodeRef::name).collect()),
        });
        entries.push(item.unwrap_or_else(MultiReadResult::Error));
    }
    MultiReadAnswer { entries, refusal: None }
}

fn readable<'a>(view: View<'a>, path: &str, ids: &[Id], access: &AccessRules) -> Result<NodeRef<'a>, ErrorCode> {
    let node = view.lookup(path).ok_or(ErrorCode::NoNode)?;
    access.check(node.acl(), perms::READ, ids)?;
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::testbed::{ALICE, Testbed, create};

    const READER: &str = "reader:hash";

    /// `/open` with two children, `/shut` for nobody to read, `/digest` for one to read and another to administer.
    fn planted() -> Testbed {
        let mut bed = Testbed::default();
        bed.add_with("/open", "data");
        bed.add("/open/b");
        bed.run(create("/open/a", 1)).expect("created");
        bed.add_guarded("/shut", perms::ALL & !perms::READ, "ip", "1.1.1.1");
        let list = vec![Acl::new(perms::READ, "digest", READER), Acl::new(perms::ADMIN, "digest", "admin:hash")];
        bed.add("/digest");
        bed.run(crate::request::testbed::set_acl("/digest", list, -1)).expect("set");
        bed
    }

    fn ask<'a>(bed: &'a Testbed, op: ReadOp<'_>, ids: &[Id]) -> Result<ReadAnswer<'a>, ErrorCode> {
        let answer = read(bed.view(), &op, ALICE, ids, &bed.rules.access);
        answer.expect("a question to the tree")
    }

    /// Every read of `path`, as the errors they end in.
    fn errors(bed: &Testbed, path: &str, ids: &[Id]) -> Vec<Option<ErrorCode>> {
        let watch = false;
        [
            ReadOp::Exists { path, watch },
            ReadOp::GetData { path, watch },
            ReadOp::GetAcl { path },
            ReadOp::GetChildren { path, watch },
            ReadOp::GetChildren2 { path, watch },
            ReadOp::GetAllChildrenNumber { path },
        ]
        .map(|op| ask(bed, op, ids).err())
        .into()
    }

    #[test]
    fn reads_need_the_znode_and_the_right() {
        let bed = planted();
        assert_eq!(errors(&bed, "/open", &[]), [None; 6]);
        assert_eq!(errors(&bed, "", &[]), [None; 6]);
        for missing in ["/none", "open", "/open/", "//open", "/open/./a"] {
            assert_eq!(errors(&bed, missing, &[]), [Some(ErrorCode::NoNode); 6], "{missing}");
        }
        let mut with_nul = [Some(ErrorCode::NoNode); 6];
        with_nul[0] = Some(ErrorCode::BadArguments);
        assert_eq!(errors(&bed, "/\0", &[]), with_nul);
        assert_eq!(errors(&bed, "/shut", &[]), [Some(ErrorCode::NoAuth); 6]);
        assert_eq!(errors(&bed, "/shut", &[Id::new("super", "")]), [None; 6]);
        let reader = [Id::new("digest", READER)];
        assert_eq!(errors(&bed, "/digest", &reader), [None; 6]);
        // ADMIN alone opens nothing but the list.
        let mut admin_only = [Some(ErrorCode::NoAuth); 6];
        admin_only[2] = None;
        let admin = [Id::new("digest", "admin:hash")];
        assert_eq!(errors(&bed, "/digest", &admin), admin_only);
    }

    #[test]
    fn answers_hold_what_the_tree_holds() {
        let bed = planted();
        let path = "/open";
        let watch = true;
        let stat = bed.stat(path);
        assert_eq!((stat.num_children, stat.cversion), (2, 2));
        let exists = ask(&bed, ReadOp::Exists { path, watch }, &[]);
        assert!(matches!(exists, Ok(ReadAnswer::Stat(s)) if s == stat));
        let data = ask(&bed, ReadOp::GetData { path, watch }, &[]);
        assert!(matches!(data, Ok(ReadAnswer::Data(Some(b"data"), s)) if s == stat));
        let children = ask(&bed, ReadOp::GetChildren2 { path, watch }, &[]);
        let Ok(ReadAnswer::ChildrenAndStat(node)) = children else { panic!("no children") };
        let mut names: Vec<_> = node.children().map(NodeRef::name).collect();
        names.sort();
        assert_eq!((names, node.stat()), (vec!["a", "b"], stat));
        for (path, expected) in [("/", 8), ("", 9), ("/open", 2), ("/open/a", 0)] {
            let count = ask(&bed, ReadOp::GetAllChildrenNumber { path }, &[]);
            assert!(matches!(count, Ok(ReadAnswer::Number(n)) if n == expected), "{path:?}");
        }
    }

    #[test]
    fn only_administrators_see_hashes() {
        let bed = planted();
        let path = "/digest";
        let shown = |id: &str| match ask(&bed, ReadOp::GetAcl { path }, &[Id::new("digest", id)]) {
            Ok(ReadAnswer::Acl(acl, stat)) => {
                assert_eq!(stat.aversion, 1);
                acl.iter().map(|entry| entry.id.id.clone()).collect::<Vec<_>>()
            }
            _ => panic!("no list"),
        };
        assert_eq!(shown(READER), ["reader:x", "admin:x"]);
        assert_eq!(shown("admin:hash"), ["reader:hash", "admin:hash"]);
    }

    #[test]
    fn ephemerals_are_asked_for_by_the_beginning_of_their_paths() {
        let mut bed = Testbed::default();
        for path in ["/e", "/ee", "/f"] {
            bed.run(create(path, 1)).expect(path);
        }
        let all = vec!["/e", "/ee", "/f"];
        for (prefix, expected) in [
            (None, all.clone()),
            (Some(""), all.clone()),
            (Some("  "), all.clone()),
            (Some(" / "), all.clone()),
            (Some("/"), all),
            (Some("/e"), vec!["/e", "/ee"]),
            (Some("/e/"), vec![]),
            (Some("e"), vec![]),
        ] {
            let Ok(ReadAnswer::Paths(mut paths)) = ask(&bed, ReadOp::GetEphemerals { prefix }, &[]) else {
                panic!("no paths")
            };
            paths.sort();
            assert_eq!(paths, expected, "{prefix:?}");
        }
        assert_eq!(get_ephemerals(bed.view(), None, SessionId(9)).count(), 0);
    }

    #[test]
    fn a_multi_read_fails_item_by_item_and_ends_at_a_null_path() {
        let bed = planted();
        let data = |path| MultiReadOp::GetData { path };
        let children = |path| MultiReadOp::GetChildren { path };
        let ops = vec![data(Some("/open/b")), data(Some("/none")), children(Some("/shut")), children(Some("/open/b"))];
        let answered = |ops| match ask(&bed, ReadOp::MultiRead { ops }, &[]) {
            Ok(ReadAnswer::MultiRead(answer)) => answer,
            _ => panic!("not a list"),
        };
        let expected = [
            MultiReadResult::Data(Some(&[]), bed.stat("/open/b")),
            MultiReadResult::Error(ErrorCode::NoNode),
            MultiReadResult::Error(ErrorCode::NoAuth),
            MultiReadResult::Children(vec![]),
        ];
        assert_eq!(answered(Some(ops)), MultiReadAnswer { entries: expected.into(), refusal: None });
        // What Java was seen to do: the entries before the null are in the answer, those behind it are not.
        let ops = vec![data(Some("/open/b")), data(None), data(Some("/open/b"))];
        let refusal = Some(ErrorCode::MarshallingError);
        let before = vec![MultiReadResult::Data(Some(&[]), bed.stat("/open/b"))];
        assert_eq!(answered(Some(ops)), MultiReadAnswer { entries: before, refusal });
        assert_eq!(answered(None), MultiReadAnswer { entries: vec![], refusal });
    }

    #[test]
    fn what_does_not_concern_the_tree_is_left_to_others() {
        let bed = Testbed::default();
        for op in [ReadOp::Ping, ReadOp::WhoAmI, ReadOp::Sync { path: None }] {
            let answer = read(bed.view(), &op, ALICE, &[], &bed.rules.access);
            assert!(answer.is_none(), "{op:?}");
        }
    }
}
