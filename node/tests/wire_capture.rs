//! What somebody sees who listens on the wire: every UDP datagram of the loopback is captured while a file crosses a ring.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use common::{Running, until_well_formed, verb};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};

const MARK: &[u8] = b"only the member at the other end may read this";
/// What the control says aloud, beside the other test.
const OTHER_MARK: &[u8] = b"anybody on the wire may read this";
const ETHERNET: usize = 14;
const UDP: u8 = 17;
/// A capture drops what its reader is too slow for; a MiB is taken up in one burst.
const ROOM: usize = 8 << 20;

/// UDP datagrams of the loopback, from now until it is stopped.
struct Capture {
    stop: Arc<AtomicBool>,
    reader: JoinHandle<Vec<Vec<u8>>>,
}

impl Capture {
    /// `None`, said aloud, without the right to listen.
    fn start(test: &str) -> Option<Self> {
        let opened = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll);
        let Ok(wire) = opened else {
            eprintln!("SKIPPED: {test}: capturing needs CAP_NET_RAW");
            return None;
        };
        let _ = setsockopt(&wire, sockopt::RcvBufForce, &ROOM);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        Some(Self { stop, reader: std::thread::spawn(move || read(&wire, &stopped)) })
    }

    fn finish(self) -> Vec<Vec<u8>> {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.join().unwrap()
    }
}

fn read(wire: &OwnedFd, stop: &AtomicBool) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    let mut bytes = vec![0; 65_536 + ETHERNET];
    loop {
        match recv(wire.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
            Ok(len) => datagrams.extend(payload(&bytes[..len]).map(<[u8]>::to_vec)),
            Err(_) if stop.load(Ordering::Relaxed) => return datagrams,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Ports and payload of a UDP datagram in IPv4 behind an Ethernet header.
fn payload(link: &[u8]) -> Option<&[u8]> {
    let packet = link.get(ETHERNET..)?;
    let header = 4 * usize::from(packet.first()? & 0x0f);
    (packet[0] >> 4 == 4 && *packet.get(9)? == UDP).then(|| packet.get(header..)).flatten()
}

fn ports(datagram: &[u8]) -> Vec<u16> {
    [0, 2]
        .into_iter()
        .filter_map(|at| Some(u16::from_be_bytes(*datagram.get(at..at + 2)?.first_chunk()?)))
        .collect()
}

fn holds(datagram: &[u8], mark: &[u8]) -> bool {
    datagram.windows(mark.len()).any(|window| window == mark)
}

#[test]
fn a_capture_of_the_wire_holds_nothing_of_what_members_send_to_each_other() {
    let test = "a_capture_of_the_wire_holds_nothing_of_what_members_send_to_each_other";
    let Some(capture) = Capture::start(test) else { return };
    for security in ["dtls", "quic"] {
        let folder = tempfile::tempdir().unwrap();
        let inbox = folder.path().to_str().unwrap();
        let flags = |bootstrap: Option<&Running>| -> Vec<String> {
            let words = ["--listen", "127.0.0.1:0", "--security", security, "--inbox", inbox];
            let bootstrap = bootstrap.map(|first| ["--bootstrap".to_owned(), first.listen.to_string()]);
            words.map(str::to_owned).into_iter().chain(bootstrap.into_iter().flatten()).collect()
        };
        let start = |first: Option<&Running>| {
            Running::start_with(&flags(first).iter().map(String::as_str).collect::<Vec<_>>())
        };
        let mut nodes = vec![start(None)];
        for _ in 0..4 {
            nodes.push(start(nodes.first()));
        }
        until_well_formed(&nodes);
        let file = folder.path().join("letter");
        std::fs::write(&file, MARK.repeat(2_000)).unwrap();
        let (to, control) = (nodes[3].status().address.to_string(), nodes[1].control.to_string());
        let sent = verb(&["send", file.to_str().unwrap(), &to, "--control", &control]);
        assert_eq!(sent.status.code(), Some(0), "{security}: {}", String::from_utf8_lossy(&sent.stderr));
    }
    let datagrams = capture.finish();
    let seen: BTreeSet<u16> = datagrams.iter().flat_map(|datagram| ports(datagram)).collect();
    assert!(datagrams.len() > 200 && seen.len() >= 10, "{} datagrams of {seen:?}", datagrams.len());
    let plain = datagrams.iter().filter(|datagram| holds(datagram, MARK)).count();
    assert_eq!(plain, 0, "of {} datagrams", datagrams.len());
}

#[test]
fn without_security_the_same_capture_would_show_it() {
    let Some(capture) = Capture::start("without_security_the_same_capture_would_show_it") else { return };
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..10 {
        socket.send_to(&[b"before ", OTHER_MARK, b" behind"].concat(), socket.local_addr().unwrap()).unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    assert!(capture.finish().iter().any(|datagram| holds(datagram, OTHER_MARK)));
}
