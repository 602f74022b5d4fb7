//! One client connection with a blocking socket: handshake, frames out, frames in.
//!
//! Owns the socket, the length prefixes and the ConnectRequest in all its historic forms. The meaning of frames is
//! `codec.rs`. It never reconnects, retries or pings by itself: a test says every byte that goes out, and a silence
//! of `READ_MS_MAX` is reported as an error, never waited out for ever.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::codec::{self, Body, Frame, Op, put_buffer, put_int, put_long};

/// No healthy server keeps a request waiting this long on a loaded test machine.
const READ_MS_MAX: u64 = 30_000;

/// What a client says first.
#[derive(Clone, Debug)]
pub struct Hello {
    pub protocol_version: i32,
    pub last_zxid_seen: i64,
    pub timeout_ms: i32,
    pub session_id: i64,
    pub password: Option<Vec<u8>>,
    /// `None`: the byte is missing, as with clients before 3.4.
    pub read_only: Option<bool>,
}

impl Hello {
    pub fn new_session(timeout_ms: i32) -> Hello {
        Hello {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms,
            session_id: 0,
            password: Some(vec![0; 16]),
            read_only: Some(false),
        }
    }

    pub fn reattach(session_id: i64, password: &[u8], timeout_ms: i32) -> Hello {
        Hello { session_id, password: Some(password.to_vec()), ..Hello::new_session(timeout_ms) }
    }

    pub fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        put_int(&mut out, self.protocol_version);
        put_long(&mut out, self.last_zxid_seen);
        put_int(&mut out, self.timeout_ms);
        put_long(&mut out, self.session_id);
        put_buffer(&mut out, &self.password);
        out.extend(self.read_only.map(u8::from));
        out
    }
}

/// What the server answers to a `Hello`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    pub protocol_version: i32,
    pub timeout_ms: i32,
    pub session_id: i64,
    pub password: Vec<u8>,
    pub read_only: Option<u8>,
}

impl Welcome {
    fn decode(frame: &[u8]) -> Option<Welcome> {
        if !(36..=37).contains(&frame.len()) || frame[16..20] != [0, 0, 0, 16] {
            return None;
        }
        Some(Welcome {
            protocol_version: i32::from_be_bytes(frame[0..4].try_into().ok()?),
            timeout_ms: i32::from_be_bytes(frame[4..8].try_into().ok()?),
            session_id: i64::from_be_bytes(frame[8..16].try_into().ok()?),
            password: frame[20..36].to_vec(),
            read_only: frame.get(36).copied(),
        })
    }
}

pub struct Connection {
    stream: TcpStream,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    consumed: usize,
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_millis(READ_MS_MAX)))?;
        stream.set_write_timeout(Some(Duration::from_millis(READ_MS_MAX)))?;
        Ok(Connection { stream, outgoing: Vec::new(), incoming: Vec::new(), consumed: 0 })
    }

    /// Sends the hello; `None` means that the server closed without an answer.
    pub fn shake_hands(&mut self, hello: &Hello) -> io::Result<Option<Welcome>> {
        self.push_bytes(&hello.body());
        self.flush()?;
        let Some(frame) = self.next_frame()? else {
            return Ok(None);
        };
        let welcome = Welcome::decode(&frame);
        welcome.map(Some).ok_or_else(|| io::Error::other(format!("not a ConnectResponse: {}", frame.escape_ascii())))
    }

    /// How long a silence is waited out before it counts as an error.
    pub fn set_patience(&mut self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("cannot set a timeout");
        self.stream.set_write_timeout(Some(patience)).expect("cannot set a timeout");
    }

    pub fn local_port(&self) -> u16 {
        self.stream.local_addr().map_or(0, |address| address.port())
    }

    /// Queues bytes without a length before them.
    pub fn push_bare(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    /// Queues one frame of arbitrary bytes.
    pub fn push_bytes(&mut self, payload: &[u8]) {
        put_int(&mut self.outgoing, payload.len() as i32);
        self.outgoing.extend_from_slice(payload);
    }

    pub fn push(&mut self, xid: i32, op: &Op) {
        self.push_request(xid, op.opcode(), &op.body());
    }

    pub fn push_request(&mut self, xid: i32, opcode: i32, body: &[u8]) {
        put_int(&mut self.outgoing, body.len() as i32 + 8);
        put_int(&mut self.outgoing, xid);
        put_int(&mut self.outgoing, opcode);
        self.outgoing.extend_from_slice(body);
    }

    pub fn flush(&mut self) -> io::Result<()> {
        let result = self.stream.write_all(&self.outgoing);
        self.outgoing.clear();
        result
    }

    /// The payload of the next frame; `None` when the server has closed.
    pub fn next_frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let pending = &self.incoming[self.consumed..];
            if pending.len() >= 4 {
                let length = u32::from_be_bytes([pending[0], pending[1], pending[2], pending[3]]) as usize;
                if length > 64 << 20 {
                    return Err(io::Error::other(format!("the server announces a frame of {length} bytes")));
                }
                if pending.len() >= 4 + length {
                    let frame = pending[4..4 + length].to_vec();
                    self.consumed += 4 + length;
                    return Ok(Some(frame));
                }
            }
            if !self.fill()? {
                return match self.incoming.len() - self.consumed {
                    0 => Ok(None),
                    cut => {
                        Err(io::Error::other(format!("the server closed in the middle of a frame ({cut} bytes came)")))
                    }
                };
            }
        }
    }

    fn fill(&mut self) -> io::Result<bool> {
        self.incoming.drain(..self.consumed);
        self.consumed = 0;
        let mut chunk = [0; 64 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(count) => {
                self.incoming.extend_from_slice(&chunk[..count]);
                Ok(count > 0)
            }
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Says that nothing more will be sent.
    pub fn shut_write(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("cannot half-close");
    }

    /// Says that nothing more will be sent, and waits until the server has let go of the connection.
    pub fn hang_up(mut self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)?;
        while self.next_frame()?.is_some() {}
        Ok(())
    }

    /// One request, one reply; events that come before it are returned first.
    pub fn call(&mut self, xid: i32, op: &Op) -> io::Result<(Vec<Frame>, Frame)> {
        self.push(xid, op);
        self.flush()?;
        let mut events = Vec::new();
        loop {
            let Some(frame) = self.next_frame()? else {
                return Ok((events, Frame::Closed));
            };
            let decoded = codec::decode_frame(&frame, Some(op.opcode()));
            match decoded {
                Frame::Event { .. } => events.push(decoded),
                _ => return Ok((events, decoded)),
            }
        }
    }

    /// One request that must succeed.
    pub fn ask(&mut self, xid: i32, op: &Op) -> Body {
        match self.call(xid, op) {
            Ok((_, Frame::Reply { err: 0, body, .. })) => body,
            other => panic!("{op:?} was answered {other:?}"),
        }
    }
}

/// The password of a session, a pure function of its id that every ZooKeeper server shares.
pub fn password_of(session_id: i64) -> Vec<u8> {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    let modulo = (1u64 << 48) - 1;
    let mut state = ((session_id as u64 ^ 0xB341_5C00) ^ MULTIPLIER) & modulo;
    let mut password = Vec::with_capacity(16);
    for _ in 0..4 {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & modulo;
        password.extend_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_known_session() {
        let expected = [0x29, 0xd7, 0x82, 0xeb, 0x02, 0xa4, 0x65, 0x88, 0xaf, 0x6c, 0x79, 0xfa, 0x1b, 0xc9, 0x4e, 0x46];
        assert_eq!(password_of(0x0100_0012_19cd_0000), expected);
    }

    #[test]
    fn an_old_client_says_one_byte_less() {
        let new = Hello::new_session(10_000);
        let old = Hello { read_only: None, ..new.clone() };
        assert_eq!(new.body().len(), old.body().len() + 1);
        assert_eq!(new.body().len(), 45);
    }
}
