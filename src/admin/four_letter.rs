//! The words themselves: which four bytes are one, and whether it is answered.
//!
//! A word takes the place of the length of the first frame on a client port, so four bytes that are none of these are a
//! frame length, most likely one out of range.

use super::commands::IMOK;
use crate::config::FourLetterWhitelist;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    Conf,
    Cons,
    Crst,
    Dirs,
    Dump,
    Envi,
    Gtmk,
    Hash,
    /// RingKeeper's own: latencies as a log of HdrHistogram.
    Hdrl,
    Isro,
    /// RingKeeper's own: latencies by operation and stage.
    Lats,
    Mntr,
    Ruok,
    Srst,
    Srvr,
    Stat,
    /// Followed by the new mask, 8 bytes, big-endian.
    Stmk,
    Wchc,
    Wchp,
    Wchs,
    /// What a telnet client sends for an interrupt: nothing is answered.
    TelnetClose,
}

impl Word {
    pub const ALL: [Word; 21] = [
        Word::Conf,
        Word::Cons,
        Word::Crst,
        Word::Dirs,
        Word::Dump,
        Word::Envi,
        Word::Gtmk,
        Word::Hash,
        Word::Hdrl,
        Word::Isro,
        Word::Lats,
        Word::Mntr,
        Word::Ruok,
        Word::Srst,
        Word::Srvr,
        Word::Stat,
        Word::Stmk,
        Word::Wchc,
        Word::Wchp,
        Word::Wchs,
        Word::TelnetClose,
    ];

    pub fn from_bytes(bytes: [u8; 4]) -> Option<Word> {
        Word::ALL.into_iter().find(|word| word.bytes() == bytes)
    }

    /// What the client sends.
    pub fn bytes(self) -> [u8; 4] {
        *match self {
            Word::Conf => b"conf",
            Word::Cons => b"cons",
            Word::Crst => b"crst",
            Word::Dirs => b"dirs",
            Word::Dump => b"dump",
            Word::Envi => b"envi",
            Word::Gtmk => b"gtmk",
            Word::Hash => b"hash",
            Word::Hdrl => b"hdrl",
            Word::Lats => b"lats",
            Word::Isro => b"isro",
            Word::Mntr => b"mntr",
            Word::Ruok => b"ruok",
            Word::Srst => b"srst",
            Word::Srvr => b"srvr",
            Word::Stat => b"stat",
            Word::Stmk => b"stmk",
            Word::Wchc => b"wchc",
            Word::Wchp => b"wchp",
            Word::Wchs => b"wchs",
            Word::TelnetClose => b"\xff\xf4\xff\xfd",
        }
    }

    /// As whitelists and refusals call it.
    pub fn name(self) -> String {
        match self {
            Word::TelnetClose => "telnet close".to_owned(),
            word => String::from_utf8_lossy(&word.bytes()).into_owned(),
        }
    }
}

/// Answer of most words while there is no data to speak of.
pub const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// Whether a word gets its own answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    Answer,
    /// This text instead, then close.
    Instead(String),
}

/// Decides by whitelist and by whether the server serves.
pub fn gate(word: Word, whitelist: &FourLetterWhitelist, serving: bool) -> Gate {
    let name = word.name();
    if !whitelist.allows(&name) {
        let text = format!("{name} is not executed because it is not in the whitelist.\n");
        return Gate::Instead(text);
    }
    if serving {
        return Gate::Answer;
    }
    match word {
        Word::Envi | Word::Gtmk | Word::Stmk | Word::TelnetClose => Gate::Answer,
        // Of the process, whatever it serves.
        Word::Hdrl | Word::Lats => Gate::Answer,
        Word::Ruok => Gate::Instead(IMOK.to_owned()),
        Word::Isro => Gate::Instead("null".to_owned()),
        Word::Hash => Gate::Instead(NOT_SERVING.trim_end().to_owned()),
        _ => Gate::Instead(NOT_SERVING.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(names: &[&str]) -> FourLetterWhitelist {
        FourLetterWhitelist::Words(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn recognition() {
        for word in Word::ALL {
            assert_eq!(Word::from_bytes(word.bytes()), Some(word));
        }
        // Those that are taken for words when a connection begins.
        let known = std::collections::BTreeSet::from(crate::wire::frame::FOUR_LETTER_WORDS);
        assert_eq!(known, Word::ALL.map(Word::bytes).into());
        assert_eq!(Word::from_bytes(*b"RUOK"), None);
        assert_eq!(Word::from_bytes(*b"lsnp"), None);
        assert_eq!(Word::from_bytes([0, 0, 0, 45]), None);
    }

    #[test]
    fn every_word_has_its_row_in_the_manual() {
        let page = include_str!("../../docs/compatibility.md");
        for word in Word::ALL {
            assert!(page.contains(&format!("\n| {} ", word.name())), "{word:?}");
        }
    }

    #[test]
    fn the_whitelist() {
        let instead = |word, whitelist: &FourLetterWhitelist| match gate(word, whitelist, true) {
            Gate::Instead(text) => text,
            Gate::Answer => panic!("{word:?} is answered"),
        };
        let only_srvr = words(&["srvr"]);
        assert_eq!(gate(Word::Srvr, &only_srvr, true), Gate::Answer);
        assert_eq!(instead(Word::Ruok, &only_srvr), "ruok is not executed because it is not in the whitelist.\n");
        assert_eq!(
            instead(Word::TelnetClose, &only_srvr),
            "telnet close is not executed because it is not in the whitelist.\n"
        );
        for word in Word::ALL {
            assert_eq!(gate(word, &FourLetterWhitelist::All, true), Gate::Answer);
        }
    }

    #[test]
    fn while_not_serving() {
        let all = FourLetterWhitelist::All;
        let text = |word| match gate(word, &all, false) {
            Gate::Instead(text) => text,
            Gate::Answer => "normal".to_owned(),
        };
        assert_eq!(text(Word::Stat), NOT_SERVING);
        assert_eq!(text(Word::Hash) + "\n", NOT_SERVING);
        assert_eq!(text(Word::Isro), "null");
        assert_eq!(text(Word::Ruok), "imok");
        assert_eq!(text(Word::Envi), "normal");
        assert_eq!((text(Word::Lats), text(Word::Hdrl)), ("normal".to_owned(), "normal".to_owned()));
        assert!(text(Word::Conf).ends_with("serving requests\n"));
        // A word that is not let through says so, serving or not.
        assert_ne!(gate(Word::Stat, &words(&[]), false), Gate::Instead(NOT_SERVING.to_owned()));
    }
}
