//! Rings whose edges are secured.

use std::time::Duration;

use atoll_sim::Stop;
use atoll_topology::HostId;

use crate::town::Town;

fn run(security: &'static str) -> (Duration, u64) {
    drawn(security, 3)
}

fn drawn(security: &'static str, seed: u8) -> (Duration, u64) {
    let mut town = Town::new(60, "cones", seed).secured(security);
    town.start_all();
    let time = town.completes_within(Duration::from_secs(60));
    town.world.run_for(Duration::from_secs(30)).unwrap();
    (time, town.world.trace_hash())
}

#[test]
fn a_ring_of_real_handshakes_forms_and_repeats_itself() {
    for security in ["dtls", "quic"] {
        let (first, again) = (run(security), run(security));
        assert_eq!(first, again, "{security}");
        assert!(first.0 < Duration::from_secs(8), "{security}: {:?}", first.0);
    }
}

#[test]
fn modelled_security_takes_as_long_as_the_real_one() {
    for (real, model) in [("dtls", "modelled"), ("quic", "modelled-quic")] {
        // Keys draw the addresses, so that the two rings differ; of several the sums are alike.
        let sum = |security| (1..=6).map(|seed| drawn(security, seed).0.as_secs_f64()).sum::<f64>();
        let (real, modelled) = (sum(real), sum(model));
        assert!((0.85..1.15).contains(&(modelled / real)), "{model}: {modelled} s and {real} s");
    }
}

#[test]
fn a_secured_ring_heals() {
    let mut town = Town::new(60, "cones", 1).secured("dtls");
    town.start_all();
    town.completes_within(Duration::from_secs(60));
    town.world.run_for(Duration::from_secs(60)).unwrap();
    town.stop(HostId(33), Stop::Kill);
    town.completes_within(Duration::from_secs(20));
}
