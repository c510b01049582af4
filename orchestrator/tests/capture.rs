//! What somebody sees who listens on the wire between containers: every packet of a run, while its members send each other
//! messages and a file. Without a Docker engine these tests say so loudly and pass.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod containers;

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use atoll::environment::docker::{Docker, Options, capture};
use atoll::environment::{Environment, NodeIndex, OVERLAY, Security};
use atoll_core::control::{Command, Reply};
use atoll_core::wire::Address;
use atoll_fabric::capture::file::{self, Captured};
use atoll_fabric::packet::parse;
use atoll_topology::Protocol;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use containers::{ask_engine, assert_gone, engine, runs, surroundings, trial, wait_for_all};
use futures_util::StreamExt as _;

const MEMBERS: u32 = 8;
/// What stands in every line of the file that one member sends another.
const MARK: &str = "only the member at the other end may read this";
/// Lines of that file: some hundred datagrams, more than everything else that is said.
const LINES: usize = 8_000;
/// Name of that file.
const FILE: &str = "node.yaml";
/// In the first byte of a datagram: it is no record but part of a handshake, whose certificates are public.
const LONG: u8 = 0x80;
/// Where a member's container can be written to.
const INBOX: &str = "/dev/shm";

/// What was said in a run, and what a listener has of it.
struct Overheard {
    packets: Vec<Captured>,
    /// Each member's address, as it stands in packets of the overlay.
    addresses: Vec<[u8; 20]>,
}

impl Overheard {
    /// Lets members join and talk.
    fn of(security: Security) -> Self {
        let options = Options { capture: true, ..Options::default() };
        let mut environment = Docker::new(surroundings(), options).unwrap();
        let mut trial = trial("cones", MEMBERS);
        trial.security = security;
        environment.prepare(&trial).unwrap();
        let run = runs().pop().unwrap();
        let sends_files = security != Security::None;
        if sends_files {
            trial.nodes.iter().for_each(|node| extend(run.folder.as_ref().unwrap(), &node.name));
        }
        let nodes: Vec<_> = (0..MEMBERS).map(NodeIndex).collect();
        environment.start(&nodes).unwrap();
        wait_for_all(&mut environment, &nodes);
        let statuses = environment.statuses(&nodes).unwrap();
        let addresses: Vec<_> = statuses.into_iter().map(|status| status.unwrap().status.address).collect();
        for (from, to) in nodes.iter().zip(addresses.iter().skip(1)) {
            ping(&mut environment, *from, *to);
        }
        if sends_files {
            let container = format!("atoll-{}-{}", run.id, trial.nodes[1].name);
            send_file(&container, &addresses[4].to_string());
        }
        let folder = tempfile::tempdir().unwrap();
        let packets = captured(&mut environment, &nodes, folder.path());
        environment.tear_down().unwrap();
        assert_gone(&run);
        Self { packets, addresses: addresses.into_iter().map(Address::to_bytes).collect() }
    }

    /// Packets that hold a mark.
    fn holding(&self, mark: &[u8]) -> usize {
        self.packets.iter().filter(|packet| holds(&packet.bytes, mark)).count()
    }

    /// Datagrams with a sealed unit each: in them travels everything that members say once they have shaken hands.
    fn records(&self) -> impl Iterator<Item = &[u8]> {
        let datagrams = self.packets.iter().filter_map(|packet| payload(&packet.bytes));
        datagrams.filter(|datagram| datagram.first().is_some_and(|first| first & LONG == 0))
    }

    /// Records that name a member by its address, as every message does that others pass on.
    fn naming(&self, address: &[u8]) -> usize {
        self.records().filter(|record| holds(record, address)).count()
    }
}

/// Of a UDP datagram.
fn payload(packet: &[u8]) -> Option<&[u8]> {
    let is_udp = parse(packet).is_ok_and(|packet| packet.protocol() == Protocol::Udp);
    let header = if packet[0] >> 4 == 4 { 4 * usize::from(packet[0] & 0x0F) } else { 40 };
    is_udp.then(|| &packet[header + 8..])
}

fn holds(bytes: &[u8], mark: &[u8]) -> bool {
    bytes.windows(mark.len()).any(|window| window == mark)
}

/// A round trip through the overlay, as soon as there is a way: members are connected before the last edge is made.
fn ping(environment: &mut Docker, from: NodeIndex, to: Address) {
    let limit = environment.now() + Duration::from_secs(40);
    loop {
        let question = Command::Ping { overlay: OVERLAY.to_owned(), address: to };
        let reply = environment.command(from, question).unwrap();
        if matches!(reply, Reply::Ping { .. }) {
            return;
        }
        assert!(environment.now() < limit, "{reply:?}");
        let next = environment.now() + Duration::from_millis(100);
        environment.advance(next).unwrap();
    }
}

/// Gives a member that still waits at its gate an inbox, and something to send: its own configuration.
fn extend(run: &Path, node: &str) {
    let path = run.join(format!("nodes/{node}.yaml"));
    let mut config = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    write!(config, "inbox: {INBOX}\n{}", format!("# {MARK}\n").repeat(LINES)).unwrap();
}

fn send_file(container: &str, to: &str) {
    let command = ["/atoll-node", "send", &format!("/etc/atoll/{FILE}"), to];
    let config = ExecConfig {
        cmd: Some(command.map(str::to_owned).to_vec()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..ExecConfig::default()
    };
    let (said, code) = ask_engine(async |api| {
        let exec = api.create_exec(container, config).await.unwrap();
        let started = api.start_exec(&exec.id, None::<StartExecOptions>).await.unwrap();
        let StartExecResults::Attached { mut output, .. } = started else { panic!("nothing is heard of it") };
        let mut said = String::new();
        while let Some(Ok(words)) = output.next().await {
            said.push_str(&words.to_string());
        }
        (said, api.inspect_exec(&exec.id).await.unwrap().exit_code)
    });
    assert_eq!(code, Some(0), "{said}");
}

/// The packets of a capture that ends now, as many as the members' traffic says.
fn captured(environment: &mut Docker, nodes: &[NodeIndex], folder: &Path) -> Vec<Captured> {
    let counted = |environment: &mut Docker| -> u64 {
        let traffic = environment.traffic(nodes).unwrap();
        traffic.iter().map(|traffic| traffic.sent_packets + traffic.received_packets).sum()
    };
    let before = counted(environment);
    environment.save_logs(folder).unwrap();
    let after = counted(environment);
    let health = environment.health().unwrap();
    assert_eq!((health.stalls, health.crashed), (vec![], vec![]));
    let packets = file::read(&std::fs::read(folder.join(capture::FILE)).unwrap()).unwrap();
    // What the fabric cannot use, such as a kernel's multicast, is captured and not counted.
    let usable = packets.iter().filter(|packet| parse(&packet.bytes).is_ok()).count() as u64;
    assert!((before..=after).contains(&usable), "{usable} are captured, {before} to {after} counted");
    packets
}

#[test]
fn a_capture_of_a_run_holds_no_plaintext_of_any_message() {
    let Some(_alone) = engine("a_capture_of_a_run_holds_no_plaintext_of_any_message") else { return };
    for security in [Security::Dtls, Security::Quic] {
        let run = Overheard::of(security);
        let (count, bytes) = run.records().fold((0, 0), |(n, bytes), record| (n + 1, bytes + record.len()));
        println!("{}: {count} records of {bytes} bytes", security.name());
        // Each packet stands twice: as it was sent, and as it was received.
        assert!(bytes > 2 * LINES * MARK.len(), "{bytes} bytes: the file is not among them");
        assert_eq!(run.holding(MARK.as_bytes()), 0, "{}: the file", security.name());
        assert_eq!(run.holding(FILE.as_bytes()), 0, "{}: the name of the file", security.name());
        for address in &run.addresses {
            assert_eq!(run.naming(address), 0, "{}: a member's address", security.name());
        }
    }
}

#[test]
fn without_security_the_same_search_finds_whom_members_write_to() {
    let Some(_alone) = engine("without_security_the_same_search_finds_whom_members_write_to") else { return };
    let run = Overheard::of(Security::None);
    for (index, address) in run.addresses.iter().enumerate() {
        assert!(run.naming(address) > 0, "of member {index}, among {} packets", run.packets.len());
    }
}
