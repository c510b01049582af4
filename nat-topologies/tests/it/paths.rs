//! Delay, jitter, loss, rates, queues and MTU.

use std::time::Duration;

use atoll_topology::*;

use crate::lab::{DELAY, Lab, gateway};

fn two(path: Path, link: Link) -> Lab {
    let topology = Lab::new().net.topology().clone();
    let mut topology = Topology { path, ..topology };
    topology.hosts[1].link = link;
    Lab::of(topology)
}

/// Sends so many packets, so far apart, to host 1 and returns the numbers that arrived, as source ports, with delays.
fn stream(lab: &mut Lab, count: u16, apart: Duration) -> Vec<(u16, Duration)> {
    let start = lab.now;
    for n in 1..=count {
        let packet = Packet::udp(lab.address(HostId(0), n), lab.server(1, 1), 1000);
        lab.send(HostId(0), packet);
        lab.wait(apart);
    }
    lab.settle();
    let sent = |n: u16| start + apart * u32::from(n - 1);
    lab.got.iter().map(|got| (got.packet.source.port(), got.at - sent(got.packet.source.port()))).collect()
}

#[test]
fn jitter_keeps_order_unless_asked_and_stays_within_its_bound() {
    for reorder in [false, true] {
        let jitter = Duration::from_millis(30);
        let mut lab = two(Path { jitter, reorder, ..Path::default() }, Link::default());
        let got = stream(&mut lab, 2000, Duration::from_micros(700));
        assert_eq!(got.len(), 2000);
        assert_eq!(got.is_sorted_by_key(|(n, _)| *n), !reorder);
        let delays: Vec<_> = got.iter().map(|(_, delay)| *delay).collect();
        assert!(delays.iter().all(|delay| (DELAY..=DELAY + jitter).contains(delay)));
        let spread = *delays.iter().max().unwrap() - *delays.iter().min().unwrap();
        assert!(spread > jitter / 3, "{spread:?}");
    }
}

#[test]
fn independent_loss_has_its_share() {
    let loss = Loss { independent: 0.1, burst: None };
    let mut lab = two(Path { loss, ..Path::default() }, Link::default());
    let got = stream(&mut lab, 10_000, Duration::from_micros(1)).len();
    assert!((8_850..9_150).contains(&got), "{got}");
    assert_eq!(lab.net.counters().drops(DropReason::Loss) as usize, 10_000 - got);
}

#[test]
fn bursts_lose_their_share_in_longer_runs_than_independent_loss() {
    let burst = Burst { enter: 0.01, leave: 0.1, loss: 1.0 };
    let loss = Loss { independent: 0.0, burst: Some(burst) };
    let mut lab = two(Path { loss, ..Path::default() }, Link::default());
    let got: Vec<u16> =
        stream(&mut lab, 20_000, Duration::from_micros(1)).into_iter().map(|(n, _)| n).collect();
    // In the long run 0.01 / (0.01 + 0.1) of the time is bad.
    let lost = 1.0 - got.len() as f64 / 20_000.0;
    assert!((0.07..0.11).contains(&lost), "{lost}");
    let gaps = got.windows(2).filter(|pair| pair[1] > pair[0] + 1).count();
    let mean = lost * 20_000.0 / gaps as f64;
    assert!((8.0..12.0).contains(&mean), "a burst has {mean} packets");
}

#[test]
fn a_rate_spaces_packets_and_its_queue_is_finite() {
    // 1,000 bytes take 8 ms at 1 Mbit/s.
    let rate = Rate { bits_per_second: 1_000_000, queue: 5_000 };
    let mut lab = two(Path::default(), Link { down: Some(rate), ..Link::default() });
    let got = stream(&mut lab, 20, Duration::from_micros(1));
    let arrivals: Vec<_> = lab.got.iter().map(|got| got.at).collect();
    assert!(arrivals.windows(2).all(|pair| pair[1] - pair[0] == Duration::from_millis(8)));
    assert_eq!(got[0].1, DELAY + Duration::from_millis(8));
    assert_eq!(got.len(), 5, "five fit, the others do not");
    assert_eq!(lab.net.counters().drops(DropReason::QueueFull), 15);
}

#[test]
fn far_packets_do_not_hold_up_near_ones_in_a_queue() {
    let rate = Rate { bits_per_second: 1_000_000, queue: 64_000 };
    let mut topology =
        two(Path::default(), Link { down: Some(rate), ..Link::default() }).net.topology().clone();
    topology.hosts[2].link = Link { delay: Duration::from_millis(500), ..Link::default() };
    let mut lab = Lab::of(topology);
    lab.udp(HostId(2), 1, lab.server(1, 1));
    lab.udp(HostId(0), 1, lab.server(1, 1));
    lab.settle();
    assert_eq!(lab.got[0].host, HostId(1));
    assert!(lab.got[0].at < Duration::from_millis(12), "{:?}", lab.got[0].at);
}

#[test]
fn up_and_down_are_separate_and_the_delay_of_a_line_counts_both_ways() {
    let rate = Rate { bits_per_second: 1_000_000, queue: 5_000 };
    let delay = Duration::from_millis(7);
    let mut lab = two(Path::default(), Link { delay, up: Some(rate), ..Link::default() });
    assert_eq!(stream(&mut lab, 1, DELAY)[0].1, DELAY + delay);
    lab.got.clear();
    let start = lab.now;
    let packet = Packet::udp(lab.server(1, 1), lab.server(0, 1), 1000);
    lab.send(HostId(1), packet);
    lab.settle();
    assert_eq!(lab.got[0].at - start, DELAY + delay + Duration::from_millis(8));
}

#[test]
fn a_packet_above_the_mtu_is_answered() {
    let link = Link { mtu: Some(1280), ..Link::default() };
    let mut lab = two(Path::default(), link);
    // Out of the narrow host, and into it.
    for from in [1, 0] {
        lab.got.clear();
        let packet = Packet::udp(lab.server(from, 1), lab.server(1 - from, 1), 1400);
        lab.send(HostId(from), packet);
        lab.settle();
        let got = lab.take(HostId(from));
        let [Packet { body: Body::Icmp(Icmp::Error(IcmpError::TooBig { mtu: 1280 }, quote)), .. }] = got[..]
        else {
            panic!("{got:?}")
        };
        assert_eq!(quote.source, lab.server(from, 1));
    }
}

#[test]
fn too_big_for_a_home_line_is_told_to_the_host_inside() {
    let mut lab = Lab::new();
    let host = lab.home(&[gateway("port-restricted-cone")]);
    let mut topology = lab.net.topology().clone();
    topology.gateways[0].link.mtu = Some(1400);
    let mut lab = Lab::of(topology);
    let packet = Packet::udp(lab.address(host, 5000), lab.server(0, 1), 1500);
    lab.send(host, packet);
    lab.settle();
    let got = lab.take(host)[0];
    assert!(matches!(got.body, Body::Icmp(Icmp::Error(IcmpError::TooBig { mtu: 1400 }, quote))
        if quote.source == lab.address(host, 5000)));
}

#[test]
fn bytes_and_packets_are_counted_at_both_ends() {
    let mut lab = Lab::new();
    lab.udp(HostId(0), 1, lab.server(1, 1));
    lab.udp(HostId(0), 1, "203.0.113.1:1".parse().unwrap());
    lab.settle();
    let counters = lab.net.counters();
    assert_eq!((counters.packets_sent, counters.bytes_sent), (2, 200));
    assert_eq!((counters.packets_delivered, counters.bytes_delivered), (1, 100));
    assert_eq!((counters.drops(DropReason::NoRoute), counters.drops_total()), (1, 1));
    for (n, reason) in DropReason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, n);
    }
}

#[test]
fn the_round_trip_that_a_topology_tells_is_the_one_that_packets_take() {
    let mut lab = Lab::new();
    let home = lab.home(&[gateway("full-cone"), gateway("carrier-grade")]);
    let carrier = lab.outermost(home).0 as usize;
    let mut topology = lab.net.topology().clone();
    topology.hosts[home.0 as usize].link.delay = Duration::from_millis(3);
    topology.gateways[1 - carrier].link.delay = Duration::from_millis(4);
    topology.gateways[carrier].site = SiteId(20);
    let told = topology.round_trip(home, HostId(1));
    assert_eq!(told, topology.round_trip(HostId(1), home));
    assert!(told > 4 * DELAY, "the carrier stands elsewhere: {told:?}");
    let mut lab = Lab::of(topology);
    lab.udp(home, 7, lab.server(1, 9));
    lab.settle();
    let (there, turned) = (lab.got[0], lab.now);
    lab.udp(HostId(1), 9, there.packet.source);
    lab.settle();
    assert_eq!(lab.got[1].host, home);
    assert_eq!(there.at + (lab.got[1].at - turned), told);
}
