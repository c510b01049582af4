//! Machines that panic.

use std::time::Duration;

use atoll_core::{Deadline, Input, Machine, Output, Time};
use atoll_sim::{Crash, Settings, World};
use atoll_topology::HostId;

use crate::puppet::{Cue, Hands, at, echo, open_world, play, settings, socket, world_with};

/// Panics at its first timeout, 30 ms after its start.
fn crasher() -> impl FnMut(Cue, &mut Hands) + Send + 'static {
    |cue, hands| match cue {
        Cue::Timeout => panic!("a table is {}", "upside down"),
        Cue::Input(_) => hands.wake_in(Duration::from_millis(30)),
    }
}

fn contained(hosts: usize) -> World {
    world_with(hosts, "none", Settings { contain_crashes: true, ..settings() })
}

#[test]
#[should_panic(expected = "a table is upside down")]
fn a_panic_ends_the_run_unless_it_is_contained() {
    let mut world = open_world(1);
    play(&mut world, 0, crasher());
    let _ = world.run_until(at(100));
}

#[test]
fn a_contained_panic_ends_its_host_and_not_the_others() {
    let mut world = contained(3);
    let to = socket(&world, 2);
    play(&mut world, 0, crasher());
    play(&mut world, 2, echo);
    play(&mut world, 1, move |_, hands| {
        hands.send(to, b"still here");
        hands.wake_in(Duration::from_millis(40));
    });
    world.run_until(at(1000)).unwrap();
    let crash = Crash { time: at(30), host: HostId(0), why: "a table is upside down".into() };
    assert_eq!(world.crashes(), [crash]);
    assert!(!world.is_running(HostId(0)) && world.is_running(HostId(1)));
    assert!(world.traffic(HostId(1)).received_datagrams > 20);
}

#[test]
fn a_broken_law_is_a_contained_panic_too() {
    let mut world = contained(1);
    play(&mut world, 0, |_, hands| hands.wake = Some(hands.now));
    world.run_until(at(1000)).unwrap();
    assert!(world.crashes()[0].why.starts_with("law 4"), "{:?}", world.crashes());
}

#[test]
fn a_host_starts_again_after_a_crash() {
    let mut world = contained(1);
    for _ in 0..2 {
        play(&mut world, 0, crasher());
        world.run_for(Duration::from_millis(50)).unwrap();
    }
    let times: Vec<Time> = world.crashes().iter().map(|crash| crash.time).collect();
    assert_eq!(times, [at(30), at(80)]);
    play(&mut world, 0, echo);
    assert!(world.is_running(HostId(0)));
}

/// Panics when it is asked for its deadline for the third time.
struct Undecided(std::cell::Cell<u32>);

impl Machine for Undecided {
    fn handle_input(&mut self, _input: Input, _now: Time) {}

    fn handle_timeout(&mut self, _now: Time) {}

    fn poll_output(&mut self) -> Option<Output> {
        None
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.0.set(self.0.get() + 1);
        assert!(self.0.get() < 3, "cannot decide");
        Some(Deadline { at: at(10), reason: "deciding" })
    }
}

#[test]
fn a_panic_about_a_deadline_is_contained() {
    let mut world = contained(1);
    world.start(HostId(0), Box::new(Undecided(std::cell::Cell::new(0))));
    world.run_until(at(100)).unwrap();
    assert_eq!(world.crashes().len(), 1);
    assert!(!world.is_running(HostId(0)));
}
