//! What one trial yields: samples, notes, and reasons to distrust it.

use std::time::Duration;

use super::theory::{Census, Theory};
use crate::environment::{Health, NodeIndex, Trial};
use crate::error::Error;
use crate::metric::Metric;
use crate::plan::{Point, Turn};
use crate::record::{Costs, Row, TrialEntry};

/// Beyond this 99th percentile of the emulator's lateness a trial is invalid.
pub(super) const LATENESS_MAX: Duration = Duration::from_millis(20);
/// Most names in one note.
const NAMES_MAX: usize = 12;

/// One sample of a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// When, on the environment's clock.
    pub at: Duration,
    /// Whose; `None` for the trial as a whole.
    pub node: Option<NodeIndex>,
    /// What.
    pub metric: Metric,
    /// The value, in the metric's base unit.
    pub value: f64,
    /// What else is known.
    pub detail: String,
}

/// What one trial yields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// In the order of measurement.
    pub samples: Vec<Measured>,
    /// What a reader ought to know.
    pub notes: Vec<String>,
    /// Reasons to distrust it.
    pub invalid_reasons: Vec<String>,
    /// Hash over everything that happened, where there is one.
    pub trace_hash: Option<u64>,
    /// What it cost.
    pub cost: Costs,
    /// True if it ended before everything was measured because the user said so.
    pub cancelled: bool,
}

/// Why a trial ends before everything is measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cut {
    /// The user said so.
    Cancelled,
    /// The environment cannot go on.
    Failed(Error),
}

impl From<Error> for Cut {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Outcome {
    /// Adds what the environment has to say about its own trustworthiness.
    pub(super) fn judge(&mut self, health: &Health, trial: &Trial) {
        for (node, said) in &health.crashed {
            self.invalid_reasons.push(format!("{} crashed: {said}", trial.nodes[node.index()].name));
        }
        self.invalid_reasons.extend(health.stalls.iter().cloned());
        if let Some(late) = health.lateness.filter(|late| late.p99 > LATENESS_MAX) {
            self.invalid_reasons.push(format!(
                "the emulator was late by {:.1} ms at the 99th percentile (bound {:.0} ms)",
                late.p99.as_secs_f64() * 1e3,
                LATENESS_MAX.as_secs_f64() * 1e3
            ));
        }
        if let Some(dilation) = health.dilation {
            self.notes.push(format!(
                "time ran {dilation} times slower than the machine's for members and network: all times are theirs"
            ));
        }
        if let Some(late) = health.lateness {
            let [p50, p99, max] = [late.p50, late.p99, late.max].map(|time| time.as_secs_f64() * 1e3);
            self.notes.push(format!(
                "the emulator was late by {p50:.2} ms (p50), {p99:.2} ms (p99, at most {:.0} ms are allowed), \
                 {max:.2} ms (max)",
                LATENESS_MAX.as_secs_f64() * 1e3
            ));
        }
    }

    /// Looks whether every wanted metric has a sample. One that has none makes the trial invalid, unless the failures
    /// that keep it from being measured are `explained` by theory: then it is noted.
    pub(super) fn miss(&mut self, wanted: &[Metric], explained: bool) {
        let missing: Vec<&str> = wanted
            .iter()
            .filter(|metric| self.samples.iter().all(|sample| sample.metric != **metric))
            .map(|metric| metric.name)
            .collect();
        if missing.is_empty() {
            return;
        }
        let said = format!("nothing was measured of {}", missing.join(", "));
        match explained {
            true => self.notes.push(format!("{said}: as theory says of these NATs")),
            false => self.invalid_reasons.push(said),
        }
    }

    /// Its lines in `samples.csv`.
    pub(super) fn rows(&self, turn: Turn, point: &Point, names: &[String]) -> Vec<Row> {
        let name = |node: NodeIndex| names.get(node.index()).cloned().unwrap_or_default();
        let row = |sample: &Measured| Row {
            trial: turn.number,
            seed: turn.seed,
            point: point.label.clone(),
            at_seconds: sample.at.as_secs_f64(),
            node: sample.node.map_or_else(String::new, name),
            metric: sample.metric.name.to_owned(),
            value: sample.value,
            detail: sample.detail.clone(),
        };
        self.samples.iter().map(row).collect()
    }

    /// Its entry in the manifest.
    pub(super) fn entry(&self, turn: Turn) -> TrialEntry {
        TrialEntry {
            number: turn.number,
            point: turn.point,
            seed: turn.seed,
            invalid_reasons: self.invalid_reasons.clone(),
            notes: self.notes.clone(),
            trace_hash: self.trace_hash.map(|hash| format!("{hash:016x}")),
            cost: self.cost,
        }
    }
}

/// Who is not in the ring, and what theory says about it.
pub(super) struct Findings<'a> {
    pub(super) census: &'a Census,
    pub(super) late: &'a [NodeIndex],
    pub(super) unexplained: &'a [NodeIndex],
    pub(super) excused: &'a [NodeIndex],
}

impl Findings<'_> {
    /// The findings in sentences.
    pub(super) fn notes(&self, trial: &Trial, theory: &Theory<'_>) -> Vec<String> {
        let census = self.census;
        let mut notes = Vec::new();
        if census.blocked > 0 {
            notes.push(format!(
                "{} of {} pairs of ring neighbours cannot connect directly: others relay for them",
                census.blocked, census.pairs
            ));
        }
        for (low, high) in census.missing.iter().take(NAMES_MAX) {
            let pair = names(trial, &[*low, *high]);
            notes.push(format!("ring neighbours that are not linked: {pair}"));
        }
        let in_the_end = |member: &&NodeIndex| !census.failed.contains(member);
        let late: Vec<NodeIndex> = self.late.iter().filter(in_the_end).copied().collect();
        let groups = [
            ("cannot reach any bootstrap", theory.cut_off()),
            ("did not join in time, as theory says", self.excused),
            ("did not join in time though theory says they can", self.unexplained),
            ("joined after the limit, which counts as failed", &late),
        ];
        let told = groups.into_iter().filter(|(_, who)| !who.is_empty());
        notes.extend(told.map(|(what, who)| format!("{what}: {}", names(trial, who))));
        notes
    }
}

/// Some members by name and by what they are behind: `j003 (symmetric), m017 (port-restricted-cone)`.
pub(super) fn names(trial: &Trial, members: &[NodeIndex]) -> String {
    let shown: Vec<String> = members.iter().take(NAMES_MAX).map(|member| name(trial, *member)).collect();
    let more = members.len().saturating_sub(NAMES_MAX);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{tail}", shown.join(", "))
}

fn name(trial: &Trial, member: NodeIndex) -> String {
    let node = &trial.nodes[member.index()];
    format!("{} ({})", node.name, node.behind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{PUBLIC_JOIN, ROUTE};

    #[test]
    fn a_metric_that_nobody_measured_makes_a_trial_invalid_unless_theory_explains_it() {
        let measured = Measured {
            at: Duration::ZERO,
            node: None,
            metric: PUBLIC_JOIN,
            value: 1.0,
            detail: String::new(),
        };
        let mut outcome = Outcome { samples: vec![measured], ..Outcome::default() };
        outcome.miss(&[PUBLIC_JOIN], false);
        assert_eq!((outcome.invalid_reasons.len(), outcome.notes.len()), (0, 0));
        outcome.miss(&[PUBLIC_JOIN, ROUTE], true);
        assert_eq!((outcome.invalid_reasons.len(), outcome.notes.len()), (0, 1));
        outcome.miss(&[PUBLIC_JOIN, ROUTE], false);
        assert_eq!(outcome.invalid_reasons, ["nothing was measured of route_seconds"]);
    }
}
