//! Sessions: their ids, their passwords and when they are due to expire. All of it is arithmetic on values that
//! are handed in; clocks, connections and the replicated session table live elsewhere.

mod expiry;
mod id;
mod password;
mod table;

pub use expiry::ExpiryQueue;
pub use id::SessionIds;
pub use password::{password, password_matches};
pub use table::{Live, SessionTable};
