//! End-to-end senders: what one member sends to another, and who can read it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atoll_core::wire::Address;
use atoll_sim::Stop;
use atoll_topology::HostId;

use crate::town::Town;

const SECRET: &[u8] = b"only for the member at the other end";

fn town(security: &'static str) -> (Town, [Address; 2]) {
    let mut town = Town::new(30, "cones", 1).secured(security);
    town.start_all();
    town.completes_within(Duration::from_secs(60));
    let members = [HostId(3), HostId(20)].map(|host| town.member(host));
    (town, members)
}

/// Payloads that arrived, with the hosts at which they did and who sent them.
fn arrived(town: &mut Town, span: Duration) -> Vec<(HostId, Address, Vec<u8>)> {
    town.world.run_for(span).unwrap();
    let received = town.world.take_received();
    received.into_iter().map(|one| (one.host, one.author.address, one.payload)).collect()
}

#[test]
fn a_payload_arrives_once_with_its_proved_author_whatever_the_security() {
    for security in ["none", "modelled", "modelled-quic", "dtls", "quic"] {
        let (mut town, [one, other]) = town(security);
        town.world.send(HostId(3), (0, other), SECRET);
        let expected = vec![(HostId(20), one, SECRET.to_vec())];
        assert_eq!(arrived(&mut town, Duration::from_secs(5)), expected, "{security}");
        town.world.send(HostId(20), (0, one), b"back");
        let expected = vec![(HostId(3), other, b"back".to_vec())];
        assert_eq!(arrived(&mut town, Duration::from_secs(1)), expected, "{security}");
    }
}

#[test]
fn both_ends_may_begin_at_once() {
    let (mut town, [one, other]) = town("dtls");
    town.world.send(HostId(3), (0, other), b"from three");
    town.world.send(HostId(20), (0, one), b"from twenty");
    let mut arrived = arrived(&mut town, Duration::from_secs(5));
    arrived.sort();
    let expected = [(HostId(3), other, b"from twenty".to_vec()), (HostId(20), one, b"from three".to_vec())];
    assert_eq!(arrived, expected);
}

#[test]
fn no_datagram_shows_what_was_sent() {
    let (mut town, [_, other]) = town("dtls");
    let seen = Arc::new(Mutex::new((0, 0)));
    let count = Arc::clone(&seen);
    town.world.tap(Box::new(move |_, payload| {
        let mut count = count.lock().unwrap();
        count.0 += 1;
        count.1 += usize::from(payload.windows(SECRET.len()).any(|window| window == SECRET));
    }));
    for _ in 0..10 {
        town.world.send(HostId(3), (0, other), SECRET);
    }
    assert_eq!(arrived(&mut town, Duration::from_secs(5)).len(), 10);
    let (datagrams, plain) = *seen.lock().unwrap();
    assert!(datagrams > 20 && plain == 0, "{plain} of {datagrams}");
}

#[test]
fn a_peer_that_was_started_again_is_reached_again() {
    let (mut town, [_, other]) = town("dtls");
    town.world.send(HostId(3), (0, other), b"one");
    assert_eq!(arrived(&mut town, Duration::from_secs(5)).len(), 1);
    town.stop(HostId(20), Stop::Kill);
    town.restart(HostId(20));
    town.completes_within(Duration::from_secs(60));
    // The old association is found dead, and what is sent after that arrives.
    let mut late = Vec::new();
    for _ in 0..30 {
        town.world.send(HostId(3), (0, other), b"two");
        late.extend(arrived(&mut town, Duration::from_secs(1)));
    }
    assert!(late.len() > 10, "{late:?}");
}

#[test]
fn what_nobody_can_take_is_told() {
    let (mut town, [_, other]) = town("dtls");
    let nobody = Address::from_bytes([0x77; Address::LEN]);
    town.world.send(HostId(3), (0, nobody), SECRET);
    town.world.send(HostId(3), (0, other), &[0; 1400]);
    assert!(arrived(&mut town, Duration::from_secs(20)).is_empty());
    let told = town.not_sent(HostId(3));
    assert!(told.contains(&(other, "too_big".to_owned())), "{told:?}");
    assert!(told.contains(&(nobody, "no answer".to_owned())), "{told:?}");
}
