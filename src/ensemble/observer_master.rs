//! A follower with observers of its own (`observerMasterPort`): the links, the feeds and the way of requests through this
//! server. What is said to them is `zab/observer_master.rs`'s; what they are fed is what this server has committed.
//!
//! Requests, syncs and questions about sessions go up the one link to the leader, in the order in which they came, among those
//! of this server's own clients; the leader's answers come in that order, so the oldest that waits is the one that is meant.

use super::driver::Ensemble;
use super::feeding::Newcomer;
use super::learner_feed::{Feed, Progress, Words};
use super::links::Link;
use super::role::{Attach, Attaching, LearnerSync, Role};
use super::snapshot_feed::SnapshotFeed;
use crate::message::{ForwardedRequest, QuorumPacket};
use crate::observe::Counter;
use crate::runtime::link_io::{LinkAction, PeerPort};
use crate::types::{Instant, LinkId, Now, OpCode, Role as MemberRole, ServerId, SessionId, Zxid};
use crate::wire::quorum::Side;
use crate::zab::{self, ObserverMaster, ObserverMasterOutput, ObserverMasterStart, SyncPlan};
use std::collections::BTreeMap;
use std::net::SocketAddr;

pub(super) struct Observers {
    pub zab: ObserverMaster,
    feeds: BTreeMap<LinkId, Feed>,
    /// Sessions that they have heard of since the leader was told last, with their timeouts in ms.
    touched: BTreeMap<SessionId, i32>,
    /// Who leads after each reconfiguration since they may come.
    activations: BTreeMap<Zxid, ServerId>,
}

impl Ensemble {
    /// This server follows an established leader: observers may come.
    pub(super) fn begin_observer_master(&mut self, epoch: i64, now: Now) {
        let seat = self.seat();
        let Some(port) = seat.options.observer_master_port.filter(|_| seat.configs.role() == MemberRole::Participant)
        else {
            return;
        };
        let everywhere = seat.options.listen_on_all_addresses;
        let hosts = seat.configs.own().into_iter().flat_map(|member| &member.addresses);
        let addresses = hosts.map(|address| ((!everywhere).then(|| address.host.clone()), port)).collect();
        seat.actions.push(LinkAction::Listen { port: PeerPort::ObserverMaster, addresses });
        let start = ObserverMasterStart {
            me: seat.options.me,
            limits: seat.options.limits,
            epoch,
            config_version: seat.configs.committed().version,
        };
        if let Role::Learning(learning) = &mut self.role {
            let zab = ObserverMaster::new(start, now.mono);
            learning.observers = Some(Box::new(Observers {
                zab,
                feeds: BTreeMap::new(),
                touched: BTreeMap::new(),
                activations: BTreeMap::new(),
            }));
        }
    }

    fn observers(&mut self) -> Option<&mut Observers> {
        match &mut self.role {
            Role::Learning(learning) => learning.observers.as_deref_mut(),
            _ => None,
        }
    }

    /// A configuration is in force: observers hear of it with the commit.
    pub(super) fn tell_observers_of_members(&mut self, zxid: Zxid, designated: ServerId) {
        if let Some(observers) = self.observers() {
            observers.activations.insert(zxid, designated);
            observers.zab.adopt(zxid.0);
        }
    }

    pub(super) fn synced_observers(&self) -> Option<u64> {
        match &self.role {
            Role::Learning(learning) => learning.observers.as_ref().map(|observers| observers.zab.count()),
            _ => None,
        }
    }

    pub(super) fn observer_connected(&mut self, link: LinkId, peer: SocketAddr, now: Instant) {
        if self.observers().is_none() {
            return self.seat().actions.push(LinkAction::Close { link });
        }
        let data_bytes_max = self.seat().options.packet_data_bytes_max;
        let mut state = Link::new(Side::Leader, data_bytes_max, now);
        state.peer = Some(peer);
        self.seat().links.add(link, state);
    }

    pub(super) fn observer_packet(&mut self, link: LinkId, packet: QuorumPacket, now: Now) {
        let mut outputs = Vec::new();
        if let Some(observers) = self.observers() {
            observers.zab.packet(now.mono, link, packet, &mut outputs);
        }
        self.carry_out_for_observers(outputs);
    }

    pub(super) fn observer_gone(&mut self, link: LinkId, why: &str) {
        let Some(observers) = self.observers() else { return };
        observers.zab.closed(link);
        if let Some(feed) = observers.feeds.remove(&link) {
            tracing::info!("observer {} is gone: {why}", feed.server.0);
        }
    }

    pub(super) fn tick_observers(&mut self, now: Instant) {
        let committed = self.tree.view().last_zxid();
        let init_ms = self.seat().options.limits.init_ms();
        let Some(observers) = self.observers() else { return };
        if observers.zab.next_deadline() > now {
            return;
        }
        let mut outputs = Vec::new();
        observers.zab.tick(now, committed, &mut outputs);
        let before = Instant { micros: now.micros.saturating_sub(init_ms * 1000) };
        let silent = self.seat().links.silent_since(before).into_iter();
        outputs.extend(silent.map(|link| {
            let why = "it never said who it is".to_owned();
            ObserverMasterOutput::Close { link, why }
        }));
        self.carry_out_for_observers(outputs);
    }

    fn carry_out_for_observers(&mut self, outputs: Vec<ObserverMasterOutput>) {
        for output in outputs {
            match output {
                ObserverMasterOutput::Send { link, packet } => self.send_to(link, &packet),
                ObserverMasterOutput::Close { link, why } => self.close_observer(link, &why),
                ObserverMasterOutput::Feed { link, server, last_zxid, drops_log } => {
                    self.begin_observer_feed(Newcomer { link, server, last_zxid, observer: true, drops_log });
                }
                ObserverMasterOutput::Forward { link, request } => self.hand_on(link, request),
                ObserverMasterOutput::Touched { sessions } => {
                    self.observers()
                        .into_iter()
                        .for_each(|observers| observers.touched.extend(sessions.iter().copied()));
                }
                ObserverMasterOutput::Revalidate { link, session, timeout_ms, resumes } => {
                    self.ask_leader_for(
                        session,
                        Attaching { timeout_ms, how: Attach::ThroughObserver { link, resumes } },
                    );
                }
            }
        }
    }

    fn send_to(&mut self, link: LinkId, packet: &QuorumPacket) {
        if let Some(link) = self.seat().links.get_mut(link) {
            link.send(packet);
        }
    }

    fn close_observer(&mut self, link: LinkId, why: &str) {
        let peer = self.seat().links.name_of(link);
        tracing::warn!("closing the connection of {peer}: {why}");
        self.seat().close_link(link);
        self.observer_gone(link, why);
    }

    fn hand_on(&mut self, link: LinkId, request: ForwardedRequest) {
        if OpCode::from_code(request.op) == Some(OpCode::Sync)
            && let Role::Learning(learning) = &mut self.role
        {
            learning.syncs.push_back(LearnerSync::ThroughObserver(link));
        }
        self.tell_leader(&QuorumPacket::Request(request));
    }

    /// The leader has answered the sync of an observer's client: what it waits for is committed here, and goes ahead.
    pub(super) fn observer_synced(&mut self, link: LinkId) {
        let committed = self.tree.view().last_zxid();
        if let Some(feed) = self.observers().and_then(|observers| observers.feeds.get_mut(&link)) {
            feed.sync_asked(committed);
            feed.sync_proven();
        }
    }

    pub(super) fn observer_revalidated(&mut self, link: LinkId, session: SessionId, timeout_ms: i32, valid: bool) {
        if valid && let Some(observers) = self.observers() {
            observers.touched.insert(session, timeout_ms);
        }
        self.send_to(link, &QuorumPacket::Revalidated { session, valid });
    }

    /// What the observers have heard of goes to the leader with what this server has.
    pub(super) fn take_touched_by_observers(&mut self) -> BTreeMap<SessionId, i32> {
        self.observers().map(|observers| std::mem::take(&mut observers.touched)).unwrap_or_default()
    }

    fn begin_observer_feed(&mut self, newcomer: Newcomer) {
        let Newcomer { link, server, last_zxid, observer, .. } = newcomer;
        let committed = self.tree.view().last_zxid();
        let Some(epoch) = self.observers().map(|observers| observers.zab.epoch()) else { return };
        let seat = self.seat();
        let zxids = seat.history.zxids_through(committed);
        let history = zab::History { zxids: &zxids, last: committed, on_disk: None };
        let plan = match seat.options.force_snapshot_sync {
            true => SyncPlan::Snap,
            false => zab::plan(last_zxid, history),
        };
        tracing::info!("observer {}: its log ends at {last_zxid}, ours at {committed}: {plan:x?}", server.0);
        if matches!(plan, SyncPlan::Trunc { .. }) && zab::epoch_of(last_zxid) == epoch {
            // An observer is only told of what is committed: this server is behind it, and not for long.
            return self.close_observer(link, "it is ahead of this follower");
        }
        let (feed_writer, wake) = (seat.log.writer.clone(), seat.log.wake.clone());
        self.metrics.count(if plan == SyncPlan::Snap { Counter::SnapCount } else { Counter::DiffCount });
        let first = zab::first_of(epoch);
        let held = (plan == SyncPlan::Snap).then(|| self.tree.hold());
        let keeps = newcomer.keeps_through();
        let snapshot = held.map(|held| SnapshotFeed::begin(held, keeps, first, &feed_writer, wake));
        let progress = Progress { committed, proposed: committed, flushed: self.flushed_through };
        let Some(state) = self.seat().links.get_mut(link) else { return };
        let feed = Feed::begin(server, observer, plan, snapshot, progress, first, &mut state.out);
        if let Some(observers) = self.observers() {
            observers.feeds.insert(link, feed);
        }
    }

    /// Lets every observer's feed go on.
    pub(super) fn pump_observers(&mut self) {
        let committed = self.tree.view().last_zxid();
        let progress = Progress { committed, proposed: committed, flushed: self.flushed_through };
        let Role::Learning(learning) = &mut self.role else { return };
        let (Some(observers), Some(seat)) = (&mut learning.observers, &mut self.seat) else { return };
        let words = Words { config: Some(seat.configs.text().clone()), activations: &observers.activations };
        let mut lost = Vec::new();
        for (id, feed) in &mut observers.feeds {
            let Some(link) = seat.links.get_mut(*id) else { continue };
            if let Err(why) = feed.pump(&seat.history, progress, &seat.log, &words, &mut link.out) {
                lost.push((*id, why));
            }
        }
        seat.history.sent_to_all(observers.feeds.values().map(Feed::sent).min());
        for (id, why) in lost {
            self.close_observer(id, &why);
        }
    }
}
