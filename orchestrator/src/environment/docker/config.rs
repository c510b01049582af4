//! The configuration file of a member.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::environment::{NODE_PORT, NodeSpec, OVERLAY, Trial};

/// The file that a member of a trial starts from.
pub(super) fn of(trial: &Trial, node: &NodeSpec) -> String {
    let address = |node: &NodeSpec| trial.topology.hosts[node.host.0 as usize].address;
    let any = match address(node) {
        IpAddr::V4(_) => "0.0.0.0",
        IpAddr::V6(_) => "[::]",
    };
    let bootstraps: Vec<_> = node
        .bootstraps
        .iter()
        .filter_map(|index| trial.nodes.get(index.index()))
        .map(|node| format!("\"{}\"", SocketAddr::new(address(node), NODE_PORT)))
        .collect();
    let seed = node.seed.first_chunk().map_or(0, |start| u64::from_le_bytes(*start));
    let mut text = String::new();
    let lines = [
        format!("listen: \"{any}:{NODE_PORT}\""),
        format!("seed: {seed}"),
        "overlays:".to_owned(),
        format!("  - name: {OVERLAY}"),
        format!("    address: \"{}\"", node.address),
        format!("    bootstraps: [{}]", bootstraps.join(", ")),
        "metrics: \"127.0.0.1:9100\"".to_owned(),
        "control: \"127.0.0.1:9101\"".to_owned(),
        "log: {level: info, format: text}".to_owned(),
    ];
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    text
}
