//! The records of DTLS 1.2 in a datagram of a handshake (RFC 6347 section 4.1).
//!
//! ```text
//! type 1 | version 2 | epoch 2 | sequence number 6 | length 2 | fragment
//! ```

const HEADER: usize = 13;
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;

/// The whole records of a datagram. What is behind the last of them is no record.
fn lengths(datagram: &[u8]) -> Vec<usize> {
    let (mut at, mut lengths) = (0, Vec::new());
    while let Some(header) = datagram.get(at..at + HEADER) {
        let length = HEADER + usize::from(u16::from_be_bytes([header[11], header[12]]));
        if at + length > datagram.len() {
            break;
        }
        lengths.push(length);
        at += length;
    }
    lengths
}

fn is_plaintext(record: &[u8]) -> bool {
    record[3..5] == [0, 0]
}

/// The records that libssl may see. An alert without protection is not among them, for anybody can make one up: it
/// would end the handshake.
pub(super) fn acceptable(datagram: &[u8]) -> Vec<u8> {
    let (mut rest, mut kept) = (datagram, Vec::with_capacity(datagram.len()));
    for length in lengths(datagram) {
        let (record, tail) = rest.split_at(length);
        if !is_plaintext(record) || matches!(record[0], CHANGE_CIPHER_SPEC | HANDSHAKE) {
            kept.extend_from_slice(record);
        }
        rest = tail;
    }
    kept
}

/// Gives every record without protection a number that was not used before. A record that arrives out of order is
/// dropped by libssl after it has marked the number as seen, so that the same number again would never be read.
pub(super) fn renumber(datagram: &mut [u8], next: &mut u64) {
    let mut at = 0;
    for length in lengths(datagram) {
        let record = &mut datagram[at..at + length];
        if is_plaintext(record) {
            record[5..11].copy_from_slice(&next.to_be_bytes()[2..]);
            *next += 1;
        }
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let head = [kind, 0xfe, 0xfd, 0, epoch, 9, 9, 9, 9, 9, 9, 0, body.len() as u8];
        [&head[..], body].concat()
    }

    #[test]
    fn alerts_without_protection_and_odd_ends_are_left_out() {
        let (alert, finished) = (record(21, 0, &[2, 40]), record(22, 1, b"finished"));
        let datagram = [&record(22, 0, b"hello")[..], &alert, &record(21, 1, b"sealed"), &finished, &[22, 1]];
        let expected = [&record(22, 0, b"hello")[..], &record(21, 1, b"sealed"), &finished].concat();
        assert_eq!(acceptable(&datagram.concat()), expected);
    }

    #[test]
    fn only_records_without_protection_get_new_numbers() {
        let mut datagram = [record(22, 0, b"a"), record(22, 1, b"b"), record(20, 0, b"c")].concat();
        let mut next = 7;
        renumber(&mut datagram, &mut next);
        assert_eq!(next, 9);
        let numbers: Vec<&[u8]> = datagram.chunks(14).map(|record| &record[5..11]).collect();
        assert_eq!(numbers, [&[0, 0, 0, 0, 0, 7][..], &[9; 6], &[0, 0, 0, 0, 0, 8]]);
    }
}
