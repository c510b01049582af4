//! What a site beside this node has done in the overlay, for Prometheus.

use std::sync::atomic::{AtomicU64, Ordering};

use atoll_core::control::{Metric, MetricKind};

/// A number that grows or goes up and down.
#[derive(Debug, Default)]
pub(super) struct Number(AtomicU64);

impl Number {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set(&self, value: usize) {
        self.0.store(value as u64, Ordering::Relaxed);
    }

    fn value(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Groups whose authorities' statements are held.
    pub(super) announced: Number,
    /// Statements that were not put.
    pub(super) failures: Number,
    /// Calls that were handed to the site.
    pub(super) calls: Number,
    /// Calls for which there was no place.
    pub(super) refused: Number,
}

impl Tally {
    pub(super) fn metrics(&self) -> Vec<Metric> {
        use MetricKind::{Counter, Gauge};
        let one = |name: &str, help: &str, kind, number: &Number| Metric {
            name: format!("atoll_site_{name}"),
            help: help.to_owned(),
            kind,
            labels: vec![],
            value: number.value(),
        };
        vec![
            one("announced_groups", "Groups that find the site through the overlay.", Gauge, &self.announced),
            one(
                "announce_failures_total",
                "Tries to say in the overlay's DHT where the site is that came to nothing.",
                Counter,
                &self.failures,
            ),
            one("calls_total", "Calls through the overlay that the site got.", Counter, &self.calls),
            one("refused_calls_total", "Calls for which there was no place.", Counter, &self.refused),
        ]
    }
}
