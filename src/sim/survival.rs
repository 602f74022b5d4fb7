//! Which of the things that were not yet durable a crash leaves: drawn anew for every file and directory, from patterns that
//! disks show (nothing, everything, what came first, one half of the places) and from plain chance.

use super::random::Random;

/// One crash, one file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Survival {
    Nothing,
    Everything,
    /// Each on its own, so many times out of eight.
    Often(u64),
    /// What was written before this moment.
    Before(u64),
    /// What lies below this place, or not below it.
    Below(u64),
    NotBelow(u64),
}

impl Survival {
    /// `moments` and `places` bound what is pending.
    pub fn draw(random: &mut Random, moments: (u64, u64), places: (u64, u64)) -> Survival {
        let within = |(low, high): (u64, u64), random: &mut Random| low + random.below(high - low + 2);
        match random.below(8) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            2 => Survival::Often(1),
            3 => Survival::Often(4),
            4 => Survival::Often(7),
            5 => Survival::Before(within(moments, random)),
            6 => Survival::Below(within(places, random)),
            _ => Survival::NotBelow(within(places, random)),
        }
    }

    /// Of what was done to one place at these moments, oldest first: how many count, that is, which one is the last to
    /// have reached the disk. Zero: none did.
    pub fn reached(self, random: &mut Random, place: u64, moments: impl ExactSizeIterator<Item = u64>) -> usize {
        let all = moments.len();
        match self {
            Survival::Nothing => 0,
            Survival::Everything => all,
            Survival::Often(times) if random.chance(times, 8) => 1 + random.below(all as u64) as usize,
            Survival::Often(_) => 0,
            Survival::Before(moment) => moments.filter(|at| *at < moment).count(),
            Survival::Below(bound) => {
                if place < bound {
                    all
                } else {
                    0
                }
            }
            Survival::NotBelow(bound) => {
                if place >= bound {
                    all
                } else {
                    0
                }
            }
        }
    }
}
