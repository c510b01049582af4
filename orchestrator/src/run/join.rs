//! The experiment `join`: how long a new member needs until it is connected.

use std::collections::BTreeSet;
use std::time::Duration;

use atoll_core::Rng;
use atoll_core::control::{Command, Reply};

use super::outcome::{Cut, Findings, Measured, Outcome, names};
use super::theory::{Census, Theory};
use crate::environment::{Environment, NodeIndex, NodeStatus, OVERLAY, Surroundings, Traffic, Trial};
use crate::metric::{self, Metric};
use crate::plan::{Start, Values};

/// The longest wait for the first members to settle, if none of them crashed.
const SETTLE_LIMIT: Duration = Duration::from_secs(300);
/// The longest wait for one joiner; one that needs longer failed.
const JOIN_LIMIT: Duration = Duration::from_secs(60);
/// How often the ring is looked at. Times come from the members, so this does not blur them.
const LOOK: Duration = Duration::from_secs(1);
/// How often a joiner is looked at.
const GLANCE: Duration = Duration::from_millis(250);
/// The longest wait for the ring to close around the last joiner, or around a member that crashed.
const RECOUNT_LIMIT: Duration = Duration::from_secs(20);
/// The longest pause of a member at rest; what is measured in less depends on when it began.
const KEEPALIVE_MAX: Duration = Duration::from_secs(55);
/// Pairs whose route is measured.
const ROUTES: usize = 100;

/// A joiner that needed longer than the limit.
struct Late {
    member: NodeIndex,
    /// Theory says that it could not have been faster: others may have come between it and whom it cannot reach since.
    excused: bool,
}

/// One trial under way.
pub(super) struct Join<'a> {
    pub(super) environment: &'a mut dyn Environment,
    pub(super) trial: &'a Trial,
    pub(super) values: &'a Values,
    pub(super) surroundings: &'a Surroundings,
    pub(super) outcome: &'a mut Outcome,
}

impl Join<'_> {
    /// Runs the whole trial; what was measured before a cut stays in the outcome.
    pub(super) fn run(&mut self) -> Result<(), Cut> {
        let trial = self.trial;
        let (first, joiners) = self.members();
        let mut theory = Theory::new(trial, &first);
        self.settle(&first, &theory)?;
        let mut running = first;
        let mut late = Vec::new();
        for (done, joiner) in joiners.iter().enumerate() {
            self.surroundings.progress.step("joiners", done as u64, joiners.len() as u64);
            theory.add(*joiner);
            if !self.join(*joiner)? {
                late.push(Late { member: *joiner, excused: theory.excused(*joiner) });
            }
            running.push(*joiner);
        }
        let explained = self.count(&running, &theory, &late)?;
        self.routes(&running)?;
        self.rest(&running)?;
        let wanted = self.wanted(&joiners, running.len());
        self.outcome.miss(&wanted, explained);
        if !self.values.measure.is_zero() {
            // A member that no NAT lets through sends all the same.
            self.outcome.miss(&[metric::SENT, metric::RECEIVED], false);
        }
        Ok(())
    }

    /// The metrics of joining and of the ring that a trial with these values yields if nothing goes wrong.
    fn wanted(&self, joiners: &[NodeIndex], members: usize) -> Vec<Metric> {
        let joined =
            (self.values.start == Start::Together || !joiners.is_empty()).then_some(metric::PUBLIC_JOIN);
        let bytes = (!joiners.is_empty()).then_some(metric::JOIN_BYTES);
        let ring =
            [metric::RING_COMPLETE, metric::ROUTE_HOPS, metric::ROUTE, metric::DIRECT, metric::BLOCKED];
        let ring = ring.into_iter().filter(|_| members > 1);
        joined.into_iter().chain(bytes).chain(ring).collect()
    }

    fn members(&self) -> (Vec<NodeIndex>, Vec<NodeIndex>) {
        let all = (0..self.trial.nodes.len() as u32).map(NodeIndex);
        all.partition(|node| node.0 < self.values.public)
    }

    /// Releases the first members at one instant and waits until their ring is as complete as it can be.
    fn settle(&mut self, first: &[NodeIndex], theory: &Theory<'_>) -> Result<(), Cut> {
        let began = self.environment.now();
        self.environment.start(first)?;
        loop {
            let statuses = self.environment.statuses(first)?;
            let census = theory.census(first, &statuses);
            let connected = (first.len() - census.failed.len()) as u64;
            self.surroundings.progress.step("settling", connected, first.len() as u64);
            let limit =
                if self.environment.health()?.crashed.is_empty() { SETTLE_LIMIT } else { RECOUNT_LIMIT };
            let over = self.environment.now() >= began + limit;
            if over || census.settled() {
                self.settled(first, (&census, over), &statuses);
                return Ok(());
            }
            self.wait(LOOK)?;
        }
    }

    fn settled(
        &mut self,
        first: &[NodeIndex],
        (census, over): (&Census, bool),
        statuses: &[Option<NodeStatus>],
    ) {
        let known = || statuses.iter().flatten();
        let released = known().map(|status| status.released).min().unwrap_or_default();
        if census.pairs == 0 && first.len() > 1 {
            self.note("no two of the first members can be in one ring".to_owned());
        } else if census.complete() {
            let changed = known()
                .map(|status| status.released.as_secs_f64() + status.status.neighbours_changed_seconds);
            let last = changed.fold(0.0, f64::max) - released.as_secs_f64();
            self.sample(None, metric::RING_COMPLETE, last.max(0.0));
        } else if !over {
            self.note(format!(
                "the ring of the first members cannot be complete without relays: {} of {} pairs of neighbours are linked",
                census.linked, census.pairs
            ));
        } else {
            self.note(format!(
                "the first members had not settled after {:.0} s: {} of {} pairs of neighbours are linked",
                (self.environment.now() - released).as_secs_f64(),
                census.linked,
                census.pairs
            ));
        }
        if self.values.start == Start::Together {
            for (member, status) in first.iter().zip(statuses) {
                if let Some(seconds) = status.as_ref().and_then(|status| status.status.join_seconds) {
                    self.sample(Some(*member), metric::PUBLIC_JOIN, seconds);
                }
            }
        }
    }

    /// Releases one joiner and waits for it; false if it needs too long.
    fn join(&mut self, joiner: NodeIndex) -> Result<bool, Cut> {
        // A step of virtual time of its own, so that no two joiners share an instant.
        self.wait(LOOK)?;
        let began = self.environment.now();
        self.environment.start(&[joiner])?;
        while self.environment.now() < began + JOIN_LIMIT {
            self.wait(GLANCE)?;
            let status = self.environment.statuses(&[joiner])?.into_iter().next().flatten();
            if let Some(seconds) = status.and_then(|status| status.status.join_seconds) {
                self.sample(Some(joiner), metric::PUBLIC_JOIN, seconds);
                self.bytes_so_far(joiner)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn bytes_so_far(&mut self, joiner: NodeIndex) -> Result<(), Cut> {
        let traffic = self.environment.traffic(&[joiner])?.into_iter().next().unwrap_or_default();
        self.sample(Some(joiner), metric::JOIN_BYTES, (traffic.sent_bytes + traffic.received_bytes) as f64);
        Ok(())
    }

    /// Counts who is in the ring and who is not, and why, once the last joiner's neighbours had time to notice. True if
    /// somebody is not, and theory says that nobody else could be.
    fn count(&mut self, running: &[NodeIndex], theory: &Theory<'_>, late: &[Late]) -> Result<bool, Cut> {
        let began = self.environment.now();
        let (census, statuses) = loop {
            let statuses = self.environment.statuses(running)?;
            let census = theory.census(running, &statuses);
            if census.settled() || self.environment.now() >= began + RECOUNT_LIMIT {
                break (census, statuses);
            }
            self.wait(LOOK)?;
        };
        self.distrust_silence(running, &statuses);
        let failed: BTreeSet<NodeIndex> =
            census.failed.iter().copied().chain(late.iter().map(|one| one.member)).collect();
        let without_excuse = |member: &NodeIndex| {
            let then = late.iter().any(|one| one.member == *member && !one.excused);
            then || (census.failed.contains(member) && !theory.excused(*member))
        };
        let (unexplained, excused): (Vec<NodeIndex>, Vec<NodeIndex>) =
            failed.iter().partition(|member| without_excuse(member));
        if census.pairs > 0 {
            self.sample(None, metric::DIRECT, census.linked as f64 / census.pairs as f64);
            self.sample(None, metric::BLOCKED, census.blocked as f64 / census.pairs as f64);
        }
        self.sample(None, metric::FAILED, failed.len() as f64 / running.len() as f64);
        self.sample(None, metric::UNEXPLAINED, unexplained.len() as f64);
        let explained = !failed.is_empty() && unexplained.is_empty();
        let late: Vec<NodeIndex> = late.iter().map(|one| one.member).collect();
        self.outcome
            .notes
            .extend(Findings { census, late: &late, unexplained, excused }.notes(self.trial, theory));
        Ok(explained)
    }

    /// A member that should run and says nothing makes the trial invalid.
    fn distrust_silence(&mut self, running: &[NodeIndex], statuses: &[Option<NodeStatus>]) {
        let pairs = running.iter().zip(statuses);
        let silent: Vec<NodeIndex> =
            pairs.filter(|(_, status)| status.is_none()).map(|(node, _)| *node).collect();
        if !silent.is_empty() {
            self.outcome.invalid_reasons.push(format!("no status from {}", names(self.trial, &silent)));
        }
    }

    /// Routes between random pairs.
    fn routes(&mut self, running: &[NodeIndex]) -> Result<(), Cut> {
        if running.len() < 2 {
            return Ok(());
        }
        let mut rng = Rng::new(self.trial.internet_seed).fork("routes");
        let mut lost = 0;
        for done in 0..ROUTES {
            self.surroundings.progress.step("routes", done as u64, ROUTES as u64);
            self.stop_if_cancelled()?;
            let from = running[rng.below(running.len())];
            let to = running[rng.below(running.len())];
            if from == to {
                continue;
            }
            lost += usize::from(!self.route(from, to)?);
        }
        if lost > 0 {
            self.note(format!("{lost} of {ROUTES} routes got no answer"));
        }
        Ok(())
    }

    fn route(&mut self, from: NodeIndex, to: NodeIndex) -> Result<bool, Cut> {
        let address = self.trial.nodes[to.index()].address;
        let command = Command::Route { overlay: OVERLAY.to_owned(), address };
        let Reply::Route { hops, seconds } = self.environment.command(from, command)? else {
            return Ok(false);
        };
        if hops.last() != Some(&address) {
            return Ok(false);
        }
        let detail = format!("to={}", self.trial.nodes[to.index()].name);
        for (metric, value) in [(metric::ROUTE_HOPS, hops.len() as f64), (metric::ROUTE, seconds)] {
            self.sample(Some(from), metric, value);
            if let Some(sample) = self.outcome.samples.last_mut() {
                sample.detail.clone_from(&detail);
            }
        }
        Ok(true)
    }

    /// Lets everybody rest, then counts their bytes.
    fn rest(&mut self, running: &[NodeIndex]) -> Result<(), Cut> {
        if self.values.measure.is_zero() {
            return Ok(());
        }
        if self.values.measure < KEEPALIVE_MAX {
            self.note(format!(
                "measured at rest for {:.0} s only: members ping at intervals of up to {:.0} s",
                self.values.measure.as_secs_f64(),
                KEEPALIVE_MAX.as_secs_f64()
            ));
        }
        self.pass("at rest", self.values.rest)?;
        let (began, before) = (self.environment.now(), self.environment.traffic(running)?);
        self.pass("measuring at rest", self.values.measure)?;
        let span = (self.environment.now() - began).as_secs_f64();
        let after = self.environment.traffic(running)?;
        for (member, (before, after)) in running.iter().zip(before.iter().zip(&after)) {
            let rate = |bytes: fn(&Traffic) -> u64| bytes(after).saturating_sub(bytes(before)) as f64 / span;
            self.sample(Some(*member), metric::SENT, rate(|traffic| traffic.sent_bytes));
            self.sample(Some(*member), metric::RECEIVED, rate(|traffic| traffic.received_bytes));
        }
        Ok(())
    }

    /// Lets a long time pass and shows how far it is.
    fn pass(&mut self, what: &str, span: Duration) -> Result<(), Cut> {
        let began = self.environment.now();
        while self.environment.now() < began + span {
            let gone = self.environment.now() - began;
            self.surroundings.progress.step(what, gone.as_secs(), span.as_secs());
            self.wait((span - gone).min(10 * LOOK))?;
        }
        Ok(())
    }

    fn wait(&mut self, span: Duration) -> Result<(), Cut> {
        self.environment.advance(self.environment.now() + span)?;
        self.stop_if_cancelled()
    }

    fn stop_if_cancelled(&self) -> Result<(), Cut> {
        if self.surroundings.cancel.is_cancelled() { Err(Cut::Cancelled) } else { Ok(()) }
    }

    fn sample(&mut self, node: Option<NodeIndex>, metric: Metric, value: f64) {
        let detail =
            node.map_or_else(String::new, |node| format!("nat={}", self.trial.nodes[node.index()].behind));
        self.outcome.samples.push(Measured { at: self.environment.now(), node, metric, value, detail });
    }

    fn note(&mut self, note: String) {
        self.outcome.notes.push(note);
    }
}
