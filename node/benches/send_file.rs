//! How fast a file moves from member to member on this machine, by the number of hops between them.
//!
//! `cargo bench -p atoll-node --bench send_file -- MEGABYTES`; 50 if nothing is given.
#![allow(clippy::unwrap_used, reason = "what goes wrong ends the measurement")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::fs;
use std::path::Path;

use atoll_core::control::{Command, Reply};
use atoll_core::wire::Address;
use atoll_node::driver::Line;
use common::{Running, until, until_well_formed, verb};

const MEMBERS: usize = 10;
const HOPS: [usize; 3] = [1, 2, 4];
const TURNS: usize = 3;
const MEGABYTES: usize = 50;

fn main() {
    let megabytes = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(MEGABYTES);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("content");
    let content: Vec<u8> = (0..megabytes * 125_000).flat_map(usize::to_le_bytes).collect();
    fs::write(&file, content).unwrap();
    let nodes = ring(folder.path());
    println!("{megabytes} MB, {MEMBERS} members on this machine, each linked to its two neighbours:");
    for hops in HOPS {
        let (from, to) = until("such a pair", || pair(&nodes, hops));
        let before = forwarded(&nodes);
        let mut speeds: Vec<f64> =
            (0..TURNS).map(|_| megabytes as f64 / seconds(&nodes[from], &file, to)).collect();
        let passed = (forwarded(&nodes) - before) / (TURNS * megabytes) as f64;
        speeds.sort_by(f64::total_cmp);
        let median = speeds[TURNS / 2];
        println!(
            "{hops} hops: {median:.1} MB/s (of {speeds:.1?}), {passed:.0} packets forwarded for each MB"
        );
    }
}

fn ring(folder: &Path) -> Vec<Running> {
    let config = folder.join("node.yaml");
    fs::write(&config, "overlays: [{name: public, ring: {near: 1, shortcuts: 0}}]").unwrap();
    let inbox = folder.join("inbox");
    fs::create_dir(&inbox).unwrap();
    let mut nodes: Vec<Running> = Vec::new();
    for _ in 0..MEMBERS {
        let bootstrap = nodes.first().map(|first| first.listen.to_string());
        let mut flags = vec!["--listen", "127.0.0.1:0", "--config", config.to_str().unwrap()];
        flags.extend(["--inbox", inbox.to_str().unwrap()]);
        flags.extend(bootstrap.iter().flat_map(|bootstrap| ["--bootstrap", bootstrap]));
        nodes.push(Running::start_with(&flags));
    }
    until_well_formed(&nodes);
    nodes
}

/// A member, and another one so many hops away.
fn pair(nodes: &[Running], hops: usize) -> Option<(usize, Address)> {
    let addresses: Vec<Address> = nodes.iter().map(|node| node.status().address).collect();
    let pairs = (0..nodes.len()).flat_map(|from| addresses.iter().map(move |to| (from, *to)));
    pairs.into_iter().find(|(from, to)| {
        let command = Command::Route { overlay: "public".to_owned(), address: *to };
        matches!(nodes[*from].command(&command), Reply::Route { hops: way, .. } if way.len() == hops)
    })
}

fn forwarded(nodes: &[Running]) -> f64 {
    nodes.iter().map(|node| node.metric("atoll_forwarded_packets_total")).sum()
}

fn seconds(from: &Running, file: &Path, to: Address) -> f64 {
    let (control, to) = (from.control.to_string(), to.to_string());
    let output = verb(&["send", file.to_str().unwrap(), &to, "--control", &control, "--json"]);
    let last = output.stdout.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap();
    match serde_json::from_slice(last).unwrap() {
        Line::Stored { seconds, .. } => seconds,
        other => panic!("{other:?}"),
    }
}
