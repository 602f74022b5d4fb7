//! The lock recipe of ZooKeeper's documentation: create a sequential ephemeral, list the queue, own the lock when first, else
//! watch the one before. `lock` is measured from the create until the lock is owned, `unlock` is the delete. An owner lets go
//! at once.

use crate::args::Args;
use crate::failure::Failure;
use crate::scenario::client::Said;
use crate::scenario::{Drive, Scenario, key, unexpected};
use crate::wire::{error_code, int_at};
use crate::workload::OpKind;
use crate::workload::file::Spec;

const EPHEMERAL_SEQUENTIAL: i32 = 3;
/// What the server appends to a sequential znode's name.
const SEQUENCE_DIGITS: usize = 10;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Idle,
    Creating,
    Listing,
    /// The watch on the one before is being set.
    Watching,
    Waiting,
    Deleting,
}

struct Contender {
    lock: String,
    step: Step,
    /// The request whose reply is awaited.
    xid: i32,
    since_ns: u64,
    deleted_ns: u64,
    own: String,
}

pub struct Locks {
    contenders: Vec<Contender>,
    idle: Vec<usize>,
    lost: usize,
}

impl Locks {
    pub fn new(args: &Args, spec: &Spec) -> Locks {
        let contenders = (0..args.connections).map(|index| Contender {
            lock: key(&args.path, index / spec.clients_per_lock),
            step: Step::Idle,
            xid: 0,
            since_ns: 0,
            deleted_ns: 0,
            own: String::new(),
        });
        Locks { contenders: contenders.collect(), idle: (0..args.connections).rev().collect(), lost: 0 }
    }
}

impl Scenario for Locks {
    fn begin_due(&mut self, now_ns: u64, drive: &mut Drive) -> Result<(), Failure> {
        while let Some(index) = self.idle.last().copied() {
            let Some(since_ns) = drive.take_due(now_ns) else {
                return Ok(());
            };
            self.idle.pop();
            let contender = &mut self.contenders[index];
            let client = &mut drive.crowd.clients[index];
            contender.xid = client.create(&format!("{}/lock-", contender.lock), b"", EPHEMERAL_SEQUENTIAL);
            (contender.step, contender.since_ns) = (Step::Creating, since_ns);
            drive.crowd.flush(index)?;
        }
        Ok(())
    }

    fn on_said(&mut self, index: usize, now_ns: u64, said: Said, drive: &mut Drive) -> Result<(), Failure> {
        let contender = &mut self.contenders[index];
        match said {
            Said::Reply { xid, error_code, body } if xid == contender.xid => {
                let is_free = contender.on_reply(index, now_ns, error_code, &body, drive)?;
                self.idle.extend(is_free.then_some(index));
            }
            Said::Event { .. } if matches!(contender.step, Step::Watching | Step::Waiting) => {
                contender.list(index, drive);
            }
            Said::Closed(reason) => {
                drive.crowd.lose(index, &reason);
                drive.meter.lost += u64::from(contender.step != Step::Idle);
                contender.step = Step::Idle;
                self.idle.retain(|idle| *idle != index);
                self.lost += 1;
                if self.lost == self.contenders.len() {
                    let total = self.lost;
                    return Err(Failure::Lost(format!("all {total} connections are lost; the last: {reason}")));
                }
                return Ok(());
            }
            _ => {}
        }
        drive.crowd.flush(index)
    }

    fn is_idle(&self) -> bool {
        self.contenders.iter().all(|contender| contender.step == Step::Idle)
    }
}

impl Contender {
    /// True when the lock was owned and is free again.
    fn on_reply(
        &mut self,
        index: usize,
        now_ns: u64,
        error: i32,
        body: &[u8],
        drive: &mut Drive,
    ) -> Result<bool, Failure> {
        match self.step {
            Step::Watching if error == error_code::NO_NODE => self.list(index, drive),
            _ if error != 0 => return Err(unexpected(&format!("the lock recipe at {}", self.lock), error)),
            Step::Creating => {
                self.own = String::from_utf8_lossy(body.get(4..).unwrap_or_default()).into_owned();
                self.list(index, drive);
            }
            Step::Listing => {
                let names = child_names(body);
                let own = self.own.rsplit('/').next().unwrap_or_default();
                let client = &mut drive.crowd.clients[index];
                match before(&names, own) {
                    Some(before) => {
                        self.xid = client.exists(&format!("{}/{before}", self.lock), true);
                        self.step = Step::Watching;
                    }
                    None => {
                        drive.meter.record(OpKind::Lock, 0, now_ns.saturating_sub(self.since_ns));
                        self.xid = client.delete(&self.own);
                        (self.step, self.deleted_ns) = (Step::Deleting, now_ns);
                    }
                }
            }
            Step::Watching => self.step = Step::Waiting,
            Step::Deleting => {
                drive.meter.record(OpKind::Unlock, 0, now_ns.saturating_sub(self.deleted_ns));
                self.step = Step::Idle;
                return Ok(true);
            }
            Step::Idle | Step::Waiting => {}
        }
        Ok(false)
    }

    fn list(&mut self, index: usize, drive: &mut Drive) {
        self.xid = drive.crowd.clients[index].get_children(&self.lock);
        self.step = Step::Listing;
    }
}

/// The strings of a getChildren reply.
fn child_names(body: &[u8]) -> Vec<&str> {
    let count = int_at(body, 0).unwrap_or(0);
    let mut at = 4;
    let names = (0..count).map_while(|_| {
        let length = int_at(body, at)?.max(0) as usize;
        let name = std::str::from_utf8(body.get(at + 4..at + 4 + length)?).ok()?;
        at += 4 + length;
        Some(name)
    });
    names.collect()
}

fn sequence(name: &str) -> &str {
    &name[name.len().saturating_sub(SEQUENCE_DIGITS)..]
}

/// Who is right before `own` in the queue.
fn before<'a>(names: &[&'a str], own: &str) -> Option<&'a str> {
    let earlier = names.iter().filter(|name| sequence(name) < sequence(own));
    earlier.max_by_key(|name| sequence(name)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_ordered_by_sequence() {
        let names = ["lock-0000000007", "lock-0000000003", "lock-0000000005"];
        assert_eq!(before(&names, "lock-0000000003"), None);
        assert_eq!(before(&names, "lock-0000000007"), Some("lock-0000000005"));
        let body = [&2u32.to_be_bytes()[..], &1u32.to_be_bytes(), b"a", &2u32.to_be_bytes(), b"bc"].concat();
        assert_eq!(child_names(&body), ["a", "bc"]);
    }
}
