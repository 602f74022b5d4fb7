//! Names of files in a `version-2` directory, and which of them are ours to touch (storage-format sheet §1).
//! Pure. What Java takes for a log or a snapshot is taken for one here, and nothing else is.

use crate::types::Zxid;

/// A log being prepared: zeroed and synced under a name that nobody takes for a log.
pub const PREPARED_PREFIX: &str = "prepared.";
/// Ending of a file that is still being written.
pub const UNFINISHED_SUFFIX: &str = ".tmp";
/// Held by the server that owns the directory. Java ignores it.
pub const LOCK: &str = "ringkeeper.lock";

pub fn log(first: Zxid) -> String {
    format!("log.{first:x}")
}

pub fn snapshot(last: Zxid, suffix: &str) -> String {
    format!("snapshot.{last:x}{suffix}")
}

pub fn prepared(number: u64) -> String {
    format!("{PREPARED_PREFIX}{number}{UNFINISHED_SUFFIX}")
}

pub fn is_prepared(name: &str) -> bool {
    name.starts_with(PREPARED_PREFIX) && name.ends_with(UNFINISHED_SUFFIX)
}

pub fn is_unfinished_snapshot(name: &str) -> bool {
    name.starts_with("snapshot.") && name.ends_with(UNFINISHED_SUFFIX)
}

/// zxid of a name whose first part is `log` and whose second is hexadecimal.
pub fn parse_log(name: &str) -> Option<Zxid> {
    parse(name, "log")
}

/// zxid of a snapshot's name; unfinished ones are none.
pub fn parse_snapshot(name: &str) -> Option<Zxid> {
    parse(name, "snapshot").filter(|_| !is_unfinished_snapshot(name))
}

fn parse(name: &str, kind: &str) -> Option<Zxid> {
    let mut parts = name.split('.');
    if parts.next() != Some(kind) {
        return None;
    }
    let digits = parts.next()?;
    i64::from_str_radix(digits, 16).ok().map(Zxid)
}

/// Lower-cased last part behind the zxid: `gz`, `snappy`, or anything else.
pub fn suffix(name: &str) -> Option<String> {
    let last = name.splitn(3, '.').nth(2)?.rsplit('.').next()?;
    Some(last.to_ascii_lowercase())
}

/// Logs that a reader starting at `from` needs, oldest first: the last one named below it, and all later ones.
pub fn logs_from(names: &[String], from: Zxid) -> Vec<(Zxid, String)> {
    let mut logs = all_logs(names);
    let first = logs.iter().rposition(|(zxid, _)| *zxid < from);
    logs.drain(..first.unwrap_or(0));
    logs
}

/// All logs, oldest first.
pub fn all_logs(names: &[String]) -> Vec<(Zxid, String)> {
    sorted(names, parse_log)
}

/// All snapshots, newest first.
pub fn all_snapshots(names: &[String]) -> Vec<(Zxid, String)> {
    let mut snapshots = sorted(names, parse_snapshot);
    snapshots.reverse();
    snapshots
}

fn sorted(names: &[String], parse: fn(&str) -> Option<Zxid>) -> Vec<(Zxid, String)> {
    let mut found: Vec<(Zxid, String)> = names.iter().filter_map(|name| Some((parse(name)?, name.clone()))).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_java_reads_them() {
        assert_eq!(parse_log("log.1"), Some(Zxid(1)));
        assert_eq!(parse_log("log.100000001"), Some(Zxid::new(1, 1)));
        assert_eq!(parse_log("log.1.bak"), Some(Zxid(1)));
        for other in ["log", "log.", "log.xyz", "logs.1", "snapshot.1", "prepared.1.tmp", LOCK] {
            assert_eq!(parse_log(other), None, "{other}");
        }
        assert_eq!(parse_snapshot("snapshot.1f.gz"), Some(Zxid(0x1f)));
        assert_eq!(parse_snapshot("snapshot.1f.tmp"), None);
        assert_eq!(suffix("snapshot.1f.SNAPPY"), Some("snappy".into()));
        assert_eq!(suffix("snapshot.1f"), None);
        assert_eq!(log(Zxid::new(1, 1)), "log.100000001");
        assert!(is_prepared(&prepared(3)));
    }

    #[test]
    fn a_reader_starts_in_the_last_file_named_below_its_zxid() {
        let names: Vec<String> = ["log.20", "log.1", "log.10", "snapshot.0", "log.x"].map(String::from).into();
        let needed = |from| -> Vec<i64> { logs_from(&names, Zxid(from)).iter().map(|(z, _)| z.0).collect() };
        assert_eq!(needed(0x15), [0x10, 0x20]);
        assert_eq!(needed(0x10), [0x1, 0x10, 0x20]);
        assert_eq!(needed(0x99), [0x20]);
        assert_eq!(needed(0), [0x1, 0x10, 0x20]);
    }
}
