//! Counting votes: the last one of each server, when two votes are the same, and whether a leader can be believed to lead
//! (`FastLeaderElection`: recvset, outOfElection, checkLeader; `Vote.equals`).

use crate::message::Vote;
use crate::types::{ServerId, ServerState};
use std::collections::{BTreeMap, BTreeSet};

/// A vote with what decides about its equality.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    pub vote: Vote,
    pub state: ServerState,
    /// Of the message; 0 in the tally of the current round, as in Java.
    pub version: i32,
}

impl Cast {
    pub fn looking(vote: Vote) -> Cast {
        Cast { vote, state: ServerState::Looking, version: 0 }
    }

    /// Votes of servers that have a leader may differ in zxid and round: these were overwritten or learned late. The
    /// leader and the epoch it leads name one reign. Messages from before 3.5 do not carry that epoch, so when only one of
    /// two is of that kind the leader alone counts.
    pub fn agrees_with(&self, other: &Cast) -> bool {
        let (a, b) = (&self.vote, &other.vote);
        if self.state == ServerState::Looking || other.state == ServerState::Looking {
            return a == b;
        }
        let one_is_old = (self.version > 0) != (other.version > 0);
        a.leader == b.leader && (one_is_old || a.peer_epoch == b.peer_epoch)
    }
}

/// The last vote of each server.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    casts: BTreeMap<ServerId, Cast>,
}

impl Tally {
    /// Whether that was new.
    pub fn record(&mut self, from: ServerId, cast: Cast) -> bool {
        self.casts.insert(from, cast) != Some(cast)
    }

    pub fn forget(&mut self, from: ServerId) {
        self.casts.remove(&from);
    }

    pub fn clear(&mut self) {
        self.casts.clear();
    }

    pub fn supporters(&self, of: &Cast) -> BTreeSet<ServerId> {
        self.casts.iter().filter(|(_, cast)| cast.agrees_with(of)).map(|(id, _)| *id).collect()
    }

    pub fn says_it_leads(&self, leader: ServerId) -> bool {
        self.casts.get(&leader).is_some_and(|cast| cast.state == ServerState::Leading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Zxid;

    fn cast(state: ServerState, version: i32, numbers: (i64, i64, i64, i64)) -> Cast {
        let (leader, zxid, round, peer_epoch) = numbers;
        Cast { vote: Vote { leader: ServerId(leader), zxid: Zxid(zxid), round, peer_epoch }, state, version }
    }

    #[test]
    fn votes_of_looking_servers_agree_in_everything() {
        let vote = (3, 10, 2, 1);
        let looking = cast(ServerState::Looking, 0, vote);
        assert!(looking.agrees_with(&cast(ServerState::Following, 2, vote)));
        for other in [(2, 10, 2, 1), (3, 11, 2, 1), (3, 10, 3, 1), (3, 10, 2, 2)] {
            assert!(!looking.agrees_with(&cast(ServerState::Looking, 0, other)));
            assert!(!looking.agrees_with(&cast(ServerState::Leading, 2, other)));
        }
    }

    #[test]
    fn votes_of_settled_servers_agree_in_leader_and_epoch() {
        let following = cast(ServerState::Following, 2, (3, 10, 2, 1));
        assert!(following.agrees_with(&cast(ServerState::Leading, 2, (3, 99, 7, 1))));
        assert!(!following.agrees_with(&cast(ServerState::Leading, 2, (3, 10, 2, 2))));
        // One of the old form: the leader alone. Two of the old form: the epoch counts again.
        assert!(following.agrees_with(&cast(ServerState::Leading, 0, (3, 99, 7, 5))));
        assert!(!following.agrees_with(&cast(ServerState::Leading, 0, (2, 10, 2, 1))));
        let old = cast(ServerState::Following, 0, (3, 10, 2, 1));
        assert!(!old.agrees_with(&cast(ServerState::Leading, 0, (3, 99, 7, 5))));
    }

    #[test]
    fn the_last_vote_counts() {
        let mut tally = Tally::default();
        let (one, two) = (cast(ServerState::Looking, 0, (1, 0, 1, 0)), cast(ServerState::Looking, 0, (2, 0, 1, 0)));
        tally.record(ServerId(1), one);
        tally.record(ServerId(2), two);
        tally.record(ServerId(1), two);
        assert_eq!(tally.supporters(&two).len(), 2);
        assert!(tally.supporters(&one).is_empty());
        assert!(!tally.says_it_leads(ServerId(2)));
        tally.record(ServerId(2), cast(ServerState::Leading, 0, (2, 0, 1, 0)));
        assert!(tally.says_it_leads(ServerId(2)));
    }
}
