//! The authority of a trial's private overlay: it vouches for whom the trial says, and keeps no books.
//!
//! What it signs is for members of an experiment only. Keys and names follow from seeds; signatures do so where OpenSSL's
//! randomness does.

use atoll_core::rng::numbered;
use atoll_core::security::{
    ADDRESS_NAME, Authority as Rule, Credentials, GROUP_NAME, Notice, SALT_LEN, Salt, USER_NAME, address_of,
    derived_key,
};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, PKey, PKeyRef, Private};
use openssl::x509::extension::{AuthorityKeyIdentifier, BasicConstraints, CrlNumber, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509CrlBuilder, X509Name};

use super::{GROUP, Group};
use crate::error::{OrFail as _, Result};

/// From when until when everything is valid: whatever a clock says, a membership does not end by itself.
const NOT_BEFORE: &str = "20000101000000Z";
const NOT_AFTER: &str = "99991231235959Z";
/// When notices are signed, in seconds since 1970: the times in them decide nothing.
const SIGNED: u64 = 1_767_225_600;
/// Bytes of a serial number.
const SERIAL_BYTES: usize = 16;

/// The authority of a group.
#[derive(Debug)]
pub struct Authority {
    key: PKey<Private>,
    certificate: X509,
}

impl Authority {
    /// The authority of a trial's group.
    ///
    /// # Errors
    /// OpenSSL cannot make it.
    pub fn of(group: &Group) -> Result<Self> {
        let make = || {
            let key = derived_key(numbered(group.seed), "authority")?;
            let certificate = root(&key)?;
            Ok::<_, ErrorStack>(Self { key, certificate })
        };
        make().or_fail(|| "cannot make the authority of the private overlay".to_owned())
    }

    /// Its certificate.
    #[must_use]
    pub fn certificate(&self) -> &X509 {
        &self.certificate
    }

    /// The same in DER.
    ///
    /// # Errors
    /// OpenSSL cannot write it.
    pub fn der(&self) -> Result<Vec<u8>> {
        self.certificate.to_der().or_fail(|| "cannot use the authority of the private overlay".to_owned())
    }

    /// The rule by which members judge each other.
    ///
    /// # Errors
    /// Its own certificate cannot be read.
    pub fn rule(&self) -> Result<Rule> {
        Rule::new(&self.der()?, GROUP)
            .or_fail(|| "cannot use the authority of the private overlay".to_owned())
    }

    /// What makes the member with this seed one of the group, as a user of this name.
    ///
    /// # Errors
    /// OpenSSL cannot make it.
    pub fn issue(&self, seed: u64, user: &str) -> Result<Credentials> {
        let what = || format!("cannot make the certificate of {user}");
        let key = derived_key(numbered(seed), GROUP).or_fail(what)?;
        let certificate = self.leaf(&key, user).or_fail(what)?;
        Credentials::new(&certificate, key).or_fail(what)
    }

    /// The list of its revocations, in PEM: there are none.
    ///
    /// # Errors
    /// OpenSSL cannot make it.
    pub fn no_revocations(&self) -> Result<Vec<u8>> {
        self.empty_list().or_fail(|| "cannot make the revocation list of the private overlay".to_owned())
    }

    /// The notice with this number, after that with the one before: a user is revoked, all its nodes with it.
    ///
    /// # Errors
    /// OpenSSL cannot sign it, or no user is called so.
    pub fn notice(&self, number: u64, user: &str) -> Result<Vec<u8>> {
        let mut salt = [0; SALT_LEN];
        salt[..8].copy_from_slice(&number.to_be_bytes());
        let notice = Notice {
            group: GROUP.to_owned(),
            number,
            after: number.saturating_sub(1),
            at: SIGNED,
            digest: [0; 32],
            mark: Salt(salt).mark(),
            user: user.to_owned(),
            serials: Vec::new(),
        };
        notice.sign(&self.key).or_fail(|| format!("cannot revoke {user}"))
    }

    fn leaf(&self, key: &PKeyRef<Private>, user: &str) -> std::result::Result<Vec<u8>, ErrorStack> {
        let mut builder = begin(key, user)?;
        builder.set_issuer_name(self.certificate.subject_name())?;
        let mut names = SubjectAlternativeName::new();
        names.uri(&format!("{GROUP_NAME}{GROUP}"));
        names.uri(&format!("{USER_NAME}{user}"));
        names.uri(&format!("{ADDRESS_NAME}{}", address_of(key)?));
        let names = names.build(&builder.x509v3_context(Some(&self.certificate), None))?;
        builder.append_extension(names)?;
        builder.sign(&self.key, MessageDigest::sha256())?;
        builder.build().to_der()
    }

    fn empty_list(&self) -> std::result::Result<Vec<u8>, ErrorStack> {
        let mut builder = X509CrlBuilder::new()?;
        builder.set_issuer_name(self.certificate.subject_name())?;
        builder.set_last_update(&*Asn1Time::from_str(NOT_BEFORE)?)?;
        builder.set_next_update(&*Asn1Time::from_str(NOT_AFTER)?)?;
        let blank = X509::builder()?;
        let context = blank.x509v3_context(Some(&self.certificate), None);
        builder.append_extension(AuthorityKeyIdentifier::new().issuer(true).build(&context)?)?;
        builder.append_extension(CrlNumber::new(BigNum::from_u32(1)?)?.build()?)?;
        builder.sign(&self.key, MessageDigest::sha256())?;
        builder.build()?.to_pem()
    }
}

fn root(key: &PKeyRef<Private>) -> std::result::Result<X509, ErrorStack> {
    let mut builder = begin(key, GROUP)?;
    builder.set_issuer_name(&*name(GROUP)?)?;
    builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

/// A certificate of a key with all but its issuer and its extensions.
fn begin(key: &PKeyRef<Private>, subject: &str) -> std::result::Result<X509Builder, ErrorStack> {
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial(key)?.to_asn1_integer()?)?;
    builder.set_subject_name(&*name(subject)?)?;
    builder.set_not_before(&*Asn1Time::from_str(NOT_BEFORE)?)?;
    builder.set_not_after(&*Asn1Time::from_str(NOT_AFTER)?)?;
    builder.set_pubkey(key)?;
    Ok(builder)
}

/// One serial for each key, and always of the same length.
fn serial<T: HasPublic>(key: &PKeyRef<T>) -> std::result::Result<BigNum, ErrorStack> {
    let mut bytes = [0; SERIAL_BYTES];
    bytes.copy_from_slice(&address_of(key)?.to_bytes()[..SERIAL_BYTES]);
    bytes[0] = bytes[0] & 0x3f | 0x40;
    BigNum::from_slice(&bytes)
}

fn name(text: &str) -> std::result::Result<X509Name, ErrorStack> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid(Nid::COMMONNAME, text)?;
    Ok(name.build())
}

#[cfg(test)]
mod tests {
    use atoll_core::config::QueryTimer;
    use atoll_core::security::{Claim, Security, Wall};

    use super::*;
    use crate::environment::NodeSpec;

    #[test]
    fn it_vouches_for_its_members_and_another_trials_does_not() {
        let [ours, theirs] =
            [1, 2].map(|seed| Authority::of(&Group { seed, query_timer: QueryTimer::Dynamic }).unwrap());
        let credentials = ours.issue(7, "m007").unwrap();
        let claim = Claim::Certificate(credentials.certificate().to_der().unwrap());
        let judge = |authority: &Authority| {
            let security = Security::dtls(&credentials).unwrap().in_group(authority.rule().unwrap(), None);
            security.trust().verify(&claim, Wall(1_800_000_000))
        };
        let member = judge(&ours).unwrap();
        assert_eq!(member.address, NodeSpec::private_address_of(7).unwrap());
        assert_eq!((member.user.as_deref(), member.group.as_deref()), (Some("m007"), Some(GROUP)));
        assert!(judge(&theirs).is_err());
    }

    #[test]
    fn its_revocation_list_revokes_nobody() {
        let authority = Authority::of(&Group { seed: 1, query_timer: QueryTimer::Dynamic }).unwrap();
        let list = openssl::x509::X509Crl::from_pem(&authority.no_revocations().unwrap()).unwrap();
        assert!(list.get_revoked().is_none());
        assert_eq!(authority.rule().unwrap().set_list(&list.to_der().unwrap()), Ok(()));
    }
}
