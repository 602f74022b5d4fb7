//! The configuration in force, as the ensemble thread last said; operators read it.

use crate::types::{Member, QuorumConfig, Role};
use parking_lot::Mutex;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct InForce {
    pub config: Arc<QuorumConfig>,
    /// What this server is by it.
    pub role: Role,
    /// This server's line, if ever there was one.
    pub own: Option<Member>,
}

/// Empty on a server of its own.
#[derive(Clone, Debug, Default)]
pub struct MembersSign(Arc<Mutex<Option<Arc<InForce>>>>);

impl MembersSign {
    pub fn set(&self, in_force: InForce) {
        *self.0.lock() = Some(Arc::new(in_force));
    }

    pub fn get(&self) -> Option<Arc<InForce>> {
        self.0.lock().clone()
    }
}
