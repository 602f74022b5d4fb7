//! The echo: one thread, one io_uring set up as the server's cores set theirs up, a task for each connection. All frames of a
//! read are answered with one write.

use crate::journal::Journal;
use crate::record;
use crate::replies::{Answered, Replies};
use ringkeeper::runtime::without_pacing;
use std::io;
use std::net::TcpListener as StdListener;
use std::path::Path;
use std::rc::Rc;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::{TcpListener, TcpStream};

/// As `runtime/core.rs`.
const RING_ENTRIES: u32 = 4096;
/// What a read of a busy connection takes at most, as in the server.
const READ_BYTES: usize = 16 << 10;
const BACKLOG: i32 = 4096;

pub fn run(port: u16, log: Option<&Path>, replies: Replies) -> io::Result<()> {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_coop_taskrun().setup_single_issuer();
    let runtime = tokio_uring::Runtime::new(tokio_uring::builder().entries(RING_ENTRIES).uring_builder(&ring))
        .map_err(|error| io::Error::other(format!("no ring with COOP_TASKRUN and SINGLE_ISSUER: {error}")))?;
    let journal = log.map(Journal::create).transpose()?;
    let listener = listen(port)?;
    println!("floor server on {}, pid {}", listener.local_addr()?, std::process::id());
    runtime.block_on(async {
        let failure = journal.clone().map(|journal| tokio_uring::spawn(journal.write()));
        let accepting = accept(TcpListener::from_std(listener), journal, Rc::new(replies));
        let Some(failure) = failure else { return accepting.await };
        tokio::select! {
            ended = accepting => ended,
            failed = failure => Err(failed.unwrap_or_else(io::Error::other)),
        }
    })
}

fn listen(port: u16) -> io::Result<StdListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

async fn accept(listener: TcpListener, journal: Option<Rc<Journal>>, replies: Rc<Replies>) -> io::Result<()> {
    let bytes_extra = record::bytes_extra();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // As the server does on loopback.
        without_pacing(&stream);
        let connection = Connection { stream, journal: journal.clone(), replies: replies.clone(), bytes_extra };
        tokio_uring::spawn(connection.serve());
    }
}

struct Connection {
    stream: TcpStream,
    journal: Option<Rc<Journal>>,
    replies: Rc<Replies>,
    bytes_extra: usize,
}

impl Connection {
    /// Until either side is done with it.
    async fn serve(self) {
        let (mut received, mut out) = (Vec::with_capacity(READ_BYTES), Vec::with_capacity(READ_BYTES));
        let mut has_session = false;
        loop {
            let filled = received.len();
            if filled == received.capacity() {
                // A frame larger than a read.
                received.reserve(filled);
            }
            let (read, slice) = self.stream.read(received.slice(filled..)).await;
            received = slice.into_inner();
            if !matches!(read, Ok(1..)) {
                return;
            }
            let answered = self.replies.answer(&received, &mut has_session, &mut out);
            let Answered { used, ends, changes } = match answered {
                Ok(answered) => answered,
                Err(why) => return eprintln!("ringkeeper-floor: closing a connection: {why}"),
            };
            received.copy_within(used.., 0);
            received.truncate(received.len() - used);
            if let Some(journal) = self.journal.as_ref().filter(|_| !changes.is_empty()) {
                changes.iter().for_each(|frame_bytes| journal.append(frame_bytes + self.bytes_extra));
                if !journal.flushed().await {
                    return;
                }
            }
            let (written, buffer) = self.stream.write_all(out).await;
            out = buffer;
            out.clear();
            if ends || written.is_err() {
                return;
            }
        }
    }
}
