//! A proposal's way through a leader of three and the follower that makes the quorum: proposed, logged, acknowledged,
//! committed.

use super::{Step, codec};
use ringkeeper::message::QuorumPacket;
use ringkeeper::types::{Instant, LinkId, QuorumConfig, ServerId, Zxid};
use ringkeeper::zab::{Leader, LeaderInput, LeaderOutput, LeaderStart, Learner, LearnerInput, LearnerOutput};
use ringkeeper::zab::{LearnerStart, Limits};
use std::sync::Arc;

const LINK: LinkId = LinkId(1);
const MEMBERS: &str = "server.1=127.0.0.1:2:3:participant\nserver.2=127.0.0.1:4:5:participant\n\
                       server.3=127.0.0.1:6:7:participant\n";
const LIMITS: Limits = Limits { tick_ms: 2000, init_ticks: 10, sync_ticks: 5 };

/// Both machines, and what they have said to each other.
struct Pair {
    leader: Leader,
    learner: Learner,
    now: Instant,
    leader_says: Vec<LeaderOutput>,
    learner_says: Vec<LearnerOutput>,
    committed: Zxid,
}

impl Pair {
    fn established() -> Pair {
        let config = Arc::new(QuorumConfig::parse(MEMBERS).expect("three members"));
        let now = Instant::from_millis(1);
        let leader = LeaderStart {
            me: ServerId(1),
            config,
            last_seen: None,
            reconfig_enabled: false,
            limits: LIMITS,
            accepted_epoch: 0,
            current_epoch: 0,
            last_zxid: Zxid(0),
        };
        let learner = LearnerStart {
            me: ServerId(2),
            observer: false,
            votes_next: false,
            limits: LIMITS,
            accepted_epoch: 0,
            current_epoch: 0,
            last_zxid: Zxid(0),
            config_version: 0,
        };
        let (leader, learner) = (Leader::new(leader, now), Learner::new(learner, now));
        let (leader_says, learner_says) = (Vec::new(), Vec::new());
        let mut pair = Pair { leader, learner, now, leader_says, learner_says, committed: Zxid(0) };
        pair.learner_hears(LearnerInput::Connected);
        pair.talk();
        assert!(pair.leader.is_established() && pair.learner.is_serving());
        pair
    }

    fn leader_hears(&mut self, input: LeaderInput) {
        self.leader.step(self.now, input, &mut self.leader_says);
    }

    fn learner_hears(&mut self, input: LearnerInput) {
        self.learner.step(self.now, input, &mut self.learner_says);
    }

    /// Until nobody has anything to say. Epochs are on disk at once.
    fn talk(&mut self) {
        while !self.leader_says.is_empty() || !self.learner_says.is_empty() {
            for output in std::mem::take(&mut self.learner_says) {
                if let LearnerOutput::Send(packet) = output {
                    self.leader_hears(LeaderInput::Packet { link: LINK, packet });
                }
            }
            for output in std::mem::take(&mut self.leader_says) {
                match output {
                    LeaderOutput::Send { packet, .. } => self.learner_hears(LearnerInput::Packet(packet)),
                    LeaderOutput::Feed { .. } => self.feed(),
                    LeaderOutput::Commit { through } => {
                        self.committed = through;
                        self.learner_hears(LearnerInput::Packet(QuorumPacket::Commit { zxid: through }));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Both begin with nothing.
    fn feed(&mut self) {
        self.learner_hears(LearnerInput::Packet(QuorumPacket::Diff { zxid: Zxid(0) }));
        let zxid = Zxid(self.leader.epoch().expect("fixed before anybody is fed") << 32);
        self.learner_hears(LearnerInput::Packet(QuorumPacket::NewLeader { zxid, config: None }));
    }
}

pub fn agree() -> Step {
    let mut pair = Pair::established();
    let mut entry = Vec::new();
    codec::set_entry(1, 1, &mut entry);
    let entry: Arc<[u8]> = entry.into();
    Box::new(move || {
        let zxid = pair.leader.next_zxid().expect("an epoch is long");
        pair.leader_hears(LeaderInput::Proposed { zxid });
        pair.learner_hears(LearnerInput::Packet(QuorumPacket::Proposal { zxid, entry: entry.clone() }));
        pair.leader_hears(LeaderInput::Flushed { through: zxid });
        pair.learner_hears(LearnerInput::Flushed { through: zxid });
        pair.talk();
        assert_eq!(pair.committed, zxid);
    })
}
