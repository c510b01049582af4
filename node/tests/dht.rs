//! Real processes put values into the DHT of their overlay and read them.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::process::Output;

use common::group::Groups;
use common::{Running, ring, until_well_formed, verb};
use serde_json::Value;

fn dht(node: &Running, words: &[&str]) -> Output {
    let control = node.control.to_string();
    verb(&[&["dht"], words, &["--control", &control]].concat())
}

/// What a verb says, if it ends with this exit code.
#[track_caller]
fn said(code: i32, output: &Output) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn json(code: i32, node: &Running, words: &[&str]) -> Value {
    serde_json::from_str(&said(code, &dht(node, &[words, &["--json"]].concat()))).unwrap()
}

#[test]
fn what_one_node_puts_the_others_get() {
    let nodes = ring(4);
    assert_eq!(said(0, &dht(&nodes[0], &["put", "colour", "blue", "--lease", "10 min"])), "held for 600 s\n");
    said(0, &dht(&nodes[1], &["put", "colour", "red"]));
    for node in &nodes {
        let said = said(0, &dht(node, &["get", "colour"]));
        let mut lines: Vec<&str> = said.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["blue", "red"]);
    }
    assert_eq!(said(1, &dht(&nodes[2], &["get", "nothing"])), "");
    let found = json(0, &nodes[3], &["get", "colour"]);
    assert_eq!(found["complete"], true);
    let blue = found["values"].as_array().unwrap().iter().find(|one| one["value"] == "blue").unwrap();
    assert!((500.0..=600.0).contains(&blue["lease_seconds"].as_f64().unwrap()), "{blue}");
    let held: f64 = nodes.iter().map(|node| node.metric("atoll_dht_values")).sum();
    assert!(held >= 2.0, "{held}");
}

#[test]
fn all_of_eighty_values_under_one_key_are_shown_and_none_twice() {
    let nodes = ring(3);
    let mut values: Vec<String> = (0..80).map(|number| format!("{number:0200}")).collect();
    for (number, value) in values.iter().enumerate() {
        said(0, &dht(&nodes[number % 3], &["put", "many", value]));
    }
    let found = said(0, &dht(&nodes[1], &["get", "many"]));
    let mut lines: Vec<&str> = found.lines().collect();
    lines.sort_unstable();
    values.sort_unstable();
    assert_eq!(lines, values);
    let found = json(0, &nodes[2], &["get", "many"]);
    assert_eq!((found["values"].as_array().unwrap().len(), &found["complete"]), (80, &Value::from(true)));
}

#[test]
fn of_two_nodes_that_create_a_key_the_second_exits_with_one() {
    let nodes = ring(3);
    said(0, &dht(&nodes[0], &["create", "name", "mine"]));
    assert_eq!(
        said(1, &dht(&nodes[1], &["create", "name", "mine"])),
        "not put: something else is under the key\n"
    );
    assert_eq!(json(1, &nodes[1], &["put", "name", "beside"]), Value::from("exists"));
    said(0, &dht(&nodes[0], &["create", "name", "mine", "--lease", "2 h"]));
    let found = json(0, &nodes[2], &["get", "name"]);
    assert_eq!(found["values"][0]["value"], "mine");
    assert_eq!(found["values"][0]["creator"], nodes[0].status().address.to_string());
}

#[test]
fn a_node_owns_keys_and_the_last_value_counts() {
    let nodes = ring(3);
    let owner = nodes[0].status().address.to_string();
    for value in ["first", "second"] {
        said(0, &dht(&nodes[0], &["put", "home", value, "--owned"]));
        assert_eq!(said(0, &dht(&nodes[2], &["get", "home", "--owner", &owner])), format!("{value}\n"));
    }
    said(0, &dht(&nodes[1], &["put", "home", "another", "--owned"]));
    assert_eq!(said(0, &dht(&nodes[2], &["get", "home", "--owner", &owner])), "second\n");
    assert_eq!(said(1, &dht(&nodes[2], &["get", "home"])), "");
}

#[test]
fn members_of_a_group_own_keys_under_their_addresses() {
    let groups = Groups::new();
    let authority = groups.authority("ca", "chess");
    let member = |user: &str, bootstraps: &[std::net::SocketAddr]| {
        let member = groups.member(&authority, user);
        let section = common::group::section(&member, &authority);
        groups.start(&section, bootstraps)
    };
    let first = member("ada", &[]);
    let second = member("ben", &[first.listen]);
    let nodes = [first, second];
    until_well_formed(&nodes);
    let owner = nodes[0].status().address.to_string();
    said(0, &dht(&nodes[0], &["put", "home", "here", "--owned"]));
    assert_eq!(said(0, &dht(&nodes[1], &["get", "home", "--owner", &owner])), "here\n");
}

#[test]
fn mistakes_are_named_with_a_hint_and_exit_with_two() {
    let node = Running::start(&[]);
    let wrong = |words: &[&str], why: &str, hint: &str| {
        let output = dht(&node, words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why) && said.contains(hint), "{said}");
    };
    wrong(
        &["put", "a", &"x".repeat(1025)],
        "error: VALUE: it has 1025 bytes",
        "hint: a value has at most 1024",
    );
    wrong(&["put", "a", &"x".repeat(900), "--owned"], "900 bytes", "under an owned key 832");
    wrong(&["put", "", "b"], "error: KEY: it has 0 bytes", "hint: a key has from 1");
    wrong(&["put", "a", "b", "--lease", "25 h"], "out of range (1 s to 24 h)", "hint: ");
    wrong(&["put", "a", "b", "--lease", "0 s"], "out of range (1 s to 24 h)", "hint: ");
    wrong(&["get", "a", "--owner", "zz"], "is no address", "hint: ");
    wrong(&["get", "a", "--overlay", "nowhere"], "no overlay is named `nowhere`", "hint: name one of");
}
