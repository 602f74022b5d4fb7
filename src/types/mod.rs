//! Words: plain values everyone may use. Nothing here does IO, and nothing here imports anything of ours.

mod acl;
mod digest_algorithm;
mod error_code;
pub mod host;
mod ids;
pub mod limits;
mod membership;
mod op_code;
pub mod path;
mod put_back;
mod quorum;
mod quorum_config;
mod server_state;
mod stage;
mod stat;
mod time;
mod zxid;

pub use acl::{Acl, AclList, Id, perms};
pub use digest_algorithm::DigestAlgorithm;
pub use error_code::ErrorCode;
pub use ids::{ConnId, LinkId, ServerId, SessionId, WorkerIndex, Xid};
pub use membership::{BadMemberLine, ClientAddress, Member, Membership, QuorumAddress, Role};
pub use op_code::{CreateMode, OpCode};
pub use put_back::PutBack;
pub use quorum::Quorum;
pub use quorum_config::QuorumConfig;
pub use server_state::ServerState;
pub use stage::{Operation, OperationCounts, Stage, StageClock};
pub use stat::{EphemeralOwner, OwnerRules, Stat, StatPersisted};
pub use time::{Instant, Now, WallMillis};
pub use zxid::Zxid;
