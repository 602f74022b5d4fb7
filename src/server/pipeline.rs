//! In which order the requests of one connection are carried out: as they came. A write is handed to the ensemble
//! thread at once; a read or a sync behind it waits until the write is answered. A write behind reads that wait goes ahead of
//! them (`overtaking.rs`). Behind everything else that waits, and behind a sync, everything waits.

use super::connection::{self, Connection, Phase, Submitted, Waiting};
use super::fetch_ahead;
use super::read_only::needs_leader;
use super::stages::Way;
use super::throttle::is_never_overdue;
use super::worker::Worker;
use crate::message::lane::Submit;
use crate::message::{ReadOp, WriteOp};
use crate::observe::Counter;
use crate::tree::View;
use crate::types::{ErrorCode, Instant, OpCode, Operation, Xid, Zxid};
use crate::wire::client::response;
use crate::wire::client::{Header, Refusal, Request, decode, decode_header};
use crate::wire::frame::{self, FirstFrame, Frame};

impl Worker {
    /// Carries out the whole frames at the start of `bytes`, as far as the connection takes them; says how many bytes are
    /// done with.
    pub(super) fn consume(&mut self, conn: &mut Connection, bytes: &[u8], view: View<'_>) -> usize {
        let (mut used, mut fetched) = (0, 0);
        while self.takes_input(conn) {
            let rest = &bytes[used..];
            // Behind a write they are answered later, and looked at then.
            if fetched == 0 && conn.phase == Phase::Established && conn.in_flight.is_empty() {
                fetched = fetch_ahead::of_frames(rest, self.rules.frame_bytes_max, view);
            }
            fetched = fetched.saturating_sub(1);
            let frame = match conn.phase {
                Phase::Greeting => match frame::first_frame(rest, self.rules.frame_bytes_max) {
                    Ok(FirstFrame::Word(word)) => {
                        self.ask(conn, word, &rest[word.len()..]);
                        return bytes.len();
                    }
                    Ok(FirstFrame::Frame(frame)) => Ok(frame),
                    Err(error) => Err(error),
                },
                _ => frame::next_frame(rest, self.rules.frame_bytes_max),
            };
            match frame {
                Ok(Frame::Whole(payload)) => {
                    used += payload.end;
                    self.take_frame(conn, &rest[payload], view);
                }
                Ok(Frame::Short { .. }) => break,
                Err(error) => {
                    tracing::warn!("closing {}: {error}", conn.peer);
                    self.end(conn);
                }
            }
        }
        self.release_large(conn);
        if conn.phase == Phase::Ending { bytes.len() } else { used }
    }

    fn take_frame(&mut self, conn: &mut Connection, payload: &[u8], view: View<'_>) {
        if conn.phase == Phase::Greeting {
            return self.greet(conn, payload, view);
        }
        conn.traffic.packets_received += 1;
        self.metrics.packets_received(1);
        if !self.admits_large(conn, payload.len()) {
            return self.end(conn);
        }
        let Ok(header) = decode_header(payload) else { return self.end(conn) };
        self.stages.arrived(Operation::of(op_code(header.op)));
        let at_once = matches!(OpCode::from_code(header.op), Some(OpCode::Auth | OpCode::Sasl));
        let waits = !conn.waiting.is_empty() || must_wait(conn, header.op);
        if (waits && !at_once) || !self.carry_out(conn, header, false, view) {
            conn.waiting_bytes += payload.len();
            let (op, payload, ids, since) = (header.op, payload.into(), conn.ids.clone(), self.arrived);
            conn.waiting.push_back(Waiting::Request(connection::Request { op, payload, ids, since }));
            if is_write(op) {
                self.hand_over_waiting(conn, view);
            }
        }
    }

    /// Goes on with what waited, as far as the writes before it are answered and the output has room.
    pub(super) fn carry_out_waiting(&mut self, conn: &mut Connection, view: View<'_>) {
        fetch_ahead::of_waiting(&conn.waiting, view);
        while !conn.out.is_much() && self.carry_out_next(conn, view) {}
        self.hand_over_waiting(conn, view);
        self.release_large(conn);
    }

    /// False if nothing waits that may be carried out.
    pub(super) fn carry_out_next(&mut self, conn: &mut Connection, view: View<'_>) -> bool {
        if conn.phase != Phase::Established {
            return false;
        }
        if !matches!(conn.waiting.front(), Some(Waiting::Request(next)) if !must_wait(conn, next.op)) {
            return false;
        }
        let Some(Waiting::Request(mut request)) = conn.waiting.pop_front() else { unreachable!("just seen") };
        let is_done = self.carry_out_kept(conn, &mut request, false, view);
        if !is_done {
            conn.waiting.push_front(Waiting::Request(request));
        }
        is_done
    }

    /// As `carry_out`, for one that was kept and is not among those that wait any more.
    pub(super) fn carry_out_kept(
        &mut self,
        conn: &mut Connection,
        request: &mut connection::Request,
        overtakes: bool,
        view: View<'_>,
    ) -> bool {
        self.arrived = request.since;
        std::mem::swap(&mut conn.ids, &mut request.ids);
        let header = decode_header(&request.payload);
        let is_done = header.map_or(true, |header| self.carry_out(conn, header, overtakes, view));
        std::mem::swap(&mut conn.ids, &mut request.ids);
        self.arrived = self.now.mono;
        if is_done {
            conn.waiting_bytes -= request.payload.len();
        }
        is_done
    }

    /// False: it is answered here, but has to wait for the answers to those before it. `overtakes`: reads that wait.
    fn carry_out(&mut self, conn: &mut Connection, header: Header<'_>, overtakes: bool, view: View<'_>) -> bool {
        let (xid, since) = (header.xid, self.arrived);
        let decoded = decode(header.op, header.body);
        let needs_leader = conn.read_only && OpCode::from_code(header.op).is_some_and(needs_leader);
        let is_undecodable = matches!(decoded, Err(Refusal::Undecodable(_)));
        let is_overdue = conn.overdue && decoded.as_ref().is_ok_and(|request| !is_never_overdue(request));
        // Refused here, a write is none any more and has no place among those in flight.
        if (needs_leader || is_undecodable || is_overdue) && (overtakes || has_unanswered(conn)) {
            return false;
        }
        if needs_leader {
            self.refuse_as_read_only(conn, &header, view);
            return true;
        }
        if is_overdue {
            self.metrics.count(Counter::ThrottledOps);
            response::error(conn.out.tail(), xid, view.last_zxid(), ErrorCode::ThrottledOp);
            self.replied(conn, op_code(header.op), xid, view.last_zxid(), since);
            self.stages.answered(Operation::of(op_code(header.op)), since, self.ordered_micros(), &Way::Here);
            return true;
        }
        let exempt = matches!(decoded, Ok(Request::Auth(_) | Request::Sasl { .. }));
        if !exempt && !self.rules.auth.is_satisfied_by(&conn.ids) {
            response::error(conn.out.tail(), xid, Zxid::ZERO, ErrorCode::SessionClosedRequireSaslAuth);
            self.end(conn);
            return true;
        }
        match decoded {
            Ok(Request::Read(ReadOp::Sync { path })) if self.rules.replicated => {
                let (from, session, path) = (self.conn_ref(conn.id), conn.session, path.map(str::to_owned));
                self.lane.submit(Submit::Sync { from, session, xid, path });
                self.submitted(conn, OpCode::Sync);
            }
            Ok(Request::Read(op)) => self.read(conn, xid, &op, view),
            Ok(Request::Write(op)) => self.write(conn, xid, op_code(header.op), op, overtakes),
            Ok(Request::Auth(packet)) => {
                self.auth(conn, xid, &packet);
                self.stages.answered(Operation::Other, since, self.ordered_micros(), &Way::Here);
            }
            Ok(Request::Sasl { .. }) => {
                self.sasl(conn, xid);
                self.stages.answered(Operation::Other, since, self.ordered_micros(), &Way::Here);
            }
            Ok(Request::CloseSession) => {
                let from = self.conn_ref(conn.id);
                self.lane.submit(Submit::CloseSession { from, session: conn.session, xid });
                self.submitted(conn, OpCode::CloseSession);
            }
            Err(Refusal::Undecodable(error)) => {
                tracing::debug!("{}: {error}", conn.peer);
                let zxid = view.last_zxid();
                response::error(conn.out.tail(), xid, zxid, ErrorCode::MarshallingError);
                let op = if is_write(header.op) { OpCode::Error } else { op_code(header.op) };
                self.replied(conn, op, xid, zxid, since);
                self.stages.answered(Operation::of(op_code(header.op)), since, self.ordered_micros(), &Way::Here);
            }
            Err(Refusal::UnknownOp(_)) => {
                response::unknown_op(conn.out.tail(), xid);
                self.end(conn);
            }
            Err(Refusal::HangUp(error)) => {
                tracing::warn!("closing {}: {error}", conn.peer);
                self.end(conn);
            }
        }
        true
    }

    fn write(&mut self, conn: &mut Connection, xid: Xid, op: OpCode, write: WriteOp, overtakes: bool) {
        let (from, session, ids) = (self.conn_ref(conn.id), conn.session, conn.ids.clone());
        conn.overtook += usize::from(overtakes);
        self.lane.submit(Submit::Write { from, session, xid, op: write, ids, overtakes });
        self.submitted(conn, op);
    }

    fn submitted(&mut self, conn: &mut Connection, op: OpCode) {
        let ordered_micros = self.ordered_micros();
        conn.in_flight.push_back(Submitted { op, ordered_micros, since: self.arrived });
        self.outstanding += 1;
    }

    /// How long the request that is being carried out has waited for those before it on its connection.
    pub(super) fn ordered_micros(&self) -> u32 {
        u32::try_from(self.now.mono.micros_since(self.arrived)).unwrap_or(u32::MAX)
    }

    /// Books a reply that is in `out`.
    pub(super) fn replied(&mut self, conn: &mut Connection, op: OpCode, xid: Xid, zxid: Zxid, since: Instant) {
        self.sent_reply(conn);
        let latency_ms = conn.traffic.answered(op, xid, zxid, since, self.now.mono);
        if op != OpCode::Ping {
            self.metrics.request_latency(latency_ms);
        }
    }

    /// Books a packet that is in `out` and all there is to book: the answer to an auth or sasl packet.
    pub(super) fn sent_reply(&mut self, conn: &mut Connection) {
        conn.traffic.packets_sent += 1;
        self.metrics.packets_sent(1);
    }
}

/// A request waits for the answers to those before it, unless it is a write behind writes: they are answered in the order of
/// their transactions. When a sync is answered depends on other servers, so nothing overtakes it, and it overtakes nothing.
fn must_wait(conn: &Connection, op: i32) -> bool {
    has_unanswered(conn) && (!is_write(op) || is_behind_sync(conn))
}

/// Something before the first that waits is not answered; what has overtaken it comes behind it.
fn has_unanswered(conn: &Connection) -> bool {
    conn.in_flight.len() > conn.overtook
}

pub(super) fn is_behind_sync(conn: &Connection) -> bool {
    conn.in_flight.iter().any(|submitted| submitted.op == OpCode::Sync)
}

pub(super) fn is_write(op: i32) -> bool {
    matches!(
        OpCode::from_code(op),
        Some(
            OpCode::Create
                | OpCode::Create2
                | OpCode::CreateContainer
                | OpCode::CreateTtl
                | OpCode::Delete
                | OpCode::SetData
                | OpCode::SetAcl
                | OpCode::Multi
                | OpCode::Reconfig
                | OpCode::CloseSession
        )
    )
}

fn op_code(op: i32) -> OpCode {
    OpCode::from_code(op).unwrap_or(OpCode::Error)
}
