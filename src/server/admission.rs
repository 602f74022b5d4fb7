//! Who may connect: connections per client address (`maxClientCnxns`), in all (`maxCnxns`), and sessions per time
//! (`connection_throttle_*`, after Java's `BlueThrottle`); and how many bytes of large requests may be under way
//! (`largeRequestMaxBytes`). Shared by all workers; cold.

use super::rules::ConnectionThrottle;
use crate::types::Instant;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

pub struct Admission {
    /// `None` = no limit.
    per_address_max: Option<u32>,
    in_all_max: Option<u32>,
    counts: Mutex<Counts>,
    bucket: Option<Mutex<Bucket>>,
    large_bytes: AtomicUsize,
}

#[derive(Default)]
struct Counts {
    by_address: HashMap<IpAddr, u32>,
    in_all: u32,
}

struct Bucket {
    throttle: ConnectionThrottle,
    tokens: u32,
    filled_at: Instant,
    /// Share of sessions refused at random.
    drop_share: f64,
    drop_changed_at: Instant,
    random: u64,
}

impl Admission {
    /// `seed` decides who is refused at random.
    pub fn new(
        per_address_max: Option<u32>,
        in_all_max: Option<u32>,
        throttle: Option<ConnectionThrottle>,
        now: Instant,
        seed: u64,
    ) -> Admission {
        let bucket = throttle.map(|throttle| {
            Mutex::new(Bucket {
                tokens: throttle.tokens,
                throttle,
                filled_at: now,
                drop_share: 0.0,
                drop_changed_at: now,
                random: seed | 1,
            })
        });
        let large_bytes = AtomicUsize::new(0);
        Admission { per_address_max, in_all_max, counts: Mutex::default(), bucket, large_bytes }
    }

    /// Counts a connection; false if there are too many already, then it was not counted.
    pub fn enter(&self, address: IpAddr) -> bool {
        let mut counts = self.counts.lock();
        if self.in_all_max.is_some_and(|max| counts.in_all >= max) {
            return false;
        }
        let here = counts.by_address.entry(address).or_default();
        if self.per_address_max.is_some_and(|max| *here >= max) {
            return false;
        }
        *here += 1;
        counts.in_all += 1;
        true
    }

    pub fn leave(&self, address: IpAddr) {
        let mut counts = self.counts.lock();
        counts.in_all -= 1;
        if let Some(here) = counts.by_address.get_mut(&address) {
            *here -= 1;
            if *here == 0 {
                counts.by_address.remove(&address);
            }
        }
    }

    /// Takes the tokens that a new (`renewed` = false) or renewed session costs; false if it is refused.
    pub fn take_tokens(&self, renewed: bool, now: Instant) -> bool {
        self.bucket.as_ref().is_none_or(|bucket| bucket.lock().take(renewed, now))
    }

    /// Share of sessions refused at random, 0 to 1.
    pub fn drop_share(&self) -> f64 {
        self.bucket.as_ref().map_or(0.0, |bucket| bucket.lock().drop_share)
    }

    /// Books `bytes` of a large request; false if all of them together would exceed `bytes_max`.
    pub fn enter_large(&self, bytes: usize, bytes_max: usize) -> bool {
        let booked = self.large_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if booked > bytes_max {
            self.leave_large(bytes);
        }
        booked <= bytes_max
    }

    pub fn leave_large(&self, bytes: usize) {
        self.large_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Bucket {
    fn take(&mut self, renewed: bool, now: Instant) -> bool {
        self.fill(now);
        if self.refuses_at_random(now) {
            return false;
        }
        let cost = if renewed { self.throttle.weight_renew } else { self.throttle.weight_new };
        match self.tokens.checked_sub(cost) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => {
                self.drop_changed_at = now;
                false
            }
        }
    }

    fn fill(&mut self, now: Instant) {
        let fill_micros = u64::from(self.throttle.fill_time_ms.max(1)) * 1000;
        let times = now.micros_since(self.filled_at) / fill_micros;
        let gained = times.saturating_mul(u64::from(self.throttle.fill_count));
        self.tokens = gained.saturating_add(u64::from(self.tokens)).min(u64::from(self.throttle.tokens)) as u32;
        self.filled_at.micros += times * fill_micros;
    }

    fn refuses_at_random(&mut self, now: Instant) -> bool {
        let Some(rule) = &self.throttle.random else { return false };
        if now.micros_since(self.drop_changed_at) > u64::from(rule.freeze_time_ms) * 1000 {
            let used = self.throttle.tokens - self.tokens;
            let few = (f64::from(self.throttle.tokens) * rule.decrease_ratio).round();
            if self.tokens == 0 {
                self.drop_share = (self.drop_share + rule.increase).min(1.0);
            } else if f64::from(used) <= few {
                self.drop_share = (self.drop_share - rule.decrease).max(0.0);
            }
            self.drop_changed_at = now;
        }
        // xorshift: fair enough to choose whom to send away.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random as f64 / u64::MAX as f64) < self.drop_share
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::RandomDrop;
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

    #[test]
    fn each_address_has_its_own_limit_and_all_share_one() {
        let admission = Admission::new(Some(2), Some(3), None, Instant::default(), 1);
        assert!(admission.enter(HERE) && admission.enter(HERE) && !admission.enter(HERE));
        assert!(admission.enter(THERE) && !admission.enter(THERE));
        admission.leave(HERE);
        assert!(admission.enter(THERE));
    }

    #[test]
    fn tokens_come_back_with_time() {
        let admission = Admission::new(None, None, Some(throttle(None)), Instant::default(), 1);
        assert!(admission.take_tokens(true, Instant::default()) && admission.take_tokens(false, Instant::default()));
        assert!(!admission.take_tokens(false, Instant::from_millis(9)));
        assert!(admission.take_tokens(false, Instant::from_millis(10)));
        assert!(!admission.take_tokens(true, Instant::from_millis(20)));
        assert!(admission.take_tokens(true, Instant::from_millis(30)));
    }

    fn throttle(random: Option<RandomDrop>) -> ConnectionThrottle {
        ConnectionThrottle { tokens: 3, fill_time_ms: 10, fill_count: 1, weight_new: 1, weight_renew: 2, random }
    }

    #[test]
    fn an_empty_bucket_refuses_ever_more_at_random_and_a_full_one_ever_less() {
        let random = RandomDrop { freeze_time_ms: 100, increase: 0.5, decrease: 0.5, decrease_ratio: 0.4 };
        let mut bucket = Bucket {
            tokens: 0,
            throttle: ConnectionThrottle { fill_time_ms: 1_000_000, ..throttle(Some(random)) },
            filled_at: Instant::default(),
            drop_share: 0.0,
            drop_changed_at: Instant::default(),
            random: 7,
        };
        bucket.refuses_at_random(Instant::from_millis(100));
        assert_eq!(bucket.drop_share, 0.0, "frozen");
        bucket.refuses_at_random(Instant::from_millis(101));
        bucket.refuses_at_random(Instant::from_millis(202));
        assert_eq!(bucket.drop_share, 1.0);
        assert!((0..100).all(|_| bucket.refuses_at_random(Instant::from_millis(203))));
        bucket.tokens = 3;
        bucket.refuses_at_random(Instant::from_millis(304));
        assert_eq!(bucket.drop_share, 0.5);
        let refused = (0..1000).filter(|_| bucket.refuses_at_random(Instant::from_millis(305))).count();
        assert!((350..650).contains(&refused), "{refused}");
    }

    #[test]
    fn large_requests_share_one_budget() {
        let admission = Admission::new(None, None, None, Instant::default(), 1);
        assert!(admission.enter_large(60, 100) && !admission.enter_large(50, 100));
        admission.leave_large(60);
        assert!(admission.enter_large(100, 100));
    }
}
