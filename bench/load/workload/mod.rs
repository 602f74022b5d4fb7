//! Which request comes next: chooses kind and key, and appends the frame. It knows nothing of sockets, time or
//! replies. Random keys come from a fixed seed, so that two runs ask for the same keys in the same order.

mod op_kind;

pub use op_kind::OpKind;

use crate::wire::{KEY_DIGITS, SEQUENCE_DIGITS, Template};

/// How keys are chosen.
enum Keys {
    /// Uniformly among the first `count`.
    Random { count: u64, random: Random },
    /// 0, 1, 2 and so on.
    Sequence { next: u64 },
}

pub struct Workload {
    get: Template,
    set: Template,
    create: Template,
    keys: Keys,
    mix: Mix,
}

#[derive(Clone, Copy)]
enum Mix {
    Only(OpKind),
    Mixed { write_percent: u8, random: Random },
}

impl Workload {
    pub fn get(path: &str, count: u64) -> Workload {
        Workload::over_keys(path, b"", Keys::random(count), Mix::Only(OpKind::Get))
    }

    pub fn set(path: &str, count: u64, value: &[u8]) -> Workload {
        Workload::over_keys(path, value, Keys::random(count), Mix::Only(OpKind::Set))
    }

    pub fn mixed(path: &str, count: u64, value: &[u8], write_percent: u8) -> Workload {
        let mix = Mix::Mixed { write_percent, random: Random(MIX_SEED) };
        Workload::over_keys(path, value, Keys::random(count), mix)
    }

    /// Creates the keys one after the other.
    pub fn fill(path: &str, value: &[u8]) -> Workload {
        Workload::over_keys(path, value, Keys::Sequence { next: 0 }, Mix::Only(OpKind::Create))
    }

    /// Writes the keys one after the other.
    pub fn overwrite(path: &str, value: &[u8]) -> Workload {
        Workload::over_keys(path, value, Keys::Sequence { next: 0 }, Mix::Only(OpKind::Set))
    }

    /// Creates ever new znodes directly below `path`.
    pub fn create(path: &str, value: &[u8]) -> Workload {
        let prefix = format!("{path}/n");
        Workload::build(&prefix, SEQUENCE_DIGITS, value, Keys::Sequence { next: 0 }, Mix::Only(OpKind::Create))
    }

    /// Creates one empty znode.
    pub fn node(path: &str) -> Workload {
        Workload::build(path, 0, b"", Keys::Sequence { next: 0 }, Mix::Only(OpKind::Create))
    }

    fn over_keys(path: &str, value: &[u8], keys: Keys, mix: Mix) -> Workload {
        Workload::build(&format!("{path}/k"), KEY_DIGITS, value, keys, mix)
    }

    fn build(prefix: &str, digits: usize, value: &[u8], keys: Keys, mix: Mix) -> Workload {
        Workload {
            get: Template::get_data(prefix, digits),
            set: Template::set_data(prefix, digits, value),
            create: Template::create(prefix, digits, value),
            keys,
            mix,
        }
    }

    /// Appends the next request to `out` and says what it is.
    #[inline]
    pub fn append_next(&mut self, xid: i32, out: &mut Vec<u8>) -> OpKind {
        let kind = match &mut self.mix {
            Mix::Only(kind) => *kind,
            Mix::Mixed { write_percent, random } => {
                let writes = random.below(100) < u64::from(*write_percent);
                if writes { OpKind::Set } else { OpKind::Get }
            }
        };
        let key = match &mut self.keys {
            Keys::Random { count, random } => random.below(*count),
            Keys::Sequence { next } => {
                *next += 1;
                *next - 1
            }
        };
        let template = match kind {
            OpKind::Get => &self.get,
            OpKind::Set => &self.set,
            _ => &self.create,
        };
        template.append(out, xid, key);
        kind
    }
}

impl Keys {
    fn random(count: u64) -> Keys {
        Keys::Random { count, random: Random(KEY_SEED) }
    }
}

const KEY_SEED: u64 = 0x5eed_0001;
const MIX_SEED: u64 = 0x5eed_0002;

/// SplitMix64: a handful of instructions, and even enough for choosing keys.
#[derive(Clone, Copy)]
struct Random(u64);

impl Random {
    /// A number from 0 to `bound - 1`, by multiplication: no division on the hot path.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * u128::from(bound)) >> 64) as u64
    }
}

/// The data of every znode: bytes that do not compress to nothing, the same in each run.
pub fn value(bytes: usize) -> Vec<u8> {
    let mut random = Random(0x5eed_0003);
    (0..bytes).map(|_| random.below(256) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key digits of the frame a workload appends.
    fn key(workload: &mut Workload, prefix: &str) -> String {
        let mut out = Vec::new();
        workload.append_next(1, &mut out);
        let path_bytes = i32::from_be_bytes(out[12..16].try_into().expect("four")) as usize;
        let path = std::str::from_utf8(&out[16..16 + path_bytes]).expect("ascii");
        path.strip_prefix(prefix).expect(prefix).to_owned()
    }

    #[test]
    fn fill_names_each_key_once_in_order() {
        let mut fill = Workload::fill("/p", b"v");
        let keys: Vec<String> = (0..3).map(|_| key(&mut fill, "/p/k")).collect();
        assert_eq!(keys, ["00000000", "00000001", "00000002"]);
    }

    #[test]
    fn random_keys_stay_in_bounds_and_reach_all() {
        let mut get = Workload::get("/p", 10);
        let keys: std::collections::BTreeSet<String> = (0..500).map(|_| key(&mut get, "/p/k")).collect();
        let all: std::collections::BTreeSet<String> = (0..10).map(|key| format!("{key:08}")).collect();
        assert_eq!(keys, all);
    }

    #[test]
    fn mixed_keeps_its_share() {
        let mut mixed = Workload::mixed("/p", 10, b"v", 30);
        let mut out = Vec::new();
        let writes = (0..10_000).filter(|&xid| mixed.append_next(xid, &mut out) == OpKind::Set).count();
        assert!((2_800..3_200).contains(&writes), "{writes} of 10000");
    }
}
