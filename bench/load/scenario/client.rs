//! One session of a scenario, from its first connection over cuts and new attachments to its end, without ever blocking.
//! What it says is a [`Said`]; what it should do next is its scenario's business. Unlike `connection`, which sends ready-made
//! requests by the million, it knows its session, the kind of each reply, and its events.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::session::{Server, choose_cheapest_congestion_control, source_address};
use crate::wire::session::{ConnectAnswer, Credentials, attach_request, connect_answer, is_connect_response_length};
use crate::wire::{self, Cut, op_code, put_bytes, put_int, put_open_acl};

/// What a client tells its scenario.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// The session is there: a new one, or the old one again.
    Attached {
        timeout_ms: i32,
    },
    /// The server does not know the session (any more), or gives no new one.
    Refused,
    Reply {
        xid: i32,
        error_code: i32,
        body: Vec<u8>,
    },
    Event {
        path: String,
    },
    /// There is no connection, and why.
    Unreachable(String),
    /// The connection is gone, and why.
    Closed(String),
    /// These bytes come from no ZooKeeper server.
    Foreign(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Down,
    Connecting,
    Handshaking,
    Attached,
}

pub struct Client {
    state: State,
    socket: Option<TcpStream>,
    received: Vec<u8>,
    out: Vec<u8>,
    out_sent: usize,
    session: Credentials,
    last_zxid: i64,
    next_xid: i32,
    session_timeout_ms: i32,
    pub watches_writable: bool,
    pub last_sent_ns: u64,
}

impl Client {
    pub fn new(session_timeout_ms: i32) -> Client {
        Client {
            state: State::Down,
            socket: None,
            received: Vec::new(),
            out: Vec::new(),
            out_sent: 0,
            session: Credentials::default(),
            last_zxid: 0,
            next_xid: 1,
            session_timeout_ms,
            watches_writable: false,
            last_sent_ns: 0,
        }
    }

    pub fn is_attached(&self) -> bool {
        self.state == State::Attached
    }

    pub fn is_down(&self) -> bool {
        self.state == State::Down
    }

    /// Begins a connection; `number` counts those to this server. The answer is a later [`Said`].
    pub fn dial(&mut self, server: &Server, number: usize) -> std::io::Result<()> {
        let socket = Socket::new(Domain::for_address(server.address), Type::STREAM, None)?;
        if let Some(source) = source_address(&server.address, number) {
            socket.bind(&source.into())?;
        }
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if server.address.ip().is_loopback() {
            choose_cheapest_congestion_control(&socket);
        }
        match socket.connect(&server.address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        self.socket = Some(socket.into());
        self.state = State::Connecting;
        self.received.clear();
        self.out = attach_request(self.session_timeout_ms, self.last_zxid, &self.session);
        (self.out_sent, self.watches_writable) = (0, false);
        Ok(())
    }

    /// Ends the connection as a crash would: nothing is said on it. No port waits for stray packets afterwards.
    pub fn cut(&mut self) {
        if let Some(socket) = self.socket.take() {
            // A socket that is gone already needs no option.
            let _ = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        }
        self.state = State::Down;
        self.out.clear();
        self.out_sent = 0;
    }

    /// The next connection asks for a new session.
    pub fn forget_session(&mut self) {
        self.session = Credentials::default();
        self.next_xid = 1;
    }

    pub fn has_unsent(&self) -> bool {
        self.out_sent < self.out.len() || self.state == State::Connecting
    }

    fn request(&mut self, op: i32, fill: impl FnOnce(&mut Vec<u8>)) -> i32 {
        let xid = self.next_xid;
        self.next_xid = wire::successor(xid);
        self.request_as(xid, op, fill);
        xid
    }

    fn request_as(&mut self, xid: i32, op: i32, fill: impl FnOnce(&mut Vec<u8>)) {
        wire::frame(&mut self.out, |out| {
            put_int(out, xid);
            put_int(out, op);
            fill(out);
        });
    }

    pub fn get_data(&mut self, path: &str, watch: bool) -> i32 {
        self.request(op_code::GET_DATA, |out| {
            put_bytes(out, path.as_bytes());
            out.push(u8::from(watch));
        })
    }

    pub fn exists(&mut self, path: &str, watch: bool) -> i32 {
        self.request(op_code::EXISTS, |out| {
            put_bytes(out, path.as_bytes());
            out.push(u8::from(watch));
        })
    }

    pub fn get_children(&mut self, path: &str) -> i32 {
        self.request(op_code::GET_CHILDREN, |out| {
            put_bytes(out, path.as_bytes());
            out.push(0); // watch: no
        })
    }

    pub fn set_data(&mut self, path: &str, value: &[u8]) -> i32 {
        self.request(op_code::SET_DATA, |out| {
            put_bytes(out, path.as_bytes());
            put_bytes(out, value);
            put_int(out, -1); // any version
        })
    }

    /// Sets all of them in one transaction.
    pub fn set_all(&mut self, paths: &[String], value: &[u8]) -> i32 {
        self.request(op_code::MULTI, |out| {
            for path in paths {
                put_int(out, op_code::SET_DATA);
                out.push(0); // not the last
                put_int(out, -1); // no error
                put_bytes(out, path.as_bytes());
                put_bytes(out, value);
                put_int(out, -1); // any version
            }
            put_int(out, -1);
            out.push(1);
            put_int(out, -1);
        })
    }

    /// Flags: 1 ephemeral, 2 sequential.
    pub fn create(&mut self, path: &str, value: &[u8], flags: i32) -> i32 {
        self.request(op_code::CREATE, |out| {
            put_bytes(out, path.as_bytes());
            put_bytes(out, value);
            put_open_acl(out);
            put_int(out, flags);
        })
    }

    pub fn delete(&mut self, path: &str) -> i32 {
        self.request(op_code::DELETE, |out| {
            put_bytes(out, path.as_bytes());
            put_int(out, -1); // any version
        })
    }

    pub fn close_session(&mut self) -> i32 {
        self.request(op_code::CLOSE_SESSION, |_| {})
    }

    pub fn ping(&mut self) {
        self.request_as(wire::XID_PING, op_code::PING, |_| {});
    }

    /// What clients send after they were attached again: data watches that fire if something changed meanwhile.
    pub fn set_watches(&mut self, paths: &[String]) {
        let last_zxid = self.last_zxid;
        self.request_as(wire::XID_SET_WATCHES, op_code::SET_WATCHES, |out| {
            out.extend_from_slice(&last_zxid.to_be_bytes());
            put_int(out, paths.len() as i32);
            paths.iter().for_each(|path| put_bytes(out, path.as_bytes()));
            put_int(out, 0); // exist watches
            put_int(out, 0); // child watches
        });
    }

    /// Gives the kernel as much as it takes. An error is told by the next `receive`.
    pub fn flush(&mut self) {
        let Some(socket) = &mut self.socket else {
            return;
        };
        while self.out_sent < self.out.len() {
            match socket.write(&self.out[self.out_sent..]) {
                Ok(bytes) if bytes > 0 => self.out_sent += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return,
            }
        }
        self.out.clear();
        self.out_sent = 0;
    }

    /// Reads what is there and appends what it says. `buffer` is the scratch space of all clients.
    pub fn receive(&mut self, buffer: &mut [u8], said: &mut VecDeque<Said>) {
        let Some(socket) = &mut self.socket else {
            return;
        };
        if self.state == State::Connecting {
            if let Some(error) = socket.take_error().unwrap_or_else(Some) {
                // A server that accepts and closes at once is reachable.
                let closed = matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
                let reason = error.to_string();
                return said.push_back(if closed { Said::Closed(reason) } else { Said::Unreachable(reason) });
            }
            self.state = State::Handshaking;
        }
        let ended = match socket.read(buffer) {
            Ok(0) => Some("the server closed the connection".to_owned()),
            Ok(bytes) => {
                self.received.extend_from_slice(&buffer[..bytes]);
                None
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            Err(error) => Some(error.to_string()),
        };
        let received = std::mem::take(&mut self.received);
        let rest = self.take_frames(&received, said);
        self.received = received[received.len() - rest..].to_vec();
        if let Some(reason) = ended {
            said.push_back(Said::Closed(reason));
        }
    }

    /// Walks over whole frames; says how many bytes are left of the next one.
    fn take_frames(&mut self, mut bytes: &[u8], said: &mut VecDeque<Said>) -> usize {
        while let Some(payload_bytes) = wire::int_at(bytes, 0) {
            if self.state == State::Handshaking {
                if !is_connect_response_length(payload_bytes) {
                    let shown = bytes[..bytes.len().min(16)].escape_ascii();
                    said.push_back(Said::Foreign(format!("its answer to the handshake begins with \"{shown}\"")));
                    return 0;
                }
                let Some(payload) = bytes.get(4..4 + payload_bytes as usize) else {
                    break;
                };
                said.push_back(self.attached(payload));
                bytes = &bytes[4 + payload_bytes as usize..];
                continue;
            }
            match wire::cut_reply(bytes) {
                Cut::More => break,
                Cut::Foreign { payload_bytes } => {
                    said.push_back(Said::Foreign(format!("a reply frame of {payload_bytes} bytes")));
                    return 0;
                }
                Cut::Reply { header, bytes: frame_bytes } => {
                    let (frame, rest) = bytes.split_at(frame_bytes);
                    bytes = rest;
                    self.take_reply(header, frame, said);
                }
            }
        }
        bytes.len()
    }

    fn attached(&mut self, payload: &[u8]) -> Said {
        match connect_answer(payload) {
            Some(ConnectAnswer::Session { session, timeout_ms }) => {
                (self.session, self.state) = (session, State::Attached);
                Said::Attached { timeout_ms }
            }
            Some(ConnectAnswer::Refused) => Said::Refused,
            None => Said::Foreign("a handshake that cannot be read".to_owned()),
        }
    }

    fn take_reply(&mut self, header: wire::ReplyHeader, frame: &[u8], said: &mut VecDeque<Said>) {
        let body = &frame[wire::BODY_AT..];
        match header.xid {
            wire::XID_PING => {}
            wire::XID_EVENT => {
                // type, state, path
                let path = body.get(12..).unwrap_or_default();
                said.push_back(Said::Event { path: String::from_utf8_lossy(path).into_owned() });
            }
            xid => {
                let zxid = frame[8..16].try_into().map_or(0, i64::from_be_bytes);
                self.last_zxid = self.last_zxid.max(zxid);
                said.push_back(Said::Reply { xid, error_code: header.error_code, body: body.to_vec() });
            }
        }
    }
}

impl AsRawFd for Client {
    /// Only of a client that is not down.
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }
}
