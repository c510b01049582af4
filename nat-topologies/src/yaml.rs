//! Reading YAML so that an error says where it is and what was probably meant.

use serde::de::DeserializeOwned;

use crate::TopologyError;
use crate::error::nearest;

/// Longer values are not shown.
const SHOWN_MAX: usize = 40;

/// Reads a value; errors carry line, column, key and hint.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, TopologyError> {
    let deserializer = serde_yaml::Deserializer::from_str(text);
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let key = error.path().to_string();
        let inner = error.into_inner();
        let full = inner.to_string();
        let mut message = full.as_str();
        if let Some(at) = message.rfind(" at line ") {
            message = &message[..at];
        }
        // The path has a field of its own.
        if let Some((path, rest)) = message.split_once(": ")
            && key.starts_with(path)
        {
            message = rest;
        }
        let (line, column) = inner.location().map_or((1, 1), |place| (place.line(), place.column()));
        TopologyError::new(hushed(message)).at(line, column).key(key).hint(hint(message))
    })
}

/// The message without a long text in it: in the wrong file that may be a private key or a secret.
#[must_use]
pub fn hushed(message: &str) -> String {
    let Some((before, rest)) = message.split_once("string \"") else { return message.to_owned() };
    let Some((value, after)) = rest.rsplit_once('"') else { return message.to_owned() };
    if value.chars().count() <= SHOWN_MAX {
        return message.to_owned();
    }
    format!("{before}a text of {} characters{after}", value.chars().count())
}

/// For `unknown field ..., expected one of ...` the nearest of those.
fn hint(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let is_unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let (true, Some(word)) = (is_unknown, quoted.next()) else { return String::new() };
    let known: Vec<&str> = quoted.collect();
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => String::new(),
        None => format!("known are {}", known.join(", ")),
    }
}

/// Line and column, from 1, of the first place where `word` stands alone.
pub(crate) fn locate(text: &str, word: &str) -> (usize, usize) {
    let is_part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    for (n, line) in text.lines().enumerate() {
        let code = line.split('#').next().unwrap_or(line);
        for (at, _) in code.match_indices(word) {
            let before = code[..at].chars().next_back().is_some_and(is_part);
            let after = code[at + word.len()..].chars().next().is_some_and(is_part);
            if !before && !after {
                return (n + 1, at + 1);
            }
        }
    }
    (0, 0)
}
