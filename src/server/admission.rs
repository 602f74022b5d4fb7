//! Who may connect: connections per client address (`maxClientCnxns`), in all (`maxCnxns`), and sessions per time
//! (`connection_throttle_*`, Java's `BlueThrottle` without its probabilistic part). Shared by all workers; cold.

use super::rules::ConnectionThrottle;
use crate::types::Instant;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;

pub struct Admission {
    /// `None` = no limit.
    per_address_max: Option<u32>,
    in_all_max: Option<u32>,
    counts: Mutex<Counts>,
    bucket: Option<Mutex<Bucket>>,
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
}

impl Admission {
    pub fn new(
        per_address_max: Option<u32>,
        in_all_max: Option<u32>,
        throttle: Option<ConnectionThrottle>,
        now: Instant,
    ) -> Admission {
        let bucket = throttle.map(|throttle| Mutex::new(Bucket { tokens: throttle.tokens, throttle, filled_at: now }));
        Admission { per_address_max, in_all_max, counts: Mutex::default(), bucket }
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

    /// Takes the tokens that a new (`renewed` = false) or renewed session costs; false if there are too few.
    pub fn take_tokens(&self, renewed: bool, now: Instant) -> bool {
        let Some(bucket) = &self.bucket else { return true };
        let mut bucket = bucket.lock();
        bucket.fill(now);
        let cost = if renewed { bucket.throttle.weight_renew } else { bucket.throttle.weight_global };
        match bucket.tokens.checked_sub(cost) {
            Some(left) => {
                bucket.tokens = left;
                true
            }
            None => false,
        }
    }
}

impl Bucket {
    fn fill(&mut self, now: Instant) {
        let fill_micros = u64::from(self.throttle.fill_time_ms.max(1)) * 1000;
        let times = now.micros_since(self.filled_at) / fill_micros;
        let gained = times.saturating_mul(u64::from(self.throttle.fill_count));
        self.tokens = gained.saturating_add(u64::from(self.tokens)).min(u64::from(self.throttle.tokens)) as u32;
        self.filled_at.micros += times * fill_micros;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

    #[test]
    fn each_address_has_its_own_limit_and_all_share_one() {
        let admission = Admission::new(Some(2), Some(3), None, Instant::default());
        assert!(admission.enter(HERE) && admission.enter(HERE) && !admission.enter(HERE));
        assert!(admission.enter(THERE) && !admission.enter(THERE));
        admission.leave(HERE);
        assert!(admission.enter(THERE));
    }

    #[test]
    fn tokens_come_back_with_time() {
        let throttle =
            ConnectionThrottle { tokens: 3, fill_time_ms: 10, fill_count: 1, weight_global: 1, weight_renew: 2 };
        let admission = Admission::new(None, None, Some(throttle), Instant::default());
        assert!(admission.take_tokens(true, Instant::default()) && admission.take_tokens(false, Instant::default()));
        assert!(!admission.take_tokens(false, Instant::from_millis(9)));
        assert!(admission.take_tokens(false, Instant::from_millis(10)));
        assert!(!admission.take_tokens(true, Instant::from_millis(20)));
        assert!(admission.take_tokens(true, Instant::from_millis(30)));
    }
}
