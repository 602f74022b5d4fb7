//! Connections between learners and leaders: two streams in order, each with its own delays. A connection is cut with or
//! without notice, in the middle of either stream.

use super::disk::Entry;
use crate::message::QuorumPacket;
use crate::types::{LinkId, ServerId};
use rand::Rng;
use rand::rngs::SmallRng;
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Debug)]
pub enum Message {
    Connect,
    Packet(QuorumPacket),
    /// The body of a snapshot.
    Stream(Vec<Entry>),
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToLeader,
    ToLearner,
}

/// One end: a server in one of its roles. Nothing reaches a later role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub server: ServerId,
    pub role: u64,
}

#[derive(Debug, Default)]
struct Stream {
    messages: VecDeque<Message>,
    /// The last message comes not before, microseconds.
    last_at: u64,
    /// Nothing more is taken.
    shut: bool,
}

#[derive(Debug)]
pub struct Link {
    pub learner: End,
    pub leader: End,
    to_leader: Stream,
    to_learner: Stream,
}

impl Link {
    fn stream(&mut self, direction: Direction) -> &mut Stream {
        match direction {
            Direction::ToLeader => &mut self.to_leader,
            Direction::ToLearner => &mut self.to_learner,
        }
    }

    pub fn receiver(&self, direction: Direction) -> End {
        match direction {
            Direction::ToLeader => self.leader,
            Direction::ToLearner => self.learner,
        }
    }
}

#[derive(Debug, Default)]
pub struct Network {
    links: BTreeMap<LinkId, Link>,
    next: u64,
}

impl Network {
    pub fn open(&mut self, learner: End, leader: End) -> LinkId {
        self.next += 1;
        let link = LinkId(self.next);
        let (to_leader, to_learner) = (Stream::default(), Stream::default());
        self.links.insert(link, Link { learner, leader, to_leader, to_learner });
        link
    }

    pub fn get(&self, link: LinkId) -> &Link {
        &self.links[&link]
    }

    /// Connections with an end at each of two servers that `apart` names.
    pub fn between(&self, apart: impl Fn(ServerId, ServerId) -> bool) -> Vec<LinkId> {
        let links = self.links.iter().filter(|(_, link)| apart(link.learner.server, link.leader.server));
        links.map(|(id, _)| *id).collect()
    }

    /// When the message will be there, if it is not lost.
    pub fn send(&mut self, link: LinkId, direction: Direction, message: Message, at: u64) -> Option<u64> {
        let stream = self.links.get_mut(&link)?.stream(direction);
        if stream.shut {
            return None;
        }
        stream.last_at = stream.last_at.max(at);
        stream.messages.push_back(message);
        Some(stream.last_at)
    }

    pub fn receive(&mut self, link: LinkId, direction: Direction) -> Option<(End, Message)> {
        let link = self.links.get_mut(&link)?;
        let receiver = link.receiver(direction);
        link.stream(direction).messages.pop_front().map(|message| (receiver, message))
    }

    /// The receiver reads no more.
    pub fn deafen(&mut self, link: LinkId, direction: Direction) {
        if let Some(link) = self.links.get_mut(&link) {
            let stream = link.stream(direction);
            stream.messages.clear();
            stream.shut = true;
        }
    }

    /// Whatever is still said is lost, and of what is under way all but a first part.
    pub fn lose(&mut self, link: LinkId, direction: Direction, random: &mut SmallRng) {
        if let Some(link) = self.links.get_mut(&link) {
            let stream = link.stream(direction);
            if !stream.shut {
                let kept = random.random_range(0..=stream.messages.len());
                stream.messages.truncate(kept);
                stream.shut = true;
            }
        }
    }

    /// The receiver hears of the end behind what still comes.
    pub fn shut(&mut self, link: LinkId, direction: Direction, at: u64) -> Option<u64> {
        let told = self.send(link, direction, Message::Closed, at);
        if let Some(link) = self.links.get_mut(&link) {
            link.stream(direction).shut = true;
        }
        told
    }

    /// The receiver hears of it, whatever was lost.
    pub fn notify(&mut self, link: LinkId, direction: Direction, at: u64) -> Option<u64> {
        let stream = self.links.get_mut(&link)?.stream(direction);
        stream.last_at = stream.last_at.max(at);
        stream.messages.push_back(Message::Closed);
        Some(stream.last_at)
    }
}
