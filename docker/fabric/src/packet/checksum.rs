//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use std::net::IpAddr;

/// Adds bytes to a running sum. Only the last piece may have an odd length.
fn add(sum: u64, bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(2);
    let mut sum = sum;
    for word in &mut words {
        sum += u64::from(u16::from_be_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        sum += u64::from(u16::from_be_bytes([*last, 0]));
    }
    sum
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xFFFF {
        sum = (sum >> 16) + (sum & 0xFFFF);
    }
    u16::try_from(sum).expect("folded to 16 bits")
}

/// The checksum of these bytes; 0 if they contain a correct one.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    !fold(add(0, bytes))
}

/// The checksum of these bytes behind the pseudo header of RFC 9293 and RFC 8200.
pub(super) fn with_pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, bytes: &[u8]) -> u16 {
    let mut sum = u64::from(protocol) + bytes.len() as u64;
    for address in [source, destination] {
        sum = match address {
            IpAddr::V4(address) => add(sum, &address.octets()),
            IpAddr::V6(address) => add(sum, &address.octets()),
        };
    }
    !fold(add(sum, bytes))
}

/// The checksum after `old` became `new`, both of one even length and at an even place (RFC 1624, equation 3).
pub(super) fn update(check: u16, old: &[u8], new: &[u8]) -> u16 {
    let mut sum = u64::from(!check);
    for word in old.chunks_exact(2) {
        sum += u64::from(!u16::from_be_bytes([word[0], word[1]]));
    }
    !fold(add(sum, new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_1624_comes_out() {
        assert_eq!(update(0xDD2F, &[0x55, 0x55], &[0x32, 0x85]), 0x0000);
    }

    proptest! {
        #[test]
        fn an_update_equals_a_new_sum(mut bytes in prop::collection::vec(any::<u8>(), 2..80), new in any::<[u8; 2]>(), at in any::<prop::sample::Index>()) {
            bytes[0] |= 1; // Sums of nothing but zeros have two forms.
            let words = bytes.len() / 2;
            let at = at.index(words) * 2;
            let old = [bytes[at], bytes[at + 1]];
            let updated = update(checksum(&bytes), &old, &new);
            bytes[at..at + 2].copy_from_slice(&new);
            prop_assume!(bytes.iter().any(|byte| *byte != 0));
            prop_assert_eq!(updated, checksum(&bytes));
        }
    }
}
