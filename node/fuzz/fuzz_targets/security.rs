//! A hostile script played to two security engines.

#![no_main]

#[path = "../properties/security.rs"]
mod security;

libfuzzer_sys::fuzz_target!(|script: &[u8]| security::check(script));
