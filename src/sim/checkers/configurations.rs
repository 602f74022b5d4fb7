//! Which configurations came into force, as an onlooker sees it: each version is one configuration, and no process goes back to
//! an older one. Who has to serve, and which servers are a quorum, follows the newest.

use super::{Checked, demand};
use crate::types::{Quorum, QuorumConfig, ServerId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub struct Configurations {
    newest: Arc<QuorumConfig>,
    quorum: Quorum,
    /// As they are written: a weight of 1 may be left out or not.
    by_version: BTreeMap<i64, String>,
    /// Versions that an operator wrote down for servers that were no members.
    made_up: BTreeSet<i64>,
}

impl Configurations {
    pub fn new(initial: QuorumConfig) -> Configurations {
        let quorum = Quorum::of(&initial.membership);
        Configurations { newest: Arc::new(initial), quorum, by_version: BTreeMap::new(), made_up: BTreeSet::new() }
    }

    /// The newest that is in force anywhere.
    pub fn newest(&self) -> &QuorumConfig {
        &self.newest
    }

    pub fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    pub fn is_made_up(&mut self, version: i64) {
        self.made_up.insert(version);
    }

    pub fn is_member(&self, id: ServerId) -> bool {
        self.newest.membership.members.contains_key(&id)
    }

    /// A server works with `config`, and worked with `before`. True: nobody else did so far.
    pub fn in_force(
        &mut self,
        server: usize,
        before: Option<&QuorumConfig>,
        config: &Arc<QuorumConfig>,
    ) -> Result<bool, super::Violation> {
        let version = config.version;
        demand(before.is_none_or(|before| before.version <= version), || {
            format!("server {server} goes back to configuration {version:x}, from {before:?}")
        })?;
        // What a server starts with may be its own.
        if version == 0 || self.made_up.contains(&version) {
            return Ok(false);
        }
        let known = self.by_version.entry(version).or_insert_with(|| config.to_string());
        demand(*known == config.to_string(), || {
            format!("server {server} has another configuration {version:x} than others: {config}; theirs is {known}")
        })?;
        let is_newer = version > self.newest.version;
        if is_newer {
            self.quorum = Quorum::of(&config.membership);
            self.newest = config.clone();
        }
        Ok(is_newer)
    }

    /// A reconfiguration is in the history: it says what came into force under its zxid, if anything did.
    pub fn proposed(&self, config: &QuorumConfig) -> Checked {
        let known = self.by_version.get(&config.version);
        demand(known.is_none_or(|known| *known == config.to_string()), || {
            format!("{config} was committed, and in force is {known:?}")
        })
    }
}
