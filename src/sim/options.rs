//! What kind of ensemble a seed stands for, and what is going to happen to it: everything is drawn here, once.

use super::members::{self, MemberOptions};
use super::net::Delays;
use super::random::Random;
use crate::election::ElectionRules;
use crate::ensemble::LocalSessionRules;
use crate::types::limits::HERD_IN_A_TURN_MAX;
use crate::types::{QuorumConfig, ServerId};
use crate::zab::Limits;
use std::collections::BTreeSet;

/// Ports of every simulated server.
pub const ELECTION_PORT: u16 = 3888;
pub const QUORUM_PORT: u16 = 2888;

/// What clients ask for in a simulation, so that it is worth its while and no more than that.
const WRITES_MIN: u64 = 550;
const WRITES_SPREAD: u64 = 900;
const LOCAL_SESSIONS_ONE_IN: u64 = 4;
const INIT_MS_MIN_WITH_JAVA: u64 = 1200;

/// How likely each kind of fault is, in parts of their sum.
#[derive(Clone, Copy, Debug)]
pub struct FaultWeights {
    pub crash: u64,
    pub crash_leader: u64,
    pub crash_all: u64,
    pub crash_some: u64,
    pub kill: u64,
    pub pause: u64,
    pub partition: u64,
    pub cut: u64,
    pub slow_disk: u64,
    pub full_disk: u64,
    pub disk_error: u64,
    pub wall_jump: u64,
    pub strand_leader: u64,
    pub hush: u64,
    pub damage: u64,
    pub ambush: u64,
    pub stumble: u64,
    pub lose_directory: u64,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub voters: usize,
    pub observers: usize,
    /// Who else there is, and whether they change.
    pub members: MemberOptions,
    pub local_sessions: LocalSessionRules,
    /// `readonlymode.enabled`, with clients that are content with it. Its sessions are local ones.
    pub read_only: bool,
    /// Voters that are modelled servers of Java.
    pub java: BTreeSet<usize>,
    pub workers: u16,
    /// Submissions on a worker's ring.
    pub submits_max: usize,
    pub herd_in_a_turn_max: usize,
    pub limits: Limits,
    pub election: ElectionRules,
    pub commit_log_count: usize,
    pub force_snapshot_sync: bool,
    pub snapshot_txns: u32,
    pub segment_bytes: u64,
    pub flush_bytes_max: usize,
    pub file_bytes_limit: Option<u64>,
    pub close_session_list: bool,
    pub purges: bool,
    pub delays: Delays,
    /// Least and spread of a flush, microseconds.
    pub flush_us: (u64, u64),
    /// Between two turns of a thread that has work, microseconds.
    pub turn_us: u64,
    pub clients: usize,
    /// Between two requests of a client, on average, microseconds.
    pub think_us: u64,
    pub pipeline_max: usize,
    pub writes_percent: u64,
    pub faults: FaultWeights,
    /// Between two faults, on average.
    pub fault_every_us: u64,
    /// When faults begin, end, and clients fall silent.
    pub faults_from_us: u64,
    pub faults_until_us: u64,
    pub silence_us: u64,
    /// By then all servers must agree.
    pub ends_us: u64,
}

impl Options {
    /// What not all seeds have is drawn from `more`, so that the others stay what they are.
    pub fn draw(random: &mut Random, more: &mut Random) -> Options {
        let voters = [1, 2, 3, 3, 3, 3, 4, 5, 5, 7][random.below(10) as usize];
        let observers = [0, 0, 0, 1, 2, 3][random.below(6) as usize];
        let tick_ms = [40, 100, 200, 400][random.below(4) as usize];
        let limits = Limits { tick_ms, init_ticks: 5 + random.below(10), sync_ticks: 3 + random.below(5) };
        let election = ElectionRules {
            finalize_wait_ms: [5, 20, 200][random.below(3) as usize],
            min_interval_ms: [10, 50, 200][random.below(3) as usize],
            max_interval_ms: 2000,
        };
        let weight = |random: &mut Random, usual: u64| if random.chance(1, 3) { 0 } else { random.below(usual) + 1 };
        let faults = FaultWeights {
            crash: weight(random, 10),
            crash_leader: 1 + weight(random, 10),
            crash_all: weight(random, 2),
            crash_some: weight(random, 5),
            kill: weight(random, 6),
            pause: weight(random, 6),
            partition: weight(random, 10),
            cut: weight(random, 10),
            slow_disk: weight(random, 3),
            full_disk: weight(random, 2),
            disk_error: weight(random, 3),
            wall_jump: weight(random, 2),
            strand_leader: 2 + weight(random, 10),
            hush: weight(random, 3),
            damage: weight(random, 12),
            ambush: weight(random, 10),
            stumble: weight(random, 6),
            lose_directory: weight(random, 4),
        };
        let fault_every_us = (tick_ms * 1000) * (2 + random.below(10));
        let faults_from_us = tick_ms * 1000 * (5 + random.below(10));
        let faults_until_us = faults_from_us + fault_every_us * (10 + random.below(25));
        let silence_us = faults_until_us + tick_ms * 1000 * (10 + random.below(20));
        // Whoever is up needs an election or two, and a snapshot perhaps.
        let ends_us = silence_us + limits.init_ms() * 1000 * 6 + 20_000_000;
        let turn_us_max = [50, 1000, 2000, 4000][random.below(4) as usize];
        let turn_us = 1 + random.below(turn_us_max);
        let clients = 1 + random.below(6);
        let pipeline_max = [1, 2, 8][random.below(3) as usize];
        let writes_percent = [20, 50, 80][random.below(3) as usize];
        // So many writes as if there were no faults: half of them will not come to anything.
        let local_sessions =
            LocalSessionRules { enabled: more.chance(1, LOCAL_SESSIONS_ONE_IN), upgrading: more.chance(3, 4) };
        let writes = WRITES_MIN + random.below(WRITES_SPREAD);
        let think_us = silence_us * clients * (pipeline_max as u64 + 1) * writes_percent / 200 / writes;
        Options {
            voters,
            observers,
            members: MemberOptions::draw(more, voters),
            read_only: local_sessions.enabled && more.chance(1, 2),
            local_sessions,
            java: BTreeSet::new(),
            workers: 1 + random.below(2) as u16,
            submits_max: 1 + random.below(4) as usize,
            herd_in_a_turn_max: [1, 3, HERD_IN_A_TURN_MAX][random.below(3) as usize],
            limits,
            election,
            commit_log_count: [1, 5, 20, 100, 500][random.below(5) as usize],
            force_snapshot_sync: random.chance(1, 12),
            snapshot_txns: [15, 60, 120, 250, 500, 2000][random.below(6) as usize],
            segment_bytes: 64 << 10,
            flush_bytes_max: [2 << 10, 16 << 10, 64 << 10][random.below(3) as usize],
            file_bytes_limit: [None, None, Some(1 + random.below(800)), Some(1000 + random.below(20_000))]
                [random.below(4) as usize],
            close_session_list: !random.chance(1, 5),
            purges: random.chance(1, 3),
            delays: Delays {
                least_us: 10 + random.below(200),
                spread_us: 1 + random.below(1000),
                slow_one_in: [20, 200, 100_000][random.below(3) as usize],
            },
            flush_us: (20 + random.below(200), 1 + random.below(3000)),
            turn_us,
            clients: clients as usize,
            think_us: think_us.max(1),
            pipeline_max,
            writes_percent,
            faults,
            fault_every_us,
            faults_from_us,
            faults_until_us,
            silence_us,
            ends_us,
        }
    }

    /// A third of the ensembles of three voters and more have members of Java's kind, a minority or a majority. Drawn from a
    /// stream of its own: whatever else a seed stands for does not depend on it.
    pub fn draw_java(&mut self, random: &mut Random) {
        if self.voters < 3 || !random.chance(1, 3) {
            return;
        }
        // Somebody has to serve clients.
        let most = if self.observers > 0 { self.voters } else { self.voters - 1 };
        let count = 1 + random.below(most as u64) as usize;
        let mut voters: Vec<usize> = (0..self.voters).collect();
        let java = (0..count).map(|_| voters.swap_remove(random.below(voters.len() as u64) as usize)).collect();
        self.give_to_java(java);
    }

    /// These voters are Java's, and there is nothing that the model of it does not know.
    pub fn give_to_java(&mut self, java: BTreeSet<usize>) {
        if !java.is_empty() {
            // Java decides when it knows enough and has heard nothing for 200 ms, and who looks for a leader repeats itself at
            // shorter distances at first: who waits for it has to be more patient than all of that.
            self.limits.init_ticks = self.limits.init_ticks.max(INIT_MS_MIN_WITH_JAVA.div_ceil(self.limits.tick_ms));
        }
        self.java = java;
        self.members = MemberOptions::fixed(Vec::new());
        (self.local_sessions, self.read_only) = (LocalSessionRules::default(), false);
    }

    pub fn is_java(&self, index: usize) -> bool {
        self.java.contains(&index)
    }

    /// That server, or the next one that serves clients.
    pub fn serving_clients_from(&self, index: usize) -> usize {
        let next = (0..self.servers()).map(|step| (index + step) % self.servers()).find(|index| !self.is_java(*index));
        next.expect("somebody serves clients")
    }

    pub fn servers(&self) -> usize {
        self.voters + self.observers + self.members.spares
    }

    /// Server ids count from 1, and names tell which is which.
    pub fn id_of(index: usize) -> ServerId {
        ServerId(index as i64 + 1)
    }

    pub fn host_of(index: usize) -> String {
        format!("server{}", index + 1)
    }

    pub fn index_of(host: &str) -> Option<usize> {
        let number: usize = host.strip_prefix("server")?.parse().ok()?;
        number.checked_sub(1)
    }

    /// That all begin with.
    pub fn config(&self) -> QuorumConfig {
        members::initial_config(self)
    }

    /// `minSessionTimeout` and `maxSessionTimeout`, as they follow from the tick.
    pub fn session_timeouts_ms(&self) -> (i32, i32) {
        let tick_ms = self.limits.tick_ms as i32;
        (2 * tick_ms, 20 * tick_ms)
    }
}
