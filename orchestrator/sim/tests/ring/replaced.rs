//! Carried edges of a private overlay that give way to a better one: nothing that is sent meanwhile is lost or comes twice,
//! and no connection ends.

use std::collections::BTreeMap;
use std::time::Duration;

use atoll_core::Time;
use atoll_core::control::EventKind;
use atoll_core::wire::Address;
use atoll_topology::{Fault, HostId, Loss};

use crate::town::Town;

const GROUP: &str = "group";
/// The private overlay's place in each configuration.
const SLOT: u8 = 1;
/// How often each end sends something to each of its peers.
const EVERY: Duration = Duration::from_millis(50);
/// Long enough for whatever is under way.
const REST: Duration = Duration::from_secs(10);

/// One direction between two members of the private overlay.
#[derive(Debug, Default)]
struct Course {
    /// The kinds of way that it took, one after the other.
    ways: Vec<String>,
    sent: u32,
    /// What arrived, in its order.
    arrived: Vec<u32>,
}

impl Course {
    fn was_replaced(&self) -> bool {
        self.ways.first().is_some_and(|way| way == "carried") && self.ways.len() > 1
    }

    fn is_whole(&self) -> bool {
        let mut numbers = self.arrived.clone();
        numbers.sort_unstable();
        numbers == (0..self.sent).collect::<Vec<_>>()
    }
}

/// Members of a private overlay who all talk to each other.
struct Talk {
    town: Town,
    members: Vec<HostId>,
    courses: BTreeMap<(HostId, HostId), Course>,
    since: Time,
}

impl Talk {
    /// Both rings are settled.
    fn begin(town: Town, members: Vec<HostId>) -> Self {
        let since = town.world.now();
        Self { town, members, courses: BTreeMap::new(), since }
    }

    /// From now on all reach each other.
    fn heal(&mut self) {
        self.town.world.apply(&Fault::Heal { name: "cut".to_owned() });
    }

    /// Goes on talking for so long.
    fn go_on(&mut self, span: Duration) {
        let end = self.town.world.now() + span;
        while self.town.world.now() < end {
            for host in self.members.clone() {
                self.talk(host);
            }
            self.town.world.run_for(EVERY).unwrap();
            self.listen();
        }
    }

    /// Sends the next payload to each peer, once the first one has come to it: more than a few do not wait for keys.
    fn talk(&mut self, from: HostId) {
        for peer in self.town.peers_in(from, GROUP) {
            let Some(to) = self.town.group_host(peer.address) else { continue };
            let course = self.courses.entry((from, to)).or_default();
            if course.ways.last() != Some(&peer.edge) {
                course.ways.push(peer.edge);
            }
            if course.sent == 0 || !course.arrived.is_empty() {
                self.town.world.send(from, (SLOT, peer.address), &course.sent.to_be_bytes());
                course.sent += 1;
            }
        }
    }

    fn listen(&mut self) {
        for one in self.town.world.take_received() {
            let from = self.town.group_host(one.author.address).unwrap();
            let number = u32::from_be_bytes(one.payload.try_into().unwrap());
            self.courses.get_mut(&(from, one.host)).unwrap().arrived.push(number);
        }
    }

    /// Peers that members of the private overlay lost, and why.
    fn lost(&self) -> Vec<(HostId, Address, String)> {
        let of = |host: &HostId| {
            let told = self.town.told_in(*host, GROUP, self.since).into_iter();
            let host = *host;
            told.filter_map(move |kind| match kind {
                EventKind::PeerLost { peer, why } => Some((host, peer, why)),
                _ => None,
            })
        };
        self.members.iter().flat_map(of).collect()
    }

    /// Ends the talk; how many directions found a better way than the carried one that they had first.
    fn end(mut self, what: &str) -> usize {
        self.town.world.run_for(REST).unwrap();
        self.listen();
        assert_eq!(self.lost(), [], "{what}");
        for (direction, course) in &self.courses {
            assert!(course.is_whole(), "{what}: {direction:?}: {}", course.describe());
        }
        let replaced = self.courses.values().filter(|course| course.was_replaced());
        let (replaced, all) = (replaced.count(), self.courses.len());
        println!("{what}: {replaced} of {all} replaced");
        replaced
    }
}

impl Course {
    fn describe(&self) -> String {
        let missing: Vec<u32> = (0..self.sent).filter(|number| !self.arrived.contains(number)).collect();
        let (sent, arrived) = (self.sent, self.arrived.len());
        format!("{:?}: {arrived} of {sent} arrived, missing {missing:?}", self.ways)
    }
}

/// Two settled rings, of all and of these. Of the latter the two sides do not reach each other, so that the public ring
/// carries what they say.
fn settled(mut town: Town, sides: [Vec<HostId>; 2]) -> Talk {
    let members: Vec<HostId> = sides.concat();
    members.iter().for_each(|host| town.join_group(*host));
    town.world.apply(&Fault::PartitionHosts { name: "cut".to_owned(), sides });
    town.start_all();
    town.completes_within(Duration::from_secs(60));
    town.group_completes_within(Duration::from_secs(60));
    town.world.run_for(Duration::from_secs(15)).unwrap();
    Talk::begin(town, members)
}

fn behind_nats(town: &Town, are: bool) -> Vec<HostId> {
    let fits = |host: &HostId| town.world.internet().host(*host).is_public() != are;
    town.hosts().into_iter().filter(fits).collect()
}

#[test]
fn a_carried_edge_behind_symmetric_nats_becomes_a_relayed_one_without_loss() {
    let mut replaced = 0;
    for seed in 1..8 {
        let town = Town::new(60, "symmetric", seed).secured("modelled");
        // Once the public one reaches the others directly, it can relay for them.
        let relay = behind_nats(&town, false).into_iter().skip(3).take(1).collect();
        let others = behind_nats(&town, true).into_iter().skip(2).step_by(15).take(3).collect();
        let mut talk = settled(town, [relay, others]);
        talk.heal();
        // The public ring closes connections that it needs no longer, and loses what is handed to these meanwhile.
        talk.town.world.run_for(Duration::from_secs(8)).unwrap();
        talk.go_on(Duration::from_secs(100));
        replaced += talk.end(&format!("seed {seed}"));
    }
    assert!(replaced > 10, "only {replaced}");
}

#[test]
fn a_carried_edge_becomes_a_direct_one_without_loss_once_the_two_reach_each_other() {
    for (population, seed) in [("cones", 1), ("cones", 2), ("none", 3)] {
        let town = Town::new(30, population, seed).secured("modelled");
        let mut talk = settled(town, [vec![HostId(12)], vec![HostId(21)]]);
        talk.go_on(Duration::from_secs(10));
        talk.heal();
        talk.go_on(Duration::from_secs(120));
        assert_eq!(talk.end(&format!("{population}, seed {seed}")), 2, "both directions are direct");
    }
}

/// Peers that were lost because another edge was better. One that was connected in the same moment does not count: the first word
/// and the end of an edge came one after the other, and nothing went over it.
fn replaced(told: &[EventKind]) -> Vec<EventKind> {
    let is_lost = |kind: &EventKind| matches!(kind, EventKind::PeerLost { why, .. } if why == "replaced by a better edge");
    let is_passing = |before: &EventKind, lost: &EventKind| match (before, lost) {
        (EventKind::PeerConnected { peer: new }, EventKind::PeerLost { peer, .. }) => new == peer,
        _ => false,
    };
    let pairs = told.windows(2).filter(|pair| is_lost(&pair[1]) && !is_passing(&pair[0], &pair[1]));
    pairs.map(|pair| pair[1].clone()).collect()
}

#[test]
fn nobody_loses_a_peer_because_a_better_edge_stands_though_much_is_lost() {
    for (population, seed) in
        [("none", 1), ("cones", 2), ("symmetric", 3), ("default", 4), ("none", 5), ("cones", 6)]
    {
        let group = (0..60).step_by(3).map(HostId);
        let mut town = Town::new(60, population, seed).secured("modelled").grouped(group);
        town.world.apply(&Fault::Loss { sites: None, loss: Loss { independent: 0.05, burst: None } });
        town.start_all();
        town.world.run_for(Duration::from_secs(60)).unwrap();
        let hosts = town.hosts().into_iter();
        let told =
            hosts.flat_map(|host| ["public", GROUP].map(|overlay| town.told_in(host, overlay, Time::ZERO)));
        let lost: Vec<EventKind> = told.flat_map(|told| replaced(&told)).collect();
        assert!(lost.is_empty(), "{population}: {lost:?}");
    }
}
