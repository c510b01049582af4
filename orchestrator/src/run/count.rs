//! Step: who is in the rings at the end, who is not, and what theory says about it.

use std::collections::BTreeSet;

use super::outcome::{Cut, Findings};
use super::rings::{Rings, Standing};
use super::settle::RECOUNT_LIMIT;
use super::stage::{LOOK, Stage};
use super::theory::{Census, Overlay, Theory};
use crate::environment::NodeIndex;
use crate::metric;

/// A joiner that needed longer than the limit.
pub(super) struct Late {
    pub(super) member: NodeIndex,
    pub(super) overlay: Overlay,
    /// Theory says that it could not have been faster: others may have come between it and whom it cannot reach since.
    pub(super) excused: bool,
}

/// Who did not join, split by whether theory has an excuse.
struct Failures {
    unexplained: Vec<NodeIndex>,
    excused: Vec<NodeIndex>,
}

impl Stage<'_> {
    /// Counts who is in the rings and who is not, and why, once the last joiner's neighbours had time to notice. True if
    /// somebody is not, and theory says that nobody else could be.
    pub(super) fn count(
        &mut self,
        running: &[NodeIndex],
        rings: &Rings<'_>,
        late: &[Late],
    ) -> Result<bool, Cut> {
        let standing = self.recount(running, rings)?;
        self.ways(rings)?;
        if standing.public.pairs > 0 {
            let blocked = standing.public.blocked as f64 / standing.public.pairs as f64;
            self.sample(None, metric::BLOCKED, blocked);
        }
        let public = self.failures((Overlay::Public, &rings.public), &standing.public, late);
        let mut all = vec![public];
        if let (Some(private), Some(census)) = (&rings.private, &standing.private) {
            all.push(self.failures((Overlay::Private, private), census, late));
        }
        let unexplained: BTreeSet<NodeIndex> =
            all.iter().flat_map(|failures| failures.unexplained.iter().copied()).collect();
        self.sample(None, metric::UNEXPLAINED, unexplained.len() as f64);
        Ok(unexplained.is_empty() && all.iter().any(|failures| !failures.excused.is_empty()))
    }

    fn recount(&mut self, running: &[NodeIndex], rings: &Rings<'_>) -> Result<Standing, Cut> {
        let began = self.environment.now();
        loop {
            let statuses = self.environment.statuses(running)?;
            let standing = rings.census(running, &statuses);
            if standing.settled() || self.environment.now() >= began + RECOUNT_LIMIT {
                self.distrust_silence(running, &statuses);
                return Ok(standing);
            }
            self.wait(LOOK)?;
        }
    }

    fn failures(
        &mut self,
        (overlay, theory): (Overlay, &Theory<'_>),
        census: &Census,
        late: &[Late],
    ) -> Failures {
        let late: Vec<&Late> = late.iter().filter(|one| one.overlay == overlay).collect();
        let failed: BTreeSet<NodeIndex> =
            census.failed.iter().copied().chain(late.iter().map(|one| one.member)).collect();
        let without_excuse = |member: &NodeIndex| {
            let then = late.iter().any(|one| one.member == *member && !one.excused);
            then || (census.failed.contains(member) && !theory.excused(*member))
        };
        let (unexplained, excused): (Vec<NodeIndex>, Vec<NodeIndex>) =
            failed.iter().partition(|member| without_excuse(member));
        let metric = match overlay {
            Overlay::Public => metric::FAILED,
            Overlay::Private => metric::PRIVATE_FAILED,
        };
        if census.members > 0 {
            self.sample(None, metric, failed.len() as f64 / census.members as f64);
        }
        let late: Vec<NodeIndex> = late.iter().map(|one| one.member).collect();
        let findings = Findings { census, late: &late, unexplained: &unexplained, excused: &excused };
        let which = if overlay == Overlay::Private { "private overlay: " } else { "" };
        let notes = findings.notes(self.trial, theory).into_iter().map(|note| format!("{which}{note}"));
        self.outcome.notes.extend(notes);
        Failures { unexplained, excused }
    }
}
