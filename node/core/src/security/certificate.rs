//! Certificates: what a member presents, and how one is made for a public overlay, where the key alone counts.

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, PKey, PKeyRef, Private};
use openssl::sha::sha256;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509Builder, X509Name, X509Ref};
use zeroize::Zeroize as _;

use crate::rng::{Rng, Seed};
use crate::wire::Address;

const CURVE: Nid = Nid::X9_62_PRIME256V1;
const SUBJECT: &str = "atoll";
/// The widest validity that X.509 can express without "no end" (RFC 5280 section 4.1.2.5).
const NOT_BEFORE: &str = "20000101000000Z";
const NOT_AFTER: &str = "99991231235959Z";
const SERIAL_BYTES: usize = 16;

/// Beginnings of the names in a certificate (subject alternative names of type URI): here of a group's.
pub const GROUP: &str = "atoll://group/";
/// Of a user's.
pub const USER: &str = "atoll://user/";
/// Of an address.
pub const ADDRESS: &str = "atoll://address/";

/// Why credentials are of no use.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The key is not a private key on the curve P-256.
    #[error("the key is not on the curve P-256")]
    Key,
    /// The certificate is for another key.
    #[error("the certificate is for another key")]
    OtherKey,
    /// OpenSSL cannot work with them.
    #[error("OpenSSL does not take the credentials: {0}")]
    Library(#[from] ErrorStack),
    /// rustls cannot work with them.
    #[error("rustls does not take the credentials: {0}")]
    Tls(#[from] rustls::Error),
}

/// A certificate and its private key.
#[derive(Clone, Debug)]
pub struct Credentials {
    certificate: X509,
    key: PKey<Private>,
}

/// The P-256 private key of a node with this seed in the overlay of this name. For nodes that have no other or that shall
/// be the same again, as those of an experiment: whoever knows the seed knows the key.
///
/// # Errors
/// OpenSSL cannot compute on the curve.
pub fn derived_key(seed: Seed, overlay: &str) -> Result<PKey<Private>, ErrorStack> {
    let mut rng = Rng::new(seed).fork("identity").fork(overlay);
    let group = EcGroup::from_curve_name(CURVE)?;
    let (mut context, mut order, zero) = (BigNumContext::new()?, BigNum::new()?, BigNum::new()?);
    group.order(&mut order, &mut context)?;
    loop {
        let mut bytes = [0; 32];
        rng.fill(&mut bytes);
        let mut scalar = BigNum::from_slice(&bytes)?;
        bytes.zeroize();
        if scalar > zero && scalar < order {
            scalar.set_const_time();
            let mut point = EcPoint::new(&group)?;
            point.mul_generator2(&group, &scalar, &mut context)?;
            return PKey::from_ec_key(EcKey::from_private_components(&group, &scalar, &point)?);
        }
    }
}

impl Credentials {
    /// A certificate in DER that some authority made for this P-256 key.
    ///
    /// # Errors
    /// The two do not belong together, or are of another kind.
    pub fn new(certificate: &[u8], key: PKey<Private>) -> Result<Self, Unusable> {
        check_curve(&key)?;
        let certificate = X509::from_der(certificate)?;
        if !certificate.public_key()?.public_eq(&key) {
            return Err(Unusable::OtherKey);
        }
        Ok(Self { certificate, key })
    }

    /// The self-signed certificate of [`derived_key`].
    ///
    /// # Errors
    /// OpenSSL cannot compute on the curve.
    pub fn derived(seed: Seed, overlay: &str) -> Result<Self, Unusable> {
        Self::self_signed(derived_key(seed, overlay)?)
    }

    /// A certificate that the P-256 key makes for itself.
    ///
    /// # Errors
    /// The key is of another kind.
    pub fn self_signed(key: PKey<Private>) -> Result<Self, Unusable> {
        check_curve(&key)?;
        let certificate = self_signed(&key)?;
        Ok(Self { certificate, key })
    }

    /// The address that belongs to the key.
    ///
    /// # Errors
    /// OpenSSL cannot encode the public key.
    pub fn address(&self) -> Result<Address, Unusable> {
        Ok(address_of(&self.key)?)
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &X509Ref {
        &self.certificate
    }

    /// The private key.
    #[must_use]
    pub fn key(&self) -> &PKeyRef<Private> {
        &self.key
    }
}

fn check_curve(key: &PKeyRef<Private>) -> Result<(), Unusable> {
    let curve = key.ec_key().ok().and_then(|key| key.group().curve_name());
    if curve == Some(CURVE) { Ok(()) } else { Err(Unusable::Key) }
}

/// The self-certifying address of a key: the first 160 bits of the SHA-256 of its `SubjectPublicKeyInfo`.
pub fn address_of<T: HasPublic>(key: &PKeyRef<T>) -> Result<Address, ErrorStack> {
    let mut bytes = [0; Address::LEN];
    bytes.copy_from_slice(&sha256(&key.public_key_to_der()?)[..Address::LEN]);
    Ok(Address::from_bytes(bytes))
}

/// The same key gives the same certificate, but for the signature.
fn self_signed(key: &PKeyRef<Private>) -> Result<X509, ErrorStack> {
    let address = address_of(key)?;
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid(Nid::COMMONNAME, SUBJECT)?;
    let name = name.build();
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial_of(address)?)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    set_validity(&mut builder)?;
    builder.set_pubkey(key)?;
    let names = SubjectAlternativeName::new()
        .uri(&format!("{ADDRESS}{address}"))
        .build(&builder.x509v3_context(None, None))?;
    builder.append_extension(names)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

fn set_validity(builder: &mut X509Builder) -> Result<(), ErrorStack> {
    builder.set_not_before(&*Asn1Time::from_str(NOT_BEFORE)?)?;
    builder.set_not_after(&*Asn1Time::from_str(NOT_AFTER)?)
}

/// One serial for each key, and always of the same length.
fn serial_of(address: Address) -> Result<Asn1Integer, ErrorStack> {
    let mut bytes = [0; SERIAL_BYTES];
    bytes.copy_from_slice(&address.to_bytes()[..SERIAL_BYTES]);
    bytes[0] = bytes[0] & 0x3f | 0x40;
    BigNum::from_slice(&bytes)?.to_asn1_integer()
}
