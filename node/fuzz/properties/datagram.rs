//! The claim of the target `datagram`: whatever arrives, four whole nodes keep the laws of `Machine`, answer little,
//! and are one ring again afterwards.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use atoll_core::config::{Config, OverlayConfig};
use atoll_core::control::{Command, Reply, State, Status};
use atoll_core::wire::Address;
use atoll_core::{Checked, Input, Machine, Node, Output, Pool, RequestId, Time};

const NODES: usize = 4;
const DELAY: Duration = Duration::from_millis(10);
/// Orders of one script at most; the rest is not played.
const ORDERS_MAX: usize = 200;
/// Outputs that one input may cause.
const OUTPUTS_MAX: usize = 64;
/// Real datagrams kept for the script to use.
const SEEN_MAX: usize = 512;
/// How long four nodes take at most to be one ring, at the start and after a script.
const HEALED: Duration = Duration::from_secs(180);

/// Plays a script to a town that has settled.
///
/// # Panics
/// If a law is broken, an input causes too many outputs, or the ring does not heal.
pub fn check(script: &[u8]) {
    let mut town = Town::settled();
    let mut script = Script(script);
    for _ in 0..ORDERS_MAX {
        if script.play(&mut town).is_none() {
            break;
        }
    }
    town.settle();
}

/// Nodes and the datagrams between them, in virtual time.
struct Town {
    nodes: Vec<Checked<Node>>,
    pool: Pool,
    now: Time,
    flying: BTreeMap<(Time, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    number: u64,
    seen: Vec<Vec<u8>>,
    status: Option<Status>,
}

fn place(node: usize) -> SocketAddr {
    // One more than there are nodes: a stranger.
    SocketAddr::from(([10, 0, 0, 1 + (node % (NODES + 1)) as u8], 4001))
}

fn address(node: usize) -> Address {
    let mut bytes = [0x11; Address::LEN];
    bytes[0] = (node * 256 / NODES) as u8 + 7;
    Address::from_bytes(bytes)
}

impl Town {
    fn settled() -> Self {
        let pool = Pool::new();
        let node = |n: usize| {
            let bootstraps = if n == 0 { vec![] } else { vec![place(0)] };
            let config = Config::new(vec![OverlayConfig::new("public", address(n), bootstraps)]);
            Checked::new(Node::new(&config, &pool, [n as u8; 32], Time::ZERO))
        };
        let nodes = (0..NODES).map(node).collect();
        let (flying, seen) = (BTreeMap::new(), Vec::new());
        let mut town = Self { nodes, pool, now: Time::ZERO, flying, number: 0, seen, status: None };
        (0..NODES).for_each(|n| town.input(n, Input::LocalAddresses(vec![place(n)])));
        town.settle();
        town
    }

    /// Runs until walking successors visits every node.
    fn settle(&mut self) {
        let end = self.now + HEALED;
        while !self.is_ring() {
            assert!(self.now < end, "no ring {HEALED:?} after the script");
            self.run(Duration::from_millis(500));
        }
    }

    fn is_ring(&mut self) -> bool {
        (0..NODES).all(|n| {
            self.input(n, Input::Command { id: RequestId(u64::MAX), command: Command::Status });
            let status = self.status.take().expect("a node answers at once");
            status.state == State::Connected && status.successor == Some(address((n + 1) % NODES))
        })
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let datagram = self.flying.first_key_value().map(|((at, _), _)| *at);
            let timer = self.nodes.iter().filter_map(|node| Some(node.poll_timeout()?.at)).min();
            let next = datagram.into_iter().chain(timer).min().unwrap_or(Time::MAX).max(self.now);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            match datagram {
                Some(at) if at <= next => self.land(),
                _ => (0..NODES).for_each(|n| self.wake(n)),
            }
        }
    }

    fn land(&mut self) {
        let Some((_, (from, to, bytes))) = self.flying.pop_first() else { return };
        if self.seen.len() < SEEN_MAX {
            self.seen.push(bytes.clone());
        }
        if let Some(n) = (0..NODES).find(|n| place(*n) == to) {
            self.datagram(n, from, &bytes);
        }
    }

    fn wake(&mut self, n: usize) {
        if self.nodes[n].poll_timeout().is_some_and(|deadline| deadline.at <= self.now) {
            self.nodes[n].handle_timeout(self.now);
            self.drain(n);
        }
    }

    fn datagram(&mut self, n: usize, from: SocketAddr, bytes: &[u8]) {
        let payload = self.pool.copy(bytes);
        self.input(n, Input::Datagram { from: from.into(), payload });
    }

    fn input(&mut self, n: usize, input: Input) {
        self.nodes[n].handle_input(input, self.now);
        self.drain(n);
    }

    fn drain(&mut self, n: usize) {
        let mut count = 0;
        while let Some(output) = self.nodes[n].poll_output() {
            count += 1;
            assert!(count <= OUTPUTS_MAX, "one input causes more than {OUTPUTS_MAX} outputs: {output:?}");
            match output {
                Output::Transmit { to, payload } => {
                    self.number += 1;
                    self.flying
                        .insert((self.now + DELAY, self.number), (place(n), to.address(), payload.to_vec()));
                }
                Output::Reply { reply: Reply::Status(members), .. } => {
                    self.status = members.into_iter().next()
                }
                Output::Reply { .. } | Output::Event(_) => {}
                Output::Received { .. }
                | Output::Carried { .. }
                | Output::Broadcast { .. }
                | Output::Keep { .. }
                | Output::SaltWanted { .. } => {}
            }
        }
    }
}

/// Orders, byte after byte.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let count = usize::from(self.byte()?).min(self.0.len());
        let (head, rest) = self.0.split_at(count);
        self.0 = rest;
        Some(head.to_vec())
    }

    /// A real datagram that was seen.
    fn seen(&mut self, town: &Town) -> Option<Vec<u8>> {
        let number = usize::from(u16::from_be_bytes([self.byte()?, self.byte()?]));
        Some(town.seen[number % town.seen.len()].clone())
    }

    /// Plays one order; nothing if the script is over.
    fn play(&mut self, town: &mut Town) -> Option<()> {
        let (order, who) = (self.byte()?, self.byte()?);
        let (node, from) = (usize::from(who) % NODES, place(usize::from(who >> 4)));
        let datagram = match order % 8 {
            0 => self.bytes()?,
            1 => self.seen(town)?,
            2 => {
                let mut datagram = self.seen(town)?;
                datagram.truncate(usize::from(self.byte()?));
                datagram
            }
            3 => {
                let mut datagram = self.seen(town)?;
                let at = usize::from(self.byte()?) % datagram.len().max(1);
                let mask = self.byte()?;
                datagram.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= mask);
                datagram
            }
            4 => [self.seen(town)?, self.bytes()?].concat(),
            5 => {
                let (mut datagram, tail) = (self.seen(town)?, self.bytes()?);
                datagram.truncate(datagram.len().saturating_sub(tail.len()));
                [datagram, tail].concat()
            }
            6 => {
                town.input(node, Input::Unreachable { to: from.into() });
                return Some(());
            }
            _ => {
                town.run(Duration::from_millis(40) * u32::from(self.byte()?));
                return Some(());
            }
        };
        town.datagram(node, from, &datagram);
        Some(())
    }
}
