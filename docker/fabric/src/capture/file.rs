//! The classic capture file (pcap, draft-ietf-opsawg-pcap): a header, then each packet behind a header of its own.
//!
//! Written with times in nanoseconds and in the byte order of small ends first, and read back the same way only.

use std::time::Duration;

use crate::packet::LENGTH_MAX;

/// Times are in nanoseconds.
const MAGIC: u32 = 0xA1B2_3C4D;
const VERSION: [u16; 2] = [2, 4];
/// Packets begin with their IP header (`LINKTYPE_RAW`).
const RAW_IP: u32 = 101;
/// Bytes before the first packet.
pub const HEADER: usize = 24;
/// Bytes before each packet.
pub const PACKET_HEADER: usize = 16;

/// A packet of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// When it passed, since 1970 (UTC).
    pub at: Duration,
    /// The whole packet, from its IP header on.
    pub bytes: Vec<u8>,
}

/// What is no file of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It begins in another way.
    #[error("it does not begin as a capture with nanoseconds and bare IP packets does")]
    Header,
    /// A packet is cut, or longer than IP allows; holds how many before it are whole.
    #[error("it breaks off after {0} packets")]
    Cut(usize),
}

/// The first bytes of a file.
#[must_use]
pub fn header() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER);
    bytes.extend(MAGIC.to_le_bytes());
    bytes.extend(VERSION.iter().flat_map(|part| part.to_le_bytes()));
    // Two fields that nobody uses: the time zone and its accuracy.
    bytes.extend([0; 8]);
    bytes.extend(word(LENGTH_MAX));
    bytes.extend(RAW_IP.to_le_bytes());
    bytes
}

/// Appends a packet that passed at `at` since 1970; what is longer than IP allows is cut there.
pub fn append(file: &mut Vec<u8>, at: Duration, packet: &[u8]) {
    let kept = &packet[..packet.len().min(LENGTH_MAX)];
    // The format's seconds end in 2106.
    file.extend((at.as_secs() as u32).to_le_bytes());
    file.extend(at.subsec_nanos().to_le_bytes());
    file.extend(word(kept.len()));
    file.extend(word(packet.len()));
    file.extend_from_slice(kept);
}

fn word(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

/// Every packet of a file.
///
/// # Errors
/// It is not what [`header`] and [`append`] make.
pub fn read(file: &[u8]) -> Result<Vec<Captured>, Unreadable> {
    let mut rest = file.strip_prefix(&header()[..]).ok_or(Unreadable::Header)?;
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let (packet, behind) = first(rest).ok_or(Unreadable::Cut(packets.len()))?;
        packets.push(packet);
        rest = behind;
    }
    Ok(packets)
}

fn first(bytes: &[u8]) -> Option<(Captured, &[u8])> {
    let (header, rest) = bytes.split_at_checked(PACKET_HEADER)?;
    let field = |at: usize| Some(u32::from_le_bytes(*header.get(at..)?.first_chunk()?));
    let (seconds, nanos) = (field(0)?, field(4)?);
    let length = usize::try_from(field(8)?).ok().filter(|length| *length <= LENGTH_MAX)?;
    let (packet, behind) = rest.split_at_checked(length)?;
    let at = Duration::from_secs(seconds.into()) + Duration::from_nanos(nanos.into());
    Some((Captured { at, bytes: packet.to_vec() }, behind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One packet, as the format's description says it, byte by byte.
    const FILE: &str = "4d3cb2a1020004000000000000000000ffff000065000000\
                        0100000002000000030000000300000045aabb";

    fn file_of(packets: &[Captured]) -> Vec<u8> {
        let mut file = header();
        packets.iter().for_each(|packet| append(&mut file, packet.at, &packet.bytes));
        file
    }

    #[test]
    fn a_file_is_what_the_format_says() {
        let packet = Captured { at: Duration::new(1, 2), bytes: vec![0x45, 0xAA, 0xBB] };
        let hex: String = file_of(&[packet]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, FILE);
    }

    #[test]
    fn what_is_no_file_of_ours_is_refused() {
        let file = file_of(&vec![Captured { at: Duration::ZERO, bytes: vec![7; 40] }; 2]);
        assert_eq!(read(b"no capture"), Err(Unreadable::Header));
        assert_eq!(read(&file[..file.len() - 1]), Err(Unreadable::Cut(1)));
        let mut long = file;
        long[HEADER + 10] = 0xFF;
        assert_eq!(read(&long), Err(Unreadable::Cut(0)));
    }

    fn any_packet() -> impl Strategy<Value = Captured> {
        let bytes = prop::collection::vec(any::<u8>(), 0..100);
        (any::<u32>(), 0..1_000_000_000u32, bytes)
            .prop_map(|(seconds, nanos, bytes)| Captured { at: Duration::new(seconds.into(), nanos), bytes })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(packets in prop::collection::vec(any_packet(), 0..20)) {
            prop_assert_eq!(read(&file_of(&packets)), Ok(packets));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&[header(), bytes].concat());
        }
    }
}
