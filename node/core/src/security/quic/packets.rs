//! What of a handshake datagram goes to QUIC.
//!
//! Version negotiation, Retry and 0-RTT are not spoken here. QUIC believes the first without any proof, wherever in a
//! datagram it stands, so it is cut off before.

use crate::wire::codec::{Malformed, Reader};

const LONG: u8 = 0x80;
const FIXED: u8 = 0x40;
const KIND_SHIFT: u32 = 4;
const KIND_MASK: u8 = 3;
const INITIAL: u8 = 0;
const HANDSHAKE: u8 = 2;
const VERSION: u32 = 1;

/// Whether a datagram begins with a packet of a handshake; else it is a record.
pub(super) fn is_handshake(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & LONG != 0)
}

/// How many bytes of a datagram are packets that may be spoken here.
pub(super) fn acceptable(datagram: &[u8]) -> usize {
    let mut taken = 0;
    while let Some(rest) = datagram.get(taken..).filter(|rest| !rest.is_empty()) {
        // A short header's packet takes the rest, and never comes first.
        if !is_handshake(rest) {
            return if taken > 0 && rest[0] & FIXED != 0 { datagram.len() } else { taken };
        }
        match packet_len(rest) {
            Ok(len) => taken += len,
            Err(Malformed) => return taken,
        }
    }
    taken
}

/// The length of an Initial or Handshake packet (RFC 9000 section 17.2).
fn packet_len(bytes: &[u8]) -> Result<usize, Malformed> {
    let mut reader = Reader::new(bytes);
    let first = reader.u8()?;
    let kind = first >> KIND_SHIFT & KIND_MASK;
    if first & FIXED == 0 || reader.u32()? != VERSION || !matches!(kind, INITIAL | HANDSHAKE) {
        return Err(Malformed);
    }
    for _ in 0..2 {
        let id = usize::from(reader.u8()?);
        reader.take(id)?;
    }
    // Nobody was given a token.
    if kind == INITIAL && variable(&mut reader)? != 0 {
        return Err(Malformed);
    }
    let length = variable(&mut reader)?;
    reader.take(length)?;
    Ok(bytes.len() - reader.len())
}

/// An integer of variable length (RFC 9000 section 16).
fn variable(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    let first = reader.u8()?;
    let mut value = u64::from(first & 0x3f);
    for byte in reader.take((1 << (first >> 6)) - 1)? {
        value = value << 8 | u64::from(*byte);
    }
    usize::try_from(value).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, version: u32, token: &[u8]) -> Vec<u8> {
        let mut bytes = vec![LONG | FIXED | kind << KIND_SHIFT];
        bytes.extend(version.to_be_bytes());
        bytes.extend([2, 9, 9, 0]);
        if kind == INITIAL {
            bytes.push(token.len() as u8);
            bytes.extend(token);
        }
        bytes.extend([0x40, 70]);
        bytes.extend([5; 70]);
        bytes
    }

    #[test]
    fn initial_and_handshake_packets_pass_with_a_short_one_behind() {
        let (initial, handshake) = (packet(INITIAL, 1, &[]), packet(HANDSHAKE, 1, &[]));
        let both = [&initial[..], &handshake].concat();
        assert_eq!(acceptable(&both), both.len());
        let all = [&both[..], &[FIXED, 1, 2, 3]].concat();
        assert_eq!(acceptable(&all), all.len());
        assert_eq!(acceptable(&[FIXED, 1, 2, 3]), 0);
    }

    #[test]
    fn what_is_not_spoken_is_cut_off_wherever_it_stands() {
        let good = packet(HANDSHAKE, 1, &[]);
        let bad = [packet(INITIAL, 0, &[]), packet(INITIAL, 1, &[7]), packet(1, 1, &[]), packet(3, 1, &[])];
        for bad in bad {
            assert_eq!(acceptable(&bad), 0);
            assert_eq!(acceptable(&[&good[..], &bad].concat()), good.len());
        }
    }

    #[test]
    fn a_packet_that_is_cut_does_not_pass() {
        let whole = packet(INITIAL, 1, &[]);
        assert!((0..whole.len()).all(|len| acceptable(&whole[..len]) == 0));
    }
}
