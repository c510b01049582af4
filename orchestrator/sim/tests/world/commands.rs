//! Asking machines, and hearing what they report.

use std::time::Duration;

use crate::puppet::{Cue, Hands, Log, at, open_world, play, silent};
use atoll_core::control::{Command, EventKind, FailureKind, Reply};
use atoll_core::{Input, Output};
use atoll_sim::{EVENTS_MAX, Events};
use atoll_topology::HostId;

/// Answers `Status` at once, anything else 20 ms later.
fn clerk() -> impl FnMut(Cue, &mut Hands) + Send + 'static {
    let mut waiting = Vec::new();
    move |cue, hands| match cue {
        Cue::Input(Input::Command { id, command: Command::Status }) => {
            hands.output(Output::Reply { id, reply: Reply::Status(vec![]) });
        }
        Cue::Input(Input::Command { id, .. }) => {
            waiting.push(id);
            hands.wake_in(Duration::from_millis(20));
        }
        Cue::Input(_) => {}
        Cue::Timeout => {
            for id in waiting.drain(..) {
                hands.output(Output::Reply { id, reply: Reply::Ping { seconds: 0.02, hops: 1 } });
            }
        }
    }
}

#[test]
fn a_command_is_answered_at_once_and_takes_no_time() {
    let mut world = open_world(2);
    play(&mut world, 0, clerk());
    world.run_until(at(5)).unwrap();
    assert_eq!(world.command(HostId(0), Command::Status), Reply::Status(vec![]));
    assert_eq!(world.now(), at(5));
    let kind = |reply| match reply {
        Reply::Failed { kind, .. } => Some(kind),
        _ => None,
    };
    let (late, nobody) =
        (world.command(HostId(0), Command::Metrics), world.command(HostId(1), Command::Status));
    assert_eq!((kind(late), kind(nobody)), (Some(FailureKind::NoAnswer), Some(FailureKind::NotRunning)));
}

#[test]
fn a_request_is_answered_when_the_answer_comes() {
    let mut world = open_world(1);
    play(&mut world, 0, clerk());
    let first = world.request(HostId(0), Command::Metrics);
    let second = world.request(HostId(0), Command::Metrics);
    assert_eq!(world.take_reply(first), None);
    world.run_until(at(100)).unwrap();
    let reply = Reply::Ping { seconds: 0.02, hops: 1 };
    assert_eq!(world.take_reply(second), Some((at(20), reply.clone())));
    assert_eq!(world.take_reply(first), Some((at(20), reply)));
    assert_eq!(world.take_reply(first), None);
}

/// Reports one event for each input and each 10 ms.
fn reporter() -> impl FnMut(Cue, &mut Hands) + Send + 'static {
    let mut count = 0;
    move |_, hands| {
        count += 1;
        hands.report(count);
        hands.wake_in(Duration::from_millis(10));
    }
}

fn attempts(kind: &EventKind) -> u32 {
    match kind {
        EventKind::BootstrapSilent { attempts, .. } => *attempts,
        other => panic!("{other:?}"),
    }
}

#[test]
fn events_are_kept_with_time_and_host_until_taken() {
    let mut world = open_world(2);
    play(&mut world, 0, silent);
    play(&mut world, 1, reporter());
    world.run_until(at(20)).unwrap();
    let taken: Vec<_> =
        world.take_events().iter().map(|(time, host, e)| (*time, host.0, attempts(&e.kind))).collect();
    assert_eq!(taken, [(at(0), 1, 1), (at(10), 1, 2), (at(20), 1, 3)]);
    assert!(world.take_events().is_empty());
    world.send_events(Events::Off);
    world.run_until(at(50)).unwrap();
    assert!(world.take_events().is_empty());
}

#[test]
fn a_listener_hears_events_as_they_happen() {
    let mut world = open_world(1);
    let heard = Log::default();
    let log = heard.clone();
    world.send_events(Events::Call(Box::new(move |time, host, event| {
        log.push((time, host, attempts(&event.kind)));
    })));
    play(&mut world, 0, reporter());
    world.run_until(at(10)).unwrap();
    assert_eq!(heard.take(), [(at(0), HostId(0), 1), (at(10), HostId(0), 2)]);
    assert!(world.take_events().is_empty());
}

#[test]
fn events_that_do_not_fit_are_counted_and_the_oldest_stay() {
    let mut world = open_world(1);
    play(&mut world, 0, |cue, hands| {
        if let Cue::Input(Input::Command { .. }) = cue {
            (0..100_000).for_each(|number| hands.report(number));
        }
    });
    for _ in 0..11 {
        world.command(HostId(0), Command::Metrics);
    }
    let kept = world.take_events();
    assert_eq!(kept.len(), EVENTS_MAX);
    assert_eq!(attempts(&kept[0].2.kind), 0);
    assert_eq!(world.counters().events_lost, 11 * 100_000 - EVENTS_MAX as u64);
}
