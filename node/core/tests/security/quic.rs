//! Handshakes of QUIC: what they have of their own.

use std::time::Duration;

use atoll_core::Time;
use atoll_core::counters::DropReason;
use atoll_core::security::{
    Action, Admission, ChannelId, Claim, Credentials, Down, Engine, GroupSecret, HALF_OPEN_KNOWN_MAX,
    HALF_OPEN_MAX, Intent, Knock, Limits, QuicEngine, QuicOptions, Setting,
};
use atoll_core::wire::{DATAGRAM_MAX, LONG_LEN};

use crate::handshakes::BAD;
use crate::harness::{FINE, Header, Town, Weather};
use crate::makers::{SECRET, address, key, quic, quic_with, setting};

const NO_TOKEN: &dyn Fn(u64) -> bool = &|_| false;
const TOKEN: Intent = Intent { target: None, token: Some(42) };

pub fn classical(n: u8) -> Box<dyn Engine> {
    let credentials = Credentials::self_signed(key()).unwrap();
    let options = QuicOptions { post_quantum: false };
    Box::new(quic_with(&credentials, options, setting(n, Limits::default()), n))
}

pub fn hybrid(n: u8) -> Box<dyn Engine> {
    quic(n, Limits::default())
}

fn wrapped(n: u8) -> Box<dyn Engine> {
    let secret = Some(GroupSecret::new(SECRET));
    let setting = Setting { secret, ..setting(n, Limits::default()) };
    Box::new(quic_with(&Credentials::self_signed(key()).unwrap(), QuicOptions::default(), setting, n))
}

fn engine(n: u8) -> QuicEngine {
    let credentials = Credentials::self_signed(key()).unwrap();
    quic_with(&credentials, QuicOptions::default(), setting(n, Limits::default()), n)
}

#[test]
fn after_the_cookie_a_classical_handshake_takes_three_datagrams_and_a_hybrid_one_seven() {
    for (make, count) in [(classical as fn(u8) -> _, 3), (hybrid, 7)] {
        let (town, _) = Town::linked(make);
        let flights = town.flights();
        assert_eq!(flights[..2], [30, 9], "a bare hello and the retry");
        assert_eq!(flights.len(), 2 + count, "{flights:?}");
    }
}

#[test]
fn no_datagram_of_a_handshake_is_larger_than_every_edge_carries() {
    for make in [classical, hybrid, wrapped] {
        let (town, _) = Town::linked(make);
        assert!(town.flights().iter().all(|len| len + LONG_LEN <= DATAGRAM_MAX), "{:?}", town.flights());
        assert!(town.flights().iter().any(|len| *len >= 1200));
    }
}

#[test]
fn a_token_counts_as_the_cookie_and_saves_a_round_trip() {
    for (token, millis) in [(Some(42), 40), (None, 80)] {
        let mut town = Town::pair(classical);
        town.ends[1].tokens.insert(42);
        town.connect(0, 1, Intent { target: None, token });
        town.run(Duration::from_millis(millis - 1));
        assert!(town.ends[0].up.is_empty());
        town.run(Duration::from_millis(21));
        assert_eq!((town.ends[0].up.len(), town.ends[1].up.len()), (1, 1), "{token:?}");
    }
}

#[test]
fn a_token_that_nobody_handed_out_is_worth_nothing() {
    let mut town = Town::pair(hybrid);
    town.connect(0, 1, TOKEN);
    town.run(Duration::from_millis(120));
    assert_eq!((town.ends[0].up.len(), town.ends[1].up.len()), (1, 1));
}

#[test]
fn each_end_learns_the_certificate_of_the_other() {
    let credentials = [0, 1].map(|_| Credentials::self_signed(key()).unwrap());
    let (town, _) = Town::linked(|n| {
        let setting = setting(n, Limits::default());
        Box::new(quic_with(&credentials[usize::from(n)], QuicOptions::default(), setting, n))
    });
    for (n, end) in town.ends.iter().enumerate() {
        let other = credentials[1 - n].certificate().to_der().unwrap();
        assert_eq!(end.up[0].1, Claim::Certificate(other));
    }
}

#[test]
fn ends_of_which_only_one_is_post_quantum_come_together_without_another_round_trip() {
    for engines in [vec![classical(0), hybrid(1)], vec![hybrid(0), classical(1)]] {
        let mut town = Town::new(engines, FINE, 1);
        town.connect(0, 1, Intent::default());
        town.run(Duration::from_millis(100));
        assert_eq!((town.ends[0].up.len(), town.ends[1].up.len()), (1, 1));
    }
}

#[test]
fn a_hello_for_another_member_is_dropped() {
    for intent in [Intent::default(), TOKEN] {
        let mut town = Town::pair(hybrid);
        town.connect(0, 1, Intent { target: Some(address(9)), ..intent });
        town.run(Duration::from_secs(1));
        assert!(town.ends[1].drops(DropReason::WrongMember) > 0 && town.ends[0].up.is_empty());
    }
}

#[test]
fn two_that_call_each_other_at_once_get_two_associations() {
    let mut town = Town::new(vec![hybrid(0), hybrid(1)], BAD, 5);
    for (from, to) in [(0, 1), (1, 0)] {
        town.connect(from, to, Intent { target: Some(address(to as u8)), token: None });
    }
    town.run(Duration::from_secs(30));
    assert_eq!((town.ends[0].up.len(), town.ends[1].up.len()), (2, 2));
}

#[test]
fn reordering_without_loss_holds_no_handshake_up_for_long() {
    let weather = Weather { jitter: Duration::from_millis(20), ..FINE };
    for seed in 0..50 {
        let mut town = Town::new(vec![hybrid(0), hybrid(1)], weather, seed);
        town.connect(0, 1, Intent::default());
        town.run(Duration::from_millis(400));
        assert_eq!((town.ends[0].up.len(), town.ends[1].up.len()), (1, 1), "seed {seed}");
    }
}

#[test]
fn a_silent_peer_is_given_up_after_about_ten_seconds_with_or_without_a_token() {
    for intent in [Intent::default(), TOKEN] {
        let mut town = Town::pair(hybrid);
        town.weather.loss = 1.0;
        let channel = town.connect(0, 1, intent);
        town.run(Duration::from_secs(8));
        assert!(town.ends[0].down.is_empty());
        town.run(Duration::from_secs(5));
        assert_eq!(town.ends[0].down, [(channel, Down::Silent)]);
        assert!(town.flights().len() <= 14, "{:?}", town.flights());
        assert_eq!(town.ends[0].engine.poll_timeout(), None);
    }
}

#[test]
fn a_responder_gives_up_an_initiator_that_fell_silent() {
    let mut town = Town::pair(hybrid);
    town.connect(0, 1, Intent::default());
    town.run(Duration::from_millis(70));
    town.weather.loss = 1.0;
    town.run(Duration::from_secs(40));
    assert_eq!(town.ends[1].down.len(), 1);
    assert_eq!(town.ends[1].engine.poll_timeout(), None);
}

#[test]
fn the_same_seed_gives_the_same_times_and_sizes() {
    let credentials = [0, 1].map(|_| Credentials::self_signed(key()).unwrap());
    let trace = || {
        let engine = |n: u8| -> Box<dyn Engine> {
            let setting = setting(n, Limits::default());
            Box::new(quic_with(&credentials[usize::from(n)], QuicOptions::default(), setting, n))
        };
        let mut town = Town::new(vec![engine(0), engine(1)], BAD, 3);
        let mut trace = Vec::new();
        for round in 0..4000 {
            if round % 100 == 0 && round < 2000 {
                town.connect(0, 1, Intent::default());
            }
            for (channel, _) in town.ends[1].up.clone().iter().filter(|_| round % 250 == 0) {
                town.send(1, *channel, &[0; 300]);
            }
            town.run(Duration::from_millis(1));
            trace.extend(town.log.drain(..).map(|one| (round, one.from, one.header, one.bytes.len())));
        }
        assert!(town.ends[0].up.len() > 15);
        trace
    };
    let first = trace();
    assert!(first.len() > 500);
    for _ in 0..5 {
        assert!(trace() == first, "another trace");
    }
}

/// What ends no handshake of QUIC: version 0 asks for another version, and the others need keys or tokens.
fn forgeries() -> [Vec<u8>; 3] {
    let negotiation = [0xc0, 0, 0, 0, 0, 0, 0, 0x0a, 0x0a, 0x0a, 0x0a];
    let retry = [&[0xf0, 0, 0, 0, 1, 0, 0][..], &[7; 40]].concat();
    // A Handshake packet that nothing opens, and version negotiation behind it.
    let behind = [&[0xe0, 0, 0, 0, 1, 0, 0, 30][..], &[7; 30], &negotiation].concat();
    [negotiation.to_vec(), retry, behind]
}

#[test]
fn forged_negotiations_and_retries_end_no_handshake_and_are_counted() {
    for (victim, forged) in [0, 1].into_iter().flat_map(|victim| forgeries().map(|bytes| (victim, bytes))) {
        let mut town = Town::pair(hybrid);
        town.connect(0, 1, Intent::default());
        town.run(Duration::from_millis(if victim == 0 { 50 } else { 70 }));
        let mut last = town.log.iter().rfind(|one| one.to == victim).unwrap().clone();
        last.bytes = [&[3][..], &forged].concat();
        town.deliver(&last);
        assert_eq!(town.ends[victim].drops(DropReason::PlainAlert), 1);
        town.run(Duration::from_secs(1));
        assert_eq!((town.ends[0].up.len(), town.ends[1].up.len()), (1, 1), "victim {victim}: {forged:?}");
    }
}

#[test]
fn a_handshake_takes_a_bounded_number_of_datagrams() {
    let mut town = Town::pair(hybrid);
    town.connect(0, 1, Intent::default());
    town.run(Duration::from_millis(70));
    let mut hello = town.log.iter().rfind(|one| one.to == 1).unwrap().clone();
    hello.bytes = [&[3, 0xe0, 0, 0, 0, 1, 0, 0, 30][..], &[7; 30]].concat();
    for _ in 0..200 {
        town.deliver(&hello);
    }
    assert!(town.ends[1].drops(DropReason::Full) > 0);
}

#[test]
fn a_liar_cannot_keep_a_handshake_busy_with_retries() {
    let mut town = Town::pair(hybrid);
    town.connect(0, 1, TOKEN);
    let before = town.flights().len();
    let Header::Handshake { sender, .. } = town.log[0].header else { panic!("no hello") };
    for cookie in 1..100_u64 {
        let bytes = [&[2][..], &cookie.to_be_bytes()].concat();
        let header = Header::Handshake { sender: ChannelId(0), receiver: sender };
        town.deliver(&crate::harness::Datagram { from: 1, to: 0, header, bytes });
    }
    assert!(town.flights().len() <= before + 4);
}

/// First datagrams with something of QUIC in them, each for itself.
fn hellos(count: usize) -> Vec<Vec<u8>> {
    let mut engine = engine(0);
    let mut hellos = Vec::new();
    for n in 0..count {
        engine.connect(ChannelId(n as u32 + 1), TOKEN, Time::ZERO);
        let mut first = None;
        while let Some(action) = engine.poll() {
            if let Action::Handshake(_, bytes) = action {
                first.get_or_insert_with(|| bytes.to_vec());
            }
        }
        hellos.push(first.unwrap());
    }
    hellos
}

#[test]
fn a_hundred_thousand_strangers_leave_no_state() {
    let (mut engine, hello) = (engine(1), hellos(1).remove(0));
    for source in 0..100_000_u32 {
        let knock = Knock { source: &source.to_be_bytes(), datagram: &hello };
        let Admission::Answer(retry) = engine.admit(knock, NO_TOKEN, Time::ZERO) else { panic!("no retry") };
        assert!(retry.len() < 30);
    }
    assert_eq!((engine.count(), engine.poll_timeout()), (0, None));
}

#[test]
fn cookies_let_in_a_bounded_number_of_half_open_handshakes_and_tokens_more() {
    let mut engine = engine(1);
    let mut let_in = [0, 0];
    for (n, mut hello) in hellos(HALF_OPEN_KNOWN_MAX + 10).into_iter().enumerate() {
        let stranger = Knock { source: b"one", datagram: &hello };
        let Admission::Answer(retry) = engine.admit(stranger, NO_TOKEN, Time::ZERO) else {
            panic!("no retry")
        };
        hello[21..29].copy_from_slice(&retry[1..9]);
        let knock = Knock { source: b"one", datagram: &hello };
        let by_cookie = matches!(engine.admit(knock, NO_TOKEN, Time::ZERO), Admission::Accept);
        let by_token = matches!(engine.admit(knock, &|_| true, Time::ZERO), Admission::Accept);
        let_in[0] += usize::from(by_cookie);
        let_in[1] += usize::from(by_token);
        if by_cookie || by_token {
            engine.accept(ChannelId(n as u32 + 1), &hello, Time::ZERO);
            while engine.poll().is_some() {}
        }
    }
    assert_eq!(let_in, [HALF_OPEN_MAX, HALF_OPEN_KNOWN_MAX]);
    assert_eq!(engine.count(), HALF_OPEN_KNOWN_MAX);
}

#[test]
fn a_first_packet_that_is_none_makes_no_association() {
    let mut engine = engine(1);
    let hello = hellos(1).remove(0);
    let bare = [&hello[..29], &[0]].concat();
    let cut = hello[..600].to_vec();
    let mut changed = hello.clone();
    changed[200] ^= 1;
    for (n, bytes) in [bare, cut, changed].iter().enumerate() {
        let channel = ChannelId(n as u32);
        engine.accept(channel, bytes, Time::ZERO);
        assert!(matches!(engine.poll(), Some(Action::Down(down, Down::Failed)) if down == channel), "{n}");
        assert_eq!((engine.count(), engine.poll().is_some()), (0, false));
    }
}

#[test]
fn other_credentials_are_shown_in_the_handshakes_to_come() {
    let (mut town, _) = Town::linked(hybrid);
    let fresh = Credentials::self_signed(key()).unwrap();
    for n in [0, 1] {
        town.ends[n].engine.present(&fresh).unwrap();
    }
    town.connect(0, 1, Intent::default());
    town.run(Duration::from_secs(1));
    let expected = Claim::Certificate(fresh.certificate().to_der().unwrap());
    for end in &town.ends {
        assert!(end.up[0].1 != expected && end.up[1].1 == expected);
    }
}

#[test]
fn a_group_with_a_secret_gives_a_stranger_no_answer() {
    let mut town = Town::new(vec![hybrid(0), wrapped(1)], FINE, 1);
    town.connect(0, 1, Intent::default());
    town.run(Duration::from_secs(20));
    assert!(town.log.iter().all(|one| one.from == 0));
    assert_eq!(town.ends[1].drops(DropReason::Foreign), 12);
}

#[test]
fn what_is_forgotten_leaves_nothing_and_says_nothing() {
    let (mut town, channels) = Town::linked(hybrid);
    let before = town.log.len();
    town.ends[0].engine.forget(channels[0]);
    town.run(Duration::from_secs(60));
    assert!(!town.send(0, channels[0], b"x"));
    assert_eq!((town.log.len(), town.ends[0].engine.poll_timeout()), (before, None));
    let mut engine = engine(0);
    for round in 0..=255 {
        engine.connect(ChannelId(1), TOKEN, Time::from_secs(round));
        while engine.poll().is_some() {}
    }
    assert_eq!(engine.count(), 1, "the last one took the place of all before");
    engine.forget(ChannelId(1));
    assert_eq!((engine.count(), engine.poll_timeout()), (0, None));
}

#[test]
fn a_handshake_succeeds_in_each_of_hundreds_of_bad_networks() {
    for make in [classical, hybrid] {
        let mut times = Vec::new();
        for seed in 0..=255 {
            let mut town = Town::new(vec![make(0), make(1)], BAD, seed);
            town.connect(0, 1, Intent::default());
            while town.ends.iter().any(|end| end.up.is_empty()) {
                town.run(Duration::from_millis(5));
                assert!(town.now < Time::from_secs(30), "seed {seed}: {:?}", town.ends[1].down);
            }
            times.push(town.now);
        }
        times.sort();
        println!("median {}, 99 of 100 {}, longest {}", times[128], times[253], times[255]);
        assert!(times[128] < Time::from_nanos(1_500_000_000), "{}", times[128]);
    }
}

/// Datagrams of either end while the other says something after each of `rounds` waits.
fn datagrams_at_rest(wait: Duration, rounds: usize) -> usize {
    let (mut town, channels) = Town::linked(hybrid);
    town.run(Duration::from_secs(60));
    let before = town.log.len();
    for _ in 0..rounds {
        for n in [0, 1] {
            assert!(town.send(n, channels[n], b"ping"));
            town.run(Duration::from_millis(20));
        }
        town.run(wait);
    }
    assert_eq!((town.ends[0].opened.len(), town.ends[1].opened.len()), (rounds, rounds));
    town.log.len() - before
}

#[test]
fn an_acknowledgement_waits_for_the_next_ping() {
    for wait in [1, 25, 100] {
        assert_eq!(datagrams_at_rest(Duration::from_secs(wait), 20), 40, "{wait} s");
    }
}

#[test]
fn a_peer_that_only_listens_acknowledges_many_at_once() {
    let (mut town, channels) = Town::linked(hybrid);
    town.run(Duration::from_secs(60));
    let before = town.log.len();
    for n in 0..340 {
        assert!(town.send(0, channels[0], &[n as u8; 500]));
        town.run(Duration::from_millis(10));
    }
    let back = town.log[before..].iter().filter(|one| one.from == 1).count();
    assert!((15..=25).contains(&back), "{back}");
    assert_eq!(town.ends[1].opened.len(), 339);
}
