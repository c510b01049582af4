//! A membership in a group, read from its files and judged as its peers will judge it, before the node starts.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use atoll_core::security::{
    Authority, Claim, Credentials, GroupSecret, Identity, Refusal, Security, Serial, Trust, Unusable, Wall,
};
use openssl::x509::{X509, X509Crl};
use zeroize::Zeroize as _;

use crate::authority::{SECRET_BYTES, group_of};
use crate::config::{Engine, Group};
use crate::failure::Failure;
use crate::files::{self, Access, LARGE, SMALL, Unreadable};
use crate::revoked::Memory;
use crate::{date, keys};

/// What a member of a group is protected with, and who it is.
#[derive(Debug)]
pub(crate) struct Papers {
    pub(crate) security: Security,
    pub(crate) member: Identity,
}

/// Reads the files of a membership and checks them against each other and against the clock.
pub(crate) fn read(group: &Group, engine: Engine, now: Wall) -> Result<Papers, Failure> {
    let key = {
        let mut pem = open(&Part("key", &group.key), Access::Private, SMALL)?;
        let key = keys::private(&pem);
        pem.zeroize();
        key.map_err(|why| Part("key", &group.key).wrong(why))?
    };
    let certificate = certificate(&Part("certificate", &group.certificate))?;
    let der = encoded(&Part("certificate", &group.certificate), &certificate)?;
    let credentials = Credentials::new(&der, key).map_err(|why| mismatch(group, &why))?;
    let authority = authority(group, now)?;
    if engine == Engine::None {
        return Err(Failure::new("group", "it is not protected by `security: none`"));
    }
    let security = (engine.secured(&credentials))
        .map_err(|why| Part("certificate", &group.certificate).wrong(why))?
        .in_group(authority, Some(secret(&Part("secret", &group.secret))?));
    let verdict = security.trust().verify(&Claim::Certificate(der), now);
    let member = verdict.map_err(|refusal| refused(group, &certificate, refusal))?;
    Ok(Papers { security, member })
}

/// A file, with what it is for.
struct Part<'a>(&'static str, &'a Path);

impl Part<'_> {
    fn wrong(&self, why: impl fmt::Display) -> Failure {
        let Self(name, path) = self;
        Failure::new(format!("{name} {}", path.display()), why)
            .hint("take all files of a membership from one run of `atoll-node cert issue`")
    }
}

fn open(part: &Part<'_>, access: Access, most: u64) -> Result<Vec<u8>, Failure> {
    files::read(part.1, access, most).map_err(|why| {
        let failure = Failure::new(format!("{} {}", part.0, part.1.display()), &why);
        match why {
            Unreadable::Open(_) => failure.hint(format!("chmod 600 {}", part.1.display())),
            Unreadable::Io(_) => failure.hint(
                "`group` needs files that the daemon's user may read; `atoll-node cert issue` makes a folder of them",
            ),
            Unreadable::Size => failure.hint("is this the right file?"),
        }
    })
}

fn certificate(part: &Part<'_>) -> Result<X509, Failure> {
    let pem = open(part, Access::Public, SMALL)?;
    X509::from_pem(&pem).map_err(|_| part.wrong("no certificate in PEM"))
}

fn encoded(part: &Part<'_>, certificate: &X509) -> Result<Vec<u8>, Failure> {
    certificate.to_der().map_err(|why| part.wrong(why))
}

fn mismatch(group: &Group, why: &Unusable) -> Failure {
    let part = Part("certificate", &group.certificate);
    match why {
        Unusable::OtherKey => part.wrong(format!("it is for another key than {}", group.key.display())),
        other => part.wrong(other),
    }
}

/// The authority with its list of revocations.
fn authority(group: &Group, now: Wall) -> Result<Authority, Failure> {
    let part = Part("authority", &group.authority);
    let root = certificate(&part)?;
    if date::wall(root.not_after()).is_some_and(|end| end < now) {
        return Err(part.wrong(format!("it ended at {}", root.not_after())).hint(RENEW));
    }
    let mut authority = Authority::new(&encoded(&part, &root)?, &group.name.0)
        .map_err(|_| part.wrong("it is not the certificate of an authority"))?;
    let part = Part("revocations", &group.revocations);
    let list = read_list(&open(&part, Access::Public, LARGE)?).ok_or_else(|| part.wrong(NO_LIST))?;
    if let Some(newest) = remembered(group) {
        // One of an authority that is no longer ours says nothing.
        let _ = authority.set_list(&newest);
    }
    Memory::of(group).recall(&mut authority);
    match authority.set_list(&list) {
        // Older than the remembered one, which stays; whoever follows the file says so aloud.
        Ok(()) | Err(Refusal::Expired) => Ok(authority),
        Err(refusal) => Err(part.wrong(list_refused(refusal))),
    }
}

/// Where the newest list is kept for the next start: beside the member's key, for that of the configuration is replaced
/// by others.
pub(crate) fn memory(group: &Group) -> PathBuf {
    group.key.with_extension("revocations.pem")
}

fn remembered(group: &Group) -> Option<Vec<u8>> {
    let pem = files::read(&memory(group), Access::Public, LARGE).ok()?;
    read_list(&pem)
}

/// Keeps a list (PEM) for the next start.
pub(crate) fn remember(memory: &Path, pem: &[u8]) -> io::Result<()> {
    let is_known = files::read(memory, Access::Public, LARGE).is_ok_and(|known| known == pem);
    if is_known { Ok(()) } else { files::replace(memory, pem, Access::Public) }
}

/// The secret that members without a group find each other by.
pub(crate) fn secret_of(path: &Path) -> Result<GroupSecret, Failure> {
    secret(&Part("secret", path))
}

fn secret(part: &Part<'_>) -> Result<GroupSecret, Failure> {
    let mut bytes = open(part, Access::Private, SMALL)?;
    let secret = <[u8; SECRET_BYTES]>::try_from(bytes.as_slice());
    let length = bytes.len();
    bytes.zeroize();
    let mut secret = secret.map_err(|_| part.wrong(format!("{length} bytes and not {SECRET_BYTES}")))?;
    let group_secret = GroupSecret::new(secret);
    secret.zeroize();
    Ok(group_secret)
}

const RENEW: &str = "ask the group's authority for a new one: `atoll-node cert issue`";
const NO_LIST: &str = "no revocation list in PEM";

/// A revocation list in DER, from PEM.
pub(crate) fn read_list(pem: &[u8]) -> Option<Vec<u8>> {
    X509Crl::from_pem(pem).and_then(|list| list.to_der()).ok()
}

/// Why a revocation list is not taken.
pub(crate) fn list_refused(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownAuthority => "another authority signed the list",
        Refusal::Expired => "it is older than the list that was there before",
        _ => NO_LIST,
    }
}

/// Why our own certificate would be of no use with our peers.
fn refused(group: &Group, certificate: &X509, refusal: Refusal) -> Failure {
    let part = Part("certificate", &group.certificate);
    let authority = group.authority.display();
    match refusal {
        Refusal::UnknownAuthority => part.wrong(format!("another authority than {authority} signed it")),
        Refusal::SelfSigned => part.wrong(format!("it signed itself; {authority} did not")),
        Refusal::WrongGroup => {
            let (own, name) = (group_of(certificate).unwrap_or_default(), &group.name.0);
            let hint = format!("write `group: {{name: {own}}}`, or take the certificate of group `{name}`");
            part.wrong(format!("it is for group `{own}` and not for `{name}`")).hint(hint)
        }
        Refusal::Expired => part.wrong(format!("it expired at {}", certificate.not_after())).hint(RENEW),
        Refusal::NotYetValid => {
            let why = format!("it is not valid before {}", certificate.not_before());
            part.wrong(why).hint("is the clock of this machine right?")
        }
        Refusal::Revoked => {
            let serial = certificate.serial_number().to_bn().map(|number| Serial(number.to_vec()));
            let serial = serial.unwrap_or_default();
            let list = group.revocations.display();
            part.wrong(format!("it is revoked: {list} names {serial}, or a notice its user")).hint(RENEW)
        }
        Refusal::Malformed | Refusal::WrongAddress => part.wrong("it names no member of a group"),
    }
}

/// A rule with a newer list.
pub(crate) fn revise(trust: &Trust, pem: &[u8]) -> Result<(Trust, Vec<u8>), &'static str> {
    let list = read_list(pem).ok_or(NO_LIST)?;
    let trust = trust.revised(&list).map_err(list_refused)?;
    Ok((trust, list))
}
