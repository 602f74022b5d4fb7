//! A follower in the leader's place for observers (`ObserverMaster.java`, `LearnerHandler.java`): it brings them to what it has
//! committed, tells them what it commits, and hands on what they ask for.
//!
//! Invariant: no quorum hangs on it. It serves while it follows an established epoch, so nobody here waits for anybody else;
//! when that ends, so does it.

use super::leader_io::name_of;
use super::{Limits, first_of};
use crate::message::{ForwardedRequest, LearnerInfo, QuorumPacket};
use crate::types::{Instant, LinkId, ServerId, SessionId, Zxid};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub struct ObserverMasterStart {
    pub me: ServerId,
    pub limits: Limits,
    /// The one that this server follows in.
    pub epoch: i64,
    /// Version of the committed configuration; `adopt` tells of later ones.
    pub config_version: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// LEADERINFO is sent; it owes ACKEPOCH.
    Informed,
    /// It is being brought to the history; it owes the acknowledgement of NEWLEADER.
    Syncing,
    /// UPTODATE is sent.
    Serving,
}

#[derive(Debug)]
struct Observer {
    server: ServerId,
    drops_log: bool,
    stage: Stage,
    heard_at: Instant,
}

#[derive(Debug)]
pub struct ObserverMaster {
    start: ObserverMasterStart,
    observers: BTreeMap<LinkId, Observer>,
    next_ping: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObserverMasterOutput {
    /// Behind everything that was sent to this observer before.
    Send {
        link: LinkId,
        packet: QuorumPacket,
    },
    Close {
        link: LinkId,
        why: String,
    },
    /// Bring this observer, whose log ends at `last_zxid`, to what is committed; then send it NEWLEADER; then what is committed.
    Feed {
        link: LinkId,
        server: ServerId,
        last_zxid: Zxid,
        /// A snapshot takes the place of all that its log holds.
        drops_log: bool,
    },
    /// An observer's client wants this of the leader.
    Forward {
        link: LinkId,
        request: ForwardedRequest,
    },
    /// Sessions that an observer has heard from, with their timeouts in ms.
    Touched {
        sessions: Vec<(SessionId, i32)>,
    },
    /// An observer asks whether a session is alive, which the leader knows.
    Revalidate {
        link: LinkId,
        session: SessionId,
        timeout_ms: i32,
        resumes: bool,
    },
}

impl ObserverMaster {
    pub fn new(start: ObserverMasterStart, now: Instant) -> ObserverMaster {
        ObserverMaster { observers: BTreeMap::new(), next_ping: now.plus_millis(start.limits.tick_ms / 2), start }
    }

    /// The configuration of this version is in force.
    pub fn adopt(&mut self, config_version: i64) {
        self.start.config_version = config_version;
    }

    pub fn epoch(&self) -> i64 {
        self.start.epoch
    }

    /// Observers that have the history.
    pub fn count(&self) -> u64 {
        self.observers.values().filter(|observer| observer.stage == Stage::Serving).count() as u64
    }

    pub fn next_deadline(&self) -> Instant {
        self.next_ping
    }

    pub fn packet(&mut self, now: Instant, link: LinkId, packet: QuorumPacket, out: &mut Vec<ObserverMasterOutput>) {
        let Some(observer) = self.observers.get_mut(&link) else {
            match self.first_packet(now, link, &packet, out) {
                Ok(()) => {}
                Err(why) => out.push(ObserverMasterOutput::Close { link, why }),
            }
            return;
        };
        observer.heard_at = now;
        match (observer.stage, packet) {
            (Stage::Informed, QuorumPacket::AckEpoch { last_zxid, .. }) => {
                observer.stage = Stage::Syncing;
                let server = observer.server;
                out.push(ObserverMasterOutput::Feed { link, server, last_zxid, drops_log: observer.drops_log });
            }
            (Stage::Syncing, QuorumPacket::Ack { zxid }) if zxid == first_of(self.start.epoch) => {
                observer.stage = Stage::Serving;
                out.push(ObserverMasterOutput::Send { link, packet: QuorumPacket::UpToDate });
            }
            // Behind UPTODATE it acknowledges NEWLEADER once more.
            (Stage::Serving, QuorumPacket::Ack { zxid }) if zxid == first_of(self.start.epoch) => {}
            (Stage::Serving, QuorumPacket::Ping { touched, .. }) => {
                if !touched.is_empty() {
                    out.push(ObserverMasterOutput::Touched { sessions: touched });
                }
            }
            (Stage::Serving, QuorumPacket::Request(request)) => {
                out.push(ObserverMasterOutput::Forward { link, request });
            }
            (Stage::Serving, QuorumPacket::Revalidate { session, timeout_ms, resumes }) => {
                out.push(ObserverMasterOutput::Revalidate { link, session, timeout_ms, resumes });
            }
            (stage, other) => {
                let why = format!("an observer in stage {stage:?} sent {}", name_of(&other));
                out.push(self.refuse(link, why));
            }
        }
    }

    fn first_packet(
        &mut self,
        now: Instant,
        link: LinkId,
        packet: &QuorumPacket,
        out: &mut Vec<ObserverMasterOutput>,
    ) -> Result<(), String> {
        let QuorumPacket::LearnerInfo { observer: true, info, .. } = packet else {
            return Err(format!("the first packet is {}, and only observers are taken here", name_of(packet)));
        };
        // Who says nothing is told apart by the connection; ids below zero are nobody's.
        let server = info.as_ref().map_or(ServerId(-1 - link.0 as i64), |info| info.server);
        let drops_log = info.as_ref().is_some_and(|info| info.drops_log);
        if let Some(info) = info {
            if info.protocol_version < LearnerInfo::PROTOCOL_VERSION {
                return Err(format!("server {} speaks protocol {:#x}", server.0, info.protocol_version));
            }
            if info.config_version > self.start.config_version {
                return Err(format!("server {} knows a newer configuration than this one", server.0));
            }
        }
        if server == self.start.me {
            return Err(format!("it has this server's own id {}: two servers have the same myid", server.0));
        }
        let older: Vec<LinkId> =
            self.observers.iter().filter(|(_, observer)| observer.server == server).map(|(link, _)| *link).collect();
        for older in older {
            out.push(self.refuse(older, format!("server {} has connected again", server.0)));
        }
        self.observers.insert(link, Observer { server, drops_log, stage: Stage::Informed, heard_at: now });
        let packet =
            QuorumPacket::LeaderInfo { epoch: self.start.epoch, protocol_version: LearnerInfo::PROTOCOL_VERSION };
        out.push(ObserverMasterOutput::Send { link, packet });
        Ok(())
    }

    pub fn closed(&mut self, link: LinkId) {
        self.observers.remove(&link);
    }

    fn refuse(&mut self, link: LinkId, why: String) -> ObserverMasterOutput {
        self.closed(link);
        ObserverMasterOutput::Close { link, why }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, committed: Zxid, out: &mut Vec<ObserverMasterOutput>) {
        if now < self.next_ping {
            return;
        }
        let limits = self.start.limits;
        self.next_ping = now.plus_millis((limits.tick_ms / 2).max(1));
        let silent: Vec<(LinkId, String)> = self
            .observers
            .iter()
            .filter_map(|(link, observer)| {
                let (limit, name) = match observer.stage {
                    Stage::Serving => (limits.sync_ms(), "syncLimit"),
                    Stage::Informed | Stage::Syncing => (limits.init_ms(), "initLimit"),
                };
                let silent_ms = now.micros_since(observer.heard_at) / 1000;
                let why = format!("server {} was not heard of for {silent_ms} ms ({name})", observer.server.0);
                (silent_ms > limit).then_some((*link, why))
            })
            .collect();
        for (link, why) in silent {
            let close = self.refuse(link, why);
            out.push(close);
        }
        for (link, _) in self.observers.iter().filter(|(_, observer)| observer.stage == Stage::Serving) {
            let packet = QuorumPacket::Ping { zxid: committed, touched: Vec::new() };
            out.push(ObserverMasterOutput::Send { link: *link, packet });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ObserverMasterOutput::{Close, Feed, Forward, Send, Touched};

    const EPOCH: i64 = 5;
    const LINK: LinkId = LinkId(1);
    const COMMITTED: Zxid = Zxid(EPOCH << 32 | 7);

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn master() -> ObserverMaster {
        let limits = Limits { tick_ms: 100, init_ticks: 10, sync_ticks: 5 };
        let start = ObserverMasterStart { me: ServerId(1), limits, epoch: EPOCH, config_version: 3 };
        ObserverMaster::new(start, at(0))
    }

    fn said(master: &mut ObserverMaster, ms: u64, link: LinkId, packet: QuorumPacket) -> Vec<ObserverMasterOutput> {
        let mut out = Vec::new();
        master.packet(at(ms), link, packet, &mut out);
        out
    }

    fn info(observer: bool, server: i64, config_version: i64) -> QuorumPacket {
        let info = LearnerInfo {
            server: ServerId(server),
            protocol_version: LearnerInfo::PROTOCOL_VERSION,
            config_version,
            drops_log: false,
        };
        QuorumPacket::LearnerInfo { observer, accepted_epoch: 2, info: Some(info) }
    }

    /// An observer that serves.
    fn with_observer() -> ObserverMaster {
        let mut master = master();
        let packet = QuorumPacket::LeaderInfo { epoch: EPOCH, protocol_version: LearnerInfo::PROTOCOL_VERSION };
        assert_eq!(said(&mut master, 1, LINK, info(true, 9, 3)), [Send { link: LINK, packet }]);
        let last_zxid = Zxid(0x4_0000_0001);
        let ack = QuorumPacket::AckEpoch { last_zxid, current_epoch: Some(4) };
        assert_eq!(
            said(&mut master, 2, LINK, ack),
            [Feed { link: LINK, server: ServerId(9), last_zxid, drops_log: false }]
        );
        assert_eq!(master.count(), 0);
        let up = Send { link: LINK, packet: QuorumPacket::UpToDate };
        assert_eq!(said(&mut master, 3, LINK, QuorumPacket::Ack { zxid: first_of(EPOCH) }), [up]);
        assert_eq!(said(&mut master, 4, LINK, QuorumPacket::Ack { zxid: first_of(EPOCH) }), []);
        assert_eq!(master.count(), 1);
        master
    }

    #[test]
    fn an_observer_is_brought_up_and_its_clients_are_heard() {
        let mut master = with_observer();
        let sessions = vec![(SessionId(8), 4000)];
        let ping = QuorumPacket::Ping { zxid: COMMITTED, touched: sessions.clone() };
        assert_eq!(said(&mut master, 5, LINK, ping), [Touched { sessions }]);
        let request = ForwardedRequest { session: SessionId(8), cxid: 1, op: 1, body: Vec::new(), ids: Vec::new() };
        let asked = said(&mut master, 6, LINK, QuorumPacket::Request(request.clone()));
        assert_eq!(asked, [Forward { link: LINK, request }]);
        let mut out = Vec::new();
        master.tick(at(60), COMMITTED, &mut out);
        let packet = QuorumPacket::Ping { zxid: COMMITTED, touched: Vec::new() };
        assert_eq!(out, [Send { link: LINK, packet }]);
    }

    #[test]
    fn who_is_no_observer_is_closed() {
        for first in [
            info(false, 9, 3),
            info(true, 9, 4),
            info(true, 1, 3),
            QuorumPacket::UpToDate,
            QuorumPacket::LearnerInfo {
                observer: true,
                accepted_epoch: 0,
                info: Some(LearnerInfo {
                    server: ServerId(9),
                    protocol_version: 1,
                    config_version: 0,
                    drops_log: false,
                }),
            },
        ] {
            let mut master = master();
            let out = said(&mut master, 1, LINK, first.clone());
            assert!(matches!(out[..], [Close { link: LINK, .. }]), "{first:?}: {out:?}");
        }
        let mut master = with_observer();
        // It acknowledges what nobody asked it to.
        let out = said(&mut master, 9, LINK, QuorumPacket::Ack { zxid: COMMITTED });
        assert!(matches!(out[..], [Close { link: LINK, .. }]), "{out:?}");
        assert_eq!(master.count(), 0);
    }

    #[test]
    fn the_newer_connection_of_a_server_counts() {
        let mut master = with_observer();
        let out = said(&mut master, 9, LinkId(3), info(true, 9, 0));
        assert!(matches!(out[..], [Close { link: LINK, .. }, Send { link: LinkId(3), .. }]), "{out:?}");
    }

    #[test]
    fn who_is_silent_is_closed() {
        let mut master = with_observer();
        let mut out = Vec::new();
        for ms in (50..=500).step_by(50) {
            master.tick(at(ms), COMMITTED, &mut out);
        }
        assert!(out.iter().all(|output| matches!(output, Send { .. })), "{out:?}");
        out.clear();
        master.tick(at(550), COMMITTED, &mut out);
        assert!(matches!(out[..], [Close { link: LINK, .. }]), "{out:?}");
    }
}
