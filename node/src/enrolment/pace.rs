//! When to ask the site: for a new certificate after two thirds of the old one's life, and how often if that does not work.

use std::time::Duration;

use atoll_core::security::Wall;
use atoll_site::authority::SLACK;

/// What two thirds of a life may be early or late by, so that not all nodes ask at once.
const SPREAD: f64 = 0.04;
/// The longest wait between two tries.
const PAUSE_MAX: u64 = 3600;
/// The first wait of a certificate that lives long.
const PAUSE_MIN_MAX: u64 = 60;
/// Between two questions whether an administrator has decided.
const DECISION_MAX: Duration = Duration::from_secs(120);
/// Between two tries after a refusal that only people change.
pub(crate) const AFTER_REFUSAL: Duration = Duration::from_secs(1800);

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    /// When it was signed.
    pub(crate) from: Wall,
    pub(crate) until: Wall,
}

impl Life {
    /// Of a certificate that says these times: authorities put the beginning back, for clocks that are behind.
    pub(crate) fn new(not_before: Wall, until: Wall) -> Self {
        Self { from: Wall((not_before.0 + SLACK).min(until.0)), until }
    }

    fn seconds(self) -> u64 {
        self.until.0 - self.from.0
    }

    /// When to renew; `share` is random in 0..1.
    pub(crate) fn renewal(self, share: f64) -> Wall {
        let part = 2.0 / 3.0 + SPREAD * (share - 0.5);
        Wall(self.from.0 + (self.seconds() as f64 * part) as u64)
    }

    /// How long to wait after so many failures in a row.
    pub(crate) fn pause(self, failures: u32) -> Duration {
        let first = (self.seconds() / 1000).clamp(1, PAUSE_MIN_MAX);
        let most = (self.seconds() / 20).clamp(first, PAUSE_MAX);
        Duration::from_secs((first << failures.saturating_sub(1).min(12)).min(most))
    }
}

/// How long a node without a certificate waits after so many failures in a row: from 2 s to 5 min.
pub(crate) fn without_certificate(failures: u32) -> Duration {
    Duration::from_secs((1_u64 << failures.clamp(1, 9)).min(300))
}

/// How long it waits for an administrator before it asks again: first as long as the site says, then longer.
pub(crate) fn until_decision(again: Duration, asked: u32) -> Duration {
    let longer = again.mul_f64(1.3_f64.powi(i32::try_from(asked.min(20)).unwrap_or(20)));
    longer.min(DECISION_MAX.max(again))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    #[test]
    fn a_certificate_is_renewed_about_two_thirds_through_its_life() {
        let life = Life::new(Wall(1_000_000 - SLACK), Wall(1_000_000 + 90 * DAY));
        for share in [0.0, 0.5, 0.999] {
            let days = (life.renewal(share).0 - 1_000_000) as f64 / DAY as f64;
            assert!((58.0..62.0).contains(&days), "{days}");
        }
        assert_ne!(life.renewal(0.0), life.renewal(0.9));
        let short = Life::new(Wall(1_000_000 - SLACK), Wall(1_000_030));
        assert!((1_000_019..=1_000_021).contains(&short.renewal(0.5).0));
    }

    #[test]
    fn pauses_grow_with_failures_and_suit_the_life() {
        let seconds = |life: u64| {
            let life = Life::new(Wall(0), Wall(SLACK + life));
            [1, 2, 5, 30].map(|failures| life.pause(failures).as_secs())
        };
        assert_eq!(seconds(90 * DAY), [60, 120, 960, 3600]);
        assert_eq!(seconds(30), [1, 1, 1, 1]);
        assert_eq!(seconds(600), [1, 2, 16, 30]);
        assert_eq!([0, 1, 2, 8, 40].map(|n| without_certificate(n).as_secs()), [2, 2, 4, 256, 300]);
    }

    #[test]
    fn who_waits_for_a_decision_asks_ever_more_rarely() {
        let waits = [0, 5, 40].map(|asked| until_decision(Duration::from_secs(5), asked).as_secs());
        assert_eq!(waits, [5, 18, 120]);
    }

    #[test]
    fn a_certificate_without_a_life_does_no_harm() {
        let none = Life::new(Wall(500), Wall(500));
        assert_eq!((none.renewal(0.5), none.pause(1)), (Wall(500), Duration::from_secs(1)));
    }
}
