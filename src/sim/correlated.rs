//! Faults that come one upon another, as they do in the field: a server dies while it is being brought up to date, its leader
//! with it; one that has just come up goes down again; a disk is replaced by an empty one while others are down.

use super::agenda::Event;
use super::disk::Fault;
use super::net::Socket;
use super::server::Server;
use super::simulator::Simulator;
use super::wiretap::Way;

/// About as many operations on the disk as a learner needs to be brought up to date.
const SYNC_OPERATIONS: u64 = 24;
/// About as many as a start needs, and the first turns behind it.
const START_OPERATIONS: u64 = 100;
const FALLS_MAX: u64 = 3;
/// Two that go at the same time do so within this.
const TOGETHER_US: u64 = 2000;

/// So many of the next learners will not be brought up to date in peace.
#[derive(Default)]
pub struct Ambushes {
    /// In whatever way.
    any: u64,
    truncs: u64,
    snaps: u64,
}

impl Ambushes {
    fn take(&mut self, way: Way) -> bool {
        let special = match way {
            Way::Diff => &mut self.any,
            Way::Trunc => &mut self.truncs,
            Way::Snap => &mut self.snaps,
        };
        let left = if *special > 0 { special } else { &mut self.any };
        let is_one_left = *left > 0;
        *left -= u64::from(is_one_left);
        is_one_left
    }
}

impl Simulator {
    // Learners that are brought up to date.

    /// Some of the next ones will not be left in peace.
    pub(super) fn ambush(&mut self) {
        self.counts.ambushes += 1;
        let left = match self.random.below(3) {
            0 => &mut self.ambushes.truncs,
            1 => &mut self.ambushes.snaps,
            _ => &mut self.ambushes.any,
        };
        *left += 1 + self.random.below(3);
    }

    /// DIFF, TRUNC or SNAP is on its way from the leader, over `socket`.
    pub(super) fn spring(&mut self, way: Way, leader: usize, socket: Socket) {
        if self.healed_at.is_some() {
            return;
        }
        let Some(learner) = self.net.node(Socket { side: 1 - socket.side, ..socket }) else { return };
        if !self.ambushes.take(way) {
            return;
        }
        self.counts.ambushes_sprung += 1;
        self.tell(|| format!("server {learner} is not brought up to date in peace"));
        // Where most of what is sent is still on its way.
        let soon_us = 2 * (self.options.delays.least_us + self.options.delays.spread_us);
        // A log is cut in a few steps, and without the connection.
        let (least, operations) = if way == Way::Trunc { (2, SYNC_OPERATIONS / 2) } else { (0, SYNC_OPERATIONS) };
        match least + self.random.below(6 - least) {
            0 => self.breaks_within(socket, soon_us),
            1 if way == Way::Snap => self.breaks_within(socket, soon_us),
            1 => self.falls_within(leader, 4 * TOGETHER_US),
            2 => self.dies_within(learner, Fault::ProcessDies, operations),
            3 => self.dies_within(learner, Fault::PowerCut, operations),
            // Whoever is left finds the learner changed, and the leader gone.
            _ => {
                self.dies_within(learner, Fault::PowerCut, operations);
                self.falls_within(leader, 4 * TOGETHER_US);
            }
        }
    }

    fn dies_within(&mut self, index: usize, death: Fault, operations: u64) {
        if self.options.is_java(index) {
            // Its disk is not operated step by step.
            return self.falls_within(index, TOGETHER_US);
        }
        self.counts.crashes_planned += 1;
        let operations = if self.random.chance(1, 2) { operations } else { operations / 2 };
        let spared = self.random.below(operations);
        self.servers[index].disk.plan(death, spared);
    }

    fn breaks_within(&mut self, socket: Socket, micros: u64) {
        let micros = self.random.below(micros);
        self.agenda.after(micros, Event::Cut { stream: socket.stream });
    }

    fn falls_within(&mut self, server: usize, micros: u64) {
        let micros = self.random.below(micros);
        self.agenda.after(micros, Event::Fall { server });
    }

    pub(super) fn falls(&mut self, index: usize) {
        if self.healed_at.is_none() && self.servers[index].running.is_some() {
            self.power_goes(index);
        }
    }

    /// Somebody leads. Who led before and was cut off is there before that epoch has its first transaction, most likely: what
    /// it has logged alone is cut from its log.
    pub(super) fn stranded_returns(&mut self, leader: usize) {
        let Some(stranded) = self.stranded.take_if(|stranded| *stranded != leader) else { return };
        if self.healed_at.is_some() {
            return;
        }
        self.join(self.partition);
        if self.options.faults.ambush > 0 && self.random.chance(1, 2) {
            self.ambushes.truncs += 1;
        }
        if self.servers[stranded].running.is_some() && self.random.chance(3, 4) {
            self.kill(stranded);
            let soon = 1 + self.random.below(5000);
            self.agenda.after(soon, Event::Restart { server: stranded });
        }
    }

    // Servers that come up and go down.

    /// One dies, comes up, and dies again, now as a process and now as a machine.
    pub(super) fn begin_stumbling(&mut self) {
        let index = match self.leader().filter(|_| self.random.chance(1, 2)) {
            Some(leader) => leader,
            None => self.somebody(),
        };
        if self.servers[index].running.is_none() {
            return;
        }
        self.counts.stumbles += 1;
        self.servers[index].falls = 1 + self.random.below(FALLS_MAX);
        self.tell(|| format!("server {index} stumbles"));
        let death = self.some_death();
        self.dies_within(index, death, START_OPERATIONS / 2);
    }

    fn some_death(&mut self) -> Fault {
        if self.random.chance(1, 2) { Fault::ProcessDies } else { Fault::PowerCut }
    }

    /// It starts: perhaps not for long.
    pub(super) fn stumble(&mut self, index: usize) {
        if self.healed_at.is_some() || self.servers[index].falls == 0 {
            return;
        }
        self.servers[index].falls -= 1;
        match self.random.below(3) {
            0 => {
                let soon = self.options.limits.sync_ms() * 4000;
                self.falls_within(index, soon);
            }
            _ => {
                let death = self.some_death();
                self.dies_within(index, death, START_OPERATIONS);
            }
        }
    }

    // Disks that are replaced.

    /// A server comes back with an empty directory. It takes no part in votes then, so nothing is lost as long as no other
    /// is without what it had; at times the leader is down as well, and those who are left may know less than it did.
    pub(super) fn lose_directory(&mut self) {
        let index = self.random.below(self.options.voters as u64) as usize;
        let others = self.servers.iter().filter(|server| server.index != index);
        let is_lacking = |server: &Server| server.is_damaged || server.is_unfilled;
        let anybody_lacks = others.clone().any(is_lacking);
        let others = self.ids_of(others);
        // The others have to be able to elect somebody without it.
        let can_elect = self.quorums().iter().all(|quorum| quorum.is_reached_by(&others));
        if anybody_lacks || !can_elect || !self.is_done_with_members() || self.options.is_java(index) {
            self.counts.directories_kept += 1;
            return;
        }
        self.counts.directories_lost += 1;
        self.tell(|| format!("server {index} loses its directory"));
        if self.servers[index].running.is_some() {
            self.power_goes(index);
        }
        self.servers[index].wipe();
        if let Some(leader) = self.leader().filter(|_| self.random.chance(1, 2)) {
            self.falls_within(leader, TOGETHER_US);
        }
    }
}
