//! Judges what the recipes leave behind: one tree that all servers agree on, and what the programs say they were told.
//!
//! The fence: an entry of an exclusive recipe is a transaction that also checks that the contender's znode is there, and names
//! its czxid, the token. Znodes of contenders are numbered in the order of their czxids and the lowest has it; so in the
//! order of zxids tokens may only rise. A token that is seen again after a higher one is a second leader, or a znode that
//! outlived its turn.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::differential::walk::{Node, Tree};

/// What the programs say, by the first word.
#[derive(Default)]
pub struct Facts {
    by_kind: BTreeMap<String, Vec<Vec<String>>>,
}

impl Facts {
    pub fn add(&mut self, line: &str) {
        let mut words = line.split(' ').map(str::to_owned);
        let kind = words.next().unwrap_or_default();
        self.by_kind.entry(kind).or_default().push(words.collect());
    }

    fn of(&self, kind: &str) -> &[Vec<String>] {
        self.by_kind.get(kind).map_or(&[], Vec::as_slice)
    }

    /// Suspended, lost, fenced, failed; of all participants together.
    fn troubles(&self) -> [u64; 4] {
        let mut sums = [0; 4];
        for words in self.of("SESSION") {
            for (sum, word) in sums.iter_mut().zip(&words[1..]) {
                *sum += number(word);
            }
        }
        sums
    }
}

/// One entry of an exclusive recipe.
#[derive(Clone, Debug)]
struct Entry {
    zxid: i64,
    who: String,
    token: i64,
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("no number: {text:?}"))
}

fn text(node: &Node) -> &str {
    std::str::from_utf8(node.bytes()).expect("we write text only")
}

fn below<'a>(tree: &'a Tree, path: &str) -> impl Iterator<Item = (&'a str, &'a Node)> {
    let prefix = format!("{path}/");
    let skip = prefix.len();
    tree.range(prefix.clone()..)
        .take_while(move |(path, _)| path.starts_with(&prefix))
        .map(move |(path, node)| (&path[skip..], node))
}

/// The exclusive recipes, the members and the configuration; the answer tells of numbers.
pub fn judge(tree: &Tree, facts: &Facts, exclusive: &[&str], everybody: &[&str]) -> String {
    for kind in ["BROKEN", "STUCK", "BACKWARDS"] {
        assert_eq!(facts.of(kind), &[] as &[Vec<String>], "{kind}");
    }
    let mut told = String::new();
    for recipe in exclusive {
        let entries = entries(tree, recipe);
        let turns = one_at_a_time(&entries).unwrap_or_else(|fault| panic!("{recipe}: {fault}"));
        for name in everybody {
            assert!(entries.iter().any(|entry| entry.who == *name), "{recipe}: never {name}'s turn");
        }
        write!(told, " {recipe}: {turns} turns in {} entries;", entries.len()).expect("text");
    }
    for words in facts.of("ACK") {
        assert!(tree.contains_key(&words[0]), "{} was acknowledged and is not there", words[0]);
    }
    judge_members(tree, facts, everybody);
    let config = text(&tree["/config"]);
    for name in everybody {
        assert_eq!(text(&tree[&format!("/seen/{name}")]), config, "{name} does not know the last configuration");
    }
    let last_told = facts.of("TOLD").last().expect("everybody was told of something");
    assert_eq!(last_told[0], config);
    let [suspended, lost, fenced, failed] = facts.troubles();
    let pushes = facts.of("TOLD").len();
    write!(told, " {pushes} configurations told to all; connections lost {suspended}, sessions {lost};").expect("text");
    write!(told, " fenced off {fenced}, calls failed {failed};").expect("text");
    told
}

fn entries(tree: &Tree, recipe: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = below(tree, &format!("/ledger/{recipe}"))
        .map(|(name, node)| {
            let (who, token) = text(node).split_once(' ').unwrap_or_else(|| panic!("{recipe}/{name}: not of ours"));
            Entry { zxid: node.stat().czxid, who: who.to_owned(), token: token.parse().expect("a zxid") }
        })
        .collect();
    // Names are numbers with leading zeros: the tree's order is that of the numbers.
    assert!(
        entries.is_sorted_by_key(|entry| entry.zxid),
        "{recipe}: numbers of znodes and zxids are in different orders"
    );
    entries.dedup_by_key(|entry| entry.zxid);
    entries
}

/// How often somebody had a turn.
fn one_at_a_time(entries: &[Entry]) -> Result<usize, String> {
    let mut turns = usize::from(!entries.is_empty());
    for pair in entries.windows(2) {
        let [before, after] = pair else { continue };
        if after.zxid <= after.token {
            return Err(format!("{after:?} is older than its own contender"));
        }
        match after.token.cmp(&before.token) {
            std::cmp::Ordering::Less => {
                return Err(format!("{after:?} had its turn before {before:?}, and has it again"));
            }
            std::cmp::Ordering::Equal if after.who != before.who => {
                return Err(format!("{before:?}, {after:?}: one znode of two"));
            }
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => turns += 1,
        }
    }
    Ok(turns)
}

/// Everybody is a member in the eyes of everybody, by a znode of its own session.
fn judge_members(tree: &Tree, facts: &Facts, everybody: &[&str]) {
    let all: BTreeSet<&str> = everybody.iter().copied().collect();
    assert_eq!(facts.of("PARTY").len(), all.len());
    for words in facts.of("PARTY") {
        assert_eq!(words[0].split(',').collect::<BTreeSet<_>>(), all, "members");
        assert_eq!(number(&words[1]) as usize, all.len(), "members that a watcher knows of");
    }
    assert_eq!(facts.of("MEMBER").len(), all.len());
    for words in facts.of("MEMBER") {
        let [name, path, session, _] = words.as_slice() else { panic!("{words:?}") };
        let node = tree.get(path).unwrap_or_else(|| panic!("{name} lives and is no member"));
        assert_eq!(node.owner().to_string(), *session, "{name} is a member by another's session");
    }
}

/// A counter grows by compare and set alone: it has been set as often as it says. An increment that was not answered may have
/// been made, and made again by the library.
pub fn judge_count(tree: &Tree, facts: &Facts, path: &str, of_first: i32) -> String {
    let node = &tree[path];
    let bytes = node.bytes();
    let count = match <[u8; 8]>::try_from(bytes) {
        Ok(bytes) if bytes[0] == 0 => u64::from_be_bytes(bytes),
        _ => number(text(node)),
    };
    assert_eq!(count, (node.stat().version + of_first) as u64, "{path}: an increment is lost or made up");
    let counted = facts.of("INCREMENTED").len() as u64;
    let [suspended, lost, _, failed] = facts.troubles();
    let most = counted + suspended + lost + failed;
    assert!((counted..=most).contains(&count), "{counted} increments were acknowledged, the counter says {count}");
    format!(" counted to {count}, {counted} answered;")
}

/// Curator's SharedCount: nobody sets the same number twice.
pub fn judge_shares(tree: &Tree, facts: &Facts) -> String {
    let numbers: BTreeSet<u64> = facts.of("SHARED").iter().map(|words| number(&words[0])).collect();
    assert_eq!(numbers.len(), facts.of("SHARED").len(), "two were told that they set the same number");
    let node = &tree["/recipes/shared"];
    let now = i32::from_be_bytes(node.bytes().try_into().expect("four bytes"));
    assert_eq!(now, node.stat().version, "SharedCount");
    assert!(numbers.last().is_some_and(|last| *last <= now as u64));
    format!(" shared count {now};")
}

/// Nobody passes a barrier before it is opened, and all pass all of them.
pub fn judge_barriers(tree: &Tree, everybody: &[&str]) -> String {
    let mut rounds = 0;
    for (name, opened) in below(tree, "/ledger/barrier") {
        let Some(round) = name.strip_prefix("opened-") else { continue };
        rounds += 1;
        for who in everybody {
            let passed = tree.get(&format!("/ledger/barrier/passed-{round}-{who}"));
            let passed = passed.unwrap_or_else(|| panic!("{who} did not pass barrier {round}"));
            assert!(passed.stat().czxid > opened.stat().czxid, "{who} passed barrier {round} before it was opened");
        }
    }
    assert!(rounds > 0, "no barrier was opened");
    format!(" {rounds} barriers;")
}

/// No item is handed out twice, and none that was acknowledged is lost, but for what was being taken when a connection broke.
pub fn judge_queues(tree: &Tree, facts: &Facts) -> String {
    let items = |kind: &str, queue: &str| -> Vec<String> {
        facts.of(kind).iter().filter(|words| words[0] == queue).map(|words| words[1].clone()).collect()
    };
    let [suspended, lost, _, failed] = facts.troubles();
    let mut told = String::new();
    for (queue, entries) in [("Queue", "/recipes/Queue"), ("LockingQueue", "/recipes/LockingQueue/entries")] {
        let mut gone: BTreeSet<String> = items("PUT", queue).into_iter().collect();
        let put = gone.len();
        let taken = items("TOOK", queue);
        let distinct: BTreeSet<String> = taken.iter().cloned().collect();
        assert_eq!(distinct.len(), taken.len(), "{queue}: an item was handed out twice");
        for item in taken.iter().chain(&items("PERHAPS", queue)) {
            gone.remove(item);
        }
        for (_, node) in below(tree, entries) {
            gone.remove(text(node));
        }
        let excused = if queue == "Queue" { suspended + lost + failed } else { 0 };
        assert!(gone.len() as u64 <= excused, "{queue}: {gone:?} are lost; {excused} would be excused");
        write!(told, " {queue}: {put} put, {} taken;", taken.len()).expect("text");
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(zxid: i64, who: &str, token: i64) -> Entry {
        Entry { zxid, who: who.to_owned(), token }
    }

    #[test]
    fn turns_that_follow_each_other_are_in_order() {
        let entries = [entry(10, "a", 5), entry(11, "a", 5), entry(13, "b", 6), entry(20, "a", 14)];
        assert_eq!(one_at_a_time(&entries), Ok(3));
    }

    #[test]
    fn a_second_leader_is_noticed() {
        for entries in [
            [entry(10, "a", 5), entry(11, "b", 6), entry(12, "a", 5)],
            [entry(10, "a", 5), entry(11, "b", 5), entry(12, "b", 5)],
            [entry(10, "a", 5), entry(11, "b", 12), entry(12, "b", 12)],
        ] {
            assert!(one_at_a_time(&entries).is_err(), "{entries:?}");
        }
    }

    #[test]
    fn facts_add_up() {
        let mut facts = Facts::default();
        ["SESSION a 1 2 3 4", "SESSION b 1 0 0 0", "TOLD 7"].into_iter().for_each(|line| facts.add(line));
        assert_eq!(facts.troubles(), [2, 2, 3, 4]);
        assert_eq!(facts.of("TOLD"), [["7"]]);
    }
}
