//! Two servers driven in lockstep: what goes to one goes byte for byte to the other.
//!
//! Owns the sessions (each a connection to either server), sends bursts, collects everything that comes back on
//! every connection and hands both sides to `compare.rs`. What to send is `plan.rs`.
//!
//! Why this is deterministic: only one session writes at a time; after its last reply every other session pings,
//! and a ping's reply follows all events of transactions before it. So for each connection the whole sequence of
//! frames has to be the same on both servers.

use std::io;

use super::compare::{self, Mapping};
use crate::client::{Connection, Hello, Welcome, password_of};
use crate::codec::{self, Frame, Op, op};
use crate::process::Server;

/// What a connection said until its last expected reply.
pub type Heard = Vec<Frame>;

/// Whether the order of neighbouring events is promised.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Events {
    InOrder,
    AsSet,
}

pub struct Session {
    pub connections: Option<[Connection; 2]>,
    pub ids: [i64; 2],
    pub timeout_ms: i32,
}

pub struct Pair {
    pub servers: [Server; 2],
    pub sessions: Vec<Session>,
    pub maps: [Mapping; 2],
    sessions_made: i64,
    /// The greatest zxid seen in a reply (they are the same on both sides, or the run has ended).
    pub last_zxid: i64,
    pub ops_done: u64,
    pub frames_compared: u64,
}

fn lost(side: usize) -> impl Fn(io::Error) -> String {
    move |e| format!("{}: no answer: {e}", ["left", "right"][side])
}

impl Pair {
    pub fn new(servers: [Server; 2]) -> Pair {
        let maps = [Mapping::new(), Mapping::new()];
        Pair { servers, sessions: Vec::new(), maps, sessions_made: 0, last_zxid: 0, ops_done: 0, frames_compared: 0 }
    }

    /// Opens a connection to both and says the same hello, with each server's own id and password.
    pub fn shake_hands(&mut self, hellos: &[Hello; 2]) -> Result<([Connection; 2], Option<[Welcome; 2]>), String> {
        let mut answers = Vec::new();
        let mut connections = Vec::new();
        for (side, hello) in hellos.iter().enumerate() {
            let mut connection = Connection::open(self.servers[side].address()).map_err(lost(side))?;
            answers.push(connection.shake_hands(hello).map_err(lost(side))?);
            connections.push(connection);
        }
        compare::welcomes(&answers[0], &answers[1])?;
        self.ops_done += 1;
        let connections = <[Connection; 2]>::try_from(connections).unwrap_or_else(|_| unreachable!("two sides"));
        match (answers.remove(0), answers.remove(0)) {
            (Some(left), Some(right)) => Ok((connections, Some([left, right]))),
            _ => Ok((connections, None)),
        }
    }

    /// A new session in the given slot.
    pub fn open_session(&mut self, slot: usize, hello: &Hello) -> Result<(), String> {
        let (connections, welcomes) = self.shake_hands(&[hello.clone(), hello.clone()])?;
        let welcomes = welcomes.filter(|w| w[0].session_id != 0).ok_or("a new session was refused")?;
        self.sessions_made += 1;
        for (map, welcome) in self.maps.iter_mut().zip(&welcomes) {
            map.session(welcome.session_id, self.sessions_made);
        }
        let ids = [welcomes[0].session_id, welcomes[1].session_id];
        let session = Session { connections: Some(connections), ids, timeout_ms: hello.timeout_ms };
        if slot == self.sessions.len() {
            self.sessions.push(session);
        } else {
            self.sessions[slot] = session;
        }
        Ok(())
    }

    /// Attaches the slot's session to a new connection; the old one, if it is still there, has to be closed by the server.
    pub fn reattach(&mut self, slot: usize, hello: &Hello) -> Result<(), String> {
        let ids = self.sessions[slot].ids;
        let hellos = ids.map(|id| Hello { session_id: id, password: Some(password_of(id)), ..hello.clone() });
        let (connections, welcomes) = self.shake_hands(&hellos)?;
        let welcomes = welcomes.ok_or("a session with the right password was turned away")?;
        if (0..2).any(|side| welcomes[side].session_id != ids[side]) {
            return Err(format!("a live session was refused: {welcomes:?}"));
        }
        self.sessions[slot].timeout_ms = hello.timeout_ms;
        if let Some(old) = self.sessions[slot].connections.replace(connections) {
            self.expect_closed(old)?;
        }
        Ok(())
    }

    fn expect_closed(&mut self, connections: [Connection; 2]) -> Result<(), String> {
        for (side, mut connection) in connections.into_iter().enumerate() {
            match connection.next_frame().map_err(lost(side))? {
                None => {}
                Some(frame) => {
                    let side = ["left", "right"][side];
                    return Err(format!(
                        "{side}: the old connection was not closed, it said {:?}",
                        codec::decode_frame(&frame, None)
                    ));
                }
            }
        }
        Ok(())
    }

    /// Ends both connections of a session, without closing the session, and waits until the servers know.
    pub fn hang_up(&mut self, slot: usize) -> Result<(), String> {
        let connections = self.sessions[slot].connections.take().ok_or("the session is not connected")?;
        for (side, connection) in connections.into_iter().enumerate() {
            connection.hang_up().map_err(lost(side))?;
        }
        Ok(())
    }

    /// One write with all requests of one session, then all its replies, then a barrier for the other sessions.
    /// Returns what the left server said.
    pub fn burst(&mut self, slot: usize, requests: &[(i32, Op)]) -> Result<Heard, String> {
        let heard = self.bursts(&[(slot, requests)], Events::InOrder)?.remove(0);
        self.barrier(slot, Events::InOrder)?;
        Ok(heard)
    }

    /// The bursts of several sessions at once; without a barrier, so only reads keep this deterministic.
    pub fn bursts(&mut self, bursts: &[(usize, &[(i32, Op)])], events: Events) -> Result<Vec<Heard>, String> {
        for (slot, requests) in bursts {
            let connections = self.sessions[*slot].connections.as_mut().ok_or("the session is not connected")?;
            let bodies: Vec<Vec<u8>> = requests.iter().map(|(_, op)| op.body()).collect();
            for (side, connection) in connections.iter_mut().enumerate() {
                for ((xid, op), body) in requests.iter().zip(&bodies) {
                    connection.push_request(*xid, op.opcode(), body);
                }
                connection.flush().map_err(lost(side))?;
            }
        }
        let mut all = Vec::new();
        for (slot, requests) in bursts {
            let opcodes: Vec<i32> = requests.iter().map(|(_, op)| op.opcode()).collect();
            all.push(self.collect(*slot, &opcodes, events).map_err(|e| explain(e, *slot, requests))?);
            self.ops_done += requests.len() as u64;
        }
        Ok(all)
    }

    /// Sends a frame that ends the connection; both servers have to say the same before they close.
    pub fn last_words(&mut self, slot: usize, bytes: &[u8], opcode: i32) -> Result<Heard, String> {
        // The ephemerals of a closed session go in no promised order.
        let events = if opcode == op::CLOSE_SESSION { Events::AsSet } else { Events::InOrder };
        let connections = self.sessions[slot].connections.as_mut().ok_or("the session is not connected")?;
        for (side, connection) in connections.iter_mut().enumerate() {
            connection.push_bytes(bytes);
            connection.flush().map_err(lost(side))?;
        }
        let heard = self.collect(slot, &[opcode, opcode], events)?;
        self.ops_done += 1;
        if heard.last() != Some(&Frame::Closed) {
            return Err(format!("the connection was to be closed, but both said {heard:?}"));
        }
        self.sessions[slot].connections = None;
        self.barrier(slot, events)?;
        Ok(heard)
    }

    /// Pings on every other session: all events sent so far come before the reply.
    fn barrier(&mut self, except: usize, events: Events) -> Result<(), String> {
        let ping = [(-2, Op::Bare { opcode: op::PING })];
        let others =
            (0..self.sessions.len()).filter(|slot| *slot != except && self.sessions[*slot].connections.is_some());
        let pings: Vec<_> = others.map(|slot| (slot, &ping[..])).collect();
        let ops_before = self.ops_done;
        self.bursts(&pings, events)?;
        self.ops_done = ops_before;
        Ok(())
    }

    fn collect(&mut self, slot: usize, opcodes: &[i32], events: Events) -> Result<Heard, String> {
        let connections = self.sessions[slot].connections.as_mut().ok_or("the session is not connected")?;
        let mut heard: [Heard; 2] = [Vec::new(), Vec::new()];
        for side in 0..2 {
            let partial =
                |e, said: &Heard| format!("{} (after {} frames, last {:?})", lost(side)(e), said.len(), said.last());
            listen(&mut connections[side], opcodes, &mut heard[side]).map_err(|e| partial(e, &heard[side]))?;
        }
        self.frames_compared += heard[0].len() as u64;
        compare::frames(&mut self.maps, &heard[0], &heard[1], events == Events::AsSet)?;
        let zxids = heard[0].iter().filter_map(|frame| match frame {
            Frame::Reply { zxid, .. } => Some(*zxid),
            _ => None,
        });
        self.last_zxid = zxids.fold(self.last_zxid, i64::max);
        Ok(std::mem::take(&mut heard[0]))
    }
}

fn explain(difference: String, slot: usize, requests: &[(i32, Op)]) -> String {
    let mut text = format!("requests of session {slot} in this burst:");
    for (nth, (xid, op)) in requests.iter().enumerate() {
        text.push_str(&format!("\n  {nth}: xid {xid} {op:?}"));
    }
    format!("{text}\nsession {slot}: {difference}")
}

fn listen(connection: &mut Connection, opcodes: &[i32], heard: &mut Heard) -> io::Result<()> {
    let mut replies = 0;
    while replies < opcodes.len() {
        let Some(bytes) = connection.next_frame()? else {
            heard.push(Frame::Closed);
            break;
        };
        if !codec::is_event(&bytes) {
            replies += 1;
        }
        heard.push(codec::decode_frame(&bytes, opcodes.get(replies.wrapping_sub(1)).copied()));
    }
    Ok(())
}
