//! The newest transactions, as they stand in the log and travel to learners (`ZKDatabase.committedLog`, and on a leader its
//! proposals): what a learner is fed from as long as it is not too far behind.
//!
//! They lie behind one another in pieces of memory that are used again, oldest first: every transaction passes through here, and
//! one allocation each would have the processor wait for memory that it saw last when the history was written round once.

use crate::types::{PutBack, Zxid};
use std::collections::VecDeque;

/// Kept beyond `commitLogCount` whether or not anybody is behind, bytes: learners that stumble catch up from memory. More would
/// only push the tree out of the processor's cache.
const HISTORY_BYTES_MAX: usize = 1 << 20;
/// Kept as long as some learner has not been sent it, bytes; one that is farther behind is fed from the log files.
const UNSENT_BYTES_MAX: usize = 16 << 20;
/// A piece takes no further transaction beyond this, bytes.
const PIECE_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub zxid: Zxid,
    /// Header ‖ record ‖ digest.
    pub bytes: &'a [u8],
}

/// Invariant: zxids ascend, and nothing is missing behind `base`.
#[derive(Debug)]
pub(super) struct History {
    /// What comes right before the oldest entry.
    base: Zxid,
    /// Oldest first; none is empty.
    pieces: VecDeque<Piece>,
    count: usize,
    bytes: usize,
    /// `commitLogCount`: so many are kept whatever their size.
    count_min: usize,
    /// Every learner has been sent everything through this; `None`: there are none.
    sent_to_all: Option<Zxid>,
    /// Of the piece that was given up last.
    spare: Piece,
}

#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    /// Where each entry ends.
    ends: Vec<(Zxid, usize)>,
}

impl Piece {
    fn takes(&self, bytes: usize) -> bool {
        self.ends.is_empty() || self.bytes.len() + bytes <= PIECE_BYTES
    }

    fn last(&self) -> Zxid {
        self.ends.last().expect("no piece is empty").0
    }

    fn entry(&self, at: usize) -> Entry<'_> {
        let (zxid, end) = self.ends[at];
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before].1);
        Entry { zxid, bytes: &self.bytes[begin..end] }
    }

    fn after(&self, zxid: Zxid) -> impl Iterator<Item = Entry<'_>> {
        let from = self.ends.partition_point(|(known, _)| *known <= zxid);
        (from..self.ends.len()).map(|at| self.entry(at))
    }
}

impl History {
    /// Nothing is at hand yet; what comes follows `base`.
    pub fn new(base: Zxid, count_min: usize) -> History {
        History {
            base,
            pieces: VecDeque::new(),
            count: 0,
            bytes: 0,
            count_min,
            sent_to_all: None,
            spare: Piece::default(),
        }
    }

    pub fn push(&mut self, zxid: Zxid, bytes: &[u8]) {
        assert!(self.pieces.back().is_none_or(|piece| piece.last() < zxid), "history ascends");
        if !self.pieces.back().is_some_and(|piece| piece.takes(bytes.len())) {
            self.give_up_oldest();
            self.pieces.push_back(std::mem::take(&mut self.spare));
        }
        let piece = self.pieces.back_mut().expect("there is one now");
        piece.bytes.extend_from_slice(bytes);
        piece.ends.push((zxid, piece.bytes.len()));
        self.count += 1;
        self.bytes += bytes.len();
    }

    /// Every learner has been sent everything through `sent`; `None`: there are none.
    pub fn sent_to_all(&mut self, sent: Option<Zxid>) {
        self.sent_to_all = sent;
    }

    fn give_up_oldest(&mut self) {
        while let Some(oldest) = self.pieces.front()
            && self.count - oldest.ends.len() >= self.count_min
        {
            let is_sent = self.sent_to_all.is_none_or(|sent| oldest.last() <= sent);
            if self.bytes <= if is_sent { HISTORY_BYTES_MAX } else { UNSENT_BYTES_MAX } {
                return;
            }
            let mut oldest = self.pieces.pop_front().expect("just seen");
            self.base = oldest.last();
            self.count -= oldest.ends.len();
            self.bytes -= oldest.bytes.len();
            // One that a large transaction made large is not kept.
            if oldest.bytes.capacity() <= 2 * PIECE_BYTES {
                oldest.bytes.clear();
                oldest.ends.clear();
                self.spare = oldest;
            }
        }
    }

    /// Begins anew behind `base`: what follows has no connection to what was.
    pub fn begin_at(&mut self, base: Zxid) {
        *self = History::new(base, self.count_min);
    }

    /// What comes right before the oldest entry.
    pub fn base(&self) -> Zxid {
        self.base
    }

    /// The newest entry, or what it would follow.
    pub fn last(&self) -> Zxid {
        self.pieces.back().map_or(self.base, Piece::last)
    }

    /// Transactions that a learner can go on from, through `last`: the one right before the oldest entry is such, unless
    /// it stands for an empty database, which says nothing about what a learner has.
    pub fn zxids_through(&self, last: Zxid) -> Vec<Zxid> {
        let base = Some(self.base).filter(|base| *base != Zxid::ZERO || PutBack::DiffFromEmpty.is_on());
        let known = self.pieces.iter().flat_map(|piece| piece.ends.iter().map(|(zxid, _)| *zxid));
        base.into_iter().chain(known).take_while(|zxid| *zxid <= last).collect()
    }

    /// Whether everything behind `zxid` is here.
    pub fn reaches_back_to(&self, zxid: Zxid) -> bool {
        self.base <= zxid
    }

    /// Everything behind `zxid`, in order.
    pub fn after(&self, zxid: Zxid) -> impl Iterator<Item = Entry<'_>> {
        let from = self.pieces.partition_point(|piece| piece.last() <= zxid);
        self.pieces.range(from..).flat_map(move |piece| piece.after(zxid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    /// Entry `counter` is as long as wanted and told from others by its bytes.
    fn push(history: &mut History, counter: u32, bytes: usize) {
        history.push(Zxid::new(1, counter), &vec![counter as u8; bytes]);
    }

    fn counters(history: &History, after: u32) -> Vec<u32> {
        let entries = history.after(Zxid::new(1, after));
        let whole = entries.inspect(|entry| assert!(entry.bytes.iter().all(|b| *b == entry.zxid.counter() as u8)));
        whole.map(|entry| entry.zxid.counter()).collect()
    }

    #[test]
    fn what_is_asked_for_is_found_wherever_its_piece_begins() {
        let mut history = History::new(Zxid::new(1, 0), 1);
        assert_eq!((history.last(), counters(&history, 0)), (Zxid::new(1, 0), vec![]));
        // Pieces of one, of several, and one that is larger than a piece may grow by.
        for (counter, kib) in [(1, 40), (2, 30), (3, 10), (4, 10), (5, 200), (6, 1), (7, 1)] {
            push(&mut history, counter, kib * KIB);
        }
        for after in 0..=7 {
            assert_eq!(counters(&history, after), (after + 1..=7).collect::<Vec<_>>());
        }
        assert_eq!(history.last(), Zxid::new(1, 7));
        assert_eq!(history.zxids_through(Zxid::new(1, 3)), [0, 1, 2, 3].map(|counter| Zxid::new(1, counter)));
    }

    #[test]
    fn the_oldest_go_when_there_is_much_but_for_the_last_few() {
        let mut history = History::new(Zxid::new(1, 0), 40);
        (1..=100).for_each(|counter| push(&mut history, counter, 32 * KIB));
        let kept = counters(&history, history.base().counter());
        assert!((40..=42).contains(&kept.len()), "commitLogCount holds although they are more than a MiB: {kept:?}");
        assert_eq!(kept.last(), Some(&100));
        assert!(history.reaches_back_to(history.base()) && !history.reaches_back_to(Zxid(history.base().0 - 1)));
        let mut history = History::new(Zxid::new(1, 0), 5);
        (1..=100).for_each(|counter| push(&mut history, counter, 32 * KIB));
        let kept = counters(&history, history.base().counter()).len() * 32 * KIB;
        assert!((HISTORY_BYTES_MAX - PIECE_BYTES..=HISTORY_BYTES_MAX + PIECE_BYTES).contains(&kept), "{kept}");
    }

    #[test]
    fn what_a_learner_has_not_been_sent_stays_as_long_as_there_is_room() {
        let mut history = History::new(Zxid::new(1, 0), 5);
        history.sent_to_all(Some(Zxid::new(1, 10)));
        (1..=200).for_each(|counter| push(&mut history, counter, 32 * KIB));
        assert_eq!(history.base(), Zxid::new(1, 10));
        (201..=700).for_each(|counter| push(&mut history, counter, 32 * KIB));
        assert!(history.base() > Zxid::new(1, 10), "it is fed from the log files now");
        let kept = counters(&history, history.base().counter()).len() * 32 * KIB;
        assert!((UNSENT_BYTES_MAX - PIECE_BYTES..=UNSENT_BYTES_MAX + PIECE_BYTES).contains(&kept), "{kept}");
        history.sent_to_all(None);
        push(&mut history, 701, 64 * KIB);
        assert!(history.bytes <= HISTORY_BYTES_MAX + PIECE_BYTES);
    }
}
