//! Random, truncated and replayed datagrams at a node's port.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use atoll_core::Rng;
use atoll_core::control::State;
use common::{Running, ring, until, until_well_formed};

const ROUNDS: usize = 30_000;

/// Stands between two nodes, passes everything on, and keeps what it saw.
struct Tap {
    socket: UdpSocket,
    target: SocketAddr,
    seen: Vec<Vec<u8>>,
}

impl Tap {
    fn new(target: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        Self { socket, target, seen: Vec::new() }
    }

    /// Passes datagrams on between the target and `other` for one step.
    fn step(&mut self, other: &mut Option<SocketAddr>) {
        let mut bytes = [0; 2048];
        let Ok((len, from)) = self.socket.recv_from(&mut bytes) else { return };
        self.seen.push(bytes[..len].to_vec());
        let to = if from == self.target { *other } else { Some(self.target) };
        if from != self.target {
            *other = Some(from);
        }
        to.into_iter().for_each(|to| drop(self.socket.send_to(&bytes[..len], to)));
    }
}

/// Real datagrams of a node that joins `target`.
fn recorded(target: SocketAddr) -> Vec<Vec<u8>> {
    let mut tap = Tap::new(target);
    let joiner = Running::start(&[tap.socket.local_addr().unwrap()]);
    let mut other = None;
    until("a node joins through the tap", || {
        tap.step(&mut other);
        (tap.seen.len() >= 8 && joiner.status().state == State::Connected).then_some(())
    });
    tap.seen
}

fn mangle(rng: &mut Rng, seen: &[Vec<u8>]) -> Vec<u8> {
    let mut datagram = seen[rng.below(seen.len())].clone();
    match rng.below(5) {
        0 => {
            datagram = vec![0; rng.below(1600)];
            rng.fill(&mut datagram);
        }
        1 => datagram.truncate(rng.below(datagram.len() + 1)),
        2 => {
            let place = rng.below(datagram.len().max(1));
            if let Some(byte) = datagram.get_mut(place) {
                *byte ^= 1 << rng.below(8);
            }
        }
        3 => datagram.extend(seen[rng.below(seen.len())].iter()),
        _ => {}
    }
    datagram
}

#[test]
fn tens_of_thousands_of_bad_datagrams_leave_the_node_healthy_and_are_counted() {
    let mut nodes = ring(3);
    let target = nodes[0].listen;
    let seen = recorded(target);
    until_well_formed(&nodes);
    let resident = nodes[0].metric("process_resident_memory_bytes");
    let before = nodes[0].metric("atoll_socket_received_datagrams_total");
    let drops = nodes[0].metric("atoll_drops_total");

    let mut rng = Rng::new([42; 32]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for round in 0..ROUNDS {
        let _ = socket.send_to(&mangle(&mut rng, &seen), target);
        if round % 64 == 0 {
            // Keeps the kernel's buffer from swallowing most of them.
            let want = before + round as f64 / 2.0;
            until("the node reads", || {
                (nodes[0].metric("atoll_socket_received_datagrams_total") >= want).then_some(())
            });
        }
    }
    assert!(nodes[0].is_running());
    until_well_formed(&nodes);
    let dropped = nodes[0].metric("atoll_drops_total") - drops;
    assert!(dropped > ROUNDS as f64 / 4.0, "only {dropped} of {ROUNDS} were counted as drops");
    let grown = nodes[0].metric("process_resident_memory_bytes") - resident;
    assert!(grown < 4e6, "{grown} bytes more");
}
