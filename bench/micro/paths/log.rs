//! Records into the mapped log, and all of a flush but the flush itself: nobody waits for the disk here.

use super::{Step, codec};
use ringkeeper::io::real_disk::RealDisk;
use ringkeeper::storage::{LogOptions, TxnLog};
use ringkeeper::types::Zxid;
use std::path::PathBuf;
use std::sync::Arc;

pub fn append_1() -> Step {
    appending(1)
}

pub fn append_16() -> Step {
    appending(16)
}

/// A directory that goes with the step.
struct Scratch(PathBuf);

impl Scratch {
    fn new(records: usize) -> Scratch {
        let path = std::env::temp_dir().join(format!("ringkeeper-hot-paths-{}-{records}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory below that for temporary files");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is in a directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn appending(records: usize) -> Step {
    let scratch = Scratch::new(records);
    // Segments are made ready as in the server, on another thread.
    let background = Arc::new(|job: Box<dyn FnOnce() + Send>| drop(std::thread::spawn(job)));
    let disk = RealDisk::shared();
    let log = TxnLog::open(&disk, &scratch.0, None, LogOptions::default(), background).expect("an empty directory");
    let mut log = Some(log);
    let mut zxid = 0;
    let mut entry = Vec::new();
    codec::set_entry(1, 1, &mut entry);
    let mut step = move || {
        let _alive = &scratch;
        let log = log.as_mut().expect("until the end");
        for _ in 0..records {
            zxid += 1;
            log.append(Zxid(zxid), &entry).expect("room for a record");
        }
        let ticket = log.start_flush().expect("a mapped file takes bytes").expect("something is staged");
        log.flush_done(ticket);
    };
    // The first one creates the file.
    step();
    Box::new(step)
}
