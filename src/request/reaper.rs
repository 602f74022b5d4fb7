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
