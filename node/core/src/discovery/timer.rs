//! How often a member looks for others while all is well.

use std::time::Duration;

use crate::config::QueryTimer;

const SHORTEST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Timer {
    rule: QueryTimer,
    wait: Duration,
}

impl Timer {
    pub(super) fn new(rule: QueryTimer) -> Self {
        Self { rule, wait: SHORTEST }
    }

    pub(super) fn reset(&mut self) {
        self.wait = SHORTEST;
    }

    /// The wait until the next look.
    pub(super) fn next(&mut self) -> Duration {
        match self.rule {
            QueryTimer::Static(wait) => wait,
            QueryTimer::Dynamic => {
                let wait = self.wait;
                self.wait = (wait * 2).min(LONGEST);
                wait
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dynamic_timer_doubles_from_half_a_minute_to_an_hour_and_begins_anew() {
        let mut timer = Timer::new(QueryTimer::Dynamic);
        let waits: Vec<u64> = (0..9).map(|_| timer.next().as_secs()).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
        timer.reset();
        assert_eq!(timer.next(), SHORTEST);
    }

    #[test]
    fn a_static_timer_stays_as_it_is() {
        let mut timer = Timer::new(QueryTimer::Static(Duration::from_secs(300)));
        timer.reset();
        assert!((0..3).all(|_| timer.next().as_secs() == 300));
    }
}
