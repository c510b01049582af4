//! Models of `dtls` and `quic` for large simulations: as many flights, datagrams and bytes, and no cryptography.
//!
//! ```text
//! datagram   step 1 | part 1 | address 20 | zeros
//! ```
//! A test holds each model against the real engine. What is said is data, so that another handshake is another table.
//! QUIC's has its default key exchange, X25519MLKEM768. It repeats whole flights where quinn repeats what was lost, and
//! new keys cost it no datagrams, so they are left out.

use std::time::Duration;

use super::filter::{Filter, Handshake, Handshaker, Outcome, Protection, Reply, Setting, Side, Start, Step};
use super::{Claim, Down, Limits, record};
use crate::buffer::Pool;
use crate::counters::DropReason;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::Address;
use crate::wire::codec::{Reader, Write as _};

/// What a handshake says.
#[derive(Debug)]
struct Play {
    /// Bytes of each datagram of each flight; the initiator says the even flights.
    flights: &'static [&'static [usize]],
    /// Bytes of what the responder says to a part of the first flight.
    receipt: Option<usize>,
    /// Bytes that a record has more than one of `dtls`.
    padding: usize,
    /// Whether the responder's first record follows at once.
    greets: bool,
}

/// `dtls` with the certificates of a public overlay.
const DTLS: Play =
    Play { flights: &[&[108], &[670], &[629], &[75]], receipt: None, padding: 0, greets: false };

/// `quic` with the same. A record at rest carries an acknowledgement of 6 to 9 bytes, and a header that is one byte shorter.
const QUIC: Play = Play {
    flights: &[&[1290, 1290], &[1290, 678], &[1290, 555]],
    receipt: Some(32),
    padding: 7,
    greets: true,
};

/// The step of a receipt.
const RECEIPT: u8 = u8::MAX;
/// Longer than any simulation: a century.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Makes handshakes that only look like those of another engine.
#[derive(Debug)]
pub struct Modelled {
    address: Address,
    play: &'static Play,
}

impl Modelled {
    /// A model of `dtls` at the member with this address.
    #[must_use]
    pub fn dtls(setting: Setting, pool: Pool, rng: &Rng, now: Time) -> Filter<Self> {
        Filter::new(Self { address: setting.address, play: &DTLS }, setting, pool, rng, now)
    }

    /// A model of `quic` at the member with this address.
    #[must_use]
    pub fn quic(setting: Setting, pool: Pool, rng: &Rng, now: Time) -> Filter<Self> {
        let (renew_after, renew_records, records) = (NEVER, u64::MAX / 3, u64::MAX);
        let limits = Limits { renew_after, renew_records, records, ..setting.limits };
        let setting = Setting { limits, ..setting };
        Filter::new(Self { address: setting.address, play: &QUIC }, setting, pool, rng, now)
    }
}

impl Handshaker for Modelled {
    type Handshake = Rehearsal;

    fn overhead(&self) -> usize {
        record::OVERHEAD + self.play.padding
    }

    fn begin(&mut self, start: Start, reply: &mut Reply) -> Result<Rehearsal, Down> {
        let Self { address, play } = *self;
        let mut rehearsal = Rehearsal { address, play, side: start.side, next: 0, heard: 0 };
        if start.side == Side::Initiator {
            rehearsal.say(0, reply);
        }
        Ok(rehearsal)
    }
}

/// One handshake without content.
#[derive(Debug)]
pub struct Rehearsal {
    address: Address,
    play: &'static Play,
    side: Side,
    /// The flight that the peer says next, and the parts of it that were heard, as bits.
    next: usize,
    heard: u32,
}

impl Rehearsal {
    /// Says a flight, if the handshake has as many.
    fn say(&mut self, step: usize, reply: &mut Reply) {
        (self.next, self.heard) = (step + 1, 0);
        for (part, length) in self.play.flights.get(step).into_iter().copied().flatten().enumerate() {
            reply.flight.push(self.datagram([step as u8, part as u8], *length));
        }
    }

    fn datagram(&self, head: [u8; 2], length: usize) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(length);
        datagram.extend(head);
        datagram.put_address(self.address);
        datagram.resize(length, 0);
        datagram
    }

    /// Takes a part of the flight that is expected; true if it is whole now.
    fn hear(&mut self, part: u8) -> bool {
        let parts = self.play.flights.get(self.next).map_or(0, |parts| parts.len() as u32);
        self.heard |= 1_u32.checked_shl(part.into()).unwrap_or(0);
        self.heard.count_ones() >= parts
    }
}

impl Handshake for Rehearsal {
    fn advance(&mut self, datagram: &[u8], reply: &mut Reply) -> Step {
        let mut reader = Reader::new(datagram);
        let (Ok(step), Ok(part), Ok(peer)) = (reader.u8(), reader.u8(), reader.address()) else {
            reply.dropped = Some(DropReason::Malformed);
            return Step::Waiting;
        };
        if step == RECEIPT && self.side == Side::Initiator {
            return Step::Waiting;
        }
        if usize::from(step) != self.next {
            reply.dropped = Some(DropReason::LateHandshake);
            return Step::Waiting;
        }
        if !self.hear(part) {
            let receipt = self.play.receipt.filter(|_| step == 0);
            reply.flight.extend(receipt.map(|length| self.datagram([RECEIPT, 0], length)));
            return Step::Waiting;
        }
        self.say(self.next + 1, reply);
        if self.next < self.play.flights.len() {
            return Step::Waiting;
        }
        let Play { padding, greets, .. } = *self.play;
        let greets = greets && self.side == Side::Responder;
        Step::Done(Outcome {
            claim: Claim::Address(peer),
            protection: Protection::Modelled { padding, greets },
        })
    }

    fn is_bulky(&self) -> bool {
        self.play.receipt.is_some()
    }
}
