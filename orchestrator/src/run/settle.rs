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
