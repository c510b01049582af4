//! What the fabric tells about itself: to the lab as a report, to Prometheus as pages.

use std::collections::BTreeMap;

use atoll_topology::{DropReason, GatewayId};
use hyper::body::Bytes;
use prometheus::core::Collector;
use prometheus::{CounterVec, Encoder, GaugeVec, Opts, Registry, TextEncoder};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::Fabric;
use crate::api::{NodeReport, Report};
use crate::capture::Summary;
use crate::engine::{Engine, Traffic};

/// A group of targets as Prometheus' `http_sd` wants it.
#[derive(Debug, Serialize)]
pub(super) struct Targets {
    targets: Vec<String>,
    labels: BTreeMap<&'static str, String>,
}

impl Fabric {
    pub(super) async fn report(&self) -> Result<Report, String> {
        self.notice_exits().await?;
        let nodes: Vec<_> = {
            let nodes = self.nodes.lock();
            let entry = |(name, node): (&String, &super::nodes::Node)| {
                let seconds = |at: std::time::Duration| at.as_secs_f64();
                let report = NodeReport {
                    host: node.host.0,
                    released: node.released.map(seconds),
                    exited: node.exited.map(seconds),
                    ..NodeReport::default()
                };
                (name.clone(), node.host, report)
            };
            nodes.iter().map(entry).collect()
        };
        let look = move |engine: &mut Engine| {
            let mut report = look(engine);
            for (name, host, mut node) in nodes {
                node.traffic = engine.tally().traffic(host);
                report.nodes.insert(name, node);
            }
            report
        };
        let mut report = self.engine.ask(look).await.map_err(|error| error.to_string())?;
        report.clock_start_nanos = u64::try_from(self.clock.start().as_nanos()).unwrap_or(u64::MAX);
        report.pages_port = self.pages.port();
        let used = clock_gettime(ClockId::ProcessCPUTime);
        report.cpu_seconds = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
        Ok(report)
    }

    pub(super) async fn forget_counts(&self) -> Result<(), String> {
        self.engine.ask(Engine::forget_counts).await.map_err(|error| error.to_string())
    }

    /// The list for Prometheus: every node through us, and ourselves.
    pub(super) fn targets(&self) -> Vec<Targets> {
        let target = |path: String, labels: BTreeMap<&'static str, String>| {
            let mut labels = labels;
            labels.insert("__metrics_path__", path);
            Targets { targets: vec![self.pages.to_string()], labels }
        };
        let nodes = self.nodes.lock();
        let running = nodes.iter().filter(|(_, node)| node.released.is_some() && node.exited.is_none());
        let node = |name: &String| {
            target(format!("/nodes/{name}/metrics"), BTreeMap::from([("node", name.clone())]))
        };
        let own = target("/metrics".to_owned(), BTreeMap::from([("job", "fabric".to_owned())]));
        running.map(|(name, _)| node(name)).chain([own]).collect()
    }

    pub(super) async fn metrics(&self) -> Result<Bytes, String> {
        let report = self.report().await?;
        page(&report).map(Bytes::from).map_err(|error| error.to_string())
    }
}

fn look(engine: &Engine) -> Report {
    let counters = engine.internet().counters();
    let drops = DropReason::ALL.iter().map(|reason| (reason.name().to_owned(), counters.drops(*reason)));
    let gateways = engine.internet().topology().gateways.iter().zip(0..);
    Report {
        now: engine.now().as_secs_f64(),
        lateness: engine.lateness(),
        queued: engine.queued() as u64,
        capture: engine.captured(),
        packets: engine.tally().packets(),
        losses: engine.tally().losses().iter().map(|(why, n)| (why.name().to_owned(), *n)).collect(),
        drops: drops.filter(|(_, count)| *count > 0).collect(),
        mappings: gateways
            .map(|(gateway, id)| {
                (gateway.name.clone(), engine.internet().gateway_counters(GatewayId(id)).mappings)
            })
            .collect(),
        ..Report::default()
    }
}

/// One family of values on a page.
struct Family<'a> {
    name: &'a str,
    help: &'a str,
    label: &'a str,
    values: Vec<(&'a str, f64)>,
}

impl Family<'_> {
    /// What ends in `_total` only grows; everything else is what it is now.
    fn collector(self) -> Result<Box<dyn Collector>, prometheus::Error> {
        let options = Opts::new(self.name, self.help);
        if self.name.ends_with("_total") {
            let counter = CounterVec::new(options, &[self.label])?;
            self.values.iter().for_each(|(label, value)| counter.with_label_values(&[*label]).inc_by(*value));
            return Ok(Box::new(counter));
        }
        let gauge = GaugeVec::new(options, &[self.label])?;
        self.values.iter().for_each(|(label, value)| gauge.with_label_values(&[*label]).set(*value));
        Ok(Box::new(gauge))
    }
}

/// The report in Prometheus' text format. The registry lives for one page: what is gone leaves no series behind.
fn page(report: &Report) -> Result<Vec<u8>, prometheus::Error> {
    let registry = Registry::new();
    for family in own_families(report).into_iter().chain(traffic_families(report)) {
        registry.register(family.collector()?)?;
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    Ok(text)
}

fn own_families(report: &Report) -> [Family<'_>; 6] {
    let late = &report.lateness;
    let family = |name, help, label, values| Family { name, help, label, values };
    [
        family(
            "fabric_lateness_seconds",
            "How late packets were handed over.",
            "quantile",
            vec![("0.5", late.p50), ("0.99", late.p99), ("1", late.max)],
        ),
        family(
            "fabric_packets",
            "Packets handled since the start, and packets on their way now.",
            "state",
            vec![("handled", report.packets as f64), ("queued", report.queued as f64)],
        ),
        family(
            "fabric_lost_packets_total",
            "Packets that the fabric itself lost.",
            "reason",
            counts(&report.losses),
        ),
        family(
            "fabric_dropped_packets_total",
            "Packets that the emulated Internet dropped.",
            "reason",
            counts(&report.drops),
        ),
        family("fabric_mappings", "Mappings of a gateway.", "gateway", counts(&report.mappings)),
        family(
            "fabric_captured_packets",
            "Packets that the capture holds, and those missing in it by reason.",
            "state",
            report.capture.as_ref().map_or_else(Vec::new, captured),
        ),
    ]
}

fn traffic_families(report: &Report) -> [Family<'_>; 4] {
    let family = |name, help, value: fn(&Traffic) -> u64| {
        let values = report.nodes.iter().map(|(name, node)| (name.as_str(), value(&node.traffic) as f64));
        Family { name, help, label: "node", values: values.collect() }
    };
    [
        family("fabric_sent_bytes_total", "Bytes that a node sent, IP headers counted.", |t| t.sent_bytes),
        family("fabric_received_bytes_total", "Bytes that a node received, IP headers counted.", |t| {
            t.received_bytes
        }),
        family("fabric_sent_packets_total", "Packets that a node sent.", |t| t.sent_packets),
        family("fabric_received_packets_total", "Packets that a node received.", |t| t.received_packets),
    ]
}

fn captured(capture: &Summary) -> Vec<(&str, f64)> {
    let held = ("held", capture.packets as f64);
    std::iter::once(held).chain(counts(&capture.missing)).collect()
}

fn counts(counts: &BTreeMap<String, u64>) -> Vec<(&str, f64)> {
    counts.iter().map(|(name, count)| (name.as_str(), *count as f64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shows_every_node_and_reason() {
        let traffic = Traffic { sent_bytes: 128, ..Traffic::default() };
        let node = NodeReport { traffic, ..NodeReport::default() };
        let report = Report {
            nodes: BTreeMap::from([("m1".to_owned(), node)]),
            drops: BTreeMap::from([("filtered".to_owned(), 7)]),
            ..Report::default()
        };
        let page = String::from_utf8(page(&report).unwrap()).unwrap();
        assert!(page.contains("fabric_sent_bytes_total{node=\"m1\"} 128"), "{page}");
        assert!(page.contains("fabric_dropped_packets_total{reason=\"filtered\"} 7"), "{page}");
    }

    #[test]
    fn what_ends_in_total_is_a_counter_and_nothing_else_is() {
        let counts = || BTreeMap::from([("one".to_owned(), 1)]);
        let nodes = BTreeMap::from([("m1".to_owned(), NodeReport::default())]);
        let (losses, drops, mappings) = (counts(), counts(), counts());
        let capture = Some(Summary { missing: counts(), ..Summary::default() });
        let report = Report { losses, drops, mappings, nodes, capture, ..Report::default() };
        let page = String::from_utf8(page(&report).unwrap()).unwrap();
        let types: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert_eq!(types.len(), 10, "{page}");
        for line in types {
            let (name, kind) = line.split_once(' ').unwrap();
            assert_eq!(kind, if name.ends_with("_total") { "counter" } else { "gauge" }, "{name}");
        }
    }
}
