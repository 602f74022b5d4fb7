//! `QuorumCnxManager`, from the facts sheet §2: one connection for each pair of servers, opened by the one with the larger id;
//! one message waiting for each server, and the last one again on a new connection.

use super::outbox::{Outbox, host_of};
use crate::message::Notification;
use crate::runtime::link_io::{LinkEvent, PeerPort};
use crate::sim::options::ELECTION_PORT;
use crate::types::{LinkId, ServerId};
use crate::wire::Decoded;
use crate::wire::election::{ElectionAddress, Received, decode_introduction, encode_introduction, next_notification};
use std::collections::{BTreeMap, BTreeSet};

/// `cnxTimeout`
const DIAL_MS: u64 = 5000;

enum Line {
    Dialling(ServerId),
    /// Its first message has not come.
    Accepted,
    Up(ServerId),
    /// Somebody who says that he is this server.
    Ignored,
}

struct Link {
    line: Line,
    input: Vec<u8>,
}

pub struct Connections {
    me: ServerId,
    links: BTreeMap<LinkId, Link>,
    /// `senderWorkerMap`
    senders: BTreeMap<ServerId, LinkId>,
    /// `inprogressConnections`
    dialling: BTreeSet<ServerId>,
    /// `queueSendMap`: each holds one message at most.
    queues: BTreeMap<ServerId, Option<Vec<u8>>>,
    last_sent: BTreeMap<ServerId, Vec<u8>>,
}

impl Connections {
    pub fn new(me: ServerId, out: &mut Outbox) -> Connections {
        out.listen(PeerPort::Election);
        Connections {
            me,
            links: BTreeMap::new(),
            senders: BTreeMap::new(),
            dialling: BTreeSet::new(),
            queues: BTreeMap::new(),
            last_sent: BTreeMap::new(),
        }
    }

    pub fn has(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    /// `toSend`, for somebody else.
    pub fn send(&mut self, to: ServerId, frame: Vec<u8>, out: &mut Outbox) {
        self.queues.insert(to, Some(frame));
        self.pump(to, out);
        self.connect(to, out);
    }

    /// `haveDelivered`
    pub fn has_delivered(&self) -> bool {
        self.queues.values().any(Option::is_none)
    }

    pub fn connect_all(&mut self, out: &mut Outbox) {
        let known: Vec<ServerId> = self.queues.keys().copied().collect();
        known.into_iter().for_each(|server| self.connect(server, out));
    }

    fn connect(&mut self, to: ServerId, out: &mut Outbox) {
        if self.senders.contains_key(&to) || !self.dialling.insert(to) {
            return;
        }
        let link = out.dial(&host_of(to), ELECTION_PORT, DIAL_MS);
        self.links.insert(link, Link { line: Line::Dialling(to), input: Vec::new() });
    }

    fn pump(&mut self, to: ServerId, out: &mut Outbox) {
        let Some(link) = self.senders.get(&to).copied() else { return };
        if let Some(frame) = self.queues.entry(to).or_default().take() {
            self.last_sent.insert(to, frame.clone());
            out.send(link, frame);
        }
    }

    /// The connection is the one for this server from now on.
    fn is_up(&mut self, link: LinkId, server: ServerId, out: &mut Outbox) {
        if let Some(old) = self.senders.insert(server, link) {
            self.drop_link(old, out);
            self.senders.insert(server, link);
        }
        if let Some(link) = self.links.get_mut(&link) {
            link.line = Line::Up(server);
        }
        if self.queues.entry(server).or_default().is_none()
            && let Some(last) = self.last_sent.get(&server)
        {
            out.send(link, last.clone());
        }
        self.pump(server, out);
    }

    fn drop_link(&mut self, link: LinkId, out: &mut Outbox) {
        self.gone(link);
        out.close(link);
    }

    fn gone(&mut self, link: LinkId) {
        match self.links.remove(&link).map(|link| link.line) {
            Some(Line::Dialling(server)) => drop(self.dialling.remove(&server)),
            Some(Line::Up(server)) if self.senders.get(&server) == Some(&link) => {
                self.senders.remove(&server);
            }
            _ => {}
        }
    }

    /// What happened to one of its connections, or to a new one; what others say is added to `heard`.
    pub fn event(&mut self, event: LinkEvent, heard: &mut Vec<(ServerId, Notification)>, out: &mut Outbox) {
        match event {
            LinkEvent::Accepted { link, .. } => {
                self.links.insert(link, Link { line: Line::Accepted, input: Vec::new() });
            }
            LinkEvent::Opened { link, .. } => self.opened(link, out),
            LinkEvent::Received { link, bytes } => {
                let Some(state) = self.links.get_mut(&link) else { return };
                state.input.extend_from_slice(&bytes);
                out.read_on(link);
                self.read(link, heard, out);
            }
            LinkEvent::Closed { link, .. } => self.gone(link),
            LinkEvent::Sent { .. } | LinkEvent::Listening { .. } | LinkEvent::ListenFailed { .. } => {}
        }
    }

    fn opened(&mut self, link: LinkId, out: &mut Outbox) {
        let Some(Link { line: Line::Dialling(server), .. }) = self.links.get(&link) else { return };
        let server = *server;
        self.dialling.remove(&server);
        let mut bytes = Vec::new();
        let own = ElectionAddress { host: host_of(self.me), port: ELECTION_PORT };
        encode_introduction(self.me, &[own], false, &mut bytes);
        out.send(link, bytes);
        match server > self.me {
            // The other one calls back.
            true => self.drop_link(link, out),
            false => self.is_up(link, server, out),
        }
    }

    fn read(&mut self, link: LinkId, heard: &mut Vec<(ServerId, Notification)>, out: &mut Outbox) {
        loop {
            let Some(state) = self.links.get_mut(&link) else { return };
            match state.line {
                Line::Accepted => match decode_introduction(&state.input) {
                    Ok(Decoded::Whole { value, consumed }) => {
                        state.input.drain(..consumed);
                        self.introduced(link, value.server, out);
                    }
                    Ok(Decoded::NeedMore { .. }) => return,
                    Err(_) => return self.drop_link(link, out),
                },
                Line::Up(server) => match next_notification(&state.input) {
                    Ok(Decoded::Whole { value, consumed }) => {
                        state.input.drain(..consumed);
                        if let Received::Notification(notification) = value {
                            heard.push((server, notification));
                        }
                    }
                    Ok(Decoded::NeedMore { .. }) => return,
                    Err(_) => return self.drop_link(link, out),
                },
                Line::Dialling(_) | Line::Ignored => return,
            }
        }
    }

    fn introduced(&mut self, link: LinkId, server: ServerId, out: &mut Outbox) {
        if server > self.me {
            return self.is_up(link, server, out);
        }
        if server == self.me {
            if let Some(link) = self.links.get_mut(&link) {
                link.line = Line::Ignored;
            }
            return;
        }
        if let Some(old) = self.senders.get(&server).copied() {
            self.drop_link(old, out);
        }
        self.drop_link(link, out);
        self.connect(server, out);
    }
}
