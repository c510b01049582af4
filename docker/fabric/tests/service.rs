//! The program `atoll-fabric` as the lab uses it: settings, gates, controls, and what is left when it dies.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use atoll_fabric::api::{Ask, Attach, CaptureOrder, Client, FaultOrder};
use atoll_fabric::capture::file;
use atoll_fabric::setting::Setting;
use atoll_topology::Topology;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice::name_to_index, socket_with};
use support::{StandIn, homes_at_a_carrier, may_make_namespaces, topology};

/// Longest wait for what must happen soon.
const SOON: Duration = Duration::from_secs(20);

struct Service {
    child: Child,
    client: Client,
    folder: tempfile::TempDir,
}

impl Service {
    async fn start(topology: &Topology) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (setting, socket) = (folder.path().join("setting.json"), folder.path().join("fabric.sock"));
        let content = Setting { topology: topology.clone(), seed: [1; 32], dilation: 1 }.to_json().unwrap();
        std::fs::write(&setting, content).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_atoll-fabric"))
            .args([Path::new("--setting"), &setting, Path::new("--socket"), &socket])
            .spawn()
            .unwrap();
        let client = Client::new(&socket);
        until("the fabric answers", async || client.report().await.is_ok()).await;
        Self { child, client, folder }
    }

    async fn attach(&self, hosts: &[StandIn], held: bool) {
        let order = |(n, host): (usize, &StandIn)| Attach {
            name: format!("m{n}"),
            host: u32::try_from(n).unwrap(),
            pid: host.pid(),
            held,
        };
        let orders: Vec<_> = hosts.iter().enumerate().map(order).collect();
        assert_eq!(self.client.attach(&orders).await.unwrap(), vec![None; hosts.len()]);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a state of another process that announces itself in no other way.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < SOON, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn held(count: usize) -> Vec<StandIn> {
    let hold = PathBuf::from(env!("CARGO_BIN_EXE_atoll-hold"));
    let command = format!("exec {} sleep infinity", hold.display());
    (0..count).map(|_| StandIn::running(&command)).collect()
}

fn program(host: &StandIn) -> String {
    std::fs::read_to_string(format!("/proc/{}/comm", host.pid())).unwrap_or_default().trim().to_owned()
}

fn has_device(host: &StandIn) -> bool {
    let look = || {
        let any = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        Ok(name_to_index(&any, "eth0").is_ok())
    };
    host.namespace.enter(look).unwrap()
}

#[tokio::test]
async fn a_gate_opens_at_the_release_and_not_before() {
    if !may_make_namespaces("a_gate_opens_at_the_release_and_not_before") {
        return;
    }
    let service = Service::start(&topology("none", 3, Duration::from_millis(5))).await;
    let hosts = held(3);
    service.attach(&hosts, true).await;
    assert!(hosts.iter().all(has_device));
    assert!(hosts.iter().all(|host| program(host) == "atoll-hold"));
    let names = vec!["m0".to_owned(), "m1".to_owned(), "nobody".to_owned()];
    let released = service.client.release(&names).await.unwrap();
    let (first, second) = (released[0].clone().unwrap(), released[1].clone().unwrap());
    assert!((second - first).abs() < 0.05, "together means together: {first} and {second}");
    assert!(released[2].is_err());
    until("the commands run", async || program(&hosts[0]) == "sleep" && program(&hosts[1]) == "sleep").await;
    assert_eq!(program(&hosts[2]), "atoll-hold");
    let report = service.client.report().await.unwrap();
    assert_eq!(report.nodes["m0"].released, Some(first));
    assert_eq!(report.nodes["m2"].released, None);
}

#[tokio::test]
async fn the_negative_controls_hold_behind_permissive_and_strict_nats() {
    if !may_make_namespaces("the_negative_controls_hold_behind_permissive_and_strict_nats") {
        return;
    }
    for preset in ["full-cone", "port-restricted-cone", "symmetric"] {
        let topology = topology(preset, 30, Duration::from_millis(5));
        let service = Service::start(&topology).await;
        let hosts: Vec<_> = (0..30).map(|_| StandIn::start()).collect();
        service.attach(&hosts, false).await;
        let controls = service.client.controls().await.unwrap();
        println!("{preset}: {controls:?}");
        assert_eq!(controls.len(), 4, "{preset}");
        assert!(controls.iter().all(|control| control.holds), "{preset}: {controls:?}");
    }
}

#[tokio::test]
async fn a_rebooted_home_is_not_reached_and_the_other_home_of_its_carrier_is() {
    if !may_make_namespaces("a_rebooted_home_is_not_reached_and_the_other_home_of_its_carrier_is") {
        return;
    }
    let topology = homes_at_a_carrier();
    let service = Service::start(&topology).await;
    let hosts: Vec<_> = topology.hosts.iter().map(|_| StandIn::start()).collect();
    service.attach(&hosts, false).await;
    let bind = |n: usize| {
        let socket = hosts[n].namespace.enter(|| UdpSocket::bind((topology.hosts[n].address, 4000))).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        socket
    };
    let [server, alice, bob] = [0, 1, 2].map(bind);
    let observed = [&alice, &bob].map(|socket| {
        socket.send_to(b"hello", server.local_addr().unwrap()).unwrap();
        server.recv_from(&mut [0; 16]).unwrap().1
    });
    let done = service.client.fault(&FaultOrder::Reboot(vec![1])).await.unwrap();
    assert_eq!(done.hosts, 1);
    for address in observed {
        server.send_to(b"back", address).unwrap();
    }
    assert_eq!(bob.recv(&mut [0; 16]).unwrap(), 4);
    assert!(alice.recv(&mut [0; 16]).is_err());
}

#[tokio::test]
async fn a_node_that_is_not_there_is_not_found() {
    let service = Service::start(&topology("none", 2, Duration::from_millis(5))).await;
    let pages = SocketAddr::from(([127, 0, 0, 1], service.client.report().await.unwrap().pages_port));
    for (path, expected) in [
        ("/nodes/nobody/metrics", "HTTP/1.1 404 "),
        ("/nodes/nobody/status", "HTTP/1.1 404 "),
        ("/metrics", "HTTP/1.1 200 "),
    ] {
        let answer = get(pages, path);
        assert!(answer.starts_with(expected), "{path}: {answer}");
    }
    assert!(get(pages, "/nodes/nobody/metrics").contains("no node is called nobody"));
}

fn get(place: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(place).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn a_capture_is_a_file_beside_the_socket_and_stands_on_the_metrics_page() {
    let service = Service::start(&topology("none", 2, Duration::from_millis(5))).await;
    let order = |file: &str| CaptureOrder { file: file.to_owned(), bytes_max: 1 << 20 };
    let elsewhere = service.client.begin_capture(&order("../capture.pcap")).await;
    assert!(elsewhere.unwrap_err().to_string().contains("no name of a file"));
    service.client.begin_capture(&order("first.pcap")).await.unwrap();
    let second = service.client.begin_capture(&order("second.pcap")).await;
    assert!(second.unwrap_err().to_string().contains("goes on already"));
    let pages = SocketAddr::from(([127, 0, 0, 1], service.client.report().await.unwrap().pages_port));
    assert!(get(pages, "/metrics").contains("fabric_captured_packets{state=\"held\"} 0"));
    let summary = service.client.end_capture().await.unwrap();
    assert_eq!(service.client.report().await.unwrap().capture, Some(summary));
    assert!(service.client.end_capture().await.is_err());
    let folder = service.folder.path();
    let mode = std::fs::metadata(folder.join("first.pcap")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(file::read(&std::fs::read(folder.join("first.pcap")).unwrap()).unwrap(), vec![]);
    assert!(!folder.join("second.pcap").exists());
}

#[tokio::test]
async fn when_the_fabric_dies_its_devices_go_and_nobody_waits_for_ever() {
    if !may_make_namespaces("when_the_fabric_dies_its_devices_go_and_nobody_waits_for_ever") {
        return;
    }
    let mut service = Service::start(&topology("none", 2, Duration::from_millis(5))).await;
    let mut hosts = held(2);
    service.attach(&hosts, true).await;
    assert!(hosts.iter().all(has_device));
    service.child.kill().unwrap();
    service.child.wait().unwrap();
    assert!(!hosts.iter().any(has_device));
    for host in &mut hosts {
        assert_eq!(host.exit_code(), Some(2));
    }
}

#[tokio::test]
async fn a_node_that_does_not_answer_spoils_no_others_answer() {
    if !may_make_namespaces("a_node_that_does_not_answer_spoils_no_others_answer") {
        return;
    }
    let service = Service::start(&topology("none", 2, Duration::from_millis(5))).await;
    let hosts = vec![StandIn::start(), StandIn::start()];
    service.attach(&hosts, false).await;
    let listen = || std::net::TcpListener::bind("127.0.0.1:9101");
    let control = hosts[1].namespace.enter(listen).unwrap();
    let node = std::thread::spawn(move || {
        let (mut stream, _) = control.accept().unwrap();
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n\"left\"").unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let ask = Ask { nodes: vec!["m0".to_owned(), "m1".to_owned()], command: "leave".into() };
    let answers = service.client.command(&ask).await.unwrap();
    assert!(answers[0].as_ref().unwrap_err().contains("refused"), "{answers:?}");
    assert_eq!(answers[1], Ok("left".into()));
    let request = node.join().unwrap();
    assert!(request.starts_with("POST /command HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("host: 127.0.0.1:9101"), "{request}");
}
