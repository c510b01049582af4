//! Members that spoil what they ought to pass on for others: nothing that has another way is lost by that.

use std::time::Duration;

use atoll_core::Time;
use atoll_core::control::EventKind;
use atoll_core::wire::{Address, PacketKind};
use atoll_sim::Stop;
use atoll_topology::HostId;

use crate::ask::{HOUR, stored};
use crate::relays::{answered, peers, relayed};
use crate::spoiler::Spoil;
use crate::town::Town;

const RELAYED: PacketKind = PacketKind::Relayed;
/// How long a pair may need for an answer while its relay spoils.
const PATIENCE: Duration = Duration::from_secs(6);

/// The relay of the most connections, and those: each from both ends.
fn busiest(town: &mut Town) -> (HostId, Vec<(HostId, Address)>) {
    let all = relayed(town);
    let count = |via: Address| all.iter().filter(|(.., other)| *other == via).count();
    let via = all.iter().map(|(.., via)| *via).max_by_key(|via| (count(*via), *via)).unwrap();
    let ours = all.iter().filter(|(.., other)| *other == via).map(|(host, peer, _)| (*host, *peer));
    (town.host(via).unwrap(), ours.collect())
}

/// Those of these connections that closed since then, and why.
fn closed(town: &Town, pairs: &[(HostId, Address)], since: Time) -> Vec<(HostId, Address, String)> {
    let lost = |(host, peer): &(HostId, Address)| {
        town.told_since(*host, since).into_iter().find_map(|kind| match kind {
            EventKind::PeerLost { peer: lost, why } if lost == *peer => Some((*host, lost, why)),
            _ => None,
        })
    };
    pairs.iter().filter_map(lost).collect()
}

/// Who of these still uses a relay.
fn through(town: &mut Town, pairs: &[(HostId, Address)], via: Address) -> usize {
    let uses = |town: &mut Town, (host, peer): (HostId, Address)| {
        peers(town, host).iter().any(|one| one.address == peer && one.via == Some(via))
    };
    pairs.iter().filter(|pair| uses(town, **pair)).count()
}

fn spoiled_town(seed: u8) -> Town {
    let mut town = Town::new(60, "symmetric", seed).secured("dtls").corruptible().settle();
    for number in 0..5 {
        stored(&town.put(HostId(number * 9), ("a", &format!("value {number}")), 10 * HOUR));
    }
    town
}

/// Nothing was lost: all values are there, the ring is complete and nobody else is in it.
fn is_whole(town: &mut Town, what: &str) {
    assert!(town.is_complete(), "{what}: {} have wrong neighbours", town.wrong());
    for reader in [HostId(1), HostId(22), HostId(50)] {
        let found = town.get(reader, "a");
        assert_eq!(found.values.len(), 5, "{what}: {found:?}");
    }
    let known: Vec<Address> = town.hosts().into_iter().map(|host| town.member(host)).collect();
    for host in town.hosts() {
        let strangers: Vec<_> =
            peers(town, host).into_iter().filter(|peer| !known.contains(&peer.address)).collect();
        assert!(strangers.is_empty(), "{what}: {strangers:?}");
    }
}

#[test]
fn members_at_rest_leave_a_relay_that_spoils_and_keep_their_connections() {
    for spoil in [Spoil::Drop, Spoil::Refuse, Spoil::Alter, Spoil::Delay(Duration::from_secs(4))] {
        let mut town = spoiled_town(2);
        let (relay, pairs) = busiest(&mut town);
        let (via, since) = (town.member(relay), town.world.now());
        town.turn(relay, Some((RELAYED, spoil)));
        town.world.run_for(Duration::from_secs(55)).unwrap();
        assert_eq!(through(&mut town, &pairs, via), 0, "{spoil:?}: of {}", pairs.len());
        for _ in 0..13 {
            town.world.run_for(Duration::from_secs(5)).unwrap();
            // Later one or the other sees whether it has become better.
            let trying = through(&mut town, &pairs, via);
            assert!(trying <= 2, "{spoil:?}: {trying} of {}", pairs.len());
        }
        let lost = closed(&town, &pairs, since);
        assert!(lost.is_empty(), "{spoil:?}: {} of {} closed: {lost:?}", lost.len(), pairs.len());
        assert!(town.switch(relay).spoiled() > 0);
        is_whole(&mut town, &format!("{spoil:?}"));
    }
}

#[test]
fn members_that_talk_leave_a_relay_that_spoils_within_seconds() {
    for spoil in
        [Spoil::Drop, Spoil::Refuse, Spoil::Alter, Spoil::Delay(Duration::from_secs(4)), Spoil::Twice]
    {
        let mut town = spoiled_town(3);
        let (relay, pairs) = busiest(&mut town);
        let since = town.world.now();
        town.turn(relay, Some((RELAYED, spoil)));
        let mut times = Vec::new();
        for pair in &pairs {
            times.push(answered(&mut town, *pair, PATIENCE).expect("it is answered"));
        }
        times.sort();
        println!("{spoil:?}: {} pairs, answers up to {:?}", pairs.len(), times.last());
        town.world.run_for(Duration::from_secs(60)).unwrap();
        let lost = closed(&town, &pairs, since);
        assert!(lost.is_empty(), "{spoil:?}: {} of {} closed: {lost:?}", lost.len(), pairs.len());
        is_whole(&mut town, &format!("{spoil:?}"));
    }
}

#[test]
fn a_relay_refuses_what_is_for_somebody_whom_it_does_not_know_and_serves_the_pair_as_before() {
    let mut town = spoiled_town(5);
    let (_, pairs) = busiest(&mut town);
    let (host, peer) = pairs[0];
    let since = town.world.now();
    town.turn(host, Some((RELAYED, Spoil::Misdirect)));
    town.world.run_for(Duration::from_secs(1)).unwrap();
    answered(&mut town, (host, peer), Duration::from_secs(1));
    assert!(town.switch(host).spoiled() > 0 && !town.switch(host).take_seen().is_empty(), "nobody refused");
    town.turn(host, None);
    answered(&mut town, (host, peer), PATIENCE).expect("it is answered");
    assert_eq!(closed(&town, &pairs, since), []);
    is_whole(&mut town, "misdirected");
}

#[test]
fn newcomers_find_another_relay_than_one_that_only_claims_to_be_one() {
    let mut town = spoiled_town(4);
    let (relay, _) = busiest(&mut town);
    let away: Vec<HostId> = town.hosts().into_iter().filter(|host| *host != relay).step_by(6).collect();
    for host in &away {
        town.stop(*host, Stop::Leave);
    }
    town.completes_within(Duration::from_secs(30));
    town.world.run_for(Duration::from_secs(30)).unwrap();
    town.turn(relay, Some((RELAYED, Spoil::Drop)));
    for host in away {
        town.restart(host);
        let took = town.completes_within(Duration::from_secs(40));
        println!("{took:?}");
        town.world.run_for(Duration::from_secs(5)).unwrap();
    }
    assert!(town.switch(relay).spoiled() > 0);
}

#[test]
fn a_relay_that_floods_its_peers_disturbs_nobody() {
    let mut town = spoiled_town(2);
    let (relay, pairs) = busiest(&mut town);
    let since = town.world.now();
    town.turn(relay, Some((RELAYED, Spoil::Flood)));
    town.world.run_for(Duration::from_secs(10)).unwrap();
    let sent = town.switch(relay).spoiled();
    town.turn(relay, None);
    assert!(sent > 50_000, "only {sent}");
    for pair in &pairs {
        answered(&mut town, *pair, PATIENCE).expect("it is answered");
    }
    assert_eq!(closed(&town, &pairs, since), []);
    is_whole(&mut town, "flood");
}
