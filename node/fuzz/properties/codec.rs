//! The claim of the target `codec`: no reader panics, and every message has exactly one encoding.

use atoll_core::security::Notice;
use atoll_core::wire::{
    Announcement, Broadcast, CloseReason, ConnectToMe, Covered, DhtAnswer, DhtRequest, Echo, FrameHeader,
    Header, Link, Members, Neighbours, PacketHeader, Part, Ping, ROUTE_MAX, Receipt, Revocation, Sample,
    Upkeep, read_address, read_id, read_observed,
};
use atoll_core::{Buffer, Pool};

/// Puts the bytes to every reader.
///
/// # Panics
/// If something that was read is written in another way.
pub fn check(bytes: &[u8]) {
    headers(bytes);
    packet(bytes);
    bodies(bytes);
    let _ = Notice::read(bytes);
    let _ = (CloseReason::read(bytes), read_observed(bytes), read_id(bytes), read_address(bytes));
}

fn headers(bytes: &[u8]) {
    let pool = Pool::new();
    let mut datagram = pool.copy(bytes);
    if let Ok(header) = Header::take(&mut datagram) {
        header.prepend(&mut datagram);
        assert_eq!(&datagram[..], bytes, "{header:?}");
    }
    let mut record = pool.copy(bytes);
    if let Ok(header) = FrameHeader::take(&mut record) {
        assert!(bytes.len() - record.len() <= FrameHeader::LEN_MAX, "{header:?}");
        header.prepend(&mut record);
        assert_eq!(&record[..], bytes, "{header:?}");
    }
}

fn packet(bytes: &[u8]) {
    let Ok((header, body)) = PacketHeader::read(bytes) else { return };
    let mut packet = Pool::new().copy(&bytes[body..]);
    header.prepend(&mut packet);
    assert_eq!(&packet[..], bytes, "{header:?}");
    assert!(header.way_back().len() <= ROUTE_MAX + 1, "{header:?}");

    // On its way: what the next member reads is what this one meant.
    let mut next = header.clone();
    next.advance(header.source, &mut packet);
    let arrived = PacketHeader::read(&packet);
    let past_its_route = usize::from(next.position) > next.route.len();
    assert!(past_its_route || arrived.is_ok_and(|(arrived, _)| arrived == next), "{header:?}");
}

fn bodies(bytes: &[u8]) {
    same(bytes, Link::read(bytes), Link::write);
    same(bytes, Neighbours::read(bytes), Neighbours::write);
    same(bytes, Ping::read(bytes), Ping::write);
    same(bytes, ConnectToMe::read(bytes), ConnectToMe::write);
    same(bytes, Members::read(bytes), Members::write);
    same(bytes, Sample::read(bytes), Sample::write);
    same(bytes, Echo::read(bytes), Echo::write);
    same(bytes, Part::read(bytes), Part::write);
    same(bytes, Broadcast::read(bytes), Broadcast::write);
    same(bytes, Covered::read(bytes), Covered::write);
    same(bytes, Revocation::read(bytes), Revocation::write);
    let announced = |message: &Announcement, buffer: &mut Buffer| buffer.extend(&message.write());
    same(bytes, Announcement::read(bytes), announced);
    same(bytes, Receipt::read(bytes), |message, buffer| buffer.extend(&message.write()));
    same(bytes, DhtRequest::read(bytes), DhtRequest::write);
    same(bytes, DhtAnswer::read(bytes), DhtAnswer::write);
    same(bytes, Upkeep::read(bytes), Upkeep::write);
}

fn same<T, E>(bytes: &[u8], read: Result<T, E>, write: impl Fn(&T, &mut Buffer)) {
    let Ok(message) = read else { return };
    let mut again = Pool::new().take(bytes.len());
    write(&message, &mut again);
    assert_eq!(&again[..], bytes);
}
