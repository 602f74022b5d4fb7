//! What transactions mean to this worker's clients.
//!
//! **The order rule.** A client sees the watch event of a change before any reply that reflects it, and after the
//! event its reads do reflect it. The ensemble thread puts a batch on every lane before it publishes the version the
//! batch is tagged with. A worker reaps what its sockets got, *then* pins the published version (so nobody reads a state
//! older than one that another client was told of), delivers everything tagged up to that version and nothing beyond,
//! and only then answers requests, those that waited for a write included, from that version. But for reads that a later write
//! of their client has overtaken: they are answered in the midst of it, from the state right before that write.

use super::connection::{Connection, Phase, Waiting};
use super::stages::{Answered, Way, path_of};
use super::worker::{Worker, find};
use crate::message::lane::{Deliver, Reply};
use crate::message::{Effect, WatchEventKind};
use crate::observe::Summary;
use crate::tree::{Cuts, View};
use crate::types::{AclList, ConnId, OpCode, Operation, PutBack, Xid, Zxid, perms};
use crate::wire::client::response;

impl Worker {
    /// A batch whose version is pinned: transaction by transaction, events before the reply.
    pub(super) fn deliver(&mut self, deliver: Deliver) {
        let (mut effects, last_zxid) = (deliver.effects.iter().peekable(), deliver.last_zxid);
        let mut passages = &*deliver.passages;
        let cuts = deliver.cuts.as_ref().map(|cuts| cuts.0.downcast_ref::<Cuts>().expect("made by the tree"));
        let mut passed = Way::of(passages.first());
        let mut synced = Vec::new();
        for reply in deliver.replies {
            if matches!(reply, Reply::Synced { .. }) {
                // It shows the end of the batch: nobody may be told of that before overtaken reads have set their watches.
                synced.push(reply);
                continue;
            }
            while let Some(effect) =
                effects.next_if(|effect| reply_zxid(&reply).is_some_and(|zxid| effect.zxid <= zxid))
            {
                self.tell_watchers(effect);
            }
            let zxid = txn_zxid(&reply);
            while let ([first, rest @ ..], Some(zxid)) = (passages, zxid)
                && first.through < zxid
            {
                (passages, passed) = (rest, Way::of(rest.first()));
            }
            if let Reply::Overtaken { conn, cut, .. } = reply {
                self.answer_overtaken(conn, cuts.expect("a batch brings its cuts").view(cut));
                continue;
            }
            let way = if zxid.is_some() { &passed } else { &Way::Asked };
            self.reply(reply, last_zxid, way, &deliver.effects);
        }
        for effect in effects {
            self.tell_watchers(effect);
        }
        for reply in synced {
            self.reply(reply, last_zxid, &Way::Asked, &[]);
        }
    }

    fn tell_watchers(&mut self, effect: &Effect) {
        let (conns, access) = (&self.conns, &self.rules.access);
        let can_read = |id: ConnId, acl: &AclList| {
            find(conns, id).is_some_and(|conn| access.check(acl, perms::READ, &conn.ids).is_ok())
        };
        self.events.clear();
        self.watches.trigger(effect, can_read, &mut self.events);
        if self.events.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.events);
        let mut frame = Vec::new();
        for (event, conns) in events.groups() {
            frame.clear();
            response::notification(&mut frame, event);
            self.metrics.record(summary_of(event.kind), conns.len() as u64);
            self.metrics.packets_sent(conns.len() as u64);
            for id in conns {
                // Whoever lets too much pile up is closed when it should be sent to.
                let Some(conn) = self.get_mut(*id).filter(|conn| !conn.out.is_too_much()) else { continue };
                conn.out.tail().extend_from_slice(&frame);
                conn.traffic.packets_sent += 1;
                self.mark_told(*id, conns.len());
            }
        }
        self.events = events;
    }

    /// Reads before a write that is told next. The watches are those of the very state that they are answered from.
    fn answer_overtaken(&mut self, id: ConnId, view: View<'_>) {
        let Some(mut conn) = self.take(id) else { return };
        if PutBack::OvertakenReadNewest.is_on() {
            self.carry_out_overtaken(&mut conn, self.tree.clone().pin().view());
        }
        self.carry_out_overtaken(&mut conn, view);
        self.put(conn);
    }

    fn reply(&mut self, reply: Reply, last_zxid: Zxid, way: &Way, effects: &[Effect]) {
        let Some(mut conn) = self.take(conn_of(&reply)) else { return };
        match reply {
            Reply::Write { xid, outcome, .. } => {
                if conn.phase == Phase::Established {
                    self.answered(&mut conn, xid, outcome.zxid, outcome.result.is_ok(), way, effects);
                    response::outcome(conn.out.tail(), xid, &outcome);
                }
            }
            Reply::Synced { xid, path, .. } => {
                if conn.phase == Phase::Established {
                    self.answered(&mut conn, xid, last_zxid, true, way, &[]);
                    response::path(conn.out.tail(), xid, last_zxid, path.as_deref());
                }
            }
            Reply::SessionClosed { xid, zxid, .. } => {
                if conn.phase == Phase::Established {
                    self.answered(&mut conn, xid, zxid, true, way, &[]);
                    response::header_only(conn.out.tail(), xid, zxid, 0);
                }
                // The ensemble thread has forgotten the session already.
                conn.session = crate::types::SessionId::NONE;
                self.end(&mut conn);
            }
            Reply::Connected { response, last_heard, .. } => self.connected(&mut conn, &response, last_heard),
            Reply::Refused { response, .. } => self.refuse(&mut conn, &response),
            Reply::Resumed { last_heard, .. } => self.resumed(&mut conn, last_heard),
            Reply::Close { .. } => self.end(&mut conn),
            Reply::Overtaken { .. } => unreachable!("no reply to a request"),
        }
        if conn.phase == Phase::Established && !conn.waiting.is_empty() {
            // Not here: the version they are answered from holds more than what is delivered so far.
            self.resumable.push(conn.id);
        }
        self.put(conn);
    }

    /// Books the oldest write as answered.
    fn answered(
        &mut self,
        conn: &mut Connection,
        xid: Xid,
        zxid: Zxid,
        succeeded: bool,
        way: &Way,
        effects: &[Effect],
    ) {
        let Some(submitted) = conn.in_flight.pop_front() else { return };
        self.outstanding -= 1;
        if conn.waiting.pop_front_if(|first| matches!(first, Waiting::Overtook)).is_some() {
            conn.overtook -= 1;
        }
        self.release_large(conn);
        let latency_ms = self.now.mono.micros_since(submitted.since) / 1000;
        self.metrics.record(Summary::Updatelatency, latency_ms);
        let op = if succeeded { submitted.op } else { OpCode::Error };
        self.replied(conn, op, xid, zxid, submitted.since);
        let (operation, since) = (Operation::of(submitted.op), submitted.since);
        let ordered_micros = submitted.ordered_micros;
        self.stages.answered(operation, since, ordered_micros, way);
        if self.stages.is_slow(since, self.now) {
            let answered = Answered { operation, session: conn.session, xid, since, ordered_micros };
            self.stages.tell_slow(answered, way, path_of(zxid, effects), self.now);
        }
    }
}

/// The transaction that a reply is about, where it has passed the stages of one.
fn txn_zxid(reply: &Reply) -> Option<Zxid> {
    match reply {
        Reply::Write { outcome, .. } => Some(outcome.zxid),
        Reply::SessionClosed { zxid, .. } => Some(*zxid),
        _ => None,
    }
}

/// What a reply reflects of its batch.
fn reply_zxid(reply: &Reply) -> Option<Zxid> {
    match reply {
        Reply::Write { outcome, .. } => Some(outcome.zxid),
        Reply::SessionClosed { zxid, .. } | Reply::Overtaken { zxid, .. } => Some(*zxid),
        Reply::Synced { .. }
        | Reply::Connected { .. }
        | Reply::Refused { .. }
        | Reply::Resumed { .. }
        | Reply::Close { .. } => None,
    }
}

fn conn_of(reply: &Reply) -> ConnId {
    match reply {
        Reply::Write { conn, .. }
        | Reply::Synced { conn, .. }
        | Reply::Overtaken { conn, .. }
        | Reply::SessionClosed { conn, .. }
        | Reply::Connected { conn, .. }
        | Reply::Refused { conn, .. }
        | Reply::Resumed { conn, .. }
        | Reply::Close { conn } => *conn,
    }
}

fn summary_of(kind: WatchEventKind) -> Summary {
    match kind {
        WatchEventKind::NodeCreated => Summary::NodeCreatedWatchCount,
        WatchEventKind::NodeDeleted => Summary::NodeDeletedWatchCount,
        WatchEventKind::NodeDataChanged => Summary::NodeChangedWatchCount,
        WatchEventKind::NodeChildrenChanged => Summary::NodeChildrenWatchCount,
    }
}
