//! Members that pass themselves off as neighbours of others, to have a say in what those hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atoll_core::control::Reply;
use atoll_core::wire::{
    Address, Content, Copied, DhtAnswer, FrameHeader, FrameKind, Header, Item, Key, Link, Neighbours,
    PacketHeader, PacketKind, Said, Transport, Upkeep, points,
};
use atoll_core::{Buffer, Deadline, Input, Machine, Node, Output, Pool, Time};
use atoll_sim::Stop;
use atoll_topology::HostId;

use crate::ask::{HOUR, stored};
use crate::town::Town;
use crate::values::held;

/// The bit of the role that neighbours have.
const NEAR: u8 = 1;

/// What intruders have seen in answers, and what they say to all their peers.
#[derive(Default)]
struct Scheme {
    seen: Vec<Item>,
    says: Vec<Upkeep>,
    told: usize,
}

type Plot = Arc<Mutex<Scheme>>;

/// A node that says to everybody that it is near, and what else its plot says.
struct Intruder {
    node: Node,
    pool: Pool,
    plot: Plot,
    /// The peers that it says it to.
    aims: BTreeSet<Transport>,
    /// Where each peer takes what we say.
    edges: BTreeMap<Transport, Header>,
    told: BTreeSet<Transport>,
    outputs: VecDeque<Output>,
}

impl Intruder {
    fn new(node: Node, pool: Pool, plot: Plot, aims: BTreeSet<Transport>) -> Self {
        let (edges, told, outputs) = Default::default();
        Self { node, pool, plot, aims, edges, told, outputs }
    }

    /// Takes apart what goes to a peer or comes from it.
    fn opened(&self, payload: &Buffer) -> Option<(Header, FrameHeader, Buffer)> {
        let mut rest = self.pool.copy(payload);
        let header @ Header::Short { .. } = Header::take(&mut rest).ok()? else { return None };
        let opened = FrameHeader::take(&mut rest).ok()?;
        Some((header, opened, rest))
    }

    fn learn(&self, payload: &Buffer) {
        let Some((_, opened, rest)) = self.opened(payload) else { return };
        let Ok((packet, at)) = PacketHeader::read(&rest) else { return };
        if opened.kind != FrameKind::Packet || packet.kind != PacketKind::DhtAnswer {
            return;
        }
        if let Ok(DhtAnswer { said: Said::Page(page), .. }) = DhtAnswer::read(&rest[at..]) {
            self.plot.lock().unwrap().seen.extend(page.items);
        }
    }

    /// What the node says to a peer, with its claim; nothing in the place of a farewell.
    fn claim(&mut self, to: Transport, payload: Buffer) -> Option<Buffer> {
        let Some((header, opened, rest)) = self.opened(&payload) else { return Some(payload) };
        let mut body = self.pool.take(200);
        match opened.kind {
            FrameKind::Close => return None,
            FrameKind::Link => {
                let link = Link::read(&rest).unwrap();
                Link { roles: link.roles | NEAR, ..link }.write(&mut body);
            }
            FrameKind::Neighbours => {
                let news = Neighbours::read(&rest).unwrap();
                Neighbours { roles: news.roles | NEAR, ..news }.write(&mut body);
            }
            _ => return Some(payload),
        }
        self.edges.insert(to, header);
        opened.prepend(&mut body);
        header.prepend(&mut body);
        Some(body)
    }

    /// Says what the plot says to each peer that it aims at once.
    fn intrude(&mut self) {
        let mut plot = self.plot.lock().unwrap();
        if plot.says.is_empty() {
            return;
        }
        for (to, header) in &self.edges {
            if !self.aims.contains(to) || !self.told.insert(*to) {
                continue;
            }
            plot.told += 1;
            for message in &plot.says {
                let mut payload = self.pool.take(200);
                message.write(&mut payload);
                FrameHeader { kind: FrameKind::Upkeep, ack: None, sequence: None }.prepend(&mut payload);
                header.prepend(&mut payload);
                self.outputs.push_back(Output::Transmit { to: *to, payload });
            }
        }
    }
}

impl Machine for Intruder {
    fn handle_input(&mut self, input: Input, now: Time) {
        if let Input::Datagram { payload, .. } = &input {
            self.learn(payload);
        }
        self.node.handle_input(input, now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.node.handle_timeout(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        while let Some(output) = self.node.poll_output() {
            let Output::Transmit { to, payload } = output else { return Some(output) };
            if let Some(payload) = self.claim(to, payload) {
                return Some(Output::Transmit { to, payload });
            }
        }
        self.intrude();
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.node.poll_timeout()
    }
}

impl Town {
    /// The three hosts that hold what is at a point, the root in the middle.
    pub(crate) fn holders(&self, point: Address) -> [HostId; 3] {
        let nearest = self.hosts().into_iter().min_by_key(|host| self.member(*host).distance(point));
        let root = nearest.unwrap();
        let [before, after] = self.neighbours(root);
        [before, root, after]
    }

    /// Starts a host again that intrudes, with these as its bootstraps.
    fn intrude(&mut self, host: HostId, bootstraps: &[HostId], plot: &Plot) {
        let own = self.member(host);
        self.stop(host, Stop::Kill);
        self.completes_within(Duration::from_secs(30));
        self.start_at(host, own, bootstraps);
        self.world.stop(host, Stop::Kill);
        let (pool, plot) = (self.world.pool().clone(), Arc::clone(plot));
        let aims = bootstraps.iter().map(|host| self.world.socket(*host).unwrap().into()).collect();
        self.restart_as(host, |node| Box::new(Intruder::new(node, pool, plot, aims)));
        self.completes_within(Duration::from_secs(30));
    }

    /// Hosts whose members are far from all of these on the ring: at least so many members are between.
    fn far_from(&self, holders: &[HostId], between: usize) -> Vec<HostId> {
        let mut ring = self.hosts();
        ring.sort_by_key(|host| self.member(*host));
        let count = ring.len();
        let at = |host: &HostId| ring.iter().position(|one| one == host).unwrap();
        let near: BTreeSet<usize> = holders.iter().map(at).collect();
        let far = (0..count).filter(|one| {
            near.iter().all(|other| {
                (one + count - other) % count > between && (other + count - one) % count > between
            })
        });
        far.map(|at| ring[at]).collect()
    }

    fn unasked(&mut self, hosts: &[HostId]) -> f64 {
        hosts.iter().map(|host| self.metric(*host, "atoll_drops_total", "unasked")).sum()
    }
}

/// A value that an intruder says was created.
fn made_up(key: &str, value: &str) -> Copied {
    let creator = Address::from_bytes([7; Address::LEN]);
    let content = Content::Created { value: value.as_bytes().to_vec(), creator };
    Copied { key: Key::named(key), writer: creator, item: Item { stamp: 7, lease: 80_000_000, content } }
}

/// A made-up value for a key whose mark is lower than the one of what is there.
fn made_up_below(key: &str, there: &Item) -> Copied {
    let lower = |one: &Copied| one.item.content.mark() < there.content.mark();
    (0..).map(|number| made_up(key, &format!("a lie {number}"))).find(lower).unwrap()
}

/// All that an intruder may say about a value that was created.
fn slander(key: &str, there: &Item) -> Vec<Upkeep> {
    let place = Key::named(key).place();
    let prolonged = Item { stamp: 8, lease: 86_000_000, ..there.clone() };
    vec![
        Upkeep::Keep(vec![made_up_below(key, there)]),
        Upkeep::Keep(vec![made_up("nothing", "a lie")]),
        Upkeep::Keep(vec![Copied { item: prolonged, ..made_up(key, "") }]),
        Upkeep::Gone { place, stamp: there.stamp },
        Upkeep::Gone { place, stamp: 8 },
    ]
}

/// Has an intruder see what was created, and then say all that there is to say.
fn slander_as(town: &mut Town, intruder: HostId, plot: &Plot) {
    town.get(intruder, "a");
    let seen = plot.lock().unwrap().seen.clone();
    let there = seen.iter().find(|item| item.content.value() == b"mine").unwrap();
    plot.lock().unwrap().says = slander("a", there);
}

#[track_caller]
fn is_mine(town: &mut Town, readers: &[u32]) {
    for reader in readers {
        let found = town.get(HostId(*reader), "a");
        assert_eq!(found.texts(), ["mine"], "{found:?}");
        assert!(found.complete && found.values[0].lease_seconds <= HOUR as f64, "{found:?}");
        assert!(town.get(HostId(*reader), "nothing").values.is_empty());
    }
}

#[test]
fn members_that_claim_to_be_near_to_all_holders_neither_delete_nor_replace_a_value() {
    let mut town = Town::settled(80, "none", 1);
    stored(&town.create(HostId(3), ("a", "mine"), HOUR));
    let all: Vec<[HostId; 3]> =
        points(Key::named("a").place()).into_iter().map(|point| town.holders(point)).collect();
    let mut intruders = town.far_from(all.as_flattened(), 4);
    intruders.retain(|host| ![HostId(0), HostId(3)].contains(host));
    let plot = Plot::default();
    let before = town.unasked(all.as_flattened());
    for (holders, intruder) in all.iter().zip(&intruders) {
        town.intrude(*intruder, holders, &plot);
    }
    town.world.run_for(Duration::from_secs(3)).unwrap();
    slander_as(&mut town, intruders[0], &plot);
    for intruder in &intruders[..3] {
        town.get(*intruder, "a");
    }
    town.world.run_for(Duration::from_secs(2)).unwrap();
    let told = plot.lock().unwrap().told;
    assert!(told >= 9, "only {told} were told");
    let readers: Vec<u32> =
        (0..80).filter(|host| !intruders[..3].contains(&HostId(*host))).step_by(9).collect();
    is_mine(&mut town, &readers);
    assert_eq!(held(&mut town), (3.0, 6.0));
    let refused = town.unasked(all.as_flattened()) - before;
    assert!(refused >= 45.0, "only {refused} were refused");
    town.world.run_for(Duration::from_secs(300)).unwrap();
    is_mine(&mut town, &readers);
    assert_eq!(held(&mut town), (3.0, 6.0));
    assert_eq!(town.create(HostId(20), ("a", "another"), HOUR), Reply::DhtExists);
}

#[test]
fn a_true_neighbour_that_slanders_spoils_its_own_point_at_most() {
    for (seed, place) in [(1, 0), (1, 1), (2, 2)] {
        let mut town = Town::settled(30, "none", seed);
        stored(&town.create(HostId(3), ("a", "mine"), HOUR));
        let holders = town.holders(points(Key::named("a").place())[1]);
        let (intruder, plot) = (holders[place], Plot::default());
        let bootstraps = holders.map(|host| if host == intruder { HostId(0) } else { host });
        town.intrude(intruder, &bootstraps, &plot);
        town.world.run_for(Duration::from_secs(20)).unwrap();
        slander_as(&mut town, intruder, &plot);
        town.get(intruder, "a");
        town.world.run_for(Duration::from_secs(150)).unwrap();
        assert!(plot.lock().unwrap().told >= 2);
        let readers: Vec<u32> = (0..30).filter(|host| HostId(*host) != intruder).step_by(6).collect();
        is_mine(&mut town, &readers);
        town.stop(intruder, Stop::Kill);
        town.completes_within(Duration::from_secs(30));
        is_mine(&mut town, &readers);
        assert_eq!(town.create(HostId(20), ("a", "another"), HOUR), Reply::DhtExists);
    }
}
