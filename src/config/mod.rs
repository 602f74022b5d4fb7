//! The configuration: what was typed (`args`), what was written (`zoo_cfg`), what is used (`settings`, `ensemble`), and
//! how the one becomes the other (`load`, `members`), and back where members change (`dynamic`). Reads no file and no clock itself: `load` is handed a way to read files.

mod args;
mod dynamic;
mod ensemble;
mod error;
pub mod known_keys;
mod load;
mod members;
mod settings;
mod sources;
mod zoo_cfg;

pub use args::{BadCommandLine, Command, CommandLine, Given, USAGE, parse_args};
pub use dynamic::static_text_for;
pub use ensemble::EnsembleSettings;
pub use error::{ConfigError, EXIT_CODE_BAD_CONFIG, Source, Warning};
pub use load::{Loaded, load};
pub use settings::{Cores, FourLetterWhitelist, PinCores, Settings, SnapshotCompression};
pub use zoo_cfg::{BadLine, Entry, parse_zoo_cfg};
