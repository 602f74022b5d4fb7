//! The client port: at the start, and when a configuration puts it somewhere else.

use crate::{EXIT_CODE_BAD_CONFIG, EXIT_CODE_UNEXPECTED, give_up, or_give_up};
use ringkeeper::config::Settings;
use ringkeeper::ensemble::MoveClientPort;
use ringkeeper::runtime::client_port::{PortChange, PortSlot};
use ringkeeper::runtime::lanes::Doorbell;
use ringkeeper::runtime::placement::Placement;
use ringkeeper::server::{self, ListenOptions};
use ringkeeper::types::ClientAddress;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, OnceLock};

/// How many workers listen, and how.
#[derive(Clone, Copy)]
pub struct ClientPort {
    workers: u16,
    options: ListenOptions,
}

impl ClientPort {
    pub fn new(settings: &Settings, placement: &Placement) -> ClientPort {
        let backlog = u32::try_from(settings.client_port_listen_backlog).ok().map(|backlog| backlog as i32);
        let workers = placement.workers();
        let keep_alive = settings.client_tcp_keep_alive;
        ClientPort { workers, options: ListenOptions { backlog, shared: workers > 1, keep_alive } }
    }

    /// One listener per worker; none without a client port.
    pub fn open(self, settings: &Settings) -> Vec<TcpListener> {
        let Some(port) = settings.client_port else {
            tracing::warn!("no clientPort: nobody can connect");
            return Vec::new();
        };
        let client = ClientAddress { host: settings.client_host.clone(), port };
        let address = resolve(&client).unwrap_or_else(|| {
            let host = client.host.as_deref().unwrap_or_default();
            give_up(EXIT_CODE_BAD_CONFIG, &format!("clientPortAddress {host} is no address"))
        });
        or_give_up(EXIT_CODE_UNEXPECTED, &format!("cannot listen on {address}"), self.bind_all(&client, address))
    }

    fn bind_all(self, client: &ClientAddress, address: SocketAddr) -> io::Result<Vec<TcpListener>> {
        let bound = |index| {
            let is_first = index == 0;
            // A machine without IPv6 still has the other family.
            self.bind(address, is_first).or_else(|error| match client.host {
                None if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                    self.bind(SocketAddr::from(([0, 0, 0, 0], client.port)), is_first)
                }
                _ => Err(error),
            })
        };
        (0..self.workers).map(bound).collect()
    }

    fn bind(self, address: SocketAddr, is_first: bool) -> io::Result<TcpListener> {
        if self.options.shared && is_first {
            // Sockets that share a port would share it with another server's too; one on its own is refused then.
            drop(server::bind(address, ListenOptions { shared: false, ..self.options })?);
        }
        server::bind(address, self.options)
    }

    /// Closed where it is, opened where it is to be, as Java does: the two may overlap.
    fn move_to(self, client: &ClientAddress, workers: &[(PortSlot, Doorbell)]) {
        workers.iter().for_each(|(slot, doorbell)| slot.put(PortChange::Close, doorbell));
        let Some(address) = resolve(client) else {
            return tracing::error!("the client port is closed: {client} is no address");
        };
        match self.bind_all(client, address) {
            Ok(listeners) => {
                for ((slot, doorbell), listener) in workers.iter().zip(listeners) {
                    slot.put(PortChange::Listen(listener), doorbell);
                }
                tracing::info!("the client port is {client} from now on");
            }
            Err(error) => tracing::error!("the client port is closed: cannot listen on {client}: {error}"),
        }
    }
}

fn resolve(client: &ClientAddress) -> Option<SocketAddr> {
    match &client.host {
        Some(host) => (host.trim_matches(['[', ']']), client.port).to_socket_addrs().ok()?.next(),
        None => Some(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 0], client.port))),
    }
}

/// Moves the port of workers that are named later.
#[derive(Clone, Default)]
pub struct Mover {
    workers: Arc<OnceLock<Vec<(PortSlot, Doorbell)>>>,
}

impl Mover {
    pub fn name_workers(&self, workers: Vec<(PortSlot, Doorbell)>) {
        let _ = self.workers.set(workers);
    }

    /// A port may have to be waited for: a thread of its own does that.
    pub fn moves(&self, port: ClientPort) -> MoveClientPort {
        let workers = self.workers.clone();
        MoveClientPort(Arc::new(move |client| {
            let workers = workers.clone();
            let moved = std::thread::Builder::new().name("client-port".to_owned()).spawn(move || {
                port.move_to(&client, workers.get().map_or(&[], Vec::as_slice));
            });
            if let Err(error) = moved {
                tracing::error!("the client port stays where it is: {error}");
            }
        }))
    }
}
