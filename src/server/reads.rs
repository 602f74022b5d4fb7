//! Reads and the operations on watches, answered on the spot: from the pinned version, or from an earlier one that is kept for
//! them. A watch is registered at the very version that its read is answered from.

use super::connection::Connection;
use super::stages::{Answered, Way};
use super::worker::Worker;
use crate::message::{MultiReadOp, MultiReadResult, ReadOp};
use crate::observe::{Namespaced, Summary};
use crate::request::{self, ReadAnswer, user_name};
use crate::tree::View;
use crate::types::limits::CONNECTION_OUTPUT_BYTES_MAX;
use crate::types::{ErrorCode, OpCode, Operation, Xid, Zxid, path};
use crate::watch::{LastChange, WatchKind};
use crate::wire::client::response;

/// What a Stat counts for in the statistics of reads, whether or not it is sent.
const STAT_BYTES: usize = 68;

impl Worker {
    pub(super) fn read(&mut self, conn: &mut Connection, xid: Xid, op: &ReadOp<'_>, view: View<'_>) {
        let zxid = view.last_zxid();
        let bytes_before = conn.out.len();
        if let ReadOp::MultiRead { ops: Some(ops) } = op {
            let bytes = multi_read_bytes(view, ops);
            if bytes > CONNECTION_OUTPUT_BYTES_MAX {
                tracing::warn!(
                    "closing {}: one multiRead for more than {CONNECTION_OUTPUT_BYTES_MAX} bytes",
                    conn.peer
                );
                return self.end(conn);
            }
            conn.out.tail().reserve(bytes);
        }
        let answer = request::read(view, op, conn.session, &conn.ids, &self.rules.access);
        match answer {
            Some(Ok(answer)) => {
                self.watch_what_was_read(conn, op, None);
                self.count_read(op, &answer);
                append(conn.out.tail(), xid, zxid, answer);
            }
            Some(Err(error)) => {
                self.watch_what_was_read(conn, op, Some(error));
                response::error(conn.out.tail(), xid, zxid, error);
            }
            None => self.read_without_tree(conn, xid, zxid, op, view),
        }
        let (code, since, now) = (code_of(op), self.arrived, self.now.mono);
        self.replied(conn, code, xid, zxid, since);
        let bytes = conn.out.len() - bytes_before;
        self.metrics.response(bytes as u64, now.micros);
        if !matches!(op, ReadOp::Ping) {
            self.metrics.record(Summary::Readlatency, now.micros_since(since) / 1000);
        }
        let operation = Operation::of(code);
        let ordered_micros = self.ordered_micros();
        self.stages.answered(operation, since, ordered_micros, &Way::Here);
        if since < now && self.stages.is_slow(since, self.now) {
            let path = path_of(op);
            let answered = Answered { operation, session: conn.session, xid, since, ordered_micros };
            self.stages.tell_slow(answered, &Way::Here, path, self.now);
        }
    }

    /// What was read, by top-level znode.
    fn count_read(&self, op: &ReadOp<'_>, answer: &ReadAnswer<'_>) {
        let count = |path: &str, bytes: usize| {
            let bytes = path.len() + STAT_BYTES + bytes;
            self.metrics.record_for_path(Namespaced::Read, path, bytes as u64);
        };
        match (op, answer) {
            (ReadOp::Exists { path, .. }, ReadAnswer::Stat(_)) => count(path, 0),
            (ReadOp::GetData { path, .. }, ReadAnswer::Data(data, _)) => count(path, data.map_or(0, <[u8]>::len)),
            (
                ReadOp::GetChildren { path, .. } | ReadOp::GetChildren2 { path, .. },
                ReadAnswer::Children(node) | ReadAnswer::ChildrenAndStat(node),
            ) if *path != path::ROOT => count(path, node.children().map(|child| child.name().len()).sum()),
            (ReadOp::MultiRead { ops: Some(ops) }, ReadAnswer::MultiRead(answer)) => {
                for (op, entry) in ops.iter().zip(&answer.entries) {
                    let (MultiReadOp::GetData { path } | MultiReadOp::GetChildren { path }) = op;
                    let path = path.unwrap_or_default();
                    match entry {
                        MultiReadResult::Data(data, _) => count(path, data.map_or(0, <[u8]>::len)),
                        MultiReadResult::Children(names) => count(path, names.iter().map(|name| name.len()).sum()),
                        MultiReadResult::Error(_) => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// The watch that a read asks for, if it succeeded; `exists` watches a missing znode too.
    fn watch_what_was_read(&mut self, conn: &Connection, op: &ReadOp<'_>, error: Option<ErrorCode>) {
        let (path, kind) = match (op, error) {
            (ReadOp::Exists { path, watch: true }, None | Some(ErrorCode::NoNode)) => (path, WatchKind::Data),
            (ReadOp::GetData { path, watch: true }, None) => (path, WatchKind::Data),
            (ReadOp::GetChildren { path, watch: true } | ReadOp::GetChildren2 { path, watch: true }, None) => {
                (path, WatchKind::Child)
            }
            _ => return,
        };
        self.watches.add(conn.id, path, kind);
    }

    fn read_without_tree(&mut self, conn: &mut Connection, xid: Xid, zxid: Zxid, op: &ReadOp<'_>, view: View<'_>) {
        match op {
            ReadOp::Ping => response::ping(conn.out.tail(), zxid),
            ReadOp::Sync { path } => response::path(conn.out.tail(), xid, zxid, *path),
            ReadOp::WhoAmI => {
                let ids = conn.ids.clone();
                let shown = ids.iter().map(|id| (id.scheme.as_str(), user_name(id)));
                response::who_am_i(conn.out.tail(), xid, zxid, shown);
            }
            ReadOp::AddWatch { path, mode } => {
                self.watches.add(conn.id, path, (*mode).into());
                response::int(conn.out.tail(), xid, zxid, 0);
            }
            ReadOp::CheckWatches { path, kind } => {
                let found = self.watches.check(conn.id, path, *kind);
                found_or_not(conn.out.tail(), xid, zxid, found);
            }
            ReadOp::RemoveWatches { path, kind } => {
                let found = self.watches.remove(conn.id, path, *kind);
                found_or_not(conn.out.tail(), xid, zxid, found);
            }
            ReadOp::SetWatches(watches) => {
                let last_change = |path: &str| {
                    let stat = view.lookup(path)?.stat_persisted();
                    Some(LastChange { mzxid: stat.mzxid, pzxid: stat.pzxid })
                };
                self.events.clear();
                self.watches.set_watches(conn.id, watches, last_change, &mut self.events);
                for (_, event) in self.events.iter() {
                    response::notification(conn.out.tail(), event);
                }
                response::header_only(conn.out.tail(), xid, zxid, 0);
            }
            _ => unreachable!("answered from the tree"),
        }
    }
}

/// About how much a multiRead is answered with, before any of it is put together.
fn multi_read_bytes(view: View<'_>, ops: &[MultiReadOp<'_>]) -> usize {
    const PER_NAME_BYTES: usize = 24;
    let bytes_of = |op: &MultiReadOp<'_>| {
        let (MultiReadOp::GetData { path } | MultiReadOp::GetChildren { path }) = *op;
        let Some(node) = path.and_then(|path| view.lookup(path)) else { return 0 };
        match op {
            MultiReadOp::GetData { .. } => node.data().map_or(0, <[u8]>::len),
            MultiReadOp::GetChildren { .. } => node.child_count() as usize * PER_NAME_BYTES,
        }
    };
    ops.iter().map(bytes_of).fold(0, usize::saturating_add)
}

fn append(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, answer: ReadAnswer<'_>) {
    match answer {
        ReadAnswer::Stat(stat) => response::stat(out, xid, zxid, &stat),
        ReadAnswer::Data(data, stat) => response::data(out, xid, zxid, data, &stat),
        ReadAnswer::Acl(acl, stat) => response::acl(out, xid, zxid, &acl, &stat),
        ReadAnswer::Children(node) => response::names(out, xid, zxid, node.children().map(|child| child.name())),
        ReadAnswer::ChildrenAndStat(node) => {
            response::names_and_stat(out, xid, zxid, node.children().map(|child| child.name()), &node.stat());
        }
        ReadAnswer::Number(number) => response::int(out, xid, zxid, number),
        ReadAnswer::Paths(paths) => response::names(out, xid, zxid, paths),
        ReadAnswer::MultiRead(answer) => {
            let err = answer.refusal.map_or(0, ErrorCode::code);
            response::multi_read(out, xid, zxid, err, answer.entries);
        }
    }
}

fn found_or_not(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, found: bool) {
    match found {
        true => response::header_only(out, xid, zxid, 0),
        false => response::error(out, xid, zxid, ErrorCode::NoWatcher),
    }
}

/// For the log.
fn path_of<'a>(op: &ReadOp<'a>) -> Option<&'a str> {
    match op {
        ReadOp::Exists { path, .. }
        | ReadOp::GetData { path, .. }
        | ReadOp::GetAcl { path }
        | ReadOp::GetChildren { path, .. }
        | ReadOp::GetChildren2 { path, .. }
        | ReadOp::GetAllChildrenNumber { path }
        | ReadOp::AddWatch { path, .. }
        | ReadOp::CheckWatches { path, .. }
        | ReadOp::RemoveWatches { path, .. } => Some(path),
        ReadOp::GetEphemerals { prefix: path } | ReadOp::Sync { path } => *path,
        ReadOp::MultiRead { .. } | ReadOp::Ping | ReadOp::WhoAmI | ReadOp::SetWatches(_) => None,
    }
}

fn code_of(op: &ReadOp<'_>) -> OpCode {
    match op {
        ReadOp::Exists { .. } => OpCode::Exists,
        ReadOp::GetData { .. } => OpCode::GetData,
        ReadOp::GetAcl { .. } => OpCode::GetAcl,
        ReadOp::GetChildren { .. } => OpCode::GetChildren,
        ReadOp::GetChildren2 { .. } => OpCode::GetChildren2,
        ReadOp::GetAllChildrenNumber { .. } => OpCode::GetAllChildrenNumber,
        ReadOp::GetEphemerals { .. } => OpCode::GetEphemerals,
        ReadOp::MultiRead { .. } => OpCode::MultiRead,
        ReadOp::Sync { .. } => OpCode::Sync,
        ReadOp::Ping => OpCode::Ping,
        ReadOp::WhoAmI => OpCode::WhoAmI,
        ReadOp::SetWatches(_) => OpCode::SetWatches,
        ReadOp::AddWatch { .. } => OpCode::AddWatch,
        ReadOp::CheckWatches { .. } => OpCode::CheckWatches,
        ReadOp::RemoveWatches { .. } => OpCode::RemoveWatches,
    }
}
