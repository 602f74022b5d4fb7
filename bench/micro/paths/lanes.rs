//! The rings between the ensemble thread and a worker: a request one way, a batch with its reply the other.

use super::{Step, VALUE, key_path};
use ringkeeper::message::lane::{ConnRef, Deliver, Reply, Submit};
use ringkeeper::message::{Outcome, WriteOp, WriteResult};
use ringkeeper::runtime::lanes::lanes;
use ringkeeper::types::{ConnId, SessionId, Stat, WorkerIndex, Xid, Zxid};
use std::hint::black_box;
use std::sync::Arc;

pub fn submit() -> Step {
    let (mut ensemble, mut workers) = lanes(1);
    let from = ConnRef { worker: WorkerIndex(0), conn: ConnId(1) };
    let path = key_path(1);
    Box::new(move || {
        let op = WriteOp::SetData { path: Some(path.clone()), data: Some(VALUE.into()), version: -1 };
        workers[0].submit(Submit::Write {
            from,
            session: SessionId(1),
            xid: Xid(1),
            op,
            ids: Arc::default(),
            overtakes: false,
        });
        workers[0].announce();
        black_box(ensemble.next_submit(0).expect("just submitted"));
    })
}

pub fn deliver() -> Step {
    let (mut ensemble, mut workers) = lanes(1);
    Box::new(move || {
        let outcome = Outcome { zxid: Zxid(1), result: Ok(WriteResult::Stat(Stat::default())) };
        let replies = vec![Reply::Write { conn: ConnId(1), xid: Xid(1), outcome }];
        ensemble.deliver(
            WorkerIndex(0),
            Deliver {
                version: 1,
                last_zxid: Zxid(1),
                effects: Arc::default(),
                replies,
                passages: Arc::default(),
                cuts: None,
            },
        );
        ensemble.announce(WorkerIndex(0), true);
        black_box(workers[0].next_deliver(1).expect("just delivered"));
    })
}
