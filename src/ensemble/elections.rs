//! Votes on the wire: joins the election, the rules of its connections, and the links they run on. What a decision means to
//! this server is `roles.rs`'s business.

use crate::election::connections::{ConnectionRules, Connections, Endpoint, Input as LinkInput, Output as LinkOutput};
use crate::election::{Election, ElectionRules, Electorate, Input, Output};
use crate::message::{Notification, Vote};
use crate::runtime::link_io::{LinkAction, PeerPort};
use crate::types::{Instant, LinkId, PutBack, Role, ServerId, ServerState, Zxid};
use crate::wire::Decoded;
use crate::wire::election::{
    ElectionAddress, Received, decode_introduction, encode_introduction, encode_notification, next_notification,
};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

/// A server's election address as configured; several only with `multiAddress.enabled`.
pub(super) type Addresses = BTreeMap<ServerId, Vec<ElectionAddress>>;

/// What an election tells the rest of the server.
#[derive(Debug)]
pub(super) enum Verdict {
    Decided {
        vote: Vote,
        state: ServerState,
    },
    /// Before the leader is active: it, or the quorum for us, has gone elsewhere.
    Unsupported,
    /// While looking: somebody has another configuration than this server.
    ConfigSeen {
        config: Arc<str>,
    },
}

pub(super) struct ElectionSetup {
    pub me: ServerId,
    pub rules: ElectionRules,
    pub connections: ConnectionRules,
    pub electorate: Electorate,
    pub addresses: Addresses,
    pub multi_address: bool,
}

pub(super) struct Elections {
    machine: Election,
    connections: Connections,
    addresses: Addresses,
    me: ServerId,
    multi_address: bool,
    config: Arc<str>,
    links: BTreeMap<LinkId, Wire>,
    verdicts: VecDeque<Verdict>,
    own_epochs: BTreeMap<ServerId, i64>,
    bytes: Vec<u8>,
}

/// An election connection as bytes.
struct Wire {
    peer: Option<SocketAddr>,
    input: Vec<u8>,
    /// Set on links that this server dials: to whom, and the addresses not tried yet.
    dialed: Option<(ServerId, Vec<Endpoint>)>,
    introduced: bool,
    /// The notification in flight is to be reported when it is written.
    reports_sent: bool,
    writing: bool,
    /// To be written next.
    queued: Vec<u8>,
    /// Closed once what is being written is written.
    closing: bool,
}

impl Elections {
    pub fn new(setup: ElectionSetup) -> Elections {
        let members = setup.addresses.keys().copied().filter(|id| *id != setup.me).collect();
        let config = setup.electorate.text().clone();
        Elections {
            machine: Election::new(setup.me, setup.rules, setup.electorate),
            connections: Connections::new(setup.me, setup.connections, members),
            addresses: setup.addresses,
            me: setup.me,
            multi_address: setup.multi_address,
            config,
            links: BTreeMap::new(),
            verdicts: VecDeque::new(),
            own_epochs: BTreeMap::new(),
            bytes: Vec::new(),
        }
    }

    /// Where this server takes election connections.
    pub fn listen(&self, on_all_addresses: bool, actions: &mut Vec<LinkAction>) {
        let own = self.addresses.get(&self.me).into_iter().flatten();
        let addresses = own.map(|address| ((!on_all_addresses).then(|| address.host.clone()), address.port)).collect();
        actions.push(LinkAction::Listen { port: PeerPort::Election, addresses });
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        [self.machine.next_deadline(), self.connections.next_deadline()].into_iter().flatten().min()
    }

    pub fn next_verdict(&mut self) -> Option<Verdict> {
        self.verdicts.pop_front()
    }

    pub fn owns(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    /// Begins to look for a leader.
    pub fn look(&mut self, now: Instant, role: Role, zxid: Zxid, epoch: i64, dials: &mut Dials<'_>) {
        self.verdicts.clear();
        self.vote(now, Input::LookForLeader { role, zxid, epoch }, dials);
    }

    /// Other members, or another version of them.
    pub fn configure(&mut self, now: Instant, electorate: Electorate, addresses: Addresses, dials: &mut Dials<'_>) {
        self.config = electorate.text().clone();
        let moved = |id: &ServerId| self.addresses.get(id) != addresses.get(id);
        let moved = addresses.keys().copied().filter(moved).collect();
        self.addresses = addresses;
        let members = self.addresses.keys().copied().filter(|id| *id != self.me).collect();
        self.link_step(now, LinkInput::Members { members, moved }, dials);
        self.vote(now, Input::Configured(electorate), dials);
    }

    /// A leader was named, not elected.
    pub fn assign(&mut self, now: Instant, state: ServerState, vote: Vote, dials: &mut Dials<'_>) {
        self.verdicts.clear();
        self.vote(now, Input::Assigned { state, vote }, dials);
    }

    /// The leader that was decided on is active, in this epoch.
    pub fn activated(&mut self, now: Instant, epoch: i64, dials: &mut Dials<'_>) {
        self.vote(now, Input::Activated { epoch }, dials);
    }

    pub fn tick(&mut self, now: Instant, dials: &mut Dials<'_>) {
        self.link_step(now, LinkInput::Tick, dials);
        self.vote(now, Input::Tick, dials);
    }

    // What links tell.

    pub fn accepted(&mut self, now: Instant, link: LinkId, peer: SocketAddr, dials: &mut Dials<'_>) {
        self.links.insert(link, Wire::new(Some(peer), None));
        self.link_step(now, LinkInput::Accepted { link }, dials);
    }

    pub fn opened(&mut self, now: Instant, link: LinkId, dials: &mut Dials<'_>) {
        let Some(to) = self.links.get(&link).and_then(|wire| wire.dialed.as_ref()).map(|(to, _)| *to) else { return };
        // Nobody introduces itself on a link that we opened.
        self.links.get_mut(&link).expect("just seen").introduced = true;
        self.link_step(now, LinkInput::Opened { link, to }, dials);
    }

    pub fn closed(&mut self, now: Instant, link: LinkId, dials: &mut Dials<'_>) {
        let Some(wire) = self.links.remove(&link) else { return };
        match wire.dialed {
            Some((to, rest)) if !wire.introduced => self.dial(now, to, rest, dials),
            _ => self.link_step(now, LinkInput::Closed { link }, dials),
        }
    }

    pub fn sent(&mut self, now: Instant, link: LinkId, dials: &mut Dials<'_>) {
        let Some(wire) = self.links.get_mut(&link) else { return };
        wire.writing = false;
        if !wire.queued.is_empty() {
            wire.writing = true;
            dials.actions.push(LinkAction::Send { link, bytes: std::mem::take(&mut wire.queued) });
        } else if wire.closing {
            self.links.remove(&link);
            dials.actions.push(LinkAction::Close { link });
        } else if std::mem::take(&mut wire.reports_sent) {
            self.link_step(now, LinkInput::Sent { link }, dials);
        }
    }

    /// However many messages the bytes hold, they are moved once.
    pub fn received(&mut self, now: Instant, link: LinkId, bytes: &[u8], dials: &mut Dials<'_>) {
        let Some(wire) = self.links.get_mut(&link) else { return };
        wire.input.extend_from_slice(bytes);
        let mut input = std::mem::take(&mut wire.input);
        let mut taken = 0;
        while let Some(wire) = self.links.get(&link).filter(|wire| !wire.closing) {
            let consumed = match wire.introduced {
                false => self.introduction(now, link, &input[taken..], dials),
                true => self.notification(now, link, &input[taken..], dials),
            };
            let Some(consumed) = consumed else { break };
            taken += consumed;
        }
        if let Some(wire) = self.links.get_mut(&link) {
            input.drain(..taken);
            wire.input = input;
        }
    }

    /// Bytes taken; `None`: more is needed, or the link is closed.
    fn introduction(&mut self, now: Instant, link: LinkId, input: &[u8], dials: &mut Dials<'_>) -> Option<usize> {
        match decode_introduction(input) {
            Ok(Decoded::NeedMore { .. }) => None,
            Ok(Decoded::Whole { value, consumed }) => {
                self.links.get_mut(&link)?.introduced = true;
                let endpoints = value.addresses.into_iter().map(|a| Endpoint { host: a.host, port: a.port }).collect();
                self.link_step(now, LinkInput::Hello { link, sid: value.server, endpoints }, dials);
                Some(consumed)
            }
            Err(error) => {
                self.refuse(now, link, &error.to_string(), dials);
                None
            }
        }
    }

    fn notification(&mut self, now: Instant, link: LinkId, input: &[u8], dials: &mut Dials<'_>) -> Option<usize> {
        match next_notification(input) {
            Ok(Decoded::NeedMore { .. }) => None,
            Ok(Decoded::Whole { value: Received::Notification(notification), consumed }) => {
                if let Some(from) = self.connections.peer_of(link) {
                    self.remember_epoch(from, &notification);
                    self.vote(now, Input::Notification { from, notification }, dials);
                }
                Some(consumed)
            }
            Ok(Decoded::Whole { value: Received::Skipped(why), consumed }) => {
                tracing::warn!("passing over a message on the election port from {}: {why}", self.name_of(link));
                Some(consumed)
            }
            Err(error) => {
                self.refuse(now, link, &error.to_string(), dials);
                None
            }
        }
    }

    /// A server that proposes itself says how far its own history has come.
    fn remember_epoch(&mut self, from: ServerId, notification: &Notification) {
        let vote = notification.vote;
        if notification.state == ServerState::Looking && vote.leader == from && self.addresses.contains_key(&from) {
            self.own_epochs.insert(from, vote.peer_epoch);
        }
    }

    /// Current epoch of a member when it last looked for a leader, if it was heard.
    pub fn own_epoch_of(&self, member: ServerId) -> Option<i64> {
        self.own_epochs.get(&member).copied()
    }

    fn refuse(&mut self, now: Instant, link: LinkId, why: &str, dials: &mut Dials<'_>) {
        tracing::warn!("closing the election connection of {}: {why}", self.name_of(link));
        self.links.remove(&link);
        dials.actions.push(LinkAction::Close { link });
        self.link_step(now, LinkInput::Closed { link }, dials);
    }

    fn name_of(&self, link: LinkId) -> String {
        match (self.connections.peer_of(link), self.links.get(&link).and_then(|wire| wire.peer)) {
            (Some(server), _) => format!("server {}", server.0),
            (None, Some(peer)) => peer.to_string(),
            (None, None) => "a peer".to_owned(),
        }
    }

    // What the machines want.

    fn vote(&mut self, now: Instant, input: Input, dials: &mut Dials<'_>) {
        let mut outputs = Vec::new();
        self.machine.step(now, input, &mut outputs);
        for output in outputs {
            match output {
                Output::Send { to, notification } => {
                    tracing::debug!("to server {}: {:?} {:?}", to.0, notification.state, notification.vote);
                    self.link_step(now, LinkInput::SendTo { to, notification }, dials);
                }
                Output::Decided { vote, state } => self.verdicts.push_back(Verdict::Decided { vote, state }),
                Output::Unsupported => self.verdicts.push_back(Verdict::Unsupported),
                Output::ConfigSeen { from, config } => {
                    tracing::info!("server {} has another configuration than this one", from.0);
                    self.verdicts.push_back(Verdict::ConfigSeen { config });
                }
            }
        }
    }

    fn link_step(&mut self, now: Instant, input: LinkInput, dials: &mut Dials<'_>) {
        let mut outputs = Vec::new();
        self.connections.step(now, input, &mut outputs);
        for output in outputs {
            match output {
                LinkOutput::Dial { to, endpoints } => {
                    let endpoints = ways_to(endpoints, self.addresses.get(&to).map_or(&[], Vec::as_slice));
                    self.dial(now, to, endpoints, dials);
                }
                LinkOutput::SendHello { link } => {
                    let mut bytes = Vec::new();
                    let own = self.addresses.get(&self.me).cloned().unwrap_or_default();
                    encode_introduction(self.me, &own, self.multi_address, &mut bytes);
                    self.write(link, bytes, false, dials);
                }
                LinkOutput::Send { link, notification } => {
                    self.bytes.clear();
                    let config = notification.config.as_ref().unwrap_or(&self.config);
                    encode_notification(notification.state, &notification.vote, config, &mut self.bytes);
                    let bytes = self.bytes.clone();
                    self.write(link, bytes, true, dials);
                }
                LinkOutput::Close { link } => self.close(link, dials),
                LinkOutput::PeerConnected { peer, .. } => self.vote(now, Input::PeerConnected(peer), dials),
                LinkOutput::PeerLost { peer } => self.vote(now, Input::PeerLost(peer), dials),
                LinkOutput::OwnIdSeen { link } => {
                    let peer = self.name_of(link);
                    tracing::error!(
                        "{peer} says it is server {}, which is this server's id: two servers have the same myid. Its votes \
                         are not listened to",
                        self.me.0
                    );
                }
            }
        }
    }

    fn dial(&mut self, now: Instant, to: ServerId, mut endpoints: Vec<Endpoint>, dials: &mut Dials<'_>) {
        if endpoints.is_empty() {
            return self.link_step(now, LinkInput::DialFailed { to }, dials);
        }
        let Endpoint { host, port } = endpoints.remove(0);
        let link = dials.next_link();
        self.links.insert(link, Wire::new(None, Some((to, endpoints))));
        dials.actions.push(LinkAction::Dial { link, host, port, timeout_ms: dials.timeout_ms });
    }

    /// One write is in flight at most; what is said while the introduction is on its way goes behind it in one piece.
    fn write(&mut self, link: LinkId, bytes: Vec<u8>, reports_sent: bool, dials: &mut Dials<'_>) {
        let Some(wire) = self.links.get_mut(&link) else { return };
        wire.reports_sent |= reports_sent;
        if wire.writing {
            let started_now = dials.actions.iter_mut().rev().find_map(|action| match action {
                LinkAction::Send { link: to, bytes } if *to == link => Some(bytes),
                _ => None,
            });
            started_now.unwrap_or(&mut wire.queued).extend_from_slice(&bytes);
            return;
        }
        wire.writing = true;
        dials.actions.push(LinkAction::Send { link, bytes });
    }

    fn close(&mut self, link: LinkId, dials: &mut Dials<'_>) {
        let Some(wire) = self.links.get_mut(&link) else { return };
        if wire.writing {
            wire.closing = true;
        } else {
            self.links.remove(&link);
            dials.actions.push(LinkAction::Close { link });
        }
    }
}

/// Where a server said that it is, then where the configuration says so: what it said may be of before it moved.
fn ways_to(said: Vec<Endpoint>, configured: &[ElectionAddress]) -> Vec<Endpoint> {
    if PutBack::SaidAddressOnly.is_on() && !said.is_empty() {
        return said;
    }
    let mut ways = said;
    for address in configured {
        let way = Endpoint { host: address.host.clone(), port: address.port };
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways
}

impl Wire {
    fn new(peer: Option<SocketAddr>, dialed: Option<(ServerId, Vec<Endpoint>)>) -> Wire {
        Wire {
            peer,
            input: Vec::new(),
            dialed,
            introduced: false,
            reports_sent: false,
            writing: false,
            queued: Vec::new(),
            closing: false,
        }
    }
}

/// Where dials get their numbers from, and where actions go.
pub(super) struct Dials<'a> {
    pub actions: &'a mut Vec<LinkAction>,
    pub next: &'a mut u64,
    /// `cnxTimeout`
    pub timeout_ms: u64,
}

impl Dials<'_> {
    /// Dialled links are even.
    pub fn next_link(&mut self) -> LinkId {
        *self.next += 2;
        LinkId(*self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_moved_is_looked_for_where_it_is_now_as_well() {
        let at = |port| Endpoint { host: "a".to_owned(), port };
        let configured = [ElectionAddress { host: "a".to_owned(), port: 3890 }];
        assert_eq!(ways_to(vec![at(3888)], &configured), [at(3888), at(3890)]);
        assert_eq!(ways_to(vec![at(3890)], &configured), [at(3890)]);
        assert_eq!(ways_to(Vec::new(), &configured), [at(3890)]);
        assert_eq!(ways_to(vec![at(1)], &[]), [at(1)]);
    }
}
