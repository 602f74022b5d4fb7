//! One connection of a learner to a modelled Java leader: what `LearnerHandler` keeps, and when it reads and sends.

use super::outbox::{DATA_BYTES_MAX, Outbox};
use crate::message::QuorumPacket;
use crate::types::{Instant, LinkId, ServerId, Zxid};
use crate::wire::quorum::{self, QuorumDecoder, Side};
use crate::zab::Limits;
use std::collections::VecDeque;

/// How far the conversation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    AwaitsInfo,
    /// `getEpochToPropose`: waits for others, and does not read.
    WaitsForEpoch,
    AwaitsAckEpoch,
    /// `waitForEpochAck`: does not read.
    WaitsForElection,
    /// Synchronized, or being so.
    AwaitsAck,
    /// `waitForNewLeaderAck`, `waitForStartup`: does not read.
    WaitsForQuorum,
    Serves,
}

pub struct Handler {
    pub link: LinkId,
    pub server: ServerId,
    pub observer: bool,
    pub step: Step,
    pub decoder: QuorumDecoder,
    pub input: Vec<u8>,
    /// What the learner says it has: current epoch, if it counts, and last zxid.
    pub promised: (Option<i32>, Zxid),
    /// The socket's read, or the wait for others, times out.
    pub gives_up_at: Instant,
    /// The tree is written for it at this time.
    pub snapshot_at: Option<Instant>,
    /// Waits until the snapshot is written.
    held: Vec<u8>,
    /// Packets leave: pings are sent from then on.
    pub sends: bool,
    /// It is told of proposals and commits.
    pub is_forwarded: bool,
    /// `tickOfNextAckDeadline`
    pub synced_until_tick: u64,
    /// Proposals that it has not acknowledged, with their time.
    unacknowledged: VecDeque<(Zxid, Instant)>,
}

impl Handler {
    pub fn new(link: LinkId, tick: u64, limits: &Limits, now: Instant) -> Handler {
        Handler {
            link,
            server: ServerId(-1),
            observer: false,
            step: Step::AwaitsInfo,
            decoder: QuorumDecoder::new(Side::Learner, DATA_BYTES_MAX),
            input: Vec::new(),
            promised: (None, Zxid::ZERO),
            gives_up_at: now.plus_millis(limits.init_ms()),
            snapshot_at: None,
            held: Vec::new(),
            sends: false,
            is_forwarded: false,
            synced_until_tick: tick + limits.init_ticks + limits.sync_ticks,
            unacknowledged: VecDeque::new(),
        }
    }

    pub fn reads(&self) -> bool {
        !matches!(self.step, Step::WaitsForEpoch | Step::WaitsForElection | Step::WaitsForQuorum)
    }

    /// Goes on: the next wait begins.
    pub fn comes_to(&mut self, step: Step, limits: &Limits, now: Instant) {
        self.step = step;
        self.heard(limits, now);
    }

    pub fn heard(&mut self, limits: &Limits, now: Instant) {
        let patience_ms = if self.step == Step::Serves { limits.sync_ms() } else { limits.init_ms() };
        self.gives_up_at = now.plus_millis(patience_ms);
    }

    /// Behind everything that was queued before.
    pub fn queue(&mut self, packet: &QuorumPacket, now: Instant, out: &mut Outbox) {
        if let QuorumPacket::Proposal { zxid, .. } = packet
            && self.step == Step::Serves
        {
            self.unacknowledged.push_back((*zxid, now));
        }
        quorum::encode(packet, Side::Leader, &mut self.held);
        if self.sends {
            out.send(self.link, std::mem::take(&mut self.held));
        }
    }

    /// What was queued leaves, and whatever comes from now on.
    pub fn starts_sending(&mut self, out: &mut Outbox) {
        self.sends = true;
        out.send(self.link, std::mem::take(&mut self.held));
    }

    pub fn acknowledged(&mut self, zxid: Zxid) {
        while self.unacknowledged.pop_front_if(|(sent, _)| *sent <= zxid).is_some() {}
    }

    /// `SyncLimitCheck`
    pub fn is_too_late(&self, limits: &Limits, now: Instant) -> bool {
        self.unacknowledged.front().is_some_and(|(_, sent)| sent.plus_millis(limits.sync_ms()) < now)
    }
}
