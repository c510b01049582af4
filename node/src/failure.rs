//! What a person reads when the program cannot do something: `error: what: why`, then `hint: what to try`.

use std::fmt;

/// Why the program could not do what it was asked, and what the user may try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    what: String,
    why: String,
    hint: Option<String>,
}

impl Failure {
    /// `what` names the thing at hand (a file with its line, an address), `why` says what is wrong with it.
    pub fn new(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { what: what.into(), why: why.to_string(), hint: None }
    }

    /// What is wrong, in one line, for a log.
    #[must_use]
    pub fn said(&self) -> String {
        format!("{}: {}", self.what, self.why)
    }

    /// Adds what the user may try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}: {}", self.what, self.why)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\nhint: {hint}"))
    }
}

impl std::error::Error for Failure {}
