//! Places on the ring and the distances between them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const WORDS: usize = 5;

/// A place on the ring: 160 bits, big endian, written as 40 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address([u32; WORDS]);

/// How far it is from one address clockwise to another, modulo 2^160.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distance([u32; WORDS]);

impl Address {
    /// Bytes on the wire.
    pub const LEN: usize = 20;

    /// From 20 bytes, big endian.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let mut words = [0; WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        }
        Self(words)
    }

    /// To 20 bytes, big endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(self.0) {
            chunk.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    /// The distance from here clockwise (upwards) to `other`.
    #[must_use]
    pub fn clockwise(self, other: Self) -> Distance {
        let mut words = [0; WORDS];
        let mut borrow = 0;
        for i in (0..WORDS).rev() {
            let difference = i64::from(other.0[i]) - i64::from(self.0[i]) - borrow;
            borrow = i64::from(difference < 0);
            words[i] = difference as u32;
        }
        Distance(words)
    }

    /// The shorter of the two ways round to `other`.
    #[must_use]
    pub fn distance(self, other: Self) -> Distance {
        self.clockwise(other).min(other.clockwise(self))
    }

    /// The address `distance` further clockwise.
    #[must_use]
    pub fn plus(self, distance: Distance) -> Self {
        let mut words = [0; WORDS];
        let mut carry = 0;
        for i in (0..WORDS).rev() {
            let sum = u64::from(self.0[i]) + u64::from(distance.0[i]) + carry;
            carry = sum >> 32;
            words[i] = sum as u32;
        }
        Self(words)
    }

    /// The first eight digits, for logs and tables.
    #[must_use]
    pub fn short(self) -> String {
        format!("{:08x}", self.0[0])
    }
}

impl Distance {
    /// No distance.
    pub const ZERO: Self = Self([0; WORDS]);

    /// Half of it, rounded down.
    #[must_use]
    pub fn half(self) -> Self {
        let mut words = self.0;
        let mut carry = 0;
        for word in &mut words {
            let half = *word >> 1 | carry << 31;
            carry = *word & 1;
            *word = half;
        }
        Self(words)
    }

    /// As a share of the whole ring, in `[0, 1)`.
    #[must_use]
    pub fn fraction(self) -> f64 {
        self.0.iter().rev().fold(0.0, |sum, word| (sum + f64::from(*word)) / 4_294_967_296.0)
    }

    /// The distance that is `fraction` of the ring, taken modulo the ring; exact to 2^-53.
    #[must_use]
    pub fn from_fraction(fraction: f64) -> Self {
        let mut rest = fraction.rem_euclid(1.0);
        let mut words = [0; WORDS];
        for word in &mut words {
            rest *= 4_294_967_296.0;
            *word = rest as u32;
            rest -= f64::from(*word);
        }
        Self(words)
    }
}

/// A text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address: expected 40 hexadecimal digits")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError(text.chars().take(64).collect());
        if text.len() != 2 * Self::LEN || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut words = [0; WORDS];
        for (i, word) in words.iter_mut().enumerate() {
            *word = u32::from_str_radix(&text[8 * i..8 * i + 8], 16).map_err(|_| wrong())?;
        }
        Ok(Self(words))
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|word| write!(f, "{word:08x}"))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address() -> impl Strategy<Value = Address> {
        prop_oneof![any::<[u8; 20]>(), Just([0; 20]), Just([255; 20])].prop_map(Address::from_bytes)
    }

    proptest! {
        #[test]
        fn going_a_distance_and_measuring_it_agree(a in address(), b in address()) {
            prop_assert_eq!(a.plus(a.clockwise(b)), b);
            prop_assert_eq!(a.distance(b), b.distance(a));
            prop_assert!(a.distance(b).fraction() <= 0.5);
        }

        #[test]
        fn halfway_is_as_far_from_one_end_as_from_the_other(a in address(), b in address()) {
            let middle = a.plus(a.clockwise(b).half());
            let (before, after) = (a.clockwise(middle).fraction(), middle.clockwise(b).fraction());
            prop_assert!((before - after).abs() < 1e-15 && before <= 0.5);
        }

        #[test]
        fn text_and_bytes_round_trip(a in address()) {
            prop_assert_eq!(a.to_string().parse::<Address>(), Ok(a));
            prop_assert_eq!(Address::from_bytes(a.to_bytes()), a);
        }

        #[test]
        fn fractions_round_trip(share in 0.0..1.0f64) {
            prop_assert!((Distance::from_fraction(share).fraction() - share).abs() < 1e-15);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "00", &"g".repeat(40), &"0".repeat(41), &"é".repeat(20)] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
