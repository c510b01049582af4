//! Every message of the DHT that can be made is read back as it was.

use atoll_core::wire::{
    Address, Ask, Content, Copied, Denial, DhtAnswer, DhtRequest, Item, Key, LISTED_MAX, Listed, Mark,
    POINTS, Page, Proof, RingArc, Said, Upkeep, VALUE_MAX,
};
use atoll_core::{Buffer, Pool};
use proptest::prelude::*;

fn written(write: impl Fn(&mut Buffer)) -> Buffer {
    let mut buffer = Pool::new().take(100);
    write(&mut buffer);
    buffer
}

fn address() -> impl Strategy<Value = Address> {
    any::<[u8; Address::LEN]>().prop_map(Address::from_bytes)
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        any::<[u8; 20]>().prop_map(Key::Plain),
        (address(), any::<[u8; 20]>()).prop_map(|(owner, name)| Key::Owned { owner, name }),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![prop::collection::vec(any::<u8>(), 0..40), Just(vec![7; VALUE_MAX])]
}

fn content() -> impl Strategy<Value = Content> {
    let bytes = |max| prop::collection::vec(any::<u8>(), 0..=max);
    let proof = (bytes(91), any::<u64>(), any::<u32>(), bytes(72))
        .prop_map(|(public, sequence, lease, signature)| Proof { public, sequence, lease, signature });
    prop_oneof![
        value().prop_map(|value| Content::Plain { value }),
        (value(), address()).prop_map(|(value, creator)| Content::Created { value, creator }),
        (value(), proof).prop_map(|(value, proof)| Content::Owned { value, proof }),
    ]
}

fn item() -> impl Strategy<Value = Item> {
    (any::<u32>(), any::<u32>(), content()).prop_map(|(stamp, lease, content)| Item { stamp, lease, content })
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        item().prop_map(Ask::Put),
        (any::<u64>(), value()).prop_map(|(token, value)| Ask::Claim { token, value }),
        any::<(u64, u32, u32)>().prop_map(|(token, stamp, lease)| Ask::Commit { token, stamp, lease }),
        any::<u64>().prop_map(|token| Ask::Abort { token }),
        any::<Option<u128>>().prop_map(|after| Ask::Get(after.map(Mark))),
    ]
}

fn said() -> impl Strategy<Value = Said> {
    let denials = vec![
        Denial::Exists,
        Denial::Contended,
        Denial::Full,
        Denial::Outdated(u64::MAX - 1),
        Denial::Invalid,
        Denial::Unclaimed,
        Denial::Unsure,
    ];
    prop_oneof![
        any::<u32>().prop_map(Said::Stored),
        Just(Said::Granted),
        Just(Said::Aborted),
        prop::sample::select(denials).prop_map(Said::Refused),
        (prop::collection::vec(item(), 0..5), any::<bool>(), any::<bool>())
            .prop_map(|(items, more, unsure)| Said::Page(Page { items, more, unsure })),
    ]
}

fn upkeep() -> impl Strategy<Value = Upkeep> {
    let arc = || (address(), address()).prop_map(|(from, to)| RingArc { from, to });
    let listed = (address(), any::<u32>()).prop_map(|(place, digest)| Listed { place, digest });
    let copied = (key(), address(), item()).prop_map(|(key, writer, item)| Copied { key, writer, item });
    prop_oneof![
        (arc(), any::<u32>(), any::<u64>()).prop_map(|(arc, count, sum)| Upkeep::Sum { arc, count, sum }),
        (arc(), prop::collection::vec(listed, 0..=LISTED_MAX))
            .prop_map(|(arc, list)| Upkeep::Have { arc, list }),
        prop::collection::vec(address(), 0..=LISTED_MAX).prop_map(Upkeep::Want),
        prop::collection::vec(copied, 0..4).prop_map(Upkeep::Keep),
        (address(), any::<u32>()).prop_map(|(place, stamp)| Upkeep::Gone { place, stamp }),
    ]
}

proptest! {
    #[test]
    fn requests_are_read_as_they_were_written(id: u32, point in 0..POINTS as u8, key in key(), ask in ask()) {
        let request = DhtRequest { id, point, key, ask };
        prop_assert_eq!(DhtRequest::read(&written(|body| request.write(body))), Ok(request));
    }

    #[test]
    fn answers_are_read_as_they_were_written(id: u32, said in said()) {
        let answer = DhtAnswer { id, said };
        prop_assert_eq!(DhtAnswer::read(&written(|body| answer.write(body))), Ok(answer));
    }

    #[test]
    fn what_neighbours_say_is_read_as_it_was_written(message in upkeep()) {
        prop_assert_eq!(Upkeep::read(&written(|body| message.write(body))), Ok(message));
    }

    #[test]
    fn an_item_is_as_long_as_it_says(key in key(), writer in address(), item in item()) {
        let page = |items: Vec<Item>| {
            let said = Said::Page(Page { items, ..Page::default() });
            written(|body| DhtAnswer { id: 1, said: said.clone() }.write(body)).len()
        };
        prop_assert_eq!(page(vec![]), DhtAnswer::PAGE_LEN);
        prop_assert_eq!(page(vec![item.clone()]), DhtAnswer::PAGE_LEN + item.wire_len());
        let copied = Copied { key, writer, item };
        let len = copied.wire_len();
        let keep = written(|body| Upkeep::Keep(vec![copied.clone()]).write(body)).len();
        prop_assert_eq!(keep, Upkeep::KEEP_LEN + len);
    }
}

#[test]
fn a_value_that_is_too_long_is_malformed() {
    let key = [0].into_iter().chain([1; 20]);
    let mut body: Vec<u8> = [0, 0, 0, 1, 0].into_iter().chain(key).collect();
    body.extend([2, 0, 0, 0, 0, 0, 0, 0, 1]);
    let claim = |len: usize| {
        let mut body = body.clone();
        body.extend(u16::try_from(len).unwrap().to_be_bytes());
        body.extend(vec![1; len]);
        DhtRequest::read(&body)
    };
    assert!(claim(VALUE_MAX).is_ok());
    assert!(claim(VALUE_MAX + 1).is_err());
}
