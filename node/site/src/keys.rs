//! Keys on the curve P-256, the only ones there are.

use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcKey, PointConversionForm};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, PKey, PKeyRef, Private, Public};
use openssl::x509::{X509Req, X509ReqRef};

const CURVE: Nid = Nid::X9_62_PRIME256V1;

/// Why something is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// Not a private key in PEM, or an encrypted one.
    #[error("no unencrypted private key in PEM")]
    Private,
    /// Neither a public key nor a certificate request.
    #[error("no key and no certificate request in PEM")]
    Public,
    /// A key of another kind.
    #[error("the key is not on the curve P-256")]
    Curve,
    /// Whoever asks does not show that the key is its own.
    #[error("the certificate request is not signed by its own key")]
    Unproved,
}

/// A new key.
///
/// # Errors
/// OpenSSL has no randomness.
pub fn generate() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(CURVE)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

/// Reads a private key in PEM.
///
/// # Errors
/// It is none, or of another kind.
pub fn private(pem: &[u8]) -> Result<PKey<Private>, NoKey> {
    let key =
        PKey::private_key_from_pem_callback(pem, |_| Err(ErrorStack::get())).map_err(|_| NoKey::Private)?;
    check(&key)?;
    Ok(key)
}

/// Reads a public key in PEM, bare or in a certificate request. Of a request nothing else counts: what it asks to be
/// called is for the authority to say.
///
/// # Errors
/// It is none, of another kind, or the request is not signed by it.
pub fn public(pem: &[u8]) -> Result<PKey<Public>, NoKey> {
    if let Ok(request) = X509Req::from_pem(pem) {
        return requested(&request);
    }
    let key = PKey::public_key_from_pem(pem).map_err(|_| NoKey::Public)?;
    check(&key)?;
    Ok(key)
}

/// The key that a certificate request is for, which has to have signed it.
///
/// # Errors
/// There is none, it is of another kind, or the request is not signed by it.
pub fn requested(request: &X509ReqRef) -> Result<PKey<Public>, NoKey> {
    let key = request.public_key().map_err(|_| NoKey::Public)?;
    check(&key)?;
    if request.verify(&key).unwrap_or(false) { Ok(key) } else { Err(NoKey::Unproved) }
}

fn check<T: HasPublic>(key: &PKeyRef<T>) -> Result<(), NoKey> {
    let curve = key.ec_key().ok().and_then(|key| key.group().curve_name());
    if curve == Some(CURVE) { Ok(()) } else { Err(NoKey::Curve) }
}

/// The public half of a key.
///
/// # Errors
/// The key is of another kind.
pub fn public_half<T: HasPublic>(key: &PKeyRef<T>) -> Result<PKey<Public>, ErrorStack> {
    let group = EcGroup::from_curve_name(CURVE)?;
    PKey::from_ec_key(EcKey::from_public_key(&group, key.ec_key()?.public_key())?)
}

/// The public key as a certificate holds it: an uncompressed point (RFC 5480 section 2.2).
///
/// # Errors
/// The key is of another kind.
pub fn point<T: HasPublic>(key: &PKeyRef<T>) -> Result<Vec<u8>, ErrorStack> {
    let (group, mut context) = (EcGroup::from_curve_name(CURVE)?, BigNumContext::new()?);
    key.ec_key()?.public_key().to_bytes(&group, PointConversionForm::UNCOMPRESSED, &mut context)
}
