//! A write as it travels from a learner to the leader: the body of the client's request once more (quorum-protocol sheet
//! §10). Written from the decoded value, so that a leader never gets bytes that it cannot read.
//!
//! Invariant: `decode(op, encode_write(w)) == w` for every write that a client can send.

use crate::message::{CreateOp, MultiOp, WriteOp};
use crate::types::OpCode;
use crate::wire::Writer;

/// End of a multi's list.
const DONE_TYPE: i32 = -1;

/// The opcode and the body. `None` for what never leaves this server: the sweeper's deletions, which only a leader makes, and
/// lists that are none.
pub fn encode_write(write: &WriteOp) -> Option<(OpCode, Vec<u8>)> {
    // About what it takes: a body that grows would be copied each time.
    let mut body = Vec::with_capacity(write.entry_bytes_max());
    let mut w = Writer::new(&mut body);
    let op = match write {
        WriteOp::Create(create) => {
            put_create(&mut w, create);
            create.op
        }
        WriteOp::Delete { path, version } => {
            w.string_or_null(path.as_deref());
            w.int(*version);
            OpCode::Delete
        }
        WriteOp::SetData { path, data, version } => {
            w.string_or_null(path.as_deref());
            w.buffer(data.as_deref());
            w.int(*version);
            OpCode::SetData
        }
        WriteOp::SetAcl { path, acl, version } => {
            w.string_or_null(path.as_deref());
            w.acl(acl.as_deref());
            w.int(*version);
            OpCode::SetAcl
        }
        WriteOp::Multi(ops) => {
            ops.iter().for_each(|op| put_in_multi(&mut w, op));
            put_multi_header(&mut w, DONE_TYPE, true);
            OpCode::Multi
        }
        WriteOp::Reconfig { joining, leaving, new_members, config_id } => {
            for text in [joining, leaving, new_members] {
                w.string_or_null(text.as_deref());
            }
            w.long(*config_id);
            OpCode::Reconfig
        }
        WriteOp::DeleteContainer { .. } | WriteOp::BadMulti => return None,
    };
    Some((op, body))
}

fn put_create(w: &mut Writer<'_>, create: &CreateOp) {
    w.string_or_null(create.path.as_deref());
    w.buffer(create.data.as_deref());
    w.acl(create.acl.as_deref());
    w.int(create.flags);
    if create.op == OpCode::CreateTtl {
        w.long(create.ttl_ms);
    }
}

fn put_in_multi(w: &mut Writer<'_>, op: &MultiOp) {
    match op {
        MultiOp::Create(create) => {
            put_multi_header(w, create.op.code(), false);
            put_create(w, create);
        }
        MultiOp::Delete { path, version } => {
            put_multi_header(w, OpCode::Delete.code(), false);
            w.string_or_null(path.as_deref());
            w.int(*version);
        }
        MultiOp::SetData { path, data, version } => {
            put_multi_header(w, OpCode::SetData.code(), false);
            w.string_or_null(path.as_deref());
            w.buffer(data.as_deref());
            w.int(*version);
        }
        MultiOp::Check { path, version } => {
            put_multi_header(w, OpCode::Check.code(), false);
            w.string_or_null(path.as_deref());
            w.int(*version);
        }
    }
}

fn put_multi_header(w: &mut Writer<'_>, kind: i32, done: bool) {
    w.int(kind);
    w.bool(done);
    w.int(-1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Acl, perms};
    use crate::wire::client::{Request, decode};

    #[test]
    fn what_is_forwarded_is_what_the_client_asked_for() {
        let path = || Some("/a/b".to_owned());
        let acl = || Some(vec![Acl::new(perms::ALL, "digest", "u:x")]);
        let create =
            |op, ttl_ms| CreateOp { op, path: path(), data: Some(b"d".to_vec()), acl: acl(), flags: 0, ttl_ms };
        let multi = vec![
            MultiOp::Create(create(OpCode::Create, -1)),
            MultiOp::Create(CreateOp { data: None, flags: 1, ..create(OpCode::Create2, -1) }),
            MultiOp::Delete { path: path(), version: -1 },
            MultiOp::SetData { path: path(), data: None, version: 3 },
            MultiOp::Check { path: path(), version: 0 },
        ];
        for write in [
            WriteOp::Create(create(OpCode::Create, -1)),
            WriteOp::Create(CreateOp { path: None, acl: None, data: None, ..create(OpCode::Create2, -1) }),
            WriteOp::Create(create(OpCode::CreateContainer, -1)),
            WriteOp::Create(CreateOp { flags: 5, ..create(OpCode::CreateTtl, 1234) }),
            WriteOp::Delete { path: path(), version: 7 },
            WriteOp::SetData { path: path(), data: Some(Vec::new()), version: -1 },
            WriteOp::SetAcl { path: None, acl: acl(), version: 1 },
            WriteOp::Multi(multi),
            WriteOp::Multi(Vec::new()),
            WriteOp::Reconfig { joining: None, leaving: path(), new_members: None, config_id: -1 },
        ] {
            let (op, body) = encode_write(&write).expect("a client can send it");
            assert_eq!(decode(op.code(), &body), Ok(Request::Write(write)));
        }
        assert_eq!(encode_write(&WriteOp::BadMulti), None);
    }
}
