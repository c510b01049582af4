//! The experiment `join`: how long a new member needs until it is connected, in both overlays if there are two.

use std::time::Duration;

use super::count::Late;
use super::outcome::Cut;
use super::rings::Rings;
use super::stage::{GLANCE, LOOK, Stage};
use super::theory::Overlay;
use crate::environment::{NodeIndex, NodeStatus};
use crate::metric::{self, Metric};
use crate::plan::Start;

/// The longest wait for one joiner; one that needs longer failed.
pub(super) const JOIN_LIMIT: Duration = Duration::from_secs(60);
impl Stage<'_> {
    /// Runs the whole trial; what was measured before a cut stays in the outcome.
    pub(super) fn run_join(&mut self) -> Result<(), Cut> {
        let trial = self.trial;
        let (first, joiners) = self.members();
        let mut rings = Rings::new(trial, &first);
        if self.values.start == Start::Together {
            let settled = self.start_together(&first, &first, &rings)?;
            self.say_when_joined(&first, &settled.statuses);
        } else {
            self.start_in_waves(&first, &rings)?;
        }
        let mut running = first;
        let mut late = Vec::new();
        for (done, joiner) in joiners.iter().enumerate() {
            self.surroundings.progress.step("joiners", done as u64, joiners.len() as u64);
            rings.add(*joiner);
            for overlay in self.join(*joiner, rings.is_pair(*joiner))? {
                late.push(Late { member: *joiner, overlay, excused: rings.excused(*joiner, overlay) });
            }
            running.push(*joiner);
        }
        let explained = self.count(&running, &rings, &late)?;
        self.routes(&running)?;
        self.rest(&running, None)?;
        let wanted = self.wanted(&joiners, running.len());
        self.outcome.miss(&wanted, explained);
        if !self.values.measure.is_zero() {
            // A member that no NAT lets through sends all the same.
            self.outcome.miss(&[metric::SENT, metric::RECEIVED], false);
        }
        Ok(())
    }

    /// The metrics of joining and of the rings that a trial with these values yields if nothing goes wrong.
    fn wanted(&self, joiners: &[NodeIndex], members: usize) -> Vec<Metric> {
        let (private, first) = (self.values.private(), self.values.start == Start::Together);
        let joined = (first || !joiners.is_empty()).then_some(metric::PUBLIC_JOIN);
        // The only one has nobody to find.
        let others = (first && private > 1) || (!joiners.is_empty() && private > 0);
        let found = [metric::DHT_ANSWER, metric::PRIVATE_JOIN].into_iter().filter(|_| others);
        let bytes = (!joiners.is_empty()).then_some(metric::JOIN_BYTES);
        let ring = [
            metric::RING_COMPLETE,
            metric::ROUTE_HOPS,
            metric::ROUTE,
            metric::DIRECT,
            metric::RELAYED,
            metric::BLOCKED,
        ];
        let ring = ring.into_iter().filter(|_| members > 1);
        let private = (private > 1).then_some(metric::PRIVATE_RING_COMPLETE);
        joined.into_iter().chain(found).chain(bytes).chain(ring).chain(private).collect()
    }

    /// Releases one joiner and waits for it; returns the overlays in which it needs too long.
    fn join(&mut self, joiner: NodeIndex, is_pair: bool) -> Result<Vec<Overlay>, Cut> {
        // A step of virtual time of its own, so that no two joiners share an instant.
        self.wait(LOOK)?;
        let began = self.environment.now();
        self.environment.start(&[joiner])?;
        let (status, lacking) = loop {
            self.wait(GLANCE)?;
            let status = self.status(joiner)?;
            let lacking = lacking(status.as_ref(), is_pair);
            if lacking.is_empty() || self.environment.now() >= began + JOIN_LIMIT {
                break (status, lacking);
            }
        };
        if let Some(status) = &status {
            self.say_joined(joiner, status);
        }
        if lacking.is_empty() {
            self.bytes_so_far(joiner)?;
        }
        Ok(lacking)
    }

    fn bytes_so_far(&mut self, joiner: NodeIndex) -> Result<(), Cut> {
        let traffic = self.environment.traffic(&[joiner])?.into_iter().next().unwrap_or_default();
        self.sample(Some(joiner), metric::JOIN_BYTES, (traffic.sent_bytes + traffic.received_bytes) as f64);
        Ok(())
    }
}

/// Where a joiner is not connected to others yet. The ring that it may have begun for itself is not the others'.
fn lacking(status: Option<&NodeStatus>, is_pair: bool) -> Vec<Overlay> {
    let joined = |overlay: &Overlay| {
        let own = status.and_then(|status| overlay.status(status));
        own.is_some_and(|own| own.join_seconds.is_some() && (*overlay == Overlay::Public || !own.founded))
    };
    let overlays = if is_pair { &[Overlay::Public, Overlay::Private][..] } else { &[Overlay::Public] };
    overlays.iter().copied().filter(|overlay| !joined(overlay)).collect()
}
