//! The web site and certificate authority of groups.
//!
//! It owns accounts, groups, their authorities' keys, certificates and revocations, and shows them as pages and as JSON. It
//! has no part in the overlay: whoever serves it runs a member beside it.

pub mod authority;
pub mod date;
pub mod files;
pub mod keys;

mod refusal;
mod store;
mod vault;
pub use refusal::Refusal;
