//! Client ports.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Connections waiting to be accepted when `clientPortListenBacklog` says nothing; Java leaves it at 50, which a
/// reconnect storm overflows.
const BACKLOG_DEFAULT: i32 = 1024;

/// How to listen.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListenOptions {
    /// `clientPortListenBacklog`
    pub backlog: Option<i32>,
    /// Several workers listen on the same address, and the kernel spreads the connections.
    pub shared: bool,
    /// `clientTcpKeepAlive`
    pub keep_alive: bool,
}

/// Listens on `address`. Accepted sockets inherit what is set here.
pub fn bind(address: SocketAddr, options: ListenOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if options.shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_keepalive(options.keep_alive)?;
    // Replies are whole frames; waiting for more would only delay them.
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() {
        // One socket for both families, as Java's.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(options.backlog.unwrap_or(BACKLOG_DEFAULT))?;
    Ok(socket.into())
}
