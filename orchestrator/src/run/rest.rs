//! Step: everybody rests, and what each sends is counted.

use std::time::Duration;

use super::outcome::Cut;
use super::rings::Rings;
use super::stage::Stage;
use crate::environment::{NodeIndex, Traffic};
use crate::metric;

/// The longest pause of a member at rest; what is measured in less depends on when it began.
const KEEPALIVE_MAX: Duration = Duration::from_secs(55);

impl Stage<'_> {
    /// Lets everybody rest, then counts the bytes of these members. Where a bystander is in the public overlay alone it has
    /// a metric of its own.
    pub(super) fn rest(&mut self, running: &[NodeIndex], bystanders: Option<&Rings<'_>>) -> Result<(), Cut> {
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
            let sent = rate(|traffic| traffic.sent_bytes);
            if bystanders.is_some_and(|rings| !rings.is_pair(*member)) {
                self.sample(Some(*member), metric::PUBLIC_SENT, sent);
                continue;
            }
            self.sample(Some(*member), metric::SENT, sent);
            self.sample(Some(*member), metric::RECEIVED, rate(|traffic| traffic.received_bytes));
        }
        Ok(())
    }
}
