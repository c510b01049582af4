//! The core decides and drivers act: no clock, socket, file, thread, task, global or terminal in it.

use crate::none;
use crate::source::{code, rust_files};

/// What the core's code must not name, and what stands in its place.
const FORBIDDEN: [(&str, &str); 19] = [
    ("Instant", "the driver hands in `now`"),
    ("SystemTime", "the driver hands in `now`"),
    ("UdpSocket", "Output::Transmit"),
    ("TcpStream", "Output::Transmit"),
    ("TcpListener", "Input::Datagram"),
    ("std::fs", "the driver reads files"),
    ("std::env", "Config"),
    ("std::process", "the driver ends the process"),
    ("std::thread", "the driver owns threads"),
    ("std::io", "the driver reads and writes"),
    ("tokio", "the driver owns the runtime"),
    ("thread_local", "state lives in the machine"),
    ("static mut", "state lives in the machine"),
    ("OnceLock", "state lives in the machine"),
    ("println!", "Output::Event"),
    ("print!", "Output::Event"),
    ("dbg!", "Output::Event"),
    ("RandomState", "a keyed hasher, seeded by Rng"),
    ("unsafe", "safe Rust"),
];

/// Where one of them is needed all the same, and why.
const ALLOWED: [(&str, &str, &str); 3] = [
    (
        "node/core/src/security/dtls/stream.rs",
        "std::io",
        "the openssl crate talks to nothing but a stream; this one is a queue in memory",
    ),
    (
        "node/core/src/security/dtls/ffi.rs",
        "unsafe",
        "the openssl crate does not offer the call that parks a timer",
    ),
    (
        "node/core/src/security/quic/clock.rs",
        "Instant",
        "quinn-proto knows no other time: one reading is the base to which our own time is added",
    ),
];

fn is_allowed(path: &str, name: &str) -> bool {
    ALLOWED.iter().any(|(file, allowed, _)| *file == path && *allowed == name)
}

fn complaints(path: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let found = FORBIDDEN.iter().filter(|(name, _)| names(&code, name) && !is_allowed(path, name));
    found.map(|(name, instead)| format!("{path}: no `{name}` in the core: {instead}")).collect()
}

/// Whether the code has this text with no letter before or behind it.
fn names(code: &str, name: &str) -> bool {
    let joined =
        |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    code.match_indices(name)
        .any(|(at, _)| !joined(code[..at].chars().last()) && !joined(code[at + name.len()..].chars().next()))
}

#[test]
fn the_core_touches_no_clock_socket_file_thread_or_terminal() {
    let files = rust_files("node/core/src");
    none(&files.iter().flat_map(|file| complaints(&file.path, &file.text)).collect::<Vec<_>>());
}

#[test]
fn every_allowance_is_needed_and_holds_for_one_thing_in_one_file() {
    let files = rust_files("node/core/src");
    for (path, name, _) in ALLOWED {
        let file = files.iter().find(|file| file.path == path).expect("an allowance names a file");
        assert!(names(&code(&file.text), name), "`{name}` does not occur in {path}: take it out");
        assert!(!complaints(path, "use std::fs;").is_empty() && !complaints("a.rs", &file.text).is_empty());
    }
}

#[test]
fn each_forbidden_thing_is_found_and_its_mention_in_prose_is_not() {
    for (name, _) in FORBIDDEN {
        assert!(!complaints("a.rs", &format!("use x::{{{name}}};")).is_empty(), "{name}");
        assert_eq!(
            complaints("a.rs", &format!("//! {name}\nconst A: &str = \"{name}\";")).len(),
            0,
            "{name}"
        );
    }
    assert_eq!(complaints("a.rs", "struct Instantly;").len(), 0);
}
