//! Whatever bytes arrive, in whatever state: the claim of the fuzz target `security`.

use proptest::prelude::*;

#[path = "../../../fuzz/properties/security.rs"]
mod security;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_script_breaks_an_engine(script in prop::collection::vec(any::<u8>(), 0..600)) {
        security::check(&script);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_script_breaks_an_engine_of_quic(kind in 0..4_u8, script in prop::collection::vec(any::<u8>(), 0..600)) {
        security::check(&[&[kind * 4 + 3][..], &script].concat());
    }
}

#[test]
fn no_kept_script_breaks_an_engine() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/security");
    let mut seeds: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(seeds.len() >= 5);
    for seed in seeds {
        security::check(&std::fs::read(seed).unwrap());
    }
}
