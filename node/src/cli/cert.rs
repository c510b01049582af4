//! `atoll-node cert`: a group's authority, its members' certificates, and their revocation. It talks to no node.

use std::path::{Path, PathBuf};

use atoll_core::security::{Serial, Wall};
use atoll_core::wire::Address;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Verdict, show};
use crate::authority::{self, Authority, Issued, KEY, NodeKey, REVOCATIONS, Request, Which, check_place};
use crate::config::{Name, flag};
use crate::driver::Clock;
use crate::failure::Failure;
use crate::files::{self, Access, SMALL, Unreadable};
use crate::{date, keys};

/// Found a group, make its members' certificates, and revoke them
#[derive(Args)]
pub(super) struct Cert {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Ca(Ca),
    Issue(Issue),
    Revoke(Revoke),
}

/// Make the folder of a group's authority: its key and certificate, the group's secret, an empty revocation list
#[derive(Args)]
struct Ca {
    /// The group: 1 to 64 letters, digits, `-`, `_`, `.` or `@`
    #[arg(long, value_name = "NAME", value_parser = flag::<Name>)]
    group: Name,
    /// The folder to make; nothing is overwritten
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

/// Make the certificate of one node, and the folder that the node needs
#[derive(Args)]
struct Issue {
    /// The authority's folder
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// Whose node it is: 1 to 64 letters, digits, `-`, `_`, `.` or `@`
    #[arg(long, value_name = "NAME", value_parser = flag::<Name>)]
    user: Name,
    /// The node's key (PEM): private, public, or a certificate request, of which nothing but the key counts
    /// [default: a new one]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The place on the ring [default: that which belongs to the key]
    #[arg(long, value_name = "ADDRESS", value_parser = flag::<Address>)]
    address: Option<Address>,
    /// How long it is valid, at most as long as the authority
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// The folder to make, or with a name that ends in .pem the certificate alone; nothing is overwritten
    #[arg(long, value_name = "DIR|FILE")]
    out: PathBuf,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

/// Add certificates to the authority's revocation list; exits with 1 if there was nothing to revoke
#[derive(Args)]
struct Revoke {
    /// The authority's folder
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    #[command(flatten)]
    which: Chosen,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Chosen {
    /// The certificate with this serial number
    #[arg(long, value_name = "HEX", value_parser = flag::<Serial>)]
    serial: Option<Serial>,
    /// The certificate in this file (PEM)
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// All certificates of this user
    #[arg(long, value_name = "NAME", value_parser = flag::<Name>)]
    user: Option<Name>,
}

/// What `cert ca` made.
#[derive(Serialize)]
struct Founded<'a> {
    group: &'a str,
    folder: &'a Path,
    files: &'a [&'static str],
    expires_seconds: u64,
}

/// What `cert issue` made.
#[derive(Serialize)]
struct Made<'a> {
    group: &'a str,
    user: &'a str,
    address: Address,
    serial: String,
    expires_seconds: u64,
    out: &'a Path,
    files: &'a [&'static str],
}

/// What `cert revoke` did.
#[derive(Serialize)]
struct Revoked<'a> {
    revoked: usize,
    serials: Vec<String>,
    total: usize,
    number: u64,
    list: &'a Path,
}

impl Cert {
    pub(super) fn act(self, clock: Clock) -> Result<Verdict, Failure> {
        let now = Wall(clock.wall());
        match self.verb {
            Verb::Ca(verb) => verb.act(now),
            Verb::Issue(verb) => verb.act(now),
            Verb::Revoke(verb) => verb.act(now),
        }
    }
}

impl Ca {
    fn act(self, now: Wall) -> Result<Verdict, Failure> {
        let founded = authority::found(&self.out, &self.group.0, now)?;
        let (folder, files, expires) = (&*self.out, &*founded.files, founded.expires.0);
        if self.json {
            show::json(&Founded { group: &self.group.0, folder, files, expires_seconds: expires })?;
            return Ok(Verdict::Yes);
        }
        print(&[
            ("group", self.group.0),
            ("folder", folder.display().to_string()),
            ("files", files.join(", ")),
            ("valid until", date::shown(expires)),
        ]);
        Ok(Verdict::Yes)
    }
}

impl Issue {
    fn act(self, now: Wall) -> Result<Verdict, Failure> {
        let key = self.key.as_deref().map_or(Ok(NodeKey::New), read_key)?;
        let alone = self.out.extension().is_some_and(|extension| extension == "pem");
        if alone && matches!(key, NodeKey::New) {
            return Err(Failure::new(self.out.display().to_string(), "a new key would be lost")
                .hint("give a folder to --out, or the node's key to --key"));
        }
        let without_key = matches!(key, NodeKey::Public(_));
        check_place(&self.out)?;
        let mut authority = Authority::open(&self.ca)?;
        let request = Request { user: self.user.0.clone(), key, address: self.address, days: self.days };
        let issued = authority.issue(request, now)?;
        let files = if alone {
            issued.write_certificate(&self.out)?;
            Vec::new()
        } else {
            issued.write_folder(&self.out)?
        };
        self.tell(&issued, &files)?;
        if without_key && !alone && !self.json {
            show::line(&format!("add the node's private key as {}", self.out.join(KEY).display()));
        }
        Ok(Verdict::Yes)
    }

    fn tell(&self, issued: &Issued, files: &[&'static str]) -> Result<(), Failure> {
        let (group, user, out) = (&*issued.group, &*self.user.0, &*self.out);
        let (address, serial, expires) = (issued.address, issued.serial.to_string(), issued.expires.0);
        if self.json {
            return show::json(&Made { group, user, address, serial, expires_seconds: expires, out, files });
        }
        let mut rows = vec![
            ("group", group.to_owned()),
            ("user", user.to_owned()),
            ("address", address.to_string()),
            ("serial", serial),
            ("valid until", date::shown(expires)),
            ("out", out.display().to_string()),
        ];
        rows.extend((!files.is_empty()).then(|| ("files", files.join(", "))));
        print(&rows);
        Ok(())
    }
}

impl Revoke {
    fn act(self, now: Wall) -> Result<Verdict, Failure> {
        let which = self.which.read()?;
        let done = Authority::open(&self.ca)?.revoke(&which, now)?;
        let serials: Vec<String> = done.serials.iter().map(ToString::to_string).collect();
        let (list, revoked) = (self.ca.join(REVOCATIONS), serials.len());
        let verdict = if revoked == 0 { Verdict::No } else { Verdict::Yes };
        if self.json {
            let (total, number, list) = (done.total, done.number, &*list);
            show::json(&Revoked { revoked, serials, total, number, list })?;
            return Ok(verdict);
        }
        print(&[
            ("revoked", revoked.to_string()),
            ("serials", if revoked == 0 { "-".to_owned() } else { serials.join(", ") }),
            ("revoked in all", done.total.to_string()),
            ("list", format!("{} (number {})", list.display(), done.number)),
        ]);
        Ok(verdict)
    }
}

impl Chosen {
    fn read(self) -> Result<Which, Failure> {
        match self {
            Self { serial: Some(serial), .. } => Ok(Which::Serial(serial)),
            Self { certificate: Some(path), .. } => read(&path, Access::Public).map(Which::Certificate),
            Self { user, .. } => Ok(Which::User(user.map(|Name(name)| name).unwrap_or_default())),
        }
    }
}

/// A private key must be private; a public one and a request need not.
fn read_key(path: &Path) -> Result<NodeKey, Failure> {
    let pem = zeroize::Zeroizing::new(read(path, Access::Public)?);
    let wrong = |why: keys::NoKey| {
        Failure::new(format!("key {}", path.display()), why)
            .hint("`openssl ecparam -name prime256v1 -genkey -noout` makes a key that will do")
    };
    match keys::private(&pem) {
        Ok(key) => {
            read(path, Access::Private)?;
            Ok(NodeKey::Private(key))
        }
        Err(keys::NoKey::Private) => keys::public(&pem).map(NodeKey::Public).map_err(wrong),
        Err(why) => Err(wrong(why)),
    }
}

fn read(path: &Path, access: Access) -> Result<Vec<u8>, Failure> {
    files::read(path, access, SMALL).map_err(|why| {
        let failure = Failure::new(path.display().to_string(), &why);
        match why {
            Unreadable::Open(_) => failure.hint(format!("chmod 600 {}", path.display())),
            _ => failure.hint("give the path of a readable file in PEM"),
        }
    })
}

fn print(rows: &[(&str, String)]) {
    let mut rows = rows.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]);
    let header = rows.next().unwrap_or_default();
    show::table(&header.iter().map(String::as_str).collect::<Vec<_>>(), rows);
}
