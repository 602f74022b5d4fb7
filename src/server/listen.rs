//! Client ports.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// Connections waiting to be accepted when `clientPortListenBacklog` says nothing; Java leaves it at 50, which a
/// reconnect storm overflows.
const BACKLOG_DEFAULT: i32 = 1024;

/// How long a port in use is waited for, milliseconds: after a kill the kernel takes a moment to cancel what the process had
/// on its rings, and only then closes its sockets. Whoever is started again at once must not fail on that.
const IN_USE_WAIT_MS_MAX: u64 = 2000;
const IN_USE_RETRY_MS: u64 = 20;

/// As `bind`, once nobody else has the port.
pub fn bind_when_free(address: SocketAddr, backlog: Option<i32>, shared: bool) -> io::Result<TcpListener> {
    let mut waited_ms = 0;
    loop {
        match bind(address, backlog, shared) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && waited_ms < IN_USE_WAIT_MS_MAX => {
                std::thread::sleep(Duration::from_millis(IN_USE_RETRY_MS));
                waited_ms += IN_USE_RETRY_MS;
            }
            outcome => return outcome,
        }
    }
}

/// Listens on `address`; with `shared`, several workers may listen on it and the kernel spreads the connections.
fn bind(address: SocketAddr, backlog: Option<i32>, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        // One socket for both families, as Java's.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog.unwrap_or(BACKLOG_DEFAULT))?;
    Ok(socket.into())
}
