//! What members at rest cost, those too whom many others know.

use std::time::Duration;

use atoll_core::control::{Command, Reply};
use atoll_topology::HostId;

use crate::town::Town;

const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

/// Bytes a second that each host sends, IP and UDP headers counted.
fn rates(town: &mut Town) -> Vec<(HostId, f64)> {
    let sent = |town: &Town| -> Vec<u64> {
        town.hosts().into_iter().map(|host| town.world.traffic(host).sent_bytes).collect()
    };
    let before = sent(town);
    town.world.run_for(HALF_AN_HOUR).unwrap();
    let after = sent(town);
    let rate = |(before, after): (u64, u64)| (after - before) as f64 / HALF_AN_HOUR.as_secs_f64();
    town.hosts().into_iter().zip(before.into_iter().zip(after).map(rate)).collect()
}

#[test]
fn no_member_at_rest_sends_more_than_thirty_bytes_a_second_not_even_a_bootstrap() {
    let mut town = Town::settled(300, "cones", 1);
    town.world.run_for(HALF_AN_HOUR).unwrap();
    let rates = rates(&mut town);
    let most = rates.iter().max_by(|one, other| one.1.total_cmp(&other.1)).unwrap();
    assert!(most.1 <= 30.0, "{most:?}");
    assert!(town.is_complete());
}

#[test]
fn no_secured_member_at_rest_sends_more_than_forty_bytes_a_second() {
    for security in ["dtls", "quic", "modelled-quic"] {
        let mut town = Town::new(100, "cones", 1).secured(security).settle();
        town.world.run_for(HALF_AN_HOUR).unwrap();
        let mut rates: Vec<f64> = rates(&mut town).into_iter().map(|(_, rate)| rate).collect();
        rates.sort_by(f64::total_cmp);
        let (median, most) = (rates[rates.len() / 2], rates[rates.len() - 1]);
        assert!(most <= 40.0, "{security}: median {median}, most {most}");
        assert!(town.is_complete());
    }
}

#[test]
fn no_mapping_is_lost_in_an_hour_at_rest() {
    let mut town = Town::settled(100, "cones", 1);
    town.world.run_for(HALF_AN_HOUR).unwrap();
    let before = town.world.counters().drops;
    town.world.run_for(2 * HALF_AN_HOUR).unwrap();
    assert_eq!(town.world.counters().drops, before, "a NAT dropped what a peer sent");
}

#[test]
fn two_overlays_between_the_same_nodes_share_their_keepalive() {
    let pings = |grouped: &[HostId]| {
        let mut town = Town::new(2, "none", 3).secured("modelled").grouped(grouped.to_vec());
        town.start_all();
        town.completes_within(Duration::from_secs(60));
        town.group_completes_within(Duration::from_secs(60));
        town.world.run_for(HALF_AN_HOUR).unwrap();
        let count = |town: &mut Town| -> f64 {
            let of = |overlay: &&str| -> f64 {
                town.hosts().iter().map(|host| town.metric(*host, "atoll_pings_total", overlay)).sum()
            };
            ["public", "group"].iter().map(of).sum()
        };
        let before = count(&mut town);
        town.world.run_for(HALF_AN_HOUR).unwrap();
        (count(&mut town) - before, town)
    };
    let (alone, _) = pings(&[]);
    let (both, mut town) = pings(&[HostId(0), HostId(1)]);
    println!("{alone} pings in half an hour in one overlay, {both} in two");
    assert!(alone > 100.0 && both < 1.4 * alone, "{alone} pings in one overlay, {both} in two");

    // Each of the two still finds out that the other end is gone.
    town.stop(HostId(1), atoll_sim::Stop::Kill);
    town.world.run_for(Duration::from_secs(20)).unwrap();
    for overlay in ["public", "group"] {
        let command = Command::Peers { overlay: overlay.to_owned() };
        assert_eq!(town.world.command(HostId(0), command), Reply::Peers(Vec::new()), "{overlay}");
    }
}
