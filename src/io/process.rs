//! What the kernel says about this process and machine, for `envi` and `mntr`.

use std::ffi::CStr;

/// Open file descriptors and the most there may be.
pub fn file_descriptors() -> (u64, u64) {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    // SAFETY: the limit is plain memory that the call fills.
    let max = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 { limit.rlim_cur } else { 0 }
    };
    (open, max)
}

/// Raises the limit of open files as far as this user may: ten thousand clients are nothing special.
pub fn raise_file_descriptor_limit() {
    // SAFETY: as above.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// Name, release and host name of the system.
pub struct System {
    pub name: String,
    pub release: String,
    pub architecture: String,
    pub host: String,
}

pub fn system() -> System {
    // SAFETY: the structure is filled by the call and holds terminated strings.
    unsafe {
        let mut names: libc::utsname = std::mem::zeroed();
        libc::uname(&raw mut names);
        let text = |field: *const libc::c_char| CStr::from_ptr(field).to_string_lossy().into_owned();
        System {
            name: text(names.sysname.as_ptr()),
            release: text(names.release.as_ptr()),
            architecture: text(names.machine.as_ptr()),
            host: text(names.nodename.as_ptr()),
        }
    }
}

/// Megabytes of memory: available and in all.
pub fn memory_mb() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let value = |key: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kb| kb.parse().ok()).unwrap_or(0)
    };
    (value("MemAvailable:") / 1024, value("MemTotal:") / 1024)
}

/// 64 bits nobody can guess.
pub fn random_seed() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    // SAFETY: the call writes at most as many bytes as it is told there are.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got == bytes.len() as isize { Ok(u64::from_ne_bytes(bytes)) } else { Err(std::io::Error::last_os_error()) }
}

/// The local time zone: its short name, and seconds east of UTC.
pub fn time_zone() -> (String, i32) {
    // SAFETY: the structure is filled by the call; its zone name lives as long as the process.
    unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut local: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&raw const now, &raw mut local).is_null() || local.tm_zone.is_null() {
            return ("UTC".to_owned(), 0);
        }
        (CStr::from_ptr(local.tm_zone).to_string_lossy().into_owned(), local.tm_gmtoff as i32)
    }
}
