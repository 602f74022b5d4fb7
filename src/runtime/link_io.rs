//! What the ensemble and its links to other servers tell each other: the words between a synchronous turn and the
//! sockets that `links.rs` keeps. What the bytes mean is the ensemble's business.
//!
//! Contract: ids are never used again; dialled links are even and numbered by the ensemble, accepted ones are odd. After
//! `Closed`, or after the ensemble's own `Close`, nothing more comes for a link, and what is asked of it is passed over.

use crate::types::LinkId;
use std::net::SocketAddr;

/// How links are set up, fixed for the life of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkOptions {
    /// `tcpKeepAlive`
    pub tcp_keep_alive: bool,
}

/// One of this server's ports for other servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerPort {
    Election,
    Quorum,
    ObserverMaster,
}

/// What happened on a link or a port.
#[derive(Debug)]
pub enum LinkEvent {
    /// Another server has connected; reading has begun.
    Accepted { link: LinkId, port: PeerPort, peer: SocketAddr },
    /// A dial has succeeded; reading has begun.
    Opened { link: LinkId, local: SocketAddr },
    /// `bytes` came. Nothing further is read before `ReadOn` gives the buffer back.
    Received { link: LinkId, bytes: Vec<u8> },
    /// The kernel has taken all of the last `Send`; its buffer comes back, empty.
    Sent { link: LinkId, buffer: Vec<u8> },
    /// The other side is gone, the socket failed, or the dial did.
    Closed { link: LinkId, why: String },
    /// Connections are taken at one of the addresses at least; what failed at the others is in the log.
    Listening { port: PeerPort },
    /// Connections are taken nowhere.
    ListenFailed { port: PeerPort, why: String },
}

/// What the ensemble wants done.
#[derive(Debug)]
pub enum LinkAction {
    /// Takes connections at `addresses`: host (`None` = all addresses of this machine) and port. Replaces what the port
    /// listened at before.
    Listen { port: PeerPort, addresses: Vec<(Option<String>, u16)> },
    /// From now on the kernel refuses connections; accepted links stay.
    StopListening { port: PeerPort },
    /// Connects to the first of the host's addresses that answers. The name is looked up anew by every dial, and the
    /// time that takes counts.
    Dial { link: LinkId, host: String, port: u16, timeout_ms: u64 },
    /// Sends on an open link; at most one write is in flight.
    Send { link: LinkId, bytes: Vec<u8> },
    /// Gives the buffer of `Received` back.
    ReadOn { link: LinkId, buffer: Vec<u8> },
    /// Closes at once, or gives up the dial; what the kernel has taken is still delivered.
    Close { link: LinkId },
}
