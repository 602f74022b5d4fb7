//! Members that change, told step by step: to a leader whose learners this test plays, and to a learner whose leader it plays.

use super::world::Options;
use crate::message::{LearnerInfo, QuorumPacket};
use crate::types::{Instant, LinkId, QuorumConfig, ServerId, Zxid};
use crate::zab::{Leader, LeaderInput, LeaderOutput, LeaderStart, Learner, LearnerInput, LearnerOutput, LearnerStart};
use std::sync::Arc;

fn config(ids: &[i64], version: i64) -> Arc<QuorumConfig> {
    let lines: String = ids.iter().map(|id| format!("server.{id}=host{id}:1:2\n")).collect();
    Arc::new(QuorumConfig::parse(&format!("{lines}version={version:x}")).unwrap())
}

/// A leader and what it wanted last.
struct Stage {
    leader: Leader,
    now: Instant,
}

impl Stage {
    fn led_by(me: i64, committed: Arc<QuorumConfig>, last_seen: Option<Arc<QuorumConfig>>) -> Stage {
        let start = LeaderStart {
            me: ServerId(me),
            config: committed,
            last_seen,
            reconfig_enabled: true,
            limits: Options::default().limits,
            accepted_epoch: 0,
            current_epoch: 0,
            last_zxid: Zxid::ZERO,
        };
        let now = Instant::default();
        Stage { leader: Leader::new(start, now), now }
    }

    fn step(&mut self, input: LeaderInput) -> Vec<LeaderOutput> {
        let mut out = Vec::new();
        self.leader.step(self.now, input, &mut out);
        out
    }

    fn tell(&mut self, server: i64, packet: QuorumPacket) -> Vec<LeaderOutput> {
        self.step(LeaderInput::Packet { link: LinkId(server as u64), packet })
    }

    fn introduce(&mut self, server: i64, config_version: i64) -> Vec<LeaderOutput> {
        let info =
            LearnerInfo { server: ServerId(server), protocol_version: 0x10000, config_version, drops_log: false };
        self.tell(server, QuorumPacket::LearnerInfo { observer: false, accepted_epoch: 0, info: Some(info) })
    }

    fn promise(&mut self, server: i64) -> Vec<LeaderOutput> {
        self.tell(server, QuorumPacket::AckEpoch { last_zxid: Zxid::ZERO, current_epoch: Some(0) })
    }

    fn ack(&mut self, server: i64, counter: u32) -> Vec<LeaderOutput> {
        self.tell(server, QuorumPacket::Ack { zxid: Zxid::new(1, counter) })
    }

    /// All the way to service, all of them at once.
    fn join(&mut self, servers: &[i64]) -> Vec<LeaderOutput> {
        let mut out = Vec::new();
        servers.iter().for_each(|server| out.extend(self.introduce(*server, 0)));
        servers.iter().for_each(|server| out.extend(self.promise(*server)));
        servers.iter().for_each(|server| out.extend(self.ack(*server, 0)));
        out
    }

    fn propose(&mut self, counter: u32) {
        let zxid = Zxid::new(1, counter);
        assert!(self.step(LeaderInput::Proposed { zxid }).is_empty());
    }

    fn flushed(&mut self, counter: u32) -> Vec<LeaderOutput> {
        self.step(LeaderInput::Flushed { through: Zxid::new(1, counter) })
    }
}

fn commit(counter: u32) -> LeaderOutput {
    LeaderOutput::Commit { through: Zxid::new(1, counter) }
}

fn activate(config: &Arc<QuorumConfig>, designated: i64) -> LeaderOutput {
    LeaderOutput::Activate { config: config.clone(), designated: ServerId(designated) }
}

const R: u32 = 2;
const VERSION: i64 = 0x1_0000_0002;

#[test]
fn the_first_configuration_gets_the_version_of_its_epoch() {
    let mut stage = Stage::led_by(3, config(&[1, 2, 3], 0), None);
    let first = config(&[1, 2, 3], 0x1_0000_0000);
    let out = stage.join(&[1]);
    let at = |wanted: &LeaderOutput| out.iter().position(|output| output == wanted);
    let seen = at(&LeaderOutput::Seen { config: first.clone() }).expect("it is kept");
    let fixed = at(&LeaderOutput::PersistAcceptedEpoch { epoch: 1 }).expect("it is promised");
    let in_force = at(&activate(&first, 3)).expect("it is committed");
    let established = at(&LeaderOutput::Established { epoch: 1 }).expect("the epoch begins");
    assert!(fixed < seen && seen < in_force && in_force < established, "{out:?}");
}

#[test]
fn who_joins_counts_from_the_reconfiguration_on() {
    let mut stage = Stage::led_by(3, config(&[1, 2, 3], 7), None);
    stage.join(&[1, 4]);
    stage.propose(1);
    let next = config(&[1, 2, 3, 4], VERSION);
    assert!(stage.step(LeaderInput::ProposedConfig { config: next.clone() }).is_empty());
    assert!(stage.leader.is_reconfiguring());
    stage.propose(3);
    assert!(stage.flushed(3).is_empty());
    assert!(stage.ack(4, 3).is_empty(), "the old members have not agreed");
    assert_eq!(stage.ack(1, 1), [commit(1)]);
    // Three of four, two of three.
    assert_eq!(stage.ack(1, 3), [commit(R), activate(&next, 3), commit(3)]);
    assert!(!stage.leader.is_reconfiguring());
}

#[test]
fn a_reconfiguration_waits_for_its_own_members() {
    let mut stage = Stage::led_by(3, config(&[1, 2, 3], 7), None);
    stage.join(&[1, 2, 4, 5]);
    stage.propose(1);
    let next = config(&[3, 4, 5], VERSION);
    stage.step(LeaderInput::ProposedConfig { config: next.clone() });
    assert_eq!(stage.flushed(R), []);
    assert_eq!(stage.ack(1, R), [commit(1)], "before it the old members decide");
    assert_eq!(stage.ack(2, R), []);
    assert_eq!(stage.ack(5, R), [commit(R), activate(&next, 3)]);
    stage.propose(3);
    assert_eq!(stage.flushed(3), []);
    assert_eq!(stage.ack(1, 3), [], "it has no vote any more");
    assert_eq!(stage.ack(4, 3), [commit(3)]);
}

/// Who has most leads next; the old leader commits nothing further, and goes when its learners have gone.
#[test]
fn a_leader_that_leaves_names_who_has_most() {
    let mut stage = Stage::led_by(3, config(&[1, 2, 3], 7), None);
    stage.join(&[1, 2, 4]);
    stage.propose(1);
    let next = config(&[1, 2, 4], VERSION);
    stage.step(LeaderInput::ProposedConfig { config: next.clone() });
    stage.propose(3);
    stage.propose(4);
    assert_eq!(stage.ack(2, 3), []);
    assert_eq!(stage.flushed(4), [commit(1)]);
    assert_eq!(stage.ack(4, R), [commit(R), activate(&next, 2)]);
    assert_eq!(stage.ack(1, 4), []);
    assert_eq!(stage.ack(4, 4), [], "nothing further is committed here");
    assert_eq!(stage.step(LeaderInput::Closed { link: LinkId(1) }), []);
    let out = stage.step(LeaderInput::Closed { link: LinkId(2) });
    assert!(matches!(out[..], [LeaderOutput::GiveUp { .. }]), "{out:?}");
}

/// What was heard of and not committed needs both for everything: the epoch, the promise, the history.
#[test]
fn an_epoch_rests_on_both() {
    let pending = config(&[3, 4, 5], VERSION);
    let mut stage = Stage::led_by(3, config(&[1, 2, 3], 7), Some(pending.clone()));
    assert_eq!(stage.introduce(1, 7), []);
    assert_eq!(stage.introduce(2, 7), [], "a quorum of the old members is none of the new ones");
    let out = stage.introduce(4, 7);
    assert_eq!(out[0], LeaderOutput::PersistAcceptedEpoch { epoch: 1 });
    stage.promise(1);
    stage.promise(2);
    assert!(stage.promise(4).contains(&LeaderOutput::PersistCurrentEpoch { epoch: 1 }));
    stage.ack(1, 0);
    assert_eq!(stage.ack(2, 0), []);
    let out = stage.ack(4, 0);
    assert_eq!(out[..2], [activate(&pending, 3), LeaderOutput::Established { epoch: 1 }]);
}

/// Those that observe and would vote: they connect as observers, since they do not know better, and count all the same.
#[test]
fn observers_that_are_to_vote_decide_whether_they_do() {
    let committed = QuorumConfig::parse(
        "server.1=a:1:2\nserver.2=b:1:2:observer\nserver.3=c:1:2\nserver.4=d:1:2:observer\nversion=7",
    );
    let pending =
        QuorumConfig::parse("server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer\nserver.4=d:1:2\nversion=8");
    let (committed, pending) = (Arc::new(committed.unwrap()), Arc::new(pending.unwrap()));
    let mut stage = Stage::led_by(3, committed, Some(pending.clone()));
    let info = LearnerInfo { server: ServerId(2), protocol_version: 0x10000, config_version: 7, drops_log: false };
    let observer = QuorumPacket::LearnerInfo { observer: true, accepted_epoch: 4, info: Some(info) };
    stage.introduce(1, 7);
    let out = stage.tell(2, observer);
    assert_eq!(out[0], LeaderOutput::PersistAcceptedEpoch { epoch: 5 });
    stage.promise(1);
    assert!(stage.promise(2).contains(&LeaderOutput::PersistCurrentEpoch { epoch: 5 }));
    let ack = QuorumPacket::Ack { zxid: Zxid::new(5, 0) };
    stage.tell(1, ack.clone());
    let out = stage.tell(2, ack);
    assert_eq!(out[0], activate(&pending, 1), "{out:?}");
}

#[test]
fn who_knows_a_newer_configuration_is_not_led() {
    let mut stage = Stage::led_by(3, config(&[1, 2, 3], 7), None);
    assert!(matches!(stage.introduce(1, 8)[..], [LeaderOutput::Close { .. }]));
    stage.join(&[1, 2]);
    let next = config(&[1, 2, 3, 4], 0x1_0000_0001);
    stage.step(LeaderInput::ProposedConfig { config: next });
    stage.flushed(1);
    stage.ack(1, 1);
    stage.ack(2, 1);
    let out = stage.introduce(4, 0x1_0000_0001);
    assert!(matches!(out[..], [LeaderOutput::Send { .. }]), "the same one: {out:?}");
}

// A learner.

fn learner() -> (Learner, Instant) {
    let start = LearnerStart {
        me: ServerId(1),
        observer: false,
        votes_next: false,
        limits: Options::default().limits,
        accepted_epoch: 0,
        current_epoch: 0,
        last_zxid: Zxid::ZERO,
        config_version: 0,
    };
    let mut learner = Learner::new(start, Instant::default());
    let mut out = Vec::new();
    learner.step(Instant::default(), LearnerInput::Connected, &mut out);
    for packet in
        [QuorumPacket::LeaderInfo { epoch: 1, protocol_version: 0x10000 }, QuorumPacket::Diff { zxid: Zxid::ZERO }]
    {
        learner.step(Instant::default(), LearnerInput::Packet(packet), &mut out);
    }
    (learner, Instant::default())
}

fn hear(learner: &mut (Learner, Instant), packet: QuorumPacket) -> Vec<LearnerOutput> {
    let mut out = Vec::new();
    learner.0.step(learner.1, LearnerInput::Packet(packet), &mut out);
    out
}

fn new_leader(config: &QuorumConfig) -> QuorumPacket {
    QuorumPacket::NewLeader { zxid: Zxid::new(1, 0), config: Some(config.to_string().into()) }
}

fn proposal(counter: u32) -> QuorumPacket {
    QuorumPacket::Proposal { zxid: Zxid::new(1, counter), entry: Arc::from(&b"entry"[..]) }
}

#[test]
fn what_newleader_names_is_kept_and_then_in_force() {
    let mut learner = learner();
    let named = config(&[1, 2, 3], 0x1_0000_0000);
    let out = hear(&mut learner, new_leader(&named));
    assert_eq!(out[0], LearnerOutput::Seen { config: named.clone() });
    assert!(matches!(out[1..], [LearnerOutput::PersistCurrentEpoch { .. }, LearnerOutput::Send(_)]), "{out:?}");
    let out = hear(&mut learner, QuorumPacket::UpToDate);
    assert_eq!(out[..2], [LearnerOutput::Adopt { config: named }, LearnerOutput::Serve { epoch: 1 }]);
    hear(&mut learner, proposal(1));
    let (zxid, designated) = (Zxid::new(1, 1), ServerId(2));
    let out = hear(&mut learner, QuorumPacket::CommitAndActivate { zxid, designated });
    assert_eq!(out, [LearnerOutput::Commit { through: zxid }, LearnerOutput::Activate { zxid, designated }]);
}

/// A Java leader names what it has proposed and not committed (`Leader.getQuorumVerifierBytes`).
#[test]
fn what_is_undecided_is_not_in_force() {
    for committed in [false, true] {
        let mut learner = learner();
        let pending = config(&[1, 2, 3, 4], 0x1_0000_0001);
        hear(&mut learner, proposal(1));
        if committed {
            hear(&mut learner, QuorumPacket::Commit { zxid: Zxid::new(1, 1) });
        }
        hear(&mut learner, new_leader(&pending));
        let mut out = Vec::new();
        learner.0.step(learner.1, LearnerInput::Flushed { through: Zxid::new(1, 1) }, &mut out);
        let out = hear(&mut learner, QuorumPacket::UpToDate);
        assert_eq!(out.contains(&LearnerOutput::Adopt { config: pending }), committed, "{out:?}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_told_of() {
    let mut learner = learner();
    let text = Some("server.1=nonsense".into());
    let out = hear(&mut learner, QuorumPacket::NewLeader { zxid: Zxid::new(1, 0), config: text });
    assert!(matches!(out[0], LearnerOutput::Unreadable { .. }), "{out:?}");
}
