//! What was written: a `zoo.cfg` as a list of keys and values, each with the line it stands on.
//!
//! The syntax is that of a Java properties file, because that is what ZooKeeper reads: ISO-8859-1 bytes, `#` and `!`
//! comments, a key ending at the first `=`, `:` or blank, lines continued by a trailing backslash, `\uXXXX`, and the last
//! of several equal keys wins. What a key means is `known_keys` and `load`'s business.
//!
//! Invariant: no input makes this panic; the only thing that can be wrong with a file at this level is a broken `\u`.

use std::collections::HashMap;

/// One key of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: String,
    /// Line on which the key begins, counted from 1.
    pub line: u32,
}

/// A line that is not a properties line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct BadLine {
    pub line: u32,
    pub reason: String,
}

/// Reads a file. Entries come in the order of the lines that won, keys and values trimmed as ZooKeeper trims them.
pub fn parse_zoo_cfg(bytes: &[u8]) -> Result<Vec<Entry>, BadLine> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut winner: HashMap<String, usize> = HashMap::new();
    for line in logical_lines(bytes) {
        let (key, value) = split(&line)?;
        let entry = Entry { key, value, line: line.number };
        match winner.get(&entry.key) {
            Some(&at) => entries[at] = entry,
            None => {
                winner.insert(entry.key.clone(), entries.len());
                entries.push(entry);
            }
        }
    }
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

/// A line after continuation, escapes still in it.
struct LogicalLine {
    number: u32,
    bytes: Vec<u8>,
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

/// Joins continued lines and drops blank lines and comments. A comment never continues, and what follows a
/// continued line is not a comment, whatever it begins with, unless there was nothing but the backslash.
fn logical_lines(bytes: &[u8]) -> Vec<LogicalLine> {
    let mut lines = Vec::new();
    let mut open: Option<LogicalLine> = None;
    for (index, natural) in natural_lines(bytes).into_iter().enumerate() {
        let start = natural.iter().position(|&b| !is_blank(b)).unwrap_or(natural.len());
        let text = &natural[start..];
        let nothing_yet = open.as_ref().is_none_or(|line| line.bytes.is_empty());
        if nothing_yet && (text.is_empty() || matches!(text[0], b'#' | b'!')) {
            open = None;
            continue;
        }
        let line = open.get_or_insert_with(|| LogicalLine {
            number: u32::try_from(index + 1).unwrap_or(u32::MAX),
            bytes: Vec::new(),
        });
        let backslashes = text.iter().rev().take_while(|&&b| b == b'\\').count();
        let continues = backslashes % 2 == 1;
        line.bytes.extend_from_slice(&text[..text.len() - usize::from(continues)]);
        if !continues {
            lines.extend(open.take());
        }
    }
    lines.extend(open.filter(|line| !line.bytes.is_empty()));
    lines
}

/// Splits at `\n`, `\r` and `\r\n`.
fn natural_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at < bytes.len() {
        if matches!(bytes[at], b'\n' | b'\r') {
            lines.push(&bytes[start..at]);
            if bytes[at] == b'\r' && bytes.get(at + 1) == Some(&b'\n') {
                at += 1;
            }
            start = at + 1;
        }
        at += 1;
    }
    lines.push(&bytes[start..]);
    lines
}

fn split(line: &LogicalLine) -> Result<(String, String), BadLine> {
    let bytes = &line.bytes;
    let mut key_end = 0;
    while key_end < bytes.len() && !matches!(bytes[key_end], b'=' | b':') && !is_blank(bytes[key_end]) {
        // An escaped separator belongs to the key.
        key_end += if bytes[key_end] == b'\\' { 2 } else { 1 };
    }
    let key_end = key_end.min(bytes.len());
    let mut value_start = key_end;
    let mut separator_seen = false;
    while let Some(&byte) = bytes.get(value_start) {
        let separator = matches!(byte, b'=' | b':');
        if !is_blank(byte) && (separator_seen || !separator) {
            break;
        }
        separator_seen |= separator;
        value_start += 1;
    }
    let key = unescape(&bytes[..key_end], line.number)?;
    let value = unescape(&bytes[value_start..], line.number)?;
    Ok((trim(&key).to_owned(), trim(&value).to_owned()))
}

/// Java's `trim`: everything up to and including the space, controls too.
fn trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

fn unescape(bytes: &[u8], line: u32) -> Result<String, BadLine> {
    // UTF-16 because `\uD83D\uDE00` is one character written as two.
    let mut units: Vec<u16> = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'\\' {
            units.push(u16::from(byte));
            continue;
        }
        match rest.next() {
            None => {}
            Some(b't') => units.push(u16::from(b'\t')),
            Some(b'n') => units.push(u16::from(b'\n')),
            Some(b'r') => units.push(u16::from(b'\r')),
            Some(b'f') => units.push(0x0c),
            Some(b'u') => {
                let digits: Vec<u32> = rest.by_ref().take(4).map_while(|&d| char::from(d).to_digit(16)).collect();
                if digits.len() < 4 {
                    return Err(BadLine { line, reason: "\\u must be followed by four hexadecimal digits".to_owned() });
                }
                let unit = digits.iter().fold(0u32, |unit, digit| unit << 4 | digit);
                units.push(unit as u16);
            }
            Some(&other) => units.push(u16::from(other)),
        }
    }
    Ok(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &[u8]) -> Vec<(String, String, u32)> {
        parse_zoo_cfg(text).unwrap().into_iter().map(|e| (e.key, e.value, e.line)).collect()
    }

    fn one(text: &[u8]) -> (String, String) {
        let mut all = pairs(text);
        assert_eq!(all.len(), 1, "{all:?}");
        let (key, value, _) = all.remove(0);
        (key, value)
    }

    fn kv(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn separators_and_blanks() {
        assert_eq!(one(b"tickTime=2000"), kv("tickTime", "2000"));
        assert_eq!(one(b"tickTime:2000"), kv("tickTime", "2000"));
        assert_eq!(one(b"  tickTime\t2000  "), kv("tickTime", "2000"));
        assert_eq!(one(b"tickTime = 2000"), kv("tickTime", "2000"));
        assert_eq!(one(b"a==b"), kv("a", "=b"));
        assert_eq!(one(b"a : =b"), kv("a", "=b"));
        assert_eq!(one(b"alone"), kv("alone", ""));
        assert_eq!(one(b"=v"), kv("", "v"));
        assert_eq!(one(b"server.1=h:2888:3888;2181"), kv("server.1", "h:2888:3888;2181"));
    }

    #[test]
    fn comments_and_line_ends() {
        let text = b"# c\r\n! d\n\n   # e\ra=1\rb=2\r\nc=3";
        assert_eq!(
            pairs(text),
            [("a".into(), "1".into(), 5), ("b".into(), "2".into(), 6), ("c".into(), "3".into(), 7)]
        );
        assert_eq!(one(b"a=1 # not a comment"), kv("a", "1 # not a comment"));
    }

    #[test]
    fn continuation() {
        assert_eq!(one(b"a=1,\\\n   2,\\\r\n\t3"), kv("a", "1,2,3"));
        assert_eq!(one(b"a=1\\\\\n#x"), kv("a", "1\\"), "an escaped backslash does not continue");
        assert_eq!(one(b"a=1\\\n#2"), kv("a", "1#2"), "no comment inside a continued line");
        assert_eq!(pairs(b"a=1\\\n\nb=2").len(), 2, "a blank line ends a continued one");
        assert_eq!(pairs(b"#c \\\nb=2").len(), 1, "a comment is not continued");
        assert_eq!(one(b"a=1\\"), kv("a", "1"));
        assert_eq!(pairs(b"\\\n#c\n\\\n\n\\"), [], "a backslash alone is nothing to continue");
    }

    #[test]
    fn escapes_and_latin1() {
        assert_eq!(one(b"a\\=b=c"), kv("a=b", "c"));
        assert_eq!(one(b"a=\\u00e9\\t\\x"), kv("a", "\u{e9}\tx"));
        assert_eq!(one(b"a=\xe9"), kv("a", "\u{e9}"));
        assert_eq!(one(b"a=\\uD83D\\uDE00"), kv("a", "\u{1F600}"));
        let bad = parse_zoo_cfg(b"x=1\na=\\u12G4").unwrap_err();
        assert_eq!(bad.line, 2);
    }

    #[test]
    fn the_last_duplicate_wins() {
        assert_eq!(pairs(b"a=1\nb=2\na=3"), [("b".into(), "2".into(), 2), ("a".into(), "3".into(), 3)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse_zoo_cfg(&bytes);
        }

        #[test]
        fn bytes_of_the_syntax_are_read_or_refused(text in "[\\\\ =:#!u0-9a\\n\\r\\t\u{c}]{0,80}") {
            if let Ok(entries) = parse_zoo_cfg(text.as_bytes()) {
                let lines = 1 + text.matches(['\n', '\r']).count();
                prop_assert!(entries.iter().all(|e| e.line as usize <= lines));
            }
        }
    }
}
