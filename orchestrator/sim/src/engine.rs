//! The loop inside a world: take what is due next, hand it to a machine, carry out what the machine wants.
//!
//! It never decides anything for a machine, and hands it no wake that is early.

use std::net::SocketAddr;
use std::time::Duration;

use atoll_core::control::Reply;
use atoll_core::wire::Transport;
use atoll_core::{Deadline, Input, Output, Time};
use atoll_topology::{Arrival, Body, Departure, HostId, Icmp, IcmpError, Packet, Protocol, Quote};

use crate::counters::headers;
use crate::entropy;
use crate::flight::{Flight, Hold, Slip};
use crate::heap::Entry;
use crate::host::Seat;
use crate::observe::{Fate, Observation};
use crate::received::{Carried, Heard, Kept, Received};
use crate::stall::Stalled;
use crate::trace::Step;
use crate::world::World;

/// What is due next.
enum Due {
    Wake(Entry),
    Flight(Time),
    Tcp(Time),
}

impl Due {
    fn time(&self) -> Time {
        match self {
            Self::Wake(entry) => entry.time,
            Self::Flight(time) | Self::Tcp(time) => *time,
        }
    }
}

impl World {
    /// Runs the next event if it is due by `until`; `false` if none is.
    pub(crate) fn advance(&mut self, until: Time) -> Result<bool, Stalled> {
        if let Some(stalled) = &self.stalled {
            return Err(stalled.clone());
        }
        let Some(due) = self.due().filter(|due| due.time() <= until) else { return Ok(false) };
        self.now = due.time();
        self.counters.events += 1;
        self.counters.heap_max = self.counters.heap_max.max(self.flights.len() + self.wakes.len());
        let host = match due {
            Due::Wake(entry) => self.wake(HostId(entry.slot)),
            Due::Flight(_) => self.land(),
            Due::Tcp(_) => self.time_out_tcp(),
        };
        self.watch_clock(host);
        self.stalled.clone().map_or(Ok(true), Err)
    }

    /// Hands an input to the machine on `host`, if one runs there, and carries out what it wants.
    pub(crate) fn input(&mut self, host: HostId, input: Input) {
        let Some(machine) = &mut self.seats[host.0 as usize].machine else { return };
        entropy::seeded(&mut self.entropy, || machine.handle_input(input, self.now));
        self.settle(host);
    }

    /// Ends what runs on `host`. Datagrams on their way go on.
    pub(crate) fn remove(&mut self, host: HostId) {
        self.trace.step(Step::Stop, self.now, host);
        let leaves = self.seats[host.0 as usize].leaving.is_some();
        self.end_tcp(host, leaves);
        let seat = &mut self.seats[host.0 as usize];
        seat.machine = None;
        seat.leaving = None;
        self.wakes.disarm(host.0);
    }

    fn due(&self) -> Option<Due> {
        let (next, tcp) = (self.next(), self.tcp.first());
        match (&next, tcp) {
            (Some((entry, _)), Some(timer)) if timer.before(entry) => Some(Due::Tcp(timer.time)),
            (None, Some(timer)) => Some(Due::Tcp(timer.time)),
            _ => next.map(|(_, due)| due),
        }
    }

    /// The first wake or flight.
    fn next(&self) -> Option<(Entry, Due)> {
        match (self.wakes.first(), self.flights.first()) {
            (Some(wake), Some(flight)) if flight.before(wake) => Some((*flight, Due::Flight(flight.time))),
            (Some(wake), _) => Some((*wake, Due::Wake(*wake))),
            (None, flight) => flight.map(|flight| (*flight, Due::Flight(flight.time))),
        }
    }

    fn watch_clock(&mut self, host: HostId) {
        if self.watch.event(self.now, self.seats.len()) && self.stalled.is_none() {
            let reason = self.seats[host.0 as usize].deadline().map_or("nothing", |deadline| deadline.reason);
            self.stalled = Some(Stalled::Frozen { at: self.now, host, reason, events: self.watch.events() });
        }
    }

    /// The wake of `host` came up.
    fn wake(&mut self, host: HostId) -> HostId {
        let seat = &mut self.seats[host.0 as usize];
        match seat.deadline() {
            Some(Deadline { at, .. }) if at > self.now => {
                self.counters.skipped_wakes += 1;
                let entry = Entry { time: at, sequence: self.sequence, slot: host.0 };
                self.sequence += 1;
                self.wakes.put_off_first(entry);
            }
            None => {
                self.counters.skipped_wakes += 1;
                self.wakes.disarm(host.0);
            }
            Some(_) if seat.leaving.is_some_and(|gone| gone <= self.now) => self.remove(host),
            Some(_) => self.time_out(host),
        }
        host
    }

    fn time_out(&mut self, host: HostId) {
        self.counters.wakes += 1;
        self.wakes.disarm(host.0);
        self.trace.step(Step::Wake, self.now, host);
        let Some(machine) = &mut self.seats[host.0 as usize].machine else { return };
        entropy::seeded(&mut self.entropy, || machine.handle_timeout(self.now));
        self.settle(host);
        let seat = &mut self.seats[host.0 as usize];
        let late = seat.deadline().filter(|deadline| deadline.at <= self.now);
        let Some(Deadline { reason, .. }) = late else { return };
        let wakes = seat.spins.note(self.now);
        if wakes > self.watch.limits().wakes {
            self.stall(Stalled::Spinning { at: self.now, host, reason, wakes });
        }
    }

    /// The first datagram in flight came up: at its host, or somewhere on its way.
    fn land(&mut self) -> HostId {
        let (slot, flight) = self.flights.pop().expect("the caller saw a flight");
        let arrival = self.internet.arrive(&mut flight.packet, self.now.since(Time::ZERO));
        let (slip, body) = (flight.slip(), flight.packet.body);
        if !matches!(arrival, Arrival::InFlight { .. }) {
            self.flights.release(slot);
        }
        match arrival {
            Arrival::Delivered(host) => {
                self.deliver(host, slip, body);
                return host;
            }
            Arrival::Dropped(reason) => self.end(slip, Fate::Dropped(reason)),
            Arrival::Returned(answer, at) => {
                self.end(slip, Fate::Returned);
                self.fly(at, Flight { packet: answer, sender: slip.sender, payload: None });
            }
            Arrival::InFlight { at } => {
                let time = (Time::ZERO + at).max(self.now);
                self.flights.back(Entry { time, sequence: self.sequence, slot });
                self.sequence += 1;
            }
        }
        slip.sender
    }

    fn deliver(&mut self, host: HostId, slip: Slip, body: Body) {
        if let Body::Icmp(Icmp::Error(error, quote)) = body {
            return self.refuse(host, error, quote);
        }
        if let Body::Tcp(flags) = body {
            return self.take_segment(host, slip, flags);
        }
        let Some(cell) = slip.payload else { return };
        let seat = &mut self.seats[host.0 as usize];
        if seat.machine.is_none() || slip.destination != seat.socket {
            self.counters.unclaimed += 1;
            return self.end(slip, Fate::Unclaimed(host));
        }
        seat.traffic.received_datagrams += 1;
        seat.traffic.received_bytes += u64::from(slip.length);
        self.counters.delivered += 1;
        self.trace.step(Step::Delivered, self.now, host);
        self.trace.addresses(slip.source, slip.destination);
        let payload = self.pool.copy(self.hold.get(cell));
        self.end(slip, Fate::Delivered(host));
        self.input(host, Input::Datagram { from: slip.source.into(), payload });
    }

    /// An error message reached the host; its socket passes on what a UDP socket reports.
    fn refuse(&mut self, host: HostId, error: IcmpError, quote: Quote) {
        let reported = matches!(error, IcmpError::PortUnreachable | IcmpError::HostUnreachable);
        let seat = &self.seats[host.0 as usize];
        if reported && quote.protocol == Protocol::Tcp {
            return self.refuse_over_tcp(host, quote.destination);
        }
        if !reported || quote.protocol != Protocol::Udp || quote.source != seat.socket {
            return;
        }
        self.trace.step(Step::Refused, self.now, host);
        self.trace.address(quote.destination);
        self.input(host, Input::Unreachable { to: quote.destination.into() });
    }

    /// Carries out everything that the machine on `host` wants, and schedules its next wake if it is still there.
    fn settle(&mut self, host: HostId) {
        if self.drain(host) && self.seats[host.0 as usize].leaving.is_some() {
            self.remove(host);
        } else {
            self.arm(host);
        }
        if self.settings.contain_crashes {
            while let Some(crashed) = self.crashes.next() {
                self.remove(crashed);
            }
        }
    }

    /// Carries out everything that the machine on `host` wants; `true` if it says that it left.
    fn drain(&mut self, host: HostId) -> bool {
        let mut left = false;
        let mut outputs = 0;
        while let Some(output) = self.output(host) {
            outputs += 1;
            if outputs > self.watch.limits().outputs {
                self.stall(Stalled::Flooding { at: self.now, host, outputs });
                break;
            }
            match output {
                Output::Transmit { to: Transport::Udp(to), payload } => self.transmit(host, to, &payload),
                Output::Transmit { to: Transport::Tcp(to), payload } => {
                    self.send_over_tcp(host, to, &payload)
                }
                Output::Event(event) => {
                    self.trace.step(Step::Event, self.now, host);
                    self.sink.put(self.now, host, event);
                }
                Output::Received { overlay, author, payload } => {
                    self.trace.step(Step::Received, self.now, host);
                    self.trace_payload(&payload);
                    self.received.put(Received {
                        time: self.now,
                        host,
                        overlay,
                        author,
                        payload: payload.to_vec(),
                    });
                }
                Output::Carried { overlay, from, payload } => {
                    self.trace.step(Step::Carried, self.now, host);
                    self.trace.bytes(&payload);
                    let payload = payload.to_vec();
                    self.carried.put(Carried { time: self.now, host, overlay, from, payload });
                }
                Output::Broadcast { overlay, origin, payload } => {
                    self.trace.step(Step::Broadcast, self.now, host);
                    self.trace.bytes(&payload);
                    let payload = payload.to_vec();
                    self.heard.put(Heard { time: self.now, host, overlay, origin, payload });
                }
                Output::Keep { overlay, evidence } => {
                    self.trace.step(Step::Keep, self.now, host);
                    self.kept.put(Kept { time: self.now, host, overlay, evidence });
                }
                // Whoever drives the world decides who is told which salt.
                Output::SaltWanted { .. } => {}
                Output::Reply { id, reply } => {
                    self.trace.step(Step::Reply, self.now, host);
                    left |= reply == Reply::Left;
                    self.requests.answer(id, self.now, reply);
                }
            }
        }
        left
    }

    fn output(&mut self, host: HostId) -> Option<Output> {
        self.seats[host.0 as usize].machine.as_mut()?.poll_output()
    }

    fn arm(&mut self, host: HostId) {
        let Some(deadline) = self.seats[host.0 as usize].deadline() else { return };
        let entry = Entry { time: deadline.at.max(self.now), sequence: self.sequence, slot: host.0 };
        self.sequence += 1;
        self.wakes.arm(entry);
    }

    fn transmit(&mut self, host: HostId, to: SocketAddr, payload: &[u8]) {
        if let Some(tap) = &mut self.tap {
            tap(host, payload);
        }
        let Seat { socket, traffic, .. } = &mut self.seats[host.0 as usize];
        let length = headers(to) + payload.len() as u32;
        let flight = Flight { packet: Packet::udp(*socket, to, length), sender: host, payload: None };
        if socket.is_ipv4() != to.is_ipv4() || payload.len() > Hold::PAYLOAD_MAX {
            self.counters.unsent += 1;
            return self.end(flight.slip(), Fate::Unsent);
        }
        traffic.sent_datagrams += 1;
        traffic.sent_bytes += u64::from(length);
        self.counters.datagrams += 1;
        self.trace.step(Step::Sent, self.now, host);
        self.trace.address(to);
        self.trace_payload(payload);
        self.depart(flight, payload);
    }

    pub(crate) fn depart(&mut self, mut flight: Flight, payload: &[u8]) {
        match self.internet.depart(flight.sender, &mut flight.packet, self.now.since(Time::ZERO)) {
            Departure::InFlight { at } => {
                flight.payload = Some(self.hold.put(payload));
                self.fly(at, flight);
            }
            Departure::Dropped(reason) => self.end(flight.slip(), Fate::Dropped(reason)),
            Departure::Returned(answer, at) => {
                self.end(flight.slip(), Fate::Returned);
                self.fly(at, Flight { packet: answer, ..flight });
            }
        }
    }

    fn fly(&mut self, at: Duration, flight: Flight) {
        let time = (Time::ZERO + at).max(self.now);
        self.flights.insert(time, self.sequence, flight);
        self.sequence += 1;
    }

    /// A datagram's way ended: gives up its bytes and notes its fate.
    pub(crate) fn end(&mut self, slip: Slip, fate: Fate) {
        let Slip { sender, source, destination, length, payload } = slip;
        if let Some(cell) = payload {
            self.hold.free(cell);
        }
        if !matches!(fate, Fate::Delivered(_)) {
            self.trace.step(Step::Dropped, self.now, sender);
            self.trace.addresses(source, destination);
        }
        if let Some(observer) = &mut self.observer {
            observer(&Observation { time: self.now, sender, source, destination, length, fate });
        }
    }

    pub(crate) fn trace_payload(&mut self, payload: &[u8]) {
        if self.settings.trace_contents {
            self.trace.bytes(payload);
        } else {
            self.trace.length(payload);
        }
    }

    /// Keeps the first reason for which the run gets nowhere.
    fn stall(&mut self, stalled: Stalled) {
        self.stalled.get_or_insert(stalled);
    }
}
