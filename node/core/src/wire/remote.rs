//! Where the datagrams of a path go to: a transport address, or a member that others reach for us.

use std::fmt;
use std::net::SocketAddr;

use super::Address;
use super::codec::{Malformed, Reader, Write};

/// The far end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Remote {
    /// A transport address, through the node's UDP socket.
    Udp(SocketAddr),
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
    /// From host to host.
    Direct,
}

impl Way {
    /// All ways, worst first.
    pub const ALL: [Self; 3] = [Self::Carried, Self::Relayed, Self::Direct];

    /// As people and metrics see it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Carried => "carried",
            Self::Relayed => "relayed",
            Self::Direct => "direct",
        }
    }
}

impl Remote {
    /// The transport address, if datagrams go there from host to host.
    #[must_use]
    pub fn transport(self) -> Option<SocketAddr> {
        match self {
            Self::Udp(transport) => Some(transport),
            Self::Carried(_) | Self::Relayed(_) => None,
        }
    }

    /// What kind of way leads there.
    #[must_use]
    pub fn way(self) -> Way {
        match self {
            Self::Udp(_) => Way::Direct,
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
    fn from(transport: SocketAddr) -> Self {
        Self::Udp(transport)
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(transport) => transport.fmt(f),
            Self::Carried(member) => write!(f, "member {member}"),
            Self::Relayed(one) => write!(f, "{} through {}", one.peer, one.via),
        }
    }
}

const UDP: u8 = 0;
const CARRIED: u8 = 1;
const THROUGH: u8 = 2;

/// A remote that a member names so that others may reach it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Candidate {
    /// A UDP transport address.
    Udp(SocketAddr),
    /// A member of the public overlay that both nodes are in.
    Carried(Address),
    /// A peer of whoever names it, which would pass datagrams on.
    Through {
        /// That peer.
        via: Address,
        /// The round trip between the two, in ms.
        rtt: u16,
    },
}

impl Candidate {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u8()? {
            UDP => Ok(Self::Udp(reader.transport()?)),
            CARRIED => Ok(Self::Carried(reader.address()?)),
            THROUGH => Ok(Self::Through { via: reader.address()?, rtt: reader.u16()? }),
            _ => Err(Malformed),
        }
    }

    pub(crate) fn write<W: Write + ?Sized>(self, out: &mut W) {
        match self {
            Self::Udp(transport) => {
                out.put_u8(UDP);
                out.put_transport(transport);
            }
            Self::Carried(member) => {
                out.put_u8(CARRIED);
                out.put_address(member);
            }
            Self::Through { via, rtt } => {
                out.put_u8(THROUGH);
                out.put_address(via);
                out.put_u16(rtt);
            }
        }
    }

    /// The transport address, if it is one.
    #[must_use]
    pub fn transport(self) -> Option<SocketAddr> {
        match self {
            Self::Udp(transport) => Some(transport),
            Self::Carried(_) | Self::Through { .. } => None,
        }
    }
}
