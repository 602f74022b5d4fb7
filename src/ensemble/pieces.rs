//! What a background job brings forth for one learner, handed over piece by piece while the ensemble thread goes on. The job waits
//! when the pieces are taken slowly, so that they never lie in memory all at once; it ends when nobody wants them any more.

use crate::storage::Background;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// Called whenever there is something to take.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Where jobs for learners run.
#[derive(Clone)]
pub struct FeedWriter {
    /// Runs each job on a thread of its own, since one may wait for its learner.
    pub background: Background,
    /// Pieces that wait for the learner at most; unbounded where jobs run on the caller's thread.
    pub pieces_max: usize,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    room: Condvar,
}

struct State<T> {
    pieces: VecDeque<T>,
    /// Set behind the last piece; an error when there will be none.
    ended: Option<Result<(), String>>,
    /// Nobody takes them any longer.
    abandoned: bool,
}

/// Takes the pieces. Dropping it ends the job.
pub(super) struct Pieces<T>(Arc<Shared<T>>);

/// The job's end.
pub(super) struct PieceSender<T> {
    shared: Arc<Shared<T>>,
    pieces_max: usize,
    wake: Wake,
    /// What its end says: an error until the job is done, since it may not even begin.
    ended: Result<(), String>,
}

impl<T: Send + 'static> Pieces<T> {
    /// Begins a job that sends pieces.
    pub fn of(
        job: impl FnOnce(&mut PieceSender<T>) -> Result<(), String> + Send + 'static,
        writer: &FeedWriter,
        wake: Wake,
    ) -> Pieces<T> {
        let state = Mutex::new(State { pieces: VecDeque::new(), ended: None, abandoned: false });
        let shared = Arc::new(Shared { state, room: Condvar::new() });
        let mut sender = PieceSender {
            shared: shared.clone(),
            pieces_max: writer.pieces_max,
            wake,
            ended: Err("there is no thread to bring forth what it is to be sent".to_owned()),
        };
        (writer.background)(Box::new(move || {
            let ended = job(&mut sender);
            sender.end(ended);
        }));
        Pieces(shared)
    }

    /// The next piece that is there.
    pub fn take(&mut self) -> Option<T> {
        let piece = self.0.state.lock().pieces.pop_front()?;
        self.0.room.notify_one();
        Some(piece)
    }

    /// Whether all has been taken; an error says why there will not be more.
    pub fn is_over(&self) -> Result<bool, String> {
        let state = self.0.state.lock();
        match &state.ended {
            None => Ok(false),
            Some(Ok(())) => Ok(state.pieces.is_empty()),
            Some(Err(why)) => Err(why.clone()),
        }
    }
}

impl<T> Drop for Pieces<T> {
    fn drop(&mut self) {
        self.0.state.lock().abandoned = true;
        self.0.room.notify_one();
    }
}

impl<T> Drop for PieceSender<T> {
    fn drop(&mut self) {
        self.shared.state.lock().ended = Some(std::mem::replace(&mut self.ended, Ok(())));
        (self.wake)();
    }
}

impl<T> PieceSender<T> {
    fn end(mut self, ended: Result<(), String>) {
        self.ended = ended;
    }

    /// Waits until there is room.
    pub fn send(&mut self, piece: T) -> io::Result<()> {
        let mut state = self.shared.state.lock();
        while state.pieces.len() >= self.pieces_max && !state.abandoned {
            self.shared.room.wait(&mut state);
        }
        if state.abandoned {
            return Err(io::Error::other("the learner is gone"));
        }
        state.pieces.push_back(piece);
        drop(state);
        (self.wake)();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn threads(pieces_max: usize) -> FeedWriter {
        FeedWriter { background: Arc::new(|job| drop(std::thread::spawn(job))), pieces_max }
    }

    fn no_wake() -> Wake {
        Arc::new(|| ())
    }

    #[test]
    fn pieces_come_in_order_and_no_more_of_them_wait_than_allowed() {
        let sent = Arc::new(AtomicUsize::new(0));
        let counter = sent.clone();
        let job = move |sender: &mut PieceSender<usize>| {
            (0..100).try_for_each(|n| {
                sender.send(n).map_err(|error| error.to_string())?;
                counter.store(n + 1, Ordering::SeqCst);
                Ok(())
            })
        };
        let mut pieces = Pieces::of(job, &threads(3), no_wake());
        let mut taken = 0;
        while !pieces.is_over().unwrap() {
            let waiting = sent.load(Ordering::SeqCst).saturating_sub(taken);
            assert!(waiting <= 3, "{waiting} wait");
            if let Some(piece) = pieces.take() {
                assert_eq!(piece, taken);
                taken += 1;
            }
            std::thread::yield_now();
        }
        assert_eq!(taken, 100);
    }

    #[test]
    fn a_job_ends_when_nobody_takes_its_pieces_any_more() {
        let (told, ended) = std::sync::mpsc::channel();
        let job = move |sender: &mut PieceSender<u8>| {
            while sender.send(0).is_ok() {}
            told.send(()).map_err(|error| error.to_string())
        };
        let mut pieces = Pieces::of(job, &threads(1), no_wake());
        while pieces.take().is_none() {}
        drop(pieces);
        ended.recv().unwrap();
    }

    #[test]
    fn a_job_that_never_begins_is_an_end_too() {
        let writer = FeedWriter { background: Arc::new(drop), pieces_max: 1 };
        let pieces = Pieces::of(|_: &mut PieceSender<u8>| Ok(()), &writer, no_wake());
        assert!(pieces.is_over().is_err());
    }
}
