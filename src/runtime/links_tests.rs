//! Links over real sockets on the loopback: what the ensemble is told, and what is left behind.

use super::dial::tests::unanswering;
use super::link_io::{LinkAction, LinkEvent, LinkOptions, PeerPort};
use super::links::Links;
use crate::types::LinkId;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{HashMap, HashSet, VecDeque};
use std::future::poll_fn;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Longer than anything here takes, seconds.
const PATIENCE_S: u64 = 20;
const DIAL_MS: u64 = 5000;
const LINK: LinkId = LinkId(2);

/// Links and what they have told so far.
struct Stage {
    links: Links,
    events: VecDeque<LinkEvent>,
}

impl Stage {
    fn new() -> Stage {
        Stage { links: Links::new(LinkOptions { tcp_keep_alive: true }), events: VecDeque::new() }
    }

    async fn act(&mut self, action: LinkAction) {
        let mut actions = vec![action];
        poll_fn(|cx| {
            self.links.carry_out(cx, &mut actions);
            Poll::Ready(())
        })
        .await;
    }

    async fn next(&mut self) -> LinkEvent {
        let next = poll_fn(|cx| {
            let mut events = Vec::new();
            self.links.poll(cx, &mut events);
            self.events.extend(events);
            self.events.pop_front().map_or(Poll::Pending, Poll::Ready)
        });
        timeout(Duration::from_secs(PATIENCE_S), next).await.expect("something happens")
    }

    /// Nothing happens any more.
    async fn assert_quiet(&mut self) {
        sleep(Duration::from_millis(100)).await;
        let more = poll_fn(|cx| {
            let mut events = Vec::new();
            self.links.poll(cx, &mut events);
            Poll::Ready(events)
        });
        let more = more.await;
        assert!(more.is_empty() && self.events.is_empty(), "{more:?} {:?}", self.events);
    }

    async fn listen(&mut self, host: &str) -> SocketAddr {
        let addresses = vec![(Some(host.to_owned()), 0)];
        self.act(LinkAction::Listen { port: PeerPort::Quorum, addresses }).await;
        let event = self.next().await;
        assert!(matches!(event, LinkEvent::Listening { port: PeerPort::Quorum }), "{event:?}");
        self.links.addresses(PeerPort::Quorum)[0]
    }

    async fn dial(&mut self, link: LinkId, host: &str, port: u16, timeout_ms: u64) {
        self.act(LinkAction::Dial { link, host: host.to_owned(), port, timeout_ms }).await;
    }

    /// A link to a peer of the standard library's.
    async fn open(&mut self) -> TcpStream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        self.dial(LINK, "127.0.0.1", listener.local_addr().expect("bound").port(), DIAL_MS).await;
        let event = self.next().await;
        let LinkEvent::Opened { link: LINK, local } = event else { panic!("{event:?}") };
        let (stream, peer) = listener.accept().expect("connected");
        assert_eq!(peer, local);
        stream
    }

    async fn expect_closed(&mut self, link: LinkId) -> String {
        let event = self.next().await;
        let LinkEvent::Closed { link: closed, why } = event else { panic!("{event:?}") };
        assert_eq!(closed, link);
        why
    }

    /// Both ends of a link to ourselves: the dialled and the accepted one.
    async fn dial_ourselves(&mut self, link: LinkId, address: SocketAddr) -> LinkId {
        self.dial(link, &address.ip().to_string(), address.port(), DIAL_MS).await;
        let (mut opened, mut accepted) = (None, None);
        while opened.is_none() || accepted.is_none() {
            match self.next().await {
                LinkEvent::Opened { link: it, local } if it == link => opened = Some(local),
                LinkEvent::Accepted { link, port: PeerPort::Quorum, peer } => accepted = Some((link, peer)),
                other => panic!("{other:?}"),
            }
        }
        let (accepted, peer) = accepted.expect("just seen");
        assert_eq!((Some(peer), accepted.0 % 2), (opened, 1));
        accepted
    }
}

fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    SmallRng::seed_from_u64(seed).fill(&mut bytes[..]);
    bytes
}

#[test]
fn what_is_sent_comes_back_from_an_echo() {
    tokio_uring::start(async {
        let mut stage = Stage::new();
        let mut peer = stage.open().await;
        let echo = std::thread::spawn(move || {
            let mut buffer = [0; 5000];
            while let Ok(filled @ 1..) = peer.read(&mut buffer) {
                peer.write_all(&buffer[..filled]).expect("the link reads");
            }
        });
        let mut random = SmallRng::seed_from_u64(1);
        for round in 0..50 {
            let sent = random_bytes(round, random.random_range(1..300_000));
            stage.act(LinkAction::Send { link: LINK, bytes: sent.clone() }).await;
            let (mut received, mut writing) = (Vec::new(), true);
            while writing || received.len() < sent.len() {
                match stage.next().await {
                    LinkEvent::Sent { buffer, .. } => {
                        assert!(buffer.is_empty() && buffer.capacity() >= sent.len());
                        writing = false;
                    }
                    LinkEvent::Received { bytes, .. } => {
                        received.extend_from_slice(&bytes);
                        stage.act(LinkAction::ReadOn { link: LINK, buffer: bytes }).await;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert!(received == sent, "round {round}");
        }
        stage.act(LinkAction::Close { link: LINK }).await;
        echo.join().expect("the echo ends with the link");
        stage.assert_quiet().await;
        assert!(stage.links.is_idle());
    });
}

#[test]
fn both_directions_flow_at_once() {
    const CHUNKS: usize = 64;
    tokio_uring::start(async {
        let mut stage = Stage::new();
        let address = stage.listen("127.0.0.1").await;
        let accepted = stage.dial_ourselves(LINK, address).await;
        let chunk = |link: LinkId, number: usize| random_bytes(link.0 << 32 | number as u64, 100_000 + 1000 * number);
        let other = HashMap::from([(LINK, accepted), (accepted, LINK)]);
        let mut sent = HashMap::from([(LINK, 0), (accepted, 0)]);
        let mut received: HashMap<LinkId, Vec<u8>> = HashMap::new();
        for link in [LINK, accepted] {
            stage.act(LinkAction::Send { link, bytes: chunk(link, 0) }).await;
        }
        let expected = |link| (0..CHUNKS).flat_map(|number| chunk(other[&link], number)).collect::<Vec<u8>>();
        let expected_bytes: usize = expected(LINK).len();
        while sent.values().any(|&sent| sent < CHUNKS) || received.values().any(|got| got.len() < expected_bytes) {
            match stage.next().await {
                LinkEvent::Sent { link, .. } => {
                    let sent = sent.get_mut(&link).expect("one of the two");
                    *sent += 1;
                    if *sent < CHUNKS {
                        stage.act(LinkAction::Send { link, bytes: chunk(link, *sent) }).await;
                    }
                }
                LinkEvent::Received { link, bytes } => {
                    received.entry(link).or_default().extend_from_slice(&bytes);
                    stage.act(LinkAction::ReadOn { link, buffer: bytes }).await;
                }
                other => panic!("{other:?}"),
            }
        }
        for link in [LINK, accepted] {
            assert!(received[&link] == expected(link), "{link:?}");
        }
    });
}

#[test]
fn a_refused_dial_and_an_unknown_name_close_the_link_once() {
    tokio_uring::start(async {
        let mut stage = Stage::new();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        stage.dial(LINK, "127.0.0.1", port, DIAL_MS).await;
        let why = stage.expect_closed(LINK).await;
        assert!(why.contains(&format!("127.0.0.1:{port}")) && why.contains("refused"), "{why}");
        // Longer than a name can be, so that nobody is asked for it.
        let name = "x".repeat(64);
        stage.dial(LinkId(4), &name, port, DIAL_MS).await;
        let why = stage.expect_closed(LinkId(4)).await;
        assert!(why.contains(&format!("cannot look up {name}")), "{why}");
        stage.assert_quiet().await;
        assert!(stage.links.is_idle());
    });
}

#[test]
fn a_dial_that_nobody_answers_ends_in_time_or_at_once_if_closed() {
    tokio_uring::start(async {
        let mut stage = Stage::new();
        let (address, _listener, _waiting) = unanswering();
        let began = Instant::now();
        stage.dial(LINK, "127.0.0.1", address.port(), 300).await;
        let why = stage.expect_closed(LINK).await;
        assert!(why.contains("no answer within"), "{why}");
        assert!((300..2000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        stage.dial(LinkId(4), "127.0.0.1", address.port(), 200).await;
        stage.act(LinkAction::Close { link: LinkId(4) }).await;
        assert!(stage.links.is_idle());
        sleep(Duration::from_millis(200)).await;
        stage.assert_quiet().await;
    });
}

#[test]
fn a_port_that_is_closed_refuses_and_keeps_its_links() {
    tokio_uring::start(async {
        let mut stage = Stage::new();
        let address = stage.listen("127.0.0.1").await;
        let mut peer = TcpStream::connect(address).expect("listening");
        let event = stage.next().await;
        let LinkEvent::Accepted { link, port: PeerPort::Quorum, peer: seen } = event else { panic!("{event:?}") };
        assert_eq!(seen, peer.local_addr().expect("connected"));
        stage.act(LinkAction::StopListening { port: PeerPort::Quorum }).await;
        let refused = TcpStream::connect(address).expect_err("closed");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        stage.act(LinkAction::Send { link, bytes: b"still here".to_vec() }).await;
        assert!(matches!(stage.next().await, LinkEvent::Sent { .. }));
        let mut bytes = [0; 10];
        peer.read_exact(&mut bytes).expect("the link stays");
        assert_eq!(&bytes, b"still here");
        // The same port again, at once.
        let addresses = vec![(Some("127.0.0.1".to_owned()), address.port())];
        stage.act(LinkAction::Listen { port: PeerPort::Quorum, addresses }).await;
        assert!(matches!(stage.next().await, LinkEvent::Listening { .. }));
        TcpStream::connect(address).expect("listening again");
        assert!(matches!(stage.next().await, LinkEvent::Accepted { .. }));
    });
}

#[test]
fn a_port_that_cannot_be_had_is_reported_and_part_of_the_addresses_suffices() {
    tokio_uring::start(async {
        let mut stage = Stage::new();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let taken = (Some("127.0.0.1".to_owned()), taken.local_addr().expect("bound").port(), taken);
        let port = PeerPort::Election;
        stage.act(LinkAction::Listen { port, addresses: vec![(taken.0.clone(), taken.1)] }).await;
        let event = stage.next().await;
        let LinkEvent::ListenFailed { port: PeerPort::Election, why } = event else { panic!("{event:?}") };
        assert!(why.contains(&format!("127.0.0.1:{}", taken.1)), "{why}");
        assert!(stage.links.is_idle());
        let addresses = vec![(taken.0, taken.1), (None, 0)];
        stage.act(LinkAction::Listen { port, addresses }).await;
        assert!(matches!(stage.next().await, LinkEvent::Listening { port: PeerPort::Election }));
        let all = stage.links.addresses(port)[0].port();
        let peer = TcpStream::connect((Ipv4Addr::LOCALHOST, all)).expect("all addresses");
        let event = stage.next().await;
        let LinkEvent::Accepted { peer: seen, .. } = event else { panic!("{event:?}") };
        assert_eq!(seen, peer.local_addr().expect("connected"), "known by its IPv4 address");
    });
}

#[test]
fn what_came_before_the_end_is_received_and_the_end_told_once() {
    tokio_uring::start(async {
        let mut stage = Stage::new();
        let mut peer = stage.open().await;
        peer.write_all(b"last words").expect("connected");
        drop(peer);
        let event = stage.next().await;
        let LinkEvent::Received { bytes, .. } = event else { panic!("{event:?}") };
        assert_eq!(bytes, b"last words");
        stage.act(LinkAction::ReadOn { link: LINK, buffer: bytes }).await;
        assert_eq!(stage.expect_closed(LINK).await, "closed by the other side");
        // Asked of a link that is gone, which the ensemble may not have heard of yet.
        stage.act(LinkAction::ReadOn { link: LINK, buffer: Vec::new() }).await;
        stage.act(LinkAction::Send { link: LINK, bytes: vec![1] }).await;
        stage.act(LinkAction::Close { link: LINK }).await;
        stage.assert_quiet().await;
        assert!(stage.links.is_idle());
    });
}

#[test]
fn a_peer_that_vanishes_amid_a_write_ends_the_link_once() {
    tokio_uring::start(async {
        let mut stage = Stage::new();
        let mut peer = stage.open().await;
        // More than the kernel takes while nobody reads.
        stage.act(LinkAction::Send { link: LINK, bytes: vec![7; 64 << 20] }).await;
        sleep(Duration::from_millis(50)).await;
        let mut some = [0; 1000];
        peer.read_exact(&mut some).expect("it was sent");
        drop(peer); // unread bytes: a reset
        stage.expect_closed(LINK).await;
        stage.assert_quiet().await;
        assert!(stage.links.is_idle());
    });
}

#[test]
fn a_link_that_is_not_read_holds_the_sender_back() {
    const KERNEL_BYTES_MAX: usize = 256 << 20;
    tokio_uring::start(async {
        let mut stage = Stage::new();
        let mut peer = stage.open().await;
        peer.set_nonblocking(true).expect("a socket");
        let chunk = random_bytes(3, 1 << 20);
        let (mut sent, mut stuck) = (0, 0);
        let mut first = None;
        while stuck < 20 {
            match peer.write(&chunk[sent % chunk.len()..]) {
                Ok(written) => (sent, stuck) = (sent + written, 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    stuck += 1;
                    sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{error}"),
            }
            assert!(sent < KERNEL_BYTES_MAX, "the sender is not held back");
            if first.is_none() {
                first = Some(stage.next().await);
            }
        }
        stage.assert_quiet().await;
        drop(peer);
        let Some(LinkEvent::Received { mut bytes, .. }) = first else { panic!("{first:?}") };
        let mut received = 0;
        loop {
            assert!(bytes.len() <= 64 << 10);
            for byte in &bytes {
                assert_eq!(*byte, chunk[received % chunk.len()], "at {received}");
                received += 1;
            }
            stage.act(LinkAction::ReadOn { link: LINK, buffer: bytes }).await;
            match stage.next().await {
                LinkEvent::Received { bytes: more, .. } => bytes = more,
                LinkEvent::Closed { .. } => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(received, sent);
    });
}

/// The sockets of this process that `wanted` says yes to, given their own and their peer's port.
fn sockets(wanted: impl Fn(Option<u16>, Option<u16>) -> bool) -> HashSet<PathBuf> {
    let mut found = HashSet::new();
    for entry in std::fs::read_dir("/proc/self/fd").expect("proc").flatten() {
        let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // SAFETY: asked for two names only; if its owner closes it meanwhile there is an error or a wrong answer.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let socket = socket2::SockRef::from(&fd);
        let port = |address: std::io::Result<socket2::SockAddr>| Some(address.ok()?.as_socket()?.port());
        if wanted(port(socket.local_addr()), port(socket.peer_addr()))
            && let Ok(name) = std::fs::read_link(entry.path())
        {
            found.insert(name);
        }
    }
    found
}

#[test]
fn links_closed_amid_their_operations_leave_nothing_behind() {
    const LINKS: u64 = 200;
    tokio_uring::start(async {
        let mut stage = Stage::new();
        let address = stage.listen("127.0.0.1").await;
        let mut both = Vec::new();
        for number in 1..=LINKS {
            let accepted = stage.dial_ourselves(LinkId(2 * number), address).await;
            both.push((LinkId(2 * number), accepted));
        }
        stage.act(LinkAction::StopListening { port: PeerPort::Quorum }).await;
        let used = sockets(|own, peer| own == Some(address.port()) || peer == Some(address.port()));
        assert_eq!(used.len() as u64, 2 * LINKS);
        for (number, (dialled, accepted)) in both.iter().enumerate() {
            // Reads are in flight everywhere, writes that cannot end in some, and in the others short ones.
            let bytes = vec![1; if number % 16 < 2 { 16 << 20 } else { 10 }];
            stage.act(LinkAction::Send { link: *dialled, bytes }).await;
            let (one, other) = if number % 2 == 0 { (dialled, accepted) } else { (accepted, dialled) };
            stage.act(LinkAction::Close { link: *one }).await;
            if number % 8 == 0 {
                stage.act(LinkAction::Close { link: *other }).await;
            }
        }
        let mut closed = HashSet::new();
        while !stage.links.is_idle() {
            match stage.next().await {
                LinkEvent::Closed { link, .. } => assert!(closed.insert(link), "{link:?} closed twice"),
                LinkEvent::Received { link, bytes } => stage.act(LinkAction::ReadOn { link, buffer: bytes }).await,
                LinkEvent::Sent { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(both.iter().enumerate().all(|(number, (dialled, accepted))| {
            let one = if number % 2 == 0 { dialled } else { accepted };
            !closed.contains(one)
        }));
        let until = Instant::now() + Duration::from_secs(PATIENCE_S);
        while !sockets(|_, _| true).is_disjoint(&used) {
            assert!(Instant::now() < until, "sockets are left open");
            sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn names_are_looked_up_for_listening_and_dialling() {
    tokio_uring::start(async {
        let mut stage = Stage::new();
        let address = stage.listen("localhost").await;
        stage.dial(LINK, "localhost", address.port(), DIAL_MS).await;
        for _ in 0..2 {
            let event = stage.next().await;
            assert!(matches!(event, LinkEvent::Opened { link: LINK, .. } | LinkEvent::Accepted { .. }), "{event:?}");
        }
    });
}
