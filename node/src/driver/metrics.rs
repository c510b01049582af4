//! The page that Prometheus reads, and the health check beside it.

use std::collections::BTreeMap;

use atoll_core::control::{Command, Metric, MetricKind, Reply, State};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::enrolments::Enrolments;
use super::http::{Answer, Site, answer};
use super::process;
use super::requests::Asker;

const TEXT: &str = "text/plain; charset=utf-8";

/// `/metrics` and `/healthz`.
#[derive(Clone)]
pub(super) struct MetricsSite {
    /// The way to the driver.
    pub(super) asker: Asker,
    /// Memberships that sites hand out.
    pub(super) enrolments: Enrolments,
}

impl Site for MetricsSite {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let known = ["/metrics", "/healthz"].contains(&request.uri().path());
        if known && !matches!(*request.method(), Method::GET | Method::HEAD) {
            return answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n");
        }
        match request.uri().path() {
            "/metrics" => self.metrics().await,
            "/healthz" => self.health().await,
            _ => answer(StatusCode::NOT_FOUND, TEXT, "here are /metrics and /healthz\n"),
        }
    }
}

impl MetricsSite {
    async fn metrics(&self) -> Answer {
        let mut metrics = match self.asker.command(Command::Metrics).await {
            Reply::Metrics(metrics) => metrics,
            Reply::Failed { why, .. } => return answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, why + "\n"),
            _ => {
                return answer(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    TEXT,
                    "the node replied to another question\n",
                );
            }
        };
        metrics.extend(process::metrics());
        match page(metrics) {
            Ok(page) => answer(StatusCode::OK, prometheus::TEXT_FORMAT, page),
            Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        }
    }

    /// 200 when every membership is connected, 503 before that and after, and as long as one has no certificate.
    async fn health(&self) -> Answer {
        match self.asker.command(Command::Status).await {
            Reply::Status(members) => {
                let left_out = self.enrolments.reports().into_iter();
                let left_out =
                    left_out.filter(|one| members.iter().all(|member| member.overlay != one.overlay));
                let left_out: Vec<_> =
                    left_out.map(|one| format!("{} {}\n", one.overlay, one.state.word())).collect();
                let connected = members.iter().all(|member| member.state == State::Connected);
                let healthy = connected && left_out.is_empty();
                let lines = members.iter().map(|member| format!("{} {}\n", member.overlay, member.state));
                let lines: String = lines.chain(left_out).collect();
                let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                answer(status, TEXT, lines)
            }
            Reply::Failed { why, .. } => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, why + "\n"),
            _ => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the node replied to another question\n"),
        }
    }
}

/// The text format of Prometheus, families and series sorted.
fn page(metrics: Vec<Metric>) -> prometheus::Result<Vec<u8>> {
    let mut families: BTreeMap<String, Vec<Metric>> = BTreeMap::new();
    for metric in metrics {
        families.entry(metric.name.clone()).or_default().push(metric);
    }
    let families: Vec<MetricFamily> =
        families.into_iter().filter_map(|(name, all)| family(name, all)).collect();
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text)?;
    Ok(text)
}

fn family(name: String, mut metrics: Vec<Metric>) -> Option<MetricFamily> {
    metrics.sort_by(|a, b| a.labels.cmp(&b.labels));
    let first = metrics.first()?;
    let mut family = MetricFamily::default();
    family.set_name(name);
    family.set_help(first.help.clone());
    family.set_field_type(match first.kind {
        MetricKind::Counter => MetricType::COUNTER,
        MetricKind::Gauge => MetricType::GAUGE,
    });
    family.set_metric(metrics.into_iter().map(series).collect());
    Some(family)
}

fn series(metric: Metric) -> proto::Metric {
    let labels = metric.labels.into_iter().map(|(name, value)| {
        let mut label = LabelPair::default();
        label.set_name(name);
        label.set_value(value);
        label
    });
    let mut series = proto::Metric::from_label(labels.collect());
    match metric.kind {
        MetricKind::Counter => {
            let mut counter = proto::Counter::default();
            counter.set_value(metric.value);
            series.set_counter(counter);
        }
        MetricKind::Gauge => {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(metric.value);
            series.set_gauge(gauge);
        }
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_name_stand_together_under_one_type() {
        let metric = |name: &str, kind, label: &str, value| Metric {
            name: name.to_owned(),
            help: "What it is.".to_owned(),
            kind,
            labels: vec![("overlay".to_owned(), label.to_owned())],
            value,
        };
        let metrics = vec![
            metric("b_total", MetricKind::Counter, "two", 2.0),
            metric("a", MetricKind::Gauge, "quo\"te", 0.5),
            metric("b_total", MetricKind::Counter, "one", 1e9),
        ];
        let text = String::from_utf8(page(metrics).unwrap()).unwrap();
        let expected = "# HELP a What it is.\n# TYPE a gauge\na{overlay=\"quo\\\"te\"} 0.5\n\
            # HELP b_total What it is.\n# TYPE b_total counter\n\
            b_total{overlay=\"one\"} 1000000000\nb_total{overlay=\"two\"} 2\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_process_knows_its_memory_and_time() {
        let metrics = process::metrics();
        let value = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap().value;
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_open_fds") >= 3.0);
    }
}
