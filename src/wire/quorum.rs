//! Packets between leader and learner (quorum-protocol sheet §5). They follow each other without an outer length, so the
//! end of one is found by walking it: type, zxid, data, identities. Which packet may come when is `zab`'s business.
//!
//! Invariant: a decoded proposal's zxid is that of its entry's header.

use super::{BadBytes, Decoded, Found, IdVectorScan, Reader, Writer, buffer_length, txn};
use crate::message::{ForwardedRequest, LearnerInfo, QuorumPacket};
use crate::types::limits::quorum_packet_bytes_max;
use crate::types::{Id, ServerId, SessionId, Zxid};
use std::sync::Arc;

/// Type and zxid; the data's length follows.
const HEAD_BYTES: usize = 12;
/// Smallest packet: the head, no data, no identities.
const PACKET_BYTES_MIN: usize = HEAD_BYTES + 8;
/// A session and its timeout, as pings carry them.
const TOUCH_BYTES: usize = 12;
/// An identity of two empty strings.
const ID_BYTES_MIN: usize = 8;
/// The zxid field of packets that speak of no transaction.
const NO_ZXID: i64 = -1;
/// ACKEPOCH of a learner that has accepted the epoch before.
const EPOCH_NOT_COUNTED: i32 = -1;
/// What a learner speaks that does not say: a release before 3.4.
const PROTOCOL_VERSION_UNSAID: i32 = 1;

/// Who speaks. Pings and revalidations hold different data each way, and most packets go one way only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A leader, or a follower that stands in for it towards observers.
    Leader,
    Learner,
}

/// The types; the numbers are ZooKeeper's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request = 1,
    Proposal = 2,
    Ack = 3,
    Commit = 4,
    Ping = 5,
    Revalidate = 6,
    Sync = 7,
    Inform = 8,
    CommitAndActivate = 9,
    NewLeader = 10,
    FollowerInfo = 11,
    UpToDate = 12,
    Diff = 13,
    Trunc = 14,
    Snap = 15,
    ObserverInfo = 16,
    LeaderInfo = 17,
    AckEpoch = 18,
    InformAndActivate = 19,
}

const KINDS: [Kind; 19] = [
    Kind::Request,
    Kind::Proposal,
    Kind::Ack,
    Kind::Commit,
    Kind::Ping,
    Kind::Revalidate,
    Kind::Sync,
    Kind::Inform,
    Kind::CommitAndActivate,
    Kind::NewLeader,
    Kind::FollowerInfo,
    Kind::UpToDate,
    Kind::Diff,
    Kind::Trunc,
    Kind::Snap,
    Kind::ObserverInfo,
    Kind::LeaderInfo,
    Kind::AckEpoch,
    Kind::InformAndActivate,
];

impl Kind {
    fn from_code(code: i32, from: Side) -> Option<Kind> {
        let index = usize::try_from(code).ok()?.checked_sub(1)?;
        KINDS.get(index).copied().filter(|kind| kind.is_said_by(from))
    }

    fn is_said_by(self, side: Side) -> bool {
        match self {
            Kind::Ping | Kind::Revalidate => true,
            Kind::Request | Kind::Ack | Kind::FollowerInfo | Kind::ObserverInfo | Kind::AckEpoch => {
                side == Side::Learner
            }
            _ => side == Side::Leader,
        }
    }
}

/// Appends a packet as `from` says it.
pub fn encode(packet: &QuorumPacket, from: Side, out: &mut Vec<u8>) {
    match packet {
        QuorumPacket::Request(request) => encode_request(request, out),
        QuorumPacket::Proposal { zxid, entry } => encode_proposal(*zxid, entry, out),
        QuorumPacket::Ack { zxid } => without_data(Kind::Ack, zxid.0, out),
        QuorumPacket::Commit { zxid } => without_data(Kind::Commit, zxid.0, out),
        QuorumPacket::Ping { zxid, touched: _ } if from == Side::Leader => without_data(Kind::Ping, zxid.0, out),
        QuorumPacket::Ping { zxid, touched } => with_data(Kind::Ping, zxid.0, out, |w| {
            for (session, timeout_ms) in touched {
                w.long(session.0);
                w.int(*timeout_ms);
            }
        }),
        QuorumPacket::Revalidate { session, timeout_ms, resumes } => with_data(Kind::Revalidate, NO_ZXID, out, |w| {
            w.long(session.0);
            w.int(*timeout_ms);
            if *resumes {
                w.bool(true);
            }
        }),
        QuorumPacket::Revalidated { session, valid } => with_data(Kind::Revalidate, NO_ZXID, out, |w| {
            w.long(session.0);
            w.bool(*valid);
        }),
        QuorumPacket::Sync => without_data(Kind::Sync, 0, out),
        QuorumPacket::Inform { zxid, entry } => encode_inform(*zxid, entry, out),
        QuorumPacket::CommitAndActivate { zxid, designated } => {
            with_data(Kind::CommitAndActivate, zxid.0, out, |w| w.long(designated.0));
        }
        QuorumPacket::InformAndActivate { zxid, designated, entry } => {
            encode_inform_and_activate(*zxid, *designated, entry, out);
        }
        QuorumPacket::NewLeader { zxid, config: None } => without_data(Kind::NewLeader, zxid.0, out),
        QuorumPacket::NewLeader { zxid, config: Some(config) } => {
            with_data(Kind::NewLeader, zxid.0, out, |w| w.raw(config.as_bytes()));
        }
        QuorumPacket::LearnerInfo { observer, accepted_epoch, info } => {
            let kind = if *observer { Kind::ObserverInfo } else { Kind::FollowerInfo };
            encode_learner_info(kind, accepted_epoch << 32, info.as_ref(), out);
        }
        QuorumPacket::UpToDate => without_data(Kind::UpToDate, NO_ZXID, out),
        QuorumPacket::Diff { zxid } => without_data(Kind::Diff, zxid.0, out),
        QuorumPacket::Trunc { zxid } => without_data(Kind::Trunc, zxid.0, out),
        QuorumPacket::Snap { zxid } => without_data(Kind::Snap, zxid.0, out),
        QuorumPacket::LeaderInfo { epoch, protocol_version } => {
            with_data(Kind::LeaderInfo, epoch << 32, out, |w| w.int(*protocol_version));
        }
        QuorumPacket::AckEpoch { last_zxid, current_epoch } => {
            let epoch = current_epoch.unwrap_or(EPOCH_NOT_COUNTED);
            with_data(Kind::AckEpoch, last_zxid.0, out, |w| w.int(epoch));
        }
    }
}

// What carries a transaction, from wherever that lies.

pub fn encode_proposal(zxid: Zxid, entry: &[u8], out: &mut Vec<u8>) {
    with_data(Kind::Proposal, zxid.0, out, |w| w.raw(entry));
}

pub fn encode_inform(zxid: Zxid, entry: &[u8], out: &mut Vec<u8>) {
    with_data(Kind::Inform, zxid.0, out, |w| w.raw(entry));
}

pub fn encode_inform_and_activate(zxid: Zxid, designated: ServerId, entry: &[u8], out: &mut Vec<u8>) {
    with_data(Kind::InformAndActivate, zxid.0, out, |w| {
        w.long(designated.0);
        w.raw(entry);
    });
}

fn head(kind: Kind, zxid: i64, w: &mut Writer<'_>) {
    w.int(kind as i32);
    w.long(zxid);
}

fn without_data(kind: Kind, zxid: i64, out: &mut Vec<u8>) {
    let mut w = Writer::new(out);
    head(kind, zxid, &mut w);
    w.buffer(None);
    w.int(-1);
}

fn with_data(kind: Kind, zxid: i64, out: &mut Vec<u8>, data: impl FnOnce(&mut Writer<'_>)) {
    head(kind, zxid, &mut Writer::new(out));
    Writer::frame(out, data);
    Writer::new(out).int(-1);
}

fn encode_request(request: &ForwardedRequest, out: &mut Vec<u8>) {
    head(Kind::Request, NO_ZXID, &mut Writer::new(out));
    Writer::frame(out, |w| {
        w.long(request.session.0);
        w.int(request.cxid);
        w.int(request.op);
        w.raw(&request.body);
    });
    let mut w = Writer::new(out);
    // Java sends a null for what no client asked for: session operations. For all else a leader walks the list unseen.
    if request.ids.is_empty() && request.op < 0 {
        return w.int(-1);
    }
    w.count(request.ids.len());
    for id in &request.ids {
        w.string(&id.scheme);
        w.string(&id.id);
    }
}

fn encode_learner_info(kind: Kind, zxid: i64, info: Option<&LearnerInfo>, out: &mut Vec<u8>) {
    let Some(info) = info else {
        return without_data(kind, zxid, out);
    };
    with_data(kind, zxid, out, |w| {
        w.long(info.server.0);
        w.int(info.protocol_version);
        w.long(info.config_version);
        if info.drops_log {
            w.bool(true);
        }
    });
}

/// Finds and decodes the packets of one connection. It remembers how far it walked in a packet whose end has not come
/// yet, so that time is linear in the bytes however small the pieces are.
#[derive(Clone, Debug)]
pub struct QuorumDecoder {
    from: Side,
    data_bytes_max: usize,
    /// Once head and length of the data were looked at: the walk through the identities behind the data.
    ids: Option<IdVectorScan>,
}

impl QuorumDecoder {
    /// `data_bytes_max`: `limits::quorum_data_bytes_max` of this server's settings.
    pub fn new(from: Side, data_bytes_max: usize) -> QuorumDecoder {
        QuorumDecoder { from, data_bytes_max, ids: None }
    }

    /// The packet at the start of `bytes`. After `NeedMore` call again with the same bytes and more behind them; after
    /// `Whole` with the bytes behind what was consumed. An error closes the connection.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Decoded<QuorumPacket>, BadBytes> {
        let mut ids = match self.ids.take() {
            Some(ids) => ids,
            None => match self.begin(bytes)? {
                Decoded::Whole { value, .. } => value,
                Decoded::NeedMore { missing } => return Ok(Decoded::NeedMore { missing }),
            },
        };
        let end = match ids.advance(bytes, quorum_packet_bytes_max(self.data_bytes_max))? {
            Decoded::Whole { value, .. } => value,
            Decoded::NeedMore { missing } => {
                self.ids = Some(ids);
                return Ok(Decoded::NeedMore { missing });
            }
        };
        let packet = decode(self.kind_of(bytes)?, self.from, &bytes[..end])?;
        Ok(Decoded::Whole { value: packet, consumed: end })
    }

    /// Looks at the head and the length of the data. No packet is shorter than what that needs.
    fn begin(&self, bytes: &[u8]) -> Result<Decoded<IdVectorScan>, BadBytes> {
        if bytes.len() < PACKET_BYTES_MIN {
            return Ok(Decoded::NeedMore { missing: PACKET_BYTES_MIN - bytes.len() });
        }
        self.kind_of(bytes)?;
        Ok(match buffer_length(bytes, HEAD_BYTES, "packet data", self.data_bytes_max)? {
            Decoded::NeedMore { missing } => Decoded::NeedMore { missing },
            Decoded::Whole { value: data_bytes, consumed } => {
                let ids_at = HEAD_BYTES + consumed + data_bytes;
                Decoded::Whole { value: IdVectorScan::new("packet identities", ids_at, 0), consumed: ids_at }
            }
        })
    }

    fn kind_of(&self, bytes: &[u8]) -> Result<Kind, BadBytes> {
        let code = Reader::new(bytes).int("packet type")?;
        Kind::from_code(code, self.from).ok_or(BadBytes {
            what: "packet type",
            offset: 0,
            found: Found::Value(code.into()),
        })
    }
}

/// `packet`: from its type to the last of its identities.
fn decode(kind: Kind, from: Side, packet: &[u8]) -> Result<QuorumPacket, BadBytes> {
    let mut r = Reader::new(packet);
    r.int("packet type")?;
    let zxid = Zxid(r.long("packet zxid")?);
    let data = r.buffer("packet data")?;
    Ok(match kind {
        Kind::Ack => QuorumPacket::Ack { zxid },
        Kind::Commit => QuorumPacket::Commit { zxid },
        Kind::Proposal => QuorumPacket::Proposal { zxid, entry: entry(zxid, present(&r, data)?)? },
        Kind::Ping if from == Side::Leader => QuorumPacket::Ping { zxid, touched: Vec::new() },
        Kind::Ping => QuorumPacket::Ping { zxid, touched: touched(data.unwrap_or_default())? },
        Kind::Inform => QuorumPacket::Inform { zxid, entry: entry(zxid, present(&r, data)?)? },
        Kind::Request => QuorumPacket::Request(request(present(&r, data)?, ids(&mut r)?)?),
        Kind::Revalidate => revalidate(from, present(&r, data)?)?,
        Kind::Sync => QuorumPacket::Sync,
        Kind::UpToDate => QuorumPacket::UpToDate,
        Kind::Diff => QuorumPacket::Diff { zxid },
        Kind::Trunc => QuorumPacket::Trunc { zxid },
        Kind::Snap => QuorumPacket::Snap { zxid },
        Kind::NewLeader => QuorumPacket::NewLeader { zxid, config: config(data) },
        Kind::CommitAndActivate => {
            let designated = ServerId(Reader::new(present(&r, data)?).long("designated leader")?);
            QuorumPacket::CommitAndActivate { zxid, designated }
        }
        Kind::InformAndActivate => {
            let mut data = Reader::new(present(&r, data)?);
            let designated = ServerId(data.long("designated leader")?);
            QuorumPacket::InformAndActivate { zxid, designated, entry: entry(zxid, data.rest())? }
        }
        Kind::FollowerInfo | Kind::ObserverInfo => QuorumPacket::LearnerInfo {
            observer: kind == Kind::ObserverInfo,
            accepted_epoch: zxid.0 >> 32,
            info: data.map(learner_info).transpose()?,
        },
        Kind::LeaderInfo => QuorumPacket::LeaderInfo {
            epoch: zxid.0 >> 32,
            protocol_version: Reader::new(present(&r, data)?).int("protocol version")?,
        },
        Kind::AckEpoch => {
            let epoch = Reader::new(present(&r, data)?).int("current epoch")?;
            QuorumPacket::AckEpoch {
                last_zxid: zxid,
                current_epoch: Some(epoch).filter(|epoch| *epoch != EPOCH_NOT_COUNTED),
            }
        }
    })
}

fn present<'a>(r: &Reader<'_>, data: Option<&'a [u8]>) -> Result<&'a [u8], BadBytes> {
    data.ok_or_else(|| r.error("packet data", Found::Null))
}

fn entry(zxid: Zxid, bytes: &[u8]) -> Result<Arc<[u8]>, BadBytes> {
    let found = txn::decode_header(bytes)?.zxid;
    if found != zxid {
        return Err(BadBytes { what: "zxid of a proposal's entry", offset: 0, found: Found::Value(found.0) });
    }
    Ok(bytes.into())
}

fn touched(data: &[u8]) -> Result<Vec<(SessionId, i32)>, BadBytes> {
    let mut r = Reader::new(data);
    let mut touched = Vec::with_capacity(data.len() / TOUCH_BYTES);
    while !r.is_empty() {
        touched.push((SessionId(r.long("touched session")?), r.int("session timeout")?));
    }
    Ok(touched)
}

fn request(data: &[u8], ids: Vec<Id>) -> Result<ForwardedRequest, BadBytes> {
    let mut r = Reader::new(data);
    Ok(ForwardedRequest {
        session: SessionId(r.long("session")?),
        cxid: r.int("cxid")?,
        op: r.int("opcode")?,
        body: r.rest().to_vec(),
        ids,
    })
}

fn ids(r: &mut Reader<'_>) -> Result<Vec<Id>, BadBytes> {
    const WHAT: &str = "identity";
    let ids = r.vector(WHAT, ID_BYTES_MIN, |r| {
        let scheme = r.string_present(WHAT)?.to_owned();
        let id = r.string(WHAT)?.unwrap_or_default().to_owned();
        Ok(Id { scheme, id })
    })?;
    Ok(ids.unwrap_or_default())
}

fn revalidate(from: Side, data: &[u8]) -> Result<QuorumPacket, BadBytes> {
    let mut r = Reader::new(data);
    let session = SessionId(r.long("session")?);
    Ok(match from {
        Side::Learner => {
            let timeout_ms = r.int("session timeout")?;
            QuorumPacket::Revalidate { session, timeout_ms, resumes: r.bool("whether it resumes").unwrap_or(false) }
        }
        Side::Leader => QuorumPacket::Revalidated { session, valid: r.bool("whether a session is valid")? },
    })
}

/// Java takes a text of one byte for none.
fn config(data: Option<&[u8]>) -> Option<Arc<str>> {
    let text = data.filter(|text| text.len() > 1)?;
    Some(String::from_utf8_lossy(text).as_ref().into())
}

/// Older learners leave out what stands at the end.
fn learner_info(data: &[u8]) -> Result<LearnerInfo, BadBytes> {
    let mut r = Reader::new(data);
    let server = ServerId(r.long("server id")?);
    let has_protocol_version = r.rest().len() >= 4;
    let protocol_version = if has_protocol_version { r.int("protocol version")? } else { PROTOCOL_VERSION_UNSAID };
    let config_version = if r.rest().len() >= 8 { r.long("config version")? } else { 0 };
    let drops_log = r.rest() == [1];
    Ok(LearnerInfo { server, protocol_version, config_version, drops_log })
}

#[cfg(test)]
#[path = "quorum_tests.rs"]
mod tests;
