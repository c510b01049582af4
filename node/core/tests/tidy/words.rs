//! One word, one idea: the words that the glossary of ARCHITECTURE.md replaces do not stand in identifiers or in
//! documentation.

use crate::none;
use crate::source::{File, code, docs, rust_files};

/// A word that is not ours, what we say, and where it means something else.
struct Word {
    word: &'static str,
    instead: &'static str,
    /// Beginnings of paths, each with its reason.
    allowed: &'static [(&'static str, &'static str)],
}

const WORDS: [Word; 13] = [
    Word {
        word: "endpoint",
        instead: "node, or transport address",
        allowed: &[
            ("nat-topologies/", "RFC 4787 names NAT behaviours after endpoints"),
            ("node/src/", "where a server of the daemon listens: a TCP address, a unix socket or nowhere"),
            ("node/core/src/control.rs", "the page for Prometheus, which calls it so"),
            ("node/core/src/security/quic/", "quinn's name of its state machine"),
            ("node/core/tests/security/quic", "the same"),
            ("node/core/benches/security_quic.rs", "the same"),
        ],
    },
    Word {
        word: "client",
        instead: "node or peer",
        allowed: &[
            ("node/core/src/security/quic/", "the initiator, in names of quinn and rustls"),
            ("node/core/tests/security/quic", "the same"),
            ("node/core/benches/security_quic.rs", "the same"),
            ("docker/fabric/src/", "the asking side of HTTP"),
            ("docker/fabric/tests/", "the asking side of HTTP"),
            ("node/site/src/authority/sign.rs", "X.509's name of an extended key usage"),
            ("node/src/cli/", "the asking side of HTTP"),
            ("node/src/driver/", "the asking side of HTTP, and Prometheus' own word"),
            ("node/src/enrolment/", "the asking side of HTTP and TLS"),
            ("orchestrator/src/environment/docker/", "the asking side of HTTP"),
        ],
    },
    Word {
        word: "frame",
        instead: "datagram, record, packet or message",
        allowed: &[
            (
                "node/core/",
                "one opened record between the two ends of an edge, an idea of its own (RFC 9000)",
            ),
            ("node/fuzz/", "the same"),
            ("orchestrator/sim/tests/dht/", "the same: a rogue changes what is inside"),
            ("orchestrator/sim/tests/ring/spoiler.rs", "the same"),
            ("node/site/src/web/mod.rs", "HTML's word for a page inside of another one"),
            ("node/src/", "hyper's word for a part of a body"),
            ("node/site/src/web/api/given.rs", "the same"),
        ],
    },
    Word {
        word: "session",
        instead: "association",
        allowed: &[
            ("nat-topologies/src/nat", "RFC 4787 and RFC 5382 call it so: one flow through a mapping"),
            ("node/core/src/security/dtls/", "OpenSSL's word in the name of an option"),
            ("node/core/src/security/quic/", "an association, in names of quinn and rustls"),
            ("orchestrator/src/", "how long a member stays, as studies of churn call it"),
        ],
    },
    Word { word: "tunnel", instead: "association", allowed: &[] },
    Word {
        word: "dial",
        instead: "link",
        allowed: &[
            ("node/core/src/", "one try of one edge, of which linking makes several"),
            ("orchestrator/sim/tests/ring/", "the same"),
        ],
    },
    Word { word: "ttl", instead: "hop limit", allowed: &[] },
    Word { word: "reservation", instead: "lease", allowed: &[] },
    Word { word: "realm", instead: "group", allowed: &[] },
    Word { word: "ban", instead: "revoke", allowed: &[] },
    Word { word: "banned", instead: "revoked", allowed: &[] },
    Word {
        word: "cone",
        instead: "RFC 4787's mapping and filtering",
        allowed: &[("nat-topologies/", "names of presets"), ("orchestrator/", "names of presets")],
    },
    Word {
        word: "symmetric",
        instead: "RFC 4787's mapping and filtering",
        allowed: &[("nat-topologies/", "names of presets"), ("orchestrator/", "names of presets")],
    },
];

/// The lower-case words of a text; `camelCase` and `snake_case` are several.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for letter in text.chars() {
        if !letter.is_alphabetic() || (letter.is_uppercase() && before.is_lowercase()) {
            words.push(String::new());
        }
        if letter.is_alphabetic() {
            words.last_mut().unwrap().extend(letter.to_lowercase());
        }
        before = letter;
    }
    words
}

/// Whether a text's word is this one, in the singular, the plural or a form of the verb.
fn is(found: &str, word: &str) -> bool {
    found == word
        || found.strip_prefix(word).is_some_and(|ending| ["s", "ed", "led", "ing", "ling"].contains(&ending))
}

fn lines_with<'a>(file: &'a File, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let (code, docs) = (code(&file.text), docs(&file.text));
    let lines = code.split('\n').zip(docs.split('\n')).map(|(code, docs)| format!("{code} {docs}"));
    let lines: Vec<_> = lines.collect();
    lines.into_iter().zip(1..).filter(|(line, _)| words(line).iter().any(|w| is(w, word))).map(|(_, n)| n)
}

fn complaints(file: &File) -> Vec<String> {
    let not_ours =
        WORDS.iter().filter(|word| !word.allowed.iter().any(|(path, _)| file.path.starts_with(path)));
    let lines = not_ours.flat_map(|word| lines_with(file, word.word).map(move |line| (line, word)));
    lines.map(|(line, word)| format!("{}:{line}: `{}`: say {}", file.path, word.word, word.instead)).collect()
}

fn files() -> Vec<File> {
    let mut files = rust_files("");
    files.retain(|file| !file.path.ends_with("tests/tidy/words.rs"));
    files
}

#[test]
fn words_that_the_glossary_replaces_stand_nowhere() {
    none(&files().iter().flat_map(complaints).collect::<Vec<_>>());
}

#[test]
fn every_allowance_is_needed() {
    let files = files();
    let mut idle = Vec::new();
    for word in WORDS {
        for (path, reason) in word.allowed {
            let mut inside = files.iter().filter(|file| file.path.starts_with(path));
            if !inside.any(|file| lines_with(file, word.word).next().is_some()) {
                idle.push(format!("`{}` under `{path}` ({reason}) does not occur: take it out", word.word));
            }
        }
    }
    none(&idle);
}

#[test]
fn a_word_that_is_not_ours_is_found_in_code_and_documentation_only() {
    let complain =
        |text: &str| complaints(&File { path: "node/src/a.rs".to_owned(), text: text.to_owned() }).len();
    for text in ["let tunnel = 1;", "struct MyTunnelTable;", "/// Opens tunnels.", "//! A tunnelling thing."]
    {
        assert_eq!(complain(text), 1, "{text}");
    }
    for text in
        ["// a tunnel elsewhere", "const A: &str = \"tunnel\";", "fn settled() {}", "/// Bank and dialogue."]
    {
        assert_eq!(complain(text), 0, "{text}");
    }
}
