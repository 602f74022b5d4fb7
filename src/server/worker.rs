//! A worker's turn.
//!
//! ```text
//! sockets were asked what came (runtime) -> pin the newest version -> deliver everything tagged up to it
//!   -> carry out requests that waited, then new ones, those of a herd last -> hand over writes -> one send per connection
//! ```
//!
//! The order of the first three is the order rule, see `deliver.rs`.

use super::admission::Admission;
use super::ask::Desk;
use super::connection::{Connection, Phase};
use super::fetch_ahead;
use super::herd::Herd;
use super::leaderless::Leaderless;
use super::rules::ServerRules;
use super::stages::Stages;
use crate::message::lane::{ConnRef, StandingSign, Submit};
use crate::observe::{Counter, MetricsWriter};
use crate::request::ids_at_connect;
use crate::runtime::alarm::Alarm;
use crate::runtime::core::{SocketAction, WorkerTurn};
use crate::runtime::lanes::WorkerLane;
use crate::runtime::sockets::SocketEvent;
use crate::tree::{TreeReader, View};
#[cfg(any(put_backs, test))]
use crate::types::PutBack;
use crate::types::limits::CONNECTION_OUTPUT_BYTES_MAX;
use crate::types::{ConnId, Instant, Now, WorkerIndex, Zxid};
use crate::watch::{Events, WatchShard};
use std::net::SocketAddr;
use std::sync::Arc;

/// Requests of one connection that may wait behind its writes, bytes of all; then it is not read further.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// What a worker is made of; it is made on the thread that runs it.
pub struct WorkerParts {
    pub index: WorkerIndex,
    pub rules: Arc<ServerRules>,
    pub tree: TreeReader,
    pub lane: WorkerLane,
    pub admission: Arc<Admission>,
    pub desk: Arc<Desk>,
    pub metrics: MetricsWriter,
    pub standing: StandingSign,
    /// Secret of this process, for the watch tables.
    pub hash_seed: u64,
}

pub struct Worker {
    pub(super) index: WorkerIndex,
    pub(super) rules: Arc<ServerRules>,
    pub(super) tree: TreeReader,
    pub(super) lane: WorkerLane,
    pub(super) admission: Arc<Admission>,
    pub(super) desk: Arc<Desk>,
    pub(super) metrics: MetricsWriter,
    pub(super) watches: WatchShard,
    pub(super) events: Events,
    pub(super) conns: Vec<Option<Box<Connection>>>,
    pub(super) now: Now,
    /// When the request that is being carried out was taken off its socket.
    pub(super) arrived: Instant,
    pub(super) stages: Stages,
    /// Last zxid of the version that is pinned in this turn.
    pub(super) pinned_zxid: Zxid,
    /// Writes of this worker that are not answered yet.
    pub(super) outstanding: usize,
    /// Connections with output to send.
    dirty: Vec<ConnId>,
    /// Those whom one change tells at once.
    pub(super) herd: Herd,
    /// Connections not being read from.
    held: Vec<ConnId>,
    /// Connections whose waiting requests may perhaps go on.
    pub(super) resumable: Vec<ConnId>,
    pub(super) next_idle_look: Instant,
    /// State of the desk that this worker has looked at; see `ask.rs`.
    pub(super) desk_changes_seen: u64,
    pub(super) standing: StandingSign,
    pub(super) leaderless: Leaderless,
    #[cfg(any(put_backs, test))]
    pinned_early: Option<crate::tree::Pinned<'static>>,
}

impl Worker {
    pub fn new(parts: WorkerParts) -> Worker {
        Worker {
            index: parts.index,
            stages: Stages::new(&parts.rules),
            rules: parts.rules,
            tree: parts.tree,
            lane: parts.lane,
            admission: parts.admission,
            desk: parts.desk,
            metrics: parts.metrics,
            watches: WatchShard::new(parts.hash_seed),
            events: Events::new(),
            conns: Vec::new(),
            now: Now::default(),
            arrived: Instant::default(),
            pinned_zxid: Zxid::ZERO,
            outstanding: 0,
            dirty: Vec::new(),
            herd: Herd::default(),
            held: Vec::new(),
            resumable: Vec::new(),
            next_idle_look: Instant::default(),
            desk_changes_seen: 0,
            leaderless: Leaderless::new(&parts.standing),
            #[cfg(any(put_backs, test))]
            pinned_early: None,
            standing: parts.standing,
        }
    }
}

impl WorkerTurn for Worker {
    fn turn(&mut self, now: Now, events: &mut Vec<SocketEvent>, actions: &mut Vec<SocketAction>) -> Option<Instant> {
        (self.now, self.arrived) = (now, now.mono);
        let tree = self.tree.clone();
        let pinned = tree.pin();
        #[cfg(any(put_backs, test))]
        let pinned = if PutBack::PinBeforeReaping.is_on() { self.pin_early() } else { pinned };
        let view = pinned.view();
        self.pinned_zxid = view.last_zxid();
        while let Some(deliver) = self.lane.next_deliver(pinned.number()) {
            self.deliver(deliver);
        }
        self.mind_leader();
        self.resume(view);
        let mut events = events.drain(..);
        let mut fetched = 0;
        loop {
            if fetched == 0 {
                fetched = fetch_ahead::of_events(events.as_slice(), self.rules.frame_bytes_max, view);
            }
            let Some(event) = events.next() else { break };
            fetched -= 1;
            match event {
                SocketEvent::Accepted { conn, peer } => self.accepted(conn, peer, actions),
                SocketEvent::Received { conn, bytes } => {
                    if let Some(bytes) = self.put_off(conn, bytes) {
                        self.received(conn, bytes, view, actions);
                    }
                }
                SocketEvent::Sent { conn, buffer } => self.sent(conn, buffer, actions),
                SocketEvent::Closed { conn } => self.gone(conn),
            }
        }
        self.herd_goes_on(view, actions);
        self.resume(view);
        self.answer_operators(view);
        self.ask_for_kept();
        self.look_for_idle(actions);
        let leaderless_until = self.close_leaderless(actions);
        self.lane.flush();
        self.release_held(view, actions);
        self.send(actions);
        let counts = self.watches.counts();
        self.lane.set_watching(counts.watches_of_both_sides > 0);
        self.lane.announce();
        self.stages.turn_ends(now, &self.metrics);
        let idle_look = (!self.conns.is_empty()).then_some(self.next_idle_look);
        let herd_goes_on = (!self.herd.is_empty()).then_some(now.mono);
        idle_look.into_iter().chain(herd_goes_on).chain(leaderless_until).min()
    }

    fn waited_in_sockets(&mut self, micros: u64) {
        self.stages.waited_in_sockets(micros);
    }

    fn has_work(&self) -> bool {
        self.lane.has_work(|| self.tree.pin().number())
            || self.desk.changes() != self.desk_changes_seen
            || self.has_leaderless_work()
    }

    fn alarm(&self) -> &Alarm {
        self.lane.alarm()
    }
}

impl Worker {
    /// The fault: what was the newest version when this worker had its last turn.
    #[cfg(any(put_backs, test))]
    fn pin_early(&mut self) -> crate::tree::Pinned<'static> {
        // Lives as long as the process, which only looks for this fault.
        let tree: &'static TreeReader = Box::leak(Box::new(self.tree.clone()));
        self.pinned_early.replace(tree.pin()).unwrap_or_else(|| tree.pin())
    }

    // Connections by id. One that is being worked on is taken out of its place.

    fn slot(&mut self, conn: ConnId) -> Option<&mut Option<Box<Connection>>> {
        self.conns.get_mut((conn.0 & u64::from(u32::MAX)) as usize)
    }

    pub(super) fn take(&mut self, conn: ConnId) -> Option<Box<Connection>> {
        let slot = self.slot(conn)?;
        if slot.as_ref().is_some_and(|c| c.id == conn) { slot.take() } else { None }
    }

    pub(super) fn put(&mut self, mut conn: Box<Connection>) {
        if !conn.dirty && !conn.out.is_empty() {
            conn.dirty = true;
            self.dirty.push(conn.id);
        }
        let id = conn.id;
        *self.slot(id).expect("it was taken from there") = Some(conn);
    }

    pub(super) fn get(&self, conn: ConnId) -> Option<&Connection> {
        find(&self.conns, conn)
    }

    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.slot(conn)?.as_deref_mut().filter(|c| c.id == conn)
    }

    pub(super) fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.conns.iter().flatten().map(|c| &**c)
    }

    pub(super) fn connections_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.conns.iter_mut().flatten().map(|c| &mut **c)
    }

    pub(super) fn conn_ref(&self, conn: ConnId) -> ConnRef {
        ConnRef { worker: self.index, conn }
    }

    /// Puts a connection on the list of those with output.
    pub(super) fn mark_dirty(&mut self, conn: ConnId) {
        let Some(connection) = self.get_mut(conn) else { return };
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(conn);
        }
    }

    // What sockets tell.

    fn accepted(&mut self, conn: ConnId, peer: SocketAddr, actions: &mut Vec<SocketAction>) {
        // A socket for both families shows IPv4 clients in IPv6 clothes; ACLs and operators know them as IPv4.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if !self.admission.enter(peer.ip()) {
            self.metrics.count(Counter::ConnectionRejected);
            return actions.push(SocketAction::Reset { conn });
        }
        self.metrics.count(Counter::ConnectionRequestCount);
        let index = (conn.0 & u64::from(u32::MAX)) as usize;
        if index >= self.conns.len() {
            self.conns.resize_with(index + 1, || None);
        }
        let ids = ids_at_connect(peer.ip()).into();
        self.conns[index] = Some(Box::new(Connection::new(conn, peer, ids, self.now)));
    }

    pub(super) fn received(&mut self, id: ConnId, bytes: Vec<u8>, view: View<'_>, actions: &mut Vec<SocketAction>) {
        let Some(mut conn) = self.take(id) else { return };
        if conn.phase != Phase::Ending {
            conn.heard(self.now.mono);
        }
        self.metrics.count_many(Counter::BytesReceivedCount, bytes.len() as u64);
        if conn.phase == Phase::Ending {
            // Read on, to notice when the other side is gone.
        } else if conn.phase == Phase::Kept {
            conn.input.extend_from_slice(&bytes);
            self.heard_from_kept(&conn);
        } else if conn.input.is_empty() {
            let used = self.consume(&mut conn, &bytes, view);
            conn.input.extend_from_slice(&bytes[used..]);
        } else {
            conn.input.extend_from_slice(&bytes);
            self.consume_input(&mut conn, view);
        }
        self.read_on(&mut conn, bytes, actions);
        self.put(conn);
    }

    /// Works through what was kept, as far as it goes.
    pub(super) fn consume_input(&mut self, conn: &mut Connection, view: View<'_>) {
        let input = std::mem::take(&mut conn.input);
        let used = self.consume(conn, &input, view);
        conn.input = input;
        conn.input.drain(..used);
        if conn.input.is_empty() {
            conn.input = Vec::new();
        }
    }

    fn read_on(&mut self, conn: &mut Connection, buffer: Vec<u8>, actions: &mut Vec<SocketAction>) {
        if self.takes_input(conn) || conn.phase == Phase::Ending {
            actions.push(SocketAction::ReadOn { conn: conn.id, buffer });
        } else {
            self.begin_wait(conn);
            conn.held_buffer = Some(buffer);
            self.held.push(conn.id);
        }
    }

    /// Whether further requests of this connection may be carried out now.
    pub(super) fn takes_input(&self, conn: &Connection) -> bool {
        match conn.phase {
            Phase::Greeting => true,
            Phase::Connecting | Phase::Kept | Phase::Resuming | Phase::Asking | Phase::Ending => false,
            Phase::Established => {
                let too_many = self.outstanding > self.rules.outstanding_max && !conn.in_flight.is_empty();
                !conn.out.is_much()
                    && conn.waiting_bytes < WAITING_BYTES_MAX
                    && !too_many
                    && !self.is_throttled()
                    && !self.lane.is_full()
            }
        }
    }

    /// Goes on with requests that waited for a write, or for room in the output. Only after everything that the pinned
    /// version holds is delivered: they are answered from that version.
    fn resume(&mut self, view: View<'_>) {
        for id in std::mem::take(&mut self.resumable) {
            let Some(mut conn) = self.take(id) else { continue };
            self.carry_out_waiting(&mut conn, view);
            self.put(conn);
        }
    }

    /// Goes on with connections that had to wait.
    fn release_held(&mut self, view: View<'_>, actions: &mut Vec<SocketAction>) {
        for id in std::mem::take(&mut self.held) {
            let Some(mut conn) = self.take(id) else { continue };
            if self.takes_input(&conn) && self.end_wait(&mut conn) && !conn.input.is_empty() {
                self.consume_input(&mut conn, view);
            }
            conn.overdue = false;
            if let Some(buffer) = conn.held_buffer.take() {
                self.read_on(&mut conn, buffer, actions);
            }
            self.put(conn);
        }
    }

    fn sent(&mut self, id: ConnId, buffer: Vec<u8>, actions: &mut Vec<SocketAction>) {
        let Some(conn) = self.get_mut(id) else { return };
        conn.sending = false;
        conn.spare =
            if buffer.capacity() <= crate::types::limits::READ_BUFFER_BYTES_BUSY { buffer } else { Vec::new() };
        if conn.phase == Phase::Established && !conn.waiting.is_empty() {
            self.resumable.push(id);
        }
        let Some(conn) = self.get_mut(id) else { return };
        if !conn.out.is_empty() {
            self.mark_dirty(id);
        } else if conn.phase == Phase::Ending {
            actions.push(SocketAction::Close { conn: id });
            self.gone(id);
        } else if conn.in_flight.is_empty() && conn.waiting.is_empty() {
            // An idle connection keeps no output buffer.
            conn.spare = Vec::new();
        }
    }

    /// One send per connection and turn; connections that are done are closed behind it.
    fn send(&mut self, actions: &mut Vec<SocketAction>) {
        self.tell_herd();
        for id in std::mem::take(&mut self.dirty) {
            let Some(conn) = self.get_mut(id) else { continue };
            conn.dirty = false;
            if conn.out.is_too_much() {
                tracing::warn!(
                    "closing {}: {} bytes wait for it and it does not read (at most {CONNECTION_OUTPUT_BYTES_MAX})",
                    conn.peer,
                    conn.out.len()
                );
                actions.push(SocketAction::Close { conn: id });
                self.gone(id);
            } else if conn.sending {
            } else if !conn.out.is_empty() {
                conn.sending = true;
                let bytes = conn.out.take(std::mem::take(&mut conn.spare));
                self.metrics.count_many(Counter::ResponseBytes, bytes.len() as u64);
                actions.push(SocketAction::Send { conn: id, bytes });
            } else if conn.phase == Phase::Ending {
                actions.push(SocketAction::Close { conn: id });
                self.gone(id);
            }
        }
    }

    // How connections end.

    /// Sends what is in `out`, then closes. Nothing that comes in counts any more.
    pub(super) fn end(&mut self, conn: &mut Connection) {
        conn.phase = Phase::Ending;
        self.watches.drop_connection(conn.id);
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(conn.id);
        }
    }

    /// The socket is closed, or is being closed: forgets the connection.
    pub(super) fn gone(&mut self, id: ConnId) {
        let Some(conn) = self.take(id) else { return };
        self.watches.drop_connection(id);
        self.admission.leave(conn.peer.ip());
        self.outstanding -= conn.in_flight.len();
        self.admission.leave_large(conn.large_bytes);
        if conn.session != crate::types::SessionId::NONE {
            let from = self.conn_ref(id);
            self.lane.submit(Submit::Disconnected { from, session: conn.session });
        }
    }
}

pub(super) fn find(conns: &[Option<Box<Connection>>], conn: ConnId) -> Option<&Connection> {
    conns.get((conn.0 & u64::from(u32::MAX)) as usize)?.as_deref().filter(|c| c.id == conn)
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
