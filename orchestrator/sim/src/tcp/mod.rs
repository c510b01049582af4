//! TCP between the hosts of a world: which connections there are, and their segments as packets of the Internet.
//!
//! A world whose machines send nothing over TCP pays for none of it.

mod connection;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use atoll_core::wire::Transport;
use atoll_core::{Input, Time};
use atoll_topology::{Body, HostId, Packet, TcpFlags};

use self::connection::{Connection, Effect, Segment};
use crate::flight::{Flight, Hold, Slip};
use crate::heap::Entry;
use crate::observe::Fate;
use crate::trace::Step;
use crate::world::World;

/// Connections of one host at most; beyond, it neither opens nor takes any.
const CONNECTIONS_MAX: usize = 512;

/// IPv4 and TCP headers without options, in bytes.
const HEADERS: u32 = 40;
/// What IPv6 adds.
const IPV6_MORE: u32 = 20;
/// The length in front of every datagram.
const PREFIX: u32 = 2;
/// The numbers in front of a segment's bytes.
const NUMBERS: usize = 8;
/// Ports of hosts that open connections (RFC 6335 section 6).
const DYNAMIC: u16 = 49_152;

/// A connection as its host sees it.
type Key = (HostId, SocketAddr);

#[derive(Debug)]
struct Place {
    local: SocketAddr,
    connection: Connection,
    timer: Option<(Time, u64)>,
}

/// All connections of a world.
#[derive(Debug, Default)]
pub(crate) struct Tcp {
    places: BTreeMap<Key, Place>,
    timers: BTreeMap<(Time, u64), Key>,
    opened: BTreeMap<HostId, u16>,
}

impl Tcp {
    /// The timer that is due first.
    pub(crate) fn first(&self) -> Option<Entry> {
        let ((time, sequence), (host, _)) = self.timers.first_key_value()?;
        Some(Entry { time: *time, sequence: *sequence, slot: host.0 })
    }

    fn of(&self, host: HostId) -> Vec<Key> {
        let lowest = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        self.places.range((host, lowest)..).map(|(key, _)| *key).take_while(|key| key.0 == host).collect()
    }

    fn has_room(&self, host: HostId) -> bool {
        self.of(host).len() < CONNECTIONS_MAX
    }

    fn next_port(&mut self, host: HostId) -> u16 {
        let opened = self.opened.entry(host).or_default();
        let port = DYNAMIC + *opened;
        *opened = (*opened + 1) % (u16::MAX - DYNAMIC);
        port
    }

    fn set_timer(&mut self, key: Key, sequence: u64) {
        let Some(place) = self.places.get_mut(&key) else { return };
        let due = place.connection.due();
        if place.timer.is_some_and(|(at, _)| at == due) {
            return;
        }
        if let Some(old) = place.timer.replace((due, sequence)) {
            self.timers.remove(&old);
        }
        self.timers.insert((due, sequence), key);
    }

    fn remove(&mut self, key: Key) -> Option<Place> {
        let place = self.places.remove(&key)?;
        place.timer.and_then(|timer| self.timers.remove(&timer));
        Some(place)
    }
}

impl World {
    /// Sends a datagram in the connection to an address, which is opened if there is none.
    pub(crate) fn send_over_tcp(&mut self, host: HostId, to: SocketAddr, payload: &[u8]) {
        if let Some(tap) = &mut self.tap {
            tap(host, payload);
        }
        let (key, mut effects) = ((host, to), Vec::new());
        if !self.tcp.places.contains_key(&key) {
            effects.extend(self.open(key));
        }
        let fits = !payload.is_empty() && payload.len() <= Hold::PAYLOAD_MAX - NUMBERS;
        let place = self.tcp.places.get_mut(&key).filter(|_| fits);
        if place.is_some_and(|place| place.connection.send(payload, self.now, &mut effects)) {
            self.counters.datagrams += 1;
        } else {
            self.counters.unsent += 1;
        }
        self.carry_out(key, effects);
    }

    /// Opens a connection, if there is room and both ends are of one family.
    fn open(&mut self, key: Key) -> Option<Effect> {
        let (host, to) = key;
        let socket = self.seats[host.0 as usize].socket;
        if socket.is_ipv4() != to.is_ipv4() || !self.tcp.has_room(host) {
            return None;
        }
        let connection = Connection::opening(self.now);
        let first = connection.begin();
        let local = SocketAddr::new(socket.ip(), self.tcp.next_port(host));
        self.tcp.places.insert(key, Place { local, connection, timer: None });
        Some(first)
    }

    /// A segment reached a host.
    pub(crate) fn take_segment(&mut self, host: HostId, slip: Slip, flags: TcpFlags) {
        let bytes = slip.payload.map(|cell| self.hold.get(cell).to_vec()).unwrap_or_default();
        let (key, local) = ((host, slip.source), slip.destination);
        if !self.claim(host, slip) {
            return;
        }
        let is_first = flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::ACK);
        let mut effects = Vec::new();
        if let Some(place) = self.tcp.places.get_mut(&key).filter(|place| place.local == local) {
            place.connection.take(segment(flags, &bytes), self.now, &mut effects);
        } else if is_first && local == self.seats[host.0 as usize].socket {
            effects.extend(self.accept(key, local));
        } else if !flags.has(TcpFlags::RST) {
            let refusal = TcpFlags::RST.with(TcpFlags::ACK);
            return self.put_segment(host, Packet::tcp(local, key.1, refusal), &[]);
        }
        self.carry_out(key, effects);
    }

    /// Counts a segment at its host; `false` if nothing runs there.
    fn claim(&mut self, host: HostId, slip: Slip) -> bool {
        let seat = &mut self.seats[host.0 as usize];
        if seat.machine.is_none() {
            self.counters.unclaimed += 1;
            self.end(slip, Fate::Unclaimed(host));
            return false;
        }
        seat.traffic.received_datagrams += 1;
        seat.traffic.received_bytes += u64::from(slip.length);
        self.trace.step(Step::Delivered, self.now, host);
        self.trace.addresses(slip.source, slip.destination);
        self.end(slip, Fate::Delivered(host));
        true
    }

    fn accept(&mut self, key: Key, local: SocketAddr) -> Option<Effect> {
        // What is left of an older one from the same port goes.
        self.tcp.remove(key);
        if !self.tcp.has_room(key.0) {
            return None;
        }
        let connection = Connection::accepted(self.now);
        let answer = connection.begin();
        self.tcp.places.insert(key, Place { local, connection, timer: None });
        Some(answer)
    }

    /// The timer that was due first.
    pub(crate) fn time_out_tcp(&mut self) -> HostId {
        let (_, key) = self.tcp.timers.pop_first().expect("the caller saw a timer");
        let mut effects = Vec::new();
        if let Some(place) = self.tcp.places.get_mut(&key) {
            place.timer = None;
            if place.connection.due() <= self.now {
                place.connection.time_out(self.now, &mut effects);
            }
        }
        self.carry_out(key, effects);
        key.0
    }

    /// A network says that it does not let a host open a connection; one that stands does not mind (RFC 5927).
    pub(crate) fn refuse_over_tcp(&mut self, host: HostId, to: SocketAddr) {
        let key = (host, to);
        if self.tcp.places.get(&key).is_some_and(|place| place.connection.is_opening()) {
            self.carry_out(key, vec![Effect::Gone]);
        }
    }

    /// Forgets the connections of a host; one that leaves closes them, one that is killed says nothing.
    pub(crate) fn end_tcp(&mut self, host: HostId, closes: bool) {
        for key in self.tcp.of(host) {
            if closes {
                self.send_segment(key, TcpFlags::FIN.with(TcpFlags::ACK), None);
            }
            self.tcp.remove(key);
        }
    }

    fn carry_out(&mut self, key: Key, effects: Vec<Effect>) {
        let sequence = self.sequence;
        self.sequence += 1;
        self.tcp.set_timer(key, sequence);
        let from = Transport::Tcp(key.1);
        for effect in effects {
            match effect {
                Effect::Send(flags, number) => self.send_segment(key, flags, number),
                Effect::Deliver(datagram) => {
                    self.counters.delivered += 1;
                    self.trace_payload(&datagram);
                    let payload = self.pool.copy(&datagram);
                    self.input(key.0, Input::Datagram { from, payload });
                }
                Effect::Gone => {
                    if self.tcp.remove(key).is_some() {
                        self.trace.step(Step::Refused, self.now, key.0);
                        self.trace.address(key.1);
                        self.input(key.0, Input::Unreachable { to: from });
                    }
                }
            }
        }
    }

    fn send_segment(&mut self, (host, remote): Key, flags: TcpFlags, number: Option<u32>) {
        let Some(place) = self.tcp.places.get(&(host, remote)) else { return };
        let body = number.and_then(|number| place.connection.datagram(number)).unwrap_or_default();
        let mut bytes = Vec::with_capacity(NUMBERS + body.len());
        bytes.extend(number.unwrap_or(0).to_be_bytes());
        bytes.extend(place.connection.expects().to_be_bytes());
        bytes.extend(body);
        let prefix = if body.is_empty() { 0 } else { PREFIX };
        let family = if remote.is_ipv4() { 0 } else { IPV6_MORE };
        let length = HEADERS + family + prefix + body.len() as u32;
        let packet = Packet::new(place.local, remote, Body::Tcp(flags), length);
        self.put_segment(host, packet, &bytes);
    }

    fn put_segment(&mut self, host: HostId, packet: Packet, bytes: &[u8]) {
        let traffic = &mut self.seats[host.0 as usize].traffic;
        traffic.sent_datagrams += 1;
        traffic.sent_bytes += u64::from(packet.length);
        self.trace.step(Step::Sent, self.now, host);
        self.trace.address(packet.destination);
        self.trace_payload(bytes);
        self.depart(Flight { packet, sender: host, payload: None }, bytes);
    }
}

/// What a segment's bytes say; a reset of a gateway has none.
fn segment(flags: TcpFlags, bytes: &[u8]) -> Segment<'_> {
    let number = |at: usize| {
        let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_be_bytes)
    };
    Segment { flags, number: number(0), expects: number(4), body: bytes.get(NUMBERS..).unwrap_or_default() }
}
