//! A thin, safe wrapper around epoll: level-triggered, one `u64` token per socket, nanosecond timeouts.
//! It owns the epoll descriptor only; the sockets stay their owners', who must outlive their registration.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Enough to take every ready connection of a usual run in one call.
const EVENTS_PER_WAIT_MAX: usize = 1024;

pub struct Poller {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
    ready: usize,
}

/// One ready socket.
#[derive(Clone, Copy)]
pub struct Ready {
    pub token: u64,
    /// Data, end of stream or an error is waiting: reading will tell which. Otherwise there is room to write.
    pub readable: bool,
}

impl Poller {
    pub fn new() -> io::Result<Poller> {
        // SAFETY: no pointers; the returned descriptor is ours alone once checked.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh, valid descriptor that nobody else owns.
        let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
        let empty = libc::epoll_event { events: 0, u64: 0 };
        Ok(Poller { epoll, events: vec![empty; EVENTS_PER_WAIT_MAX], ready: 0 })
    }

    pub fn add(&self, socket: &impl AsRawFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket.as_raw_fd(), token, false)
    }

    /// Asks to be told, or no longer told, when the socket takes bytes again.
    pub fn watch_writable(&self, socket: &impl AsRawFd, token: u64, writable: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, socket.as_raw_fd(), token, writable)
    }

    pub fn remove(&self, socket: &impl AsRawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, socket.as_raw_fd(), 0, false)
    }

    fn control(&self, operation: i32, socket: RawFd, token: u64, writable: bool) -> io::Result<()> {
        let write_interest = if writable { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | write_interest) as u32, u64: token };
        // SAFETY: `event` lives through the call; the kernel checks the descriptors.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, socket, &mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits at most `timeout_ns` and returns how many sockets are ready. A signal counts as none ready.
    pub fn wait(&mut self, timeout_ns: u64) -> io::Result<usize> {
        let timeout = libc::timespec {
            tv_sec: (timeout_ns / 1_000_000_000) as libc::time_t,
            tv_nsec: (timeout_ns % 1_000_000_000) as libc::c_long,
        };
        // SAFETY: the events buffer holds EVENTS_PER_WAIT_MAX entries and, with the timeout, outlives the call;
        // a null signal mask changes no mask.
        let ready = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_PER_WAIT_MAX as libc::c_int,
                &timeout as *const libc::timespec,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        self.ready = 0;
        if ready < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(0) } else { Err(error) };
        }
        self.ready = ready as usize;
        Ok(self.ready)
    }

    /// The `index`-th socket of the last wait. By index, so that the caller may change registrations meanwhile.
    pub fn ready(&self, index: usize) -> Ready {
        let event = self.events[..self.ready][index];
        let flags = event.events as i32;
        Ready { token: event.u64, readable: flags & (libc::EPOLLIN | libc::EPOLLERR | libc::EPOLLHUP) != 0 }
    }
}
