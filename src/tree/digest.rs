//! The digest of a znode: one addend of the tree digest that every transaction carries (`DigestCalculator`,
//! version 2). Everything under `/zookeeper/` counts 0, since servers differ there.

use crate::types::StatPersisted;

/// CRC-32 over path, data and stat; `path` is the root's as "" or "/".
pub(super) fn of_node(path: &str, data: Option<&[u8]>, stat: &StatPersisted) -> u32 {
    if path.starts_with("/zookeeper/") {
        return 0;
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(if path == "/" { &[] } else { path.as_bytes() });
    crc.update(data.unwrap_or_default());
    crc.update(&stat_bytes(stat));
    crc.finalize()
}

/// The digest's own order of fields; it is not the snapshot's.
fn stat_bytes(stat: &StatPersisted) -> [u8; 60] {
    let mut bytes = [0; 60];
    let longs = [stat.czxid.0, stat.mzxid.0, stat.pzxid.0, stat.ctime, stat.mtime];
    for (at, long) in longs.into_iter().enumerate() {
        bytes[at * 8..at * 8 + 8].copy_from_slice(&long.to_be_bytes());
    }
    for (at, int) in [stat.version, stat.cversion, stat.aversion].into_iter().enumerate() {
        bytes[40 + at * 4..44 + at * 4].copy_from_slice(&int.to_be_bytes());
    }
    bytes[52..].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    bytes
}
