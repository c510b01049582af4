//! What happens when, and what happens first.

use std::time::Duration;

use crate::puppet::{Cue, Hands, Log, ONE_WAY, at, echo, open_world, play, socket};
use atoll_core::Input;

#[test]
fn datagrams_that_arrive_together_arrive_in_the_order_sent() {
    let mut world = open_world(3);
    let (log, heard) = (Log::default(), Log::default());
    let hears = heard.clone();
    play(&mut world, 0, move |cue, hands| {
        if let Cue::Input(Input::Datagram { payload, .. }) = cue {
            hears.push((hands.now, payload.to_vec()));
        }
    });
    let to = socket(&world, 0);
    for host in [2, 1] {
        let sent = log.clone();
        play(&mut world, host, move |cue, hands| {
            if let Cue::Input(Input::LocalAddresses(_)) = cue {
                for number in 0..20 {
                    hands.send(to, &[host as u8, number]);
                    sent.push(vec![host as u8, number]);
                }
            }
        });
    }
    world.run_until(at(100)).unwrap();
    let sent: Vec<_> = log.take().into_iter().map(|payload| (at(50), payload)).collect();
    assert_eq!(heard.take(), sent);
}

#[test]
fn a_wake_and_a_datagram_at_one_time_come_in_the_order_scheduled() {
    for (wakes_first, expected) in [(true, ["wake", "datagram"]), (false, ["datagram", "wake"])] {
        let mut world = open_world(2);
        let log = Log::default();
        let to = socket(&world, 0);
        let hears = log.clone();
        let listener = move |cue, hands: &mut Hands| match cue {
            Cue::Input(Input::LocalAddresses(_)) => hands.wake_in(ONE_WAY),
            Cue::Input(Input::Datagram { .. }) => hears.push("datagram"),
            Cue::Input(_) => {}
            Cue::Timeout => hears.push("wake"),
        };
        let sender = move |cue, hands: &mut Hands| {
            if let Cue::Input(Input::LocalAddresses(_)) = cue {
                hands.send(to, b"now");
            }
        };
        if wakes_first {
            play(&mut world, 0, listener);
            play(&mut world, 1, sender);
        } else {
            play(&mut world, 1, sender);
            play(&mut world, 0, listener);
        }
        world.run_until(at(50)).unwrap();
        assert_eq!(log.take(), expected);
    }
}

#[test]
fn a_run_ends_at_its_time_with_everything_done_that_is_due_at_it() {
    let mut world = open_world(2);
    let log = Log::default();
    let hears = log.clone();
    play(&mut world, 0, echo);
    let to = socket(&world, 0);
    play(&mut world, 1, move |cue, hands| match cue {
        Cue::Input(Input::LocalAddresses(_)) => hands.send(to, b"ping"),
        Cue::Input(Input::Datagram { from, .. }) => hears.push((hands.now, from.address())),
        _ => {}
    });
    world.run_until(at(99)).unwrap();
    assert_eq!((world.now(), log.take()), (at(99), vec![]));
    world.run_until(at(100)).unwrap();
    assert_eq!((world.now(), log.take()), (at(100), vec![(at(100), to)]));
    world.run_for(Duration::from_secs(3600)).unwrap();
    assert_eq!(world.now(), at(3_600_100));
}

#[test]
fn time_never_falls() {
    let mut world = open_world(1);
    world.run_until(at(70)).unwrap();
    world.run_until(at(20)).unwrap();
    assert_eq!(world.now(), at(70));
}

#[test]
fn a_predicate_ends_a_run_at_the_event_that_makes_it_false() {
    let mut world = open_world(1);
    play(&mut world, 0, |cue, hands| {
        if !matches!(cue, Cue::Input(Input::Datagram { .. })) {
            hands.wake_in(Duration::from_millis(10));
        }
    });
    assert_eq!(world.run_while(at(1000), |world| world.events() < 5), Ok(true));
    assert_eq!((world.now(), world.events()), (at(50), 5));
    assert_eq!(world.run_while(at(95), |_| true), Ok(false));
    assert_eq!((world.now(), world.events()), (at(95), 9));
    assert_eq!(world.step(), Ok(true));
    assert_eq!(world.now(), at(100));
}
