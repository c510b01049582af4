//! Handshakes over good and bad networks.

use std::time::Duration;

use atoll_core::counters::DropReason;
use atoll_core::security::{Claim, Credentials, Down, Engine, Intent, Limits, Unusable};
use atoll_core::wire::{DATAGRAM_MAX, LONG_LEN};

use crate::harness::{FINE, Header, Town, Weather};
use crate::makers::{Ca, Leaf, address, dtls, key, modelled, modelled_quic, plain, quic};

pub const BAD: Weather =
    Weather { loss: 0.3, repeats: 0.1, delay: Duration::from_millis(10), jitter: Duration::from_millis(60) };

fn token() -> Intent {
    Intent { target: None, token: Some(42) }
}

#[test]
fn without_loss_dtls_takes_six_flights_and_each_is_one_datagram() {
    let (town, _) = Town::linked(|n| dtls(n, Limits::default()));
    let flights = town.flights();
    assert_eq!(flights.len(), 6, "{flights:?}");
    assert_eq!(flights[1], 9, "the retry");
    assert_eq!(flights[0], flights[2], "a cookie changes no length");
    assert!(flights.iter().all(|len| len + LONG_LEN <= DATAGRAM_MAX), "{flights:?}");
    assert_eq!(town.now.as_secs_f64(), 2.0);
}

#[test]
fn a_token_counts_as_the_cookie_and_saves_a_round_trip() {
    let mut town = Town::pair(|n| dtls(n, Limits::default()));
    town.ends[1].tokens.insert(42);
    town.connect(0, 1, token());
    town.run(Duration::from_millis(79));
    assert!(town.ends[0].up.is_empty());
    town.run(Duration::from_millis(1));
    assert_eq!((town.ends[0].up.len(), town.ends[1].up.len(), town.flights().len()), (1, 1, 4));
}

#[test]
fn a_token_that_nobody_handed_out_is_worth_nothing() {
    let mut town = Town::pair(|n| dtls(n, Limits::default()));
    town.connect(0, 1, token());
    town.run(Duration::from_secs(1));
    assert_eq!((town.ends[0].up.len(), town.flights().len()), (1, 6));
}

#[test]
fn each_end_learns_the_certificate_of_the_other() {
    let credentials = [0, 1].map(|_| Credentials::self_signed(key()).unwrap());
    let engine = |n: u8| {
        let setting = crate::makers::setting(n, Limits::default());
        crate::makers::dtls_with(&credentials[usize::from(n)], setting, n)
    };
    let (town, _) = Town::linked(engine);
    for (n, end) in town.ends.iter().enumerate() {
        let other = credentials[1 - n].certificate().to_der().unwrap();
        assert_eq!(end.up[0].1, Claim::Certificate(other));
    }
}

fn all_complete(engine: fn(u8, Limits) -> Box<dyn Engine>, weather: Weather, count: usize) {
    let engines = vec![engine(0, Limits::default()), engine(1, Limits::default())];
    let mut town = Town::new(engines, weather, 7);
    for _ in 0..count {
        town.connect(0, 1, Intent { target: Some(address(1)), token: None });
        town.run(Duration::from_millis(100));
    }
    town.run(Duration::from_secs(30));
    let ups: Vec<usize> = town.ends.iter().map(|end| end.up.len()).collect();
    assert_eq!(ups, [count, count], "{:?}", town.ends[0].down);
    for (channel, _) in town.ends[0].up.clone() {
        assert!(town.send(0, channel, b"through"));
    }
    town.weather = FINE;
    town.run(Duration::from_secs(1));
    let opened = town.ends[1].opened.len();
    assert!(opened * 10 > count * 6, "{opened} of {count} records");
}

#[test]
fn three_hundred_of_three_hundred_dtls_handshakes_complete_at_thirty_percent_loss() {
    all_complete(dtls, BAD, 300);
}

#[test]
fn three_hundred_of_three_hundred_quic_handshakes_complete_at_thirty_percent_loss() {
    all_complete(quic, BAD, 300);
}

#[test]
fn three_hundred_of_three_hundred_modelled_handshakes_complete_at_thirty_percent_loss() {
    all_complete(modelled, BAD, 300);
    all_complete(modelled_quic, BAD, 300);
}

#[test]
fn three_hundred_of_three_hundred_plain_handshakes_complete_at_thirty_percent_loss() {
    all_complete(plain, BAD, 300);
}

/// A member whose certificate does not fit into one datagram, so that a flight overtakes itself.
fn long_dtls(n: u8, limits: Limits) -> Box<dyn Engine> {
    let key = key();
    let mut leaf = Leaf::new(&["atoll://group/g"]);
    leaf.names.extend((0..40).map(|number| format!("https://example.org/of-no-matter/{number:040}")));
    let credentials = Credentials::new(&Ca::new().sign(&key, &leaf), key).unwrap();
    crate::makers::dtls_with(&credentials, crate::makers::setting(n, limits), n)
}

#[test]
fn flights_of_several_datagrams_complete_when_they_are_lost_and_out_of_order() {
    let mut town = Town::pair(|n| long_dtls(n, Limits::default()));
    town.connect(0, 1, Intent::default());
    town.run(Duration::from_secs(1));
    assert!(town.flights().len() > 8 && town.flights().iter().all(|len| len + LONG_LEN <= DATAGRAM_MAX));
    all_complete(long_dtls, Weather { loss: 0.0, ..BAD }, 300);
    all_complete(long_dtls, Weather { loss: 0.15, ..BAD }, 300);
}

#[test]
fn reordering_without_loss_holds_no_handshake_up_for_long() {
    let weather = Weather { jitter: Duration::from_millis(20), ..FINE };
    for _ in 0..50 {
        let engines = vec![dtls(0, Limits::default()), dtls(1, Limits::default())];
        let mut town = Town::new(engines, weather, 3);
        town.connect(0, 1, Intent::default());
        town.run(Duration::from_millis(900));
        assert_eq!((town.ends[0].up.len(), town.ends[1].up.len()), (1, 1));
    }
}

#[test]
fn the_last_flight_is_said_again_to_a_peer_that_missed_it() {
    let mut town = Town::pair(|n| dtls(n, Limits::default()));
    town.connect(0, 1, Intent::default());
    while town.ends[1].up.is_empty() {
        town.run(Duration::from_millis(1));
    }
    assert_eq!(town.intercept().len(), 1, "the last flight");
    town.run(Duration::from_secs(1));
    assert_eq!(town.ends[0].up.len(), 1);
    assert!(town.flights().len() <= 8, "{:?}", town.flights());
}

#[test]
fn a_silent_peer_is_given_up_after_about_ten_seconds() {
    let mut town = Town::pair(|n| dtls(n, Limits::default()));
    town.weather.loss = 1.0;
    let channel = town.connect(0, 1, Intent::default());
    town.run(Duration::from_secs(8));
    assert!(town.ends[0].down.is_empty());
    town.run(Duration::from_secs(5));
    assert_eq!(town.ends[0].down, [(channel, Down::Silent)]);
    assert_eq!(town.flights().len(), 12);
}

#[test]
fn a_responder_gives_up_an_initiator_that_fell_silent() {
    let mut town = Town::pair(|n| dtls(n, Limits::default()));
    town.connect(0, 1, Intent::default());
    town.run(Duration::from_millis(70));
    town.weather.loss = 1.0;
    town.run(Duration::from_secs(30));
    assert_eq!(town.ends[1].down.len(), 1);
}

#[test]
fn a_hello_for_another_member_is_dropped() {
    let mut town = Town::pair(|n| dtls(n, Limits::default()));
    town.connect(0, 1, Intent { target: Some(address(9)), token: None });
    town.run(Duration::from_secs(1));
    assert!(town.ends[1].drops(DropReason::WrongMember) > 0 && town.ends[0].up.is_empty());
}

#[test]
fn a_forged_alert_ends_no_handshake_and_is_counted() {
    for victim in [0, 1] {
        let mut town = Town::pair(|n| dtls(n, Limits::default()));
        town.connect(0, 1, Intent::default());
        town.run(Duration::from_millis(90));
        let mut forged = town.log.iter().rfind(|one| one.to == victim && one.bytes[0] == 3).cloned();
        if victim == 1 {
            // The initiator has not answered yet: the ids are on its last hello and the first flight.
            let hello = town.log.iter().rfind(|one| one.to == 1).unwrap().clone();
            forged = Some(hello);
        }
        let mut forged = forged.unwrap();
        forged.bytes = [&[3][..], &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40]].concat();
        town.deliver(&forged);
        town.run(Duration::from_secs(1));
        assert_eq!(town.ends[victim].drops(DropReason::PlainAlert), 1);
        assert_eq!((town.ends[0].up.len(), town.ends[1].up.len()), (1, 1), "victim {victim}");
    }
}

#[test]
fn credentials_whose_halves_do_not_belong_together_are_refused() {
    let (a, b) = (Credentials::self_signed(key()).unwrap(), key());
    let stolen = a.certificate().to_der().unwrap();
    assert!(matches!(Credentials::new(&stolen, b), Err(Unusable::OtherKey)));
    let key = key();
    let signed = Ca::new().sign(&key, &Leaf::new(&["atoll://group/g"]));
    assert!(Credentials::new(&signed, key).is_ok());
}

#[test]
fn a_handshake_takes_a_bounded_number_of_datagrams() {
    let mut town = Town::pair(|n| dtls(n, Limits::default()));
    town.connect(0, 1, Intent::default());
    town.run(Duration::from_millis(70));
    let mut hello = town.log.iter().rfind(|one| one.to == 1).unwrap().clone();
    hello.bytes = vec![3; 600];
    assert!(matches!(hello.header, Header::Handshake { .. }));
    for _ in 0..200 {
        town.deliver(&hello);
    }
    assert!(town.ends[1].drops(DropReason::Full) > 0);
}
