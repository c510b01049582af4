//! What an authority signs: its own certificate, those of members, and lists of revoked ones.
//!
//! `rcgen` writes them; keys and signatures are OpenSSL's.

use atoll_core::security::{ADDRESS_NAME, GROUP_NAME, Serial, USER_NAME, Wall, address_of};
use atoll_core::wire::Address;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{HasPublic, PKey, PKeyRef, Private, Public};
use openssl::sha::sha256;
use openssl::sign::Signer;
use openssl::x509::{X509, X509Crl};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, Error,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, RevokedCertParams, SanType, SerialNumber, SignatureAlgorithm, SigningKey,
};
use time::OffsetDateTime;

use crate::keys;

/// How far the clocks of members may be behind the authority's: seconds.
pub const SLACK: u64 = 600;
/// Bytes of a key's identifier (RFC 7093 section 2).
const KEY_ID: usize = 20;

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum Unsigned {
    /// A name or a serial number does not fit.
    #[error(transparent)]
    Certificate(#[from] Error),
    /// OpenSSL does not work with the key.
    #[error(transparent)]
    Library(#[from] ErrorStack),
    /// A time that no certificate can say.
    #[error(transparent)]
    Time(#[from] time::error::ComponentRange),
}

/// From when until when.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// When it is signed.
    pub now: Wall,
    /// When it ends.
    pub until: Wall,
}

/// What a certificate says of a member.
pub struct Leaf<'a> {
    /// Its key.
    pub key: &'a PKeyRef<Public>,
    /// The group.
    pub group: &'a str,
    /// Whose node it is.
    pub user: &'a str,
    /// Its place on the ring.
    pub address: Address,
    /// A number that no other certificate of the authority has.
    pub serial: &'a Serial,
}

/// A revocation that a list holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Of the certificate.
    pub serial: Serial,
    /// When it was revoked.
    pub at: Wall,
}

/// What a list says.
#[derive(Debug)]
pub struct List {
    /// It grows from list to list.
    pub number: u64,
    /// So does this.
    pub at: Wall,
    /// All of them.
    pub revoked: Vec<Revoked>,
}

/// The key of an authority, with the name of its group.
pub struct Pen<'a> {
    /// The authority's key.
    pub key: &'a PKeyRef<Private>,
    /// The group.
    pub group: &'a str,
}

struct Point(Vec<u8>);

impl PublicKeyData for Point {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

struct Hand<'a> {
    key: &'a PKeyRef<Private>,
    point: Point,
}

impl PublicKeyData for Hand<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.point.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.point.algorithm()
    }
}

impl SigningKey for Hand<'_> {
    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, Error> {
        let signer = Signer::new(MessageDigest::sha256(), self.key);
        signer.and_then(|mut signer| signer.sign_oneshot_to_vec(text)).map_err(|_| Error::RemoteKeyError)
    }
}

impl Pen<'_> {
    /// The authority's own certificate.
    ///
    /// # Errors
    /// Something does not fit into a certificate.
    pub fn root(&self, serial: &Serial, span: Span) -> Result<X509, Unsigned> {
        let hand = self.hand()?;
        let mut params = self.params(span)?;
        params.serial_number = Some(number(serial));
        Ok(X509::from_der(params.self_signed(&hand)?.der())?)
    }

    /// The certificate of a member.
    ///
    /// # Errors
    /// Something does not fit into a certificate.
    pub fn leaf(&self, leaf: &Leaf<'_>, span: Span) -> Result<X509, Unsigned> {
        let issuer = Issuer::new(self.params(span)?, self.hand()?);
        let names = [
            format!("{GROUP_NAME}{}", leaf.group),
            format!("{USER_NAME}{}", leaf.user),
            format!("{ADDRESS_NAME}{}", leaf.address),
        ];
        let mut params = base(leaf.user, span)?;
        params.serial_number = Some(number(leaf.serial));
        params.subject_alt_names = names.into_iter().map(uri).collect::<Result<_, _>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.key_identifier_method = key_id(leaf.key)?;
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&Point(keys::point(leaf.key)?), &issuer)?;
        Ok(X509::from_der(certificate.der())?)
    }

    /// A list of the revoked.
    ///
    /// # Errors
    /// Something does not fit into a list.
    pub fn list(&self, list: &List, until: Wall) -> Result<X509Crl, Unsigned> {
        let issuer = Issuer::new(self.params(Span { now: list.at, until })?, self.hand()?);
        let revoked = list.revoked.iter().map(|one| {
            Ok(RevokedCertParams {
                serial_number: number(&one.serial),
                revocation_time: moment(one.at)?,
                reason_code: None,
                invalidity_date: None,
            })
        });
        let params = CertificateRevocationListParams {
            this_update: moment(list.at)?,
            next_update: moment(until)?,
            crl_number: SerialNumber::from(list.number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect::<Result<_, Unsigned>>()?,
            key_identifier_method: key_id(self.key)?,
        };
        Ok(X509Crl::from_der(params.signed_by(&issuer)?.der())?)
    }

    fn hand(&self) -> Result<Hand<'_>, ErrorStack> {
        Ok(Hand { key: self.key, point: Point(keys::point(self.key)?) })
    }

    fn params(&self, span: Span) -> Result<CertificateParams, Unsigned> {
        let mut params = base(self.group, span)?;
        params.subject_alt_names = vec![uri(format!("{GROUP_NAME}{}", self.group))?];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.key_identifier_method = key_id(self.key)?;
        Ok(params)
    }
}

fn base(name: &str, span: Span) -> Result<CertificateParams, Unsigned> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = moment(Wall(span.now.0.saturating_sub(SLACK)))?;
    params.not_after = moment(span.until)?;
    Ok(params)
}

fn uri(text: String) -> Result<SanType, Error> {
    Ok(SanType::URI(text.try_into()?))
}

fn number(serial: &Serial) -> SerialNumber {
    SerialNumber::from_slice(&serial.0)
}

fn moment(wall: Wall) -> Result<OffsetDateTime, time::error::ComponentRange> {
    OffsetDateTime::from_unix_timestamp(i64::try_from(wall.0).unwrap_or(i64::MAX))
}

fn key_id<T: HasPublic>(key: &PKeyRef<T>) -> Result<KeyIdMethod, ErrorStack> {
    Ok(KeyIdMethod::PreSpecified(sha256(&keys::point(key)?)[..KEY_ID].to_vec()))
}

/// The address that belongs to a key.
///
/// # Errors
/// OpenSSL cannot encode the key.
pub fn own_address(key: &PKey<Public>) -> Result<Address, ErrorStack> {
    address_of(key)
}
