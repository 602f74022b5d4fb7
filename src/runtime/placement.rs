//! Which threads there are and where they run. On one or two cores a single thread does everything, one turn after
//! the other: a wake-up of another core costs 40 to 75 µs, a turn in the same thread nothing. With more cores the
//! ensemble thread has one for itself, one is left to the kernel and the background, the rest are workers'.

use std::io;

/// Fewest cores for which threads of their own pay.
const CORES_FOR_THREADS_MIN: usize = 4;

/// What the operator asked for (`cores.*`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// `cores.workers`: number of worker threads; `Some(0)` = one thread for everything; `None` = auto.
    pub workers: Option<u16>,
    /// `cores.pin`: `None` = auto.
    pub pin: Option<bool>,
    /// `cores.list`: the cores to use, in order; empty = all that the process may use.
    pub list: Vec<usize>,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// 0 = one thread is worker and ensemble in one.
    pub worker_threads: u16,
    /// Core of the ensemble thread, then of each worker; empty = not pinned.
    pub cores: Vec<usize>,
    /// For the log: what was chosen and why.
    pub reason: String,
}

impl Placement {
    /// Workers that own connections, at least one.
    pub fn workers(&self) -> u16 {
        self.worker_threads.max(1)
    }

    pub fn core_of_ensemble(&self) -> Option<usize> {
        self.cores.first().copied()
    }

    pub fn core_of_worker(&self, index: u16) -> Option<usize> {
        self.cores.get(usize::from(index) + 1).copied()
    }
}

/// Decides from the wish and the cores this process may use.
pub fn decide(wish: &Wish, available: &[usize]) -> Placement {
    let cores: &[usize] = if wish.list.is_empty() { available } else { &wish.list };
    let count = cores.len().max(1);
    let (worker_threads, why) = match wish.workers {
        Some(asked) => (asked, "asked for by cores.workers".to_owned()),
        None if count < CORES_FOR_THREADS_MIN => {
            (0, format!("{count} core(s): a hand-over between threads costs more"))
        }
        None => ((count - 2).min(usize::from(u16::MAX)) as u16, format!("{count} cores")),
    };
    let threads = usize::from(worker_threads) + 1;
    // A thread pinned where others must run too would only be in their way.
    let pin = wish.pin.unwrap_or(worker_threads > 0 && threads < count);
    let cores = if pin { (0..threads).map(|i| cores[i % count]).collect() } else { Vec::new() };
    let shape = match worker_threads {
        0 => "one thread for everything".to_owned(),
        n => format!("{n} worker thread(s) and the ensemble thread"),
    };
    let pinning = if cores.is_empty() { "not pinned".to_owned() } else { format!("pinned to cores {cores:?}") };
    Placement { worker_threads, cores, reason: format!("{shape} ({why}), {pinning}") }
}

/// The cores this process may use.
pub fn available_cores() -> io::Result<Vec<usize>> {
    // SAFETY: the set is plain memory that the call fills.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((0..libc::CPU_SETSIZE as usize).filter(|core| libc::CPU_ISSET(*core, &set)).collect())
    }
}

/// Ties the calling thread to one core.
pub fn pin_to(core: usize) -> io::Result<()> {
    // SAFETY: as above.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        match libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Makes the calling thread give way to every other (snapshots, preparing log segments, purge).
pub fn yield_to_others() {
    // SAFETY: plain system calls on the calling thread; failing leaves the priority as it was.
    unsafe {
        let parameters: libc::sched_param = std::mem::zeroed();
        libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters);
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_cores_share_one_thread_and_many_get_their_own() {
        let auto = Wish::default();
        assert_eq!(decide(&auto, &[0]).worker_threads, 0);
        let two = decide(&auto, &[0, 1]);
        assert_eq!((two.worker_threads, two.workers(), two.cores.len()), (0, 1, 0));
        let eight = decide(&auto, &[0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(eight.worker_threads, 6);
        assert_eq!(eight.cores, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!((eight.core_of_ensemble(), eight.core_of_worker(0)), (Some(0), Some(1)));
    }

    #[test]
    fn the_operators_wish_wins() {
        let wish = Wish { workers: Some(2), pin: Some(true), list: vec![3] };
        let placement = decide(&wish, &[0, 1, 2, 3]);
        assert_eq!(placement.worker_threads, 2);
        assert_eq!(placement.cores, [3, 3, 3]);
    }
}
