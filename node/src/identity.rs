//! The node's own key: made at the first start, read at every later one.
//!
//! The file is complete or absent, and nobody but its owner reads it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use atoll_core::Seed;
use atoll_core::security::{Credentials, derived_key};
use atoll_core::wire::Address;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::sha::sha256;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::failure::Failure;

const CURVE: Nid = Nid::X9_62_PRIME256V1;
const FILE_BYTES_MAX: u64 = 64 * 1024;

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
        let spki =
            self.key.public_key_to_der().map_err(|why| Failure::new("the identity's public key", why))?;
        let mut bytes = [0; Address::LEN];
        bytes.copy_from_slice(&sha256(&spki)[..Address::LEN]);
        Ok(Address::from_bytes(bytes))
    }

    fn load(path: &Path) -> Result<Option<Self>, Failure> {
        let wrong = |why: std::io::Error| {
            Failure::new(shown(path), why).hint("--identity needs a file that the daemon's user may read")
        };
        let metadata = match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(wrong)?,
        };
        if metadata.mode() & 0o077 != 0 {
            let why = format!("others may use this private key (mode {:04o})", metadata.mode() & 0o7777);
            return Err(Failure::new(shown(path), why).hint(format!("chmod 600 {}", path.display())));
        }
        if metadata.len() > FILE_BYTES_MAX || !metadata.is_file() {
            return Err(malformed(path, "no file of a key's size"));
        }
        let pem = fs::read(path).map_err(wrong)?;
        let key = PKey::private_key_from_pem_callback(&pem, |_| Err(ErrorStack::get()))
            .map_err(|_| malformed(path, "no unencrypted private key in PEM"))?;
        let curve = key.ec_key().ok().and_then(|key| key.group().curve_name());
        if curve != Some(CURVE) {
            return Err(malformed(path, "the key is not on the curve P-256"));
        }
        Ok(Some(Self { key }))
    }

    fn create(path: &Path) -> Result<Self, Failure> {
        let made = generate().map_err(|why| Failure::new("a new identity", why))?;
        let (key, pem) = made;
        match publish(path, &pem) {
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

fn generate() -> Result<(PKey<Private>, Vec<u8>), ErrorStack> {
    let group = EcGroup::from_curve_name(CURVE)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let pem = key.private_key_to_pem_pkcs8()?;
    Ok((key, pem))
}

/// Writes the file under another name, then gives it its own; fails if that is taken.
fn publish(path: &Path, pem: &[u8]) -> std::io::Result<()> {
    let draft = Draft::new(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft.0)?;
    file.write_all(pem)?;
    file.sync_all()?;
    fs::hard_link(&draft.0, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// A file that is gone when this is dropped.
struct Draft(PathBuf);

impl Draft {
    /// A name that no other process takes, not even one of the same id in another container.
    fn new(path: &Path) -> std::io::Result<Self> {
        let mut suffix = [0; 8];
        getrandom(&mut suffix, GetRandomFlags::empty())?;
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{:016x}.new", u64::from_be_bytes(suffix)));
        Ok(Self(name.into()))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn shown(path: &Path) -> String {
    format!("identity {}", path.display())
}

fn malformed(path: &Path, why: &str) -> Failure {
    Failure::new(shown(path), why).hint("move the file away and a new identity is made at the next start")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

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
            publish(&path, content).unwrap();
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
