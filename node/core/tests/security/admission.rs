//! Who is let in, and at what cost.

use std::time::Duration;

use atoll_core::counters::DropReason;
use atoll_core::security::{Admission, ChannelId, Dtls, Engine, HALF_OPEN_MAX, Intent, Knock, Limits};
use atoll_core::{Pool, Time};

use crate::harness::Town;
use crate::makers::{dtls, key, rng, setting};

const NO_TOKEN: &dyn Fn(u64) -> bool = &|_| false;

fn filter(n: u8) -> atoll_core::security::Filter<Dtls> {
    let credentials = atoll_core::security::Credentials::self_signed(key()).unwrap();
    Dtls::engine(&credentials, setting(n, Limits::default()), Pool::new(), &rng(n), Time::ZERO).unwrap()
}

fn hello() -> Vec<u8> {
    let mut town = Town::pair(|n| dtls(n, Limits::default()));
    town.connect(0, 1, Intent::default());
    town.log[0].bytes.clone()
}

#[test]
fn a_hundred_thousand_strangers_leave_no_state_and_an_honest_one_gets_in() {
    let (mut engine, hello) = (filter(1), hello());
    let answer = |engine: &mut dyn Engine, source: u32, hello: &[u8]| {
        let source = source.to_be_bytes();
        engine.admit(Knock { source: &source, datagram: hello }, NO_TOKEN, Time::ZERO)
    };
    for source in 0..100_000 {
        let Admission::Answer(retry) = answer(&mut engine, source, &hello) else { panic!("no retry") };
        assert!(retry.len() < hello.len());
        if source != 50_000 {
            continue;
        }
        let mut honest = hello.clone();
        honest[21..29].copy_from_slice(&retry[1..9]);
        assert!(matches!(answer(&mut engine, source, &honest), Admission::Accept));
        assert!(matches!(answer(&mut engine, source + 1, &honest), Admission::Answer(_)), "a stolen cookie");
        engine.accept(ChannelId(1), &honest, Time::ZERO);
    }
    assert_eq!(engine.count(), 1);
}

#[test]
fn cookies_let_in_a_bounded_number_of_half_open_handshakes_and_tokens_more() {
    let (mut engine, mut hello) = (filter(1), hello());
    let Admission::Answer(retry) =
        engine.admit(Knock { source: b"one", datagram: &hello }, NO_TOKEN, Time::ZERO)
    else {
        panic!("no retry")
    };
    hello[21..29].copy_from_slice(&retry[1..9]);
    let mut let_in = 0;
    while let Admission::Accept =
        engine.admit(Knock { source: b"one", datagram: &hello }, NO_TOKEN, Time::ZERO)
    {
        let_in += 1;
        engine.accept(ChannelId(let_in), &hello, Time::ZERO);
    }
    assert_eq!(let_in as usize, HALF_OPEN_MAX);
    let full = engine.admit(Knock { source: b"one", datagram: &hello }, NO_TOKEN, Time::ZERO);
    assert!(matches!(full, Admission::Drop(DropReason::Full)));
    let known = engine.admit(Knock { source: b"two", datagram: &hello }, &|_| true, Time::ZERO);
    assert!(matches!(known, Admission::Accept));
}

#[test]
fn a_liar_cannot_keep_a_handshake_busy_with_retries() {
    let mut town = Town::pair(|n| dtls(n, Limits::default()));
    town.connect(0, 1, Intent::default());
    town.run(Duration::from_millis(30));
    let retry = town.log.iter().find(|one| one.from == 1).unwrap().clone();
    let before = town.flights().len();
    for _ in 0..100 {
        town.deliver(&retry);
    }
    assert!(town.flights().len() <= before + 2);
}
