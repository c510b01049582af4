//! The model against what it models.

use std::time::Duration;

use atoll_core::security::{Engine, GroupSecret, Intent, Limits, Modelled, Setting};
use atoll_core::{Pool, Time};

use crate::harness::{FINE, Town, Weather};
use crate::makers::{SECRET, dtls, modelled, modelled_quic, quic, rng, setting, wrapped_dtls};

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

/// Sizes of all datagrams until a round trip after both ends are up, and when each end was. Nothing else is said by then.
fn rehearse(make: fn(u8, Limits) -> Box<dyn Engine>, intent: Intent) -> (Vec<usize>, [Duration; 2]) {
    let mut town = Town::pair(|n| make(n, Limits::default()));
    town.ends[1].tokens.insert(42);
    town.connect(0, 1, intent);
    let mut up = [None; 2];
    while up.contains(&None) {
        town.run(Duration::from_millis(1));
        let took = town.now.since(Time::ZERO);
        for (up, end) in up.iter_mut().zip(&town.ends).filter(|(_, end)| !end.up.is_empty()) {
            up.get_or_insert((took, end.up.len()));
        }
    }
    town.run(2 * FINE.delay);
    (town.log.iter().map(|one| one.bytes.len()).collect(), up.map(|up| up.unwrap().0))
}

#[test]
fn a_modelled_handshake_of_quic_has_its_datagrams_round_trips_and_bytes() {
    for token in [None, Some(42)] {
        let intent = Intent { target: None, token };
        let ((model, modelled_up), (real, real_up)) =
            (rehearse(modelled_quic, intent), rehearse(quic, intent));
        assert_eq!((model.len(), modelled_up), (real.len(), real_up), "{model:?} {real:?}");
        let (model_sum, real_sum): (usize, usize) = (model.iter().sum(), real.iter().sum());
        assert!(model_sum.abs_diff(real_sum) <= 8, "{model:?} {real:?}");
    }
}

#[test]
fn a_modelled_record_of_quic_has_its_overhead_with_an_acknowledgement() {
    let cost = |make: fn(u8, Limits) -> Box<dyn Engine>| -> usize {
        let (mut town, channels) = Town::linked(|n| make(n, Limits::default()));
        let before = town.log.len();
        for _ in 0..20 {
            for n in [0, 1] {
                assert!(town.send(n, channels[n], &[7; 100]));
                town.run(FINE.delay);
            }
            town.run(Duration::from_secs(25));
        }
        assert_eq!((town.ends[0].opened.len(), town.ends[1].opened.len()), (20, 20));
        town.log[before..].iter().map(|one| one.bytes.len()).sum()
    };
    let (model, real) = (cost(modelled_quic), cost(quic));
    assert!(model.abs_diff(real) <= real / 50, "{model} {real}");
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
fn over_a_bad_network_the_model_of_quic_takes_about_as_long() {
    let weather = Weather { loss: 0.1, repeats: 0.0, jitter: Duration::from_millis(10), ..FINE };
    let seconds = |make: fn(u8, Limits) -> Box<dyn Engine>| -> f64 {
        let mut town = Town::new(vec![make(0, Limits::default()), make(1, Limits::default())], weather, 5);
        let mut total = 0.0;
        for n in 1..=200 {
            let began = town.now;
            town.connect(0, 1, Intent::default());
            while town.ends[0].up.len() < n {
                town.run(Duration::from_millis(1));
            }
            total += town.now.since(began).as_secs_f64();
            town.run(Duration::from_secs(5));
        }
        total / 200.0
    };
    let (model, real) = (seconds(modelled_quic), seconds(quic));
    assert!((0.7..1.3).contains(&(model / real)), "{model} s and {real} s");
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
