//! The claims of the fuzz targets in `node/fuzz`, without a nightly compiler: over the seeds that are kept there, and
//! over inputs that proptest draws.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test may, and the fuzz targets are crates of their own"
)]

#[path = "../../../fuzz/properties/codec.rs"]
mod codec;
#[path = "../../../fuzz/properties/datagram.rs"]
mod datagram;
mod dht;
mod messages;

use std::path::Path;

use proptest::prelude::*;

/// Plays every seed of a target; proptest's own seeds of failures lie beside this file.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let mut seeds: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(seeds.len() >= 5, "{} seeds in {}", seeds.len(), folder.display());
    for seed in seeds {
        println!("{}", seed.display());
        check(&std::fs::read(seed).unwrap());
    }
}

#[test]
fn no_kept_bytes_break_a_reader() {
    replay("codec", codec::check);
}

#[test]
fn no_kept_script_breaks_a_node() {
    replay("datagram", datagram::check);
}

/// Bytes that begin like something real.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let random = prop::collection::vec(any::<u8>(), 0..200);
    let flags = prop::sample::select(vec![0x10, 0x91, 0x00, 0x01, 0x02, 0x81, 0xC1, 0x46, 0x86, 0x12, 0x11]);
    (flags, 0_u8..9, random).prop_map(|(flags, second, rest)| [vec![flags, second], rest].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_break_a_reader(bytes in bytes()) {
        codec::check(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_script_breaks_a_node(script in prop::collection::vec(any::<u8>(), 0..1500)) {
        datagram::check(&script);
    }
}
