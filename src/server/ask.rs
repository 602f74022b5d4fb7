//! What operators ask: four-letter words. Some answers need every worker and the ensemble thread; a question is put on the
//! desk, everybody adds a part on the next turn, and the worker that holds the asking connection sends the text.

use super::admission::Admission;
use super::connection::{Connection, Phase};
use super::worker::Worker;
use crate::admin::{self, Bucket, ConnectionStatus, Directories, DumpSessions, DumpStatus, Environment};
use crate::admin::{ExpiringConnection, Gate, LatencyStatus};
use crate::admin::{NamespaceQuota, ServerMode, ServerStatus, SessionTraffic, TimeZone, TreeDigest, WatchStatus, Word};
use crate::message::QuorumPart;
use crate::message::lane::{ConnRef, EnsembleStatus, LiveSession, Submit, Tell};
use crate::observe::{Counter, Latencies, MetricsRegistry};
use crate::request::namespace_quotas;
use crate::runtime::lanes::Doorbell;
use crate::tree::View;
use crate::types::{Instant, Now, SessionId, WallMillis};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// What is the same whoever asks; made by `main`.
pub struct StatusSource {
    pub gate: Box<dyn Fn(Word) -> Gate + Send + Sync>,
    /// What this server is at the moment.
    pub mode: Box<dyn Fn() -> ServerMode + Send + Sync>,
    pub conf: Box<dyn Fn(&Directories) -> String + Send + Sync>,
    pub directories: Box<dyn Fn() -> Directories + Send + Sync>,
    pub environment: Box<dyn Fn() -> Environment + Send + Sync>,
    /// Open and most file descriptors.
    pub descriptors: Box<dyn Fn() -> (u64, u64) + Send + Sync>,
    pub time_zone: TimeZone,
    pub metrics: Arc<MetricsRegistry>,
    pub admission: Arc<Admission>,
    pub started: Instant,
}

/// Where questions lie.
pub struct Desk {
    source: StatusSource,
    doorbells: Vec<Doorbell>,
    questions: Mutex<Vec<Question>>,
    /// Grows whenever something on the desk changes.
    changes: AtomicU64,
    trace_mask: AtomicI64,
    /// Statistics count from here, monotonic microseconds.
    counting_since: AtomicU64,
}

/// An answer counts as packets of this size, which is how Java sends it.
const ANSWER_PACKET_BYTES: usize = 8192;

struct Question {
    word: Word,
    asked_by: ConnRef,
    /// One per worker.
    parts: Vec<Option<Part>>,
    /// `None` = not needed, or not there yet; see `needs_ensemble`.
    ensemble: Option<EnsembleStatus>,
    needs_ensemble: bool,
}

/// What one worker contributes.
struct Part {
    connections: Vec<ConnectionStatus>,
    outstanding: u64,
    watches: WatchStatus,
    watch_count: u64,
    expiring: Vec<(Instant, ExpiringConnection)>,
}

impl Desk {
    pub fn new(source: StatusSource, doorbells: Vec<Doorbell>) -> Desk {
        let trace_mask = AtomicI64::new(admin::TRACE_MASK_DEFAULT);
        let counting_since = AtomicU64::new(source.started.micros);
        Desk { source, doorbells, questions: Mutex::default(), changes: AtomicU64::new(0), trace_mask, counting_since }
    }

    fn reset(&self, now: Now) {
        self.source.metrics.reset();
        self.counting_since.store(now.mono.micros, Ordering::Relaxed);
    }

    fn latency_status(&self, now: Now) -> LatencyStatus {
        let since = Instant { micros: self.counting_since.load(Ordering::Relaxed) };
        let counted_ms = now.mono.micros_since(since) / 1000;
        let since = WallMillis(now.wall.0 - counted_ms as i64);
        LatencyStatus { latencies: self.source.metrics.read_latencies(), since, now: now.wall }
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        for doorbell in &self.doorbells {
            doorbell.ring();
        }
    }
}

impl Worker {
    /// A four-letter word came in place of a first frame; `rest` is what followed it.
    pub(super) fn ask(&mut self, conn: &mut Connection, word: [u8; 4], rest: &[u8]) {
        let Some(word) = Word::from_bytes(word) else { return self.end(conn) };
        let desk = self.desk.clone();
        conn.traffic.packets_received += 1;
        self.metrics.packets_received(1);
        let text = match (desk.source.gate)(word) {
            Gate::Instead(text) => Some(text),
            Gate::Answer => self.answer_alone(&desk, word, rest),
        };
        match text {
            Some(text) => self.tell(conn, &text),
            None => self.put_on_desk(conn, &desk, word),
        }
    }

    fn tell(&mut self, conn: &mut Connection, text: &str) {
        self.metrics.packets_sent(text.len().div_ceil(ANSWER_PACKET_BYTES) as u64);
        conn.out.tail().extend_from_slice(text.as_bytes());
        self.end(conn);
    }

    /// Words that need nobody else.
    fn answer_alone(&mut self, desk: &Desk, word: Word, rest: &[u8]) -> Option<String> {
        Some(match word {
            Word::Ruok => admin::IMOK.to_owned(),
            Word::Isro => admin::isro((desk.source.mode)()).to_owned(),
            Word::TelnetClose => String::new(),
            Word::Gtmk => admin::trace_mask(desk.trace_mask.load(Ordering::Relaxed)),
            Word::Stmk => {
                let mask = i64::from_be_bytes(*rest.first_chunk()?);
                desk.trace_mask.store(mask, Ordering::Relaxed);
                admin::trace_mask(mask)
            }
            Word::Envi => admin::envi(&(desk.source.environment)()),
            Word::Conf => (desk.source.conf)(&(desk.source.directories)()),
            Word::Dirs => admin::dirs(&(desk.source.directories)()),
            Word::Srst => {
                desk.reset(self.now);
                admin::SERVER_STATS_RESET.to_owned()
            }
            Word::Lats => admin::lats(&desk.latency_status(self.now), &desk.source.time_zone),
            Word::Hdrl => admin::hdrl(&desk.latency_status(self.now)),
            _ => return None,
        })
    }

    fn put_on_desk(&mut self, conn: &mut Connection, desk: &Arc<Desk>, word: Word) {
        if word == Word::Stmk {
            // The mask has not come; Java waits for it as for any input.
            return self.end(conn);
        }
        conn.phase = Phase::Asking;
        let asked_by = self.conn_ref(conn.id);
        let parts = desk.doorbells.iter().map(|_| None).collect();
        let whole = matches!(word, Word::Dump | Word::Hash);
        let is_member = self.rules.replicated;
        let needs_ensemble = whole || is_member && matches!(word, Word::Srvr | Word::Stat | Word::Mntr);
        desk.questions.lock().push(Question { word, asked_by, parts, ensemble: None, needs_ensemble });
        if needs_ensemble {
            let for_desk = desk.clone();
            let tell = Tell(Box::new(move |status| {
                let mut questions = for_desk.questions.lock();
                if let Some(question) = questions.iter_mut().find(|question| question.asked_by == asked_by) {
                    question.ensemble = Some(status);
                }
                drop(questions);
                for_desk.changed();
            }));
            self.lane.submit(Submit::Describe { whole, tell });
        }
        desk.changed();
    }

    /// Adds this worker's parts, and answers what is complete.
    pub(super) fn answer_operators(&mut self, view: View<'_>) {
        let desk = self.desk.clone();
        let changes = desk.changes();
        if changes == self.desk_changes_seen {
            return;
        }
        self.desk_changes_seen = changes;
        let mut questions = desk.questions.lock();
        let mut added = false;
        let me = usize::from(self.index.0);
        for question in questions.iter_mut().filter(|q| q.parts[me].is_none()) {
            if question.word == Word::Crst {
                self.connections_mut().for_each(|conn| conn.traffic = super::connection::Traffic::new());
            }
            question.parts[me] = Some(self.part(question.word));
            added = true;
        }
        let mine = |q: &mut Question| q.asked_by.worker == self.index && q.is_complete();
        let complete: Vec<Question> = questions.extract_if(.., mine).collect();
        drop(questions);
        if added && desk.doorbells.len() > 1 {
            desk.changed();
        }
        for question in complete {
            let asked_by = question.asked_by.conn;
            let text = question.answer(&desk.source, view, self.now);
            if let Some(mut conn) = self.take(asked_by) {
                self.tell(&mut conn, &text);
                self.put(conn);
            }
        }
    }

    fn part(&self, word: Word) -> Part {
        let mut part = Part {
            connections: Vec::new(),
            outstanding: self.connections().map(|conn| conn.outstanding() as u64).sum(),
            watches: WatchStatus::default(),
            watch_count: self.watches.counts().watches_of_both_sides as u64,
            expiring: Vec::new(),
        };
        match word {
            Word::Dump => {
                part.expiring = self.connections().map(|conn| (self.closes_at(conn), expiring(conn))).collect();
            }
            Word::Wchs | Word::Wchc | Word::Wchp => part.watches = self.watch_status(),
            _ => part.connections = self.connections().map(status_of).collect(),
        }
        part
    }

    /// When silence closes the connection.
    fn closes_at(&self, conn: &Connection) -> Instant {
        let patience_ms = match conn.phase {
            Phase::Established | Phase::Kept | Phase::Resuming => conn.timeout_ms as u64,
            _ => self.rules.sessionless_timeout_ms,
        };
        conn.active_at.plus_millis(patience_ms)
    }

    fn watch_status(&self) -> WatchStatus {
        let mut by_session: BTreeMap<SessionId, Vec<String>> = BTreeMap::new();
        for (conn, paths) in self.watches.conns_watching() {
            let Some(conn) = self.get(conn) else { continue };
            by_session.entry(conn.session).or_default().extend(paths.map(str::to_owned));
        }
        WatchStatus { by_session }
    }
}

impl Question {
    fn is_complete(&self) -> bool {
        self.parts.iter().all(Option::is_some) && (!self.needs_ensemble || self.ensemble.is_some())
    }

    fn answer(self, source: &StatusSource, view: View<'_>, now: Now) -> String {
        // Service may have ended since the question was asked.
        if let Gate::Instead(text) = (source.gate)(self.word) {
            return text;
        }
        let ensemble = self.ensemble.unwrap_or_default();
        let parts: Vec<Part> = self.parts.into_iter().flatten().collect();
        let server = || server_status(source, &parts, &ensemble, view, now);
        match self.word {
            Word::Srvr => admin::srvr(&server()),
            Word::Stat => admin::stat(&server(), &all_connections(&parts)),
            Word::Mntr => {
                let latencies = source.metrics.read_latencies();
                admin::mntr(&ServerStatus { latencies, ..server() })
            }
            Word::Cons => admin::cons(&all_connections(&parts)),
            Word::Crst => admin::CONNECTION_STATS_RESET.to_owned(),
            Word::Dump => admin::dump(&dump_status(source, &parts, &ensemble, view, now)),
            Word::Wchs => admin::wchs(&all_watches(parts).summary()),
            Word::Wchc => admin::wchc(&all_watches(parts)),
            Word::Wchp => admin::wchp(&all_watches(parts)),
            Word::Hash => {
                let digests = ensemble.digests.iter();
                let digests: Vec<TreeDigest> =
                    digests.map(|(zxid, digest)| TreeDigest { zxid: *zxid, digest: *digest as i64 }).collect();
                admin::hash(&digests)
            }
            _ => String::new(),
        }
    }
}

fn all_connections(parts: &[Part]) -> Vec<ConnectionStatus> {
    parts.iter().flat_map(|part| part.connections.iter().cloned()).collect()
}

fn all_watches(parts: Vec<Part>) -> WatchStatus {
    let mut all = WatchStatus::default();
    for part in parts {
        all.by_session.extend(part.watches.by_session);
    }
    all
}

fn server_status(
    source: &StatusSource,
    parts: &[Part],
    ensemble: &EnsembleStatus,
    view: View<'_>,
    now: Now,
) -> ServerStatus {
    let quorum = ensemble.quorum;
    let serving_since = quorum.map(|quorum| quorum.serving_since).or(ensemble.read_only_since);
    let (open_file_descriptors, max_file_descriptors) = (source.descriptors)();
    let metrics = source.metrics.read();
    ServerStatus {
        mode: (source.mode)(),
        last_zxid: view.last_zxid(),
        connections: parts.iter().map(|part| part.connections.len() as u64).sum(),
        outstanding_requests: parts.iter().map(|part| part.outstanding).sum(),
        // Java's table of znodes holds the root twice.
        node_count: view.node_count() + 1,
        ephemerals_count: view.ephemeral_count(),
        watch_count: parts.iter().map(|part| part.watch_count).sum(),
        approximate_data_bytes: view.data_bytes(),
        global_sessions: view.session_count(),
        local_sessions: ensemble.local_sessions.as_ref().map_or(0, |local| local.count),
        // Of a member: of the role, as Java, where each role is a server of its own.
        uptime_ms: now.mono.millis().saturating_sub(serving_since.unwrap_or(source.started).millis()),
        quorum,
        open_file_descriptors,
        max_file_descriptors,
        auth_failed: metrics.counter(Counter::EnsembleAuthFail),
        connection_drop_probability: source.admission.drop_share(),
        quotas: namespace_quotas(view)
            .into_iter()
            .map(|(name, limits, usage)| {
                let quota = NamespaceQuota {
                    count_limit: limits.0,
                    bytes_limit: limits.1,
                    count_usage: usage.0,
                    bytes_usage: usage.1,
                };
                (name, quota)
            })
            .collect(),
        metrics,
        latencies: Latencies::default(),
    }
}

fn dump_status(
    source: &StatusSource,
    parts: &[Part],
    ensemble: &EnsembleStatus,
    view: View<'_>,
    now: Now,
) -> DumpStatus {
    let connections = parts.iter().flat_map(|part| part.expiring.iter().copied());
    let ephemerals = view.ephemeral_owners().map(|(session, _)| {
        let mut paths: Vec<String> = view.ephemerals(session).map(str::to_owned).collect();
        paths.sort_unstable();
        (session, paths)
    });
    let mut ephemerals: Vec<_> = ephemerals.collect();
    ephemerals.sort_unstable();
    let expiring = |sessions: &[LiveSession]| buckets(sessions.iter().map(|live| (live.expires_at, live.session)), now);
    let is_led = matches!(
        ensemble.quorum.map(|quorum| quorum.part),
        Some(QuorumPart::Following { .. } | QuorumPart::Observing { .. })
    );
    let sessions = match is_led || ensemble.read_only_since.is_some() {
        true => {
            let mut sessions: Vec<_> = ensemble.sessions.iter().map(|live| (live.session, live.timeout_ms)).collect();
            sessions.sort_unstable();
            DumpSessions::OfLeader(sessions)
        }
        false => DumpSessions::Expiring(expiring(&ensemble.sessions)),
    };
    let local_sessions = ensemble.local_sessions.as_ref().map(|local| expiring(&local.sessions));
    DumpStatus {
        local_sessions,
        sessions,
        ephemerals,
        connections: buckets(connections, now),
        time_zone: source.time_zone.clone(),
    }
}

/// Things by the second in which they expire, as wall clock.
fn buckets<T>(things: impl Iterator<Item = (Instant, T)>, now: Now) -> Vec<Bucket<T>> {
    let mut by_second: BTreeMap<u64, Vec<T>> = BTreeMap::new();
    for (at, thing) in things {
        by_second.entry(at.millis() / 1000 * 1000).or_default().push(thing);
    }
    let wall = |at_ms: u64| WallMillis(now.wall.0 + at_ms as i64 - now.mono.millis() as i64);
    by_second.into_iter().map(|(at_ms, members)| Bucket { expires_at: wall(at_ms), members }).collect()
}

fn expiring(conn: &Connection) -> ExpiringConnection {
    ExpiringConnection { remote: conn.peer, session: conn.session }
}

fn status_of(conn: &Connection) -> ConnectionStatus {
    let traffic = &conn.traffic;
    let average = traffic.latency_ms_sum.checked_div(traffic.latency_count).unwrap_or(0);
    let session = (conn.phase == Phase::Established).then(|| SessionTraffic {
        session: conn.session,
        last_op: traffic.last_op,
        established: conn.established,
        session_timeout_ms: conn.timeout_ms as u32,
        last_cxid: traffic.last_cxid,
        last_zxid: traffic.last_zxid,
        last_response_ms: traffic.last_response.millis(),
        last_latency_ms: traffic.last_latency_ms,
        min_latency_ms: if traffic.latency_count == 0 { 0 } else { traffic.latency_ms_min },
        avg_latency_ms: average,
        max_latency_ms: traffic.latency_ms_max,
    });
    ConnectionStatus {
        remote: conn.peer,
        reading: conn.held_buffer.is_none() && conn.phase != Phase::Asking,
        outstanding_requests: conn.outstanding() as u64,
        packets_received: traffic.packets_received,
        packets_sent: traffic.packets_sent,
        session,
    }
}
