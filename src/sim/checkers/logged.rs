//! Every transaction that any server ever wrote to its log, as it was written. A server that shows what came to it by a snapshot
//! is held to this record: the logs themselves may be gone by then, replaced by that snapshot everywhere.

use super::{Checked, Violation, demand};
use crate::storage::txnlog_format::{HEADER_BYTES, Parsed, parse_record};
use crate::types::Zxid;
use crate::wire::txn;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Transactions in order, each as it stands in a log.
pub type Entries = Vec<(Zxid, Arc<[u8]>)>;

#[derive(Default)]
pub struct Logged {
    entries: BTreeMap<Zxid, Arc<[u8]>>,
    /// What the first transaction of an epoch follows: where its leader's history ended when it began to lead.
    began: BTreeMap<u32, Zxid>,
}

impl Logged {
    /// What a server has written into a log file, whole records. Whoever writes a zxid writes the same under it: one leader an
    /// epoch has given it out, once.
    pub fn written(&mut self, server: usize, offset: u64, bytes: &[u8]) -> Checked {
        let mut rest = if offset == 0 { bytes.get(HEADER_BYTES..).unwrap_or_default() } else { bytes };
        while let Parsed::Record { entry, framed_bytes } = parse_record(rest, rest.len() as u64) {
            self.entry(server, entry)?;
            rest = &rest[framed_bytes..];
        }
        demand(rest.is_empty(), || format!("server {server} writes {} bytes to its log that are no record", rest.len()))
    }

    pub fn entry(&mut self, server: usize, entry: &[u8]) -> Checked {
        let zxid = txn::decode_zxid(entry)
            .map_err(|error| Violation(format!("server {server} logs what is no transaction: {error}")))?;
        let known = self.entries.entry(zxid).or_insert_with(|| entry.into());
        demand(**known == *entry, || format!("server {server} logs another transaction {zxid} than was logged before"))
    }

    /// A leader begins its epoch behind `last`.
    pub fn begins(&mut self, epoch: u32, last: Zxid) {
        self.began.entry(epoch).or_insert(last);
    }

    /// The last transaction before `zxid` with which a tree has this digest.
    pub fn ending(&self, zxid: Zxid, digest: u64) -> Option<Zxid> {
        let has_digest =
            |entry: &[u8]| txn::decode(entry).is_ok_and(|txn| txn.digest.is_some_and(|of| of.tree == digest));
        self.entries.range(..zxid).rev().find(|(_, entry)| has_digest(entry)).map(|(ends, _)| *ends)
    }

    /// The transactions behind `from` through `zxid`, in the one order in which they follow each other; of none of them is
    /// it said whether it was committed. An error names what nobody has logged.
    pub fn lineage(&self, from: Zxid, zxid: Zxid) -> Result<Entries, Zxid> {
        let mut found = Vec::new();
        let mut at = zxid;
        while at > from {
            found.push((at, self.entries.get(&at).ok_or(at)?.clone()));
            at = match at.counter() {
                1 => *self.began.get(&at.epoch()).ok_or(at)?,
                _ => Zxid(at.0 - 1),
            };
        }
        found.reverse();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{TxnBody, TxnHeader};
    use crate::storage::txnlog_format::push_record;
    use crate::types::{SessionId, WallMillis};

    fn zxid(epoch: i64, counter: i64) -> Zxid {
        Zxid(epoch << 32 | counter)
    }

    fn record(zxid: Zxid, byte: u8) -> Vec<u8> {
        let header = TxnHeader { session: SessionId(1), cxid: 1, zxid, time: WallMillis(0) };
        let mut entry = Vec::new();
        txn::encode(&header, &TxnBody::Error(i32::from(byte)), None, &mut entry);
        let mut bytes = Vec::new();
        push_record(&mut bytes, &entry);
        bytes
    }

    #[test]
    fn what_was_cut_off_is_in_nobodys_lineage() {
        let mut logged = Logged::default();
        logged.begins(1, Zxid::ZERO);
        for (server, at) in [(0, zxid(1, 1)), (1, zxid(1, 1)), (0, zxid(1, 2))] {
            logged.written(server, 16, &record(at, 7)).unwrap();
        }
        logged.begins(2, zxid(1, 1));
        logged.written(1, 16, &record(zxid(2, 1), 7)).unwrap();
        let zxids =
            |from, to| logged.lineage(from, to).map(|found| found.iter().map(|(at, _)| *at).collect::<Vec<_>>());
        assert_eq!(zxids(Zxid::ZERO, zxid(2, 1)), Ok(vec![zxid(1, 1), zxid(2, 1)]));
        assert_eq!(zxids(Zxid::ZERO, zxid(2, 2)), Err(zxid(2, 2)), "nobody has logged it");
    }

    #[test]
    fn one_zxid_is_one_transaction() {
        let mut logged = Logged::default();
        logged.written(0, 16, &record(zxid(1, 1), 7)).unwrap();
        assert!(logged.written(1, 16, &record(zxid(1, 1), 8)).is_err());
        assert!(logged.written(1, 16, &record(zxid(1, 2), 8)[..20]).is_err(), "half a record");
    }
}
