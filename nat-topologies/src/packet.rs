//! Packets as the model sees them: two transport addresses, a kind and a length. Owns no payload.

use std::net::{IpAddr, SocketAddr};

use crate::{GatewayId, HostId};

/// The protocol above IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// User Datagram Protocol.
    Udp,
    /// Transmission Control Protocol.
    Tcp,
    /// ICMP for IPv4 and IPv6; echo identifiers take the place of ports.
    Icmp,
}

/// The TCP flags that a NAT looks at (RFC 9293).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(u8);

impl TcpFlags {
    /// No flag that matters here: data.
    pub const NONE: Self = Self(0);
    /// Last segment of this direction.
    pub const FIN: Self = Self(0x01);
    /// First segment of this direction.
    pub const SYN: Self = Self(0x02);
    /// Abort.
    pub const RST: Self = Self(0x04);
    /// The acknowledgement field counts.
    pub const ACK: Self = Self(0x10);

    /// The flags octet of a TCP header; other bits are ignored.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0x17)
    }

    /// The octet for a TCP header.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if all flags of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The start of the packet that an ICMP error is about, as seen where the error was made (RFC 5508).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quote {
    /// Protocol of the packet in error.
    pub protocol: Protocol,
    /// Its source, which is where the error goes.
    pub source: SocketAddr,
    /// Its destination.
    pub destination: SocketAddr,
}

/// Why an ICMP error was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IcmpError {
    /// Nobody listens there, or a firewall says so.
    PortUnreachable,
    /// No way to that host.
    HostUnreachable,
    /// Larger than this many bytes cannot pass (RFC 1191, 8201).
    TooBig {
        /// Largest IP packet that passes, in bytes.
        mtu: u16,
    },
    /// The hop limit ran out.
    HopLimit,
}

/// An ICMP message.
///
/// A request carries its identifier in the port of `Packet::source`, a reply in the port of
/// `Packet::destination`; the other port is 0. Errors have both ports 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Icmp {
    /// Echo request.
    EchoRequest,
    /// Echo reply.
    EchoReply,
    /// An error about an earlier packet; NATs translate the quote as well.
    Error(IcmpError, Quote),
}

/// What a packet carries, as far as a NAT can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// A UDP datagram.
    Udp,
    /// A TCP segment.
    Tcp(TcpFlags),
    /// An ICMP message.
    Icmp(Icmp),
}

/// A machine that owns an address: where a packet comes up next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Owner {
    Host(HostId),
    Gateway(GatewayId),
}

/// How far a packet in flight has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Route {
    /// Made by a host and not sent yet.
    Unsent,
    /// In front of the access link of this machine, coming from outside.
    Link(Owner),
    /// Past the access link, about to enter this machine from outside.
    Door(Owner),
    /// Sent from behind this gateway to the gateway's own external address.
    Hairpin(GatewayId),
}

/// One IP packet.
///
/// `depart` and `arrive` rewrite it in place. Keep the packet that `depart` left behind and give that very
/// one to `arrive`: it also remembers in which network it is, since private addresses repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Where it comes from, as seen at this point of its way.
    pub source: SocketAddr,
    /// Where it goes to, as seen at this point of its way.
    pub destination: SocketAddr,
    /// What it carries.
    pub body: Body,
    /// Length of the whole IP packet, in bytes.
    pub length: u32,
    pub(crate) route: Route,
}

impl Packet {
    /// A packet as its host makes it; `length` is that of the whole IP packet, in bytes.
    pub const fn new(source: SocketAddr, destination: SocketAddr, body: Body, length: u32) -> Self {
        Self { source, destination, body, length, route: Route::Unsent }
    }

    /// A UDP datagram; `length` is that of the whole IP packet, in bytes.
    pub const fn udp(source: SocketAddr, destination: SocketAddr, length: u32) -> Self {
        Self::new(source, destination, Body::Udp, length)
    }

    /// A TCP segment of 40 bytes with these flags.
    pub const fn tcp(source: SocketAddr, destination: SocketAddr, flags: TcpFlags) -> Self {
        Self::new(source, destination, Body::Tcp(flags), 40)
    }

    /// The protocol above IP.
    pub const fn protocol(&self) -> Protocol {
        match self.body {
            Body::Udp => Protocol::Udp,
            Body::Tcp(_) => Protocol::Tcp,
            Body::Icmp(_) => Protocol::Icmp,
        }
    }

    /// True for an ICMP error; nothing may answer one (RFC 1122 section 3.2.2).
    pub const fn is_error(&self) -> bool {
        matches!(self.body, Body::Icmp(Icmp::Error(..)))
    }

    /// The ICMP error that a machine with address `from` sends back about this packet.
    pub(crate) fn error(&self, from: IpAddr, error: IcmpError) -> Self {
        let quote = Quote { protocol: self.protocol(), source: self.source, destination: self.destination };
        Self::new(
            SocketAddr::new(from, 0),
            SocketAddr::new(self.source.ip(), 0),
            Body::Icmp(Icmp::Error(error, quote)),
            56,
        )
    }

    /// The answer of a machine that refuses this packet: TCP reset, or ICMP port unreachable; none for what
    /// must not be answered.
    pub(crate) fn refusal(&self) -> Option<Self> {
        match self.body {
            Body::Udp => Some(self.error(self.destination.ip(), IcmpError::PortUnreachable)),
            Body::Tcp(flags) if flags.has(TcpFlags::RST) => None,
            Body::Tcp(_) => Some(Self::tcp(self.destination, self.source, TcpFlags::RST.with(TcpFlags::ACK))),
            Body::Icmp(_) => None,
        }
    }
}
