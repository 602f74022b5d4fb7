//! What the kernel counted: CPU time and resident memory of the server (by pid), our own CPU time, and how
//! busy the rest of the machine was. Reads `/proc` only; figures are differences of two samples, made here.

use std::fs;

use crate::failure::Failure;

/// Clock ticks per second of every `/proc` CPU figure: USER_HZ, 100 on all Linux architectures in use.
fn ticks_per_second() -> f64 {
    // SAFETY: no pointers, no state.
    (unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).max(1) as f64
}

/// One moment's counters. Seconds of CPU since the start of the process or machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    pub server_cpu_seconds: Option<f64>,
    pub own_cpu_seconds: f64,
    pub machine_busy_seconds: f64,
    pub machine_stolen_seconds: f64,
}

impl Sample {
    pub fn take(server_pid: Option<u32>) -> Sample {
        let (machine_busy_seconds, machine_stolen_seconds) = fs::read_to_string("/proc/stat")
            .ok()
            .and_then(|text| parse_machine_ticks(&text))
            .map_or((0.0, 0.0), |(busy, stolen)| (busy / ticks_per_second(), stolen / ticks_per_second()));
        Sample {
            server_cpu_seconds: server_pid.and_then(process_cpu_seconds),
            own_cpu_seconds: own_cpu_seconds(),
            machine_busy_seconds,
            machine_stolen_seconds,
        }
    }
}

/// Memory of a process in KiB, as `/proc/<pid>/status` tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub resident_kib: u64,
    pub resident_kib_peak: u64,
}

/// Fails when there is no such process: a run that silently lacks the server's CPU is worth nothing.
pub fn check_pid(pid: u32) -> Result<(), Failure> {
    match process_cpu_seconds(pid) {
        Some(_) => Ok(()),
        None => Err(Failure::Usage(format!("--pid {pid}: no such process (cannot read /proc/{pid}/stat)"))),
    }
}

pub fn memory(pid: u32) -> Option<Memory> {
    parse_memory(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn process_cpu_seconds(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(parse_process_ticks(&text)? / ticks_per_second())
}

fn own_cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// utime + stime of `/proc/<pid>/stat`: all threads of the process, kernel io workers included.
/// The command name may hold blanks and parentheses, so fields are counted from its last `)`.
fn parse_process_ticks(text: &str) -> Option<f64> {
    let after_name = &text[text.rfind(')')? + 1..];
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn parse_memory(text: &str) -> Option<Memory> {
    let kib = |label: &str| {
        let line = text.lines().find(|line| line.starts_with(label))?;
        line[label.len()..].split_ascii_whitespace().next()?.parse().ok()
    };
    Some(Memory { resident_kib: kib("VmRSS:")?, resident_kib_peak: kib("VmHWM:")? })
}

/// (busy, stolen) ticks of the whole machine: `cpu user nice system idle iowait irq softirq steal ...`.
fn parse_machine_ticks(text: &str) -> Option<(f64, f64)> {
    let line = text.lines().find(|line| line.starts_with("cpu "))?;
    let ticks: Vec<f64> = line.split_ascii_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, stolen, ..] = ticks[..] else {
        return None;
    };
    Some((user + nice + system + irq + softirq, stolen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_does_not_shift_the_fields() {
        let text = "42 (a ) R b) S 1 42 42 0 -1 4194304 11 22 33 44 700 50 1 2 20 0 9 0 100";
        assert_eq!(parse_process_ticks(text), Some(750.0));
        assert_eq!(parse_process_ticks("42 (short) S 1"), None);
    }

    #[test]
    fn memory_is_read_by_label() {
        let text = "Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t  300 kB\nVmRSS:\t  200 kB\n";
        assert_eq!(parse_memory(text), Some(Memory { resident_kib: 200, resident_kib_peak: 300 }));
        assert_eq!(parse_memory("Name:\tzombie\n"), None);
    }

    #[test]
    fn machine_ticks_leave_out_idle_and_iowait() {
        assert_eq!(parse_machine_ticks("cpu  1 2 3 400 500 6 7 8 0 0\ncpu0 1 1"), Some((19.0, 8.0)));
    }

    #[test]
    fn our_own_process_is_visible() {
        let pid = std::process::id();
        assert!(check_pid(pid).is_ok());
        assert!(memory(pid).is_some_and(|memory| memory.resident_kib > 0));
        assert!(check_pid(u32::MAX).is_err());
    }
}
