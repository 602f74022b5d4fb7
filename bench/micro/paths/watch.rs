//! A change, and who is told of it.

use super::{KEYS, Step, key_path};
use ringkeeper::message::{Effect, EffectKind};
use ringkeeper::types::{Acl, AclList, ConnId, Zxid};
use ringkeeper::watch::{Events, WatchKind, WatchShard};
use std::hint::black_box;

const HASH_SEED: u64 = 1;
const MANY: u64 = 100;

fn change_of(key: u64) -> Effect {
    let acl: AclList = Acl::open_unsafe().into();
    let path = key_path(key).into();
    Effect { zxid: Zxid(1), kind: EffectKind::DataChanged, path, acl, parent_acl: None }
}

/// One watch on each of half of the keys, so that the others are watched by nobody.
fn half_watched() -> WatchShard {
    let mut shard = WatchShard::new(HASH_SEED);
    for key in 0..KEYS / 2 {
        shard.add(ConnId(key % 64), &key_path(key), WatchKind::Data);
    }
    shard
}

fn firing(mut shard: WatchShard, change: Effect, watchers: u64) -> Step {
    let mut events = Events::new();
    Box::new(move || {
        for conn in 0..watchers {
            shard.add(ConnId(conn), &change.path, WatchKind::Data);
        }
        events.clear();
        shard.trigger(black_box(&change), |_, _| true, &mut events);
        assert_eq!(events.count() as u64, watchers);
    })
}

pub fn register_and_fire() -> Step {
    firing(half_watched(), change_of(KEYS - 1), 1)
}

pub fn fire_to_many() -> Step {
    firing(half_watched(), change_of(KEYS - 1), MANY)
}

pub fn fire_to_nobody() -> Step {
    firing(half_watched(), change_of(KEYS - 1), 0)
}
