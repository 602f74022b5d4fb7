//! What must hold, named after the properties of ZAB where it has them. A checker looks on, and draws nothing at random.
//!
//! - `agreement`: servers show prefixes of one history (agreement, total order, integrity, primary order, prefix consistency),
//!   with equal digests; a new leader has all of it
//! - `znodes`: what that history makes of the tree, version by version, and that each of its transactions is possible
//! - `client_history`: clients see that tree, in order, and what was acknowledged to them is in the history
//! - `configurations`: each version of the members is one, and nobody goes back
//! - `owners`: a session is one connection's at a time
//! - `watch_order`: events come before replies that reflect them, and none is lost

pub mod agreement;
pub mod client_history;
pub mod configurations;
pub mod owners;
pub mod watch_order;
pub mod znodes;

pub use agreement::History;

/// Something that must hold does not.
#[derive(Clone, Debug)]
pub struct Violation(pub String);

pub type Checked = Result<(), Violation>;

/// `Err` with the message unless it holds.
pub fn demand(holds: bool, message: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation(message())) }
}
