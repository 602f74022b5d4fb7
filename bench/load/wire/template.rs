//! Requests built once: sending one copies it and overwrites the xid and the digits of its keys. Invariant: a template's length
//! never depends on xid or key, so no frame length is ever recomputed.

use crate::wire::{frame, op_code, put_bytes, put_int, put_open_acl};

/// What is needed of a path: everything before the digits, and how many they are.
#[derive(Clone)]
pub struct Slot {
    pub prefix: String,
    pub digits: usize,
}

impl Slot {
    pub fn new(prefix: impl Into<String>, digits: usize) -> Slot {
        Slot { prefix: prefix.into(), digits }
    }
}

/// One operation of a multi or multiRead.
pub enum Part<'a> {
    Check(&'a Slot),
    Set(&'a Slot, &'a [u8]),
    Create(&'a Slot, &'a [u8]),
    Delete(&'a Slot),
    Get(&'a Slot),
}

/// One or two request frames, complete but for xids and digits.
pub struct Template {
    bytes: Vec<u8>,
    xids_at: Vec<usize>,
    /// Where digits are, and how many.
    digits_at: Vec<(usize, usize)>,
}

impl Template {
    pub fn get_data(slot: &Slot) -> Template {
        Template::single(op_code::GET_DATA, slot, |out| out.push(0)) // watch: no
    }

    pub fn exists(slot: &Slot) -> Template {
        Template::single(op_code::EXISTS, slot, |out| out.push(0)) // watch: no
    }

    /// getChildren2: names and Stat, what clients ask for since 3.3.
    pub fn list(slot: &Slot) -> Template {
        Template::single(op_code::GET_CHILDREN2, slot, |out| out.push(0)) // watch: no
    }

    pub fn set_data(slot: &Slot, value: &[u8]) -> Template {
        Template::single(op_code::SET_DATA, slot, |out| put_value_any_version(out, value))
    }

    pub fn create(slot: &Slot, value: &[u8]) -> Template {
        Template::single(op_code::CREATE, slot, |out| put_persistent(out, value))
    }

    pub fn delete(slot: &Slot) -> Template {
        Template::single(op_code::DELETE, slot, |out| put_int(out, -1)) // any version
    }

    /// sync, and getData behind it on the same connection: the pair that reads what was written before.
    pub fn sync_get(slot: &Slot) -> Template {
        let mut template = Template::single(op_code::SYNC, slot, |_| {});
        let get = Template::get_data(slot);
        let offset = template.bytes.len();
        template.bytes.extend(get.bytes);
        template.xids_at.extend(get.xids_at.iter().map(|at| at + offset));
        template.digits_at.extend(get.digits_at.iter().map(|(at, digits)| (at + offset, *digits)));
        template
    }

    pub fn multi(op: i32, parts: &[Part]) -> Template {
        let mut template = Template::empty();
        let mut digits_at = Vec::new();
        frame(&mut template.bytes, |out| {
            put_int(out, 0); // xid
            put_int(out, op);
            for part in parts {
                put_part(out, part, &mut digits_at);
            }
            put_multi_header(out, -1, true);
        });
        template.digits_at = digits_at;
        template
    }

    fn empty() -> Template {
        Template { bytes: Vec::new(), xids_at: vec![4], digits_at: Vec::new() }
    }

    fn single(op: i32, slot: &Slot, rest: impl FnOnce(&mut Vec<u8>)) -> Template {
        let mut template = Template::empty();
        let mut digits_at = Vec::new();
        frame(&mut template.bytes, |out| {
            put_int(out, 0); // xid
            put_int(out, op);
            put_path(out, slot, &mut digits_at);
            rest(out);
        });
        template.digits_at = digits_at;
        template
    }

    /// Appends the frames with `xid` and its successors, and what `number` says for each path in turn. Digits beyond the
    /// template's are dropped. Says how many frames that was.
    #[inline]
    pub fn append(&self, out: &mut Vec<u8>, xid: i32, mut number: impl FnMut() -> u64) -> u8 {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let appended = &mut out[start..];
        let mut frame_xid = xid;
        for at in &self.xids_at {
            appended[*at..at + 4].copy_from_slice(&frame_xid.to_be_bytes());
            frame_xid = successor(frame_xid);
        }
        for (at, digits) in &self.digits_at {
            let mut rest = number();
            for digit in appended[*at..at + digits].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        self.xids_at.len() as u8
    }
}

/// Only positive xids are ordinary requests.
pub fn successor(xid: i32) -> i32 {
    if xid == i32::MAX { 1 } else { xid + 1 }
}

fn put_path(out: &mut Vec<u8>, slot: &Slot, digits_at: &mut Vec<(usize, usize)>) {
    put_int(out, (slot.prefix.len() + slot.digits) as i32);
    out.extend_from_slice(slot.prefix.as_bytes());
    if slot.digits > 0 {
        digits_at.push((out.len(), slot.digits));
        out.resize(out.len() + slot.digits, b'0');
    }
}

fn put_value_any_version(out: &mut Vec<u8>, value: &[u8]) {
    put_bytes(out, value);
    put_int(out, -1);
}

fn put_persistent(out: &mut Vec<u8>, value: &[u8]) {
    put_bytes(out, value);
    put_open_acl(out);
    put_int(out, 0); // flags: persistent
}

fn put_multi_header(out: &mut Vec<u8>, op: i32, done: bool) {
    put_int(out, op);
    out.push(u8::from(done));
    put_int(out, -1); // err, of no meaning in a request
}

fn put_part(out: &mut Vec<u8>, part: &Part, digits_at: &mut Vec<(usize, usize)>) {
    let (op, slot) = match part {
        Part::Check(slot) => (op_code::CHECK, slot),
        Part::Set(slot, _) => (op_code::SET_DATA, slot),
        Part::Create(slot, _) => (op_code::CREATE, slot),
        Part::Delete(slot) => (op_code::DELETE, slot),
        Part::Get(slot) => (op_code::GET_DATA, slot),
    };
    put_multi_header(out, op, false);
    put_path(out, slot, digits_at);
    match part {
        Part::Set(_, value) => put_value_any_version(out, value),
        Part::Create(_, value) => put_persistent(out, value),
        Part::Check(_) | Part::Delete(_) => put_int(out, -1), // any version
        Part::Get(_) => out.push(0),                          // watch: no
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{KEY_DIGITS, hex};

    /// The frame a ZooKeeper 3.9 client sends for `create /a` = "x" with the open ACL.
    #[test]
    fn create_equals_the_captured_frame() {
        let mut out = Vec::new();
        Template::create(&Slot::new("/a", 0), b"x").append(&mut out, 1, || 0);
        let payload = "00000001 00000001 00000002 2f61 00000001 78 00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65 00000000";
        assert_eq!(out[4..], hex(payload));
        assert_eq!(out[..4], (out.len() as i32 - 4).to_be_bytes());
    }

    #[test]
    fn append_patches_xid_and_key_and_nothing_else() {
        let template = Template::get_data(&Slot::new("/bench/k", KEY_DIGITS));
        let mut out = b"earlier".to_vec();
        template.append(&mut out, 0x0102_0304, || 9_041);
        let expected = "0000001d 01020304 00000004 00000010 2f62656e63682f6b 3030303039303431 00";
        assert_eq!(out[..7], *b"earlier");
        assert_eq!(out[7..], hex(expected));
    }

    #[test]
    fn sync_get_is_two_frames_of_the_same_key() {
        let mut out = Vec::new();
        let frames = Template::sync_get(&Slot::new("/k", 2)).append(&mut out, 7, || 42);
        assert_eq!(frames, 2);
        let expected = "00000010 00000007 00000009 00000004 2f6b3432 00000011 00000008 00000004 00000004 2f6b3432 00";
        assert_eq!(out, hex(expected));
    }

    /// As Java's client writes `check /k1 -1; delete /k2 -1`.
    #[test]
    fn a_multi_has_a_header_before_each_part_and_one_at_the_end() {
        let slot = Slot::new("/k", 1);
        let mut out = Vec::new();
        let mut keys = 0;
        Template::multi(op_code::MULTI, &[Part::Check(&slot), Part::Delete(&slot)]).append(&mut out, 1, || {
            keys += 1;
            keys
        });
        let expected = "00000039 00000001 0000000e 0000000d 00 ffffffff 00000003 2f6b31 ffffffff \
                        00000002 00 ffffffff 00000003 2f6b32 ffffffff ffffffff 01 ffffffff";
        assert_eq!(out, hex(expected));
    }
}
