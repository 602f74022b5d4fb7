//! A relay between a client and the server whose connections can be cut on demand.
//!
//! That is how every client, whatever its language, is made to attach its session again: its own reconnect code
//! does it, with the id and password it was given.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub struct Proxy {
    address: SocketAddr,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    pub fn before(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("no free port on loopback");
        let address = listener.local_addr().expect("a bound listener has an address");
        let streams = Arc::new(Mutex::new(Vec::new()));
        let relayed = Arc::clone(&streams);
        thread::spawn(move || {
            for client in listener.incoming() {
                // A server that is down looks like a closed connection.
                if let Err(e) = client.and_then(|client| relay(client, server, &relayed)) {
                    eprintln!("proxy: {e}");
                }
            }
        });
        Proxy { address, streams }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections at once; new ones are welcome.
    pub fn cut(&self) -> usize {
        let mut streams = self.streams.lock().expect("no thread dies holding the lock");
        let alive = streams.iter().filter(|stream| stream.shutdown(Shutdown::Both).is_ok()).count();
        streams.clear();
        alive
    }
}

fn relay(client: TcpStream, server: SocketAddr, streams: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    let upstream = TcpStream::connect(server)?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let mut streams = streams.lock().expect("no thread dies holding the lock");
    for (from, to) in [(&client, &upstream), (&upstream, &client)] {
        streams.push(from.try_clone()?);
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || pump(from, to));
    }
    Ok(())
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // Both directions end together, as a broken wire would end them.
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
