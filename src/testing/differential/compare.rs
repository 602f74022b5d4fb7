//! When two frames of two servers are the same answer.
//!
//! Equal exactly: zxids, error codes, paths, data, ACL lists, versions, counts, the order of frames on a connection.
//! Mapped: session ids (to the order in which sessions were made) and times (to the zxid that set them: one zxid
//! has one time, inside the run). Equal as sets: names of children, ephemerals, identities, neighbouring digest ids of an
//! ACL list, and the events of one closeSession, whose order ZooKeeper leaves to its hash tables.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::client::{Welcome, password_of};
use crate::codec::{Acl, Body, Frame, MultiResult, Stat, Text};

/// Wall clocks may be stepped a little while a test runs.
const CLOCK_SLACK_MS: i64 = 2_000;

/// What one server's ids and times mean, and what about them was wrong.
pub struct Mapping {
    sessions: HashMap<i64, i64>,
    time_of_zxid: HashMap<i64, i64>,
    run_began_ms: i64,
    faults: Vec<String>,
}

impl Mapping {
    pub fn new() -> Mapping {
        Mapping { sessions: HashMap::new(), time_of_zxid: HashMap::new(), run_began_ms: wall_ms(), faults: Vec::new() }
    }

    /// The nth session of the run has this id here.
    pub fn session(&mut self, id: i64, nth: i64) {
        if self.sessions.insert(id, nth).is_some() {
            self.faults.push(format!("session id 0x{id:x} was given twice"));
        }
    }

    fn owner(&mut self, id: i64) -> i64 {
        match (id, self.sessions.get(&id)) {
            (0, _) => 0,
            (_, Some(nth)) => *nth,
            (_, None) => {
                self.faults.push(format!("ephemeralOwner 0x{id:x} is no session of this run"));
                i64::MIN
            }
        }
    }

    fn time(&mut self, zxid: i64, time_ms: i64, what: &str) -> i64 {
        if zxid == 0 {
            return time_ms;
        }
        if time_ms < self.run_began_ms - CLOCK_SLACK_MS || time_ms > wall_ms() + CLOCK_SLACK_MS {
            self.faults.push(format!("{what} {time_ms} of zxid 0x{zxid:x} lies outside the run"));
        }
        let known = *self.time_of_zxid.entry(zxid).or_insert(time_ms);
        if known != time_ms {
            self.faults.push(format!("{what} of zxid 0x{zxid:x} is {time_ms}, but was {known} elsewhere"));
        }
        0
    }

    pub fn stat(&mut self, stat: &Stat) -> Stat {
        Stat {
            ctime: self.time(stat.czxid, stat.ctime, "ctime"),
            mtime: self.time(stat.mzxid, stat.mtime, "mtime"),
            ephemeral_owner: self.owner(stat.ephemeral_owner),
            ..stat.clone()
        }
    }

    fn body(&mut self, body: &Body) -> Body {
        let sorted = |names: &[Text]| {
            let mut names = names.to_vec();
            names.sort();
            names
        };
        match body {
            Body::Stat(stat) => Body::Stat(self.stat(stat)),
            Body::PathStat(path, stat) => Body::PathStat(path.clone(), self.stat(stat)),
            Body::Data(data, stat) => Body::Data(data.clone(), self.stat(stat)),
            Body::Acl(acl, stat) => Body::Acl(settled(acl), self.stat(stat)),
            Body::Names(names) => Body::Names(sorted(names)),
            Body::NamesStat(names, stat) => Body::NamesStat(sorted(names), self.stat(stat)),
            Body::Clients(clients) => {
                let mut clients = clients.clone();
                clients.sort();
                Body::Clients(clients)
            }
            Body::Multi(results) => {
                Body::Multi(results.iter().map(|r| MultiResult { body: self.body(&r.body), ..r.clone() }).collect())
            }
            Body::Empty | Body::Path(_) | Body::Int(_) | Body::Token(_) => body.clone(),
        }
    }

    fn frame(&mut self, frame: &Frame) -> Frame {
        match frame {
            Frame::Reply { xid, zxid, err, body } => {
                Frame::Reply { xid: *xid, zxid: *zxid, err: *err, body: self.body(body) }
            }
            Frame::Event { .. } | Frame::Closed | Frame::Raw(_) => frame.clone(),
        }
    }

    /// The faults found since the last call.
    pub fn take_faults(&mut self) -> Vec<String> {
        std::mem::take(&mut self.faults)
    }
}

/// An ACL list with the ids that an `auth` entry may have become in one order: ours keeps the order in which they were
/// proven, Java that of a hash table.
pub fn settled(acl: &Option<Vec<Acl>>) -> Option<Vec<Acl>> {
    let mut acl = acl.clone()?;
    let digest: Text = "digest".into();
    for run in acl.chunk_by_mut(|a, b| a.perms == b.perms && a.scheme == digest && b.scheme == digest) {
        run.sort_by(|a, b| a.id.cmp(&b.id));
    }
    Some(acl)
}

/// Compares what two servers sent on the two connections of one session. `Err` tells the first difference.
pub fn frames(maps: &mut [Mapping; 2], left: &[Frame], right: &[Frame], events_as_set: bool) -> Result<(), String> {
    let mut mapped = [(0, left), (1, right)].map(|(side, frames)| {
        let map = &mut maps[side];
        frames.iter().map(|frame| map.frame(frame)).collect::<Vec<_>>()
    });
    if events_as_set {
        mapped.iter_mut().for_each(|frames| sort_event_runs(frames));
    }
    for index in 0..left.len().max(right.len()) {
        if mapped[0].get(index) != mapped[1].get(index) {
            let show = |frames: &[Frame]| frames.get(index).map_or("nothing".to_string(), |frame| format!("{frame:?}"));
            return Err(format!("frame {index} differs\n   left: {}\n  right: {}", show(left), show(right)));
        }
    }
    for (map, side) in maps.iter_mut().zip(["left", "right"]) {
        if let Some(fault) = map.take_faults().first() {
            return Err(format!("{side}: {fault}"));
        }
    }
    Ok(())
}

fn sort_event_runs(frames: &mut [Frame]) {
    let is_event = |frame: &Frame| matches!(frame, Frame::Event { .. });
    for run in frames.chunk_by_mut(|a, b| is_event(a) && is_event(b)) {
        run.sort_by_key(|frame| match frame {
            Frame::Event { zxid, err, kind, state, path } => Some((*zxid, *err, *kind, *state, path.clone())),
            _ => None,
        });
    }
}

/// Compares two answers to the same hello; `None` is a close without an answer.
pub fn welcomes(left: &Option<Welcome>, right: &Option<Welcome>) -> Result<(), String> {
    let differ = || Err(format!("the handshakes differ\n   left: {left:?}\n  right: {right:?}"));
    match (left, right) {
        (None, None) => Ok(()),
        (Some(l), Some(r)) => {
            let shape = |w: &Welcome| (w.protocol_version, w.timeout_ms, w.read_only, w.session_id == 0);
            if shape(l) != shape(r) {
                return differ();
            }
            for (side, welcome) in [("left", l), ("right", r)] {
                let expected = if welcome.session_id == 0 { vec![0; 16] } else { password_of(welcome.session_id) };
                if welcome.password != expected {
                    return Err(format!("{side}: the password does not belong to the session id: {welcome:?}"));
                }
            }
            Ok(())
        }
        _ => differ(),
    }
}

pub fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970").as_millis() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Data, decode_frame, op};

    fn maps() -> [Mapping; 2] {
        [Mapping::new(), Mapping::new()]
    }

    fn stat(owner: i64, time_ms: i64) -> Stat {
        Stat {
            czxid: 5,
            mzxid: 5,
            ctime: time_ms,
            mtime: time_ms,
            version: 1,
            cversion: 2,
            aversion: 3,
            ephemeral_owner: owner,
            data_length: 1,
            num_children: 2,
            pzxid: 9,
        }
    }

    fn reply(body: Body) -> Frame {
        Frame::Reply { xid: 1, zxid: 9, err: 0, body }
    }

    #[test]
    fn ids_times_and_the_order_of_children_may_differ() {
        let mut maps = maps();
        maps[0].session(0x111, 1);
        maps[1].session(0x222, 1);
        let now = wall_ms();
        let left = [reply(Body::NamesStat(vec!["a".into(), "b".into()], stat(0x111, now)))];
        let right = [reply(Body::NamesStat(vec!["b".into(), "a".into()], stat(0x222, now + 1)))];
        frames(&mut maps, &left, &right, false).unwrap();
    }

    /// Every single changed bit of a reply's bytes has to be noticed, except in the low bits of a time, which
    /// is checked by the next test.
    #[test]
    fn a_mutated_reply_is_noticed_whatever_bit_changes() {
        let mut frame = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0];
        frame.extend([0, 0, 0, 1, b'x']);
        let now = wall_ms();
        let time_at = frame.len() + 16;
        for long in [5, 5, now, now] {
            frame.extend_from_slice(&i64::to_be_bytes(long));
        }
        frame.extend([0u8, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
        frame.extend_from_slice(&0x111i64.to_be_bytes());
        frame.extend([0u8, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        let good = decode_frame(&frame, Some(op::GET_DATA));
        assert!(matches!(good, Frame::Reply { body: Body::Data(..), .. }), "{good:?}");
        for bit in 0..frame.len() * 8 {
            if (time_at..time_at + 16).contains(&(bit / 8)) {
                continue;
            }
            let mut mutated = frame.clone();
            mutated[bit / 8] ^= 1 << (bit % 8);
            let mut maps = maps();
            maps.iter_mut().for_each(|map| map.session(0x111, 1));
            let bad = decode_frame(&mutated, Some(op::GET_DATA));
            assert!(
                frames(&mut maps, std::slice::from_ref(&good), std::slice::from_ref(&bad), false).is_err(),
                "bit {bit}: {bad:?}"
            );
        }
    }

    #[test]
    fn a_time_that_does_not_belong_to_its_zxid_is_noticed() {
        let now = wall_ms();
        let good = reply(Body::Stat(stat(0, now)));
        let mut later_mtime = stat(0, now);
        later_mtime.mtime += 1;
        let mut implausible = stat(0, now - 3_600_000);
        implausible.mtime = implausible.ctime;
        for bad in [later_mtime, implausible] {
            assert!(frames(&mut maps(), std::slice::from_ref(&good), &[reply(Body::Stat(bad))], false).is_err());
        }
    }

    #[test]
    fn missing_extra_and_reordered_frames_are_noticed() {
        let event = |path: &str| Frame::Event { zxid: 9, err: 0, kind: 3, state: 3, path: path.into() };
        let done = reply(Body::Empty);
        let both = [event("/a"), event("/b"), done.clone()];
        for other in
            [&both[..2], &both[1..], &[event("/b"), event("/a"), done.clone()][..], &[event("/a"), done, event("/b")]]
        {
            assert!(frames(&mut maps(), &both, other, false).is_err(), "{other:?}");
        }
        assert!(frames(&mut maps(), &both, &[both[1].clone(), both[0].clone(), both[2].clone()], true).is_ok());
        assert!(frames(&mut maps(), &both, &[both[1].clone(), both[1].clone(), both[2].clone()], true).is_err());
    }

    #[test]
    fn the_order_of_acl_entries_and_null_against_empty_matter() {
        let acl = |list: &[Acl]| [reply(Body::Acl(Some(list.to_vec()), stat(0, wall_ms())))];
        let (one, two) = (Acl::new(31, "world", "anyone"), Acl::new(1, "ip", "127.0.0.1"));
        assert!(frames(&mut maps(), &acl(&[one.clone(), two.clone()]), &acl(&[two, one]), false).is_err());
        let data = |bytes: Option<Vec<u8>>| [reply(Body::Data(Data(bytes), stat(0, wall_ms())))];
        assert!(frames(&mut maps(), &data(None), &data(Some(vec![])), false).is_err());
    }

    #[test]
    fn a_password_that_does_not_fit_its_session_is_noticed() {
        let good = Welcome {
            protocol_version: 0,
            timeout_ms: 10,
            session_id: 7,
            password: password_of(7),
            read_only: Some(0),
        };
        assert!(welcomes(&Some(good.clone()), &Some(good.clone())).is_ok());
        for bad in [
            Welcome { password: password_of(8), ..good.clone() },
            Welcome { timeout_ms: 11, ..good.clone() },
            Welcome { read_only: None, ..good.clone() },
            Welcome { session_id: 0, ..good.clone() },
        ] {
            assert!(welcomes(&Some(good.clone()), &Some(bad.clone())).is_err(), "{bad:?}");
        }
        assert!(welcomes(&Some(good), &None).is_err());
    }
}
