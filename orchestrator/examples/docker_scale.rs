//! How far containers go on this machine: `cargo run --release -p atoll --example docker_scale -- 200`.
//!
//! Starts that many members behind the `cones` mix, waits until all are connected, measures what they cost and how
//! exact the emulated round trips are, and tears them down.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atoll::environment::docker::{Docker, Options};
use atoll::environment::{Cancel, Environment, NodeIndex, NodeSpec, Progress, Security, Surroundings, Trial};
use atoll_core::control::State;
use atoll_fabric::namespace::Namespace;
use atoll_topology::{Generated, HostId, Latency, Population, Topology};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto};

struct Lines;

impl Progress for Lines {
    fn step(&self, what: &str, done: u64, total: u64) {
        if total == 0 || done.is_multiple_of(50) || done == total {
            eprintln!("{what}: {done} of {total}");
        }
    }
}

fn main() {
    let members: u32 = std::env::args().nth(1).map_or(200, |count| count.parse().unwrap());
    let trial = trial(members);
    let surroundings = Surroundings { cancel: Cancel::default(), progress: Arc::new(Lines) };
    let mut environment = Docker::new(surroundings, Options::default()).unwrap();
    let began = Instant::now();
    environment.prepare(&trial).unwrap();
    println!("prepared            {:8.1} s", began.elapsed().as_secs_f64());
    measure(&mut environment, &trial);
    let began = Instant::now();
    environment.tear_down().unwrap();
    println!("torn down           {:8.1} s", began.elapsed().as_secs_f64());
}

fn measure(environment: &mut Docker, trial: &Trial) {
    let nodes: Vec<_> = (0..).map(NodeIndex).take(trial.nodes.len()).collect();
    let busy = busy_seconds();
    environment.start(&nodes).unwrap();
    let connected = wait_for_all(environment, &nodes);
    println!(
        "connected           {:8} of {} after {:.1} s",
        connected,
        nodes.len(),
        environment.now().as_secs_f64()
    );
    println!("while joining       {}", health(environment));
    let (traffic, from) = (bytes(environment, &nodes), Instant::now());
    let cpu = environment.cost().cpu_seconds;
    environment.advance(environment.now() + Duration::from_secs(20)).unwrap();
    let seconds = from.elapsed().as_secs_f64();
    let rate = (bytes(environment, &nodes) - traffic) as f64 / seconds / nodes.len() as f64;
    println!("at rest             {rate:8.1} bytes/s a member sent");
    println!("processor at rest   {:8.3} cores", (environment.cost().cpu_seconds - cpu) / seconds);
    echoes(trial);
    println!("at the end          {}", health(environment));
    memory();
    let cost = environment.cost();
    println!("cost                {:8.1} s of CPU, {} packets", cost.cpu_seconds, cost.events);
    println!("machine busy        {:8.1} s of CPU since the release", busy_seconds() - busy);
}

fn trial(members: u32) -> Trial {
    let population = Population::named("cones").unwrap();
    let latency = Latency::Generated(Generated::new(1));
    let topology = Topology::draw(&population, members as usize, latency, [5; 32]).unwrap();
    let public: Vec<_> =
        (0..members).filter(|n| topology.hosts[*n as usize].is_public()).map(NodeIndex).collect();
    let node = |n: u32| NodeSpec {
        name: format!("m{n:04}"),
        address: NodeSpec::address_of(u64::from(n)).unwrap(),
        host: HostId(n),
        behind: String::new(),
        bootstraps: public
            .iter()
            .copied()
            .filter(|index| index.0 != n)
            .take(if n == public[0].0 { 0 } else { 5 })
            .collect(),
        seed: u64::from(n),
        private: None,
    };
    let (nodes, security) = ((0..members).map(node).collect(), Security::default());
    Trial { number: 0, seed: 1, nodes, security, group: None, topology, internet_seed: [6; 32] }
}

/// Waits until all are connected, or for two minutes; returns how many are.
fn wait_for_all(environment: &mut Docker, nodes: &[NodeIndex]) -> usize {
    let limit = environment.now() + Duration::from_secs(120);
    loop {
        let statuses = environment.statuses(nodes).unwrap();
        let connected =
            statuses.iter().flatten().filter(|node| node.status.state == State::Connected).count();
        if connected == nodes.len() || environment.now() > limit {
            return connected;
        }
        environment.advance(environment.now() + Duration::from_millis(500)).unwrap();
    }
}

fn health(environment: &mut Docker) -> String {
    let health = environment.health().unwrap();
    format!(
        "lateness {:?}, crashed {:?}, stalls {:?}",
        health.lateness.unwrap(),
        health.crashed,
        health.stalls
    )
}

fn bytes(environment: &mut Docker, nodes: &[NodeIndex]) -> u64 {
    environment.traffic(nodes).unwrap().iter().map(|traffic| traffic.sent_bytes).sum()
}

/// Processes by the name of their program.
fn processes(name: &str) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_it = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
    };
    pids.filter(is_it).collect()
}

/// Proportional memory of every kind of process that takes part.
fn memory() {
    for name in ["atoll-node", "atoll-fabric", "containerd-shim", "dockerd", "containerd"] {
        let field = |pid: &u32, key: &str| -> u64 {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("0");
            line.split_whitespace().next().and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        let pids = processes(name);
        let total = |key: &str| pids.iter().map(|pid| field(pid, key)).sum::<u64>() as f64 / 1024.0;
        let (rss, pss, count) = (total("Rss:"), total("Pss:"), pids.len().max(1) as f64);
        println!(
            "memory {name:16} {:4} processes, each RSS {:6.1} MiB, PSS {:6.1} MiB",
            pids.len(),
            rss / count,
            pss / count
        );
    }
}

/// Processor time that the whole machine has spent, in seconds.
fn busy_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let fields: Vec<f64> =
        stat.lines().next().unwrap().split_whitespace().skip(1).map(|n| n.parse().unwrap()).collect();
    (fields.iter().take(8).sum::<f64>() - fields[3] - fields[4]) / 100.0
}

/// Echoes from members to public members, answered by their kernels, against what the topology says.
fn echoes(trial: &Trial) {
    let by_seed: BTreeMap<String, HostId> =
        trial.nodes.iter().map(|node| (node.seed.to_string(), node.host)).collect();
    let topology = &trial.topology;
    let public: Vec<_> = (0..)
        .map(HostId)
        .zip(&topology.hosts)
        .filter(|(_, host)| host.is_public())
        .map(|(id, _)| id)
        .collect();
    let mut errors = Vec::new();
    for pid in processes("atoll-node") {
        let Ok(config) = std::fs::read_to_string(format!("/proc/{pid}/root/etc/atoll/node.yaml")) else {
            continue;
        };
        let seed = config.lines().find_map(|line| line.strip_prefix("seed: "));
        let Some(host) = seed.and_then(|seed| by_seed.get(seed)).copied() else { continue };
        let namespace = Namespace::of_process(pid).unwrap();
        let open = || {
            Ok(rustix::net::socket_with(
                AddressFamily::INET,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
                Some(ipproto::ICMP),
            )?)
        };
        let socket = namespace.enter(open).unwrap();
        for to in public
            .iter()
            .filter(|to| topology.hosts[to.0 as usize].site != topology.hosts[host.0 as usize].site)
            .take(3)
        {
            if let Some(time) = ping(&socket, topology.hosts[to.0 as usize].address, pid as u16) {
                errors.push(time.as_secs_f64() * 1e3 - expected(topology, host, *to).as_secs_f64() * 1e3);
            }
        }
    }
    errors.sort_by(f64::total_cmp);
    assert!(!errors.is_empty(), "nobody answered an echo");
    let at = |share: f64| errors[((errors.len() - 1) as f64 * share) as usize];
    println!(
        "RTT error, ICMP     {} echoes: min {:.3}, p50 {:.3}, p99 {:.3}, max {:.3} ms",
        errors.len(),
        at(0.0),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// There and back along the gateways between a host and the Internet, then across it.
fn expected(topology: &Topology, from: HostId, to: HostId) -> Duration {
    let point = |site: atoll_topology::SiteId| topology.sites[site.0 as usize].point;
    let host = &topology.hosts[from.0 as usize];
    let mut sites = vec![host.site];
    let mut next = host.gateway;
    while let Some(id) = next {
        let gateway = &topology.gateways[id.0 as usize];
        sites.push(gateway.site);
        next = gateway.behind;
    }
    sites.push(topology.hosts[to.0 as usize].site);
    let steps = sites.windows(2).filter(|pair| pair[0] != pair[1]);
    steps.map(|pair| topology.latency.rtt(point(pair[0]), point(pair[1]))).sum()
}

fn ping(socket: &std::os::fd::OwnedFd, to: IpAddr, id: u16) -> Option<Duration> {
    let mut message = [8, 0, 0, 0, 0, 0, 0, 1];
    message[4..6].copy_from_slice(&id.to_be_bytes());
    let sum: u32 = message.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xFFFF) + (sum >> 16);
    message[2..4].copy_from_slice(&(!u16::try_from(folded).unwrap()).to_be_bytes());
    rustix::net::sockopt::set_socket_timeout(
        socket,
        rustix::net::sockopt::Timeout::Recv,
        Some(Duration::from_secs(3)),
    )
    .unwrap();
    let start = Instant::now();
    rustix::net::sendto(socket, &message, SendFlags::empty(), &SocketAddr::new(to, 0)).unwrap();
    let mut answer = [0; 100];
    loop {
        let (length, _) = rustix::net::recv(socket, &mut answer, RecvFlags::empty()).ok()?;
        if length == 28 && answer[20] == 0 {
            return Some(start.elapsed());
        }
    }
}
