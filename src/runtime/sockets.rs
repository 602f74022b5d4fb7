//! The client sockets of one worker, over tokio-uring. One read is in flight per connection, and at most one
//! write (`duplex.rs`).
//!
//! A read buffer is small while its connection is idle and grows when a read fills it.
//!
//! A client with many requests under way sends them in one piece as long as it is answered in one piece. A buffer that just
//! fails to hold all of them would divide what comes, and with it every answer and every later piece: twice the system calls,
//! for good. So a smaller buffer is given only to whoever would fill no more than half of it.

use super::duplex::{Duplex, Loop, without_pacing};
use super::ready::{ReadyList, waker};
use crate::types::ConnId;
use crate::types::limits::{READ_BUFFER_BYTES_BUSY, READ_BUFFER_BYTES_IDLE};
use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio_uring::net::TcpStream;

/// Sizes of read buffers, bytes.
const READ_BUFFERS: [usize; 3] = [READ_BUFFER_BYTES_IDLE, 2 << 10, READ_BUFFER_BYTES_BUSY];
/// After this many reads that would fill no more than half of the next smaller buffer, a connection gets that one.
const SMALL_READS_TO_SHRINK: u8 = 16;
/// How long nothing is accepted after accepting has failed, milliseconds.
const ACCEPT_PAUSE_MS: u64 = 100;
/// Tokens of listeners; connections count up from 0.
const LISTENER_TOKEN: u64 = 1 << 63;

/// What happened on a socket.
#[derive(Debug)]
pub enum SocketEvent {
    Accepted {
        conn: ConnId,
        peer: SocketAddr,
    },
    /// `bytes` came; they are given back with `read_on`.
    Received {
        conn: ConnId,
        bytes: Vec<u8>,
    },
    /// The write is done; the buffer comes back for reuse.
    Sent {
        conn: ConnId,
        buffer: Vec<u8>,
    },
    /// The other side is gone, or the socket failed. Nothing more comes for it.
    Closed {
        conn: ConnId,
    },
}

type Listening = Rc<Cell<Option<io::Result<(TcpStream, SocketAddr)>>>>;

struct Socket {
    generation: u32,
    duplex: Duplex,
    small_reads: u8,
}

struct Listener {
    accept_loop: Loop,
    accepted: Listening,
    waker: Waker,
    /// The same socket once more: accepting has to be ended before it can be closed.
    socket: Option<TcpListener>,
}

/// All sockets of a worker.
pub struct Sockets {
    slots: Vec<Option<Socket>>,
    free: Vec<u32>,
    generation: u32,
    ready: Arc<ReadyList>,
    listeners: Vec<Listener>,
    open: usize,
    accept_fails: bool,
}

impl Default for Sockets {
    fn default() -> Self {
        Sockets::new()
    }
}

impl Sockets {
    pub fn new() -> Sockets {
        Sockets {
            slots: Vec::new(),
            free: Vec::new(),
            generation: 0,
            ready: Arc::default(),
            listeners: Vec::new(),
            open: 0,
            accept_fails: false,
        }
    }

    /// Accepts from `listener` from now on.
    pub fn listen(&mut self, listener: TcpListener) {
        let accepted: Listening = Rc::default();
        let socket = listener.try_clone().ok();
        let slot = accepted.clone();
        let accept_loop = async move {
            let listener = tokio_uring::net::TcpListener::from_std(listener);
            loop {
                let accepted = listener.accept().await;
                let failed = accepted.is_err();
                slot.set(Some(accepted));
                if failed {
                    // Out of descriptors or memory: at once it would fail again.
                    tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                }
                // Waits until the owner has taken it.
                poll_fn(|_| {
                    let taken = slot.take();
                    let free = taken.is_none();
                    slot.set(taken);
                    if free { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
            }
        };
        let token = LISTENER_TOKEN | self.listeners.len() as u64;
        let waker = waker(&self.ready, token);
        waker.wake_by_ref();
        self.listeners.push(Listener { accept_loop: Box::pin(accept_loop), accepted, waker, socket });
    }

    /// From now on the kernel refuses connections; those that are open stay.
    pub fn close_listeners(&mut self) {
        for listener in self.listeners.drain(..) {
            if let Some(socket) = &listener.socket {
                // SAFETY: a plain system call on a descriptor that is open. The operation on the ring holds the socket too,
                // and ends with it.
                unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
            }
        }
    }

    /// Collects what happened since the last call. `cx` is woken when there is more.
    pub fn poll(&mut self, cx: &mut Context<'_>, events: &mut Vec<SocketEvent>) {
        self.ready.attend(cx.waker());
        while let Some(token) = self.ready.pop() {
            if token & LISTENER_TOKEN != 0 {
                self.accept((token & !LISTENER_TOKEN) as usize, events);
            } else {
                self.poll_socket(ConnId(token), events);
            }
        }
    }

    fn accept(&mut self, index: usize, events: &mut Vec<SocketEvent>) {
        loop {
            // It may have been closed since it was woken.
            let Some(Listener { accept_loop, accepted, waker, .. }) = self.listeners.get_mut(index) else { return };
            let _ = accept_loop.as_mut().poll(&mut Context::from_waker(waker));
            match accepted.take() {
                None => return,
                Some(Ok((stream, peer))) => {
                    self.accept_fails = false;
                    if peer.ip().to_canonical().is_loopback() {
                        without_pacing(&stream);
                    }
                    let conn = self.add(stream);
                    events.push(SocketEvent::Accepted { conn, peer });
                }
                Some(Err(error)) => {
                    // Once, however many are waiting.
                    if !std::mem::replace(&mut self.accept_fails, true) {
                        tracing::warn!("cannot accept a connection: {error}. Those that are open are served");
                    }
                }
            }
        }
    }

    fn add(&mut self, stream: TcpStream) -> ConnId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        // Wraps within 31 bits, since the highest bit of a token tells listeners.
        self.generation = (self.generation + 1) & (u32::MAX >> 1);
        let conn = ConnId(u64::from(self.generation) << 32 | u64::from(index));
        let duplex = Duplex::new(stream, waker(&self.ready, conn.0));
        self.slots[index as usize] = Some(Socket { generation: self.generation, duplex, small_reads: 0 });
        self.open += 1;
        self.read_on(conn, Vec::new());
        conn
    }

    fn get(&mut self, conn: ConnId) -> Option<&mut Socket> {
        let slot = self.slots.get_mut((conn.0 & u64::from(u32::MAX)) as usize)?.as_mut()?;
        (u64::from(slot.generation) == conn.0 >> 32).then_some(slot)
    }

    fn poll_socket(&mut self, conn: ConnId, events: &mut Vec<SocketEvent>) {
        let Some(socket) = self.get(conn) else { return };
        socket.duplex.poll();
        if let Some((result, buffer)) = socket.duplex.take_written() {
            match result {
                Ok(_) => events.push(SocketEvent::Sent { conn, buffer }),
                Err(_) => return self.lost(conn, events),
            }
        }
        let Some(socket) = self.get(conn) else { return };
        if let Some((result, bytes)) = socket.duplex.take_read() {
            match result {
                Ok(1..) => events.push(SocketEvent::Received { conn, bytes }),
                _ => self.lost(conn, events),
            }
        }
    }

    fn lost(&mut self, conn: ConnId, events: &mut Vec<SocketEvent>) {
        self.remove(conn);
        events.push(SocketEvent::Closed { conn });
    }

    fn remove(&mut self, conn: ConnId) {
        if self.get(conn).is_some() {
            let index = (conn.0 & u64::from(u32::MAX)) as u32;
            self.slots[index as usize] = None;
            self.free.push(index);
            self.open -= 1;
        }
    }

    /// Reads on, into `buffer` if its size still fits what this connection sends.
    pub fn read_on(&mut self, conn: ConnId, mut buffer: Vec<u8>) {
        let Some(socket) = self.get(conn) else { return };
        if socket.duplex.is_reading() {
            return;
        }
        let (filled, capacity) = (buffer.len(), buffer.capacity());
        let wanted = wanted_capacity(filled, capacity, &mut socket.small_reads);
        if wanted != capacity {
            buffer = Vec::with_capacity(wanted);
        }
        buffer.clear();
        socket.duplex.start_read(buffer);
    }

    /// Sends `bytes`; the last write of this connection must have been reported as sent.
    pub fn send(&mut self, conn: ConnId, bytes: Vec<u8>) {
        let Some(socket) = self.get(conn) else { return };
        socket.duplex.start_write(bytes);
    }

    /// Closes at once; what the kernel has taken is still delivered.
    pub fn close(&mut self, conn: ConnId) {
        self.remove(conn);
    }

    /// Resets at once: the client sees a refused connection rather than an orderly end.
    pub fn reset(&mut self, conn: ConnId) {
        if let Some(socket) = self.get(conn) {
            linger_zero(&socket.duplex);
        }
        self.remove(conn);
    }

    pub fn open(&self) -> usize {
        self.open
    }
}

/// The next read buffer of a connection whose last one held `filled` of `capacity` bytes.
fn wanted_capacity(filled: usize, capacity: usize, small_reads: &mut u8) -> usize {
    let Some(at) = READ_BUFFERS.iter().position(|size| *size == capacity) else { return READ_BUFFER_BYTES_IDLE };
    let smaller = at.checked_sub(1).map(|at| READ_BUFFERS[at]);
    match smaller {
        Some(smaller) if filled <= smaller / 2 => *small_reads += 1,
        _ => *small_reads = 0,
    }
    if filled == capacity {
        return READ_BUFFERS.get(at + 1).copied().unwrap_or(capacity);
    }
    match smaller {
        Some(smaller) if *small_reads == SMALL_READS_TO_SHRINK => {
            *small_reads = 0;
            smaller
        }
        _ => capacity,
    }
}

fn linger_zero(stream: &impl AsRawFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the option's value is a `linger`.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes in reads of these lengths is read with buffers of which sizes?
    fn buffers(reads: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let (mut capacity, mut small_reads) = (wanted_capacity(0, 0, &mut 0), 0);
        let mut used = vec![capacity];
        for bytes in reads {
            capacity = wanted_capacity(bytes.min(capacity), capacity, &mut small_reads);
            used.push(capacity);
        }
        used
    }

    #[test]
    fn buffers_grow_with_what_comes_and_shrink_behind_it() {
        assert_eq!(buffers([512, 2048, 16 << 10, 16 << 10]), [512, 2048, 16 << 10, 16 << 10, 16 << 10]);
        assert_eq!(buffers([100; 40]), [512; 41]);
        let mut used = buffers([512, 2048].into_iter().chain([100; 32]));
        used.dedup();
        assert_eq!(used, [512, 2048, 16 << 10, 2048, 512]);
    }

    /// Sixteen reads of 37 bytes, in any two pieces of which one is more than half a small buffer, find room in one buffer.
    #[test]
    fn a_window_of_requests_is_never_divided_by_a_buffer_again() {
        for piece in 300..592 {
            let reads = [512, 80].into_iter().chain((0..1000).flat_map(|_| [piece, 592 - piece]));
            assert_eq!(buffers(reads)[1..], [2048; 2002], "{piece}");
        }
    }
}
