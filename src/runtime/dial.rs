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
async fn connect_to_any(addresses: &[SocketAddr], until: Instant) -> Result<TcpStream, String> {
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    /// A port that leaves whoever connects without an answer: its queue is full. The streams keep it so.
    pub fn unanswering() -> (SocketAddr, socket2::Socket, Vec<TcpStream>) {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
        socket.listen(0).expect("bound");
        let address = socket.local_addr().expect("bound").as_socket().expect("IPv4");
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            waiting.push(stream);
        }
        (address, socket, waiting)
    }

    #[test]
    fn an_address_that_does_not_answer_leaves_time_for_the_next() {
        tokio_uring::start(async {
            let (silent, _listener, _waiting) = unanswering();
            let answering = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let addresses = [silent, answering.local_addr().expect("bound")];
            let stream = connect_to_any(&addresses, Instant::now() + Duration::from_millis(1000)).await;
            assert_eq!(stream.expect("the second answers").peer_addr().expect("connected"), addresses[1]);
        });
    }
}
