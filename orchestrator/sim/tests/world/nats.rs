//! Datagrams behind NATs: the unsolicited vanish, the punched arrive.

use std::net::SocketAddr;
use std::time::Duration;

use atoll_core::{Input, Output};
use atoll_sim::{Fate, World};
use atoll_topology::{Behind, DropReason, HostId, NewHost, OnUnsolicited, SiteId, preset};

use crate::puppet::{Cue, Hands, Log, at, open_world, play, socket};

const RENDEZVOUS: u32 = 0;
const STRANGER: u32 = 1;

/// A rendezvous and a stranger without NATs (hosts 0 and 1), and two homes behind `name` (hosts 2 and 3).
fn homes(name: &str) -> World {
    let mut world = open_world(2);
    for home in ["home-a", "home-b"] {
        let behind = Behind::Fresh(vec![preset(name).unwrap()]);
        world.add_host(NewHost { name: home.into(), site: SiteId(0), behind }).unwrap();
    }
    world
}

/// Tells each of two callers the address at which it sees the other.
fn rendezvous(met: &Log<SocketAddr>) -> impl FnMut(Cue, &mut Hands) + Send + 'static {
    let mut callers: Vec<SocketAddr> = Vec::new();
    let met = met.clone();
    move |cue, hands| {
        let Cue::Input(Input::Datagram { from, .. }) = cue else { return };
        let from = from.address();
        callers.push(from);
        met.push(from);
        if let [one, other] = callers[..] {
            hands.send(one, other.to_string().as_bytes());
            hands.send(other, one.to_string().as_bytes());
        }
    }
}

/// Calls the rendezvous, then sends to the address that it names, twice; logs what comes from elsewhere.
fn caller(rendezvous: SocketAddr, heard: &Log<Vec<u8>>) -> impl FnMut(Cue, &mut Hands) + Send + 'static {
    let mut peer = None;
    let heard = heard.clone();
    move |cue, hands| match cue {
        Cue::Input(Input::LocalAddresses(_)) => hands.send(rendezvous, b"where am I?"),
        Cue::Input(Input::Datagram { from, payload }) if from == rendezvous.into() => {
            let named: SocketAddr = String::from_utf8(payload.to_vec()).unwrap().parse().unwrap();
            peer = Some(named);
            hands.send(named, b"punch");
            hands.wake_in(Duration::from_millis(200));
        }
        Cue::Input(Input::Datagram { payload, .. }) => heard.push(payload.to_vec()),
        Cue::Input(_) => {}
        Cue::Timeout => hands.send(peer.unwrap(), b"through"),
    }
}

/// What a home hears when both punch.
fn punched(name: &str) -> Vec<Vec<u8>> {
    let mut world = homes(name);
    let (met, heard) = (Log::default(), Log::default());
    play(&mut world, RENDEZVOUS, rendezvous(&met));
    for home in [2, 3] {
        let calls = caller(socket(&world, RENDEZVOUS), &heard);
        play(&mut world, home, calls);
    }
    world.run_until(at(1000)).unwrap();
    heard.take()
}

#[test]
fn punched_datagrams_arrive_between_port_restricted_cones() {
    let heard = punched("port-restricted-cone");
    assert_eq!(heard.iter().filter(|payload| *payload == b"through").count(), 2, "{heard:?}");
}

#[test]
fn punched_datagrams_do_not_arrive_between_symmetric_nats() {
    assert_eq!(punched("symmetric"), Vec::<Vec<u8>>::new());
}

/// The fates of datagrams that the stranger sends to a home's mapped and private address.
fn unsolicited(world: &mut World) -> Vec<Fate> {
    let (met, fates) = (Log::default(), Log::default());
    play(world, RENDEZVOUS, rendezvous(&met));
    let calls = caller(socket(world, RENDEZVOUS), &Log::default());
    play(world, 2, calls);
    world.run_until(at(500)).unwrap();
    let mapped = met.take()[0];
    let private = socket(world, 2);
    assert_ne!(mapped.ip(), private.ip());
    let log = fates.clone();
    world.observe(Box::new(move |seen| {
        assert_eq!(seen.sender, HostId(STRANGER));
        log.push(seen.fate);
    }));
    play(world, STRANGER, move |cue, hands| match cue {
        Cue::Input(Input::LocalAddresses(_)) => {
            hands.send(mapped, b"let me in");
            hands.send(private, b"let me in");
        }
        Cue::Input(Input::Unreachable { to }) => {
            assert_eq!(to, mapped.into());
            hands.report(1);
        }
        _ => {}
    });
    world.run_until(at(1000)).unwrap();
    fates.take()
}

#[test]
fn an_unsolicited_datagram_vanishes_at_the_filter() {
    let mut world = homes("port-restricted-cone");
    let fates = unsolicited(&mut world);
    assert_eq!(fates, [Fate::Dropped(DropReason::NoRoute), Fate::Dropped(DropReason::Filtered)]);
    let drops: Vec<_> = world.counters().drops.into_iter().collect();
    assert_eq!(drops, [("filtered", 1), ("no_route", 1)]);
    assert!(world.take_events().is_empty(), "the NAT is silent");
}

#[test]
fn an_unsolicited_datagram_enters_a_full_cone_once_there_is_a_mapping() {
    let fates = unsolicited(&mut homes("full-cone"));
    assert_eq!(fates, [Fate::Dropped(DropReason::NoRoute), Fate::Delivered(HostId(2))]);
}

#[test]
fn a_nat_that_refuses_is_heard_by_the_sender() {
    let mut world = open_world(2);
    let mut gateway = preset("port-restricted-cone").unwrap();
    gateway.on_unsolicited = OnUnsolicited::Reset;
    let behind = Behind::Fresh(vec![gateway]);
    world.add_host(NewHost { name: "home".into(), site: SiteId(0), behind }).unwrap();
    let fates = unsolicited(&mut world);
    assert_eq!(fates, [Fate::Dropped(DropReason::NoRoute), Fate::Returned]);
    assert_eq!(world.take_events().len(), 1, "the sender heard that its datagram was refused");
}

#[test]
fn a_machine_behind_a_nat_is_told_its_private_address_and_answers_reach_it() {
    let mut world = homes("symmetric");
    let (told, answers) = (Log::default(), Log::default());
    play(&mut world, STRANGER, |cue, hands| {
        if let Cue::Input(Input::Datagram { from, payload }) = cue {
            hands.output(Output::Transmit { to: from, payload });
        }
    });
    let to = socket(&world, STRANGER);
    let (log, heard) = (told.clone(), answers.clone());
    play(&mut world, 3, move |cue, hands| match cue {
        Cue::Input(Input::LocalAddresses(addresses)) => {
            log.push(addresses);
            hands.send(to, b"hello");
        }
        Cue::Input(Input::Datagram { from, .. }) => heard.push((hands.now, from)),
        _ => {}
    });
    world.run_until(at(1000)).unwrap();
    assert_eq!(told.take(), [vec![socket(&world, 3)]]);
    assert_eq!(answers.take().len(), 1);
}
