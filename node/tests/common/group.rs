//! Groups for the tests: authorities and members by the program's own verbs, and what no verb would make.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{SystemTime, UNIX_EPOCH};

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{AuthorityKeyIdentifier, CrlNumber, SubjectAlternativeName};
use openssl::x509::{X509, X509CrlBuilder, X509Name};
use serde_json::Value;
use tempfile::TempDir;

use super::{Running, verb};

pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

pub fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes a file that only its owner may read.
pub fn private(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Runs `atoll-node cert` with `--json`; what it printed.
#[track_caller]
pub fn cert(words: &[&str]) -> Value {
    let output = verb(&[&["cert"], words, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{words:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs `atoll-node cert` and gives what came of it.
pub fn try_cert(words: &[&str]) -> Output {
    verb(&[&["cert"], words].concat())
}

/// A folder with authorities and members in it.
pub struct Groups(pub TempDir);

impl Groups {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The authority of a group, in a folder of this name.
    pub fn authority(&self, name: &str, group: &str) -> PathBuf {
        let folder = self.path(name);
        cert(&["ca", "--group", group, "--out", text(&folder)]);
        folder
    }

    /// The folder of a user's node.
    pub fn member(&self, authority: &Path, user: &str) -> PathBuf {
        let folder = self.path(&format!("{}-{user}", authority.file_name().unwrap().to_str().unwrap()));
        cert(&["issue", "--ca", text(authority), "--user", user, "--out", text(&folder)]);
        folder
    }

    /// A configuration file whose overlay `public` is of this group.
    pub fn config(&self, group: &str, bootstraps: &[SocketAddr]) -> PathBuf {
        let file = self.path(&format!("{:016x}.yaml", fs::read_dir(self.0.path()).unwrap().count()));
        let bootstraps: Vec<String> = bootstraps.iter().map(|one| format!("\"{one}\"")).collect();
        let overlay = format!("name: public, bootstraps: [{}], group: {{{group}}}", bootstraps.join(", "));
        fs::write(&file, format!("overlays:\n  - {{{overlay}}}\n")).unwrap();
        file
    }

    /// A node with the group section `group`.
    pub fn start(&self, group: &str, bootstraps: &[SocketAddr]) -> Running {
        let config = self.config(group, bootstraps);
        Running::start_with(&["--listen", "127.0.0.1:0", "--config", text(&config)])
    }
}

/// The section of a member of `chess` that reads its list from the authority's folder.
pub fn section(member: &Path, authority: &Path) -> String {
    let list = authority.join("revocations.pem");
    format!("name: chess, folder: {}, revocations: {}, poll: 200 ms", text(member), text(&list))
}

/// An authority that signs anything.
pub struct Forger {
    pub key: PKey<Private>,
    pub certificate: X509,
}

/// What a forged certificate says.
pub struct Leaf<'a> {
    pub names: &'a [&'a str],
    pub from: i64,
    pub until: i64,
}

impl<'a> Leaf<'a> {
    pub fn new(names: &'a [&'a str]) -> Self {
        Self { names, from: now() - 100, until: now() + 10_000 }
    }
}

pub const ADDRESS: &str = "atoll://address/5555555555555555555555555555555555555555";

impl Forger {
    /// One who has got hold of an authority's key.
    pub fn with(authority: &Path) -> Self {
        let key = PKey::private_key_from_pem(&fs::read(authority.join("authority.key")).unwrap()).unwrap();
        let certificate = X509::from_pem(&fs::read(authority.join("authority.pem")).unwrap()).unwrap();
        Self { key, certificate }
    }

    /// One whose certificate, with these names, vouches for itself.
    pub fn alone(leaf: &Leaf<'_>) -> Self {
        let key = key();
        let certificate = sign(&key, &key, leaf);
        Self { key, certificate }
    }

    /// Makes the files of a member, but for the secret, beside those of the authority.
    pub fn member(&self, folder: &Path, leaf: &Leaf<'_>) {
        let key = key();
        self.write(folder, &key, &sign(&key, &self.key, leaf));
    }

    /// Makes the files of a member whose certificate is the authority's own.
    pub fn own_member(&self, folder: &Path) {
        self.write(folder, &self.key, &self.certificate);
    }

    fn write(&self, folder: &Path, key: &PKey<Private>, certificate: &X509) {
        fs::create_dir(folder).unwrap();
        private(&folder.join("node.key"), &key.private_key_to_pem_pkcs8().unwrap());
        fs::write(folder.join("node.pem"), certificate.to_pem().unwrap()).unwrap();
        fs::write(folder.join("authority.pem"), self.certificate.to_pem().unwrap()).unwrap();
        fs::write(folder.join("revocations.pem"), self.empty_list()).unwrap();
    }

    fn empty_list(&self) -> Vec<u8> {
        let mut builder = X509CrlBuilder::new().unwrap();
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        builder.set_last_update(&Asn1Time::from_unix(now()).unwrap()).unwrap();
        builder.set_next_update(&Asn1Time::from_unix(now() + 1000).unwrap()).unwrap();
        let blank = X509::builder().unwrap();
        let context = blank.x509v3_context(Some(&self.certificate), None);
        let issuer = AuthorityKeyIdentifier::new().issuer(true).build(&context).unwrap();
        builder.append_extension(issuer).unwrap();
        let number = CrlNumber::new(BigNum::from_u32(1).unwrap()).unwrap();
        builder.append_extension(number.build().unwrap()).unwrap();
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        builder.build().unwrap().to_pem().unwrap()
    }
}

fn sign(key: &PKey<Private>, signer: &PKey<Private>, leaf: &Leaf<'_>) -> X509 {
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, "forged").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(77).unwrap();
    builder.set_serial_number(&Asn1Integer::from_bn(&serial).unwrap()).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(leaf.from).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(leaf.until).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    let mut names = SubjectAlternativeName::new();
    leaf.names.iter().for_each(|name| {
        names.uri(name);
    });
    let names = names.build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    builder.build()
}
