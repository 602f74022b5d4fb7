//! What other servers send over the quorum port, from bytes to the packets that this server's role is told of.

use super::driver::Ensemble;
use super::role::Role;
use crate::message::{LearnerInfo, QuorumPacket};
use crate::runtime::link_io::LinkAction;
use crate::types::{LinkId, Now, Zxid};
use crate::wire::Decoded;
use crate::zab::{LeaderInput, LearnerInput};

/// Staged log bytes above which nothing further is read from the leader.
const STAGED_BYTES_MAX: usize = 64 << 20;

impl Ensemble {
    pub(super) fn received(&mut self, link: LinkId, bytes: Vec<u8>, now: Now) {
        let Some(state) = self.seat().links.get_mut(link) else { return };
        state.input.extend_from_slice(&bytes);
        if let Role::Learning(learning) = &mut self.role
            && learning.leader.link == link
        {
            learning.heard_at = now.mono;
        }
        self.take_packets(link, now);
        if self.seat().links.get_mut(link).is_none() {
            return;
        }
        if self.log().staged_bytes() > STAGED_BYTES_MAX {
            self.seat().held_buffers.push((link, bytes));
        } else {
            self.seat().actions.push(LinkAction::ReadOn { link, buffer: bytes });
        }
    }

    pub(super) fn give_buffers_back(&mut self) {
        if self.log().staged_bytes() <= STAGED_BYTES_MAX {
            let seat = self.seat();
            let held = std::mem::take(&mut seat.held_buffers);
            seat.actions.extend(held.into_iter().map(|(link, buffer)| LinkAction::ReadOn { link, buffer }));
        }
    }

    /// Whole packets, one by one: what one means may be that the bytes behind it are no packets. Of acknowledgements in a row
    /// the last one is enough, since each stands for all before it.
    fn take_packets(&mut self, link: LinkId, now: Now) {
        let Some(state) = self.seat().links.get_mut(link) else { return };
        let mut input = std::mem::take(&mut state.input);
        let mut taken = 0;
        let mut acked: Option<Zxid> = None;
        while !matches!(self.role, Role::Ending | Role::Looking) {
            if self.is_loading_from(link) {
                match self.load_snapshot(&input[taken..], now) {
                    Some(consumed) => taken += consumed,
                    None => return,
                }
                if self.is_loading_from(link) {
                    break;
                }
            }
            let Some(state) = self.seat().links.get_mut(link) else { return };
            let decoded = match state.decoder.next(&input[taken..]) {
                Ok(Decoded::Whole { value, consumed }) => {
                    state.is_introduced = true;
                    taken += consumed;
                    Ok(Some(value))
                }
                Ok(Decoded::NeedMore { .. }) => Ok(None),
                Err(error) => Err(error),
            };
            let ack = decoded.as_ref().ok().and_then(|packet| ack_of_txn(packet.as_ref()?));
            if let Some(before) = acked.take()
                && !ack.is_some_and(|ack| stands_for(ack, before))
            {
                self.packet(link, QuorumPacket::Ack { zxid: before }, now);
                if self.seat().links.get_mut(link).is_none() {
                    return;
                }
            }
            match decoded {
                Ok(Some(_)) if ack.is_some() => acked = ack,
                Ok(Some(packet)) => self.packet(link, packet, now),
                Ok(None) => break,
                Err(error) => return self.link_broken(link, &format!("its bytes are no packet: {error}"), now),
            }
        }
        if let Some(state) = self.seat().links.get_mut(link) {
            input.drain(..taken);
            state.input = input;
        }
    }

    fn packet(&mut self, link: LinkId, packet: QuorumPacket, now: Now) {
        match &self.role {
            Role::Leading(_) => {
                // What it said in an election comes before what it says as a learner.
                if let QuorumPacket::LearnerInfo { info: Some(LearnerInfo { server, .. }), .. } = packet
                    && let Some(epoch) = self.seat().elections.own_epoch_of(server)
                {
                    self.lead(LeaderInput::DataEpoch { server, epoch }, now);
                }
                self.lead(LeaderInput::Packet { link, packet }, now);
            }
            Role::Learning(learning) if learning.leader.link == link => self.learn(LearnerInput::Packet(packet), now),
            Role::Learning(_) => self.observer_packet(link, packet, now),
            _ => {}
        }
    }
}

/// The transaction that is acknowledged; the acknowledgement of NEWLEADER is of none.
fn ack_of_txn(packet: &QuorumPacket) -> Option<Zxid> {
    match packet {
        QuorumPacket::Ack { zxid } if zxid.counter() != 0 => Some(*zxid),
        _ => None,
    }
}

/// An acknowledgement stands for those before it, of its epoch.
fn stands_for(ack: Zxid, before: Zxid) -> bool {
    ack.epoch() == before.epoch() && ack >= before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(epoch: u32, counter: u32) -> Option<Zxid> {
        ack_of_txn(&QuorumPacket::Ack { zxid: Zxid::new(epoch, counter) })
    }

    #[test]
    fn the_acknowledgement_of_newleader_is_of_no_transaction() {
        assert_eq!(ack(3, 0), None);
        assert_eq!(ack(3, 1), Some(Zxid::new(3, 1)));
        assert_eq!(ack_of_txn(&QuorumPacket::UpToDate), None);
    }

    /// The last of several may be all that a leader hears, so nothing may get lost with those before it.
    #[test]
    fn an_acknowledgement_stands_for_what_it_covers_alone() {
        let of = |epoch, counter| Zxid::new(epoch, counter);
        assert!(stands_for(of(3, 9), of(3, 8)) && stands_for(of(3, 9), of(3, 1)) && stands_for(of(3, 9), of(3, 9)));
        assert!(!stands_for(of(3, 8), of(3, 9)), "one that went back says less");
        assert!(!stands_for(of(4, 1), of(3, 9)) && !stands_for(of(2, 9), of(3, 1)), "another epoch's");
    }
}
