//! Records under attack: each drop has its reason, and the association goes on.

use std::time::Duration;

use atoll_core::counters::DropReason;
use atoll_core::security::{ChannelId, Down, Engine, Limits, WINDOW};

use crate::harness::{Datagram, Town};
use crate::makers::{dtls, modelled};

fn linked() -> (Town, [ChannelId; 2]) {
    Town::linked(|n| dtls(n, Limits::default()))
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
fn a_record_is_twenty_bytes_longer_than_its_payload_and_shows_nothing_of_it() {
    let (mut town, channels) = linked();
    let caught = catch(&mut town, channels[0], &[b"a secret word"]);
    assert_eq!(caught[0].bytes.len(), 13 + 20);
    assert_eq!(town.ends[0].engine.overhead(), 20);
    assert!(!caught[0].bytes.windows(6).any(|window| window == b"secret"));
}

#[test]
fn a_replayed_record_is_dropped() {
    let (mut town, channels) = linked();
    let caught = catch(&mut town, channels[0], &[b"once"]);
    (0..3).for_each(|_| town.deliver(&caught[0]));
    assert_eq!((town.ends[1].opened.len(), town.ends[1].drops(DropReason::Replayed)), (1, 2));
    goes_on(&mut town, channels);
}

#[test]
fn records_may_come_out_of_order_but_not_too_late() {
    let (mut town, channels) = linked();
    let payloads = vec![&b"x"[..]; WINDOW as usize + 10];
    let caught = catch(&mut town, channels[0], &payloads);
    for record in caught[1..].iter().rev() {
        town.deliver(record);
    }
    assert_eq!(town.ends[1].opened.len() as u64, WINDOW);
    assert_eq!(town.ends[1].drops(DropReason::TooOld), 9);
    town.deliver(&caught[0]);
    assert_eq!(town.ends[1].drops(DropReason::TooOld), 10);
    goes_on(&mut town, channels);
}

#[test]
fn a_record_with_any_bit_changed_is_dropped_and_the_genuine_one_opens() {
    let (mut town, channels) = linked();
    let caught = catch(&mut town, channels[0], &[b"payload"]);
    let mut dropped = 0;
    for bit in 0..caught[0].bytes.len() * 8 {
        let mut changed = caught[0].clone();
        changed.bytes[bit / 8] ^= 1 << (bit % 8);
        town.deliver(&changed);
        dropped += 1;
        let total = [DropReason::Forged, DropReason::NoKeys].map(|reason| town.ends[1].drops(reason));
        assert_eq!(total.iter().sum::<u64>(), dropped, "bit {bit}: {:?}", town.ends[1].drops);
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
    assert_eq!((town.ends[1].drops(DropReason::Malformed), town.ends[1].drops(DropReason::Forged)), (20, 7));
    goes_on(&mut town, channels);
}

#[test]
fn a_record_of_another_association_is_forged_here() {
    let (mut town, channels) = linked();
    let (mut other, theirs) = linked();
    let foreign = catch(&mut other, theirs[0], &[b"from elsewhere"]);
    town.deliver(&foreign[0]);
    let own = catch(&mut town, channels[0], &[b"reflected"]);
    let mut reflected = own[0].clone();
    reflected.to = 0;
    reflected.header = crate::harness::Header::Record { receiver: channels[0] };
    town.deliver(&reflected);
    assert_eq!(town.ends[1].drops(DropReason::Forged), 1);
    assert_eq!(town.ends[0].drops(DropReason::Forged), 1);
    goes_on(&mut town, channels);
}

#[test]
fn a_record_of_a_phase_that_is_not_there_has_no_keys() {
    let (mut town, channels) = linked();
    let mut caught = catch(&mut town, channels[0], &[b"payload"]);
    caught[0].bytes[0] ^= 0x80;
    town.deliver(&caught[0]);
    assert_eq!(town.ends[1].drops(DropReason::NoKeys), 1);
    goes_on(&mut town, channels);
}

#[test]
fn an_association_bears_a_bounded_number_of_forged_records() {
    let limits = Limits { forged: 100, ..Limits::default() };
    let (mut town, channels) = Town::linked(|n| dtls(n, limits.clone()));
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
fn a_key_seals_a_bounded_number_of_records() {
    let never = Duration::from_secs(1 << 30);
    let limits =
        Limits { records: 300, renew_records: u64::MAX / 4, renew_after: never, ..Limits::default() };
    let (mut town, channels) = Town::linked(|n| modelled(n, limits.clone()));
    let sent = (0..400).filter(|_| town.send(0, channels[0], b"x")).count();
    assert_eq!(sent, 300 - 256);
}

#[test]
fn nothing_is_sent_before_an_association_is_up_or_after_it_is_forgotten() {
    let (mut town, channels) = linked();
    town.ends[0].engine.forget(channels[0]);
    assert!(!town.send(0, channels[0], b"x") && !town.send(0, ChannelId(3), b"x"));
    let engine: &mut dyn Engine = &mut *town.ends[0].engine;
    assert!(engine.poll().is_none());
}
