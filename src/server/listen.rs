//! Client ports.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// Connections waiting to be accepted when `clientPortListenBacklog` says nothing; Java leaves it at 50, which a
/// reconnect storm overflows.
const BACKLOG_DEFAULT: i32 = 1024;

/// A server that was killed can be gone for some milliseconds before the kernel has taken its rings apart, and with
/// them its sockets; whoever starts the next one must not find the port taken.
const PORT_TRIES_MAX: u32 = 40;
const PORT_TRY_PAUSE: Duration = Duration::from_millis(50);

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

/// Listens on `address`, and waits a little for a port that somebody else still has.
pub fn bind(address: SocketAddr, options: ListenOptions) -> io::Result<TcpListener> {
    for _ in 1..PORT_TRIES_MAX {
        match bind_now(address, options) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => std::thread::sleep(PORT_TRY_PAUSE),
            result => return result,
        }
    }
    bind_now(address, options)
}

/// Accepted sockets inherit what is set here.
fn bind_now(address: SocketAddr, options: ListenOptions) -> io::Result<TcpListener> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_becomes_free_is_waited_for() {
        let before = bind(SocketAddr::from(([127, 0, 0, 1], 0)), ListenOptions::default()).expect("a free port");
        let address = before.local_addr().expect("bound");
        assert_eq!(
            bind_now(address, ListenOptions::default()).map(drop).map_err(|e| e.kind()),
            Err(io::ErrorKind::AddrInUse)
        );
        let predecessor = std::thread::spawn(move || {
            std::thread::sleep(3 * PORT_TRY_PAUSE);
            drop(before);
        });
        bind(address, ListenOptions::default()).expect("the port is free by now");
        predecessor.join().expect("no panic");
    }
}
