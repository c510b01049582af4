//! The text of an experiment, into keys and checked values. Every refusal names line, column and key.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::check::Clash;
use super::expect::Expectation;
use super::experiment::Experiment;
use super::network::Files;
use super::quantity::count;
use super::values::{Clock, KEYS, Key, Values};
use super::wrong::{HINT, MARK, Wrong};
use crate::error::{Error, Result};

/// Most values that one key may be swept over.
const SWEEP_MAX: usize = 1000;
/// Most expectations in one file.
const EXPECT_MAX: usize = 1000;
/// Most repeats of one set of values.
pub(crate) const REPEATS_MAX: u32 = 100_000;
/// What an experiment file looks like.
const FORM: &str = "an experiment is lines of `key: value`, such as `public: 200`";
/// What is meant by whoever gives a matrix in its place.
const CSV: &str = "give an experiment file; one with `latency: FILE` reads the round trips of a CSV";
const HEAD: [&str; 6] = ["experiment", "name", "repeats", "seed", "sweep", "expect"];

/// A key with its values, checked.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) key: Key,
    pub(super) texts: Vec<String>,
    /// Where the files that it names are looked for.
    pub(super) files: Files,
    /// `KEY=VALUE[,VALUE]...` if it was set so, and not by the file.
    assignment: Option<String>,
}

/// What a file says, each value checked by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) experiment: Option<Experiment>,
    pub(super) name: Option<String>,
    pub(super) repeats: Option<u32>,
    pub(super) seed: Option<u64>,
    /// In the order of their appearance, each key once.
    pub(super) settings: Vec<Setting>,
    pub(super) expect: Vec<Expectation>,
    /// Name of the file in errors, and its text.
    file: (String, String),
}

/// Reads a file's text. `origin` names it in errors.
pub(super) fn read(origin: &str, text: &str, files: &Files) -> Result<Draft> {
    let mut draft = Draft { file: (origin.to_owned(), text.to_owned()), ..Draft::default() };
    let visitor = FileVisitor { draft: &mut draft, files, block: Block::File };
    let parsed = serde_yaml::Deserializer::from_str(text).deserialize_map(visitor);
    parsed.map_err(|error| located((origin, text), &error))?;
    let says = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    if !text.lines().any(says) {
        return Err(Error::new(format!("{origin}:1:1"), "the file says nothing").with_hint(FORM));
    }
    Ok(draft)
}

impl Draft {
    /// Replaces a key's values by those of `KEY=VALUE[,VALUE]...`.
    pub(super) fn set(&mut self, assignment: &str, files: &Files) -> Result<()> {
        let what = || format!("--set {assignment}");
        let refuse = |wrong: Wrong| Error { what: what(), why: wrong.why, hint: wrong.hint };
        let Some((name, list)) = assignment.split_once('=') else {
            return Err(
                Error::new(what(), "there is no `=` in it").with_hint("write it like `--set public=100`")
            );
        };
        if let flag @ ("seed" | "repeats") = name.trim() {
            return Err(
                Error::new(what(), "it has a flag of its own").with_hint(format!("write `--{flag} N`"))
            );
        }
        let key = key(name.trim(), &[]).map_err(refuse)?;
        let texts: Vec<String> = list.split(',').map(|text| text.trim().to_owned()).collect();
        for text in &texts {
            check(key, text, files).map_err(refuse)?;
        }
        self.settings.retain(|setting| setting.key != key);
        let assignment = Some(assignment.to_owned());
        self.settings.push(Setting { key, texts, files: files.clone(), assignment });
        Ok(())
    }

    /// A mistake between keys, with the place of the first of them that was set. An assignment goes first: what it was
    /// added to was not wrong before.
    pub(super) fn locate(&self, Clash { keys, what, wrong }: Clash) -> Error {
        let find = |key: &Key| self.settings.iter().find(|setting| setting.key == *key);
        let assigned = keys.iter().filter_map(find).find_map(|setting| setting.assignment.as_ref());
        let (origin, text) = &self.file;
        let place = match (assigned, keys.iter().find_map(find)) {
            (Some(assignment), _) => format!("--set {assignment}"),
            (None, Some(setting)) => place((origin, text), setting.key),
            (None, None) => origin.clone(),
        };
        Error { what: format!("{place}: {what}"), why: wrong.why, hint: wrong.hint }
    }
}

/// Where a key stands in a file that was read before: the reader tells places only with its errors, so one is made there.
fn place((origin, text): (&str, &str), key: Key) -> String {
    let sought = serde_yaml::Deserializer::from_str(text).deserialize_map(Seek(key.name()));
    let location = sought.err().and_then(|found| found.location());
    location.map_or_else(|| origin.to_owned(), |at| format!("{origin}:{}:{}", at.line(), at.column()))
}

/// Looks for a key in the file or in the block `sweep`, and fails where it stands.
#[derive(Clone, Copy)]
struct Seek<'a>(&'a str);

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(SeekName(self.0))? {
            if name == "sweep" {
                map.next_value_seed(self)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

/// Any key but this one.
struct SeekName<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for SeekName<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for SeekName<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<String, E> {
        if name == self.0 { Err(E::custom("it stands here")) } else { Ok(name.to_owned()) }
    }
}

fn key(name: &str, head: &[&str]) -> Result<Key, Wrong> {
    let known: Vec<&str> = KEYS.iter().map(|(_, name)| *name).chain(head.iter().copied()).collect();
    Key::find(name).ok_or_else(|| Wrong::unknown("key", name, &known))
}

fn check(key: Key, text: &str, files: &Files) -> Result<(), Wrong> {
    Values::new(Experiment::Join, Clock::Virtual).set(key, text, files)
}

/// Takes the place out of a YAML error, and the hint out of ours.
fn located((origin, file): (&str, &str), error: &serde_yaml::Error) -> Error {
    let text = atoll_topology::hushed(&error.to_string());
    let Some(place) = error.location() else { return Error::new(origin, text).with_hint(FORM) };
    let at = format!("{origin}:{}:{}", place.line(), place.column());
    let text = text.replace(&format!(" at line {} column {}", place.line(), place.column()), "");
    let Some((path, ours)) = text.split_once(MARK) else {
        let line = file.lines().nth(place.line().saturating_sub(1)).unwrap_or_default();
        let hint = if origin.ends_with(".csv") { CSV } else { foreign_hint(&text, line) };
        return Error::new(at, text).with_hint(hint);
    };
    let path = path.trim_end_matches(": ");
    let what = if path.is_empty() { at } else { format!("{at}: {path}") };
    match ours.split_once(HINT) {
        Some((why, hint)) => Error::new(what, why).with_hint(hint),
        None => Error::new(what, ours),
    }
}

/// What to try after a complaint of the YAML reader about this line.
fn foreign_hint(text: &str, line: &str) -> &'static str {
    match text {
        _ if line.contains('\t') => "indent with spaces, not with a tab",
        _ if text.contains("expected a value or a list") => "write one value, or several in `[` and `]`",
        _ if text.starts_with("sweep: ") => "indent one line for each swept key: `public: [100, 300]`",
        _ if text.contains("expected keys and values") => FORM,
        _ if text.contains("expected one value") => "write one value",
        _ => "each line is `key: value`; close every bracket and quotation mark",
    }
}

/// The file itself, or the block `sweep` in it.
struct FileVisitor<'a> {
    draft: &'a mut Draft,
    files: &'a Files,
    block: Block,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    File,
    Sweep,
}

impl<'de> Visitor<'de> for FileVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys and values")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut seen = Vec::new();
        while let Some(name) = map.next_key_seed(NameSeed { block: self.block, seen: &seen })? {
            self.entry(&name, &mut map)?;
            seen.push(name);
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for FileVisitor<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl FileVisitor<'_> {
    fn entry<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let (draft, files) = (&mut *self.draft, self.files);
        let mut one = |take: &mut dyn FnMut(&str) -> Result<(), Wrong>| {
            map.next_value_seed(ListSeed { take, texts_max: 1 }).map(|_| ())
        };
        match name {
            "experiment" => one(&mut |text| Experiment::read(text).map(|kind| draft.experiment = Some(kind))),
            "name" => one(&mut |text| run_name(text).map(|name| draft.name = Some(name))),
            "repeats" => one(&mut |text| repeats(text).map(|count| draft.repeats = Some(count))),
            "seed" => one(&mut |text| seed(text).map(|seed| draft.seed = Some(seed))),
            "sweep" => map.next_value_seed(FileVisitor { draft, files, block: Block::Sweep }),
            "expect" => {
                let mut take = |text: &str| Expectation::read(text).map(|line| draft.expect.push(line));
                map.next_value_seed(ListSeed { take: &mut take, texts_max: EXPECT_MAX }).map(|_| ())
            }
            _ => self.setting(name, map),
        }
    }

    fn setting<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        let key = key(name, &HEAD).map_err(A::Error::custom)?;
        let files = self.files;
        let twice = self.draft.settings.iter().any(|setting| setting.key == key);
        let mut take = |text: &str| match twice {
            true => Err(Wrong::new(format!("`{name}` is set already")).with_hint("keep one of the two")),
            false => check(key, text, files),
        };
        let texts = map.next_value_seed(ListSeed { take: &mut take, texts_max: SWEEP_MAX })?;
        self.draft.settings.push(Setting { key, texts, files: files.clone(), assignment: None });
        Ok(())
    }
}

fn run_name(text: &str) -> Result<String, Wrong> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match (1..=64).contains(&text.len()) && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(Wrong::new(format!("`{text}` is no name for a results folder"))
            .with_hint("use up to 64 letters, digits, `-` and `_`")),
    }
}

fn repeats(text: &str) -> Result<u32, Wrong> {
    count(text, (1, REPEATS_MAX))
}

fn seed(text: &str) -> Result<u64, Wrong> {
    text.parse().map_err(|_| {
        Wrong::new(format!("`{text}` is no seed"))
            .with_hint(format!("write a whole number from 0 to {}", u64::MAX))
    })
}

/// A key, checked where it stands.
struct NameSeed<'a> {
    block: Block,
    seen: &'a [String],
}

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<String, E> {
        let head: &[&str] = if self.block == Block::File { &HEAD } else { &[] };
        if !head.contains(&name) {
            key(name, head).map_err(E::custom)?;
        }
        match self.seen.iter().any(|seen| seen == name) {
            true => Err(E::custom(
                Wrong::new(format!("`{name}` stands here twice"))
                    .with_hint(format!("keep one; several values are a list: `{name}: [A, B]`")),
            )),
            false => Ok(name.to_owned()),
        }
    }
}

type Take<'a> = &'a mut dyn FnMut(&str) -> Result<(), Wrong>;

/// One value or a list of values, each checked where it stands.
struct ListSeed<'a> {
    take: Take<'a>,
    texts_max: usize,
}

/// One value.
struct TextSeed<'a>(Take<'a>);

impl<'de> DeserializeSeed<'de> for ListSeed<'_> {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<String>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> DeserializeSeed<'de> for TextSeed<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ListSeed<'_> {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.texts_max > 1 { "a value or a list of values" } else { "one value" })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<String>, A::Error> {
        if self.texts_max == 1 {
            return Err(A::Error::custom(
                Wrong::new("a list stands where one value is expected").with_hint("write one value"),
            ));
        }
        let mut texts = Vec::new();
        while let Some(text) = seq.next_element_seed(TextSeed(&mut *self.take))? {
            texts.push(text);
            if texts.len() > self.texts_max {
                return Err(A::Error::custom(Wrong::new(format!("more than {} values", self.texts_max))));
            }
        }
        match texts.is_empty() {
            true => Err(A::Error::custom(
                Wrong::new("the list is empty").with_hint("write at least one value, or leave the key out"),
            )),
            false => Ok(texts),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<String>, E> {
        TextSeed(self.take).visit_str(text).map(|text| vec![text])
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Vec<String>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u128<E: serde::de::Error>(self, number: u128) -> Result<Vec<String>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i128<E: serde::de::Error>(self, number: i128) -> Result<Vec<String>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Vec<String>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Vec<String>, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Vec<String>, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Vec<String>, E> {
        Err(E::custom(
            Wrong::new("there is no value").with_hint("write one behind the colon, or leave the key out"),
        ))
    }
}

impl Visitor<'_> for TextSeed<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one value")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        (self.0)(text).map_err(E::custom)?;
        Ok(text.to_owned())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<String, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u128<E: serde::de::Error>(self, number: u128) -> Result<String, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i128<E: serde::de::Error>(self, number: i128) -> Result<String, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<String, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<String, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<String, E> {
        self.visit_str(&value.to_string())
    }
}
