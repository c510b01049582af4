//! The same seed gives the same run: in one process, in another, on another thread.

use std::process::Command;
use std::time::Duration;

use crate::puppet::{Cue, play, settings, socket, world_with};
use atoll_core::{Input, Rng};
use atoll_sim::{Settings, Stop, World};
use atoll_topology::HostId;

const HOSTS: u32 = 40;

/// Chatter with random others at random times; some die and some start again.
fn run(seed: u8) -> World {
    let mut world = world_with(HOSTS as usize, "cones", Settings { seed: [seed; 32], ..settings() });
    for turn in 0..5 {
        for host in 0..HOSTS {
            start(&mut world, host);
        }
        world.run_for(Duration::from_secs(2)).unwrap();
        (0..HOSTS).filter(|host| host % 5 == turn).for_each(|host| world.stop(HostId(host), Stop::Kill));
        world.run_for(Duration::from_secs(1)).unwrap();
    }
    world
}

fn start(world: &mut World, host: u32) {
    if world.is_running(HostId(host)) {
        return;
    }
    let mut rng = Rng::new(world.seed(HostId(host)));
    let everyone: Vec<_> = (0..HOSTS).map(|other| socket(world, other)).collect();
    play(world, host, move |cue, hands| match cue {
        Cue::Input(Input::Datagram { from, payload }) if payload.len() > 8 => hands.send(from, &payload[..8]),
        Cue::Input(Input::LocalAddresses(_)) | Cue::Timeout => {
            let mut payload = vec![0; rng.below(200)];
            rng.fill(&mut payload);
            hands.send(everyone[rng.below(everyone.len())], &payload);
            hands.wake_in(rng.jitter(Duration::from_millis(50), 0.9));
        }
        Cue::Input(_) => {}
    });
}

#[test]
fn one_seed_gives_one_trace_and_one_set_of_counters() {
    let (one, other) = (run(1), run(1));
    assert_eq!(one.trace_hash(), other.trace_hash());
    assert_eq!(one.counters(), other.counters());
    assert!(one.counters().delivered > 1000, "{:?}", one.counters());
}

#[test]
fn another_seed_gives_another_trace() {
    let traces: std::collections::BTreeSet<u64> = (1..6).map(|seed| run(seed).trace_hash()).collect();
    assert_eq!(traces.len(), 5);
}

#[test]
fn worlds_on_several_threads_do_not_disturb_each_other() {
    let alone: Vec<u64> = (1..4).map(|seed| run(seed).trace_hash()).collect();
    let threads: Vec<_> = (1..4).map(|seed| std::thread::spawn(move || run(seed))).collect();
    let together: Vec<u64> = threads.into_iter().map(|thread| thread.join().unwrap().trace_hash()).collect();
    assert_eq!(alone, together);
}

const CHILD: &str = "ATOLL_SIM_TRACE_CHILD";

/// Runs itself twice as a child, once with a heap that lies elsewhere.
#[test]
fn one_seed_gives_one_trace_in_every_process() {
    if std::env::var_os(CHILD).is_some() {
        println!("trace {:016x}", run(1).trace_hash());
        return;
    }
    let child = |shift: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "determinism::one_seed_gives_one_trace_in_every_process", "--nocapture"]);
        let output = command.env(CHILD, shift).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.split("trace ").nth(1));
        line.unwrap_or_else(|| panic!("no trace in {text}")).trim().to_owned()
    };
    let here = format!("{:016x}", run(1).trace_hash());
    let _shifted: Vec<u8> = vec![1; 1_000_003];
    assert_eq!((child("one"), child("another, with a longer environment")), (here.clone(), here));
}

#[test]
fn a_changed_payload_changes_the_trace() {
    let traces = [b"a", b"b"].map(|payload| {
        let mut world = world_with(2, "none", settings());
        let to = socket(&world, 1);
        play(&mut world, 0, move |cue, hands| {
            if let Cue::Input(Input::LocalAddresses(_)) = cue {
                hands.send(to, payload);
            }
        });
        world.run_for(Duration::from_secs(1)).unwrap();
        world.trace_hash()
    });
    assert_ne!(traces[0], traces[1]);
}
