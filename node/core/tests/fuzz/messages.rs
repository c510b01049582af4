//! Every message that can be made is read back as it was.

use std::net::{IpAddr, SocketAddr};

use atoll_core::security::NOTICE_MAX;
use atoll_core::wire::{
    ANNOUNCED_MAX, Ack, Address, Announcement, BROADCAST_MAX, Broadcast, BroadcastId, CANDIDATES_MAX,
    Candidate, ConnectToMe, Covered, Echo, EdgeId, FrameHeader, FrameKind, Header, Knowledge, Link, ListPart,
    Members, Mode, NEIGHBOURS_MAX, Neighbours, OverlayTag, PAGE_MAX, PART_MAX, PacketHeader, PacketKind,
    Part, Ping, ROUTE_MAX, RTT_MAX, Range, Receipt, Revocation, SALT_LEN, SAMPLE_MAX, Salt, Sample,
    Uncovered,
};
use atoll_core::{Buffer, Pool};
use proptest::prelude::*;

fn written(write: impl Fn(&mut Buffer)) -> Buffer {
    let mut buffer = Pool::new().take(100);
    write(&mut buffer);
    buffer
}

fn address() -> impl Strategy<Value = Address> {
    any::<[u8; Address::LEN]>().prop_map(Address::from_bytes)
}

fn transport() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), 1..=u16::MAX).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn candidate() -> impl Strategy<Value = Candidate> {
    prop_oneof![
        transport().prop_map(Candidate::Udp),
        transport().prop_map(Candidate::Tcp),
        address().prop_map(Candidate::Carried),
        (address(), 0..=RTT_MAX, any::<bool>()).prop_map(|(via, rtt, open)| Candidate::Through {
            via,
            rtt,
            open
        }),
    ]
}

fn knowledge() -> impl Strategy<Value = Knowledge> {
    any::<[u64; 3]>().prop_map(|[complete, digest, epoch]| Knowledge { complete, digest, epoch })
}

fn revocation() -> impl Strategy<Value = Revocation> {
    let bytes = |max: usize| prop::collection::vec(any::<u8>(), 1..=max);
    let notices = prop::collection::vec(bytes(NOTICE_MAX), 0..=PAGE_MAX);
    let part = (any::<u64>(), any::<u16>(), any::<u16>(), bytes(PART_MAX));
    prop_oneof![
        knowledge().prop_map(Revocation::Told),
        (any::<u64>(), any::<u32>()).prop_map(|(after, offset)| Revocation::Ask { after, offset }),
        (any::<u64>(), notices).prop_map(|(next, notices)| Revocation::Notices { next, notices }),
        part.prop_map(|(number, offset, behind, bytes)| {
            let (offset, behind) = (u32::from(offset), u32::from(behind));
            let total = offset + bytes.len() as u32 + behind;
            Revocation::Part(ListPart { number, total, offset, bytes })
        }),
        (any::<u16>(), members()).prop_map(|(part, members)| Revocation::Covered(Covered { part, members })),
        (any::<u64>(), any::<u16>())
            .prop_map(|(id, part)| Revocation::Uncovered(Uncovered { id: BroadcastId(id), part })),
        (any::<[u8; SALT_LEN]>(), bytes(NOTICE_MAX))
            .prop_map(|(salt, notice)| Revocation::Epoch { salt: Salt(salt), notice }),
    ]
}

/// Few take fewer bytes than many.
fn members() -> impl Strategy<Value = u32> {
    prop_oneof![0..600u32, any::<u32>()]
}

fn addresses(max: usize) -> impl Strategy<Value = Vec<Address>> {
    prop::collection::vec(address(), 0..=max)
}

fn frame() -> impl Strategy<Value = FrameHeader> {
    let kinds = [
        FrameKind::Ack,
        FrameKind::Link,
        FrameKind::Neighbours,
        FrameKind::Ping,
        FrameKind::Pong,
        FrameKind::Close,
        FrameKind::Packet,
        FrameKind::Observed,
        FrameKind::Upkeep,
        FrameKind::Broadcast,
        FrameKind::Covered,
        FrameKind::Revocation,
        FrameKind::Uncovered,
    ];
    let ack = (any::<u16>(), prop_oneof![Just(0), any::<u32>()]).prop_map(|(next, bits)| Ack { next, bits });
    (prop::sample::select(kinds.to_vec()), prop::option::of(ack), any::<Option<u16>>())
        .prop_map(|(kind, ack, sequence)| FrameHeader { kind, ack, sequence })
}

fn header() -> impl Strategy<Value = Header> {
    let short = any::<u32>().prop_map(|id| Header::Short { receiver: EdgeId(id) });
    let long = any::<[u32; 3]>().prop_map(|[tag, sender, receiver]| Header::Long {
        tag: OverlayTag(tag),
        sender: EdgeId(sender),
        receiver: EdgeId(receiver),
    });
    prop_oneof![short, long]
}

fn packet() -> impl Strategy<Value = PacketHeader> {
    let modes = prop::sample::select(vec![Mode::Exact, Mode::Nearest, Mode::Sourced]);
    let ends = (address(), address(), addresses(ROUTE_MAX - 1), address());
    (modes, any::<bool>(), ends, any::<u8>()).prop_map(|(mode, record, (to, from, mut route, last), hops)| {
        route.push(last);
        let record = record && mode != Mode::Sourced;
        let has_route = record || mode == Mode::Sourced;
        PacketHeader {
            record,
            hop_limit: hops,
            position: if has_route { hops % (route.len() as u8 + 1) } else { 0 },
            route: if has_route { route } else { vec![] },
            ..PacketHeader::new(PacketKind::EchoRequest, mode, from, to)
        }
    })
}

proptest! {
    #[test]
    fn headers_are_read_as_they_were_written(datagram in header(), frame in frame(), body: Vec<u8>) {
        let mut buffer = written(|buffer| buffer.extend(&body));
        frame.prepend(&mut buffer);
        datagram.prepend(&mut buffer);
        prop_assert_eq!(Header::take(&mut buffer), Ok(datagram));
        prop_assert_eq!(FrameHeader::take(&mut buffer), Ok(frame));
        prop_assert_eq!(&buffer[..], &body[..]);
    }

    #[test]
    fn packets_are_read_as_they_were_written(packet in packet(), body: Vec<u8>) {
        let mut buffer = written(|buffer| buffer.extend(&body));
        packet.prepend(&mut buffer);
        let (read, at) = PacketHeader::read(&buffer).unwrap();
        prop_assert_eq!(&buffer[at..], &body[..]);
        prop_assert_eq!(read, packet);
    }

    #[test]
    fn links_and_neighbours_are_read_as_they_were_written(
        roles: u8, observed in prop::option::of(transport()), list in addresses(NEIGHBOURS_MAX),
        known in prop::option::of(knowledge()),
    ) {
        let link = Link { roles, observed, neighbours: list.clone(), known };
        prop_assert_eq!(Link::read(&written(|buffer| link.write(buffer))), Ok(link));
        let neighbours = Neighbours { roles, list };
        prop_assert_eq!(Neighbours::read(&written(|buffer| neighbours.write(buffer))), Ok(neighbours));
    }

    #[test]
    fn requests_and_replies_are_read_as_they_were_written(
        id: u32, roles: u8, token: u64,
        candidates in prop::collection::vec(candidate(), 0..=CANDIDATES_MAX),
        members in addresses(ROUTE_MAX),
        open in addresses(SAMPLE_MAX),
        others in addresses(SAMPLE_MAX),
    ) {
        let connect = ConnectToMe { id, roles, token, candidates };
        prop_assert_eq!(ConnectToMe::read(&written(|buffer| connect.write(buffer))), Ok(connect));
        let members = Members { id, members };
        prop_assert_eq!(Members::read(&written(|buffer| members.write(buffer))), Ok(members));
        let sample = Sample { id, open, others };
        prop_assert_eq!(Sample::read(&written(|buffer| sample.write(buffer))), Ok(sample));
        let echo = Echo { id, hops: roles };
        prop_assert_eq!(Echo::read(&written(|buffer| echo.write(buffer))), Ok(echo));
    }

    #[test]
    fn halves_of_datagrams_are_read_as_they_were_written(number: u16, second: bool, bytes: Vec<u8>) {
        for part in [Part::Whole(&bytes), Part::Half { number, second, bytes: &bytes }] {
            let body = written(|buffer| part.write(buffer));
            prop_assert_eq!(Part::read(&body), Ok(part));
        }
    }

    #[test]
    fn broadcasts_are_read_as_they_were_written(
        id: u64, part: u16, ends in (address(), address(), address()), hop_limit: u8, members in members(),
        payload in prop::collection::vec(any::<u8>(), 0..=BROADCAST_MAX),
    ) {
        let (id, (origin, from, to)) = (BroadcastId(id), ends);
        let message = Broadcast { id, origin, part, range: Range { from, to }, hop_limit, payload };
        prop_assert_eq!(Broadcast::read(&written(|buffer| message.write(buffer))), Ok(message.clone()));
        let covered = Covered { part, members };
        prop_assert_eq!(Covered::read(&written(|buffer| covered.write(buffer))), Ok(covered));
        let uncovered = message.uncovered();
        prop_assert_eq!(Uncovered::read(&written(|buffer| uncovered.write(buffer))), Ok(uncovered));
        let notice = Revocation::Broadcast(message);
        prop_assert_eq!(Revocation::read(&written(|buffer| notice.write(buffer))), Ok(notice));
    }

    #[test]
    fn what_is_said_of_revocations_is_read_as_it_was_written(message in revocation()) {
        prop_assert_eq!(Revocation::read(&written(|buffer| message.write(buffer))), Ok(message));
    }

    #[test]
    fn what_a_site_tells_and_hears_is_read_as_it_was_written(
        token: u64, member in address(), notices in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..=ANNOUNCED_MAX),
        certificate in prop::collection::vec(any::<u8>(), 0..900), signature in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let message = Announcement { token, notices };
        prop_assert_eq!(Announcement::read(&message.write()), Ok(message));
        let receipt = Receipt { token, member, certificate, signature };
        prop_assert_eq!(Receipt::read(&receipt.write()), Ok(receipt));
    }

    #[test]
    fn pings_are_read_as_they_were_written(number: u16, digest: u32, interval: u8, interval_max: u8, wait: u8) {
        let ping = Ping { number, digest, interval, interval_max, wait };
        prop_assert_eq!(Ping::read(&written(|buffer| ping.write(buffer))), Ok(ping));
    }
}

#[test]
fn a_list_that_is_too_long_is_malformed() {
    let long = vec![Address::from_bytes([1; Address::LEN]); NEIGHBOURS_MAX + 1];
    let mut body = vec![0, u8::try_from(long.len()).unwrap()];
    long.iter().for_each(|address| body.extend(address.to_bytes()));
    assert!(Neighbours::read(&body).is_err());
}
