//! Whole trees, read through the protocol, and what must be equal about them.
//!
//! Two servers that took the same requests have the same tree up to ids and times (`same_meaning`); one server
//! before and after a restart, and any server started on a copy of another's directory, have the same tree to the
//! last bit (`same_bits`).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::compare::{Mapping, settled};
use super::requests::RequestMaker;
use crate::client::{Connection, Hello};
use crate::codec::{Acl, Body, Data, Frame, Op, Stat, Text, decode_frame, op};

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    data: Data,
    acl: Option<Vec<Acl>>,
    children: Vec<Text>,
    stat: Stat,
}

impl Node {
    /// Session of an ephemeral, 0 if it is none.
    pub fn owner(&self) -> i64 {
        self.stat.ephemeral_owner
    }

    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    pub fn bytes(&self) -> &[u8] {
        self.data.0.as_deref().unwrap_or_default()
    }
}

pub type Tree = BTreeMap<String, Node>;

/// Reads everything as super, on a member of an ensemble everything that was acknowledged before. The session made for it
/// is closed again; neither shows in the tree.
pub fn tree(address: SocketAddr) -> Tree {
    let mut connection = Connection::open(address).expect("cannot connect to walk the tree");
    connection.shake_hands(&Hello::new_session(i32::MAX)).expect("no handshake").expect("closed at the handshake");
    connection.ask(-4, &RequestMaker::digest_auth("super:test"));
    connection.ask(1, &Op::Path { opcode: op::SYNC, path: "/".into() });
    let mut tree = Tree::new();
    let mut level = vec!["/".to_string()];
    while !level.is_empty() {
        let mut below = Vec::new();
        for (path, node) in nodes(&mut connection, &level) {
            let prefix = if path == "/" { "" } else { &path };
            below.extend(
                node.children.iter().map(|child| format!("{prefix}/{}", child.as_str().expect("node names are UTF-8"))),
            );
            tree.insert(path, node);
        }
        level = below;
    }
    connection.ask(1, &Op::Bare { opcode: op::CLOSE_SESSION });
    tree
}

/// Asks for all of them in one go, and only then reads the answers.
fn nodes(connection: &mut Connection, paths: &[String]) -> Vec<(String, Node)> {
    let questions = |path: &str| {
        let path: Text = path.into();
        [
            Op::Read { opcode: op::GET_DATA, path: path.clone(), watch: false },
            Op::Path { opcode: op::GET_ACL, path: path.clone() },
            Op::Read { opcode: op::GET_CHILDREN2, path, watch: false },
        ]
    };
    for op in paths.iter().flat_map(|path| questions(path)) {
        connection.push(1, &op);
    }
    connection.flush().expect("cannot write");
    paths.iter().map(|path| (path.clone(), node(path, questions(path).map(|op| answer(connection, &op))))).collect()
}

fn answer(connection: &mut Connection, question: &Op) -> Body {
    let frame = connection.next_frame().expect("no answer").expect("closed while walking the tree");
    match decode_frame(&frame, Some(question.opcode())) {
        Frame::Reply { err: 0, body, .. } => body,
        other => panic!("{question:?} was answered {other:?}"),
    }
}

fn node(path: &str, answers: [Body; 3]) -> Node {
    let [Body::Data(data, stat), Body::Acl(acl, acl_stat), Body::NamesStat(mut children, children_stat)] = answers
    else {
        panic!("{path:?} was answered by something else: {answers:?}")
    };
    assert!(
        acl_stat == stat && children_stat == stat,
        "{path:?}: three Stats of one node: {stat:?} {acl_stat:?} {children_stat:?}"
    );
    assert_eq!(children.len(), stat.num_children as usize, "{path:?}: numChildren is not the number of children");
    children.sort();
    Node { data, acl, children, stat }
}

/// Equal up to session ids and times.
pub fn same_meaning(maps: &mut [Mapping; 2], left: &Tree, right: &Tree) -> Result<(), String> {
    let mapped = |tree: &Tree, map: &mut Mapping| -> Tree {
        tree.iter()
            .map(|(path, node)| {
                (path.clone(), Node { stat: map.stat(&node.stat), acl: settled(&node.acl), ..node.clone() })
            })
            .collect()
    };
    let (left, right) = (mapped(left, &mut maps[0]), mapped(right, &mut maps[1]));
    for map in maps {
        if let Some(fault) = map.take_faults().first() {
            return Err(fault.clone());
        }
    }
    same_bits(&left, &right)
}

pub fn same_bits(left: &Tree, right: &Tree) -> Result<(), String> {
    let paths = left.keys().chain(right.keys().filter(|path| !left.contains_key(*path)));
    for path in paths {
        if left.get(path) != right.get(path) {
            return Err(format!("{path:?} differs\n   left: {:?}\n  right: {:?}", left.get(path), right.get(path)));
        }
    }
    Ok(())
}

/// The tree without quota usage: after loading, Java counts nested quotas anew by another rule than while running.
pub fn without_usage(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    for (path, node) in &mut tree {
        if path.ends_with("/zookeeper_stats") {
            node.data = Data(None);
            node.stat.data_length = 0;
        }
    }
    tree
}

/// The tree without the time at which each server put its configuration there.
pub fn without_config_time(mut tree: Tree) -> Tree {
    let config = tree.get_mut("/zookeeper/config").expect("made at the beginning");
    config.stat.mtime = 0;
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_an_extra_and_a_changed_node_are_noticed() {
        let stat = Stat {
            czxid: 1,
            mzxid: 1,
            ctime: 1,
            mtime: 1,
            version: 0,
            cversion: 0,
            aversion: 0,
            ephemeral_owner: 0,
            data_length: 0,
            num_children: 0,
            pzxid: 1,
        };
        let node = Node { data: Data(None), acl: Acl::open(), children: vec![], stat };
        let one = Tree::from([("/a".to_string(), node.clone())]);
        let mut two = one.clone();
        two.insert("/b".to_string(), node.clone());
        let changed = Tree::from([("/a".to_string(), Node { data: Data(Some(vec![])), ..node })]);
        assert!(same_bits(&one, &one).is_ok());
        for other in [&two, &changed] {
            assert!(same_bits(&one, other).is_err());
            assert!(same_bits(other, &one).is_err());
        }
    }
}
