//! Trust rules: whether what a peer claims makes it a member, and which one.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Public};
use openssl::x509::{CrlNumber, CrlStatus, X509, X509Crl, X509CrlRef, X509Ref};

use super::Claim;
use super::certificate::{ADDRESS, GROUP, USER, address_of};
use super::revocation::{Known, Notice, SignedList, read_signed};
use crate::counters::DropReason;
use crate::wire::{Address, CloseReason, Malformed};

/// Bytes of a certificate at most.
const CERTIFICATE_MAX: usize = 8 * 1024;
/// Letters of a group's or user's name at most.
const NAME_MAX: usize = 64;
/// Bytes of a serial number at most (RFC 5280 section 4.1.2.2).
const SERIAL_MAX: i32 = 20;
/// Serials that are revoked one by one at most; beyond, the lowest is forgotten. A list of the authority has no such end.
const REVOKED_MAX: usize = 65_536;

/// The wall clock, in seconds since 1970 (UTC). Whoever asks reads it; the core has no clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wall(pub u64);

/// The serial number of a certificate, big endian without leading zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Serial(pub Vec<u8>);

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Serial {
    type Err = String;

    /// Hexadecimal digits; colons between them are passed over, as OpenSSL writes them.
    fn from_str(text: &str) -> Result<Self, String> {
        let number = BigNum::from_hex_str(&text.replace(':', ""));
        let is_hex = text.chars().all(|letter| letter.is_ascii_hexdigit() || letter == ':');
        match number {
            Ok(number) if is_hex && number.num_bits() > 0 && number.num_bytes() <= SERIAL_MAX => {
                Ok(Self(number.to_vec()))
            }
            _ => Err(format!("`{text}` is no serial number")),
        }
    }
}

/// A member, as a trust rule sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its place on the ring.
    pub address: Address,
    /// Whose node it is, if an authority says so.
    pub user: Option<String>,
    /// The group, if an authority says so.
    pub group: Option<String>,
    /// The certificate's serial number; empty if there is no certificate.
    pub serial: Serial,
    /// When the membership ends, or its authority if that is earlier; nothing if it does not.
    pub not_after: Option<Wall>,
}

impl Identity {
    /// The same, if it is the member that was meant.
    ///
    /// # Errors
    /// It is another member.
    pub fn at(self, meant: Option<Address>) -> Result<Self, Refusal> {
        if meant.is_none_or(|meant| meant == self.address) { Ok(self) } else { Err(Refusal::WrongAddress) }
    }
}

/// Why a claim is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What the rule judges is not there, or cannot be read.
    #[error("malformed certificate")]
    Malformed,
    /// It is not the address that was meant, or that belongs to the key.
    #[error("another member answered")]
    WrongAddress,
    /// The certificate is for another group.
    #[error("member of another group")]
    WrongGroup,
    /// An authority that is not ours signed it.
    #[error("certificate of an unknown authority")]
    UnknownAuthority,
    /// No authority signed it.
    #[error("self-signed certificate")]
    SelfSigned,
    /// The membership is over.
    #[error("the membership has expired")]
    Expired,
    /// The membership has not begun.
    #[error("the membership has not begun")]
    NotYetValid,
    /// The membership was withdrawn.
    #[error("the membership is revoked")]
    Revoked,
}

impl From<Refusal> for DropReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed => Self::BadCertificate,
            Refusal::WrongAddress => Self::WrongMember,
            Refusal::WrongGroup => Self::WrongGroup,
            Refusal::UnknownAuthority => Self::UnknownAuthority,
            Refusal::SelfSigned => Self::SelfSigned,
            Refusal::Expired => Self::Expired,
            Refusal::NotYetValid => Self::NotYetValid,
            Refusal::Revoked => Self::Revoked,
        }
    }
}

/// What a peer is told that proved its claim.
impl From<Refusal> for CloseReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::WrongAddress => Self::WrongMember,
            Refusal::WrongGroup => Self::WrongGroup,
            Refusal::Expired => Self::Expired,
            Refusal::NotYetValid => Self::NotYetValid,
            Refusal::Revoked => Self::Revoked,
            Refusal::Malformed | Refusal::UnknownAuthority | Refusal::SelfSigned => Self::Refused,
        }
    }
}

/// What OpenSSL cannot read is malformed.
impl From<ErrorStack> for Refusal {
    fn from(_: ErrorStack) -> Self {
        Self::Malformed
    }
}

/// Which claims make a member.
#[derive(Clone, Debug)]
pub enum Trust {
    /// A bare address is believed.
    Believe,
    /// The address belongs to the certificate's key; nobody else vouches for it.
    SelfCertified,
    /// An authority vouches for address, user and group.
    Authority(Box<Authority>),
    /// A bare address is believed, its user is called by it, and the authority revokes: for models, whose members show no
    /// certificates.
    Modelled(Box<Authority>),
}

impl Trust {
    /// Judges a claim at a time of the wall clock.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn verify(&self, claim: &Claim, wall: Wall) -> Result<Identity, Refusal> {
        match (self, claim) {
            (Self::Believe, Claim::Address(address)) => {
                let (user, group, serial, not_after) = (None, None, Serial::default(), None);
                Ok(Identity { address: *address, user, group, serial, not_after })
            }
            (Self::SelfCertified, Claim::Certificate(der)) => self_certified(&*read(der)?),
            (Self::Authority(authority), Claim::Certificate(der)) => authority.verify(&*read(der)?, wall),
            (Self::Modelled(authority), Claim::Address(address)) => authority.believe(*address),
            _ => Err(Refusal::Malformed),
        }
    }

    /// Judges a member again that was taken before.
    ///
    /// # Errors
    /// Its membership is over by now.
    pub fn review(&self, member: &Identity, wall: Wall) -> Result<(), Refusal> {
        let Some(authority) = self.authority() else { return Ok(()) };
        if member.not_after.is_some_and(|end| end < wall) {
            return Err(Refusal::Expired);
        }
        authority.check_revoked(member.user.as_deref(), &member.serial)
    }

    /// What is known of the group's revocations, if there is a group.
    #[must_use]
    pub fn known(&self) -> Option<&Known> {
        self.authority().map(|authority| &*authority.known)
    }

    /// The last revocation list of single certificates, if there is a group.
    #[must_use]
    pub fn listed(&self) -> Option<Listed> {
        self.authority().map(|authority| authority.listed)
    }

    /// Takes what a notice of the group's authority says, and whether it was news.
    ///
    /// # Errors
    /// It cannot be read, somebody else signed it, it is of another group, or of a time when the authority had ended.
    pub fn take_notice(&mut self, bytes: &[u8]) -> Result<(Notice, bool), Refusal> {
        self.authority_mut().ok_or(Refusal::UnknownAuthority)?.take_notice(bytes)
    }

    /// Takes the authority's list of revoked users, in one piece with its signature ([`SignedList::join`]); how many of its
    /// revocations were new.
    ///
    /// # Errors
    /// It cannot be read, somebody else signed it, it is of another group, or older than the one that is there.
    pub fn take_user_list(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        self.authority_mut().ok_or(Refusal::UnknownAuthority)?.take_user_list(bytes)
    }

    fn authority(&self) -> Option<&Authority> {
        match self {
            Self::Authority(authority) | Self::Modelled(authority) => Some(authority),
            Self::Believe | Self::SelfCertified => None,
        }
    }

    fn authority_mut(&mut self) -> Option<&mut Authority> {
        match self {
            Self::Authority(authority) | Self::Modelled(authority) => Some(authority),
            Self::Believe | Self::SelfCertified => None,
        }
    }

    /// The same rule with this revocation list (DER) in place of the last one.
    ///
    /// # Errors
    /// As [`Authority::set_list`]; only an authority revokes.
    pub fn revised(&self, list: &[u8]) -> Result<Self, Refusal> {
        let mut revised = self.clone();
        revised.authority_mut().ok_or(Refusal::UnknownAuthority)?.set_list(list)?;
        Ok(revised)
    }
}

fn read(der: &[u8]) -> Result<X509, Refusal> {
    if der.len() > CERTIFICATE_MAX {
        return Err(Refusal::Malformed);
    }
    let certificate = X509::from_der(der)?;
    // One certificate has one encoding: nothing stands behind it.
    if certificate.to_der()? == der { Ok(certificate) } else { Err(Refusal::Malformed) }
}

fn self_certified(certificate: &X509Ref) -> Result<Identity, Refusal> {
    let key = certificate.public_key()?;
    if !certificate.verify(&key)? {
        return Err(Refusal::Malformed);
    }
    let address = address_of(&key)?;
    if Names::of(certificate)?.address.is_some_and(|named| named != address) {
        return Err(Refusal::WrongAddress);
    }
    let serial = serial(certificate)?;
    Ok(Identity { address, user: None, group: None, serial, not_after: None })
}

/// The authority of a group, and whom it withdrew. A copy shares what is known until one of the two learns more.
#[derive(Clone)]
pub struct Authority {
    certificate: X509,
    key: PKey<Public>,
    group: String,
    revoked: Arc<BTreeSet<Serial>>,
    list: Option<Arc<X509Crl>>,
    listed: Listed,
    known: Arc<Known>,
}

/// The last revocation list of single certificates (RFC 5280).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Certificates on it.
    pub certificates: u64,
    /// Its number; 0 without a list.
    pub number: u64,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({})", self.group)
    }
}

impl Authority {
    /// The authority with this certificate (DER) over this group.
    ///
    /// # Errors
    /// The certificate cannot be read, or does not verify itself.
    pub fn new(certificate: &[u8], group: &str) -> Result<Self, Refusal> {
        let certificate = read(certificate)?;
        let key = certificate.public_key()?;
        if !certificate.verify(&key)? || !is_name(group) {
            return Err(Refusal::Malformed);
        }
        let (revoked, list, listed, known) = Default::default();
        Ok(Self { certificate, key, group: group.to_owned(), revoked, list, listed, known })
    }

    /// Withdraws one certificate.
    pub fn revoke(&mut self, serial: Serial) {
        let revoked = Arc::make_mut(&mut self.revoked);
        if revoked.len() == REVOKED_MAX {
            revoked.pop_first();
        }
        revoked.insert(serial);
    }

    /// Takes a revocation list (DER) in place of the last one, if the authority signed it and it is not older.
    ///
    /// # Errors
    /// It cannot be read, somebody else signed it, or it is older than the one that is there.
    pub fn set_list(&mut self, list: &[u8]) -> Result<(), Refusal> {
        let list = self.read_list(list)?;
        // Ours are small; of others (RFC 5280, section 5.2.3) it is enough that it is large.
        let number = list_number(&list)?
            .map(|number| number.to_dec_str().map(|text| text.parse().unwrap_or(u64::MAX)));
        let number = number.transpose()?;
        let certificates = list.get_revoked().map_or(0, |all| all.len() as u64);
        self.listed = Listed { certificates, number: number.unwrap_or_default() };
        self.list = Some(Arc::new(list));
        Ok(())
    }

    /// What is known of its revocations.
    #[must_use]
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// The last revocation list of single certificates.
    #[must_use]
    pub fn listed(&self) -> Listed {
        self.listed
    }

    /// As [`Trust::take_notice`].
    ///
    /// # Errors
    /// As there.
    pub fn take_notice(&mut self, bytes: &[u8]) -> Result<(Notice, bool), Refusal> {
        // Much of what is heard was heard before, and costs no proof and no copy.
        let (read, _) = Notice::read(bytes).map_err(|Malformed| Refusal::Malformed)?;
        if self.known.holds(read.number, bytes) {
            return Ok((read, false));
        }
        let notice = self.verified(bytes)?;
        let fresh = !self.known.knows(&notice) && Arc::make_mut(&mut self.known).take(&notice, bytes);
        Ok((notice, fresh))
    }

    /// As [`Trust::take_user_list`].
    ///
    /// # Errors
    /// As there.
    pub fn take_user_list(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let list = read_signed(&self.key, bytes)?;
        if list.group != self.group {
            return Err(Refusal::WrongGroup);
        }
        let same = |own: &SignedList| **own.bytes() == *bytes;
        if self.known.list().is_some_and(same) {
            return Ok(0);
        }
        Arc::make_mut(&mut self.known).take_list(&list, bytes)
    }

    fn verified(&self, bytes: &[u8]) -> Result<Notice, Refusal> {
        let notice = Notice::verified(&self.key, bytes)?;
        if notice.group != self.group {
            return Err(Refusal::WrongGroup);
        }
        // A revocation is for good; but an authority that has ended says nothing any more.
        if seconds(self.certificate.not_after())?.0 < notice.at {
            return Err(Refusal::Expired);
        }
        Ok(notice)
    }

    fn read_list(&self, list: &[u8]) -> Result<X509Crl, Refusal> {
        let list = X509Crl::from_der(list)?;
        if !list.verify(&self.key)? {
            return Err(Refusal::UnknownAuthority);
        }
        match &self.list {
            Some(last) if is_older(&list, last)? => Err(Refusal::Expired),
            _ => Ok(list),
        }
    }

    fn check_revoked(&self, user: Option<&str>, serial: &Serial) -> Result<(), Refusal> {
        let number = BigNum::from_slice(&serial.0)?.to_asn1_integer()?;
        let listed = self.list.as_ref().map(|list| list.get_by_serial(&number));
        let is_revoked = self.revoked.contains(serial)
            || self.known.has(user, serial)
            || matches!(listed, Some(CrlStatus::Revoked(_)));
        if is_revoked { Err(Refusal::Revoked) } else { Ok(()) }
    }

    fn believe(&self, address: Address) -> Result<Identity, Refusal> {
        let (user, group) = (Some(address.to_string()), Some(self.group.clone()));
        let member = Identity { address, user, group, serial: Serial::default(), not_after: None };
        self.check_revoked(member.user.as_deref(), &member.serial)?;
        Ok(member)
    }

    fn verify(&self, certificate: &X509Ref, wall: Wall) -> Result<Identity, Refusal> {
        self.check_signature(certificate)?;
        check_validity(&self.certificate, wall)?;
        check_validity(certificate, wall)?;
        let serial = serial(certificate)?;
        let names = Names::of(certificate)?;
        self.check_revoked(names.user.as_deref(), &serial)?;
        let address = names.address.ok_or(Refusal::Malformed)?;
        if names.group.as_ref() != Some(&self.group) {
            return Err(Refusal::WrongGroup);
        }
        let not_after = Some(seconds(certificate.not_after())?.min(seconds(self.certificate.not_after())?));
        Ok(Identity { address, user: names.user, group: names.group, serial, not_after })
    }

    fn check_signature(&self, certificate: &X509Ref) -> Result<(), Refusal> {
        if certificate.verify(&self.key)? {
            return Ok(());
        }
        let own = certificate.public_key()?;
        Err(if certificate.verify(&own)? { Refusal::SelfSigned } else { Refusal::UnknownAuthority })
    }
}

/// Whether a list was there before another of the same authority. Numbers grow (RFC 5280 section 5.2.3) even if the
/// authority's clock was put back; lists of one number are told apart by their dates.
fn is_older(list: &X509CrlRef, than: &X509CrlRef) -> Result<bool, Refusal> {
    let order = list_number(list)?.cmp(&list_number(than)?);
    Ok(order.then_with(|| order_of(list.last_update(), than.last_update())) == Ordering::Less)
}

/// A list without a number comes before all that have one.
fn list_number(list: &X509CrlRef) -> Result<Option<BigNum>, Refusal> {
    let Some((_, number)) = list.extension::<CrlNumber>()? else { return Ok(None) };
    Ok(Some(number.to_bn()?))
}

fn check_validity(certificate: &X509Ref, wall: Wall) -> Result<(), Refusal> {
    let now = Asn1Time::from_unix(i64::try_from(wall.0).map_err(|_| Refusal::Expired)?)?;
    if is_before(&now, certificate.not_before()) {
        return Err(Refusal::NotYetValid);
    }
    if is_before(certificate.not_after(), &now) { Err(Refusal::Expired) } else { Ok(()) }
}

fn is_before(one: &Asn1TimeRef, other: &Asn1TimeRef) -> bool {
    order_of(one, other) == Ordering::Less
}

/// Times that cannot be compared are not in order.
fn order_of(one: &Asn1TimeRef, other: &Asn1TimeRef) -> Ordering {
    one.compare(other).unwrap_or(Ordering::Equal)
}

fn seconds(time: &Asn1TimeRef) -> Result<Wall, Refusal> {
    let start = Asn1Time::from_unix(0)?;
    let span = start.diff(time)?;
    let seconds = i64::from(span.days) * 86_400 + i64::from(span.secs);
    u64::try_from(seconds).map(Wall).map_err(|_| Refusal::Malformed)
}

fn serial(certificate: &X509Ref) -> Result<Serial, Refusal> {
    Ok(Serial(certificate.serial_number().to_bn()?.to_vec()))
}

/// What our names in a certificate say; each stands there once at most.
#[derive(Debug, Default)]
struct Names {
    address: Option<Address>,
    user: Option<String>,
    group: Option<String>,
}

impl Names {
    fn of(certificate: &X509Ref) -> Result<Self, Refusal> {
        let mut names = Self::default();
        for name in certificate.subject_alt_names().iter().flatten() {
            let Some(uri) = name.uri() else { continue };
            if let Some(group) = uri.strip_prefix(GROUP) {
                set_once(&mut names.group, Some(group.to_owned()).filter(|name| is_name(name)))?;
            } else if let Some(user) = uri.strip_prefix(USER) {
                set_once(&mut names.user, Some(user.to_owned()).filter(|name| is_name(name)))?;
            } else if let Some(address) = uri.strip_prefix(ADDRESS) {
                set_once(&mut names.address, address.parse().ok())?;
            }
        }
        Ok(names)
    }
}

fn set_once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), Refusal> {
    let value = value.ok_or(Refusal::Malformed)?;
    if place.replace(value).is_some() { Err(Refusal::Malformed) } else { Ok(()) }
}

/// Whether a group or a user may be called so: 1 to 64 letters, digits and `-_.@`, which need no escape in a URI's path.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-_.@".contains(letter);
    (1..=NAME_MAX).contains(&name.len()) && name.chars().all(fits)
}
