//! The one error type: what is wrong in a topology, where, and what to try.

use std::fmt;

/// A topology, a preset or a latency matrix that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct TopologyError {
    /// Line in the text, counted from 1; 0 if it is not about a text.
    pub line: usize,
    /// Column in that line, counted from 1; 0 if unknown.
    pub column: usize,
    /// Path of the key, such as `sites[2].hosts[0].behind`; empty if unknown.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to try, such as the nearest known key; empty if nothing comes to mind.
    pub hint: String,
}

impl TopologyError {
    /// An error that is not about a place in a text.
    pub fn new(message: impl Into<String>) -> Self {
        Self { line: 0, column: 0, key: String::new(), message: message.into(), hint: String::new() }
    }

    /// The same error, at this line and column (from 1).
    #[must_use]
    pub fn at(mut self, line: usize, column: usize) -> Self {
        self.line = line;
        self.column = column;
        self
    }

    /// The same error, about this key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// The same error, with this advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}, column {}: ", self.line, self.column)?;
        }
        if !self.key.is_empty() && self.key != "." {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// The candidate nearest to `word`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()) / 3 + 1)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, in bytes.
fn distance(left: &str, right: &str) -> usize {
    let right = right.as_bytes();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_a_typing_error_and_not_a_stranger() {
        let known = ["mapping", "filtering", "hairpin"];
        assert_eq!(nearest("maping", known), Some("mapping"));
        assert_eq!(nearest("hair-pin", known), Some("hairpin"));
        assert_eq!(nearest("latency", known), None);
    }
}
