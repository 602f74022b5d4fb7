//! A connected stream on the ring: at most one read and one write in flight, each a loop that lives as long as the
//! stream, so that an operation allocates nothing. Client sockets and links to other servers are made of it; which buffers
//! they read into and what an end means is theirs.
//!
//! Invariants: `waker` is woken when `poll` would find something new; a dropped stream is shut down, which ends the
//! operations that the kernel still has, and their buffers live until then.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio_uring::net::TcpStream;

pub(super) type Loop = Pin<Box<dyn Future<Output = ()>>>;
/// How an operation went, and its buffer.
type Done = (io::Result<usize>, Vec<u8>);

pub(super) struct Duplex {
    stream: Rc<TcpStream>,
    waker: Waker,
    read_loop: Loop,
    write_loop: Loop,
    read: Rc<Transfer>,
    write: Rc<Transfer>,
}

impl Duplex {
    pub fn new(stream: TcpStream, waker: Waker) -> Duplex {
        let stream = Rc::new(stream);
        let (read, write) = (Rc::<Transfer>::default(), Rc::<Transfer>::default());
        Duplex {
            waker,
            read_loop: Box::pin(read_loop(stream.clone(), read.clone())),
            write_loop: Box::pin(write_loop(stream.clone(), write.clone())),
            stream,
            read,
            write,
        }
    }

    pub fn is_reading(&self) -> bool {
        self.read.busy.get()
    }

    /// Reads into `buffer`, which is empty; the last read must be done.
    pub fn start_read(&mut self, buffer: Vec<u8>) {
        self.read.start(buffer);
        self.poll();
        self.read.wake_if_done(&self.waker);
    }

    /// Writes all of `bytes`; the last write must be done.
    pub fn start_write(&mut self, bytes: Vec<u8>) {
        self.write.start(bytes);
        self.poll();
        self.write.wake_if_done(&self.waker);
    }

    pub fn poll(&mut self) {
        let mut cx = Context::from_waker(&self.waker);
        if self.write.busy.get() {
            let _ = self.write_loop.as_mut().poll(&mut cx);
        }
        if self.read.busy.get() {
            let _ = self.read_loop.as_mut().poll(&mut cx);
        }
    }

    /// The read that is done, if there is one: 0 bytes are the end of the stream.
    pub fn take_read(&mut self) -> Option<Done> {
        self.read.done.take()
    }

    /// The write that is done, if there is one, with its buffer emptied.
    pub fn take_written(&mut self) -> Option<Done> {
        self.write.done.take()
    }
}

impl AsRawFd for Duplex {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl Drop for Duplex {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both); // fails only if the other side was faster
    }
}

/// How a loop and its owner hand a buffer to and fro.
#[derive(Default)]
struct Transfer {
    todo: Cell<Option<Vec<u8>>>,
    done: Cell<Option<Done>>,
    busy: Cell<bool>,
}

impl Transfer {
    fn start(&self, buffer: Vec<u8>) {
        debug_assert!(!self.busy.get(), "one operation at a time");
        self.busy.set(true);
        self.todo.set(Some(buffer));
    }

    async fn next(&self) -> Vec<u8> {
        poll_fn(|_| self.todo.take().map_or(Poll::Pending, Poll::Ready)).await
    }

    fn finish(&self, result: io::Result<usize>, buffer: Vec<u8>) {
        self.done.set(Some((result, buffer)));
        self.busy.set(false);
    }

    fn wake_if_done(&self, waker: &Waker) {
        if let Some(done) = self.done.take() {
            self.done.set(Some(done));
            waker.wake_by_ref();
        }
    }
}

async fn read_loop(stream: Rc<TcpStream>, transfer: Rc<Transfer>) {
    loop {
        let buffer = transfer.next().await;
        let (result, buffer) = stream.read(buffer).await;
        transfer.finish(result, buffer);
    }
}

async fn write_loop(stream: Rc<TcpStream>, transfer: Rc<Transfer>) {
    loop {
        let buffer = transfer.next().await;
        let (result, mut buffer) = stream.write_all(buffer).await;
        buffer.clear();
        transfer.finish(result.map(|()| 0), buffer);
    }
}

/// Congestion control that paces its sends (BBR) spends timers on a path that cannot be congested.
pub fn without_pacing(stream: &impl AsRawFd) {
    const RENO: &[u8] = b"reno";
    // SAFETY: the option's value is a name with its length. Where it is refused the default stays.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            RENO.as_ptr().cast(),
            RENO.len() as libc::socklen_t,
        );
    }
}
