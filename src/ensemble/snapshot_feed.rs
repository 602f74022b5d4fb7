//! A snapshot on its way to a learner: written by a background thread from a held version, piece by piece, while the leader
//! goes on. The thread waits when the learner takes the pieces slowly, so that a snapshot never lies in memory as a whole.

use super::snapshots::Source;
use crate::storage::{Background, write_stream};
use crate::tree::Held;
use crate::types::Zxid;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;

/// Size of a piece, bytes.
const PIECE_BYTES: usize = 256 << 10;

/// Called whenever there is something to send.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Where snapshots for learners are written.
#[derive(Clone)]
pub struct FeedWriter {
    /// Runs each job on a thread of its own, since one may wait for its learner.
    pub background: Background,
    /// Pieces that wait for the learner at most; unbounded where jobs run on the caller's thread.
    pub pieces_max: usize,
}

pub(super) struct SnapshotFeed {
    zxid: Zxid,
    pieces: Arc<Pieces>,
}

#[derive(Default)]
struct Pieces {
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Vec<u8>>,
    /// Set behind the last piece; an error when there will be none.
    ended: Option<Result<(), String>>,
    /// The learner is gone.
    abandoned: bool,
}

impl SnapshotFeed {
    pub fn begin(held: Held, writer: &FeedWriter, wake: Wake) -> SnapshotFeed {
        let zxid = held.view().last_zxid();
        let pieces = Arc::<Pieces>::default();
        let (for_writer, pieces_max) = (pieces.clone(), writer.pieces_max);
        (writer.background)(Box::new(move || {
            let mut writer = PieceWriter { pieces: for_writer, piece: Vec::new(), pieces_max, wake };
            let written = write_stream(&Source { view: held.view(), digest: false, last_zxid: false }, &mut writer);
            let written = written.and_then(|()| writer.flush());
            writer.pieces.state.lock().ended = Some(written.map_err(|error| error.to_string()));
            (writer.wake)();
        }));
        SnapshotFeed { zxid, pieces }
    }

    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// Appends what is there, up to `bytes_max`; true once the last byte has been appended.
    pub fn pump(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> Result<bool, String> {
        let mut state = self.pieces.state.lock();
        while out.len() < bytes_max
            && let Some(piece) = state.pieces.pop_front()
        {
            out.extend_from_slice(&piece);
            self.pieces.room.notify_one();
        }
        match &state.ended {
            Some(Ok(())) => Ok(state.pieces.is_empty()),
            Some(Err(why)) => Err(format!("the snapshot for it could not be written: {why}")),
            None => Ok(false),
        }
    }
}

impl Drop for SnapshotFeed {
    fn drop(&mut self) {
        self.pieces.state.lock().abandoned = true;
        self.pieces.room.notify_one();
    }
}

/// The background thread's end.
struct PieceWriter {
    pieces: Arc<Pieces>,
    piece: Vec<u8>,
    pieces_max: usize,
    wake: Wake,
}

impl PieceWriter {
    fn hand_over(&mut self) -> io::Result<()> {
        let mut state = self.pieces.state.lock();
        while state.pieces.len() >= self.pieces_max && !state.abandoned {
            self.pieces.room.wait(&mut state);
        }
        if state.abandoned {
            return Err(io::Error::other("the learner is gone"));
        }
        state.pieces.push_back(std::mem::take(&mut self.piece));
        drop(state);
        (self.wake)();
        Ok(())
    }
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.hand_over()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() { Ok(()) } else { self.hand_over() }
    }
}
