//! What a learner's state machine asks for, and how its clients' requests travel to the leader and back.

use super::driver::{Ensemble, count_writes};
use super::local_sessions::Upgrade;
use super::role::{Attach, Attaching, Awaited, Forwarded, LearnerSync, Role, Unapplied, WaitingSync};
use super::snapshot_load::SnapshotLoad;
use super::stages::ms_between;
use crate::io::ending::stop;
use crate::message::lane::{ConnRef, Reply, Standing};
use crate::message::{ConnectResponse, ForwardedRequest, Outcome, QuorumPacket, Txn, TxnBody, WriteOp};
use crate::observe::{Counter, Summary};
use crate::request;
use crate::session::password;
use crate::storage::EpochFile;
use crate::types::{ErrorCode, Id, Instant, LinkId, Now, OpCode, Operation, Role as MemberRole, SessionId, Xid, Zxid};
use crate::wire::Writer;
use crate::wire::client::encode_write;
use crate::wire::txn;
use crate::zab::{LearnerInput, LearnerOutput};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Ensemble {
    pub(super) fn learn(&mut self, input: LearnerInput, now: Now) {
        let Role::Learning(learning) = &mut self.role else { return };
        let mut outputs = std::mem::take(&mut learning.outputs);
        learning.zab.step(now.mono, input, &mut outputs);
        for output in outputs.drain(..) {
            self.carry_out_as_learner(output, now);
        }
        if let Role::Learning(learning) = &mut self.role {
            learning.outputs = outputs;
        }
    }

    fn carry_out_as_learner(&mut self, output: LearnerOutput, now: Now) {
        if !matches!(self.role, Role::Learning(_)) {
            return;
        }
        match output {
            LearnerOutput::Send(packet) => {
                if matches!(packet, QuorumPacket::AckEpoch { .. }) {
                    self.seat().clock.synchronizes(now.mono);
                }
                self.tell_leader(&packet);
            }
            LearnerOutput::PersistAcceptedEpoch { epoch } => self.persist_epoch(EpochFile::Accepted, epoch, now),
            LearnerOutput::PersistCurrentEpoch { epoch } => self.persist_epoch(EpochFile::Current, epoch, now),
            LearnerOutput::Truncate { to } => self.truncate(to),
            LearnerOutput::TakeSnapshot { zxid } => {
                tracing::info!("the leader sends a snapshot of zxid {zxid}");
                self.drop_kept();
                // A Java leader writes it while it goes on: it holds parts of transactions that come again.
                self.compare_after = Zxid(i64::MAX);
                let bytes_max = self.seat().options.packet_data_bytes_max;
                let load = SnapshotLoad::begin(zxid, &self.rules.request, bytes_max);
                if let Role::Learning(learning) = &mut self.role {
                    learning.loading = Some(load);
                }
            }
            LearnerOutput::Append { zxid, entry } => self.append(zxid, entry, now),
            LearnerOutput::Commit { through } => self.commit_through(through, now),
            LearnerOutput::Serve { epoch } => {
                let standing = match self.seat().configs.role() {
                    MemberRole::Observer => Standing::Observing,
                    MemberRole::Participant => Standing::Following,
                };
                // Whatever was being written when the snapshot began is behind us now.
                self.compare_after = self.compare_after.min(self.tree.view().last_zxid());
                self.begin_service(epoch, standing, now);
                self.begin_observer_master(epoch, now);
            }
            LearnerOutput::Ping { zxid } => self.answer_ping(zxid, now),
            LearnerOutput::Synced => {
                let Role::Learning(learning) = &mut self.role else { return };
                match learning.syncs.pop_front() {
                    Some(LearnerSync::Own(WaitingSync { from, xid, path })) => {
                        self.batch.reply(from.worker, Reply::Synced { conn: from.conn, xid, path });
                    }
                    Some(LearnerSync::ThroughObserver(link)) => self.observer_synced(link),
                    None => {}
                }
            }
            LearnerOutput::Revalidated { session, valid } => self.revalidated(session, valid, now),
            LearnerOutput::Seen { config } => {
                let configs = &self.seat().configs;
                if !configs.is_enabled() && config.membership != configs.committed().membership {
                    tracing::warn!("the leader has another configuration than this server:\n{config}");
                }
                self.see_as_learner(config, true, now);
            }
            LearnerOutput::Unreadable { why } => {
                tracing::error!("the leader names a configuration that cannot be read, and is not taken up: {why}");
            }
            LearnerOutput::Adopt { config } => self.adopt_as_learner(config, now),
            LearnerOutput::Activate { zxid, designated } => self.activate_as_learner(zxid, designated, now),
            LearnerOutput::GiveUp { why, is_breach } => {
                if is_breach {
                    tracing::error!("the leader breaks the protocol, and is left: {why}");
                    self.breach = Some(why.clone());
                }
                self.end_role(&why);
            }
        }
    }

    pub(super) fn tell_leader(&mut self, packet: &QuorumPacket) {
        let Role::Learning(learning) = &self.role else { return };
        let link: LinkId = learning.leader.link;
        if let Some(link) = self.seat().links.get_mut(link) {
            link.send(packet);
        }
    }

    // The log and the state.

    fn append(&mut self, zxid: Zxid, entry: Arc<[u8]>, now: Now) {
        let txn = match txn::decode(&entry) {
            Ok(txn) => txn,
            Err(error) => return self.end_role(&format!("the leader's transaction {zxid} is unreadable: {error}")),
        };
        if !self.has_room(entry.len(), now.mono) {
            return self.end_role("there is no room for the transaction log");
        }
        match request::config_of(&txn.body) {
            None => {}
            Some(Ok(config)) => {
                self.see_as_learner(Arc::new(config), false, now);
                if !matches!(self.role, Role::Learning(_)) {
                    return;
                }
            }
            Some(Err(why)) => return self.end_role(&format!("the leader proposes an unreadable configuration: {why}")),
        }
        self.log_entry(zxid, &entry);
        if self.is_serving() && self.seat().configs.role() == MemberRole::Participant {
            self.metrics.count(Counter::LearnerProposalReceivedCount);
            self.metrics.record(Summary::ProposalLatency, ms_between(txn.header.time, now.wall));
        }
        if self.is_serving() {
            self.stages.proposed(&txn.header, Operation::of(txn.body.op_code()));
        }
        if let Role::Learning(learning) = &mut self.role {
            learning.unapplied.push_back(Unapplied { txn, entry, appended: now.mono });
        }
    }

    fn commit_through(&mut self, through: Zxid, now: Now) {
        while let Role::Learning(learning) = &mut self.role
            && let Some(next) = learning.next_committed(through, self.tree.view())
        {
            let zxid = next.zxid();
            self.apply_committed(next.txn, next.appended, now);
            self.seat().history.push(zxid, &next.entry);
        }
    }

    fn apply_committed(&mut self, txn: Txn, appended: Instant, now: Now) {
        let Txn { header, body, digest } = txn;
        let is_serving = matches!(&self.role, Role::Learning(learning) if learning.zab.is_serving());
        let (session, xid) = (header.session, Xid(header.cxid));
        let awaited = if is_serving { self.take_forwarded(session, xid) } else { None };
        if let Some(Forwarded { from, what: Awaited::Write { overtakes: true, .. }, .. }) = awaited {
            self.keep_for_overtaken(from);
        }
        let effects = if is_serving { &mut self.batch.effects } else { &mut self.unsaid };
        let result = request::apply(&mut self.tree, &header, &body, Some(effects));
        count_writes(&self.metrics, &body);
        let is_same = self.compare_digest(header.zxid, digest);
        self.keep_digest(header.zxid);
        if !is_serving {
            self.let_go_of_kept(header.session);
            if !is_same {
                // Somebody's log lacks what nobody could miss, at the end of an epoch. The leader's state does not.
                self.needs_snapshot = true;
                self.end_role(
                    "what the leader sends does not lead to its state: the next time it is asked for all of it",
                );
            }
            return;
        }
        self.metrics.count(Counter::LearnerCommitReceivedCount);
        let ms_since_proposed = ms_between(header.time, now.wall);
        self.metrics.record(Summary::CommitPropagationLatency, ms_since_proposed);
        self.metrics.record(Summary::PropagationLatency, ms_since_proposed);
        self.batch.last_zxid = Some(header.zxid);
        let result = match &body {
            TxnBody::Error(code) => Err(ErrorCode::from_code(*code).unwrap_or(ErrorCode::SystemError)),
            _ => result,
        };
        let forwarded = awaited.as_ref().map(|awaited| awaited.since);
        self.stages.applied(header.zxid, Operation::of(body.op_code()), appended, forwarded);
        if awaited.is_none()
            && let Role::Learning(learning) = &mut self.role
        {
            learning.elsewhere.insert(session);
        }
        match (&body, awaited) {
            // Its client has it already, here or where it went meanwhile.
            (_, Some(Forwarded { what: Awaited::Upgrade, .. })) if self.sessions.get(session).is_some() => {}
            (TxnBody::CreateSession { timeout_ms }, awaited) => {
                let owner = awaited.as_ref().map(|awaited| awaited.from);
                let last_heard = self.sessions.add(session, *timeout_ms, owner, now.mono);
                if let Some(Forwarded { from, what: Awaited::CreateSession { read_only }, .. }) = awaited {
                    let response = ConnectResponse {
                        timeout_ms: *timeout_ms,
                        session,
                        password: password(session),
                        read_only: read_only.map(|_| false),
                    };
                    self.batch.reply(from.worker, Reply::Connected { conn: from.conn, response, last_heard });
                }
            }
            (TxnBody::CloseSession { .. }, awaited) => {
                let owner = self.sessions.remove(session).and_then(|live| live.owner);
                match awaited {
                    Some(Forwarded { from, xid, what: Awaited::CloseSession, .. }) => {
                        let zxid = header.zxid;
                        self.batch.reply(from.worker, Reply::SessionClosed { conn: from.conn, xid, zxid });
                    }
                    _ => owner.into_iter().for_each(|owner| self.batch.close(owner)),
                }
            }
            (_, Some(Forwarded { from, .. })) if result == Err(ErrorCode::SessionMoved) => self.batch.close(from),
            (_, Some(Forwarded { from, xid, what, .. })) => {
                let known_refusal = match what {
                    Awaited::Write { known_refusal, .. } => known_refusal,
                    _ => None,
                };
                let result = result.map_err(|refusal| known_refusal.unwrap_or(refusal));
                let outcome = Outcome { zxid: header.zxid, result };
                self.batch.reply(from.worker, Reply::Write { conn: from.conn, xid, outcome });
            }
            (_, None) => {}
        }
        self.tell_decided(session);
    }

    /// The log ends behind `to`, and so does the state.
    fn truncate(&mut self, to: Zxid) {
        tracing::info!("the leader has the log cut behind {to}");
        if self.seat().configs.role() == MemberRole::Observer {
            // What an observer has published may be ahead of the follower that it follows.
            self.drop_kept();
        }
        match self.cut_log(to) {
            Ok(true) => {}
            Ok(false) => {
                self.needs_snapshot = true;
                return self.end_role(&format!("the log does not hold {to}, behind which it should be cut"));
            }
            Err(error) => stop(&format!("the log cannot be cut behind {to}: {error}")),
        }
        let last = self.tree.view().last_zxid();
        if last != to {
            stop(&format!("after the log was cut behind {to} the state ends at {last}"));
        }
    }

    pub(super) fn is_loading_from(&self, link: LinkId) -> bool {
        matches!(&self.role, Role::Learning(learning) if learning.leader.link == link && learning.loading.is_some())
    }

    /// Bytes of a snapshot stream; `None` when the role ended over them.
    pub(super) fn load_snapshot(&mut self, bytes: &[u8], now: Now) -> Option<usize> {
        let Role::Learning(learning) = &mut self.role else { return None };
        let load = learning.loading.as_mut().expect("a snapshot is being loaded");
        let (consumed, is_done) = match load.push(bytes, &mut self.tree) {
            Ok(progress) => progress,
            Err(why) => {
                self.end_role(&format!("the leader's snapshot is unreadable: {why}"));
                return None;
            }
        };
        if is_done {
            let zxid = load.zxid();
            learning.loading = None;
            self.see_config_of_tree(now.mono);
            self.keep_loaded_snapshot(zxid);
            self.learn(LearnerInput::SnapshotSaved, now);
        }
        Some(consumed)
    }

    // Clients.

    pub(super) fn forward_write(
        &mut self,
        from: ConnRef,
        session: SessionId,
        xid: Xid,
        op: &WriteOp,
        ids: &[Id],
        overtakes: bool,
    ) {
        let since = self.stages.turn_began();
        let upgrade = self.upgrade_for(session, op);
        // In a multi the leader's answer stands.
        let is_refused = upgrade == Upgrade::Refused && !matches!(op, WriteOp::Multi(_));
        let Some((op, body)) = encode_write(op) else {
            // A Java leader would lose its way over it.
            let what = Awaited::Refused { why: ErrorCode::MarshallingError, overtakes };
            self.expect_answer(session, Forwarded { from, xid, what, since });
            return self.tell_decided(session);
        };
        if upgrade == Upgrade::Due {
            self.upgrade_as_learner(from, session);
        }
        let known_refusal = is_refused.then_some(ErrorCode::EphemeralOnLocalSession);
        self.expect_answer(session, Forwarded { from, xid, what: Awaited::Write { known_refusal, overtakes }, since });
        let request = ForwardedRequest { session, cxid: xid.0, op: op.code(), body, ids: ids.to_vec() };
        self.tell_leader(&QuorumPacket::Request(request));
    }

    pub(super) fn forward_create_session(&mut self, from: ConnRef, timeout_ms: i32, read_only: Option<bool>) {
        let session = self.new_session_id();
        let (what, since) = (Awaited::CreateSession { read_only }, self.stages.turn_began());
        self.ask_leader_for_new_session(session, timeout_ms, Forwarded { from, xid: Xid(0), what, since });
    }

    pub(super) fn forward_close_session(&mut self, from: ConnRef, session: SessionId, xid: Xid) {
        if self.sessions.get(session).is_none_or(|live| live.owner != Some(from)) {
            return self.batch.close(from);
        }
        let since = self.stages.turn_began();
        self.expect_answer(session, Forwarded { from, xid, what: Awaited::CloseSession, since });
        let (op, body, ids) = (OpCode::CloseSession.code(), Vec::new(), Vec::new());
        self.tell_leader(&QuorumPacket::Request(ForwardedRequest { session, cxid: xid.0, op, body, ids }));
    }

    pub(super) fn forward_sync(&mut self, from: ConnRef, session: SessionId, xid: Xid, path: Option<String>) {
        let mut body = Vec::new();
        Writer::new(&mut body).string_or_null(path.as_deref());
        if let Role::Learning(learning) = &mut self.role {
            learning.syncs.push_back(LearnerSync::Own(WaitingSync { from, xid, path }));
        }
        let (op, ids) = (OpCode::Sync.code(), Vec::new());
        self.tell_leader(&QuorumPacket::Request(ForwardedRequest { session, cxid: xid.0, op, body, ids }));
    }

    /// A client came with a session: the leader knows whether it lives.
    pub(super) fn ask_leader_for(&mut self, session: SessionId, attaching: Attaching) {
        let (timeout_ms, resumes) = (attaching.timeout_ms, attaching.how.resumes());
        if let Role::Learning(learning) = &mut self.role {
            learning.attaching.entry(session).or_default().push_back(attaching);
        }
        self.tell_leader(&QuorumPacket::Revalidate { session, timeout_ms, resumes });
    }

    fn revalidated(&mut self, session: SessionId, valid: bool, now: Now) {
        let Role::Learning(learning) = &mut self.role else { return };
        let Some(waiting) = learning.attaching.get_mut(&session) else { return };
        let Some(Attaching { timeout_ms, how }) = waiting.pop_front() else { return };
        if waiting.is_empty() {
            learning.attaching.remove(&session);
        }
        if valid {
            learning.elsewhere.remove(&session);
        }
        match how {
            Attach::ThroughObserver { link, .. } => self.observer_revalidated(link, session, timeout_ms, valid),
            Attach::Resumed { from } => self.resume(from, session, valid, now.mono),
            Attach::Connected { from, read_only } if valid => {
                self.attach(from, session, timeout_ms, read_only, now.mono);
            }
            Attach::Connected { from, read_only } => {
                let response = ConnectResponse::refused(read_only);
                self.batch.reply(from.worker, Reply::Refused { conn: from.conn, response });
            }
        }
    }

    fn answer_ping(&mut self, zxid: Zxid, now: Now) {
        let mut touched = self.take_touched_by_observers();
        let Role::Learning(learning) = &mut self.role else { return };
        let since = std::mem::replace(&mut learning.touched_since_ms, now.mono.millis());
        let heard = self
            .sessions
            .iter()
            .filter(|(_, live)| live.owner.is_some() && live.last_heard.load(Ordering::Relaxed) >= since);
        touched.extend(heard.map(|(id, live)| (id, live.timeout_ms)));
        let touched = touched.into_iter().collect();
        self.tell_leader(&QuorumPacket::Ping { zxid, touched });
    }

    pub(super) fn expect_answer(&mut self, session: SessionId, forwarded: Forwarded) {
        if let Role::Learning(learning) = &mut self.role {
            learning.forwarded.entry(session).or_default().push_back(forwarded);
        }
    }

    fn take_forwarded(&mut self, session: SessionId, xid: Xid) -> Option<Forwarded> {
        let Role::Learning(learning) = &mut self.role else { return None };
        let queue = learning.forwarded.get_mut(&session)?;
        let taken = queue.pop_front_if(|front| front.xid == xid && !front.what.is_decided());
        if queue.is_empty() {
            learning.forwarded.remove(&session);
        }
        taken
    }

    /// Tells what was decided here and waited for its turn.
    pub(super) fn tell_decided(&mut self, session: SessionId) {
        while let Role::Learning(learning) = &mut self.role
            && let Some(queue) = learning.forwarded.get_mut(&session)
        {
            match queue.pop_front_if(|front| front.what.is_decided()) {
                Some(Forwarded { from, xid, what: Awaited::Refused { why, overtakes }, .. }) => {
                    if overtakes {
                        self.keep_for_overtaken(from);
                    }
                    let outcome = Outcome { zxid: self.tree.view().last_zxid(), result: Err(why) };
                    self.batch.reply(from.worker, Reply::Write { conn: from.conn, xid, outcome });
                }
                Some(Forwarded { from, xid, .. }) => {
                    let zxid = self.tree.view().last_zxid();
                    self.batch.reply(from.worker, Reply::SessionClosed { conn: from.conn, xid, zxid });
                }
                None => {
                    if queue.is_empty() {
                        learning.forwarded.remove(&session);
                    }
                    return;
                }
            }
        }
    }
}
