//! Members that lie, forge and flood.

use std::time::Duration;

use atoll_core::control::Reply;
use atoll_core::wire::{
    Address, Ask, Content, DhtAnswer, DhtRequest, FrameHeader, FrameKind, Header, Item, Key, PacketHeader,
    PacketKind, Page, Proof, Said, points,
};
use atoll_core::{Buffer, Deadline, Input, Machine, Node, Output, Pool, Time};
use atoll_sim::Stop;
use atoll_topology::HostId;

use crate::ask::{HOUR, put, put_owned, stored};
use crate::town::Town;
use crate::values::held;

type Twist = Box<dyn FnMut(&mut PacketHeader, Vec<u8>) -> Vec<u8> + Send>;

/// A node whose own packets of the DHT are changed before they leave.
struct Rogue {
    node: Node,
    own: Address,
    pool: Pool,
    twist: Twist,
}

impl Rogue {
    fn twisted(&mut self, payload: Buffer) -> Buffer {
        let mut rest = self.pool.copy(&payload);
        let (Ok(header @ Header::Short { .. }), Ok(opened)) =
            (Header::take(&mut rest), FrameHeader::take(&mut rest))
        else {
            return payload;
        };
        let Ok((mut packet, at)) = PacketHeader::read(&rest) else { return payload };
        let is_dht = matches!(packet.kind, PacketKind::DhtRequest | PacketKind::DhtAnswer);
        if opened.kind != FrameKind::Packet || packet.source != self.own || !is_dht {
            return payload;
        }
        let body = (self.twist)(&mut packet, rest[at..].to_vec());
        let mut twisted = self.pool.copy(&body);
        packet.prepend(&mut twisted);
        opened.prepend(&mut twisted);
        header.prepend(&mut twisted);
        twisted
    }
}

impl Machine for Rogue {
    fn handle_input(&mut self, input: Input, now: Time) {
        self.node.handle_input(input, now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.node.handle_timeout(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        match self.node.poll_output()? {
            Output::Transmit { to, payload } => Some(Output::Transmit { to, payload: self.twisted(payload) }),
            other => Some(other),
        }
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.node.poll_timeout()
    }
}

impl Town {
    /// The host whose member is nearest to a point of a key.
    fn root(&self, key: &Key, point: usize) -> HostId {
        let point = points(key.place())[point];
        self.hosts().into_iter().min_by_key(|host| self.member(*host).distance(point)).unwrap()
    }

    /// Starts a host again as a rogue, and waits until it has its place.
    fn corrupt(&mut self, host: HostId, twist: Twist) {
        let own = self.member(host);
        self.stop(host, Stop::Kill);
        self.completes_within(Duration::from_secs(30));
        let pool = self.world.pool().clone();
        self.restart_as(host, |node| Box::new(Rogue { node, own, pool, twist }));
        self.completes_within(Duration::from_secs(30));
        self.world.run_for(Duration::from_secs(20)).unwrap();
    }
}

fn written(write: impl Fn(&mut Buffer)) -> Vec<u8> {
    let mut body = Pool::new().take(100);
    write(&mut body);
    body.to_vec()
}

/// Changes every page that the rogue answers with.
fn pages(mut lie: impl FnMut(Page) -> Page + Send + 'static) -> Twist {
    Box::new(move |packet, body| {
        if packet.kind != PacketKind::DhtAnswer {
            return body;
        }
        match DhtAnswer::read(&body) {
            Ok(DhtAnswer { id, said: Said::Page(page) }) => {
                let answer = DhtAnswer { id, said: Said::Page(lie(page)) };
                written(|body| answer.write(body))
            }
            _ => body,
        }
    })
}

fn made_up(value: &str) -> Item {
    Item { stamp: 7, lease: 1_000_000, content: Content::Plain { value: value.as_bytes().to_vec() } }
}

#[test]
fn a_point_that_lies_is_outvoted_and_the_truth_is_found() {
    let lies: [fn() -> Twist; 5] = [
        || pages(|_| Page::default()),
        || pages(|page| Page { items: vec![made_up("a lie")], ..page }),
        || pages(|page| Page { more: true, items: vec![], ..page }),
        || pages(|page| Page { more: true, items: page.items.into_iter().take(1).collect(), ..page }),
        || Box::new(|packet, body| if packet.kind == PacketKind::DhtAnswer { vec![0xff; 9] } else { body }),
    ];
    let mut town = Town::settled(30, "none", 1);
    let key = Key::named("a");
    let truth = ["one", "two", "three"];
    for value in truth {
        stored(&town.put(HostId(3), ("a", value), 10 * HOUR));
    }
    for (number, lie) in lies.into_iter().enumerate() {
        let liar = town.root(&key, number % 3);
        town.corrupt(liar, lie());
        for reader in town.hosts().into_iter().filter(|host| *host != liar).step_by(5) {
            let found = town.get(reader, "a");
            let mut expected = truth.map(str::to_owned);
            expected.sort();
            assert_eq!(found.texts(), expected, "lie {number}: {found:?}");
            let nothing = town.get(reader, "nothing");
            assert!(nothing.values.is_empty());
        }
        town.stop(liar, Stop::Kill);
        town.restart(liar);
        town.completes_within(Duration::from_secs(30));
        town.world.run_for(Duration::from_secs(20)).unwrap();
    }
}

#[test]
fn a_point_that_answers_with_a_wrong_signature_or_an_older_value_is_not_believed() {
    // Without security the twist sees packets in the clear; keys are there all the same.
    let forge = || {
        pages(|mut page| {
            for item in &mut page.items {
                if let Content::Owned { value, proof } = &mut item.content {
                    value.push(b'!');
                    proof.sequence += 1;
                }
            }
            page
        })
    };
    let mut town = Town::new(20, "none", 1).secured("plain-with-keys").settle();
    let owner = town.member(HostId(4));
    let key = Key::owned(owner, "home");
    for value in ["first", "second"] {
        stored(&town.ask(HostId(4), put_owned("home", value, HOUR)));
    }
    let liar = town.root(&key, 1);
    town.corrupt(liar, forge());
    for reader in town.hosts().into_iter().filter(|host| *host != liar).step_by(4) {
        assert_eq!(town.get_of(reader, "home", Some(owner)).texts(), ["second"]);
    }
}

/// Changes every put of the rogue.
fn puts(mut change: impl FnMut(DhtRequest, Item) -> Vec<u8> + Send + 'static) -> Twist {
    Box::new(move |packet, body| {
        if packet.kind != PacketKind::DhtRequest {
            return body;
        }
        match DhtRequest::read(&body) {
            Ok(request) => match request.ask.clone() {
                Ask::Put(item) => change(request, item),
                _ => body,
            },
            Err(_) => body,
        }
    })
}

#[test]
fn writes_that_are_wrong_are_stored_nowhere() {
    let write = |request: &DhtRequest, item: Item| {
        let request = DhtRequest { ask: Ask::Put(item), ..request.clone() };
        written(|body| request.write(body))
    };
    let proof = || Proof { public: vec![4; 91], sequence: 9, lease: 1000, signature: vec![5; 70] };
    let changes: [Twist; 6] = [
        puts(move |request, item| write(&request, Item { lease: 0, ..item })),
        puts(move |request, _| {
            let content = Content::Owned { value: vec![1], proof: proof() };
            write(&request, Item { stamp: 1, lease: 1000, content })
        }),
        puts(move |request, item| {
            let key = Key::Owned { owner: Address::from_bytes([9; 20]), name: [9; 20] };
            write(&DhtRequest { key, ..request }, item)
        }),
        puts(move |request, item| write(&DhtRequest { key: Key::named("elsewhere"), ..request }, item)),
        puts(move |request, item| {
            let mut body = write(&request, item);
            // The value's length, at the end of all that is before it.
            let at = body.len() - 7;
            body[at..at + 2].copy_from_slice(&2000u16.to_be_bytes());
            body.extend([7; 1995]);
            body.truncate(1200);
            body
        }),
        puts(move |request, item| {
            let mut body = write(&request, item);
            body.truncate(body.len() / 2);
            body
        }),
    ];
    let mut town = Town::settled(20, "none", 1);
    for (number, change) in changes.into_iter().enumerate() {
        town.corrupt(HostId(7), change);
        let lost = |town: &mut Town| town.metric(HostId(8), "atoll_peers_lost_total", "public");
        let before = lost(&mut town);
        for key in 0..8 {
            town.world.request(HostId(7), put(&format!("key {key}"), "value", HOUR));
        }
        town.world.run_for(Duration::from_secs(15)).unwrap();
        let theirs: f64 = town
            .hosts()
            .into_iter()
            .filter(|host| *host != HostId(7))
            .map(|host| town.metric(host, "atoll_dht_refused_total", "public"))
            .sum();
        // What it is nearest to itself it may hold, and its neighbours with it.
        let (root, copies) = held(&mut town);
        assert!(root <= 8.0 && copies <= 16.0, "change {number}: {root} at roots, {copies} copies");
        assert!(number > 2 || theirs > 0.0, "change {number}: nobody refused anything");
        assert_eq!(lost(&mut town), before, "change {number}");
    }
    stored(&town.put(HostId(3), ("a", "good"), HOUR));
    assert_eq!(town.get(HostId(12), "a").texts(), ["good"]);
}

#[test]
fn a_writer_that_floods_gets_its_share_and_the_others_theirs() {
    let mut town = Town::settled(20, "none", 1);
    let value = "x".repeat(1000);
    for round in 0..20 {
        for number in 0..200 {
            town.world
                .request(HostId(7), put(&format!("{round} {number}"), &format!("{number}{value}"), HOUR));
        }
        town.world.run_for(Duration::from_secs(5)).unwrap();
    }
    town.world.run_for(Duration::from_secs(60)).unwrap();
    let mut full = 0.0;
    for host in town.hosts() {
        let bytes = town.metric(host, "atoll_dht_bytes", "public");
        assert!(bytes <= f64::from(512 << 10), "{host:?} holds {bytes}");
        full += town.metric(host, "atoll_dht_requests_total", "full");
    }
    assert!(full > 100.0, "only {full} were refused");
    for writer in [1, 6, 8, 19] {
        stored(&town.put(HostId(writer), ("a", &format!("by {writer}")), HOUR));
    }
    assert_eq!(town.get(HostId(12), "a").values.len(), 4);
    let reply = town.put(HostId(7), ("a", &value), HOUR);
    assert!(matches!(reply, Reply::Failed { .. } | Reply::DhtStored { .. }), "{reply:?}");
}

#[test]
fn a_packet_that_records_itself_too_long_is_dropped_and_kills_no_edge() {
    let mut town = Town::settled(30, "none", 1);
    let twist: Twist = Box::new(|packet, body| {
        if packet.kind != PacketKind::DhtRequest {
            return body;
        }
        packet.record = true;
        vec![0; 1338 - PacketHeader::LEN - 2 - packet.route.len() * Address::LEN]
    });
    town.corrupt(HostId(7), twist);
    let sum = |town: &mut Town, name: &str, label: &str| -> f64 {
        town.hosts().into_iter().map(|host| town.metric(host, name, label)).sum()
    };
    let before = sum(&mut town, "atoll_peers_lost_total", "public");
    for key in 0..20 {
        town.world.request(HostId(7), put(&format!("key {key}"), "value", HOUR));
        town.world.run_for(Duration::from_secs(3)).unwrap();
    }
    assert!(sum(&mut town, "atoll_drops_total", "too_big") > 0.0);
    assert_eq!(sum(&mut town, "atoll_peers_lost_total", "public"), before);
}
