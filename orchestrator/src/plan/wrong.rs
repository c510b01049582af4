//! Why a piece of an experiment file is refused, and the word that was probably meant.

use std::fmt;

/// Starts a [`Wrong`] that travels through a YAML error, which may put the key's path in front.
pub(super) const MARK: char = '\u{1e}';
/// Stands between the reason and the hint.
pub(super) const HINT: char = '\u{1f}';

/// A refused value: why, and what to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Why it is refused.
    pub(crate) why: String,
    /// What to try.
    pub(crate) hint: Option<String>,
}

impl Wrong {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), hint: None }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `word` is none of the `known`.
    pub(crate) fn unknown(what: &str, word: &str, known: &[&str]) -> Self {
        let all = format!("known: {}", known.join(", "));
        let hint = match nearest(word, known) {
            Some(near) => format!("did you mean `{near}`? {all}"),
            None => all,
        };
        Self::new(format!("unknown {what} `{word}`")).with_hint(hint)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}{}", self.why)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "{HINT}{hint}"))
    }
}

/// The known word that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    let (distance, near) =
        known.iter().map(|near| (strsim::damerau_levenshtein(&word, near), *near)).min()?;
    (distance <= word.len().max(near.len()) / 3).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_stranger_is_not() {
        let known = ["public", "private", "joiners", "nat"];
        assert_eq!(nearest("pubilc", &known), Some("public"));
        assert_eq!(nearest("Joiner", &known), Some("joiners"));
        assert_eq!(nearest("bandwidth", &known), None);
        assert_eq!(nearest("x", &[]), None);
    }
}
