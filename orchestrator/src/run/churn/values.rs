//! The values that are put into the DHT before members come and go, and are to be there until the end.

use std::time::Duration;

use atoll_core::Rng;
use atoll_core::control::{Command, Reply};

use super::requests::Aim;
use crate::environment::{NodeIndex, OVERLAY};
use crate::metric;
use crate::run::outcome::Cut;
use crate::run::stage::{LOOK, Stage};

/// Values in a trial.
pub(super) const VALUES: usize = 100;
/// How long a value outlives the measurement.
const MARGIN: Duration = Duration::from_secs(1800);
/// Members that are asked for a value in the end before it counts as lost.
const READERS: usize = 5;
/// Most lost values in one note.
const NAMED_MAX: usize = 12;

/// The key of a value, as people write it.
pub(super) fn key(number: usize) -> String {
    format!("value {number}")
}

/// What is put there.
pub(super) fn value(number: usize) -> Vec<u8> {
    format!("of {number}").into_bytes()
}

impl Stage<'_> {
    /// Has random members put every value, for longer than the trial lasts. One that cannot be put makes the trial
    /// invalid.
    pub(super) fn put_values(&mut self, members: &[NodeIndex], rng: &mut Rng) -> Result<(), Cut> {
        let lease = self.values.measure + MARGIN;
        for number in 0..VALUES {
            self.surroundings.progress.step("values put", number as u64, VALUES as u64);
            let command = Command::DhtPut {
                overlay: OVERLAY.to_owned(),
                key: key(number),
                value: value(number),
                lease_seconds: lease.as_secs(),
                owned: false,
            };
            let mut is_stored = false;
            for _ in 0..READERS {
                self.stop_if_cancelled()?;
                let reply = self.environment.command(members[rng.below(members.len())], command.clone())?;
                is_stored = matches!(reply, Reply::DhtStored { .. });
                if is_stored {
                    break;
                }
                self.wait(LOOK)?;
            }
            if !is_stored {
                self.outcome.invalid_reasons.push(format!("`{}` could not be put into the DHT", key(number)));
            }
        }
        Ok(())
    }

    /// Reads every value once members no longer come and go: a sample of how many are still there.
    pub(super) fn count_values(&mut self, members: &[NodeIndex], rng: &mut Rng) -> Result<(), Cut> {
        let mut lost = Vec::new();
        for number in 0..VALUES {
            self.surroundings.progress.step("values read", number as u64, VALUES as u64);
            if !self.is_there(number, members, rng)? {
                lost.push(format!("`{}`", key(number)));
            }
        }
        self.sample(None, metric::KEPT, (VALUES - lost.len()) as f64 / VALUES as f64);
        if !lost.is_empty() {
            let count = lost.len();
            lost.truncate(NAMED_MAX);
            self.note(format!("{count} values of the DHT were lost, such as {}", lost.join(", ")));
        }
        Ok(())
    }

    fn is_there(&mut self, number: usize, members: &[NodeIndex], rng: &mut Rng) -> Result<bool, Cut> {
        let aim = Aim::Value(number);
        let Some(command) = aim.command(self.trial) else { return Ok(false) };
        for _ in 0..READERS {
            self.stop_if_cancelled()?;
            let reply = self.environment.command(members[rng.below(members.len())], command.clone())?;
            if aim.is_met(&reply) {
                return Ok(true);
            }
            self.wait(LOOK)?;
        }
        Ok(false)
    }
}
