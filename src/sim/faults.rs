//! What goes wrong, and how it becomes well again.

use super::agenda::{Actor, Event};
use super::damage::damage;
use super::disk::Fault;
use super::server::Server;
use super::simulator::Simulator;
use crate::message::lane::Standing;

/// What may strike.
type Strike = fn(&mut Simulator);

impl Simulator {
    pub(super) fn fault(&mut self) {
        if self.healed_at.is_some() {
            return;
        }
        let weights = self.options.faults;
        let menu: [(u64, Strike); 18] = [
            (weights.crash, Simulator::crash_somebody),
            (weights.crash_leader, Simulator::crash_leader),
            (weights.crash_all, Simulator::crash_all),
            (weights.crash_some, Simulator::crash_some),
            (weights.kill, Simulator::kill_somebody),
            (weights.pause, Simulator::pause),
            (weights.partition, Simulator::part),
            (weights.cut, Simulator::cut),
            (weights.slow_disk, Simulator::slow_disk),
            (weights.full_disk, Simulator::full_disk),
            (weights.disk_error, Simulator::disk_error),
            (weights.wall_jump, Simulator::wall_jump),
            (weights.strand_leader, Simulator::strand_leader),
            (weights.hush, Simulator::hush),
            (weights.damage, Simulator::damage),
            (weights.ambush, Simulator::ambush),
            (weights.stumble, Simulator::begin_stumbling),
            (weights.lose_directory, Simulator::lose_directory),
        ];
        if let Some(strike) = self.random.weighted(&menu) {
            strike(self);
        }
        let micros = 1 + self.random.below(2 * self.options.fault_every_us);
        self.agenda.after(micros, Event::Fault);
    }

    pub(super) fn somebody(&mut self) -> usize {
        self.random.below(self.servers.len() as u64) as usize
    }

    pub(super) fn leader(&self) -> Option<usize> {
        let leads = |index: &usize| {
            self.servers[*index].running.as_ref().is_some_and(|running| running.standing() == Standing::Leading)
        };
        (0..self.servers.len()).find(leads)
    }

    fn a_while_us(&mut self) -> u64 {
        let silence_us = self.options.limits.sync_ms() * 1000;
        match self.random.below(3) {
            0 => self.random.below(silence_us / 4),
            1 => self.random.below(silence_us),
            _ => self.random.below(silence_us * 4),
        }
    }

    // Servers.

    /// At once, or at one of the next things it does to its disk.
    fn crash_somebody(&mut self) {
        let index = self.somebody();
        self.crash_at_some_write(index);
    }

    fn crash_at_some_write(&mut self, index: usize) {
        if self.servers[index].running.is_none() {
            return;
        }
        if self.random.chance(1, 3) || self.options.is_java(index) {
            return self.power_goes(index);
        }
        self.counts.crashes_planned += 1;
        let spared = self.random.below(30);
        self.servers[index].disk.plan(Fault::PowerCut, spared);
    }

    fn crash_leader(&mut self) {
        let Some(index) = self.leader() else { return };
        self.counts.crashes_of_leader += 1;
        match self.random.below(3) {
            0 => self.kill(index),
            1 => self.crash_at_some_write(index),
            _ => self.power_goes(index),
        }
    }

    fn crash_all(&mut self) {
        self.counts.crashes_of_all += 1;
        self.ambush_at_times();
        for index in 0..self.servers.len() {
            if self.servers[index].running.is_some() {
                self.power_goes(index);
            }
        }
    }

    /// Whoever comes back together has a new epoch to agree on.
    fn ambush_at_times(&mut self) {
        if self.options.faults.ambush > 0 && self.random.chance(1, 2) {
            self.ambush();
        }
    }

    /// Several at once, each perhaps in the middle of what it writes.
    fn crash_some(&mut self) {
        self.counts.crashes_of_some += 1;
        self.ambush_at_times();
        for index in 0..self.servers.len() {
            if self.random.chance(1, 2) {
                self.crash_at_some_write(index);
            }
        }
    }

    fn kill_somebody(&mut self) {
        let index = self.somebody();
        self.kill(index);
    }

    pub(super) fn kill(&mut self, index: usize) {
        if self.servers[index].running.is_some() {
            self.counts.kills += 1;
            self.tell(|| format!("server {index} is killed"));
            self.process_ends(index);
        }
    }

    /// The process is gone; its machine is not.
    pub(super) fn process_ends(&mut self, index: usize) {
        self.servers[index].disk.kill();
        self.servers[index].running = None;
        self.net.process_ended(&mut self.agenda, index);
        self.restart_some_time(index);
    }

    pub(super) fn power_goes(&mut self, index: usize) {
        self.counts.crashes += 1;
        self.tell(|| format!("server {index} loses its power"));
        self.servers[index].disk.crash();
        if let Some(java) = &self.servers[index].java {
            java.crash(&mut self.random);
        }
        self.servers[index].running = None;
        self.net.power_lost(index);
        self.restart_some_time(index);
    }

    /// False: a planned power cut, or the end of the process, has struck, and the server is down now.
    pub(super) fn has_power(&mut self, index: usize) -> bool {
        match self.servers[index].disk.death() {
            None => return true,
            Some(Fault::ProcessDies) => {
                self.counts.kills += 1;
                self.tell(|| format!("server {index} dies at a write"));
                self.process_ends(index);
            }
            Some(_) => self.power_goes(index),
        }
        false
    }

    fn restart_some_time(&mut self, index: usize) {
        let micros = match self.servers[index].falls {
            _ if self.healed_at.is_some() => 1000,
            0 => 1000 + self.a_while_us(),
            // It is tried again at once.
            _ => 1000 + self.random.below(20_000),
        };
        self.agenda.after(micros, Event::Restart { server: index });
    }

    fn pause(&mut self) {
        let index = match self.leader().filter(|_| self.random.chance(1, 3)) {
            Some(leader) => leader,
            None => self.somebody(),
        };
        self.counts.pauses += 1;
        let until = self.agenda.now() + self.a_while_us();
        self.tell(|| format!("server {index} is paused until {until}"));
        self.servers[index].paused_until = until;
    }

    fn wall_jump(&mut self) {
        let index = self.somebody();
        self.counts.wall_jumps += 1;
        let millis = self.random.below(20_000) as i64 - 10_000;
        self.servers[index].clock.jump(millis);
    }

    // Connections.

    fn cut(&mut self) {
        self.counts.cuts += 1;
        for _ in 0..1 + self.random.below(3) {
            self.net.cut(&mut self.agenda);
        }
    }

    fn part(&mut self) {
        self.partition += 1;
        let nodes = self.servers.len() + self.clients.len();
        let sides: Vec<bool> = match self.random.below(3) {
            0 => (0..nodes).map(|_| self.random.chance(1, 2)).collect(),
            1 => {
                self.counts.isolations += 1;
                let alone = self.somebody();
                (0..nodes).map(|node| node == alone).collect()
            }
            _ => {
                self.counts.isolations += 1;
                let alone = self.leader().unwrap_or(0);
                (0..nodes).map(|node| node == alone).collect()
            }
        };
        let one_way = self.random.chance(1, 3);
        if one_way {
            self.counts.one_way_partitions += 1;
        } else {
            self.counts.partitions += 1;
        }
        self.tell(|| format!("partition {sides:?}, one way: {one_way}"));
        for from in 0..nodes {
            for to in 0..nodes {
                if sides[from] != sides[to] && (!one_way || sides[from]) {
                    self.net.block(from, to);
                }
            }
        }
        let micros = self.a_while_us();
        self.agenda.after(micros, Event::Join { partition: self.partition });
    }

    pub(super) fn join(&mut self, partition: u64) {
        if partition == self.partition {
            self.tell(|| "all are connected".to_owned());
            self.net.join(&mut self.agenda);
        }
    }

    /// The leader keeps its clients, perhaps its observers, and loses the other servers: it goes on logging what nobody will ever
    /// have. Then it is joined to them again, or falls. At times the others lose it at once, and elect another one before it
    /// misses them.
    fn strand_leader(&mut self) {
        let Some(leader) = self.leader() else { return };
        self.counts.strandings += 1;
        self.partition += 1;
        let keeps_observers = self.random.chance(1, 2);
        let until = if keeps_observers { self.options.voters } else { self.servers.len() };
        let others: Vec<usize> = (0..until).filter(|other| *other != leader).collect();
        let (is_severed, is_hushed) = (self.random.chance(1, 2), self.random.chance(1, 2));
        self.tell(|| format!("server {leader} leads without {others:?}; they hear of it: {is_severed}"));
        for other in &others {
            self.net.block(leader, *other);
            self.net.block(*other, leader);
        }
        if is_severed {
            self.counts.severed += 1;
            self.net.sever(&mut self.agenda, leader, &others);
        }
        let micros = self.a_while_us();
        self.agenda.after(micros, Event::Join { partition: self.partition });
        self.stranded = Some(leader).filter(|_| is_hushed);
        if is_hushed {
            // The next epoch begins without a transaction: what the old leader has logged alone is cut from its log.
            let begins = self.random.below(self.options.limits.sync_ms() * 1000);
            let until = self.agenda.now() + micros + self.a_while_us() + self.options.limits.sync_ms() * 2000;
            self.agenda.after(begins, Event::Hush { until });
        } else {
            let half = self.random.below(2) as usize;
            self.readers = (half, self.agenda.now() + micros);
        }
        if self.random.chance(1, 3) {
            let spared = self.random.below(60);
            match self.options.is_java(leader) {
                true => self.power_goes(leader),
                false => self.servers[leader].disk.plan(Fault::PowerCut, spared),
            }
        }
    }

    /// Clients ask for nothing for a while.
    fn hush(&mut self) {
        let until = self.agenda.now() + 2 * self.a_while_us();
        self.hush_until(until);
    }

    pub(super) fn hush_until(&mut self, until: u64) {
        if self.healed_at.is_none() {
            self.counts.hushes += 1;
            self.hushed_until = until;
        }
    }

    // Disks.

    /// Files change while nobody uses them. What is gone then must not be all that a majority of voters needs.
    fn damage(&mut self) {
        let index = self.somebody();
        if self.options.is_java(index) || !self.is_done_with_members() || !self.can_do_without(index) {
            self.counts.damages_put_off += 1;
            return;
        }
        if self.servers[index].running.is_some() {
            self.power_goes(index);
        }
        let server = &mut self.servers[index];
        let done = damage(&server.disk, &mut self.random);
        server.is_damaged |= !done.is_empty();
        self.counts.damages += done.len() as u64;
        self.tell(|| format!("server {index} is damaged: {done:?}"));
    }

    /// A majority without this one is whole, and has all that was committed.
    fn can_do_without(&self, index: usize) -> bool {
        let last = self.history.last();
        let leaders = self.newest_epoch();
        let is_whole = |server: &&Server| {
            let is_current = server
                .running
                .as_ref()
                .is_some_and(|running| running.is_serving() && running.flushed_through() >= last);
            server.index != index && !server.is_damaged && is_current && server.current_epoch() == leaders
        };
        let whole = self.ids_of(self.servers.iter().filter(is_whole));
        self.quorums().iter().all(|quorum| quorum.is_reached_by(&whole))
    }

    fn newest_epoch(&self) -> u32 {
        self.servers.iter().map(Server::current_epoch).max().unwrap_or_default()
    }

    fn slow_disk(&mut self) {
        let index = self.somebody();
        self.counts.slow_disks += 1;
        self.servers[index].is_disk_slow = true;
        self.well_some_time(index);
    }

    fn full_disk(&mut self) {
        let index = self.somebody();
        if self.options.is_java(index) {
            return;
        }
        self.counts.full_disks += 1;
        let disk = &self.servers[index].disk;
        disk.set_capacity(Some(disk.used_bytes()));
        self.well_some_time(index);
    }

    fn disk_error(&mut self) {
        let index = self.somebody();
        if self.options.is_java(index) {
            return;
        }
        self.counts.disk_errors += 1;
        let faults = [Fault::Operation, Fault::Write, Fault::Sync, Fault::Rename];
        let fault = faults[self.random.below(4) as usize];
        let spared = self.random.below(20);
        self.servers[index].disk.plan(fault, spared);
        self.well_some_time(index);
    }

    fn well_some_time(&mut self, index: usize) {
        let micros = self.a_while_us();
        self.agenda.after(micros, Event::DiskWell { server: index });
    }

    pub(super) fn disk_well(&mut self, index: usize) {
        let server = &mut self.servers[index];
        server.is_disk_slow = false;
        server.disk.set_capacity(None);
        server.disk.heal();
    }

    /// From now on all is well.
    pub(super) fn heal(&mut self) {
        self.tell(|| "all is well from now on".to_owned());
        self.healed_at = Some(self.agenda.now());
        self.net.join(&mut self.agenda);
        for index in 0..self.servers.len() {
            self.disk_well(index);
            self.servers[index].paused_until = 0;
            if self.servers[index].running.is_none() {
                self.agenda.after(1000, Event::Restart { server: index });
            } else {
                self.wake(index, Actor::Ensemble);
                for worker in 0..usize::from(self.options.workers) {
                    self.wake(index, Actor::Worker(worker));
                }
            }
        }
        self.hushed_until = 0;
        self.readers = (0, 0);
        self.find_the_lost();
        self.clients.iter_mut().for_each(|client| client.answered_since_heal = 0);
        self.servers.iter_mut().for_each(|server| server.has_served = false);
        self.agenda.after(50_000, Event::Look);
    }
}
