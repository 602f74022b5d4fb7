//! `LearnerHandler.syncFollower` and `queueCommittedProposals`, from the facts sheet §7: what a Java leader sends a learner
//! first, and which transactions behind it.

use super::disk::Entry;
use crate::types::Zxid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    Diff(Zxid),
    Trunc(Zxid),
    Snap,
}

/// What a leader has.
#[derive(Clone, Copy)]
pub struct Has<'a> {
    /// `committedLog`
    pub list: &'a [Entry],
    /// `lastProcessedZxid`
    pub last: Zxid,
    /// The log on disk, where it may be used.
    pub log: Option<&'a [Entry]>,
    /// `forceSnapshotSync`
    pub forces_snapshot: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub head: Head,
    /// Each is sent as PROPOSAL and COMMIT.
    pub sent: Vec<Entry>,
    /// The learner has everything through here then.
    pub through: Zxid,
}

/// `queueCommittedProposals`: a walk that decides on the first packet, if nobody has before.
struct Walk {
    peer: Zxid,
    max: Zxid,
    head: Option<Head>,
    sent: Vec<Entry>,
    through: Zxid,
}

impl Walk {
    /// Walks from where the learner has everything through `from`, up to `until`.
    fn go(&mut self, entries: &[Entry], from: Zxid, until: Option<Zxid>) {
        let is_new_epoch = from.counter() == 0;
        let mut before = Zxid(-1);
        self.through = from;
        for entry in entries {
            let zxid = entry.0;
            if until.is_some_and(|until| zxid > until) {
                break;
            }
            if zxid < from {
                before = zxid;
                continue;
            }
            if self.head.is_none() {
                if zxid == from {
                    self.head = Some(Head::Diff(self.max));
                    continue;
                }
                if is_new_epoch {
                    self.head = Some(Head::Diff(self.max));
                } else if zxid > from {
                    if zxid.epoch() != self.peer.epoch() {
                        return;
                    }
                    self.head = Some(Head::Trunc(before));
                }
            }
            if zxid > self.through {
                self.sent.push(entry.clone());
                self.through = zxid;
            }
        }
        if self.head.is_none() && is_new_epoch {
            self.head = Some(Head::Diff(self.max));
        }
    }
}

pub fn choose(peer: Zxid, has: Has<'_>) -> Choice {
    let min = has.list.first().map_or(has.last, |(zxid, _)| *zxid);
    let max = has.list.last().map_or(has.last, |(zxid, _)| *zxid);
    let mut walk = Walk { peer, max, head: None, sent: Vec::new(), through: peer };
    if has.forces_snapshot {
    } else if has.last == peer {
        walk.head = Some(Head::Diff(peer));
    } else if peer > max && peer.counter() != 0 {
        (walk.head, walk.through) = (Some(Head::Trunc(max)), max);
    } else if min <= peer && peer <= max {
        walk.go(has.list, peer, None);
    } else if peer < min
        && let Some(log) = has.log.filter(|log| log.first().is_some_and(|(zxid, _)| *zxid <= peer))
    {
        walk.go(log, peer, Some(min));
        if walk.through < min {
            walk.head = None;
        } else {
            let reached = walk.through;
            walk.go(has.list, reached, None);
        }
    }
    match walk.head {
        Some(head) => Choice { head, sent: walk.sent, through: walk.through },
        None => Choice { head: Head::Snap, sent: Vec::new(), through: has.last },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn entries(of: &[(u32, u32)]) -> Vec<Entry> {
        of.iter().map(|(epoch, counter)| (Zxid::new(*epoch, *counter), Arc::from([]))).collect()
    }

    fn chosen(peer: Zxid, list: &[Entry], last: Zxid, log: Option<&[Entry]>) -> (Head, Vec<Zxid>) {
        let choice = choose(peer, Has { list, last, log, forces_snapshot: false });
        (choice.head, choice.sent.iter().map(|(zxid, _)| *zxid).collect())
    }

    /// What a leader of ZooKeeper 3.9 with the history 0x1_00000001 to 06 was seen to do (facts sheet §7).
    #[test]
    fn as_a_java_leader_was_seen_to_decide() {
        let list = entries(&[(1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6)]);
        let last = Zxid::new(1, 6);
        let four_on: Vec<Zxid> = (4..=6).map(|counter| Zxid::new(1, counter)).collect();
        for (peer, expected) in [
            (Zxid(0), (Head::Snap, vec![])),
            (Zxid::new(1, 3), (Head::Diff(last), four_on)),
            (last, (Head::Diff(last), vec![])),
            (Zxid::new(1, 9), (Head::Trunc(last), vec![])),
            (Zxid::new(1, 0), (Head::Snap, vec![])),
            (Zxid(5), (Head::Snap, vec![])),
            (Zxid::new(2, 1), (Head::Trunc(last), vec![])),
            (Zxid::new(2, 0), (Head::Snap, vec![])),
        ] {
            assert_eq!(chosen(peer, &list, last, Some(&list)), expected, "{peer}");
        }
    }

    #[test]
    fn what_only_the_learner_has_is_cut_within_its_epoch() {
        let list = entries(&[(1, 3), (1, 4), (1, 6), (2, 1), (2, 2)]);
        let last = Zxid::new(2, 2);
        let (head, sent) = chosen(Zxid::new(1, 5), &list, last, None);
        assert_eq!((head, sent.len()), (Head::Trunc(Zxid::new(1, 4)), 3));
        assert_eq!(chosen(Zxid::new(1, 7), &list, last, None), (Head::Snap, vec![]));
        assert_eq!(chosen(Zxid::new(2, 0), &list, last, None).0, Head::Diff(last));
    }

    #[test]
    fn the_log_on_disk_reaches_back_behind_the_list() {
        let log = entries(&[(1, 3), (1, 4), (1, 5), (1, 6), (1, 7)]);
        let (list, last) = (&log[3..], Zxid::new(1, 7));
        let (head, sent) = chosen(Zxid::new(1, 4), list, last, Some(&log));
        assert_eq!((head, sent), (Head::Diff(last), (5..=7).map(|counter| Zxid::new(1, counter)).collect()));
        assert_eq!(chosen(Zxid::new(1, 2), list, last, Some(&log)).0, Head::Snap);
        assert_eq!(chosen(Zxid::new(1, 4), list, last, None).0, Head::Snap);
    }
}
