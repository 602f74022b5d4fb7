//! Who keeps which election connection (`QuorumCnxManager`), as a state machine over opaque links; sockets and bytes are
//! the shell's.
//!
//! Between two servers only the connection lives that the *larger* id opened. The smaller one may dial too, but its
//! first message merely asks to be called back, and both sides close that link. A newer connection replaces an older one.
//!
//! For every peer one message waits at most; a newer one replaces it, since only the last vote counts. What was said last
//! is said again on a new connection if nothing newer waits: it may have been lost with the old one.
//!
//! Other than Java, which dials only when there is something to send, we dial again as long as something waits, at growing
//! distances: votes to a server that was away reach it when it is back, without waiting for the next repetition.

use crate::message::Notification;
use crate::types::{Instant, LinkId, ServerId};
use std::collections::{BTreeMap, BTreeSet};

/// The id of an observer that has none of its own; the acceptor gives it one from -1 downwards.
pub const ANONYMOUS: ServerId = ServerId(i64::MAX);

/// An election address as a peer named it in its first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Copy, Debug)]
pub struct ConnectionRules {
    /// `cnxTimeout`: until a dialled connection must stand.
    pub dial_ms_max: u64,
    /// Until the first message must have come on an accepted link.
    pub hello_ms_max: u64,
    /// How long the smaller id waits to be called back before it asks again. Not short: asking ends a connection that the
    /// other side has made meanwhile.
    pub callback_ms_max: u64,
    pub redial_ms_min: u64,
    pub redial_ms_max: u64,
    /// A link that lived as long counts as sound: the next dial after it comes quickly.
    pub sound_ms: u64,
    /// Servers outside of the configuration that may be connected at a time.
    pub strangers_max: usize,
}

impl Default for ConnectionRules {
    fn default() -> ConnectionRules {
        ConnectionRules {
            dial_ms_max: 5_000,
            hello_ms_max: 5_000,
            callback_ms_max: 2_000,
            redial_ms_min: 10,
            redial_ms_max: 1_000,
            sound_ms: 1_000,
            strangers_max: 64,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Input {
    /// Servers with a configured election address; `moved` are those that have another one than before. Connections stay,
    /// also those of others.
    Members {
        members: BTreeSet<ServerId>,
        moved: BTreeSet<ServerId>,
    },
    /// Somebody connected; its first message follows.
    Accepted {
        link: LinkId,
    },
    /// The first message of an accepted link. `endpoints` may be empty.
    Hello {
        link: LinkId,
        sid: ServerId,
        endpoints: Vec<Endpoint>,
    },
    /// A dial succeeded.
    Opened {
        link: LinkId,
        to: ServerId,
    },
    DialFailed {
        to: ServerId,
    },
    /// The link is gone, by whomever.
    Closed {
        link: LinkId,
    },
    SendTo {
        to: ServerId,
        notification: Notification,
    },
    /// The message given to this link was written; it takes the next.
    Sent {
        link: LinkId,
    },
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Answered by `Opened` or `DialFailed`. Empty `endpoints`: the configured address.
    Dial {
        to: ServerId,
        endpoints: Vec<Endpoint>,
    },
    /// The own id and election address, in one segment.
    SendHello {
        link: LinkId,
    },
    /// Answered by `Sent`, unless the link closes.
    Send {
        link: LinkId,
        notification: Notification,
    },
    /// After what was sent on it before is written. `Closed` need not follow.
    Close {
        link: LinkId,
    },
    /// This link speaks for `peer` from now on, a replaced one no longer does.
    PeerConnected {
        peer: ServerId,
        link: LinkId,
    },
    PeerLost {
        peer: ServerId,
    },
    /// A peer has our id: two servers are configured alike. The link is left open and unused, as Java does.
    OwnIdSeen {
        link: LinkId,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dial {
    Idle,
    /// Under way; given up at that time.
    Dialing(Instant),
    /// We asked a larger id to call us back; again at that time.
    Awaiting(Instant),
    /// Failed; again at that time if something waits.
    RetryAt(Instant),
}

#[derive(Debug)]
struct Live {
    link: LinkId,
    since: Instant,
    /// A message was given to it and is not written yet.
    writing: bool,
}

#[derive(Debug)]
struct Peer {
    live: Option<Live>,
    waiting: Option<Notification>,
    last: Option<Notification>,
    dial: Dial,
    redial_ms: u64,
    /// Where it said it listens, if it is not of the configuration or says otherwise.
    endpoints: Vec<Endpoint>,
}

pub struct Connections {
    my_id: ServerId,
    rules: ConnectionRules,
    members: BTreeSet<ServerId>,
    peers: BTreeMap<ServerId, Peer>,
    /// Whose link it is.
    owners: BTreeMap<LinkId, ServerId>,
    /// Accepted links that said nothing yet, with the time they have.
    greeting: BTreeMap<LinkId, Instant>,
    anonymous_next: i64,
}

impl Connections {
    pub fn new(my_id: ServerId, rules: ConnectionRules, members: BTreeSet<ServerId>) -> Connections {
        Connections {
            my_id,
            rules,
            members,
            peers: BTreeMap::new(),
            owners: BTreeMap::new(),
            greeting: BTreeMap::new(),
            anonymous_next: -1,
        }
    }

    /// Who speaks on this link; none if it was replaced or is not introduced.
    pub fn peer_of(&self, link: LinkId) -> Option<ServerId> {
        self.owners.get(&link).copied()
    }

    pub fn link_of(&self, peer: ServerId) -> Option<LinkId> {
        self.peers.get(&peer).and_then(|peer| peer.live.as_ref()).map(|live| live.link)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let of_peer = |peer: &Peer| match peer.dial {
            Dial::Idle => None,
            Dial::Dialing(at) | Dial::Awaiting(at) | Dial::RetryAt(at) => Some(at),
        };
        self.peers.values().filter_map(of_peer).chain(self.greeting.values().copied()).min()
    }

    pub fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Members { members, moved } => {
                self.members = members;
                for (_, peer) in self.peers.iter_mut().filter(|(id, _)| moved.contains(id)) {
                    // What it said of itself may be of before.
                    peer.endpoints.clear();
                }
            }
            Input::Accepted { link } => {
                self.greeting.insert(link, now.plus_millis(self.rules.hello_ms_max));
            }
            Input::Hello { link, sid, endpoints } => self.greet(now, link, sid, endpoints, out),
            Input::Opened { link, to } => self.opened(now, link, to, out),
            Input::DialFailed { to } => self.dial_failed(now, to),
            Input::Closed { link } => self.closed(now, link, out),
            Input::SendTo { to, notification } => self.send(now, to, notification, out),
            Input::Sent { link } => self.sent(link, out),
            Input::Tick => {}
        }
        self.watch_time(now, out);
    }

    fn greet(&mut self, now: Instant, link: LinkId, sid: ServerId, endpoints: Vec<Endpoint>, out: &mut Vec<Output>) {
        if self.greeting.remove(&link).is_none() {
            return;
        }
        if sid == self.my_id {
            out.push(Output::OwnIdSeen { link });
            return;
        }
        if sid == ANONYMOUS {
            let given = ServerId(self.anonymous_next);
            self.anonymous_next -= 1;
            return self.take_if_room(now, given, link, out);
        }
        if sid > self.my_id {
            return self.take_if_room(now, sid, link, out);
        }
        out.push(Output::Close { link });
        if !self.has_room_for(sid) {
            return;
        }
        // It would not call if it had a connection: ours is dead, whatever it looks like from here.
        self.drop_link(sid, out);
        let peer = self.peer(sid);
        peer.endpoints = endpoints;
        if !matches!(peer.dial, Dial::Dialing(_)) {
            self.dial(now, sid, out);
        }
    }

    fn has_room_for(&self, sid: ServerId) -> bool {
        let strangers = self.peers.keys().filter(|id| !self.members.contains(id)).count();
        self.members.contains(&sid) || self.peers.contains_key(&sid) || strangers < self.rules.strangers_max
    }

    fn take_if_room(&mut self, now: Instant, sid: ServerId, link: LinkId, out: &mut Vec<Output>) {
        if self.has_room_for(sid) {
            self.take(now, sid, link, out);
        } else {
            out.push(Output::Close { link });
        }
    }

    /// `link` speaks for `sid` from now on.
    fn take(&mut self, now: Instant, sid: ServerId, link: LinkId, out: &mut Vec<Output>) {
        self.drop_link(sid, out);
        self.owners.insert(link, sid);
        let peer = self.peer(sid);
        peer.live = Some(Live { link, since: now, writing: false });
        if peer.waiting.is_none() {
            peer.waiting = peer.last.clone();
        }
        if !matches!(peer.dial, Dial::Dialing(_)) {
            peer.dial = Dial::Idle;
        }
        out.push(Output::PeerConnected { peer: sid, link });
        self.pump(sid, out);
    }

    fn opened(&mut self, now: Instant, link: LinkId, to: ServerId, out: &mut Vec<Output>) {
        let calls_back = to > self.my_id;
        let until = now.plus_millis(self.rules.callback_ms_max);
        let peer = self.peer(to);
        let expected = matches!(peer.dial, Dial::Dialing(_));
        if expected {
            peer.dial = Dial::Idle;
        }
        // It may have called meanwhile, or the dial was given up.
        if !expected || (calls_back && peer.live.is_some()) {
            out.push(Output::Close { link });
            return;
        }
        out.push(Output::SendHello { link });
        if calls_back {
            peer.dial = Dial::Awaiting(until);
            out.push(Output::Close { link });
        } else {
            self.take(now, to, link, out);
        }
    }

    fn dial_failed(&mut self, now: Instant, to: ServerId) {
        if matches!(self.peers.get(&to), Some(peer) if matches!(peer.dial, Dial::Dialing(_))) {
            self.put_off(now, to);
        }
    }

    /// The next dial comes later than the one before did.
    fn put_off(&mut self, now: Instant, to: ServerId) {
        let redial_ms_max = self.rules.redial_ms_max;
        let peer = self.peer(to);
        peer.dial = Dial::RetryAt(now.plus_millis(peer.redial_ms));
        peer.redial_ms = (peer.redial_ms * 2).min(redial_ms_max);
    }

    fn closed(&mut self, now: Instant, link: LinkId, out: &mut Vec<Output>) {
        self.greeting.remove(&link);
        let Some(sid) = self.owners.get(&link).copied() else {
            return;
        };
        let (sound_ms, redial_ms_min) = (self.rules.sound_ms, self.rules.redial_ms_min);
        let peer = self.peer(sid);
        if peer.live.as_ref().is_some_and(|live| now.micros_since(live.since) >= sound_ms * 1000) {
            peer.redial_ms = redial_ms_min;
        }
        peer.live = None;
        let idle = peer.dial == Dial::Idle;
        self.owners.remove(&link);
        out.push(Output::PeerLost { peer: sid });
        if idle {
            self.put_off(now, sid);
        }
    }

    fn send(&mut self, now: Instant, to: ServerId, notification: Notification, out: &mut Vec<Output>) {
        if to == self.my_id || !self.has_room_for(to) {
            return;
        }
        let peer = self.peer(to);
        peer.waiting = Some(notification);
        if peer.live.is_some() {
            self.pump(to, out);
        } else if peer.dial == Dial::Idle {
            self.dial(now, to, out);
        }
    }

    fn sent(&mut self, link: LinkId, out: &mut Vec<Output>) {
        let Some(sid) = self.peer_of(link) else {
            return;
        };
        if let Some(live) = &mut self.peer(sid).live {
            live.writing = false;
        }
        self.pump(sid, out);
    }

    /// Gives the waiting message to the link if that takes one.
    fn pump(&mut self, sid: ServerId, out: &mut Vec<Output>) {
        let peer = self.peer(sid);
        let Some(live) = peer.live.as_mut().filter(|live| !live.writing) else {
            return;
        };
        if let Some(notification) = peer.waiting.take() {
            live.writing = true;
            peer.last = Some(notification.clone());
            out.push(Output::Send { link: live.link, notification });
        }
    }

    fn drop_link(&mut self, sid: ServerId, out: &mut Vec<Output>) {
        let Some(live) = self.peer(sid).live.take() else {
            return;
        };
        self.owners.remove(&live.link);
        out.push(Output::Close { link: live.link });
        out.push(Output::PeerLost { peer: sid });
    }

    /// A server that is neither of the configuration nor said where it listens can only call us.
    fn dial(&mut self, now: Instant, to: ServerId, out: &mut Vec<Output>) {
        let until = now.plus_millis(self.rules.dial_ms_max);
        let configured = self.members.contains(&to);
        let peer = self.peer(to);
        if configured || !peer.endpoints.is_empty() {
            peer.dial = Dial::Dialing(until);
            out.push(Output::Dial { to, endpoints: peer.endpoints.clone() });
        }
    }

    fn watch_time(&mut self, now: Instant, out: &mut Vec<Output>) {
        let silent: Vec<LinkId> = self.greeting.iter().filter(|(_, at)| **at <= now).map(|(link, _)| *link).collect();
        for link in silent {
            self.greeting.remove(&link);
            out.push(Output::Close { link });
        }
        let ids: Vec<ServerId> = self.peers.keys().copied().collect();
        for sid in ids {
            let peer = self.peer(sid);
            match peer.dial {
                Dial::Dialing(at) if at <= now => self.put_off(now, sid),
                Dial::Awaiting(at) | Dial::RetryAt(at) if at <= now => {
                    peer.dial = Dial::Idle;
                    if peer.waiting.is_some() && peer.live.is_none() {
                        self.dial(now, sid, out);
                    }
                }
                _ => {}
            }
        }
        self.forget_gone_strangers();
    }

    fn forget_gone_strangers(&mut self) {
        let members = &self.members;
        self.peers.retain(|id, peer| members.contains(id) || peer.live.is_some() || peer.dial != Dial::Idle);
    }

    fn peer(&mut self, sid: ServerId) -> &mut Peer {
        let redial_ms = self.rules.redial_ms_min;
        self.peers.entry(sid).or_insert_with(|| Peer {
            live: None,
            waiting: None,
            last: None,
            dial: Dial::Idle,
            redial_ms,
            endpoints: Vec::new(),
        })
    }
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
