//! The generator's own ceiling: the same requests in a closed loop against a server that does nothing but answer, in a thread of
//! this process. Measured after each run, so that each report says how far from it the generator was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::args::Args;
use crate::failure::Failure;
use crate::null_server::NullServer;
use crate::output::Files;
use crate::run;
use crate::workload::file::{Pattern, Spec};
use crate::workload::random::value;

const WARM_UP_SECONDS: f64 = 0.1;

/// Operations per second; none for patterns that the null server cannot serve, or where it was not asked for.
pub fn measure(args: &Args, spec: &Spec) -> Result<Option<f64>, Failure> {
    if args.ceiling_seconds <= 0.0 || spec.pattern != Pattern::Mix || args.fill.is_some() {
        return Ok(None);
    }
    let server = NullServer::bind(0, value(spec.value_bytes)).map_err(Failure::system("starting the null server"))?;
    let port = server.port().map_err(Failure::system("asking for the null server's port"))?;
    let stop = Arc::new(AtomicBool::new(false));
    let serving = std::thread::spawn({
        let stop = stop.clone();
        move || {
            run_anywhere();
            server.serve(&stop)
        }
    });
    let against_null = Args {
        servers: vec![format!("127.0.0.1:{port}")],
        no_setup: true,
        seconds: args.ceiling_seconds,
        warmup_seconds: WARM_UP_SECONDS,
        operations: None,
        rate: None,
        steps: None,
        burst: 1,
        search_p99_ms: None,
        pid: None,
        quiet: true,
        ..args.clone()
    };
    let outcome = run::run(&against_null, spec, &mut Files::default());
    stop.store(true, Ordering::Relaxed);
    // What the null server met when its clients went is of no interest.
    let _ = serving.join();
    Ok(outcome.ok().filter(|outcome| outcome.failure.is_none()).map(|outcome| outcome.rate()))
}

/// `--cpu` is for the generator; the null server must not share that core.
fn run_anywhere() {
    // SAFETY: an all-ones cpu_set_t is valid, and outlives the call; the kernel leaves out what there is not.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        (0..libc::CPU_SETSIZE as usize).for_each(|cpu| libc::CPU_SET(cpu, &mut set));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}
