//! The page that Prometheus reads.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeMap;

use common::{Running, get, post, until};

/// Every series of a page in the text format; fails on a line that is none.
fn parse(page: &str) -> BTreeMap<String, f64> {
    let mut types = BTreeMap::new();
    let mut series = BTreeMap::new();
    for line in page.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "two families {name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        } else if !line.starts_with("# HELP ") {
            let (key, value) = line.rsplit_once(' ').unwrap();
            let name = key.split('{').next().unwrap();
            assert!(types.contains_key(name), "{name} has no type");
            assert!(series.insert(key.to_owned(), value.parse().unwrap()).is_none(), "{key} twice");
        }
    }
    series
}

#[test]
fn the_page_parses_and_has_the_names_that_dashboards_use() {
    let node = Running::start(&[]);
    let (status, page) = get(node.metrics, "/metrics");
    assert_eq!(status, 200);
    let series = parse(&page);
    let expected = [
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "atoll_build_info{version=\"",
        "atoll_socket_received_datagrams_total",
        "atoll_socket_received_bytes_total",
        "atoll_socket_sent_datagrams_total",
        "atoll_socket_sent_bytes_total",
        "atoll_socket_errors_total{operation=\"send\"}",
        "atoll_socket_dropped_datagrams_total{reason=\"oversize\"}",
    ];
    for name in expected {
        assert!(series.keys().any(|key| key.starts_with(name)), "{name} is missing:\n{page}");
    }
    assert!(
        series.keys().any(|key| key.contains("overlay=\"public\"")),
        "no series names the overlay:\n{page}"
    );
}

#[test]
fn other_paths_and_methods_are_refused() {
    let node = Running::start(&[]);
    assert_eq!(get(node.metrics, "/").0, 404);
    assert_eq!(get(node.metrics, "/status").0, 404);
    assert_eq!(post(node.metrics, "/metrics", "").0, 405);
    assert_eq!(get(node.metrics, &format!("/{}", "x".repeat(100_000))).0 / 100, 4);
}

#[test]
fn a_node_is_unhealthy_while_it_joins_and_healthy_when_connected() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let joining = Running::start(&[silent.local_addr().unwrap()]);
    let (status, body) = get(joining.metrics, "/healthz");
    assert_eq!((status, body.as_str()), (503, "public joining\n"));

    let ring = common::ring(2);
    until("the node is healthy", || {
        let (status, body) = get(ring[1].metrics, "/healthz");
        (status == 200).then(|| assert_eq!(body, "public connected\n"))
    });
}

/// In megabytes: of all that a node is resident with, and of what it takes for itself. The rest are pages of the program,
/// which all nodes of a host share, and without a release's optimisation that has a third more of them.
const RESIDENT_MAX: f64 = if cfg!(debug_assertions) { 13.5 } else { 10.0 };
const OWN_MAX: f64 = 4.0;

#[test]
fn a_node_is_resident_with_less_than_ten_megabytes() {
    let ring = common::ring(3);
    let status = std::fs::read_to_string(format!("/proc/{}/status", ring[0].id())).unwrap();
    let megabytes = |key| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() * 1024.0 / 1e6
    };
    let (resident, own) = (megabytes("VmRSS:"), megabytes("RssAnon:"));
    assert!(resident < RESIDENT_MAX && own < OWN_MAX, "{resident} MB, {own} MB of them its own");
    assert!(ring[0].metric("process_resident_memory_bytes") >= 1e6 * own);
}
