//! The echo: one thread, one io_uring set up as the server's cores set theirs up, a task for each connection. All frames of a
//! read are answered with one write.

use crate::copies::{self, Copies};
use crate::journal::Journal;
use crate::record;
use crate::replies::{Answered, Replies};
use ringkeeper::runtime::without_pacing;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::rc::Rc;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::{TcpListener, TcpStream};

/// As `runtime/core.rs`.
const RING_ENTRIES: u32 = 4096;
/// What a read of a busy connection takes at most, as in the server.
const READ_BYTES: usize = 16 << 10;
const BACKLOG: i32 = 4096;

/// Where writes are kept before they are answered.
pub struct Log<'a> {
    pub file: &'a Path,
    /// Where copies of it are kept.
    pub copies: &'a [SocketAddr],
    /// Where copies of others' are taken.
    pub copy_port: Option<u16>,
}

pub fn run(port: u16, log: Option<Log<'_>>, replies: Replies) -> io::Result<()> {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_coop_taskrun().setup_single_issuer();
    let runtime = tokio_uring::Runtime::new(tokio_uring::builder().entries(RING_ENTRIES).uring_builder(&ring))
        .map_err(|error| io::Error::other(format!("no ring with COOP_TASKRUN and SINGLE_ISSUER: {error}")))?;
    let listener = listen(port)?;
    println!("floor server on {}, pid {}", listener.local_addr()?, std::process::id());
    runtime.block_on(async {
        let Some(Log { file, copies, copy_port }) = log else {
            return accept(TcpListener::from_std(listener), None, Rc::new(replies)).await;
        };
        let journal = Journal::create(file)?;
        let failure = tokio_uring::spawn(journal.clone().write());
        let keeping =
            copy_port.map(listen).transpose()?.map(|port| tokio_uring::spawn(copies::keep(port, journal.clone())));
        let copies = Copies::at(copies, journal).await?;
        let accepting = accept(TcpListener::from_std(listener), Some(copies), Rc::new(replies));
        let kept = async {
            match keeping {
                Some(keeping) => keeping.await.map_err(io::Error::other)?,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = accepting => ended,
            ended = kept => ended,
            failed = failure => Err(failed.unwrap_or_else(io::Error::other)),
        }
    })
}

fn listen(port: u16) -> io::Result<StdListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

async fn accept(listener: TcpListener, log: Option<Rc<Copies>>, replies: Rc<Replies>) -> io::Result<()> {
    let bytes_extra = record::bytes_extra();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // As the server does on loopback.
        without_pacing(&stream);
        let connection = Connection { stream, log: log.clone(), replies: replies.clone(), bytes_extra };
        tokio_uring::spawn(connection.serve());
    }
}

struct Connection {
    stream: TcpStream,
    log: Option<Rc<Copies>>,
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
            if let Some(log) = self.log.as_ref().filter(|_| !changes.is_empty()) {
                changes.iter().for_each(|frame_bytes| log.append(frame_bytes + self.bytes_extra));
                if !log.flushed().await {
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
