//! The experiment `partition`: the members are split in two halves for a while, and each half closes a ring of its own. How
//! long do the two need until they are one again, once they reach each other?

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use atoll_core::Rng;
use atoll_topology::SiteId;

use super::outcome::Cut;
use super::rings::Rings;
use super::settle::{incomplete, last_change};
use super::stage::{LOOK, Stage};
use super::theory::{Census, Overlay};
use crate::environment::{Fault, NodeIndex, NodeStatus, Trial};
use crate::metric;
use crate::plan::Start;

/// The longest wait for the halves to be one ring.
const MERGE_LIMIT: Duration = Duration::from_secs(300);
/// A mass start is split at a random moment of its first so many seconds.
const START_SPAN: Duration = Duration::from_secs(4);

/// The two halves.
type Sides = [Vec<NodeIndex>; 2];

impl Stage<'_> {
    /// Runs the whole trial; what was measured before a cut stays in the outcome.
    pub(super) fn run_partition(&mut self) -> Result<(), Cut> {
        let trial = self.trial;
        let (members, _) = self.members();
        let rings = Rings::new(trial, &members);
        let mut rng = Rng::new(trial.internet_seed).fork("partition");
        match self.values.start {
            Start::Settled => self.start_quietly(&members, &rings)?,
            Start::Together => {
                self.environment.start(&members)?;
                self.wait(START_SPAN.mul_f64(rng.unit()))?;
            }
        }
        let sides = halves(trial, &members, &mut rng);
        let report = self.environment.apply(&Fault::Partition { sides: sides.clone() })?;
        if report.hosts == 0 {
            self.outcome.invalid_reasons.push("the partition hit nobody".to_owned());
            return Ok(());
        }
        self.pass("apart", self.values.partition)?;
        let split = self.look_at_halves(&sides, &rings)?;
        self.merge(&members, &rings, &split)
    }

    /// The rings that were split, once it is clear that they were; notes say which half has no ring of its own yet.
    fn look_at_halves(&mut self, sides: &Sides, rings: &Rings<'_>) -> Result<Vec<Overlay>, Cut> {
        let mut whole: BTreeMap<NodeIndex, Option<NodeStatus>> = BTreeMap::new();
        for (number, side) in sides.iter().enumerate() {
            let statuses = self.environment.statuses(side)?;
            let own = Rings::new(self.trial, side);
            let standing = own.census(side, &statuses);
            for (census, whose) in standing.all().zip(["ring", "private ring"]) {
                if !census.settled() {
                    let text = incomplete(census, whose, self.values.partition.as_secs_f64());
                    self.note(format!("half {} of the partition: {text}", number + 1));
                }
            }
            whole.extend(side.iter().copied().zip(statuses));
        }
        let (members, statuses): (Vec<_>, Vec<_>) = whole.into_iter().unzip();
        let standing = rings.census(&members, &statuses);
        let mut split = Vec::new();
        for (census, overlay) in standing.all().zip([Overlay::Public, Overlay::Private]) {
            let has_both = sides.iter().all(|side| side.iter().any(|member| rings.has(*member, overlay)));
            match (census.complete(), has_both) {
                (false, true) => split.push(overlay),
                (true, true) if census.members > 0 => {
                    let why = format!("the {} was never split", overlay.whose());
                    self.outcome.invalid_reasons.push(why);
                }
                _ => self.note(format!("the {} has no members on both sides", overlay.whose())),
            }
        }
        Ok(split)
    }

    /// Lets the halves reach each other again and measures how long these rings need to be whole.
    fn merge(&mut self, members: &[NodeIndex], rings: &Rings<'_>, split: &[Overlay]) -> Result<(), Cut> {
        let healed = self.environment.apply(&Fault::Heal)?;
        if healed.hosts == 0 {
            self.outcome.invalid_reasons.push("no partition was there to end".to_owned());
        }
        let mut open = split.to_vec();
        let mut statuses = self.environment.statuses(members)?;
        while !open.is_empty() && self.environment.now() < healed.at + MERGE_LIMIT {
            self.surroundings.progress.step("rings that merged", (split.len() - open.len()) as u64, 2);
            self.wait(LOOK)?;
            statuses = self.environment.statuses(members)?;
            let standing = rings.census(members, &statuses);
            let census = |overlay: &Overlay| standing.of(*overlay);
            let merged = |overlay: &Overlay| census(overlay).is_some_and(Census::whole);
            for overlay in open.extract_if(.., |overlay| merged(overlay)) {
                let seconds = last_change(overlay, &statuses) - healed.at.as_secs_f64();
                self.sample(None, time(overlay), seconds.max(0.0));
            }
        }
        let apart = f64::from(u8::from(!open.is_empty()));
        self.sample(None, metric::SPLIT, apart);
        let standing = rings.census(members, &statuses);
        for overlay in open {
            if let Some(census) = standing.of(overlay) {
                self.note(incomplete(census, overlay.whose(), MERGE_LIMIT.as_secs_f64()));
            }
        }
        self.distrust_silence(members, &statuses);
        Ok(())
    }
}

/// The metric of how long a ring needs to be one again.
fn time(overlay: Overlay) -> metric::Metric {
    match overlay {
        Overlay::Public => metric::RING_MERGE,
        Overlay::Private => metric::PRIVATE_RING_MERGE,
    }
}

/// Two halves of the members, drawn by their sites; members of the private overlay are on both sides alike.
fn halves(trial: &Trial, members: &[NodeIndex], rng: &mut Rng) -> Sides {
    let node = |member: &NodeIndex| &trial.nodes[member.index()];
    let mut by_site: BTreeMap<SiteId, Vec<NodeIndex>> = BTreeMap::new();
    for member in members {
        by_site.entry(trial.topology.hosts[node(member).host.0 as usize].site).or_default().push(*member);
    }
    let mut sites: Vec<Vec<NodeIndex>> = by_site.into_values().collect();
    rng.shuffle(&mut sites);
    let pairs = |side: &[NodeIndex]| side.iter().filter(|member| node(member).private.is_some()).count();
    sites.sort_by_key(|site| Reverse(pairs(site)));
    let mut sides = [Vec::new(), Vec::new()];
    for site in sites {
        let weight =
            |side: &[NodeIndex]| if pairs(&site) > 0 { (pairs(side), side.len()) } else { (side.len(), 0) };
        let lighter = usize::from(weight(&sides[1]) < weight(&sides[0]));
        sides[lighter].extend(site);
    }
    sides
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Overrides, Plan};
    use crate::run::draw;

    fn sides(set: &[&str]) -> (Trial, Sides) {
        let set = set.iter().map(|text| (*text).to_owned()).collect();
        let plan = Plan::load("partition", &Overrides { set, ..Overrides::default() }).unwrap();
        let trial = draw(&plan.points[0].values, plan.turns()[0]).unwrap();
        let members: Vec<NodeIndex> = (0..trial.nodes.len() as u32).map(NodeIndex).collect();
        let sides = halves(&trial, &members, &mut Rng::new([3; 32]));
        (trial, sides)
    }

    #[test]
    fn halves_are_alike_in_size_and_in_members_of_the_private_overlay() {
        let (trial, sides) = sides(&["public=41", "private=10"]);
        let mut sizes = sides.each_ref().map(Vec::len);
        sizes.sort_unstable();
        assert_eq!(sizes, [20, 21]);
        let private = |side: &Vec<NodeIndex>| {
            side.iter().filter(|member| trial.nodes[member.index()].private.is_some()).count()
        };
        assert_eq!(sides.each_ref().map(private), [5, 5]);
    }

    #[test]
    fn nobody_is_cut_off_from_its_own_site() {
        let (trial, sides) = sides(&["public=300", "private=0", "nat=carrier-grade"]);
        let sites = sides.each_ref().map(|side| {
            let site =
                |member: &NodeIndex| trial.topology.hosts[trial.nodes[member.index()].host.0 as usize].site;
            side.iter().map(site).collect::<std::collections::BTreeSet<_>>()
        });
        assert!(sites[0].is_disjoint(&sites[1]));
        assert!(sites[0].len() + sites[1].len() < 300, "some sites have several members");
    }
}
