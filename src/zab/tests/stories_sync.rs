//! Stories of servers that come back, or come late: what they are sent, and when they may say that they have it.

use super::stories::{ensemble, history, id, led_by, writes};
use super::world::{Options, World};
use crate::message::{LearnerInfo, QuorumPacket};
use crate::types::{Instant, LinkId, Zxid};
use crate::zab::{Leader, LeaderInput, LeaderOutput, LeaderStart, Learner, LearnerInput, LearnerOutput, LearnerStart};
use std::sync::Arc;

fn counted(world: &World, what: &str) -> u64 {
    world.counts.get(what).copied().unwrap_or(0)
}

/// A follower that was away for so many writes gets DIFF as long as they are at hand or in the log, else SNAP.
#[test]
fn away_for_a_while() {
    for (missed, disk_history, expected) in
        [(0, false, "DIFF"), (10, false, "DIFF"), (50, false, "SNAP"), (50, true, "DIFF from disk")]
    {
        let mut world = ensemble(3, 3, &[1, 2]);
        world.options.retained = 20;
        world.options.disk_history = disk_history;
        writes(&mut world, 3, 5);
        world.crash_keeping(id(1), 0);
        writes(&mut world, 3, missed);
        let before = counted(&world, expected);
        world.restart(id(1));
        world.follow(id(1), id(3));
        world.run_ms(50);
        assert_eq!(counted(&world, expected), before + 1, "{missed} missed: {expected}");
        assert!(world.has_converged());
    }
}

/// The leader's disk is quick, the follower's is not: the history is not acknowledged before it is flushed (3911, 4646), and
/// a crash in between leaves the old epoch (4643).
#[test]
fn history_on_disk_first_then_the_epoch_then_the_word() {
    let mut world = ensemble(3, 3, &[1, 2]);
    writes(&mut world, 3, 1);
    world.crash_keeping(id(1), 0);
    writes(&mut world, 3, 5);
    world.end_role(id(3));
    world.run_ms(10);
    led_by(&mut world, 3, &[2]);
    world.restart(id(1));
    world.server_mut(id(1)).disk_stalls = true;
    world.follow(id(1), id(3));
    world.run_ms(100);
    let server = world.server(id(1));
    assert_eq!((server.disk.entries.len(), server.disk.flushed, server.disk.current_epoch), (6, 1, 1));
    assert!(!server.is_serving());
    world.crash_keeping(id(1), 2);
    world.restart(id(1));
    assert_eq!((history(&world, 1).len(), world.server(id(1)).disk.current_epoch), (3, 1));
    world.follow(id(1), id(3));
    world.run_ms(50);
    assert_eq!(world.server(id(1)).disk.current_epoch, 2);
    assert!(world.has_converged());
}

/// A snapshot takes long to be saved, and writes go on: who takes it does not count (3104), and what comes behind it is
/// not in the log before it; a crash in the middle leaves what was there before (3642).
#[test]
fn a_snapshot_is_whole_or_not_there() {
    let mut world = ensemble(3, 3, &[2]);
    world.options.retained = 3;
    world.options.disk_history = false;
    world.options.save_us = (100_000, 100_000);
    writes(&mut world, 3, 10);
    world.follow(id(1), id(3));
    world.run_ms(10);
    writes(&mut world, 3, 5);
    assert_eq!(counted(&world, "SNAP"), 1);
    assert_eq!((history(&world, 1).len(), world.server(id(1)).disk.current_epoch), (0, 0));
    world.crash_keeping(id(1), 0);
    world.restart(id(1));
    assert!(history(&world, 1).is_empty());
    world.follow(id(1), id(3));
    world.run_ms(10);
    writes(&mut world, 3, 5);
    world.run_ms(200);
    assert!(world.has_converged());
    assert_eq!(history(&world, 1).len(), 20);
}

/// Server 1 joins with a gap behind it and leads later; server 2, as far behind, must not inherit the gap (2846, 4925).
#[test]
fn whoever_was_brought_up_by_a_snapshot_sends_no_hole_on() {
    let mut world = ensemble(3, 3, &[1, 2]);
    world.options.retained = 3;
    world.options.disk_history = false;
    writes(&mut world, 3, 2);
    world.crash_keeping(id(1), 0);
    world.run_ms(5);
    writes(&mut world, 3, 20);
    world.restart(id(1));
    world.follow(id(1), id(3));
    world.run_ms(50);
    assert_eq!(counted(&world, "SNAP"), 1);
    world.crash_keeping(id(2), 0);
    writes(&mut world, 3, 10);
    world.crash_keeping(id(3), 0);
    world.run_ms(5);
    // Server 1's log begins behind its snapshot: at 22 of 32. Server 2 ends exactly there.
    world.restart(id(2));
    world.options.disk_history = true;
    led_by(&mut world, 1, &[2]);
    assert_eq!(counted(&world, "SNAP"), 2);
    world.restart(id(3));
    world.follow(id(3), id(1));
    world.run_ms(50);
    assert!(world.has_converged());
}

/// A follower joins while the others write without a pause: commits come between NEWLEADER and UPTODATE (4394).
#[test]
fn commits_in_every_phase_of_a_join() {
    for offset_us in (0..3000).step_by(50) {
        let options = Options { flush_us: (400, 400), ..Options::default() };
        let mut world = World::new(options, 7);
        led_by(&mut world, 3, &[2]);
        world.follow(id(1), id(3));
        world.run(offset_us);
        for _ in 0..20 {
            world.write(id(3));
            world.run(130);
        }
        world.run_ms(20);
        assert!(world.has_converged(), "writes from {offset_us} us on");
    }
}

fn learner(last_zxid: Zxid) -> (Learner, Vec<LearnerOutput>) {
    let start = LearnerStart {
        me: id(1),
        observer: false,
        votes_next: false,
        limits: Options::default().limits,
        accepted_epoch: 1,
        current_epoch: 1,
        last_zxid,
        config_version: 0,
    };
    let mut learner = Learner::new(start, Instant::default());
    let mut out = Vec::new();
    learner.step(Instant::default(), LearnerInput::Connected, &mut out);
    tell(&mut learner, QuorumPacket::LeaderInfo { epoch: 2, protocol_version: 0x10000 });
    (learner, out)
}

fn tell(learner: &mut Learner, packet: QuorumPacket) -> Vec<LearnerOutput> {
    let mut out = Vec::new();
    learner.step(Instant::default(), LearnerInput::Packet(packet), &mut out);
    out
}

fn proposal(zxid: Zxid) -> QuorumPacket {
    QuorumPacket::Proposal { zxid, entry: Arc::from(&b"entry"[..]) }
}

/// A leader that leaves something out is left (4925), and so is one that cuts where nothing is.
#[test]
fn holes_are_refused() {
    for bad in [Zxid::new(1, 5), Zxid::new(1, 3), Zxid::new(2, 2), Zxid::new(3, 1)] {
        let (mut learner, _) = learner(Zxid::new(1, 3));
        tell(&mut learner, QuorumPacket::Diff { zxid: Zxid::new(1, 9) });
        let out = tell(&mut learner, proposal(bad));
        assert!(matches!(out[..], [LearnerOutput::GiveUp { .. }]), "{bad}: {out:?}");
    }
    let (mut cut, _) = learner(Zxid::new(1, 3));
    let out = tell(&mut cut, QuorumPacket::Trunc { zxid: Zxid::new(1, 4) });
    assert!(matches!(out[..], [LearnerOutput::GiveUp { .. }]), "{out:?}");
}

/// TRUNC, with proposals behind it.
#[test]
fn a_cut_log_goes_on_where_it_was_cut() {
    let (mut learner, _) = learner(Zxid::new(1, 7));
    let to = Zxid::new(1, 5);
    assert_eq!(tell(&mut learner, QuorumPacket::Trunc { zxid: to }), [LearnerOutput::Truncate { to }]);
    let next = Zxid::new(1, 6);
    assert!(matches!(tell(&mut learner, proposal(next))[..], [LearnerOutput::Append { zxid, .. }] if zxid == next));
    assert!(tell(&mut learner, QuorumPacket::NewLeader { zxid: Zxid::new(2, 0), config: None }).is_empty());
    let mut out = Vec::new();
    learner.step(Instant::default(), LearnerInput::Flushed { through: next }, &mut out);
    let ack = QuorumPacket::Ack { zxid: Zxid::new(2, 0) };
    assert_eq!(out, [LearnerOutput::PersistCurrentEpoch { epoch: 2 }, LearnerOutput::Send(ack)]);
}

/// Acknowledgements of proposals overtake that of NEWLEADER (4685, Java's threads do it): they count when that one comes.
#[test]
fn an_early_acknowledgement_is_kept() {
    let world = World::new(Options::default(), 1);
    let start = LeaderStart {
        me: id(3),
        config: world.config.clone(),
        last_seen: None,
        reconfig_enabled: false,
        limits: world.options.limits,
        accepted_epoch: 0,
        current_epoch: 0,
        last_zxid: Zxid::ZERO,
    };
    let now = Instant::default();
    let mut leader = Leader::new(start, now);
    let mut out = Vec::new();
    let mut join = |leader: &mut Leader, server: i64, until_acknowledged: bool| {
        let link = LinkId(server as u64);
        let info = LearnerInfo { server: id(server), protocol_version: 0x10000, config_version: 0, drops_log: false };
        let mut packets = vec![
            QuorumPacket::LearnerInfo { observer: false, accepted_epoch: 0, info: Some(info) },
            QuorumPacket::AckEpoch { last_zxid: Zxid::ZERO, current_epoch: Some(0) },
        ];
        if until_acknowledged {
            packets.push(QuorumPacket::Ack { zxid: Zxid::new(1, 0) });
        }
        for packet in packets {
            leader.step(now, LeaderInput::Packet { link, packet }, &mut out);
        }
    };
    join(&mut leader, 1, true);
    assert!(leader.is_established());
    let zxid = Zxid::new(1, 1);
    let mut said = Vec::new();
    leader.step(now, LeaderInput::Proposed { zxid }, &mut said);
    join(&mut leader, 2, false);
    let link = LinkId(2);
    leader.step(now, LeaderInput::Flushed { through: zxid }, &mut said);
    leader.step(now, LeaderInput::Packet { link, packet: QuorumPacket::Ack { zxid } }, &mut said);
    assert_eq!(said, [], "server 2 is not known to have the history");
    leader.step(now, LeaderInput::Packet { link, packet: QuorumPacket::Ack { zxid: Zxid::new(1, 0) } }, &mut said);
    let up = LeaderOutput::Send { link, packet: QuorumPacket::UpToDate };
    assert_eq!(said, [up, LeaderOutput::Commit { through: zxid }]);
}

/// A learner that waited for others nearly as long as may be is not taken for a silent one when its turn comes.
#[test]
fn waiting_for_others_is_no_silence() {
    let mut world = World::new(Options { voters: 5, ..Options::default() }, 7);
    let limits = world.options.limits;
    world.lead(id(5));
    world.follow(id(1), id(5));
    // Two of five; the third comes when initLimit is nearly over.
    world.run_ms(limits.init_ms() - 60);
    world.follow(id(2), id(5));
    world.run_ms(40);
    assert!(world.server(id(5)).is_established());
    world.run_ms(limits.sync_ms() * 3);
    assert!(world.server(id(1)).is_serving() && world.server(id(2)).is_serving());
    assert_eq!(world.ghost.newest_epoch(), 1, "nobody was closed");
}

/// A disk that hangs: its server is left behind after syncLimit, and taken back when it has caught up.
#[test]
fn who_never_acknowledges_is_closed() {
    let mut world = ensemble(3, 3, &[1, 2]);
    world.server_mut(id(1)).disk_stalls = true;
    writes(&mut world, 3, 1);
    let limits = world.options.limits;
    world.run_ms(limits.sync_ms() + 3 * limits.tick_ms);
    assert!(!world.server(id(1)).is_serving());
    assert!(world.server(id(2)).is_serving() && world.server(id(3)).is_established());
}
