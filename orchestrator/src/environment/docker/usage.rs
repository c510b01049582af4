//! What processes of this host used, read from `/proc`.

use std::time::Duration;

/// Processor time and peak memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    pub(super) peak_rss_bytes: u64,
}

impl Usage {
    /// Of two processes, one after the other.
    pub(super) fn and(self, other: Self) -> Self {
        let peak_rss_bytes = self.peak_rss_bytes.max(other.peak_rss_bytes);
        Self { cpu: self.cpu + other.cpu, peak_rss_bytes }
    }
}

/// What a process used so far; `None` if it is gone.
pub(super) fn of(pid: u32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Usage { cpu: cpu(&stat)?, peak_rss_bytes: peak_rss(&status)? })
}

/// Fields 14 and 15 of `proc_pid_stat(5)`, counted in ticks; the name in field 2 may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

fn peak_rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

/// Memory that programs may still take, in bytes.
pub(super) fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 99";
        assert_eq!(cpu(stat), Some(Duration::from_secs(3)));
    }

    #[test]
    fn our_own_use_is_seen() {
        let own = of(std::process::id()).unwrap();
        assert!(own.peak_rss_bytes > 100_000, "{own:?}");
        assert!(of(u32::MAX).is_none());
    }
}
