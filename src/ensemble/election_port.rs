//! An election port that is taken: by a predecessor that has not quite gone, or for good (`electionPortBindRetry`).

use super::driver::Ensemble;
use crate::io::ending::stop_with;
use crate::types::Instant;

/// Between two tries, ms (`QuorumCnxManager`).
const RETRY_MS: u64 = 1000;
/// `ExitCode.UNABLE_TO_BIND_QUORUM_PORT`
const EXIT_CODE: i32 = 14;

#[derive(Debug, Default)]
pub(super) struct ElectionPort {
    failures: u32,
    pub retry_at: Option<Instant>,
}

impl Ensemble {
    pub(super) fn election_port_taken(&mut self, why: &str, now: Instant) {
        let seat = self.seat();
        seat.election_port.failures += 1;
        let failures = seat.election_port.failures;
        if seat.options.election_bind_tries_max.is_some_and(|max| failures >= max) {
            stop_with(EXIT_CODE, &format!("cannot listen on the election port, tried {failures} time(s): {why}"));
        }
        tracing::warn!("cannot listen on the election port, which is tried again in {RETRY_MS} ms: {why}");
        seat.election_port.retry_at = Some(now.plus_millis(RETRY_MS));
    }

    pub(super) fn tick_election_port(&mut self, now: Instant) {
        let seat = self.seat();
        if seat.election_port.retry_at.take_if(|at| *at <= now).is_some() {
            seat.elections.listen(seat.options.listen_on_all_addresses, &mut seat.actions);
        }
    }
}
