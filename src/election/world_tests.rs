//! A small world for elections: servers (ours or models of Java's), connections that keep order and break, and just
//! enough of discovery that a leader without followers gives up. Everything is drawn from one seed.

use super::java_tests::JavaModel;
use super::{Election, ElectionRules, Electorate, Input, Output, Phase};
use crate::message::{Notification, Vote};
use crate::types::{Instant, Membership, Quorum, Role, ServerId, ServerState, Zxid};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// How long a leader waits for its quorum, and a follower for its leader (initLimit), in this world.
const INIT_LIMIT_MICROS: u64 = 1_000_000;
const POLL_MICROS: u64 = 5_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Ours,
    Java,
}

enum Brain {
    Ours(Box<Election>),
    Java(Box<JavaModel>),
}

impl Brain {
    fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        match self {
            Brain::Ours(election) => election.step(now, input, out),
            Brain::Java(java) => java.step(now, input, out),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        match self {
            Brain::Ours(election) => election.next_deadline(),
            Brain::Java(java) => java.next_deadline(),
        }
    }
}

pub struct Node {
    pub kind: Kind,
    pub role: Role,
    pub alive: bool,
    life: u64,
    /// On disk.
    pub zxid: Zxid,
    pub epoch: i64,
    brain: Option<Brain>,
    pub state: ServerState,
    pub vote: Option<Vote>,
    pub active: bool,
    pub decided_at: u64,
    followers: BTreeSet<ServerId>,
    wakes_at: Option<u64>,
}

#[derive(Default, Clone)]
struct Wire {
    /// Counts connections of the pair; odd while there is one.
    generation: u64,
    cut: bool,
    dialing: bool,
    redial_micros: u64,
}

/// A vote as it was cast, and what the voter had then.
struct Ballot {
    vote: Vote,
    disk: (i64, Zxid),
}

enum Event {
    Deliver { from: ServerId, to: ServerId, generation: u64, notification: Notification },
    Connect { pair: (ServerId, ServerId), lives: (u64, u64) },
    LostSeen { at: ServerId, life: u64, peer: ServerId, generation: u64 },
    Wake { node: ServerId, life: u64 },
    Poll { node: ServerId, life: u64 },
}

pub struct World {
    pub seed: u64,
    pub rng: SmallRng,
    pub now: u64,
    delay_micros: (u64, u64),
    pub nodes: BTreeMap<ServerId, Node>,
    electorate: Electorate,
    wires: BTreeMap<(ServerId, ServerId), Wire>,
    last_arrival: BTreeMap<(ServerId, ServerId), u64>,
    waiting: BTreeMap<(ServerId, ServerId), Notification>,
    last_said: BTreeMap<(ServerId, ServerId), Notification>,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    bodies: BTreeMap<u64, Event>,
    sequence: u64,
    /// Every vote cast while looking, with what the voter had on disk.
    casts: BTreeMap<ServerId, Vec<Ballot>>,
    pub messages: u64,
    pub decisions: u64,
    pub unsupported: u64,
    /// Leaders that became active, by epoch.
    pub reigns: BTreeMap<i64, ServerId>,
}

pub fn electorate(lines: &[(String, String)]) -> Electorate {
    let mut membership = Membership::default();
    for (key, text) in lines {
        membership.add(key, text).unwrap();
    }
    Electorate::new(Quorum::of(&membership), 0, "config".into())
}

impl World {
    /// `voters` have the ids 1, 2, …, observers follow; `more` are lines of groups and weights.
    pub fn new(
        seed: u64,
        voters: &[Kind],
        observers: &[Kind],
        delay_micros: (u64, u64),
        more: &[(&str, &str)],
    ) -> World {
        let mut lines: Vec<(String, String)> = Vec::new();
        let mut nodes = BTreeMap::new();
        for (index, kind) in voters.iter().chain(observers).enumerate() {
            let id = index as i64 + 1;
            let role = if index < voters.len() { Role::Participant } else { Role::Observer };
            lines.push((format!("server.{id}"), format!("a:1:2:{role}")));
            nodes.insert(ServerId(id), Node::new(*kind, role));
        }
        lines.extend(more.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())));
        World {
            seed,
            rng: SmallRng::seed_from_u64(seed),
            now: 0,
            delay_micros,
            nodes,
            electorate: electorate(&lines),
            wires: BTreeMap::new(),
            last_arrival: BTreeMap::new(),
            waiting: BTreeMap::new(),
            last_said: BTreeMap::new(),
            events: BinaryHeap::new(),
            bodies: BTreeMap::new(),
            sequence: 0,
            casts: BTreeMap::new(),
            messages: 0,
            decisions: 0,
            unsupported: 0,
            reigns: BTreeMap::new(),
        }
    }

    pub fn node(&self, id: i64) -> &Node {
        &self.nodes[&ServerId(id)]
    }

    pub fn set_disk(&mut self, id: i64, epoch: i64, zxid: i64) {
        let node = self.nodes.get_mut(&ServerId(id)).unwrap();
        (node.epoch, node.zxid) = (epoch, Zxid(zxid));
    }

    pub fn ids(&self) -> Vec<ServerId> {
        self.nodes.keys().copied().collect()
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence)));
        self.bodies.insert(self.sequence, event);
    }

    fn delay(&mut self) -> u64 {
        self.rng.random_range(self.delay_micros.0..=self.delay_micros.1)
    }

    pub fn start(&mut self, id: i64) {
        let id = ServerId(id);
        let voters = self.electorate.voters().into_iter().collect();
        let electorate = self.electorate.clone();
        let node = self.nodes.get_mut(&id).unwrap();
        if node.alive {
            return;
        }
        node.alive = true;
        node.life += 1;
        node.brain = Some(match node.kind {
            Kind::Ours => Brain::Ours(Box::new(Election::new(id, ElectionRules::default(), electorate))),
            Kind::Java => Brain::Java(Box::new(JavaModel::new(id, voters))),
        });
        let life = node.life;
        self.look(id);
        self.schedule(self.now + POLL_MICROS, Event::Poll { node: id, life });
    }

    pub fn kill(&mut self, id: i64) {
        let id = ServerId(id);
        let node = self.nodes.get_mut(&id).unwrap();
        (node.alive, node.active, node.brain, node.wakes_at) = (false, false, None, None);
        node.followers.clear();
        node.state = ServerState::Looking;
        for other in self.ids() {
            self.disconnect(id, other);
            self.waiting.remove(&(id, other));
            self.last_said.remove(&(id, other));
        }
    }

    /// Breaks the connection, which may be made again at once unless `cut`.
    pub fn disconnect(&mut self, a: ServerId, b: ServerId) {
        let wire = self.wires.entry(pair(a, b)).or_default();
        wire.redial_micros = 10_000;
        if wire.generation.is_multiple_of(2) {
            return;
        }
        wire.generation += 1;
        let generation = wire.generation;
        for (at, peer) in [(a, b), (b, a)] {
            let life = self.nodes[&at].life;
            let when = self.now + self.delay();
            self.schedule(when, Event::LostSeen { at, life, peer, generation });
        }
    }

    pub fn set_cut(&mut self, a: i64, b: i64, cut: bool) {
        let (a, b) = (ServerId(a), ServerId(b));
        self.wires.entry(pair(a, b)).or_default().cut = cut;
        if cut {
            self.disconnect(a, b);
        }
    }

    fn can_reach(&self, a: ServerId, b: ServerId) -> bool {
        let cut = self.wires.get(&pair(a, b)).is_some_and(|wire| wire.cut);
        self.nodes[&a].alive && self.nodes[&b].alive && !cut
    }

    pub fn look(&mut self, id: ServerId) {
        let node = self.nodes.get_mut(&id).unwrap();
        (node.state, node.active) = (ServerState::Looking, false);
        node.followers.clear();
        let input = Input::LookForLeader { role: node.role, zxid: node.zxid, epoch: node.epoch };
        self.step(id, input);
    }

    pub fn step(&mut self, id: ServerId, input: Input) {
        let mut out = Vec::new();
        let now = Instant { micros: self.now };
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(brain) = node.brain.as_mut() else {
            return;
        };
        brain.step(now, input, &mut out);
        let wakes_at = brain.next_deadline().map(|at| at.micros.max(self.now));
        if wakes_at != node.wakes_at {
            node.wakes_at = wakes_at;
            let life = node.life;
            if let Some(at) = wakes_at {
                self.schedule(at, Event::Wake { node: id, life });
            }
        }
        let mut gave_up = false;
        for output in out {
            match output {
                Output::Send { to, notification } => self.send(id, to, notification),
                Output::Decided { vote, state } => self.decided(id, vote, state),
                Output::Unsupported => gave_up = true,
                Output::ConfigSeen { .. } => {}
            }
        }
        if gave_up && self.nodes[&id].state != ServerState::Looking {
            self.unsupported += 1;
            self.look(id);
        }
    }

    fn send(&mut self, from: ServerId, to: ServerId, notification: Notification) {
        self.messages += 1;
        assert_ne!(from, to, "seed {}: a message to itself", self.seed);
        if notification.state == ServerState::Looking {
            let node = &self.nodes[&from];
            self.casts.entry(from).or_default().push(Ballot { vote: notification.vote, disk: (node.epoch, node.zxid) });
        }
        let generation = self.wires.entry(pair(from, to)).or_default().generation;
        self.last_said.insert((from, to), notification.clone());
        if !generation.is_multiple_of(2) {
            self.deliver_later(from, to, generation, notification);
        } else {
            self.waiting.insert((from, to), notification);
            self.dial(pair(from, to));
        }
    }

    fn deliver_later(&mut self, from: ServerId, to: ServerId, generation: u64, notification: Notification) {
        let earliest = self.last_arrival.get(&(from, to)).copied().unwrap_or(0);
        let at = (self.now + self.delay()).max(earliest);
        self.last_arrival.insert((from, to), at);
        self.schedule(at, Event::Deliver { from, to, generation, notification });
    }

    fn dial(&mut self, (a, b): (ServerId, ServerId)) {
        let reachable = self.can_reach(a, b);
        let lives = (self.nodes[&a].life, self.nodes[&b].life);
        let later = self.delay() * 2;
        let wire = self.wires.get_mut(&(a, b)).unwrap();
        if wire.dialing || !wire.generation.is_multiple_of(2) {
            return;
        }
        wire.dialing = true;
        wire.redial_micros = (wire.redial_micros * 2).clamp(10_000, 1_000_000);
        let at = if reachable { later } else { wire.redial_micros };
        self.schedule(self.now + at, Event::Connect { pair: (a, b), lives });
    }

    fn connected(&mut self, (a, b): (ServerId, ServerId), lives: (u64, u64)) {
        let reachable = self.can_reach(a, b) && lives == (self.nodes[&a].life, self.nodes[&b].life);
        let wire = self.wires.get_mut(&(a, b)).unwrap();
        wire.dialing = false;
        if !wire.generation.is_multiple_of(2) {
            return;
        }
        if !reachable {
            // Ours dial again while something waits; Java does with its next message.
            let ours_waits = [(a, b), (b, a)].iter().any(|(from, to)| {
                let node = &self.nodes[from];
                node.alive && node.kind == Kind::Ours && self.waiting.contains_key(&(*from, *to))
            });
            if ours_waits {
                self.dial((a, b));
            }
            return;
        }
        wire.generation += 1;
        let generation = wire.generation;
        for (from, to) in [(a, b), (b, a)] {
            let waiting = self.waiting.remove(&(from, to));
            if let Some(notification) = waiting.or_else(|| self.last_said.get(&(from, to)).cloned()) {
                self.deliver_later(from, to, generation, notification);
            }
        }
        self.step(a, Input::PeerConnected(b));
        self.step(b, Input::PeerConnected(a));
    }

    fn decided(&mut self, id: ServerId, vote: Vote, state: ServerState) {
        self.decisions += 1;
        let now = self.now;
        let node = self.nodes.get_mut(&id).unwrap();
        (node.state, node.vote, node.active, node.decided_at) = (state, Some(vote), false, now);
        assert_eq!(state == ServerState::Leading, vote.leader == id, "seed {}", self.seed);
        assert!(self.electorate.is_voter(vote.leader) && self.electorate.has_weight(vote.leader));
        if state == ServerState::Leading {
            self.check_elected(id, vote);
        }
    }

    /// The leader has at least what it was voted for, and nobody of the quorum that voted for it in this round had more.
    fn check_elected(&self, id: ServerId, vote: Vote) {
        let node = &self.nodes[&id];
        let supporters: BTreeSet<ServerId> = match node.brain.as_ref() {
            Some(Brain::Ours(election)) => match &election.phase {
                Phase::Settled(settled) => settled.supporters.clone(),
                _ => panic!("seed {}: decided and not settled", self.seed),
            },
            Some(Brain::Java(java)) => java.supporters.iter().copied().collect(),
            None => panic!("seed {}: the dead do not decide", self.seed),
        };
        let seed = self.seed;
        assert!(self.electorate.is_reached_by(&supporters), "seed {seed}: no quorum {supporters:?} for {vote:?}");
        // Votes of servers that follow it still may be older than it is, never newer.
        let disk = (node.epoch, node.zxid);
        assert!((vote.peer_epoch, vote.zxid) <= disk, "seed {seed}: {id:?} has {disk:?}, elected for {vote:?}");
        for supporter in supporters {
            for Ballot { vote: cast, disk } in self.casts.get(&supporter).into_iter().flatten() {
                if *cast == vote {
                    assert!(*disk <= (vote.peer_epoch, vote.zxid), "seed {seed}: {supporter:?} had more than {vote:?}");
                }
            }
        }
    }

    /// Runs until `until`, or until `done` says so.
    pub fn run(&mut self, until: u64, mut done: impl FnMut(&World) -> bool) -> bool {
        loop {
            if done(self) {
                return true;
            }
            let Some(Reverse((at, sequence))) = self.events.peek().copied() else {
                self.now = until;
                return done(self);
            };
            if at > until {
                self.now = until;
                return false;
            }
            self.events.pop();
            self.now = self.now.max(at);
            let event = self.bodies.remove(&sequence).unwrap();
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, generation, notification } => {
                if self.wires[&pair(from, to)].generation == generation && self.nodes[&to].alive {
                    self.step(to, Input::Notification { from, notification });
                }
            }
            Event::Connect { pair, lives } => self.connected(pair, lives),
            Event::LostSeen { at, life, peer, generation } => {
                let stale = self.wires[&pair(at, peer)].generation != generation;
                if self.nodes[&at].life == life && self.nodes[&at].alive && !stale {
                    self.step(at, Input::PeerLost(peer));
                    if self.nodes[&at].vote.is_some_and(|vote| vote.leader == peer) {
                        self.poll(at);
                    }
                }
            }
            Event::Wake { node, life } => {
                let current = self.nodes.get_mut(&node).unwrap();
                if current.life == life && current.wakes_at == Some(self.now) {
                    current.wakes_at = None;
                    self.step(node, Input::Tick);
                }
            }
            Event::Poll { node, life } => {
                if self.nodes[&node].life == life && self.nodes[&node].alive {
                    self.poll(node);
                    let pace = if self.nodes[&node].active { 4 } else { 1 };
                    self.schedule(self.now + POLL_MICROS * pace, Event::Poll { node, life });
                }
            }
        }
    }

    fn poll(&mut self, id: ServerId) {
        match self.nodes[&id].state {
            ServerState::Looking => {}
            ServerState::Leading => self.poll_leader(id),
            ServerState::Following | ServerState::Observing => self.poll_learner(id),
        }
    }

    fn poll_leader(&mut self, id: ServerId) {
        let here: BTreeSet<ServerId> = self.nodes[&id]
            .followers
            .iter()
            .copied()
            .filter(|peer| {
                let node = &self.nodes[peer];
                let follows = node.state == ServerState::Following && node.vote.is_some_and(|vote| vote.leader == id);
                follows && self.can_reach(id, *peer)
            })
            .chain([id])
            .collect();
        let enough = self.electorate.is_reached_by(&here);
        let node = &self.nodes[&id];
        let too_late = self.now - node.decided_at > INIT_LIMIT_MICROS;
        match (node.active, enough) {
            (true, true) => {}
            (true, false) => self.look(id),
            (false, true) => self.take_office(id, &here),
            (false, false) if too_late => self.look(id),
            (false, false) => {}
        }
    }

    fn take_office(&mut self, id: ServerId, quorum: &BTreeSet<ServerId>) {
        let epoch = 1 + self.nodes.values().map(|node| node.epoch).max().unwrap();
        assert!(self.reigns.insert(epoch, id).is_none(), "seed {}: two leaders of epoch {epoch}", self.seed);
        for other in self.nodes.iter().filter(|(other, node)| **other != id && node.active) {
            let round = (other.0, self.nodes[&id].vote, other.1.vote);
            let leads = other.1.state == ServerState::Leading;
            assert!(!(leads && quorum.contains(other.0)), "seed {}: leads and follows {round:?}", self.seed);
        }
        let counter = self.rng.random_range(0..100);
        for peer in quorum {
            let logged = self.rng.random_range(0..=counter);
            let node = self.nodes.get_mut(peer).unwrap();
            node.epoch = epoch;
            node.zxid = Zxid::new(epoch as u32, if *peer == id { counter } else { logged });
            node.active = true;
        }
        for peer in quorum {
            self.step(*peer, Input::Activated { epoch });
        }
    }

    fn poll_learner(&mut self, id: ServerId) {
        let node = &self.nodes[&id];
        let leader = node.vote.unwrap().leader;
        let late = self.now - node.decided_at > INIT_LIMIT_MICROS;
        let (active, votes) = (node.active, node.role == Role::Participant);
        let leads = self.can_reach(id, leader) && self.nodes[&leader].state == ServerState::Leading;
        let registered = self.nodes[&leader].followers.contains(&id);
        if !leads || (active && !registered) {
            if active || late {
                self.look(id);
            }
            return;
        }
        self.nodes.get_mut(&leader).unwrap().followers.insert(id);
        let (leader_active, epoch, zxid) =
            (self.nodes[&leader].active, self.nodes[&leader].epoch, self.nodes[&leader].zxid);
        if leader_active && !active {
            let node = self.nodes.get_mut(&id).unwrap();
            (node.epoch, node.zxid, node.active) = (epoch, zxid, true);
            self.step(id, Input::Activated { epoch });
        } else if !leader_active && late {
            self.look(id);
        } else if !leader_active && votes {
            self.poll_leader(leader);
        }
    }

    /// The leader that every living server has, active.
    pub fn agreed_leader(&self) -> Option<ServerId> {
        let mut living = self.nodes.values().filter(|node| node.alive);
        let leader = living.next()?.vote?.leader;
        let all = self.nodes.values().filter(|node| node.alive).all(|node| {
            node.active && node.state != ServerState::Looking && node.vote.is_some_and(|vote| vote.leader == leader)
        });
        (all && self.nodes[&leader].alive).then_some(leader)
    }

    /// As long text, for a failing run.
    pub fn describe(&self) -> String {
        let one = |(id, node): (&ServerId, &Node)| {
            format!(
                "{id:?} {:?} alive={} {:?} active={} {:?}",
                node.kind, node.alive, node.state, node.active, node.vote
            )
        };
        self.nodes.iter().map(one).collect::<Vec<_>>().join("\n")
    }
}

impl Node {
    fn new(kind: Kind, role: Role) -> Node {
        Node {
            kind,
            role,
            alive: false,
            life: 0,
            zxid: Zxid::ZERO,
            epoch: 0,
            brain: None,
            state: ServerState::Looking,
            vote: None,
            active: false,
            decided_at: 0,
            followers: BTreeSet::new(),
            wakes_at: None,
        }
    }
}

fn pair(a: ServerId, b: ServerId) -> (ServerId, ServerId) {
    (a.min(b), a.max(b))
}
