//! Opens the sessions before a run: resolve, connect, handshake, in batches, so that thousands of sessions do not
//! wait for each other's durable createSession. Every way it can go wrong is told apart here, in words.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::failure::Failure;
use crate::wire;
use crate::wire::session::{ConnectAnswer, connect_answer, connect_request, is_connect_response_length};

const CLIENT_PORT_DEFAULT: u16 = 2181;
/// Handshakes under way at once: below Java's default listen backlog of 50.
const HANDSHAKES_AT_ONCE: usize = 32;

pub struct Plan<'a> {
    pub servers: &'a [String],
    pub connections: usize,
    pub depth: usize,
    pub session_timeout_ms: i32,
    pub timeout: Duration,
}

/// Opened sessions and the shortest session timeout the servers granted.
pub struct Sessions {
    pub connections: Vec<Connection>,
    pub timeout_ms: i32,
}

pub fn open(plan: &Plan) -> Result<Sessions, Failure> {
    let servers: Vec<Server> = plan.servers.iter().map(|name| Server::resolve(name)).collect::<Result<_, _>>()?;
    raise_descriptor_limit(plan.connections)?;
    let mut sessions = Sessions { connections: Vec::with_capacity(plan.connections), timeout_ms: i32::MAX };
    while sessions.connections.len() < plan.connections {
        let opened = sessions.connections.len();
        let batch = HANDSHAKES_AT_ONCE.min(plan.connections - opened);
        let mut handshakes = Vec::with_capacity(batch);
        for index in opened..opened + batch {
            let server = &servers[index % servers.len()];
            handshakes.push(Handshake::begin(server, index, plan)?);
        }
        for handshake in handshakes {
            let (connection, timeout_ms) = handshake.finish(plan)?;
            sessions.timeout_ms = sessions.timeout_ms.min(timeout_ms);
            sessions.connections.push(connection);
        }
    }
    Ok(sessions)
}

#[derive(Clone)]
pub struct Server {
    pub name: String,
    pub address: SocketAddr,
}

impl Server {
    pub fn resolve(name: &str) -> Result<Server, Failure> {
        let resolved = name.to_socket_addrs().or_else(|error| {
            let has_port = name.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && !name.ends_with(']'));
            if has_port { Err(error) } else { (name, CLIENT_PORT_DEFAULT).to_socket_addrs() }
        });
        let addresses: Vec<SocketAddr> =
            resolved.map_err(|error| Failure::Usage(format!("--servers {name}: {error}")))?.collect();
        // A name such as localhost may stand for an address of each family; servers often listen on IPv4 only.
        let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
        let address = *address.ok_or_else(|| Failure::Usage(format!("--servers {name}: no address")))?;
        Ok(Server { name: name.to_owned(), address })
    }
}

struct Handshake<'a> {
    socket: TcpStream,
    server: &'a Server,
    index: usize,
}

impl<'a> Handshake<'a> {
    fn begin(server: &'a Server, index: usize, plan: &Plan) -> Result<Handshake<'a>, Failure> {
        let socket = connect(server, index / plan.servers.len(), plan.timeout).map_err(|error| {
            let name = &server.name;
            let what = match error.kind() {
                ErrorKind::ConnectionRefused if index == 0 => "nothing listens there".to_owned(),
                ErrorKind::TimedOut => format!("no answer to the connection attempt within {:?}", plan.timeout),
                // It was accepted and closed before we had looked.
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => return closed(name, index, plan),
                _ => error.to_string(),
            };
            Failure::Unreachable(format!("cannot connect to {name} (connection {}): {what}", index + 1))
        })?;
        if server.address.ip().is_loopback() {
            choose_cheapest_congestion_control(&socket);
        }
        let handshake = Handshake { socket, server, index };
        handshake.socket.set_read_timeout(Some(plan.timeout)).map_err(Failure::system("setting a read timeout"))?;
        let request = connect_request(plan.session_timeout_ms);
        (&handshake.socket).write_all(&request).map_err(|error| handshake.broken(&error, plan))?;
        Ok(handshake)
    }

    fn finish(self, plan: &Plan) -> Result<(Connection, i32), Failure> {
        let mut prefix = [0; wire::LENGTH_PREFIX_BYTES];
        let deadline = Instant::now() + plan.timeout;
        self.read_until(&mut prefix, deadline, plan)?;
        let payload_bytes = i32::from_be_bytes(prefix);
        if !is_connect_response_length(payload_bytes) {
            return Err(self.not_zookeeper(&prefix));
        }
        let mut payload = vec![0; payload_bytes as usize];
        self.read_until(&mut payload, deadline, plan)?;
        match connect_answer(&payload) {
            None => Err(self.not_zookeeper(&payload)),
            Some(ConnectAnswer::Refused) => Err(Failure::Refused(format!(
                "{} refused to open a session (connection {})",
                self.server.name,
                self.index + 1
            ))),
            Some(ConnectAnswer::Session { timeout_ms, .. }) => {
                let connection = Connection::new(self.socket, self.server.name.clone(), plan.depth)
                    .map_err(Failure::system("setting socket options"))?;
                Ok((connection, timeout_ms))
            }
        }
    }

    /// `read_exact` under one deadline, so that a server which dribbles bytes cannot hold us.
    fn read_until(&self, mut buffer: &mut [u8], deadline: Instant, plan: &Plan) -> Result<(), Failure> {
        while !buffer.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(left)).map_err(Failure::system("setting a read timeout"))?;
            match (&self.socket).read(buffer) {
                Ok(0) => return Err(self.broken(&ErrorKind::UnexpectedEof.into(), plan)),
                Ok(bytes) => buffer = &mut buffer[bytes..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(&error, plan)),
            }
        }
        Ok(())
    }

    fn broken(&self, error: &std::io::Error, plan: &Plan) -> Failure {
        let (name, number, of) = (&self.server.name, self.index + 1, plan.connections);
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Failure::NotZooKeeper(format!(
                "{name} accepted connection {number} of {of} but did not answer the ZooKeeper handshake within {:?}",
                plan.timeout
            )),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                closed(name, self.index, plan)
            }
            _ => Failure::Unreachable(format!("handshake with {name} (connection {number} of {of}): {error}")),
        }
    }

    fn not_zookeeper(&self, bytes: &[u8]) -> Failure {
        let shown = bytes[..bytes.len().min(16)].escape_ascii();
        let name = &self.server.name;
        Failure::NotZooKeeper(format!(
            "{name} does not speak the ZooKeeper protocol: its answer begins with \"{shown}\""
        ))
    }
}

fn closed(name: &str, index: usize, plan: &Plan) -> Failure {
    let (number, of) = (index + 1, plan.connections);
    Failure::Refused(format!(
        "{name} closed connection {number} of {of} during the handshake: is it serving, and does it allow that many \
         connections from one address (maxClientCnxns, 60 by default; 0 is no limit)?"
    ))
}

/// Fewer than the ports that Linux gives to the connections of one address by default.
const CONNECTIONS_PER_ADDRESS: usize = 20_000;

/// The `number`-th connection to a server. An address has a little less than 30,000 ports for connections to one server;
/// loopback has more addresses than anyone needs.
fn connect(server: &Server, number: usize, timeout: Duration) -> std::io::Result<TcpStream> {
    let domain = socket2::Domain::for_address(server.address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    if let Some(source) = source_address(&server.address, number) {
        socket.bind(&source.into())?;
    }
    socket.connect_timeout(&server.address.into(), timeout)?;
    Ok(socket.into())
}

pub fn source_address(server: &SocketAddr, number: usize) -> Option<SocketAddr> {
    let block = number / CONNECTIONS_PER_ADDRESS;
    let loopback = server.is_ipv4() && server.ip().is_loopback() && block > 0;
    loopback.then(|| SocketAddr::from(([127, 1, (block >> 8) as u8, (block & 0xff) as u8], 0)))
}

/// Nothing is ever lost or congested on loopback, but the machine's default (BBR, CUBIC) is paid for on every segment:
/// up to a tenth of the generator's CPU at one request in flight. Only our side of the connection is touched.
pub fn choose_cheapest_congestion_control(socket: &impl AsRawFd) {
    const ALGORITHM: &[u8] = b"reno"; // built into every Linux kernel
    // SAFETY: pointer and length describe ALGORITHM. A refusal leaves the default, which is only slower.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            ALGORITHM.as_ptr().cast(),
            ALGORITHM.len() as libc::socklen_t,
        )
    };
}

/// Standard streams, epoll, and what the libraries may hold.
const DESCRIPTORS_SPARE: u64 = 32;

/// Lifts the limit of open files to what the run needs; says so plainly where that is not allowed.
pub fn raise_descriptor_limit(connections: usize) -> Result<(), Failure> {
    let needed = connections as u64 + DESCRIPTORS_SPARE;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place to write to.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 || limit.rlim_cur >= needed {
        return Ok(());
    }
    let hard = limit.rlim_max;
    // Beyond the hard limit only the superuser may go.
    let raised = libc::rlimit { rlim_cur: needed, rlim_max: hard.max(needed) };
    // SAFETY: `raised` is valid for reading.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
        return Ok(());
    }
    Err(Failure::Usage(format!("--connections {connections}: only {hard} open files are allowed (ulimit -Hn)")))
}
