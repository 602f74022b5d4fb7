//! A server that does nothing but answer: what the generator reaches against it is the generator's own ceiling.
//!
//! It reads, answers every whole frame with a canned reply of the right form and size, and writes once per turn, on
//! one thread. It keeps no state, so that no more than TCP and the generator is measured. Also what the
//! generator's own tests talk to.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::poller::Poller;
use crate::wire::op_code;

const READ_BYTES: usize = 64 << 10;
/// As Java's jute.maxbuffer: longer frames end the connection.
const FRAME_BYTES_MAX: usize = 0xfffff;
const STAT_BYTES: usize = 68;
/// What it answers to a list: as many names as the named workloads list, of the size of a key's.
const LISTED_NAMES: usize = 100;
const LISTED_NAME: &[u8; 13] = b"\0\0\0\x09k00000000";
const LISTED: [u8; LISTED_NAMES * LISTED_NAME.len()] = {
    let mut names = [0; LISTED_NAMES * LISTED_NAME.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = LISTED_NAME[at % LISTED_NAME.len()];
        at += 1;
    }
    names
};
const LISTENER_TOKEN: u64 = u64::MAX;
const WAIT_NS: u64 = 100_000_000;

pub struct NullServer {
    listener: TcpListener,
    poller: Poller,
    clients: Vec<Option<Client>>,
    value: Vec<u8>,
}

struct Client {
    socket: TcpStream,
    received: Vec<u8>,
    out: Vec<u8>,
    has_session: bool,
    watches_writable: bool,
}

impl NullServer {
    pub fn bind(port: u16, value: Vec<u8>) -> io::Result<NullServer> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        listener.set_nonblocking(true)?;
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER_TOKEN)?;
        Ok(NullServer { listener, poller, clients: Vec::new(), value })
    }

    pub fn port(&self) -> io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    pub fn serve(mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        while !stop.load(Ordering::Relaxed) {
            for index in 0..self.poller.wait(WAIT_NS)? {
                let token = self.poller.ready(index).token;
                if token == LISTENER_TOKEN {
                    self.accept()?;
                } else {
                    self.turn(token as usize, &mut buffer)?;
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            self.poller.add(&socket, self.clients.len() as u64)?;
            self.clients.push(Some(Client::new(socket)));
        }
    }

    fn turn(&mut self, token: usize, buffer: &mut [u8]) -> io::Result<()> {
        let Some(client) = &mut self.clients[token] else {
            return Ok(());
        };
        if client.turn(buffer, &self.value) {
            let unsent = !client.out.is_empty();
            if unsent == client.watches_writable {
                return Ok(());
            }
            client.watches_writable = unsent;
            return self.poller.watch_writable(&client.socket, token as u64, unsent);
        }
        self.poller.remove(&client.socket)?;
        self.clients[token] = None;
        Ok(())
    }
}

impl Client {
    fn new(socket: TcpStream) -> Client {
        Client { socket, received: Vec::new(), out: Vec::new(), has_session: false, watches_writable: false }
    }

    /// False when the connection is to be dropped.
    fn turn(&mut self, buffer: &mut [u8], value: &[u8]) -> bool {
        match self.socket.read(buffer) {
            Ok(0) => return false,
            Ok(bytes) => self.received.extend_from_slice(&buffer[..bytes]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        let received = std::mem::take(&mut self.received);
        let mut rest = &received[..];
        while let Some((frame, after)) = next_frame(rest) {
            if frame.len() > FRAME_BYTES_MAX || !self.answer(frame, value) {
                return false;
            }
            rest = after;
        }
        let left = received.len() - rest.len();
        self.received = received;
        self.received.drain(..left);
        self.received.len() <= FRAME_BYTES_MAX && self.write()
    }

    fn write(&mut self) -> bool {
        while !self.out.is_empty() {
            match self.socket.write(&self.out) {
                Ok(bytes) if bytes == self.out.len() => self.out.clear(),
                Ok(bytes) => drop(self.out.drain(..bytes)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// Appends the reply to one frame; false when it is too short to be a request.
    fn answer(&mut self, frame: &[u8], value: &[u8]) -> bool {
        if !self.has_session {
            self.has_session = true;
            let timeout = frame.get(12..16).unwrap_or(&[0; 4]);
            let parts: [&[u8]; 6] = [&[0; 4], timeout, &1u64.to_be_bytes(), &16u32.to_be_bytes(), &[0; 16], &[0]];
            return self.put(&parts);
        }
        let (Some(xid), Some(op)) = (frame.get(..4), int_at(frame, 4)) else {
            return false;
        };
        let header: [&[u8]; 3] = [xid, &[0; 8], &[0; 4]];
        let value_bytes = (value.len() as u32).to_be_bytes();
        match op {
            op_code::GET_DATA => self.put(&[header[0], header[1], header[2], &value_bytes, value, &[0; STAT_BYTES]]),
            op_code::SET_DATA | op_code::EXISTS => self.put(&[header[0], header[1], header[2], &[0; STAT_BYTES]]),
            op_code::GET_CHILDREN2 => {
                let count = &(LISTED_NAMES as u32).to_be_bytes();
                self.put(&[header[0], header[1], header[2], count, &LISTED, &[0; STAT_BYTES]])
            }
            op_code::MULTI | op_code::MULTI_READ => {
                self.put(&[header[0], header[1], header[2], &(-1i32).to_be_bytes(), &[1], &(-1i32).to_be_bytes()])
            }
            op_code::CREATE | op_code::SYNC => {
                let path_bytes = int_at(frame, 8).map_or(0, |bytes| bytes.max(0) as usize);
                let Some(path) = frame.get(8..12 + path_bytes) else {
                    return false;
                };
                self.put(&[header[0], header[1], header[2], path])
            }
            op_code::CLOSE_SESSION => {
                self.put(&header);
                self.write();
                false
            }
            _ => self.put(&header),
        }
    }

    fn put(&mut self, parts: &[&[u8]]) -> bool {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        self.out.extend_from_slice(&(bytes as u32).to_be_bytes());
        parts.iter().for_each(|part| self.out.extend_from_slice(part));
        true
    }
}

fn int_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The first whole frame and what follows it.
fn next_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = int_at(bytes, 0)?.max(0) as usize;
    let frame = bytes.get(4..4 + length)?;
    Some((frame, &bytes[4 + length..]))
}
