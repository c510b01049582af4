//! What is counted, to the byte.

use std::net::SocketAddr;

use crate::puppet::{Cue, Log, at, echo, open_world, play, silent, socket};
use atoll_core::Input;
use atoll_sim::{Fate, Traffic};
use atoll_topology::HostId;

#[test]
fn bytes_count_ip_and_udp_headers_on_both_sides() {
    let mut world = open_world(2);
    let to = socket(&world, 1);
    play(&mut world, 1, echo);
    play(&mut world, 0, move |cue, hands| {
        if let Cue::Input(Input::LocalAddresses(_)) = cue {
            [0, 1, 100, 1400].into_iter().for_each(|size| hands.send(to, &vec![1; size]));
        }
    });
    world.run_until(at(50)).unwrap();
    let bytes = 4 * (20 + 8) + 1 + 100 + 1400;
    let sent = Traffic { sent_datagrams: 4, sent_bytes: bytes, ..Traffic::default() };
    assert_eq!(world.traffic(HostId(0)), sent);
    world.run_until(at(100)).unwrap();
    let both = Traffic { received_datagrams: 4, received_bytes: bytes, ..sent };
    assert_eq!((world.traffic(HostId(0)), world.traffic(HostId(1))), (both, both));
    let counters = world.counters();
    assert_eq!((counters.datagrams, counters.delivered, counters.drops.len()), (8, 8, 0));
}

#[test]
fn a_datagram_that_the_internet_loses_counts_as_sent_and_names_the_reason() {
    let mut world = open_world(1);
    let fates = Log::default();
    let log = fates.clone();
    world.observe(Box::new(move |seen| log.push((seen.time, seen.destination, seen.length, seen.fate))));
    let nowhere = SocketAddr::from(([198, 51, 100, 77], 5000));
    play(&mut world, 0, move |cue, hands| {
        if let Cue::Input(Input::LocalAddresses(_)) = cue {
            hands.send(nowhere, b"hello");
        }
    });
    world.run_until(at(100)).unwrap();
    let fate = Fate::Dropped(atoll_topology::DropReason::NoRoute);
    assert_eq!(fates.take(), [(at(0), nowhere, 33, fate)]);
    assert_eq!(world.traffic(HostId(0)).sent_bytes, 33);
    assert_eq!(world.counters().drops.into_iter().collect::<Vec<_>>(), [("no_route", 1)]);
}

#[test]
fn a_datagram_that_the_socket_refuses_is_not_sent() {
    let mut world = open_world(2);
    let (other_family, to) = (SocketAddr::from(([0; 8], 1)), socket(&world, 1));
    play(&mut world, 1, silent);
    play(&mut world, 0, move |cue, hands| {
        if let Cue::Input(Input::LocalAddresses(_)) = cue {
            hands.send(other_family, b"IPv6 from an IPv4 host");
            hands.send(to, &vec![0; 65_508]);
        }
    });
    world.run_until(at(100)).unwrap();
    assert_eq!(world.traffic(HostId(0)), Traffic::default());
    assert_eq!((world.counters().unsent, world.counters().datagrams), (2, 0));
}
