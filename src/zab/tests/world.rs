//! The ensemble: its servers, its clock, what is due, and what can be done to it.

use super::checkers::Ghost;
use super::disk::Disk;
use super::following::Following;
use super::leading::Leading;
use super::network::{Direction, End, Message, Network};
use crate::types::{Instant, LinkId, Membership, Quorum, QuorumConfig, ServerId, Zxid};
use crate::zab::{LeaderInput, LearnerInput, Limits};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Options {
    pub voters: usize,
    /// Servers that take themselves for voters and are none.
    pub outsiders: usize,
    pub observers: usize,
    /// Hierarchical quorums: so many voters a group.
    pub group_size: Option<usize>,
    pub limits: Limits,
    /// From, to; microseconds.
    pub delay_us: (u64, u64),
    pub flush_us: (u64, u64),
    pub save_us: (u64, u64),
    /// Committed transactions that a leader has at hand for its learners.
    pub retained: usize,
    /// Whether a leader reads older ones from its log.
    pub disk_history: bool,
    /// One output in so many ends with a crash behind it; 0: none.
    pub crash_one_in: u32,
    /// How often the election errs.
    pub wrong_election: f64,
    /// The election finds leaders by itself, every so many microseconds; `None`: the test names them.
    pub elect_every_us: Option<u64>,
    /// The epoch ends at this counter.
    pub counter_max: Option<u32>,
    /// How often other members are asked for; 0: they stay as they are.
    pub reconfigs: f64,
}

impl Default for Options {
    /// A quiet ensemble of three, for stories.
    fn default() -> Options {
        Options {
            voters: 3,
            outsiders: 0,
            observers: 0,
            group_size: None,
            limits: Limits { tick_ms: 100, init_ticks: 10, sync_ticks: 5 },
            delay_us: (100, 100),
            flush_us: (500, 500),
            save_us: (2000, 2000),
            retained: 50,
            disk_history: true,
            crash_one_in: 0,
            wrong_election: 0.0,
            elect_every_us: None,
            counter_max: None,
            reconfigs: 0.0,
        }
    }
}

#[derive(Debug)]
pub enum Role {
    Looking,
    Leading(Box<Leading>),
    Following(Box<Following>),
}

#[derive(Debug)]
pub struct Server {
    pub id: ServerId,
    pub observer: bool,
    pub up: bool,
    pub paused_until: u64,
    /// Told apart from everything of an earlier role.
    pub role_id: u64,
    pub role: Role,
    pub disk: Disk,
    /// Told apart from flushes before a crash.
    pub incarnation: u64,
    /// So many transactions clients of this server have seen.
    pub visible: usize,
    /// Flushes take until somebody lets them go on.
    pub disk_stalls: bool,
}

impl Server {
    /// A role begins only when everything logged is on disk.
    pub fn is_settled(&self) -> bool {
        self.disk.flushing.is_none() && self.disk.flushed == self.disk.entries.len()
    }

    pub fn is_looking(&self) -> bool {
        self.up && matches!(self.role, Role::Looking) && self.is_settled()
    }

    pub fn is_leading(&self) -> bool {
        self.up && matches!(self.role, Role::Leading(_))
    }

    pub fn is_established(&self) -> bool {
        matches!(&self.role, Role::Leading(leading) if leading.machine.is_established())
    }

    pub fn is_serving(&self) -> bool {
        self.is_established() || matches!(&self.role, Role::Following(following) if following.machine.is_serving())
    }
}

#[derive(Debug)]
pub enum Event {
    Deliver { link: LinkId, direction: Direction },
    FlushDone { server: ServerId, incarnation: u64 },
    SnapshotSaved { server: ServerId, role: u64 },
    ConnectFailed { server: ServerId, role: u64 },
    Elect,
    Restart { server: ServerId },
}

pub struct World {
    pub options: Options,
    pub random: SmallRng,
    pub now: u64,
    events: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    pub servers: Vec<Server>,
    pub network: Network,
    /// Pairs that cannot reach each other, smaller id first.
    pub apart: BTreeSet<(ServerId, ServerId)>,
    /// The first configuration.
    pub config: Arc<QuorumConfig>,
    /// By the newest configuration that a leader has committed, with its version.
    pub quorum: Quorum,
    pub in_force: i64,
    /// Transactions that are configurations.
    pub configs: BTreeMap<Zxid, Arc<QuorumConfig>>,
    /// Who was named to lead next, by whom is told.
    pub successors: BTreeMap<ServerId, ServerId>,
    pub ghost: Ghost,
    pub counts: BTreeMap<&'static str, u64>,
    pub trace: bool,
}

impl World {
    pub fn new(options: Options, seed: u64) -> World {
        let mut membership = Membership::default();
        let all = options.voters + options.outsiders + options.observers;
        for id in 1..=options.voters {
            membership.add(&format!("server.{id}"), &format!("host{id}:1:2")).unwrap();
        }
        if let Some(size) = options.group_size {
            let ids: Vec<String> = (1..=options.voters).map(|id| id.to_string()).collect();
            for (group, ids) in ids.chunks(size).enumerate() {
                membership.add(&format!("group.{group}"), &ids.join(":")).unwrap();
            }
        }
        // Observers are members too, where members matter.
        for id in (options.voters + options.outsiders + 1..=all).filter(|_| options.reconfigs > 0.0) {
            membership.add(&format!("server.{id}"), &format!("host{id}:1:2:observer")).unwrap();
        }
        let config = Arc::new(QuorumConfig { membership, version: 0 });
        let server = |index: usize| Server {
            id: ServerId(index as i64 + 1),
            observer: index >= options.voters + options.outsiders,
            up: true,
            paused_until: 0,
            role_id: 0,
            role: Role::Looking,
            disk: Disk { config: config.clone(), ..Disk::default() },
            incarnation: 0,
            visible: 0,
            disk_stalls: false,
        };
        let mut world = World {
            servers: (0..all).map(server).collect(),
            random: SmallRng::seed_from_u64(seed),
            now: 0,
            events: BTreeMap::new(),
            sequence: 0,
            network: Network::default(),
            apart: BTreeSet::new(),
            quorum: Quorum::of(&config.membership),
            in_force: 0,
            configs: BTreeMap::new(),
            successors: BTreeMap::new(),
            config: config.clone(),
            ghost: Ghost::default(),
            counts: BTreeMap::new(),
            trace: std::env::var_os("ZAB_TRACE").is_some(),
            options,
        };
        if let Some(every) = world.options.elect_every_us {
            world.after(every, Event::Elect);
        }
        world
    }

    pub fn server(&self, id: ServerId) -> &Server {
        &self.servers[id.0 as usize - 1]
    }

    pub fn server_mut(&mut self, id: ServerId) -> &mut Server {
        &mut self.servers[id.0 as usize - 1]
    }

    pub fn instant(&self) -> Instant {
        Instant { micros: self.now }
    }

    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>9.3} {}", self.now as f64 / 1000.0, what());
        }
    }

    pub fn between(&mut self, (from, to): (u64, u64)) -> u64 {
        self.random.random_range(from..=to)
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.random.random_bool(probability)
    }

    pub fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((time, self.sequence), event);
    }

    pub fn after(&mut self, micros: u64, event: Event) {
        self.at(self.now + micros, event);
    }

    pub fn can_reach(&self, a: ServerId, b: ServerId) -> bool {
        !self.apart.contains(&(a.min(b), a.max(b)))
    }

    // Time.

    /// The next moment at which something happens.
    pub fn next_moment(&self) -> Option<u64> {
        let event = self.events.first_key_value().map(|(key, _)| key.0);
        let deadline = self.servers.iter().filter_map(|server| self.deadline(server)).min();
        event.into_iter().chain(deadline).min().map(|at| at.max(self.now))
    }

    fn deadline(&self, server: &Server) -> Option<u64> {
        let deadline = match &server.role {
            Role::Looking => None,
            Role::Leading(leading) => leading.machine.next_deadline(),
            Role::Following(following) => following.next_deadline(),
        };
        deadline.map(|at| at.micros.max(server.paused_until))
    }

    /// Everything that happens within so many microseconds.
    pub fn run(&mut self, micros: u64) {
        let end = self.now + micros;
        while self.next_moment().is_some_and(|at| at <= end) {
            self.happen();
        }
        self.now = end;
    }

    pub fn run_ms(&mut self, ms: u64) {
        self.run(ms * 1000);
    }

    /// The next thing that happens.
    pub fn happen(&mut self) {
        let Some(at) = self.next_moment() else { return };
        self.now = at;
        if self.events.first_key_value().is_some_and(|(key, _)| key.0 <= at) {
            let (_, event) = self.events.pop_first().expect("just seen");
            return self.handle(event);
        }
        let due = self.servers.iter().find(|server| self.deadline(server).is_some_and(|deadline| deadline <= at));
        let id = due.expect("somebody's deadline").id;
        let role = self.server(id).role_id;
        self.tick(id);
        let server = self.server(id);
        let still = server.role_id == role && self.deadline(server).is_some_and(|deadline| deadline <= at);
        assert!(!still, "server {} asks to be called at once, again and again", id.0);
    }

    fn tick(&mut self, id: ServerId) {
        match &self.server(id).role {
            Role::Looking => {}
            Role::Leading(_) => self.leader_input(id, LeaderInput::Tick),
            Role::Following(_) => self.learner_tick(id),
        }
    }

    fn handle(&mut self, event: Event) {
        let concerns = match &event {
            Event::Deliver { link, direction } => Some(self.network.get(*link).receiver(*direction).server),
            Event::FlushDone { server, .. } | Event::SnapshotSaved { server, .. } => Some(*server),
            Event::ConnectFailed { server, .. } => Some(*server),
            Event::Elect | Event::Restart { .. } => None,
        };
        // Who is paused takes it up later.
        if let Some(until) = concerns.map(|id| self.server(id).paused_until).filter(|until| *until > self.now) {
            return self.at(until, event);
        }
        match event {
            Event::Deliver { link, direction } => self.deliver(link, direction),
            Event::FlushDone { server, incarnation } => self.flush_done(server, incarnation),
            Event::SnapshotSaved { server, role } => self.snapshot_saved(server, role),
            Event::ConnectFailed { server, role } => {
                if self.server(server).role_id == role {
                    self.learner_input(server, LearnerInput::Lost { why: "no connection".to_owned() });
                }
            }
            Event::Elect => {
                self.elect();
                let every = self.options.elect_every_us.expect("elections are on");
                self.after(every, Event::Elect);
            }
            Event::Restart { server } => self.restart(server),
        }
    }

    // The network.

    pub fn send(&mut self, link: LinkId, direction: Direction, message: Message) {
        let delay = self.between(self.options.delay_us);
        let to = self.network.get(link).receiver(direction).server;
        self.say(|| format!("  {direction:?} {} on {link:?}: {}", to.0, brief(&message)));
        if let Some(at) = self.network.send(link, direction, message, self.now + delay) {
            self.at(at, Event::Deliver { link, direction });
        }
    }

    fn deliver(&mut self, link: LinkId, direction: Direction) {
        let Some((End { server, role }, message)) = self.network.receive(link, direction) else { return };
        if !self.server(server).up || self.server(server).role_id != role {
            return;
        }
        match direction {
            Direction::ToLeader => self.leader_hears(server, link, message),
            Direction::ToLearner => self.learner_hears(server, message),
        }
    }

    /// This end speaks and hears no more; the other one is told.
    pub fn close(&mut self, link: LinkId, incoming: Direction) {
        let outgoing = match incoming {
            Direction::ToLeader => Direction::ToLearner,
            Direction::ToLearner => Direction::ToLeader,
        };
        self.network.deafen(link, incoming);
        let delay = self.between(self.options.delay_us);
        if let Some(at) = self.network.shut(link, outgoing, self.now + delay) {
            self.at(at, Event::Deliver { link, direction: outgoing });
        }
    }

    /// Both streams end somewhere in the middle of what is under way.
    pub fn cut(&mut self, link: LinkId, with_notice: bool) {
        for direction in [Direction::ToLeader, Direction::ToLearner] {
            self.network.lose(link, direction, &mut self.random);
            let delay = self.between(self.options.delay_us);
            if with_notice && let Some(at) = self.network.notify(link, direction, self.now + delay) {
                self.at(at, Event::Deliver { link, direction });
            }
        }
    }

    pub fn cut_between(&mut self, apart: impl Fn(ServerId, ServerId) -> bool, with_notice: bool) {
        for link in self.network.between(apart) {
            self.cut(link, with_notice);
        }
    }

    /// From now on these servers reach only each other.
    pub fn separate(&mut self, some: &[i64], with_notice: bool) {
        let inside = |id: ServerId| some.contains(&id.0);
        let ids: Vec<ServerId> = self.servers.iter().map(|server| server.id).collect();
        for (a, b) in ids.iter().flat_map(|a| ids.iter().map(move |b| (*a, *b))) {
            if a < b && inside(a) != inside(b) {
                self.apart.insert((a, b));
            }
        }
        self.cut_between(|a, b| inside(a) != inside(b), with_notice);
    }

    // Disks.

    pub fn begin_flush(&mut self, id: ServerId) {
        let took = self.between(self.options.flush_us);
        let server = self.server_mut(id);
        if server.disk_stalls || server.disk.flushing.is_some() || server.is_settled() {
            return;
        }
        server.disk.flushing = Some(server.disk.entries.len());
        let incarnation = server.incarnation;
        self.after(took, Event::FlushDone { server: id, incarnation });
    }

    fn flush_done(&mut self, id: ServerId, incarnation: u64) {
        let server = self.server_mut(id);
        if server.incarnation != incarnation {
            return;
        }
        let Some(count) = server.disk.flushing.take() else { return };
        server.disk.flushed = count;
        let through = server.disk.zxid_at(count);
        match server.role {
            Role::Looking => {}
            Role::Leading(_) => self.leader_input(id, LeaderInput::Flushed { through }),
            Role::Following(_) => self.learner_input(id, LearnerInput::Flushed { through }),
        }
        self.begin_flush(id);
    }

    // Roles and crashes.

    pub fn new_role(&mut self, id: ServerId, role: Role) {
        self.sequence += 1;
        let role_id = self.sequence;
        let server = self.server_mut(id);
        server.role_id = role_id;
        server.role = role;
    }

    /// What the role has not said is never said. What it has logged reaches the disk, or was not even staged.
    pub fn end_role(&mut self, id: ServerId) {
        let server = self.server(id);
        let role = server.role_id;
        let incoming = match &server.role {
            Role::Looking => return,
            Role::Leading(_) => Direction::ToLeader,
            Role::Following(_) => Direction::ToLearner,
        };
        for link in self.network.between(|learner, leader| learner == id || leader == id) {
            if self.network.get(link).receiver(incoming) == (End { server: id, role }) {
                self.close(link, incoming);
            }
        }
        self.new_role(id, Role::Looking);
        if self.random.random_bool(0.5) {
            let disk = &mut self.server_mut(id).disk;
            disk.entries.truncate(disk.flushing.unwrap_or(disk.flushed).max(disk.flushed));
        }
        self.begin_flush(id);
    }

    /// Whether the seed wants this server to crash between two outputs.
    pub fn crashes_now(&mut self, id: ServerId) -> bool {
        let one_in = self.options.crash_one_in;
        if one_in == 0 || self.random.random_range(0..one_in) != 0 {
            return false;
        }
        self.crash(id);
        let down_us = self.between((1_000, 300_000));
        self.after(down_us, Event::Restart { server: id });
        true
    }

    pub fn crash(&mut self, id: ServerId) {
        let staged = self.server(id).disk.entries.len() - self.server(id).disk.flushed;
        let surviving = self.random.random_range(0..=staged);
        self.crash_keeping(id, surviving);
    }

    /// Of what is logged and not flushed, the first `surviving` entries are found again.
    pub fn crash_keeping(&mut self, id: ServerId, surviving: usize) {
        if !self.server(id).up {
            return;
        }
        self.say(|| format!("server {} crashes", id.0));
        self.count("crash");
        self.cut_between(|learner, leader| learner == id || leader == id, true);
        self.new_role(id, Role::Looking);
        let server = self.server_mut(id);
        server.up = false;
        server.incarnation += 1;
        server.paused_until = 0;
        server.disk_stalls = false;
        server.disk.crash(surviving);
    }

    pub fn restart(&mut self, id: ServerId) {
        self.server_mut(id).up = true;
    }
}

fn brief(message: &Message) -> String {
    match message {
        Message::Stream(entries) => format!("snapshot of {} transactions", entries.len()),
        other => format!("{other:?}"),
    }
}
