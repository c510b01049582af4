//! What the compiler does not enforce about the shape of this repository. Every rule is a function from a text to
//! complaints, so that each is also tried on a small text that breaks it.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod crates;
mod floors;
mod lengths;
mod purity;
mod source;
mod words;

/// Fails with all complaints at once.
#[track_caller]
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}
