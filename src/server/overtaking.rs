//! Writes that are handed over ahead of reads before them, so that not every change from writing to reading costs a flush. The
//! reads are answered from the state right before the write that has overtaken them, which the ensemble thread keeps for them
//! (`Reply::Overtaken`), whether or not the client reads: so there are limits to what is overtaken.

use super::connection::{Connection, Phase, Request, Waiting};
use super::pipeline::{is_behind_sync, is_write};
use super::worker::Worker;
use crate::tree::View;
use crate::types::OpCode;
use crate::types::limits::CONNECTION_OUTPUT_BYTES_MAX;
use crate::wire::client::path_of_read;

/// So many reads a write may overtake.
const OVERTAKEN_MAX: usize = 32;
/// What their answers may come to, bytes.
const ANSWERS_BYTES_MAX: usize = CONNECTION_OUTPUT_BYTES_MAX / 2;
/// Of a name in a list of children, roughly.
const NAME_BYTES: usize = 64;

impl Worker {
    /// Hands over the writes that wait behind nothing but reads. Each leaves its place among them.
    pub(super) fn hand_over_waiting(&mut self, conn: &mut Connection, view: View<'_>) {
        let mut overtaken = Overtaken::default();
        let mut at = 0;
        while may_overtake(conn)
            && let Some(waiting) = conn.waiting.get(at)
        {
            if let Waiting::Request(request) = waiting {
                let goes_on = match is_write(request.op) {
                    true => self.hand_over(conn, at, view),
                    false => overtaken.takes(request, self.rules.frame_bytes_max, view),
                };
                if !goes_on {
                    return;
                }
            }
            at += 1;
        }
    }

    /// False: it stays where it is.
    fn hand_over(&mut self, conn: &mut Connection, at: usize, view: View<'_>) -> bool {
        let Waiting::Request(mut request) = std::mem::replace(&mut conn.waiting[at], Waiting::Overtook) else {
            unreachable!("just seen");
        };
        let is_done = request.op != OpCode::CloseSession.code() && self.carry_out_kept(conn, &mut request, true, view);
        if !is_done {
            conn.waiting[at] = Waiting::Request(request);
        }
        is_done
    }

    /// Carries out the reads that a write has overtaken, before that write is answered.
    pub(super) fn carry_out_overtaken(&mut self, conn: &mut Connection, view: View<'_>) {
        while self.carry_out_next(conn, view) {
            if conn.out.is_too_much() {
                return self.end(conn);
            }
        }
    }
}

fn may_overtake(conn: &Connection) -> bool {
    conn.phase == Phase::Established
        && !conn.in_flight.is_empty()
        && !conn.out.is_much()
        // When a sync is answered depends on other servers.
        && !is_behind_sync(conn)
}

/// What a write would overtake.
#[derive(Default)]
struct Overtaken {
    reads: usize,
    answers_bytes: usize,
}

impl Overtaken {
    /// Adds a read. False: it is to be overtaken by nothing, or there are too many.
    fn takes(&mut self, request: &Request, data_bytes_max: usize, view: View<'_>) -> bool {
        let Some(bytes) = answer_bytes(request, data_bytes_max, view) else { return false };
        self.reads += 1;
        self.answers_bytes = self.answers_bytes.saturating_add(bytes);
        self.reads <= OVERTAKEN_MAX && self.answers_bytes <= ANSWERS_BYTES_MAX
    }
}

/// What the answer to a read may come to, if it is answered from the tree and the watches alone and this can be said beforehand.
fn answer_bytes(request: &Request, data_bytes_max: usize, view: View<'_>) -> Option<usize> {
    match OpCode::from_code(request.op)? {
        OpCode::Exists
        | OpCode::GetAllChildrenNumber
        | OpCode::Ping
        | OpCode::WhoAmI
        | OpCode::AddWatch
        | OpCode::CheckWatches
        | OpCode::RemoveWatches => Some(0),
        OpCode::GetData | OpCode::GetAcl | OpCode::SetWatches | OpCode::SetWatches2 => Some(data_bytes_max),
        OpCode::GetChildren | OpCode::GetChildren2 => {
            let path = str::from_utf8(path_of_read(&request.payload)?).ok()?;
            Some(view.lookup(path).map_or(0, |node| node.child_count() as usize * NAME_BYTES))
        }
        _ => None,
    }
}
