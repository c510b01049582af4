//! Floor 4: greedy recursive forwarding. It reads the connection table and decides; it sends nothing.

use crate::connection::{Connection, Table};
use crate::counters::DropReason;
use crate::wire::{Address, Mode, PacketHeader, PacketKind};

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// It ends here.
    Here,
    /// Hand it to this peer.
    Next(Address),
    /// Nowhere to go.
    Drop(DropReason),
}

/// Chooses the next step of a packet at the member `own`; `avoid` is the peer that it came from or that failed to take
/// it.
#[must_use]
pub fn route(header: &PacketHeader, own: Address, table: &Table, avoid: Option<Address>) -> Route {
    let here = match header.mode {
        Mode::Exact => header.destination == own,
        Mode::Sourced => usize::from(header.position) >= header.route.len(),
        Mode::Nearest => false,
    };
    if here {
        return Route::Here;
    }
    if header.hop_limit == 0 {
        return Route::Drop(DropReason::HopLimit);
    }
    match header.mode {
        Mode::Sourced => sourced(header, table),
        Mode::Exact => match next_hop(header, own, table, avoid) {
            Some(peer) => Route::Next(peer),
            None => Route::Drop(DropReason::NoRoute),
        },
        Mode::Nearest => next_hop(header, own, table, avoid).map_or(Route::Here, Route::Next),
    }
}

/// A sourced packet goes to the next member of its route, or to a later one that is connected (a loop is cut).
fn sourced(header: &PacketHeader, table: &Table) -> Route {
    let next = header.route[usize::from(header.position)];
    if table.get(next).is_some() { Route::Next(next) } else { Route::Drop(DropReason::NoRoute) }
}

fn next_hop(header: &PacketHeader, own: Address, table: &Table, avoid: Option<Address>) -> Option<Address> {
    let to = header.destination;
    let nearest_mode = header.mode == Mode::Nearest;
    if !nearest_mode && table.get(to).is_some() && avoid != Some(to) {
        return Some(to);
    }
    let joining = matches!(header.kind, PacketKind::ConnectRequest);
    let usable = |connection: &&Connection| {
        connection.peer != header.source
            && Some(connection.peer) != avoid
            && !connection.suspected
            && (connection.carries_transit() || header.source == own || (nearest_mode && joining))
    };
    let exact = table.get(to).filter(|connection| nearest_mode && usable(connection));
    let candidates = [exact, table.clockwise(to).find(usable), table.counter_clockwise(to).find(usable)];
    let nearest = candidates.into_iter().flatten().map(|connection| connection.peer);
    let best = nearest.min_by_key(|peer| peer.distance(to));
    let nearer = |one: &Address| one.distance(to) < own.distance(to);
    best.filter(nearer).or_else(|| informant(header, own, table.iter().filter(usable)))
}

/// Where nobody connected is nearer, as where NATs keep neighbours apart: the peer that names the member nearest to the
/// destination, if that one is nearer than we are. It takes one step back and at least one forward.
fn informant<'a>(
    header: &PacketHeader,
    own: Address,
    usable: impl Iterator<Item = &'a Connection>,
) -> Option<Address> {
    let to = header.destination;
    let limit = own.distance(to);
    let named = usable.filter_map(|connection| {
        let others = connection.neighbours().iter().filter(|one| **one != header.source);
        let distance = others.map(|one| one.distance(to)).min()?;
        (distance < limit).then_some((distance, connection.peer))
    });
    named.min().map(|(_, peer)| peer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Role, Roles};
    use crate::time::Time;
    use crate::wire::{EdgeId, HOP_LIMIT, Way};
    use proptest::prelude::*;

    fn at(byte: u8) -> Address {
        let mut bytes = [0; 20];
        bytes[0] = byte;
        Address::from_bytes(bytes)
    }

    fn table(own: u8, peers: &[u8]) -> Table {
        let mut table = Table::new(at(own));
        for peer in peers {
            table.insert(at(*peer), (Way::Direct, EdgeId(u32::from(*peer) + 1)), Time::ZERO);
            table.get_mut(at(*peer)).expect("just inserted").ours = Roles::from(Role::Near);
        }
        table
    }

    fn packet(mode: Mode, to: u8) -> PacketHeader {
        PacketHeader::new(PacketKind::EchoRequest, mode, at(250), at(to))
    }

    #[test]
    fn a_packet_goes_to_the_nearest_peer_across_zero() {
        let table = table(100, &[10, 90, 200, 240]);
        assert_eq!(route(&packet(Mode::Exact, 252), at(100), &table, None), Route::Next(at(240)));
        assert_eq!(route(&packet(Mode::Exact, 4), at(100), &table, None), Route::Next(at(10)));
        assert_eq!(route(&packet(Mode::Exact, 4), at(100), &table, Some(at(10))), Route::Next(at(240)));
    }

    #[test]
    fn the_nearest_member_keeps_a_nearest_packet_and_drops_an_exact_one() {
        let table = table(100, &[10, 200]);
        assert_eq!(route(&packet(Mode::Nearest, 101), at(100), &table, None), Route::Here);
        assert_eq!(route(&packet(Mode::Exact, 101), at(100), &table, None), Route::Drop(DropReason::NoRoute));
    }

    #[test]
    fn where_nobody_is_nearer_a_packet_goes_to_whoever_names_someone_nearer() {
        let mut table = table(100, &[10, 200, 210]);
        for (peer, named) in [(10, 130), (200, 140), (210, 250)] {
            let connection = table.get_mut(at(peer)).expect("it is there");
            connection.set_neighbours(vec![at(named), at(100)], at(100));
        }
        for mode in [Mode::Exact, Mode::Nearest] {
            assert_eq!(route(&packet(mode, 135), at(100), &table, None), Route::Next(at(10)));
            assert_eq!(route(&packet(mode, 135), at(100), &table, Some(at(10))), Route::Next(at(200)));
            let back = PacketHeader { source: at(140), ..packet(mode, 135) };
            assert_eq!(
                route(&back, at(100), &table, Some(at(10))),
                route(&packet(mode, 102), at(100), &table, None)
            );
        }
    }

    #[test]
    fn no_mode_goes_on_without_hops_left() {
        let table = table(100, &[10, 200]);
        let sourced = PacketHeader::sourced(PacketKind::EchoReply, at(1), vec![at(10), at(9)]);
        for header in [packet(Mode::Exact, 10), packet(Mode::Nearest, 10), sourced] {
            let header = PacketHeader { hop_limit: 0, ..header };
            assert_eq!(route(&header, at(100), &table, None), Route::Drop(DropReason::HopLimit));
        }
    }

    proptest! {
        #[test]
        fn every_hop_comes_nearer(own: u8, to: u8, peers in prop::collection::vec(any::<u8>(), 0..20)) {
            let peers: Vec<u8> = peers.into_iter().filter(|peer| *peer != own).collect();
            let table = table(own, &peers);
            for mode in [Mode::Exact, Mode::Nearest] {
                if let Route::Next(next) = route(&packet(mode, to), at(own), &table, None) {
                    prop_assert!(next.distance(at(to)) < at(own).distance(at(to)));
                    let best = peers.iter().filter(|peer| **peer != 250 || (mode == Mode::Exact && to == 250))
                        .map(|peer| at(*peer).distance(at(to))).min();
                    prop_assert_eq!(Some(next.distance(at(to))), best);
                }
            }
        }

        #[test]
        fn the_hop_limit_falls_in_every_mode(mode in 0..3u8, hops in 1..=HOP_LIMIT, record: bool) {
            let pool = crate::buffer::Pool::new();
            let mut header = match mode {
                0 => packet(Mode::Exact, 1),
                1 => packet(Mode::Nearest, 1),
                _ => PacketHeader::sourced(PacketKind::EchoReply, at(1), vec![at(2), at(3)]),
            };
            header.record = record && mode != 2;
            header.hop_limit = hops;
            let mut bytes = pool.copy(b"body");
            header.prepend(&mut bytes);
            header.advance(at(7), &mut bytes);
            let (read, offset) = PacketHeader::read(&bytes).expect("it is well-formed");
            prop_assert_eq!(&read, &header);
            prop_assert_eq!(read.hop_limit, hops - 1);
            prop_assert_eq!(&bytes[offset..], b"body");
        }
    }
}
