//! Inside the core a floor names only lower floors, and services never name each other.

use crate::none;
use crate::source::{code, rust_files};

/// What every floor may name; it names only itself and the types of the wire.
const GROUND: [&str; 6] = ["buffer", "control", "counters", "machine", "rng", "time"];

/// From the lowest floor to the highest. Modules of one floor do not name each other.
const FLOORS: [&[&str]; 8] = [
    &["wire"],
    &["security", "path"],
    &["edge", "config"],
    &["connection"],
    &["router"],
    &[
        "broadcast",
        "dht",
        "discovery",
        "healing",
        "herald",
        "linker",
        "relay",
        "revocations",
        "ring",
        "inquiry",
        "sender",
    ],
    &["overlay"],
    &["node"],
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The modules of this crate that a text names through `crate::`, and through a `super::` that reaches the root.
fn named(text: &str) -> Vec<String> {
    let code = code(text);
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = code[at + "crate::".len()..].trim_start();
        match rest.strip_prefix('{') {
            Some(group) => found.extend(heads(group)),
            None => found.push(word(rest)),
        }
    }
    for (at, _) in code.match_indices("super::") {
        let head = word(&code[at + "super::".len()..]);
        let own = ["codec", "address", "frame", "header", "message", "packet", "relays"];
        if head == "super" || (floor(&head).is_some() && !own.contains(&head.as_str())) {
            found.push(head);
        }
    }
    found
}

fn word(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

/// The first words of a brace group's members.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut fresh) = (0, Vec::new(), true);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            _ if fresh && letter.is_alphabetic() => {
                heads.push(word(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

fn complaints(path: &str, text: &str) -> Vec<String> {
    let inside = path.strip_prefix("node/core/src/").unwrap_or(path);
    let module = inside.split(['/', '.']).next().unwrap_or_default();
    if module == "lib" {
        return vec![];
    }
    let own = floor(module);
    if own.is_none() && !GROUND.contains(&module) {
        return vec![format!("{path}: `{module}` stands on no floor; add it to tests/tidy/floors.rs")];
    }
    let refused = |name: &String| {
        let ground = GROUND.contains(&name.as_str());
        let lower = match (floor(name), own) {
            (Some(other), Some(own)) => other < own,
            (Some(other), None) => other == 0,
            (None, _) => false,
        };
        !(name == module || ground || lower)
    };
    let names = named(text).into_iter().filter(refused);
    names.map(|name| format!("{path}: `{module}` must not name `{name}`")).collect()
}

#[test]
fn a_floor_of_the_core_names_only_lower_floors() {
    let files = rust_files("node/core/src");
    none(&files.iter().flat_map(|file| complaints(&file.path, &file.text)).collect::<Vec<_>>());
}

#[test]
fn every_floor_has_its_module() {
    let files = rust_files("node/core/src");
    for module in FLOORS.iter().copied().flatten().chain(&GROUND) {
        let places = [format!("node/core/src/{module}.rs"), format!("node/core/src/{module}/mod.rs")];
        assert!(files.iter().any(|file| places.contains(&file.path)), "the core has no `{module}`");
    }
}

#[test]
fn what_climbs_the_stairs_is_found() {
    let broken = [
        ("wire/codec.rs", "use crate::edge::Edge;"),
        ("path/mod.rs", "use crate::security::Engine;"),
        ("ring/mod.rs", "use crate::{time::Time, linker::{self, Wanted}};"),
        ("linker/mod.rs", "fn f() { crate::inquiry::ask() }"),
        ("router/mod.rs", "use super::overlay::Overlay;"),
        ("edge/mod.rs", "mod t { use super::super::ring; }"),
        ("time.rs", "use crate::router::Router;"),
        ("novelty/mod.rs", ""),
    ];
    for (path, text) in broken {
        assert!(!complaints(&format!("node/core/src/{path}"), text).is_empty(), "{path}: {text}");
    }
}

#[test]
fn what_goes_down_the_stairs_is_allowed() {
    let text = "use crate::{time::Time, wire::{Address, EdgeId}};\n// crate::overlay\nconst A: &str = \"crate::node\";";
    none(&complaints("node/core/src/ring/mod.rs", text));
}
