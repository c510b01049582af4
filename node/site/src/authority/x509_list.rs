//! Revocation lists as X.509 has them (RFC 5280 section 5), read back.

use atoll_core::security::{Serial, Wall};
use openssl::error::ErrorStack;
use openssl::x509::{CrlNumber, X509CrlRef};

use super::{List, Revoked};
use crate::date;

/// What a list says; nothing if it has no number.
///
/// # Errors
/// OpenSSL cannot read a part of it.
pub fn take_apart(list: &X509CrlRef) -> Result<Option<List>, ErrorStack> {
    let Some((_, number)) = list.extension::<CrlNumber>()? else { return Ok(None) };
    let bytes = number.to_bn()?.to_vec();
    let number = bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    let mut revoked = Vec::new();
    for one in list.get_revoked().into_iter().flatten() {
        let serial = Serial(one.serial_number().to_bn()?.to_vec());
        revoked.push(Revoked { serial, at: date::wall(one.revocation_date()).unwrap_or_default() });
    }
    let at = date::wall(list.last_update()).unwrap_or(Wall(0));
    Ok(Some(List { number, at, revoked }))
}
