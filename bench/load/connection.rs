//! One session's socket: bytes out, replies in, and who is waiting for which reply.
//!
//! A turn of a connection is one read, all its replies, the requests that replace them, one write. The server
//! answers a session in order, so waiting operations form a queue. Invariants: the next reply to the front of `in_flight`
//! carries xid `expected_xid`, those after it its successors; `out[out_sent..]` is what the kernel has not taken yet.
//! When to send what is the `engine`'s business.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};

use crate::wire::{self, Cut, multi, op_code, successor};
use crate::workload::{OpKind, Workload};

/// An operation sent and not answered.
#[derive(Clone, Copy)]
pub struct InFlight {
    /// When it was sent or, in an open loop, when it was to be sent. Nanoseconds of the engine's clock.
    pub since_ns: u64,
    pub kind: OpKind,
    /// Replies that are still to come.
    frames: u8,
    /// The first error of its earlier replies.
    error_code: i32,
    /// Of a create: which znode.
    pub number: u64,
}

/// Why a connection is of no more use.
#[derive(Debug)]
pub enum Ended {
    ByServer,
    Socket(io::Error),
    /// Bytes came that no ZooKeeper server sends.
    Foreign(String),
}

pub struct Connection {
    socket: TcpStream,
    pub server: String,
    /// The beginning of a reply whose rest has not come yet.
    partial: Vec<u8>,
    out: Vec<u8>,
    out_sent: usize,
    in_flight: VecDeque<InFlight>,
    expected_xid: i32,
    next_xid: i32,
    /// True while the poller watches for room to write.
    pub watches_writable: bool,
    pub open: bool,
    pub last_sent_ns: u64,
    pub last_received_ns: u64,
}

/// Shared by all connections: bytes are in here only within a turn.
pub struct Scratch(Vec<u8>);

/// Far more than 16 replies of 100 B; a larger backlog is read in several turns.
const SCRATCH_BYTES: usize = 256 << 10;

impl Scratch {
    pub fn new() -> Scratch {
        Scratch(vec![0; SCRATCH_BYTES])
    }
}

impl Connection {
    /// Takes over a socket on which the handshake is done.
    pub fn new(socket: TcpStream, server: String, depth: usize) -> io::Result<Connection> {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Connection {
            socket,
            server,
            partial: Vec::new(),
            out: Vec::new(),
            out_sent: 0,
            in_flight: VecDeque::with_capacity(depth),
            expected_xid: 1,
            next_xid: 1,
            watches_writable: false,
            open: true,
            last_sent_ns: 0,
            last_received_ns: 0,
        })
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Since when an answer is overdue in the making: the later of the oldest request and the last sign of life.
    pub fn waits_since_ns(&self) -> Option<u64> {
        let oldest = self.in_flight.front()?;
        Some(oldest.since_ns.max(self.last_received_ns))
    }

    /// Bytes the kernel has not taken. While there are some, no request is added: the server is behind.
    pub fn has_unsent(&self) -> bool {
        self.out_sent < self.out.len()
    }

    /// Adds the workload's next request to what `flush` will send.
    #[inline]
    pub fn push(&mut self, workload: &mut Workload, since_ns: u64) {
        let sent = workload.append_next(self.next_xid, &mut self.out);
        for _ in 0..sent.frames {
            self.next_xid = successor(self.next_xid);
        }
        let (kind, frames, number) = (sent.kind, sent.frames, sent.number);
        self.in_flight.push_back(InFlight { since_ns, kind, frames, error_code: 0, number });
    }

    pub fn push_ping(&mut self) {
        wire::append_header_only(&mut self.out, wire::XID_PING, op_code::PING);
    }

    pub fn push_close_session(&mut self) {
        wire::append_header_only(&mut self.out, self.next_xid, op_code::CLOSE_SESSION);
    }

    /// Gives the kernel as much as it takes.
    pub fn flush(&mut self) -> Result<(), Ended> {
        while self.has_unsent() {
            match self.socket.write(&self.out[self.out_sent..]) {
                Ok(0) => return Err(Ended::ByServer),
                Ok(bytes) => self.out_sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(ended_by(error)),
            }
        }
        self.out.clear();
        self.out_sent = 0;
        Ok(())
    }

    /// Reads once, then hands every operation whose last reply came to `on_reply`, with its error code. `read_clock` is called once, after the read, if
    /// anything came. A level-triggered poller reports again what one read left behind.
    pub fn receive(
        &mut self,
        scratch: &mut Scratch,
        read_clock: impl FnOnce() -> u64,
        mut on_reply: impl FnMut(u64, InFlight, i32),
    ) -> Result<(), Ended> {
        let kept = self.partial.len();
        if scratch.0.len() < kept + SCRATCH_BYTES / 2 {
            scratch.0.resize(2 * kept + SCRATCH_BYTES, 0);
        }
        let read = match self.socket.read(&mut scratch.0[kept..]) {
            Ok(0) => return Err(Ended::ByServer),
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(ended_by(error)),
        };
        let now_ns = read_clock();
        self.last_received_ns = now_ns;
        scratch.0[..kept].copy_from_slice(&self.partial);
        self.partial.clear();
        let rest = self.take_replies(&scratch.0[..kept + read], |answered, error| on_reply(now_ns, answered, error))?;
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    /// Walks over whole replies and returns what follows them.
    fn take_replies<'a>(
        &mut self,
        mut bytes: &'a [u8],
        mut on_reply: impl FnMut(InFlight, i32),
    ) -> Result<&'a [u8], Ended> {
        loop {
            match wire::cut_reply(bytes) {
                Cut::More => return Ok(bytes),
                Cut::Foreign { payload_bytes } => {
                    return Err(Ended::Foreign(format!("a reply frame of {payload_bytes} bytes")));
                }
                Cut::Reply { header, bytes: frame_bytes } => {
                    let frame = &bytes[..frame_bytes];
                    bytes = &bytes[frame_bytes..];
                    if header.xid < 0 {
                        continue; // a ping's answer or an event; nobody waits for it
                    }
                    let expected = self.expected_xid;
                    let Some(front) = self.in_flight.front_mut().filter(|_| header.xid == expected) else {
                        return Err(Ended::Foreign(format!("a reply to xid {} instead of {expected}", header.xid)));
                    };
                    self.expected_xid = successor(expected);
                    front.frames -= 1;
                    if front.error_code == 0 {
                        front.error_code = header.error_code;
                    }
                    if matches!(front.kind, OpKind::Multi | OpKind::MultiRead) && front.error_code == 0 {
                        front.error_code = multi::first_error(&frame[wire::BODY_AT..]);
                    }
                    if front.frames == 0 {
                        let answered = *front;
                        self.in_flight.pop_front();
                        on_reply(answered, answered.error_code);
                    }
                }
            }
        }
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

pub fn ended_by(error: io::Error) -> Ended {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => Ended::ByServer,
        _ => Ended::Socket(error),
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::ByServer => write!(out, "the server closed the connection"),
            Ended::Socket(error) => write!(out, "{error}"),
            Ended::Foreign(what) => write!(out, "the server sent {what}"),
        }
    }
}
