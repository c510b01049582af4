//! The key that everything secret in the database is sealed with.
//!
//! It lies in a file of its own, never in the folder of the database: a copy of that folder alone opens nothing. After a
//! restart nobody has to be there; whoever reads both the file and the database has all.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

use crate::files::{self, Access, SMALL, Unreadable};

const KEY: usize = 32;
const NONCE: usize = 12;
const TAG: usize = 16;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum NoVault {
    /// The file cannot be read.
    #[error("key file {}: {why}", path.display())]
    Unreadable {
        /// Where it should be.
        path: PathBuf,
        /// What is wrong.
        why: Unreadable,
    },
    /// It is gone, and what the database holds cannot be opened without it.
    #[error("key file {} is missing, and the database holds authorities that are sealed with it", .0.display())]
    Missing(PathBuf),
    /// It cannot be written.
    #[error("key file {} cannot be written: {why}", path.display())]
    Unwritten {
        /// Where it should be.
        path: PathBuf,
        /// What is wrong.
        why: std::io::Error,
    },
    /// It is no key.
    #[error("key file {} has {length} bytes and not 32", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// How long it is.
        length: usize,
    },
    /// The database is sealed with another one.
    #[error("key file {} is not the one that the database is sealed with", .0.display())]
    Other(PathBuf),
    /// It lies beside what it protects.
    #[error("key file {} lies in the folder of the database, so that a copy of that folder would hold both", .0.display())]
    Beside(PathBuf),
    /// OpenSSL does not take the key.
    #[error("{0}")]
    Library(#[from] ErrorStack),
}

/// What does not open: it was sealed with another key, for another place, or was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sealed with another key, or changed")]
pub(crate) struct Unopened;

/// The keys.
pub(crate) struct Vault {
    seal: Zeroizing<[u8; KEY]>,
    forms: Zeroizing<[u8; KEY]>,
    known: Zeroizing<[u8; KEY]>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault")
    }
}

/// Where the key is.
#[derive(Clone, Debug)]
pub enum KeyFile {
    /// Made at the first start; refused if anybody but its owner may read it.
    Own(PathBuf),
    /// Handed over by what starts the site and keeps others from it, whatever its mode says; never made.
    Handed(PathBuf),
}

impl KeyFile {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Own(path) | Self::Handed(path) => path,
        }
    }
}

/// Whether a missing file is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Nothing is sealed yet.
    Make,
    /// Something is.
    Refuse,
}

impl Vault {
    /// Reads the key file; makes it if that is allowed.
    ///
    /// # Errors
    /// There is no key, or none that nobody else may read.
    pub(crate) fn open(file: &KeyFile, missing: Missing) -> Result<Self, NoVault> {
        let (path, access) = match file {
            KeyFile::Own(path) => (path, Access::Private),
            KeyFile::Handed(path) => (path, Access::Public),
        };
        match files::read(path, access, SMALL) {
            Ok(bytes) => Self::of(path, &Zeroizing::new(bytes)),
            Err(Unreadable::Io(why)) if why.kind() == ErrorKind::NotFound => match (missing, file) {
                (Missing::Refuse, _) => Err(NoVault::Missing(path.clone())),
                (Missing::Make, KeyFile::Own(path)) => Self::make(path),
                (Missing::Make, KeyFile::Handed(path)) => {
                    Err(NoVault::Unreadable { path: path.clone(), why: why.into() })
                }
            },
            Err(why) => Err(NoVault::Unreadable { path: path.clone(), why }),
        }
    }

    fn make(path: &Path) -> Result<Self, NoVault> {
        let unwritten = |why| NoVault::Unwritten { path: path.to_owned(), why };
        let mut key = Zeroizing::new([0; KEY]);
        getrandom(&mut *key, GetRandomFlags::empty()).map_err(|why| unwritten(why.into()))?;
        files::publish(path, &*key, Access::Private).map_err(unwritten)?;
        Self::of(path, &*key)
    }

    fn of(path: &Path, bytes: &[u8]) -> Result<Self, NoVault> {
        if bytes.len() != KEY {
            return Err(NoVault::Length { path: path.to_owned(), length: bytes.len() });
        }
        let (seal, forms) = (mac(bytes, &[b"atoll site seal"])?, mac(bytes, &[b"atoll site forms"])?);
        let known = Zeroizing::new(mac(bytes, &[b"atoll site known"])?);
        Ok(Self { seal: Zeroizing::new(seal), forms: Zeroizing::new(forms), known })
    }

    /// Seals bytes for one place, which is needed to open them.
    ///
    /// # Errors
    /// There is no randomness.
    pub(crate) fn seal(&self, place: &str, bytes: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        let (mut nonce, mut tag) = ([0; NONCE], [0; TAG]);
        openssl::rand::rand_bytes(&mut nonce)?;
        let cipher = Cipher::aes_256_gcm();
        let sealed = encrypt_aead(cipher, &*self.seal, Some(&nonce), place.as_bytes(), bytes, &mut tag)?;
        Ok([&nonce[..], &sealed, &tag].concat())
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// It was not sealed here and for this place.
    pub(crate) fn open_sealed(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let (nonce, rest) = sealed.split_at_checked(NONCE).ok_or(Unopened)?;
        let (body, tag) = rest.split_at_checked(rest.len().wrapping_sub(TAG)).ok_or(Unopened)?;
        let cipher = Cipher::aes_256_gcm();
        decrypt_aead(cipher, &*self.seal, Some(nonce), place.as_bytes(), body, tag)
            .map(Zeroizing::new)
            .map_err(|_| Unopened)
    }

    /// What a form of the browser with this cookie carries.
    pub(crate) fn form_token(&self, cookie: &[u8]) -> Result<[u8; 32], ErrorStack> {
        mac(&*self.forms, &[cookie])
    }

    /// What proves that the account with this hash of its password logged in with a browser or from a place.
    pub(crate) fn known(&self, kind: &str, hash: &str, which: &[u8]) -> Result<[u8; 32], ErrorStack> {
        mac(&*self.known, &[kind.as_bytes(), hash.as_bytes(), which])
    }
}

/// HMAC-SHA-256 over parts, each behind its length, so that no two lists of parts give the same text.
///
/// # Errors
/// OpenSSL does not take the key.
pub(crate) fn mac(key: &[u8], parts: &[&[u8]]) -> Result<[u8; 32], ErrorStack> {
    let key = PKey::hmac(key)?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    for part in parts {
        signer.update(&(part.len() as u64).to_be_bytes())?;
        signer.update(part)?;
    }
    let mut out = [0; 32];
    signer.sign(&mut out)?;
    Ok(out)
}

/// Whether two secrets are the same, in a time that does not depend on where they differ.
#[must_use]
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && memcmp::eq(one, other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_sealed_opens_for_its_place_and_with_its_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&KeyFile::Own(folder.path().join("key")), Missing::Make).unwrap();
        let other = Vault::open(&KeyFile::Own(folder.path().join("other")), Missing::Make).unwrap();
        let sealed = vault.seal("a", b"secret").unwrap();
        assert_eq!(&**vault.open_sealed("a", &sealed).unwrap(), b"secret");
        assert_eq!(vault.open_sealed("b", &sealed), Err(Unopened));
        assert_eq!(other.open_sealed("a", &sealed), Err(Unopened));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(vault.open_sealed("a", &changed), Err(Unopened));
            assert_eq!(vault.open_sealed("a", &sealed[..at]), Err(Unopened));
        }
        assert_ne!(sealed, vault.seal("a", b"secret").unwrap(), "every nonce is new");
    }

    #[test]
    fn a_key_is_made_once_private_and_never_instead_of_one_that_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let file = KeyFile::Own(path.clone());
        assert!(matches!(Vault::open(&file, Missing::Refuse), Err(NoVault::Missing(_))));
        let sealed = Vault::open(&file, Missing::Make).unwrap().seal("a", b"x").unwrap();
        assert!(Vault::open(&file, Missing::Refuse).unwrap().open_sealed("a", &sealed).is_ok());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Vault::open(&file, Missing::Make), Err(NoVault::Unreadable { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        assert!(matches!(Vault::open(&file, Missing::Make), Err(NoVault::Length { length: 5, .. })));
    }

    #[test]
    fn a_key_that_is_handed_over_may_have_any_mode_and_is_never_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile::Handed(folder.path().join("key"));
        assert!(matches!(Vault::open(&file, Missing::Make), Err(NoVault::Unreadable { .. })));
        assert!(matches!(Vault::open(&file, Missing::Refuse), Err(NoVault::Missing(_))));
        assert!(!file.path().exists());
        fs::write(file.path(), [7; 32]).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o440)).unwrap();
        assert!(Vault::open(&file, Missing::Refuse).is_ok());
    }

    #[test]
    fn parts_that_join_to_the_same_text_have_different_codes() {
        let code = |parts: &[&[u8]]| mac(b"key", parts).unwrap();
        assert_ne!(code(&[b"ab", b"c"]), code(&[b"a", b"bc"]));
        assert_ne!(code(&[b"abc"]), code(&[b"abc", b""]));
        assert!(same(b"ab", b"ab") && !same(b"ab", b"ac") && !same(b"ab", b"abc"));
    }
}
