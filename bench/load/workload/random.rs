//! Random numbers from a fixed seed, so that two runs ask for the same keys in the same order.

pub const KEY_SEED: u64 = 0x5eed_0001;
pub const MIX_SEED: u64 = 0x5eed_0002;
const VALUE_SEED: u64 = 0x5eed_0003;

/// SplitMix64: a handful of instructions, and even enough for choosing keys.
#[derive(Clone, Copy)]
pub struct Random(pub u64);

impl Random {
    /// A number from 0 to `bound - 1`, by multiplication: no division on the hot path.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * u128::from(bound)) >> 64) as u64
    }
}

/// The data of a znode: bytes that do not compress to nothing, the same in each run.
pub fn value(bytes: usize) -> Vec<u8> {
    let mut random = Random(VALUE_SEED);
    (0..bytes).map(|_| random.below(256) as u8).collect()
}
