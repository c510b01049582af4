//! Records: one sealed payload each.
//!
//! ```text
//! record   phase 2 bits, sequence number 30 bits | ciphertext | tag 16
//! ```
//! The phase is the generation of the keys modulo 4. The rest of the 64-bit sequence number is restored as in RFC 9000
//! appendix A.3. The first four bytes are authenticated with the payload, and the nonce is the iv XOR the number, so a
//! changed number does not open. AES-128-GCM: the limits are those of RFC 9001 section 6.6.

mod cipher;
mod phases;
mod window;

pub use cipher::Keys;
pub(super) use phases::{Fresh, Phases};
pub use window::WINDOW;

use crate::buffer::Buffer;
use crate::counters::DropReason;
use cipher::Cipher;
use window::Window;

/// Bytes in front of the ciphertext.
const HEADER: usize = 4;
const TAG: usize = 16;
/// Bytes that sealing adds.
pub(super) const OVERHEAD: usize = HEADER + TAG;

/// Bytes that a model adds at most.
const PADDING_MAX: usize = 16;

const NUMBER_BITS: u32 = 30;
const NUMBER_MASK: u32 = (1 << NUMBER_BITS) - 1;

/// What a record is for. Each purpose is authenticated, so that one does not pass for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Payload,
    Renewal,
}

impl Purpose {
    fn context(self, header: [u8; HEADER]) -> [u8; HEADER + 1] {
        let [a, b, c, d] = header;
        [self as u8, a, b, c, d]
    }
}

/// The phase that a record names.
fn phase_of(record: &[u8]) -> Option<u8> {
    record.first().map(|first| first >> 6)
}

/// One direction, outwards.
#[derive(Debug)]
struct Sealer {
    cipher: Cipher,
    next: u64,
}

impl Sealer {
    fn seal(&mut self, payload: &mut Buffer, phase: u8, purpose: Purpose) {
        let number = self.next;
        self.next += 1;
        let header = u32::from(phase & 3) << NUMBER_BITS | number as u32 & NUMBER_MASK;
        let header = header.to_be_bytes();
        payload.extend(&[0; PADDING_MAX][..self.cipher.padding().min(PADDING_MAX)]);
        let tag = self.cipher.seal(number, &purpose.context(header), payload);
        payload.extend(&tag);
        payload.prepend(&header);
    }
}

/// One direction, inwards.
#[derive(Debug)]
struct Opener {
    cipher: Cipher,
    window: Window,
    forged: u64,
}

impl Opener {
    fn open(&mut self, record: &mut Buffer, purpose: Purpose) -> Result<(), DropReason> {
        let header: [u8; HEADER] =
            record.get(..HEADER).and_then(|header| header.try_into().ok()).ok_or(DropReason::Malformed)?;
        let padding = self.cipher.padding().min(PADDING_MAX);
        if record.len() < OVERHEAD + padding {
            return Err(DropReason::Malformed);
        }
        let number = restore(u32::from_be_bytes(header) & NUMBER_MASK, self.window.next());
        self.window.check(number)?;
        if !self.cipher.open(number, &purpose.context(header), &mut record[HEADER..]) {
            self.forged += 1;
            return Err(DropReason::Forged);
        }
        self.window.commit(number);
        record.advance(HEADER);
        record.truncate(record.len() - TAG - padding);
        Ok(())
    }
}

/// The number nearest to `expected` that ends in these 30 bits (RFC 9000 appendix A.3).
fn restore(low: u32, expected: u64) -> u64 {
    let size = 1_u64 << NUMBER_BITS;
    let near = expected & !(size - 1) | u64::from(low);
    if near + size / 2 <= expected && near < u64::MAX - size {
        near + size
    } else if near > expected + size / 2 && near >= size {
        near - size
    } else {
        near
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_restored_from_its_low_bits_on_both_sides_of_a_wrap() {
        let size = 1_u64 << NUMBER_BITS;
        for expected in [0, 5, size - 3, size, size + 7, 9 * size - 1, 9 * size] {
            for number in expected.saturating_sub(600)..expected + 600 {
                assert_eq!(restore(number as u32 & NUMBER_MASK, expected), number, "near {expected}");
            }
        }
    }
}
