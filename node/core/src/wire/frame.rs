//! What one opened record holds: a frame between two ends of an edge.
//!
//! ```text
//! ragKKKKK | acknowledgement 2 if a + 4 if g | sequence 2 if r | body
//! ```
//! `r`: reliable, the receiver acknowledges the sequence number. `a`: an acknowledgement rides along. `g`: it has gaps.

use std::net::SocketAddr;
use std::time::Duration;

use super::codec::{Malformed, Reader, Write};
use super::{Address, Knowledge};
use crate::buffer::Buffer;

/// Neighbours that a list names at most.
pub const NEIGHBOURS_MAX: usize = 16;

const RELIABLE: u8 = 0x80;
const ACK: u8 = 0x40;
const GAPS: u8 = 0x20;
const KIND: u8 = 0x1f;

/// What arrived on an edge: everything before `next`, and `next + 1 + i` for each bit `i`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// The first sequence number that has not arrived.
    pub next: u16,
    /// Those that arrived after it.
    pub bits: u32,
}

/// The kinds of frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Nothing but an acknowledgement.
    Ack = 0,
    /// A [`Link`]: the edge becomes part of a connection.
    Link = 1,
    /// A [`Neighbours`] list that changed.
    Neighbours = 2,
    /// A [`Ping`].
    Ping = 3,
    /// A [`Ping`] that answers one.
    Pong = 4,
    /// The sender forgets the edge; the body is a [`CloseReason`].
    Close = 5,
    /// An overlay packet.
    Packet = 6,
    /// The receiver's transport address as the sender sees it, after it changed.
    Observed = 7,
    /// What neighbours say to keep the DHT's copies alike.
    Upkeep = 16,
    /// A [`super::Broadcast`].
    Broadcast = 17,
    /// A [`super::Covered`].
    Covered = 18,
    /// A [`super::Revocation`].
    Revocation = 19,
    /// A [`super::Uncovered`].
    Uncovered = 20,
}

impl FrameKind {
    /// Whether it tells members of something that all shall know, or answers that.
    #[must_use]
    pub fn tells(self) -> bool {
        matches!(self, Self::Broadcast | Self::Covered | Self::Revocation | Self::Uncovered)
    }

    fn from_bits(bits: u8) -> Result<Self, Malformed> {
        [
            Self::Ack,
            Self::Link,
            Self::Neighbours,
            Self::Ping,
            Self::Pong,
            Self::Close,
            Self::Packet,
            Self::Observed,
            Self::Upkeep,
            Self::Broadcast,
            Self::Covered,
            Self::Revocation,
            Self::Uncovered,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == bits)
        .ok_or(Malformed)
    }
}

/// The front of a frame; the body follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the body is.
    pub kind: FrameKind,
    /// What the sender has received on this edge.
    pub ack: Option<Ack>,
    /// The number to acknowledge, for a reliable frame.
    pub sequence: Option<u16>,
}

impl FrameHeader {
    /// Bytes of the longest frame header.
    pub const LEN_MAX: usize = 9;

    /// Takes the header off the front of an opened record.
    pub fn take(record: &mut Buffer) -> Result<Self, Malformed> {
        let mut reader = Reader::new(record);
        let first = reader.u8()?;
        let kind = FrameKind::from_bits(first & KIND)?;
        let ack = match (first & ACK != 0, first & GAPS != 0) {
            (false, false) => None,
            (false, true) => return Err(Malformed),
            (true, false) => Some(Ack { next: reader.u16()?, bits: 0 }),
            (true, true) => Some(Ack { next: reader.u16()?, bits: reader.u32()? }),
        };
        let sequence = if first & RELIABLE == 0 { None } else { Some(reader.u16()?) };
        let len = record.len() - reader.len();
        record.advance(len);
        Ok(Self { kind, ack, sequence })
    }

    /// Puts the header in front of a body.
    pub fn prepend(self, body: &mut Buffer) {
        if let Some(sequence) = self.sequence {
            body.prepend(&sequence.to_be_bytes());
        }
        if let Some(ack) = self.ack {
            if ack.bits != 0 {
                body.prepend(&ack.bits.to_be_bytes());
            }
            body.prepend(&ack.next.to_be_bytes());
        }
        let reliable = if self.sequence.is_some() { RELIABLE } else { 0 };
        let ack = match self.ack {
            None => 0,
            Some(Ack { bits: 0, .. }) => ACK,
            Some(_) => ACK | GAPS,
        };
        body.prepend(&[self.kind as u8 | reliable | ack]);
    }
}

/// Why a connection is kept, as a set of bits on the wire (see `connection::Roles`).
pub type RoleBits = u8;

/// Beside the roles in a [`Link`] and in [`Neighbours`]: strangers reach the sender, over TCP as well if it takes it.
pub const OPEN: RoleBits = 0x80;

/// First frame on a fresh association: who we are to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Why the sender wants the connection, nothing if only the peer wants it; and [`OPEN`].
    pub roles: RoleBits,
    /// The receiver's transport address as the sender sees it; none if others pass its datagrams on.
    pub observed: Option<SocketAddr>,
    /// The sender's connections nearest to the receiver, in ring order.
    pub neighbours: Vec<Address>,
    /// What the sender knows of the group's revocations, if there is a group.
    pub known: Option<Knowledge>,
}

impl Link {
    /// Appends the body.
    pub fn write(&self, body: &mut Buffer) {
        body.put_u8(self.roles);
        body.put_observed(self.observed);
        body.put_list(NEIGHBOURS_MAX, &self.neighbours, Write::put_address);
        if let Some(known) = self.known {
            known.write(body);
        }
    }

    /// Reads a body.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let roles = reader.u8()?;
        let observed = reader.observed()?;
        let neighbours = reader.list(NEIGHBOURS_MAX, Reader::address)?;
        let known = if reader.len() > 0 { Some(Knowledge::take(&mut reader)?) } else { None };
        reader.end()?;
        Ok(Self { roles, observed, neighbours, known })
    }
}

/// The sender's connections nearest to the receiver, after they or the roles changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbours {
    /// Why the sender wants the connection; and [`OPEN`].
    pub roles: RoleBits,
    /// The list, in ring order.
    pub list: Vec<Address>,
}

impl Neighbours {
    /// Appends the body.
    pub fn write(&self, body: &mut Buffer) {
        body.put_u8(self.roles);
        body.put_list(NEIGHBOURS_MAX, &self.list, Write::put_address);
    }

    /// Reads a body.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let roles = reader.u8()?;
        let list = reader.list(NEIGHBOURS_MAX, Reader::address)?;
        reader.end()?;
        Ok(Self { roles, list })
    }
}

/// Keepalive and round-trip probe; a pong returns the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Tells probes apart.
    pub number: u16,
    /// Digest of the roles and of the list that the receiver ought to have from the sender.
    pub digest: u32,
    /// Seconds until the sender's next ping at rest.
    pub interval: u8,
    /// The longest interval, in seconds, that the sender's NAT is known to bear.
    pub interval_max: u8,
    /// How long the sender waits for an answer on this path, in steps of [`Ping::STEP`]; 0 as long as it has not measured that.
    /// An end that never pings waits as long.
    pub wait: u8,
}

impl Ping {
    /// The unit of [`Ping::wait`].
    pub const STEP: Duration = Duration::from_millis(25);

    /// Appends the body.
    pub fn write(&self, body: &mut Buffer) {
        body.put_u16(self.number);
        body.put_u32(self.digest);
        body.put_u8(self.interval);
        body.put_u8(self.interval_max);
        body.put_u8(self.wait);
    }

    /// Reads a body.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let ping = Self {
            number: reader.u16()?,
            digest: reader.u32()?,
            interval: reader.u8()?,
            interval_max: reader.u8()?,
            wait: reader.u8()?,
        };
        reader.end()?;
        Ok(ping)
    }
}

/// Why an edge is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CloseReason {
    /// The node leaves the overlay.
    Leaving = 0,
    /// Neither side has a role for the connection.
    Unwanted = 1,
    /// The connection has a better edge.
    Duplicate = 2,
    /// The receiver is not the member that was to be linked.
    WrongMember = 3,
    /// The connection table is full.
    Full = 4,
    /// The sender does not take the receiver's certificate.
    Refused = 5,
    /// The receiver's membership has ended.
    Expired = 6,
    /// The receiver's membership was withdrawn.
    Revoked = 7,
    /// The receiver's certificate is for another group.
    WrongGroup = 8,
    /// The receiver's membership has not begun.
    NotYetValid = 9,
    /// No frame came on the edge for long after its handshake.
    Abandoned = 10,
}

impl CloseReason {
    const ALL: [Self; 11] = [
        Self::Leaving,
        Self::Unwanted,
        Self::Duplicate,
        Self::WrongMember,
        Self::Full,
        Self::Refused,
        Self::Expired,
        Self::Revoked,
        Self::WrongGroup,
        Self::NotYetValid,
        Self::Abandoned,
    ];

    /// Reads a body.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let code = reader.u8()?;
        reader.end()?;
        Self::ALL.into_iter().find(|reason| *reason as u8 == code).ok_or(Malformed)
    }

    /// Whether the sender takes the receiver for no member.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        self as u8 >= Self::Refused as u8 && self != Self::Abandoned
    }

    /// Whether it is about one edge, and not about all that the connection has.
    #[must_use]
    pub fn is_of_edge(self) -> bool {
        matches!(self, Self::Duplicate | Self::Abandoned)
    }

    /// In words, for logs.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Leaving => "the peer left",
            Self::Unwanted => "no longer needed",
            Self::Duplicate => "replaced by a better edge",
            Self::WrongMember => "another member answered",
            Self::Full => "the peer's connection table is full",
            Self::Refused => "the peer does not take our certificate",
            Self::Expired => "the peer says that our membership has expired",
            Self::Revoked => "the peer says that our membership is revoked",
            Self::WrongGroup => "the peer is in another group",
            Self::NotYetValid => "the peer says that our membership has not begun",
            Self::Abandoned => "nothing of ours came to the peer",
        }
    }
}

/// Reads the body of an [`FrameKind::Observed`] frame.
pub fn read_observed(body: &[u8]) -> Result<SocketAddr, Malformed> {
    let mut reader = Reader::new(body);
    let observed = reader.transport()?;
    reader.end()?;
    Ok(observed)
}
