//! What can end a run, in words for the person at the terminal, and the exit code of each for scripts.

/// Exit codes. 0 is a whole run without a failed operation; clap itself uses 2 for a bad command line.
pub mod exit_code {
    pub const OK: u8 = 0;
    pub const OUTPUT: u8 = 1;
    pub const USAGE: u8 = 2;
    pub const UNREACHABLE: u8 = 3;
    pub const NOT_ZOOKEEPER: u8 = 4;
    pub const REFUSED: u8 = 5;
    pub const LOST: u8 = 6;
    pub const FAILED_OPERATIONS: u8 = 7;
    /// A search found no rate that keeps the limit.
    pub const LIMIT_NOT_KEPT: u8 = 8;
    pub const INTERRUPTED: u8 = 130;
}

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("{what}: {source}")]
    System { what: String, source: std::io::Error },
    #[error("{0}")]
    Output(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    NotZooKeeper(String),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Lost(String),
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => exit_code::USAGE,
            Failure::System { .. } | Failure::Output(_) => exit_code::OUTPUT,
            Failure::Unreachable(_) => exit_code::UNREACHABLE,
            Failure::NotZooKeeper(_) => exit_code::NOT_ZOOKEEPER,
            Failure::Refused(_) => exit_code::REFUSED,
            Failure::Lost(_) => exit_code::LOST,
            Failure::Interrupted => exit_code::INTERRUPTED,
        }
    }

    pub fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Failure {
        let what = what.into();
        move |source| Failure::System { what, source }
    }
}
