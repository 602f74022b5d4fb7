//! Copies of the journal at other floors: the least that an ensemble must do before it answers a write. The leader sends the
//! bytes of its records to each, which appends and flushes them and says how many it has on disk; a majority of all
//! logs, its own counted as one, is enough. There is no election, no order to keep, and nothing to apply.

use crate::journal::Journal;
use ringkeeper::runtime::without_pacing;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::{TcpListener, TcpStream};

const READ_BYTES: usize = 256 << 10;
/// The others may still be starting.
const CONNECT_ATTEMPTS: u32 = 200;
const CONNECT_PAUSE: Duration = Duration::from_millis(20);

/// The journal here, and its copies.
pub struct Copies {
    journal: Rc<Journal>,
    others: Vec<Rc<Copy>>,
}

#[derive(Default)]
struct Copy {
    unsent: RefCell<Vec<u8>>,
    sender: Cell<Option<Waker>>,
    flushed: Cell<u64>,
}

impl Copies {
    /// Nothing is served before all of them are connected.
    pub async fn at(addresses: &[SocketAddr], journal: Rc<Journal>) -> io::Result<Rc<Copies>> {
        let mut others = Vec::new();
        for address in addresses {
            let (stream, copy) = (Rc::new(connect(*address).await?), Rc::<Copy>::default());
            tokio_uring::spawn(exit_with("sending to a copy", send(stream.clone(), copy.clone())));
            tokio_uring::spawn(exit_with("hearing from a copy", hear(stream, copy.clone(), journal.clone())));
            others.push(copy);
        }
        Ok(Rc::new(Copies { journal, others }))
    }

    /// Stages a record of so many bytes, here and at the others.
    pub fn append(&self, bytes: usize) {
        self.journal.append(bytes);
        for copy in &self.others {
            let mut unsent = copy.unsent.borrow_mut();
            let end = unsent.len() + bytes;
            unsent.resize(end, b'x');
            if let Some(sender) = copy.sender.take() {
                sender.wake();
            }
        }
    }

    /// Until a majority has everything appended before on disk; false once the disk here has failed.
    pub async fn flushed(&self) -> bool {
        let mine = self.journal.appended();
        let all = self.others.len() + 1;
        let has = || {
            let others = self.others.iter().filter(|copy| copy.flushed.get() >= mine).count();
            2 * (others + usize::from(self.journal.flushed() >= mine)) > all
        };
        self.journal.wait_until(has).await
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let mut attempts = 0;
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                without_pacing(&stream);
                return Ok(stream);
            }
            Err(error) if attempts == CONNECT_ATTEMPTS => return Err(error),
            Err(_) => attempts += 1,
        }
        tokio::time::sleep(CONNECT_PAUSE).await;
    }
}

/// Without one of its copies this measures something else.
async fn exit_with(what: &str, work: impl Future<Output = io::Result<()>>) {
    if let Err(error) = work.await {
        eprintln!("ringkeeper-floor: {what}: {error}");
        std::process::exit(1);
    }
}

async fn send(stream: Rc<TcpStream>, copy: Rc<Copy>) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        poll_fn(|cx| {
            if !copy.unsent.borrow().is_empty() {
                return Poll::Ready(());
            }
            copy.sender.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        std::mem::swap(&mut bytes, &mut *copy.unsent.borrow_mut());
        let (written, buffer) = stream.write_all(bytes).await;
        written?;
        bytes = buffer;
        bytes.clear();
    }
}

/// Each word is how many bytes the copy has on disk.
async fn hear(stream: Rc<TcpStream>, copy: Rc<Copy>, journal: Rc<Journal>) -> io::Result<()> {
    let mut received = Vec::with_capacity(READ_BYTES);
    loop {
        let filled = received.len();
        let (read, slice) = stream.read(received.slice(filled..)).await;
        received = slice.into_inner();
        if read? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let whole = received.len() / size_of::<u64>() * size_of::<u64>();
        if let Some(last) = received[..whole].last_chunk() {
            copy.flushed.set(u64::from_be_bytes(*last));
            journal.tell();
        }
        received.drain(..whole);
    }
}

/// How far the leader's bytes have come in the journal here, which holds others too: where they end there, and how many of the
/// leader's that makes, oldest first.
type Taken = Rc<RefCell<VecDeque<(u64, u64)>>>;

/// Keeps a copy for whoever connects.
pub async fn keep(listener: std::net::TcpListener, journal: Rc<Journal>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        without_pacing(&stream);
        let (stream, taken) = (Rc::new(stream), Taken::default());
        tokio_uring::spawn(take(stream.clone(), journal.clone(), taken.clone()));
        tokio_uring::spawn(acknowledge(stream, journal.clone(), taken));
    }
}

/// Until the leader is gone.
async fn take(stream: Rc<TcpStream>, journal: Rc<Journal>, taken: Taken) {
    let (mut received, mut total) = (Vec::with_capacity(READ_BYTES), 0);
    loop {
        let (read, buffer) = stream.read(received).await;
        let Ok(bytes @ 1..) = read else { return };
        received = buffer;
        received.clear();
        journal.append(bytes);
        total += bytes as u64;
        taken.borrow_mut().push_back((journal.appended(), total));
    }
}

async fn acknowledge(stream: Rc<TcpStream>, journal: Rc<Journal>, taken: Taken) {
    let is_flushed = |taken: &VecDeque<(u64, u64)>| taken.front().is_some_and(|(end, _)| *end <= journal.flushed());
    while journal.wait_until(|| is_flushed(&taken.borrow())).await {
        let mut last = 0;
        while is_flushed(&taken.borrow()) {
            (_, last) = taken.borrow_mut().pop_front().expect("just seen");
        }
        if stream.write_all(last.to_be_bytes().to_vec()).await.0.is_err() {
            return;
        }
    }
}
