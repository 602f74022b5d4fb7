//! Links to other servers on the quorum port, as bytes: what came and is not a whole packet yet, what is to be sent. One send
//! per link and turn.

use crate::message::QuorumPacket;
use crate::runtime::link_io::LinkAction;
use crate::types::{Instant, LinkId};
use crate::wire::quorum::{QuorumDecoder, Side, encode};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A buffer larger than this is not kept for the next send, bytes.
const SPARE_BYTES_MAX: usize = 256 << 10;

pub(super) struct Link {
    /// Who this server is on it.
    pub side: Side,
    pub decoder: QuorumDecoder,
    /// Bytes that came and were not taken.
    pub input: Vec<u8>,
    pub out: Vec<u8>,
    /// Who connected to this server, and until when it has to have said its first packet; `None` once it has.
    peer: Option<SocketAddr>,
    speaks_by: Option<Instant>,
    sending: bool,
    spare: Vec<u8>,
}

impl Link {
    /// A learner's, who has to speak first.
    pub fn accepted(peer: SocketAddr, speaks_by: Instant, data_bytes_max: usize) -> Link {
        let decoder = QuorumDecoder::new(Side::Learner, data_bytes_max);
        Link { peer: Some(peer), speaks_by: Some(speaks_by), ..Link::new(Side::Leader, decoder) }
    }

    /// To the leader.
    pub fn dialed(data_bytes_max: usize) -> Link {
        Link::new(Side::Learner, QuorumDecoder::new(Side::Leader, data_bytes_max))
    }

    fn new(side: Side, decoder: QuorumDecoder) -> Link {
        Link {
            side,
            decoder,
            input: Vec::new(),
            out: Vec::new(),
            peer: None,
            speaks_by: None,
            sending: false,
            spare: Vec::new(),
        }
    }

    pub fn has_spoken(&mut self) {
        self.speaks_by = None;
    }

    pub fn send(&mut self, packet: &QuorumPacket) {
        encode(packet, self.side, &mut self.out);
    }

    pub fn sent(&mut self, buffer: Vec<u8>) {
        self.sending = false;
        if buffer.capacity() <= SPARE_BYTES_MAX {
            self.spare = buffer;
        }
    }
}

/// All of them. Election links are `elections.rs`'s.
#[derive(Default)]
pub(super) struct Links {
    links: BTreeMap<LinkId, Link>,
}

impl Links {
    pub fn add(&mut self, id: LinkId, link: Link) {
        self.links.insert(id, link);
    }

    pub fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&id)
    }

    pub fn remove(&mut self, id: LinkId) -> Option<Link> {
        self.links.remove(&id)
    }

    /// The first that has not said a word in its time.
    pub fn mute(&self, now: Instant) -> Option<LinkId> {
        self.links.iter().find(|(_, link)| link.speaks_by.is_some_and(|by| by <= now)).map(|(id, _)| *id)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.links.values().filter_map(|link| link.speaks_by).min()
    }

    /// For messages.
    pub fn name_of(&self, id: LinkId) -> String {
        let peer = self.links.get(&id).and_then(|link| link.peer);
        peer.map_or_else(|| "another server".to_owned(), |peer| peer.to_string())
    }

    pub fn ids(&self) -> Vec<LinkId> {
        self.links.keys().copied().collect()
    }

    /// Hands out what is to be sent.
    pub fn flush(&mut self, actions: &mut Vec<LinkAction>) {
        for (id, link) in &mut self.links {
            if !link.sending && !link.out.is_empty() {
                link.sending = true;
                let bytes = std::mem::replace(&mut link.out, std::mem::take(&mut link.spare));
                actions.push(LinkAction::Send { link: *id, bytes });
            }
        }
    }
}
