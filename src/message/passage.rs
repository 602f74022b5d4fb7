//! When the transactions of a batch passed the ensemble thread's stages: what their answers carry back, so that the worker
//! can say how long each request took and where.

use crate::types::{Instant, Stage, Zxid};

/// The same for all transactions behind the passage before, up to `through`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    pub through: Zxid,
    /// The ensemble thread took the requests off the lane.
    pub taken: Instant,
    /// Their answers were put on the lane.
    pub released: Instant,
    /// Microseconds by stage; 0 where they did not pass it, or it was not on their way.
    spent: [u32; Stage::COUNT],
}

impl Passage {
    pub fn new(through: Zxid, taken: Instant) -> Passage {
        Passage { through, taken, released: taken, spent: [0; Stage::COUNT] }
    }

    /// But for where it ends.
    pub fn is_same_way(&self, other: &Passage) -> bool {
        Passage { through: other.through, ..*self } == *other
    }

    /// It went to a leader and came back.
    pub fn is_learners(&self) -> bool {
        self.spent(Stage::Forward) > 0 || self.spent(Stage::Commit) > 0
    }

    pub fn spend(&mut self, stage: Stage, from: Instant, to: Instant) {
        self.spent[stage.index()] = u32::try_from(to.micros_since(from)).unwrap_or(u32::MAX);
    }

    pub fn spent(&self, stage: Stage) -> u64 {
        u64::from(self.spent[stage.index()])
    }
}
