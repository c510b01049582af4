//! Errors of the file: line, column, the key's path, and the nearest key that exists.

use serde::de::DeserializeOwned;
use serde_path_to_error::Path;

use super::value::HINT;
use crate::failure::Failure;

/// Names further than this from a known one get no suggestion.
const LIKENESS_MIN: f64 = 0.7;
/// Longer values are not shown.
const SHOWN_MAX: usize = 40;
/// What a section of the file is.
const SECTION: &str = "keys and values";
/// The longest path to a key that we know.
const PATH_MAX: usize = 40;

/// Reads what a text says; `name` stands for the file in errors.
pub(super) fn read<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, Failure> {
    let document = serde_yaml::Deserializer::from_str(text);
    serde_path_to_error::deserialize(document)
        .map_err(|error| explain((name, text), error.path(), error.inner()))
}

fn explain((name, text): (&str, &str), path: &Path, error: &serde_yaml::Error) -> Failure {
    let place = error.location().map_or((1, 1), |place| (place.line(), place.column()));
    let message = untyped(&bare(&error.to_string()));
    let (line, column) = second(text, &message, place).unwrap_or(place);
    let (why, hint) = match message.split_once(HINT) {
        Some((why, hint)) => (hushed(why), Some(hint.to_owned())),
        None => (hushed(&message), suggestion(&message)),
    };
    let key = path.to_string();
    let is_named = key.chars().count() <= SHOWN_MAX + PATH_MAX;
    let key = if is_named { key } else { ".".to_owned() };
    let place = format!("{name}:{line}:{column}");
    let why = if key == "." { why } else { format!("{key}: {why}") };
    Failure::new(place, why)
        .hint(hint.unwrap_or_else(|| "`atoll-node run --help` shows a complete example".to_owned()))
}

/// The message without the path in front and the place behind, which are shown in their own way.
fn bare(message: &str) -> String {
    let (message, hint) = message.split_once(HINT).map_or((message, None), |(m, h)| (m, Some(h)));
    let without_place = |text: &str| match text.rsplit_once(" at line ") {
        Some((text, _)) => text.to_owned(),
        None => text.to_owned(),
    };
    let is_path = |text: &str| {
        !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.[]-".contains(&c))
    };
    let message = match message.split_once(": ") {
        Some((path, rest)) if is_path(path) => without_place(rest),
        _ => without_place(message),
    };
    match hint {
        Some(hint) => format!("{message}{HINT}{}", without_place(hint)),
        None => message,
    }
}

/// The message without a long text in it: in the wrong file that may be a private key or a secret. Paths are shown whole.
fn hushed(message: &str) -> String {
    let is_path = |text: &str| text.starts_with(['/', '.', '~']);
    let is_long = |text: &str| text.chars().count() > SHOWN_MAX && !is_path(text);
    let count = |text: &str| format!("a text of {} characters", text.chars().count());
    let mut told = message.to_owned();
    if let Some((before, rest)) = message.split_once("string \"")
        && let Some((value, after)) = rest.rsplit_once('"')
        && is_long(value)
    {
        told = format!("{before}{}{after}", count(value));
    }
    let parts: Vec<&str> = told.split('`').collect();
    let shown = parts.iter().enumerate().map(|(at, part)| match at % 2 {
        1 if is_long(part) => count(part),
        1 => format!("`{part}`"),
        _ => (*part).to_owned(),
    });
    shown.collect()
}

/// The message without the names of our types.
fn untyped(message: &str) -> String {
    let Some((before, rest)) = message.split_once("expected struct ") else { return message.to_owned() };
    let after = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    format!("{before}expected {SECTION}{after}")
}

/// Where a key stands a second time in a section whose first key is at this place. The reader names the section alone.
fn second(text: &str, message: &str, (line, column): (usize, usize)) -> Option<(usize, usize)> {
    let key = message.strip_prefix("duplicate field `")?.strip_suffix('`')?;
    let quotes = ['"', '\''];
    // The column of the key, or of the quotation mark before it.
    let stands = |line: &str| {
        let name = line.trim_start_matches([' ', '-']);
        let (at, bare) = (line.len() - name.len(), name.trim_start_matches(quotes));
        let rest = bare.strip_prefix(key)?.trim_start_matches(quotes).trim_start_matches(' ');
        rest.starts_with(':').then_some(at + 1)
    };
    let lines = (line..).zip(text.lines().skip(line.saturating_sub(1)));
    let mut found =
        lines.filter_map(|(line, text)| Some((line, stands(text)?))).filter(|(_, at)| *at == column);
    found.nth(1)
}

/// For a wrong key or word: the nearest that is known, else all of them.
fn suggestion(message: &str) -> Option<String> {
    if let Some((_, form)) = message.split_once(", expected ") {
        if form == SECTION {
            return None;
        }
        if !message.starts_with("unknown ") {
            return Some(format!("write {form}"));
        }
        let wrong = quoted(message).next()?;
        let known: Vec<&str> = quoted(form).collect();
        let likeness = |name: &str| strsim::jaro_winkler(wrong, name);
        let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
        if likeness(nearest) >= LIKENESS_MIN {
            return Some(format!("did you mean `{nearest}`?"));
        }
        return Some(format!("known here: {}", known.join(", ")));
    }
    let key = message.strip_prefix("missing field ")?;
    Some(format!("add the key {key}"))
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EXAMPLE, Settings};
    use proptest::prelude::*;

    fn read(name: &str, text: &str) -> Result<Settings, Failure> {
        super::read(name, text)
    }

    #[track_caller]
    fn refused(text: &str, parts: &[&str]) {
        let shown = read("node.yaml", text).unwrap_err().to_string();
        for part in parts {
            assert!(shown.contains(part), "`{part}` is not in:\n{shown}");
        }
        assert!(shown.contains("\nhint: "), "no hint in:\n{shown}");
    }

    #[test]
    fn a_wrong_key_gives_its_place_and_the_nearest_one() {
        refused("lisen: x\n", &["node.yaml:1:1: lisen: unknown", "did you mean `listen`?"]);
        let text = "overlays:\n  - name: a\n    ring:\n      near: 3\n      shortcut: 1\n";
        refused(text, &["node.yaml:5:7: overlays[0].ring.shortcut: ", "did you mean `shortcuts`?"]);
        let text = "overlays:\n  - name: a\n    keepalive: {adjacent: 9 s, idle: 3 s}\n";
        refused(text, &["node.yaml:3:32: overlays[0].keepalive.idle: ", "`idle_m"]);
        refused("log:\n  zzz: 1\n", &["node.yaml:2:3: log.zzz: ", "known here: level, format"]);
    }

    #[test]
    fn a_wrong_value_gives_its_place_and_the_form() {
        let keepalive = |line: &str| format!("overlays:\n  - name: a\n    keepalive:\n      {line}\n");
        let place = "node.yaml:4:17: overlays[0].keepalive.adjacent: ";
        refused(&keepalive("adjacent: 9"), &[place, "its unit, such as \"9 s\""]);
        refused(&keepalive("adjacent: 9 parsec"), &[place, "`parsec` is no unit of time"]);
        refused(&keepalive("adjacent: 9 h"), &[place, "out of range (100 ms to 10 min)"]);
        let ring = |line: &str| format!("overlays:\n  - name: a\n    ring:\n      near: 1\n      {line}\n");
        refused(
            &ring("shortcut_sample: 9"),
            &["node.yaml:5:24: overlays[0].ring.shortcut_sample: 9 is out", "1 to 8"],
        );
        refused(&ring("shortcuts: many"), &["node.yaml:5:18: overlays[0].ring.shortcuts: ", "from 0 to 4"]);
        refused(&ring("shortcuts: -1"), &["node.yaml:5:18: overlays[0].ring.shortcuts: -1 is out"]);
        refused("listen: 4001\n", &["node.yaml:1:9: listen: ", "\"0.0.0.0:4001\""]);
        refused("listen: here\n", &["node.yaml:1:9: listen: `here` is no", "\"0.0.0.0:4001\""]);
        refused("log: {level: loud}\n", &["node.yaml:1:14: log.level: unknown", "off, error, warn"]);
        refused("seed: -1\n", &["node.yaml:1:7: seed: "]);
    }

    #[test]
    fn rules_that_span_keys_give_the_section() {
        let text = "overlays:\n  - name: a\n    keepalive:\n      idle_min: 9 s\n      idle_max: 3 s\n";
        refused(text, &["node.yaml:4:7: overlays[0].keepalive: idle_min (9 s) is above", "the smaller one"]);
        refused(
            "overlays:\n  - name: a\n  - name: a\n",
            &["node.yaml:2:3: overlays: overlay `a` is listed twice"],
        );
        refused("overlays: []\n", &["node.yaml:1:11: overlays: 0 overlays", "1 to 256"]);
        refused("overlays:\n  - ring: {}\n", &["node.yaml:2:5: overlays[0]: missing", "add the key `name`"]);
    }

    #[test]
    fn what_may_be_a_private_key_is_not_shown() {
        let key = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n");
        let values = ["seed", "overlays", "listen", "metrics", "log"].map(|name| format!("{name}: {key}\n"));
        let keys = [format!("{key}{key}: 3\n"), format!("log: {{{key}{key}: 3}}\n")];
        let whole = [pem.clone(), key.to_owned()];
        for text in whole.iter().chain(&values).chain(&keys) {
            let shown = read("node.key", text).unwrap_err().to_string();
            assert!(!shown.contains(&key[..20]), "{shown}");
        }
        refused(&pem, &["node.yaml:1:1: invalid type: a text of ", " characters, expected keys and values"]);
        refused("log: loud\n", &["\"loud\", expected keys and values"]);
    }

    #[test]
    fn what_is_no_yaml_gives_its_place() {
        refused("overlays: [\n", &["node.yaml:"]);
        refused("a: b: c\n", &["node.yaml:1:"]);
        refused("- 1\n", &["node.yaml:1:1: invalid type"]);
        let text = "listen: \"0.0.0.0:1\"\nseed: 1\nlisten: \"0.0.0.0:2\"\n";
        refused(text, &["node.yaml:3:1: duplicate field `listen`"]);
        let text = "seed: 1\noverlays:\n  - name: a\n    ring: {}\n    name: b\n";
        refused(text, &["node.yaml:5:5: overlays[0]: duplicate field `name`"]);
        refused("\"seed\": 1\n\"seed\" : 2\n", &["node.yaml:2:1: duplicate field `seed`"]);
        refused("seed: 1\nlog: {level: off, level: off}\n", &["node.yaml:2:6: log: duplicate field `level`"]);
        refused("overlays: &a [*a]\n", &["node.yaml:"]);
    }

    proptest! {
        /// The example with a part of it replaced: whatever comes out, it is an answer.
        #[test]
        fn no_text_makes_the_reader_panic(at in 0..EXAMPLE.len(), cut in 0..40usize, put in "[ -~\n]{0,12}") {
            let mut text = EXAMPLE.to_owned();
            let end = (at + cut).min(text.len());
            text.replace_range(at..end, &put);
            if let Err(failure) = read("node.yaml", &text) {
                let shown = failure.to_string();
                prop_assert!(shown.starts_with("error: node.yaml:") && shown.contains("\nhint: "), "{shown}");
            }
        }
    }

    #[test]
    fn wrong_addresses_names_and_bootstraps_are_refused() {
        let member = |line: &str| format!("overlays:\n  - name: a\n    {line}\n");
        refused(
            &member("address: \"12\""),
            &["node.yaml:3:14: overlays[0].address: `12` is no", "40 hexadecimal digits in quotes"],
        );
        refused(
            &member("bootstraps: [nowhere]"),
            &["node.yaml:3:18: overlays[0].bootstraps[0]: `nowhere` has no port"],
        );
        refused("overlays:\n  - name: a b\n", &["node.yaml:2:11: overlays[0].name: `a b` is no name"]);
        refused("control: 9101\n", &["node.yaml:1:10: control: ", "unix:"]);
    }
}
