//! A stream of numbers that a seed repeats (SplitMix64). Streams that are split off do not disturb each other.

#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`; zero when that is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Multiply and shift: the bias is far below anything a campaign could notice.
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// True `times` out of `of`.
    pub fn chance(&mut self, times: u64, of: u64) -> bool {
        self.below(of) < times
    }

    /// `None` of an empty slice.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }

    /// One of the menu, as often as its weight is of all of them. `None` where all are 0.
    pub fn weighted<T: Copy>(&mut self, menu: &[(u64, T)]) -> Option<T> {
        let mut left = self.below(menu.iter().map(|(weight, _)| weight).sum());
        for (weight, item) in menu {
            match left.checked_sub(*weight) {
                Some(behind) => left = behind,
                None => return Some(*item),
            }
        }
        None
    }

    /// A stream of its own.
    pub fn split(&mut self) -> Random {
        Random::new(self.draw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_stream_and_bounds_hold() {
        let draw = |seed| -> Vec<u64> {
            let mut random = Random::new(seed);
            (0..1000).map(|_| random.below(7)).collect()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        let counts = (0..7).map(|value| draw(5).iter().filter(|drawn| **drawn == value).count());
        assert!(counts.into_iter().all(|count| count > 80), "every value comes about as often");
        assert_eq!(Random::new(1).below(0), 0);
        assert!(Random::new(1).pick::<u8>(&[]).is_none());
    }
}
