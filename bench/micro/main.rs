//! Wall-clock times of the hot paths: `cargo bench`, or `cargo bench -- tree` for those with `tree` in their names. For people;
//! machines compare instruction counts (`bench/budgets`).

mod paths;

use divan::Bencher;
use divan::counter::ItemsCount;
use paths::{HotPath, PATHS};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

fn names() -> impl Iterator<Item = &'static str> {
    PATHS.iter().map(|path| path.name)
}

/// One iteration is one step; items are the requests, records or packets that it handles.
#[divan::bench(args = names())]
fn hot_path(bencher: Bencher, name: &str) {
    let path = HotPath::of(name).expect("named by the table");
    bencher.counter(ItemsCount::new(path.operations)).bench_local(path.step());
}
