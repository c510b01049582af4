//! How late packets are handed over, measured by the fabric about itself.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest lateness told apart, in nanoseconds: a minute.
const LONGEST: u64 = 60_000_000_000;

/// Quantiles of the lateness, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lateness {
    /// Packets measured.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Worst.
    pub max: f64,
}

/// Collects latenesses.
#[derive(Debug)]
pub(super) struct Meter(Histogram<u64>);

impl Meter {
    pub(super) fn new() -> Self {
        Self(Histogram::new_with_max(LONGEST, 2).expect("the bounds are valid"))
    }

    pub(super) fn record(&mut self, late: Duration) {
        self.0.saturating_record(u64::try_from(late.as_nanos()).unwrap_or(LONGEST));
    }

    pub(super) fn summary(&self) -> Lateness {
        let seconds = |nanos: u64| nanos as f64 / 1e9;
        Lateness {
            count: self.0.len(),
            p50: seconds(self.0.value_at_quantile(0.50)),
            p99: seconds(self.0.value_at_quantile(0.99)),
            max: seconds(self.0.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_percent() {
        let mut meter = Meter::new();
        for millis in 1..=100 {
            meter.record(Duration::from_millis(millis));
        }
        meter.record(Duration::from_secs(100));
        let summary = meter.summary();
        assert_eq!(summary.count, 101);
        assert!((summary.p50 - 0.051).abs() < 0.001, "{summary:?}");
        assert!((summary.max - 60.0).abs() < 1.0, "{summary:?}");
    }
}
