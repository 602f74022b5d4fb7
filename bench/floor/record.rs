//! Log records of the size that a server writes: the bytes of a setData of 100 B as RingKeeper and ZooKeeper log it.

use ringkeeper::message::{TxnBody, TxnDigest, TxnHeader};
use ringkeeper::storage::txnlog_format::push_record;
use ringkeeper::types::{OpCode, SessionId, WallMillis, Zxid};
use ringkeeper::wire::txn;

/// Path and data as in the load generator's `set`.
const PATH: &str = "/bench/k00000001";
const DATA_BYTES: usize = 100;
/// Bytes of that request's frame behind its length: xid, op, path, data, version.
const FRAME_BYTES: usize = 4 + 4 + (4 + PATH.len()) + (4 + DATA_BYTES) + 4;

pub fn set_data() -> Vec<u8> {
    let header = TxnHeader { session: SessionId(1), cxid: 1, zxid: Zxid(1), time: WallMillis(1) };
    let body =
        TxnBody::SetData { op: OpCode::SetData, path: PATH.to_owned(), data: Some(vec![b'x'; DATA_BYTES]), version: 1 };
    let digest = TxnDigest { version: TxnDigest::VERSION, tree: 1 };
    let (mut entry, mut record) = (Vec::new(), Vec::new());
    txn::encode(&header, &body, Some(&digest), &mut entry);
    push_record(&mut record, &entry);
    record
}

/// What a record has beyond the bytes of its request.
pub fn bytes_extra() -> usize {
    set_data().len() - FRAME_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_its_request_and_what_the_log_adds() {
        // Frame of the record 13, header 32, digest 12, less xid and op, which the header has.
        assert_eq!(bytes_extra(), 13 + 32 + 12 - 8);
    }
}
