//! The fabric between real kernels: processes with network namespaces of their own stand in for containers.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use atoll_fabric::capture::{Capture, file};
use atoll_fabric::clock::Clock;
use atoll_fabric::engine::Engine;
use atoll_fabric::packet::parse;
use atoll_topology::HostId;
use support::{Lab, may_make_namespaces, quantile, topology};

const ONE_WAY: Duration = Duration::from_millis(20);

#[test]
fn echoes_take_the_time_that_the_matrix_says() {
    if !may_make_namespaces("echoes_take_the_time_that_the_matrix_says") {
        return;
    }
    let lab = Lab::new(&topology("none", 2, ONE_WAY), 2);
    let mut times = lab.ping(0, 1, 100);
    times.sort();
    let lateness = lab.ask(|engine| engine.lateness());
    let error = |share| quantile(&times, share).saturating_sub(2 * ONE_WAY).as_secs_f64() * 1e3;
    println!("RTT above the matrix: p50 {:.3} ms, p99 {:.3} ms; {lateness:?}", error(0.5), error(0.99));
    assert!(times[0] >= 2 * ONE_WAY, "faster than light: {:?}", times[0]);
    assert!(error(0.5) < 5.0, "the median is {:.3} ms late", error(0.5));
    assert_eq!(lateness.count, 200);
}

#[test]
fn datagrams_arrive_whole_and_are_counted_with_their_headers() {
    if !may_make_namespaces("datagrams_arrive_whole_and_are_counted_with_their_headers") {
        return;
    }
    let lab = Lab::new(&topology("none", 2, ONE_WAY), 2);
    let (a, b) = (lab.socket(0, 4000), lab.socket(1, 4000));
    let payload = [0x5A; 1000];
    a.send_to(&payload, SocketAddr::new(lab.addresses[1], 4000)).unwrap();
    let mut buffer = [0; 2000];
    let (length, from) = b.recv_from(&mut buffer).unwrap();
    assert_eq!(buffer[..length], payload);
    assert_eq!(from, SocketAddr::new(lab.addresses[0], 4000));
    let (sent, received) =
        lab.ask(|engine| (engine.tally().traffic(HostId(0)), engine.tally().traffic(HostId(1))));
    assert_eq!((sent.sent_packets, sent.sent_bytes), (1, 1028));
    assert_eq!((received.received_packets, received.received_bytes), (1, 1028));
}

#[test]
fn a_capture_holds_as_many_packets_as_are_counted_and_what_is_in_them() {
    if !may_make_namespaces("a_capture_holds_as_many_packets_as_are_counted_and_what_is_in_them") {
        return;
    }
    const COUNT: usize = 50;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture.pcap");
    let lab = Lab::new(&topology("none", 2, ONE_WAY), 2);
    let capture = Capture::begin(&path, u64::MAX, Clock::starting_now()).unwrap();
    lab.ask(|engine| engine.begin_capture(capture)).unwrap();
    let (a, b) = (lab.socket(0, 4000), lab.socket(1, 4000));
    for n in 0..COUNT {
        let payload = [b"anybody on the wire may read this", &[n as u8][..]].concat();
        a.send_to(&payload, SocketAddr::new(lab.addresses[1], 4000)).unwrap();
        b.recv(&mut [0; 100]).unwrap();
    }
    let traffic = lab.ask(|engine| [0, 1].map(|host| engine.tally().traffic(HostId(host))));
    let summary = lab.ask(Engine::take_capture).unwrap().end();
    assert_eq!((traffic[0].sent_packets, traffic[1].received_packets), (COUNT as u64, COUNT as u64));
    let packets = file::read(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!((packets.len() as u64, summary.missing.len()), (summary.packets, 0));
    for n in 0..COUNT {
        let mark = [b"anybody on the wire may read this", &[n as u8][..]].concat();
        let seen: Vec<_> = packets.iter().filter(|packet| packet.bytes.ends_with(&mark)).collect();
        let [sent, received] = seen[..] else { panic!("{n} stands {} times", seen.len()) };
        assert!(received.at - sent.at >= ONE_WAY, "{n} took {:?}", received.at - sent.at);
        assert_eq!(parse(&sent.bytes).unwrap().destination, SocketAddr::new(lab.addresses[1], 4000));
    }
}

#[test]
fn a_refused_port_is_heard_of() {
    if !may_make_namespaces("a_refused_port_is_heard_of") {
        return;
    }
    let lab = Lab::new(&topology("none", 2, ONE_WAY), 2);
    let socket = lab.socket(0, 4000);
    socket.connect(SocketAddr::new(lab.addresses[1], 9)).unwrap();
    socket.send(b"anyone?").unwrap();
    let error = socket.recv(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_stream_crosses_unharmed() {
    if !may_make_namespaces("a_stream_crosses_unharmed") {
        return;
    }
    const SIZE: usize = 1 << 20;
    let lab = Lab::new(&topology("none", 2, Duration::from_millis(5)), 2);
    let address = SocketAddr::new(lab.addresses[1], 80);
    let listener = lab.hosts[1].namespace.enter(|| TcpListener::bind(address)).unwrap();
    let server = thread::spawn(move || {
        let mut bytes = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let start = Instant::now();
    let mut client = lab.hosts[0].namespace.enter(|| TcpStream::connect(address)).unwrap();
    let sent: Vec<u8> = (0..SIZE).map(|n| (n % 251) as u8).collect();
    client.write_all(&sent).unwrap();
    drop(client);
    assert!(server.join().unwrap() == sent, "the bytes differ");
    println!("1 MiB over TCP took {:?}", start.elapsed());
}

#[test]
fn a_dead_host_loses_its_device_and_is_reported() {
    if !may_make_namespaces("a_dead_host_loses_its_device_and_is_reported") {
        return;
    }
    let mut lab = Lab::new(&topology("none", 2, ONE_WAY), 2);
    assert_eq!(lab.ask(|engine| engine.attached()), 2);
    lab.hosts[1].end();
    let mut exits = Vec::new();
    while exits.is_empty() {
        exits = lab.ask(Engine::take_exits);
    }
    assert_eq!(exits[0].host, HostId(1));
    assert_eq!(lab.ask(|engine| engine.attached()), 1);
}

#[test]
fn ipv6_hosts_behind_a_firewall_reach_public_ones_and_are_answered() {
    if !may_make_namespaces("ipv6_hosts_behind_a_firewall_reach_public_ones_and_are_answered") {
        return;
    }
    let topology = topology("stateful-ipv6", 40, ONE_WAY);
    let find = |public: bool| {
        let is_it = |host: &atoll_topology::Host| host.is_public() == public && host.address.is_ipv6();
        topology.hosts.iter().position(is_it)
    };
    let (Some(public), Some(home)) = (find(true), find(false)) else { panic!("no IPv6 hosts were drawn") };
    let lab = Lab::new(&topology, public.max(home) + 1);
    let (server, client) = (lab.socket(public, 4000), lab.socket(home, 4000));
    client.send_to(b"question", SocketAddr::new(lab.addresses[public], 4000)).unwrap();
    let mut buffer = [0; 100];
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from), (&b"question"[..], SocketAddr::new(lab.addresses[home], 4000)));
    server.send_to(b"answer", from).unwrap();
    assert_eq!(client.recv(&mut buffer).unwrap(), 6);
}

#[test]
fn the_network_of_the_host_is_left_alone() {
    if !may_make_namespaces("the_network_of_the_host_is_left_alone") {
        return;
    }
    let look = || {
        let devices = std::fs::read_to_string("/proc/self/net/dev").unwrap();
        let names: Vec<_> = devices
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.trim().to_owned())
            .collect();
        (names, std::fs::read_to_string("/proc/self/net/route").unwrap())
    };
    let before = look();
    let lab = Lab::new(&topology("cones", 10, ONE_WAY), 10);
    assert_eq!(look(), before);
    drop(lab);
    assert_eq!(look(), before);
}
