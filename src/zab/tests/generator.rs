//! The general generator: an ensemble, its work and its faults from a seed; then everything heals, and progress is demanded.

use super::leading::SYNC;
use super::world::{Event, Options, World};
use crate::types::{PutBack, ServerId};
use crate::zab::Limits;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How many seeds `cargo test` runs.
const SEEDS: u64 = 2000;

/// How often each fault comes, a thousandth of all that happens between two moments of work.
#[derive(Clone, Debug)]
struct Faults {
    crash: f64,
    crash_all: f64,
    cut: f64,
    separate: f64,
    heal: f64,
    pause: f64,
    give_up: f64,
    stall_disk: f64,
}

fn options(random: &mut SmallRng) -> Options {
    let voters = *[1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7].get(random.random_range(0..12)).expect("in range");
    let slow_delays = random.random_bool(0.3);
    let slow_disks = random.random_bool(0.4);
    Options {
        voters,
        outsiders: usize::from(random.random_bool(0.1)),
        observers: [0, 0, 0, 1, 2][random.random_range(0..5)],
        group_size: (voters >= 5 && random.random_bool(0.15)).then_some(3),
        limits: Limits {
            tick_ms: random.random_range(20..100),
            init_ticks: random.random_range(3..12),
            sync_ticks: random.random_range(2..6),
        },
        delay_us: (50, if slow_delays { 20_000 } else { 1_000 }),
        flush_us: (100, if slow_disks { 30_000 } else { 2_000 }),
        save_us: (500, if slow_disks { 80_000 } else { 5_000 }),
        retained: random.random_range(3..50),
        disk_history: random.random_bool(0.5),
        crash_one_in: if random.random_bool(0.5) { random.random_range(200..2_000) } else { 0 },
        wrong_election: if random.random_bool(0.6) { random.random_range(0.01..0.3) } else { 0.0 },
        elect_every_us: Some(random.random_range(2_000..30_000)),
        counter_max: random.random_bool(0.2).then(|| random.random_range(3..40)),
        reconfigs: if random.random_bool(0.4) { random.random_range(0.02..0.3) } else { 0.0 },
    }
}

fn faults(random: &mut SmallRng) -> Faults {
    let mut rate = |most: f64| if random.random_bool(0.6) { random.random_range(0.0..most) } else { 0.0 };
    Faults {
        crash: rate(0.03),
        crash_all: rate(0.005),
        cut: rate(0.04),
        separate: rate(0.02),
        heal: 0.03,
        pause: rate(0.02),
        give_up: rate(0.02),
        stall_disk: rate(0.02),
    }
}

fn run(seed: u64) -> World {
    let mut random = SmallRng::seed_from_u64(seed);
    let options = options(&mut random);
    let faults = faults(&mut random);
    let steps = random.random_range(100..400);
    let pace_us = random.random_range(1_000..12_000);
    let writes = random.random_range(0.2..0.95);
    let mut world = World::new(options, random.random());
    world.say(|| format!("{:?} {faults:?}", world.options));
    for _ in 0..steps {
        let pause = world.between((0, pace_us));
        world.run(pause);
        work(&mut world, writes);
        harm(&mut world, &faults);
    }
    heal(&mut world);
    world
}

fn any(world: &mut World) -> ServerId {
    let all = world.servers.len() as i64;
    ServerId(world.random.random_range(1..=all))
}

fn work(world: &mut World, writes: f64) {
    let id = any(world);
    let burst = if world.chance(writes) { world.random.random_range(0..6) } else { 0 };
    let leaders: Vec<ServerId> =
        world.servers.iter().filter(|server| server.is_established()).map(|server| server.id).collect();
    for leader in leaders {
        for _ in 0..burst {
            world.write(leader);
        }
        let reconfigs = world.options.reconfigs;
        if world.chance(reconfigs) {
            world.reconfigure(leader);
        }
        if world.chance(0.2) && world.server(leader).paused_until <= world.now {
            world.ask_sync(leader, None);
        }
    }
    if world.server(id).up && world.server(id).paused_until <= world.now {
        let op = if world.random.random_bool(0.5) { SYNC } else { 1 };
        world.forward(id, op);
    }
}

fn harm(world: &mut World, faults: &Faults) {
    let id = any(world);
    if world.chance(faults.crash) && world.server(id).up {
        world.crash(id);
        let down = world.between((0, 500_000));
        world.after(down, Event::Restart { server: id });
    }
    if world.chance(faults.crash_all) {
        world.count("crash of all");
        for index in 1..=world.servers.len() {
            let id = ServerId(index as i64);
            world.crash(id);
            let down = world.between((0, 200_000));
            world.after(down, Event::Restart { server: id });
        }
    }
    if world.chance(faults.cut) {
        let with_notice = world.random.random_bool(0.6);
        world.cut_between(|learner, leader| learner == id || leader == id, with_notice);
        world.count("cut");
    }
    if world.chance(faults.separate) {
        let some: Vec<i64> = (1..=world.servers.len() as i64).filter(|_| world.random.random_bool(0.5)).collect();
        let with_notice = world.random.random_bool(0.5);
        world.separate(&some, with_notice);
        world.count("partition");
    }
    if world.chance(faults.heal) {
        world.apart.clear();
    }
    if world.chance(faults.pause) {
        let sync_us = world.options.limits.sync_ms() * 1000;
        let pause = world.between((1_000, sync_us * 2));
        let until = world.now + pause;
        world.server_mut(id).paused_until = until;
        world.count("pause");
    }
    if world.chance(faults.give_up) {
        world.say(|| format!("server {} is made to look again", id.0));
        world.end_role(id);
        world.count("end of role");
    }
    if world.chance(faults.stall_disk) {
        world.server_mut(id).disk_stalls = true;
    }
    let stalled: Vec<ServerId> = world.servers.iter().filter(|s| s.disk_stalls).map(|s| s.id).collect();
    for id in stalled {
        if world.random.random_bool(0.1) {
            world.server_mut(id).disk_stalls = false;
            world.begin_flush(id);
        }
    }
}

/// No fault any more: within a bound everybody serves the same history, and writes go on.
fn heal(world: &mut World) {
    world.say(|| "everything heals".to_owned());
    world.apart.clear();
    world.options.crash_one_in = 0;
    world.options.wrong_election = 0.0;
    world.options.counter_max = None;
    for index in 0..world.servers.len() {
        let server = &mut world.servers[index];
        server.paused_until = server.paused_until.min(world.now);
        server.disk_stalls = false;
        let id = server.id;
        world.begin_flush(id);
        world.restart(id);
    }
    let limits = world.options.limits;
    let bound_ms = 4 * limits.init_ms() + 4 * limits.sync_ms() + 2000;
    for round in 0..2 {
        let end = world.now + bound_ms * 1000;
        while !world.has_converged() {
            if world.now > end {
                let stuck: Vec<_> = world.servers.iter().map(|s| (s.id.0, s.is_serving(), s.visible)).collect();
                panic!(
                    "no progress in round {round} within {bound_ms} ms: {stuck:?}, {} committed",
                    world.ghost.committed.len()
                );
            }
            world.run(5_000);
        }
        let leader = world.servers.iter().find(|server| server.is_established()).expect("they have converged").id;
        if world.write(leader).is_none() {
            world.run(5_000);
        }
        world.ask_sync(leader, None);
        world.run(1_000);
    }
}

#[test]
fn faults_from_seeds() {
    let seeds = match std::env::var("ZAB_SEEDS") {
        Ok(range) => {
            let (from, to) = range.split_once("..").expect("ZAB_SEEDS=from..to");
            from.parse().expect("a number")..to.parse().expect("a number")
        }
        Err(_) => 0..SEEDS,
    };
    let many = seeds.end - seeds.start;
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in seeds {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(world) => world.counts.iter().for_each(|(what, many)| *counts.entry(what).or_default() += many),
            Err(_) => {
                let next = seed + 1;
                panic!(
                    "seed {seed} fails: ZAB_TRACE=1 ZAB_SEEDS={seed}..{next} cargo test --lib zab::tests::generator -- --nocapture"
                );
            }
        }
    }
    println!("{many} seeds: {counts:?}");
    for what in [
        "DIFF",
        "DIFF from disk",
        "TRUNC",
        "SNAP",
        "epoch used up",
        "sync",
        "crash",
        "partition",
        "pause",
        "reconfiguration",
    ] {
        assert!(many < 500 || counts.contains_key(what), "{what} never occurred: the seeds are too poor");
    }
}

/// Each fault that is put back is found by the same seeds, soon.
#[test]
fn faults_put_back_are_found() {
    let hook = std::panic::take_hook();
    // Dozens of failures are wanted here; their messages would bury those of other tests.
    std::panic::set_hook(Box::new(move |info| {
        if !PutBack::ALL.into_iter().any(PutBack::is_on) {
            hook(info);
        }
    }));
    for fault in PutBack::ALL.into_iter().filter(|fault| fault.is_for_zab()) {
        fault.put_back();
        let found = (0..SEEDS).find_map(|seed| catch_unwind(|| drop(run(seed))).err().map(|why| (seed, why)));
        PutBack::nothing();
        let (seed, why) = found.unwrap_or_else(|| panic!("{fault:?} is not found within {SEEDS} seeds"));
        let why = why.downcast_ref::<String>().map_or("", String::as_str);
        println!("{fault:?}: found by seed {seed}: {}", why.lines().next().unwrap_or_default());
    }
}
