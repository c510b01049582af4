//! Which crate may depend on which: the arrows of ARCHITECTURE.md.

use std::fs;

use crate::none;
use crate::source::root;

/// A crate, its folder, and the crates of the workspace that it may name.
const ARROWS: [(&str, &str, &[&str]); 7] = [
    ("atoll-core", "node/core", &[]),
    ("atoll-topology", "nat-topologies", &[]),
    ("atoll-site", "node/site", &["atoll-core"]),
    ("atoll-node", "node", &["atoll-core", "atoll-site"]),
    ("atoll-sim", "orchestrator/sim", &["atoll-core", "atoll-topology"]),
    ("atoll-fabric", "docker/fabric", &["atoll-topology"]),
    ("atoll", "orchestrator", &["atoll-core", "atoll-fabric", "atoll-sim", "atoll-topology"]),
];

/// What the core is built from; a socket, a runtime or a clock is not among it.
const CORE_LIBRARIES: [&str; 14] = [
    "aws-lc-rs",
    "bytes",
    "foreign-types",
    "openssl",
    "openssl-sys",
    "proptest",
    "quinn-proto",
    "rand_chacha",
    "rand_core",
    "rustls",
    "serde",
    "siphasher",
    "thiserror",
    "zeroize",
];

/// The names under every kind of `dependencies` heading of a manifest.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut heading = "";
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            heading = name.trim_end_matches(']');
            found.extend(heading.split_once("dependencies.").map(|(_, name)| name));
        } else if heading.ends_with("dependencies") {
            found.extend(line.split(['.', '=', ' ']).next().filter(|name| !name.is_empty()));
        }
    }
    found
}

fn complaints(name: &str, allowed: &[&str], manifest: &str) -> Vec<String> {
    let refused = |found: &&str| {
        let ours = *found == "atoll" || found.starts_with("atoll-");
        let strange = name == "atoll-core" && !CORE_LIBRARIES.contains(found);
        (ours || strange) && !allowed.contains(found)
    };
    let found = dependencies(manifest).into_iter().filter(refused);
    found.map(|found| format!("{name} must not depend on {found}")).collect()
}

#[test]
fn arrows_between_crates_point_one_way() {
    let manifest = |folder: &str| fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
    let all = ARROWS.iter().flat_map(|(name, folder, allowed)| complaints(name, allowed, &manifest(folder)));
    none(&all.collect::<Vec<_>>());
}

#[test]
fn every_member_of_the_workspace_has_its_arrows() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, members) = manifest.split_once("members = [").unwrap();
    let (members, _) = members.split_once(']').unwrap();
    for member in members.split(',').map(|member| member.trim().trim_matches('"')).filter(|m| !m.is_empty()) {
        assert!(ARROWS.iter().any(|(_, folder, _)| *folder == member), "`{member}` has no arrows");
    }
}

#[test]
fn a_wrong_arrow_is_found_under_every_heading() {
    let broken = [
        "[dependencies]\natoll-node.workspace = true",
        "[dev-dependencies]\natoll-node = { path = \"../node\" }",
        "[target.'cfg(unix)'.dependencies]\natoll-node = \"1\"",
        "[build-dependencies.atoll-node]\npath = \"../node\"",
    ];
    for manifest in broken {
        assert_eq!(complaints("atoll", &["atoll-core"], manifest).len(), 1, "{manifest}");
    }
    assert_eq!(complaints("atoll-core", &[], "[dependencies]\ntokio = \"1\"").len(), 1);
    assert_eq!(
        complaints("atoll", &["atoll-core"], "[dependencies]\natoll-core.workspace = true\ntokio = \"1\"")
            .len(),
        0
    );
}
