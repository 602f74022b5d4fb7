//! This server's seat in its ensemble: who it is, who the others are, its epochs, its links to them.

use super::election_port::ElectionPort;
use super::elections::{Addresses, Dials, ElectionSetup, Elections};
use super::history::History;
use super::links::Links;
use super::local_sessions::LocalSessionRules;
use super::role_clock::RoleClock;
use super::snapshot_feed::{FeedWriter, Wake};
use crate::election::connections::ConnectionRules;
use crate::election::{ElectionRules, Electorate};
use crate::runtime::link_io::{LinkAction, PeerPort};
use crate::storage::Epochs;
use crate::types::{LinkId, Quorum, QuorumConfig, Role, ServerId};
use crate::wire::election::ElectionAddress;
use crate::zab::Limits;
use std::sync::Arc;

/// What a member of an ensemble is told by its configuration.
#[derive(Clone, Debug)]
pub struct SeatOptions {
    pub me: ServerId,
    /// The committed configuration.
    pub config: QuorumConfig,
    /// `peerType`, where the configuration does not name this server.
    pub role: Role,
    pub limits: Limits,
    pub election: ElectionRules,
    /// `cnxTimeout`, ms.
    pub dial_timeout_ms: u64,
    /// `quorumCnxnTimeoutMs`, ms.
    pub hello_timeout_ms: u64,
    /// `quorumListenOnAllIPs`
    pub listen_on_all_addresses: bool,
    /// `multiAddress.enabled`
    pub multi_address: bool,
    /// Most bytes of a packet's data: `limits::quorum_data_bytes_max`.
    pub packet_data_bytes_max: usize,
    /// `commitLogCount`
    pub commit_log_count: usize,
    /// `forceSnapshotSync`
    pub force_snapshot_sync: bool,
    /// `connectToLearnerMasterLimit`, ms: for a learner to reach the leader's port.
    pub connect_ms_max: u64,
    /// `electionPortBindRetry`; `None` = any number.
    pub election_bind_tries_max: Option<u32>,
    /// `leader.maxConcurrentSnapSyncs` and `leader.maxConcurrentDiffSyncs`: learners that are brought to the history at a time,
    /// beyond which observers have to come again.
    pub snap_syncs_max: u32,
    pub diff_syncs_max: u32,
    /// `observerMasterPort`
    pub observer_master_port: Option<u16>,
    pub local_sessions: LocalSessionRules,
    /// `leaderServes`: clients are served here while this server leads.
    pub leader_serves: bool,
    /// `readonlymode.enabled`
    pub read_only_mode: bool,
}

pub(super) struct Seat {
    pub options: SeatOptions,
    pub role: Role,
    pub quorum: Quorum,
    pub config_text: Arc<str>,
    pub epochs: Epochs,
    pub elections: Elections,
    pub election_port: ElectionPort,
    pub links: Links,
    pub history: History,
    pub clock: RoleClock,
    pub feed_writer: FeedWriter,
    pub wake: Wake,
    next_link: u64,
    /// How often a server to follow was looked for among several.
    master_tries: u64,
    /// What this turn wants done with links.
    pub actions: Vec<LinkAction>,
    /// Read buffers that are given back when the log has caught up.
    pub held_buffers: Vec<(LinkId, Vec<u8>)>,
}

impl Seat {
    pub fn new(options: SeatOptions, epochs: Epochs, history: History, feed_writer: FeedWriter, wake: Wake) -> Seat {
        let quorum = Quorum::of(&options.config.membership);
        let config_text: Arc<str> = options.config.to_string().into();
        let members = &options.config.membership.members;
        let addresses: Addresses = members
            .values()
            .map(|member| {
                let of = member.addresses.iter();
                let named = of.map(|a| ElectionAddress { host: a.host.clone(), port: a.election_port });
                (member.id, named.collect())
            })
            .collect();
        let role = members.get(&options.me).map_or(options.role, |member| member.role);
        let elections = Elections::new(ElectionSetup {
            me: options.me,
            rules: options.election,
            connections: ConnectionRules {
                dial_ms_max: options.dial_timeout_ms,
                hello_ms_max: options.hello_timeout_ms,
                ..ConnectionRules::default()
            },
            electorate: Electorate::new(quorum.clone(), options.config.version, config_text.clone()),
            addresses,
            multi_address: options.multi_address,
        });
        let mut actions = Vec::new();
        elections.listen(options.listen_on_all_addresses, &mut actions);
        Seat {
            role,
            quorum,
            config_text,
            epochs,
            elections,
            election_port: ElectionPort::default(),
            links: Links::default(),
            history,
            clock: RoleClock::default(),
            feed_writer,
            wake,
            next_link: 0,
            master_tries: 0,
            actions,
            held_buffers: Vec::new(),
            options,
        }
    }

    /// The elections, and what they need to dial.
    pub fn elections(&mut self) -> (&mut Elections, Dials<'_>) {
        let timeout_ms = self.options.dial_timeout_ms;
        let dials = Dials { actions: &mut self.actions, next: &mut self.next_link, timeout_ms };
        (&mut self.elections, dials)
    }

    pub fn next_link(&mut self) -> LinkId {
        self.elections().1.next_link()
    }

    /// Takes connections of learners from now on.
    pub fn listen_for_learners(&mut self) {
        let own = self.options.config.membership.members.get(&self.options.me);
        let everywhere = self.options.listen_on_all_addresses;
        let addresses = own.into_iter().flat_map(|member| &member.addresses);
        let addresses = addresses.map(|a| ((!everywhere).then(|| a.host.clone()), a.quorum_port)).collect();
        self.actions.push(LinkAction::Listen { port: PeerPort::Quorum, addresses });
    }

    /// Ends all links to other servers but those of the elections.
    pub fn close_quorum_links(&mut self) {
        self.actions.push(LinkAction::StopListening { port: PeerPort::Quorum });
        self.actions.push(LinkAction::StopListening { port: PeerPort::ObserverMaster });
        for link in self.links.ids() {
            self.close_link(link);
        }
        self.held_buffers.clear();
    }

    pub fn close_link(&mut self, link: LinkId) {
        if self.links.remove(link).is_some() {
            self.actions.push(LinkAction::Close { link });
        }
    }

    /// Where to follow this leader: at its quorum port; for an observer, where there are observer masters, at any voter's. Each
    /// observer begins with another of them, and with the next one when it comes again.
    pub fn ways_to(&mut self, leader: ServerId) -> Vec<(ServerId, String, u16)> {
        let members = &self.options.config.membership.members;
        let master_port = self.options.observer_master_port.filter(|_| self.role == Role::Observer);
        let Some(port) = master_port else {
            let addresses = members.get(&leader).into_iter().flat_map(|member| &member.addresses);
            return addresses.map(|address| (leader, address.host.clone(), address.quorum_port)).collect();
        };
        let voters = members.values().filter(|member| member.role == Role::Participant);
        let mut ways: Vec<(ServerId, String, u16)> = voters
            .flat_map(|voter| voter.addresses.iter().map(|address| (voter.id, address.host.clone(), port)))
            .collect();
        if !ways.is_empty() {
            let first = (self.options.me.0 as u64).wrapping_add(self.master_tries) % ways.len() as u64;
            ways.rotate_left(first as usize);
            self.master_tries += 1;
        }
        ways
    }
}
