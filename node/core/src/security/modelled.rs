//! A model of `dtls` for large simulations: as many flights, datagrams and bytes, and no cryptography.
//!
//! ```text
//! flight   step 1 | address 20 | zeros
//! ```
//! A test holds the model against the real engine. The steps are data, so that another handshake is another table.

use super::filter::{Filter, Handshake, Handshaker, Outcome, Protection, Reply, Setting, Side, Start, Step};
use super::{Claim, Down, record};
use crate::buffer::Pool;
use crate::counters::DropReason;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::Address;
use crate::wire::codec::{Reader, Write as _};

/// Bytes of each flight of `dtls` with the certificates of a public overlay; the initiator says the even ones.
const DTLS: [usize; 4] = [108, 670, 629, 75];

/// Makes handshakes that only look like those of another engine.
#[derive(Debug)]
pub struct Modelled {
    address: Address,
    flights: &'static [usize],
}

impl Modelled {
    /// A model of `dtls` at the member with this address.
    #[must_use]
    pub fn dtls(setting: Setting, pool: Pool, rng: &Rng, now: Time) -> Filter<Self> {
        Filter::new(Self { address: setting.address, flights: &DTLS }, setting, pool, rng, now)
    }
}

impl Handshaker for Modelled {
    type Handshake = Rehearsal;
    const OVERHEAD: usize = record::OVERHEAD;

    fn begin(&mut self, start: Start, reply: &mut Reply) -> Result<Rehearsal, Down> {
        let mut rehearsal = Rehearsal { address: self.address, flights: self.flights, next: 0 };
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
    flights: &'static [usize],
    /// The flight that the peer says next.
    next: usize,
}

impl Rehearsal {
    /// Says a flight, if the handshake has as many.
    fn say(&mut self, step: usize, reply: &mut Reply) {
        self.next = step + 1;
        let Some(length) = self.flights.get(step) else { return };
        let mut datagram = Vec::with_capacity(*length);
        datagram.put_u8(step as u8);
        datagram.put_address(self.address);
        datagram.resize(*length, 0);
        reply.flight.push(datagram);
    }
}

impl Handshake for Rehearsal {
    fn advance(&mut self, datagram: &[u8], reply: &mut Reply) -> Step {
        let mut reader = Reader::new(datagram);
        let (Ok(step), Ok(peer)) = (reader.u8(), reader.address()) else {
            reply.dropped = Some(DropReason::Malformed);
            return Step::Waiting;
        };
        let step = usize::from(step);
        if step != self.next {
            reply.dropped = Some(DropReason::LateHandshake);
            return Step::Waiting;
        }
        self.say(step + 1, reply);
        if self.next < self.flights.len() {
            return Step::Waiting;
        }
        Step::Done(Outcome { claim: Claim::Address(peer), protection: Protection::Modelled })
    }
}
