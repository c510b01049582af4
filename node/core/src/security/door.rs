//! The door: what every handshake datagram begins with, and who is let in before there is any state for it.
//!
//! ```text
//! hello     1 | target address 20 | proof 8 | first flight   (target 0: anyone; proof 0: none yet)
//! retry     2 | cookie 8
//! flight    3 | what the handshaker says
//! ```
//! A retry is shorter than any hello, so that nobody is made to flood another.

use super::{Admission, CookieJar, Knock};
use crate::buffer::{Buffer, Pool};
use crate::counters::DropReason;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::Address;
use crate::wire::codec::{Malformed, Reader, Write as _};

const HELLO: u8 = 1;
const RETRY: u8 = 2;
const FLIGHT: u8 = 3;

/// Bytes that the longest header of ours takes.
const HEADER_MAX: usize = 29;

/// What a handshake datagram is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The initiator's first flight, to be sent again with a cookie if there is no token.
    Hello { target: Option<Address>, proof: u64 },
    /// Come again with this cookie.
    Retry { cookie: u64 },
    /// Any later flight.
    Flight,
}

/// A handshake datagram, read as far as the door goes.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) kind: Kind,
    pub(super) body: Buffer,
}

/// The door of one member.
#[derive(Debug)]
pub(super) struct Door {
    address: Address,
    pool: Pool,
    jar: CookieJar,
}

impl Door {
    pub(super) fn new(address: Address, pool: Pool, rng: &Rng, now: Time) -> Self {
        Self { address, pool, jar: CookieJar::new(rng.fork("cookie"), now) }
    }

    /// Judges a stranger's first datagram; nothing of it is kept.
    pub(super) fn admit(
        &mut self,
        knock: Knock<'_>,
        token_known: &dyn Fn(u64) -> bool,
        now: Time,
    ) -> Admission {
        let letter = match self.read(knock.datagram) {
            Ok(letter) => letter,
            Err(reason) => return Admission::Drop(reason),
        };
        let Kind::Hello { target, proof } = letter.kind else {
            return Admission::Drop(DropReason::Malformed);
        };
        if target.is_some_and(|target| target != self.address) {
            return Admission::Drop(DropReason::WrongMember);
        }
        if proof != 0 && (token_known(proof) || self.jar.check(knock.source, proof, now)) {
            return Admission::Accept;
        }
        let cookie = self.jar.make(knock.source, now);
        Admission::Answer(self.write(Kind::Retry { cookie }, &[]))
    }

    /// Reads a handshake datagram.
    pub(super) fn read(&self, datagram: &[u8]) -> Result<Letter, DropReason> {
        let mut body = self.pool.copy(datagram);
        let kind = take_kind(&mut body).map_err(|Malformed| DropReason::Malformed)?;
        Ok(Letter { kind, body })
    }

    /// Makes a handshake datagram.
    pub(super) fn write(&mut self, kind: Kind, body: &[u8]) -> Buffer {
        let mut datagram = self.pool.take(HEADER_MAX + body.len());
        match kind {
            Kind::Hello { target, proof } => {
                datagram.put_u8(HELLO);
                datagram.put_address(target.unwrap_or_else(nobody));
                datagram.put_u64(proof);
            }
            Kind::Retry { cookie } => {
                datagram.put_u8(RETRY);
                datagram.put_u64(cookie);
            }
            Kind::Flight => datagram.put_u8(FLIGHT),
        }
        datagram.extend(body);
        datagram
    }
}

fn nobody() -> Address {
    Address::from_bytes([0; Address::LEN])
}

fn take_kind(datagram: &mut Buffer) -> Result<Kind, Malformed> {
    let mut reader = Reader::new(datagram);
    let kind = match reader.u8()? {
        HELLO => {
            let target = Some(reader.address()?).filter(|target| *target != nobody());
            Kind::Hello { target, proof: reader.u64()? }
        }
        RETRY => Kind::Retry { cookie: reader.u64()? },
        FLIGHT => Kind::Flight,
        _ => return Err(Malformed),
    };
    let (left, is_retry) = (reader.len(), matches!(kind, Kind::Retry { .. }));
    if is_retry != (left == 0) {
        return Err(Malformed);
    }
    datagram.advance(datagram.len() - left);
    Ok(kind)
}
