//! Reads the headers that a NAT looks at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use atoll_topology::{Body, Icmp, IcmpError, Packet, Protocol, Quote, TcpFlags};

use super::number;

/// IPv6 extension headers that are followed before the packet is given up.
const EXTENSIONS_MAX: usize = 8;

/// Why bytes cannot enter the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Unusable {
    /// The headers do not fit into the bytes.
    #[error("malformed")]
    Malformed,
    /// A part of a packet that was too large for its sender's MTU.
    #[error("fragment")]
    Fragment,
    /// Not to one host: multicast, broadcast, the unspecified address.
    #[error("not_unicast")]
    NotUnicast,
    /// Neither UDP nor TCP nor an ICMP message that NATs know.
    #[error("protocol")]
    Protocol,
}

/// Where the fields of a packet are. Every offset lies within the bytes that it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) version: Version,
    pub(super) protocol: Protocol,
    /// Start of the header above IP.
    pub(super) upper: usize,
    /// End of the packet as its IP header says; for a quote, at most the end of the bytes.
    pub(super) end: usize,
}

/// The IP version, which says where the addresses are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

impl Version {
    pub(super) const fn source_at(self) -> usize {
        match self {
            Self::V4 => 12,
            Self::V6 => 8,
        }
    }

    pub(super) const fn address_length(self) -> usize {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }
}

/// Reads one IP packet.
///
/// # Errors
/// Why the model cannot carry it.
pub fn parse(bytes: &[u8]) -> Result<Packet, Unusable> {
    let layout = layout(bytes, Whole::Yes)?;
    let (source, destination) = addresses(bytes, layout).ok_or(Unusable::Malformed)?;
    if !is_unicast(destination) || !is_unicast(source) {
        return Err(Unusable::NotUnicast);
    }
    let (body, ports) = body(bytes, layout)?;
    let source = SocketAddr::new(source, ports.0);
    let destination = SocketAddr::new(destination, ports.1);
    let length = u32::try_from(layout.end).map_err(|_| Unusable::Malformed)?;
    Ok(Packet::new(source, destination, body, length))
}

/// Whether bytes must hold the packet to its end, or are the start of one that an error quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    Yes,
    Quoted,
}

/// Finds the fields of a packet, or of the start of one.
pub(super) fn layout(bytes: &[u8], whole: Whole) -> Result<Layout, Unusable> {
    let layout = match bytes.first().map(|first| first >> 4) {
        Some(4) => layout_v4(bytes, whole)?,
        Some(6) => layout_v6(bytes, whole)?,
        _ => return Err(Unusable::Malformed),
    };
    let needed = match (layout.protocol, whole) {
        (Protocol::Tcp, Whole::Yes) => 20,
        _ => 8,
    };
    if layout.upper + needed > layout.end { Err(Unusable::Malformed) } else { Ok(layout) }
}

fn layout_v4(bytes: &[u8], whole: Whole) -> Result<Layout, Unusable> {
    let header = bytes.get(..20).ok_or(Unusable::Malformed)?;
    let upper = usize::from(header[0] & 0x0F) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if upper < 20 || total < upper || (whole == Whole::Yes && total > bytes.len()) {
        return Err(Unusable::Malformed);
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    if fragment & 0x3FFF != 0 {
        return Err(Unusable::Fragment);
    }
    let protocol = match header[9] {
        number::UDP => Protocol::Udp,
        number::TCP => Protocol::Tcp,
        number::ICMP => Protocol::Icmp,
        _ => return Err(Unusable::Protocol),
    };
    Ok(Layout { version: Version::V4, protocol, upper, end: total.min(bytes.len()) })
}

fn layout_v6(bytes: &[u8], whole: Whole) -> Result<Layout, Unusable> {
    let header = bytes.get(..40).ok_or(Unusable::Malformed)?;
    let total = 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
    if whole == Whole::Yes && total > bytes.len() {
        return Err(Unusable::Malformed);
    }
    let end = total.min(bytes.len());
    let (protocol, upper) = skip_extensions(&bytes[..end], header[6])?;
    Ok(Layout { version: Version::V6, protocol, upper, end })
}

/// Walks over the extension headers of RFC 8200 section 4.
fn skip_extensions(bytes: &[u8], first: u8) -> Result<(Protocol, usize), Unusable> {
    let (mut next, mut at) = (first, 40);
    for _ in 0..EXTENSIONS_MAX {
        match next {
            number::UDP => return Ok((Protocol::Udp, at)),
            number::TCP => return Ok((Protocol::Tcp, at)),
            number::ICMP6 => return Ok((Protocol::Icmp, at)),
            number::FRAGMENT => return Err(Unusable::Fragment),
            number::HOP_BY_HOP | number::ROUTING | number::DESTINATION_OPTIONS => {
                let [following, length] = *pair(bytes, at)?;
                next = following;
                at += (usize::from(length) + 1) * 8;
            }
            _ => return Err(Unusable::Protocol),
        }
    }
    Err(Unusable::Protocol)
}

fn pair(bytes: &[u8], at: usize) -> Result<&[u8; 2], Unusable> {
    bytes.get(at..at + 2).and_then(|pair| pair.try_into().ok()).ok_or(Unusable::Malformed)
}

fn number_at(bytes: &[u8], at: usize) -> Result<u16, Unusable> {
    pair(bytes, at).map(|pair| u16::from_be_bytes(*pair))
}

/// Source and destination.
fn addresses(bytes: &[u8], layout: Layout) -> Option<(IpAddr, IpAddr)> {
    let (at, length) = (layout.version.source_at(), layout.version.address_length());
    Some((address(bytes.get(at..at + length)?)?, address(bytes.get(at + length..at + 2 * length)?)?))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into())
}

fn is_unicast(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_multicast() || address.is_unspecified() || broadcast)
}

/// What the packet carries, with the ports of its source and its destination.
fn body(bytes: &[u8], layout: Layout) -> Result<(Body, (u16, u16)), Unusable> {
    let upper = layout.upper;
    let ports = || Ok((number_at(bytes, upper)?, number_at(bytes, upper + 2)?));
    match layout.protocol {
        Protocol::Udp => Ok((Body::Udp, ports()?)),
        Protocol::Tcp => {
            let flags = bytes.get(upper + 13).copied().ok_or(Unusable::Malformed)?;
            Ok((Body::Tcp(TcpFlags::from_bits(flags)), ports()?))
        }
        Protocol::Icmp => icmp(bytes, layout),
    }
}

fn icmp(bytes: &[u8], layout: Layout) -> Result<(Body, (u16, u16)), Unusable> {
    let upper = layout.upper;
    let identifier = number_at(bytes, upper + 4)?;
    match echo(bytes, layout) {
        Some(Icmp::EchoRequest) => Ok((Body::Icmp(Icmp::EchoRequest), (identifier, 0))),
        Some(reply) => Ok((Body::Icmp(reply), (0, identifier))),
        None => {
            let error = error(bytes, layout).ok_or(Unusable::Protocol)?;
            let quote = quote(bytes.get(upper + 8..layout.end).ok_or(Unusable::Malformed)?)?;
            Ok((Body::Icmp(Icmp::Error(error, quote)), (0, 0)))
        }
    }
}

/// The echo message that the bytes are, if they are one.
pub(super) fn echo(bytes: &[u8], layout: Layout) -> Option<Icmp> {
    match (layout.version, bytes.get(layout.upper)?) {
        (Version::V4, 8) | (Version::V6, 128) => Some(Icmp::EchoRequest),
        (Version::V4, 0) | (Version::V6, 129) => Some(Icmp::EchoReply),
        _ => None,
    }
}

/// The error that the bytes are, if NATs know it (RFC 792, RFC 4443).
fn error(bytes: &[u8], layout: Layout) -> Option<IcmpError> {
    let [kind, code] = *pair(bytes, layout.upper).ok()?;
    let mtu = number_at(bytes, layout.upper + 6).ok()?;
    match (layout.version, kind, code) {
        (Version::V4, 3, 3) | (Version::V6, 1, 4) => Some(IcmpError::PortUnreachable),
        (Version::V4, 3, 4) | (Version::V6, 2, _) => Some(IcmpError::TooBig { mtu }),
        (Version::V4, 3, _) | (Version::V6, 1, _) => Some(IcmpError::HostUnreachable),
        (Version::V4, 11, _) | (Version::V6, 3, _) => Some(IcmpError::HopLimit),
        _ => None,
    }
}

/// Reads the start of the packet that an error is about (RFC 5508 section 4).
fn quote(bytes: &[u8]) -> Result<Quote, Unusable> {
    let layout = layout(bytes, Whole::Quoted)?;
    let (source, destination) = addresses(bytes, layout).ok_or(Unusable::Malformed)?;
    let first = number_at(bytes, layout.upper)?;
    let ports = match (layout.protocol, echo(bytes, layout)) {
        (Protocol::Icmp, Some(Icmp::EchoRequest)) => (number_at(bytes, layout.upper + 4)?, 0),
        (Protocol::Icmp, Some(_)) => (0, number_at(bytes, layout.upper + 4)?),
        (Protocol::Icmp, None) => return Err(Unusable::Protocol),
        _ => (first, number_at(bytes, layout.upper + 2)?),
    };
    Ok(Quote {
        protocol: layout.protocol,
        source: SocketAddr::new(source, ports.0),
        destination: SocketAddr::new(destination, ports.1),
    })
}
