//! The settings that connections live by; fixed for the life of the process.

use crate::request::{AccessRules, AuthRules};

#[derive(Clone, Debug)]
pub struct ServerRules {
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
}

/// `connection_throttle_*`: a token bucket for new and renewed sessions.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionThrottle {
    pub tokens: u32,
    pub fill_time_ms: u32,
    pub fill_count: u32,
    pub weight_global: u32,
    pub weight_renew: u32,
}
