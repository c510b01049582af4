//! The oracle against the model: what theory says of a pair is what punching does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use atoll_topology::oracle::{Verdict, direct};
use atoll_topology::*;
use proptest::prelude::*;

use crate::lab::{Lab, gateway};

const PORT: u16 = 5000;
const HELLO: u32 = 100;
const ANSWER: u32 = 101;

/// Learns the observed addresses, then both send every 100 ms for a while and answer what they get. True if both hear.
fn punch_udp(lab: &mut Lab, hosts: [HostId; 2], stagger: Duration) -> bool {
    let seen = hosts.map(|host| lab.observed(host, PORT, (0, 1)));
    let [Some(a), Some(b)] = seen else { return false };
    let mut learned: BTreeMap<HostId, SocketAddr> = BTreeMap::new();
    let mut confirmed: BTreeMap<HostId, bool> = BTreeMap::new();
    lab.got.clear();
    for round in 0..8 {
        for (n, (host, peer)) in [(hosts[0], b), (hosts[1], a)].into_iter().enumerate() {
            if n == 1 && round == 0 {
                lab.wait(stagger);
            }
            let own = lab.address(host, PORT);
            lab.send(host, Packet::udp(own, peer, HELLO));
            if let Some(source) = learned.get(&host) {
                lab.send(host, Packet::udp(own, *source, ANSWER));
            }
        }
        lab.wait(Duration::from_millis(100));
        for got in std::mem::take(&mut lab.got) {
            learned.insert(got.host, got.packet.source);
            // An answer proves that the peer heard us, and its arrival that we hear the peer.
            *confirmed.entry(got.host).or_default() |= got.packet.length == ANSWER;
        }
    }
    confirmed.values().any(|confirmed| *confirmed)
}

/// Both connect to the other's observed address and accept on the same port. True if a handshake completes.
fn punch_tcp(lab: &mut Lab, hosts: [HostId; 2], stagger: Duration) -> bool {
    let mut seen = Vec::new();
    for host in hosts {
        lab.got.clear();
        lab.tcp(host, PORT, lab.server(0, 80), TcpFlags::SYN);
        lab.wait(Duration::from_millis(200));
        let Some(packet) = lab.take(HostId(0)).first().copied() else { return false };
        seen.push(packet.source);
    }
    let peers = [(hosts[0], seen[1]), (hosts[1], seen[0])];
    let mut refused = false;
    for round in 0..8 {
        for (n, (host, peer)) in peers.into_iter().enumerate() {
            if n == 1 && round == 0 {
                lab.wait(stagger);
            }
            lab.tcp(host, PORT, peer, TcpFlags::SYN);
        }
        lab.wait(Duration::from_millis(100));
        for got in std::mem::take(&mut lab.got) {
            let Body::Tcp(flags) = got.packet.body else { continue };
            let (_, peer) = peers[usize::from(got.host == hosts[1])];
            if flags.has(TcpFlags::RST) {
                refused = true;
            } else if flags.has(TcpFlags::ACK) {
                // Only the answer from where the SYN went belongs to the connection.
                if got.packet.source == peer && !refused {
                    return true;
                }
            } else {
                lab.tcp(got.host, PORT, got.packet.source, TcpFlags::SYN.with(TcpFlags::ACK));
            }
        }
    }
    false
}

fn dependence() -> impl Strategy<Value = Dependence> {
    prop::sample::select(Dependence::ALL.to_vec())
}

fn any_gateway() -> impl Strategy<Value = Gateway> {
    let ports = prop::sample::select(vec![
        Ports { preserve: true, otherwise: Allocator::Random, block: None },
        Ports { preserve: false, otherwise: Allocator::Random, block: None },
        Ports { preserve: false, otherwise: Allocator::Random, block: Some(256) },
        Ports { preserve: false, otherwise: Allocator::Sequential { step: 1 }, block: None },
    ]);
    let hairpin = prop::sample::select(vec![Hairpin::Off, Hairpin::InternalSource, Hairpin::ExternalSource]);
    (dependence(), dependence(), ports, hairpin, prop::bool::weighted(0.1), any::<bool>()).prop_map(
        |(mapping, filtering, ports, hairpin, is_blocked, parity)| {
            let mut gateway = Gateway { mapping, filtering, ports, hairpin, parity, ..Gateway::default() };
            if is_blocked {
                gateway.outbound.udp = Allowed::None;
            }
            gateway
        },
    )
}

fn chain() -> impl Strategy<Value = Vec<Gateway>> {
    prop::collection::vec(any_gateway(), 0..3)
}

/// Two hosts: each behind its own gateways, or both at one carrier.
fn pair(lab: &mut Lab, chains: [Vec<Gateway>; 2], shared: Option<Gateway>) -> [HostId; 2] {
    let [mut first, second] = chains;
    // With several subscribers the inside is the carriers' own, so that no home has the same addresses.
    let shared = shared.map(|carrier| Gateway { subscribers: 2, ..carrier });
    let Some(carrier) = shared else { return [lab.home(&first), lab.home(&second)] };
    first.push(carrier);
    let a = lab.home(&first);
    [a, lab.subscriber(a, &second)]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000,
        rng_seed: prop::test_runner::RngSeed::Fixed(4787),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn theory_and_punching_agree(
        chains in [chain(), chain()],
        shared in prop::option::weighted(0.4, any_gateway()),
        stagger in 0..300_u64,
        is_tcp in any::<bool>(),
    ) {
        let mut lab = Lab::new();
        let hosts = pair(&mut lab, chains, shared);
        let protocol = if is_tcp { Protocol::Tcp } else { Protocol::Udp };
        let verdict = direct(lab.net.topology(), hosts[0], hosts[1], protocol);
        if lab.net.host(hosts[0]).gateway.is_some() && lab.net.host(hosts[0]).gateway == lab.net.host(hosts[1]).gateway {
            // In one LAN local addresses serve, which this punch does not know.
            prop_assert_eq!(verdict, Verdict::Direct);
            return Ok(());
        }
        let stagger = Duration::from_millis(stagger);
        let met = if is_tcp { punch_tcp(&mut lab, hosts, stagger) } else { punch_udp(&mut lab, hosts, stagger) };
        // Ports may be equal by chance, but not often enough to be seen here.
        prop_assert_eq!(met, verdict == Verdict::Direct, "{:?}", verdict);
    }
}

#[test]
fn every_pair_of_presets_behaves_as_theory_says() {
    let names: Vec<_> = preset_names().filter(|name| *name != "stateful-ipv6").collect();
    let mut wrong = Vec::new();
    for a in &names {
        for b in &names {
            let meet = |swap: bool, stagger| {
                let mut lab = Lab::new();
                let mut hosts = [a, b].map(|name| lab.home(&[gateway(name)]));
                let verdict = direct(lab.net.topology(), hosts[0], hosts[1], Protocol::Udp);
                if swap {
                    hosts.reverse();
                }
                (verdict, punch_udp(&mut lab, hosts, Duration::from_millis(stagger)))
            };
            let (verdict, at_once) = meet(false, 0);
            let staggered = [false, true].map(|swap| meet(swap, 150).1);
            let is_right = match verdict {
                Verdict::Direct => at_once && staggered == [true; 2],
                // One order is bad luck, or both are.
                Verdict::ByLuck => at_once && staggered != [true; 2],
                Verdict::WithPrediction | Verdict::Never => !at_once && staggered == [false; 2],
            };
            if !is_right {
                wrong.push(format!("{a} x {b}: {verdict:?}, {at_once}, {staggered:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn verdict(a: &str, b: &str) -> Verdict {
    let mut lab = Lab::new();
    let hosts = [a, b].map(|name| lab.home(&[gateway(name)]));
    direct(lab.net.topology(), hosts[0], hosts[1], Protocol::Udp)
}

#[test]
fn the_well_known_pairs_are_as_well_known() {
    assert_eq!(verdict("port-restricted-cone", "port-restricted-cone"), Verdict::Direct);
    assert_eq!(verdict("symmetric", "restricted-cone"), Verdict::Direct);
    assert_eq!(verdict("symmetric", "port-restricted-cone"), Verdict::Never);
    assert_eq!(verdict("symmetric", "symmetric"), Verdict::Never);
    assert_eq!(verdict("symmetric-sequential", "port-restricted-cone"), Verdict::WithPrediction);
    assert_eq!(verdict("naive-linux", "port-restricted-cone"), Verdict::ByLuck);
    assert_eq!(verdict("udp-blocked", "none"), Verdict::Never);
    assert_eq!(verdict("symmetric", "none"), Verdict::Direct);
}

/// A symmetric gateway with sequential ports, and a peer that sends to the port after the observed one.
#[test]
fn a_predicted_port_lets_a_port_restricted_peer_in() {
    let mut lab = Lab::new();
    let hosts = [lab.home(&[gateway("symmetric-sequential")]), lab.home(&[gateway("port-restricted-cone")])];
    let a = lab.observed(hosts[0], PORT, (0, 1)).unwrap();
    let b = lab.observed(hosts[1], PORT, (0, 1)).unwrap();
    lab.udp(hosts[1], PORT, SocketAddr::new(a.ip(), a.port() + 1));
    lab.settle();
    lab.udp(hosts[0], PORT, b);
    lab.settle();
    assert_eq!(lab.take(hosts[1]).len(), 1);
}

#[test]
fn the_default_population_connects_as_theory_says() {
    let latency = Latency::Constant(Duration::from_millis(50));
    let topology = Topology::draw(&Population::named("default").unwrap(), 1000, latency, [1; 32]).unwrap();
    let (mut pairs, mut direct_ones, mut predicted) = (0.0, 0.0, 0.0);
    let is_natted = |host: &Host| {
        let gateway = host.gateway.map(|id| &topology.gateways[id.0 as usize].behaviour);
        gateway.is_some_and(|gateway| gateway.outbound.udp == Allowed::All)
    };
    let natted: Vec<u32> = (0..1000).filter(|n| is_natted(&topology.hosts[*n as usize])).collect();
    assert_eq!(natted.len(), 890);
    for a in &natted {
        for b in natted.iter().filter(|b| *b > a) {
            let verdict = direct(&topology, HostId(*a), HostId(*b), Protocol::Udp);
            pairs += 1.0;
            direct_ones += f64::from(verdict == Verdict::Direct);
            predicted += f64::from(verdict >= Verdict::WithPrediction);
        }
    }
    let (ratio, predicted) = (100.0 * direct_ones / pairs, 100.0 * predicted / pairs);
    assert!((ratio - 73.6).abs() < 0.3, "{ratio} %");
    // A predictable port does not help against one that is both unpredictable and filtered by port.
    assert!((predicted - 77.3).abs() < 0.3, "{predicted} %");
}
