//! The experiment `pool`: many pairs of a public and a private member come at one instant to settled public members.

use super::outcome::Cut;
use super::rings::Rings;
use super::stage::Stage;
use crate::environment::NodeIndex;
use crate::metric;

/// What a pool has become.
pub(super) struct Formed<'a> {
    pub(super) running: Vec<NodeIndex>,
    pub(super) rings: Rings<'a>,
}

impl<'a> Stage<'a> {
    /// Runs the whole trial; what was measured before a cut stays in the outcome.
    pub(super) fn run_pool(&mut self) -> Result<(), Cut> {
        self.form_pool()?;
        Ok(())
    }

    /// Settles the public members, adds the pairs and measures how long both rings need.
    pub(super) fn form_pool(&mut self) -> Result<Formed<'a>, Cut> {
        let trial: &'a _ = self.trial;
        let (first, pairs) = self.members();
        self.start_quietly(&first, &Rings::new(trial, &first))?;
        let running: Vec<NodeIndex> = first.into_iter().chain(pairs.iter().copied()).collect();
        let rings = Rings::new(trial, &running);
        let settled = self.start_together(&pairs, &running, &rings)?;
        let of_pairs = &settled.statuses[running.len() - pairs.len()..];
        self.say_when_joined(&pairs, of_pairs);
        let explained = self.count(&running, &rings, &[])?;
        self.outcome.miss(&[metric::RING_COMPLETE, metric::PUBLIC_JOIN], explained);
        if pairs.len() > 1 {
            let private = [metric::PRIVATE_RING_COMPLETE, metric::DHT_ANSWER, metric::PRIVATE_JOIN];
            self.outcome.miss(&private, explained);
        }
        Ok(Formed { running, rings })
    }
}
