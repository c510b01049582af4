//! A message for all members of a range of the ring, and the word that a range is covered.

use super::Address;
use super::codec::{Malformed, Reader, Write as _};
use crate::buffer::Buffer;

/// Bytes of what is broadcast at most.
pub const BROADCAST_MAX: usize = 1000;

/// Addresses clockwise from `from` up to and without `to`; all of them if the two are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// The first address.
    pub from: Address,
    /// The first address beyond.
    pub to: Address,
}

impl Range {
    /// The whole ring, beginning at `from`.
    #[must_use]
    pub fn all(from: Address) -> Self {
        Self { from, to: from }
    }

    /// Whether an address is in the range.
    #[must_use]
    pub fn contains(&self, address: Address) -> bool {
        self.from == self.to || self.from.clockwise(address) < self.from.clockwise(self.to)
    }
}

/// Names a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BroadcastId(pub u64);

/// The receiver is asked to bring the payload to everybody in a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// The same for everybody.
    pub id: BroadcastId,
    /// Who began it.
    pub origin: Address,
    /// The sender's number for this part of the ring; the answer names it.
    pub part: u16,
    /// Whom it is for, as far as the receiver is concerned.
    pub range: Range,
    /// Hops that it may still take.
    pub hop_limit: u8,
    /// What is said.
    pub payload: Vec<u8>,
}

impl Broadcast {
    /// Asks whether it is covered.
    #[must_use]
    pub fn uncovered(&self) -> Uncovered {
        Uncovered { id: self.id, part: self.part }
    }

    /// To bytes.
    pub fn write(&self, body: &mut Buffer) {
        body.put_u64(self.id.0);
        body.put_address(self.origin);
        body.put_u16(self.part);
        body.put_address(self.range.from);
        body.put_address(self.range.to);
        body.put_u8(self.hop_limit);
        body.put(&self.payload);
    }

    /// From bytes.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let (id, origin, part) = (BroadcastId(reader.u64()?), reader.address()?, reader.u16()?);
        let range = Range { from: reader.address()?, to: reader.address()? };
        let hop_limit = reader.u8()?;
        let payload = reader.take(reader.len())?;
        if payload.len() > BROADCAST_MAX {
            return Err(Malformed);
        }
        Ok(Self { id, origin, part, range, hop_limit, payload: payload.to_vec() })
    }
}

/// The sender still waits to hear that a part of the ring is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uncovered {
    /// Of which broadcast.
    pub id: BroadcastId,
    /// The sender's number of the part.
    pub part: u16,
}

impl Uncovered {
    /// To bytes.
    pub fn write(&self, body: &mut Buffer) {
        body.put_u64(self.id.0);
        body.put_u16(self.part);
    }

    /// From bytes.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let uncovered = Self { id: BroadcastId(reader.u64()?), part: reader.u16()? };
        reader.end()?;
        Ok(uncovered)
    }
}

/// Everybody in the part of the ring that the sender was asked to cover has the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// The receiver's number of the part.
    pub part: u16,
    /// Members that have it, the sender included.
    pub members: u32,
}

impl Covered {
    /// From so many members on the number takes four bytes more.
    const MANY: u8 = 0xff;

    /// To bytes.
    pub fn write(&self, body: &mut Buffer) {
        body.put_u16(self.part);
        match u8::try_from(self.members) {
            Ok(few) if few < Self::MANY => body.put_u8(few),
            _ => {
                body.put_u8(Self::MANY);
                body.put_u32(self.members);
            }
        }
    }

    /// From bytes.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let part = reader.u16()?;
        let members = match reader.u8()? {
            Self::MANY => reader.u32()?,
            few => few.into(),
        };
        let covered = Self { part, members };
        reader.end()?;
        Ok(covered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_goes_clockwise_and_over_zero() {
        let at = |byte| Address::from_bytes([byte; Address::LEN]);
        let range = Range { from: at(200), to: at(10) };
        assert!(range.contains(at(200)) && range.contains(at(255)) && range.contains(at(9)));
        assert!(!range.contains(at(10)) && !range.contains(at(100)));
        assert!(Range::all(at(7)).contains(at(7)) && Range::all(at(7)).contains(at(6)));
    }
}
