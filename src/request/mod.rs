//! What each request means, as pure functions: time, ids and settings are handed in, the tree is the only state.
//!
//! - `prepare.rs`: a write becomes a transaction, or an error transaction, and is applied at once to the writer's
//!   head, so that every later check sees it.
//! - `apply.rs`: what a transaction changes, the same for the server that prepared it, for those it was sent to,
//!   and for a replay of the log.
//! - `ops/`: one file per operation, its checks and its change together.
//! - `read.rs`: reads, answered from any version.
//! - `permission.rs`, `auth.rs` (with `address.rs`, `x500.rs`): who may do what, and who is who.
//! - `quota.rs`, `reaper.rs`: what subtrees may hold, and which containers and TTL znodes have had their time.
//!
//! Sessions' lives, connections, watches and bytes are others' business.

mod address;
mod apply;
mod auth;
#[cfg(test)]
mod model;
mod ops;
mod permission;
mod prepare;
mod quota;
mod read;
mod reaper;
#[cfg(test)]
mod testbed;
mod x500;

pub use apply::{apply, kill_session, replay};
pub use auth::{AuthRules, AuthVerdict, DigestRules, authenticate, digest_id, ids_at_connect, user_name};
pub use ops::reconfig::{ReconfigScene, config_of, execute_reconfig, plan_reconfig};
pub use ops::set_data::show_config;
pub use permission::{AccessRules, SUPER_SCHEME, SaslRules, X509Rules};
pub use prepare::{Executed, RequestRules, Requester, close_session, create_session, execute, wants_global_session};
pub use quota::{asking_paths, namespace_quotas, recount_all, refused_path};
pub use read::{
    MultiReadAnswer, ReadAnswer, exists, get_acl, get_all_children_number, get_children, get_data, get_ephemerals,
    multi_read, read,
};
pub use reaper::{ReapRules, due};
