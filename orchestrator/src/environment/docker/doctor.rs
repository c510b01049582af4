//! Is this host fit for runs on containers? Looks, says, and mends what it safely can.

use std::path::Path;

use bollard::Docker as Api;
use rustix::fs::statvfs;

use super::place::runs_folder;
use super::{engine, runs, runtime, usage};
use crate::environment::Progress;
use crate::error::{Error, Result};

/// Disk that a run may need for images and logs, in bytes.
const DISK_MIN: u64 = 500 << 20;
/// Memory that one member takes, the engine's share included, in bytes.
const MEMBER_MEMORY: u64 = 25 << 20;
/// Threads that one member takes, the engine's share included.
const MEMBER_THREADS: u64 = 30;

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Runs work, with a restriction.
    Doubtful,
    /// Runs do not work.
    Bad,
    /// It was bad, and is mended.
    Mended,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it is.
    pub verdict: Verdict,
    /// What was looked at, and what was seen.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Finding {
    fn good(what: impl Into<String>) -> Self {
        Self { verdict: Verdict::Good, what: what.into(), hint: None }
    }

    fn bad(error: &Error) -> Self {
        Self { verdict: Verdict::Bad, what: error.to_string(), hint: error.hint.clone() }
    }

    fn doubtful(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { verdict: Verdict::Doubtful, what: what.into(), hint: Some(hint.into()) }
    }
}

/// Looks at everything that runs on containers need; with `fix` removes what earlier runs left behind.
///
/// # Errors
/// No event loop can be had. What is wrong with the host is in the findings.
pub fn doctor(fix: bool, progress: &dyn Progress) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    match runtime()?.block_on(look_at_engine()) {
        Ok(seen) => findings.extend(seen),
        Err(error) => findings.push(Finding::bad(&error)),
    }
    findings.push(tun());
    findings.push(memory());
    findings.push(threads());
    if findings[0].verdict != Verdict::Bad {
        findings.push(left_overs(fix, progress));
    }
    Ok(findings)
}

/// Says what is missing for a run of this many members, before anything is started.
///
/// # Errors
/// What is missing, and what to do about it.
pub(super) async fn check_for(api: &Api, members: usize) -> Result<()> {
    let bad = |finding: Finding| Error {
        what: "cannot run on docker".to_owned(),
        why: finding.what,
        hint: finding.hint,
    };
    let tun = tun();
    if tun.verdict == Verdict::Bad {
        return Err(bad(tun));
    }
    disk(api).await?;
    let needed = members as u64 * MEMBER_MEMORY;
    match usage::available_memory() {
        Some(available) if available < needed => {
            let (needed, available) = (needed >> 20, available >> 20);
            let why =
                format!("{members} members need about {needed} MiB of memory, and {available} MiB are free");
            Err(Error::new("cannot run on docker", why).with_hint("take fewer members: `--set public=N`"))
        }
        _ => Ok(()),
    }
}

async fn look_at_engine() -> Result<Vec<Finding>> {
    let api = engine::connect().await?;
    let info = api.info().await.map_err(|error| engine::failed("the engine tells nothing", &error))?;
    let version = info.server_version.unwrap_or_default();
    let mut findings = vec![Finding::good(format!(
        "Docker {version} answers, interface {}, storage {}",
        api.client_version(),
        info.driver.unwrap_or_default()
    ))];
    if !Path::new("/proc/self/ns/net").exists() || info.os_type.as_deref() != Some("linux") {
        findings.push(Finding::doubtful("the engine is not on this host", "run atoll where the engine runs"));
    }
    match disk(&api).await {
        Ok(free) => findings.push(Finding::good(format!("{} GiB of disk are free", free >> 30))),
        Err(error) => findings.push(Finding::bad(&error)),
    }
    Ok(findings)
}

/// Free disk where the engine and the runs keep their files, in bytes.
async fn disk(api: &Api) -> Result<u64> {
    let info = api.info().await.map_err(|error| engine::failed("the engine tells nothing", &error))?;
    let root = info.docker_root_dir.unwrap_or_else(|| "/".to_owned());
    let state = runs_folder()?;
    let free = [Path::new(&root), &state].into_iter().filter_map(free_bytes).min().unwrap_or(u64::MAX);
    if free < DISK_MIN {
        let why = format!("{} MiB are free in {root} or {}, and 500 are needed", free >> 20, state.display());
        return Err(
            Error::new("the disk is full", why).with_hint("`docker system prune` removes what nobody uses")
        );
    }
    Ok(free)
}

/// Free bytes at the nearest folder that exists.
fn free_bytes(path: &Path) -> Option<u64> {
    path.ancestors().find_map(|path| statvfs(path).ok()).map(|seen| seen.f_bavail * seen.f_frsize)
}

fn tun() -> Finding {
    if Path::new("/dev/net/tun").exists() {
        return Finding::good("/dev/net/tun is there");
    }
    let error = Error::new("/dev/net/tun is missing", "the kernel has no TUN devices loaded");
    Finding::bad(&error.with_hint("`sudo modprobe tun`"))
}

fn memory() -> Finding {
    let Some(available) = usage::available_memory() else {
        return Finding::doubtful("the free memory is not known", "read /proc/meminfo");
    };
    let members = available / MEMBER_MEMORY;
    Finding::good(format!("{} MiB of memory are free: room for about {members} members", available >> 20))
}

fn threads() -> Finding {
    let limit = ["kernel/threads-max", "kernel/pid_max"]
        .into_iter()
        .filter_map(|name| {
            std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse::<u64>().ok()
        })
        .min();
    let Some(limit) = limit else {
        return Finding::doubtful("the limit of threads is not known", "read /proc/sys/kernel/threads-max");
    };
    let members = limit / MEMBER_THREADS;
    let what = format!("the kernel allows {limit} threads: room for about {members} members");
    if members >= 300 {
        return Finding::good(what);
    }
    Finding::doubtful(what, "`sudo sysctl kernel.pid_max=4194304 kernel.threads-max=200000`")
}

fn left_overs(fix: bool, progress: &dyn Progress) -> Finding {
    let stale = match runs::list() {
        Ok(runs) => runs.iter().filter(|run| run.is_left_over).count(),
        Err(error) => return Finding::bad(&error),
    };
    match (stale, fix) {
        (0, _) => Finding::good("no earlier run left anything behind"),
        (_, false) => Finding::doubtful(
            format!("{stale} earlier runs left something behind"),
            "`atoll down` removes it",
        ),
        (_, true) => match runs::down(false, progress) {
            Ok(_) => Finding {
                verdict: Verdict::Mended,
                what: format!("removed what {stale} earlier runs left"),
                hint: None,
            },
            Err(error) => Finding::bad(&error),
        },
    }
}
