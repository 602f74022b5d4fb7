//! What a modelled Java server wants done with its sockets: the words of our own servers (`runtime/link_io.rs`), so that the
//! simulated network does not tell one kind from the other.

use crate::message::QuorumPacket;
use crate::runtime::link_io::{LinkAction, PeerPort};
use crate::sim::options::{ELECTION_PORT, QUORUM_PORT};
use crate::types::{LinkId, ServerId};
use crate::wire::quorum::{self, Side};

/// Of data in a packet: more than any simulated transaction has.
pub const DATA_BYTES_MAX: usize = 4 << 20;

#[derive(Default)]
pub struct Outbox {
    pub actions: Vec<LinkAction>,
    /// Dialled links are even.
    dialled: u64,
}

impl Outbox {
    pub fn dial(&mut self, host: &str, port: u16, timeout_ms: u64) -> LinkId {
        self.dialled += 2;
        let link = LinkId(self.dialled);
        self.actions.push(LinkAction::Dial { link, host: host.to_owned(), port, timeout_ms });
        link
    }

    pub fn send(&mut self, link: LinkId, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.actions.push(LinkAction::Send { link, bytes });
        }
    }

    pub fn packet(&mut self, link: LinkId, packet: &QuorumPacket, from: Side) {
        let mut bytes = Vec::new();
        quorum::encode(packet, from, &mut bytes);
        self.send(link, bytes);
    }

    pub fn read_on(&mut self, link: LinkId) {
        self.actions.push(LinkAction::ReadOn { link, buffer: Vec::new() });
    }

    pub fn close(&mut self, link: LinkId) {
        self.actions.push(LinkAction::Close { link });
    }

    pub fn listen(&mut self, port: PeerPort) {
        let number = if port == PeerPort::Election { ELECTION_PORT } else { QUORUM_PORT };
        self.actions.push(LinkAction::Listen { port, addresses: vec![(None, number)] });
    }

    pub fn stop_listening(&mut self, port: PeerPort) {
        self.actions.push(LinkAction::StopListening { port });
    }
}

/// Why a role, or the process, comes to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A connection is gone or silent, or there is no quorum: the server looks for a leader again.
    GivesUp(String),
    /// A leader that obeys the protocol never brings a Java server here: it exits, aborts its synchronization, or waits for ever.
    Misled(String),
}

impl Failure {
    pub fn gives_up<T>(why: impl Into<String>) -> Result<T, Failure> {
        Err(Failure::GivesUp(why.into()))
    }

    pub fn misled<T>(why: impl Into<String>) -> Result<T, Failure> {
        Err(Failure::Misled(why.into()))
    }
}

/// A server of the configuration, by the host names of the simulation.
pub fn host_of(server: ServerId) -> String {
    crate::sim::options::Options::host_of(server.0 as usize - 1)
}
