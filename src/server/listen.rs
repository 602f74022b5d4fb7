//! Client ports.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Connections waiting to be accepted when `clientPortListenBacklog` says nothing; Java leaves it at 50, which a
/// reconnect storm overflows.
const BACKLOG_DEFAULT: i32 = 1024;

/// Listens on `address`; with `shared`, several workers may listen on it and the kernel spreads the connections.
pub fn bind(address: SocketAddr, backlog: Option<i32>, shared: bool) -> io::Result<TcpListener> {
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
