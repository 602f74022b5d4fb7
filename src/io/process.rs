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

/// What this program was compiled for and the processor lacks; to be asked before anything else is done, since an instruction
/// that is not there ends the process without a word.
pub fn missing_processor_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        /// Bits of leaf 1, register ecx. Detection by std is no detection for what the program was compiled for.
        const NEEDED: [(&str, bool, u32); 6] = [
            ("SSE3", cfg!(target_feature = "sse3"), 0),
            ("SSSE3", cfg!(target_feature = "ssse3"), 9),
            ("CMPXCHG16B", cfg!(target_feature = "cmpxchg16b"), 13),
            ("SSE4.1", cfg!(target_feature = "sse4.1"), 19),
            ("SSE4.2", cfg!(target_feature = "sse4.2"), 20),
            ("POPCNT", cfg!(target_feature = "popcnt"), 23),
        ];
        let has = std::arch::x86_64::__cpuid(1).ecx;
        NEEDED.iter().filter(|(_, is_needed, bit)| *is_needed && has & 1 << bit == 0).map(|(name, ..)| *name).collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    Vec::new()
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

/// The calling thread, as the kernel names it.
pub fn thread_id() -> u32 {
    // SAFETY: a plain system call.
    unsafe { libc::gettid() as u32 }
}

/// How often the calling thread has gone to sleep so far.
pub fn sleeps_of_this_thread() -> u64 {
    // SAFETY: the usage is plain memory that the call fills.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        if libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) == 0 { usage.ru_nvcsw as u64 } else { 0 }
    }
}

/// What a thread of this process is at, for people: the end of a sentence.
pub fn what_thread_does(thread: u32) -> String {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/task/{thread}/{file}")).unwrap_or_default();
    let stat = read("stat");
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    let what = match state {
        Some('R') => "runs or waits for a processor".to_owned(),
        Some('D') => "waits for a disk (state D)".to_owned(),
        Some('S') => "sleeps (state S)".to_owned(),
        Some('T' | 't') => "is stopped (state T)".to_owned(),
        Some(other) => format!("is in state {other}"),
        None => return "is not there".to_owned(),
    };
    match read("wchan").as_str() {
        "" | "0" => what,
        place => format!("{what}, in the kernel's {place}"),
    }
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
