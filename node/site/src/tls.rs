//! The site's own certificate for HTTPS, or its operator's.
//!
//! The own key is made once and kept sealed in the database. Members know its SHA-256 from their files, so that no authority
//! of the web has to vouch for it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::sha::sha256;
use openssl::ssl::{SslAcceptor, SslMethod, SslVersion};
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509Name};
use rusqlite::{Connection, OptionalExtension as _};

use crate::authority::random_serial;
use crate::files::{self, Access, SMALL, Unreadable};
use crate::keys;
use crate::refusal::Refusal;
use crate::site::Site;

const PLACE: &str = "tls key";
const DAY: i64 = 86_400;
/// How long the own certificate is valid, in seconds; it is made anew at every start.
const LIFE: i64 = 3_650 * DAY;

/// Why there is no HTTPS.
#[derive(Debug, thiserror::Error)]
pub enum NoTls {
    /// A file of the operator's cannot be read.
    #[error("{}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: Unreadable,
    },
    /// OpenSSL does not take what is in them.
    #[error("OpenSSL does not take the certificate and its key: {0}")]
    Library(#[from] ErrorStack),
    /// The database refuses.
    #[error("database: {0}")]
    Refused(#[from] Refusal),
}

/// Files of the operator's.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, and those that lead to its authority (PEM).
    pub certificate: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
}

impl Site {
    /// What connections are secured with; members learn its pin from here on.
    ///
    /// # Errors
    /// The files are of no use.
    pub async fn secure(&mut self, files: Option<&TlsFiles>) -> Result<SslAcceptor, NoTls> {
        let (chain, key) = match files {
            Some(files) => read(files)?,
            None => {
                let key = self.own_key().await?;
                (vec![own_certificate(&key, &self.told.urls, self.now())?], key)
            }
        };
        self.told.pin = sha256(&key.public_key_to_der()?);
        Ok(acceptor(&chain, &key)?)
    }

    async fn own_key(&self) -> Result<PKey<Private>, NoTls> {
        let sql = "SELECT value FROM site WHERE name = ?1";
        let find = |db: &Connection| Ok(db.query_row(sql, [PLACE], |row| row.get(0)).optional()?);
        let sealed: Option<Vec<u8>> = self.store.read(find).await?;
        if let Some(sealed) = sealed {
            let opened = self.vault.open_sealed(PLACE, &sealed).map_err(|_| Refusal::Broken)?;
            return Ok(PKey::private_key_from_pkcs8(&opened)?);
        }
        let key = keys::generate()?;
        let sealed = self.vault.seal(PLACE, &zeroize::Zeroizing::new(key.private_key_to_pkcs8()?))?;
        let insert = move |db: &Connection| {
            let sql = "INSERT INTO site (name, value) VALUES (?1, ?2)";
            Ok(db.execute(sql, rusqlite::params![PLACE, sealed])?)
        };
        self.store.write(insert).await?;
        Ok(key)
    }
}

fn read(files: &TlsFiles) -> Result<(Vec<X509>, PKey<Private>), NoTls> {
    let open = |path: &Path, access| {
        let wrong = |why| NoTls::Unreadable { path: path.to_owned(), why };
        files::read(path, access, SMALL).map_err(wrong)
    };
    let chain = X509::stack_from_pem(&open(&files.certificate, Access::Public)?)?;
    let pem = zeroize::Zeroizing::new(open(&files.key, Access::Private)?);
    Ok((chain, PKey::private_key_from_pem(&pem)?))
}

fn acceptor(chain: &[X509], key: &PKey<Private>) -> Result<SslAcceptor, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    if let Some((first, rest)) = chain.split_first() {
        builder.set_certificate(first)?;
        rest.iter().try_for_each(|one| builder.add_extra_chain_cert(one.clone()))?;
    }
    builder.set_private_key(key)?;
    builder.check_private_key()?;
    Ok(builder.build())
}

/// The host of a URL: what stands between `//` and the port or the path.
fn host(url: &str) -> &str {
    let rest = url.split_once("//").map_or(url, |(_, rest)| rest);
    let rest = rest.split('/').next().unwrap_or(rest);
    match rest.strip_prefix('[').and_then(|six| six.split_once(']')) {
        Some((six, _)) => six,
        None => rest.rsplit_once(':').map_or(rest, |(host, _)| host),
    }
}

fn own_certificate(key: &PKey<Private>, urls: &[String], now: i64) -> Result<X509, NoTls> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "atoll site")?;
    let name = name.build();
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    let serial = random_serial().map_err(Refusal::from)?;
    builder.set_serial_number(&*Asn1Integer::from_bn(&*BigNum::from_slice(&serial.0)?)?)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_not_before(&*Asn1Time::from_unix(now - DAY)?)?;
    builder.set_not_after(&*Asn1Time::from_unix(now + LIFE)?)?;
    builder.set_pubkey(key)?;
    let mut names = SubjectAlternativeName::new();
    names.dns("localhost");
    for host in urls.iter().map(|url| host(url)).filter(|host| !host.is_empty()) {
        match host.parse::<IpAddr>() {
            Ok(address) => names.ip(&address.to_string()),
            Err(_) => names.dns(host),
        };
    }
    let names = names.build(&builder.x509v3_context(None, None))?;
    builder.append_extension(names)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_url_is_found_with_and_without_a_port() {
        for (url, expected) in [
            ("https://site.example:4433/x", "site.example"),
            ("https://site.example", "site.example"),
            ("https://[2001:db8::1]:4433", "2001:db8::1"),
            ("https://192.0.2.1:1", "192.0.2.1"),
        ] {
            assert_eq!(host(url), expected);
        }
    }
}
