//! `ringkeeper-floor`: the least that a server must do, on the runtime that RingKeeper has, so that its figures can be given as
//! a share of what the machine allows. `bench/limit` runs it under the load generator.
//!
//! ```text
//! ringkeeper-floor serve --port P             answers every frame with a reply of the right form and size (`serve`, `replies`)
//! ringkeeper-floor serve --port P --log FILE  the same, and writes are answered when their records are on disk (`journal`)
//! ringkeeper-floor serve --port P --log FILE --copies A,B   the same, and when a majority has them there (`copies`)
//! ringkeeper-floor serve --port P --log FILE --copy-port Q  keeps such a copy
//! ringkeeper-floor append --file FILE         records of a setData of 100 B appended and flushed, nothing else (`append`)
//! ```

mod append;
mod copies;
mod journal;
mod record;
mod replies;
mod serve;

use clap::{Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the machine allows at best, for comparison with a server.
#[derive(Parser)]
#[command(name = "ringkeeper-floor", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer every frame of a ZooKeeper client without looking at it further than its length and kind
    Serve {
        /// Port on 127.0.0.1; 0 = any
        #[arg(long)]
        port: u16,
        /// Write each change's record into this file and answer when it is flushed; the file is made anew
        #[arg(long)]
        log: Option<PathBuf>,
        /// Copy ports of other floors; a write is answered when a majority of all logs has it
        #[arg(long, value_delimiter = ',', requires = "log", value_name = "ADDRESS")]
        copies: Vec<SocketAddr>,
        /// Port on 127.0.0.1 where this one keeps copies for another
        #[arg(long, requires = "log", value_name = "PORT")]
        copy_port: Option<u16>,
        /// Bytes of data in the answer to getData
        #[arg(long, default_value_t = 100)]
        value_bytes: usize,
        /// Names in the answer to a list of children
        #[arg(long, default_value_t = 0)]
        children: usize,
    },
    /// Append records to a mapped file and flush it, one flush in flight, and print what that took as JSON
    Append {
        /// Made anew, and removed at the end
        #[arg(long)]
        file: PathBuf,
        /// Records in each flush
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=16384))]
        batch: u64,
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
    },
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Serve { port, log, copies, copy_port, value_bytes, children } => {
            let log = log.as_deref().map(|file| serve::Log { file, copies: &copies, copy_port });
            serve::run(port, log, replies::Replies::new(value_bytes, children))
        }
        Command::Append { file, batch, seconds } => append::run(&file, batch, seconds),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringkeeper-floor: {error}");
            ExitCode::FAILURE
        }
    }
}
