//! The hot paths of the server, each as a step that takes one of them once on data like those of the load tests: 10,000 znodes of
//! 100 B under one parent. `main.rs` times them, `hot_paths.rs` lets somebody count their instructions.
//!
//! Everything here repeats: seeds are fixed, keys come from a generator with a fixed start, nothing waits for a disk or a
//! socket. A path is named once, in `PATHS`; budgets (`bench/budgets.toml`) and benchmarks go by that name.

mod codec;
mod lanes;
mod log;
mod quorum;
mod tree;
mod watch;
mod worker;

/// Takes the path once.
pub type Step = Box<dyn FnMut()>;

pub struct HotPath {
    pub name: &'static str,
    /// Requests, records or packets that one step handles.
    pub operations: u64,
    make: fn() -> Step,
}

impl HotPath {
    /// With its data made ready.
    pub fn step(&self) -> Step {
        (self.make)()
    }

    pub fn of(name: &str) -> Option<&'static HotPath> {
        PATHS.iter().find(|path| path.name == name)
    }
}

const fn path(name: &'static str, operations: u64, make: fn() -> Step) -> HotPath {
    HotPath { name, operations, make }
}

pub static PATHS: [HotPath; 20] = [
    path("decode-get", 1, codec::decode_get),
    path("decode-set", 1, codec::decode_set),
    path("decode-multi-of-5", 1, codec::decode_multi),
    path("reply-get", 1, codec::reply_get),
    path("encode-txn-set", 1, codec::encode_txn),
    path("tree-lookup", 1, tree::lookup),
    path("tree-read-get", 1, tree::read_get),
    path("tree-set", tree::BATCH as u64, tree::set),
    path("tree-create-and-delete", 2, tree::create_and_delete),
    path("tree-multi-of-5", 1, tree::multi),
    path("watch-register-and-fire", 1, watch::register_and_fire),
    path("watch-fire-to-100", 100, watch::fire_to_many),
    path("watch-fire-to-nobody", 1, watch::fire_to_nobody),
    path("log-append-1", 1, log::append_1),
    path("log-append-16", 16, log::append_16),
    path("lane-submit", 1, lanes::submit),
    path("lane-deliver", 1, lanes::deliver),
    path("agree-on-proposal", 1, quorum::agree),
    path("turn-get-1", 1, worker::turn_of_1),
    path("turn-get-16", 16, worker::turn_of_16),
];

const KEYS: u64 = 10_000;
const VALUE: [u8; 100] = [b'x'; 100];

/// Path of a key, as the load generator names them.
fn key_path(key: u64) -> String {
    format!("/bench/k{key:08}")
}

/// Keys in no order, the same ones each time.
struct Keys(u64);

impl Keys {
    fn new() -> Keys {
        Keys(0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self) -> u64 {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % KEYS
    }
}
