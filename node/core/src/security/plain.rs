//! The handshake without security: each end says an address and is believed.
//!
//! Records are their payloads. Nothing here protects anybody: experiments compare with it.

use super::filter::{Filter, Handshake, Handshaker, Outcome, Protection, Reply, Setting, Side, Start, Step};
use super::{Claim, Down};
use crate::buffer::Pool;
use crate::counters::DropReason;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::Address;
use crate::wire::codec::Reader;

/// No security at all.
#[derive(Debug)]
pub struct Plain {
    address: Address,
}

impl Plain {
    /// The handshakes of the member with this address.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self { address }
    }

    /// The engine of the member with this address.
    #[must_use]
    pub fn engine(address: Address, pool: Pool, rng: &Rng, now: Time) -> Filter<Self> {
        Filter::new(Self::new(address), Setting::new(address), pool, rng, now)
    }
}

impl Handshaker for Plain {
    type Handshake = Introduction;

    fn overhead(&self) -> usize {
        0
    }

    fn begin(&mut self, start: Start, reply: &mut Reply) -> Result<Introduction, Down> {
        if start.side == Side::Initiator {
            reply.flight.push(self.address.to_bytes().to_vec());
        }
        Ok(Introduction { address: self.address, side: start.side })
    }
}

/// One exchange of addresses.
#[derive(Debug)]
pub struct Introduction {
    address: Address,
    side: Side,
}

impl Handshake for Introduction {
    fn advance(&mut self, datagram: &[u8], reply: &mut Reply) -> Step {
        let mut reader = Reader::new(datagram);
        let (Ok(peer), Ok(())) = (reader.address(), reader.end()) else {
            reply.dropped = Some(DropReason::Malformed);
            return Step::Waiting;
        };
        if self.side == Side::Responder {
            reply.flight.push(self.address.to_bytes().to_vec());
        }
        Step::Done(Outcome { claim: Claim::Address(peer), protection: Protection::Open })
    }
}
