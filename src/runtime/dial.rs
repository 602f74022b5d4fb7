//! Ways to another server: names to addresses, and the first address that answers.
//!
//! Connections are made on readiness and not on the ring: a dial that is given up must end at once, and the ring
//! would go on trying for as long as the kernel does. Once connected, the stream belongs to the ring.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// Connects within `limit`, or says why not.
pub(super) async fn dial(host: String, port: u16, limit: Duration) -> Result<TcpStream, String> {
    let until = Instant::now() + limit;
    let addresses = timeout_at(until, resolve(&host, port))
        .await
        .unwrap_or_else(|_| Err(format!("looking up {host} took longer than {} ms", limit.as_millis())))?;
    connect_to_any(&addresses, until).await
}

/// The host's addresses. A name is looked up on a thread of the runtime's pool; an address needs none.
pub(super) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = tokio::net::lookup_host((host, port)).await;
    let addresses: Vec<SocketAddr> = found.map_err(|error| format!("cannot look up {host}: {error}"))?.collect();
    if addresses.is_empty() {
        return Err(format!("{host} has no address"));
    }
    Ok(addresses)
}

/// Tries one address after the other. Each has an equal share of the time that is left, so that one that does not answer
/// leaves some for the others.
pub(super) async fn connect_to_any(addresses: &[SocketAddr], until: Instant) -> Result<TcpStream, String> {
    let mut failures = Vec::new();
    for (tried, address) in addresses.iter().enumerate() {
        let share = until.saturating_duration_since(Instant::now()) / (addresses.len() - tried) as u32;
        match timeout(share, connect(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failures.push(format!("{address}: {error}")),
            Err(_) => failures.push(format!("{address}: no answer within {} ms", share.as_millis())),
        }
    }
    Err(failures.join("; "))
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    // Nobody listens there, and the kernel has given that very port to this end: TCP lets a socket meet itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(std::io::ErrorKind::ConnectionRefused.into());
    }
    for_the_ring(stream)
}

/// The ring waits by itself for a stream that blocks, and hands errors back for one that does not.
pub(super) fn for_the_ring(stream: tokio::net::TcpStream) -> std::io::Result<TcpStream> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}
