//! Stand-in hosts for tests: processes with a network namespace of their own, behind a fabric of their own.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "shared by test programs, each of which uses its part"
)]

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atoll_fabric::clock::Clock;
use atoll_fabric::engine::{Engine, Handle};
use atoll_fabric::namespace::{Device, DeviceSpec, Namespace};
use atoll_topology::{HostId, Internet, Latency, Population, Topology};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto};
use rustix::net::{recv, sendto, socket_with};

/// A program that ends with this value.
pub struct Program(pub Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The daemon, which another crate makes: beside the fabric's own program, or made now.
pub fn node_binary() -> PathBuf {
    let fabric = Path::new(env!("CARGO_BIN_EXE_atoll-fabric"));
    let node = fabric.with_file_name("atoll-node");
    if !node.exists() {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--package", "atoll-node"]).current_dir(workspace());
        if fabric.parent().unwrap().ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "atoll-node does not build");
    }
    node
}

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Whether this machine lets us make namespaces and devices. Says loudly if not.
pub fn may_make_namespaces(test: &str) -> bool {
    let may = rustix::process::geteuid().is_root() && Path::new("/dev/net/tun").exists();
    if !may {
        eprintln!("SKIPPED: {test}: it needs root and /dev/net/tun");
    }
    may
}

/// A process in a network namespace of its own. It ends with this value.
pub struct StandIn {
    child: Child,
    pub namespace: Arc<Namespace>,
}

impl StandIn {
    pub fn start() -> Self {
        Self::running("exec sleep infinity")
    }

    /// Runs these words of a shell in its namespace.
    pub fn running(command: &str) -> Self {
        let script = format!("echo there; {command}");
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux is installed");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "there\n");
        let namespace = Arc::new(Namespace::of_process(child.id()).unwrap());
        Self { child, namespace }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end by itself.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A fabric with stand-ins at the first hosts of a topology.
pub struct Lab {
    pub handle: Handle,
    pub hosts: Vec<StandIn>,
    pub addresses: Vec<std::net::IpAddr>,
    runtime: tokio::runtime::Runtime,
}

impl Lab {
    pub fn new(topology: &Topology, hosts: usize) -> Self {
        let internet = Internet::new(topology.clone(), [7; 32]).unwrap();
        let mut engine = Engine::new(internet, Clock::starting_now()).unwrap();
        let hosts: Vec<_> = (0..hosts).map(|_| StandIn::start()).collect();
        let addresses: Vec<_> = topology.hosts.iter().map(|host| host.address).collect();
        for (n, host) in hosts.iter().enumerate() {
            let spec = DeviceSpec { addresses: vec![addresses[n]], mtu: 1500 };
            let device = Device::create(&host.namespace, &spec).unwrap();
            let process = host.namespace.process().try_clone().unwrap();
            engine.attach(HostId(u32::try_from(n).unwrap()), device, Some(process)).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { handle: Handle::start(engine, None).unwrap(), hosts, addresses, runtime }
    }

    pub fn ask<T: Send + 'static>(&self, order: impl FnOnce(&mut Engine) -> T + Send + 'static) -> T {
        self.runtime.block_on(self.handle.ask(order)).unwrap()
    }

    pub fn socket(&self, host: usize, port: u16) -> UdpSocket {
        let address = SocketAddr::new(self.addresses[host], port);
        let socket = self.hosts[host].namespace.enter(|| UdpSocket::bind(address)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    /// Round trips of ICMP echoes that the receiving kernel answers.
    pub fn ping(&self, from: usize, to: usize, count: u16) -> Vec<Duration> {
        let open = || {
            Ok(socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::ICMP))?)
        };
        let socket = self.hosts[from].namespace.enter(open).unwrap();
        let destination = SocketAddr::new(self.addresses[to], 0);
        (0..count).map(|n| ping_once(&socket, destination, n)).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.runtime.block_on(self.handle.stop());
    }
}

fn ping_once(socket: &std::os::fd::OwnedFd, to: SocketAddr, number: u16) -> Duration {
    let mut message = [8, 0, 0, 0, 0x12, 0x34, 0, 0];
    message[6..8].copy_from_slice(&number.to_be_bytes());
    let sum: u32 = message.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xFFFF) + (sum >> 16);
    message[2..4].copy_from_slice(&(!u16::try_from(folded).unwrap()).to_be_bytes());
    let start = Instant::now();
    sendto(socket, &message, SendFlags::empty(), &to).unwrap();
    let mut answer = [0; 100];
    loop {
        let (length, _) = recv(socket, &mut answer, RecvFlags::empty()).unwrap();
        if length == 28 && answer[20] == 0 && answer[26..28] == number.to_be_bytes() {
            return start.elapsed();
        }
    }
}

/// A topology of public hosts, or of a named population, with one delay between all sites.
pub fn topology(population: &str, hosts: usize, one_way: Duration) -> Topology {
    let population = Population::named(population).unwrap();
    Topology::draw(&population, hosts, Latency::Constant(one_way), [7; 32]).unwrap()
}

/// A server, and two homes at one carrier with a host in each.
pub fn homes_at_a_carrier() -> Topology {
    let text = "
latency: 5 ms
sites:
  - name: town
    gateways:
      - {name: carrier, is: carrier-grade}
      - {name: home, is: full-cone, behind: carrier}
      - {name: other, is: full-cone, behind: carrier}
    hosts: [{name: server}, {name: alice, behind: home}, {name: bob, behind: other}]
";
    Topology::from_yaml(text, [7; 32], |_| Err("there is none".to_owned())).unwrap()
}

/// The value that this share of the sorted values does not exceed.
pub fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let index = (share * (sorted.len() - 1) as f64).round();
    sorted[index as usize]
}

pub fn is_v4(address: std::net::IpAddr) -> Option<Ipv4Addr> {
    match address {
        std::net::IpAddr::V4(address) => Some(address),
        std::net::IpAddr::V6(_) => None,
    }
}
