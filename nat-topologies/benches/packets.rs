//! Packets per second through `depart` and `arrive`: 10,000 hosts of the population `cones` with 30 peers each.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use atoll_topology::{
    Arrival, Departure, Generated, HostId, Internet, Latency, Packet, Population, Topology, TopologyError,
};

const HOSTS: usize = 10_000;
const PEERS: usize = 30;
const PORT: u16 = 4000;

fn main() -> Result<(), TopologyError> {
    let latency = Latency::Generated(Generated::new(1));
    let topology = Topology::draw(&Population::named("cones")?, HOSTS, latency, [1; 32])?;
    let mut internet = Internet::new(topology, [1; 32])?;
    let hosts: Vec<(HostId, SocketAddr)> =
        internet.hosts().map(|(id, host)| (id, SocketAddr::new(host.address, PORT))).collect();
    let observed: Vec<SocketAddr> = hosts
        .iter()
        .map(|(id, own)| {
            let mut packet = Packet::udp(*own, hosts[0].1, 128);
            internet.depart(*id, &mut packet, Duration::ZERO);
            packet.source
        })
        .collect();
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut pairs = Vec::new();
    for a in 0..HOSTS {
        for _ in 0..PEERS / 2 {
            let b = next(HOSTS);
            let packet = |from: usize, to: usize| (hosts[from].0, hosts[from].1, observed[to]);
            pairs.extend([packet(a, b), packet(b, a)]);
        }
    }
    for n in (1..pairs.len()).rev() {
        pairs.swap(n, next(n + 1));
    }
    println!("{HOSTS} hosts, {} pairs", pairs.len());
    let mut now = Duration::ZERO;
    for round in 0..10 {
        let start = Instant::now();
        let mut delivered = 0_u64;
        for (id, from, to) in &pairs {
            now += Duration::from_micros(20);
            let mut packet = Packet::udp(*from, *to, 128);
            let Departure::InFlight { at } = internet.depart(*id, &mut packet, now) else { continue };
            delivered += u64::from(matches!(internet.arrive(&mut packet, at), Arrival::Delivered(_)));
        }
        let per_second = pairs.len() as f64 / start.elapsed().as_secs_f64();
        println!("round {round}: {:.2} million/s, {delivered} delivered", per_second / 1e6);
    }
    Ok(())
}
