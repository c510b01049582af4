//! Real processes form a ring and use it.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::time::Duration;

use atoll_core::control::{Command, EventKind, Reply, State};
use common::{Running, get, ring, until, until_well_formed, verb};
use serde_json::Value;

#[test]
fn three_nodes_form_a_ring() {
    let nodes = ring(3);
    for node in &nodes {
        let status = node.status();
        assert!(status.join_seconds.is_some_and(|seconds| seconds < 10.0), "{status:?}");
        assert!(node.events().contains(&EventKind::Connected));
        assert_eq!(node.peers().len(), 2);
    }
}

#[test]
fn eight_nodes_form_a_ring_and_reach_each_other() {
    let nodes = ring(8);
    let from = &nodes[7];
    for node in &nodes[..7] {
        let (overlay, address) = ("public".to_owned(), node.status().address);
        let ping = from.command(&Command::Ping { overlay: overlay.clone(), address });
        assert!(matches!(ping, Reply::Ping { seconds, .. } if seconds < 5.0), "{ping:?}");
        match from.command(&Command::Route { overlay, address }) {
            Reply::Route { hops, .. } => assert_eq!(hops.last(), Some(&address), "{hops:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_verbs_show_tables_to_people_and_json_to_programs() {
    let nodes = ring(3);
    let control = nodes[0].control.to_string();
    let other = nodes[1].status().address.to_string();
    let said = |words: &[&str]| {
        let output = verb(&[words, &["--control", &control]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let json =
        |words: &[&str]| -> Value { serde_json::from_str(&said(&[words, &["--json"]].concat())).unwrap() };
    assert!(said(&["status"]).contains("connected"));
    assert!(said(&["peers"]).contains(&other));
    assert!(said(&["ping", &other]).contains(" over 1 hop\n"));
    assert!(said(&["route", &other]).contains(&other));
    assert_eq!(json(&["status"])[0]["state"], "connected");
    assert_eq!(json(&["peers"]).as_array().unwrap().len(), 2);
    assert!(json(&["ping", &other])["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(json(&["route", &other])["hops"].as_array().unwrap().last().unwrap(), &Value::from(other));
    assert_eq!(json(&["leave"])["left"], true);
}

#[test]
fn a_verb_without_an_overlay_means_the_first_one() {
    let node = Running::start_with(&["--listen", "127.0.0.1:0", "--overlay", "club"]);
    let control = node.control.to_string();
    let ask = |words: &[&str]| verb(&[words, &["--control", &control]].concat());
    assert_eq!(ask(&["peers"]).status.code(), Some(0));
    let nobody = "12".repeat(20);
    assert_eq!(ask(&["ping", &nobody]).status.code(), Some(1));
    assert_eq!(get(node.control, "/peers").0, 200);
    let unknown = ask(&["ping", &nobody, "--overlay", "public"]);
    let said = String::from_utf8(unknown.stderr).unwrap();
    assert_eq!(unknown.status.code(), Some(2), "{said}");
    let says = |part: &str| said.contains(part);
    assert!(says("no overlay is named `public`") && says("with `--overlay`: club\n"), "{said}");
}

#[test]
fn a_ping_that_nobody_answers_exits_with_one() {
    let nodes = ring(2);
    let control = nodes[0].control.to_string();
    let nobody = "12".repeat(20);
    let output = verb(&["ping", &nobody, "--control", &control]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("no ") && said.matches(&nobody).count() <= 1, "{said}");
}

#[test]
fn what_could_not_be_asked_exits_with_two() {
    let node = Running::start(&[]);
    let (control, address) = (node.control.to_string(), "12".repeat(20));
    let verbs: [&[&str]; 3] = [&["ping", &address], &["route", &address], &["peers"]];
    for words in verbs {
        let output = verb(&[words, &["--overlay", "pubic", "--control", &control]].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains("no overlay is named `pubic`\nhint: "), "{words:?}: {said}");
        assert!(output.stdout.is_empty(), "errors belong on stderr");
    }
}

#[test]
fn a_node_that_is_terminated_leaves_and_its_neighbours_know_at_once() {
    for signal in ["TERM", "INT"] {
        let mut nodes = ring(4);
        let mut leaver = nodes.pop().unwrap();
        let address = leaver.status().address;
        leaver.signal(signal);
        let since = std::time::Instant::now();
        assert_eq!(leaver.wait().code(), Some(0));
        until("the neighbours know", || {
            let gone = |node: &Running| node.peers().iter().all(|peer| peer.address != address);
            nodes.iter().all(gone).then_some(())
        });
        assert!(since.elapsed() < Duration::from_secs(2), "it took {:?}", since.elapsed());
        until_well_formed(&nodes);
    }
}

#[test]
fn a_node_that_is_told_to_leave_answers_first() {
    let mut nodes = ring(2);
    assert_eq!(nodes[1].command(&Command::Leave), Reply::Left);
    assert_eq!(nodes[1].wait().code(), Some(0));
}

#[test]
fn a_killed_node_is_missed_and_the_ring_closes() {
    let mut nodes = ring(4);
    nodes.pop().unwrap().signal("KILL");
    until_well_formed(&nodes);
}

#[test]
fn nodes_that_are_killed_while_they_join_do_no_harm() {
    let first = Running::start(&[]);
    let bootstrap = [first.listen];
    let mut nodes = vec![first];
    for turn in 0..6 {
        let joiner = Running::start(&bootstrap);
        if turn % 2 == 0 {
            joiner.signal("KILL");
        } else {
            nodes.push(joiner);
        }
    }
    until_well_formed(&nodes);
}

#[test]
fn a_bootstrap_that_is_not_there_is_named_and_tried_until_it_appears() {
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut node = Running::start(&[free]);
    let line = node.wait_for_log("bootstrap does not answer; trying again");
    assert_eq!(
        (line["bootstrap"].as_str().unwrap(), line["level"].as_str().unwrap()),
        (&*free.to_string(), "WARN")
    );
    assert!(line["hint"].as_str().unwrap().contains("with the same `security`?"), "{line}");
    let status = node.status();
    assert_eq!((status.state, status.silent, status.founded), (State::Joining, vec![free], false));
    let shown = verb(&["status", "--control", &node.control.to_string()]);
    assert!(String::from_utf8(shown.stdout).unwrap().contains("no answer from   127.0.0.1:"));
    let late = Running::start_at(&free.to_string(), &[]);
    assert!(late.status().founded);
    let nodes = [node, late];
    until_well_formed(&nodes);
    assert!(nodes.iter().all(|node| node.status().silent.is_empty()));
}

#[test]
fn bootstraps_may_have_names() {
    let first = Running::start(&[]);
    let name = format!("localhost:{}", first.listen.port());
    let second = Running::start_at("127.0.0.1:0", &[name]);
    until_well_formed(&[first, second]);
}

#[test]
fn a_name_that_is_not_resolved_is_said_aloud_and_only_its_overlay_waits() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.yaml");
    let text = "overlays: [{name: public, bootstraps: [\"nowhere.invalid:4001\"]}, {name: mine}]";
    std::fs::write(&file, text).unwrap();
    let mut node = Running::start_with(&["--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()]);
    let line = node.wait_for_log("bootstrap's name is not resolved; trying again");
    assert_eq!(line["bootstrap"], "nowhere.invalid:4001");
    let Reply::Status(members) = node.command(&Command::Status) else { panic!("a status") };
    assert_eq!([members[0].state, members[1].state], [State::Joining, State::Connected]);
    assert!(node.peers().is_empty());
    node.signal("TERM");
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn ipv6_and_ipv4_members_share_a_ring() {
    let first = Running::start_at("[::]:0", &[]);
    let port = first.listen.port();
    let v6 = Running::start_at("[::1]:0", &[format!("[::1]:{port}")]);
    let v4 = Running::start_at("[::]:0", &[format!("127.0.0.1:{port}")]);
    until_well_formed(&[first, v6, v4]);
}
