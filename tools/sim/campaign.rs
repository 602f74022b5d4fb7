//! Many seeds, several at a time. What a seed does depends on it alone, so neither their number nor their order matters.

use ringkeeper::sim::{Counts, DiskCounts, PutBack, RecoveryRows, Report, run};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

const PROGRESS_EVERY: Duration = Duration::from_secs(10);

pub struct Campaign {
    pub seeds: Range<u64>,
    /// The one to begin with; behind the last come those before it.
    pub first: u64,
    pub steps_max: Option<u64>,
    pub jobs: usize,
    pub minutes_max: Option<f64>,
    pub keep_going: bool,
    pub put_back: Option<PutBack>,
    /// Progress and failures are printed as they come.
    pub is_told: bool,
}

/// What a campaign came to.
#[derive(Default)]
pub struct Outcome {
    counts: Counts,
    disks: DiskCounts,
    recovery_rows: RecoveryRows,
    commits: Vec<u32>,
    leader_changes: Vec<u32>,
    pub failures: Vec<Report>,
    seconds: f64,
}

impl Campaign {
    pub fn run(&self) -> Outcome {
        let (begun, stops) = (AtomicU64::new(0), AtomicBool::new(false));
        let count = self.seeds.end - self.seeds.start;
        let mut outcome = Outcome::default();
        let began = Instant::now();
        std::thread::scope(|scope| {
            let (sender, reports) = mpsc::channel();
            for _ in 0..self.jobs {
                let (sender, begun, stops) = (sender.clone(), &begun, &stops);
                scope.spawn(move || {
                    if let Some(fault) = self.put_back {
                        fault.put_back();
                    }
                    while !stops.load(Ordering::Relaxed) {
                        let place = begun.fetch_add(1, Ordering::Relaxed);
                        let seed = self.seeds.start + (self.first - self.seeds.start + place) % count;
                        if place >= count || sender.send(run(seed, self.steps_max, false)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let mut told_at = began;
            loop {
                match reports.recv_timeout(PROGRESS_EVERY) {
                    Ok(report) => {
                        if report.failure.is_some() {
                            if self.is_told {
                                println!("{report}");
                            }
                            stops.fetch_or(!self.keep_going, Ordering::Relaxed);
                        }
                        outcome.add(report);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                outcome.seconds = began.elapsed().as_secs_f64();
                if self.minutes_max.is_some_and(|minutes| outcome.seconds >= minutes * 60.0) {
                    stops.store(true, Ordering::Relaxed);
                }
                if self.is_told && told_at.elapsed() >= PROGRESS_EVERY {
                    told_at = Instant::now();
                    println!("{}", outcome.progress());
                }
            }
        });
        // They came in the order in which they were done.
        outcome.failures.sort_by_key(|report| report.seed);
        outcome
    }
}

impl Outcome {
    pub fn add(&mut self, report: Report) {
        self.counts.add(&report.counts);
        self.disks.add(&report.disks);
        self.recovery_rows.add(&report.recovery_rows);
        self.commits.push(report.counts.commits as u32);
        self.leader_changes.push(report.counts.leader_changes as u32);
        if report.failure.is_some() {
            self.failures.push(report);
        }
    }

    fn progress(&self) -> String {
        let Counts { seeds, simulated_seconds, .. } = self.counts;
        format!(
            "{seeds} seeds, {:.1} simulated hours in {:.0} s ({:.1} seeds/s, {:.0} simulated seconds a second), {} failed",
            simulated_seconds as f64 / 3600.0,
            self.seconds,
            seeds as f64 / self.seconds,
            simulated_seconds as f64 / self.seconds,
            self.failures.len()
        )
    }

    /// Prints all of it; says whether all is well.
    pub fn tell(mut self) -> bool {
        self.print_counts();
        println!("{}", self.progress());
        let (commits, leaders) = (median(&mut self.commits), median(&mut self.leader_changes));
        println!("median seed: {commits} commits, {leaders} leader changes");
        for failure in &self.failures {
            println!("  {}", failure.repeat());
        }
        self.failures.is_empty()
    }

    pub fn print_counts(&self) {
        for (name, count) in self.counts.each().into_iter().chain(self.disks.each()) {
            println!("{count:>12} {}", name.replace('_', " "));
        }
        println!("where log files ended, by row of the recovery table:");
        for (case, count) in self.recovery_rows.each() {
            println!("{count:>12} {case}");
        }
    }
}

fn median(values: &mut [u32]) -> u32 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}
