//! Metrics, their names and numbers, how long requests take where, and how often a log line is worth repeating. No output here.

mod cell;
mod event;
mod latency;
mod metric;
mod namespace;
mod number;
mod readout;
mod registry;

pub use event::Repeats;
pub use latency::{Latencies, LatencyReadout};
pub use metric::{Counter, Namespaced, Summary};
pub use namespace::namespace_of;
pub use number::{Number, average, java_double};
pub use readout::{Metrics, Sizes, SummaryReadout};
pub use registry::{MetricsRegistry, MetricsWriter};
