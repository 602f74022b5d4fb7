//! Threads for work that may take long: snapshots and purge give way to everybody else; log segments made ready do not,
//! since writes wait when they come too late.

use super::placement::yield_to_others;
use crossbeam::channel::{Sender, unbounded};
use std::io;

type Job = Box<dyn FnOnce() + Send>;

/// Hands jobs to the background thread, which runs them one after the other.
#[derive(Clone)]
pub struct Jobs {
    sender: Sender<Job>,
}

impl Jobs {
    /// Starts a thread called `name`; a `humble` one gives way to everybody else.
    pub fn start(name: &str, humble: bool) -> io::Result<Jobs> {
        let (sender, receiver) = unbounded::<Job>();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if humble {
                yield_to_others();
            }
            for job in receiver {
                job();
            }
        })?;
        Ok(Jobs { sender })
    }

    pub fn run(&self, job: Job) {
        // The thread ends only with the process.
        let _ = self.sender.send(job);
    }
}
