//! The static file once the members stand in a file of their own: it names that file and holds everything else, as
//! ZooKeeper's `QuorumPeerConfig.editStaticConfig` leaves it. Who writes it when is the ensemble's business.

use super::zoo_cfg::{BadLine, parse_zoo_cfg};
use crate::types::Membership;

/// Keys whose value stands in the dynamic file, or names it.
fn moves_out(key: &str, drops_client: bool) -> bool {
    Membership::owns(key)
        || key.starts_with("dynamicConfigFile")
        || key.starts_with("peerType")
        || (drops_client && key.starts_with("clientPort"))
}

/// The text of a static file that leads to `dynamic_file`. `drops_client`: this server's member line has its client address.
/// Comments are lost, as they are with ZooKeeper; the original is in the backup.
pub fn static_text_for(text: &[u8], dynamic_file: &str, drops_client: bool) -> Result<String, BadLine> {
    let mut entries = parse_zoo_cfg(text)?;
    // In Java's order too, so that tools that compare files see one text.
    let buckets = hash_buckets(entries.len());
    entries.sort_by_key(|entry| bucket(&entry.key, buckets));
    let mut written = String::new();
    for entry in entries.iter().filter(|entry| !moves_out(&entry.key, drops_client)) {
        written.push_str(&format!("{}={}\n", escaped(&entry.key, true), escaped(&entry.value, false)));
    }
    // Java writes it as it is; a path with a backslash would be read as another one.
    written.push_str(&format!("dynamicConfigFile={}\n", escaped(&dynamic_file.replace('\\', "/"), false)));
    Ok(written)
}

/// Size of the hash table in which Java's `Properties` keep so many keys.
fn hash_buckets(keys: usize) -> u32 {
    const BUCKETS_MIN: usize = 16;
    let mut buckets = BUCKETS_MIN;
    while keys >= buckets / 4 * 3 {
        buckets *= 2;
    }
    buckets as u32
}

fn bucket(key: &str, buckets: u32) -> u32 {
    let hash = key.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
    (hash ^ (hash >> 16)) & (buckets - 1)
}

/// So that it is read as it was.
fn escaped(text: &str, is_key: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{c}' => out.push_str("\\f"),
            '=' | ':' | ' ' if is_key => {
                out.push('\\');
                out.push(c);
            }
            '#' | '!' if is_key && at == 0 => {
                out.push('\\');
                out.push(c);
            }
            ' '..='~' => out.push(c),
            _ => {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(bytes: &[u8]) -> Vec<(String, String)> {
        let mut all: Vec<_> = parse_zoo_cfg(bytes).unwrap().into_iter().map(|e| (e.key, e.value)).collect();
        all.sort();
        all
    }

    #[test]
    fn members_move_out_and_everything_else_stays() {
        let text = "# mine\ntickTime=500\nserver.1=a:1:2;2181\ngroup.1=1\nweight.1=1\ndataDir=/d\npeerType=observer\n\
                    clientPort=2181\nclientPortAddress=127.0.0.1\ndynamicConfigFile=/old\n";
        let kept = static_text_for(text.as_bytes(), "/d/zoo.cfg.dynamic.1", false).unwrap();
        let expected = [
            ("clientPort", "2181"),
            ("clientPortAddress", "127.0.0.1"),
            ("dataDir", "/d"),
            ("dynamicConfigFile", "/d/zoo.cfg.dynamic.1"),
            ("tickTime", "500"),
        ];
        let expected: Vec<_> = expected.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        assert_eq!(pairs(kept.as_bytes()), expected);
        let dropped = static_text_for(text.as_bytes(), "/d/zoo.cfg.dynamic.1", true).unwrap();
        assert_eq!(pairs(dropped.as_bytes()), expected[2..]);
        assert!(kept.ends_with("\ndynamicConfigFile=/d/zoo.cfg.dynamic.1\n"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(pairs_in in proptest::collection::btree_map("[^\\x00-\\x20][^\\x00]{0,5}", "([^\\x00-\\x20]([^\\x00]{0,8}[^\\x00-\\x20])?)?", 0..20)) {
            let mut text = String::new();
            // Keys that end in a blank are trimmed.
            let pairs_in: std::collections::BTreeMap<String, String> = pairs_in
                .into_iter()
                .map(|(k, v)| (k.trim_end_matches(|c| c <= ' ').to_owned(), v))
                .filter(|(k, _)| !moves_out(k, false))
                .collect();
            for (key, value) in &pairs_in {
                text.push_str(&format!("{}={}\n", escaped(key, true), escaped(value, false)));
            }
            let written = static_text_for(text.as_bytes(), "/x", false).unwrap();
            let mut expected: Vec<(String, String)> = pairs_in.into_iter().collect();
            expected.push(("dynamicConfigFile".to_owned(), "/x".to_owned()));
            expected.sort();
            prop_assert_eq!(pairs(written.as_bytes()), expected);
        }
    }
}
