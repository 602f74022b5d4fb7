//! Listens to what leaders send first, to count how learners are brought up to date.

use super::net::{Socket, StreamId};
use crate::message::QuorumPacket;
use crate::wire::Decoded;
use crate::wire::quorum::{QuorumDecoder, Side};
use std::collections::BTreeMap;

const PACKET_BYTES_MAX: usize = 64 << 20;

#[derive(Default)]
pub struct Wiretaps {
    /// Until DIFF, TRUNC or SNAP was heard.
    taps: BTreeMap<StreamId, (QuorumDecoder, Vec<u8>)>,
    diffs: u64,
    truncs: u64,
    snaps: u64,
}

impl Wiretaps {
    pub fn add(&mut self, stream: StreamId) {
        self.taps.insert(stream, (QuorumDecoder::new(Side::Leader, PACKET_BYTES_MAX), Vec::new()));
    }

    /// The leader is the side that was dialled.
    pub fn hear(&mut self, socket: Socket, bytes: &[u8]) {
        if socket.side != 1 {
            return;
        }
        let Some((decoder, heard)) = self.taps.get_mut(&socket.stream) else { return };
        heard.extend_from_slice(bytes);
        while let Ok(Decoded::Whole { value, consumed }) = decoder.next(heard) {
            heard.drain(..consumed);
            match value {
                QuorumPacket::Diff { .. } => self.diffs += 1,
                QuorumPacket::Trunc { .. } => self.truncs += 1,
                QuorumPacket::Snap { .. } => self.snaps += 1,
                _ => continue,
            }
            self.taps.remove(&socket.stream);
            return;
        }
    }

    /// DIFF, TRUNC, SNAP.
    pub fn counts(&self) -> (u64, u64, u64) {
        (self.diffs, self.truncs, self.snaps)
    }
}
