//! Of those that create one key, one wins.

use std::time::Duration;

use atoll_core::control::{FailureKind, Reply};
use atoll_core::wire::Key;
use atoll_sim::Stop;
use atoll_topology::{Fault, HostId};

use crate::ask::{HOUR, create, stored};
use crate::town::Town;
use crate::values::held;

#[test]
fn the_first_creator_wins_and_renews_and_all_others_lose() {
    let mut town = Town::settled(50, "none", 1);
    stored(&town.create(HostId(3), ("a", "mine"), 60));
    for other in [4, 20, 49] {
        assert_eq!(town.create(HostId(other), ("a", "mine"), 60), Reply::DhtExists);
    }
    assert_eq!(town.put(HostId(4), ("a", "beside"), 60), Reply::DhtExists);
    assert_eq!(town.create(HostId(3), ("a", "another"), 60), Reply::DhtExists);
    town.world.run_for(Duration::from_secs(40)).unwrap();
    stored(&town.create(HostId(3), ("a", "mine"), 60));
    town.world.run_for(Duration::from_secs(40)).unwrap();
    let found = town.get(HostId(30), "a");
    assert_eq!(found.texts(), ["mine"]);
    assert_eq!(found.values[0].creator, Some(town.member(HostId(3))));
    town.world.run_for(Duration::from_secs(30)).unwrap();
    stored(&town.create(HostId(4), ("a", "mine now"), 60));
}

#[test]
fn a_key_with_values_cannot_be_created() {
    let mut town = Town::settled(20, "none", 1);
    stored(&town.put(HostId(3), ("a", "1"), 60));
    assert_eq!(town.create(HostId(3), ("a", "2"), 60), Reply::DhtExists);
}

#[test]
fn a_creator_that_dies_before_it_commits_leaves_nothing_and_its_claim_ends() {
    let mut town = Town::settled(50, "none", 1);
    let creator =
        (0..50).map(HostId).find(|host| (0..3).all(|point| town.root(&Key::named("a"), point) != *host));
    let creator = creator.unwrap();
    let done = |town: &mut Town, kind: &str| -> f64 {
        let running: Vec<HostId> =
            town.hosts().into_iter().filter(|host| town.world.is_running(*host)).collect();
        running.into_iter().map(|host| town.metric(host, "atoll_dht_requests_total", kind)).sum()
    };
    town.world.request(creator, create("a", "half", HOUR));
    // Its claims are on their way, and no answer can be there.
    town.world.run_for(Duration::from_millis(150)).unwrap();
    town.stop(creator, Stop::Kill);
    town.world.run_for(Duration::from_millis(1500)).unwrap();
    assert_eq!((done(&mut town, "claim"), done(&mut town, "commit")), (3.0, 0.0));
    let [writer, other] = [11, 12].map(|number| HostId((creator.0 + number) % 50));
    assert_eq!(town.get(writer, "a").values, [], "a claim is no value");
    let reply = town.put(writer, ("a", "beside"), HOUR);
    assert!(matches!(reply, Reply::Failed { kind: FailureKind::Busy, .. }), "{reply:?}");
    // Six seconds after it arrived a claim is over.
    town.world.run_for(Duration::from_secs(6)).unwrap();
    let contended = done(&mut town, "contended");
    stored(&town.create(other, ("a", "whole"), HOUR));
    assert_eq!(done(&mut town, "contended"), contended);
    assert_eq!(town.get(writer, "a").texts(), ["whole"]);
    town.world.run_for(Duration::from_secs(100)).unwrap();
    assert_eq!(held(&mut town), (3.0, 6.0));
}

#[test]
fn a_creator_that_is_cut_off_leaves_nothing_and_loses_to_the_next() {
    let mut town = Town::settled(50, "none", 1);
    let creator =
        (1..50).map(HostId).find(|host| (0..3).all(|point| town.root(&Key::named("a"), point) != *host));
    let creator = creator.unwrap();
    let first = town.world.request(creator, create("a", "half", HOUR));
    town.world.run_for(Duration::from_millis(150)).unwrap();
    let others = town.hosts().into_iter().filter(|host| *host != creator).collect();
    let name = "cut".to_owned();
    town.world.apply(&Fault::PartitionHosts { name: name.clone(), sides: [vec![creator], others] });
    town.world.run_for(Duration::from_secs(8)).unwrap();
    let other = HostId((creator.0 + 12) % 50);
    stored(&town.create(other, ("a", "whole"), HOUR));
    town.world.apply(&Fault::Heal { name });
    let (_, reply) = town.answer(first);
    assert!(!matches!(reply, Reply::DhtStored { .. }), "{reply:?}");
    town.world.run_for(Duration::from_secs(60)).unwrap();
    assert_eq!(town.get(HostId((creator.0 + 20) % 50), "a").texts(), ["whole"]);
}

/// Has so many create one key at once; how many won.
fn race(town: &mut Town, key: &str, racers: u32) -> usize {
    let requests: Vec<_> = (0..racers)
        .map(|racer| {
            let command = create(key, &format!("by {racer}"), HOUR);
            let request = town.world.request(HostId(racer * 7 % 50), command);
            town.world.run_for(Duration::from_millis(u64::from(racer) * 13 % 50)).unwrap();
            request
        })
        .collect();
    let replies: Vec<Reply> = requests.into_iter().map(|id| town.answer(id).1).collect();
    replies.iter().filter(|reply| matches!(reply, Reply::DhtStored { .. })).count()
}

#[test]
fn of_many_that_create_at_once_one_wins_and_nothing_of_the_others_is_left() {
    let mut town = Town::settled(50, "none", 1);
    let mut decided = 0;
    for round in 0..40 {
        let key = format!("key {round}");
        let won = race(&mut town, &key, 2 + round % 4);
        assert!(won <= 1, "{won} won");
        let found = town.get(HostId(45), &key);
        assert_eq!(found.values.len(), won, "{found:?}");
        decided += won;
    }
    assert!(decided >= 36, "only {decided} of 40 races had a winner");
    town.world.run_for(Duration::from_secs(200)).unwrap();
    let (root, copies) = held(&mut town);
    let expected = 3.0 * decided as f64;
    assert!(root <= expected && root >= expected - 12.0, "{root} roots for {decided} values");
    assert!(copies <= 2.0 * expected, "{copies} copies");
}
