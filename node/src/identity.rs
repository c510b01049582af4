//! The node's own key: made at the first start, read at every later one.
//!
//! The file is complete or absent, and nobody but its owner reads it.

use std::io::ErrorKind;
use std::path::Path;

use atoll_core::Seed;
use atoll_core::security::{Credentials, address_of, derived_key};
use atoll_core::wire::Address;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use zeroize::{Zeroize as _, Zeroizing};

use crate::failure::Failure;
use crate::files::{self, Access, Unreadable};
use crate::keys;

/// A P-256 private key.
#[derive(Debug)]
pub struct Identity {
    key: PKey<Private>,
}

impl Identity {
    /// Reads the key in `path`, or makes one there if the file does not exist.
    ///
    /// # Errors
    /// If the file cannot be read or written, others may read it, or it holds no P-256 private key.
    pub fn load_or_create(path: &Path) -> Result<Self, Failure> {
        match Self::load(path)? {
            Some(identity) => Ok(identity),
            None => Self::create(path),
        }
    }

    /// The key of a node with this seed in the overlay of this name, for one run.
    ///
    /// # Errors
    /// If OpenSSL cannot compute it.
    pub fn derived(seed: Seed, overlay: &str) -> Result<Self, Failure> {
        let key = derived_key(seed, overlay).map_err(|why| Failure::new("a new identity", why))?;
        Ok(Self { key })
    }

    /// The key with a certificate that it makes for itself.
    ///
    /// # Errors
    /// If OpenSSL cannot sign.
    pub fn credentials(&self) -> Result<Credentials, Failure> {
        Credentials::self_signed(self.key.clone())
            .map_err(|why| Failure::new("the identity's certificate", why))
    }

    /// The self-certifying address: the first 160 bits of the SHA-256 of the `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// If OpenSSL cannot encode the public key.
    pub fn address(&self) -> Result<Address, Failure> {
        address_of(&self.key).map_err(|why| Failure::new("the identity's public key", why))
    }

    /// The key itself.
    pub(crate) fn key(&self) -> &PKey<Private> {
        &self.key
    }

    fn load(path: &Path) -> Result<Option<Self>, Failure> {
        let mut pem = match files::read(path, Access::Private, files::SMALL) {
            Err(Unreadable::Io(error)) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|why| unreadable(path, &why))?,
        };
        let key = keys::private(&pem);
        pem.zeroize();
        Ok(Some(Self { key: key.map_err(|why| malformed(path, &why.to_string()))? }))
    }

    fn create(path: &Path) -> Result<Self, Failure> {
        let wrong = |why: ErrorStack| Failure::new("a new identity", why);
        let key = keys::generate().map_err(wrong)?;
        let pem = Zeroizing::new(key.private_key_to_pem_pkcs8().map_err(wrong)?);
        match files::publish(path, &pem, Access::Private) {
            Ok(()) => Ok(Self { key }),
            // Another process was faster: its key is the identity.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Self::load(path)?.ok_or_else(|| malformed(path, "it vanished while it was read"))
            }
            Err(error) => Err(Failure::new(shown(path), format!("cannot be written: {error}")).hint(
                match error.kind() {
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space and start again",
                    _ => "--identity needs a folder that exists and that the daemon's user may write to",
                },
            )),
        }
    }
}

fn shown(path: &Path) -> String {
    format!("identity {}", path.display())
}

fn unreadable(path: &Path, why: &Unreadable) -> Failure {
    match why {
        Unreadable::Open(_) => Failure::new(shown(path), why).hint(format!("chmod 600 {}", path.display())),
        Unreadable::Size => malformed(path, "no file of a key's size"),
        Unreadable::Io(_) => {
            Failure::new(shown(path), why).hint("--identity needs a file that the daemon's user may read")
        }
    }
}

fn malformed(path: &Path, why: &str) -> Failure {
    Failure::new(shown(path), why).hint("move the file away and a new identity is made at the next start")
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::sha::sha256;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    #[test]
    fn the_key_is_made_once_private_and_keeps_its_address() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let first = Identity::load_or_create(&path).unwrap().address().unwrap();
        let second = Identity::load_or_create(&path).unwrap().address().unwrap();
        assert_eq!(first, second);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a draft was left behind");
    }

    #[test]
    fn the_address_is_what_openssl_computes_from_the_public_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let address = Identity::load_or_create(&path).unwrap().address().unwrap();
        let key = PKey::private_key_from_pem(&fs::read(&path).unwrap()).unwrap();
        let spki = key.ec_key().unwrap().public_key_to_der().unwrap();
        assert_eq!(address.to_bytes()[..], sha256(&spki)[..20]);
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        Identity::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let shown = Identity::load_or_create(&path).unwrap_err().to_string();
        assert!(shown.contains("mode 0640") && shown.contains("hint: chmod 600"), "{shown}");
    }

    #[test]
    fn what_is_no_p256_key_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let rsa = openssl::rsa::Rsa::generate(1024).unwrap().private_key_to_pem().unwrap();
        for content in [&b"not a key"[..], b"", &rsa] {
            let _ = fs::remove_file(&path);
            files::publish(&path, content, Access::Private).unwrap();
            assert!(Identity::load_or_create(&path).is_err());
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_folder_that_is_not_there_gives_a_hint() {
        let shown = Identity::load_or_create(Path::new("/nowhere/key.pem")).unwrap_err().to_string();
        assert!(shown.contains("/nowhere/key.pem") && shown.contains("hint: --identity"), "{shown}");
    }
}
