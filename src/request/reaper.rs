//! Which containers and TTL znodes have had their time (`ContainerManager`). When to look, and how many to delete in a
//! minute, is the caller's business; each is deleted by a deleteContainer of its own, which checks once more.

use crate::tree::{NodeRef, TreeWriter};
use crate::types::{EphemeralOwner, WallMillis};

/// Settings of the sweeper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReapRules {
    /// `znode.container.maxNeverUsedIntervalMs`: how long a container may wait for its first child; 0 = for ever.
    pub never_used_ms_max: i64,
}

/// Paths that are due at `now`, containers first.
pub fn due(tree: &TreeWriter, now: WallMillis, rules: ReapRules) -> impl Iterator<Item = &str> {
    let view = tree.view();
    let containers =
        tree.containers().filter(move |path| view.lookup(path).is_some_and(|node| container_is_due(node, now, rules)));
    let ttl_nodes =
        tree.ttl_nodes().filter(move |path| view.lookup(path).is_some_and(|node| ttl_node_is_due(node, now)));
    containers.chain(ttl_nodes)
}

/// Empty, and used before: one created just now would otherwise go before its first child comes.
fn container_is_due(node: NodeRef<'_>, now: WallMillis, rules: ReapRules) -> bool {
    let was_used = node.stat_persisted().cversion > 0;
    let waited_too_long = rules.never_used_ms_max != 0 && unchanged_ms(node, now) > rules.never_used_ms_max;
    node.child_count() == 0 && (was_used || waited_too_long)
}

fn ttl_node_is_due(node: NodeRef<'_>, now: WallMillis) -> bool {
    match node.owner() {
        EphemeralOwner::Ttl { ttl_ms } => node.child_count() == 0 && ttl_ms != 0 && unchanged_ms(node, now) > ttl_ms,
        _ => false,
    }
}

/// Since the data was last set.
fn unchanged_ms(node: NodeRef<'_>, now: WallMillis) -> i64 {
    now.0.saturating_sub(node.stat_persisted().mtime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{CreateOp, WriteOp};
    use crate::request::testbed::{Testbed, create_op, delete, set_data};
    use crate::types::OpCode;

    fn due_at(bed: &Testbed, now: i64, never_used_ms_max: i64) -> Vec<&str> {
        let mut paths: Vec<_> = due(&bed.tree, WallMillis(now), ReapRules { never_used_ms_max }).collect();
        paths.sort();
        paths
    }

    /// Everything is created at 1000.
    fn planted() -> Testbed {
        let mut bed = Testbed::default();
        for (op, path, flags, ttl_ms) in [
            (OpCode::CreateContainer, "/used", 4, -1),
            (OpCode::CreateContainer, "/fresh", 4, -1),
            (OpCode::CreateContainer, "/full", 4, -1),
            (OpCode::CreateTtl, "/short", 5, 10),
            (OpCode::CreateTtl, "/long", 5, 100),
            (OpCode::CreateTtl, "/parent", 5, 10),
        ] {
            let op = CreateOp { op, ttl_ms, ..create_op(path, flags) };
            bed.run(WriteOp::Create(op)).expect(path);
        }
        for child in ["/used/x", "/full/x", "/parent/x", "/plain"] {
            bed.add(child);
        }
        bed.run(delete("/used/x", -1)).expect("deleted");
        bed
    }

    #[test]
    fn a_container_goes_once_it_was_used_and_is_empty() {
        let bed = planted();
        assert_eq!(due_at(&bed, 1000, 0), ["/used"]);
        assert_eq!(due_at(&bed, 1050, 50), ["/short", "/used"]);
        assert_eq!(due_at(&bed, 1051, 50), ["/fresh", "/short", "/used"]);
    }

    #[test]
    fn a_ttl_runs_from_the_last_set_data_and_spares_parents() {
        let mut bed = planted();
        assert_eq!(due_at(&bed, 1010, 0), ["/used"]);
        assert_eq!(due_at(&bed, 1011, 0), ["/short", "/used"]);
        assert_eq!(due_at(&bed, 1101, 0), ["/long", "/short", "/used"]);
        bed.now = 2000;
        bed.run(set_data("/short", "", -1)).expect("set");
        assert_eq!(due_at(&bed, 2010, 0), ["/long", "/used"]);
        bed.run(delete("/parent/x", -1)).expect("deleted");
        assert_eq!(due_at(&bed, 2010, 0), ["/long", "/parent", "/used"]);
        // A clock that went back makes nothing due.
        assert_eq!(due_at(&bed, 0, 0), ["/used"]);
    }
}
