//! What a start does where the records of a log file end: one table, one row a case. Pure.
//!
//! Write-back is unordered, so after a power cut a bad record may stand before good ones of the same flush. Only one flush is
//! ever in flight, so whatever a crash tore lies within `flush_bytes_max` of the first bad record: beyond that it is corruption,
//! and so is a bad record with a whole one of a later flush behind it (`tear.rs` tells). Of what was flushed nothing is cut.
//! Java writes the same files with other habits: holes from preallocation, a torn last record that it drops silently and
//! never repairs, a checksum that it takes as fatal even at the very end. After a cut Java starts on the directory as well.
//!
//! Invariant: for any facts exactly one row matches.

use super::txnlog_format::{Header, Stop};
use crate::types::Zxid;

/// All that is known about a file when its records end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub header: Header,
    pub stop: Stop,
    pub beyond: Beyond,
    pub behind: Behind,
    pub next: Next,
    pub has_records: bool,
}

/// Non-zero bytes at or behind the place where the records end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    Nothing,
    /// None farther than one flush reaches.
    Near,
    Far,
}

/// What a cut would take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Nothing that could be history: bytes are missing as after a crash, and no whole record follows that the next file does
    /// not repeat.
    Nothing,
    /// What can have been one flush, never completed.
    Unflushed,
    /// Something that was flushed.
    Flushed,
}

/// How the next file that holds a record carries on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is none: this is the end of the log.
    None,
    /// With the transaction that comes next.
    Follows,
    /// With another one.
    Gap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The file is as it should be.
    Keep,
    /// Shorten it to its good records; remove it when it has none.
    Cut,
    /// Remove it: it holds nothing.
    Remove,
    Refuse(&'static str),
}

/// One case.
pub struct Row {
    pub case: &'static str,
    matches: fn(&Facts) -> bool,
    pub decision: Decision,
}

const FROM_BACKUP: &str = "Nothing was changed. Restore the file from a backup; in an ensemble, move this server's \
    version-2 directories away and let it fetch the data from the others";
const REMOVE_BY_HAND: &str = "Nothing was changed. Move the file away if it is not a transaction log of this server";
const UPGRADE: &str = "Nothing was changed. The entry was written whole, by a newer or a modified server: start that one, \
    let it write a snapshot, then come back";

pub const TABLE: [Row; 21] = [
    Row {
        case: "an empty last file",
        matches: |f| f.header == Header::Empty && f.next == Next::None,
        decision: Decision::Remove,
    },
    Row {
        case: "an empty file before others",
        matches: |f| f.header == Header::Empty && f.next != Next::None,
        decision: Decision::Refuse(FROM_BACKUP),
    },
    Row {
        case: "a last file that ends inside its header",
        matches: |f| f.header == Header::Short && f.next == Next::None,
        decision: Decision::Remove,
    },
    Row {
        case: "a file before others that ends inside its header",
        matches: |f| f.header == Header::Short && f.next != Next::None,
        decision: Decision::Refuse(FROM_BACKUP),
    },
    Row {
        case: "no transaction log: its first bytes are not ZKLG",
        matches: |f| f.header == Header::Foreign,
        decision: Decision::Refuse(REMOVE_BY_HAND),
    },
    Row {
        case: "a last file of nothing but zeros",
        matches: |f| f.header == Header::Zero && f.beyond == Beyond::Nothing && f.next == Next::None,
        decision: Decision::Remove,
    },
    // The header and the first records were one flush, which never completed.
    Row {
        case: "a last file whose first flush lost the header",
        matches: |f| is_headless(f) && is_first_flush(f),
        decision: Decision::Cut,
    },
    Row {
        case: "a file without header that holds more than its first flush, or has files after it",
        matches: |f| is_headless(f) && !is_first_flush(f),
        decision: Decision::Refuse(FROM_BACKUP),
    },
    Row {
        case: "an entry that no known server writes",
        matches: |f| is_readable(f) && f.stop == Stop::Undecodable,
        decision: Decision::Refuse(UPGRADE),
    },
    Row {
        case: "a transaction id that is not above the one before it",
        matches: |f| is_readable(f) && f.stop == Stop::OutOfOrder,
        decision: Decision::Refuse(FROM_BACKUP),
    },
    Row {
        case: "the end of the log, without padding",
        matches: |f| is_last_and_clean(f) && f.has_records && f.stop == Stop::EndOfFile,
        decision: Decision::Keep,
    },
    Row {
        case: "the end of the log, then zeros",
        matches: |f| is_last_and_clean(f) && f.has_records && f.stop == Stop::ZeroLength,
        decision: Decision::Keep,
    },
    // Its name belongs to the next transaction, which opens a file of its own.
    Row {
        case: "a last file with a header and no records",
        matches: |f| is_last_and_clean(f) && !f.has_records,
        decision: Decision::Remove,
    },
    Row {
        case: "a whole file that the next one carries on",
        matches: |f| is_readable(f) && is_clean(f) && f.next == Next::Follows,
        decision: Decision::Keep,
    },
    Row {
        case: "transactions are missing between this file and the next",
        matches: |f| is_readable(f) && is_clean(f) && f.next == Next::Gap,
        decision: Decision::Refuse(FROM_BACKUP),
    },
    Row {
        case: "a torn end of the log",
        matches: |f| is_torn(f) && f.next == Next::None && f.behind != Behind::Flushed && f.beyond != Beyond::Far,
        decision: Decision::Cut,
    },
    Row {
        case: "a bad record, and bytes farther behind it than one flush reaches",
        matches: |f| is_torn(f) && f.next == Next::None && f.behind != Behind::Flushed && f.beyond == Beyond::Far,
        decision: Decision::Refuse(FROM_BACKUP),
    },
    Row {
        case: "a bad record, and behind it transactions that were flushed after it",
        matches: |f| is_torn(f) && f.next == Next::None && f.behind == Behind::Flushed,
        decision: Decision::Refuse(FROM_BACKUP),
    },
    // Java drops a torn end and goes on in a new file: what stands here never became history.
    Row {
        case: "a torn end that the next file carries on",
        matches: |f| is_torn(f) && f.next == Next::Follows && f.behind == Behind::Nothing,
        decision: Decision::Cut,
    },
    // Our own logs are never left so: a torn end is cut before anything is written behind it.
    Row {
        case: "a bad record at the end of a file, with transactions that the next file does not repeat",
        matches: |f| is_torn(f) && f.next == Next::Follows && f.behind != Behind::Nothing,
        decision: Decision::Refuse(FROM_BACKUP),
    },
    Row {
        case: "a bad record in the middle of the log",
        matches: |f| is_torn(f) && f.next == Next::Gap,
        decision: Decision::Refuse(FROM_BACKUP),
    },
];

fn is_headless(f: &Facts) -> bool {
    f.header == Header::Zero && (f.beyond != Beyond::Nothing || f.next != Next::None)
}

fn is_first_flush(f: &Facts) -> bool {
    f.beyond == Beyond::Near && f.behind != Behind::Flushed && f.next == Next::None
}

/// Records can be read and stand in order up to the stop.
fn is_readable(f: &Facts) -> bool {
    f.header == Header::Good
}

fn is_clean(f: &Facts) -> bool {
    f.stop == Stop::EndOfFile || (f.stop == Stop::ZeroLength && f.beyond == Beyond::Nothing)
}

fn is_last_and_clean(f: &Facts) -> bool {
    is_readable(f) && is_clean(f) && f.next == Next::None
}

fn is_torn(f: &Facts) -> bool {
    let is_sound = matches!(f.stop, Stop::Undecodable | Stop::OutOfOrder);
    is_readable(f) && !is_sound && !is_clean(f)
}

/// The row for these facts.
pub fn decide(facts: &Facts) -> &'static Row {
    static ROWS: [Row; 21] = TABLE;
    let mut matching = ROWS.iter().filter(|row| (row.matches)(facts));
    let row = matching.next();
    assert!(matching.next().is_none(), "two rows of the recovery table match {facts:?}");
    row.unwrap_or_else(|| panic!("no row of the recovery table matches {facts:?}"))
}

/// Is `next` the transaction that comes after `last`? Counters go up by one; a new epoch starts again at one.
pub fn follows(last: Zxid, next: Zxid) -> bool {
    next == last.next() || (next.epoch() > last.epoch() && next.counter() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_facts() -> Vec<Facts> {
        use Header::*;
        use Stop::*;
        let stops = [EndOfFile, ZeroLength, CutShort, BadLength, BadEnd, BadChecksum, Undecodable, OutOfOrder];
        let mut all = Vec::new();
        for header in [Good, Empty, Short, Zero, Foreign] {
            for stop in stops {
                for beyond in [Beyond::Nothing, Beyond::Near, Beyond::Far] {
                    for behind in [Behind::Nothing, Behind::Unflushed, Behind::Flushed] {
                        for next in [Next::None, Next::Follows, Next::Gap] {
                            for has_records in [false, true] {
                                all.push(Facts { header, stop, beyond, behind, next, has_records });
                            }
                        }
                    }
                }
            }
        }
        all
    }

    #[test]
    fn exactly_one_row_matches_whatever_the_facts() {
        let all = all_facts();
        assert_eq!(all.len(), 2160);
        for facts in &all {
            let rows: Vec<&str> = TABLE.iter().filter(|row| (row.matches)(facts)).map(|row| row.case).collect();
            assert_eq!(rows.len(), 1, "{facts:?}: {rows:?}");
        }
        for row in &TABLE {
            assert!(all.iter().any(|facts| (row.matches)(facts)), "{} never matches", row.case);
        }
    }

    #[test]
    fn nothing_with_later_transactions_is_ever_removed_nor_cut_across_a_gap() {
        for facts in all_facts() {
            let decision = decide(&facts).decision;
            if facts.next == Next::Gap {
                assert!(matches!(decision, Decision::Refuse(_)), "{facts:?}");
            }
            if facts.beyond == Beyond::Far
                && facts.next == Next::None
                && facts.stop != Stop::EndOfFile
                && matches!(facts.header, Header::Good | Header::Zero)
            {
                assert!(matches!(decision, Decision::Refuse(_)), "{facts:?}");
            }
            // Behind a clean end there is nothing, whatever this says.
            let is_bad = is_torn(&facts) || is_headless(&facts);
            if facts.behind == Behind::Flushed && is_bad {
                assert!(matches!(decision, Decision::Refuse(_)), "{facts:?}");
            }
            if decision == Decision::Remove {
                assert!(facts.next == Next::None, "{facts:?}");
            }
        }
    }

    #[test]
    fn a_new_epoch_starts_at_one() {
        assert!(follows(Zxid(4), Zxid(5)));
        assert!(!follows(Zxid(4), Zxid(6)));
        assert!(!follows(Zxid(4), Zxid(4)));
        assert!(follows(Zxid::new(1, 40), Zxid::new(2, 1)));
        assert!(follows(Zxid::new(1, 40), Zxid::new(5, 1)));
        assert!(!follows(Zxid::new(1, 40), Zxid::new(2, 2)));
    }
}
