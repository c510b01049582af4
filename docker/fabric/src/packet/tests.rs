use std::net::{IpAddr, SocketAddr};

use atoll_topology::{Body, Icmp, IcmpError, Packet, Protocol, Quote, TcpFlags};
use proptest::prelude::*;

use super::checksum::{checksum, with_pseudo_header};
use super::parse::{Version, Whole, layout};
use super::{Unusable, answer, number, parse, rewrite};

/// A DNS question of a Linux host, as it came out of a TUN device.
const DNS: &str = "4500003d1ec6400040115567ac100a630808080804d200350029e98d00280100000100000000000003\
                   777777076578616d706c6503636f6d0000010001";
/// The same question of a socket that sends no UDP checksum.
const DNS_UNSUMMED: &str = "4500003d1ec7400040115566ac100a630808080804d20035002900000028010000010000000000\
                            0003777777076578616d706c6503636f6d0000010001";
/// The first segment of a connection of a Linux host, as it came out of a TUN device.
const SYN: &str = "4500003c44ed400040067d52ac100a63c000020913880050ed0fa75600000000a002faf099590000020405b4\
                   0402080a459c4d5b000000000103030a";

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap()).collect()
}

fn transport(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// An IP packet around a header above IP, every checksum right.
fn packet(source: IpAddr, destination: IpAddr, protocol: u8, upper: &[u8]) -> Vec<u8> {
    let mut upper = upper.to_vec();
    let at = match protocol {
        number::UDP => 6,
        number::TCP => 16,
        _ => 2,
    };
    upper[at..at + 2].fill(0);
    let check = match (protocol, source) {
        (number::ICMP, _) => checksum(&upper),
        _ => with_pseudo_header(source, destination, protocol, &upper),
    };
    let check = if protocol == number::UDP && check == 0 { 0xFFFF } else { check };
    upper[at..at + 2].copy_from_slice(&check.to_be_bytes());
    let mut bytes = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = u16::try_from(20 + upper.len()).unwrap().to_be_bytes();
            let mut header = vec![0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, protocol, 0, 0];
            header.extend(source.octets());
            header.extend(destination.octets());
            let check = checksum(&header).to_be_bytes();
            header[10..12].copy_from_slice(&check);
            header
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = u16::try_from(upper.len()).unwrap().to_be_bytes();
            let mut header = vec![0x60, 0, 0, 0, length[0], length[1], protocol, 64];
            header.extend(source.octets());
            header.extend(destination.octets());
            header
        }
        _ => panic!("two families"),
    };
    bytes.extend(upper);
    bytes
}

fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut upper = Vec::new();
    upper.extend(from.port().to_be_bytes());
    upper.extend(to.port().to_be_bytes());
    upper.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    upper.extend([0, 0]);
    upper.extend(payload);
    packet(from.ip(), to.ip(), number::UDP, &upper)
}

fn tcp(from: SocketAddr, to: SocketAddr, flags: TcpFlags, numbers: (u32, u32)) -> Vec<u8> {
    let mut upper = vec![0; 20];
    upper[0..2].copy_from_slice(&from.port().to_be_bytes());
    upper[2..4].copy_from_slice(&to.port().to_be_bytes());
    upper[4..8].copy_from_slice(&numbers.0.to_be_bytes());
    upper[8..12].copy_from_slice(&numbers.1.to_be_bytes());
    upper[12] = 5 << 4;
    upper[13] = flags.bits();
    packet(from.ip(), to.ip(), number::TCP, &upper)
}

fn echo_request(from: SocketAddr, to: IpAddr) -> Vec<u8> {
    let id = from.port().to_be_bytes();
    let (protocol, kind) = if to.is_ipv4() { (number::ICMP, 8) } else { (number::ICMP6, 128) };
    packet(from.ip(), to, protocol, &[kind, 0, 0, 0, id[0], id[1], 0, 7, 1, 2, 3])
}

/// Asserts that every checksum of a packet that carries one is right.
#[track_caller]
fn assert_sound(bytes: &[u8]) {
    let found = layout(bytes, Whole::Yes).unwrap();
    let parsed = parse(bytes).unwrap();
    let upper = &bytes[found.upper..found.end];
    if found.version == Version::V4 {
        assert_eq!(checksum(&bytes[..20]), 0, "header checksum");
    }
    let (number, sum_at) = match (found.protocol, found.version) {
        (Protocol::Udp, _) => (number::UDP, 6),
        (Protocol::Tcp, _) => (number::TCP, 16),
        (Protocol::Icmp, Version::V4) => return assert_eq!(checksum(upper), 0, "ICMP checksum"),
        (Protocol::Icmp, Version::V6) => (number::ICMP6, 2),
    };
    if number == number::UDP && upper[sum_at..sum_at + 2] == [0, 0] {
        return;
    }
    let (source, destination) = (parsed.source.ip(), parsed.destination.ip());
    assert_eq!(with_pseudo_header(source, destination, number, upper), 0, "checksum above IP");
}

#[test]
fn captured_packets_are_read() {
    let question = Packet::udp(transport("172.16.10.99:1234"), transport("8.8.8.8:53"), 61);
    assert_eq!(parse(&bytes_of(DNS)), Ok(question));
    assert_eq!(parse(&bytes_of(DNS_UNSUMMED)), Ok(question));
    let (from, to) = (transport("172.16.10.99:5000"), transport("192.0.2.9:80"));
    let syn = Packet::new(from, to, Body::Tcp(TcpFlags::SYN), 60);
    assert_eq!(parse(&bytes_of(SYN)), Ok(syn));
}

#[test]
fn captured_packets_stay_sound_when_they_are_rewritten() {
    for captured in [DNS, DNS_UNSUMMED, SYN] {
        let mut bytes = bytes_of(captured);
        assert_sound(&bytes);
        let mut packet = parse(&bytes).unwrap();
        packet.source = transport("198.51.100.7:40000");
        rewrite(&mut bytes, &packet).unwrap();
        assert_sound(&bytes);
        assert_eq!(parse(&bytes), Ok(packet));
    }
}

#[test]
fn an_absent_checksum_stays_absent() {
    let mut bytes = bytes_of(DNS_UNSUMMED);
    let mut packet = parse(&bytes).unwrap();
    packet.source = transport("198.51.100.7:40000");
    rewrite(&mut bytes, &packet).unwrap();
    assert_eq!(bytes[26..28], [0, 0]);
}

#[test]
fn tcp_flags_and_echo_identifiers_are_read() {
    let (from, to) = (transport("10.0.0.2:5000"), transport("192.0.2.9:80"));
    let syn = parse(&tcp(from, to, TcpFlags::SYN, (7, 0))).unwrap();
    assert_eq!((syn.source, syn.destination, syn.body), (from, to, Body::Tcp(TcpFlags::SYN)));
    let request = parse(&echo_request(from, to.ip())).unwrap();
    assert_eq!(request.source, from);
    assert_eq!(request.destination, SocketAddr::new(to.ip(), 0));
    assert_eq!(request.body, Body::Icmp(Icmp::EchoRequest));
}

#[test]
fn what_a_nat_does_not_know_is_refused() {
    let mut bytes = bytes_of(DNS);
    bytes[9] = 2;
    assert_eq!(parse(&bytes), Err(Unusable::Protocol));
    let mut bytes = bytes_of(DNS);
    bytes[6] = 0x20;
    assert_eq!(parse(&bytes), Err(Unusable::Fragment));
    let group = udp(transport("10.0.0.2:5353"), transport("224.0.0.251:5353"), b"");
    assert_eq!(parse(&group), Err(Unusable::NotUnicast));
    assert_eq!(parse(&[]), Err(Unusable::Malformed));
    assert_eq!(parse(&bytes_of(DNS)[..40]), Err(Unusable::Malformed));
}

#[test]
fn a_reset_acknowledges_the_syn_that_it_refuses() {
    let (from, to) = (transport("10.0.0.2:5000"), transport("192.0.2.9:80"));
    let refusal = Packet::tcp(to, from, TcpFlags::RST.with(TcpFlags::ACK));
    let bytes = answer(&refusal, &tcp(from, to, TcpFlags::SYN, (u32::MAX, 0))).unwrap();
    assert_sound(&bytes);
    assert_eq!(bytes[28..32], 0u32.to_be_bytes(), "the acknowledgement wraps");
    let parsed = parse(&bytes).unwrap();
    assert_eq!((parsed.source, parsed.destination, parsed.body), (to, from, refusal.body));
}

#[test]
fn a_reset_for_data_takes_the_number_that_the_peer_expects() {
    let (from, to) = (transport("[2001:db8::2]:5000"), transport("[2001:db8::9]:80"));
    let refusal = Packet::tcp(to, from, TcpFlags::RST.with(TcpFlags::ACK));
    let bytes = answer(&refusal, &tcp(from, to, TcpFlags::ACK, (5, 99))).unwrap();
    assert_sound(&bytes);
    assert_eq!(bytes[44..48], 99u32.to_be_bytes());
    assert_eq!(parse(&bytes).unwrap().body, Body::Tcp(TcpFlags::RST));
}

#[test]
fn an_error_quotes_the_packet_as_it_was_where_it_was_refused() {
    let (inside, outside) = (transport("192.168.1.2:5000"), transport("198.51.100.7:61000"));
    let (to, gateway) = (transport("192.0.2.9:53"), transport("192.0.2.1:0"));
    let quote = Quote { protocol: Protocol::Udp, source: outside, destination: to };
    let body = Body::Icmp(Icmp::Error(IcmpError::TooBig { mtu: 1400 }, quote));
    let error = Packet::new(gateway, SocketAddr::new(outside.ip(), 0), body, 56);
    let mut bytes = answer(&error, &udp(inside, to, &[1; 100])).unwrap();
    assert_sound(&bytes);
    assert_eq!(parse(&bytes).unwrap(), error);

    let quote = Quote { source: inside, ..quote };
    let body = Body::Icmp(Icmp::Error(IcmpError::TooBig { mtu: 1400 }, quote));
    let home = Packet::new(gateway, SocketAddr::new(inside.ip(), 0), body, 56);
    rewrite(&mut bytes, &home).unwrap();
    assert_sound(&bytes);
    assert_eq!(parse(&bytes).unwrap(), home);
    assert_eq!(
        bytes[28..56],
        udp(inside, to, &[1; 100])[..28],
        "the sender finds its own packet, sums and all"
    );
}

fn any_address() -> impl Strategy<Value = (IpAddr, IpAddr, IpAddr, IpAddr)> {
    prop_oneof![
        any::<[[u8; 3]; 4]>().prop_map(|octets| {
            let [a, b, c, d] = octets.map(|[a, b, c]| IpAddr::from([10, a, b, c]));
            (a, b, c, d)
        }),
        any::<[u64; 4]>().prop_map(|ends| {
            let [a, b, c, d] =
                ends.map(|end| IpAddr::from((0x2001_0db8_u128 << 96 | u128::from(end)).to_be_bytes()));
            (a, b, c, d)
        }),
    ]
}

fn any_packet() -> impl Strategy<Value = (Vec<u8>, SocketAddr, SocketAddr)> {
    let ports = any::<[u16; 4]>();
    let payload = prop::collection::vec(any::<u8>(), 0..40);
    (any_address(), ports, payload, 0..3u8).prop_map(|((a, b, c, d), ports, payload, kind)| {
        let (from, to) = (SocketAddr::new(a, ports[0]), SocketAddr::new(b, ports[1]));
        let bytes = match kind {
            0 => udp(from, to, &payload),
            1 => tcp(from, to, TcpFlags::SYN, (1, 2)),
            _ => echo_request(from, to.ip()),
        };
        (bytes, SocketAddr::new(c, ports[2]), SocketAddr::new(d, ports[3]))
    })
}

proptest! {
    #[test]
    fn rewriting_keeps_checksums_valid((mut bytes, source, destination) in any_packet()) {
        let mut packet = parse(&bytes).unwrap();
        packet.source = source;
        packet.destination = destination;
        if packet.protocol() == Protocol::Icmp {
            packet.destination.set_port(0);
        }
        rewrite(&mut bytes, &packet).unwrap();
        assert_sound(&bytes);
        prop_assert_eq!(parse(&bytes).unwrap(), packet);
    }

    #[test]
    fn there_and_back_changes_no_byte((bytes, source, destination) in any_packet()) {
        let packet = parse(&bytes).unwrap();
        let mut other = packet;
        other.source = source;
        other.destination = destination;
        let mut travelled = bytes.clone();
        rewrite(&mut travelled, &other).unwrap();
        rewrite(&mut travelled, &packet).unwrap();
        prop_assert_eq!(travelled, bytes);
    }

    #[test]
    fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), first in prop_oneof![Just(0x45u8), Just(0x46), Just(0x60), any::<u8>()], next in prop_oneof![Just(1u8), Just(6), Just(17), Just(58), Just(0), any::<u8>()]) {
        if bytes.len() > 9 {
            bytes[0] = first;
            bytes[9] = next;
            bytes[6] = if first >> 4 == 6 { next } else { 0 };
            bytes[7] = 0;
            let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            if first >> 4 == 4 { bytes[2..4].copy_from_slice(&length) } else { bytes[4] = 0; bytes[5] = bytes.len().saturating_sub(40) as u8 }
        }
        if let Ok(packet) = parse(&bytes) {
            prop_assert!(packet.length as usize <= bytes.len());
            rewrite(&mut bytes, &packet).unwrap();
            let _ = answer(&packet, &bytes);
        }
    }
}
