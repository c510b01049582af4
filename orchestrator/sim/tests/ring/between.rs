//! What members learn of that which they pass on for others: nothing of its content. Spoilers that only watch see every packet
//! that they pass on in the clear.

use std::time::Duration;

use atoll_core::wire::PacketKind;
use atoll_topology::HostId;

use crate::relays::relayed;
use crate::spoiler::Spoil;
use crate::strangers::{self, END};
use crate::town::Town;

/// What the ends say to each other.
const SECRET: &[u8] = b"what only the two ends of an edge shall know";
const WAIT: Duration = Duration::from_secs(5);

/// From now on everybody watches packets of this kind.
fn watch(town: &mut Town, kind: PacketKind) {
    for host in town.hosts() {
        town.turn(host, Some((kind, Spoil::Watch)));
    }
}

/// Packets that were watched since then, and how many of them show what the ends said.
fn seen(town: &mut Town) -> (usize, usize) {
    let hosts = town.hosts();
    let packets: Vec<Vec<u8>> = hosts.into_iter().flat_map(|host| town.switch(host).take_seen()).collect();
    let shows = |packet: &&Vec<u8>| packet.windows(SECRET.len()).any(|window| window == SECRET);
    (packets.len(), packets.iter().filter(shows).count())
}

#[test]
fn whoever_relays_for_two_peers_does_not_see_what_they_say_to_each_other() {
    let mut town = Town::new(60, "symmetric", 2).secured("dtls").corruptible().settle();
    watch(&mut town, PacketKind::Relayed);
    let pairs: Vec<_> = relayed(&mut town).into_iter().step_by(10).take(10).collect();
    for (host, peer, _) in &pairs {
        // The first is sealed by the edge alone, the second one end to end as well.
        town.world.carry(*host, (0, *peer), SECRET);
        town.world.send(*host, (0, *peer), SECRET);
    }
    town.world.run_for(WAIT).unwrap();
    let carried = town.world.take_carried();
    assert_eq!(carried.iter().filter(|one| one.payload == SECRET).count(), pairs.len());
    assert_eq!(town.world.take_received().len(), pairs.len());
    let (packets, plain) = seen(&mut town);
    println!("{packets} packets");
    assert!(packets >= 2 * pairs.len() && plain == 0, "{plain} of {packets} show it");
}

#[test]
fn whoever_hands_on_what_a_program_sends_sees_it_so_that_the_watch_is_worth_something() {
    let mut town = Town::new(30, "cones", 2).secured("dtls").corruptible().settle();
    watch(&mut town, PacketKind::Carried);
    for to in 1..30 {
        let to = town.member(HostId(to));
        town.world.carry(HostId(0), (0, to), SECRET);
    }
    town.world.run_for(WAIT).unwrap();
    let (packets, plain) = seen(&mut town);
    assert!(packets > 0 && plain == packets, "{plain} of {packets} show it");
}

#[test]
fn the_public_ring_does_not_see_what_members_of_a_group_say_over_a_carried_edge() {
    let mut town = strangers::town("symmetric", 4, |_| None, (1_000_000, END)).corruptible();
    // Two behind NATs who have no third to relay for them.
    let behind = |host: &HostId| !town.world.internet().host(*host).is_public();
    let group: Vec<HostId> = town.hosts().into_iter().filter(behind).step_by(20).take(2).collect();
    group.iter().for_each(|host| town.join_group(*host));
    watch(&mut town, PacketKind::Edge);
    town.start_all();
    town.completes_within(Duration::from_secs(60));
    town.group_completes_within(Duration::from_secs(90));
    town.world.run_for(Duration::from_secs(30)).unwrap();
    let (begun, _) = seen(&mut town);
    for (own, other) in [(group[0], group[1]), (group[1], group[0])] {
        let peers = town.peers_in(own, "group");
        assert!(peers.len() == 1 && peers[0].edge == "carried", "{peers:?}");
        let to = town.group_member(other);
        for _ in 0..5 {
            town.world.carry(own, (1, to), SECRET);
            town.world.send(own, (1, to), SECRET);
        }
        town.world.broadcast(own, 1, None, SECRET);
    }
    town.world.run_for(WAIT).unwrap();
    let [carried, received] = [town.world.take_carried().len(), town.world.take_received().len()];
    assert_eq!([carried, received, town.world.take_heard().len()], [10, 10, 2]);
    let (packets, plain) = seen(&mut town);
    println!("{begun} packets before, {packets} since");
    assert!(begun > 0 && packets >= 22 && plain == 0, "{plain} of {packets} show it");
}
