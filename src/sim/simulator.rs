//! The loop: takes what happens next, has whoever it concerns take a turn, carries out what the turn wants, and lets the
//! checkers look. Everything is drawn from one seed, and two runs of a seed do the same.

use super::agenda::{Actor, Agenda, Event};
use super::checkers::agreement::Shown;
use super::checkers::configurations::Configurations;
use super::checkers::{Checked, History, Violation, demand};
use super::client::{Client, Surroundings};
use super::correlated::Ambushes;
use super::dials::Dials;
use super::disk::DiskCounts;
use super::java::JavaDisk;
use super::net::{Came, Net, Owner, Socket};
use super::options::Options;
use super::random::Random;
use super::report::{Counts, RecoveryRows, Report, TraceHash};
use super::server::{Ended, Server, stops_end_turns};
use super::wiretap::Wiretaps;
use crate::message::lane::Standing;
use crate::runtime::link_io::LinkEvent;
use crate::runtime::sockets::SocketEvent;

/// Sets the stream apart that says which members are Java's.
const JAVA_STREAM: u64 = 0x6a61_7661;

pub struct Simulator {
    pub(super) options: Options,
    pub(super) random: Random,
    pub(super) agenda: Agenda,
    pub(super) net: Net,
    pub(super) servers: Vec<Server>,
    pub(super) clients: Vec<Client>,
    pub(super) history: History,
    pub(super) configurations: Configurations,
    /// What is drawn for the operator.
    pub(super) operator: Random,
    pub(super) counts: Counts,
    pub(super) dials: Dials,
    pub(super) taps: Wiretaps,
    pub(super) hash: TraceHash,
    /// Tells what happens as it does.
    is_told: bool,
    /// Counts partitions: the end of an old one is not the end of the newest.
    pub(super) partition: u64,
    pub(super) ambushes: Ambushes,
    /// A leader that is cut off comes back as soon as somebody else leads.
    pub(super) stranded: Option<usize>,
    /// Until then this half of the clients asks for reads and syncs alone.
    pub(super) readers: (usize, u64),
    pub(super) healed_at: Option<u64>,
    /// Clients ask for nothing before this.
    pub(super) hushed_until: u64,
    pub(super) is_silent: bool,
    pub(super) is_over: bool,
}

/// Runs a seed to its end, or for so many events.
pub fn run(seed: u64, steps_max: Option<u64>, is_told: bool) -> Report {
    stops_end_turns();
    let mut simulator = Simulator::new(seed, is_told);
    let outcome = simulator.run(steps_max);
    if outcome.is_err() {
        simulator.tell_members();
    }
    simulator.report(seed, outcome.err().map(|Violation(why)| why))
}

/// A seed whose ensemble is changed before it begins.
#[cfg(test)]
pub(super) fn run_changed(seed: u64, change: impl FnOnce(&mut Options)) -> Report {
    stops_end_turns();
    let (mut random, mut operator) = (Random::new(seed), operator_of(seed));
    let mut options = Options::draw(&mut random, &mut operator);
    change(&mut options);
    let mut simulator = Simulator::of(options, random, operator, false);
    let outcome = simulator.run(None);
    simulator.report(seed, outcome.err().map(|Violation(why)| why))
}

/// What is drawn for the operator changes nothing else.
fn operator_of(seed: u64) -> Random {
    Random::new(!seed).split()
}

impl Simulator {
    fn new(seed: u64, is_told: bool) -> Simulator {
        let (mut random, mut operator) = (Random::new(seed), operator_of(seed));
        let mut options = Options::draw(&mut random, &mut operator);
        options.draw_java(&mut Random::new(seed ^ JAVA_STREAM));
        Simulator::of(options, random, operator, is_told)
    }

    fn of(options: Options, mut random: Random, operator: Random, is_told: bool) -> Simulator {
        let nodes = options.servers() + options.clients;
        let net = Net::new(random.split(), options.delays, nodes);
        let mut servers: Vec<Server> = (0..options.servers()).map(|index| Server::new(index, &mut random)).collect();
        options.java.iter().for_each(|index| servers[*index].java = Some(JavaDisk::default()));
        let clients =
            (0..options.clients).map(|index| Client::new(options.servers() + index, random.split())).collect();
        let mut agenda = Agenda::default();
        for server in 0..options.servers() {
            agenda.after(random.below(options.limits.tick_ms * 2000), Event::Restart { server });
        }
        for client in 0..options.clients {
            agenda.after(random.below(options.limits.tick_ms * 1000), Event::Client { client });
        }
        agenda.at(options.faults_from_us, Event::Fault);
        agenda.at(options.faults_until_us, Event::Heal);
        let configurations = Configurations::new(options.config());
        let mut simulator = Simulator {
            options,
            random,
            agenda,
            net,
            servers,
            clients,
            history: History::default(),
            configurations,
            operator,
            counts: Counts { seeds: 1, ..Counts::default() },
            dials: Dials::default(),
            taps: Wiretaps::default(),
            hash: TraceHash::default(),
            is_told,
            partition: 0,
            ambushes: Ambushes::default(),
            stranded: None,
            readers: (0, 0),
            healed_at: None,
            hushed_until: 0,
            is_silent: false,
            is_over: false,
        };
        simulator.lay_config_files();
        simulator.tell(|| format!("{:?}", simulator.options));
        simulator
    }

    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            println!("{:>12.6} {}", self.agenda.now() as f64 / 1e6, what());
        }
    }

    fn run(&mut self, steps_max: Option<u64>) -> Checked {
        while !self.is_over && steps_max.is_none_or(|max| self.counts.events < max) {
            let Some(event) = self.agenda.next() else { break };
            self.counts.events += 1;
            self.hash.number(self.agenda.now());
            self.happens(event)?;
        }
        Ok(())
    }

    fn report(&self, seed: u64, failure: Option<String>) -> Report {
        let mut counts = self.counts;
        counts.servers = self.servers.len() as u64;
        counts.java_servers = self.options.java.len() as u64;
        counts.simulated_seconds = self.agenda.now() / 1_000_000;
        counts.commits = self.history.len() as u64;
        self.history.bodies().for_each(|body| counts.txn(body));
        let synced = self.taps.counts();
        (counts.diffs, counts.truncs, counts.snaps, counts.snaps_finished) =
            (synced.diffs, synced.truncs, synced.snaps, synced.snaps_finished);
        let mut disks = DiskCounts::default();
        self.servers.iter().for_each(|server| disks.add(&server.disk.counts()));
        let at = self.agenda.now() as f64 / 1e6;
        let failure = failure.map(|why| format!("after {at:.6} s and {} events: {why}", counts.events));
        let mut recovery_rows = RecoveryRows::default();
        self.servers.iter().for_each(|server| recovery_rows.add(&server.recovery_rows));
        Report { seed, counts, disks, recovery_rows, trace_hash: self.hash.0, failure }
    }

    fn happens(&mut self, event: Event) -> Checked {
        match event {
            Event::Turn { server, life, actor } => self.turn(server, life, actor)?,
            Event::Deadline { server, life, actor } => self.deadline(server, life, actor),
            Event::Flushed { server, life } => self.flush_ends(server, life),
            Event::Background { server, life } => self.background(server, life)?,
            Event::Arrive { socket } => self.arrives(socket)?,
            Event::Sent { socket } => self.sent(socket),
            Event::Dial { dial } => self.dial_goes_on(dial),
            Event::Client { client } => self.client_turn(client),
            Event::Restart { server } => self.restart(server)?,
            Event::Fault => self.fault(),
            Event::Cut { stream } => self.net.cut_stream(&mut self.agenda, stream),
            Event::Hush { until } => self.hush_until(until),
            Event::Fall { server } => self.falls(server),
            Event::Join { partition } => self.join(partition),
            Event::DiskWell { server } => self.disk_well(server),
            Event::Heal => self.heal(),
            Event::Look => self.look()?,
        }
        Ok(())
    }

    // Turns.

    /// Has somebody take a turn, unless one is due before.
    pub(super) fn schedule(&mut self, index: usize, actor: Actor, at: u64) {
        let server = &mut self.servers[index];
        let at = at.max(server.paused_until).max(self.agenda.now());
        let life = server.life;
        let Some(running) = server.running.as_mut().filter(|running| running.has(actor)) else { return };
        let seat = running.seat(actor);
        if seat.next_turn.is_none_or(|next| at < next) {
            seat.next_turn = Some(at);
            self.agenda.at(at, Event::Turn { server: index, life, actor });
        }
    }

    pub(super) fn wake(&mut self, index: usize, actor: Actor) {
        let soon = 1 + self.random.below(self.options.turn_us);
        self.schedule(index, actor, self.agenda.now() + soon);
    }

    /// Most deadlines are put off before they come, so there is one event for them at a time, and not one for each.
    fn set_deadline(&mut self, index: usize, actor: Actor, deadline: Option<u64>) {
        let server = &mut self.servers[index];
        let life = server.life;
        let Some(running) = &mut server.running else { return };
        let seat = running.seat(actor);
        seat.deadline = deadline;
        if let Some(at) = deadline
            && seat.alarm_at.is_none_or(|alarm| at < alarm)
        {
            seat.alarm_at = Some(at);
            self.agenda.at(at, Event::Deadline { server: index, life, actor });
        }
    }

    fn deadline(&mut self, index: usize, life: u64, actor: Actor) {
        let now = self.agenda.now();
        let server = &mut self.servers[index];
        let Some(running) = server.running.as_mut().filter(|_| server.life == life) else { return };
        let seat = running.seat(actor);
        if seat.alarm_at != Some(now) {
            return;
        }
        seat.alarm_at = None;
        match seat.deadline {
            Some(at) if at <= now => self.schedule(index, actor, now),
            later => self.set_deadline(index, actor, later),
        }
    }

    fn turn(&mut self, index: usize, life: u64, actor: Actor) -> Checked {
        let now = self.agenda.now();
        let server = &mut self.servers[index];
        let Some(running) = server.running.as_mut().filter(|_| server.life == life) else { return Ok(()) };
        let seat = running.seat(actor);
        if seat.next_turn != Some(now) {
            return Ok(());
        }
        seat.next_turn = None;
        if server.paused_until > now {
            self.schedule(index, actor, now);
            return Ok(());
        }
        self.counts.turns += 1;
        self.hash.number(index as u64);
        let local = server.clock.read(now);
        let deadline = match actor {
            Actor::Ensemble => match running.ensemble_turn(local) {
                Ok(wants) => {
                    self.note_log(index)?;
                    if !self.has_power(index) {
                        return Ok(());
                    }
                    self.look_at(index)?;
                    self.look_at_members(index)?;
                    self.ensemble_wants(index, wants.flush, wants.links);
                    for (worker, sockets) in wants.sockets {
                        self.worker_wants(index, worker, sockets);
                        self.wake(index, Actor::Worker(worker));
                    }
                    wants.deadline
                }
                Err(ended) => return self.ended(index, ended),
            },
            Actor::Worker(worker) => match running.worker_turn(worker, local) {
                Ok(wants) => {
                    self.worker_wants(index, worker, wants.sockets);
                    wants.deadline
                }
                Err(ended) => return self.ended(index, ended),
            },
        };
        let deadline = deadline.map(|at| self.servers[index].clock.time_of(at));
        let Some(running) = &mut self.servers[index].running else { return Ok(()) };
        let (has_work, has_jobs) = (running.fall_asleep(actor), running.has_jobs());
        if has_work {
            self.wake(index, actor);
        }
        for actor in (0..usize::from(self.options.workers)).map(Actor::Worker).chain([Actor::Ensemble]) {
            if self.servers[index].running.as_mut().is_some_and(|running| running.was_woken(actor)) {
                self.wake(index, actor);
            }
        }
        self.set_deadline(index, actor, deadline.map(|at| at.max(now + 1)));
        if has_jobs {
            let micros = self.random.below(50_000);
            self.agenda.after(micros, Event::Background { server: index, life });
        }
        Ok(())
    }

    /// What a server has logged in a turn of its ensemble thread, whether or not it comes to anything.
    fn note_log(&mut self, index: usize) -> Checked {
        let server = &self.servers[index];
        if let Some(running) = server.running.as_ref().filter(|running| running.standing() == Standing::Leading)
            && !running.led
        {
            let (zxid, digest) = running.shown();
            let last = self.history.ends_with(zxid, digest);
            self.history.logged.begins(server.current_epoch(), last);
        }
        let logged = &mut self.history.logged;
        if let Some(java) = &server.java {
            return java.take_written().iter().try_for_each(|(_, entry)| logged.entry(index, entry));
        }
        server.disk.take_log_writes().iter().try_for_each(|(offset, bytes)| logged.written(index, *offset, bytes))
    }

    /// What a server shows after a turn of its ensemble thread.
    fn look_at(&mut self, index: usize) -> Checked {
        let server = &mut self.servers[index];
        let Some(running) = &mut server.running else { return Ok(()) };
        if let Some(why) = running.breach() {
            return Err(Violation(format!("server {index} says that its leader breaks the protocol: {why}")));
        }
        let is_leading = running.standing() == Standing::Leading;
        let begins_to_lead = is_leading && !running.led;
        running.led = is_leading;
        let is_serving = running.is_serving();
        // A role that ends says what was committed before, and so does one that began in the same turn.
        let begins = running.standing.begins();
        let has_begun = std::mem::replace(&mut running.begins, begins) != begins;
        if !std::mem::replace(&mut running.served, is_serving) && !is_serving && !has_begun {
            return Ok(());
        }
        let (zxid, digest) = running.shown();
        let zxid = self.history.ends_with(zxid, digest);
        server.has_served |= is_serving;
        server.is_unfilled &= !is_serving;
        if zxid != server.shown || begins_to_lead {
            let before = std::mem::replace(&mut server.shown, zxid);
            let shown = Shown { server: index, zxid, digest };
            let running = self.servers[index].running.as_ref().expect("just seen");
            self.history.shown(|after| running.history_after(after), before, shown)?;
            self.hash.number(digest);
        }
        if begins_to_lead {
            let epoch = self.servers[index].current_epoch();
            self.counts.leader_changes += 1;
            self.counts.leader_changes_to_java += u64::from(self.options.is_java(index));
            self.tell(|| format!("server {index} leads epoch {epoch:x} from {zxid}"));
            self.history.leads(index, epoch, zxid, self.options.is_java(index))?;
            self.stranded_returns(index);
        }
        Ok(())
    }

    fn background(&mut self, index: usize, life: u64) -> Checked {
        let server = &mut self.servers[index];
        let Some(running) = server.running.as_mut().filter(|_| server.life == life) else { return Ok(()) };
        let Some(job) = running.take_job() else { return Ok(()) };
        let done = running.run_job(job);
        if !self.has_power(index) {
            return Ok(());
        }
        done.or_else(|ended| self.ended(index, ended))
    }

    fn flush_ends(&mut self, index: usize, life: u64) {
        let server = &mut self.servers[index];
        let Some(running) = server.running.as_mut().filter(|_| server.life == life) else { return };
        if let Some(id) = running.flush.take() {
            running.flushed = Some(server.disk.finish_sync(id));
            if self.has_power(index) {
                self.wake(index, Actor::Ensemble);
            }
        }
    }

    // What comes over connections.

    fn arrives(&mut self, socket: Socket) -> Checked {
        let Some(owner) = self.net.owner(socket) else { return Ok(()) };
        let Some(came) = self.net.arrive(&mut self.agenda, socket) else { return Ok(()) };
        if let Came::Bytes(bytes) = &came {
            self.hash.bytes(bytes);
        }
        match owner {
            Owner::Link { server, link } => {
                let Some(running) = &mut self.servers[server].running else { return Ok(()) };
                match came {
                    Came::Bytes(bytes) => running.events.push(LinkEvent::Received { link, bytes }),
                    Came::Closed => {
                        running.links.remove(&link);
                        running.events.push(LinkEvent::Closed { link, why: "closed".to_owned() });
                    }
                }
                self.wake(server, Actor::Ensemble);
            }
            Owner::Conn { server, worker, conn } => {
                let Some(running) = &mut self.servers[server].running else { return Ok(()) };
                let seat = &mut running.workers[worker];
                match came {
                    Came::Bytes(bytes) => seat.events.push(SocketEvent::Received { conn, bytes }),
                    Came::Closed => {
                        seat.forget(conn);
                        seat.events.push(SocketEvent::Closed { conn });
                    }
                }
                self.wake(server, Actor::Worker(worker));
            }
            Owner::Client { client } => match came {
                Came::Bytes(bytes) => {
                    self.with_client(client, |client, world| client.received(socket, &bytes, world))?;
                    self.net.read_on(&mut self.agenda, socket);
                }
                Came::Closed => self.clients[client].closed(socket),
            },
        }
        Ok(())
    }

    fn sent(&mut self, socket: Socket) {
        let buffer = Vec::new();
        match self.net.owner(socket) {
            Some(Owner::Link { server, link }) => {
                let Some(running) = &mut self.servers[server].running else { return };
                running.events.push(LinkEvent::Sent { link, buffer });
                self.wake(server, Actor::Ensemble);
            }
            Some(Owner::Conn { server, worker, conn }) => {
                let Some(running) = &mut self.servers[server].running else { return };
                running.workers[worker].events.push(SocketEvent::Sent { conn, buffer });
                self.wake(server, Actor::Worker(worker));
            }
            Some(Owner::Client { .. }) | None => {}
        }
    }

    // Clients.

    pub(super) fn with_client<R>(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Client, &mut Surroundings<'_>) -> R,
    ) -> R {
        let is_silent = self.is_silent || self.agenda.now() < self.hushed_until;
        let (half, until) = self.readers;
        let reads_only = index % 2 == half && self.agenda.now() < until;
        let may_reconfigure = self.changes_members();
        let mut world = Surroundings {
            agenda: &mut self.agenda,
            net: &mut self.net,
            history: &mut self.history,
            options: &self.options,
            newest: self.configurations.newest(),
            may_reconfigure,
            counts: &mut self.counts,
            is_silent,
            writes_percent: if reads_only { 0 } else { self.options.writes_percent },
        };
        act(&mut self.clients[index], &mut world)
    }

    fn client_turn(&mut self, index: usize) {
        let (dials, again) = self.with_client(index, Client::turn);
        if let Some(server) = dials {
            self.dial_client(index, server);
        }
        self.agenda.after(again, Event::Client { client: index });
    }

    // Servers come and go.

    fn restart(&mut self, index: usize) -> Checked {
        if self.servers[index].running.is_some() {
            return Ok(());
        }
        let now = self.agenda.now();
        if !self.net.is_powered(index) {
            self.net.power_back(&mut self.agenda, index);
            self.servers[index].clock.reboot(&mut self.random);
        }
        self.counts.restarts += 1;
        self.see_to_config_files(index);
        self.tell(|| format!("server {index} starts"));
        self.stumble(index);
        let server = &mut self.servers[index];
        server.begin_life();
        let started = server.start(&self.options, now, &mut self.random);
        if !self.has_power(index) {
            return Ok(());
        }
        match started {
            Err(ended) => self.ended(index, ended),
            Ok(Err(why)) => {
                self.counts.refused_starts += 1;
                self.tell(|| format!("server {index} does not start: {why}"));
                demand(self.servers[index].is_excused(), || format!("server {index} does not start: {why}"))?;
                if self.servers[index].is_damaged {
                    self.counts.directories_emptied += 1;
                    self.servers[index].wipe();
                }
                self.process_ends(index);
                Ok(())
            }
            Ok(Ok(())) => {
                for worker in 0..usize::from(self.options.workers) {
                    self.wake(index, Actor::Worker(worker));
                }
                self.wake(index, Actor::Ensemble);
                Ok(())
            }
        }
    }

    /// A turn that was not finished.
    fn ended(&mut self, index: usize, ended: Ended) -> Checked {
        if !self.has_power(index) {
            return Ok(());
        }
        match ended {
            Ended::Stopped(why) => {
                self.counts.stops += 1;
                self.tell(|| format!("server {index} stops: {why}"));
                demand(self.servers[index].is_excused(), || format!("server {index} stops: {why}"))?;
                self.process_ends(index);
                Ok(())
            }
            Ended::Panicked(why) => Err(Violation(format!("server {index} panics: {why}"))),
        }
    }
}

impl Server {
    /// Of the epoch that it is in, as its file says.
    pub(super) fn current_epoch(&self) -> u32 {
        if let Some(java) = &self.java {
            return java.current_epoch() as u32;
        }
        let text = self.disk.contents(&super::server::data_directory().join("currentEpoch")).unwrap_or_default();
        String::from_utf8_lossy(&text).trim().parse().unwrap_or_default()
    }
}
