//! Replies and events of one connection that are not handed to its socket yet.
//!
//! What waits for a client that reads slowly is a queue of pieces: it grows without being copied, never needs room for the
//! old and the new at once, and is given back piece by piece.

use crate::types::limits::{CONNECTION_OUTPUT_BYTES_MAX, CONNECTION_OUTPUT_BYTES_PAUSE};
use std::collections::VecDeque;

/// From this size on the last piece is closed, bytes. A frame is never divided.
const PIECE_BYTES: usize = 256 << 10;

#[derive(Default)]
pub(super) struct Output {
    /// Closed pieces, oldest first.
    pieces: VecDeque<Vec<u8>>,
    pieces_bytes: usize,
    last: Vec<u8>,
}

impl Output {
    /// Where the next frame is to be appended.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        if self.last.len() >= PIECE_BYTES {
            self.pieces_bytes += self.last.len();
            self.pieces.push_back(std::mem::take(&mut self.last));
        }
        &mut self.last
    }

    pub fn len(&self) -> usize {
        self.pieces_bytes + self.last.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// So much waits that nothing further is read from the client.
    pub fn is_much(&self) -> bool {
        self.len() >= CONNECTION_OUTPUT_BYTES_PAUSE
    }

    /// More waits than may: the connection is to be closed, and nothing needs to be added any more.
    pub fn is_too_much(&self) -> bool {
        self.len() > CONNECTION_OUTPUT_BYTES_MAX
    }

    /// What goes out next. If that is all there is, `spare` takes its place.
    pub fn take(&mut self, spare: Vec<u8>) -> Vec<u8> {
        match self.pieces.pop_front() {
            Some(piece) => {
                self.pieces_bytes -= piece.len();
                if self.pieces.is_empty() {
                    self.pieces = VecDeque::new();
                }
                piece
            }
            None => std::mem::replace(&mut self.last, spare),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out_in_order_and_in_pieces() {
        let mut output = Output::default();
        let mut expected = Vec::new();
        for nth in 0..1000u32 {
            let frame = vec![nth as u8; 1000 + nth as usize];
            output.tail().extend_from_slice(&frame);
            expected.extend_from_slice(&frame);
            assert_eq!(output.len(), expected.len());
        }
        assert!(output.is_much() && !output.is_too_much());
        let mut taken = Vec::new();
        while !output.is_empty() {
            let piece = output.take(Vec::new());
            assert!(piece.len() < PIECE_BYTES + 2000, "{}", piece.len());
            taken.extend_from_slice(&piece);
            assert_eq!(taken.len() + output.len(), expected.len());
        }
        assert_eq!(taken, expected);
    }

    #[test]
    fn a_spare_buffer_is_used_again() {
        let mut output = Output::default();
        output.tail().push(1);
        assert_eq!(output.take(Vec::with_capacity(100)), [1]);
        assert!(output.is_empty() && output.tail().capacity() >= 100);
    }
}
