//! A datagram in a packet: whole, or one of its two halves.
//!
//! ```text
//! 0 | the datagram      1 | number 2 | its first half      2 | number 2 | its second half
//! ```

use super::codec::{Malformed, Reader, Write as _};
use crate::buffer::Buffer;

/// What a packet says of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// Its first or second half, under a number that both bear.
    Half {
        /// Tells datagrams of one sender apart.
        number: u16,
        /// Whether it is the second.
        second: bool,
        /// Its bytes.
        bytes: &'a [u8],
    },
}

impl<'a> Part<'a> {
    /// The bodies that bring a datagram: one if it has at most `max` bytes, else two.
    #[must_use]
    pub fn split(mut datagram: Buffer, max: usize, number: u16) -> (Buffer, Option<Buffer>) {
        if datagram.len() <= max {
            datagram.prepend(&[0]);
            return (datagram, None);
        }
        let middle = datagram.len().div_ceil(2);
        let mut second = datagram.pool().copy(&datagram[middle..]);
        datagram.truncate(middle);
        for (kind, half) in [(1, &mut datagram), (2, &mut second)] {
            half.prepend(&number.to_be_bytes());
            half.prepend(&[kind]);
        }
        (datagram, Some(second))
    }

    /// From a body.
    pub fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let kind = reader.u8()?;
        match kind {
            0 => Ok(Self::Whole(reader.take(reader.len())?)),
            1 | 2 => {
                let number = reader.u16()?;
                Ok(Self::Half { number, second: kind == 2, bytes: reader.take(reader.len())? })
            }
            _ => Err(Malformed),
        }
    }

    /// To a body.
    pub fn write(&self, body: &mut Buffer) {
        match self {
            Self::Whole(bytes) => {
                body.put_u8(0);
                body.put(bytes);
            }
            Self::Half { number, second, bytes } => {
                body.put_u8(if *second { 2 } else { 1 });
                body.put_u16(*number);
                body.put(bytes);
            }
        }
    }

    /// What the datagram begins with, if this is its beginning.
    #[must_use]
    pub fn beginning(self) -> &'a [u8] {
        match self {
            Self::Whole(bytes) | Self::Half { second: false, bytes, .. } => bytes,
            Self::Half { second: true, .. } => &[],
        }
    }
}
