//! Real processes under faults: servers in network namespaces with disks of their own, and a schedule from a seed of what is done
//! to them. Meanwhile some clients keep ledgers of what they wrote, some read and have ephemerals, some read and write registers
//! whose history goes to porcupine. In the end everything heals, and all servers must be equal and have all that was acknowledged.
//!
//! `RINGKEEPER_FAULTS_MINUTES=60 tools/test faults` goes on for so long, chapter by chapter with three and five servers, also mixed
//! with Java's. `RINGKEEPER_FAULTS_SEED` repeats the schedule of one chapter (not its timing).
//!
//! - `network`: what lies between the servers
//! - `readers`: what a session is told never goes back, and ephemerals live as long as their sessions

mod network;
mod readers;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::differential::walk;
use crate::disk_full::{Filler, mount_small_disk};
use crate::ensemble::ledger::Load;
use crate::ensemble::{Ensemble, JAVA, OURS};
use crate::namespaces::with_namespaces;
use crate::process::Kind;
use crate::recipes::linearizable;
use network::{CLIENTS, Network, Weather, host};
use readers::{Alive, Reader};

const DISK_BYTES: u64 = 256 << 20;
const WRITERS: usize = 3;
const REGISTER_CLIENTS: usize = 4;
const READERS: usize = 4;
/// Acknowledged after a fault before the next one comes.
const WRITES: u64 = 30;
/// Of a chapter in the usual run.
const CHAPTER: Duration = Duration::from_secs(30);
const LONG_CHAPTER: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillOne,
    KillLeader,
    KillAll,
    PauseOne,
    PauseLeader,
    IsolateLeader,
    IsolateOne,
    DeafLeader,
    MuteOne,
    Halves,
    Slow,
    Lossy,
    FullDisk,
}

const FAULTS: [Fault; 13] = [
    Fault::KillOne,
    Fault::KillLeader,
    Fault::KillAll,
    Fault::PauseOne,
    Fault::PauseLeader,
    Fault::IsolateLeader,
    Fault::IsolateOne,
    Fault::DeafLeader,
    Fault::MuteOne,
    Fault::Halves,
    Fault::Slow,
    Fault::Lossy,
    Fault::FullDisk,
];

/// The servers, and what is done to them.
struct Scene {
    ensemble: Ensemble,
    network: Network,
    random: SmallRng,
    counts: BTreeMap<Fault, u32>,
}

impl Scene {
    fn set(kinds: &[Kind], seed: u64) -> io::Result<Scene> {
        let network = Network::new(kinds.len() + 1, seed)?;
        let mut ensemble = Ensemble::at(host, kinds, &[]);
        for id in ensemble.ids() {
            let data_dir = ensemble.server(id).data_dir();
            mount_small_disk(&data_dir, DISK_BYTES)?;
            fs::write(data_dir.join("myid"), id.to_string())?;
            let server = ensemble.server_mut(id);
            server.live_at(host(id), network.namespace(id));
            server.set("preAllocSize", "1024").set("snapCount", "3000").set("syncLimit", "4");
        }
        Ok(Scene { ensemble, network, random: SmallRng::seed_from_u64(seed), counts: BTreeMap::new() })
    }

    fn any_server(&mut self) -> usize {
        self.random.random_range(self.ensemble.ids())
    }

    fn for_a_while(&mut self, longest_ms: u64) {
        sleep(Duration::from_millis(self.random.random_range(100..longest_ms)));
    }

    fn weather(&mut self) -> Weather {
        let ms = |random: &mut SmallRng, most| Duration::from_millis(random.random_range(0..most));
        Weather {
            is_cut: false,
            delay: ms(&mut self.random, 40),
            jitter: ms(&mut self.random, 40),
            lost_one_in: if self.random.random() { self.random.random_range(10..100) } else { 0 },
        }
    }

    /// Does it, waits, and takes it back.
    fn suffer(&mut self, fault: Fault) {
        *self.counts.entry(fault).or_default() += 1;
        let cut = Weather { is_cut: true, ..Weather::default() };
        let between_servers = |from: usize, to: usize| from != CLIENTS && to != CLIENTS;
        match fault {
            Fault::KillOne | Fault::KillLeader => {
                let id = if fault == Fault::KillLeader { self.ensemble.leader() } else { self.any_server() };
                self.ensemble.server_mut(id).kill();
                self.for_a_while(3000);
                self.ensemble.server_mut(id).spawn();
            }
            Fault::KillAll => {
                self.ensemble.ids().for_each(|id| self.ensemble.server_mut(id).kill());
                self.for_a_while(1500);
                self.ensemble.ids().for_each(|id| self.ensemble.server_mut(id).spawn());
            }
            Fault::PauseOne | Fault::PauseLeader => {
                let id = if fault == Fault::PauseLeader { self.ensemble.leader() } else { self.any_server() };
                self.ensemble.server(id).pause(true);
                self.for_a_while(5000);
                self.ensemble.server(id).pause(false);
            }
            Fault::IsolateLeader | Fault::IsolateOne => {
                let id = if fault == Fault::IsolateLeader { self.ensemble.leader() } else { self.any_server() };
                let with_clients: bool = self.random.random();
                let concerns = |from, to| (from == id || to == id) && (with_clients || between_servers(from, to));
                self.network.change(concerns, cut);
                self.for_a_while(6000);
            }
            Fault::DeafLeader => {
                let id = self.ensemble.leader();
                self.network.change(|from, to| to == id && between_servers(from, to), cut);
                self.for_a_while(6000);
            }
            Fault::MuteOne => {
                let id = self.any_server();
                self.network.change(|from, to| from == id && between_servers(from, to), cut);
                self.for_a_while(6000);
            }
            Fault::Halves => {
                let side: Vec<bool> = (0..=*self.ensemble.ids().end()).map(|_| self.random.random()).collect();
                self.network.change(|from, to| side[from] != side[to] && between_servers(from, to), cut);
                self.for_a_while(6000);
            }
            Fault::Slow | Fault::Lossy => {
                let mut weather = self.weather();
                if fault == Fault::Lossy {
                    weather.lost_one_in = self.random.random_range(5..30);
                }
                self.network.change(|_, _| true, weather);
                self.for_a_while(5000);
            }
            Fault::FullDisk => {
                let id = self.any_server();
                let home = self.ensemble.home().join(id.to_string());
                let filler = Filler::fill(&home);
                self.for_a_while(4000);
                filler.give_back();
            }
        }
    }

    /// One fault, or one in bad weather; then all is well again.
    fn act(&mut self) {
        let fault = *FAULTS.choose(&mut self.random).expect("there are some");
        if self.random.random_range(0..4) == 0 {
            let weather = self.weather();
            self.network.change(|_, _| true, weather);
        }
        self.suffer(fault);
        self.network.heal();
        for id in self.ensemble.ids() {
            if !self.ensemble.server_mut(id).is_running() {
                // Java ends where it cannot write, and counts on being started again.
                let kind = self.ensemble.server(id).kind;
                assert_ne!(kind, OURS, "server {id} ended after {fault:?}\n{}", self.ensemble.logs());
                self.ensemble.server_mut(id).kill();
                self.ensemble.server_mut(id).spawn();
            }
        }
    }
}

/// A chapter; an error says that namespaces cannot be made.
fn chapter(kinds: &[Kind], seed: u64, length: Duration) -> io::Result<()> {
    println!("{} servers, RINGKEEPER_FAULTS_SEED={seed}", kinds.len());
    let mut scene = Scene::set(kinds, seed)?;
    scene.ensemble.start_led_by(kinds.len());
    let servers = scene.ensemble.addresses();
    linearizable::set_up(servers[0]);
    readers::set_up(servers[0]);
    // A Java leader answers a sync without asking whether it still leads.
    let is_ours = kinds.iter().all(|kind| *kind == OURS);
    let (last_value, over, began) = (AtomicU64::new(0), AtomicBool::new(false), Instant::now());
    let load = Load::begin_where_sessions_expire(&servers, WRITERS);
    let (history, alive, told): (String, Vec<Option<Alive>>, Vec<(u64, u64)>) = std::thread::scope(|scope| {
        let (servers, over, last_value) = (&servers, &over, &last_value);
        let registers: Vec<_> = (0..if is_ours { REGISTER_CLIENTS } else { 0 })
            .map(|nth| scope.spawn(move || linearizable::Client::new(nth, servers, began, last_value, over).work().0))
            .collect();
        let readers: Vec<_> = (0..READERS)
            .map(|nth| {
                scope.spawn(move || {
                    let mut reader = Reader::new(nth, servers, over);
                    (reader.work(), (reader.reads, reader.expired))
                })
            })
            .collect();
        // Whatever fails here, the clients have to end.
        let acted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            load.wait_for_more(WRITES);
            while began.elapsed() < length {
                scene.act();
                load.wait_for_more(WRITES);
            }
            scene.ensemble.wait_until_all_serve();
        }));
        over.store(true, Ordering::Relaxed);
        if let Err(failed) = acted {
            eprintln!("seed {seed}: {:?}\n{}", scene.counts, scene.ensemble.logs());
            std::panic::resume_unwind(failed);
        }
        let history = registers.into_iter().map(|client| client.join().expect("a register client failed")).collect();
        let (alive, told) = readers.into_iter().map(|reader| reader.join().expect("a reader failed")).unzip();
        (history, alive, told)
    });
    readers::check_ephemerals(&servers, alive.into_iter().flatten().collect());
    let ledger = load.end();
    // A snapshot that one Java server sends another while clients write holds parts of transactions that come again: both are equal in
    // the end, and until then complain of each other's digests.
    match kinds.iter().filter(|kind| **kind != OURS).count() {
        0 | 1 => scene.ensemble.assert_all_equal(),
        _ => scene.ensemble.assert_equal_trees(),
    }
    ledger.check(&walk::tree(servers[0]));
    let said = match is_ours {
        true => linearizable::assert_linearizable(&history, scene.ensemble.home()),
        false => "not asked whether linearizable".to_owned(),
    };
    let expired: u64 = told.iter().map(|(_, expired)| expired).sum::<u64>() + ledger.expired();
    println!(
        "{:?}: {:?}; {} writes acknowledged, {} reads, {} reconnects, {expired} sessions expired; {said}",
        kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>(),
        scene.counts,
        ledger.acknowledged(),
        told.iter().map(|(reads, _)| reads).sum::<u64>(),
        ledger.reconnects(),
    );
    Ok(())
}

fn faults(test: &str, casts: &[&[Kind]]) {
    let minutes: Option<u64> =
        std::env::var("RINGKEEPER_FAULTS_MINUTES").ok().map(|text| text.parse().expect("a number of minutes"));
    let asked: Option<u64> = std::env::var("RINGKEEPER_FAULTS_SEED").ok().map(|text| text.parse().expect("a seed"));
    let deadline = minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    with_namespaces(&format!("faults::tests::{test}"), libc::CLONE_NEWNET | libc::CLONE_NEWNS, || {
        for turn in 0.. {
            let seed = asked.unwrap_or_else(|| rand::rng().random_range(0..1 << 32));
            let length = if deadline.is_some() { LONG_CHAPTER } else { CHAPTER };
            // Namespaces of threads are the places' own; the story's is place 0, and one chapter's.
            let kinds = casts[turn % casts.len()];
            let told =
                std::thread::scope(|scope| scope.spawn(|| in_own_network(|| chapter(kinds, seed, length))).join());
            told.unwrap_or_else(|failed| std::panic::resume_unwind(failed))?;
            if deadline.is_none_or(|deadline| Instant::now() >= deadline) {
                break;
            }
        }
        Ok(())
    });
}

/// The device of a chapter before is gone with its namespace.
fn in_own_network(story: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    // SAFETY: a plain system call; the namespaces are this thread's alone.
    match unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) } {
        0 => story(),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: [&[Kind]; 2] = [&[JAVA, OURS, OURS], &[OURS, JAVA, JAVA]];

    #[test]
    fn three_servers_bear_faults() {
        let mut casts: Vec<&[Kind]> = vec![&[OURS; 3]];
        if std::env::var("RINGKEEPER_FAULTS_MINUTES").is_ok() {
            casts.extend(MIXED);
        }
        faults("three_servers_bear_faults", &casts);
    }

    #[test]
    fn five_servers_bear_faults() {
        faults("five_servers_bear_faults", &[&[OURS; 5]]);
    }
}
