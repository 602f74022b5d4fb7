//! One core: a thread with a tokio-uring runtime of its own, and the loop that turns what runs on it.
//!
//! A turn is: ask the sockets and the disk what happened, read the clock, let worker and ensemble take their turns, hand
//! what they want done to the ring. The ring is entered once, when the thread has nothing left to do.

use super::alarm::Alarm;
use super::client_port::{PortChange, PortSlot};
use super::link_io::{LinkAction, LinkEvent, LinkOptions};
use super::links::Links;
use super::socket_wait::SocketWait;
use super::sockets::{SocketEvent, Sockets};
use super::stall::Pulse;
use crate::io::disk::SyncTarget;
use crate::io::{clock, process};
use crate::types::{ConnId, Instant, Now};
use std::cell::Cell;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io;
use std::net::TcpListener;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Submission queue entries: more than the sockets that become ready in a turn, so that one entry of the ring suffices.
const RING_ENTRIES: u32 = 4096;

/// What a worker wants done with its sockets.
#[derive(Debug)]
pub enum SocketAction {
    Send { conn: ConnId, bytes: Vec<u8> },
    ReadOn { conn: ConnId, buffer: Vec<u8> },
    Close { conn: ConnId },
    Reset { conn: ConnId },
}

/// The synchronous side of a worker; `server` implements it.
pub trait WorkerTurn {
    /// Handles what happened; returns when it wants to be called even if nothing happens.
    fn turn(&mut self, now: Now, events: &mut Vec<SocketEvent>, actions: &mut Vec<SocketAction>) -> Option<Instant>;
    /// What the next turn finds in the sockets may have lain there so long: told before it, if anything came.
    fn waited_in_sockets(&mut self, _micros: u64) {}
    /// Something waits on the worker's lane.
    fn has_work(&self) -> bool;
    fn alarm(&self) -> &Alarm;
}

/// The synchronous side of the ensemble thread; `ensemble` implements it.
pub trait EnsembleTurn {
    /// Handles submissions, the end of a flush, and what happened on the links to other servers. Returns what is to be
    /// flushed; at most one flush is in flight.
    fn turn(
        &mut self,
        now: Now,
        flushed: Option<io::Result<()>>,
        links: &mut Vec<LinkEvent>,
        actions: &mut Vec<LinkAction>,
    ) -> Option<FlushRequest>;
    /// When it wants to be called even if nothing happens.
    fn next_deadline(&self) -> Option<Instant>;
    fn has_work(&self) -> bool;
    fn alarm(&self) -> Option<&Arc<Alarm>>;
}

/// What must reach the disk, one after the other, before the next turn may say so; empty = nothing to wait for.
#[derive(Debug)]
pub struct FlushRequest {
    pub targets: Vec<Arc<dyn SyncTarget>>,
}

/// Runs `main` on a new thread that is pinned to `core` if one is given. `main` is made on that thread.
pub fn spawn<F: Future<Output = ()>>(
    name: &str,
    core: Option<usize>,
    make_main: impl FnOnce() -> F + Send + 'static,
) -> io::Result<std::thread::JoinHandle<()>> {
    let thread_name = name.to_owned();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Some(core) = core
            && let Err(error) = super::placement::pin_to(core)
        {
            tracing::warn!("cannot pin {thread_name} to core {core}: {error}; it runs where the kernel puts it");
        }
        run(make_main());
    })
}

/// The ring's features, best first; older kernels get what they have.
const RING_FEATURES: [(&str, bool, bool); 3] = [
    ("COOP_TASKRUN and SINGLE_ISSUER", true, true),
    ("COOP_TASKRUN", true, false),
    ("no extra features", false, false),
];

/// Makes a runtime on the calling thread, with the best ring that the kernel gives, and says which.
fn runtime() -> io::Result<(tokio_uring::Runtime, &'static str)> {
    let mut last_error = None;
    for (name, cooperative, single_issuer) in RING_FEATURES {
        let mut ring = tokio_uring::uring_builder();
        if cooperative {
            // Completions are delivered when the thread enters the kernel, not by interrupting it.
            ring.setup_coop_taskrun();
        }
        if single_issuer {
            ring.setup_single_issuer();
        }
        match tokio_uring::Runtime::new(tokio_uring::builder().entries(RING_ENTRIES).uring_builder(&ring)) {
            Ok(runtime) => return Ok((runtime, name)),
            Err(error) => last_error = Some(error),
        }
    }
    Err(last_error.expect("every failed try leaves an error"))
}

/// Which ring the kernel gives; an error says what stands in the way.
pub fn probe() -> Result<&'static str, String> {
    let (_runtime, features) = runtime().map_err(|error| {
        let advice = match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                "io_uring is forbidden here: look at the sysctl kernel.io_uring_disabled (must be 0) and, in a container, \
                 at its seccomp profile (default profiles forbid io_uring)"
            }
            Some(libc::ENOSYS) => "this kernel has no io_uring: Linux 5.11 or newer is needed",
            Some(libc::ENOMEM) => "the limit of locked memory is too low: raise it (ulimit -l)",
            _ => "Linux 5.11 or newer with io_uring is needed",
        };
        format!("cannot set up io_uring: {error}. {advice}")
    })?;
    Ok(features)
}

/// Runs `main` on the calling thread.
fn run<F: Future<Output = ()>>(main: F) {
    match runtime() {
        Ok((runtime, _)) => runtime.block_on(main),
        Err(error) => {
            tracing::error!("cannot set up io_uring on this thread: {error}. The server stops.");
            std::process::exit(1);
        }
    }
}

/// A worker with its sockets.
pub struct WorkerCore<W> {
    worker: W,
    sockets: Sockets,
    port: PortSlot,
    events: Vec<SocketEvent>,
    actions: Vec<SocketAction>,
    wait: SocketWait,
    deadline: Option<Instant>,
}

impl<W: WorkerTurn> WorkerCore<W> {
    /// To be called on the thread that will run it.
    pub fn new(worker: W, listeners: Vec<TcpListener>, port: PortSlot) -> WorkerCore<W> {
        let mut sockets = Sockets::new();
        for listener in listeners {
            sockets.listen(listener);
        }
        let (events, actions, wait) = (Vec::new(), Vec::new(), SocketWait::default());
        WorkerCore { worker, sockets, port, events, actions, wait, deadline: None }
    }

    fn turn(&mut self, cx: &mut Context<'_>) {
        if let Some(change) = self.port.take() {
            self.sockets.close_listeners();
            if let PortChange::Listen(listener) = change {
                self.sockets.listen(listener);
            }
        }
        self.sockets.poll(cx, &mut self.events);
        let now = clock::now();
        let has_come = self.events.iter().any(|event| matches!(event, SocketEvent::Received { .. }));
        let waited_micros = self.wait.look(now.mono, has_come, process::sleeps_of_this_thread);
        self.worker.waited_in_sockets(waited_micros);
        self.handle(now);
    }

    fn has_work(&self) -> bool {
        self.worker.has_work() || self.port.is_filled()
    }

    fn handle(&mut self, now: Now) {
        self.deadline = self.worker.turn(now, &mut self.events, &mut self.actions);
        self.events.clear();
        for action in self.actions.drain(..) {
            match action {
                SocketAction::Send { conn, bytes } => self.sockets.send(conn, bytes),
                SocketAction::ReadOn { conn, buffer } => self.sockets.read_on(conn, buffer),
                SocketAction::Close { conn } => self.sockets.close(conn),
                SocketAction::Reset { conn } => self.sockets.reset(conn),
            }
        }
    }

    /// The loop of a thread that is a worker and nothing else.
    pub async fn run(mut self, pulse: Arc<Pulse>) {
        let mut timer = Timer::default();
        pulse.runs_here();
        poll_fn(|cx| {
            pulse.turn_begins();
            loop {
                self.turn(cx);
                self.worker.alarm().fall_asleep(cx.waker());
                if !self.has_work() {
                    break;
                }
                self.worker.alarm().stay_awake();
            }
            timer.set(cx, self.deadline);
            pulse.turn_ends(self.deadline);
            Poll::<()>::Pending
        })
        .await;
    }
}

/// The ensemble thread's side of a core.
pub struct EnsembleCore<E> {
    ensemble: E,
    flusher: Flusher,
    links: Links,
    events: Vec<LinkEvent>,
    actions: Vec<LinkAction>,
}

impl<E: EnsembleTurn> EnsembleCore<E> {
    /// To be called on the thread that will run it.
    pub fn new(ensemble: E, options: LinkOptions) -> EnsembleCore<E> {
        let (flusher, links) = (Flusher::new(), Links::new(options));
        EnsembleCore { ensemble, flusher, links, events: Vec::new(), actions: Vec::new() }
    }

    fn turn(&mut self, cx: &mut Context<'_>) {
        let flushed = self.flusher.poll(cx);
        self.links.poll(cx, &mut self.events);
        if let Some(request) = self.ensemble.turn(clock::now(), flushed, &mut self.events, &mut self.actions) {
            self.flusher.start(request, cx);
        }
        self.events.clear();
        self.links.carry_out(cx, &mut self.actions);
    }

    /// The loop of a thread that is the ensemble's and nothing else.
    pub async fn run(mut self, pulse: Arc<Pulse>) {
        let mut timer = Timer::default();
        pulse.runs_here();
        let alarm = self.ensemble.alarm().cloned().unwrap_or_default();
        poll_fn(|cx| {
            pulse.turn_begins();
            loop {
                self.turn(cx);
                alarm.fall_asleep(cx.waker());
                if !self.ensemble.has_work() {
                    break;
                }
                alarm.stay_awake();
            }
            let deadline = self.ensemble.next_deadline();
            timer.set(cx, deadline);
            pulse.turn_ends(deadline);
            Poll::<()>::Pending
        })
        .await;
    }
}

/// The loop of a thread that is both, one turn after the other.
pub async fn run_both<W: WorkerTurn, E: EnsembleTurn>(
    mut worker: WorkerCore<W>,
    mut ensemble: EnsembleCore<E>,
    pulse: Arc<Pulse>,
) {
    let mut timer = Timer::default();
    pulse.runs_here();
    let ensemble_alarm = ensemble.ensemble.alarm().cloned().unwrap_or_default();
    poll_fn(|cx| {
        pulse.turn_begins();
        worker.turn(cx);
        loop {
            ensemble.turn(cx);
            if worker.worker.has_work() {
                worker.handle(clock::now());
            }
            // The background thread rings as well; whatever was put down before is seen by the next look.
            ensemble_alarm.fall_asleep(cx.waker());
            if worker.port.is_filled() {
                // Taken at the beginning of a turn.
                cx.waker().wake_by_ref();
            }
            if !ensemble.ensemble.has_work() && !worker.worker.has_work() {
                break;
            }
            ensemble_alarm.stay_awake();
        }
        let deadlines = [worker.deadline, ensemble.ensemble.next_deadline()];
        let deadline = deadlines.into_iter().flatten().min();
        timer.set(cx, deadline);
        pulse.turn_ends(deadline);
        Poll::<()>::Pending
    })
    .await;
}

/// Wakes the core at its next deadline.
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    deadline: Option<Instant>,
}

impl Timer {
    fn set(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        let fired = self.sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready());
        if !fired && self.deadline == Some(deadline) {
            return;
        }
        self.deadline = Some(deadline);
        let wait = Duration::from_micros(deadline.micros_since(clock::monotonic()));
        let at = tokio::time::Instant::now() + wait;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        sleep.as_mut().reset(at);
        if sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
}

/// One flush at a time, on the ring.
struct Flusher {
    flush_loop: Pin<Box<dyn Future<Output = ()>>>,
    transfer: Rc<FlushTransfer>,
    busy: bool,
}

#[derive(Default)]
struct FlushTransfer {
    todo: Cell<Option<FlushRequest>>,
    done: Cell<Option<io::Result<()>>>,
}

impl Flusher {
    fn new() -> Flusher {
        let transfer = Rc::<FlushTransfer>::default();
        let flush_loop = Box::pin(flush_loop(transfer.clone()));
        Flusher { flush_loop, transfer, busy: false }
    }

    fn start(&mut self, request: FlushRequest, cx: &mut Context<'_>) {
        assert!(!self.busy, "one flush in flight");
        self.busy = true;
        self.transfer.todo.set(Some(request));
        let _ = self.flush_loop.as_mut().poll(cx);
        if let Some(done) = self.transfer.done.take() {
            self.transfer.done.set(Some(done));
            cx.waker().wake_by_ref();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Option<io::Result<()>> {
        if !self.busy {
            return None;
        }
        let _ = self.flush_loop.as_mut().poll(cx);
        let done = self.transfer.done.take();
        self.busy = done.is_none();
        done
    }
}

async fn flush_loop(transfer: Rc<FlushTransfer>) {
    // The ring's handle of the file flushed last; segments change rarely.
    let mut known: Option<(Arc<File>, tokio_uring::fs::File)> = None;
    loop {
        let request = poll_fn(|_| transfer.todo.take().map_or(Poll::Pending, Poll::Ready)).await;
        let mut result = Ok(());
        for target in request.targets {
            result = match target.kernel_file() {
                Some(file) => sync_on_ring(&mut known, file).await,
                // Not the kernel's: there is nothing the ring could do.
                None => target.sync(),
            };
            if result.is_err() {
                break;
            }
        }
        transfer.done.set(Some(result));
    }
}

async fn sync_on_ring(known: &mut Option<(Arc<File>, tokio_uring::fs::File)>, file: &Arc<File>) -> io::Result<()> {
    let on_ring = match known.take() {
        Some((same, on_ring)) if Arc::ptr_eq(&same, file) => on_ring,
        _ => tokio_uring::fs::File::from_std(file.try_clone()?),
    };
    known.insert((Arc::clone(file), on_ring)).1.sync_data().await
}
