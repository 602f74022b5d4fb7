//! What four-letter words show that is the same whoever asks.

use ringkeeper::admin::{self, Directories, Environment, ServerMode, TimeZone};
use ringkeeper::config::Settings;
use ringkeeper::io::process;
use ringkeeper::message::MembersSign;
use ringkeeper::message::lane::{Standing, StandingSign};
use ringkeeper::observe::MetricsRegistry;
use ringkeeper::server::{Admission, StatusSource};
use ringkeeper::storage::DataDirs;
use ringkeeper::types::Instant;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub fn source(
    settings: &Arc<Settings>,
    dirs: &DataDirs,
    metrics: Arc<MetricsRegistry>,
    admission: Arc<Admission>,
    started: Instant,
    standing: StandingSign,
    members: MembersSign,
) -> StatusSource {
    let (for_gate, for_conf) = (settings.clone(), settings.clone());
    let (data_dir, log_dir) = (absolute(&dirs.snapshots), absolute(&dirs.logs));
    let (name, offset_seconds) = process::time_zone();
    let (for_standing, for_mode) = (standing.clone(), standing.clone());
    StatusSource {
        gate: Box::new(move |word| {
            let serving = for_mode.get() != Standing::Looking;
            admin::gate(word, &for_gate.four_letter_whitelist, serving)
        }),
        mode: Box::new(move || mode(standing.get())),
        conf: Box::new(move |directories| {
            admin::conf(&for_conf, directories, mode(for_standing.get()), members.get().as_deref())
        }),
        directories: Box::new(move || Directories {
            data_dir_bytes: bytes_of_files(&data_dir),
            data_dir: data_dir.clone(),
            log_dir_bytes: bytes_of_files(&log_dir),
            log_dir: log_dir.clone(),
        }),
        environment: Box::new(environment),
        descriptors: Box::new(process::file_descriptors),
        time_zone: TimeZone { name, offset_seconds },
        metrics,
        admission,
        started,
    }
}

fn mode(standing: Standing) -> ServerMode {
    match standing {
        Standing::Alone | Standing::Looking => ServerMode::Standalone,
        Standing::ReadOnly => ServerMode::ReadOnly,
        Standing::Leading => ServerMode::Leader,
        Standing::Following => ServerMode::Follower,
        Standing::Observing => ServerMode::Observer,
    }
}

fn environment() -> Environment {
    let system = process::system();
    let (free, total) = process::memory_mb();
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    Environment {
        host_name: system.host,
        os_name: system.name,
        os_arch: system.architecture,
        os_version: system.release,
        user_name: variable("USER"),
        user_home: variable("HOME"),
        user_dir: std::env::current_dir().unwrap_or_default().display().to_string(),
        temp_dir: std::env::temp_dir().display().to_string(),
        memory_free_mb: free,
        memory_max_mb: total,
        memory_total_mb: total,
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn bytes_of_files(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).filter(|m| m.is_file()).map(|m| m.len()).sum()
}
