//! Where a result comes from: the plan, the seeds, the versions, the machine, and what went wrong.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Costs;
use crate::plan::Plan;

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name of the results folder.
    pub name: String,
    /// What was measured.
    pub experiment: String,
    /// Where: `sim` or `docker`.
    pub environment: String,
    /// Seed of the whole plan.
    pub seed: u64,
    /// Trials for each point.
    pub repeats: u32,
    /// When it started, RFC 3339, UTC.
    pub started: String,
    /// The command that made it.
    pub command: Vec<String>,
    /// The plan as YAML; the same as `plan.yaml`.
    pub plan: String,
    /// Programs that took part.
    pub versions: Versions,
    /// The machine.
    pub host: Host,
    /// False if the run was interrupted or stopped by an error.
    pub complete: bool,
    /// Every set of values.
    pub points: Vec<PointEntry>,
    /// Every trial that ended, by number.
    pub trials: Vec<TrialEntry>,
    /// Bounds to keep, as the plan writes them.
    pub expect: Vec<String>,
    /// The run's whole cost.
    pub cost: Costs,
}

/// Programs that took part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// This program.
    pub atoll: String,
    /// `git describe` of the working directory, if it is a repository.
    pub git: Option<String>,
}

/// The machine that the run took place on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its kernel.
    pub kernel: String,
    /// Processors that the run could use.
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

/// One set of values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointEntry {
    /// The swept ones; empty without a sweep.
    pub label: String,
    /// All of them.
    pub values: BTreeMap<String, String>,
}

/// What became of one trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialEntry {
    /// Number within the plan.
    pub number: u32,
    /// Index of its point.
    pub point: usize,
    /// Its seed.
    pub seed: u64,
    /// Reasons to distrust it.
    pub invalid_reasons: Vec<String>,
    /// What a reader ought to know about it.
    pub notes: Vec<String>,
    /// Hash over everything that happened, as hexadecimal digits, where the same seed gives the same.
    pub trace_hash: Option<String>,
    /// What it cost.
    pub cost: Costs,
}

/// Why a trial that the user ended is not valid.
pub const INTERRUPTED: &str = "interrupted before everything was measured";

impl TrialEntry {
    /// Whether nobody interrupted it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.invalid_reasons.iter().all(|reason| reason != INTERRUPTED)
    }
}

impl Manifest {
    /// The manifest of a run that is about to start.
    #[must_use]
    pub fn new(plan: &Plan, environment: &str, command: Vec<String>) -> Self {
        let point =
            |point: &crate::plan::Point| PointEntry { label: point.label.clone(), values: point.texts() };
        Self {
            name: plan.name.clone(),
            experiment: plan.experiment.name().to_owned(),
            environment: environment.to_owned(),
            seed: plan.seed,
            repeats: plan.repeats,
            started: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            command,
            plan: plan.to_yaml(),
            versions: Versions { atoll: env!("CARGO_PKG_VERSION").to_owned(), git: git_describe() },
            host: Host::here(),
            complete: false,
            points: plan.points.iter().map(point).collect(),
            trials: Vec::new(),
            expect: plan.expect.iter().map(ToString::to_string).collect(),
            cost: Costs::default(),
        }
    }

    /// Keys whose value differs between points, with the unit-free value of each point where it is a number.
    #[must_use]
    pub fn swept(&self) -> Vec<&str> {
        let differs = |key: &&String| {
            let mut values = self.points.iter().map(|point| point.values.get(*key));
            let first = values.next();
            values.any(|value| Some(value) != first)
        };
        let keys = self.points.first().map(|point| point.values.keys());
        keys.into_iter().flatten().filter(differs).map(String::as_str).collect()
    }
}

impl Host {
    /// This machine.
    #[must_use]
    pub fn here() -> Self {
        let system = rustix::system::uname();
        let memory = rustix::system::sysinfo();
        Self {
            name: system.nodename().to_string_lossy().into_owned(),
            kernel: format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy()),
            cpus: std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32),
            memory_bytes: memory.totalram * u64::from(memory.mem_unit.max(1)),
        }
    }
}

fn git_describe() -> Option<String> {
    let git = std::process::Command::new("git")
        .args(["describe", "--always", "--dirty", "--tags"])
        .output()
        .ok()?;
    let text = String::from_utf8(git.stdout).ok()?;
    (git.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
