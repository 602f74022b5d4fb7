//! The settings that connections live by; fixed for the life of the process.

use crate::request::{AccessRules, AuthRules};
use crate::types::StageClock;
use crate::types::limits::HERD_IN_A_TURN_MAX;

#[derive(Clone, Debug)]
pub struct ServerRules {
    /// One of an ensemble: a sync has to ask the leader.
    pub replicated: bool,
    /// `localSessionsEnabled`
    pub local_sessions: bool,
    pub access: AccessRules,
    pub auth: AuthRules,
    /// `jute.maxbuffer`: longest frame a client may send, bytes.
    pub frame_bytes_max: usize,
    pub session_timeout_ms_min: i32,
    pub session_timeout_ms_max: i32,
    /// `nio.sessionlessCnxnTimeout`: how long a connection may stay without a session.
    pub sessionless_timeout_ms: u64,
    /// `globalOutstandingLimit`: above it a connection that waits for an answer is not read from.
    pub outstanding_max: usize,
    /// `largeRequestThreshold`, bytes: frames above it count against `large_request_bytes_max`. `None` = off.
    pub large_request_threshold: Option<usize>,
    pub large_request_bytes_max: usize,
    pub throttle: Option<ConnectionThrottle>,
    /// `None` = off.
    pub request_throttle: Option<RequestThrottle>,
    /// `request.warningthresholdms`: a request that takes so long is worth a line in the log. `None` = none is.
    pub slow_ms: Option<u64>,
    /// Connections that one change tells, if they are more, are a herd: so many of it are told in one turn, and requests of
    /// so many carried out, behind everybody else's.
    pub herd_in_a_turn_max: usize,
    /// For what is timed within a turn.
    pub clock: StageClock,
}

/// ZooKeeper's defaults for a server of its own, without a clock.
impl Default for ServerRules {
    fn default() -> ServerRules {
        ServerRules {
            replicated: false,
            local_sessions: false,
            access: AccessRules::default(),
            auth: AuthRules::default(),
            frame_bytes_max: 0xf_ffff,
            session_timeout_ms_min: 4_000,
            session_timeout_ms_max: 40_000,
            sessionless_timeout_ms: 10_000,
            outstanding_max: 1000,
            large_request_threshold: None,
            large_request_bytes_max: 0,
            throttle: None,
            request_throttle: None,
            slow_ms: None,
            herd_in_a_turn_max: HERD_IN_A_TURN_MAX,
            clock: StageClock::STILL,
        }
    }
}

/// `request_throttle_*`: above `in_process_max` nothing further is read; what waited too long meanwhile is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestThrottle {
    pub in_process_max: usize,
    /// `throttled_op_wait_time`: requests that waited longer are answered -127. `None` = they are carried out.
    pub wait_ms_max: Option<u64>,
    /// `request_stale_latency_check` with `request_throttle_drop_stale`: a connection whose requests waited for longer than
    /// its session timeout is closed.
    pub closes_stale: bool,
}

/// `connection_throttle_*`: a token bucket for new and renewed sessions.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionThrottle {
    pub tokens: u32,
    pub fill_time_ms: u32,
    pub fill_count: u32,
    /// Of a new session, whatever kind new sessions are.
    pub weight_new: u32,
    pub weight_renew: u32,
    /// Besides, some are refused at random, the more the longer the bucket stays empty. `None` = off.
    pub random: Option<RandomDrop>,
}

/// How the share of sessions refused at random moves.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomDrop {
    /// Least time between two changes of the share.
    pub freeze_time_ms: u32,
    /// Added while no token is left; 0 to 1.
    pub increase: f64,
    /// Taken off while few are used; 0 to 1.
    pub decrease: f64,
    /// Part of the bucket that counts as few.
    pub decrease_ratio: f64,
}
