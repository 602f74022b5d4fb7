//! What changes of the configuration mean to this server: as a leader that is asked for one, as a learner that is told of one,
//! and as a server without a leader that hears of a newer one. Agreement on it is `zab`'s, keeping it `membership.rs`'s.

use super::driver::Ensemble;
use super::membership::Change;
use super::role::Role;
use crate::message::{Vote, WriteOp};
use crate::request::{self, Executed, ReconfigScene, Requester};
use crate::types::{
    ErrorCode, Instant, Now, PutBack, QuorumConfig, Role as MemberRole, ServerId, ServerState, SessionId, Xid, Zxid,
};
use std::sync::Arc;

/// What goes with a configuration's text in a log entry, bytes.
const ENTRY_BYTES_EXTRA: usize = 64;

impl Ensemble {
    // Asked for.

    /// A client of this leader, or of a learner, wants other members. `None`: this server is no longer the one to do it.
    pub(super) fn reconfigure(
        &mut self,
        session: SessionId,
        xid: Xid,
        op: &WriteOp,
        by: Requester<'_>,
        now: Now,
    ) -> Option<Executed> {
        let zxid = self.next_zxid(now)?;
        let planned = self.plan(op, by, zxid);
        let bytes = planned.as_ref().map_or(0, |config| config.to_string().len());
        if !self.has_room(bytes + ENTRY_BYTES_EXTRA, now.mono) {
            self.step_down_for_disk(now);
            return None;
        }
        let planned = planned.and_then(|config| {
            // Whoever acknowledges it must know of it after a crash, and the first to do so is this server.
            match self.see_config(Arc::new(config.clone()), false, now.mono) {
                Ok(()) => Ok(config),
                Err(why) => {
                    tracing::error!("{why}: a reconfiguration is refused, since it could not be kept");
                    Err(ErrorCode::SystemError)
                }
            }
        });
        self.execute(session, xid, now, |tree, header, rules, effects| {
            request::execute_reconfig(tree, header, planned.as_ref().map_err(|error| *error), rules, effects)
        })
    }

    fn plan(&self, op: &WriteOp, by: Requester<'_>, zxid: Zxid) -> Result<QuorumConfig, ErrorCode> {
        let (Role::Leading(leading), Some(seat)) = (&self.role, &self.seat) else {
            return Err(ErrorCode::Unimplemented);
        };
        let synced = leading.zab.synced_servers();
        let scene = ReconfigScene {
            newest: seat.configs.newest(),
            is_pending: leading.zab.is_reconfiguring(),
            synced: &synced,
            standalone_enabled: seat.configs.needs_two_voters(),
            multi_address: seat.options.multi_address,
        };
        request::plan_reconfig(self.tree.view(), op, by, scene, &self.rules.request, zxid)
    }

    // Heard of.

    /// A configuration that is proposed, or that a leader names; durable afterwards. An error says why it is not.
    pub(super) fn see_config(
        &mut self,
        config: Arc<QuorumConfig>,
        is_newest: bool,
        now: Instant,
    ) -> Result<(), String> {
        let seat = self.seat();
        seat.configs.see(config, is_newest).map_err(|error| error.to_string())?;
        seat.tell_elections(now);
        Ok(())
    }

    /// A learner takes no part in what it could not keep.
    pub(super) fn see_as_learner(&mut self, config: Arc<QuorumConfig>, is_newest: bool, now: Now) {
        if let Err(why) = self.see_config(config.clone(), is_newest, now.mono) {
            let seat = self.seat();
            seat.configs.remember(config);
            seat.tell_elections(now.mono);
            self.end_role(&format!("{why}: the configuration that the leader names cannot be kept"));
        }
    }

    /// A snapshot can hold a reconfiguration that this server never was proposed.
    pub(super) fn see_config_of_tree(&mut self, now: Instant) {
        let node = self.tree.view().lookup(crate::types::path::CONFIG);
        let text = node.and_then(|node| node.data()).map(|data| String::from_utf8_lossy(data).into_owned());
        let Some(Ok(config)) = text.map(|text| QuorumConfig::parse(&text)) else { return };
        if config.version > self.seat().configs.newest().version
            && let Err(why) = self.see_config(Arc::new(config), false, now)
        {
            tracing::error!("{why}: the configuration of a snapshot cannot be kept");
        }
    }

    /// Another server's vote came with a newer configuration, which is committed: this server has been away.
    pub(super) fn config_heard(&mut self, text: &str, now: Now) {
        if !matches!(self.role, Role::Looking) {
            return;
        }
        let configs = &self.seat().configs;
        let config = match QuorumConfig::parse(text) {
            Ok(config) => config,
            Err(why) => return tracing::warn!("another server has a configuration that cannot be read: {why}"),
        };
        if config.version <= configs.committed().version {
            return;
        }
        if !configs.is_enabled() {
            let version = config.version;
            return tracing::warn!(
                "another server has the newer configuration {version:x}; it is not taken up without reconfigEnabled"
            );
        }
        if self.commit_config(Arc::new(config), now.mono).is_some_and(|change| change.members) {
            self.look(now.mono);
        }
    }

    // In force.

    fn commit_config(&mut self, config: Arc<QuorumConfig>, now: Instant) -> Option<Change> {
        let seat = self.seat();
        let change = seat.configs.commit(config)?;
        seat.tell_elections(now);
        seat.show_members();
        if change.election_port {
            seat.listen_for_votes();
        }
        if let Some(client) = &change.client_port {
            seat.move_client_port(client.clone());
        }
        let (text, role) = (seat.configs.text().clone(), seat.configs.role());
        tracing::info!("configuration in force, this server is {role}:\n{text}");
        Some(change)
    }

    pub(super) fn activate_as_leader(&mut self, config: Arc<QuorumConfig>, designated: ServerId, now: Now) {
        let version = Zxid(config.version);
        let change = self.commit_config(config, now.mono);
        let me = self.seat().options.me;
        let is_moved = change.is_some_and(|change| change.quorum_port) && !PutBack::QuorumPortStays.is_on();
        if designated == me && is_moved {
            // The only voter leads on wherever it goes; whoever comes from now on looks for it there.
            self.seat().listen_for_learners();
        }
        let Role::Leading(leading) = &mut self.role else { return };
        let is_transaction = leading.zab.epoch() == Some(i64::from(version.epoch())) && version.counter() > 0;
        if is_transaction {
            leading.activations.insert(version, designated);
            if designated != me {
                self.seat().successor = Some(designated);
            }
        }
        if designated != me {
            tracing::warn!("server {} leads from now on", designated.0);
        }
    }

    /// The transaction committed last was a reconfiguration.
    pub(super) fn activate_as_learner(&mut self, zxid: Zxid, designated: ServerId, now: Now) {
        let seat = self.seat();
        if !seat.configs.is_enabled() {
            return;
        }
        let config = seat.configs.last_seen().filter(|config| config.version == zxid.0).cloned();
        let change = config.and_then(|config| self.commit_config(config, now.mono));
        self.tell_observers_of_members(zxid, designated);
        let Role::Learning(learning) = &self.role else { return };
        let is_replaced = learning.leader.server != designated;
        if is_replaced || change.is_some_and(|change| change.role) {
            // What is committed is said before.
            self.seal_batch();
            self.release();
            self.seat().successor = Some(designated);
            self.end_role(match is_replaced {
                true => "the configuration names another leader",
                false => "the configuration gives this server another role",
            });
        }
    }

    /// The epoch that begins has committed what its leader named.
    pub(super) fn adopt_as_learner(&mut self, config: Arc<QuorumConfig>, now: Now) {
        let Some(change) = self.commit_config(config.clone(), now.mono).filter(|change| change.members) else { return };
        let Role::Learning(learning) = &self.role else { return };
        if change.role || !change.keeps(learning.leader.server, &config) {
            self.end_role("the configuration that the leader names changes who this server is, or whom it follows");
        }
    }

    /// Goes on without an election, where a configuration named the leader.
    pub(super) fn succeed(&mut self, leader: ServerId, now: Now) {
        let zxid = self.tree.view().last_zxid();
        let seat = self.seat.as_mut().expect("a member of an ensemble");
        let state = match seat.configs.role() {
            _ if leader == seat.options.me => ServerState::Leading,
            MemberRole::Participant => ServerState::Following,
            MemberRole::Observer => ServerState::Observing,
        };
        // As Java's vote for it: nobody was asked.
        let vote = Vote { leader, zxid, round: -1, peer_epoch: -1 };
        seat.clock.assigned(now.mono);
        let (elections, mut dials) = seat.elections();
        elections.assign(now.mono, state, vote, &mut dials);
        self.begin_role(vote, state, now);
    }
}
