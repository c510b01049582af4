//! Same seed, same packets, same fate.

use std::net::SocketAddr;
use std::time::Duration;

use atoll_topology::*;

fn trace(seed: u8) -> Vec<String> {
    let latency = Latency::Generated(Generated::new(seed.into()));
    let population = Population::named("default").unwrap();
    let mut topology = Topology::draw(&population, 200, latency, [seed; 32]).unwrap();
    topology.path.jitter = Duration::from_millis(20);
    topology.path.reorder = true;
    topology.path.loss.independent = 0.1;
    topology.path.loss.burst = Some(Burst { enter: 0.05, leave: 0.3, loss: 0.8 });
    let mut net = Internet::new(topology, [seed; 32]).unwrap();
    let hosts: Vec<_> = net.hosts().map(|(id, host)| (id, host.address)).collect();
    let mut trace = Vec::new();
    for n in 0..3000_u32 {
        let (id, address) = hosts[n as usize % hosts.len()];
        let to = SocketAddr::new(hosts[0].1, (n % 7) as u16 + 1);
        let mut packet = Packet::udp(SocketAddr::new(address, 4000), to, 100);
        let now = Duration::from_millis(n.into());
        let departure = net.depart(id, &mut packet, now);
        let arrival = match departure {
            Departure::InFlight { at } => Some(net.arrive(&mut packet, at)),
            _ => None,
        };
        trace.push(format!("{departure:?} {packet:?} {arrival:?}"));
    }
    trace
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_one_does_not() {
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}
