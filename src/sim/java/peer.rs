//! One modelled Java server: `QuorumPeer`. Looks for a leader, follows one or leads, and looks again. It takes turns as our
//! ensemble thread does, over the same sockets, and shows its tree as our servers do.

use super::connections::Connections;
use super::database::Database;
use super::disk::{Entry, JavaDisk, Mark};
use super::election::{Election, Outcome, Waits};
use super::follower::Follower;
use super::leader::Leader;
use super::outbox::{Failure, Outbox};
use crate::message::lane::{Standing, StandingSign};
use crate::message::{Notification, Vote};
use crate::request::RequestRules;
use crate::runtime::link_io::{LinkAction, LinkEvent, PeerPort};
use crate::sim::Random;
use crate::tree::TreeReader;
use crate::types::{Instant, LinkId, Now, Quorum, QuorumConfig, ServerId, ServerState, Zxid};
use crate::wire::election::encode_notification;
use crate::zab::Limits;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

#[derive(Clone)]
pub struct JavaRules {
    pub me: ServerId,
    pub config: Arc<QuorumConfig>,
    pub limits: Limits,
    pub waits: Waits,
    pub request: RequestRules,
    /// `commitLogCount`; Java's least is 500, which no simulation would ever leave.
    pub commit_log_count: usize,
    pub forces_snapshot: bool,
    /// `snapshotSizeFactor`: the log on disk is used, or not.
    pub syncs_from_log: bool,
    /// Which members are of this kind.
    pub java: BTreeSet<ServerId>,
}

/// What a role stands on.
pub struct Ground<'a> {
    pub rules: &'a JavaRules,
    pub database: &'a mut Database,
    pub disk: &'a JavaDisk,
    pub out: &'a mut Outbox,
    pub random: &'a mut Random,
    pub now: Now,
    /// Logged by this role and not flushed: how many entries there are then.
    logged: &'a mut VecDeque<(usize, Zxid)>,
}

impl Ground<'_> {
    /// Appends to the log; the role is told when it is flushed.
    pub fn log(&mut self, entry: Entry) {
        let zxid = entry.0;
        let entries = self.disk.append(entry);
        self.logged.push_back((entries, zxid));
    }
}

enum Role {
    Looking,
    Following(Box<Follower>),
    Leading(Box<Leader>),
}

/// What a turn wants done.
pub struct Wants {
    pub links: Vec<LinkAction>,
    pub flushes: bool,
    pub deadline: Instant,
}

pub struct JavaPeer {
    rules: JavaRules,
    random: Random,
    disk: JavaDisk,
    database: Database,
    connections: Connections,
    election: Election,
    /// `currentVote`
    vote: Vote,
    role: Role,
    standing: StandingSign,
    out: Outbox,
    logged: VecDeque<(usize, Zxid)>,
    flush: Option<Mark>,
    /// It has told somebody of the epoch that it is active in.
    is_active: bool,
    /// What a follower has published.
    shown: Zxid,
    has_begun: bool,
}

impl JavaPeer {
    pub fn start(rules: JavaRules, disk: JavaDisk, standing: StandingSign, random: Random) -> JavaPeer {
        let database = Database::load(&disk, &rules.request, &rules.config, rules.commit_log_count);
        let mut out = Outbox::default();
        let voters = Quorum::of(&rules.config.membership);
        let vote =
            Vote { leader: rules.me, zxid: database.last_processed, round: -1, peer_epoch: disk.current_epoch() };
        JavaPeer {
            connections: Connections::new(rules.me, &mut out),
            election: Election::new(rules.me, voters, rules.waits),
            rules,
            random,
            disk,
            database,
            vote,
            role: Role::Looking,
            standing,
            out,
            logged: VecDeque::new(),
            flush: None,
            is_active: false,
            shown: Zxid::ZERO,
            has_begun: false,
        }
    }

    pub fn reader(&self) -> TreeReader {
        self.database.tree.reader()
    }

    pub fn history_after(&self, zxid: Zxid) -> Option<Vec<Entry>> {
        self.database.history_after(zxid)
    }

    pub fn flushed_through(&self) -> Zxid {
        self.disk.flushed_through()
    }

    /// An error says what the process ended over.
    pub fn turn(&mut self, now: Now, flushed: bool, events: &mut Vec<LinkEvent>) -> Result<Wants, String> {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.look_for_leader(now);
        }
        if flushed {
            let outcome = self.flush_ended(now);
            self.settle(outcome, now)?;
        }
        for event in std::mem::take(events) {
            let outcome = self.event(event, now);
            self.settle(outcome, now)?;
        }
        let outcome = self.time_passes(now);
        self.settle(outcome, now)?;
        self.show();
        let flushes = self.flush.is_none() && self.disk.has_unflushed();
        if flushes {
            self.flush = Some(self.disk.mark());
        }
        Ok(Wants { links: std::mem::take(&mut self.out.actions), flushes, deadline: self.deadline() })
    }

    fn deadline(&self) -> Instant {
        match &self.role {
            Role::Looking => self.election.deadline(),
            Role::Following(follower) => follower.deadline(),
            Role::Leading(leader) => leader.deadline(),
        }
    }

    fn parts(&mut self, now: Now) -> (&mut Role, Ground<'_>) {
        let JavaPeer { rules, random, disk, database, role, out, logged, .. } = self;
        (role, Ground { rules, database, disk, out, random, now, logged })
    }

    /// Ends the role that has failed, or the process.
    fn settle(&mut self, outcome: Result<(), Failure>, now: Now) -> Result<(), String> {
        match outcome {
            Ok(()) => {}
            Err(Failure::Misled(why)) => return Err(format!("a Java server {why}")),
            Err(Failure::GivesUp(why)) => {
                tracing::info!("java {}: {why}", self.rules.me.0);
                self.end_role(now);
                self.look_for_leader(now);
            }
        }
        self.become_active();
        Ok(())
    }

    fn end_role(&mut self, now: Now) {
        let (role, mut ground) = self.parts(now);
        match std::mem::replace(role, Role::Looking) {
            Role::Looking => {}
            Role::Following(follower) => follower.end(ground.database, ground.disk, ground.out),
            Role::Leading(leader) => leader.end(&mut ground),
        }
        self.logged.clear();
        if std::mem::take(&mut self.is_active) {
            self.standing.end();
        }
    }

    /// All learners know the leader's new epoch, and votes are to be equal (`updateElectionVote`).
    fn become_active(&mut self) {
        let (epoch, standing) = match &self.role {
            Role::Looking => return,
            Role::Following(follower) => (follower.serves(), Standing::Following),
            Role::Leading(leader) => (leader.leads(), Standing::Leading),
        };
        if let Some(epoch) = epoch
            && !std::mem::replace(&mut self.is_active, true)
        {
            self.vote.peer_epoch = epoch;
            self.shown = self.database.last_processed;
            self.database.publish();
            self.standing.set(standing);
        }
    }

    /// A follower's tree is all committed; of a leader's, commits show it.
    fn show(&mut self) {
        let processed = self.database.last_processed;
        if self.is_active && processed != self.shown && matches!(self.role, Role::Following(_)) {
            self.shown = processed;
            self.database.publish();
        }
    }

    fn flush_ended(&mut self, now: Now) -> Result<(), Failure> {
        let Some(mark) = self.flush.take() else { return Ok(()) };
        if !self.disk.flushed(mark) {
            return Ok(());
        }
        let mut zxids = Vec::new();
        while let Some((_, zxid)) = self.logged.pop_front_if(|(entries, _)| *entries <= mark.entries) {
            zxids.push(zxid);
        }
        let (role, mut ground) = self.parts(now);
        match role {
            Role::Looking => Ok(()),
            Role::Following(follower) => {
                follower.flushed(&zxids, &mut ground);
                Ok(())
            }
            Role::Leading(leader) => leader.flushed(&zxids, &mut ground),
        }
    }

    fn event(&mut self, event: LinkEvent, now: Now) -> Result<(), Failure> {
        let link = match &event {
            LinkEvent::Accepted { link, port, .. } => {
                let (link, port) = (*link, *port);
                return self.accepted(event, link, port, now);
            }
            LinkEvent::Opened { link, .. } | LinkEvent::Received { link, .. } | LinkEvent::Closed { link, .. } => *link,
            LinkEvent::Sent { .. } | LinkEvent::Listening { .. } | LinkEvent::ListenFailed { .. } => return Ok(()),
        };
        if self.connections.has(link) {
            let mut heard = Vec::new();
            self.connections.event(event, &mut heard, &mut self.out);
            heard.into_iter().for_each(|(server, notification)| self.heard(server, &notification, now));
            return Ok(());
        }
        let (role, mut ground) = self.parts(now);
        match role {
            Role::Following(follower) if follower.link == Some(link) => match event {
                LinkEvent::Opened { .. } => follower.opened(&mut ground),
                LinkEvent::Received { bytes, .. } => {
                    ground.out.read_on(link);
                    return follower.received(&bytes, &mut ground);
                }
                _ => return follower.closed(&ground),
            },
            Role::Leading(leader) if leader.handlers.contains_key(&link) => match event {
                LinkEvent::Received { bytes, .. } => {
                    ground.out.read_on(link);
                    return leader.received(link, &bytes, &mut ground);
                }
                _ => leader.closed(link),
            },
            _ => {}
        }
        Ok(())
    }

    fn accepted(&mut self, event: LinkEvent, link: LinkId, port: PeerPort, now: Now) -> Result<(), Failure> {
        let (role, ground) = self.parts(now);
        match (port, role) {
            (PeerPort::Election, _) => self.connections.event(event, &mut Vec::new(), &mut self.out),
            (PeerPort::Quorum, Role::Leading(leader)) => leader.accepted(link, &ground),
            _ => self.out.close(link),
        }
        Ok(())
    }

    fn time_passes(&mut self, now: Now) -> Result<(), Failure> {
        let (role, mut ground) = self.parts(now);
        match role {
            Role::Following(follower) => return follower.time_passes(&mut ground),
            Role::Leading(leader) => return leader.time_passes(&mut ground),
            Role::Looking => {}
        }
        if self.election.deadline() <= now.mono {
            let outcome = self.election.timed_out(self.connections.has_delivered(), now.mono);
            self.elects(outcome, now);
        }
        Ok(())
    }

    // The election.

    fn look_for_leader(&mut self, now: Now) {
        self.election.begin(self.database.last_processed, self.disk.current_epoch(), now.mono);
        self.tell_all(now);
    }

    fn state(&self) -> ServerState {
        match self.role {
            Role::Looking => ServerState::Looking,
            Role::Following(_) => ServerState::Following,
            Role::Leading(_) => ServerState::Leading,
        }
    }

    fn say(&mut self, to: ServerId, state: ServerState, vote: &Vote) {
        let mut frame = Vec::new();
        encode_notification(state, vote, &self.rules.config.to_string(), &mut frame);
        self.connections.send(to, frame, &mut self.out);
    }

    /// `sendNotifications`: also to itself, without a connection.
    fn tell_all(&mut self, now: Now) {
        let proposal = self.election.proposal();
        let others = self.rules.config.membership.voter_ids().filter(|voter| *voter != self.rules.me);
        let others: Vec<ServerId> = others.collect();
        for voter in others {
            self.say(voter, ServerState::Looking, &proposal);
        }
        let own =
            Notification { state: ServerState::Looking, vote: proposal, version: Notification::VERSION, config: None };
        self.heard(self.rules.me, &own, now);
    }

    /// `WorkerReceiver`
    fn heard(&mut self, from: ServerId, notification: &Notification, now: Now) {
        let (state, vote) = (self.state(), self.vote);
        let is_looking = notification.state == ServerState::Looking;
        if !self.election.is_voter(from) {
            let vote = Vote { round: self.election.round, ..vote };
            return self.say(from, state, &vote);
        }
        if state != ServerState::Looking {
            if is_looking {
                self.say(from, state, &vote);
            }
            return;
        }
        if is_looking && self.election.is_behind(&notification.vote) && from != self.rules.me {
            let proposal = self.election.proposal();
            self.say(from, ServerState::Looking, &proposal);
        }
        let outcome = self.election.take(from, notification, now.mono);
        self.elects(outcome, now);
    }

    fn elects(&mut self, outcome: Outcome, now: Now) {
        if outcome.tells_all {
            self.tell_all(now);
        }
        if outcome.connects_all {
            self.connections.connect_all(&mut self.out);
        }
        let Some(vote) = outcome.elected else { return };
        self.vote = vote;
        tracing::info!("java {}: elects {} in round {}", self.rules.me.0, vote.leader.0, vote.round);
        let me = self.rules.me;
        let (role, mut ground) = self.parts(now);
        *role = match vote.leader == me {
            true => Role::Leading(Box::new(Leader::begin(&mut ground).expect("a beginning is no failure"))),
            false => Role::Following(Box::new(Follower::begin(vote.leader, &mut ground))),
        };
    }
}
