//! What is put is found, and for as long as its lease says.

use std::time::Duration;

use atoll_core::control::{Command, FailureKind, OwnerProof, Reply};
use atoll_core::dht::prove;
use atoll_core::security::{address_of, derived_key};
use atoll_core::wire::{Address, Key};
use atoll_topology::HostId;

use crate::ask::{HOUR, OVERLAY, put, put_owned, stored};
use crate::town::Town;

#[test]
fn what_one_of_fifty_members_puts_every_other_finds() {
    let mut town = Town::settled(50, "none", 1);
    for (writer, key) in [(0, "a"), (17, "b"), (42, "c")] {
        let lease = stored(&town.put(HostId(writer), (key, &format!("{key} by {writer}")), HOUR));
        assert!((3595.0..=3600.0).contains(&lease), "{lease}");
    }
    for reader in town.hosts() {
        for (writer, key) in [(0, "a"), (17, "b"), (42, "c")] {
            let found = town.get(reader, key);
            assert!(found.complete, "{reader:?} {found:?}");
            assert_eq!(found.texts(), [format!("{key} by {writer}")]);
        }
        let nothing = town.get(reader, "nothing");
        assert!(nothing.complete && nothing.values.is_empty());
    }
}

#[test]
fn members_behind_nats_use_it_too() {
    let mut town = Town::settled(50, "cones", 1);
    stored(&town.put(HostId(33), ("a", "1"), HOUR));
    for reader in [0, 12, 33, 49] {
        assert_eq!(town.get(HostId(reader), "a").texts(), ["1"]);
    }
}

#[test]
fn each_value_is_held_nine_times_and_not_more() {
    let mut town = Town::settled(50, "none", 1);
    stored(&town.put(HostId(3), ("a", "1"), HOUR));
    town.world.run_for(Duration::from_secs(300)).unwrap();
    let (root, copies) = held(&mut town);
    assert_eq!((root, copies), (3.0, 6.0));
}

/// Values held as root and as copy in the whole town.
pub(crate) fn held(town: &mut Town) -> (f64, f64) {
    let mut sum = |label| {
        let running: Vec<HostId> =
            town.hosts().into_iter().filter(|host| town.world.is_running(*host)).collect();
        running.into_iter().map(|host| town.metric(host, "atoll_dht_values", label)).sum::<f64>()
    };
    (sum("root"), sum("copy"))
}

#[test]
fn a_lease_ends_when_it_says_and_a_longer_one_is_cut_to_a_day() {
    let mut town = Town::settled(20, "none", 1);
    let lease = stored(&town.put(HostId(3), ("a", "1"), 20));
    assert!(lease <= 20.0);
    town.world.run_for(Duration::from_secs_f64(lease - 2.0)).unwrap();
    assert_eq!(town.get(HostId(9), "a").texts(), ["1"]);
    town.world.run_for(Duration::from_secs(3)).unwrap();
    let found = town.get(HostId(9), "a");
    assert!(found.complete && found.values.is_empty(), "{found:?}");
    assert_eq!(held(&mut town), (0.0, 0.0));
    assert_eq!(stored(&town.put(HostId(3), ("b", "1"), 1_000_000)), 86_400.0);
}

#[test]
fn a_value_that_is_put_again_lives_longer_and_stands_there_once() {
    let mut town = Town::settled(20, "none", 1);
    for _ in 0..5 {
        stored(&town.put(HostId(3), ("a", "1"), 20));
        town.world.run_for(Duration::from_secs(15)).unwrap();
    }
    let found = town.get(HostId(9), "a");
    assert_eq!(found.texts(), ["1"]);
    assert!(found.values[0].lease_seconds <= 5.0, "{found:?}");
}

#[test]
fn a_value_has_at_most_a_thousand_and_twenty_four_bytes() {
    let mut town = Town::settled(50, "none", 1);
    let longest = "x".repeat(1024);
    stored(&town.put(HostId(3), ("a", &longest), HOUR));
    assert_eq!(town.get(HostId(30), "a").texts(), std::slice::from_ref(&longest));
    let reply = town.put(HostId(3), ("b", &(longest + "x")), HOUR);
    assert!(matches!(reply, Reply::Failed { .. }), "{reply:?}");
}

#[test]
fn five_hundred_values_under_one_key_are_read_page_by_page() {
    let mut town = Town::settled(50, "none", 1);
    let value = |number: usize| format!("value {number:03}");
    let all: Vec<String> = (0..500).map(value).collect();
    for number in 0..500 {
        let host = HostId((number % 50) as u32);
        town.world.request(host, put("many", &value(number), HOUR));
        if number % 25 == 0 {
            town.world.run_for(Duration::from_millis(500)).unwrap();
        }
    }
    town.world.run_for(Duration::from_secs(20)).unwrap();
    let found = town.get(HostId(7), "many");
    assert!(found.complete && found.pages > 5, "{} pages", found.pages);
    assert_eq!(found.texts(), all);
}

#[test]
fn values_put_between_two_pages_neither_hide_nor_repeat_others() {
    use atoll_core::control::Command;
    let mut town = Town::settled(20, "none", 1);
    for number in 0..60 {
        town.world.request(HostId(number % 20), put("many", &format!("old value number {number}"), HOUR));
    }
    town.world.run_for(Duration::from_secs(10)).unwrap();
    let mut after = None;
    let mut seen = Vec::new();
    for turn in 0.. {
        let get = Command::DhtGet { overlay: "public".into(), key: "many".into(), owner: None, after };
        let Reply::DhtValues { values, next, .. } = town.ask(HostId(7), get) else { panic!("no page") };
        seen.extend(values.into_iter().map(|value| String::from_utf8(value.value).unwrap()));
        stored(&town.put(HostId(turn % 20), ("many", &format!("new value number {turn}")), HOUR));
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let mut old: Vec<&String> = seen.iter().filter(|value| value.starts_with("old")).collect();
    assert_eq!(old.len(), 60);
    old.sort();
    old.dedup();
    assert_eq!(old.len(), 60);
}

#[test]
fn only_the_owner_puts_under_an_owned_key_and_the_newest_value_counts() {
    for security in ["dtls", "quic"] {
        let mut town = Town::new(20, "none", 1).secured(security).settle();
        let owner = town.member(HostId(4));
        for value in ["first", "second"] {
            let reply = town.ask(HostId(4), put_owned("home", value, HOUR));
            stored(&reply);
            let found = town.get_of(HostId(9), "home", Some(owner));
            assert!(found.complete, "{found:?}");
            assert_eq!(found.texts(), [value]);
        }
        let longest = "x".repeat(832);
        stored(&town.ask(HostId(4), put_owned("home", &longest, HOUR)));
        assert_eq!(town.get_of(HostId(9), "home", Some(owner)).texts(), [longest]);
        assert!(town.get(HostId(9), "home").values.is_empty(), "the text alone is another key");
        stored(&town.put(HostId(5), ("home", "not mine"), HOUR));
        assert_eq!(town.get_of(HostId(9), "home", Some(owner)).values.len(), 1);
        let other = town.member(HostId(5));
        assert!(town.get_of(HostId(9), "home", Some(other)).values.is_empty());
    }
}

#[test]
fn a_member_without_a_key_owns_none() {
    let mut town = Town::settled(5, "none", 1);
    let reply = town.ask(HostId(1), put_owned("home", "1", HOUR));
    assert!(matches!(reply, Reply::Failed { .. }), "{reply:?}");
}

#[test]
fn the_first_member_alone_serves_itself() {
    let mut town = Town::new(3, "none", 1);
    town.start(HostId(0));
    town.world.run_for(Duration::from_secs(5)).unwrap();
    stored(&town.put(HostId(0), ("a", "1"), HOUR));
    assert_eq!(town.get(HostId(0), "a").texts(), ["1"]);
    for host in [1, 2] {
        town.start(HostId(host));
        town.world.run_for(Duration::from_secs(15)).unwrap();
        assert_eq!(town.get(HostId(host), "a").texts(), ["1"]);
    }
    assert_eq!(held(&mut town).0 + held(&mut town).1, 3.0);
}

#[test]
fn a_member_that_only_has_its_bootstrap_yet_puts_and_gets() {
    let mut town = Town::settled(50, "none", 1);
    stored(&town.put(HostId(3), ("a", "1"), HOUR));
    let host = HostId(20);
    town.stop(host, atoll_sim::Stop::Kill);
    town.completes_within(Duration::from_secs(30));
    town.restart(host);
    // Two round trips: the handshake with its bootstrap is done, its place is not found.
    town.world.run_for(Duration::from_millis(420)).unwrap();
    let Reply::Status(status) = town.world.command(host, Command::Status) else { panic!() };
    assert_eq!(status[0].state, atoll_core::control::State::Joining);
    let put = town.world.request(host, put("b", "2", HOUR));
    assert_eq!(town.get(host, "a").texts(), ["1"]);
    stored(&town.answer(put).1);
    assert_eq!(town.get(HostId(9), "b").texts(), ["2"]);
}

/// What the owner of a key says, who is no member here, and how a member puts it.
pub(crate) fn said(seed: u8, value: &str, sequence: u64) -> (Address, Command) {
    let key = derived_key([seed; 32], "owner").unwrap();
    let owner = address_of(&key).unwrap();
    let proof = prove(&key, &Key::owned(owner, "home"), value.as_bytes(), (sequence, 600_000)).unwrap();
    let (public, signature, lease_millis) = (proof.public, proof.signature, proof.lease);
    let proof = OwnerProof { public, sequence, lease_millis, signature };
    let (overlay, key, value) = (OVERLAY.to_owned(), "home".to_owned(), value.as_bytes().to_vec());
    (owner, Command::DhtPutProved { overlay, key, value, proof })
}

#[test]
fn the_word_of_an_owner_who_is_no_member_is_put_by_any_and_no_older_or_forged_one_replaces_it() {
    let mut town = Town::settled(20, "none", 1);
    let (owner, first) = said(1, "first", 7);
    assert_eq!(stored(&town.ask(HostId(3), first.clone())), 600.0);
    let (_, second) = said(1, "second", 9);
    stored(&town.ask(HostId(5), second));
    let refused = |reply: Reply| match reply {
        Reply::Failed { kind: FailureKind::Refused, why } => why,
        other => panic!("{other:?}"),
    };
    assert!(refused(town.ask(HostId(3), first)).contains("newer"));
    let (_, mut forged) = said(1, "third", 11);
    let Command::DhtPutProved { value, .. } = &mut forged else { unreachable!() };
    *value = b"forged".to_vec();
    refused(town.ask(HostId(3), forged));
    // Another owner's word is under a key of its own.
    let (stranger, other) = said(2, "elsewhere", 99);
    stored(&town.ask(HostId(3), other));
    for reader in [0, 5, 19] {
        assert_eq!(town.get_of(HostId(reader), "home", Some(owner)).texts(), ["second"]);
        assert_eq!(town.get_of(HostId(reader), "home", Some(stranger)).texts(), ["elsewhere"]);
    }
    // What is no key at all owns nothing.
    let (_, mut none) = said(1, "none", 12);
    let Command::DhtPutProved { proof, .. } = &mut none else { unreachable!() };
    proof.public = vec![1, 2, 3];
    refused(town.ask(HostId(3), none));
}
