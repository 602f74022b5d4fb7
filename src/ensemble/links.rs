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
    /// Who connected to this server; `None`: it was this server that did.
    pub peer: Option<SocketAddr>,
    since: Instant,
    /// A whole packet has come.
    pub is_introduced: bool,
    pub decoder: QuorumDecoder,
    /// Bytes that came and were not taken.
    pub input: Vec<u8>,
    pub out: Vec<u8>,
    sending: bool,
    spare: Vec<u8>,
}

impl Link {
    pub fn new(side: Side, data_bytes_max: usize, now: Instant) -> Link {
        let other = match side {
            Side::Leader => Side::Learner,
            Side::Learner => Side::Leader,
        };
        Link {
            side,
            peer: None,
            since: now,
            is_introduced: false,
            decoder: QuorumDecoder::new(other, data_bytes_max),
            input: Vec::new(),
            out: Vec::new(),
            sending: false,
            spare: Vec::new(),
        }
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

    /// For messages.
    pub fn name_of(&self, id: LinkId) -> String {
        let peer = self.links.get(&id).and_then(|link| link.peer);
        peer.map_or_else(|| "another server".to_owned(), |peer| peer.to_string())
    }

    pub fn ids(&self) -> Vec<LinkId> {
        self.links.keys().copied().collect()
    }

    /// Those that were opened by `before` and never sent a packet.
    pub fn silent_since(&self, before: Instant) -> Vec<LinkId> {
        let silent = self.links.iter().filter(|(_, link)| !link.is_introduced && link.since <= before);
        silent.map(|(id, _)| *id).collect()
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
