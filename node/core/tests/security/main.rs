//! The security floor: engines against each other over a bad network, in virtual time.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test may, and the harness is shared")]

mod admission;
mod bytes;
mod handshakes;
mod harness;
mod makers;
mod members;
mod modelled;
mod quic;
mod quic_records;
mod quic_strangers;
mod records;
mod renewals;
mod strangers;
mod trust;
mod wrapping;
