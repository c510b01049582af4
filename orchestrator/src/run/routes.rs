//! Step: routes between random members of the public overlay.

use atoll_core::Rng;
use atoll_core::control::{Command, Reply};

use super::outcome::Cut;
use super::stage::Stage;
use crate::environment::{NodeIndex, OVERLAY};
use crate::metric;
use crate::plan::Experiment;

/// Pairs whose route is measured.
const ROUTES: usize = 100;

impl Stage<'_> {
    /// Routes between random pairs.
    pub(super) fn routes(&mut self, running: &[NodeIndex]) -> Result<(), Cut> {
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
        let mut measured = vec![(metric::ROUTE_HOPS, hops.len() as f64), (metric::ROUTE, seconds)];
        if self.values.experiment == Experiment::Relay {
            measured.push((metric::ROUTE_DIRECT, seconds / self.direct(from, to).as_secs_f64()));
        }
        for (metric, value) in measured {
            self.sample_between((from, to), metric, value);
        }
        Ok(true)
    }
}
