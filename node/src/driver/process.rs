//! What the process itself costs, under the names that Prometheus clients share.

use std::fs;

use atoll_core::control::{Metric, MetricKind};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::{SysconfVar, sysconf};

/// Memory, processor time and descriptors of this process, and which build it is.
pub(super) fn metrics() -> Vec<Metric> {
    let values = [
        ("process_resident_memory_bytes", "Resident memory, in bytes.", MetricKind::Gauge, resident_bytes()),
        ("process_cpu_seconds_total", "Processor time, user and system.", MetricKind::Counter, cpu_seconds()),
        ("process_open_fds", "Open file descriptors.", MetricKind::Gauge, open_descriptors()),
        ("process_max_fds", "Most file descriptors that may be open.", MetricKind::Gauge, descriptors_max()),
    ];
    let known = values.into_iter().filter_map(|(name, help, kind, value)| {
        Some(Metric { name: name.to_owned(), help: help.to_owned(), kind, labels: vec![], value: value? })
    });
    known.chain([build_info()]).collect()
}

fn resident_bytes() -> Option<f64> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(pages * sysconf(SysconfVar::PAGE_SIZE).ok()?? as f64)
}

fn cpu_seconds() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    Some((usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6)
}

fn open_descriptors() -> Option<f64> {
    // The listing itself holds one.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

fn descriptors_max() -> Option<f64> {
    getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft as f64)
}

fn build_info() -> Metric {
    Metric {
        name: "atoll_build_info".to_owned(),
        help: "Always 1; the labels say which build runs.".to_owned(),
        kind: MetricKind::Gauge,
        labels: vec![("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
        value: 1.0,
    }
}
