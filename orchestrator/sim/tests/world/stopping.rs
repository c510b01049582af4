//! How a host stops, and what is left of it.

use std::time::Duration;

use crate::puppet::{Cue, Hands, Log, at, echo, open_world, play, silent, socket};
use atoll_core::control::{Command, Reply};
use atoll_core::{Input, Output, Time};
use atoll_sim::{Fate, Stop, World};
use atoll_topology::HostId;

/// Sends a datagram every 10 ms.
fn ticker(world: &World, to: u32) -> impl FnMut(Cue, &mut Hands) + Send + 'static {
    let to = socket(world, to);
    move |cue, hands| {
        if matches!(cue, Cue::Timeout | Cue::Input(Input::LocalAddresses(_))) {
            hands.send(to, b"tick");
            hands.wake_in(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_killed_host_says_nothing_more_and_hears_nothing_more() {
    let mut world = open_world(2);
    let sent_by_dead = ticker(&world, 1);
    play(&mut world, 0, sent_by_dead);
    play(&mut world, 1, echo);
    world.run_until(at(200)).unwrap();
    world.stop(HostId(0), Stop::Kill);
    let (before, unclaimed) = (world.traffic(HostId(0)), world.counters().unclaimed);
    assert!(!world.is_running(HostId(0)));
    world.run_until(at(1000)).unwrap();
    assert_eq!(world.traffic(HostId(0)), before);
    assert!(world.counters().unclaimed > unclaimed, "echoes still come to the dead host");
    assert_eq!(world.step(), Ok(false));
}

#[test]
fn a_host_that_leaves_says_goodbye_and_is_gone_when_it_says_so() {
    let mut world = open_world(2);
    let goodbyes = Log::default();
    let (to, log) = (socket(&world, 1), goodbyes.clone());
    play(&mut world, 1, move |cue, hands| {
        if let Cue::Input(Input::Datagram { payload, .. }) = cue {
            log.push((hands.now, payload.to_vec()));
        }
    });
    let mut asked = None;
    play(&mut world, 0, move |cue, hands| match cue {
        Cue::Input(Input::Command { id, command: Command::Leave }) => {
            asked = Some(id);
            hands.send(to, b"goodbye");
            hands.wake_in(Duration::from_millis(300));
        }
        Cue::Timeout => {
            hands.send(to, b"goodbye again");
            hands.output(Output::Reply { id: asked.unwrap(), reply: Reply::Left });
        }
        _ => {}
    });
    world.stop(HostId(0), Stop::Leave);
    world.run_until(at(299)).unwrap();
    assert!(world.is_running(HostId(0)));
    world.run_until(at(300)).unwrap();
    assert!(!world.is_running(HostId(0)));
    world.run_until(at(1000)).unwrap();
    assert_eq!(goodbyes.take(), [(at(50), b"goodbye".to_vec()), (at(350), b"goodbye again".to_vec())]);
}

#[test]
fn a_host_that_never_says_that_it_left_is_gone_after_the_grace() {
    let mut world = open_world(2);
    let talks = ticker(&world, 1);
    play(&mut world, 0, talks);
    play(&mut world, 1, silent);
    world.run_until(at(100)).unwrap();
    world.stop(HostId(0), Stop::Leave);
    world.stop(HostId(0), Stop::Leave);
    world.run_until(at(2099)).unwrap();
    assert!(world.is_running(HostId(0)));
    world.run_until(at(2100)).unwrap();
    assert!(!world.is_running(HostId(0)));
}

#[test]
fn a_machine_that_claims_to_have_left_unasked_runs_on() {
    let mut world = open_world(1);
    play(&mut world, 0, |cue, hands| {
        if let Cue::Input(Input::Command { id, .. }) = cue {
            hands.output(Output::Reply { id, reply: Reply::Left });
        }
    });
    assert_eq!(world.command(HostId(0), Command::Leave), Reply::Left);
    assert!(world.is_running(HostId(0)));
}

#[test]
fn a_host_starts_again_with_another_seed_and_its_old_counters() {
    let mut world = open_world(2);
    let talks = ticker(&world, 1);
    let first = world.seed(HostId(0));
    play(&mut world, 0, talks);
    world.run_until(at(95)).unwrap();
    world.stop(HostId(0), Stop::Kill);
    let second = world.seed(HostId(0));
    assert_ne!(first, second);
    assert_ne!(world.seed(HostId(1)), first);
    let talks = ticker(&world, 1);
    play(&mut world, 0, talks);
    world.run_until(at(104)).unwrap();
    assert_eq!(world.traffic(HostId(0)).sent_datagrams, 10 + 1);
}

#[test]
fn starting_on_a_running_host_replaces_its_machine_and_its_wake() {
    let mut world = open_world(1);
    let log = Log::default();
    for name in ["old", "new"] {
        let woken = log.clone();
        play(&mut world, 0, move |cue, hands| match cue {
            Cue::Timeout => woken.push((name, hands.now)),
            Cue::Input(_) => hands.wake_in(Duration::from_millis(if name == "old" { 10 } else { 30 })),
        });
    }
    world.run_until(Time::from_secs(1)).unwrap();
    assert_eq!(log.take(), [("new", at(30))]);
}

#[test]
fn a_datagram_to_a_host_without_a_machine_or_to_another_port_is_unclaimed() {
    let mut world = open_world(3);
    let fates = Log::default();
    let log = fates.clone();
    world.observe(Box::new(move |seen| log.push((seen.sender, seen.fate))));
    let (nobody, mut wrong_port) = (socket(&world, 1), socket(&world, 2));
    wrong_port.set_port(9);
    play(&mut world, 2, silent);
    play(&mut world, 0, move |cue, hands| {
        if let Cue::Input(Input::LocalAddresses(_)) = cue {
            hands.send(nobody, b"anyone?");
            hands.send(wrong_port, b"anyone?");
        }
    });
    world.run_until(at(100)).unwrap();
    let expected = [1, 2].map(|host| (HostId(0), Fate::Unclaimed(HostId(host))));
    assert_eq!(fates.take(), expected);
    assert_eq!(world.counters().unclaimed, 2);
    assert_eq!(world.traffic(HostId(2)).received_datagrams, 0);
}
