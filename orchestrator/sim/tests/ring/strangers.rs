//! Those who know a group's secret, find its members and come to them through the public ring, but have no certificate of its
//! authority, or one for another group.

use std::time::Duration;

use atoll_core::control::{EventKind, Peer};
use atoll_core::security::{Authority, Credentials, GroupSecret, Security};
use atoll_core::wire::Address;
use atoll_topology::HostId;

use crate::makers::{Ca, Leaf, key};
use crate::town::Town;

const GROUP: &str = "group";
/// The same as the town's.
const SECRET: [u8; 32] = [7; 32];
/// After all that the simulator's wall clocks show, in seconds since 1970.
pub(crate) const END: i64 = 4_000_000_000;
const STRANGERS: u32 = 10;
/// Handshakes of strangers that a member has under way at most: each dials it over its entry and answers its dials.
const HALF_OPEN_MAX: f64 = 4.0 * STRANGERS as f64;

/// Who is a stranger, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// Its certificate is by an authority of its own.
    OwnAuthority,
    /// Its certificate is by the group's authority and for another group.
    OtherGroup,
}

/// Tells strangers from members.
pub(crate) type Judge = fn(HostId) -> Option<Stranger>;

/// A town whose private members have certificates that are valid from and until then, and so have strangers.
pub(crate) fn town(population: &str, seed: u8, judge: Judge, (from, until): (i64, i64)) -> Town {
    let (ours, theirs) = (Ca::until(END), Ca::until(END));
    let vouch = move |host: HostId, address: Address| {
        let (signer, group) = match judge(host) {
            None => (&ours, GROUP),
            Some(Stranger::OwnAuthority) => (&theirs, GROUP),
            Some(Stranger::OtherGroup) => (&ours, "other"),
        };
        let names = [
            format!("atoll://group/{group}"),
            format!("atoll://user/{}", host.0),
            format!("atoll://address/{address}"),
        ];
        let names = names.each_ref().map(String::as_str);
        let leaf = Leaf { serial: 100 + host.0, from, until, ..Leaf::new(&names) };
        let key = key();
        let credentials = Credentials::new(&signer.sign(&key, &leaf), key).unwrap();
        // Whom a stranger would let in does not matter to us: it trusts the group's authority as members do.
        let authority = Authority::new(&ours.der(), GROUP).unwrap();
        Security::dtls(&credentials).unwrap().in_group(authority, Some(GroupSecret::new(SECRET)))
    };
    Town::new(60, population, seed).secured("dtls").vouched(vouch)
}

fn peers(town: &mut Town, host: HostId) -> Vec<Peer> {
    town.peers_in(host, GROUP)
}

/// Whether a host's member of the group lost a peer or its place since then.
fn disturbed(town: &Town, host: HostId, since: atoll_core::Time) -> Vec<EventKind> {
    let told = town.told_since(host, since).into_iter();
    told.filter(|kind| matches!(kind, EventKind::Disconnected | EventKind::Refused { .. })).collect()
}

#[test]
fn strangers_with_the_secret_find_members_and_are_let_in_by_none() {
    for (population, seed) in [("cones", 3), ("symmetric", 4)] {
        let judge: Judge = |host| match host.0 {
            0..50 => None,
            number if number % 2 == 0 => Some(Stranger::OwnAuthority),
            _ => Some(Stranger::OtherGroup),
        };
        let mut town = town(population, seed, judge, (1_000_000, END));
        let group: Vec<HostId> = (0..50).step_by(3).map(HostId).collect();
        group.iter().for_each(|host| town.join_group(*host));
        (0..50).for_each(|host| town.start(HostId(host)));
        town.completes_within(Duration::from_secs(60));
        town.group_completes_within(Duration::from_secs(90));
        town.world.run_for(Duration::from_secs(60)).unwrap();
        let since = town.world.now();
        for host in (50..50 + STRANGERS).map(HostId) {
            town.let_intrude(host);
            town.start(host);
        }
        // A member that comes meanwhile finds its place among entries of strangers.
        town.world.run_for(Duration::from_secs(60)).unwrap();
        town.join_group(HostId(1));
        town.restart(HostId(1));
        let took = town.group_completes_within(Duration::from_secs(90));
        println!("{population}: a newcomer in {took:?}");
        for _ in 0..12 {
            town.world.run_for(Duration::from_secs(15)).unwrap();
            for host in &group {
                let standing = peers(&mut town, *host).len() as f64;
                let rest = town.metric(*host, "atoll_edges", GROUP) - standing;
                assert!(rest <= HALF_OPEN_MAX, "{host:?}: {rest} edges besides {standing} that stand");
            }
        }
        town.group_completes_within(Duration::from_secs(1));
        let mut refused = [0.0; 2];
        for host in &group {
            assert_eq!(disturbed(&town, *host, since), [], "{host:?}");
            assert!(peers(&mut town, *host).iter().all(|peer| peer.user.as_ref().is_some_and(|user| {
                user.parse::<u32>().is_ok_and(|number| judge(HostId(number)).is_none())
            })));
            for (refused, why) in refused.iter_mut().zip(["unknown_authority", "wrong_group"]) {
                *refused += town.metric(*host, "atoll_drops_total", why);
            }
        }
        for host in (50..50 + STRANGERS).map(HostId) {
            assert!(peers(&mut town, host).is_empty(), "{host:?} is in");
        }
        assert!(refused.iter().all(|count| *count > 5.0), "they got as far as {refused:?} handshakes");
    }
}
