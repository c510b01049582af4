//! The overlay packet: what the router moves from member to member.
//!
//! ```text
//! flags 1 | kind 1 | hop limit 1 | destination 20 | source 20 | route if recorded or sourced | body
//! route = count 1 | position 1 | count x 20
//! ```
//! A *recorded* packet collects the members that it passes, and a *sourced* one follows such a list: an answer finds
//! its way back before the ring is complete.

use super::Address;
use super::codec::{Malformed, Reader, Write};
use super::header::is_record;
use super::part::Part;
use crate::buffer::Buffer;

/// Hops that a packet may take, in every mode.
pub const HOP_LIMIT: u8 = 64;
/// Bytes of a carried datagram at most: what QUIC asks of every path (RFC 9000 section 14).
pub const CARRIED_MAX: usize = 1200;
/// Members that a route names at most.
pub const ROUTE_MAX: usize = 32;

const FIXED_LEN: usize = 43;
const HOP_LIMIT_AT: usize = 2;
const POSITION_AT: usize = FIXED_LEN + 1;
const RECORD: u8 = 0x10;
const MODE: u8 = 0x03;

/// How a packet finds its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Only the member with the destination address takes it.
    Exact = 0,
    /// The member nearest to the destination takes it, other than the source.
    Nearest = 1,
    /// It follows its route; the last member takes it.
    Sourced = 2,
}

/// What the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PacketKind {
    /// A `ConnectToMe` that wants an answer.
    ConnectRequest = 1,
    /// A `ConnectToMe` that is the answer.
    ConnectReply = 2,
    /// Asks for the members around the receiver; body: id 4.
    SampleRequest = 3,
    /// Names them.
    SampleReply = 4,
    /// Asks for an echo; body: id 4.
    EchoRequest = 5,
    /// The echo.
    EchoReply = 6,
    /// Asks which members the request passed; body: id 4.
    TraceRequest = 7,
    /// Names them.
    TraceReply = 8,
    /// A datagram of an end-to-end association.
    EndToEnd = 9,
    /// A datagram of a program that secures itself.
    Carried = 10,
    /// A datagram of an edge of another overlay, or a part of one.
    Edge = 11,
    /// A datagram of an edge between two peers of whoever passes it on, or a part of one.
    Relayed = 12,
    /// Whoever was to pass a datagram on does not do so; body: the peer that it was for.
    NotRelayed = 13,
    /// A `DhtRequest` to the member nearest to a point.
    DhtRequest = 20,
    /// A `DhtAnswer`.
    DhtAnswer = 21,
    /// A notice of a revocation, for somebody who subscribed.
    Notice = 22,
    /// Notices for a member of a private overlay, from the site of its group: a sealed [`super::Announcement`].
    Announcement = 23,
    /// The answer: a sealed [`super::Receipt`].
    Receipt = 24,
}

impl PacketKind {
    fn from_code(code: u8) -> Result<Self, Malformed> {
        [
            Self::ConnectRequest,
            Self::ConnectReply,
            Self::SampleRequest,
            Self::SampleReply,
            Self::EchoRequest,
            Self::EchoReply,
            Self::TraceRequest,
            Self::TraceReply,
            Self::EndToEnd,
            Self::Carried,
            Self::Edge,
            Self::Relayed,
            Self::NotRelayed,
            Self::DhtRequest,
            Self::DhtAnswer,
            Self::Notice,
            Self::Announcement,
            Self::Receipt,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == code)
        .ok_or(Malformed)
    }
}

/// The front of a packet, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketHeader {
    /// How it finds its receiver.
    pub mode: Mode,
    /// Whether the members that it passes are written down.
    pub record: bool,
    /// What the body is.
    pub kind: PacketKind,
    /// Hops left.
    pub hop_limit: u8,
    /// Where it is going.
    pub destination: Address,
    /// Who sent it.
    pub source: Address,
    /// Members passed (recorded) or to pass (sourced).
    pub route: Vec<Address>,
    /// How many of a sourced route are reached once the packet arrives.
    pub position: u8,
}

impl PacketHeader {
    /// Bytes of a header without a route.
    pub const LEN: usize = FIXED_LEN;

    /// A packet that has not left yet.
    #[must_use]
    pub fn new(kind: PacketKind, mode: Mode, source: Address, destination: Address) -> Self {
        Self {
            mode,
            record: false,
            kind,
            hop_limit: HOP_LIMIT,
            destination,
            source,
            route: Vec::new(),
            position: 0,
        }
    }

    /// A packet along `route`, whose last member is the receiver.
    #[must_use]
    pub fn sourced(kind: PacketKind, source: Address, route: Vec<Address>) -> Self {
        let destination = route.last().copied().unwrap_or(source);
        Self { route, ..Self::new(kind, Mode::Sourced, source, destination) }
    }

    /// The same packet, written to record its way.
    #[must_use]
    pub fn recorded(self) -> Self {
        Self { record: true, ..self }
    }

    /// The way back to the source: a route for [`PacketHeader::sourced`].
    #[must_use]
    pub fn way_back(&self) -> Vec<Address> {
        let passed = match self.mode {
            Mode::Sourced => &self.route[..self.route.len().saturating_sub(1)],
            Mode::Exact | Mode::Nearest => &self.route[..],
        };
        passed.iter().rev().copied().chain([self.source]).collect()
    }

    /// Hops taken so far, the arriving one included.
    #[must_use]
    pub fn hops(&self) -> u32 {
        u32::from(HOP_LIMIT.saturating_sub(self.hop_limit)) + 1
    }

    /// Whether nobody on the way sends the packet again: its ends notice what is lost, and there may be many of them.
    #[must_use]
    pub fn is_bulk(&self, body: &[u8]) -> bool {
        match self.kind {
            PacketKind::Carried => true,
            PacketKind::EndToEnd => is_record(body),
            // Handshakes are few and large, and their own timers slow.
            PacketKind::Edge | PacketKind::Relayed => {
                Part::read(body).is_ok_and(|part| is_record(part.beginning()))
            }
            _ => false,
        }
    }

    /// Reads the header; the body begins at the returned offset.
    pub fn read(packet: &[u8]) -> Result<(Self, usize), Malformed> {
        let mut reader = Reader::new(packet);
        let flags = reader.u8()?;
        let mode = match flags & MODE {
            0 => Mode::Exact,
            1 => Mode::Nearest,
            2 => Mode::Sourced,
            _ => return Err(Malformed),
        };
        let record = flags & RECORD != 0;
        if flags & !(RECORD | MODE) != 0 || (record && mode == Mode::Sourced) {
            return Err(Malformed);
        }
        let kind = PacketKind::from_code(reader.u8()?)?;
        let hop_limit = reader.u8()?;
        let (destination, source) = (reader.address()?, reader.address()?);
        let (mut route, mut position) = (Vec::new(), 0);
        if record || mode == Mode::Sourced {
            let count = usize::from(reader.u8()?);
            position = reader.u8()?;
            if count > ROUTE_MAX || usize::from(position) > count || (mode == Mode::Sourced && count == 0) {
                return Err(Malformed);
            }
            route = (0..count).map(|_| reader.address()).collect::<Result<_, _>>()?;
        }
        let body = packet.len() - reader.len();
        let header = Self { mode, record, kind, hop_limit, destination, source, route, position };
        Ok((header, body))
    }

    /// Puts the header in front of a body.
    pub fn prepend(&self, body: &mut Buffer) {
        let mut bytes = Vec::with_capacity(FIXED_LEN + 2 + Address::LEN * self.route.len());
        bytes.put_u8(self.mode as u8 | if self.record { RECORD } else { 0 });
        bytes.put_u8(self.kind as u8);
        bytes.put_u8(self.hop_limit);
        bytes.put_address(self.destination);
        bytes.put_address(self.source);
        if self.record || self.mode == Mode::Sourced {
            bytes.put_u8(self.route.len() as u8);
            bytes.put_u8(self.position);
            for member in &self.route {
                bytes.put_address(*member);
            }
        }
        body.prepend(&bytes);
    }

    /// Puts the header of a packet that leaves its source in front of the body.
    pub fn prepend_departing(&self, body: &mut Buffer) {
        let position = self.position + u8::from(self.mode == Mode::Sourced);
        Self { position, ..self.clone() }.prepend(body);
    }

    /// Rewrites an encoded packet for its next hop, in place unless it records.
    pub fn advance(&mut self, by: Address, packet: &mut Buffer) {
        self.hop_limit = self.hop_limit.saturating_sub(1);
        if self.record && self.route.len() < ROUTE_MAX {
            let len = FIXED_LEN + 2 + Address::LEN * self.route.len();
            self.route.push(by);
            packet.advance(len);
            self.prepend(packet);
            return;
        }
        packet[HOP_LIMIT_AT] = self.hop_limit;
        if self.mode == Mode::Sourced {
            self.position = self.position.saturating_add(1);
            packet[POSITION_AT] = self.position;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Pool;
    use crate::wire::{EdgeId, Header, OverlayTag};

    #[test]
    fn records_and_carried_datagrams_are_bulk_and_what_begins_an_association_is_not() {
        let (id, own) = (EdgeId(7), Address::from_bytes([1; Address::LEN]));
        let is_bulk = |kind, header: Header| {
            let mut body = Pool::new().copy(b"body");
            header.prepend(&mut body);
            PacketHeader::new(kind, Mode::Exact, own, own).is_bulk(&body)
        };
        let record = Header::Short { receiver: id };
        let handshake = Header::Long { tag: OverlayTag(1), sender: id, receiver: id };
        assert!(is_bulk(PacketKind::EndToEnd, record) && !is_bulk(PacketKind::EndToEnd, handshake));
        assert!(is_bulk(PacketKind::Carried, record) && is_bulk(PacketKind::Carried, handshake));
        assert!(!is_bulk(PacketKind::ConnectRequest, record) && !is_bulk(PacketKind::EchoReply, record));
    }
}
