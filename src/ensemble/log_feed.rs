//! Transactions that are no longer in memory, on their way from the log files to a learner: first a look whether they are all
//! there, then they are read, each by a job of its own, while the leader goes on.

use super::pieces::{FeedWriter, PieceSender, Pieces, Wake};
use crate::storage::{LogEnd, LogPlace, StorageError};
use crate::types::Zxid;
use std::collections::VecDeque;

/// Entries are handed over when they have come to so much, bytes.
const PIECE_BYTES: usize = 256 << 10;

/// The log of this server, for background jobs.
pub(super) struct LogAccess {
    pub place: LogPlace,
    pub writer: FeedWriter,
    pub wake: Wake,
}

/// A look at what a learner can be sent from the log.
pub(super) struct LogLook(Pieces<Option<LogEnd>>);

impl LogLook {
    /// Of a learner whose log ends at `peer`; everything through `through` is to be read.
    pub fn begin(access: &LogAccess, peer: Zxid, through: Zxid, size_factor: f64) -> LogLook {
        let place = access.place.clone();
        let job = move |sender: &mut PieceSender<Option<LogEnd>>| {
            let found = place.look(peer, through, size_factor).unwrap_or_else(|error| {
                tracing::warn!("the log cannot be read for a learner that is at {peer}: {error}");
                None
            });
            sender.send(found).map_err(|error| error.to_string())
        };
        LogLook(Pieces::of(job, &access.writer, access.wake.clone()))
    }

    /// What it has found, when it has; a look that could not be taken has found nothing.
    pub fn take(&mut self) -> Option<Option<LogEnd>> {
        self.0.take().or_else(|| (self.0.is_over() != Ok(false)).then_some(None))
    }
}

/// A transaction as the log has it: header ‖ record ‖ digest.
pub(super) struct LoggedEntry {
    pub zxid: Zxid,
    pub bytes: Box<[u8]>,
}

pub(super) struct LogFeed {
    pub through: Zxid,
    pieces: Pieces<VecDeque<LoggedEntry>>,
    taken: VecDeque<LoggedEntry>,
}

/// Why a job ends.
struct Ended(String);

impl From<StorageError> for Ended {
    fn from(error: StorageError) -> Ended {
        Ended(format!("the log cannot be read for it: {error}"))
    }
}

impl LogFeed {
    /// Everything behind `after` through `through`, which is flushed.
    pub fn begin(access: &LogAccess, after: Zxid, through: Zxid) -> LogFeed {
        let place = access.place.clone();
        let job = move |sender: &mut PieceSender<VecDeque<LoggedEntry>>| {
            let (mut piece, mut bytes) = (VecDeque::new(), 0);
            let read = place.read(after, through, |zxid, entry| {
                piece.push_back(LoggedEntry { zxid, bytes: entry.into() });
                bytes += entry.len();
                if bytes >= PIECE_BYTES || zxid == through {
                    bytes = 0;
                    sender.send(std::mem::take(&mut piece)).map_err(|error| Ended(error.to_string()))?;
                }
                Ok(())
            });
            read.map_err(|Ended(why)| why)
        };
        LogFeed { through, pieces: Pieces::of(job, &access.writer, access.wake.clone()), taken: VecDeque::new() }
    }

    /// The next entry that is there.
    pub fn take(&mut self) -> Option<LoggedEntry> {
        if self.taken.is_empty() {
            self.taken = self.pieces.take()?;
        }
        self.taken.pop_front()
    }

    /// Whether all has been taken.
    pub fn is_over(&self) -> Result<bool, String> {
        Ok(self.taken.is_empty() && self.pieces.is_over()?)
    }
}
