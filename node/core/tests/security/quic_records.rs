//! Records of QUIC under attack: each drop is counted, and the association goes on.

use std::time::Duration;

use atoll_core::counters::DropReason;
use atoll_core::security::{ChannelId, Down, Intent, Limits, SendError};
use atoll_core::wire::{DATAGRAM_MAX, SHORT_LEN};

use crate::harness::{Datagram, Header, Town, Weather};
use crate::makers::quic;
use crate::quic::{classical, hybrid};

/// How far behind the newest record quinn knows whether one came before.
const WINDOW: usize = 128;

fn linked() -> (Town, [ChannelId; 2]) {
    Town::linked(hybrid)
}

/// The records of these payloads, caught on their way from end 0 to end 1.
fn catch(town: &mut Town, channel: ChannelId, payloads: &[&[u8]]) -> Vec<Datagram> {
    for payload in payloads {
        assert!(town.send(0, channel, payload));
    }
    town.intercept()
}

#[track_caller]
fn goes_on(town: &mut Town, channels: [ChannelId; 2]) {
    for end in [0, 1] {
        town.ends[1 - end].opened.clear();
        assert!(town.send(end, channels[end], b"still here"));
        town.run(Duration::from_millis(100));
        assert_eq!(town.ends[1 - end].opened, [b"still here"]);
    }
}

#[test]
fn sealing_adds_no_more_than_is_said_and_shows_nothing() {
    let (mut town, channels) = linked();
    town.run(Duration::from_secs(5));
    for len in [7, 63, 64, 1000, town.ends[0].engine.payload_max()] {
        let payload = [&b"secret "[..], &vec![7; len - 7]].concat();
        // With the first one rides what is to be acknowledged.
        let caught = catch(&mut town, channels[0], &[&payload, &payload]);
        assert!(caught[1].bytes.len() <= len + town.ends[0].engine.overhead(), "{len}");
        assert!(!caught[1].bytes.windows(6).any(|window| window == b"secret"));
    }
}

#[test]
fn the_longest_payload_arrives_whatever_else_is_to_be_said_and_a_longer_one_is_refused() {
    let (mut town, channels) = linked();
    town.weather = Weather { loss: 0.4, jitter: Duration::from_millis(30), ..town.weather };
    let longest = town.ends[0].engine.payload_max();
    for _ in 0..300 {
        for end in [0, 1] {
            assert!(town.send(end, channels[end], &vec![1; longest]));
        }
        town.run(Duration::from_millis(3));
    }
    assert!(town.ends.iter().all(|end| end.opened.len() > 120), "{}", town.ends[0].opened.len());
    let records = town.log.iter().filter(|one| !one.is_handshake());
    assert!(records.map(|one| one.bytes.len() + SHORT_LEN).all(|len| len <= DATAGRAM_MAX));
    let payload = town.pool.copy(&vec![1; longest + 1]);
    assert_eq!(town.ends[0].engine.send(channels[0], payload, town.now), Err(SendError::TooBig));
}

#[test]
fn payloads_are_neither_held_back_nor_slowed_down_by_loss() {
    let (mut town, channels) = linked();
    town.weather.loss = 1.0;
    for _ in 0..2000 {
        let before = town.log.len();
        assert!(town.send(0, channels[0], &[1; 1000]));
        assert!(town.log.len() > before);
    }
    town.weather.loss = 0.0;
    town.run(Duration::from_secs(5));
    goes_on(&mut town, channels);
}

#[test]
fn records_may_come_out_of_order_but_not_too_late() {
    let (mut town, channels) = linked();
    let payloads = vec![&b"x"[..]; WINDOW + 10];
    let caught = catch(&mut town, channels[0], &payloads);
    for record in caught.iter().rev() {
        town.deliver(record);
    }
    let opened = town.ends[1].opened.len();
    assert!((WINDOW - 4..=WINDOW + 1).contains(&opened), "{opened}");
    assert_eq!(town.ends[1].drops(DropReason::Unopened) as usize, caught.len() - opened);
    goes_on(&mut town, channels);
}

#[test]
fn a_replayed_record_is_dropped() {
    let (mut town, channels) = linked();
    let caught = catch(&mut town, channels[0], &[b"once"]);
    (0..3).for_each(|_| town.deliver(&caught[0]));
    assert_eq!((town.ends[1].opened.len(), town.ends[1].drops(DropReason::Unopened)), (1, 2));
    goes_on(&mut town, channels);
}

#[test]
fn a_record_with_any_bit_changed_is_dropped_and_the_genuine_one_opens() {
    let (mut town, channels) = linked();
    let caught = catch(&mut town, channels[0], &[b"payload"]);
    for bit in 0..caught[0].bytes.len() * 8 {
        let mut changed = caught[0].clone();
        changed.bytes[bit / 8] ^= 1 << (bit % 8);
        town.deliver(&changed);
        let total = [DropReason::Unopened, DropReason::Malformed].map(|reason| town.ends[1].drops(reason));
        assert_eq!(total.iter().sum::<u64>(), bit as u64 + 1, "bit {bit}: {:?}", town.ends[1].drops);
    }
    town.deliver(&caught[0]);
    assert_eq!(town.ends[1].opened, [b"payload"]);
    goes_on(&mut town, channels);
}

#[test]
fn a_record_that_is_cut_is_dropped() {
    let (mut town, channels) = linked();
    let caught = catch(&mut town, channels[0], &[b"payload"]);
    for length in 0..caught[0].bytes.len() {
        let mut cut = caught[0].clone();
        cut.bytes.truncate(length);
        town.deliver(&cut);
    }
    assert!(town.ends[1].opened.is_empty());
    assert_eq!(town.ends[1].drops(DropReason::Malformed), 1);
    assert_eq!(town.ends[1].drops(DropReason::Unopened) as usize, caught[0].bytes.len() - 1);
    goes_on(&mut town, channels);
}

#[test]
fn a_record_of_another_association_does_not_open_here() {
    let (mut town, channels) = linked();
    let (mut other, theirs) = linked();
    let foreign = catch(&mut other, theirs[0], &[b"from elsewhere"]);
    town.deliver(&foreign[0]);
    let own = catch(&mut town, channels[0], &[b"reflected"]);
    let mut reflected = own[0].clone();
    reflected.to = 0;
    reflected.header = Header::Record { receiver: channels[0] };
    town.deliver(&reflected);
    assert!(town.ends.iter().all(|end| end.drops(DropReason::Unopened) == 1 && end.opened.is_empty()));
    goes_on(&mut town, channels);
}

#[test]
fn an_association_bears_a_bounded_number_of_forged_records() {
    let limits = Limits { forged: 100, ..Limits::default() };
    let (mut town, channels) = Town::linked(|n| quic(n, limits.clone()));
    let mut caught = catch(&mut town, channels[0], &[b"payload"]);
    *caught[0].bytes.last_mut().unwrap() ^= 1;
    for _ in 0..99 {
        town.deliver(&caught[0]);
    }
    goes_on(&mut town, channels);
    town.deliver(&caught[0]);
    assert_eq!(town.ends[1].down, [(channels[1], Down::Exhausted)]);
}

#[test]
fn a_handshake_packet_does_not_come_in_as_a_record() {
    let mut town = Town::pair(classical);
    town.connect(0, 1, Intent::default());
    town.run(Duration::from_millis(70));
    let mut flight = town.log.iter().rfind(|one| one.to == 0).unwrap().clone();
    let Header::Handshake { receiver, .. } = flight.header else { panic!("no flight") };
    town.intercept();
    flight.header = Header::Record { receiver };
    flight.bytes.remove(0);
    town.deliver(&flight);
    assert_eq!((town.ends[0].up.len(), town.ends[0].drops(DropReason::Malformed)), (0, 1));
}

#[test]
fn records_that_overtake_the_end_of_the_handshake_are_kept_and_of_many_the_rest_is_counted() {
    let mut town = Town::pair(hybrid);
    town.connect(0, 1, Intent::default());
    while town.ends[0].up.is_empty() {
        town.run(Duration::from_millis(1));
    }
    let last = town.intercept();
    let channel = town.ends[0].up[0].0;
    let records = catch(&mut town, channel, &[b"1", b"2", b"3", b"4", b"5", b"6"]);
    let Header::Handshake { receiver, .. } = last[0].header else { panic!("no flight") };
    for mut record in records {
        record.header = Header::Record { receiver };
        town.deliver(&record);
    }
    assert_eq!((town.ends[1].opened.len(), town.ends[1].drops(DropReason::NotUp)), (0, 2));
    last.iter().for_each(|flight| town.deliver(flight));
    assert_eq!(town.ends[1].opened, [b"1", b"2", b"3", b"4"]);
    goes_on(&mut town, [channel, receiver]);
}

#[test]
fn keys_are_updated_by_volume_and_when_it_is_asked_for_and_nothing_is_lost() {
    let (mut town, channels) = linked();
    for round in 0..3000 {
        for end in [0, 1] {
            assert!(town.send(end, channels[end], b"x"));
        }
        if round % 500 == 0 {
            let now = town.now;
            town.ends[0].engine.renew(channels[0], now);
        }
        town.run(Duration::from_millis(1));
    }
    town.run(Duration::from_secs(1));
    assert_eq!((town.ends[0].opened.len(), town.ends[1].opened.len()), (3000, 3000));
    assert!(town.ends.iter().all(|end| end.drops.is_empty()), "{:?}", town.ends[0].drops);
}

#[test]
fn at_rest_an_association_wants_nothing_and_a_question_and_its_answer_take_two_datagrams() {
    let (mut town, channels) = linked();
    town.run(Duration::from_secs(60));
    assert!(town.ends.iter().all(|end| end.engine.poll_timeout().is_none()));
    town.log.clear();
    town.run(Duration::from_secs(86_400));
    assert!(town.log.is_empty());
    assert!(town.send(0, channels[0], b"are you there?"));
    town.run(Duration::from_millis(20));
    assert!(town.send(1, channels[1], b"I am"));
    town.run(Duration::from_secs(60));
    assert_eq!(town.log.len(), 2, "the next question would acknowledge the answer");
    town.run(Duration::from_secs(3600));
    assert_eq!(town.log.len(), 3, "nobody asked");
    assert!(town.ends.iter().all(|end| end.engine.poll_timeout().is_none()));
}
