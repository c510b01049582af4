//! The experiment `bandwidth`: what a pair of a public and a private member sends at rest.

use std::time::Duration;

use super::outcome::Cut;
use super::pool::Formed;
use super::stage::Stage;
use crate::metric;

/// How long is rested and how long is measured in the paper.
const HOUR: Duration = Duration::from_secs(3600);

impl Stage<'_> {
    /// Runs the whole trial; what was measured before a cut stays in the outcome.
    pub(super) fn run_bandwidth(&mut self) -> Result<(), Cut> {
        let Formed { running, rings } = self.form_pool()?;
        let (rest, measure) = (self.values.rest, self.values.measure);
        if rest < HOUR || measure < HOUR {
            self.note(format!(
                "shortened: {:.0} min at rest and {:.0} min of measuring, and not 60 each",
                rest.as_secs_f64() / 60.0,
                measure.as_secs_f64() / 60.0
            ));
        }
        self.rest(&running, Some(&rings))?;
        self.outcome.miss(&[metric::SENT, metric::RECEIVED], false);
        Ok(())
    }
}
