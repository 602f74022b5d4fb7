//! Values that travel: between client and server, between threads, to the log.
//! Their bytes are `wire`'s and `storage`'s business.

mod effect;
pub mod lane;
mod members_sign;
mod passage;
mod quorum_packet;
mod quorum_status;
mod request;
mod response;
mod snapshot_node;
mod txn;
mod vote;

pub use effect::{Effect, EffectKind, WatchEvent, WatchEventKind};
pub use members_sign::{InForce, MembersSign};
pub use passage::Passage;
pub use quorum_packet::{ForwardedRequest, LearnerInfo, QuorumPacket};
pub use quorum_status::{LearnerCounts, QuorumPart, QuorumStatus};
pub use request::{
    AddWatchMode, AuthPacket, ConnectRequest, CreateOp, MultiOp, MultiReadOp, ReadOp, WatchRemovalKind, WatchesToSet,
    WriteOp,
};
pub use response::{ConnectResponse, MultiReadResult, MultiResult, Outcome, WriteResult};
pub use snapshot_node::SnapshotNode;
pub use txn::{SubTxn, Txn, TxnBody, TxnDigest, TxnHeader};
pub use vote::{Notification, Vote};
