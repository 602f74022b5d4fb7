//! A snapshot on its way to a learner: written by a background thread from a held version, piece by piece, while the leader
//! goes on.

use super::pieces::{FeedWriter, PieceSender, Pieces, Wake};
use super::snapshots::Source;
use crate::storage::write_stream;
use crate::tree::Held;
use crate::types::Zxid;
use std::io::{self, Write};

/// Size of a piece, bytes.
const PIECE_BYTES: usize = 256 << 10;

pub(super) struct SnapshotFeed {
    zxid: Zxid,
    named: Zxid,
    pieces: Pieces<Vec<u8>>,
}

impl SnapshotFeed {
    /// For a learner that keeps a log through `peer`, from a leader whose epoch begins at `first`.
    pub fn begin(held: Held, peer: Zxid, first: Zxid, writer: &FeedWriter, wake: Wake) -> SnapshotFeed {
        let zxid = held.view().last_zxid();
        let job = move |sender: &mut PieceSender<Vec<u8>>| {
            let mut writer = PieceWriter { sender, piece: Vec::new() };
            let written = write_stream(&Source { view: held.view(), digest: false, last_zxid: false }, &mut writer);
            let written = written.and_then(|()| writer.flush());
            written.map_err(|error| format!("the snapshot for it could not be written: {error}"))
        };
        SnapshotFeed { zxid, named: name(zxid, peer, first), pieces: Pieces::of(job, writer, wake) }
    }

    /// The last transaction in it: what comes behind is sent as such.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// What SNAP says that it is.
    pub fn named(&self) -> Zxid {
        self.named
    }

    /// Appends what is there, up to `bytes_max`; true once the last byte has been appended.
    pub fn pump(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> Result<bool, String> {
        while out.len() < bytes_max
            && let Some(piece) = self.pieces.take()
        {
            out.extend_from_slice(&piece);
        }
        self.pieces.is_over()
    }
}

/// A Java learner leaves its log as it is when it takes a snapshot, and with its next start reads all that stands there behind
/// the snapshot's zxid. What only it has must not be behind that, so such a snapshot is named after the beginning of the epoch,
/// as a Java leader names its state before the first transaction.
fn name(zxid: Zxid, peer: Zxid, first: Zxid) -> Zxid {
    if peer > zxid { zxid.max(first) } else { zxid }
}

/// Cuts a stream into pieces.
struct PieceWriter<'a> {
    sender: &'a mut PieceSender<Vec<u8>>,
    piece: Vec<u8>,
}

impl Write for PieceWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.sender.send(std::mem::take(&mut self.piece))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() { Ok(()) } else { self.sender.send(std::mem::take(&mut self.piece)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_snapshot_is_named_before_what_only_its_learner_has() {
        let (last, first) = (Zxid::new(2, 5), Zxid::new(4, 0));
        for (peer, expected) in [
            (Zxid::ZERO, last),
            (Zxid::new(2, 4), last),
            (last, last),
            // Logged in an epoch of which nothing was committed.
            (Zxid::new(3, 1), first),
            (Zxid::new(2, 6), first),
        ] {
            assert_eq!(name(last, peer, first), expected, "{peer}");
        }
        // The epoch has transactions by now.
        assert_eq!(name(Zxid::new(4, 3), Zxid::new(4, 9), first), Zxid::new(4, 3));
    }
}
