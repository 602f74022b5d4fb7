//! What can be said about a configuration: where a value came from, what is wrong with it, what is only odd.

use std::fmt;
use std::path::PathBuf;

/// ZooKeeper's exit code for a bad invocation or configuration.
pub const EXIT_CODE_BAD_CONFIG: i32 = 2;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    CommandLine,
    Line { file: PathBuf, line: u32 },
    File { file: PathBuf },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::CommandLine => f.write_str("command line"),
            Source::Line { file, line } => write!(f, "{}:{line}", file.display()),
            Source::File { file } => write!(f, "{}", file.display()),
        }
    }
}

/// A configuration that no server is started with. The process ends with `EXIT_CODE_BAD_CONFIG`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {reason}")]
pub struct ConfigError {
    pub at: Source,
    pub reason: String,
}

impl ConfigError {
    pub(super) fn new(source: &Source, reason: impl Into<String>) -> ConfigError {
        ConfigError { at: source.clone(), reason: reason.into() }
    }
}

/// A key that does not do what its writer may have meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub source: Source,
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.text)
    }
}
