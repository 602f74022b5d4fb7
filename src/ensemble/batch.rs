//! What the transactions between two flushes mean to the workers: effects for everybody's watches, replies for whom
//! they concern. Nothing of it is said before the flush that covers it.

use crate::message::lane::{ConnRef, Cuts, Deliver, Reply};
use crate::message::{Effect, Passage};
use crate::runtime::lanes::EnsembleLanes;
use crate::tree::VersionNumber;
use crate::types::{WorkerIndex, Zxid};
use std::sync::Arc;

/// Room for so many effects or replies at most is taken in advance.
const EXPECTED_MAX: usize = 1024;

/// A batch that grows.
pub(super) struct Batch {
    pub effects: Vec<Effect>,
    replies: Vec<Vec<Reply>>,
    /// zxid of the last transaction in it; `None` if it holds answers only.
    pub last_zxid: Option<Zxid>,
}

/// A batch whose version is sealed and whose transactions wait for the disk.
pub(super) struct SealedBatch {
    pub version: VersionNumber,
    /// End of that version.
    version_ends: Zxid,
    cuts: Option<Cuts>,
    batch: Batch,
}

impl Batch {
    pub fn new(workers: usize) -> Batch {
        Batch { effects: Vec::new(), replies: (0..workers).map(|_| Vec::new()).collect(), last_zxid: None }
    }

    /// The next one, which will hold about as much.
    pub fn next(&self) -> Batch {
        fn room<T>(now: &[T]) -> Vec<T> {
            Vec::with_capacity(now.len().min(EXPECTED_MAX))
        }
        Batch {
            effects: room(&self.effects),
            replies: self.replies.iter().map(|replies| room(replies)).collect(),
            last_zxid: None,
        }
    }

    pub fn reply(&mut self, worker: WorkerIndex, reply: Reply) {
        self.replies[usize::from(worker.0)].push(reply);
    }

    pub fn close(&mut self, conn: ConnRef) {
        self.reply(conn.worker, Reply::Close { conn: conn.conn });
    }

    pub fn is_empty(&self) -> bool {
        self.last_zxid.is_none() && self.replies.iter().all(Vec::is_empty)
    }

    /// It is never said as it is. What is left is what it meant to watchers; whom it closes is closed all the same, by `instead`.
    pub fn give_up(self, instead: &mut Batch) -> Vec<Effect> {
        for (worker, replies) in (0..).map(WorkerIndex).zip(self.replies) {
            let closes = replies.into_iter().filter(|reply| matches!(reply, Reply::Close { .. }));
            closes.for_each(|close| instead.reply(worker, close));
        }
        self.effects
    }

    pub fn seal(self, version: VersionNumber, version_ends: Zxid, cuts: Option<Cuts>) -> SealedBatch {
        SealedBatch { version, version_ends, cuts, batch: self }
    }
}

impl SealedBatch {
    pub fn give_up(self, instead: &mut Batch) -> Vec<Effect> {
        self.batch.give_up(instead)
    }

    pub fn last_zxid(&self) -> Option<Zxid> {
        self.batch.last_zxid
    }

    /// Puts everything on the workers' lanes. The version must be published afterwards, not before: a worker that
    /// pins it finds what it has to tell first.
    pub fn post(self, lanes: &mut EnsembleLanes, passages: Vec<Passage>) -> Posted {
        let (effects, passages) = (Arc::new(self.batch.effects), Arc::from(passages));
        let mut replied = Vec::with_capacity(self.batch.replies.len());
        for (index, replies) in self.batch.replies.into_iter().enumerate() {
            replied.push(!replies.is_empty());
            if !replies.is_empty() || !effects.is_empty() {
                let (version, last_zxid) = (self.version, self.version_ends);
                let (effects, passages) = (effects.clone(), Arc::clone(&passages));
                // Not for whoever has no use for them: nothing they reach is freed as long as a lane holds them.
                let has_overtaken = || replies.iter().any(|reply| matches!(reply, Reply::Overtaken { .. }));
                let cuts = self.cuts.clone().filter(|_| has_overtaken());
                let deliver = Deliver { version, last_zxid, effects, replies, passages, cuts };
                lanes.deliver(WorkerIndex(index as u16), deliver);
            }
        }
        Posted { replied }
    }
}

/// A batch on the lanes, whose workers are to be woken once its version is published.
#[must_use]
pub(super) struct Posted {
    replied: Vec<bool>,
}

impl Posted {
    pub fn announce(self, lanes: &EnsembleLanes) {
        for (index, replied) in self.replied.into_iter().enumerate() {
            lanes.announce(WorkerIndex(index as u16), replied);
        }
    }
}
