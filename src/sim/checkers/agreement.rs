//! The one history, as an onlooker pieces it together from what servers show to clients.

use super::logged::{Entries, Logged};
use super::owners::Owners;
use super::znodes::Znodes;
use super::{Checked, Violation, demand};
use crate::message::{Txn, TxnBody};
use crate::sim::net::Socket;
use crate::types::{SessionId, Zxid};
use crate::wire::txn;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A transaction that was shown to somebody.
pub struct Committed {
    pub txn: Txn,
    entry: Arc<[u8]>,
}

/// What a server shows at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub server: usize,
    pub zxid: Zxid,
    pub digest: u64,
}

#[derive(Default)]
pub struct History {
    committed: BTreeMap<Zxid, Committed>,
    digests: BTreeMap<Zxid, u64>,
    pub znodes: Znodes,
    /// Who leads each epoch.
    leaders: BTreeMap<u32, usize>,
    java_leads: BTreeSet<u32>,
    /// The last transaction that was acknowledged to anybody.
    pub acknowledged: Zxid,
    /// The newest state that each server has shown in a reply.
    shown_by: BTreeMap<usize, Zxid>,
    owners: Owners,
    pub logged: Logged,
}

impl History {
    pub fn last(&self) -> Zxid {
        self.committed.last_key_value().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    pub fn len(&self) -> usize {
        self.committed.len()
    }

    pub fn bodies(&self) -> impl Iterator<Item = &TxnBody> {
        self.committed.values().map(|committed| &committed.txn.body)
    }

    /// All that there was at the beginning, too.
    pub fn is_committed(&self, zxid: Zxid) -> bool {
        zxid == Zxid::ZERO || self.committed.contains_key(&zxid)
    }

    pub fn shown_by(&self, server: usize) -> Zxid {
        self.shown_by.get(&server).copied().unwrap_or(Zxid::ZERO)
    }

    /// A reply of a server shows `zxid`; when it was asked for, that server had shown `before` to somebody. Among those that
    /// talk to one server nobody sees an older state than others were told of before.
    pub fn shows(&mut self, server: usize, zxid: Zxid, before: Zxid) -> Checked {
        demand(zxid >= self.settled(before), || {
            format!("server {server} answers from {zxid} what was asked for after it had shown {before}")
        })?;
        let newest = self.shown_by.entry(server).or_insert(zxid);
        *newest = zxid.max(*newest);
        Ok(())
    }

    /// A server that serves clients shows another version than before, when it showed `before`.
    /// `history_after` says what it has behind a zxid, `None` when that is not all at hand.
    pub fn shown(
        &mut self,
        history_after: impl FnOnce(Zxid) -> Option<Entries>,
        before: Zxid,
        shown: Shown,
    ) -> Checked {
        let Shown { server, zxid, digest } = shown;
        demand(zxid >= before, || format!("server {server} shows {zxid}, and once showed {before}"))?;
        let known_through = self.last();
        let from = before.min(known_through);
        let (from, entries): (Zxid, Entries) = match history_after(from) {
            Some(entries) => (from, entries),
            // Right after a start or a snapshot: more than is kept for learners.
            None if zxid > known_through => {
                let lineage = self.logged.lineage(known_through, zxid);
                let unknown = |missing| format!("server {server} shows {zxid}, and nobody has ever logged {missing}");
                (known_through, lineage.map_err(|missing| Violation(unknown(missing)))?)
            }
            // Behind a snapshot the digest alone tells.
            None => (from, Entries::new()),
        };
        let entries: Entries = entries.into_iter().take_while(|(entry, _)| *entry <= zxid).collect();
        self.compare(server, from, &entries)?;
        for (entry_zxid, entry) in entries {
            if entry_zxid > known_through {
                self.commit(server, entry_zxid, entry)?;
            }
        }
        demand(zxid == Zxid::ZERO || self.committed.contains_key(&zxid), || {
            format!("server {server} shows {zxid}, which was never committed; the last that was is {}", self.last())
        })?;
        let known = *self.digests.entry(zxid).or_insert(digest);
        demand(known == digest, || {
            format!("server {server} has digest {digest:#x} at {zxid}, where another has {known:#x}")
        })
    }

    /// What a server has in its history behind `from` is what was committed: nothing else, nothing missing.
    fn compare(&self, server: usize, from: Zxid, entries: &Entries) -> Checked {
        let Some((last, _)) = entries.last() else { return Ok(()) };
        let mut known = self.committed.range((std::ops::Bound::Excluded(from), std::ops::Bound::Included(*last)));
        for (zxid, entry) in entries {
            match known.next() {
                None => return Ok(()),
                Some((expected, committed)) if expected == zxid && committed.entry == *entry => {}
                Some((expected, committed)) => {
                    let txn = txn::decode(entry);
                    return Err(Violation(format!(
                        "server {server} shows {zxid} ({txn:?}) where {expected} ({:?}) was committed",
                        committed.txn
                    )));
                }
            }
        }
        match known.next() {
            None => Ok(()),
            Some((zxid, _)) => Err(Violation(format!("server {server} shows {last} and lacks {zxid}"))),
        }
    }

    fn commit(&mut self, server: usize, zxid: Zxid, entry: Arc<[u8]>) -> Checked {
        let last = self.last();
        let follows =
            if last.epoch() == zxid.epoch() { zxid == last.next() } else { zxid > last && zxid.counter() == 1 };
        demand(follows, || format!("server {server} commits {zxid} behind {last}"))?;
        let txn = txn::decode(&entry)
            .map_err(|error| Violation(format!("server {server} commits {zxid}, which is unreadable: {error}")))?;
        demand(txn.header.zxid == zxid, || format!("{zxid} says it is {}", txn.header.zxid))?;
        self.znodes.apply(&txn)?;
        if let Some(digest) = txn.digest {
            self.digests.insert(zxid, digest.tree);
        }
        self.committed.insert(zxid, Committed { txn, entry });
        Ok(())
    }

    /// The transaction that a state with this digest ends with. A snapshot for a Java server names the beginning of its epoch
    /// instead, behind all that was committed before; and behind what its leader had alone, which the digest tells.
    pub fn ends_with(&self, zxid: Zxid, digest: u64) -> Zxid {
        let settled = self.settled(zxid);
        match self.digests.get(&settled) {
            Some(known) if zxid.counter() == 0 && *known != digest => {
                self.logged.ending(zxid, digest).unwrap_or(settled)
            }
            _ => settled,
        }
    }

    /// As `ends_with`, where nothing but what was committed comes into question.
    pub fn settled(&self, zxid: Zxid) -> Zxid {
        if zxid.counter() != 0 {
            return zxid;
        }
        self.committed.range(..zxid).next_back().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    /// A Java leader has led that epoch, or one behind it.
    pub fn is_led_by_java_since(&self, epoch: u32) -> bool {
        self.java_leads.range(epoch..).next().is_some()
    }

    /// A write was answered, as done, over that connection.
    pub fn wrote(&mut self, session: SessionId, over: Socket, zxid: Zxid) -> Checked {
        match self.is_led_by_java_since(zxid.epoch()) {
            true => Ok(()),
            false => self.owners.wrote(session, over, zxid),
        }
    }

    /// Acknowledged writes stay: whoever leads has them all. One leader an epoch.
    pub fn leads(&mut self, server: usize, epoch: u32, shows: Zxid, is_java: bool) -> Checked {
        if is_java {
            self.java_leads.insert(epoch);
            // It gives a session to whichever of its connections asks last.
            self.owners = Owners::default();
        }
        let other = *self.leaders.entry(epoch).or_insert(server);
        demand(other == server, || format!("servers {other} and {server} both lead epoch {epoch:x}"))?;
        let newest = self.leaders.last_key_value().map_or(0, |(epoch, _)| *epoch);
        demand(shows >= self.last() || epoch < newest, || {
            format!("server {server} leads epoch {epoch:x} from {shows}, and {} was committed", self.last())
        })
    }

    /// Something was acknowledged to a client: whose it was, and when it asked how far acknowledgements had come.
    pub fn acknowledged(
        &mut self,
        session: SessionId,
        cxid: i32,
        zxid: Zxid,
        asked_at: Zxid,
    ) -> Result<&Txn, Violation> {
        let Some(Committed { txn, .. }) = self.committed.get(&zxid) else {
            return Err(Violation(format!("{zxid} is acknowledged to session {session} and was never committed")));
        };
        demand(txn.header.session == session && txn.header.cxid == cxid, || {
            format!("{zxid} is acknowledged to session {session} for request {cxid}, and it is {txn:?}")
        })?;
        demand(zxid > asked_at, || {
            format!("a write that was asked for after {asked_at} was acknowledged is {zxid}: not linearizable")
        })?;
        self.acknowledged = self.acknowledged.max(zxid);
        Ok(txn)
    }
}
