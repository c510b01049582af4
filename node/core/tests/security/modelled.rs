//! The model against what it models.

use std::time::Duration;

use atoll_core::security::{Engine, GroupSecret, Intent, Limits, Modelled, Setting};
use atoll_core::{Pool, Time};

use crate::harness::{FINE, Town, Weather};
use crate::makers::{SECRET, dtls, modelled, rng, setting, wrapped_dtls};

type Make = fn(u8) -> Box<dyn Engine>;

/// Datagrams, bytes, and the time until both ends are up.
fn measure(make: impl Fn(u8) -> Box<dyn Engine>) -> (usize, usize, Duration) {
    let mut town = Town::pair(make);
    town.connect(0, 1, Intent::default());
    while town.ends.iter().any(|end| end.up.is_empty()) {
        town.run(Duration::from_millis(1));
    }
    let took = town.now.since(Time::ZERO);
    town.run(Duration::from_secs(5));
    (town.flights().len(), town.flights().iter().sum(), took)
}

fn wrapped_model(n: u8) -> Box<dyn Engine> {
    let setting = Setting { secret: Some(GroupSecret::new(SECRET)), ..setting(n, Limits::default()) };
    Box::new(Modelled::dtls(setting, Pool::new(), &rng(n), Time::ZERO))
}

#[test]
fn a_modelled_handshake_has_the_datagrams_round_trips_and_bytes_of_dtls() {
    let pairs: [(Make, Make); 2] =
        [(|n| modelled(n, Limits::default()), |n| dtls(n, Limits::default())), (wrapped_model, wrapped_dtls)];
    for (model, real) in pairs {
        let (model, real) = (measure(model), measure(real));
        assert_eq!((model.0, model.2), (real.0, real.2));
        assert!(model.1.abs_diff(real.1) <= 8, "{model:?} {real:?}");
    }
}

#[test]
fn a_modelled_renewal_has_them_too() {
    let renewal = |make: fn(u8, Limits) -> Box<dyn Engine>| {
        let limits = Limits { renew_after: Duration::from_secs(60), ..Limits::default() };
        let (mut town, _) = Town::linked(|n| make(n, limits.clone()));
        let before = town.log.len();
        town.run(Duration::from_secs(80));
        let sent: Vec<usize> = town.log[before..].iter().map(|one| one.bytes.len()).collect();
        (sent.len(), sent.iter().sum::<usize>())
    };
    let (model, real) = (renewal(modelled), renewal(dtls));
    assert_eq!(model.0, real.0);
    assert!(model.1.abs_diff(real.1) <= 8, "{model:?} {real:?}");
}

#[test]
fn a_modelled_record_has_the_overhead_of_dtls() {
    for make in [modelled, dtls] {
        let (mut town, channels) = Town::linked(|n| make(n, Limits::default()));
        assert!(town.send(0, channels[0], &[7; 100]));
        assert_eq!(town.log.last().unwrap().bytes.len(), 120);
        town.run(Duration::from_secs(1));
        assert_eq!(town.ends[1].opened, [[7; 100]]);
    }
}

#[test]
fn over_a_bad_network_the_model_costs_about_what_dtls_costs() {
    let weather = Weather { loss: 0.1, repeats: 0.0, jitter: Duration::from_millis(10), ..FINE };
    let cost = |make: fn(u8, Limits) -> Box<dyn Engine>| {
        let engines = vec![make(0, Limits::default()), make(1, Limits::default())];
        let mut town = Town::new(engines, weather, 5);
        (0..200).for_each(|_| {
            town.connect(0, 1, Intent::default());
            town.run(Duration::from_secs(5));
        });
        assert_eq!(town.ends[0].up.len(), 200);
        (town.flights().len() as f64, town.flights().iter().sum::<usize>() as f64)
    };
    let (model, real) = (cost(modelled), cost(dtls));
    assert!(
        (model.0 / real.0 - 1.0).abs() < 0.05 && (model.1 / real.1 - 1.0).abs() < 0.05,
        "{model:?} {real:?}"
    );
}
