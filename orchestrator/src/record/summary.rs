//! `summary.json`: the figures of a run and its verdict. Scripts read it, so its keys stay.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Record;
use crate::environment::Cost;
use crate::metric;
use crate::plan::Expectation;
use crate::stats;

/// What a run or a trial cost the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// Processor time, in seconds.
    pub cpu_seconds: f64,
    /// Time by the clock on the wall, in seconds.
    pub wall_seconds: f64,
    /// Peak resident memory, in bytes.
    pub peak_rss_bytes: u64,
    /// Events handled.
    pub events: u64,
}

impl From<Cost> for Costs {
    fn from(cost: Cost) -> Self {
        Self {
            cpu_seconds: cost.cpu_seconds,
            wall_seconds: cost.wall_seconds,
            peak_rss_bytes: cost.peak_rss_bytes,
            events: cost.events,
        }
    }
}

/// An expectation and what was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Metric and statistic: `public_join_seconds.p50`.
    pub metric: String,
    /// Comparison.
    pub op: String,
    /// With what, in the metric's base unit.
    pub bound: f64,
    /// What was found at the worst point; `None` if a point has no samples.
    pub value: Option<f64>,
    /// Whether it holds at every point.
    pub ok: bool,
    /// Where it applies, as the file says it; empty: everywhere.
    #[serde(default, rename = "if", skip_serializing_if = "String::is_empty")]
    pub condition: String,
}

impl Verdict {
    /// The expectation as a person would write it.
    #[must_use]
    pub fn claim(&self) -> String {
        let condition = if self.condition.is_empty() { "" } else { " if " };
        format!("{} {} {}{condition}{}", self.metric, self.op, self.show(self.bound), self.condition)
    }

    /// What was found, with its unit.
    #[must_use]
    pub fn found(&self) -> String {
        self.value.map_or_else(|| "nothing".to_owned(), |value| self.show(value))
    }

    fn show(&self, value: f64) -> String {
        let (name, statistic) = self.metric.split_once('.').unwrap_or((&self.metric, ""));
        match metric::find(name).filter(|_| statistic != stats::Statistic::Count.name()) {
            Some(metric) => format!("{} {}", metric.unit.show(value), metric.unit.symbol()),
            None => value.to_string(),
        }
    }
}

/// `summary.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// What was measured.
    pub experiment: String,
    /// Where.
    pub environment: String,
    /// Seed of the whole plan.
    pub seed: u64,
    /// Whether the figures can be trusted.
    pub valid: bool,
    /// Why not.
    pub invalid_reasons: Vec<String>,
    /// Every expectation that applies to a point of the plan.
    pub expectations: Vec<Verdict>,
    /// The figures of every metric over all points and trials.
    pub metrics: BTreeMap<String, stats::Summary>,
    /// The same for each point of a sweep by itself; empty without a sweep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<PointSummary>,
    /// What the run cost.
    pub cost: Costs,
}

/// One point of a sweep in `summary.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointSummary {
    /// The swept keys with their values here, as they are written.
    pub set: BTreeMap<String, String>,
    /// The figures of every metric over the trials here.
    pub metrics: BTreeMap<String, stats::Summary>,
}

impl PointSummary {
    /// A summary for each point, if there are several.
    fn all(record: &Record) -> Vec<Self> {
        let manifest = &record.manifest;
        if manifest.points.len() < 2 {
            return Vec::new();
        }
        let swept = manifest.swept();
        let set = |values: &BTreeMap<String, String>| {
            let swept = values.iter().filter(|(key, _)| swept.contains(&key.as_str()));
            swept.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let points = manifest.points.iter().enumerate();
        points
            .map(|(at, point)| Self { set: set(&point.values), metrics: figures(record, Some(at)) })
            .collect()
    }
}

/// The figures of every metric that has samples, over one point or over all.
fn figures(record: &Record, point: Option<usize>) -> BTreeMap<String, stats::Summary> {
    let of = |metric: &metric::Metric| {
        record.summary(metric.name, point).map(|summary| (metric.name.to_owned(), summary))
    };
    metric::ALL.iter().filter_map(of).collect()
}

impl RunSummary {
    /// The summary of a record.
    #[must_use]
    pub fn of(record: &Record, expect: &[Expectation]) -> Self {
        let manifest = &record.manifest;
        let invalid_reasons = invalid_reasons(record);
        Self {
            experiment: manifest.experiment.clone(),
            environment: manifest.environment.clone(),
            seed: manifest.seed,
            valid: invalid_reasons.is_empty(),
            invalid_reasons,
            expectations: expect.iter().filter_map(|line| judge(record, line)).collect(),
            metrics: figures(record, None),
            points: PointSummary::all(record),
            cost: manifest.cost,
        }
    }

    /// Whether every expectation holds.
    #[must_use]
    pub fn all_ok(&self) -> bool {
        self.expectations.iter().all(|verdict| verdict.ok)
    }
}

fn invalid_reasons(record: &Record) -> Vec<String> {
    let manifest = &record.manifest;
    let mut reasons = Vec::new();
    if !manifest.complete {
        let planned = manifest.points.len() * manifest.repeats as usize;
        let whole = manifest.trials.iter().filter(|trial| trial.is_whole()).count();
        reasons.push(format!("interrupted after {whole} of {planned} trials"));
    }
    for trial in &manifest.trials {
        reasons
            .extend(trial.invalid_reasons.iter().map(|reason| format!("trial {}: {reason}", trial.number)));
    }
    reasons
}

/// The verdict at the worst point; `None` if the expectation applies to none.
fn judge(record: &Record, line: &Expectation) -> Option<Verdict> {
    let points = record.manifest.points.iter().enumerate().filter(|(_, point)| line.applies(&point.values));
    let found: Vec<Option<f64>> = points
        .map(|(point, _)| {
            record.summary(line.metric.name, Some(point)).map(|summary| summary.get(line.statistic))
        })
        .collect();
    if found.is_empty() {
        return None;
    }
    let all: Option<Vec<f64>> = found.into_iter().collect();
    let worse = |a: &f64, b: &f64| line.op.miss(*a, line.bound).total_cmp(&line.op.miss(*b, line.bound));
    let value = all.and_then(|values| values.into_iter().max_by(worse));
    Some(Verdict {
        metric: line.subject(),
        op: line.op.symbol().to_owned(),
        bound: line.bound,
        value,
        ok: value.is_some_and(|value| line.op.holds(value, line.bound)),
        condition: line.condition().to_owned(),
    })
}
