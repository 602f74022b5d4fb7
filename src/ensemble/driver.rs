//! The turns of the ensemble thread.
//!
//! ```text
//! submissions -> checked and applied to the head -> log (staged)      one flush in flight, all that comes
//!                                                   flush on the ring  meanwhile shares the next
//! flushed -> effects and replies on the lanes -> version published -> workers woken
//! ```
//!
//! On a server of its own flushed is committed. A leader says what a quorum has flushed (`leading.rs`); a learner applies what
//! its leader has committed (`learning.rs`). `roles.rs` says which of them this server is.
//!
//! Invariants: nothing is said before it is committed; effects are on the lanes before the version they are tagged with is
//! published; a zxid is taken only when the log has room for its transaction.

use super::batch::{Batch, SealedBatch};
use super::chores::{Every, Sweeper};
use super::read_only::ReadOnly;
use super::role::{Role, Unapplied};
use super::seat::Seat;
use super::snapshots::Snapshots;
use super::stages::Stages;
use crate::io::ending::stop;
use crate::io::halfway::halfway;
use crate::message::lane::{ConnRef, Cuts, Reply, Standing, StandingSign, Submit};
use crate::message::{Effect, TxnBody, TxnDigest, TxnHeader, WriteOp};
use crate::observe::{Counter, MetricsWriter, Namespaced, Summary};
use crate::request::{self, Executed, RequestRules, Requester};
use crate::runtime::alarm::Alarm;
use crate::runtime::core::{EnsembleTurn, FlushRequest};
use crate::runtime::lanes::EnsembleLanes;
use crate::runtime::link_io::{LinkAction, LinkEvent};
use crate::session::{SessionIds, SessionTable};
use crate::storage::{Background, DataDirs, FlushTicket, LogOptions, RestoreOptions, TxnLog};
use crate::tree::TreeWriter;
use crate::types::{Instant, Now, Operation, PutBack, SessionId, StageClock, Xid, Zxid};
use crate::wire::txn;
use crate::zab::{LeaderInput, LearnerInput};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

/// Longest entry that one request can cause beyond its own bytes: header, digest, and what an error adds.
const ENTRY_BYTES_EXTRA: usize = 1024;
/// The history of digests that `hash` shows: every 128th transaction, 1024 of them (`DataTree.digestLog`).
const DIGEST_EVERY: i64 = 128;
const DIGESTS_MAX: usize = 1024;
/// How long a failing disk is left alone before a request tries it again, milliseconds.
const DISK_RETRY_MS: u64 = 100;

/// Settings of the ensemble thread, fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct EnsembleRules {
    pub request: RequestRules,
    pub tick_ms: u64,
    /// A turn this much too late counts as a pause of this server. At most a quarter of the shortest session timeout: clients
    /// let a third of it pass between pings, so a pause of two thirds can be what silenced them.
    pub pause_ms: u64,
    /// `fsync.warningthresholdms`: a flush that takes longer is worth a line in the log.
    pub flush_ms_warn: u64,
    /// For what is timed within a turn.
    pub clock: StageClock,
}

/// Everything the ensemble thread owns.
pub struct Ensemble {
    pub(super) rules: EnsembleRules,
    pub(super) tree: TreeWriter,
    /// Closed only while it is cut.
    pub(super) log: Option<TxnLog>,
    pub(super) log_options: LogOptions,
    pub(super) log_files: Background,
    pub(super) restore_options: RestoreOptions,
    pub(super) dirs: Arc<DataDirs>,
    pub(super) lanes: EnsembleLanes,
    /// Empty: where those go that are taken off a lane together.
    pub(super) submits: Vec<Submit>,
    /// Known to all servers.
    pub(super) sessions: SessionTable,
    /// Known to this server alone, through all its roles.
    pub(super) local_sessions: SessionTable,
    pub(super) session_ids: SessionIds,
    pub(super) batch: Batch,
    pub(super) sealed: VecDeque<SealedBatch>,
    pub(super) in_flight: Option<InFlight>,
    pub(super) flushed_through: Zxid,
    pub(super) snapshots: Snapshots,
    pub(super) sweeper: Sweeper,
    pub(super) purge: Every,
    pub(super) digests: VecDeque<(Zxid, u64)>,
    pub(super) metrics: MetricsWriter,
    pub(super) stages: Stages,
    /// Scratch for encoding one log entry.
    pub(super) entry: Vec<u8>,
    pub(super) disk: Disk,
    /// No session expires before this: after a pause of our own every socket is read first.
    pub(super) expiry_resumes: Instant,
    pub(super) deadline: Option<Instant>,
    pub(super) role: Role,
    /// `None`: a server on its own.
    pub(super) seat: Option<Box<Seat>>,
    pub(super) standing: StandingSign,
    /// False with an empty directory that may have been lost, until a leader has filled it.
    pub(super) may_vote: bool,
    pub(super) read_only: ReadOnly,
    /// Connections that outlived the last leader, by session.
    pub(super) kept: BTreeMap<SessionId, ConnRef>,
    /// What watchers will be told of transactions that are applied and not committed yet.
    pub(super) unsaid: Vec<Effect>,
    /// In the log, not applied: what a role that ended had left.
    pub(super) tail: VecDeque<Unapplied>,
    /// The head is not the log's state and has to be restored.
    pub(super) tree_is_partial: bool,
    /// The log does not lead to where the leader wants it to end: ask for everything.
    pub(super) needs_snapshot: bool,
    /// What a leader did that none may do.
    pub(super) breach: Option<String>,
    /// Digests are compared behind this zxid: a snapshot of Java's may hold parts of later transactions.
    pub(super) compare_after: Zxid,
}

/// The flush on the ring.
pub(super) struct InFlight {
    ticket: FlushTicket,
    began: Instant,
}

/// Whether the log can be appended to.
pub(super) enum Disk {
    HasRoom,
    /// Writes are answered -1 and sessions do not expire until the disk takes data again.
    Full {
        retry_at: Instant,
        /// What there was no room for: as long as that is so, nothing smaller slips in.
        refused_bytes: usize,
    },
}

impl EnsembleTurn for Ensemble {
    fn turn(
        &mut self,
        now: Now,
        flushed: Option<io::Result<()>>,
        links: &mut Vec<LinkEvent>,
        actions: &mut Vec<LinkAction>,
    ) -> Option<FlushRequest> {
        self.stages.turn_begins(now);
        self.mind_pauses(now.mono);
        if let Some(result) = flushed {
            self.flush_ended(result, now);
        }
        self.serve_links(now, links);
        self.take_submits(now);
        if self.is_in_charge() {
            self.expire_sessions(now);
            self.sweep(now);
        }
        self.expire_local_sessions(now);
        if self.is_serving()
            && let Some(log) = &mut self.log
        {
            self.snapshots.turn(&mut self.tree, log, self.flushed_through);
        }
        self.tree.tidy();
        if self.purge.is_due(now.mono) {
            self.snapshots.purge();
        }
        self.stages.turn_prepared(&self.metrics);
        let request = self.flush(now);
        self.flush_links(actions, now);
        self.deadline = Some(self.find_deadline(now.mono));
        request
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn has_work(&self) -> bool {
        self.lanes.has_submits()
    }

    fn alarm(&self) -> Option<&Arc<Alarm>> {
        self.lanes.alarm()
    }
}

impl Ensemble {
    fn find_deadline(&self, now: Instant) -> Instant {
        // Nobody expires before this, however long they are due.
        let may_expire = match self.disk {
            Disk::HasRoom => self.expiry_resumes,
            Disk::Full { retry_at, .. } => self.expiry_resumes.max(retry_at),
        };
        let in_charge = self.is_in_charge();
        let expiry = self.sessions.next_deadline().map(|due| due.max(may_expire)).filter(|_| in_charge);
        let sweep = in_charge.then(|| self.sweeper.next_deadline());
        let due = [expiry, self.local_expiry(), sweep, self.purge.next_deadline(), self.roles_deadline(now)];
        due.into_iter().flatten().min().unwrap_or(now).min(now.plus_millis(self.rules.pause_ms))
    }

    /// A turn that comes long after its deadline means that this thread, and perhaps the whole process, did not run. What
    /// clients sent meanwhile is still in the sockets: it counts before anybody expires. There is a turn at least every
    /// `pause_ms`, so any pause of twice that is noticed.
    fn mind_pauses(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline.plus_millis(self.rules.pause_ms) < now) {
            self.expiry_resumes = now.plus_millis(self.rules.tick_ms);
        }
    }

    /// Requests become transactions here.
    pub(super) fn is_in_charge(&self) -> bool {
        match &self.role {
            Role::Alone => true,
            Role::Leading(leading) => leading.zab.is_established(),
            Role::Ending | Role::Looking | Role::Learning(_) => false,
        }
    }

    /// Clients are served here, if by nothing but reads.
    pub(super) fn serves_clients(&self) -> bool {
        self.standing.get() != Standing::Looking
    }

    /// The role has a state that counts: it is published.
    pub(super) fn is_serving(&self) -> bool {
        self.is_in_charge() || matches!(&self.role, Role::Learning(learning) if learning.zab.is_serving())
    }

    pub(super) fn log(&mut self) -> &mut TxnLog {
        self.log.as_mut().expect("the log is open unless it is being cut")
    }

    // What is due.

    fn expire_sessions(&mut self, now: Now) {
        if now.mono < self.expiry_resumes || !self.has_room(0, now.mono) {
            return;
        }
        for session in self.sessions.expired(now.mono) {
            let Some(live) = self.sessions.get(session) else { continue };
            let (owner, timeout_ms) = (live.owner, live.timeout_ms);
            if !self.has_room(self.ephemerals_bytes(session), now.mono) {
                self.sessions.requeue(session, now.mono);
                continue;
            }
            tracing::info!("session {session} expired: nothing heard for {timeout_ms} ms");
            self.metrics.count(Counter::StaleSessionsExpired);
            self.close_session(session, Xid(0), now);
            if let Some(owner) = owner {
                self.batch.close(owner);
            }
        }
    }

    fn sweep(&mut self, now: Now) {
        for path in self.sweeper.take_due(&self.tree, now) {
            let op = WriteOp::DeleteContainer { path };
            if !self.has_room(op.entry_bytes_max(), now.mono) {
                return;
            }
            let by = Requester::granted(&[]);
            self.execute(SessionId::NONE, Xid(0), now, |tree, header, rules, effects| {
                request::execute(tree, header, op, by, rules, effects)
            });
        }
    }

    // From transaction to disk to workers.

    /// Takes the next zxid, applies, and stages the transaction for the log. There must be room. `None`: this server is no
    /// longer the one to do it.
    pub(super) fn execute(
        &mut self,
        session: SessionId,
        xid: Xid,
        now: Now,
        apply: impl FnOnce(&mut TreeWriter, TxnHeader, &RequestRules, Option<&mut Vec<Effect>>) -> Executed,
    ) -> Option<Executed> {
        let zxid = self.next_zxid(now)?;
        let header = TxnHeader { session, cxid: xid.0, zxid, time: now.wall };
        let executed = apply(&mut self.tree, header, &self.rules.request, Some(&mut self.batch.effects));
        count_writes(&self.metrics, &executed.txn.body);
        self.stages.prepared(zxid, Operation::of(executed.txn.body.op_code()));
        let mut entry = std::mem::take(&mut self.entry);
        entry.clear();
        txn::encode(&executed.txn.header, &executed.txn.body, executed.txn.digest.as_ref(), &mut entry);
        self.log_entry(zxid, &entry);
        self.batch.last_zxid = Some(zxid);
        self.keep_digest(zxid);
        if let Some(seat) = &mut self.seat {
            self.metrics.count(Counter::ProposalCount);
            self.metrics.proposal(entry.len() as u64, now.mono.micros);
            seat.history.push(zxid, &entry);
            self.entry = entry;
            let input = match request::config_of(&executed.txn.body) {
                Some(Ok(config)) => LeaderInput::ProposedConfig { config: Arc::new(config) },
                _ => LeaderInput::Proposed { zxid },
            };
            self.lead(input, now);
            // A role that ended over it has given up what it had to say, and nobody may be told of this either.
            return self.is_in_charge().then_some(executed);
        }
        self.entry = entry;
        Some(executed)
    }

    /// Stages an entry. There must be room.
    pub(super) fn log_entry(&mut self, zxid: Zxid, entry: &[u8]) {
        if let Err(error) = self.log().append(zxid, entry) {
            stop(&format!("the log had room for transaction {zxid} and then had not: {error}"));
        }
        self.snapshots.logged(entry.len());
    }

    /// Whether the tree after a transaction is what the leader says. A difference is told once; once it serves, the server goes
    /// on, as Java's does.
    pub(super) fn compare_digest(&mut self, zxid: Zxid, expected: Option<TxnDigest>) -> bool {
        let ours = self.tree.view().digest();
        if let Some(expected) = expected.filter(|digest| digest.version == TxnDigest::VERSION)
            && self.rules.request.digest
            && zxid > self.compare_after
            && expected.tree != ours
        {
            self.metrics.count(Counter::DigestMismatchesCount);
            tracing::error!(
                "the tree after transaction {zxid} has digest {ours:#x}, its leader's has {:#x}: the two servers differ. \
                 Compare their data; the one in the minority should be emptied and synchronized again",
                expected.tree
            );
            // One difference makes every later digest differ.
            self.compare_after = Zxid(i64::MAX);
            return false;
        }
        true
    }

    pub(super) fn keep_digest(&mut self, zxid: Zxid) {
        if self.rules.request.digest && zxid.0 % DIGEST_EVERY == 0 {
            if self.digests.len() == DIGESTS_MAX {
                self.digests.pop_front();
            }
            self.digests.push_back((zxid, self.tree.view().digest()));
        }
    }

    pub(super) fn has_room(&mut self, entry_bytes: usize, now: Instant) -> bool {
        let mut needed_bytes = entry_bytes + ENTRY_BYTES_EXTRA;
        if let Disk::Full { retry_at, refused_bytes } = self.disk {
            if now < retry_at {
                return false;
            }
            needed_bytes = needed_bytes.max(refused_bytes);
        }
        match self.log().has_room_for(1, needed_bytes) {
            Ok(()) => {
                if matches!(self.disk, Disk::Full { .. }) {
                    tracing::info!("the transaction log takes data again: writes are served, sessions expire");
                    self.disk = Disk::HasRoom;
                    // Clients were told of nothing meanwhile; they get a tick to be heard.
                    self.expiry_resumes = now.plus_millis(self.rules.tick_ms);
                }
                true
            }
            Err(error) => {
                if matches!(self.disk, Disk::HasRoom) {
                    tracing::error!(
                        "no room in the transaction log: {error}. Writes are answered with error -1 and no session \
                         expires until there is; reads go on. Free space on the log's disk."
                    );
                }
                self.disk = Disk::Full { retry_at: now.plus_millis(DISK_RETRY_MS), refused_bytes: needed_bytes };
                false
            }
        }
    }

    /// Bytes that a closeSession's list of ephemerals takes.
    pub(super) fn ephemerals_bytes(&self, session: SessionId) -> usize {
        self.tree.view().ephemerals(session).map(|path| path.len() + 4).sum()
    }

    /// Starts the next flush if none is in flight, and says what needs none.
    fn flush(&mut self, now: Now) -> Option<FlushRequest> {
        while self.in_flight.is_none() {
            self.seal_batch();
            self.release();
            let ticket = match self.log().start_flush() {
                Ok(ticket) => ticket?,
                Err(error) => stop(&format!("the transaction log cannot be written: {error}")),
            };
            self.stages.copied(ticket.through(), &self.metrics);
            if ticket.sync_needed() {
                let request = FlushRequest { targets: ticket.targets() };
                self.in_flight = Some(InFlight { ticket, began: now.mono });
                return Some(request);
            }
            self.flushed(ticket, now);
        }
        if self.batch_is_committed() {
            self.seal_batch();
        }
        self.release();
        None
    }

    /// What the batch says needs no flush of this server's: a learner's commits, and a leader's that others have flushed.
    fn batch_is_committed(&self) -> bool {
        !self.batch.is_empty()
            && match &self.role {
                Role::Learning(_) => true,
                _ => self.batch.last_zxid.is_some_and(|zxid| zxid <= self.committed_through()),
            }
    }

    /// The reads that a write of this connection has overtaken are answered from the state as it is now, before that write.
    pub(super) fn keep_for_overtaken(&mut self, from: ConnRef) {
        let (cut, zxid) = (self.tree.cut(), self.tree.view().last_zxid());
        self.batch.reply(from.worker, Reply::Overtaken { conn: from.conn, cut, zxid });
    }

    pub(super) fn seal_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let next = self.batch.next();
        let batch = std::mem::replace(&mut self.batch, next);
        let cuts = self.tree.take_cuts().map(|cuts| Cuts(Arc::new(cuts)));
        // The head of a server that serves nobody holds what is not committed. All it can say is that it ends connections.
        let version = if self.is_serving() { self.tree.seal() } else { self.tree.published_version() };
        self.sealed.push_back(batch.seal(version, self.tree.view().last_zxid(), cuts));
    }

    fn flush_ended(&mut self, result: io::Result<()>, now: Now) {
        let InFlight { ticket, began } = self.in_flight.take().expect("a flush was in flight");
        let took_ms = now.mono.micros_since(began) / 1000;
        self.metrics.record(Summary::Fsynctime, took_ms);
        if took_ms > self.rules.flush_ms_warn {
            tracing::warn!(
                "flushing {} bytes of the transaction log took {took_ms} ms: clients waited. Give the log a disk of its own",
                ticket.bytes()
            );
        }
        if let Err(error) = result
            && !PutBack::FlushErrorIgnored.is_on()
        {
            stop(&format!(
                "flushing the transaction log failed: {error}. Nothing further is acknowledged; what was \
                 acknowledged is on the disk. Check the disk, then start the server again"
            ));
        }
        self.flushed(ticket, now);
        self.release();
    }

    fn flushed(&mut self, ticket: FlushTicket, now: Now) {
        let synced = ticket.sync_needed();
        let through = self.log().flush_done(ticket).zxid();
        self.flushed_through = through;
        self.log_is_flushed(through, synced);
        match &self.role {
            Role::Leading(_) => self.lead(LeaderInput::Flushed { through }, now),
            Role::Learning(_) => self.learn(LearnerInput::Flushed { through }, now),
            Role::Alone | Role::Ending | Role::Looking => {}
        }
    }

    /// Everything through this zxid may be told to clients.
    fn committed_through(&self) -> Zxid {
        match &self.role {
            Role::Alone => self.flushed_through,
            Role::Leading(leading) => leading.zab.committed(),
            // A learner's batches hold what is committed.
            Role::Learning(_) => Zxid(i64::MAX),
            Role::Ending | Role::Looking => self.flushed_through,
        }
    }

    /// The order that watches rely on: lanes first, then the version, then the wake-up.
    pub(super) fn release(&mut self) {
        let committed = self.committed_through();
        let is_committed = |batch: &SealedBatch| batch.last_zxid().is_none_or(|zxid| zxid <= committed);
        if PutBack::PublishBeforePosting.is_on()
            && let Some(batch) = self.sealed.iter().take_while(|batch| is_committed(batch)).last()
        {
            self.tree.publish_through(batch.version);
            halfway();
        }
        let mut posted = Vec::new();
        let mut version = None;
        while self.sealed.front().is_some_and(is_committed) {
            let batch = self.sealed.pop_front().expect("just seen");
            version = Some(batch.version);
            let passages = batch.last_zxid().map(|last| self.stages.released(last, &self.metrics)).unwrap_or_default();
            posted.push(batch.post(&mut self.lanes, passages));
        }
        if let Some(version) = version {
            halfway();
            self.tree.publish_through(version);
            halfway();
            for batch in posted {
                batch.announce(&self.lanes);
            }
        }
    }
}

/// What was written, by top-level znode: bytes of path and data.
pub(super) fn count_writes(metrics: &MetricsWriter, body: &TxnBody) {
    let count = |path: &str, data: Option<&[u8]>| {
        let bytes = path.len() + data.map_or(0, <[u8]>::len);
        metrics.record_for_path(Namespaced::Write, path, bytes as u64);
    };
    match body {
        TxnBody::Create { path, data, .. }
        | TxnBody::CreateContainer { path, data, .. }
        | TxnBody::CreateTtl { path, data, .. }
        | TxnBody::SetData { path, data, .. } => count(path, data.as_deref()),
        TxnBody::Delete { path, .. } => count(path, None),
        TxnBody::CloseSession { paths: Some(paths) } => paths.iter().for_each(|path| count(path, None)),
        TxnBody::Multi(subs) if !subs.iter().any(|sub| matches!(sub.body, TxnBody::Error(_))) => {
            subs.iter().for_each(|sub| count_writes(metrics, &sub.body));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::SubTxn;
    use crate::observe::MetricsRegistry;
    use crate::types::OpCode;

    /// Bytes as a Java server was seen to count them.
    #[test]
    fn writes_are_counted_by_top_level_znode_unless_they_failed() {
        let set = |path: &str, data: &[u8]| TxnBody::SetData {
            op: OpCode::SetData,
            path: path.to_owned(),
            data: Some(data.to_vec()),
            version: 1,
        };
        let delete = |path: &str| TxnBody::Delete { op: OpCode::Delete, path: path.to_owned() };
        let multi = |bodies: Vec<TxnBody>| TxnBody::Multi(bodies.into_iter().map(|body| SubTxn { body }).collect());
        for (body, count, bytes) in [
            (set("/na", b"1234567"), 1, 10),
            (delete("/na/b"), 1, 5),
            (multi(vec![set("/na/b", b"xx"), set("/na/b", b"1234"), delete("/na/b")]), 3, 21),
            (multi(vec![set("/na/b", b"xx"), TxnBody::Error(-101)]), 0, 0),
            (TxnBody::CloseSession { paths: Some(vec!["/na/e".to_owned()]) }, 1, 5),
            (TxnBody::Error(-110), 0, 0),
        ] {
            let registry = MetricsRegistry::new();
            count_writes(&registry.register(), &body);
            let written = registry.read().namespace(Namespaced::Write);
            let seen = written.get("na").map_or((0, 0), |values| (values.count, values.sum));
            assert_eq!(seen, (count, bytes), "{body:?}");
        }
    }
}
