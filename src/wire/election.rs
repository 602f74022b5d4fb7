//! Bytes of an election connection (quorum-protocol sheet §2, §3): the initiator's first message, then notifications in
//! frames, both ways. Who may keep the connection and what a vote is worth is `election`'s business.
//!
//! ```text
//! first:  version -65536 or -65535 │ sid │ int length │ host:port[|host:port…]     or, before 3.5: sid ≥ 0 alone
//! frame:  int length │ state 4 │ leader 8 │ zxid 8 │ round 8 │ peerEpoch 8 │ version 4 │ int n │ config text n
//! ```
//! Two kinds of bad bytes are told apart, as Java does: a frame of impossible length closes the connection, a frame that
//! holds no notification is skipped.

use super::{BadBytes, Decoded, Found, Reader, Writer, buffer_length};
use crate::message::{Notification, Vote};
use crate::types::host::{bracketed, canonical_host, is_wildcard_host, split_host_and_ports};
use crate::types::limits::{ELECTION_ADDRESSES_BYTES_MAX, NOTIFICATION_BYTES_MAX};
use crate::types::{ServerId, ServerState, Zxid};

const ONE_ADDRESS: i64 = -65536;
const SEVERAL_ADDRESSES: i64 = -65535;
/// Version, sid and the length of the addresses.
const INTRODUCTION_HEAD_BYTES: usize = 20;
const LENGTH_BYTES: usize = 4;

/// Lengths that say which form a notification has: releases before 3.4 sent no peerEpoch, those before 3.5 no version.
const WITHOUT_PEER_EPOCH_BYTES: usize = 28;
const WITHOUT_VERSION_BYTES: usize = 40;

/// What an initiator says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// `i64::MAX`: an observer that wants to be given an id.
    pub server: ServerId,
    /// Where to connect back to; empty where it said nothing that can be connected to.
    pub addresses: Vec<ElectionAddress>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectionAddress {
    pub host: String,
    pub port: u16,
}

/// Appends the first message. It must leave in one write: Java takes it with a single read. `several` speaks the version
/// that may name more than one address (`multiAddress.enabled`); else only the first is named. There must be one.
pub fn encode_introduction(server: ServerId, addresses: &[ElectionAddress], several: bool, out: &mut Vec<u8>) {
    assert!(!addresses.is_empty(), "a server has an election address");
    let named = if several { addresses } else { &addresses[..addresses.len().min(1)] };
    let texts: Vec<String> = named.iter().map(|a| format!("{}:{}", bracketed(&a.host), a.port)).collect();
    let mut w = Writer::new(out);
    w.long(if several { SEVERAL_ADDRESSES } else { ONE_ADDRESS });
    w.long(server.0);
    w.string(&texts.join("|"));
}

/// Reads the first message from all bytes that came so far. An error closes the connection.
pub fn decode_introduction(bytes: &[u8]) -> Result<Decoded<Introduction>, BadBytes> {
    let Some(first) = bytes.first_chunk() else {
        return Ok(Decoded::NeedMore { missing: size_of::<i64>() - bytes.len() });
    };
    let version = i64::from_be_bytes(*first);
    match version {
        0.. => {
            let value = Introduction { server: ServerId(version), addresses: Vec::new() };
            return Ok(Decoded::Whole { value, consumed: size_of::<i64>() });
        }
        ONE_ADDRESS | SEVERAL_ADDRESSES => {}
        _ => return Err(BadBytes { what: "election protocol version", offset: 0, found: Found::Value(version) }),
    }
    if bytes.len() < INTRODUCTION_HEAD_BYTES {
        return Ok(Decoded::NeedMore { missing: INTRODUCTION_HEAD_BYTES - bytes.len() });
    }
    let mut r = Reader::new(bytes);
    r.long("election protocol version")?;
    let server = ServerId(r.long("sid")?);
    let length = r.int("election addresses")?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| (1..=ELECTION_ADDRESSES_BYTES_MAX).contains(length))
        .ok_or_else(|| r.error("election addresses", Found::Length(length)))?;
    if r.rest().len() < length {
        return Ok(Decoded::NeedMore { missing: length - r.rest().len() });
    }
    let text = r.take("election addresses", length)?;
    let addresses = election_addresses(&String::from_utf8_lossy(text)).ok_or(BadBytes {
        what: "election addresses, host:port expected",
        offset: INTRODUCTION_HEAD_BYTES,
        found: Found::Length(length as i32),
    })?;
    Ok(Decoded::Whole { value: Introduction { server, addresses }, consumed: r.offset() })
}

/// Java drops addresses that mean every address, and what `split` drops: empty ones at the end.
fn election_addresses(text: &str) -> Option<Vec<ElectionAddress>> {
    let mut addresses = Vec::new();
    let text = text.trim_end_matches('|');
    if text.is_empty() {
        return Some(addresses);
    }
    for part in text.split('|') {
        let parts = split_host_and_ports(part).ok()?;
        let [host, port] = parts.as_slice() else {
            return None;
        };
        if host.is_empty() {
            return None;
        }
        let address = ElectionAddress { host: canonical_host(host), port: port.parse().ok()? };
        if !is_wildcard_host(&address.host) {
            addresses.push(address);
        }
    }
    Some(addresses)
}

/// What a frame held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    Notification(Notification),
    /// No notification, for this reason; the connection goes on.
    Skipped(BadBytes),
}

/// Appends a framed notification in today's form. The config is not optional: a Java receiver may lose its thread over
/// an empty one.
pub fn encode_notification(state: ServerState, vote: &Vote, config: &str, out: &mut Vec<u8>) {
    Writer::frame(out, |w| {
        w.int(state.code());
        w.long(vote.leader.0);
        w.long(vote.zxid.0);
        w.long(vote.round);
        w.long(vote.peer_epoch);
        w.int(Notification::VERSION);
        w.string(config);
    });
}

/// Reads the frame at the start of `bytes`. An error closes the connection.
pub fn next_notification(bytes: &[u8]) -> Result<Decoded<Received>, BadBytes> {
    const WHAT: &str = "notification";
    let length = match buffer_length(bytes, 0, WHAT, NOTIFICATION_BYTES_MAX)? {
        Decoded::NeedMore { missing } => return Ok(Decoded::NeedMore { missing }),
        Decoded::Whole { value: 0, .. } => {
            return Err(BadBytes { what: WHAT, offset: 0, found: Found::Length(0) });
        }
        Decoded::Whole { value, .. } => value,
    };
    let end = LENGTH_BYTES + length;
    if bytes.len() < end {
        return Ok(Decoded::NeedMore { missing: end - bytes.len() });
    }
    let value = match decode_notification(&bytes[LENGTH_BYTES..end]) {
        Ok(notification) => Received::Notification(notification),
        Err(bad) => Received::Skipped(bad),
    };
    Ok(Decoded::Whole { value, consumed: end })
}

fn decode_notification(body: &[u8]) -> Result<Notification, BadBytes> {
    let mut r = Reader::new(body);
    let code = r.int("server state")?;
    let state = ServerState::from_code(code).ok_or_else(|| r.error("server state", Found::Value(code.into())))?;
    let leader = ServerId(r.long("leader")?);
    let zxid = Zxid(r.long("zxid of the leader")?);
    let round = r.long("election round")?;
    let peer_epoch = if body.len() == WITHOUT_PEER_EPOCH_BYTES { zxid.0 >> 32 } else { r.long("peer epoch")? };
    let version = match body.len() {
        WITHOUT_PEER_EPOCH_BYTES | WITHOUT_VERSION_BYTES => 0,
        _ => r.int("notification version")?,
    };
    let config = if version > 1 { Some(config_text(&mut r)?) } else { None };
    let vote = Vote { leader, zxid, round, peer_epoch };
    Ok(Notification { state, vote, version, config: config.map(|text| text.as_ref().into()) })
}

/// Exactly the announced length; a null is no text. Bytes that are not UTF-8 are replaced, as Java does.
fn config_text<'a>(r: &mut Reader<'a>) -> Result<std::borrow::Cow<'a, str>, BadBytes> {
    let text = r.buffer("config")?.ok_or_else(|| r.error("config", Found::Length(-1)))?;
    Ok(String::from_utf8_lossy(text))
}

#[cfg(test)]
#[path = "election_tests.rs"]
mod tests;
