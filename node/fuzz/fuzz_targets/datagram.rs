//! A hostile script played to a small overlay of whole nodes.

#![no_main]

#[path = "../properties/datagram.rs"]
mod datagram;

libfuzzer_sys::fuzz_target!(|script: &[u8]| datagram::check(script));
