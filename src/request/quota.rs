//! Quotas (client-protocol sheet §18): what a subtree may hold, what it holds, and the check of a write against both.
//! Everything is kept in ordinary znodes: limits in `/zookeeper/quota<P>/zookeeper_limits`, usage beside them in
//! `zookeeper_stats`, so there is no table of tracked subtrees that could disagree with the tree. A server without
//! limits nodes does none of this work.
//!
//! Usage is kept by `apply.rs` on every server, as part of the transaction that changes it: the stats node's data is
//! replaced, no field of its stat is touched, nobody is notified. Limits are checked by `ops`, before a transaction.

use crate::tree::{NodeRef, TreeWriter, View};
use crate::types::ErrorCode;
use crate::types::path::{LIMITS_NODE, QUOTA, STATS_NODE, ZOOKEEPER};
use std::collections::BTreeMap;
use std::fmt::Write;

/// `count=<n>,bytes=<n>`, and behind an extra `=` whatever else there is, as `;key=value`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    values: BTreeMap<String, i64>,
}

const COUNT: &str = "count";
const BYTES: &str = "bytes";
const COUNT_HARD: &str = "countHardLimit";
const BYTES_HARD: &str = "byteHardLimit";

impl Amounts {
    pub fn usage(count: i64, bytes: i64) -> Amounts {
        let values = [(COUNT.to_owned(), count), (BYTES.to_owned(), bytes)];
        Amounts { values: values.into() }
    }

    /// As `StatsTrack` reads it; `None` where it throws. Null data is no text; empty text sets nothing.
    pub fn parse(data: Option<&[u8]>) -> Option<Amounts> {
        let text = String::from_utf8_lossy(data?);
        let mut values = BTreeMap::new();
        // Java's split yields a leading empty item, which has no value, and drops the trailing ones.
        let items = text.trim_end_matches([',', ';']);
        if items.starts_with([',', ';']) {
            return None;
        }
        for item in items.split([',', ';']).filter(|item| !item.is_empty()) {
            let (key, rest) = item.split_once('=')?;
            if rest.trim_matches('=').is_empty() {
                return None;
            }
            let value = rest.split('=').next().unwrap_or_default();
            let value = if value.is_empty() { -1 } else { value.parse().ok()? };
            values.insert(key.to_owned(), value);
        }
        Some(Amounts { values })
    }

    fn get(&self, key: &str) -> i64 {
        self.values.get(key).copied().unwrap_or(-1)
    }

    fn add(&mut self, count: i64, bytes: i64) {
        for (key, difference) in [(COUNT, count), (BYTES, bytes)] {
            let value = self.get(key).wrapping_add(difference);
            match self.values.get_mut(key) {
                Some(known) => *known = value,
                None => drop(self.values.insert(key.to_owned(), value)),
            }
        }
    }

    pub fn to_text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.get(COUNT), self.get(BYTES));
        let others = self.values.iter().filter(|(key, _)| *key != COUNT && *key != BYTES);
        for (index, (key, value)) in others.enumerate() {
            let mark = if index == 0 { "=" } else { "" };
            write!(text, "{mark};{key}={value}").expect("a string takes what it is given");
        }
        text
    }
}

/// The quota node of the deepest tracked subtree that holds `path`, and how much of `path` is that subtree's root.
fn deepest_tracked<'a, 'p>(view: View<'a>, path: &'p str) -> Option<(&'p str, NodeRef<'a>)> {
    if view.quota_limit_nodes() == 0 {
        return None;
    }
    let mut node = view.lookup(QUOTA)?;
    let mut deepest = None;
    let mut end = 0;
    for name in path.strip_prefix('/')?.split('/') {
        let Some(child) = node.child(name) else { break };
        node = child;
        end += 1 + name.len();
        if node.child(LIMITS_NODE).is_some() {
            deepest = Some((&path[..end], node));
        }
    }
    deepest
}

/// What is left of a quota, as far as a write at one path is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowance {
    Unlimited,
    /// Limits or usage that cannot be read; Java fails inside, the client sees -5.
    Unreadable,
    Limited {
        limits: Amounts,
        usage: Amounts,
    },
}

/// The allowance that holds for a write at `path`, by the tree as it is now.
pub fn allowance(view: View<'_>, path: &str) -> Allowance {
    let Some((_, quota)) = deepest_tracked(view, path) else {
        return Allowance::Unlimited;
    };
    let (Some(limits), Some(usage)) = (quota.child(LIMITS_NODE), quota.child(STATS_NODE)) else {
        return Allowance::Unlimited;
    };
    match (Amounts::parse(limits.data()), Amounts::parse(usage.data())) {
        (Some(limits), Some(usage)) => Allowance::Limited { limits, usage },
        _ => Allowance::Unreadable,
    }
}

impl Allowance {
    /// Whether `count` more nodes and `bytes` more data are allowed; only hard limits are enforced.
    pub fn check(&self, count: i64, bytes: i64) -> Result<(), ErrorCode> {
        let (limits, usage) = match self {
            Allowance::Unlimited => return Ok(()),
            Allowance::Unreadable => return Err(ErrorCode::MarshallingError),
            Allowance::Limited { limits, usage } => (limits, usage),
        };
        for (difference, used, limit_key) in [(count, COUNT, COUNT_HARD), (bytes, BYTES, BYTES_HARD)] {
            let limit = limits.get(limit_key);
            if difference != 0 && limit > -1 && usage.get(used).saturating_add(difference) > limit {
                return Err(ErrorCode::QuotaExceeded);
            }
        }
        Ok(())
    }
}

/// Bookkeeping behind a change at `path`: `count` nodes and `bytes` of data more or less in the deepest tracked
/// subtree. A stats node that is missing or cannot be read is left alone.
pub fn record_change(tree: &mut TreeWriter, path: &str, count: i64, bytes: i64) {
    let Some((subtree, quota)) = deepest_tracked(tree.view(), path) else {
        return;
    };
    let Some(stats) = quota.child(STATS_NODE) else {
        return;
    };
    if let Some(mut usage) = Amounts::parse(stats.data()) {
        usage.add(count, bytes);
        let stat = stats.stat_persisted();
        let stats_path = format!("{QUOTA}{subtree}/{STATS_NODE}");
        tree.set_data(&stats_path, Some(usage.to_text().as_bytes()), &stat);
    }
}

/// To be called when `path` was created: a new stats node is filled by counting.
pub fn record_creation(tree: &mut TreeWriter, path: &str) {
    let subtree = path.strip_prefix(QUOTA).and_then(|rest| rest.strip_suffix(STATS_NODE)?.strip_suffix('/'));
    if let Some(subtree) = subtree {
        recount(tree, path, subtree);
    }
}

/// Writes what `subtree` holds, its root included, into the stats node at `stats_path`.
fn recount(tree: &mut TreeWriter, stats_path: &str, subtree: &str) {
    let view = tree.view();
    let Some(stat) = view.lookup(stats_path).map(NodeRef::stat_persisted) else {
        return;
    };
    let (mut count, mut bytes) = (0, 0);
    let mut to_visit: Vec<_> = view.lookup(subtree).into_iter().collect();
    while let Some(node) = to_visit.pop() {
        count += 1;
        bytes += node.data().map_or(0, <[u8]>::len) as i64;
        to_visit.extend(node.children());
    }
    let text = Amounts::usage(count, bytes).to_text();
    tree.set_data(stats_path, Some(text.as_bytes()), &stat);
}

/// Recounts every tracked subtree. To be called once a snapshot is loaded and before its log is replayed: a snapshot
/// written while writes went on holds usage of no particular moment.
pub fn recount_all(tree: &mut TreeWriter) {
    if tree.view().quota_limit_nodes() == 0 {
        return;
    }
    let mut subtrees = Vec::new();
    let mut to_visit: Vec<_> = tree.view().lookup(QUOTA).map(|node| (String::new(), node)).into_iter().collect();
    while let Some((subtree, node)) = to_visit.pop() {
        for child in node.children() {
            if child.child_count() > 0 {
                to_visit.push((format!("{subtree}/{}", child.name()), child));
            } else if child.name() == LIMITS_NODE {
                subtrees.push(subtree.clone());
            }
        }
    }
    for subtree in subtrees {
        recount(tree, &format!("{QUOTA}{subtree}/{STATS_NODE}"), &subtree);
    }
}

/// Whether creating `path` would break a Java server, now, on replay, or when it is deleted again: a limits node
/// whose parent's path is under `/zookeeper` by its letters and too short to name a subtree.
pub fn create_breaks_java(path: &str) -> bool {
    path.strip_suffix(LIMITS_NODE)
        .and_then(|rest| rest.strip_suffix('/'))
        .is_some_and(|parent| parent.starts_with(ZOOKEEPER) && parent.encode_utf16().count() <= QUOTA.len())
}

/// Whether setting `data` at `path` would break a Java server at the next change in the subtree: usage it cannot read.
pub fn set_data_breaks_java(path: &str, data: Option<&[u8]>) -> bool {
    path.ends_with(STATS_NODE) && path.starts_with(QUOTA) && Amounts::parse(data).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        Amounts::parse(Some(text.as_bytes())).map(|amounts| amounts.to_text())
    }

    /// Text, and what Java's `StatsTrack` makes of it; `None` where it throws.
    #[test]
    fn amounts_are_read_and_written_as_java_does() {
        for (text, expected) in [
            ("", Some("count=-1,bytes=-1")),
            ("count=1,bytes=2", Some("count=1,bytes=2")),
            ("count=1", Some("count=1,bytes=-1")),
            (
                "count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=3",
                Some("count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=3"),
            ),
            ("count=", None),
            ("count==4", Some("count=-1,bytes=-1")),
            ("a", None),
            ("a=b", None),
            ("a=5", Some("count=-1,bytes=-1=;a=5")),
            ("zz=9;count=1", Some("count=1,bytes=-1=;zz=9")),
            ("count=1;;,bytes=2", Some("count=1,bytes=2")),
            (",count=1", None),
            ("count=+1", Some("count=1,bytes=-1")),
            (" count=1", Some("count=-1,bytes=-1=; count=1")),
            ("count= 1", None),
            ("count=1=foo", Some("count=1,bytes=-1")),
            ("=5", Some("count=-1,bytes=-1=;=5")),
            ("count=99999999999999999999", None),
            ("=", None),
            (",", Some("count=-1,bytes=-1")),
            ("bytes=1,bytes=7", Some("count=-1,bytes=7")),
            (
                "byteHardLimit=3,aa=4,countHardLimit=5,count=6,bytes=7",
                Some("count=6,bytes=7=;aa=4;byteHardLimit=3;countHardLimit=5"),
            ),
        ] {
            assert_eq!(parsed(text).as_deref(), expected, "{text:?}");
        }
        assert_eq!(Amounts::parse(None), None);
    }
}
