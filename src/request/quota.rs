//! Quotas (client-protocol sheet §18): what a subtree may hold, what it holds, and the check of a write against both.
//! Everything is kept in ordinary znodes: limits in `/zookeeper/quota<P>/zookeeper_limits`, usage beside them in
//! `zookeeper_stats`, so there is no table of tracked subtrees that could disagree with the tree. A server without
//! limits nodes does none of this work.
//!
//! Usage is kept by `apply.rs` on every server, as part of the transaction that changes it: the stats node's data is
//! replaced, no field of its stat is touched, nobody is notified. Limits are checked by `ops`, before a transaction.

use super::prepare::RequestRules;
use crate::message::{CreateOp, MultiOp, MultiResult, WriteOp, WriteResult};
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

    fn count_and_bytes(&self) -> (i64, i64) {
        (self.get(COUNT), self.get(BYTES))
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
    let Some(limits) = quota.child(LIMITS_NODE) else {
        return Allowance::Unlimited;
    };
    let Some(limits) = Amounts::parse(limits.data()) else {
        return Allowance::Unreadable;
    };
    let Some(usage) = quota.child(STATS_NODE) else {
        return Allowance::Unlimited;
    };
    match Amounts::parse(usage.data()) {
        Some(usage) => Allowance::Limited { limits, usage },
        None => Allowance::Unreadable,
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

/// Paths that a write asks a quota for, in the order of a multi's operations; none where no quota is enforced.
pub fn asking_paths(view: View<'_>, op: &WriteOp, rules: &RequestRules) -> Vec<Option<String>> {
    if !rules.enforce_quota || view.quota_limit_nodes() == 0 {
        return Vec::new();
    }
    match op {
        WriteOp::Create(CreateOp { path, .. }) | WriteOp::SetData { path, .. } => vec![path.clone()],
        WriteOp::Multi(ops) => ops
            .iter()
            .map(|op| match op {
                MultiOp::Create(CreateOp { path, .. }) | MultiOp::SetData { path, .. } => path.clone(),
                MultiOp::Delete { .. } | MultiOp::Check { .. } => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Which of them the quota refused.
pub fn refused_path<'a>(asking: &'a [Option<String>], result: &Result<WriteResult, ErrorCode>) -> Option<&'a str> {
    let exceeded = ErrorCode::QuotaExceeded;
    let at = match result {
        Err(error) if *error == exceeded => 0,
        Ok(WriteResult::Multi(results)) => {
            results.iter().position(|result| matches!(result, MultiResult::Error(code) if *code == exceeded.code()))?
        }
        _ => return None,
    };
    asking.get(at)?.as_deref()
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
        tree.set_data(&stats_path, Some(usage.to_text().as_bytes()), |_| stat);
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
    tree.set_data(stats_path, Some(text.as_bytes()), |_| stat);
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

/// Name, limits and usage; the pairs are (count, bytes), -1 = none.
pub type NamespaceUsage = (String, (i64, i64), (i64, i64));

/// Limits and usage of every top-level znode that has a quota somewhere below it, as (count, bytes): those of its
/// shallowest limits node.
pub fn namespace_quotas(view: View<'_>) -> Vec<NamespaceUsage> {
    let Some(quotas) = view.lookup(QUOTA).filter(|_| view.quota_limit_nodes() > 0) else { return Vec::new() };
    let of_namespace = |namespace: NodeRef<'_>| {
        let mut level = vec![namespace];
        while !level.is_empty() {
            let limited = level.iter().find_map(|node| Some((node, node.child(LIMITS_NODE)?)));
            if let Some((node, limits)) = limited {
                let of = |node: Option<NodeRef<'_>>| node.and_then(|n| Amounts::parse(n.data())).unwrap_or_default();
                let (limits, usage) = (of(Some(limits)), of(node.child(STATS_NODE)));
                return Some((namespace.name().to_owned(), limits.count_and_bytes(), usage.count_and_bytes()));
            }
            level = level.iter().flat_map(|node| node.children()).collect();
        }
        None
    };
    quotas.children().filter_map(of_namespace).collect()
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

    use crate::message::{CreateOp, WriteOp};
    use crate::request::testbed::{Testbed, codes, create, create_op, delete, in_multi, set_data};

    const LIMITS: &str = "/zookeeper/quota/q/zookeeper_limits";
    const STATS: &str = "/zookeeper/quota/q/zookeeper_stats";

    /// `/q` with one child of five bytes, and `limits` on it.
    fn tracked(limits: &str) -> Testbed {
        let mut bed = Testbed::default();
        bed.add("/q");
        bed.add_with("/q/a", "12345");
        bed.add("/zookeeper/quota/q");
        bed.add_with(LIMITS, limits);
        bed.add_with(STATS, "whatever");
        bed
    }

    #[test]
    fn a_new_stats_node_is_filled_by_counting() {
        let mut bed = tracked("count=-1,bytes=-1");
        assert_eq!(bed.data(STATS), "count=2,bytes=5");
        // Even one that no limits go with, the whole tree's, and one whose subtree is not there.
        bed.add("/zookeeper/quota/zookeeper_stats");
        let whole = bed.data("/zookeeper/quota/zookeeper_stats");
        assert_eq!(whole, "count=10,bytes=37");
        bed.add("/zookeeper/quotaX");
        bed.add("/zookeeper/quotaX/zookeeper_stats");
        assert_eq!(bed.data("/zookeeper/quotaX/zookeeper_stats"), "count=0,bytes=0");
    }

    #[test]
    fn usage_follows_every_change_without_a_trace_in_the_stat() {
        let mut bed = tracked("count=-1,bytes=-1");
        let stat = bed.stat(STATS);
        for (op, usage) in [
            (create("/q/b", 0), "count=3,bytes=5"),
            (set_data("/q/b", "xx", 0), "count=3,bytes=7"),
            (set_data("/q/b", "x", 1), "count=3,bytes=6"),
            (create("/q/b/c", 0), "count=4,bytes=6"),
            (create("/other", 0), "count=4,bytes=6"),
            (set_data("/q", "0123456789", 0), "count=4,bytes=16"),
            (delete("/q/a", -1), "count=3,bytes=11"),
            (create("/qq", 0), "count=3,bytes=11"),
        ] {
            bed.run(op).expect(usage);
            assert_eq!(bed.data(STATS), usage);
        }
        let now = bed.stat(STATS);
        assert_eq!((now.mzxid, now.version, now.mtime), (stat.mzxid, 0, stat.mtime));
        let changes = bed.effects.len();
        assert_eq!(changes, 1, "nobody hears of the bookkeeping");
        bed.run(create("/q/e", 1)).expect("created");
        bed.close(crate::request::testbed::ALICE);
        assert_eq!(bed.data(STATS), "count=3,bytes=11");
    }

    #[test]
    fn only_the_deepest_tracked_subtree_counts() {
        let mut bed = tracked("count=-1,bytes=-1");
        bed.add("/zookeeper/quota/q/a");
        bed.add("/zookeeper/quota/q/a/zookeeper_limits");
        bed.add("/zookeeper/quota/q/a/zookeeper_stats");
        let inner = "/zookeeper/quota/q/a/zookeeper_stats";
        assert_eq!(bed.data(inner), "count=1,bytes=5");
        bed.add_with("/q/a/x", "abc");
        assert_eq!(bed.data(inner), "count=2,bytes=8");
        assert_eq!(bed.data(STATS), "count=2,bytes=5");
        // Without its limits the outer one takes over again.
        bed.run(delete("/zookeeper/quota/q/a/zookeeper_limits", -1)).expect("deleted");
        bed.add_with("/q/a/y", "abc");
        assert_eq!(bed.data(inner), "count=2,bytes=8");
        assert_eq!(bed.data(STATS), "count=3,bytes=8");
    }

    /// limits, what is tried, what comes of it; the subtree holds 2 znodes and 5 bytes.
    #[test]
    fn hard_limits_are_enforced_and_soft_ones_are_not() {
        let hard = |count, bytes| format!("count=-1,bytes=-1=;byteHardLimit={bytes};countHardLimit={count}");
        let made = || create("/q/b", 0);
        let grown = |bytes: usize| set_data("/q/a", &"x".repeat(bytes), 0);
        let refused = Err(ErrorCode::QuotaExceeded);
        for (limits, op, expected) in [
            ("count=1,bytes=1".to_owned(), made(), Ok(())),
            ("count=1,bytes=1".to_owned(), grown(99), Ok(())),
            (hard(3, -1), made(), Ok(())),
            (hard(2, -1), made(), refused),
            (hard(0, -1), grown(99), Ok(())),
            (hard(-1, 20), grown(20), Ok(())),
            (hard(-1, 20), grown(21), refused),
            // Shrinking is checked as well, and refused while the rest is still too much.
            (hard(-1, 3), grown(4), refused),
            (hard(-1, 3), grown(5), Ok(())),
            (hard(-1, 3), made(), Ok(())),
            (hard(-1, 3), grown(2), Ok(())),
        ] {
            let mut bed = tracked(&limits);
            let result = bed.run(op.clone()).map(drop);
            assert_eq!(result, expected, "{limits} {op:?}");
            bed = tracked(&limits);
            bed.rules.enforce_quota = false;
            assert!(bed.run(op).is_ok());
        }
    }

    #[test]
    fn quota_comes_after_the_place_and_before_the_version() {
        let mut bed = tracked("count=0,bytes=0=;byteHardLimit=0;countHardLimit=0");
        assert_eq!(bed.run(create("/q/a", 0)), Err(ErrorCode::NodeExists));
        let set = set_data("/q/a", "0123456789", 7);
        assert_eq!(bed.run(set), Err(ErrorCode::QuotaExceeded));
    }

    #[test]
    fn a_multi_is_checked_against_the_usage_before_it() {
        let mut bed = tracked("count=-1,bytes=-1=;countHardLimit=3");
        let two = || {
            let names = ["/q/b", "/q/c"];
            WriteOp::Multi(names.map(|path| in_multi(create(path, 0))).into())
        };
        assert_eq!(codes(bed.run(two())), [None, None]);
        assert_eq!(bed.data(STATS), "count=4,bytes=5");
        let third = create("/q/d", 0);
        assert_eq!(bed.run(third), Err(ErrorCode::QuotaExceeded));
        // A multi that fails takes its usage back.
        let failing = vec![in_multi(delete("/q/b", -1)), in_multi(delete("/none", -1))];
        assert_eq!(codes(bed.run(WriteOp::Multi(failing))), [Some(0), Some(-101)]);
        assert_eq!(bed.data(STATS), "count=4,bytes=5");
    }

    #[test]
    fn a_refusal_is_told_with_the_path_that_it_concerns() {
        let mut bed = tracked("count=-1,bytes=-1=;countHardLimit=2");
        let multi = |paths: [&str; 2]| WriteOp::Multi(paths.map(|path| in_multi(create(path, 0))).into());
        for (op, path) in [
            (create("/q/b", 0), Some("/q/b")),
            (create("/other", 0), None),
            (create("/other", 0), None), // refused, but not by a quota
            (multi(["/elsewhere", "/q/c"]), Some("/q/c")),
            (multi(["/q/c", "/nowhere"]), Some("/q/c")),
            (multi(["/there", "/nowhere/x"]), None),
            (delete("/q/a", -1), None),
        ] {
            let asking = asking_paths(bed.view(), &op, &bed.rules);
            let result = bed.run(op);
            assert_eq!(refused_path(&asking, &result), path, "{result:?}");
        }
        bed.rules.enforce_quota = false;
        assert!(asking_paths(bed.view(), &create("/q/d", 0), &bed.rules).is_empty());
    }

    #[test]
    fn limits_nobody_can_read_fail_the_request() {
        for limits in [Some("junk"), None] {
            let mut bed = tracked("count=-1,bytes=-1");
            let junk = WriteOp::SetData { path: Some(LIMITS.to_owned()), data: limits.map(Into::into), version: -1 };
            bed.run(junk).expect("limits are anybody's text");
            let error = Err(ErrorCode::MarshallingError);
            assert_eq!(bed.run(create("/q/b", 0)), error);
            assert_eq!(bed.run(create("/q/a", 0)), Err(ErrorCode::NodeExists));
            assert_eq!(bed.run(set_data("/q/a", "54321", 0)), error);
            let ops = vec![in_multi(delete("/q/a", -1)), in_multi(create("/q/b", 0))];
            assert_eq!(bed.run(WriteOp::Multi(ops)), error);
            assert!(bed.view().lookup("/q/a").is_some());
        }
    }

    #[test]
    fn usage_that_would_break_java_is_refused() {
        let mut bed = tracked("count=-1,bytes=-1");
        assert_eq!(bed.run(set_data(STATS, "junk", -1)), Err(ErrorCode::BadArguments));
        let null = WriteOp::SetData { path: Some(STATS.to_owned()), data: None, version: -1 };
        assert_eq!(bed.run(null), Err(ErrorCode::BadArguments));
        bed.run(set_data(STATS, "count=0,bytes=0,foo=7", -1)).expect("it can be read");
        bed.add_with("/q/b", "yy");
        assert_eq!(bed.data(STATS), "count=1,bytes=2=;foo=7");
    }

    #[test]
    fn a_loaded_tree_is_counted_again() {
        let mut bed = tracked("count=-1,bytes=-1");
        bed.add("/zookeeper/quota/q/a");
        bed.add("/zookeeper/quota/q/a/zookeeper_limits");
        bed.run(set_data(STATS, "count=77,bytes=77", -1)).expect("set");
        let stat = bed.stat(STATS);
        recount_all(&mut bed.tree);
        assert_eq!(bed.data(STATS), "count=2,bytes=5");
        assert_eq!(bed.stat(STATS).version, stat.version);
    }

    #[test]
    fn null_data_weighs_nothing() {
        let mut bed = tracked("count=-1,bytes=-1=;byteHardLimit=5");
        let null = CreateOp { data: None, ..create_op("/q/n", 0) };
        bed.run(WriteOp::Create(null)).expect("created");
        assert_eq!(bed.data(STATS), "count=3,bytes=5");
    }
}
