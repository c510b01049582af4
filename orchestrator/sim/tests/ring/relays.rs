//! Members that cannot reach each other, and those who relay for them.

use std::time::Duration;

use atoll_core::control::{Command, EventKind, Peer, Reply};
use atoll_core::wire::Address;
use atoll_sim::Stop;
use atoll_topology::{Fault, HostId};

use crate::town::Town;

const OVERLAY: &str = "public";

pub(crate) fn peers(town: &mut Town, host: HostId) -> Vec<Peer> {
    let Reply::Peers(peers) = town.world.command(host, Command::Peers { overlay: OVERLAY.to_owned() }) else {
        panic!("peers")
    };
    peers
}

/// A host, a peer of it behind a relay, and the relay.
pub(crate) fn relayed(town: &mut Town) -> Vec<(HostId, Address, Address)> {
    let hosts = town.hosts();
    let all = hosts.into_iter().flat_map(|host| peers(town, host).into_iter().map(move |peer| (host, peer)));
    all.filter(|(_, peer)| peer.edge == "relayed")
        .map(|(host, peer)| (host, peer.address, peer.via.unwrap()))
        .collect()
}

/// Runs until a ping of the member is answered; how long that took.
pub(crate) fn answered(
    town: &mut Town,
    (host, peer): (HostId, Address),
    limit: Duration,
) -> Option<Duration> {
    let start = town.world.now();
    let mut asked = Vec::new();
    while town.world.now() < start + limit {
        let command = Command::Ping { overlay: OVERLAY.to_owned(), address: peer };
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
