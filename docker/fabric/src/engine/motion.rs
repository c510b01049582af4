//! How a packet moves: in from a device, through the model, out to a device.

use std::io;
use std::time::Duration;

use atoll_topology::{Arrival, Departure, HostId, Packet};

use super::{Engine, Loss, Parcel, Token};
use crate::packet::{Unusable, answer, parse, rewrite};

/// Packets read from one device before the due ones and the other devices have their turn.
const BUDGET: usize = 16;
/// Buffers kept for the next packets.
const SPARE_MAX: usize = 8192;
/// Capacity of a buffer; larger packets make it grow.
const BUFFER_CAPACITY: usize = 1536;

impl Engine {
    /// Hands over everything that is due.
    pub(super) fn deliver_due(&mut self) {
        while let Some((due, parcel)) = self.queue.pop_due(self.clock.now()) {
            self.arrive(parcel, due);
        }
    }

    /// Sees to it that the loop wakes when the next packet is due.
    pub(super) fn set_alarm(&mut self) -> io::Result<()> {
        self.alarm.set(self.clock, self.queue.next_due())
    }

    /// Does what an event asks for. Orders are not its business, and after an alarm what is due goes out anyway.
    pub(super) fn handle(&mut self, token: Token) {
        match token {
            Token::Orders | Token::Alarm => {}
            Token::Process(host) => self.ended(host),
            Token::Device(host) => self.receive(host),
        }
    }

    /// Reads up to a budget of packets from a device.
    fn receive(&mut self, host: HostId) {
        for _ in 0..BUDGET {
            let Some(Some(port)) = self.ports.get(host.0 as usize) else { return };
            match port.device.receive(&mut self.scratch) {
                Ok(Some(length)) => self.depart(host, length),
                Ok(None) => return,
                // The container is gone, and with it its device.
                Err(_) => return self.detach(host),
            }
            self.deliver_due();
        }
    }

    /// Sends the first `length` bytes of the scratch buffer on their way.
    fn depart(&mut self, host: HostId, length: usize) {
        let now = self.clock.now();
        if let Some(capture) = &mut self.capture {
            capture.take(now, &self.scratch[..length]);
        }
        let mut packet = match parse(&self.scratch[..length]) {
            Ok(packet) => packet,
            Err(why) => return self.tally.lost(Loss::Unusable(why)),
        };
        self.tally.sent(host, packet.length);
        match self.internet.depart(host, &mut packet, now) {
            Departure::InFlight { at } => {
                let bytes = self.copy_of_scratch(length);
                self.enqueue(at, Parcel { packet, bytes });
            }
            Departure::Dropped(_) => {}
            Departure::Returned(refusal, at) => {
                let bytes = self.copy_of_scratch(length);
                self.send_back(refusal, &bytes, at);
                self.keep(bytes);
            }
        }
    }

    /// A packet has come to the far side, or to the next waiting place on its way. The model gets the instant that
    /// it planned, so that our own lateness does not add up along the way.
    fn arrive(&mut self, mut parcel: Parcel, due: Duration) {
        match self.internet.arrive(&mut parcel.packet, due) {
            Arrival::InFlight { at } => self.enqueue(at, parcel),
            Arrival::Delivered(host) => self.deliver(host, parcel, due),
            Arrival::Dropped(_) => self.keep(parcel.bytes),
            Arrival::Returned(refusal, at) => {
                self.send_back(refusal, &parcel.bytes, at);
                self.keep(parcel.bytes);
            }
        }
    }

    fn deliver(&mut self, host: HostId, mut parcel: Parcel, due: Duration) {
        match self.hand_over(host, &mut parcel) {
            Ok(()) => {
                let now = self.clock.now();
                self.tally.received(host, parcel.packet.length);
                self.meter.record(now.saturating_sub(due));
                if let Some(capture) = &mut self.capture {
                    capture.take(now, &parcel.bytes);
                }
            }
            Err(why) => self.tally.lost(why),
        }
        self.keep(parcel.bytes);
    }

    fn hand_over(&self, host: HostId, parcel: &mut Parcel) -> Result<(), Loss> {
        let port = self.ports.get(host.0 as usize).and_then(Option::as_ref).ok_or(Loss::NoDevice)?;
        rewrite(&mut parcel.bytes, &parcel.packet).map_err(Loss::Unusable)?;
        port.device.send(&parcel.bytes).map_err(|_| Loss::Refused)
    }

    /// Sends the model's answer to the packet in `about` on its way.
    fn send_back(&mut self, mut refusal: Packet, about: &[u8], at: Duration) {
        let Some(bytes) = answer(&refusal, about) else {
            return self.tally.lost(Loss::Unusable(Unusable::Protocol));
        };
        refusal.length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.enqueue(at, Parcel { packet: refusal, bytes });
    }

    fn enqueue(&mut self, at: Duration, parcel: Parcel) {
        if let Err(parcel) = self.queue.push(at, parcel) {
            self.tally.lost(Loss::Overload);
            self.keep(parcel.bytes);
        }
    }

    fn copy_of_scratch(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BUFFER_CAPACITY));
        bytes.clear();
        bytes.extend_from_slice(&self.scratch[..length]);
        bytes
    }

    fn keep(&mut self, bytes: Vec<u8>) {
        if self.spare.len() < SPARE_MAX && bytes.capacity() <= 2 * BUFFER_CAPACITY {
            self.spare.push(bytes);
        }
    }
}
