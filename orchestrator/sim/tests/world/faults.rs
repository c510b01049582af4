//! The Internet changes under running machines.

use std::net::SocketAddr;
use std::time::Duration;

use atoll_core::Input;
use atoll_sim::World;
use atoll_topology::{Behind, Fault, HostId, SiteId, preset};

use crate::puppet::{Cue, Hands, Log, at, open_world, play, socket};

/// Sends to host 0 every 100 ms; logs the addresses that it is told.
fn caller(world: &World, told: &Log<Vec<SocketAddr>>) -> impl FnMut(Cue, &mut Hands) + Send + 'static {
    let (to, told) = (socket(world, 0), told.clone());
    move |cue, hands| {
        if let Cue::Input(Input::LocalAddresses(addresses)) = &cue {
            told.push(addresses.clone());
        }
        if matches!(cue, Cue::Timeout | Cue::Input(Input::LocalAddresses(_))) {
            hands.send(to, b"here I am");
            hands.wake_in(Duration::from_millis(100));
        }
    }
}

/// Logs who sends.
fn listener(heard: &Log<SocketAddr>) -> impl FnMut(Cue, &mut Hands) + Send + 'static {
    let heard = heard.clone();
    move |cue, _| {
        if let Cue::Input(Input::Datagram { from, .. }) = cue {
            heard.push(from.address());
        }
    }
}

#[test]
fn a_host_that_roams_is_told_its_new_address_and_sends_from_there() {
    let mut world = open_world(2);
    let (told, heard) = (Log::default(), Log::default());
    play(&mut world, 0, listener(&heard));
    let calls = caller(&world, &told);
    play(&mut world, 1, calls);
    world.run_until(at(250)).unwrap();
    let old = socket(&world, 1);
    assert_eq!((told.take(), heard.take()), (vec![vec![old]], vec![old; 3]));

    let behind = Behind::Fresh(vec![preset("port-restricted-cone").unwrap()]);
    let report = world.apply(&Fault::Roam { host: HostId(1), site: SiteId(0), behind });
    assert_eq!(report.hosts, 1);
    let new = socket(&world, 1);
    assert_ne!(new, old);
    world.run_until(at(1000)).unwrap();
    assert_eq!(told.take(), [vec![new]]);
    let seen = heard.take();
    assert!(!seen.is_empty() && seen.iter().all(|from| from.ip() != old.ip()), "{seen:?}");
}

#[test]
fn a_partition_cuts_hosts_off_until_it_heals() {
    let mut world = open_world(2);
    let (told, heard) = (Log::default(), Log::default());
    play(&mut world, 0, listener(&heard));
    let calls = caller(&world, &told);
    play(&mut world, 1, calls);
    world.run_until(at(149)).unwrap();
    assert_eq!(heard.take().len(), 1);
    let sides = [0, 1].map(|host| vec![world.internet().host(HostId(host)).site]);
    let report = world.apply(&Fault::Partition { name: "cut".into(), sides });
    assert_eq!(report.hosts, 2);
    world.run_until(at(549)).unwrap();
    assert_eq!(heard.take().len(), 1, "the datagram that was on its way");
    assert_eq!(world.counters().drops["partition"], 4);
    world.apply(&Fault::Heal { name: "cut".into() });
    world.run_until(at(1049)).unwrap();
    assert_eq!(heard.take().len(), 4);
}

#[test]
fn a_fault_is_part_of_the_trace() {
    let traces = [false, true].map(|cut| {
        let mut world = open_world(2);
        if cut {
            let sides = [vec![SiteId(0)], vec![SiteId(1)]];
            world.apply(&Fault::Partition { name: "cut".into(), sides });
        }
        world.run_until(at(100)).unwrap();
        world.trace_hash()
    });
    assert_ne!(traces[0], traces[1]);
}
