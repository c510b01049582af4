//! What this process cost so far. Each bench takes what it needs.
#![allow(dead_code)]

use rustix::time::{ClockId, clock_gettime};

/// CPU time of this process, in seconds.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A line of `/proc/self/status` that is given in kB, in bytes; 0 if it is not there.
pub(crate) fn memory_bytes(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    1024 * kilobytes.unwrap_or(0)
}
