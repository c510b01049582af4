//! One trial under way, and what every experiment does with it: wait, look, take samples and notes.

use std::time::Duration;

use super::outcome::{Cut, Measured, Outcome, names};
use crate::environment::{Environment, NodeIndex, NodeStatus, Surroundings, Trial};
use crate::metric::Metric;
use crate::plan::Values;

/// How often the rings are looked at. Times come from the members, so this does not blur them.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// How often members that have just been released are looked at.
pub(super) const GLANCE: Duration = Duration::from_millis(250);

/// One trial under way.
pub(super) struct Stage<'a> {
    pub(super) environment: &'a mut dyn Environment,
    pub(super) trial: &'a Trial,
    pub(super) values: &'a Values,
    pub(super) surroundings: &'a Surroundings,
    pub(super) outcome: &'a mut Outcome,
}

impl Stage<'_> {
    /// Those that are there before the measurement starts, and the others.
    pub(super) fn members(&self) -> (Vec<NodeIndex>, Vec<NodeIndex>) {
        let all = (0..self.trial.nodes.len() as u32).map(NodeIndex);
        all.partition(|node| node.0 < self.values.public)
    }

    /// The state of one member.
    pub(super) fn status(&mut self, member: NodeIndex) -> Result<Option<NodeStatus>, Cut> {
        Ok(self.environment.statuses(&[member])?.into_iter().next().flatten())
    }

    /// Lets a long time pass and shows how far it is.
    pub(super) fn pass(&mut self, what: &str, span: Duration) -> Result<(), Cut> {
        let began = self.environment.now();
        while self.environment.now() < began + span {
            let gone = self.environment.now() - began;
            self.surroundings.progress.step(what, gone.as_secs(), span.as_secs());
            self.wait((span - gone).min(10 * LOOK))?;
        }
        Ok(())
    }

    pub(super) fn wait(&mut self, span: Duration) -> Result<(), Cut> {
        self.environment.advance(self.environment.now() + span)?;
        self.stop_if_cancelled()
    }

    pub(super) fn stop_if_cancelled(&self) -> Result<(), Cut> {
        if self.surroundings.cancel.is_cancelled() { Err(Cut::Cancelled) } else { Ok(()) }
    }

    pub(super) fn sample(&mut self, node: Option<NodeIndex>, metric: Metric, value: f64) {
        let detail =
            node.map_or_else(String::new, |node| format!("nat={}", self.trial.nodes[node.index()].behind));
        self.outcome.samples.push(Measured { at: self.environment.now(), node, metric, value, detail });
    }

    /// A sample of what is between two members.
    pub(super) fn sample_between(&mut self, (from, to): (NodeIndex, NodeIndex), metric: Metric, value: f64) {
        let detail = format!("to={}", self.trial.nodes[to.index()].name);
        let (at, node) = (self.environment.now(), Some(from));
        self.outcome.samples.push(Measured { at, node, metric, value, detail });
    }

    /// The round trip of two hosts that nobody stands between, by the topology.
    pub(super) fn direct(&self, from: NodeIndex, to: NodeIndex) -> Duration {
        let [from, to] = [from, to].map(|member| self.trial.nodes[member.index()].host);
        self.trial.topology.round_trip(from, to)
    }

    pub(super) fn note(&mut self, note: String) {
        self.outcome.notes.push(note);
    }

    /// A member that should run and says nothing makes the trial invalid.
    pub(super) fn distrust_silence(&mut self, running: &[NodeIndex], statuses: &[Option<NodeStatus>]) {
        let pairs = running.iter().zip(statuses);
        let silent: Vec<NodeIndex> =
            pairs.filter(|(_, status)| status.is_none()).map(|(node, _)| *node).collect();
        if !silent.is_empty() {
            self.outcome.invalid_reasons.push(format!("no status from {}", names(self.trial, &silent)));
        }
    }
}
