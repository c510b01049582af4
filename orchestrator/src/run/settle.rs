//! Step: members start and their rings form.

use std::time::Duration;

use super::outcome::Cut;
use super::rings::{Rings, Standing};
use super::stage::{GLANCE, LOOK, Stage};
use super::theory::{Census, Overlay};
use crate::environment::{NodeIndex, NodeStatus};
use crate::metric;

/// The longest wait for members to settle, if none of them crashed.
const SETTLE_LIMIT: Duration = Duration::from_secs(300);
/// The longest wait for a ring to close around the last joiner, or around a member that crashed.
pub(super) const RECOUNT_LIMIT: Duration = Duration::from_secs(20);

/// The longest wait for one wave of members to be connected before the next one is released.
const WAVE_LIMIT: Duration = Duration::from_secs(30);

/// What the wait ended with.
pub(super) struct Settled {
    standing: Standing,
    /// In the order of the members that run.
    pub(super) statuses: Vec<Option<NodeStatus>>,
    /// It was given up.
    over: bool,
}

impl Stage<'_> {
    /// Releases members at one instant and waits until the rings of all that run are as complete as they can be. How long
    /// that took is counted from their release.
    pub(super) fn start_together(
        &mut self,
        started: &[NodeIndex],
        running: &[NodeIndex],
        rings: &Rings<'_>,
    ) -> Result<Settled, Cut> {
        self.environment.start(started)?;
        self.settle_started(started, running, rings)
    }

    /// The same, but no more at one instant than the place bears. Counted from the release of the last ones.
    pub(super) fn start_in_waves(
        &mut self,
        started: &[NodeIndex],
        rings: &Rings<'_>,
    ) -> Result<Settled, Cut> {
        self.release(started)?;
        self.settle_started(started, started, rings)
    }

    fn settle_started(
        &mut self,
        started: &[NodeIndex],
        running: &[NodeIndex],
        rings: &Rings<'_>,
    ) -> Result<Settled, Cut> {
        let settled = self.settle(running, rings)?;
        let status = running.iter().zip(&settled.statuses);
        let ours =
            status.filter(|(member, _)| started.contains(member)).filter_map(|(_, status)| status.as_ref());
        let since = ours.map(|status| status.released).max().unwrap_or_default();
        self.say_when_complete(&settled, Overlay::Public, since);
        self.say_when_complete(&settled, Overlay::Private, since);
        Ok(settled)
    }

    /// Releases members, as many at one instant as the place bears, and the next ones once these are connected.
    fn release(&mut self, members: &[NodeIndex]) -> Result<(), Cut> {
        let size = self.environment.wave().max(1);
        let mut waves = members.chunks(size);
        let last = waves.next_back();
        if waves.len() > 0 {
            self.note(format!("members started in {} waves of up to {size}", waves.len() + 1));
        }
        for (done, wave) in waves.enumerate() {
            self.surroundings.progress.step("starting", (done * size) as u64, members.len() as u64);
            self.environment.start(wave)?;
            let until = self.environment.now() + WAVE_LIMIT;
            while self.environment.now() < until && !self.are_connected(wave)? {
                self.wait(GLANCE)?;
            }
        }
        Ok(self.environment.start(last.unwrap_or_default())?)
    }

    fn are_connected(&mut self, members: &[NodeIndex]) -> Result<bool, Cut> {
        let statuses = self.environment.statuses(members)?;
        let is_connected = |status: &Option<NodeStatus>| {
            let Some(status) = status else { return false };
            let of = |overlay: Overlay| overlay.status(status).is_none_or(|own| own.join_seconds.is_some());
            of(Overlay::Public) && of(Overlay::Private)
        };
        Ok(statuses.iter().all(is_connected))
    }

    /// The same without samples: what is measured comes later.
    pub(super) fn start_quietly(&mut self, started: &[NodeIndex], rings: &Rings<'_>) -> Result<(), Cut> {
        self.release(started)?;
        let settled = self.settle(started, rings)?;
        if settled.over {
            self.note(incomplete(&settled.standing.public, "ring", SETTLE_LIMIT.as_secs_f64()));
        }
        Ok(())
    }

    fn settle(&mut self, running: &[NodeIndex], rings: &Rings<'_>) -> Result<Settled, Cut> {
        let began = self.environment.now();
        loop {
            let statuses = self.environment.statuses(running)?;
            let standing = rings.census(running, &statuses);
            let members: usize = standing.all().map(|census| census.members).sum();
            let failed: usize = standing.all().map(|census| census.failed.len()).sum();
            self.surroundings.progress.step("settling", (members - failed) as u64, members as u64);
            let limit =
                if self.environment.health()?.crashed.is_empty() { SETTLE_LIMIT } else { RECOUNT_LIMIT };
            let over = self.environment.now() >= began + limit;
            if over || standing.settled() {
                return Ok(Settled { standing, statuses, over });
            }
            self.wait(LOOK)?;
        }
    }

    /// A sample of when a ring was complete, or a note why it is not.
    fn say_when_complete(&mut self, settled: &Settled, overlay: Overlay, since: Duration) {
        let Some(census) = settled.standing.of(overlay) else { return };
        let whose = overlay.whose();
        let metric = match overlay {
            Overlay::Public => metric::RING_COMPLETE,
            Overlay::Private => metric::PRIVATE_RING_COMPLETE,
        };
        if census.pairs == 0 && census.members > 1 {
            return self.note(format!("no two of the members can be in one {whose}"));
        }
        if !census.complete() {
            let waited = (self.environment.now() - since).as_secs_f64();
            return self.note(incomplete(census, whose, waited));
        }
        let last = last_change(overlay, &settled.statuses);
        self.sample(None, metric, (last - since.as_secs_f64()).max(0.0));
    }

    /// How long each of these members needed, in both overlays.
    pub(super) fn say_when_joined(&mut self, members: &[NodeIndex], statuses: &[Option<NodeStatus>]) {
        for (member, status) in members.iter().zip(statuses) {
            if let Some(status) = status {
                self.say_joined(*member, status);
            }
        }
    }

    /// How long a member needed, in both overlays, as far as it has come.
    pub(super) fn say_joined(&mut self, member: NodeIndex, status: &NodeStatus) {
        if let Some(seconds) = status.status.join_seconds {
            self.sample(Some(member), metric::PUBLIC_JOIN, seconds);
        }
        let Some(private) = &status.private else { return };
        if let Some(seconds) = private.discovered_seconds {
            self.sample(Some(member), metric::DHT_ANSWER, seconds);
        }
        // Whoever began the overlay joined nobody.
        if let Some(seconds) = private.join_seconds.filter(|_| !private.founded) {
            self.sample(Some(member), metric::PRIVATE_JOIN, seconds);
        }
    }
}

/// When anybody's neighbours in an overlay last changed, in seconds on the environment's clock.
pub(super) fn last_change(overlay: Overlay, statuses: &[Option<NodeStatus>]) -> f64 {
    let changed = |status: &NodeStatus| {
        let own = overlay.status(status)?;
        Some(status.released.as_secs_f64() + own.neighbours_changed_seconds)
    };
    statuses.iter().flatten().filter_map(changed).fold(0.0, f64::max)
}

/// Why a ring is not whole, after so many seconds.
pub(super) fn incomplete(census: &Census, whose: &str, waited: f64) -> String {
    let (linked, pairs) = (census.linked, census.pairs);
    format!(
        "the {whose} had not settled after {waited:.0} s: {linked} of {pairs} pairs of neighbours are linked"
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use atoll_core::control::{Command, Reply};

    use super::*;
    use crate::environment::sim::Sim;
    use crate::environment::{
        Answer, Cost, Environment, Fault, FaultReport, Health, NodeSpec, Progress, Question, Sample, Stop,
        Surroundings, Traffic, Trial,
    };
    use crate::error::Result;
    use crate::plan::{Overrides, Plan, Turn};
    use crate::run::outcome::Outcome;

    /// A simulator in which no more than so many members may start at once, and when they were.
    struct Narrow {
        sim: Sim,
        wave: usize,
        started: Vec<(Duration, Vec<NodeIndex>)>,
    }

    impl Environment for Narrow {
        fn prepare(&mut self, trial: &Trial) -> Result<()> {
            self.sim.prepare(trial)
        }
        fn start(&mut self, nodes: &[NodeIndex]) -> Result<()> {
            self.started.push((self.now(), nodes.to_vec()));
            self.sim.start(nodes)
        }
        fn wave(&self) -> usize {
            self.wave
        }
        fn stop(&mut self, nodes: &[NodeIndex], how: Stop) -> Result<()> {
            self.sim.stop(nodes, how)
        }
        fn replace(&mut self, node: NodeIndex, member: &NodeSpec) -> Result<()> {
            self.sim.replace(node, member)
        }
        fn apply(&mut self, fault: &Fault) -> Result<FaultReport> {
            self.sim.apply(fault)
        }
        fn command(&mut self, node: NodeIndex, command: Command) -> Result<Reply> {
            self.sim.command(node, command)
        }
        fn ask(&mut self, node: NodeIndex, command: Command) -> Result<Question> {
            self.sim.ask(node, command)
        }
        fn take_answers(&mut self) -> Result<Vec<Answer>> {
            self.sim.take_answers()
        }
        fn statuses(&mut self, nodes: &[NodeIndex]) -> Result<Vec<Option<NodeStatus>>> {
            self.sim.statuses(nodes)
        }
        fn advance(&mut self, until: Duration) -> Result<()> {
            self.sim.advance(until)
        }
        fn now(&self) -> Duration {
            self.sim.now()
        }
        fn traffic(&mut self, nodes: &[NodeIndex]) -> Result<Vec<Traffic>> {
            self.sim.traffic(nodes)
        }
        fn scrape(&mut self) -> Result<Vec<Sample>> {
            self.sim.scrape()
        }
        fn health(&mut self) -> Result<Health> {
            self.sim.health()
        }
        fn cost(&self) -> Cost {
            self.sim.cost()
        }
        fn save_logs(&mut self, folder: &Path) -> Result<()> {
            self.sim.save_logs(folder)
        }
        fn tear_down(&mut self) -> Result<()> {
            self.sim.tear_down()
        }
    }

    struct Silent;

    impl Progress for Silent {
        fn step(&self, _: &str, _: u64, _: u64) {}
    }

    /// How many members started at once, and when, with so many in a wave; and what came of it.
    fn start(
        wave: usize,
        set: &[&str],
        with: impl FnOnce(&mut Stage<'_>, &[NodeIndex]),
    ) -> (Vec<(Duration, usize)>, Outcome) {
        let set = set.iter().map(|text| (*text).to_owned()).collect();
        let plan = Plan::load("join", &Overrides { set, ..Overrides::default() }).unwrap();
        let values = &plan.points[0].values;
        let trial = crate::run::draw::draw(values, Turn { number: 0, point: 0, seed: 1 }).unwrap();
        let surroundings = Surroundings { cancel: Default::default(), progress: Arc::new(Silent) };
        let mut narrow = Narrow { sim: Sim::new(surroundings.clone()), wave, started: Vec::new() };
        narrow.prepare(&trial).unwrap();
        let mut outcome = Outcome::default();
        let mut stage = Stage {
            environment: &mut narrow,
            trial: &trial,
            values,
            surroundings: &surroundings,
            outcome: &mut outcome,
        };
        let (members, _) = stage.members();
        with(&mut stage, &members);
        let mut once: Vec<NodeIndex> = narrow.started.iter().flat_map(|(_, wave)| wave.clone()).collect();
        once.sort_unstable();
        assert_eq!(once, members, "each is started once");
        narrow.tear_down().unwrap();
        (narrow.started.iter().map(|(at, wave)| (*at, wave.len())).collect(), outcome)
    }

    const PLAN: [&str; 4] = ["public=20", "private=6", "security=modelled", "joiners=0"];

    fn to_the_end(stage: &mut Stage<'_>, members: &[NodeIndex]) {
        let settled = stage.start_in_waves(members, &Rings::new(stage.trial, members)).unwrap();
        assert!(!settled.over, "the ring is complete");
    }

    #[test]
    fn a_wave_starts_once_the_one_before_it_is_connected() {
        let (waves, outcome) = start(8, &PLAN, to_the_end);
        assert_eq!(waves.iter().map(|(_, size)| *size).collect::<Vec<_>>(), [8, 8, 4]);
        let gaps: Vec<Duration> = waves.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(gaps.iter().all(|gap| (GLANCE..WAVE_LIMIT).contains(gap)), "{gaps:?}");
        assert_eq!(outcome.notes, ["members started in 3 waves of up to 8"]);
        let complete = outcome.samples.iter().find(|sample| sample.metric == metric::RING_COMPLETE).unwrap();
        assert!(complete.value < gaps[1].as_secs_f64() + 10.0, "it counts from the last wave: {complete:?}");
    }

    #[test]
    fn a_wave_whose_members_do_not_get_in_holds_the_others_up_for_half_a_minute_only() {
        // Nothing arrives, so that nobody is ever connected but the first member of all.
        let set = ["public=20", "security=modelled", "joiners=0", "loss=100 %"];
        let (waves, _) = start(8, &set, |stage, members| stage.release(members).unwrap());
        let gaps: Vec<Duration> = waves.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert_eq!(gaps, [WAVE_LIMIT; 2]);
    }

    #[test]
    fn where_time_is_virtual_all_start_at_once() {
        let (waves, outcome) = start(usize::MAX, &PLAN, to_the_end);
        assert_eq!(waves, [(Duration::ZERO, 20)]);
        assert_eq!(outcome.notes, Vec::<String>::new());
    }
}
