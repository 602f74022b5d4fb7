//! `ringkeeper-load`: a load generator for servers that speak the ZooKeeper client protocol.
//!
//! Reads top to bottom: `args` (what is asked), `session` (connect), `run` (setup, warm-up, measured part), `recorder` (the
//! measured part in intervals), `output` (what is said). Below them `engine` (the loop), `connection`, `pace`, `workload`, `meter`, `wire`; beside them
//! `proc` (the server's CPU and memory) and `null_server` (the generator's own ceiling).

mod args;
mod ceiling;
mod connection;
mod engine;
mod failure;
mod meter;
mod null_server;
mod output;
mod pace;
mod poller;
mod proc;
mod progress;
mod recorder;
mod run;
mod scenario;
mod search;
mod session;
#[cfg(test)]
mod tests;
mod wire;
mod workload;

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;

use crate::args::{Args, Command};
use crate::failure::{Failure, exit_code};
use crate::output::Files;
use crate::output::html::{NamedRun, page};
use crate::output::saved::SavedRun;
use crate::workload::file::Spec;

fn main() -> ExitCode {
    let args = Args::parse();
    let code = match start(&args) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("ringkeeper-load: {failure}");
            failure.exit_code()
        }
    };
    ExitCode::from(code)
}

/// Runs what the command line asks for. `Err` is a failure before anything was measured.
fn start(args: &Args) -> Result<u8, Failure> {
    if let Some(Command::Report(report)) = &args.command {
        return output::report::report(report).map(|()| exit_code::OK);
    }
    if let Some(Command::Workloads { name }) = &args.command {
        return print_workloads(name.as_deref());
    }
    args.check()?;
    if let Some(cpu) = args.cpu {
        pin(cpu)?;
    }
    if let Some(port) = args.null_server {
        return serve_nothing(port, args);
    }
    let spec = args.spec()?;
    let mut files = Files::open(args)?;
    stop_on_signals();
    let mut outcome = run::run(args, &spec, &mut files).inspect_err(|_| files.discard())?;
    if outcome.failure.is_none() {
        outcome.ceiling_rate = ceiling::measure(args, &spec)?;
    }
    print_result(args, &spec, &outcome)?;
    let written = write_files(args, &mut files, outcome.saved(args, &spec));
    if let Some(failure) = &outcome.failure {
        eprintln!("ringkeeper-load: {failure}");
        return Ok(failure.exit_code());
    }
    if let Some(loss) = &outcome.first_loss {
        eprintln!("ringkeeper-load: connections were lost during the run; the first: {loss}");
        return Ok(exit_code::LOST);
    }
    written?;
    outcome.record.output_failure.clone().map_or(Ok(()), |failure| Err(Failure::Output(failure)))?;
    let limit_kept = outcome.search.as_ref().is_none_or(|search| search.highest_rate.is_some());
    Ok(match outcome.record.total.failed() {
        0 if limit_kept => exit_code::OK,
        0 => exit_code::LIMIT_NOT_KEPT,
        _ => exit_code::FAILED_OPERATIONS,
    })
}

fn print_workloads(name: Option<&str>) -> Result<u8, Failure> {
    let mut text = String::new();
    for (known, file) in workload::NAMED {
        match name {
            None => text += &format!("{known:<24} {}\n", Spec::load(known)?.about),
            Some(name) if name == known => text += file,
            Some(_) => {}
        }
    }
    if let (Some(name), true) = (name, text.is_empty()) {
        // The error names those that there are.
        Spec::load(name)?;
    }
    std::io::stdout().write_all(text.as_bytes()).map_err(Failure::system("writing the list"))?;
    Ok(exit_code::OK)
}

fn print_result(args: &Args, spec: &Spec, outcome: &run::Outcome) -> Result<(), Failure> {
    let summary = outcome.summary(args, spec);
    let text = match (args.json, args.quiet) {
        (true, _) => summary.json(),
        (false, true) => String::new(),
        (false, false) => output::table::table(&summary),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::system("writing the report"))
}

fn write_files(args: &Args, files: &mut Files, run: SavedRun) -> Result<(), Failure> {
    if let Some(file) = &mut files.save {
        file.write_whole(&run.json()).map_err(Failure::Output)?;
    }
    if let Some(file) = &mut files.html {
        let name = args.label.clone().unwrap_or_else(|| run.summary.workload.clone());
        let title = format!("{name}, {}", run.summary.servers);
        file.write_whole(&page(&title, &[NamedRun { name, run }])).map_err(Failure::Output)?;
    }
    Ok(())
}

fn serve_nothing(port: u16, args: &Args) -> Result<u8, Failure> {
    let bound = null_server::NullServer::bind(
        port,
        workload::random::value(args.value_bytes.unwrap_or(workload::file::VALUE_BYTES_DEFAULT)),
    );
    let server = bound.map_err(Failure::system(format!("listening on 127.0.0.1:{port}")))?;
    let port = server.port().map_err(Failure::system("asking for the port"))?;
    println!("null server on 127.0.0.1:{port}, pid {}", std::process::id());
    server.serve(&AtomicBool::new(false)).map_err(Failure::system("serving"))?;
    Ok(exit_code::OK)
}

fn pin(cpu: usize) -> Result<(), Failure> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(Failure::Usage(format!("--cpu {cpu}: no such core")));
    }
    // SAFETY: `cpu` is below CPU_SETSIZE, the set's capacity; the set outlives the call.
    let result = unsafe {
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if result == 0 {
        return Ok(());
    }
    Err(Failure::Usage(format!("--cpu {cpu}: {}", std::io::Error::last_os_error())))
}

extern "C" fn on_signal(_signal: libc::c_int) {
    engine::INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Ctrl-C ends the run, not the report.
fn stop_on_signals() {
    let handler = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { libc::signal(signal, handler) };
    }
}
