//! Members that cannot reach each other, and those who relay for them.

use std::time::Duration;

use atoll_core::config::RelayConfig;
use atoll_core::control::{Command, EventKind, Peer, Reply};
use atoll_core::wire::Address;
use atoll_sim::Stop;
use atoll_topology::{Fault, HostId, Population, Share, preset};

use crate::town::Town;

const OVERLAY: &str = "public";
const GROUP: &str = "group";

pub(crate) fn peers(town: &mut Town, host: HostId) -> Vec<Peer> {
    town.peers_in(host, OVERLAY)
}

/// A host, a peer of it behind a relay, and the relay.
pub(crate) fn relayed(town: &mut Town) -> Vec<(HostId, Address, Address)> {
    let hosts = town.hosts();
    relayed_in(town, OVERLAY, hosts)
}

/// The same among these hosts' members of an overlay.
fn relayed_in(town: &mut Town, overlay: &str, hosts: Vec<HostId>) -> Vec<(HostId, Address, Address)> {
    let all = hosts.into_iter().flat_map(|host| {
        let peers = town.peers_in(host, overlay).into_iter();
        peers.map(move |peer| (host, peer))
    });
    all.filter(|(_, peer)| peer.edge == "relayed")
        .map(|(host, peer)| (host, peer.address, peer.via.unwrap()))
        .collect()
}

/// Runs until a ping of the member is answered; how long that took.
pub(crate) fn answered(town: &mut Town, pair: (HostId, Address), limit: Duration) -> Option<Duration> {
    answered_in(town, OVERLAY, pair, limit)
}

/// The same in an overlay.
fn answered_in(
    town: &mut Town,
    overlay: &str,
    (host, peer): (HostId, Address),
    limit: Duration,
) -> Option<Duration> {
    let start = town.world.now();
    let mut asked = Vec::new();
    while town.world.now() < start + limit {
        let command = Command::Ping { overlay: overlay.to_owned(), address: peer };
        asked.push(town.world.request(host, command));
        town.world.run_for(Duration::from_millis(100)).unwrap();
        let replies: Vec<_> = asked.iter().filter_map(|id| town.world.take_reply(*id)).collect();
        if let Some((at, _)) = replies.into_iter().find(|(_, reply)| matches!(reply, Reply::Ping { .. })) {
            return Some(at.since(start));
        }
    }
    None
}

#[test]
fn a_ring_behind_symmetric_nats_is_complete() {
    for seed in 1..4 {
        let mut town = Town::new(60, "symmetric", seed);
        town.start_all();
        let took = town.completes_within(Duration::from_secs(40));
        town.world.run_for(Duration::from_secs(60)).unwrap();
        let relayed = relayed(&mut town).len();
        println!("{took:?}, {relayed} relayed");
        assert!(town.is_complete() && relayed > 100, "{} wrong, {relayed} relayed", town.wrong());
    }
}

#[test]
fn a_relay_that_dies_is_replaced_while_the_connection_stands() {
    let mut town = Town::settled(60, "symmetric", 2);
    let mut times = Vec::new();
    for _ in 0..5 {
        let (host, peer, via) = relayed(&mut town)[times.len() * 7];
        let relay = town.host(via).unwrap();
        town.stop(relay, Stop::Kill);
        let killed = town.world.now();
        times.push(answered(&mut town, (host, peer), Duration::from_secs(10)).expect("it is answered"));
        let lost = |kind: &EventKind| matches!(kind, EventKind::PeerLost { peer: lost, .. } if *lost == peer);
        assert!(town.told_since(host, killed).iter().all(|kind| !lost(kind)), "the connection closed");
        let list = peers(&mut town, host);
        let now = list.iter().find(|one| one.address == peer).expect("they are connected");
        assert!(now.edge != "relayed" || now.via != Some(via), "{now:?}");
        town.restart(relay);
        town.world.run_for(Duration::from_secs(60)).unwrap();
    }
    println!("{times:?}");
    assert!(times.iter().all(|time| *time < Duration::from_secs(2)), "{times:?}");
}

#[test]
fn a_relay_that_reaches_one_end_no_longer_is_left_and_the_connection_stands() {
    let mut town = Town::settled(60, "symmetric", 3);
    for turn in 0..5 {
        let (host, peer, via) = relayed(&mut town)[turn * 7];
        let [relay, end] = [via, peer].map(|member| town.host(member).unwrap());
        let sides = [vec![relay], vec![end]];
        town.world.apply(&Fault::PartitionHosts { name: "cut".to_owned(), sides });
        let cut = town.world.now();
        town.world.run_for(Duration::from_secs(60)).unwrap();
        let lost = |kind: &EventKind| matches!(kind, EventKind::PeerLost { peer: lost, .. } if *lost == peer);
        assert!(town.told_since(host, cut).iter().all(|kind| !lost(kind)), "the connection closed");
        let list = peers(&mut town, host);
        let now = list.iter().find(|one| one.address == peer).expect("they are connected");
        assert!(now.via != Some(via), "{now:?}");
        town.world.apply(&Fault::Heal { name: "cut".to_owned() });
        town.world.run_for(Duration::from_secs(60)).unwrap();
    }
}

/// A private ring of every third of 60 behind symmetric NATs.
fn group(seed: u8) -> (Town, Vec<HostId>) {
    let group: Vec<HostId> = (0..60).step_by(3).map(HostId).collect();
    let mut town = Town::new(60, "symmetric", seed).secured("modelled").grouped(group.clone());
    town.start_all();
    town.completes_within(Duration::from_secs(60));
    town.group_completes_within(Duration::from_secs(60));
    town.world.run_for(Duration::from_secs(120)).unwrap();
    (town, group)
}

#[test]
fn a_member_of_a_group_that_relays_and_dies_is_replaced_while_the_private_connection_stands() {
    let (mut town, group) = group(5);
    let mut times = Vec::new();
    for turn in 0..4 {
        let all = relayed_in(&mut town, GROUP, group.clone());
        let (host, peer, via) = all[turn * 5 % all.len()];
        let relay = town.group_host(via).expect("who relays is a member of the group");
        assert!(group.contains(&relay), "{relay:?}");
        town.stop(relay, Stop::Kill);
        let killed = town.world.now();
        let limit = Duration::from_secs(10);
        times.push(answered_in(&mut town, GROUP, (host, peer), limit).expect("it is answered"));
        let lost = |kind: &EventKind| matches!(kind, EventKind::PeerLost { peer: lost, .. } if *lost == peer);
        let told = town.told_in(host, GROUP, killed);
        assert!(told.iter().all(|kind| !lost(kind)), "the connection closed: {told:?}");
        let list = town.peers_in(host, GROUP);
        let now = list.iter().find(|one| one.address == peer).expect("they are connected");
        assert!(now.via != Some(via), "{now:?}");
        if now.edge == "relayed" {
            let other = now.via.and_then(|via| town.group_host(via));
            assert!(other.is_some_and(|other| group.contains(&other)), "{now:?}");
        }
        town.restart(relay);
        town.world.run_for(Duration::from_secs(60)).unwrap();
        town.group_completes_within(Duration::from_secs(60));
    }
    println!("{times:?}");
    assert!(times.iter().all(|time| *time < Duration::from_secs(2)), "{times:?}");
}

/// Pairs that each member relays for at most, and bytes in a second.
const PAIRS: usize = 4;
const RATE: u64 = 5_000;

/// Half of the members are public and relay for the others, whose NATs are symmetric.
fn narrow(seed: u8) -> Town {
    let shares = [(1.0, vec![]), (1.0, vec![preset("symmetric").unwrap()])];
    let shares = shares.map(|(weight, behind)| Share { weight, behind });
    let population = Population::new(shares.to_vec()).unwrap();
    let relay = RelayConfig { pairs: PAIRS, bytes_per_second: RATE };
    Town::drawn(60, &population, Duration::from_millis(100), seed).secured("modelled").relaying(relay)
}

/// Pairs that a host's member relays for now, and the bytes that it has relayed.
fn burden(town: &mut Town, host: HostId) -> [f64; 2] {
    ["atoll_relayed_pairs", "atoll_relay_bytes_total"].map(|name| town.metric(host, name, OVERLAY))
}

#[test]
fn nobody_relays_more_than_it_allows_and_the_ring_is_complete_all_the_same() {
    for seed in 1..3 {
        let mut town = narrow(seed);
        town.start_all();
        let took = town.completes_within(Duration::from_secs(120));
        let hosts = town.hosts();
        let (mut most, mut before) = (0.0_f64, vec![0.0; hosts.len()]);
        let settled = town.world.now() + Duration::from_secs(120);
        for second in 0..240_u32 {
            town.world.run_for(Duration::from_secs(1)).unwrap();
            for (host, before) in hosts.iter().zip(&mut before) {
                let [pairs, bytes] = burden(&mut town, *host);
                assert!(pairs <= PAIRS as f64, "{host:?} relays for {pairs} pairs");
                // What was saved up before, and what comes by in this second.
                let passed = bytes - std::mem::replace(before, bytes);
                assert!(second == 0 || passed <= 2.0 * RATE as f64, "{host:?} relays {passed} B in a second");
                most = most.max(pairs);
            }
        }
        assert!(town.is_complete(), "{} have wrong neighbours", town.wrong());
        let relayed = relayed(&mut town).len();
        let refused: f64 =
            hosts.iter().map(|host| town.metric(*host, "atoll_drops_total", "not_relayed")).sum();
        println!("{took:?}, {relayed} relayed, {most} pairs at most, {refused} packets refused");
        assert!(most == PAIRS as f64 && refused > 0.0, "the bound is never met");
        let lost = lost_for_a_fault(&town, settled);
        assert!(lost.is_empty(), "{lost:?}");
    }
}

/// Connections that ended since then for another reason than that one of the two does without them.
fn lost_for_a_fault(town: &Town, since: atoll_core::Time) -> Vec<(HostId, EventKind)> {
    let of = |host: HostId| town.told_in(host, OVERLAY, since).into_iter().map(move |kind| (host, kind));
    // A table is full, as it says, for shortcuts that nobody needs.
    let fine = ["no longer needed", "the peer's connection table is full"];
    let is_fault = |(_, kind): &(HostId, EventKind)| match kind {
        EventKind::PeerLost { why, .. } => !fine.contains(&&**why),
        _ => false,
    };
    town.hosts().into_iter().flat_map(of).filter(is_fault).collect()
}
