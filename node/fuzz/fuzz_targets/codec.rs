//! Every reader of the wire format, and what it read written again.

#![no_main]

#[path = "../properties/codec.rs"]
mod codec;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| codec::check(bytes));
