//! A network of its own for every server, and a switch between them in this process: it delays, loses and cuts as it is told.
//!
//! Each place is a network namespace with one TUN device; what its processes send comes out of the device here, and goes into
//! the device of the place that it is meant for. So every direction between two places has its own weather, whatever the kernel
//! has been built with (`tc netem` is often left out). Packets of one direction do not overtake each other.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const IFF_TUN: libc::c_short = 1;
/// Packets without a header of the device's own.
const IFF_NO_PI: libc::c_short = 0x1000;
const DEVICE: &str = "rk0";
const PACKET_BYTES_MAX: usize = 2048;
/// Where clients live.
pub const CLIENTS: usize = 0;

/// What happens on the way from one place to another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weather {
    pub is_cut: bool,
    pub delay: Duration,
    /// Up to so much is added.
    pub jitter: Duration,
    /// One packet in so many is lost; 0: none.
    pub lost_one_in: u32,
}

pub struct Network {
    namespaces: Vec<Arc<File>>,
    weather: Arc<Mutex<Vec<Vec<Weather>>>>,
    over: Arc<AtomicBool>,
    switch: Option<JoinHandle<u64>>,
}

impl Network {
    /// Places 0 to `places` - 1. The caller's network namespace is its own, and becomes place 0.
    pub fn new(places: usize, seed: u64) -> io::Result<Network> {
        let mut devices = vec![device(host(CLIENTS))?];
        let mut namespaces = vec![namespace()?];
        for place in 1..places {
            let made = std::thread::spawn(move || -> io::Result<(File, Arc<File>)> {
                // SAFETY: a plain system call; the namespace is this thread's alone.
                if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok((device(host(place))?, namespace()?))
            });
            let (device, namespace) = made.join().expect("no panic")?;
            devices.push(device);
            namespaces.push(namespace);
        }
        let weather = Arc::new(Mutex::new(vec![vec![Weather::default(); places]; places]));
        let over = Arc::<AtomicBool>::default();
        let switch = Switch {
            devices,
            weather: weather.clone(),
            over: over.clone(),
            random: SmallRng::seed_from_u64(seed),
            under_way: BinaryHeap::new(),
            last_due: vec![vec![Instant::now(); places]; places],
            sequence: 0,
        };
        Ok(Network { namespaces, weather, over, switch: Some(std::thread::spawn(move || switch.run())) })
    }

    pub fn namespace(&self, place: usize) -> Arc<File> {
        self.namespaces[place].clone()
    }

    /// Changes the weather on every way for which it is asked; `is_concerned` gets from and to.
    pub fn change(&self, is_concerned: impl Fn(usize, usize) -> bool, weather: Weather) {
        let mut ways = self.weather.lock().expect("no panic");
        for (from, row) in ways.iter_mut().enumerate() {
            for (to, way) in row.iter_mut().enumerate() {
                if is_concerned(from, to) {
                    *way = weather;
                }
            }
        }
    }

    pub fn heal(&self) {
        self.change(|_, _| true, Weather::default());
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(switch) = self.switch.take() {
            let _ = switch.join();
        }
    }
}

pub fn host(place: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, place as u8 + 1)
}

/// The calling thread's.
fn namespace() -> io::Result<Arc<File>> {
    File::open("/proc/thread-self/ns/net").map(Arc::new)
}

/// A device in the calling thread's namespace, with this address.
fn device(host: Ipv4Addr) -> io::Result<File> {
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        flags: libc::c_short,
        rest: [u8; 22],
    }
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags: IFF_TUN | IFF_NO_PI, rest: [0; 22] };
    request.name[..DEVICE.len()].copy_from_slice(DEVICE.as_bytes());
    // SAFETY: the request is a whole `struct ifreq` and outlives the call; the descriptor is ours.
    let made = unsafe {
        libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, &raw mut request)
            | libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK)
    };
    if made != 0 {
        return Err(io::Error::last_os_error());
    }
    let address = format!("{host}/24");
    for arguments in
        [&["addr", "add", &address, "dev", DEVICE][..], &["link", "set", DEVICE, "up"], &["link", "set", "lo", "up"]]
    {
        let done = Command::new("ip").args(arguments).output()?;
        if !done.status.success() {
            return Err(io::Error::other(format!("ip {arguments:?}: {}", String::from_utf8_lossy(&done.stderr))));
        }
    }
    Ok(file)
}

/// Due, sequence, to, packet.
type UnderWay = Reverse<(Instant, u64, usize, Vec<u8>)>;

struct Switch {
    devices: Vec<File>,
    weather: Arc<Mutex<Vec<Vec<Weather>>>>,
    over: Arc<AtomicBool>,
    random: SmallRng,
    under_way: BinaryHeap<UnderWay>,
    last_due: Vec<Vec<Instant>>,
    sequence: u64,
}

impl Switch {
    /// How many packets it has delivered.
    fn run(mut self) -> u64 {
        let mut delivered = 0;
        let mut packet = vec![0; PACKET_BYTES_MAX];
        while !self.over.load(Ordering::Relaxed) {
            self.wait();
            for from in 0..self.devices.len() {
                while let Ok(bytes) = self.devices[from].read(&mut packet) {
                    self.take(from, &packet[..bytes]);
                }
            }
            let now = Instant::now();
            while self.under_way.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
                let Reverse((_, _, to, packet)) = self.under_way.pop().expect("just seen");
                // A device that is full loses what comes, as networks do.
                delivered += u64::from(self.devices[to].write(&packet).is_ok());
            }
        }
        delivered
    }

    /// Until somebody sends, or something is due; now and then in any case.
    fn wait(&self) {
        let mut polled: Vec<libc::pollfd> = self
            .devices
            .iter()
            .map(|device| libc::pollfd { fd: device.as_raw_fd(), events: libc::POLLIN, revents: 0 })
            .collect();
        let longest = Duration::from_millis(50);
        let due = self.under_way.peek().map(|Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
        let wait = due.map_or(longest, |due| due.min(longest));
        let wait = libc::timespec { tv_sec: 0, tv_nsec: wait.as_nanos() as libc::c_long };
        // SAFETY: the array and the time outlive the call; the descriptors are ours.
        unsafe { libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, &raw const wait, std::ptr::null()) };
    }

    fn take(&mut self, from: usize, packet: &[u8]) {
        // IPv4 alone, to one of our places.
        let Some(&[10, 77, 0, last]) = packet.get(16..20).filter(|_| packet[0] >> 4 == 4) else { return };
        let Some(to) = (last as usize).checked_sub(1).filter(|to| *to < self.devices.len()) else { return };
        let Weather { is_cut, delay, jitter, lost_one_in } = self.weather.lock().expect("no panic")[from][to];
        if is_cut || (lost_one_in > 0 && self.random.random_range(0..lost_one_in) == 0) {
            return;
        }
        let jitter = jitter.mul_f64(self.random.random());
        let due = (Instant::now() + delay + jitter).max(self.last_due[from][to]);
        self.last_due[from][to] = due;
        self.sequence += 1;
        self.under_way.push(Reverse((due, self.sequence, to, packet.to_vec())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespaces::with_namespaces;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    fn listener(network: &Network, place: usize) -> TcpListener {
        let namespace = network.namespace(place);
        let listening = std::thread::spawn(move || {
            // SAFETY: a plain system call on a descriptor of ours; it concerns this thread alone.
            assert_eq!(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
            TcpListener::bind((host(place), 7000)).expect("nobody else is there")
        });
        listening.join().expect("no panic")
    }

    #[test]
    fn the_weather_is_as_told() {
        with_namespaces("faults::network::tests::the_weather_is_as_told", libc::CLONE_NEWNET, || {
            let network = Network::new(2, 7)?;
            let _listener = listener(&network, 1);
            let connect =
                || TcpStream::connect_timeout(&SocketAddr::from((host(1), 7000)), Duration::from_millis(700)).map(drop);
            connect().expect("fair weather");
            let cut = Weather { is_cut: true, ..Weather::default() };
            for (from, to) in [(CLIENTS, 1), (1, CLIENTS)] {
                network.change(|a, b| (a, b) == (from, to), cut);
                assert!(connect().is_err(), "from {from} to {to} nothing comes through");
                network.heal();
                connect().expect("fair weather again");
            }
            network.change(|_, _| true, Weather { delay: Duration::from_millis(60), ..Weather::default() });
            let began = Instant::now();
            connect().expect("slow");
            assert!(began.elapsed() >= Duration::from_millis(120), "there and back in {:?}", began.elapsed());
            network.change(|_, _| true, Weather { lost_one_in: 1, ..Weather::default() });
            assert!(connect().is_err(), "every packet is lost");
            Ok(())
        });
    }
}
