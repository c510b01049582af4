//! Where the datagrams of a path go to: a transport address, or a member that others reach for us.

use std::fmt;
use std::net::SocketAddr;

use super::Address;
use super::codec::{Malformed, Reader, Write};

/// Protocol, IP address and port (RFC 8489).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Through the node's UDP socket.
    Udp(SocketAddr),
    /// Through a TCP connection: one that is there, else one that is opened to this address.
    Tcp(SocketAddr),
}

impl Transport {
    /// IP address and port.
    #[must_use]
    pub fn address(self) -> SocketAddr {
        match self {
            Self::Udp(address) | Self::Tcp(address) => address,
        }
    }
}

impl From<SocketAddr> for Transport {
    fn from(address: SocketAddr) -> Self {
        Self::Udp(address)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => address.fmt(f),
            Self::Tcp(address) => write!(f, "tcp {address}"),
        }
    }
}

/// The far end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Remote {
    /// A transport address, through the node's UDP socket.
    Udp(SocketAddr),
    /// The far end of a TCP connection.
    Tcp(SocketAddr),
    /// A member of the node's public overlay, whose ring carries the datagrams.
    Carried(Address),
    /// A member of one of the node's overlays, through a common peer there that passes the datagrams on.
    Relayed(Relayed),
}

/// A member behind a common peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Relayed {
    /// The overlay's place in the configuration.
    pub overlay: u8,
    /// The member that is meant.
    pub peer: Address,
    /// The peer of both that passes datagrams on.
    pub via: Address,
}

/// How good a way to a peer is, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// Over as many members of the public overlay as lie between.
    Carried,
    /// Over one common peer.
    Relayed,
    /// From host to host, in a stream that keeps the order: what is lost holds up what comes after it.
    Stream,
    /// From host to host.
    Direct,
}

impl Way {
    /// All ways, worst first.
    pub const ALL: [Self; 4] = [Self::Carried, Self::Relayed, Self::Stream, Self::Direct];

    /// Whether no other member is in between.
    #[must_use]
    pub fn is_unaided(self) -> bool {
        self >= Self::Stream
    }

    /// As people and metrics see it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Carried => "carried",
            Self::Relayed => "relayed",
            Self::Stream => "tcp",
            Self::Direct => "direct",
        }
    }
}

impl Remote {
    /// The transport address, if datagrams go there from host to host.
    #[must_use]
    pub fn transport(self) -> Option<Transport> {
        match self {
            Self::Udp(address) => Some(Transport::Udp(address)),
            Self::Tcp(address) => Some(Transport::Tcp(address)),
            Self::Carried(_) | Self::Relayed(_) => None,
        }
    }

    /// IP address and port, if datagrams go there over UDP: what a NAT maps anew, and what others may reach.
    #[must_use]
    pub fn udp(self) -> Option<SocketAddr> {
        match self {
            Self::Udp(address) => Some(address),
            Self::Tcp(_) | Self::Carried(_) | Self::Relayed(_) => None,
        }
    }

    /// What kind of way leads there.
    #[must_use]
    pub fn way(self) -> Way {
        match self {
            Self::Udp(_) => Way::Direct,
            Self::Tcp(_) => Way::Stream,
            Self::Carried(_) => Way::Carried,
            Self::Relayed(_) => Way::Relayed,
        }
    }

    /// Whether an authentic record from `other` on an edge to this remote shows that its peer moved there. A member that
    /// carries or passes on datagrams proves nothing about how its peer is reached otherwise.
    #[must_use]
    pub fn may_move_to(self, other: Self) -> bool {
        match (self, other) {
            (Self::Udp(_), Self::Udp(_)) => true,
            (Self::Relayed(one), Self::Relayed(other)) => {
                (one.overlay, one.peer) == (other.overlay, other.peer)
            }
            _ => false,
        }
    }
}

impl From<SocketAddr> for Remote {
    fn from(address: SocketAddr) -> Self {
        Self::Udp(address)
    }
}

impl From<Transport> for Remote {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Udp(address) => Self::Udp(address),
            Transport::Tcp(address) => Self::Tcp(address),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => address.fmt(f),
            Self::Tcp(address) => write!(f, "tcp {address}"),
            Self::Carried(member) => write!(f, "member {member}"),
            Self::Relayed(one) => write!(f, "{} through {}", one.peer, one.via),
        }
    }
}

const UDP: u8 = 0;
const CARRIED: u8 = 1;
const THROUGH: u8 = 2;
const TCP: u8 = 3;

/// The longest round trip that a [`Candidate`] names, in ms.
pub const RTT_MAX: u16 = 0x7fff;

/// A remote that a member names so that others may reach it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Candidate {
    /// A UDP transport address.
    Udp(SocketAddr),
    /// Where the member takes TCP connections.
    Tcp(SocketAddr),
    /// A member of the public overlay that both nodes are in.
    Carried(Address),
    /// A peer of whoever names it, which would pass datagrams on.
    Through {
        /// That peer.
        via: Address,
        /// The round trip between the two, from 0 to [`RTT_MAX`] ms.
        rtt: u16,
        /// Strangers reach that peer.
        open: bool,
    },
}

impl Candidate {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u8()? {
            UDP => Ok(Self::Udp(reader.transport()?)),
            TCP => Ok(Self::Tcp(reader.transport()?)),
            CARRIED => Ok(Self::Carried(reader.address()?)),
            THROUGH => {
                let (via, bits) = (reader.address()?, reader.u16()?);
                Ok(Self::Through { via, rtt: bits & RTT_MAX, open: bits > RTT_MAX })
            }
            _ => Err(Malformed),
        }
    }

    pub(crate) fn write<W: Write + ?Sized>(self, out: &mut W) {
        match self {
            Self::Udp(transport) => {
                out.put_u8(UDP);
                out.put_transport(transport);
            }
            Self::Tcp(transport) => {
                out.put_u8(TCP);
                out.put_transport(transport);
            }
            Self::Carried(member) => {
                out.put_u8(CARRIED);
                out.put_address(member);
            }
            Self::Through { via, rtt, open } => {
                out.put_u8(THROUGH);
                out.put_address(via);
                out.put_u16(rtt.min(RTT_MAX) | if open { RTT_MAX + 1 } else { 0 });
            }
        }
    }

    /// IP address and port, if it is a UDP transport address.
    #[must_use]
    pub fn udp(self) -> Option<SocketAddr> {
        match self {
            Self::Udp(transport) => Some(transport),
            Self::Tcp(_) | Self::Carried(_) | Self::Through { .. } => None,
        }
    }
}
