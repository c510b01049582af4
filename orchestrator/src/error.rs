//! What a user reads when something could not be done: what, why, and what to try.

use std::fmt::Display;

/// A failure in three short sentences. The program prints it and ends with exit code 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Error {
    /// What could not be done.
    pub what: String,
    /// Why not.
    pub why: String,
    /// What to try, where there is something to try.
    pub hint: Option<String>,
}

/// The lab's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure without a hint.
    pub fn new(what: impl Into<String>, why: impl Display) -> Self {
        Self { what: what.into(), why: why.to_string(), hint: None }
    }

    /// The same failure with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Turns foreign errors into the lab's.
pub trait OrFail<T> {
    /// Names what was being done when the error came.
    ///
    /// # Errors
    /// Returns the error with that name in front.
    fn or_fail(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Display> OrFail<T> for std::result::Result<T, E> {
    fn or_fail(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|why| Error::new(what(), why))
    }
}
