//! Takes one hot path a number of times, for somebody who counts what that costs: `bench/budgets` runs it under callgrind, which
//! counts inside `measured_steps` alone.
//!
//! ```text
//! hot-paths                  names of the paths, with the operations in a step
//! hot-paths NAME STEPS
//! ```

mod paths;

use paths::{HotPath, PATHS};
use std::process::ExitCode;

/// As the server has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Buffers have grown to their size by then.
const WARM_UP_STEPS: u64 = 64;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            PATHS.iter().for_each(|path| println!("{}\t{}", path.name, path.operations));
            ExitCode::SUCCESS
        }
        [name, steps] => match (HotPath::of(name), steps.parse()) {
            (Some(path), Ok(steps)) => {
                let mut step = path.step();
                (0..WARM_UP_STEPS).for_each(|_| step());
                measured_steps(&mut *step, steps);
                ExitCode::SUCCESS
            }
            (None, _) => refuse(&format!("no path {name:?}; without arguments they are listed")),
            (_, Err(error)) => refuse(&format!("{steps:?} is no number of steps: {error}")),
        },
        _ => refuse("a path and a number of steps are needed"),
    }
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("hot-paths: {why}");
    ExitCode::from(2)
}

/// Under a name that a profiler can be told.
#[unsafe(no_mangle)]
#[inline(never)]
pub fn measured_steps(step: &mut dyn FnMut(), steps: u64) {
    for _ in 0..steps {
        step();
    }
}
