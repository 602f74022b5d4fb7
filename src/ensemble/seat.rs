//! This server's seat in its ensemble: who it is, who the others are, its epochs, its links to them.

use super::election_port::ElectionPort;
use super::elections::{Dials, ElectionSetup, Elections};
use super::history::History;
use super::links::Links;
use super::local_sessions::LocalSessionRules;
use super::log_feed::LogAccess;
use super::membership::{Configurations, ReconfigOptions};
use super::role_clock::RoleClock;
use crate::election::ElectionRules;
use crate::election::connections::ConnectionRules;
use crate::message::{InForce, MembersSign};
use crate::runtime::link_io::{LinkAction, PeerPort};
use crate::storage::Epochs;
use crate::types::{ClientAddress, Instant, LinkId, QuorumConfig, Role, ServerId};
use crate::zab::Limits;
use std::sync::Arc;

/// Has clients taken at another address from now on; those that are connected stay.
#[derive(Clone)]
pub struct MoveClientPort(pub Arc<dyn Fn(ClientAddress) + Send + Sync>);

impl std::fmt::Debug for MoveClientPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MoveClientPort")
    }
}

/// What a member of an ensemble is told by its configuration.
#[derive(Clone, Debug)]
pub struct SeatOptions {
    pub me: ServerId,
    /// The committed configuration, at the start.
    pub config: QuorumConfig,
    pub reconfig: ReconfigOptions,
    /// `None`: the client port stays where it is.
    pub move_client_port: Option<MoveClientPort>,
    /// Where the members in force are written down for operators.
    pub members: MembersSign,
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
    /// `snapshotSizeFactor`: learners are sent from the log files no more than this share of the newest snapshot (0: of any
    /// size); `None` = never.
    pub snapshot_size_factor: Option<f64>,
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
    pub configs: Configurations,
    /// Who leads when the present role is over, if a configuration said so.
    pub successor: Option<ServerId>,
    pub epochs: Epochs,
    pub elections: Elections,
    pub election_port: ElectionPort,
    pub links: Links,
    pub history: History,
    pub clock: RoleClock,
    pub log: LogAccess,
    next_link: u64,
    /// How often a server to follow was looked for among several.
    master_tries: u64,
    /// What this turn wants done with links.
    pub actions: Vec<LinkAction>,
    /// Read buffers that are given back when the log has caught up.
    pub held_buffers: Vec<(LinkId, Vec<u8>)>,
}

impl Seat {
    pub fn new(options: SeatOptions, epochs: Epochs, history: History, log: LogAccess) -> Seat {
        let configs = Configurations::new(&options);
        let elections = Elections::new(ElectionSetup {
            me: options.me,
            rules: options.election,
            connections: ConnectionRules {
                dial_ms_max: options.dial_timeout_ms,
                hello_ms_max: options.hello_timeout_ms,
                ..ConnectionRules::default()
            },
            electorate: configs.electorate(),
            addresses: configs.election_addresses(),
            multi_address: options.multi_address,
        });
        let mut actions = Vec::new();
        elections.listen(options.listen_on_all_addresses, &mut actions);
        let seat = Seat {
            configs,
            successor: None,
            epochs,
            elections,
            election_port: ElectionPort::default(),
            links: Links::default(),
            history,
            clock: RoleClock::default(),
            log,
            next_link: 0,
            master_tries: 0,
            actions,
            held_buffers: Vec::new(),
            options,
        };
        seat.show_members();
        seat
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

    /// The elections are told of the configurations there are.
    pub fn tell_elections(&mut self, now: Instant) {
        let (electorate, addresses) = (self.configs.electorate(), self.configs.election_addresses());
        let (elections, mut dials) = self.elections();
        elections.configure(now, electorate, addresses, &mut dials);
    }

    /// Operators are told of the configuration in force.
    pub fn show_members(&self) {
        let (config, own) = (self.configs.committed().clone(), self.configs.own().cloned());
        self.options.members.set(InForce { config, role: self.configs.role(), own });
    }

    /// Takes election connections, at the address that is this server's now.
    pub fn listen_for_votes(&mut self) {
        self.elections.listen(self.options.listen_on_all_addresses, &mut self.actions);
    }

    pub fn move_client_port(&self, to: ClientAddress) {
        if let Some(MoveClientPort(move_to)) = &self.options.move_client_port {
            move_to(to);
        }
    }

    /// Takes connections of learners from now on.
    pub fn listen_for_learners(&mut self) {
        let everywhere = self.options.listen_on_all_addresses;
        let ports = self.configs.own_quorum_addresses().into_iter();
        let addresses = ports.map(|(host, port)| ((!everywhere).then_some(host), port)).collect();
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
        let members = &self.configs.committed().membership.members;
        let master_port = self.options.observer_master_port.filter(|_| self.configs.role() == Role::Observer);
        let Some(port) = master_port else {
            let addresses = self.configs.quorum_addresses(leader);
            return addresses.into_iter().map(|(host, port)| (leader, host, port)).collect();
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
