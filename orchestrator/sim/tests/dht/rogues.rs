//! Members that lie, forge and flood.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atoll_core::control::{Command, OwnerProof, Reply, State};
use atoll_core::dht::BYTES_MAX;
use atoll_core::wire::{
    Address, Ask, Content, Denial, DhtAnswer, DhtRequest, FrameHeader, FrameKind, Header, Item, Key,
    PacketHeader, PacketKind, Page, Proof, Said, points,
};
use atoll_core::{Buffer, Deadline, Input, Machine, Node, Output, Pool, Rng, Time};
use atoll_sim::Stop;
use atoll_topology::HostId;

use crate::ask::{HOUR, OVERLAY, put, put_owned, stored};
use crate::town::Town;
use crate::values::{held, said};

/// The point for which a rogue reads whatever shall be written, and writes nothing, as long as there is one.
type Deaf = Arc<Mutex<Option<Address>>>;
type Twist = Box<dyn FnMut(&mut PacketHeader, Vec<u8>) -> Vec<u8> + Send>;

/// A node whose own packets of the DHT are changed before they leave.
struct Rogue {
    node: Node,
    own: Address,
    pool: Pool,
    twist: Twist,
    deaf: Deaf,
}

impl Rogue {
    /// Changes the packet in a datagram, if it is one.
    fn changed(
        &mut self,
        payload: Buffer,
        change: impl FnOnce(&mut Self, &mut PacketHeader, Vec<u8>) -> Vec<u8>,
    ) -> Buffer {
        let mut rest = self.pool.copy(&payload);
        let (Ok(header @ Header::Short { .. }), Ok(opened)) =
            (Header::take(&mut rest), FrameHeader::take(&mut rest))
        else {
            return payload;
        };
        let Ok((mut packet, at)) = PacketHeader::read(&rest) else { return payload };
        let is_dht = matches!(packet.kind, PacketKind::DhtRequest | PacketKind::DhtAnswer);
        if opened.kind != FrameKind::Packet || !is_dht {
            return payload;
        }
        let body = change(self, &mut packet, rest[at..].to_vec());
        let mut twisted = self.pool.copy(&body);
        packet.prepend(&mut twisted);
        opened.prepend(&mut twisted);
        header.prepend(&mut twisted);
        twisted
    }

    fn twisted(&mut self, payload: Buffer) -> Buffer {
        self.changed(
            payload,
            |rogue, packet, body| {
                if packet.source == rogue.own { (rogue.twist)(packet, body) } else { body }
            },
        )
    }

    /// The same request as a reading.
    fn harmless(&mut self, payload: Buffer) -> Buffer {
        self.changed(payload, |rogue, packet, body| match DhtRequest::read(&body) {
            Ok(request) if Some(packet.destination) == *rogue.deaf.lock().unwrap() => {
                let request = DhtRequest { ask: Ask::Get(None), ..request };
                written(|body| request.write(body))
            }
            _ => body,
        })
    }
}

impl Machine for Rogue {
    fn handle_input(&mut self, input: Input, now: Time) {
        let input = match input {
            Input::Datagram { from, payload } if self.deaf.lock().unwrap().is_some() => {
                Input::Datagram { from, payload: self.harmless(payload) }
            }
            input => input,
        };
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
    pub(crate) fn root(&self, key: &Key, point: usize) -> HostId {
        let point = points(key.place())[point];
        self.hosts().into_iter().min_by_key(|host| self.member(*host).distance(point)).unwrap()
    }

    /// Starts a host again as a rogue, and waits until it has its place.
    fn corrupt(&mut self, host: HostId, twist: Twist) {
        self.corrupt_deaf(host, Deaf::default(), twist);
    }

    fn corrupt_deaf(&mut self, host: HostId, deaf: Deaf, twist: Twist) {
        let own = self.member(host);
        self.stop(host, Stop::Kill);
        self.completes_within(Duration::from_secs(30));
        let pool = self.world.pool().clone();
        self.restart_as(host, |node| Box::new(Rogue { node, own, pool, twist, deaf }));
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
fn a_point_that_answers_with_a_wrong_signature_is_not_believed() {
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

#[test]
fn a_point_that_answers_with_an_older_value_of_the_owner_is_not_believed() {
    let mut town = Town::settled(20, "none", 1);
    let (owner, first) = said(1, "first", 7);
    let (_, second) = said(1, "second", 9);
    let key = Key::owned(owner, "home");
    let Command::DhtPutProved { value, proof, .. } = first.clone() else { unreachable!() };
    let OwnerProof { public, sequence, lease_millis: lease, signature } = proof;
    let content = Content::Owned { value, proof: Proof { public, sequence, lease, signature } };
    let old = Item { stamp: 3, lease: 500_000, content };
    for point in 0..3 {
        stored(&town.ask(HostId(3), first.clone()));
        assert_eq!(town.get_of(HostId(5), "home", Some(owner)).texts(), ["first"], "it is genuine");
        stored(&town.ask(HostId(3), second.clone()));
        let (liar, old) = (town.root(&key, point), old.clone());
        town.corrupt(liar, pages(move |page| Page { items: vec![old.clone()], ..page }));
        for reader in town.hosts().into_iter().filter(|host| *host != liar).step_by(4) {
            let found = town.get_of(reader, "home", Some(owner));
            assert_eq!(found.texts(), ["second"], "{found:?}");
        }
        town.stop(liar, Stop::Kill);
        town.restart(liar);
        town.completes_within(Duration::from_secs(30));
        // Until the leases are over.
        town.world.run_for(Duration::from_secs(700)).unwrap();
    }
}

/// Says the same whatever is asked, as long as it is deaf.
fn says(lie: Said, deaf: &Deaf) -> Twist {
    let deaf = Arc::clone(deaf);
    Box::new(move |packet, body| match DhtAnswer::read(&body) {
        Ok(DhtAnswer { id, .. })
            if packet.kind == PacketKind::DhtAnswer && deaf.lock().unwrap().is_some() =>
        {
            let answer = DhtAnswer { id, said: lie.clone() };
            written(|body| answer.write(body))
        }
        _ => body,
    })
}

#[test]
fn a_point_that_lies_about_what_it_stored_claims_no_value_and_denies_none() {
    let lies = [Said::Stored(90_000_000), Said::Granted, Said::Refused(Denial::Exists)];
    let mut town = Town::settled(30, "none", 1);
    for (number, lie) in lies.into_iter().enumerate() {
        for point in 0..3 {
            let [free, open] = ["created", "put"].map(|what| format!("{what} {number} {point}"));
            for (key, other) in [(&free, &open), (&open, &free)] {
                let liar = town.root(&Key::named(key), point);
                let deaf = Deaf::new(Mutex::new(Some(points(Key::named(key).place())[point])));
                town.corrupt_deaf(liar, Arc::clone(&deaf), says(lie.clone(), &deaf));
                let hosts: Vec<HostId> = town.hosts().into_iter().filter(|host| *host != liar).collect();
                let told = format!("{lie:?} at point {point} of {key}, not {other}");
                if *key == free {
                    assert!(stored(&town.create(hosts[3], (key, "mine"), HOUR)) <= HOUR as f64, "{told}");
                    assert_eq!(town.create(hosts[9], (key, "theirs"), HOUR), Reply::DhtExists, "{told}");
                    assert_eq!(town.put(hosts[9], (key, "beside"), HOUR), Reply::DhtExists, "{told}");
                } else {
                    assert!(stored(&town.put(hosts[3], (key, "mine"), HOUR)) <= HOUR as f64, "{told}");
                    assert_eq!(town.create(hosts[9], (key, "theirs"), HOUR), Reply::DhtExists, "{told}");
                }
                town.world.run_for(Duration::from_secs(20)).unwrap();
                for reader in hosts.iter().step_by(7) {
                    let found = town.get(*reader, key);
                    assert_eq!(found.texts(), ["mine"], "{told}");
                    assert!(found.complete, "{told}");
                }
                town.stop(liar, Stop::Kill);
                town.restart(liar);
                town.completes_within(Duration::from_secs(30));
            }
        }
    }
}

#[test]
fn a_bootstrap_that_lies_for_all_points_makes_up_no_value_of_an_owner() {
    let (owner, first) = said(1, "first", 7);
    let Command::DhtPutProved { value, proof, .. } = first else { unreachable!() };
    let OwnerProof { public, sequence, lease_millis: lease, signature } = proof;
    let genuine = Content::Owned { value, proof: Proof { public, sequence, lease, signature } };
    for is_genuine in [true, false] {
        let mut town = Town::new(2, "none", 1);
        town.start(HostId(0));
        let (own, content) = (town.member(HostId(0)), genuine.clone());
        let lie = pages(move |_| {
            let mut owned = Item { stamp: 3, lease: 500_000, content: content.clone() };
            if let Content::Owned { value, .. } = &mut owned.content
                && !is_genuine
            {
                value.push(b'!');
            }
            let mut items = vec![owned, made_up("a lie")];
            items.sort_by_key(|item| item.content.mark());
            Page { items, more: false, unsure: false }
        });
        town.stop(HostId(0), Stop::Kill);
        let pool = town.world.pool().clone();
        town.restart_as(HostId(0), |node| {
            Box::new(Rogue { node, own, pool, twist: lie, deaf: Deaf::default() })
        });
        town.world.run_for(Duration::from_secs(5)).unwrap();
        town.start(HostId(1));
        town.world.run_for(Duration::from_millis(420)).unwrap();
        let Reply::Status(status) = town.world.command(HostId(1), Command::Status) else { panic!() };
        assert_eq!(status[0].state, State::Joining, "it has nobody else to ask yet");
        let read = |town: &mut Town, key: &str, owner| {
            let command = Command::DhtGet { overlay: OVERLAY.into(), key: key.into(), owner, after: None };
            town.world.request(HostId(1), command)
        };
        let (owned, plain) = (read(&mut town, "home", Some(owner)), read(&mut town, "a", None));
        let values = |town: &mut Town, id| match town.answer(id).1 {
            Reply::DhtValues { values, .. } => values.into_iter().map(|one| one.value).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        let expected: &[&[u8]] = if is_genuine { &[b"first"] } else { &[] };
        assert_eq!(values(&mut town, owned), expected);
        // What nobody signs it can make up: it speaks for all the points.
        assert_eq!(values(&mut town, plain), [b"a lie"]);
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
fn a_key_whose_creation_failed_can_be_created_at_once() {
    let mut town = Town::settled(30, "none", 1);
    let key = Key::named("a");
    let mut ears = Vec::new();
    for point in 0..2 {
        let deaf = Deaf::new(Mutex::new(Some(points(key.place())[point])));
        let lie = says(Said::Refused(Denial::Exists), &deaf);
        let liar = town.root(&key, point);
        town.corrupt_deaf(liar, Arc::clone(&deaf), lie);
        ears.push((liar, deaf));
    }
    let is_honest = |host: &HostId| ears.iter().all(|(liar, _)| liar != host);
    let hosts: Vec<HostId> = town.hosts().into_iter().filter(is_honest).collect();
    assert_eq!(town.create(hosts[3], ("a", "half"), HOUR), Reply::DhtExists);
    ears.iter().for_each(|(_, deaf)| *deaf.lock().unwrap() = None);
    // What it claimed at the third point is given back, long before the claim ends by itself.
    town.world.run_for(Duration::from_secs(1)).unwrap();
    stored(&town.create(hosts[9], ("a", "whole"), HOUR));
    town.world.run_for(Duration::from_secs(5)).unwrap();
    let contended: f64 =
        hosts.iter().map(|host| town.metric(*host, "atoll_dht_requests_total", "contended")).sum();
    assert_eq!((contended, held(&mut town)), (0.0, (3.0, 6.0)));
    assert_eq!(town.get(hosts[15], "a").texts(), ["whole"]);
}

/// Requests that all members but the rogue refused, or did not read.
fn turned_away(town: &mut Town, rogue: HostId) -> f64 {
    let honest: Vec<HostId> = town.hosts().into_iter().filter(|host| *host != rogue).collect();
    let refused: f64 =
        honest.iter().map(|host| town.metric(*host, "atoll_dht_refused_total", "public")).sum();
    refused + honest.iter().map(|host| town.metric(*host, "atoll_drops_total", "malformed")).sum::<f64>()
}

/// Puts that nobody may store, each wrong in another way.
fn wrong_writes() -> [Twist; 6] {
    let write = |request: &DhtRequest, item: Item| {
        let request = DhtRequest { ask: Ask::Put(item), ..request.clone() };
        written(|body| request.write(body))
    };
    let proof = || Proof { public: vec![4; 91], sequence: 9, lease: 1000, signature: vec![5; 70] };
    [
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
    ]
}

#[test]
fn writes_that_are_wrong_are_stored_nowhere() {
    let keys: Vec<String> = (0..8).map(|key| format!("key {key}")).collect();
    // Where it is the root itself nothing changes its writes, and it may hold what it likes.
    let town = Town::settled(20, "none", 1);
    let rogue = town.root(&Key::named(&keys[0]), 0);
    let own_points = |town: &Town, key: &String| {
        (0..3).filter(|point| town.root(&Key::named(key), *point) == rogue).count()
    };
    let [reader, writer] = [8, 9].map(|number| HostId((rogue.0 + number) % 20));
    let own: usize = keys.iter().map(|key| own_points(&town, key)).sum();
    assert!(keys.iter().any(|key| own_points(&town, key) == 1), "one point alone is not believed");
    let foreign = (3 * keys.len() - own) as f64;
    for (number, change) in wrong_writes().into_iter().enumerate() {
        let mut town = Town::settled(20, "none", 1);
        town.corrupt(rogue, change);
        let lost = |town: &mut Town| town.metric(reader, "atoll_peers_lost_total", "public");
        let before = (lost(&mut town), turned_away(&mut town, rogue));
        for key in &keys {
            town.world.request(rogue, put(key, "value", HOUR));
        }
        town.world.run_for(Duration::from_secs(15)).unwrap();
        let away = turned_away(&mut town, rogue) - before.1;
        assert!(away >= foreign, "change {number}: {away} of {foreign} were turned away");
        assert_eq!(held(&mut town), (own as f64, 2.0 * own as f64), "change {number}");
        assert_eq!(lost(&mut town), before.0, "change {number}");
        for key in &keys {
            let expected = vec!["value"; usize::from(own_points(&town, key) >= 2)];
            assert_eq!(town.get(reader, key).texts(), expected, "change {number}");
        }
        assert!(town.get(reader, "elsewhere").values.is_empty());
        stored(&town.put(writer, ("a", "good"), HOUR));
        assert_eq!(town.get(reader, "a").texts(), ["good"]);
    }
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
fn a_flood_under_drawn_addresses_neither_pushes_out_nor_keeps_out_what_others_put() {
    let mut town = Town::settled(20, "none", 1);
    // All these are held by the same members.
    let roots = |town: &Town, key: &str| [0, 1, 2].map(|point| town.root(&Key::named(key), point));
    let aim = roots(&town, "aim");
    let mut keys = (0..).map(|number| format!("key {number}")).filter(|key| roots(&town, key) == aim);
    let [held, created] = [keys.next().unwrap(), keys.next().unwrap()];
    let (flooded, new): (Vec<String>, Vec<String>) =
        (keys.by_ref().take(10).collect(), keys.take(20).collect());
    let free = |host: &HostId| !aim.contains(host) && ![HostId(3), HostId(4)].contains(host);
    let rogue = town.hosts().into_iter().rev().find(free).unwrap();
    stored(&town.put(HostId(3), (&held, "held"), HOUR));
    stored(&town.create(HostId(4), (&created, "created"), HOUR));
    let mut rng = Rng::new([9; 32]);
    let twist: Twist = Box::new(move |packet, body| {
        if packet.kind == PacketKind::DhtRequest {
            let mut drawn = [0; Address::LEN];
            rng.fill(&mut drawn);
            packet.source = Address::from_bytes(drawn);
        }
        body
    });
    town.corrupt(rogue, twist);
    let filling = "x".repeat(1000);
    for round in 0..10 {
        for number in 0..400 {
            let value = format!("{round} {number} {filling}");
            town.world.request(rogue, put(&flooded[number % 10], &value, 10 * HOUR));
        }
        town.world.run_for(Duration::from_secs(7)).unwrap();
    }
    town.world.run_for(Duration::from_secs(60)).unwrap();
    let sum = |town: &mut Town, name: &str, label: &str| aim.map(|host| town.metric(host, name, label));
    let bytes = sum(&mut town, "atoll_dht_bytes", "public");
    let full: f64 = sum(&mut town, "atoll_dht_requests_total", "full").iter().sum();
    println!("bytes at the roots {bytes:?}, {full} requests refused there");
    assert!(full > 1000.0, "only {full} were refused");
    for host in town.hosts() {
        assert!(town.metric(host, "atoll_dht_bytes", "public") <= BYTES_MAX as f64);
    }
    assert!(stored(&town.put(HostId(3), (&held, "held"), 2 * HOUR)) > 7000.0);
    assert!(stored(&town.create(HostId(4), (&created, "created"), 2 * HOUR)) > 7000.0);
    let mut taken = 0;
    for (number, key) in new.iter().enumerate() {
        let writer = HostId(number as u32);
        if writer != rogue && matches!(town.put(writer, (key, "new"), HOUR), Reply::DhtStored { .. }) {
            taken += 1;
            assert_eq!(town.get(HostId(5), key).texts(), ["new"]);
        }
    }
    println!("{taken} of 19 new values were taken");
    assert_eq!(town.get(HostId(5), &held).texts(), ["held"]);
    assert_eq!(town.get(HostId(5), &created).texts(), ["created"]);
    assert!(taken >= 10, "only {taken} new values were taken");
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
