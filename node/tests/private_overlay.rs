//! A group whose members know no bootstrap of it: real processes find each other through a public overlay.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::net::SocketAddr;

use atoll_core::control::{Command, Peer, Reply, State};
use common::group::{Groups, section, text};
use common::{Running, until};

/// A node in the public overlay and, behind it, in the private one that `section` describes.
fn start(groups: &Groups, name: &str, section: &str, bootstraps: &[SocketAddr]) -> Running {
    let file = groups.path(&format!("{name}.yaml"));
    let bootstraps: Vec<String> = bootstraps.iter().map(|address| format!("\"{address}\"")).collect();
    let overlays = format!(
        "overlays:\n  - {{name: public, bootstraps: [{}]}}\n  - {{name: chess, {section}}}\n",
        bootstraps.join(", ")
    );
    fs::write(&file, overlays).unwrap();
    Running::start_with(&["--listen", "127.0.0.1:0", "--config", text(&file)])
}

fn peers(node: &Running) -> Vec<Peer> {
    match node.command(&Command::Peers { overlay: "chess".to_owned() }) {
        Reply::Peers(peers) => peers,
        other => panic!("{other:?}"),
    }
}

/// Waits until these nodes know each other in the private overlay, and nobody else.
#[track_caller]
fn meet(nodes: &[&Running]) {
    until("the members of the group met", || {
        let met = |node: &&Running| {
            let Reply::Status(members) = node.command(&Command::Status) else { return false };
            members[1].state == State::Connected && peers(node).len() == nodes.len() - 1
        };
        nodes.iter().all(met).then_some(())
    });
}

#[test]
fn members_of_a_group_find_each_other_through_the_public_overlay_and_strangers_find_nobody() {
    let groups = Groups::new();
    let authority = groups.authority("ca", "chess");
    let group = |user: &str| format!("group: {{{}}}", section(&groups.member(&authority, user), &authority));
    let ann = start(&groups, "ann", &group("ann"), &[]);
    let bob = start(&groups, "bob", &group("bob"), &[ann.listen]);
    let eve = start(&groups, "eve", &group("eve"), &[ann.listen]);
    meet(&[&ann, &bob, &eve]);
    let mut users: Vec<_> = peers(&ann).into_iter().filter_map(|peer| peer.user).collect();
    users.sort();
    assert_eq!(users, ["bob", "eve"]);

    // A group of the same name and another secret.
    let other = groups.authority("other", "chess");
    let section = format!("group: {{{}}}", section(&groups.member(&other, "mal"), &other));
    let mal = start(&groups, "mal", &section, &[ann.listen]);
    until("the stranger looked", || {
        let Reply::Status(members) = mal.command(&Command::Status) else { return None };
        members[1].discovered
    });
    assert!(peers(&mal).is_empty());
    meet(&[&ann, &bob, &eve]);
}
