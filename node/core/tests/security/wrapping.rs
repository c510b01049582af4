//! Groups with a secret.

use std::time::Duration;

use atoll_core::counters::DropReason;
use atoll_core::security::{Admission, Credentials, Engine, GroupSecret, Intent, Knock, Limits, Setting};
use atoll_core::wire::{DATAGRAM_MAX, LONG_LEN};
use atoll_core::{Pool, Rng, Time};

use crate::harness::Town;
use crate::makers::{Ca, Leaf, SECRET, dtls, dtls_with, key, setting, wrapped_dtls};

fn member(ca: &Ca, n: u8) -> Box<dyn Engine> {
    let key = key();
    let names = ["atoll://group/chess-club", "atoll://user/alexandra"];
    let credentials = Credentials::new(&ca.sign(&key, &Leaf::new(&names)), key).unwrap();
    let secret = Some(GroupSecret::new(SECRET));
    dtls_with(&credentials, Setting { secret, ..setting(n, Limits::default()) }, n)
}

fn contains(town: &Town, text: &[u8]) -> bool {
    town.log.iter().any(|one| one.bytes.windows(text.len()).any(|window| window == text))
}

#[test]
fn no_datagram_of_a_wrapped_handshake_shows_a_name_or_a_certificate() {
    let ca = Ca::new();
    let mut town = Town::new(vec![member(&ca, 0), member(&ca, 1)], crate::harness::FINE, 1);
    town.connect(0, 1, Intent::default());
    town.run(Duration::from_secs(1));
    assert_eq!((town.ends[1].up.len(), town.flights().len()), (1, 6));
    let subject = b"authority";
    assert!(!contains(&town, b"chess-club") && !contains(&town, b"alexandra") && !contains(&town, subject));
    assert!(town.flights().iter().all(|len| len + LONG_LEN <= DATAGRAM_MAX));
}

#[test]
fn without_the_wrap_the_names_are_there_to_see() {
    let ca = Ca::new();
    let key = key();
    let leaf = ca.sign(&key, &Leaf::new(&["atoll://group/chess-club"]));
    let credentials = Credentials::new(&leaf, key).unwrap();
    let mut town = Town::pair(|n| dtls_with(&credentials, setting(n, Limits::default()), n));
    town.connect(0, 1, Intent::default());
    town.run(Duration::from_secs(1));
    assert!(contains(&town, b"chess-club"));
}

#[test]
fn a_stranger_hears_nothing_and_is_counted() {
    let strangers = [dtls as fn(u8, Limits) -> Box<dyn Engine>, |n, limits| {
        let secret = Some(GroupSecret::new([1; 32]));
        let credentials = Credentials::self_signed(key()).unwrap();
        dtls_with(&credentials, Setting { secret, ..setting(n, limits) }, n)
    }];
    for stranger in strangers {
        let mut town =
            Town::new(vec![stranger(0, Limits::default()), wrapped_dtls(1)], crate::harness::FINE, 1);
        town.connect(0, 1, Intent::default());
        town.run(Duration::from_secs(20));
        assert!(town.log.iter().all(|one| one.from == 0));
        assert_eq!(town.ends[1].drops(DropReason::Foreign), 12);
    }
}

#[test]
fn a_wrapped_hello_with_any_bit_changed_gets_no_answer() {
    let mut town = Town::pair(wrapped_dtls);
    town.connect(0, 1, Intent::default());
    let hello = town.log[0].bytes.clone();
    let mut engine = wrapped_dtls(1);
    for bit in 0..hello.len() * 8 {
        let mut changed = hello.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let knock = Knock { source: b"somebody", datagram: &changed };
        let verdict = engine.admit(knock, &|_| false, Time::ZERO);
        assert!(matches!(verdict, Admission::Drop(DropReason::Foreign)), "bit {bit}");
    }
}

#[test]
fn two_wraps_of_one_hello_have_nothing_in_common() {
    let mut town = Town::pair(wrapped_dtls);
    town.weather.loss = 1.0;
    town.connect(0, 1, Intent::default());
    town.run(Duration::from_secs(1));
    let [one, other, ..] = &town.log[..] else { panic!("a hello is sent again") };
    let same = one.bytes.iter().zip(&other.bytes).filter(|(a, b)| a == b).count();
    assert!(same < 20, "{same} bytes of {}", one.bytes.len());
}

#[test]
fn a_wrapped_model_is_as_silent() {
    let pool = Pool::new();
    let secret = Some(GroupSecret::new(SECRET));
    let setting = Setting { secret, ..setting(1, Limits::default()) };
    let mut engine = atoll_core::security::Modelled::dtls(setting, pool, &Rng::new([1; 32]), Time::ZERO);
    let knock = Knock { source: b"somebody", datagram: &[1; 200] };
    let verdict = engine.admit(knock, &|_| false, Time::ZERO);
    assert!(matches!(verdict, Admission::Drop(DropReason::Foreign)));
}
