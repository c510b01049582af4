//! The store, creation at one point and the comparison of neighbours, each by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::around::Around;
use super::proof;
use super::store::*;
use super::upkeep::Copies;
use super::{Dht, News, Origin, Outcome, Wanted};
use crate::machine::RequestId;
use crate::rng::Rng;
use crate::security::{address_of, derived_key};
use crate::time::Time;
use crate::wire::{
    Address, Content, Copied, Denial, DhtAnswer, Item, Key, Mark, Page, Said, Upkeep, VALUE_MAX,
};

fn at(byte: u8) -> Address {
    let mut bytes = [0; Address::LEN];
    bytes[0] = byte;
    Address::from_bytes(bytes)
}

fn key(number: u8) -> Key {
    Key::Plain([number; 20])
}

fn plain(value: &[u8], lease: u32) -> Item {
    Item { stamp: 1, lease, content: Content::Plain { value: value.to_vec() } }
}

fn put(store: &mut Store, (number, writer): (u8, u8), item: Item, now: Time) -> Result<u32, Denial> {
    store.put(Writing { key: &key(number), source: from(writer), item }, now)
}

/// A writer next to us.
fn from(writer: u8) -> Source {
    Source { writer: at(writer), peer: at(writer), copied: false }
}

fn values(store: &Store, number: u8, now: Time) -> Vec<Vec<u8>> {
    let page = store.page(key(number).place(), None, usize::MAX, now);
    let mut values: Vec<_> = page.items.into_iter().map(|item| item.content.value().to_vec()).collect();
    values.sort();
    values
}

proptest! {
    #[test]
    fn a_value_is_there_from_its_put_until_its_last_lease_ends(
        steps in prop::collection::vec((0..4u8, 0..3u8, 0..6u8, 1..20_000u32, 0..5000u64), 1..80),
    ) {
        let mut store = Store::default();
        let mut model: BTreeMap<(u8, u8), Time> = BTreeMap::new();
        let mut now = Time::ZERO;
        for (stamp, (number, writer, value, lease, pause)) in (0..).zip(steps) {
            now += Duration::from_millis(pause);
            store.expire(now);
            let item = Item { stamp, ..plain(&[value], lease) };
            let granted = put(&mut store, (number, writer), item, now).unwrap();
            let ends = model.entry((number, value)).or_default();
            *ends = (*ends).max(now + Duration::from_millis(u64::from(lease)));
            prop_assert_eq!(u128::from(granted), ends.since(now).as_millis());
            for number in 0..4 {
                let alive = model.iter().filter(|((key, _), ends)| *key == number && **ends > now);
                let alive: Vec<Vec<u8>> = alive.map(|((_, value), _)| vec![*value]).collect();
                prop_assert_eq!(values(&store, number, now), alive);
            }
            let alive = model.values().filter(|ends| **ends > now).count();
            prop_assert_eq!(store.bytes(), alive * (ITEM_COST + 1));
        }
        store.expire(now + Duration::from_secs(30));
        prop_assert!(store.bytes() == 0 && store.shelves.is_empty() && store.next_end().is_none());
    }

    #[test]
    fn pages_show_every_value_once_whatever_their_size(count in 0..80usize, room in 0..2000usize) {
        let mut store = Store::default();
        for number in 0..count {
            put(&mut store, (1, 1), plain(&[number as u8; 9], 1000), Time::ZERO).unwrap();
        }
        let (mut seen, mut after): (Vec<Mark>, Option<Mark>) = (Vec::new(), None);
        loop {
            let Page { items, more, .. } = store.page(key(1).place(), after, room, Time::ZERO);
            let bytes: usize = items.iter().map(Item::wire_len).sum();
            prop_assert!(bytes <= room || items.len() == 1);
            seen.extend(items.iter().map(|item| item.content.mark()));
            after = seen.last().copied();
            if !more {
                break;
            }
            prop_assert!(!items.is_empty());
        }
        prop_assert!(seen.len() == count && seen.is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn neighbours_that_compare_hold_the_same_and_then_are_silent(
        ours in prop::collection::vec((0..60u8, 0..4u8, 1..9u32), 0..150),
        theirs in prop::collection::vec((0..60u8, 0..4u8, 1..9u32), 0..150),
    ) {
        let mut pair = [Neighbour::new(100, 200, &ours), Neighbour::new(200, 100, &theirs)];
        let now = Time::from_secs(1000);
        let messages = settle(&mut pair, now);
        let held = |one: &Neighbour| -> Vec<(Address, Vec<Mark>)> {
            one.store.shelves.iter().map(|(place, shelf)| (*place, shelf.items.keys().copied().collect())).collect()
        };
        prop_assert_eq!(held(&pair[0]), held(&pair[1]));
        prop_assert!(messages < 1000);
        let again = settle(&mut pair, now + Duration::from_secs(100));
        prop_assert!(again <= 4, "{} messages at rest", again);
    }
}

/// One of two members that hold the whole ring together.
struct Neighbour {
    store: Store,
    copies: Copies,
    own: Address,
}

impl Neighbour {
    fn new(own: u8, peer: u8, items: &[(u8, u8, u32)]) -> Self {
        let mut store = Store::default();
        for (number, value, stamp) in items {
            let item = Item { stamp: *stamp, ..plain(&[*value], 10_000_000) };
            put(&mut store, (*number, 1), item, Time::ZERO).unwrap();
        }
        store.fresh.clear();
        let mut copies = Copies::new(at(own), &Rng::new([own; 32]));
        let next = [Some(at(peer)); 2];
        copies.set_around(Around { connected: true, next, ..Around::nobody(at(own)) }, &store, Time::ZERO);
        Self { store, copies, own: at(own) }
    }
}

/// Has two neighbours talk until neither has anything to say; how much was said.
fn settle(pair: &mut [Neighbour; 2], mut now: Time) -> usize {
    let mut said = 0;
    for _ in 0..1000 {
        pair.iter_mut().for_each(|one| drop(one.copies.handle_timeout(&mut one.store, now)));
        let mut idle = true;
        for turn in 0..2 {
            let from = pair[turn].own;
            while let Some((_, message)) = {
                let one = &mut pair[turn];
                one.copies.poll(&one.store, 1200, now)
            } {
                let mut body = crate::buffer::Pool::new().take(100);
                message.write(&mut body);
                assert!(body.len() <= 1200, "{} bytes", body.len());
                let other = &mut pair[1 - turn];
                other.copies.on_message(from, Upkeep::read(&body).unwrap(), &mut other.store, now);
                (said, idle) = (said + 1, false);
            }
        }
        if idle && pair.iter().all(|one| one.copies.poll_timeout() > now + Duration::from_secs(3)) {
            return said;
        }
        now += Duration::from_millis(100);
    }
    panic!("they talk for ever");
}

#[test]
fn one_writer_gets_its_share_and_no_more_and_another_still_finds_room() {
    let mut store = Store::default();
    let full = |store: &mut Store, writer: u8| {
        let mut stored = 0usize;
        for number in 0..=u16::MAX {
            let value = [vec![writer; VALUE_MAX - 2], number.to_be_bytes().to_vec()].concat();
            match put(store, (number as u8, writer), plain(&value, 1000), Time::ZERO) {
                Ok(_) => stored += ITEM_COST + VALUE_MAX,
                Err(denial) => {
                    assert_eq!(denial, Denial::Full);
                    return stored;
                }
            }
        }
        unreachable!("a store without bounds")
    };
    let share = full(&mut store, 1);
    assert!(share <= WRITER_BYTES_MAX / 2 && share + 2 * VALUE_MAX > WRITER_BYTES_MAX / 2, "{share}");
    assert_eq!(full(&mut store, 2), share);
    for writer in 3..=255 {
        full(&mut store, writer);
    }
    assert!(store.bytes() <= BYTES_MAX / 2);
    assert_eq!(values(&store, 0, Time::ZERO).len(), store.shelves[&key(0).place()].items.len());
    let before = store.bytes();
    put(&mut store, (0, 0), plain(&[9; VALUE_MAX], 1000), Time::ZERO).unwrap_err();
    assert_eq!(store.bytes(), before, "nothing made room");
    let held = values(&store, 0, Time::ZERO)[0].clone();
    let renewal = Item { stamp: 2, ..plain(&held, 5000) };
    assert_eq!(put(&mut store, (0, held[0]), renewal, Time::ZERO), Ok(5000), "what is there is renewed");
}

#[test]
fn a_value_that_comes_back_from_whoever_held_it_lives_no_longer_and_changes_no_account() {
    let mut store = Store::default();
    put(&mut store, (1, 1), plain(b"a", 1000), Time::ZERO).unwrap();
    let later = Time::from_nanos(500_000_000);
    assert_eq!(put(&mut store, (1, 2), plain(b"a", 900), later), Ok(500));
    assert_eq!(store.get(key(1).place(), plain(b"a", 1).content.mark()).map(|kept| kept.writer), Some(at(1)));
}

#[test]
fn one_peer_brings_its_share_whatever_writers_it_names_and_what_is_held_is_renewed_all_the_same() {
    let (mut store, now) = (Store::default(), Time::ZERO);
    let held = plain(&[1; VALUE_MAX], 1000);
    put(&mut store, (1, 1), held.clone(), now).unwrap();
    store.claim(&key(2), from(1), (11, vec![1; VALUE_MAX]), now).unwrap();
    store.commit(&key(2), 11, (1, 1000), now).unwrap();
    let flood = |store: &mut Store, peer: u8| {
        let mut stored = 0;
        for number in 0..=u16::MAX {
            let value = [vec![peer; VALUE_MAX - 2], number.to_be_bytes().to_vec()].concat();
            let source = Source {
                writer: Address::from_bytes([number as u8 ^ peer; 20]),
                peer: at(peer),
                copied: false,
            };
            let key = key(10 + (number % 100) as u8);
            let writing = Writing { key: &key, source, item: plain(&value, 1000) };
            match store.put(writing, Time::ZERO) {
                Ok(_) => stored += ITEM_COST + VALUE_MAX,
                Err(denial) => return (stored, denial),
            }
        }
        unreachable!("a store without bounds")
    };
    let (share, denial) = flood(&mut store, 7);
    assert_eq!(denial, Denial::Full);
    assert!(share <= PEER_BYTES_MAX && share + 2 * VALUE_MAX > PEER_BYTES_MAX, "{share}");
    put(&mut store, (3, 1), plain(&[3; VALUE_MAX], 1000), now).unwrap();
    for peer in 8..12 {
        flood(&mut store, peer);
    }
    assert!(store.bytes() <= BYTES_MAX / 2 && store.bytes() + 2 * VALUE_MAX > BYTES_MAX / 2);
    assert_eq!(put(&mut store, (4, 1), plain(&[4; VALUE_MAX], 1000), now), Err(Denial::Full));
    for (turn, peer) in [(2, 1), (3, 7)] {
        let source = Source { writer: at(1), peer: at(peer), copied: false };
        let item = Item { stamp: turn, lease: 1000 * turn, ..held.clone() };
        assert_eq!(store.put(Writing { key: &key(1), source, item }, now), Ok(1000 * turn));
        store.claim(&key(2), source, (turn.into(), vec![1; VALUE_MAX]), now).unwrap();
        assert_eq!(store.commit(&key(2), turn.into(), (turn, 1000 * turn), now), Ok(1000 * turn));
    }
}

#[test]
fn copies_of_what_a_neighbour_holds_take_no_room_from_requests_that_come_through_it() {
    let (mut store, neighbour) = (Store::default(), at(7));
    let mut copied = 0;
    for number in 0..1100u32 {
        let value = [vec![5; VALUE_MAX - 4], number.to_be_bytes().to_vec()].concat();
        let writer = Address::from_bytes([number as u8; 20]);
        let copy = Copied { key: key(10 + (number % 100) as u8), writer, item: plain(&value, 1000) };
        copied += usize::from(store.merge(neighbour, copy, Standing::Farther, Time::ZERO))
            * (ITEM_COST + VALUE_MAX);
    }
    assert!(copied > PEER_BYTES_MAX, "{copied}");
    let source = Source { writer: at(3), peer: neighbour, copied: false };
    let writing = Writing { key: &key(1), source, item: plain(b"a request", 1000) };
    assert!(store.put(writing, Time::ZERO).is_ok());
}

#[test]
fn one_writer_does_not_fill_a_key() {
    let mut store = Store::default();
    let fill = |store: &mut Store, writer: u8| {
        (0..=u16::MAX)
            .take_while(|number| {
                let value = [&[writer][..], &number.to_be_bytes()].concat();
                put(store, (1, writer), plain(&value, 1000), Time::ZERO).is_ok()
            })
            .count()
    };
    assert_eq!(fill(&mut store, 1), WRITER_ITEMS_PER_KEY_MAX);
    assert_eq!(fill(&mut store, 2), WRITER_ITEMS_PER_KEY_MAX);
    fill(&mut store, 3);
    fill(&mut store, 4);
    assert_eq!(fill(&mut store, 5), 0, "a key has {ITEMS_PER_KEY_MAX} values at most");
}

#[test]
fn a_write_without_lease_or_of_the_wrong_kind_is_invalid_and_a_long_lease_is_cut() {
    let mut store = Store::default();
    assert_eq!(put(&mut store, (1, 1), plain(b"a", 0), Time::ZERO), Err(Denial::Invalid));
    let granted = put(&mut store, (1, 1), plain(b"a", u32::MAX), Time::ZERO).unwrap();
    assert_eq!(u128::from(granted), LEASE_MAX.as_millis());
    let owned = Key::Owned { owner: at(1), name: [1; 20] };
    let writing = Writing { key: &owned, source: from(1), item: plain(b"a", 1000) };
    assert_eq!(store.put(writing, Time::ZERO), Err(Denial::Invalid));
}

#[test]
fn a_newer_owned_value_replaces_the_older_whose_return_is_outdated() {
    let signer = derived_key([1; 32], "o").unwrap();
    let key = Key::owned(address_of(&signer).unwrap(), "name");
    let mut store = Store::default();
    let mut write = |value: u8, sequence: u64| {
        let content = proof::sign(&signer, &key, vec![value], (sequence, 5000)).unwrap();
        let item = Item { stamp: 1, lease: 60_000, content };
        let granted = store.put(Writing { key: &key, source: from(1), item }, Time::ZERO);
        let page = store.page(key.place(), None, 2000, Time::ZERO);
        let there: Vec<u8> = page.items.iter().map(|item| item.content.value()[0]).collect();
        (granted, there)
    };
    assert_eq!(write(1, 5), (Ok(5000), vec![1]), "the signed lease counts");
    assert_eq!(write(2, 6), (Ok(5000), vec![2]));
    assert_eq!(write(1, 5), (Err(Denial::Outdated(6)), vec![2]));
    assert_eq!(write(3, 6), (Err(Denial::Outdated(6)), vec![2]));
    assert_eq!(write(4, 7), (Ok(5000), vec![4]));
}

#[test]
fn a_claim_keeps_others_out_and_is_gone_by_itself() {
    let (mut store, now) = (Store::default(), Time::ZERO);
    assert_eq!(store.claim(&key(1), from(1), (11, b"a".to_vec()), now), Ok(()));
    assert_eq!(store.claim(&key(1), from(1), (11, b"a".to_vec()), now), Ok(()), "it was sent twice");
    assert_eq!(store.claim(&key(1), from(2), (22, b"b".to_vec()), now), Err(Denial::Contended));
    assert_eq!(put(&mut store, (1, 3), plain(b"c", 1000), now), Err(Denial::Contended));
    assert_eq!(store.commit(&key(1), 22, (1, 1000), now), Err(Denial::Unclaimed));
    store.expire(Time::from_secs(7));
    assert!(store.shelves.is_empty() && store.bytes() == 0);
    assert_eq!(store.commit(&key(1), 11, (1, 1000), Time::from_secs(7)), Err(Denial::Unclaimed));
}

#[test]
fn a_commit_is_taken_once_and_taken_back_only_by_its_token_and_only_soon() {
    let (mut store, now) = (Store::default(), Time::ZERO);
    store.claim(&key(1), from(1), (11, b"a".to_vec()), now).unwrap();
    assert_eq!(store.commit(&key(1), 11, (1, 100_000), now), Ok(100_000));
    assert_eq!(store.commit(&key(1), 11, (1, 100_000), Time::from_secs(1)), Ok(99_000), "it was sent twice");
    store.abort(&key(1), 12, now);
    assert_eq!(values(&store, 1, now), [b"a".to_vec()]);
    store.abort(&key(1), 11, Time::from_secs(20));
    assert_eq!(values(&store, 1, now), [b"a".to_vec()], "it is too late");
    store.claim(&key(2), from(1), (13, b"a".to_vec()), now).unwrap();
    store.commit(&key(2), 13, (9, 100_000), now).unwrap();
    store.abort(&key(2), 13, now);
    assert!(values(&store, 2, now).is_empty());
    assert_eq!(store.gone, [(key(2).place(), 9)]);
}

fn created(value: &[u8], stamp: u32) -> Item {
    let content = Content::Created { value: value.to_vec(), creator: at(1) };
    Item { stamp, lease: 100_000, content }
}

/// A member at 100 of the whole ring, between two others, and whether it takes what one of them says.
struct Held {
    store: Store,
    copies: Copies,
}

impl Held {
    fn new() -> Self {
        let (mut copies, store) = (Copies::new(at(100), &Rng::new([1; 32])), Store::default());
        let (next, far) = ([Some(at(90)), Some(at(110))], [Some(at(80)), Some(at(120))]);
        copies.set_around(Around { own: at(100), connected: true, next, far }, &store, Time::ZERO);
        Self { store, copies }
    }

    /// A key with a point that only the neighbour on the left, or only the one on the right, is nearer to than we are.
    fn key(&self, is_left: bool) -> Key {
        let nearer = |peer: u8, key: &Key| {
            let points = crate::wire::points(key.place());
            points.iter().any(|point| {
                self.copies.around().held().contains(*point)
                    && at(peer).distance(*point) < at(100).distance(*point)
            })
        };
        let fits = |key: &Key| nearer(90, key) == is_left && nearer(110, key) != is_left;
        (0..=255).map(key).find(fits).unwrap()
    }

    fn hear(&mut self, peer: u8, message: Upkeep, now: Time) {
        self.copies.on_message(at(peer), message, &mut self.store, now);
    }

    fn keep(&mut self, peer: u8, key: Key, item: Item, now: Time) {
        self.hear(peer, Upkeep::Keep(vec![Copied { key, writer: at(7), item }]), now);
    }

    fn value(&self, key: &Key, now: Time) -> Option<Vec<u8>> {
        let page = self.store.page(key.place(), None, 2000, now);
        page.items.first().map(|item| item.content.value().to_vec())
    }
}

#[test]
fn a_created_value_is_replaced_and_taken_back_only_by_whoever_is_nearer_and_taken_back_only_soon() {
    let (soon, late) = (Time::from_secs(10), Time::from_secs(20));
    for (is_left, nearer, farther) in [(true, 90, 110), (false, 110, 90)] {
        let mut held = Held::new();
        let key = held.key(is_left);
        let gone = |stamp: u32| Upkeep::Gone { place: key.place(), stamp };
        held.keep(farther, key, created(b"first", 1), Time::ZERO);
        for number in 0..20 {
            held.keep(farther, key, created(&[number], 2), soon);
        }
        held.hear(farther, gone(1), soon);
        assert_eq!(held.value(&key, soon), Some(b"first".to_vec()));
        held.keep(nearer, key, created(b"second", 3), soon);
        assert_eq!(held.value(&key, soon), Some(b"second".to_vec()), "neighbours of the root agree with it");
        held.hear(nearer, gone(3), late);
        assert_eq!(held.value(&key, late), None);
        held.keep(nearer, key, created(b"third", 4), late);
        let renewed = Item { lease: 200_000, ..created(b"third", 5) };
        held.keep(nearer, key, renewed, Time::from_secs(34));
        held.hear(nearer, gone(5), Time::from_secs(36));
        assert_eq!(
            held.value(&key, Time::from_secs(36)),
            Some(b"third".to_vec()),
            "a renewal makes it no newer"
        );
    }
}

#[test]
fn a_neighbour_changes_neither_the_proof_of_a_value_nor_whose_it_is() {
    let signer = derived_key([1; 32], "o").unwrap();
    let key = Key::owned(address_of(&signer).unwrap(), "name");
    let mut store = Store::default();
    let content = proof::sign(&signer, &key, vec![1], (5, 50_000)).unwrap();
    let item = Item { stamp: 1, lease: 10_000, content: content.clone() };
    store.put(Writing { key: &key, source: from(1), item }, Time::ZERO).unwrap();
    let Content::Owned { value, mut proof } = content.clone() else { panic!("it is owned") };
    proof.signature[20] ^= 1;
    let mut merge = |stamp: u32, content: Content| {
        let copied = Copied { key, writer: at(9), item: Item { stamp, lease: 40_000, content } };
        store.merge(at(2), copied, Standing::Nearer, Time::ZERO)
    };
    assert!(!merge(2, Content::Owned { value, proof }));
    assert!(merge(3, content.clone()));
    assert_eq!(store.get(key.place(), content.mark()).map(|kept| kept.writer), Some(at(1)));
    let there = store.page(key.place(), None, 2000, Time::ZERO);
    assert!(proof::holds(&key, &there.items[0].content));
}

#[test]
fn a_member_without_a_place_takes_nothing_from_those_who_say_that_they_are_its_neighbours() {
    let mut held = Held::new();
    held.copies = Copies::new(at(100), &Rng::new([1; 32]));
    held.keep(90, key(1), plain(b"a", 1000), Time::ZERO);
    assert!(held.store.shelves.is_empty());
}

#[test]
fn a_creator_that_renews_loses_nothing_when_the_renewal_is_aborted() {
    let (mut store, now) = (Store::default(), Time::ZERO);
    for token in [11, 12] {
        store.claim(&key(1), from(1), (token, b"a".to_vec()), now).unwrap();
        store.commit(&key(1), token, (1, 100_000), now).unwrap();
    }
    store.abort(&key(1), 12, now);
    assert_eq!(values(&store, 1, now), [b"a".to_vec()]);
}

#[test]
fn what_a_neighbour_sends_for_points_that_are_not_ours_is_not_taken() {
    let mut store = Store::default();
    let mut copies = Copies::new(at(100), &Rng::new([1; 32]));
    let next = [Some(at(99)), Some(at(101))];
    let far = [Some(at(98)), Some(at(102))];
    copies.set_around(Around { own: at(100), connected: true, next, far }, &store, Time::ZERO);
    let ours = |number: u8| {
        let held = Around { own: at(100), connected: true, next, far }.held();
        crate::wire::points(key(number).place()).iter().any(|point| held.contains(*point))
    };
    for number in 0..=255 {
        let copied = Copied { key: key(number), writer: at(7), item: plain(b"a", 1000) };
        copies.on_message(at(101), Upkeep::Keep(vec![copied]), &mut store, Time::ZERO);
        assert_eq!(store.shelves.contains_key(&key(number).place()), ours(number));
    }
    assert!((1..60).contains(&store.shelves.len()), "{}", store.shelves.len());
}

#[test]
fn parts_of_the_node_hear_what_the_first_point_says_and_users_only_what_is_certain() {
    let now = Time::ZERO;
    let mut dht = Dht::new(at(1), None, &Rng::new([7; 32]));
    for origin in [Origin::Node(5), Origin::User(RequestId(6)), Origin::Overlay(7)] {
        dht.get(origin, key(1), None, now);
        let asks: Vec<u32> = std::iter::from_fn(|| dht.poll(1000, now))
            .filter_map(|wanted| if let Wanted::Ask(_, request) = wanted { Some(request.id) } else { None })
            .collect();
        assert_eq!(asks.len(), 3);
        let page = Page { items: vec![plain(b"entry", 1000)], more: false, unsure: false };
        let answer = |id| DhtAnswer { id, said: Said::Page(page.clone()) };
        assert!(dht.on_answer(answer(asks[0]), now));
        let first = dht.poll_news();
        assert!(dht.poll(1000, now).is_none(), "one point alone is not certain");
        dht.on_answer(answer(asks[1]), now);
        match origin {
            Origin::Node(number) => {
                assert_eq!(first, Some((number, News::Glimpse(vec![b"entry".to_vec()]))));
                let mut news = std::iter::from_fn(|| dht.poll_news());
                let over = news.find(|(_, news)| !matches!(news, News::Glimpse(_)));
                assert!(
                    matches!(over, Some((5, News::Over(Outcome::Page { complete: true, .. })))),
                    "{over:?}"
                );
            }
            Origin::Overlay(_) => {
                assert_eq!((first, dht.poll_news()), (None, None));
                assert_eq!(dht.poll_own_news(), Some((7, News::Glimpse(vec![b"entry".to_vec()]))));
                let mut news = std::iter::from_fn(|| dht.poll_own_news());
                let over = news.find(|(_, news)| !matches!(news, News::Glimpse(_)));
                assert!(
                    matches!(over, Some((7, News::Over(Outcome::Page { complete: true, .. })))),
                    "{over:?}"
                );
            }
            Origin::User(_) => {
                assert_eq!(first, None);
                let reply = dht.poll(1000, now);
                assert!(
                    matches!(reply, Some(Wanted::Reply(_, Outcome::Page { complete: true, .. }))),
                    "{reply:?}"
                );
            }
        }
    }
}
