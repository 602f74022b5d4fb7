//! Which of two votes is the better one: higher epoch, then higher zxid, then higher id
//! (`FastLeaderElection.totalOrderPredicate`). The round has no part in it. Since every server adopts what is better, the
//! leader that a quorum agrees on has a history at least as long as that of each server of that quorum.

use super::Electorate;
use crate::message::Vote;
use crate::types::{Role, ServerId, Zxid};

/// What observers vote for, and the id that servers outside of the configurations vote for: beaten by everyone.
pub const NOBODY: i64 = i64::MIN;

/// Whether `candidate` is to be preferred to `held`. A server without weight never is; it is given up for any that has some: in
/// Java it holds on to itself, and is not needed.
pub fn beats(candidate: &Vote, held: &Vote, electorate: &Electorate) -> bool {
    let worth = |vote: &Vote| (electorate.has_weight(vote.leader), vote.peer_epoch, vote.zxid, vote.leader);
    electorate.has_weight(candidate.leader) && worth(candidate) > worth(held)
}

/// With what a server enters the election.
pub fn initial_vote(my_id: ServerId, role: Role, zxid: Zxid, epoch: i64, electorate: &Electorate) -> Vote {
    let leader = if electorate.may_lead(my_id) { my_id } else { ServerId(NOBODY) };
    match role {
        Role::Participant => Vote { leader, zxid, round: 0, peer_epoch: epoch },
        Role::Observer => Vote { leader, zxid: Zxid(NOBODY), round: 0, peer_epoch: NOBODY },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Membership, Quorum};

    fn electorate(lines: &[(&str, &str)]) -> Electorate {
        let mut membership = Membership::default();
        for (key, text) in lines {
            membership.add(key, text).unwrap();
        }
        Electorate::new(Quorum::of(&membership), 0, "".into())
    }

    fn vote(leader: i64, zxid: i64, peer_epoch: i64) -> Vote {
        Vote { leader: ServerId(leader), zxid: Zxid(zxid), round: 1, peer_epoch }
    }

    #[test]
    fn epoch_then_zxid_then_id() {
        let three = electorate(&[("server.1", "a:1:2"), ("server.2", "a:1:2"), ("server.3", "a:1:2")]);
        assert!(beats(&vote(1, 0, 2), &vote(3, 99, 1), &three));
        assert!(beats(&vote(1, 99, 1), &vote(3, 95, 1), &three));
        assert!(beats(&vote(3, 5, 1), &vote(1, 5, 1), &three));
        assert!(!beats(&vote(1, 5, 1), &vote(1, 5, 1), &three));
        let later_round = Vote { round: 9, ..vote(1, 0, 1) };
        assert!(!beats(&later_round, &vote(2, 0, 1), &three));
    }

    #[test]
    fn without_weight_nobody_wins() {
        let weighted = electorate(&[
            ("server.1", "a:1:2"),
            ("server.2", "a:1:2"),
            ("group.1", "1"),
            ("group.2", "2"),
            ("weight.2", "0"),
        ]);
        assert!(!beats(&vote(2, 99, 9), &vote(1, 0, 0), &weighted));
        assert!(beats(&vote(1, 100, 9), &vote(2, 99, 9), &weighted));
        assert!(beats(&vote(1, 0, 0), &vote(2, 99, 9), &weighted), "whoever has weight comes before one who has none");
    }

    #[test]
    fn observers_and_outsiders_vote_for_nobody() {
        let one = electorate(&[("server.1", "a:1:2"), ("server.2", "a:1:2:observer")]);
        let mine = initial_vote(ServerId(1), Role::Participant, Zxid(7), 3, &one);
        assert_eq!((mine.leader, mine.zxid, mine.peer_epoch), (ServerId(1), Zxid(7), 3));
        let observer = initial_vote(ServerId(2), Role::Observer, Zxid(7), 3, &one);
        assert_eq!((observer.leader.0, observer.zxid.0, observer.peer_epoch), (NOBODY, NOBODY, NOBODY));
        let outsider = initial_vote(ServerId(9), Role::Participant, Zxid(7), 3, &one);
        assert_eq!((outsider.leader.0, outsider.zxid, outsider.peer_epoch), (NOBODY, Zxid(7), 3));
    }
}
