//! The measured part, cut into intervals. The engine's thread only swaps its meter for an empty one; adding up,
//! percentiles, the HDR log, the CSV file and the progress line happen on a thread of their own, so that none of them
//! holds a request up.
//!
//! Invariant: what all intervals counted is what [`Record::total`] counts; the last one is cut by [`Recorder::finish`].

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use crate::engine::OnTick;
use crate::meter::Meter;
use crate::output::csv::CsvFile;
use crate::output::hdr_log;
use crate::output::saved::Point;
use crate::pace::Plan;
use crate::proc::{self, Sample};
use crate::progress::Progress;

/// Where the intervals go beside the totals.
pub struct Outputs {
    pub progress: Progress,
    pub csv: Option<CsvFile>,
    pub hdr_log: Option<hdr_log::LogFile>,
}

/// What a whole measured part came to.
#[derive(Default)]
pub struct Record {
    pub total: Meter,
    /// The same by step of a ramp; one where there are no steps.
    pub steps: Vec<Step>,
    pub series: Vec<Point>,
    /// The first thing that could not be written.
    pub output_failure: Option<String>,
}

#[derive(Default)]
pub struct Step {
    pub planned_rate: Option<f64>,
    pub seconds: f64,
    pub meter: Meter,
}

struct Interval {
    from_ns: u64,
    to_ns: u64,
    step: usize,
    planned_rate: Option<f64>,
    meter: Meter,
}

pub struct Recorder {
    intervals: Sender<Interval>,
    emptied: Receiver<Meter>,
    thread: JoinHandle<Record>,
    plan: Plan,
    start_ns: u64,
    from_ns: u64,
    interval_ns: u64,
}

impl Recorder {
    /// `start_ns` is the moment of the engine's clock that the measured part starts at.
    pub fn start(plan: Plan, start_ns: u64, interval_ns: u64, server_pid: Option<u32>, outputs: Outputs) -> Recorder {
        let (intervals, received) = channel();
        let (give_back, emptied) = channel();
        let book = Book { outputs, server_pid, start_ns, give_back, sample: Sample::take(server_pid) };
        let thread = std::thread::spawn(move || book.keep(received));
        Recorder { intervals, emptied, thread, plan, start_ns, from_ns: start_ns, interval_ns }
    }

    fn cut(&mut self, now_ns: u64, meter: Meter) {
        let seconds = |ns: u64| (ns - self.start_ns) as f64 / 1e9;
        let middle = (seconds(self.from_ns) + seconds(now_ns)) / 2.0;
        let (step, planned_rate) = (self.plan.step_at(middle), self.plan.rate_at(middle));
        let interval = Interval { from_ns: self.from_ns, to_ns: now_ns, step, planned_rate, meter };
        self.from_ns = now_ns;
        // The thread ends only after us, unless it panicked: `finish` will say so.
        let _ = self.intervals.send(interval);
    }

    /// Cuts the last interval and waits until everything is written.
    pub fn finish(mut self, now_ns: u64, meter: Meter) -> Record {
        self.cut(now_ns, meter);
        drop(self.intervals);
        self.thread.join().expect("the recording thread panicked")
    }
}

impl OnTick for Recorder {
    fn tick(&mut self, now_ns: u64, meter: &mut Meter) {
        let next_step_ns = self.plan.step_end_after((self.from_ns - self.start_ns) as f64 / 1e9);
        let step_end_ns = next_step_ns.map_or(u64::MAX, |seconds| self.start_ns + (seconds * 1e9) as u64);
        if now_ns >= (self.from_ns + self.interval_ns).min(step_end_ns) {
            let empty = self.emptied.try_recv().unwrap_or_default();
            let full = std::mem::replace(meter, empty);
            self.cut(now_ns, full);
        }
    }
}

/// The recording thread's own.
struct Book {
    outputs: Outputs,
    server_pid: Option<u32>,
    start_ns: u64,
    give_back: Sender<Meter>,
    /// Counters at the end of the last interval.
    sample: Sample,
}

impl Book {
    fn keep(mut self, intervals: Receiver<Interval>) -> Record {
        let mut record = Record::default();
        let mut log = self.outputs.hdr_log.take();
        let mut writer = log.as_mut().map(|log| log.begin(SystemTime::now()));
        for mut interval in intervals {
            let point = self.point(&interval);
            let (from_ns, to_ns) = (interval.from_ns - self.start_ns, interval.to_ns - self.start_ns);
            if let Some(Ok(writer)) = &mut writer {
                let written = hdr_log::write(writer, &interval.meter, from_ns, to_ns);
                note(&mut record, written);
            } else if let Some(Err(failure)) = &writer {
                note(&mut record, Err(failure.clone()));
            }
            if let Some(csv) = &mut self.outputs.csv {
                let written = csv.write(&point, &interval.meter);
                note(&mut record, written);
            }
            record.add(&interval);
            self.outputs.progress.show(interval.to_ns, &point, &record.total);
            record.series.push(point);
            interval.meter.clear();
            // Nobody takes it after the last interval.
            let _ = self.give_back.send(interval.meter);
        }
        self.outputs.progress.clear();
        record
    }

    fn point(&mut self, interval: &Interval) -> Point {
        let before = std::mem::replace(&mut self.sample, Sample::take(self.server_pid));
        let at_seconds = (interval.from_ns - self.start_ns) as f64 / 1e9;
        let seconds = (interval.to_ns - interval.from_ns) as f64 / 1e9;
        let cores = |before: f64, after: f64| (after - before).max(0.0) / seconds.max(1e-9);
        let server_cores = before.server_cpu_seconds.zip(self.sample.server_cpu_seconds);
        let mut point = Point::of(&interval.meter, at_seconds, seconds);
        point.planned_rate = interval.planned_rate;
        point.server_cores = server_cores.map(|(before, after)| cores(before, after));
        point.server_resident_kib = self.server_pid.and_then(proc::memory).map(|memory| memory.resident_kib);
        point.generator_cores = cores(before.own_cpu_seconds, self.sample.own_cpu_seconds);
        point
    }
}

impl Record {
    fn add(&mut self, interval: &Interval) {
        self.total.add(&interval.meter);
        if self.steps.len() <= interval.step {
            self.steps.resize_with(interval.step + 1, Step::default);
        }
        let step = &mut self.steps[interval.step];
        step.planned_rate = step.planned_rate.or(interval.planned_rate);
        step.seconds += (interval.to_ns - interval.from_ns) as f64 / 1e9;
        step.meter.add(&interval.meter);
    }
}

fn note(record: &mut Record, written: Result<(), String>) {
    if let Err(failure) = written {
        record.output_failure.get_or_insert(failure);
    }
}
