//! Signals: those that end the server are waited for by one thread; a bus error says what it means before it kills.

use std::io;

/// Tells the kernel that no thread started from here on is interrupted by SIGTERM or SIGINT.
pub fn block_termination() -> io::Result<()> {
    // SAFETY: the set is plain memory; the call changes this thread's mask only.
    unsafe {
        let set = termination();
        match libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// Waits until somebody asks the process to end; says by which signal.
pub fn wait_for_termination() -> io::Result<&'static str> {
    let mut signal = 0;
    // SAFETY: as above; `signal` is written by the call.
    let error = unsafe {
        let set = termination();
        libc::sigwait(&raw const set, &raw mut signal)
    };
    match (error, signal) {
        (0, libc::SIGINT) => Ok("SIGINT"),
        (0, _) => Ok("SIGTERM"),
        (error, _) => Err(io::Error::from_raw_os_error(error)),
    }
}

fn termination() -> libc::sigset_t {
    // SAFETY: an empty set is built in place.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        set
    }
}

/// A mapped log page that the disk cannot give or take raises SIGBUS. Nothing can be acknowledged after that.
pub fn explain_bus_errors() {
    // SAFETY: the handler calls only what a handler may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = bus_error as *const () as usize;
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
    }
}

extern "C" fn bus_error(_: libc::c_int) {
    const TEXT: &[u8] = b"bus error: a page of the transaction log could not be read or written (disk failed, or the file \
        was cut by somebody else). The server stops; what was acknowledged is on the disk. Check the disk, start again.\n";
    // SAFETY: write and _exit are async-signal-safe.
    unsafe {
        libc::write(2, TEXT.as_ptr().cast(), TEXT.len());
        libc::_exit(1);
    }
}
