//! What is due now and then: containers and TTL znodes whose time has come, old files.

use crate::request::{ReapRules, due};
use crate::tree::TreeWriter;
use crate::types::{Instant, Now};
use std::collections::VecDeque;

/// `ContainerManager`: looks every `check_interval_ms`, deletes at most `per_minute_max` znodes a minute.
pub(super) struct Sweeper {
    check_interval_ms: u64,
    per_minute_max: u32,
    rules: ReapRules,
    next_check: Instant,
    next_delete: Instant,
    due: VecDeque<String>,
}

impl Sweeper {
    pub fn new(check_interval_ms: u64, per_minute_max: u32, rules: ReapRules, now: Instant) -> Sweeper {
        let check_interval_ms = check_interval_ms.max(1);
        let next_check = now.plus_millis(check_interval_ms);
        Sweeper { check_interval_ms, per_minute_max, rules, next_check, next_delete: now, due: VecDeque::new() }
    }

    /// Paths to delete now.
    pub fn take_due(&mut self, tree: &TreeWriter, now: Now) -> Vec<String> {
        if now.mono >= self.next_check {
            self.next_check = now.mono.plus_millis(self.check_interval_ms);
            if self.due.is_empty() {
                self.due = due(tree, now.wall, self.rules).map(str::to_owned).collect();
                self.next_delete = now.mono;
            }
        }
        let mut paths = Vec::new();
        while now.mono >= self.next_delete && self.per_minute_max > 0 {
            let Some(path) = self.due.pop_front() else { break };
            paths.push(path);
            self.next_delete.micros += 60_000_000 / u64::from(self.per_minute_max);
        }
        paths
    }

    pub fn next_deadline(&self) -> Instant {
        if self.due.is_empty() { self.next_check } else { self.next_delete.min(self.next_check) }
    }
}

/// Something that happens every so often, first at once.
pub(super) struct Every {
    interval_ms: Option<u64>,
    next: Instant,
}

impl Every {
    /// `None` = never.
    pub fn new(interval_ms: Option<u64>, now: Instant) -> Every {
        Every { interval_ms, next: now }
    }

    pub fn is_due(&mut self, now: Instant) -> bool {
        let Some(interval_ms) = self.interval_ms else { return false };
        if now < self.next {
            return false;
        }
        self.next = now.plus_millis(interval_ms);
        true
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.interval_ms.map(|_| self.next)
    }
}
