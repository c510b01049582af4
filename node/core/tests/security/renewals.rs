//! New keys in place of old ones, without a break.

use std::time::Duration;

use atoll_core::counters::DropReason;
use atoll_core::security::{ChannelId, Claim, Credentials, Down, Engine, Limits};

use crate::harness::{FINE, Town, Weather};
use crate::makers::{dtls, key, modelled};

fn by_time() -> Limits {
    Limits { renew_after: Duration::from_secs(60), ..Limits::default() }
}

fn by_volume() -> Limits {
    Limits { renew_records: 200, grace: Duration::from_millis(300), ..Limits::default() }
}

/// Sends numbered payloads both ways for a while; how many of each direction were opened.
fn exchange(town: &mut Town, channels: [ChannelId; 2], count: u32) -> [usize; 2] {
    for number in 0..count {
        for (end, channel) in channels.into_iter().enumerate() {
            assert!(town.send(end, channel, &number.to_be_bytes()), "{number} at end {end}");
        }
        town.run(Duration::from_millis(2));
    }
    town.run(Duration::from_secs(1));
    [1, 0].map(|end| town.ends[end].opened.len())
}

fn loses_nothing(engine: impl Fn(u8) -> Box<dyn Engine>) {
    let (mut town, channels) = Town::linked(engine);
    // Out of order, but nothing is lost on the way.
    town.weather = Weather { jitter: Duration::from_millis(15), ..FINE };
    assert_eq!(exchange(&mut town, channels, 3000), [3000, 3000]);
    let renewals = town.ends[0].renewed.len();
    assert!(renewals >= 5, "{renewals} renewals");
    assert_eq!(town.ends[1].renewed.len(), renewals);
    for end in &town.ends {
        assert!(end.drops(DropReason::NoKeys) + end.drops(DropReason::Forged) == 0, "{:?}", end.drops);
        assert!(end.down.is_empty());
    }
}

#[test]
fn a_renewal_by_volume_loses_no_record_of_dtls() {
    loses_nothing(|n| dtls(n, by_volume()));
}

#[test]
fn a_renewal_by_volume_loses_no_record_of_the_model() {
    loses_nothing(|n| modelled(n, by_volume()));
}

#[test]
fn an_idle_association_is_renewed_by_time_from_the_end_where_it_began() {
    let (mut town, channels) = Town::linked(|n| dtls(n, by_time()));
    let before = town.log.len();
    town.run(Duration::from_secs(70));
    assert_eq!((town.ends[0].renewed.len(), town.ends[1].renewed.len()), (1, 1));
    let renewal = &town.log[before..];
    let from: Vec<usize> = renewal.iter().filter(|one| one.is_handshake()).map(|one| one.from).collect();
    assert_eq!(from, [0, 1, 0, 1]);
    assert_eq!(renewal.len(), 6, "four flights and two empty records");
    assert_eq!(town.ends[0].renewed[0].1, town.ends[0].up[0].1);
    assert_eq!(exchange(&mut town, channels, 10), [10, 10]);
    town.run(Duration::from_secs(600));
    assert!(town.ends[1].renewed.len() >= 9 && town.ends[1].down.is_empty());
}

#[test]
fn many_renewals_go_round_the_phases_and_past_the_last_generation() {
    let (mut town, channels) = Town::linked(|n| modelled(n, by_time()));
    town.run(Duration::from_secs(60 * 300));
    assert!(town.ends[0].renewed.len() > 260);
    assert!(town.ends.iter().all(|end| end.down.is_empty()));
    assert_eq!(exchange(&mut town, channels, 10), [10, 10]);
}

#[test]
fn a_renewal_shows_neither_certificates_nor_can_a_stranger_begin_one() {
    let (mut town, channels) = Town::linked(|n| dtls(n, by_time()));
    let hello = town.log[0].clone();
    let before = town.log.len();
    town.run(Duration::from_secs(70));
    let certificate = b"atoll://address/";
    let renewal = &town.log[before..];
    assert!(renewal.iter().all(|one| !one.bytes.windows(16).any(|window| window == certificate)));
    // The first flight of the association, with what a renewal begins with in front.
    let mut forged = renewal.iter().find(|one| one.is_handshake()).unwrap().clone();
    forged.bytes = [&[4, 0, 0, 0, 1, 2, 0][..], &hello.bytes[29..]].concat();
    let sent = town.log.len();
    town.deliver(&forged);
    assert_eq!(town.log.len(), sent);
    assert_eq!(exchange(&mut town, channels, 10), [10, 10]);
}

#[test]
fn a_record_of_a_renewal_is_no_payload_and_a_payload_is_no_renewal() {
    let (mut town, channels) = Town::linked(|n| dtls(n, Limits::default()));
    let now = town.now;
    town.ends[0].engine.renew(channels[0], now);
    assert!(town.send(0, channels[0], b"payload"));
    let mut caught = town.intercept();
    let payload = caught.pop().unwrap();
    let renewal = caught.pop().unwrap();
    let mut swapped = [payload.clone(), renewal.clone()];
    swapped[0].header = renewal.header;
    swapped[0].bytes.insert(0, 4);
    swapped[1].header = payload.header;
    swapped[1].bytes.remove(0);
    swapped.iter().for_each(|datagram| town.deliver(datagram));
    assert_eq!((town.ends[1].drops(DropReason::Forged), town.ends[1].opened.len()), (2, 0));
    town.deliver(&payload);
    town.deliver(&renewal);
    town.run(Duration::from_secs(2));
    assert_eq!((town.ends[1].opened.len(), town.ends[1].renewed.len()), (1, 1));
}

#[test]
fn a_renewal_completes_over_a_bad_network() {
    for seed in 0..20 {
        let (mut town, channels) = Town::linked(|n| modelled(n, by_time()));
        let jitter = Duration::from_millis(30 + seed);
        town.weather = Weather { loss: 0.3, repeats: 0.1, jitter, ..FINE };
        town.run(Duration::from_secs(90));
        assert_eq!((town.ends[0].renewed.len(), town.ends[1].renewed.len()), (1, 1), "{jitter:?}");
        town.weather = FINE;
        assert_eq!(exchange(&mut town, channels, 10), [10, 10]);
    }
}

#[test]
fn both_ends_may_begin_at_once() {
    let limits = |n: u8| Limits { renew_records: if n == 0 { 150 } else { 100 }, ..by_volume() };
    let (mut town, channels) = Town::linked(|n| dtls(n, limits(n)));
    assert_eq!(exchange(&mut town, channels, 1000), [1000, 1000]);
    assert!(town.ends[0].renewed.len() >= 3 && town.ends.iter().all(|end| end.down.is_empty()));
}

#[test]
fn the_responder_begins_when_a_renewal_is_overdue() {
    let lazy = Limits { renew_after: Duration::from_secs(10_000), ..Limits::default() };
    let (mut town, channels) = Town::linked(|n| dtls(n, if n == 0 { lazy.clone() } else { by_time() }));
    town.run(Duration::from_secs(110));
    assert_eq!((town.ends[0].renewed.len(), town.ends[1].renewed.len()), (1, 1));
    assert_eq!(exchange(&mut town, channels, 10), [10, 10]);
}

#[test]
fn a_renewal_that_is_asked_for_shows_the_new_certificate() {
    for asks in [0, 1] {
        let (mut town, channels) = Town::linked(|n| dtls(n, Limits::default()));
        let fresh = Credentials::self_signed(key()).unwrap();
        town.ends[asks].engine.present(&fresh).unwrap();
        let now = town.now;
        town.ends[asks].engine.renew(channels[asks], now);
        town.run(Duration::from_secs(5));
        let claim = Claim::Certificate(fresh.certificate().to_der().unwrap());
        assert_eq!(town.ends[1 - asks].renewed, [(channels[1 - asks], claim)]);
        assert_eq!(exchange(&mut town, channels, 10), [10, 10]);
    }
}

#[test]
fn keys_that_cannot_be_renewed_end_the_association() {
    let (mut town, channels) = Town::linked(|n| dtls(n, by_time()));
    town.weather.loss = 1.0;
    town.run(Duration::from_secs(60));
    assert!(town.ends[0].down.is_empty());
    town.run(Duration::from_secs(120));
    assert_eq!(town.ends[0].down, [(channels[0], Down::Exhausted)]);
    assert_eq!(town.ends[1].down, [(channels[1], Down::Exhausted)]);
}
