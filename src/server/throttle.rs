//! Requests beyond what the server is to have in process wait in their sockets' buffers (`request_throttle_*`), and
//! large ones share a budget (`largeRequest*`). Java keeps such requests in a queue of their own; the effect is the same.

use super::connection::Connection;
use super::worker::Worker;
use crate::message::ReadOp;
use crate::observe::Counter;
use crate::wire::client::Request;

impl Worker {
    /// As many requests are in process as `request_throttle_max_requests` allows.
    pub(super) fn is_throttled(&self) -> bool {
        self.rules.request_throttle.as_ref().is_some_and(|throttle| self.outstanding >= throttle.in_process_max)
    }

    /// The connection is not read from for now.
    pub(super) fn begin_wait(&mut self, conn: &mut Connection) {
        if self.is_throttled() && conn.throttled_since.is_none() {
            self.metrics.count(Counter::RequestThrottleWaitCount);
            conn.throttled_since = Some(self.now.mono);
        }
    }

    /// The connection goes on: what it sent before may have waited too long. False if it is closed for that.
    pub(super) fn end_wait(&mut self, conn: &mut Connection) -> bool {
        let (Some(since), Some(throttle)) = (conn.throttled_since.take(), &self.rules.request_throttle) else {
            return true;
        };
        let waited_ms = self.now.mono.micros_since(since) / 1000;
        if throttle.closes_stale && waited_ms > conn.timeout_ms as u64 {
            self.metrics.count(Counter::StaleRequestsDropped);
            self.end(conn);
            return false;
        }
        conn.overdue = throttle.wait_ms_max.is_some_and(|max| waited_ms > max);
        true
    }

    /// `largeRequestThreshold`: frames beyond it share a budget.
    pub(super) fn admits_large(&mut self, conn: &mut Connection, bytes: usize) -> bool {
        if self.rules.large_request_threshold.is_none_or(|threshold| bytes <= threshold) {
            return true;
        }
        if !self.admission.enter_large(bytes, self.rules.large_request_bytes_max) {
            self.metrics.count(Counter::LargeRequestsRejected);
            tracing::warn!("closing {}: large requests exceed largeRequestMaxBytes", conn.peer);
            return false;
        }
        conn.large_bytes += bytes;
        true
    }

    /// Nothing of the connection is in process any more.
    pub(super) fn release_large(&mut self, conn: &mut Connection) {
        if conn.large_bytes > 0 && conn.outstanding() == 0 {
            self.admission.leave_large(std::mem::take(&mut conn.large_bytes));
        }
    }
}

/// Requests that are carried out however long they have waited.
pub(super) fn is_never_overdue(request: &Request<'_>) -> bool {
    matches!(request, Request::Read(ReadOp::Ping) | Request::CloseSession | Request::Auth(_) | Request::Sasl { .. })
}
