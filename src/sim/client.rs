//! A client: keeps a session over connections to any server, as ZooKeeper's do, in bytes of the real protocol; and holds
//! every answer against the one history.

use super::agenda::Agenda;
use super::checkers::client_history::{Head, Seen};
use super::checkers::watch_order::{Kind, Watches};
use super::checkers::{Checked, History, Violation, demand};
use super::client_wire::{check_read, event_kind, put_request, read_head, take_frame};
use super::members;
use super::net::{DialId, Net, Socket};
use super::options::Options;
use super::random::Random;
use super::report::Counts;
use super::settings::OPERATOR;
use super::workload::{self, Request};
use crate::message::WriteOp;
use crate::session::password;
use crate::types::{OpCode, QuorumConfig, SessionId, Zxid};
use crate::wire::Reader;
use crate::wire::Writer;
use std::collections::VecDeque;

/// Somebody without a connection looks for one about so often.
const IMPATIENT_US: u64 = 100_000;
const SET_WATCHES_XID: i32 = -8;
const PING_XID: i32 = -2;
const AUTH_XID: i32 = -4;
const NOT_READ_ONLY: i32 = -119;
const EPHEMERAL_ON_LOCAL_SESSION: i32 = -120;
const NOTIFICATION_XID: i32 = -1;

pub struct Client {
    pub node: usize,
    random: Random,
    session: Option<Session>,
    conn: Option<Conn>,
    pub dial: Option<DialId>,
    next_xid: i32,
    watches: Watches,
    seen: Seen,
    /// A connection that was left open when the client went elsewhere.
    left: Option<Left>,
    /// When it is going to ask for something next.
    asks_at: u64,
    pub answered_since_heal: u64,
}

#[derive(Clone, Copy)]
struct Session {
    id: SessionId,
    timeout_ms: i32,
    /// Known to one server alone.
    is_local: bool,
}

struct Conn {
    socket: Socket,
    server: usize,
    /// The session is confirmed.
    is_greeted: bool,
    /// By a server without a leader.
    is_read_only: bool,
    input: Vec<u8>,
    pending: VecDeque<Pending>,
    heard_at: u64,
    sent_at: u64,
    /// Of the newest state that was seen over it.
    epoch: u32,
}

/// Nobody waits for what comes over it; but what it still can do tells whose the session is.
struct Left {
    socket: Socket,
    session: SessionId,
    input: Vec<u8>,
    asked: Option<i32>,
}

struct Pending {
    xid: i32,
    what: Asked,
    /// What anybody had seen when it was asked.
    asked_at: Zxid,
    /// What anybody had seen of the server that was asked.
    shown_at: Zxid,
}

#[derive(Debug)]
enum Asked {
    SetWatches,
    Of(Request),
}

/// What a client needs of the world.
pub struct Surroundings<'a> {
    pub agenda: &'a mut Agenda,
    pub net: &'a mut Net,
    pub history: &'a mut History,
    pub options: &'a Options,
    /// The configuration in force.
    pub newest: &'a QuorumConfig,
    /// Operators ask for others.
    pub may_reconfigure: bool,
    pub counts: &'a mut Counts,
    /// Nothing is asked any more; sessions are kept.
    pub is_silent: bool,
}

impl Client {
    pub fn new(node: usize, random: Random) -> Client {
        Client {
            node,
            random,
            session: None,
            conn: None,
            dial: None,
            next_xid: 1,
            watches: Watches::default(),
            seen: Seen::default(),
            left: None,
            asks_at: 0,
            answered_since_heal: 0,
        }
    }

    /// Something to do now and then; returns the server to connect to, if any, and when to come again.
    pub fn turn(&mut self, world: &mut Surroundings<'_>) -> (Option<usize>, u64) {
        let again = 1 + self.random.below(2 * world.options.think_us.min(IMPATIENT_US));
        let Some(conn) = &self.conn else {
            if self.dial.is_some() {
                return (None, again);
            }
            let to = self.random.below(world.options.servers() as u64) as usize;
            return (Some(to), again);
        };
        let (now, timeout_us) = (world.agenda.now(), self.timeout_us(world.options));
        if now > conn.heard_at + timeout_us * 2 / 3 {
            self.leave(world);
            return (None, again);
        }
        if self.random.chance(1, 150) {
            self.go_elsewhere(world);
            return (None, again);
        }
        if conn.is_greeted {
            self.write_over_left(world);
        }
        let Some(conn) = &self.conn else { return (None, again) };
        if conn.is_greeted {
            let room = world.options.pipeline_max.saturating_sub(conn.pending.len()) as u64;
            if !world.is_silent && room > 0 && now >= self.asks_at {
                self.asks_at = now + 1 + self.random.below(2 * world.options.think_us);
                for _ in 0..1 + self.random.below(room) {
                    let request = match self.change_of_members(world) {
                        Some(change) => change,
                        None => workload::request(&mut self.random, world.options.writes_percent),
                    };
                    self.ask(Asked::Of(request), world);
                }
            } else if now > conn.sent_at + timeout_us / 3 {
                self.send_frame(world, |w| {
                    w.int(PING_XID);
                    w.int(OpCode::Ping.code());
                });
            }
        }
        let again = if self.asks_at > now && !world.is_silent { self.asks_at - now } else { again };
        (None, again.min(timeout_us / 6))
    }

    /// Now and then an operator's.
    fn change_of_members(&mut self, world: &mut Surroundings<'_>) -> Option<Request> {
        if !world.may_reconfigure || !self.random.chance(1, world.options.members.asked_one_in) {
            return None;
        }
        world.counts.reconfigs_asked += 1;
        Some(Request::Write(members::change(world.options, world.newest, &mut self.random)))
    }

    /// Every second client may change the members; the others ask in vain.
    fn is_operator(&self, options: &Options) -> bool {
        options.members.reconfig && self.node.is_multiple_of(2)
    }

    pub fn has_session(&self, id: SessionId) -> bool {
        self.session.is_some_and(|session| session.id == id)
    }

    fn timeout_us(&self, options: &Options) -> u64 {
        let (least_ms, _) = options.session_timeouts_ms();
        self.session.map_or(least_ms * 2, |session| session.timeout_ms).max(1) as u64 * 1000
    }

    pub fn connected(&mut self, socket: Socket, server: usize, world: &mut Surroundings<'_>) {
        let now = world.agenda.now();
        let (pending, input) = (VecDeque::new(), Vec::new());
        let (is_greeted, is_read_only, epoch) = (false, false, 0);
        self.conn =
            Some(Conn { socket, server, is_greeted, is_read_only, input, pending, heard_at: now, sent_at: now, epoch });
        let (least_ms, most_ms) = world.options.session_timeouts_ms();
        let timeout_ms = least_ms + self.random.below((most_ms - least_ms) as u64 / 2) as i32;
        let (session, seen) = (self.session.map(|session| session.id), self.seen.zxid);
        let takes_read_only = world.options.read_only && self.random.chance(1, 2);
        self.send_frame(world, |w| {
            w.int(0);
            w.long(seen.0);
            w.int(timeout_ms);
            w.long(session.map_or(0, |session| session.0));
            w.buffer(Some(&session.map_or([0; 16], password)));
            w.bool(takes_read_only);
        });
    }

    /// Gives up the connection.
    fn leave(&mut self, world: &mut Surroundings<'_>) {
        if let Some(conn) = &self.conn {
            world.net.close(world.agenda, conn.socket);
        }
        self.lost();
    }

    fn lost(&mut self) {
        let was_read_only = self.conn.take().is_some_and(|conn| conn.is_read_only);
        self.watches.away();
        if was_read_only {
            // What was seen there need not be committed: it begins anew.
            self.end_session();
        }
    }

    pub fn closed(&mut self, socket: Socket) {
        if self.holds(socket) {
            self.lost();
        } else if self.left.as_ref().is_some_and(|left| left.socket == socket) {
            self.left = None;
        }
    }

    fn holds(&self, socket: Socket) -> bool {
        self.conn.as_ref().is_some_and(|conn| conn.socket == socket)
    }

    /// Gives up the connection, or leaves it as if its network had gone silent.
    fn go_elsewhere(&mut self, world: &mut Surroundings<'_>) {
        let is_quiet =
            |conn: &Conn| conn.is_greeted && !conn.is_read_only && conn.pending.is_empty() && conn.input.is_empty();
        let Some((conn, session)) = self.conn.take_if(|conn| is_quiet(conn)).zip(self.session) else {
            return self.leave(world);
        };
        self.leave_left(world);
        self.left = Some(Left { socket: conn.socket, session: session.id, input: Vec::new(), asked: None });
        self.lost();
    }

    fn leave_left(&mut self, world: &mut Surroundings<'_>) {
        if let Some(left) = self.left.take() {
            world.net.close(world.agenda, left.socket);
        }
    }

    /// The session has another connection by now: what is asked for over the one before should not be done any more.
    fn write_over_left(&mut self, world: &mut Surroundings<'_>) {
        let Some(left) = self.left.as_mut().filter(|left| left.asked.is_none()) else { return };
        if self.session.is_none_or(|session| session.id != left.session) || !self.random.chance(1, 4) {
            return;
        }
        left.asked = Some(self.next_xid);
        let socket = left.socket;
        let mut bytes = Vec::new();
        Writer::frame(&mut bytes, |w| {
            w.int(self.next_xid);
            put_request(w, &workload::set_of_any(&mut self.random));
        });
        self.next_xid += 1;
        world.counts.writes_left_behind += 1;
        world.net.send(world.agenda, socket, bytes);
    }

    fn received_over_left(&mut self, bytes: &[u8], world: &mut Surroundings<'_>) -> Checked {
        let Some(left) = &mut self.left else { return Ok(()) };
        left.input.extend_from_slice(bytes);
        while let Some(frame) = take_frame(&mut left.input) {
            let mut r = Reader::new(&frame);
            let head = read_head(&mut r)?;
            if Some(head.xid) == left.asked && head.err == 0 {
                world.counts.writes_left_behind_done += 1;
                world.history.owners.wrote(left.session, left.socket, head.zxid)?;
            }
        }
        Ok(())
    }

    fn send_frame(&mut self, world: &mut Surroundings<'_>, fill: impl FnOnce(&mut Writer<'_>)) {
        let Some(conn) = &mut self.conn else { return };
        let mut bytes = Vec::new();
        Writer::frame(&mut bytes, fill);
        conn.sent_at = world.agenda.now();
        world.net.send(world.agenda, conn.socket, bytes);
    }

    fn ask(&mut self, what: Asked, world: &mut Surroundings<'_>) {
        let xid = match what {
            Asked::SetWatches => SET_WATCHES_XID,
            Asked::Of(_) => self.next_xid,
        };
        self.next_xid += 1;
        let mut bytes = Vec::new();
        Writer::frame(&mut bytes, |w| {
            w.int(xid);
            match &what {
                Asked::SetWatches => self.put_watches(w),
                Asked::Of(request) => put_request(w, request),
            }
        });
        let asked_at = world.history.acknowledged;
        world.counts.requests += 1;
        let Some(conn) = &mut self.conn else { return };
        let shown_at = world.history.shown_by(conn.server);
        conn.pending.push_back(Pending { xid, what, asked_at, shown_at });
        conn.sent_at = world.agenda.now();
        world.net.send(world.agenda, conn.socket, bytes);
    }

    fn put_watches(&self, w: &mut Writer<'_>) {
        w.int(OpCode::SetWatches.code());
        w.long(self.seen.zxid.0);
        for kind in [Kind::Data, Kind::Exist, Kind::Child] {
            let paths = self.watches.paths(kind);
            w.count(paths.len());
            paths.iter().for_each(|path| w.string(path));
        }
    }

    // What comes.

    pub fn received(&mut self, socket: Socket, bytes: &[u8], world: &mut Surroundings<'_>) -> Checked {
        if !self.holds(socket) {
            return match self.left.as_ref().is_some_and(|left| left.socket == socket) {
                true => self.received_over_left(bytes, world),
                false => Ok(()),
            };
        }
        let Some(conn) = &mut self.conn else { return Ok(()) };
        conn.heard_at = world.agenda.now();
        conn.input.extend_from_slice(bytes);
        while let Some(conn) = &mut self.conn {
            let Some(frame) = take_frame(&mut conn.input) else { break };
            match conn.is_greeted {
                true => self.frame(&frame, world)?,
                false => self.greeted(&frame, world)?,
            }
        }
        Ok(())
    }

    fn greeted(&mut self, frame: &[u8], world: &mut Surroundings<'_>) -> Checked {
        let mut r = Reader::new(frame);
        let read = |r: &mut Reader<'_>| {
            r.int("version")?;
            let (timeout_ms, id) = (r.int("timeout")?, SessionId(r.long("session")?));
            r.buffer("password")?;
            Ok::<_, crate::wire::BadBytes>((timeout_ms, id, r.bool("readOnly")?))
        };
        let (timeout_ms, id, is_read_only) = read(&mut r).map_err(|error| Violation(format!("a greeting: {error}")))?;
        if id == SessionId::NONE {
            world.counts.sessions_expired += 1;
            self.end_session();
            self.leave(world);
            return Ok(());
        }
        let has_local = world.options.local_sessions.enabled;
        // The id of one that is over may come again.
        let is_local = has_local && !world.history.znodes.is_alive(id);
        demand(has_local || world.history.znodes.is_known(id), || {
            format!("session {id} is granted and was never created")
        })?;
        demand(!is_read_only || world.options.read_only, || "a greeting of a read-only server".to_owned())?;
        world.counts.sessions_local += u64::from(is_local && self.session.is_none());
        world.counts.greetings_read_only += u64::from(is_read_only);
        if let Some(session) = self.session {
            demand(session.id == id, || format!("session {id} is granted for {}", session.id))?;
            world.counts.sessions_resumed += 1;
        }
        self.session = Some(Session { id, timeout_ms, is_local });
        if let Some(conn) = &mut self.conn {
            (conn.is_greeted, conn.is_read_only) = (true, is_read_only);
        }
        if self.is_operator(world.options) {
            self.send_frame(world, |w| {
                w.int(AUTH_XID);
                w.int(OpCode::Auth.code());
                w.int(0);
                w.string("digest");
                w.buffer(Some(OPERATOR.as_bytes()));
            });
        }
        match self.watches.is_empty() {
            true => self.watches = Watches::default(),
            false => self.ask(Asked::SetWatches, world),
        }
        Ok(())
    }

    fn end_session(&mut self) {
        self.session = None;
        self.seen = Seen::default();
        self.watches = Watches::default();
    }

    fn frame(&mut self, frame: &[u8], world: &mut Surroundings<'_>) -> Checked {
        let session = self.session.expect("greeted").id;
        let server = self.conn.as_ref().map_or(0, |conn| conn.server);
        self.take_frame(frame, world).map_err(|Violation(why)| {
            Violation(format!("client {} of session {session} at server {server}: {why}", self.node))
        })
    }

    fn take_frame(&mut self, frame: &[u8], world: &mut Surroundings<'_>) -> Checked {
        let bad = |error: crate::wire::BadBytes| Violation(format!("a reply: {error}"));
        let mut r = Reader::new(frame);
        let head = read_head(&mut r)?;
        match head.xid {
            NOTIFICATION_XID => {
                world.counts.watch_events += 1;
                let kind = r.int("event").map_err(bad)?;
                r.int("state").map_err(bad)?;
                let path = r.string_present("path").map_err(bad)?;
                let kind = event_kind(kind).ok_or_else(|| Violation(format!("an event of kind {kind}")))?;
                return self.watches.event(world.history, kind, path, head.zxid);
            }
            PING_XID => return Ok(()),
            AUTH_XID => return demand(head.err == 0, || format!("an operator is not known: {head:?}")),
            _ => {}
        }
        let pending = self.conn.as_mut().and_then(|conn| conn.pending.pop_front());
        let Some(Pending { xid, what, asked_at, shown_at }) = pending else {
            return Err(Violation(format!("{head:?} answers nothing")));
        };
        demand(xid == head.xid, || format!("{head:?} answers, and request {xid} comes first ({what:?})"))?;
        world.counts.replies += 1;
        if self.conn.as_ref().is_some_and(|conn| conn.is_read_only) {
            return self.answered_read_only(&what, head, &mut r, world);
        }
        self.answered_since_heal += 1;
        if let Some(conn) = &mut self.conn {
            world.history.shows(conn.server, head.zxid, shown_at)?;
            let epoch = head.zxid.epoch();
            world.counts.connections_kept += u64::from(conn.epoch != 0 && conn.epoch < epoch);
            conn.epoch = epoch;
        }
        match what {
            Asked::SetWatches => {
                self.seen.reply(world.history, head.zxid)?;
                self.watches.back(world.history, head.zxid)
            }
            Asked::Of(request) => self
                .answered(&request, head, asked_at, &mut r, world)
                .map_err(|Violation(why)| Violation(format!("{why} ({request:?}, {head:?})"))),
        }
    }

    fn answered(
        &mut self,
        request: &Request,
        head: Head,
        asked_at: Zxid,
        r: &mut Reader<'_>,
        world: &mut Surroundings<'_>,
    ) -> Checked {
        let session = self.session.expect("greeted").id;
        self.may_be_global_now(world);
        match request {
            // Nobody else knew of it, and a session that may not become global owns nothing: there is no transaction.
            Request::CloseSession if self.session.is_some_and(|session| session.is_local) => {}
            Request::Write(_) if head.err == EPHEMERAL_ON_LOCAL_SESSION => {
                demand(world.options.local_sessions.enabled, || format!("{head:?}: there are no local sessions"))?;
            }
            Request::Write(_) | Request::CloseSession => {
                if matches!(request, Request::Write(WriteOp::Reconfig { .. })) {
                    world.counts.reconfigs_refused += u64::from(head.err != 0);
                }
                if self.seen.write(world.history, session, head, asked_at)?.is_some() {
                    world.counts.writes_acknowledged += 1;
                    if let Some(conn) = self.conn.as_ref().filter(|_| head.err == 0) {
                        world.history.owners.wrote(session, conn.socket, head.zxid)?;
                    }
                }
            }
            Request::Sync { .. } => {
                world.counts.syncs += 1;
                self.seen.synced(asked_at);
            }
            Request::Get { .. } | Request::Exists { .. } | Request::Children { .. } => {}
        }
        self.seen.reply(world.history, head.zxid)?;
        self.watches.reply(world.history, head.zxid)?;
        check_read(world.history, request, head, r)?;
        match request {
            Request::Get { path, watch: true } if head.err == 0 => self.watches.register(Kind::Data, path, head.zxid),
            Request::Exists { path, watch: true } => {
                let kind = if head.err == 0 { Kind::Data } else { Kind::Exist };
                self.watches.register(kind, path, head.zxid);
            }
            Request::Children { path, watch: true } if head.err == 0 => {
                self.watches.register(Kind::Child, path, head.zxid);
            }
            Request::CloseSession => {
                self.end_session();
                self.leave(world);
            }
            _ => {}
        }
        Ok(())
    }

    /// A local session becomes known to all with its first ephemeral.
    fn may_be_global_now(&mut self, world: &mut Surroundings<'_>) {
        let upgraded = self.session.as_mut().filter(|session| session.is_local);
        if let Some(session) = upgraded.filter(|session| world.history.znodes.is_alive(session.id)) {
            session.is_local = false;
            world.counts.sessions_upgraded += 1;
        }
    }

    /// A server without a leader writes nothing. What it shows is what was committed, or beyond it what it found on its disk.
    fn answered_read_only(
        &mut self,
        what: &Asked,
        head: Head,
        r: &mut Reader<'_>,
        world: &mut Surroundings<'_>,
    ) -> Checked {
        world.counts.replies_read_only += 1;
        let Asked::Of(request) = what else { return Ok(()) };
        match request {
            Request::Write(_) | Request::Sync { .. } => {
                demand(head.err == NOT_READ_ONLY, || format!("a read-only server answers {head:?} ({request:?})"))
            }
            Request::CloseSession => {
                self.leave(world);
                Ok(())
            }
            _ if !world.history.is_committed(head.zxid) => Ok(()),
            _ => check_read(world.history, request, head, r)
                .map_err(|Violation(why)| Violation(format!("a read-only server: {why} ({request:?}, {head:?})"))),
        }
    }
}
