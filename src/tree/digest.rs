//! The digest of a znode: one addend of the tree digest that every transaction carries (`DigestCalculator`,
//! version 2). Everything under `/zookeeper/` counts 0, since servers differ there.

use crate::types::StatPersisted;

/// Path, data and stat of most znodes.
const GATHERED_BYTES_MAX: usize = 320;

/// CRC-32 over path, data and stat; `path` is the root's as "" or "/".
pub(super) fn of_node(path: &str, data: Option<&[u8]>, stat: &StatPersisted) -> u32 {
    if path.starts_with("/zookeeper/") {
        return 0;
    }
    let path = if path == "/" { &[] } else { path.as_bytes() };
    of_parts([path, data.unwrap_or_default(), &stat_bytes(stat)])
}

/// CRC-32 of all, one behind the other. Together they are long enough for the processor's own instructions, which no part of a
/// common znode is.
fn of_parts(parts: [&[u8]; 3]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    let mut gathered = [0; GATHERED_BYTES_MAX];
    let mut bytes = 0;
    for part in parts {
        match gathered.get_mut(bytes..bytes + part.len()) {
            Some(room) => {
                room.copy_from_slice(part);
                bytes += part.len();
            }
            None => {
                crc.update(&gathered[..bytes]);
                crc.update(part);
                bytes = 0;
            }
        }
    }
    crc.update(&gathered[..bytes]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathered_or_not_it_is_one_checksum() {
        for lengths in
            [[0, 0, 60], [16, 100, 60], [16, 5000, 60], [500, 0, 60], [319, 1, 1], [320, 0, 1], [400, 400, 60]]
        {
            let parts = lengths.map(|length| (0..length).map(|n| (n * 7 + length) as u8).collect::<Vec<_>>());
            let [path, data, stat] = &parts;
            assert_eq!(of_parts([path, data, stat]), crc32fast::hash(&parts.concat()), "{lengths:?}");
        }
    }
}
