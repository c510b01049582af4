//! The configuration file of a member.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use atoll_core::config::QueryTimer;

use super::{Dilation, papers};
use crate::environment::{GROUP, NODE_PORT, NodeSpec, OVERLAY, Security, Trial};

/// The file that a member of a trial starts from.
pub(super) fn of(trial: &Trial, node: &NodeSpec, Dilation(dilation): Dilation) -> String {
    let place = |node: &NodeSpec| trial.topology.hosts[node.host.0 as usize].address;
    let any = match place(node) {
        IpAddr::V4(_) => "0.0.0.0",
        IpAddr::V6(_) => "[::]",
    };
    let bootstraps: Vec<_> = node
        .bootstraps
        .iter()
        .filter_map(|index| trial.nodes.get(index.index()))
        .map(|node| format!("\"{}\"", SocketAddr::new(place(node), NODE_PORT)))
        .collect();
    // Without security nothing binds the address to the key.
    let address = match trial.security {
        Security::None => format!("    address: \"{}\"", node.address),
        _ => String::new(),
    };
    let mut text = String::new();
    let lines = [
        format!("listen: \"{any}:{NODE_PORT}\""),
        format!("seed: {}", node.seed),
        format!("dilation: {dilation}"),
        "overlays:".to_owned(),
        format!("  - name: {OVERLAY}"),
        format!("    security: {}", trial.security.name()),
        address,
        format!("    bootstraps: [{}]", bootstraps.join(", ")),
        private_overlay(trial, node).unwrap_or_default(),
        "metrics: \"127.0.0.1:9100\"".to_owned(),
        "control: \"127.0.0.1:9101\"".to_owned(),
        "log: {level: info, format: text}".to_owned(),
    ];
    for line in lines.into_iter().filter(|line| !line.is_empty()) {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// The second membership of a member that has one.
fn private_overlay(trial: &Trial, node: &NodeSpec) -> Option<String> {
    let (group, address) = (trial.group.as_ref()?, node.private?);
    let timer = match group.query_timer {
        QueryTimer::Dynamic => "dynamic".to_owned(),
        QueryTimer::Static(span) => format!("\"{} ms\"", span.as_millis()),
    };
    let folder = papers::FOLDER;
    let proof = match trial.security {
        Security::None => format!(
            "    address: \"{address}\"\n    discovery: {{secret: {folder}/{}, query_timer: {timer}}}",
            papers::SECRET
        ),
        _ => {
            format!("    group: {{name: {GROUP}, folder: {folder}}}\n    discovery: {{query_timer: {timer}}}")
        }
    };
    Some(format!("  - name: {GROUP}\n    security: {}\n{proof}", trial.security.name()))
}
