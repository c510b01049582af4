//! Revocation: the authority's list, which only ever grows.

use std::collections::BTreeSet;

use atoll_core::security::{Serial, Wall};
use atoll_site::authority::{List, Revoked, take_apart};
use openssl::x509::{X509, X509Crl};

use super::{AUTHORITY, Authority, ISSUED, REVOCATIONS, unusable, unwritten};
use crate::failure::Failure;
use crate::files::{self, Access, LARGE};

/// Users that a hint names.
const USERS_SHOWN_MAX: usize = 12;

/// Whose membership ends.
#[derive(Debug)]
pub(crate) enum Which {
    /// One certificate.
    Serial(Serial),
    /// The same, as it is in a file (PEM).
    Certificate(Vec<u8>),
    /// All certificates of a user.
    User(String),
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Revocation {
    /// Revoked now; what was revoked before is not among them.
    pub(crate) serials: Vec<Serial>,
    /// All entries of the list.
    pub(crate) total: usize,
    /// The number of the list.
    pub(crate) number: u64,
}

impl Authority {
    /// Revokes, and replaces the list if there is anything new to it.
    pub(crate) fn revoke(&mut self, which: &Which, now: Wall) -> Result<Revocation, Failure> {
        let path = self.folder.join(REVOCATIONS);
        let asked = self.serials(which)?;
        let mut list = self.list()?;
        let known: BTreeSet<Serial> = list.revoked.iter().map(|one| one.serial.clone()).collect();
        let serials: Vec<Serial> = asked.into_iter().filter(|serial| !known.contains(serial)).collect();
        if !serials.is_empty() {
            let until = self.until(now)?;
            list.number += 1;
            // Two lists in one second, or a clock that was put back: the newer one is the later one all the same.
            list.at = now.max(Wall(list.at.0 + 1));
            list.revoked.extend(serials.iter().map(|serial| Revoked { serial: serial.clone(), at: now }));
            let signed = self.pen().list(&list, until.max(Wall(list.at.0 + 1)));
            let pem = signed.and_then(|list| Ok(list.to_pem()?)).map_err(|why| unusable(&path, &why))?;
            files::replace(&path, &pem, Access::Public).map_err(|why| unwritten(&path, &why))?;
        }
        Ok(Revocation { serials, total: list.revoked.len(), number: list.number })
    }

    /// The list as it is in the file.
    pub(super) fn read_list(&self) -> Result<Vec<u8>, Failure> {
        let path = self.folder.join(REVOCATIONS);
        files::read(&path, Access::Public, LARGE).map_err(|why| unusable(&path, &why))
    }

    fn serials(&self, which: &Which) -> Result<Vec<Serial>, Failure> {
        match which {
            Which::Certificate(pem) => Ok(vec![self.serial_of(pem)?]),
            Which::Serial(serial) => {
                let issued = self.ledger.entries().iter().any(|entry| entry.serial == serial.to_string());
                let refuse = || {
                    Failure::new(
                        format!("serial number {serial}"),
                        "this authority issued no such certificate",
                    )
                    .hint(format!("{} lists all that it did", self.folder.join(ISSUED).display()))
                };
                if issued { Ok(vec![serial.clone()]) } else { Err(refuse()) }
            }
            Which::User(user) => {
                let own = self.ledger.entries().iter().filter(|entry| entry.user == *user);
                let serials = own.map(|entry| entry.serial.parse());
                let serials: Vec<Serial> = serials
                    .collect::<Result<_, _>>()
                    .map_err(|why: String| unusable(&self.folder.join(ISSUED), &why))?;
                if serials.is_empty() { Err(self.stranger(user)) } else { Ok(serials) }
            }
        }
    }

    fn stranger(&self, user: &str) -> Failure {
        let users: BTreeSet<&str> = self.ledger.entries().iter().map(|entry| &*entry.user).collect();
        let some: Vec<&str> = users.into_iter().take(USERS_SHOWN_MAX).collect();
        let hint = match &some[..] {
            [] => "this authority issued no certificate yet".to_owned(),
            _ => format!("users: {}; all are in {}", some.join(", "), self.folder.join(ISSUED).display()),
        };
        Failure::new(format!("user {user}"), "this authority issued no certificate to that user").hint(hint)
    }

    fn serial_of(&self, pem: &[u8]) -> Result<Serial, Failure> {
        let wrong = |why: &str| {
            Failure::new("the certificate", why).hint("give a member's node.pem that this authority issued")
        };
        let certificate = X509::from_pem(pem).map_err(|_| wrong("no certificate in PEM"))?;
        if !certificate.verify(&self.key).unwrap_or(false) {
            return Err(wrong("another authority signed it"));
        }
        let number = certificate.serial_number().to_bn().map_err(|_| wrong("it has no serial number"))?;
        let serial = Serial(number.to_vec());
        let own = self.certificate.serial_number().to_bn().map(|number| Serial(number.to_vec()));
        if own.is_ok_and(|own| own == serial) {
            return Err(wrong("it is the authority's own"));
        }
        Ok(serial)
    }

    fn list(&self) -> Result<List, Failure> {
        let path = self.folder.join(REVOCATIONS);
        let wrong = |why: &str| unusable(&path, &why);
        let list = X509Crl::from_pem(&self.read_list()?).map_err(|_| wrong("no revocation list in PEM"))?;
        if !list.verify(&self.key).unwrap_or(false) {
            return Err(wrong(&format!("another authority than that of {AUTHORITY} signed it")));
        }
        take_apart(&list).map_err(|why| unusable(&path, &why))?.ok_or_else(|| wrong("it has no number"))
    }
}
