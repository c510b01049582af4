//! The door: what every handshake datagram begins with, and who is let in before there is any state for it.
//!
//! ```text
//! hello     1 | target address 20 | proof 8 | first flight   (target 0: anyone; proof 0: none yet)
//! retry     2 | cookie 8
//! flight    3 | what the handshaker says
//! renewal   4 | a record that holds: generation 1 | whether the sender answers 1 | what the handshaker says
//! ```
//! A retry is shorter than any hello, so that nobody is made to flood another. In a group with a secret all of it is
//! wrapped (see `wrap`).

use super::wrap::{self, Wrap};
use super::{Admission, CookieJar, HALF_OPEN_KNOWN_MAX, HALF_OPEN_MAX, Knock, Setting, record};
use crate::buffer::{Buffer, Pool};
use crate::counters::DropReason;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::codec::{Malformed, Reader, Write as _};
use crate::wire::{Address, DATAGRAM_MAX, LONG_LEN};

const HELLO: u8 = 1;
const RETRY: u8 = 2;
const FLIGHT: u8 = 3;
const RENEWAL: u8 = 4;

/// Bytes that a hello adds to the first flight.
const HELLO_LEN: usize = 1 + Address::LEN + 8;
/// Bytes that a renewal adds to a later flight.
const RENEWAL_LEN: usize = 1 + record::OVERHEAD + 2;
/// Bytes that a handshaker may put into one datagram of a flight.
pub(super) const FLIGHT_MAX: usize = DATAGRAM_MAX - LONG_LEN - wrap::OVERHEAD - HELLO_LEN;
const _: () = assert!(RENEWAL_LEN <= HELLO_LEN, "FLIGHT_MAX leaves room for the longest header");

/// What a handshake datagram is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The initiator's first flight, to be sent again with a cookie if there is no token.
    Hello { target: Option<Address>, proof: u64 },
    /// Come again with this cookie.
    Retry { cookie: u64 },
    /// Any later flight.
    Flight,
    /// A flight of a renewal, sealed.
    Renewal,
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
    wrap: Option<Wrap>,
}

impl Door {
    pub(super) fn new(setting: &Setting, pool: Pool, rng: &Rng, now: Time) -> Self {
        let wrap = setting.secret.as_ref().map(|secret| Wrap::new(secret, rng.fork("wrap")));
        Self { address: setting.address, pool, jar: CookieJar::new(rng.fork("cookie"), now), wrap }
    }

    /// An empty buffer.
    pub(super) fn blank(&self, capacity: usize) -> Buffer {
        self.pool.take(capacity)
    }

    /// Judges a stranger's first datagram; nothing of it is kept. `half_open` counts the handshakes of others under way.
    pub(super) fn admit(
        &mut self,
        knock: Knock<'_>,
        token_known: &dyn Fn(u64) -> bool,
        half_open: impl Fn() -> usize,
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
        let is_known = proof != 0 && token_known(proof);
        if is_known || proof != 0 && self.jar.check(knock.source, proof, now) {
            let most = if is_known { HALF_OPEN_KNOWN_MAX } else { HALF_OPEN_MAX };
            return if half_open() < most { Admission::Accept } else { Admission::Drop(DropReason::Full) };
        }
        let cookie = self.jar.make(knock.source, now);
        Admission::Answer(self.write(Kind::Retry { cookie }, &[]))
    }

    /// Reads a handshake datagram.
    pub(super) fn read(&self, datagram: &[u8]) -> Result<Letter, DropReason> {
        let mut body = self.pool.copy(datagram);
        if let Some(wrap) = &self.wrap
            && !wrap.open(&mut body)
        {
            return Err(DropReason::Foreign);
        }
        let kind = take_kind(&mut body).map_err(|Malformed| DropReason::Malformed)?;
        Ok(Letter { kind, body })
    }

    /// Makes a handshake datagram.
    pub(super) fn write(&mut self, kind: Kind, body: &[u8]) -> Buffer {
        let mut datagram = self.pool.take(HELLO_LEN + body.len());
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
            Kind::Renewal => datagram.put_u8(RENEWAL),
        }
        datagram.extend(body);
        if let Some(wrap) = &mut self.wrap {
            wrap.seal(&mut datagram);
        }
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
        RENEWAL => Kind::Renewal,
        _ => return Err(Malformed),
    };
    let (left, is_retry) = (reader.len(), matches!(kind, Kind::Retry { .. }));
    if is_retry != (left == 0) {
        return Err(Malformed);
    }
    datagram.advance(datagram.len() - left);
    Ok(kind)
}
