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
    start_behind(groups, name, &[("chess", section.to_owned())], bootstraps)
}

/// The same with any number of private overlays.
fn start_behind(
    groups: &Groups,
    name: &str,
    private: &[(&str, String)],
    bootstraps: &[SocketAddr],
) -> Running {
    let file = groups.path(&format!("{name}.yaml"));
    let bootstraps: Vec<String> = bootstraps.iter().map(|address| format!("\"{address}\"")).collect();
    let mut overlays = format!("overlays:\n  - {{name: public, bootstraps: [{}]}}\n", bootstraps.join(", "));
    for (name, section) in private {
        overlays += &format!("  - {{name: {name}, {section}}}\n");
    }
    fs::write(&file, overlays).unwrap();
    Running::start_with(&["--listen", "127.0.0.1:0", "--config", text(&file)])
}

fn peers(node: &Running) -> Vec<Peer> {
    peers_in(node, "chess")
}

fn peers_in(node: &Running, overlay: &str) -> Vec<Peer> {
    match node.command(&Command::Peers { overlay: overlay.to_owned() }) {
        Reply::Peers(peers) => peers,
        other => panic!("{other:?}"),
    }
}

/// Waits until these nodes know each other in the private overlay, and nobody else.
#[track_caller]
fn meet(nodes: &[&Running]) {
    meet_in("chess", nodes);
}

#[track_caller]
fn meet_in(overlay: &str, nodes: &[&Running]) {
    until("the members of the group met", || {
        let met = |node: &&Running| {
            let is_connected = node.status_in(overlay).is_some_and(|own| own.state == State::Connected);
            is_connected && peers_in(node, overlay).len() == nodes.len() - 1
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

/// The users of a node's peers in an overlay.
fn users(node: &Running, overlay: &str) -> Vec<String> {
    let mut users: Vec<_> = peers_in(node, overlay).into_iter().filter_map(|peer| peer.user).collect();
    users.sort();
    users
}

/// The values that a node finds under the key `opening` of an overlay.
fn openings(node: &Running, overlay: &str) -> Vec<String> {
    let (overlay, key) = (overlay.to_owned(), "opening".to_owned());
    match node.command(&Command::DhtGet { overlay, key, owner: None, after: None }) {
        Reply::DhtValues { values, complete: true, .. } => {
            values.into_iter().map(|value| String::from_utf8(value.value).unwrap()).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_groups_behind_one_public_overlay_do_not_mix_and_a_member_of_both_is_in_both_rings() {
    let groups = Groups::new();
    let of = |name: &'static str| {
        let authority = groups.authority(&format!("ca-{name}"), name);
        let groups = &groups;
        move |user: &str| {
            let section = section(&groups.member(&authority, user), &authority);
            (name, format!("group: {{{}}}", section.replacen("name: chess", &format!("name: {name}"), 1)))
        }
    };
    let (chess, go) = (of("chess"), of("go"));
    let ann = start_behind(&groups, "ann", &[chess("ann"), go("anna")], &[]);
    // The order is each member's own business.
    let ben = start_behind(&groups, "ben", &[go("benno"), chess("ben")], &[ann.listen]);
    let [bob, eve] = ["bob", "eve"].map(|user| start_behind(&groups, user, &[chess(user)], &[ann.listen]));
    let [cyd, dan] = ["cyd", "dan"].map(|user| start_behind(&groups, user, &[go(user)], &[ann.listen]));
    meet_in("chess", &[&ann, &ben, &bob, &eve]);
    meet_in("go", &[&ann, &ben, &cyd, &dan]);
    assert_eq!(users(&bob, "chess"), ["ann", "ben", "eve"]);
    assert_eq!(users(&cyd, "go"), ["anna", "benno", "dan"]);
    assert_eq!([users(&ann, "chess"), users(&ann, "go")], [["ben", "bob", "eve"], ["benno", "cyd", "dan"]]);

    for (node, overlay, value) in [(&bob, "chess", "e4"), (&cyd, "go", "tengen")] {
        let (overlay, key, value) = (overlay.to_owned(), "opening".to_owned(), value.into());
        let put = Command::DhtPut { overlay, key, value, lease_seconds: 600, owned: false };
        assert!(matches!(node.command(&put), Reply::DhtStored { .. }));
    }
    for (node, overlay) in [(&ann, "chess"), (&ben, "chess"), (&eve, "chess")] {
        assert_eq!(openings(node, overlay), ["e4"]);
    }
    for (node, overlay) in [(&ann, "go"), (&ben, "go"), (&dan, "go")] {
        assert_eq!(openings(node, overlay), ["tengen"]);
    }
    assert!(openings(&ann, "public").is_empty());
    // Whoever is in one group alone is no member of the other one.
    for (node, other) in [(&bob, "go"), (&cyd, "chess")] {
        let reply = node.command(&Command::Peers { overlay: other.to_owned() });
        assert!(matches!(reply, Reply::Failed { .. }), "{reply:?}");
        assert!(node.status_in(other).is_none());
    }
}
