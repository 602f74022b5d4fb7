//! Listens to what leaders send first, to count how learners are brought up to date.

use super::net::{Socket, StreamId};
use crate::message::QuorumPacket;
use crate::wire::Decoded;
use crate::wire::quorum::{QuorumDecoder, Side};
use std::collections::BTreeMap;

const PACKET_BYTES_MAX: usize = 64 << 20;

#[derive(Default)]
pub struct Wiretaps {
    /// Until DIFF or TRUNC was heard, or the learner's end of a snapshot.
    taps: BTreeMap<StreamId, Tap>,
    counts: Synced,
}

/// How a learner is brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Diff,
    Trunc,
    Snap,
}

/// How often it was which.
#[derive(Clone, Copy, Default)]
pub struct Synced {
    pub diffs: u64,
    pub truncs: u64,
    pub snaps: u64,
    pub snaps_finished: u64,
}

struct Tap {
    decoder: QuorumDecoder,
    heard: Vec<u8>,
    /// A snapshot is being sent; the learner says ACK when it has it.
    is_snapshot: bool,
}

impl Wiretaps {
    pub fn add(&mut self, stream: StreamId) {
        let decoder = QuorumDecoder::new(Side::Leader, PACKET_BYTES_MAX);
        self.taps.insert(stream, Tap { decoder, heard: Vec::new(), is_snapshot: false });
    }

    /// The leader is the side that was dialled. Says how it begins to bring the learner up to date.
    pub fn hear(&mut self, socket: Socket, bytes: &[u8]) -> Option<Way> {
        let tap = self.taps.get_mut(&socket.stream)?;
        if tap.is_snapshot {
            self.snapshot_goes_on(socket, bytes);
            return None;
        }
        if socket.side != 1 {
            return None;
        }
        tap.heard.extend_from_slice(bytes);
        while let Ok(Decoded::Whole { value, consumed }) = tap.decoder.next(&tap.heard) {
            tap.heard.drain(..consumed);
            let begun = match value {
                QuorumPacket::Diff { .. } => {
                    self.counts.diffs += 1;
                    Way::Diff
                }
                QuorumPacket::Trunc { .. } => {
                    self.counts.truncs += 1;
                    Way::Trunc
                }
                QuorumPacket::Snap { .. } => {
                    self.counts.snaps += 1;
                    tap.is_snapshot = true;
                    tap.decoder = QuorumDecoder::new(Side::Learner, PACKET_BYTES_MAX);
                    tap.heard.clear();
                    return Some(Way::Snap);
                }
                _ => continue,
            };
            self.taps.remove(&socket.stream);
            return Some(begun);
        }
        None
    }

    fn snapshot_goes_on(&mut self, socket: Socket, bytes: &[u8]) {
        let Some(tap) = self.taps.get_mut(&socket.stream).filter(|_| socket.side == 0) else { return };
        tap.heard.extend_from_slice(bytes);
        while let Ok(Decoded::Whole { value, consumed }) = tap.decoder.next(&tap.heard) {
            tap.heard.drain(..consumed);
            if matches!(value, QuorumPacket::Ack { .. }) {
                self.counts.snaps_finished += 1;
                self.taps.remove(&socket.stream);
                return;
            }
        }
    }

    pub fn counts(&self) -> Synced {
        self.counts
    }
}
