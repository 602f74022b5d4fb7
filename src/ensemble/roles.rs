//! From role to role: looking for a leader, leading, following, and what lies between them.
//!
//! A role ends in two steps. First everything it had not said dies with it: unanswered requests, versions that were sealed
//! and not committed, links. Then what it had staged goes to the disk, and is applied: so a server that looks for a leader
//! has a head that is exactly its flushed log. What was published stays what was committed.

use super::batch::Batch;
use super::driver::{Disk, Ensemble};
use super::elections::Verdict;
use super::links::Link;
use super::role::{Dial, Leading, Learning, Role};
use super::seat::Seat;
use crate::message::lane::Standing;
use crate::message::{Txn, Vote};
use crate::observe::Namespaced;
use crate::request;
use crate::runtime::link_io::{LinkAction, LinkEvent, PeerPort};
use crate::session::SessionTable;
use crate::types::{Instant, LinkId, Now, PutBack, Role as MemberRole, ServerState, SessionId, Zxid, path};
use crate::wire::quorum::Side;
use crate::zab::{Leader, LeaderInput, LeaderStart, Learner, LearnerInput, LearnerStart};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// First and longest distance between tries to reach the leader's quorum port, ms.
const DIAL_RETRY_MS_MIN: u64 = 1;
const DIAL_RETRY_MS_MAX: u64 = 100;

impl Ensemble {
    pub(super) fn seat(&mut self) -> &mut Seat {
        self.seat.as_mut().expect("a member of an ensemble")
    }

    /// What links told, and what time brought.
    pub(super) fn serve_links(&mut self, now: Now, events: &mut Vec<LinkEvent>) {
        if self.seat.is_none() {
            return;
        }
        for event in events.drain(..) {
            self.link_event(event, now);
        }
        self.tick_roles(now);
        self.obey_verdicts(now);
        self.give_buffers_back();
    }

    /// Hands out what is to be sent.
    pub(super) fn flush_links(&mut self, actions: &mut Vec<LinkAction>, now: Now) {
        self.pump_feeds(now);
        if let Some(seat) = &mut self.seat {
            seat.links.flush(&mut seat.actions);
            actions.append(&mut seat.actions);
        }
    }

    fn link_event(&mut self, event: LinkEvent, now: Now) {
        match event {
            LinkEvent::Accepted { link, port: PeerPort::Election, peer } => {
                let (elections, mut dials) = self.seat().elections();
                elections.accepted(now.mono, link, peer, &mut dials);
            }
            LinkEvent::Accepted { link, port: PeerPort::Quorum, peer } => match &self.role {
                Role::Leading(_) => {
                    let data_bytes_max = self.seat().options.packet_data_bytes_max;
                    let mut state = Link::new(Side::Leader, data_bytes_max, now.mono);
                    state.peer = Some(peer);
                    self.seat().links.add(link, state);
                }
                _ => self.seat().actions.push(LinkAction::Close { link }),
            },
            LinkEvent::Accepted { link, port: PeerPort::ObserverMaster, peer } => {
                self.observer_connected(link, peer, now.mono);
            }
            LinkEvent::Opened { link, .. } if self.seat().elections.owns(link) => {
                let (elections, mut dials) = self.seat().elections();
                elections.opened(now.mono, link, &mut dials);
            }
            LinkEvent::Opened { link, .. } => self.leader_reached(link, now),
            LinkEvent::Received { link, bytes } if self.seat().elections.owns(link) => {
                let (elections, mut dials) = self.seat().elections();
                elections.received(now.mono, link, &bytes, &mut dials);
                self.seat().actions.push(LinkAction::ReadOn { link, buffer: bytes });
            }
            LinkEvent::Received { link, bytes } => self.received(link, bytes, now),
            LinkEvent::Sent { link, buffer } => {
                if let Some(link) = self.seat().links.get_mut(link) {
                    return link.sent(buffer);
                }
                let (elections, mut dials) = self.seat().elections();
                elections.sent(now.mono, link, &mut dials);
            }
            LinkEvent::Closed { link, .. } if self.seat().elections.owns(link) => {
                let (elections, mut dials) = self.seat().elections();
                elections.closed(now.mono, link, &mut dials);
            }
            LinkEvent::Closed { link, why } => self.link_closed(link, &why, now),
            LinkEvent::Listening { .. } => {}
            LinkEvent::ListenFailed { port: PeerPort::Election, why } => {
                self.election_port_taken(&why, now.mono);
            }
            LinkEvent::ListenFailed { port: PeerPort::ObserverMaster, why } => {
                tracing::error!("no observer can follow this server: cannot listen on observerMasterPort: {why}");
            }
            LinkEvent::ListenFailed { port: PeerPort::Quorum, why } => {
                self.end_role(&format!("cannot listen on the quorum port: {why}"));
            }
        }
    }

    /// This server ends the link.
    pub(super) fn link_broken(&mut self, link: LinkId, why: &str, now: Now) {
        let peer = self.seat().links.name_of(link);
        tracing::warn!("closing the connection of {peer}: {why}");
        self.seat().close_link(link);
        self.link_closed(link, why, now);
    }

    fn link_closed(&mut self, link: LinkId, why: &str, now: Now) {
        self.seat().links.remove(link);
        match &mut self.role {
            Role::Leading(leading) => {
                leading.looks.remove(&link);
                if let Some(feed) = leading.feeds.remove(&link) {
                    tracing::info!("server {} is gone: {why}", feed.server.0);
                }
                self.lead(LeaderInput::Closed { link }, now);
            }
            Role::Learning(learning) if learning.leader.link == link => {
                if !learning.leader.is_open && now.mono < learning.leader.ends {
                    // Its quorum port opens when it knows that it leads.
                    learning.leader.retry_at = Some(now.mono.plus_millis(learning.leader.retry_ms));
                    learning.leader.retry_ms = (learning.leader.retry_ms * 2).min(DIAL_RETRY_MS_MAX);
                    return;
                }
                self.learn(LearnerInput::Lost { why: why.to_owned() }, now);
            }
            Role::Learning(_) => self.observer_gone(link, why),
            _ => {}
        }
    }

    fn leader_reached(&mut self, link: LinkId, now: Now) {
        let Role::Learning(learning) = &mut self.role else {
            return self.seat().actions.push(LinkAction::Close { link });
        };
        if learning.leader.link != link {
            return self.seat().actions.push(LinkAction::Close { link });
        }
        learning.leader.is_open = true;
        let data_bytes_max = self.seat().options.packet_data_bytes_max;
        self.seat().links.add(link, Link::new(Side::Learner, data_bytes_max, now.mono));
        self.learn(LearnerInput::Connected, now);
    }

    fn dial_leader(&mut self) {
        let link = self.seat().next_link();
        let timeout_ms = self.seat().options.dial_timeout_ms;
        let Role::Learning(learning) = &mut self.role else { return };
        learning.leader.link = link;
        learning.leader.retry_at = None;
        learning.leader.addresses.rotate_left(1);
        let Some((server, host, port)) = learning.leader.addresses.back().cloned() else { return };
        learning.leader.server = server;
        self.seat().actions.push(LinkAction::Dial { link, host, port, timeout_ms });
    }

    // Time.

    fn tick_roles(&mut self, now: Now) {
        let init_ms = self.seat().options.limits.init_ms();
        self.tick_election_port(now.mono);
        match &mut self.role {
            Role::Alone => {}
            Role::Ending => self.finish_role(now),
            Role::Looking => self.tick_read_only(now.mono),
            Role::Leading(leading) => {
                if leading.zab.next_deadline().is_some_and(|due| due <= now.mono) {
                    self.lead(LeaderInput::Tick, now);
                    let before = Instant { micros: now.mono.micros.saturating_sub(init_ms * 1000) };
                    for link in self.seat().links.silent_since(before) {
                        self.link_broken(link, "it never said who it is", now);
                    }
                }
            }
            Role::Learning(learning) => {
                if learning.leader.retry_at.is_some_and(|at| at <= now.mono) {
                    self.dial_leader();
                } else if learning.stalls_at(init_ms).is_some_and(|at| at <= now.mono) {
                    let why = format!("its snapshot has stalled for {init_ms} ms (initLimit)");
                    self.learn(LearnerInput::Lost { why }, now);
                } else if learning.zab.next_deadline().is_some_and(|due| due <= now.mono) {
                    self.learn(LearnerInput::Tick, now);
                }
                self.tick_observers(now.mono);
            }
        }
        let (elections, mut dials) = self.seat().elections();
        if elections.next_deadline().is_some_and(|due| due <= now.mono) {
            elections.tick(now.mono, &mut dials);
        }
    }

    pub(super) fn roles_deadline(&self, now: Instant) -> Option<Instant> {
        let seat = self.seat.as_ref()?;
        let of_role = match &self.role {
            Role::Alone => None,
            Role::Looking => self.read_only.begins(),
            // The end of the flush wakes this thread, unless there is none.
            Role::Ending => match self.disk {
                Disk::Full { retry_at, .. } => Some(retry_at),
                Disk::HasRoom => self.in_flight.is_none().then_some(now),
            },
            Role::Leading(leading) => leading.zab.next_deadline(),
            Role::Learning(learning) => {
                let stalls_at = learning.stalls_at(seat.options.limits.init_ms());
                let observers = learning.observers.as_ref().map(|observers| observers.zab.next_deadline());
                [learning.zab.next_deadline(), learning.leader.retry_at, stalls_at, observers]
                    .into_iter()
                    .flatten()
                    .min()
            }
        };
        [of_role, seat.elections.next_deadline(), seat.election_port.retry_at].into_iter().flatten().min()
    }

    // Elections.

    fn obey_verdicts(&mut self, now: Now) {
        while let Some(verdict) = self.seat().elections.next_verdict() {
            match (verdict, &self.role) {
                (Verdict::Decided { vote, state }, Role::Looking) => self.begin_role(vote, state, now),
                (Verdict::Decided { .. }, _) => {}
                (Verdict::Unsupported, Role::Leading(_) | Role::Learning(_)) => {
                    self.end_role("the others have gone elsewhere");
                }
                (Verdict::Unsupported, _) => {}
                (Verdict::ConfigSeen { config }, _) => self.config_heard(&config, now),
            }
        }
    }

    /// The state becomes another than the one that clients have seen: none of them is kept.
    pub(super) fn drop_kept(&mut self) {
        self.unsaid.clear();
        for (_, conn) in std::mem::take(&mut self.kept) {
            self.batch.close(conn);
        }
        // They are on no list of what is kept: their sessions stay here, and come back with their watches.
        if !PutBack::LocalConnectionsKept.is_on() {
            self.close_local_connections();
        }
    }

    /// Somebody else has written for this session, so its client is there: what it had here is not kept any longer.
    pub(super) fn let_go_of_kept(&mut self, session: SessionId) {
        if let Some(conn) = self.kept.remove(&session) {
            self.batch.close(conn);
        }
    }

    /// Looks for a leader. The head is the flushed log.
    pub(super) fn look(&mut self, now: Instant) {
        self.role = Role::Looking;
        self.plan_read_only(now);
        let zxid = if self.may_vote { self.tree.view().last_zxid() } else { Zxid::UNKNOWN };
        let zxid = if PutBack::VoteByApplied.is_on() { self.tree.reader().pin().view().last_zxid() } else { zxid };
        let seat = self.seat.as_mut().expect("a member of an ensemble");
        seat.clock.looks(now, &self.metrics);
        seat.successor = None;
        let (role, epoch) = (seat.configs.role(), seat.epochs.current);
        tracing::info!("looking for a leader: last zxid {zxid}, epoch {epoch:x}");
        let (elections, mut dials) = seat.elections();
        elections.look(now, role, zxid, epoch, &mut dials);
    }

    pub(super) fn begin_role(&mut self, vote: Vote, state: ServerState, now: Now) {
        self.end_read_only();
        let last_zxid = self.tree.view().last_zxid();
        let may_tell = self.may_vote && !std::mem::take(&mut self.needs_snapshot);
        let seat = self.seat.as_mut().expect("a member of an ensemble");
        seat.clock.elected(now.mono, seat.configs.role(), &self.metrics);
        let (limits, epochs) = (seat.options.limits, seat.epochs);
        let connect_ms_max = seat.options.connect_ms_max;
        if state == ServerState::Leading {
            tracing::info!("elected: leading, if a quorum follows");
            let start = LeaderStart {
                me: seat.options.me,
                config: seat.configs.committed().clone(),
                last_seen: seat.configs.last_seen().cloned(),
                reconfig_enabled: seat.configs.is_enabled(),
                limits,
                accepted_epoch: epochs.accepted,
                current_epoch: epochs.current,
                last_zxid,
            };
            seat.listen_for_learners();
            let zab = Leader::new(start, now.mono);
            self.role = Role::Leading(Box::new(Leading {
                zab,
                outputs: Vec::new(),
                feeds: BTreeMap::new(),
                looks: BTreeMap::new(),
                owners: BTreeMap::new(),
                syncs: BTreeMap::new(),
                next_token: 0,
                counted: Zxid::ZERO,
                activations: BTreeMap::new(),
            }));
            // With one voter there is nobody to wait for.
            return self.lead(LeaderInput::Tick, now);
        }
        let addresses = VecDeque::from(seat.ways_to(vote.leader));
        let Some((_, host, port)) = addresses.front() else {
            tracing::error!("server {} was elected and is not in the configuration", vote.leader.0);
            return self.look(now.mono);
        };
        tracing::info!("following server {} at {host}:{port}", vote.leader.0);
        let start = LearnerStart {
            me: seat.options.me,
            observer: seat.configs.role() == MemberRole::Observer,
            votes_next: seat.configs.newest().membership.is_voter(seat.options.me),
            limits,
            accepted_epoch: epochs.accepted,
            current_epoch: epochs.current,
            last_zxid: if may_tell { last_zxid } else { Zxid::UNKNOWN },
            config_version: seat.configs.committed().version,
        };
        let leader = Dial {
            server: vote.leader,
            addresses,
            link: LinkId(0),
            retry_at: None,
            retry_ms: DIAL_RETRY_MS_MIN,
            ends: now.mono.plus_millis(connect_ms_max),
            is_open: false,
        };
        self.role = Role::Learning(Box::new(Learning {
            zab: Learner::new(start, now.mono),
            outputs: Vec::new(),
            leader,
            unapplied: VecDeque::new(),
            fetched: 0,
            forwarded: BTreeMap::new(),
            syncs: VecDeque::new(),
            attaching: BTreeMap::new(),
            elsewhere: BTreeSet::new(),
            touched_since_ms: now.mono.millis(),
            loading: None,
            heard_at: now.mono,
            observers: None,
        }));
        self.dial_leader();
    }

    /// The leader is active: clients may be served. Those who were kept hear first what has been committed since.
    pub(super) fn begin_service(&mut self, epoch: i64, standing: Standing, now: Now) {
        let configs = &self.seat().configs;
        let (config, of) = (configs.text().clone(), Zxid(configs.committed().version));
        request::show_config(&mut self.tree, &config, of, now.wall, &mut self.unsaid);
        let written = path::CONFIG.len() + config.len();
        self.metrics.record_for_path(Namespaced::Write, path::CONFIG, written as u64);
        let serves = standing != Standing::Leading || self.seat().options.leader_serves;
        self.sessions = self.fresh_sessions(now.mono);
        for (session, conn) in std::mem::take(&mut self.kept) {
            if !serves || !self.sessions.keep(session, conn) {
                self.batch.close(conn);
            }
        }
        self.excuse_local_sessions(now);
        if !serves {
            self.close_local_connections();
        }
        self.read_only.is_published = true;
        let zxid = self.tree.view().last_zxid();
        self.batch.effects = std::mem::take(&mut self.unsaid);
        self.batch.last_zxid = Some(zxid);
        let batch = std::mem::replace(&mut self.batch, Batch::new(self.lanes.workers()));
        self.sealed.push_back(batch.seal(self.tree.seal(), zxid, None));
        self.release();
        self.expiry_resumes = now.mono;
        self.may_vote = true;
        if let Role::Learning(learning) = &mut self.role {
            learning.touched_since_ms = now.mono.millis() + 1;
        }
        let seat = self.seat.as_mut().expect("a member of an ensemble");
        seat.clock.serves(now.mono, seat.configs.role(), &self.metrics);
        let (elections, mut dials) = seat.elections();
        elections.activated(now.mono, epoch, &mut dials);
        if serves {
            self.standing.set(standing);
        }
        self.lanes.wake_all();
        let clients = if serves { "serving clients" } else { "leaving clients to the others (leaderServes=no)" };
        tracing::info!("epoch {epoch:x}: {standing:?}, {clients} from zxid {zxid}");
    }

    // The end of a role.

    /// What it has not said dies with it. Connections are kept for a while, see `server/leaderless.rs`.
    pub(super) fn end_role(&mut self, why: &str) {
        tracing::warn!("{}: {why}", self.role.name());
        self.stages.clear();
        if self.standing.get() != Standing::Looking {
            self.standing.end();
        }
        self.seat().close_quorum_links();
        self.seat().history.sent_to_all(None);
        let batch = std::mem::replace(&mut self.batch, Batch::new(self.lanes.workers()));
        // Watchers are owed what is applied, should it turn out to be committed.
        for sealed in self.sealed.drain(..) {
            self.unsaid.extend(sealed.give_up(&mut self.batch));
        }
        self.unsaid.extend(batch.give_up(&mut self.batch));
        drop(self.tree.take_cuts());
        let owners = self.sessions.iter().filter_map(|(id, live)| live.owner.map(|conn| (id, conn)));
        self.kept.extend(owners);
        self.sessions = SessionTable::new(self.rules.tick_ms);
        let role = std::mem::replace(&mut self.role, Role::Ending);
        if let Role::Learning(learning) = role {
            let waiting = learning.forwarded.values().flatten().map(|forwarded| forwarded.from);
            let waiting =
                waiting.chain(learning.attaching.values().flatten().filter_map(|attaching| attaching.how.from()));
            waiting.for_each(|conn| self.batch.close(conn));
            learning.elsewhere.iter().for_each(|session| self.let_go_of_kept(*session));
            self.tree_is_partial = learning.loading.is_some() && !PutBack::PartialSnapshotKept.is_on();
            if let Some(load) = learning.loading.filter(|_| PutBack::PartialSnapshotKept.is_on()) {
                self.tree.set_last_zxid(load.zxid());
                self.seat().history.begin_at(load.zxid());
            }
            self.tail = learning.unapplied;
        }
        self.lanes.wake_all();
    }

    /// Once everything staged is on disk it is applied, and the next leader is looked for.
    fn finish_role(&mut self, now: Now) {
        if (self.in_flight.is_some() || self.log().has_staged()) && !PutBack::FlushOutlivesRole.is_on() {
            return;
        }
        if std::mem::take(&mut self.tree_is_partial) {
            self.tail.clear();
            self.reload();
        }
        for unapplied in std::mem::take(&mut self.tail).into_iter().filter(|_| !PutBack::TailNotApplied.is_on()) {
            let Txn { header, body, .. } = &unapplied.txn;
            self.let_go_of_kept(header.session);
            let _ = request::apply(&mut self.tree, header, body, Some(&mut self.unsaid));
            let zxid = unapplied.zxid();
            self.seat().history.push(zxid, &unapplied.entry);
        }
        if self.has_room(0, now.mono) {
            match self.seat().successor.take() {
                Some(leader) => self.succeed(leader, now),
                None => self.look(now.mono),
            }
        }
    }
}
