//! Makes the packets with which gateways and links answer: TCP resets and ICMP errors.

use std::net::IpAddr;

use atoll_topology::{Body, Icmp, IcmpError, Packet, TcpFlags};

use super::checksum::{checksum, with_pseudo_header};
use super::number;
use super::parse::{Layout, Version, Whole, layout};
use super::rewrite::rewrite;

/// Hop limit of what we make (RFC 1700).
const HOP_LIMIT: u8 = 64;
/// Bytes above the IP header that an error quotes (RFC 792).
const QUOTED: usize = 8;

/// The bytes of `answer`, which the model gave to the packet in `about`; `None` if they do not fit together.
pub fn answer(answer: &Packet, about: &[u8]) -> Option<Vec<u8>> {
    let layout = layout(about, Whole::Yes).ok()?;
    let upper = match answer.body {
        Body::Tcp(_) => reset(answer, about, layout)?,
        Body::Icmp(Icmp::Error(error, _)) => icmp_error(answer, error, quoted(about, layout)),
        Body::Udp | Body::Icmp(_) => return None,
    };
    let protocol = match (answer.body, layout.version) {
        (Body::Tcp(_), _) => number::TCP,
        (_, Version::V4) => number::ICMP,
        (_, Version::V6) => number::ICMP6,
    };
    let mut bytes = with_header(answer.source.ip(), answer.destination.ip(), protocol, &upper)?;
    // The quote shows the packet as it was where it was refused, and `about` may be from another point.
    rewrite(&mut bytes, answer).ok()?;
    Some(bytes)
}

fn quoted(about: &[u8], layout: Layout) -> &[u8] {
    &about[..(layout.upper + QUOTED).min(layout.end)]
}

/// The reset for a segment, with the numbers of RFC 9293 section 3.5.2, group 1.
fn reset(answer: &Packet, about: &[u8], layout: Layout) -> Option<Vec<u8>> {
    let segment = about.get(layout.upper..layout.end)?;
    let flags = TcpFlags::from_bits(segment[13]);
    let mut bytes = vec![0; 20];
    bytes[0..2].copy_from_slice(&answer.source.port().to_be_bytes());
    bytes[2..4].copy_from_slice(&answer.destination.port().to_be_bytes());
    let own = if flags.has(TcpFlags::ACK) {
        bytes[4..8].copy_from_slice(&segment[8..12]);
        TcpFlags::RST
    } else {
        let header = usize::from(segment[12] >> 4) * 4;
        let controls = u32::from(flags.has(TcpFlags::SYN)) + u32::from(flags.has(TcpFlags::FIN));
        let data = u32::try_from(segment.len().saturating_sub(header)).ok()?;
        let number = u32::from_be_bytes(segment[4..8].try_into().ok()?);
        let next = number.wrapping_add(data).wrapping_add(controls);
        bytes[8..12].copy_from_slice(&next.to_be_bytes());
        TcpFlags::RST.with(TcpFlags::ACK)
    };
    bytes[12] = 5 << 4;
    bytes[13] = own.bits();
    let (source, destination) = (answer.source.ip(), answer.destination.ip());
    let check = with_pseudo_header(source, destination, number::TCP, &bytes);
    bytes[16..18].copy_from_slice(&check.to_be_bytes());
    Some(bytes)
}

fn icmp_error(answer: &Packet, error: IcmpError, quoted: &[u8]) -> Vec<u8> {
    let v4 = answer.source.is_ipv4();
    let (kind, code, mtu) = match (error, v4) {
        (IcmpError::PortUnreachable, true) => (3, 3, 0),
        (IcmpError::HostUnreachable, true) => (3, 1, 0),
        (IcmpError::TooBig { mtu }, true) => (3, 4, mtu),
        (IcmpError::HopLimit, true) => (11, 0, 0),
        (IcmpError::PortUnreachable, false) => (1, 4, 0),
        (IcmpError::HostUnreachable, false) => (1, 3, 0),
        (IcmpError::TooBig { mtu }, false) => (2, 0, mtu),
        (IcmpError::HopLimit, false) => (3, 0, 0),
    };
    let mut bytes = vec![kind, code, 0, 0, 0, 0];
    bytes.extend_from_slice(&mtu.to_be_bytes());
    bytes.extend_from_slice(quoted);
    let check = if v4 {
        checksum(&bytes)
    } else {
        with_pseudo_header(answer.source.ip(), answer.destination.ip(), number::ICMP6, &bytes)
    };
    bytes[2..4].copy_from_slice(&check.to_be_bytes());
    bytes
}

fn with_header(source: IpAddr, destination: IpAddr, protocol: u8, upper: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = u16::try_from(20 + upper.len()).ok()?;
            let mut header = vec![0x45, 0, 0, 0, 0, 0, 0, 0, HOP_LIMIT, protocol, 0, 0];
            header[2..4].copy_from_slice(&total.to_be_bytes());
            header.extend_from_slice(&source.octets());
            header.extend_from_slice(&destination.octets());
            let check = checksum(&header);
            header[10..12].copy_from_slice(&check.to_be_bytes());
            header
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = u16::try_from(upper.len()).ok()?;
            let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol, HOP_LIMIT];
            header[4..6].copy_from_slice(&length.to_be_bytes());
            header.extend_from_slice(&source.octets());
            header.extend_from_slice(&destination.octets());
            header
        }
        _ => return None,
    };
    bytes.extend_from_slice(upper);
    Some(bytes)
}
