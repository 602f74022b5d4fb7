//! Every fault put back once: by which seed it is found, and as what. A fault that is not found fails the whole.

use super::campaign::Campaign;
use ringkeeper::sim::PutBack;
use std::process::ExitCode;

/// Looks for each within the seeds of `campaign`; the table goes to the standard output as it is made.
pub fn print(campaign: &Campaign) -> ExitCode {
    if !PutBack::ARE_BUILT_IN {
        eprintln!("sim: this build has no faults to put back: build it with RUSTFLAGS='--cfg put_backs'");
        return ExitCode::FAILURE;
    }
    println!("| row of the field | switch | seeds needed | found as |\n|---|---|---|---|");
    let mut missed = Vec::new();
    for fault in PutBack::ALL.into_iter().filter(|fault| fault.is_for_ensembles()) {
        let Campaign { ref seeds, first, steps_max, jobs, minutes_max, .. } = *campaign;
        let hunt = Campaign {
            seeds: seeds.clone(),
            first,
            steps_max,
            jobs,
            minutes_max,
            keep_going: false,
            put_back: Some(fault),
            is_told: false,
        };
        let (row, name) = (fault.field_row(), fault.name());
        match hunt.run().failures.first() {
            Some(found) => {
                let as_what = found.failure.as_deref().unwrap_or_default();
                let as_what = as_what.split_once(": ").map_or(as_what, |(_, what)| what);
                let as_what: String = as_what.lines().next().unwrap_or_default().chars().take(150).collect();
                println!("| {row} | {name} | {} | {} |", found.seed - seeds.start + 1, as_what.replace('|', "/"));
            }
            None => {
                println!("| {row} | {name} | not found | |");
                missed.push(name);
            }
        }
    }
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("sim: not found: {}", missed.join(", "));
    ExitCode::FAILURE
}
