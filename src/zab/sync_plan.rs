//! How a learner is brought to the leader's history: `LearnerHandler.syncFollower`, quorum-protocol sheet §7, as one table.
//!
//! A learner is left with exactly the leader's history: what it has and the leader has not is cut off (TRUNC), what it
//! lacks is sent (DIFF), and where neither can be told from the zxids that are at hand it is given the whole state (SNAP).

use super::epoch_of;
use crate::types::{PutBack, Zxid};

/// What the leader can send as single transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History<'a> {
    /// zxids of the committed transactions at hand, ascending, without holes within an epoch.
    pub zxids: &'a [Zxid],
    /// Last transaction committed; equals the last of `zxids` unless that is empty.
    pub last: Zxid,
    /// What the log on disk holds around the learner's end, if it also holds everything from there up to where `zxids` begins.
    pub on_disk: Option<OnDisk>,
}

/// Transactions in the log on disk that follow one another. Only where `from` is the learner's own last one has it nothing that
/// this history never had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnDisk {
    /// The last one at or below the learner's end.
    pub from: Zxid,
    /// The one behind it.
    pub next: Zxid,
}

/// First packet of a synchronization, and from where on transactions follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPlan {
    /// DIFF carrying `head`; then everything after `after`.
    Diff {
        head: Zxid,
        after: Zxid,
    },
    /// TRUNC to `to`; then everything after `to`.
    Trunc {
        to: Zxid,
    },
    /// As DIFF and TRUNC, the first part read from the log files.
    DiffFromDisk {
        head: Zxid,
        after: Zxid,
    },
    TruncFromDisk {
        to: Zxid,
    },
    Snap,
}

/// The table, first match first. `peer` is the learner's last logged zxid.
pub fn plan(peer: Zxid, history: History<'_>) -> SyncPlan {
    let min = history.zxids.first().copied().unwrap_or(history.last);
    let max = history.zxids.last().copied().unwrap_or(history.last);
    if peer == history.last {
        SyncPlan::Diff { head: peer, after: peer }
    } else if PutBack::DiffByBounds.is_on() && peer >= min {
        SyncPlan::Diff { head: max, after: peer.min(max) }
    } else if peer > max && peer.counter() != 0 {
        // A Java learner exits when it is told to cut to a transaction that its log does not hold: across epochs nobody can
        // know that it does, and the beginning of an epoch, with which a snapshot may end, is none.
        if epoch_of(peer) == epoch_of(max) && max.counter() != 0 { SyncPlan::Trunc { to: max } } else { SyncPlan::Snap }
    } else if min <= peer && peer <= max {
        walk(peer, max, history.zxids)
    } else if peer < min {
        from_disk(peer, max, history.on_disk)
    } else {
        SyncPlan::Snap
    }
}

/// The learner's last zxid lies before the list.
fn from_disk(peer: Zxid, max: Zxid, on_disk: Option<OnDisk>) -> SyncPlan {
    if PutBack::DiffWithHole.is_on() {
        return SyncPlan::DiffFromDisk { head: max, after: peer };
    }
    match on_disk {
        Some(OnDisk { from, .. }) if from == peer => SyncPlan::DiffFromDisk { head: max, after: peer },
        // It has something that we have not, as in `walk`.
        Some(OnDisk { from, next }) if [from, next].map(epoch_of) == [epoch_of(peer); 2] && peer.counter() != 0 => {
            SyncPlan::TruncFromDisk { to: from }
        }
        _ => SyncPlan::Snap,
    }
}

/// The learner's last zxid lies within the list.
fn walk(peer: Zxid, max: Zxid, zxids: &[Zxid]) -> SyncPlan {
    let behind = zxids.partition_point(|zxid| *zxid <= peer);
    let before = behind.checked_sub(1).map(|index| zxids[index]);
    if before == Some(peer) || peer.counter() == 0 {
        return SyncPlan::Diff { head: max, after: peer };
    }
    match (before, zxids.get(behind)) {
        // It has something that we have not. Within one epoch it has what comes before as well.
        (Some(before), Some(next)) if epoch_of(*next) == epoch_of(peer) && epoch_of(before) == epoch_of(peer) => {
            SyncPlan::Trunc { to: before }
        }
        _ => SyncPlan::Snap,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zxids(of: &[(u32, u32)]) -> Vec<Zxid> {
        of.iter().map(|(epoch, counter)| Zxid::new(*epoch, *counter)).collect()
    }

    /// What a Java leader with 0x1_00000001 to 06 was seen to do (sheet §7).
    #[test]
    fn as_a_java_leader_was_seen_to_decide() {
        let list = zxids(&[(1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6)]);
        let last = Zxid::new(1, 6);
        let history = History { zxids: &list, last, on_disk: None };
        for (peer, expected) in [
            (Zxid(0), SyncPlan::Snap),
            (Zxid::new(1, 3), SyncPlan::Diff { head: last, after: Zxid::new(1, 3) }),
            (last, SyncPlan::Diff { head: last, after: last }),
            (Zxid::new(1, 9), SyncPlan::Trunc { to: last }),
            (Zxid::new(1, 0), SyncPlan::Snap),
            (Zxid(5), SyncPlan::Snap),
            (Zxid::new(2, 0), SyncPlan::Snap),
            // Java says TRUNC here, and a Java learner without 0x1_00000006 exits: different on purpose.
            (Zxid::new(2, 1), SyncPlan::Snap),
        ] {
            assert_eq!(plan(peer, history), expected, "{peer}");
        }
    }

    #[test]
    fn what_only_the_learner_has_is_cut_within_an_epoch_and_replaced_across() {
        let list = zxids(&[(1, 3), (1, 4), (1, 6), (2, 1), (2, 2)]);
        let history = History { zxids: &list, last: Zxid::new(2, 2), on_disk: None };
        assert_eq!(plan(Zxid::new(1, 5), history), SyncPlan::Trunc { to: Zxid::new(1, 4) });
        assert_eq!(plan(Zxid::new(1, 7), history), SyncPlan::Snap);
        assert_eq!(plan(Zxid::new(2, 3), history), SyncPlan::Trunc { to: Zxid::new(2, 2) });
        let head = Zxid::new(2, 2);
        assert_eq!(plan(Zxid::new(2, 0), history), SyncPlan::Diff { head, after: Zxid::new(2, 0) });
        assert_eq!(plan(Zxid::new(1, 2), history), SyncPlan::Snap);
    }

    #[test]
    fn nobody_cuts_to_the_beginning_of_an_epoch() {
        let history = History { zxids: &[], last: Zxid::new(5, 0), on_disk: None };
        assert_eq!(plan(Zxid::new(5, 2), history), SyncPlan::Snap);
    }

    #[test]
    fn the_log_on_disk_helps_those_who_are_behind_the_list() {
        let list = zxids(&[(1, 8), (1, 9)]);
        let last = Zxid::new(1, 9);
        let one = |counter| Zxid::new(1, counter);
        let decided = |peer, on_disk: Option<(Zxid, Zxid)>| {
            let on_disk = on_disk.map(|(from, next)| OnDisk { from, next });
            plan(peer, History { zxids: &list, last, on_disk })
        };
        assert_eq!(decided(one(5), Some((one(5), one(6)))), SyncPlan::DiffFromDisk { head: last, after: one(5) });
        // Only the learner has 5.
        assert_eq!(decided(one(5), Some((one(4), one(6)))), SyncPlan::TruncFromDisk { to: one(4) });
        assert_eq!(decided(one(5), Some((Zxid::new(0, 4), one(1)))), SyncPlan::Snap);
        assert_eq!(decided(Zxid::new(0, 5), Some((Zxid::new(0, 4), one(1)))), SyncPlan::Snap);
        assert_eq!(decided(one(0), Some((Zxid::new(0, 4), one(1)))), SyncPlan::Snap);
        assert_eq!(decided(one(5), None), SyncPlan::Snap);
    }

    #[test]
    fn without_any_list_equal_ends_are_equal() {
        let history = History { zxids: &[], last: Zxid::new(3, 7), on_disk: None };
        let last = history.last;
        assert_eq!(plan(last, history), SyncPlan::Diff { head: last, after: last });
        assert_eq!(plan(Zxid::new(3, 8), history), SyncPlan::Trunc { to: last });
        assert_eq!(plan(Zxid::new(3, 6), history), SyncPlan::Snap);
    }
}
