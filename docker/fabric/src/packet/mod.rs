//! Between the bytes of IP packets and the packets of the model: reading, rewriting, making answers.
//!
//! Owns no state. Any bytes may come in; none of them panic or make more than bounded work.

mod answer;
mod checksum;
mod parse;
mod rewrite;

pub use answer::answer;
pub use parse::{Unusable, parse};
pub use rewrite::rewrite;

/// Largest IP packet, in bytes.
pub const LENGTH_MAX: usize = 65_535;

/// Internet protocol numbers (IANA).
mod number {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ICMP: u8 = 1;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const ICMP6: u8 = 58;
    pub(super) const DESTINATION_OPTIONS: u8 = 60;
}

#[cfg(test)]
mod tests;
