//! Changes addresses and ports in place, the way a NAT does. Checksums are updated, never made anew: a packet
//! that was damaged before stays damaged.

use std::net::{IpAddr, SocketAddr};

use atoll_topology::{Body, Icmp, Packet, Protocol};

use super::checksum::{checksum, update, with_pseudo_header};
use super::number;
use super::parse::{Layout, Unusable, Version, Whole, echo, layout};

/// Gives the packet in `bytes` the addresses and ports of `packet`; an error's quote as well.
///
/// # Errors
/// The bytes are not a packet that [`super::parse`] reads, or `packet` is of another kind.
pub fn rewrite(bytes: &mut [u8], packet: &Packet) -> Result<(), Unusable> {
    let found = layout(bytes, Whole::Yes)?;
    if found.protocol != packet.protocol() {
        return Err(Unusable::Protocol);
    }
    let ends = Ends { source: packet.source, destination: packet.destination };
    let bytes = &mut bytes[..found.end];
    Editor { bytes, layout: found }.set_ends(ends)?;
    if let Body::Icmp(Icmp::Error(_, quote)) = packet.body {
        let ends = Ends { source: quote.source, destination: quote.destination };
        rewrite_quote(bytes, found, ends)?;
    }
    Ok(())
}

/// The quote first, then the sum over the message that contains it: errors are rare and short.
fn rewrite_quote(bytes: &mut [u8], outer: Layout, ends: Ends) -> Result<(), Unusable> {
    let (headers, message) = bytes.split_at_mut(outer.upper);
    let quoted = message.get_mut(8..).ok_or(Unusable::Malformed)?;
    let found = layout(quoted, Whole::Quoted)?;
    Editor { bytes: quoted, layout: found }.set_ends(ends)?;
    message[2..4].fill(0);
    let check = match outer.version {
        Version::V4 => checksum(message),
        Version::V6 => {
            let (source, destination) = (ipv6(headers, 8), ipv6(headers, 24));
            with_pseudo_header(source, destination, number::ICMP6, message)
        }
    };
    message[2..4].copy_from_slice(&check.to_be_bytes());
    Ok(())
}

fn ipv6(header: &[u8], at: usize) -> IpAddr {
    let octets: [u8; 16] = header[at..at + 16].try_into().expect("a parsed header is whole");
    IpAddr::from(octets)
}

/// Both transport addresses that a packet is to have.
#[derive(Clone, Copy)]
struct Ends {
    source: SocketAddr,
    destination: SocketAddr,
}

/// A checksum field and how it treats zero.
#[derive(Clone, Copy)]
struct Sum {
    at: usize,
    /// UDP over IPv4: zero says that there is none, and a sum of zero is sent as ones (RFC 768).
    zero_is_none: bool,
}

struct Editor<'a> {
    bytes: &'a mut [u8],
    layout: Layout,
}

impl Editor<'_> {
    fn set_ends(&mut self, ends: Ends) -> Result<(), Unusable> {
        let (at, length) = (self.layout.version.source_at(), self.layout.version.address_length());
        self.set_address(at, ends.source.ip())?;
        self.set_address(at + length, ends.destination.ip())?;
        match self.layout.protocol {
            Protocol::Udp | Protocol::Tcp => {
                self.set_port(self.layout.upper, ends.source.port());
                self.set_port(self.layout.upper + 2, ends.destination.port());
            }
            Protocol::Icmp => match echo(self.bytes, self.layout) {
                Some(Icmp::EchoRequest) => self.set_port(self.layout.upper + 4, ends.source.port()),
                Some(_) => self.set_port(self.layout.upper + 4, ends.destination.port()),
                None => {}
            },
        }
        Ok(())
    }

    fn set_address(&mut self, at: usize, address: IpAddr) -> Result<(), Unusable> {
        let upper = self.upper_sum().filter(|_| self.has_pseudo_header());
        match (self.layout.version, address) {
            (Version::V4, IpAddr::V4(address)) => {
                let header = Sum { at: 10, zero_is_none: false };
                self.put(at, &address.octets(), [Some(header), upper]);
            }
            (Version::V6, IpAddr::V6(address)) => self.put(at, &address.octets(), [upper, None]),
            _ => return Err(Unusable::Protocol),
        }
        Ok(())
    }

    fn set_port(&mut self, at: usize, port: u16) {
        let sum = self.upper_sum();
        self.put(at, &port.to_be_bytes(), [sum, None]);
    }

    /// Whether the sum above IP covers the addresses: everywhere but in ICMP for IPv4.
    fn has_pseudo_header(&self) -> bool {
        self.layout.protocol != Protocol::Icmp || self.layout.version == Version::V6
    }

    /// The checksum above IP; none if a quote ends before it.
    fn upper_sum(&self) -> Option<Sum> {
        let upper = self.layout.upper;
        let (offset, zero_is_none) = match self.layout.protocol {
            Protocol::Udp => (6, true),
            Protocol::Tcp => (16, false),
            Protocol::Icmp => (2, false),
        };
        (upper + offset + 2 <= self.layout.end).then_some(Sum { at: upper + offset, zero_is_none })
    }

    fn put(&mut self, at: usize, new: &[u8], sums: [Option<Sum>; 2]) {
        let (start, end) = (at, at + new.len());
        if self.bytes[start..end] == *new {
            return;
        }
        for sum in sums.into_iter().flatten() {
            let field = [self.bytes[sum.at], self.bytes[sum.at + 1]];
            let check = u16::from_be_bytes(field);
            if sum.zero_is_none && check == 0 {
                continue;
            }
            let updated = match update(check, &self.bytes[start..end], new) {
                0 if sum.zero_is_none => 0xFFFF,
                updated => updated,
            };
            self.bytes[sum.at..sum.at + 2].copy_from_slice(&updated.to_be_bytes());
        }
        self.bytes[start..end].copy_from_slice(new);
    }
}
