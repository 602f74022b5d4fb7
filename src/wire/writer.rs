//! Appends jute primitives to a byte vector.

use crate::types::{Acl, Stat, StatPersisted};

/// A borrowed vector that records are appended to.
pub struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    pub fn new(bytes: &'a mut Vec<u8>) -> Writer<'a> {
        Writer { bytes }
    }

    /// Reserves a frame's length field, lets `fill` append the payload, then patches the length.
    pub fn frame(bytes: &'a mut Vec<u8>, fill: impl FnOnce(&mut Writer<'_>)) {
        let start = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        fill(&mut Writer { bytes: &mut *bytes });
        let length = i32::try_from(bytes.len() - start - 4).expect("a frame is shorter than 2 GiB");
        bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    pub fn raw(&mut self, raw: &[u8]) {
        self.bytes.extend_from_slice(raw);
    }

    pub fn bool(&mut self, value: bool) {
        self.bytes.push(u8::from(value));
    }

    pub fn int(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub fn long(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Count of a vector or length of a buffer.
    pub fn count(&mut self, count: usize) {
        self.int(i32::try_from(count).expect("counts are below 2^31"));
    }

    pub fn buffer(&mut self, buffer: Option<&[u8]>) {
        match buffer {
            None => self.int(-1),
            Some(bytes) => {
                self.count(bytes.len());
                self.raw(bytes);
            }
        }
    }

    pub fn string(&mut self, text: &str) {
        self.buffer(Some(text.as_bytes()));
    }

    pub fn string_or_null(&mut self, text: Option<&str>) {
        self.buffer(text.map(str::as_bytes));
    }

    pub fn acl(&mut self, acl: Option<&[Acl]>) {
        let Some(entries) = acl else {
            return self.int(-1);
        };
        self.count(entries.len());
        for entry in entries {
            self.int(entry.perms);
            self.string(&entry.id.scheme);
            self.string(&entry.id.id);
        }
    }

    /// 68 bytes.
    pub fn stat(&mut self, stat: &Stat) {
        self.long(stat.czxid.0);
        self.long(stat.mzxid.0);
        self.long(stat.ctime);
        self.long(stat.mtime);
        self.int(stat.version);
        self.int(stat.cversion);
        self.int(stat.aversion);
        self.long(stat.ephemeral_owner);
        self.int(stat.data_length);
        self.int(stat.num_children);
        self.long(stat.pzxid.0);
    }

    /// 60 bytes, in the order of snapshots (digests hash another order).
    pub fn stat_persisted(&mut self, stat: &StatPersisted) {
        self.long(stat.czxid.0);
        self.long(stat.mzxid.0);
        self.long(stat.ctime);
        self.long(stat.mtime);
        self.int(stat.version);
        self.int(stat.cversion);
        self.int(stat.aversion);
        self.long(stat.ephemeral_owner);
        self.long(stat.pzxid.0);
    }
}
