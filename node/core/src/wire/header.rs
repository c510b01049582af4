//! The two datagram headers.
//!
//! ```text
//! short   0vvv0000 | receiver's id 4                                  then one record
//! long    1vvvtttt | overlay tag 4 | sender's id 4 | receiver's id 4  then one handshake datagram
//! ```
//! `vvv` is the version. A short header names only the id that its receiver chose, never the source address, so a
//! NAT rebinding costs nothing (RFC 9000 section 9 has the same idea).

use super::codec::{Malformed, Reader, Write as _};
use crate::buffer::Buffer;

/// The version that this code speaks (1 to 7).
pub const VERSION: u8 = 1;
/// Bytes of the largest UDP payload that every kind of edge must carry: 1,200 bytes that a program that secures itself
/// wants to have carried by the ring (RFC 9000 section 14), in a packet, over an edge of QUIC in a group with a secret.
pub const DATAGRAM_MAX: usize = 1360;
/// Bytes of a short header.
pub const SHORT_LEN: usize = 5;
/// Bytes of a long header.
pub const LONG_LEN: usize = 13;

const LONG: u8 = 0x80;
const HANDSHAKE: u8 = 1;

/// The id of one end of an edge, chosen by that end. 0 means "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeId(pub u32);

/// Names an overlay on the wire to those who know its name (and, later, its secret).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverlayTag(pub u32);

/// What the first bytes of a datagram say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// One record for an edge that the receiver knows.
    Short {
        /// The receiver's id of the edge.
        receiver: EdgeId,
    },
    /// A handshake datagram.
    Long {
        /// The overlay.
        tag: OverlayTag,
        /// The sender's id of the edge; 0 if it keeps no state.
        sender: EdgeId,
        /// The receiver's id of the edge; 0 if the sender does not know it.
        receiver: EdgeId,
    },
}

impl Header {
    /// Takes the header off the front of a datagram.
    pub fn take(datagram: &mut Buffer) -> Result<Self, Malformed> {
        let mut reader = Reader::new(datagram);
        let first = reader.u8()?;
        if (first >> 4) & 7 != VERSION {
            return Err(Malformed);
        }
        let header = match (first & LONG != 0, first & 0x0f) {
            (false, 0) => Self::Short { receiver: EdgeId(reader.u32()?) },
            (true, HANDSHAKE) => Self::Long {
                tag: OverlayTag(reader.u32()?),
                sender: EdgeId(reader.u32()?),
                receiver: EdgeId(reader.u32()?),
            },
            _ => return Err(Malformed),
        };
        datagram.advance(header.len());
        Ok(header)
    }

    /// Puts the header in front of a record or handshake datagram.
    pub fn prepend(self, datagram: &mut Buffer) {
        match self {
            Self::Short { receiver } => {
                let mut bytes = [VERSION << 4; SHORT_LEN];
                bytes[1..].copy_from_slice(&receiver.0.to_be_bytes());
                datagram.prepend(&bytes);
            }
            Self::Long { tag, sender, receiver } => {
                let mut bytes = Vec::with_capacity(LONG_LEN);
                bytes.put_u8(LONG | VERSION << 4 | HANDSHAKE);
                bytes.put_u32(tag.0);
                bytes.put_u32(sender.0);
                bytes.put_u32(receiver.0);
                datagram.prepend(&bytes);
            }
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Short { .. } => SHORT_LEN,
            Self::Long { .. } => LONG_LEN,
        }
    }
}

/// Whether a datagram begins with a short header, as every record does.
#[must_use]
pub fn is_record(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & LONG == 0)
}
