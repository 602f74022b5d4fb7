//! What other servers send over the quorum port, from bytes to the packets that this server's role is told of.

use super::driver::Ensemble;
use super::role::Role;
use crate::message::{ForwardedRequest, LearnerInfo, QuorumPacket};
use crate::runtime::link_io::LinkAction;
use crate::tree::View;
use crate::types::{LinkId, Now, OpCode, Zxid};
use crate::wire::{Decoded, Reader};
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

    /// Whole packets. What one means may be that the bytes behind it are no packets, so each is acted upon before the next is
    /// looked for; but for requests and acknowledgements, which leave the rest as it is and come in numbers.
    fn take_packets(&mut self, link: LinkId, now: Now) {
        let Some(state) = self.seat().links.get_mut(link) else { return };
        let mut input = std::mem::take(&mut state.input);
        let mut taken = 0;
        let mut row = Row::default();
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
            let decoded = match decoded {
                Ok(Some(packet)) if Row::takes(&packet) => {
                    row.add(packet);
                    if row.is_full() {
                        self.row(link, &mut row, now);
                    }
                    continue;
                }
                decoded => decoded,
            };
            if !row.packets.is_empty() {
                self.row(link, &mut row, now);
                if self.seat().links.get_mut(link).is_none() {
                    return;
                }
            }
            match decoded {
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

    /// Acts upon packets that came in a row; the znodes that requests name are fetched together.
    fn row(&mut self, link: LinkId, row: &mut Row, now: Now) {
        if self.is_in_charge() {
            self.tree.view().prefetch(row.packets.iter().filter_map(path_of));
        }
        for packet in row.packets.drain(..) {
            if self.seat().links.get_mut(link).is_some() {
                self.packet(link, packet, now);
            }
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

/// Requests and acknowledgements that came one behind the other. Of acknowledgements in a row the last one is enough, since
/// each stands for all before it.
#[derive(Default)]
struct Row {
    packets: Vec<QuorumPacket>,
}

impl Row {
    fn takes(packet: &QuorumPacket) -> bool {
        matches!(packet, QuorumPacket::Request(_)) || ack_of_txn(packet).is_some()
    }

    fn add(&mut self, packet: QuorumPacket) {
        match self.packets.last_mut() {
            Some(last) if stands_for(&packet, last) => *last = packet,
            _ => self.packets.push(packet),
        }
    }

    fn is_full(&self) -> bool {
        self.packets.len() == View::PREFETCHED_AT_ONCE
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
fn stands_for(packet: &QuorumPacket, before: &QuorumPacket) -> bool {
    match (ack_of_txn(packet), ack_of_txn(before)) {
        (Some(ack), Some(before)) => ack.epoch() == before.epoch() && ack >= before,
        _ => false,
    }
}

/// Of the znode that a request is about, where its record begins with that.
fn path_of(packet: &QuorumPacket) -> Option<&[u8]> {
    let QuorumPacket::Request(ForwardedRequest { op, body, .. }) = packet else { return None };
    match OpCode::from_code(*op) {
        Some(OpCode::Create | OpCode::Create2 | OpCode::Delete | OpCode::SetData | OpCode::SetAcl) => {
            Reader::new(body).buffer("path").ok().flatten()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::SessionId;
    use crate::wire::Writer;

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
        let of = |epoch, counter| QuorumPacket::Ack { zxid: Zxid::new(epoch, counter) };
        let stands_for = |ack: QuorumPacket, before: QuorumPacket| super::stands_for(&ack, &before);
        assert!(stands_for(of(3, 9), of(3, 8)) && stands_for(of(3, 9), of(3, 1)) && stands_for(of(3, 9), of(3, 9)));
        assert!(!stands_for(of(3, 8), of(3, 9)), "one that went back says less");
        assert!(!stands_for(of(4, 1), of(3, 9)) && !stands_for(of(2, 9), of(3, 1)), "another epoch's");
        assert!(!stands_for(of(3, 1), of(3, 0)), "NEWLEADER's is heard by itself");
    }

    fn request(op: OpCode, path: Option<&str>) -> QuorumPacket {
        let mut body = Vec::new();
        Writer::new(&mut body).string_or_null(path);
        QuorumPacket::Request(ForwardedRequest { session: SessionId(1), cxid: 1, op: op.code(), body, ids: Vec::new() })
    }

    #[test]
    fn requests_keep_their_places_among_acknowledgements() {
        let ack = |counter| QuorumPacket::Ack { zxid: Zxid::new(1, counter) };
        let (set, sync) = (request(OpCode::SetData, Some("/a")), request(OpCode::Sync, None));
        let mut row = Row::default();
        for packet in [ack(1), ack(2), set.clone(), ack(3), sync.clone(), ack(4), ack(5), ack(6)] {
            assert!(Row::takes(&packet));
            row.add(packet);
        }
        assert_eq!(row.packets, [ack(2), set, ack(3), sync, ack(6)]);
        assert!(!Row::takes(&ack(0)) && !Row::takes(&QuorumPacket::UpToDate));
    }

    #[test]
    fn a_request_names_a_znode_or_none() {
        assert_eq!(path_of(&request(OpCode::Delete, Some("/a/b"))), Some(b"/a/b".as_slice()));
        assert_eq!(path_of(&request(OpCode::Create, None)), None);
        assert_eq!(path_of(&request(OpCode::CloseSession, Some("/a"))), None);
        let cut =
            ForwardedRequest { session: SessionId(1), cxid: 1, op: 5, body: vec![0, 0, 0, 9, b'/'], ids: Vec::new() };
        assert_eq!(path_of(&QuorumPacket::Request(cut)), None, "whoever decodes it whole will tell");
    }
}
