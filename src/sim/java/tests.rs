//! The model against what Java's servers were seen to do: bytes that were captured from them (facts sheet §3 and §17), the rules
//! of their elections, what makes them exit; and ensembles in which every voter is one of them.

use super::disk::{JavaDisk, Snapshot};
use super::election::{Election, Outcome, Waits};
use super::peer::{JavaPeer, JavaRules, Wants};
use crate::message::lane::{Standing, StandingSign};
use crate::message::{Notification, QuorumPacket, TxnBody, TxnHeader, Vote};
use crate::request::RequestRules;
use crate::runtime::link_io::{LinkAction, LinkEvent, PeerPort};
use crate::sim::Random;
use crate::sim::options::QUORUM_PORT;
use crate::sim::simulator::run_changed;
use crate::types::{
    Instant, LinkId, Membership, Now, Quorum, QuorumConfig, ServerId, ServerState, SessionId, WallMillis, Zxid,
};
use crate::wire::election::{encode_introduction, encode_notification};
use crate::wire::quorum::{Side, encode};
use crate::wire::txn;
use crate::zab::Limits;
use std::collections::BTreeSet;
use std::sync::Arc;

const WAITS: Waits = Waits { finalize_ms: 200, least_ms: 200, most_ms: 60_000 };
const ONE: ServerId = ServerId(1);
const TWO: ServerId = ServerId(2);
const THREE: ServerId = ServerId(3);

fn config() -> QuorumConfig {
    QuorumConfig::parse("server.1=server1:2888:3888\nserver.2=server2:2888:3888\nserver.3=server3:2888:3888").unwrap()
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn vote(leader: ServerId, zxid: Zxid, round: i64, peer_epoch: i64) -> Vote {
    Vote { leader, zxid, round, peer_epoch }
}

fn says(state: ServerState, vote: Vote) -> Notification {
    Notification { state, vote, version: Notification::VERSION, config: None }
}

/// A voter of three that has just begun, and heard itself.
fn looking(me: ServerId, zxid: Zxid) -> Election {
    let membership: Membership = config().membership;
    let mut election = Election::new(me, Quorum::of(&membership), WAITS);
    election.begin(zxid, 0, at(0));
    let own = says(ServerState::Looking, election.proposal());
    assert_eq!(election.take(me, &own, at(0)), Outcome::default());
    election
}

/// Data of the captured proposal: header, record and digest of a createSession.
const CREATE_SESSION: &str =
    "01000017b4dc0000 00000000 0000000100000001 000001a202518eed fffffff6 00002710 00000002 0000000051c6d660";

// Elections.

#[test]
fn a_quorum_is_waited_upon_for_200_ms_from_the_last_notification_on() {
    let mut election = looking(TWO, Zxid::ZERO);
    let agrees = says(ServerState::Looking, election.proposal());
    assert_eq!(election.take(ONE, &agrees, at(10)), Outcome::default());
    assert_eq!(election.deadline(), at(210));
    // One that does not know better makes it wait anew.
    let worse = says(ServerState::Looking, vote(ONE, Zxid::ZERO, 1, 0));
    assert_eq!(election.take(ONE, &worse, at(100)), Outcome::default());
    assert_eq!(election.deadline(), at(300));
    assert_eq!(election.timed_out(true, at(300)).elected, Some(election.proposal()));
}

#[test]
fn a_better_vote_within_the_wait_wins() {
    let mut election = looking(TWO, Zxid::ZERO);
    let agrees = says(ServerState::Looking, election.proposal());
    election.take(ONE, &agrees, at(10));
    let better = vote(THREE, Zxid::ZERO, 1, 0);
    assert!(election.take(THREE, &says(ServerState::Looking, better), at(100)).tells_all);
    // Its own vote, told to itself, and that of the third are a quorum.
    election.take(TWO, &says(ServerState::Looking, election.proposal()), at(101));
    assert_eq!(election.deadline(), at(301));
    assert_eq!(election.timed_out(true, at(301)).elected, Some(better));
}

#[test]
fn epoch_comes_before_zxid_and_zxid_before_id() {
    for (offered, wins) in [
        (vote(ONE, Zxid::new(1, 9), 1, 0), true),
        (vote(ONE, Zxid::new(1, 1), 1, 0), false),
        (vote(ONE, Zxid::ZERO, 1, 1), true),
        (vote(THREE, Zxid::new(1, 5), 1, 0), true),
        (vote(ONE, Zxid::new(1, 5), 1, 0), false),
    ] {
        let mut election = looking(TWO, Zxid::new(1, 5));
        let from = if offered.leader == THREE { THREE } else { ONE };
        assert_eq!(election.take(from, &says(ServerState::Looking, offered), at(1)).tells_all, wins, "{offered:?}");
    }
}

#[test]
fn a_later_round_begins_anew_and_an_earlier_one_does_not_count() {
    let mut election = looking(THREE, Zxid::ZERO);
    let later = says(ServerState::Looking, vote(TWO, Zxid::ZERO, 7, 0));
    assert!(election.take(TWO, &later, at(1)).tells_all);
    assert_eq!(election.proposal(), vote(THREE, Zxid::ZERO, 7, 0));
    let earlier = says(ServerState::Looking, vote(TWO, Zxid::new(5, 5), 6, 0));
    assert_eq!(election.take(TWO, &earlier, at(2)), Outcome::default());
    assert_eq!(election.proposal(), vote(THREE, Zxid::ZERO, 7, 0));
}

#[test]
fn the_wait_for_notifications_doubles() {
    let mut election = looking(ONE, Zxid::ZERO);
    for (now, next, has_delivered) in [(200, 600, true), (600, 1400, false), (1400, 3000, true)] {
        assert_eq!(election.deadline(), at(now));
        let outcome = election.timed_out(has_delivered, at(now));
        assert_eq!((outcome.tells_all, outcome.connects_all), (has_delivered, !has_delivered));
        assert_eq!(election.deadline(), at(next));
    }
}

/// Equal leader and epoch count, whatever zxid and round say; and the leader has to say that it leads.
#[test]
fn a_late_server_joins_those_that_have_a_leader() {
    let settled = vote(TWO, Zxid::new(1, 4), 5, 2);
    let of_leader = vote(TWO, Zxid::new(1, 9), 6, 2);
    let mut election = looking(THREE, Zxid::new(1, 9));
    assert_eq!(election.take(ONE, &says(ServerState::Following, settled), at(1)), Outcome::default());
    let outcome = election.take(TWO, &says(ServerState::Leading, of_leader), at(2));
    assert_eq!(outcome.elected, Some(of_leader));
    assert_eq!(election.round, 6);
    // The same from followers alone is nothing.
    let mut election = looking(THREE, Zxid::ZERO);
    election.take(ONE, &says(ServerState::Following, settled), at(1));
    assert_eq!(election.take(TWO, &says(ServerState::Following, settled), at(2)), Outcome::default());
}

// Servers.

/// One server, and everything around it in the hands of the test.
struct Stage {
    peer: JavaPeer,
    disk: JavaDisk,
    standing: StandingSign,
    now_ms: u64,
    events: Vec<LinkEvent>,
    flushes: bool,
}

impl Stage {
    fn of(me: ServerId, disk: JavaDisk) -> Stage {
        let rules = JavaRules {
            me,
            config: Arc::new(config()),
            limits: Limits { tick_ms: 1000, init_ticks: 10, sync_ticks: 5 },
            waits: WAITS,
            request: RequestRules::default(),
            commit_log_count: 500,
            forces_snapshot: false,
            syncs_from_log: true,
            java: BTreeSet::from([me]),
        };
        let standing = StandingSign::new(Standing::Looking);
        let peer = JavaPeer::start(rules, disk.clone(), standing.clone(), Random::new(1));
        Stage { peer, disk, standing, now_ms: 1000, events: Vec::new(), flushes: false }
    }

    fn try_turn(&mut self) -> Result<Vec<LinkAction>, String> {
        let now = Now { mono: at(self.now_ms), wall: WallMillis(0x01a2_0251_8eed) };
        let flushed = std::mem::take(&mut self.flushes);
        let Wants { links, flushes, .. } = self.peer.turn(now, flushed, &mut self.events)?;
        self.flushes = flushes;
        Ok(links)
    }

    fn turn(&mut self) -> Vec<LinkAction> {
        self.try_turn().expect("it goes on")
    }

    fn receives(&mut self, link: LinkId, bytes: Vec<u8>) {
        self.events.push(LinkEvent::Received { link, bytes });
    }

    /// What the process ends over once it is told that.
    fn ends_over(&mut self, link: LinkId, packets: &[QuorumPacket]) -> String {
        packets.iter().for_each(|packet| self.receives(link, packed(packet, Side::Leader)));
        match self.try_turn() {
            Ok(actions) => panic!("it goes on: {actions:?}"),
            Err(why) => why,
        }
    }

    /// Others follow `leader`, or vote for it while they look: this one hears it, and does the same.
    fn hears_of(&mut self, leader: ServerId, state: ServerState) {
        self.turn();
        for (other, link) in [(TWO, LinkId(101)), (THREE, LinkId(103))] {
            let peer = "10.0.0.9:1".parse().expect("an address");
            self.events.push(LinkEvent::Accepted { link, port: PeerPort::Election, peer });
            let mut bytes = Vec::new();
            let address = crate::wire::election::ElectionAddress { host: "h".to_owned(), port: 1 };
            encode_introduction(other, &[address], false, &mut bytes);
            let state = if other == leader && state == ServerState::Following { ServerState::Leading } else { state };
            encode_notification(state, &vote(leader, Zxid::ZERO, 1, 0), &config().to_string(), &mut bytes);
            self.receives(link, bytes);
        }
    }
}

fn packed(packet: &QuorumPacket, from: Side) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(packet, from, &mut bytes);
    bytes
}

fn sent_over(actions: &[LinkAction], over: LinkId) -> Vec<u8> {
    let sent = actions.iter().filter_map(|action| match action {
        LinkAction::Send { link, bytes } if *link == over => Some(bytes.clone()),
        _ => None,
    });
    sent.flatten().collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn entry(zxid: Zxid) -> Arc<[u8]> {
    let header = TxnHeader { session: SessionId(7), cxid: 1, zxid, time: WallMillis(1) };
    let mut bytes = Vec::new();
    txn::encode(&header, &TxnBody::Error(-101), None, &mut bytes);
    bytes.into()
}

fn proposal(zxid: Zxid) -> QuorumPacket {
    QuorumPacket::Proposal { zxid, entry: entry(zxid) }
}

/// A follower that the leader has greeted with LEADERINFO, and its connection.
fn greeted(disk: JavaDisk, epoch: i64) -> (Stage, LinkId) {
    let mut stage = Stage::of(ONE, disk);
    stage.hears_of(TWO, ServerState::Following);
    let actions = stage.turn();
    let dialled = actions.iter().find_map(|action| match action {
        LinkAction::Dial { link, port: QUORUM_PORT, .. } => Some(*link),
        _ => None,
    });
    let link = dialled.expect("it connects to the leader");
    stage.events.push(LinkEvent::Opened { link, local: "10.0.0.1:1".parse().unwrap() });
    stage.receives(link, packed(&QuorumPacket::LeaderInfo { epoch, protocol_version: 0x10000 }, Side::Leader));
    (stage, link)
}

/// As above, and it has acknowledged the epoch.
fn registered(disk: JavaDisk, epoch: i64) -> (Stage, LinkId) {
    let (mut stage, link) = greeted(disk, epoch);
    stage.turn();
    (stage, link)
}

/// The captured session of a follower that joins with nothing (facts sheet §17).
#[test]
fn a_follower_says_what_javas_was_captured_saying() {
    let (mut stage, link) = greeted(JavaDisk::default(), 1);
    let said = sent_over(&stage.turn(), link);
    let follower_info = "0000000b 0000000000000000 00000014 0000000000000001 00010000 0000000000000000 ffffffff";
    let ack_epoch = "00000012 0000000000000000 00000004 00000000 ffffffff";
    assert_eq!(said, hex(&[follower_info, ack_epoch].concat()));
    stage.receives(link, hex("0000000d 0000000000000000 ffffffff ffffffff"));
    let config = config().to_string();
    let new_leader = QuorumPacket::NewLeader { zxid: Zxid::new(1, 0), config: Some(config.into()) };
    stage.receives(link, packed(&new_leader, Side::Leader));
    let ack = hex("00000003 0000000100000000 ffffffff ffffffff");
    assert_eq!(sent_over(&stage.turn(), link), ack);
    assert_eq!((stage.disk.accepted_epoch(), stage.disk.current_epoch()), (1, 1));
    assert_eq!(stage.standing.get(), Standing::Looking);
    stage.receives(link, hex("0000000c ffffffffffffffff ffffffff ffffffff"));
    assert_eq!(sent_over(&stage.turn(), link), ack);
    assert_eq!(stage.standing.get(), Standing::Following);
    stage.receives(link, hex("00000005 0000000100000000 ffffffff ffffffff"));
    assert_eq!(sent_over(&stage.turn(), link), hex("00000005 0000000100000000 00000000 ffffffff"));
    // A proposal is acknowledged once it is flushed.
    let data = hex(CREATE_SESSION);
    let mut bytes = hex("00000002 0000000100000001");
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data);
    bytes.extend(hex("ffffffff"));
    stage.receives(link, bytes);
    assert!(sent_over(&stage.turn(), link).is_empty());
    assert_eq!(sent_over(&stage.turn(), link), hex("00000003 0000000100000001 ffffffff ffffffff"));
    stage.receives(link, hex("00000004 0000000100000001 ffffffff ffffffff"));
    stage.turn();
    let reader = stage.peer.reader();
    let shown = reader.pin();
    let view = shown.view();
    assert_eq!((view.last_zxid(), view.digest()), (Zxid::new(1, 1), 0x51c6_d660));
    assert_eq!(view.session(SessionId(0x0100_0017_b4dc_0000)), Some(10_000));
}

/// The other side of the captured session.
#[test]
fn a_leader_says_what_javas_was_captured_saying() {
    let mut stage = Stage::of(TWO, JavaDisk::default());
    stage.turn();
    let (election, quorum) = (LinkId(103), LinkId(105));
    let peer = "10.0.0.9:1".parse().unwrap();
    stage.events.push(LinkEvent::Accepted { link: election, port: PeerPort::Election, peer });
    let mut bytes = Vec::new();
    let address = crate::wire::election::ElectionAddress { host: "h".to_owned(), port: 1 };
    encode_introduction(THREE, &[address], false, &mut bytes);
    encode_notification(ServerState::Looking, &vote(TWO, Zxid::ZERO, 1, 0), &config().to_string(), &mut bytes);
    stage.receives(election, bytes);
    stage.turn();
    stage.now_ms += 200;
    let actions = stage.turn();
    assert!(actions.iter().any(|a| matches!(a, LinkAction::Listen { port: PeerPort::Quorum, .. })), "{actions:?}");
    stage.events.push(LinkEvent::Accepted { link: quorum, port: PeerPort::Quorum, peer });
    let says = |stage: &mut Stage, bytes: &str| {
        stage.receives(quorum, hex(bytes));
        sent_over(&stage.turn(), quorum)
    };
    let said =
        says(&mut stage, "0000000b 0000000000000000 00000014 0000000000000001 00010000 0000000000000000 ffffffff");
    assert_eq!(said, hex("00000011 0000000100000000 00000004 00010000 ffffffff"));
    let said = says(&mut stage, "00000012 0000000000000000 00000004 00000000 ffffffff");
    let config = config().to_string();
    let mut expected = hex("0000000d 0000000000000000 ffffffff ffffffff 0000000a 0000000100000000");
    expected.extend((config.len() as u32).to_be_bytes());
    expected.extend(config.bytes());
    expected.extend(hex("ffffffff"));
    assert_eq!(said, expected);
    let said = says(&mut stage, "00000003 0000000100000000 ffffffff ffffffff");
    assert_eq!(said, hex("0000000c ffffffffffffffff ffffffff ffffffff"));
    assert_eq!(stage.standing.get(), Standing::Leading);
    says(&mut stage, "00000003 0000000100000000 ffffffff ffffffff");
    let said =
        says(&mut stage, "00000001 ffffffffffffffff 00000014 01000017b4dc0000 00000000 fffffff6 00002710 ffffffff");
    let header = "00000002 0000000100000001 00000030";
    assert_eq!(said, hex(&[header, CREATE_SESSION, "ffffffff"].concat()));
    // Its own disk and the follower's are a quorum.
    stage.turn();
    let said = says(&mut stage, "00000003 0000000100000001 ffffffff ffffffff");
    assert_eq!(said, hex("00000004 0000000100000001 ffffffff ffffffff"));
    let said = says(&mut stage, "00000006 ffffffffffffffff 0000000c 01000017b4dc0000 00002710 ffffffff");
    assert_eq!(said, hex("00000006 ffffffffffffffff 00000009 01000017b4dc0000 01 ffffffff"));
}

#[test]
fn the_captured_answer_of_a_leader_is_what_this_one_says() {
    let mut stage = Stage::of(ONE, JavaDisk::default());
    stage.hears_of(TWO, ServerState::Following);
    stage.turn();
    let mut bytes = Vec::new();
    encode_notification(ServerState::Looking, &vote(THREE, Zxid::ZERO, 9, 0), &config().to_string(), &mut bytes);
    stage.receives(LinkId(103), bytes);
    let said = sent_over(&stage.turn(), LinkId(103));
    let config = config().to_string();
    // State, leader, zxid, round, epoch as in the capture, but for the state.
    let fields = "00000001 0000000000000002 0000000000000000 0000000000000001 0000000000000000 00000002";
    let mut expected = ((44 + config.len()) as u32).to_be_bytes().to_vec();
    expected.extend(hex(fields));
    expected.extend((config.len() as u32).to_be_bytes());
    expected.extend(config.bytes());
    assert_eq!(said, expected);
}

// What a follower exits or aborts over.

#[test]
fn a_follower_ends_over_a_leader_that_breaks_the_rules() {
    let (one, two, three) = (Zxid::new(1, 1), Zxid::new(1, 2), Zxid::new(1, 3));
    let (diff, first) = (QuorumPacket::Diff { zxid: Zxid::ZERO }, Zxid::new(1, 0));
    let new_leader = QuorumPacket::NewLeader { zxid: first, config: None };
    let commit = |zxid| QuorumPacket::Commit { zxid };
    let serving = [diff.clone(), new_leader.clone(), QuorumPacket::UpToDate];
    let behind = |packets: &[QuorumPacket]| [&serving[..], packets].concat();
    for (packets, why) in [
        (vec![QuorumPacket::UpToDate], "code 13"),
        (vec![QuorumPacket::Trunc { zxid: two }], "code 13"),
        (vec![diff.clone(), proposal(one), proposal(three)], "aborts"),
        (vec![diff.clone(), commit(one)], "aborts"),
        (vec![diff.clone(), proposal(one), commit(two), new_leader.clone()], "is lost"),
        (vec![diff.clone(), QuorumPacket::UpToDate], "UPTODATE before NEWLEADER"),
        (behind(&[commit(one)]), "nothing is proposed"),
        (behind(&[proposal(one), proposal(two), commit(two)]), "code 12"),
        (behind(&[proposal(one), commit(one), proposal(three), commit(three)]), "does not follow"),
    ] {
        let (mut stage, link) = registered(JavaDisk::default(), 1);
        let ended = stage.ends_over(link, &packets);
        assert!(ended.contains(why), "{packets:?}: {ended}");
    }
}

#[test]
fn what_comes_before_uptodate_is_logged_and_committed_behind_it() {
    let (one, two) = (Zxid::new(1, 1), Zxid::new(1, 2));
    let (mut stage, link) = registered(JavaDisk::default(), 1);
    let new_leader = QuorumPacket::NewLeader { zxid: Zxid::new(1, 0), config: None };
    for packet in [QuorumPacket::Diff { zxid: one }, proposal(one), QuorumPacket::Commit { zxid: one }, new_leader] {
        stage.receives(link, packed(&packet, Side::Leader));
    }
    stage.turn();
    assert_eq!(stage.disk.flushed_through(), one, "history is durable before it is acknowledged");
    for packet in [proposal(two), QuorumPacket::Commit { zxid: two }, QuorumPacket::UpToDate] {
        stage.receives(link, packed(&packet, Side::Leader));
    }
    stage.turn();
    let reader = stage.peer.reader();
    assert_eq!(reader.pin().view().last_zxid(), two);
}

/// What our leader must not say to it: see `ensemble/snapshot_feed.rs`.
#[test]
fn a_snapshot_named_before_the_end_of_the_log_brings_that_back_with_the_next_start() {
    let (committed, uncommitted) = (Zxid::new(2, 5), Zxid::new(3, 1));
    let shows_after = |named: Zxid| {
        let disk = JavaDisk::default();
        for zxid in [committed, uncommitted] {
            disk.append((zxid, entry(zxid)));
        }
        disk.flush();
        let stream = disk_stream();
        disk.save_snapshot(Snapshot { zxid: named, stream });
        disk.log_after(named).last().map(|(zxid, _)| *zxid)
    };
    assert_eq!(shows_after(committed), Some(uncommitted));
    assert_eq!(shows_after(Zxid::new(4, 0)), None);
}

fn disk_stream() -> Arc<[u8]> {
    let stage = Stage::of(ONE, JavaDisk::default());
    let reader = stage.peer.reader();
    super::database::stream_of(reader.pin().view())
}

// Ensembles.

/// All voters are Java's: clients are served by an observer of ours, and every checker looks on.
#[test]
fn ensembles_of_java_voters_elect_and_replicate_among_themselves() {
    let (mut commits, mut leader_changes) = (0, 0);
    for seed in 0..4 {
        let report = run_changed(seed, |options| {
            (options.voters, options.observers) = (3, 1);
            options.give_to_java((0..3).collect());
        });
        assert!(report.failure.is_none(), "{report}");
        commits += report.counts.commits;
        leader_changes += report.counts.leader_changes;
    }
    assert!(commits > 400 && leader_changes > 8, "{commits} commits, {leader_changes} leaders");
}

#[test]
fn mixed_ensembles_keep_their_promises_whatever_the_share_of_either_kind() {
    let mut commits = 0;
    for seed in 0..6 {
        let report = run_changed(seed, |options| {
            options.voters = 3;
            options.give_to_java(if seed % 2 == 0 { [1].into() } else { [0, 2].into() });
        });
        assert!(report.failure.is_none(), "{report}");
        commits += report.counts.commits;
    }
    assert!(commits > 600, "{commits} commits");
}
