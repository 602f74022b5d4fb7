//! What one session sees: the tree of the one history, never an older one than before; its writes in the order it asked for
//! them; and behind a sync everything that anybody had seen when it was asked for. Writes are linearizable, and so are reads
//! behind a sync.

use super::agreement::History;
use super::znodes::Znode;
use super::{Checked, Violation, demand};
use crate::message::{Txn, TxnBody};
use crate::types::{SessionId, Stat, Zxid};
use std::collections::BTreeSet;

/// How far a session has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Newest state.
    pub zxid: Zxid,
    last_write: Zxid,
    /// Replies may not be older than this.
    synced: Zxid,
}

/// What the header of a reply says.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub xid: i32,
    pub zxid: Zxid,
    pub err: i32,
}

/// `SystemError`: the disk was full, and no transaction was made.
const SYSTEM_ERROR: i32 = -1;

impl Seen {
    /// Any reply: nobody reads backwards.
    pub fn reply(&mut self, history: &mut History, zxid: Zxid) -> Checked {
        demand(zxid >= self.zxid, || format!("a reply shows {zxid} behind one that showed {}", self.zxid))?;
        demand(zxid >= self.synced, || format!("a reply shows {zxid} behind a sync at {}", self.synced))?;
        self.zxid = zxid;
        history.acknowledged = history.acknowledged.max(zxid);
        Ok(())
    }

    /// A sync that was asked for when others had seen `asked_at` is answered.
    pub fn synced(&mut self, asked_at: Zxid) {
        self.synced = self.synced.max(asked_at);
    }

    /// A write is answered: it is in the history, in the order of this session, behind what was known when it was asked for.
    /// `None`: there is no transaction.
    pub fn write<'a>(
        &mut self,
        history: &'a mut History,
        session: SessionId,
        head: Head,
        asked_at: Zxid,
    ) -> Result<Option<&'a Txn>, Violation> {
        if head.err == SYSTEM_ERROR {
            return Ok(None);
        }
        demand(head.zxid > self.last_write, || {
            format!("a write is {} behind the same session's {}", head.zxid, self.last_write)
        })?;
        self.last_write = head.zxid;
        let txn = history.acknowledged(session, head.xid, head.zxid, asked_at)?;
        let is_as_told = match &txn.body {
            TxnBody::Error(code) => *code == head.err,
            _ => head.err == 0,
        };
        demand(is_as_told, || format!("{head:?} answers {txn:?}"))?;
        Ok(Some(txn))
    }
}

/// A znode as a reply shows it, or its absence.
pub fn check_znode(expected: Option<&Znode>, path: &str, head: Head, shown: Option<(&Stat, Option<&[u8]>)>) -> Checked {
    let wrong = |what: String| Err(Violation(format!("{path} at {}: {what}; it is {expected:?}", head.zxid)));
    match (expected, shown) {
        (None, None) => demand(head.err == -101, || format!("{path} at {}: error {}", head.zxid, head.err)),
        (Some(znode), Some((stat, data))) => {
            let owner = znode.session.map_or(0, |session| session.0);
            if (stat.czxid, stat.mzxid, stat.version) != (znode.czxid, znode.mzxid, znode.version) {
                return wrong(format!("{stat:?}"));
            }
            if stat.ephemeral_owner != owner {
                return wrong(format!("owned by {:x}", stat.ephemeral_owner));
            }
            match data {
                Some(data) if data != znode.data.as_deref().unwrap_or_default() => wrong(format!("{data:?}")),
                _ => Ok(()),
            }
        }
        (_, shown) => wrong(format!("error {}, {shown:?}", head.err)),
    }
}

pub fn check_children(history: &History, path: &str, head: Head, shown: &[&str]) -> Checked {
    let expected: BTreeSet<&str> = history.znodes.children_at(path, head.zxid).collect();
    let shown: BTreeSet<&str> = shown.iter().copied().collect();
    demand(shown == expected, || format!("{path} at {} has children {shown:?}; they are {expected:?}", head.zxid))
}
