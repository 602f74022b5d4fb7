//! Whose a session is: never two servers, or two connections, answer for one at a time. The writes of one connection never
//! fall between those of another.

use super::{Checked, demand};
use crate::sim::net::Socket;
use crate::types::{SessionId, Zxid};
use std::collections::BTreeMap;

/// First and last write that was answered over each connection.
#[derive(Default)]
pub struct Owners {
    written: BTreeMap<SessionId, BTreeMap<Socket, (Zxid, Zxid)>>,
}

impl Owners {
    /// A write of this session was answered, as done, over this connection.
    pub fn wrote(&mut self, session: SessionId, over: Socket, zxid: Zxid) -> Checked {
        let connections = self.written.entry(session).or_default();
        let (first, last) = connections.entry(over).or_insert((zxid, zxid));
        (*first, *last) = (zxid.min(*first), zxid.max(*last));
        let (first, last) = (*first, *last);
        for (other, (others_first, others_last)) in connections.iter().filter(|(other, _)| **other != over) {
            demand(last < *others_first || *others_last < first, || {
                format!(
                    "session {session} is held by two: {over:?} wrote {first} to {last}, \
                     {other:?} wrote {others_first} to {others_last}"
                )
            })?;
        }
        Ok(())
    }
}
