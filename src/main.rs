//! The server binary: read the config, restore the data, build the threads, wait for a signal.

use client_port::{ClientPort, Mover};
use ringkeeper::config::{self, Command, EXIT_CODE_BAD_CONFIG, Settings, parse_args};
use ringkeeper::ensemble::{self, Backgrounds, FeedWriter};
use ringkeeper::io::{clock, process, signals};
use ringkeeper::message::MembersSign;
use ringkeeper::message::lane::{Standing, StandingSign};
use ringkeeper::runtime::background::Jobs;
use ringkeeper::runtime::client_port::PortSlot;
use ringkeeper::runtime::core::{self, EnsembleCore, WorkerCore, run_both};
use ringkeeper::runtime::lanes::{Doorbell, WorkerLane, lanes};
use ringkeeper::runtime::link_io::LinkOptions;
use ringkeeper::runtime::placement::{self, Placement};
use ringkeeper::runtime::stall::{self, Pulse};
use ringkeeper::server::{Admission, Desk, Worker, WorkerParts};
use ringkeeper::storage::Background;
use ringkeeper::types::{Now, WorkerIndex};
use std::net::TcpListener;
use std::process::exit;
use std::sync::Arc;

#[path = "main/client_port.rs"]
mod client_port;
#[path = "main/mapping.rs"]
mod mapping;
#[path = "main/status.rs"]
mod status;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `ExitCode` of ZooKeeper.
const EXIT_CODE_UNEXPECTED: i32 = 1;
const EXIT_CODE_DATA_DIR: i32 = 3;
/// Pieces of a snapshot, of 256 KiB, that wait for a learner at most.
const SNAPSHOT_PIECES_MAX: usize = 8;

fn main() {
    let missing = process::missing_processor_features();
    if !missing.is_empty() {
        eprintln!(
            "ringkeeper: this build needs a processor with {}; a virtual machine may hide what its host has. Let it show a \
             newer model, or build with RUSTFLAGS='-C target-cpu=x86-64'",
            missing.join(", ")
        );
        exit(EXIT_CODE_UNEXPECTED);
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr).init();
    stop_on_broken_invariants();
    let line = match parse_args(std::env::args().skip(1)) {
        Ok(Command::Help) => return print!("{}", config::USAGE),
        Ok(Command::Version) => return println!("ringkeeper {}", ringkeeper::admin::VERSION),
        Ok(Command::Serve(line)) => line,
        Err(error) => give_up(EXIT_CODE_BAD_CONFIG, &format!("{error}\n{}", config::USAGE)),
    };
    let loaded = config::load(&line, &mut |path| std::fs::read(path))
        .unwrap_or_else(|error| give_up(EXIT_CODE_BAD_CONFIG, &error.to_string()));
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    serve(Arc::new(loaded.settings));
}

/// Members that stand in the static file move out of it with the first configuration that is in force; the file is kept as it
/// was written.
fn back_up_members(settings: &Settings) {
    if let Some(member) = settings.ensemble.as_ref().filter(|member| member.dynamic_file.is_none())
        && settings.reconfig_enabled
        && let Err(error) = mapping::config_files(member).back_up()
    {
        tracing::error!("{error}: there is no copy of the configuration file as it was written");
    }
}

/// A panic of any thread ends the process, before anything is unwound: what an invariant was about is not to be trusted.
fn stop_on_broken_invariants() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

/// Builds everything, then waits for a signal.
fn serve(settings: Arc<Settings>) {
    let began = clock::now();
    process::raise_file_descriptor_limit();
    signals::explain_bus_errors();
    or_give_up(EXIT_CODE_UNEXPECTED, "cannot set up signals", signals::block_termination());
    let ring = core::probe().unwrap_or_else(|error| give_up(EXIT_CODE_UNEXPECTED, &error));
    let seed = or_give_up(EXIT_CODE_UNEXPECTED, "the kernel gives no random numbers", process::random_seed());
    let cores = placement::available_cores().unwrap_or_default();
    let placement = placement::decide(&mapping::wish(&settings), &cores);
    // The lock first: whoever must not run on this data takes no port either.
    let dirs =
        mapping::open_data_dir(&settings).unwrap_or_else(|error| give_up(EXIT_CODE_DATA_DIR, &error.to_string()));
    let dirs = Arc::new(dirs);
    back_up_members(&settings);
    let port = ClientPort::new(&settings, &placement);
    let listeners = port.open(&settings);
    let addresses: Vec<String> =
        listeners.first().and_then(|l| l.local_addr().ok()).map(|a| a.to_string()).into_iter().collect();
    let registry = Arc::new(ringkeeper::observe::MetricsRegistry::new());
    let standing = StandingSign::new(Standing::Looking);
    let (mover, members) = (Mover::default(), MembersSign::default());
    let options =
        mapping::start_options(&settings, seed, &registry, standing.clone(), mover.moves(port), members.clone());
    let loaded = ensemble::load(&dirs, &options)
        .unwrap_or_else(|error| give_up(EXIT_CODE_UNEXPECTED, &format!("cannot restore the data: {error}")));
    report(&loaded);
    let (ensemble_lanes, worker_lanes) = lanes(placement.workers());
    let background = Backgrounds {
        snapshots: background("snapshots", true),
        log_files: background("log-files", false),
        feeds: FeedWriter { background: Arc::new(on_its_own_thread), pieces_max: SNAPSHOT_PIECES_MAX },
    };
    let reader = loaded.tree.reader();
    let ensemble = ensemble::start(dirs.clone(), loaded, options, ensemble_lanes, background, clock::now())
        .unwrap_or_else(|error| give_up(EXIT_CODE_UNEXPECTED, &error.to_string()));

    let doorbells: Vec<Doorbell> = worker_lanes.iter().map(WorkerLane::doorbell).collect();
    let slots: Vec<PortSlot> = doorbells.iter().map(|_| PortSlot::default()).collect();
    mover.name_workers(slots.iter().cloned().zip(doorbells.iter().cloned()).collect());
    let rules = Arc::new(mapping::server_rules(&settings));
    let admission = Arc::new(Admission::new(
        settings.max_client_cnxns,
        settings.max_cnxns,
        rules.throttle.clone(),
        began.mono,
        seed,
    ));
    let desk = Arc::new(Desk::new(
        status::source(&settings, &dirs, registry.clone(), admission.clone(), began.mono, standing.clone(), members),
        doorbells,
    ));
    let make_worker = move |index: u16, lane: WorkerLane, listener: Vec<TcpListener>| {
        let (rules, tree, admission, desk) = (rules.clone(), reader.clone(), admission.clone(), desk.clone());
        let (registry, standing, slot) = (registry.clone(), standing.clone(), slots[usize::from(index)].clone());
        move || {
            let metrics = registry.register();
            let index = WorkerIndex(index);
            let parts = WorkerParts { index, rules, tree, lane, admission, desk, metrics, standing, hash_seed: seed };
            WorkerCore::new(Worker::new(parts), listener, slot)
        }
    };
    let links = LinkOptions { tcp_keep_alive: settings.ensemble.as_ref().is_some_and(|member| member.tcp_keep_alive) };
    let stall_ms = settings.stall_warning_threshold_ms;
    start_threads(&placement, ensemble, links, worker_lanes, listeners, make_worker, stall_ms);
    announce(&addresses, settings.ensemble.is_some(), &placement, ring, began);
    match signals::wait_for_termination() {
        Ok(signal) => tracing::info!("{signal}: stopping; everything acknowledged is on the disk"),
        Err(error) => tracing::error!("cannot wait for signals: {error}"),
    }
    drop(dirs);
    exit(0);
}

fn start_threads<W, M>(
    placement: &Placement,
    ensemble: ensemble::Ensemble,
    links: LinkOptions,
    lanes: Vec<WorkerLane>,
    listeners: Vec<TcpListener>,
    make_worker: impl Fn(u16, WorkerLane, Vec<TcpListener>) -> M,
    stall_ms: u64,
) where
    W: core::WorkerTurn + 'static,
    M: FnOnce() -> WorkerCore<W> + Send + 'static,
{
    let mut pulses: Vec<(String, Arc<Pulse>)> = Vec::new();
    let mut pulse = |name: &str| {
        let pulse = Arc::new(Pulse::default());
        pulses.push((name.to_owned(), pulse.clone()));
        pulse
    };
    let mut listeners = listeners.into_iter();
    let mut lanes = lanes.into_iter();
    let started = if placement.worker_threads == 0 {
        let make = make_worker(0, lanes.next().expect("one worker"), listeners.by_ref().collect());
        let pulse = pulse("core");
        core::spawn("core", placement.core_of_ensemble(), move || {
            run_both(make(), EnsembleCore::new(ensemble, links), pulse)
        })
        .map(drop)
    } else {
        let ensemble_pulse = pulse("ensemble");
        let mut result = core::spawn("ensemble", placement.core_of_ensemble(), move || {
            EnsembleCore::new(ensemble, links).run(ensemble_pulse)
        })
        .map(drop);
        for (index, lane) in (0u16..).zip(lanes) {
            let make = make_worker(index, lane, listeners.next().into_iter().collect());
            let name = format!("worker-{index}");
            let pulse = pulse(&name);
            let spawned = core::spawn(&name, placement.core_of_worker(index), move || make().run(pulse)).map(drop);
            result = result.and(spawned);
        }
        result
    };
    or_give_up(EXIT_CODE_UNEXPECTED, "cannot start a thread", started.and_then(|()| stall::watch(pulses, stall_ms)));
}

/// A snapshot for a learner waits for that learner, and holds up nothing else.
fn on_its_own_thread(job: Box<dyn FnOnce() + Send>) {
    if let Err(error) = std::thread::Builder::new().name("learner-feed".to_owned()).spawn(job) {
        // The job is dropped, and with it the feed ends.
        tracing::error!("cannot start a thread for a learner: {error}");
    }
}

/// A thread for jobs that nobody should wait for.
fn background(name: &str, humble: bool) -> Background {
    let jobs = or_give_up(EXIT_CODE_UNEXPECTED, "cannot start a thread", Jobs::start(name, humble));
    Arc::new(move |job| jobs.run(job))
}

/// Tells the operator what the start found.
fn report(loaded: &ensemble::Loaded) {
    let restored = &loaded.restored;
    for rejected in &restored.snapshots_rejected {
        tracing::warn!("a snapshot cannot be read, an older one is used: {rejected}");
    }
    for repair in &restored.repairs {
        tracing::warn!("{repair}");
    }
    tracing::info!(
        "restored {} znodes: snapshot of zxid {}, {} transaction(s) replayed, last zxid {}",
        loaded.tree.view().node_count(),
        restored.snapshot_zxid,
        restored.txns_replayed,
        loaded.tree.view().last_zxid()
    );
}

fn announce(addresses: &[String], is_member: bool, placement: &Placement, ring: &str, began: Now) {
    let took_ms = clock::monotonic().micros_since(began.mono) / 1000;
    for address in addresses {
        match is_member {
            true => {
                tracing::info!("listening on {address} after {took_ms} ms; clients are served once there is a leader")
            }
            false => tracing::info!("serving clients on {address}, ready after {took_ms} ms"),
        }
        let port = address.rsplit(':').next().unwrap_or("2181");
        tracing::info!("connect with any ZooKeeper client: zkCli.sh -server 127.0.0.1:{port}");
    }
    tracing::info!("cores: {}", placement.reason);
    tracing::info!("io_uring: {ring}");
}

fn or_give_up<T>(exit_code: i32, what: &str, result: std::io::Result<T>) -> T {
    result.unwrap_or_else(|error| give_up(exit_code, &format!("{what}: {error}")))
}

fn give_up(exit_code: i32, message: &str) -> ! {
    tracing::error!("{message}");
    exit(exit_code)
}
