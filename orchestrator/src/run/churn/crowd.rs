//! Who is there: members come, join, and go after a stay that is drawn, and others take their places.

use std::time::Duration;

use atoll_core::Rng;

use crate::environment::{NodeIndex, NodeSpec, NodeStatus, Stop, Trial};
use crate::error::Result;
use crate::run::draw::sample;
use crate::run::theory::Overlay;

/// One member's stay.
#[derive(Clone, Copy, Debug, Default)]
struct Stay {
    released: Duration,
    /// Whether it was seen to be connected, in the public overlay and in the private one.
    public: bool,
    private: bool,
    /// It needed too long, in the public overlay and in the private one.
    late: [bool; 2],
}

/// The members as they are now, by their hosts.
pub(in crate::run) struct Crowd {
    /// The trial with those in it who run now.
    pub(in crate::run) trial: Trial,
    stays: Vec<Stay>,
    rng: Rng,
    /// How long a member stays on average.
    session: Duration,
}

impl Crowd {
    /// Those of a trial, none of whom is connected as far as is known.
    pub(in crate::run) fn new(trial: &Trial, session: Duration, rng: &Rng) -> Self {
        let stays = vec![Stay::default(); trial.nodes.len()];
        Self { trial: trial.clone(), stays, rng: rng.fork("crowd"), session }
    }

    /// Everybody.
    pub(in crate::run) fn all(&self) -> Vec<NodeIndex> {
        (0..self.trial.nodes.len() as u32).map(NodeIndex).collect()
    }

    /// How long the next member stays: an exponential time.
    pub(in crate::run) fn stay(&mut self) -> Duration {
        self.session.mul_f64(-(1.0 - self.rng.unit()).ln())
    }

    /// How the next one goes: every second one crashes.
    pub(in crate::run) fn way_out(&mut self) -> Stop {
        if self.rng.below(2) == 0 { Stop::Kill } else { Stop::Leave }
    }

    /// Somebody else on this host, let in by members that are connected and that anyone can reach. `None` if there is none of
    /// these but itself.
    ///
    /// # Errors
    /// Its key cannot be made.
    pub(in crate::run) fn successor(&mut self, node: NodeIndex) -> Result<Option<NodeSpec>> {
        let doors: Vec<NodeIndex> =
            self.connected(Overlay::Public).into_iter().filter(|other| *other != node).collect();
        let hosts = &self.trial.topology.hosts;
        let is_open = |door: &NodeIndex| hosts[self.trial.nodes[door.index()].host.0 as usize].is_public();
        let doors: Vec<NodeIndex> = doors.into_iter().filter(is_open).collect();
        if doors.is_empty() {
            return Ok(None);
        }
        let (before, seed) = (self.trial.nodes[node.index()].clone(), self.rng.next_u64());
        Ok(Some(NodeSpec {
            address: NodeSpec::address_of(seed)?,
            bootstraps: sample(&doors, &mut self.rng),
            seed,
            private: before.private.map(|_| NodeSpec::private_address_of(seed)).transpose()?,
            ..before
        }))
    }

    /// Another member has begun in the place of one.
    pub(in crate::run) fn begin(&mut self, node: NodeIndex, member: NodeSpec, now: Duration) {
        self.trial.nodes[node.index()] = member;
        self.stays[node.index()] = Stay { released: now, ..Stay::default() };
    }

    /// Those who are not seen to be connected everywhere yet.
    pub(in crate::run) fn joining(&self) -> Vec<NodeIndex> {
        let is_missing = |node: &NodeIndex| {
            let stay = &self.stays[node.index()];
            !stay.public || (!stay.private && self.trial.nodes[node.index()].private.is_some())
        };
        self.all().into_iter().filter(is_missing).collect()
    }

    /// Takes note of a member's state; true if it is connected in the public overlay for the first time.
    pub(in crate::run) fn see(&mut self, node: NodeIndex, status: &NodeStatus) -> bool {
        let stay = &mut self.stays[node.index()];
        let before = stay.public;
        stay.public |= status.status.join_seconds.is_some();
        // One that began the ring by itself is connected once it is linked to others.
        stay.private |=
            status.private.as_ref().is_some_and(|own| own.join_seconds.is_some() && own.successor.is_some());
        stay.public && !before
    }

    /// Where a member, which comes up once, needs longer than `limit` until it is connected.
    pub(in crate::run) fn overdue(
        &mut self,
        node: NodeIndex,
        limit: Duration,
        now: Duration,
    ) -> Vec<Overlay> {
        let is_pair = self.trial.nodes[node.index()].private.is_some();
        let stay = &mut self.stays[node.index()];
        if now < stay.released + limit {
            return Vec::new();
        }
        let lacks = [(Overlay::Public, !stay.public), (Overlay::Private, is_pair && !stay.private)];
        let told = std::mem::replace(&mut stay.late, lacks.map(|(_, lacks)| lacks));
        let new = lacks.into_iter().zip(told).filter(|((_, lacks), told)| *lacks && !told);
        new.map(|((overlay, _), _)| overlay).collect()
    }

    /// Those who have been connected in this overlay.
    pub(in crate::run) fn connected(&self, overlay: Overlay) -> Vec<NodeIndex> {
        let was = |node: &NodeIndex| match overlay {
            Overlay::Public => self.stays[node.index()].public,
            Overlay::Private => self.stays[node.index()].private,
        };
        self.all().into_iter().filter(was).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::{Overrides, Plan};
    use crate::run::draw;

    fn crowd(set: &[&str]) -> Crowd {
        let set = set.iter().map(|text| (*text).to_owned()).collect();
        let plan = Plan::load("churn", &Overrides { set, ..Overrides::default() }).unwrap();
        let trial = draw(&plan.points[0].values, plan.turns()[0]).unwrap();
        Crowd::new(&trial, Duration::from_secs(600), &Rng::new([1; 32]))
    }

    #[test]
    fn stays_are_exponential_and_half_of_them_end_in_a_crash() {
        let mut crowd = crowd(&["public=4"]);
        let stays: Vec<f64> = (0..4000).map(|_| crowd.stay().as_secs_f64()).collect();
        let mean = stays.iter().sum::<f64>() / 4000.0;
        assert!((560.0..640.0).contains(&mean), "{mean}");
        let short = stays.iter().filter(|stay| **stay < 600.0 * std::f64::consts::LN_2).count();
        assert!((1880..2120).contains(&short), "half are shorter than the median: {short}");
        let crashes = (0..4000).filter(|_| crowd.way_out() == Stop::Kill).count();
        assert!((1880..2120).contains(&crashes), "{crashes}");
    }

    #[test]
    fn a_successor_is_somebody_else_at_the_same_place_and_others_let_it_in() {
        let mut crowd = crowd(&["public=40", "private=10", "nat=cones"]);
        let pair = crowd.all().into_iter().find(|node| crowd.trial.nodes[node.index()].private.is_some());
        let pair = pair.unwrap();
        assert_eq!(crowd.successor(pair).unwrap(), None, "nobody is known to be connected");
        crowd.stays.iter_mut().for_each(|stay| stay.public = true);
        let before = crowd.trial.nodes[pair.index()].clone();
        let after = crowd.successor(pair).unwrap().unwrap();
        assert_eq!((after.host, &after.name), (before.host, &before.name));
        assert!(after.address != before.address && after.seed != before.seed);
        assert!(after.private.is_some() && after.private != before.private);
        let doors: BTreeSet<NodeIndex> = after.bootstraps.iter().copied().collect();
        assert!(!doors.is_empty() && !doors.contains(&pair));
        let is_open = |door: &NodeIndex| crowd.trial.nodes[door.index()].behind == "public";
        assert!(doors.iter().all(is_open));
    }

    #[test]
    fn who_needs_too_long_is_told_of_once_in_each_overlay() {
        let mut crowd = crowd(&["public=4", "private=4", "nat=none"]);
        let (node, limit) = (NodeIndex(2), Duration::from_secs(60));
        assert_eq!(crowd.overdue(node, limit, limit / 2), []);
        crowd.stays[2].public = true;
        assert_eq!(crowd.overdue(node, limit, limit), [Overlay::Private]);
        assert_eq!(crowd.overdue(node, limit, limit * 2), []);
        assert_eq!(crowd.joining().len(), 4);
    }
}
