//! A group's authority: a folder with its key, and what is done with it.
//!
//! Everything that it signs says what the command says; nothing is taken over from whoever asks.

mod ledger;
mod revoke;

use std::path::{Path, PathBuf};

use atoll_core::security::{Serial, Wall};
use atoll_core::wire::Address;
use atoll_site::authority::{self as signing, LIFE, Leaf, List, Pen, SLACK, Span, random_serial};
use openssl::pkey::{PKey, Private, Public};
use openssl::x509::X509;
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::{Zeroize as _, Zeroizing};

pub(crate) use atoll_site::authority::{SECRET_BYTES, group_of};
pub(crate) use revoke::Which;

use crate::failure::Failure;
use crate::files::{self, Access, Page, SMALL};
use crate::{date, keys};
use ledger::{Entry, Ledger};

/// Names of the files in an authority's folder and in a member's.
const AUTHORITY_KEY: &str = "authority.key";
pub(crate) const AUTHORITY: &str = "authority.pem";
pub(crate) const SECRET: &str = "secret";
pub(crate) const REVOCATIONS: &str = "revocations.pem";
const ISSUED: &str = "issued.log";
pub(crate) const KEY: &str = "node.key";
pub(crate) const CERTIFICATE: &str = "node.pem";

const DAY: u64 = 86_400;

/// The open folder of an authority; nobody else works in it meanwhile.
#[derive(Debug)]
pub(crate) struct Authority {
    folder: PathBuf,
    group: String,
    key: PKey<Private>,
    certificate: X509,
    ledger: Ledger,
}

/// For whom a certificate is made.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) user: String,
    /// Its own, or only the public half of it; a new one if there is none.
    pub(crate) key: NodeKey,
    /// Else that which belongs to the key.
    pub(crate) address: Option<Address>,
    pub(crate) days: u32,
}

/// The key that a certificate is made for.
#[derive(Debug)]
pub(crate) enum NodeKey {
    New,
    Private(PKey<Private>),
    Public(PKey<Public>),
}

/// A certificate that was made, and all that goes with it.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) group: String,
    pub(crate) serial: Serial,
    pub(crate) address: Address,
    pub(crate) expires: Wall,
    certificate: Vec<u8>,
    key: Option<Zeroizing<Vec<u8>>>,
    authority: Vec<u8>,
    secret: Zeroizing<Vec<u8>>,
    revocations: Vec<u8>,
}

/// An authority that was made.
#[derive(Debug)]
pub(crate) struct Founded {
    pub(crate) expires: Wall,
    pub(crate) files: Vec<&'static str>,
}

/// Makes the folder of a new authority.
pub(crate) fn found(folder: &Path, group: &str, now: Wall) -> Result<Founded, Failure> {
    let wrong = |why: &dyn std::fmt::Display| Failure::new("a new authority", why);
    let key = keys::generate().map_err(|why| wrong(&why))?;
    let (pen, until) = (Pen { key: &key, group }, Wall(now.0 + LIFE));
    let serial = random_serial().map_err(|why| wrong(&why))?;
    let certificate = pen.root(&serial, Span { now, until }).map_err(|why| wrong(&why))?;
    let first = List { number: 1, at: Wall(now.0.saturating_sub(SLACK)), revoked: Vec::new() };
    let list = pen.list(&first, until).and_then(|list| Ok(list.to_pem()?)).map_err(|why| wrong(&why))?;
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    getrandom(&mut *secret, GetRandomFlags::empty()).map_err(|why| wrong(&why))?;
    let key = Zeroizing::new(key.private_key_to_pem_pkcs8().map_err(|why| wrong(&why))?);
    let certificate = certificate.to_pem().map_err(|why| wrong(&why))?;
    let pages = [
        Page { name: AUTHORITY_KEY, bytes: &key, access: Access::Private },
        Page { name: AUTHORITY, bytes: &certificate, access: Access::Public },
        Page { name: SECRET, bytes: &*secret, access: Access::Private },
        Page { name: REVOCATIONS, bytes: &list, access: Access::Public },
        Page { name: ISSUED, bytes: &[], access: Access::Private },
    ];
    files::publish_folder(folder, &pages).map_err(|why| unwritten(folder, &why))?;
    Ok(Founded { expires: until, files: pages.iter().map(|page| page.name).collect() })
}

impl Authority {
    /// Opens the folder that [`found`] made.
    pub(crate) fn open(folder: &Path) -> Result<Self, Failure> {
        let ledger = Ledger::open(&folder.join(ISSUED)).map_err(|why| {
            Failure::new(format!("ledger {}", folder.join(ISSUED).display()), why)
                .hint("--ca takes the folder that `atoll-node cert ca` made")
        })?;
        let mut pem = read(&folder.join(AUTHORITY_KEY), Access::Private)?;
        let key = keys::private(&pem);
        pem.zeroize();
        let key = key.map_err(|why| unusable(&folder.join(AUTHORITY_KEY), &why))?;
        let path = folder.join(AUTHORITY);
        let certificate = X509::from_pem(&read(&path, Access::Public)?)
            .map_err(|_| unusable(&path, &"no certificate in PEM"))?;
        if !certificate.verify(&key).unwrap_or(false) {
            return Err(unusable(&path, &"another key than the authority's signed it"));
        }
        let group = group_of(&certificate).ok_or_else(|| unusable(&path, &"it names no group"))?;
        Ok(Self { folder: folder.to_owned(), group, key, certificate, ledger })
    }

    /// Makes a certificate for one node, and enters it into the ledger.
    pub(crate) fn issue(&mut self, request: Request, now: Wall) -> Result<Issued, Failure> {
        let wrong = |why: &dyn std::fmt::Display| Failure::new("the certificate", why);
        let until = self.until(now)?.min(Wall(now.0 + u64::from(request.days) * DAY));
        let (private, public) = request.key.halves().map_err(|why| wrong(&why))?;
        let derived = signing::own_address(&public).map_err(|why| wrong(&why))?;
        let address = request.address.unwrap_or(derived);
        let serial = self.ledger.fresh_serial().map_err(|why| wrong(&why))?;
        let entry =
            Entry { serial: serial.to_string(), user: request.user.clone(), address, expires: until.0 };
        self.ledger.append(entry).map_err(|why| unwritten(&self.folder.join(ISSUED), &why))?;
        let (group, user) = (&*self.group, &*request.user);
        let leaf = Leaf { key: &public, group, user, address, serial: &serial };
        let certificate = self.pen().leaf(&leaf, Span { now, until }).map_err(|why| wrong(&why))?;
        let pem = |key: PKey<Private>| key.private_key_to_pem_pkcs8().map(Zeroizing::new);
        Ok(Issued {
            group: self.group.clone(),
            address,
            expires: until,
            certificate: certificate.to_pem().map_err(|why| wrong(&why))?,
            key: private.map(pem).transpose().map_err(|why| wrong(&why))?,
            authority: read(&self.folder.join(AUTHORITY), Access::Public)?,
            secret: Zeroizing::new(read(&self.folder.join(SECRET), Access::Private)?),
            revocations: self.read_list()?,
            serial,
        })
    }

    fn pen(&self) -> Pen<'_> {
        Pen { key: &self.key, group: &self.group }
    }

    /// When the authority ends.
    fn until(&self, now: Wall) -> Result<Wall, Failure> {
        let path = self.folder.join(AUTHORITY);
        let until =
            date::wall(self.certificate.not_after()).ok_or_else(|| unusable(&path, &"it never ends"))?;
        if until <= now {
            let why = format!("the authority ended at {}", date::shown(until.0));
            return Err(Failure::new(format!("authority {}", path.display()), why)
                .hint("found a new one with `atoll-node cert ca`, and give every member a new certificate"));
        }
        Ok(until)
    }
}

impl NodeKey {
    fn halves(self) -> Result<(Option<PKey<Private>>, PKey<Public>), openssl::error::ErrorStack> {
        match self {
            Self::Public(key) => Ok((None, keys::public_half(&key)?)),
            Self::Private(key) => keys::public_half(&key).map(|public| (Some(key), public)),
            Self::New => {
                let key = keys::generate()?;
                keys::public_half(&key).map(|public| (Some(key), public))
            }
        }
    }
}

impl Issued {
    /// Writes the folder that a node needs; the names of the files in it.
    pub(crate) fn write_folder(&self, folder: &Path) -> Result<Vec<&'static str>, Failure> {
        let key = self.key.iter().map(|key| Page { name: KEY, bytes: key, access: Access::Private });
        let rest = [
            Page { name: CERTIFICATE, bytes: &self.certificate, access: Access::Public },
            Page { name: AUTHORITY, bytes: &self.authority, access: Access::Public },
            Page { name: SECRET, bytes: &self.secret, access: Access::Private },
            Page { name: REVOCATIONS, bytes: &self.revocations, access: Access::Public },
        ];
        let pages: Vec<Page<'_>> = key.chain(rest).collect();
        files::publish_folder(folder, &pages).map_err(|why| unwritten(folder, &why))?;
        Ok(pages.iter().map(|page| page.name).collect())
    }

    /// Writes the certificate alone.
    pub(crate) fn write_certificate(&self, path: &Path) -> Result<(), Failure> {
        files::publish(path, &self.certificate, Access::Public).map_err(|why| unwritten(path, &why))
    }
}

fn read(path: &Path, access: Access) -> Result<Vec<u8>, Failure> {
    files::read(path, access, SMALL).map_err(|why| {
        let failure = unusable(path, &why);
        match why {
            files::Unreadable::Open(_) => failure.hint(format!("chmod 600 {}", path.display())),
            _ => failure,
        }
    })
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(path.display().to_string(), why).hint("--ca takes the folder that `atoll-node cert ca` made")
}

/// Refuses a place that a certificate cannot be written to, before the ledger knows of it.
pub(crate) fn check_place(out: &Path) -> Result<(), Failure> {
    if out.symlink_metadata().is_ok() {
        return Err(unwritten(out, &std::io::ErrorKind::AlreadyExists.into()));
    }
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    match parent.map(std::fs::metadata) {
        Some(Err(why)) => Err(unwritten(out, &why)),
        Some(Ok(folder)) if !folder.is_dir() => {
            Err(unwritten(out, &std::io::ErrorKind::NotADirectory.into()))
        }
        _ => Ok(()),
    }
}

fn unwritten(path: &Path, why: &std::io::Error) -> Failure {
    use std::io::ErrorKind::{
        AlreadyExists, DirectoryNotEmpty, InvalidInput, NotADirectory, NotFound, QuotaExceeded, StorageFull,
    };
    let hint = match why.kind() {
        AlreadyExists | DirectoryNotEmpty | NotADirectory => {
            "nothing is overwritten: give a place where there is nothing yet"
        }
        NotFound => "make the folder that it shall lie in first",
        InvalidInput => "give the folder a name of its own",
        StorageFull | QuotaExceeded => "free some space and try again",
        _ => "give a place where you may write",
    };
    Failure::new(path.display().to_string(), format!("cannot be written: {why}")).hint(hint)
}
