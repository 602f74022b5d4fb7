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
    pieces: Pieces<Vec<u8>>,
}

impl SnapshotFeed {
    pub fn begin(held: Held, writer: &FeedWriter, wake: Wake) -> SnapshotFeed {
        let zxid = held.view().last_zxid();
        let job = move |sender: &mut PieceSender<Vec<u8>>| {
            let mut writer = PieceWriter { sender, piece: Vec::new() };
            let written = write_stream(&Source { view: held.view(), digest: false, last_zxid: false }, &mut writer);
            let written = written.and_then(|()| writer.flush());
            written.map_err(|error| format!("the snapshot for it could not be written: {error}"))
        };
        SnapshotFeed { zxid, pieces: Pieces::of(job, writer, wake) }
    }

    pub fn zxid(&self) -> Zxid {
        self.zxid
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
