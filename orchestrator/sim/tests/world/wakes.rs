//! One wake a host, never early, never lost.

use std::time::Duration;

use crate::puppet::{Cue, Log, at, open_world, play, silent, socket};
use atoll_core::{Input, Time};

#[test]
fn rearming_without_end_keeps_one_wake_a_host() {
    let mut world = open_world(2);
    let to = socket(&world, 1);
    play(&mut world, 0, move |cue, hands| {
        if !matches!(cue, Cue::Input(Input::Datagram { .. })) {
            hands.send(to, b"move your deadline");
            hands.wake_in(Duration::from_millis(1));
        }
    });
    let mut turn = 0;
    play(&mut world, 1, move |_, hands| {
        turn += 1;
        hands.wake_in(Duration::from_millis([100_000, 5, 50_000, 2][turn % 4]));
    });
    world.run_until(Time::from_secs(60)).unwrap();
    let counters = world.counters();
    assert_eq!(counters.datagrams, 60_001);
    assert!(counters.heap_max <= 51 + 2, "51 datagrams can be in flight, and two wakes: {counters:?}");
}

#[test]
fn a_deadline_that_moves_forward_is_met_at_the_new_time() {
    let mut world = open_world(2);
    let woken = Log::default();
    let (to, log) = (socket(&world, 1), woken.clone());
    play(&mut world, 1, move |cue, hands| match cue {
        Cue::Input(Input::LocalAddresses(_)) => hands.wake_in(Duration::from_secs(100)),
        Cue::Input(_) => hands.wake_in(Duration::from_millis(20)),
        Cue::Timeout => log.push(hands.now),
    });
    play(&mut world, 0, move |cue, hands| {
        if let Cue::Input(Input::LocalAddresses(_)) = cue {
            hands.send(to, b"hurry");
        }
    });
    world.run_until(Time::from_secs(200)).unwrap();
    assert_eq!(woken.take(), [at(70)]);
    assert_eq!(world.counters().skipped_wakes, 0);
}

#[test]
fn a_deadline_that_moves_back_is_met_at_the_new_time_only() {
    let mut world = open_world(2);
    let woken = Log::default();
    let (to, log) = (socket(&world, 1), woken.clone());
    play(&mut world, 1, move |cue, hands| match cue {
        Cue::Input(Input::LocalAddresses(_)) => hands.wake_in(Duration::from_millis(60)),
        Cue::Input(_) => hands.wake_in(Duration::from_millis(500)),
        Cue::Timeout => log.push(hands.now),
    });
    play(&mut world, 0, move |cue, hands| {
        if let Cue::Input(Input::LocalAddresses(_)) = cue {
            hands.send(to, b"take your time");
        }
    });
    world.run_until(Time::from_secs(2)).unwrap();
    assert_eq!(woken.take(), [at(550)]);
    let counters = world.counters();
    assert_eq!((counters.wakes, counters.skipped_wakes), (1, 1));
}

#[test]
fn a_deadline_that_is_withdrawn_is_not_met() {
    let mut world = open_world(2);
    let woken = Log::default();
    let (to, log) = (socket(&world, 1), woken.clone());
    play(&mut world, 1, move |cue, hands| match cue {
        Cue::Input(Input::LocalAddresses(_)) => hands.wake_in(Duration::from_millis(60)),
        Cue::Input(_) => hands.wake = None,
        Cue::Timeout => log.push(hands.now),
    });
    play(&mut world, 0, move |cue, hands| {
        if let Cue::Input(Input::LocalAddresses(_)) = cue {
            hands.send(to, b"never mind");
        }
    });
    world.run_until(Time::from_secs(2)).unwrap();
    assert_eq!(woken.take(), []);
    assert_eq!(world.step(), Ok(false));
}

#[test]
fn a_deadline_in_the_past_is_met_now() {
    let mut world = open_world(1);
    let woken = Log::default();
    let log = woken.clone();
    world.run_until(at(500)).unwrap();
    play(&mut world, 0, move |cue, hands| match cue {
        Cue::Timeout => log.push(hands.now),
        Cue::Input(_) => hands.wake = Some(at(20)),
    });
    world.run_until(at(500)).unwrap();
    assert_eq!(woken.take(), [at(500)]);
}

#[test]
fn a_machine_without_a_deadline_is_never_woken() {
    let mut world = open_world(1);
    play(&mut world, 0, silent);
    world.run_until(Time::from_secs(1000)).unwrap();
    assert_eq!(world.counters().events, 0);
}
