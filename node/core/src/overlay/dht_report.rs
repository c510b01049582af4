//! What an overlay tells about its DHT.

use super::Overlay;
use crate::control::{Metric, MetricKind};

impl Overlay {
    /// Adds the DHT's metrics to the list.
    pub(super) fn dht_metrics(&self, metrics: &mut Vec<Metric>) {
        let stats = self.dht.stats();
        let mut add = |name: &str, help: &str, kind, more: &[(&str, &str)], value: f64| {
            let own = [("overlay", self.name())];
            let all = own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let mut labels: Vec<(String, String)> = all.collect();
            labels.sort();
            metrics.push(Metric { name: name.to_owned(), help: help.to_owned(), kind, labels, value });
        };
        for (role, values) in [("root", stats.root), ("copy", stats.copies)] {
            let help = "Values held: where nobody is nearer to a point of their key, and for neighbours";
            add("atoll_dht_values", help, MetricKind::Gauge, &[("role", role)], values as f64);
        }
        let bytes = "Bytes of all values held, with what each costs beside its own";
        add("atoll_dht_bytes", bytes, MetricKind::Gauge, &[], stats.bytes as f64);
        let kept = "Values that the member renews";
        add("atoll_dht_kept_values", kept, MetricKind::Gauge, &[], stats.kept as f64);
        let totals = [
            ("atoll_dht_expired_total", "Values whose lease ended here", stats.expired),
            ("atoll_dht_handovers_total", "Values sent to neighbours that lacked them", stats.handovers),
            ("atoll_dht_refused_total", "Writes that were refused here", stats.refused()),
        ];
        for (name, help, value) in totals {
            add(name, help, MetricKind::Counter, &[], value as f64);
        }
        for (kind, outcome, count) in stats.requests() {
            let help = "Requests that ended here, by kind and outcome";
            let labels = [("kind", kind), ("outcome", outcome)];
            add("atoll_dht_requests_total", help, MetricKind::Counter, &labels, count as f64);
        }
    }
}
