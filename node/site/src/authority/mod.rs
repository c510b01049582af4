//! What makes a group's authority: what it signs, the serial numbers it gives, and what a certificate of it names.
//!
//! It holds no key and no file: whoever calls does, a folder of `atoll-node cert` or the site's store.

mod serial;
mod sign;
mod x509_list;

use atoll_core::security::GROUP_NAME;
use openssl::x509::X509Ref;

pub use serial::random_serial;
pub use sign::{Leaf, List, Pen, Revoked, SLACK, Span, Unsigned, own_address};
pub use x509_list::take_apart;

/// How long an authority lives: 10 years, in seconds.
pub const LIFE: u64 = 3_652 * 86_400;
/// Bytes of a group's secret.
pub const SECRET_BYTES: usize = 32;

/// The group that a certificate names.
#[must_use]
pub fn group_of(certificate: &X509Ref) -> Option<String> {
    let names = certificate.subject_alt_names()?;
    names.iter().find_map(|name| name.uri()?.strip_prefix(GROUP_NAME).map(str::to_owned))
}
