//! A run that gets nowhere ends with a reason.

use std::time::Duration;

use crate::puppet::{Cue, Hands, at, open_world, play, settings, socket, world_with};
use atoll_core::{Input, Output, Time};
use atoll_sim::{Settings, StallLimits, Stalled};
use atoll_topology::HostId;

/// Wants to be woken at once, for ever.
fn spinner(_cue: Cue, hands: &mut Hands) {
    hands.wake = Some(hands.now);
}

#[test]
fn a_machine_that_is_due_at_once_for_ever_ends_the_run_by_name() {
    let mut world = world_with(2, "none", Settings { checked: false, ..settings() });
    world.run_until(at(300)).unwrap();
    play(&mut world, 1, spinner);
    let stalled = world.run_until(Time::from_secs(1)).unwrap_err();
    let wakes = StallLimits::default().wakes + 1;
    let (at, reason) = (at(300), "the puppet's wish");
    assert_eq!(stalled, Stalled::Spinning { at, host: HostId(1), reason, wakes });
    assert_eq!(
        stalled.to_string(),
        "host 1 spins at 0.300000 s: woken 65 times, now for \"the puppet's wish\", and its deadline is still not \
         later than now"
    );
    assert_eq!(world.now(), at);
    assert_eq!(world.run_until(Time::from_secs(1)), Err(stalled.clone()));
    assert_eq!(world.step(), Err(stalled));
}

#[test]
fn many_that_spin_together_are_found_as_fast_as_one() {
    let mut world = world_with(100, "none", Settings { checked: false, ..settings() });
    (0..100).for_each(|host| play(&mut world, host, spinner));
    let stalled = world.run_until(Time::from_secs(1)).unwrap_err();
    assert!(matches!(stalled, Stalled::Spinning { host: HostId(0), .. }), "{stalled}");
    assert!(world.events() <= 65 * 100, "{}", world.events());
}

#[test]
#[should_panic(expected = "law 4")]
fn a_checked_world_names_the_law_that_a_spinner_breaks() {
    let mut world = open_world(1);
    play(&mut world, 0, spinner);
    let _ = world.run_until(Time::from_secs(1));
}

#[test]
fn events_without_end_at_one_time_end_the_run_with_their_count() {
    let stall = StallLimits { events_per_host: 3, ..StallLimits::default() };
    let mut world = world_with(2, "none", Settings { stall, ..settings() });
    let to = socket(&world, 0);
    play(&mut world, 0, |_, hands| hands.wake_in(Duration::from_secs(9)));
    play(&mut world, 1, move |cue, hands| {
        if let Cue::Input(Input::LocalAddresses(_)) = cue {
            (0..193).for_each(|_| hands.send(to, b"all at once"));
        }
    });
    let stalled = world.run_until(Time::from_secs(1)).unwrap_err();
    let (at, reason) = (at(50), "the puppet's wish");
    assert_eq!(stalled, Stalled::Frozen { at, host: HostId(0), reason, events: 193 });
}

#[test]
fn events_at_one_time_within_the_limit_are_no_stall() {
    let stall = StallLimits { events_per_host: 3, ..StallLimits::default() };
    let mut world = world_with(2, "none", Settings { stall, ..settings() });
    let to = socket(&world, 0);
    play(&mut world, 1, move |cue, hands| {
        if !matches!(cue, Cue::Input(Input::Datagram { .. })) {
            (0..191).for_each(|_| hands.send(to, b"all at once"));
            hands.wake_in(Duration::from_millis(7));
        }
    });
    assert_eq!(world.run_until(Time::from_secs(1)), Ok(()));
}

#[test]
fn outputs_without_end_end_the_run_before_memory_does() {
    let mut world = open_world(1);
    struct Flood;
    impl atoll_core::Machine for Flood {
        fn handle_input(&mut self, _input: Input, _now: Time) {}
        fn handle_timeout(&mut self, _now: Time) {}
        fn poll_output(&mut self) -> Option<Output> {
            let reply = atoll_core::control::Reply::Left;
            Some(Output::Reply { id: atoll_core::RequestId(0), reply })
        }
        fn poll_timeout(&self) -> Option<atoll_core::Deadline> {
            None
        }
    }
    world.start(HostId(0), Box::new(Flood));
    let outputs = StallLimits::default().outputs + 1;
    let expected = Stalled::Flooding { at: Time::ZERO, host: HostId(0), outputs };
    assert_eq!(world.run_until(Time::from_secs(1)), Err(expected));
}

#[test]
fn a_long_rest_is_no_stall() {
    let mut world = open_world(1);
    play(&mut world, 0, |_, hands| hands.wake_in(Duration::from_secs(86_400)));
    assert_eq!(world.run_until(Time::from_secs(86_400 * 365)), Ok(()));
    assert_eq!(world.counters().wakes, 365);
}
