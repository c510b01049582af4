//! The folder of a membership that a site hands out: one node's, for its owner alone.
//!
//! The certificate is written last: where it is, everything else that a membership needs is there. What is written is whole or
//! absent, so that a node that is killed goes on from there at its next start.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::authority::{AUTHORITY, KEY, SECRET};
use crate::config::{MemberFile, Root};
use crate::failure::Failure;
use crate::files::{self, Access, LARGE, SMALL};
use crate::identity::Identity;

/// The member's file, as it came from the site.
pub(crate) const FILE: &str = "member.atoll";
/// The key of the member of the public overlay that `atoll-node join` makes.
pub(crate) const PUBLIC_KEY: &str = "public.key";
/// The newest list as the authority signed it.
const SIGNED_LIST: &str = "revocations.signed";
/// The SHA-256 of the link that fetched the file.
const LINK: &str = "link";
/// Held by the process that uses the folder.
const LOCK: &str = "lock";

/// The open folder; no other process has it meanwhile.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

/// A list as its authority signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SignedList {
    /// What is signed.
    pub(crate) text: String,
    /// By the authority's key: ECDSA with SHA-256, in DER and then in Base64.
    pub(crate) signature: String,
}

impl Folder {
    /// Opens a folder, and makes it if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let wrong = |why: &dyn std::fmt::Display| {
            Failure::new(format!("folder {}", path.display()), why).hint(
                "name another one that this user may write to: --data, or `folder` in the section `group`",
            )
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|why| wrong(&why))?;
        let lock =
            OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(path.join(LOCK));
        let lock = lock.map_err(|why| wrong(&why))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(Errno::WOULDBLOCK) => Err(Failure::new(
                format!("folder {}", path.display()),
                "another node is a member by it",
            )
            .hint(
                "`atoll-node status` shows the node that runs; another one needs a folder of its own: --data",
            )),
            Err(why) => Err(wrong(&why)),
        }
    }

    /// Where a file of this name is.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Takes a member's file over, with what follows from it.
    pub(crate) fn adopt(&self, file: &MemberFile, text: &str) -> Result<(), Failure> {
        if self.place(FILE).exists() {
            let (own, _) = MemberFile::load(&self.place(FILE))?;
            self.compare(&own, file)?;
        }
        self.keep(FILE, text.as_bytes(), Access::Private)?;
        self.keep(SECRET, &file.group.secret.0, Access::Private)?;
        self.keep(AUTHORITY, &pem(&file.group.authority)?, Access::Public)
    }

    /// A folder is one user's in one group for good: its key is known there.
    fn compare(&self, own: &MemberFile, other: &MemberFile) -> Result<(), Failure> {
        let names = |file: &MemberFile| [file.group.name.0.clone(), file.user.name.0.clone()];
        let ([group, user], [to, by]) = (names(own), names(other));
        let wrong = |why: String| {
            Failure::new(format!("folder {}", self.path.display()), why)
                .hint("give the new membership a folder of its own: --data")
        };
        if (&group, &user) != (&to, &by) {
            return Err(wrong(format!(
                "it belongs to user `{user}` of group `{group}`, not to `{by}` of `{to}`"
            )));
        }
        if pem(&own.group.authority)? != pem(&other.group.authority)? {
            return Err(wrong(format!("it belongs to another group that was called `{group}` as well")));
        }
        Ok(())
    }

    /// The node's key, made now if there is none.
    pub(crate) fn key(&self) -> Result<Identity, Failure> {
        Identity::load_or_create(&self.place(KEY))
    }

    /// Writes a file if it does not say the same already.
    pub(crate) fn keep(&self, name: &str, bytes: &[u8], access: Access) -> Result<(), Failure> {
        let path = self.place(name);
        if files::read(&path, access, LARGE).is_ok_and(|known| known == bytes) {
            return Ok(());
        }
        files::replace(&path, bytes, access).map_err(|why| unwritten(&path, &why))
    }

    /// The newest list that was brought home.
    pub(crate) fn list(&self) -> Option<SignedList> {
        let bytes = files::read(&self.place(SIGNED_LIST), Access::Public, 2 * LARGE).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Keeps a list.
    pub(crate) fn keep_list(&self, list: &SignedList) -> Result<(), Failure> {
        let text = serde_json::to_vec(list).map_err(|why| Failure::new("the list as JSON", why))?;
        files::replace(&self.place(SIGNED_LIST), &text, Access::Public)
            .map_err(|why| unwritten(&self.place(SIGNED_LIST), &why))
    }

    /// Remembers by which link the member's file came.
    pub(crate) fn keep_link(&self, digest: &str) -> Result<(), Failure> {
        self.keep(LINK, digest.as_bytes(), Access::Private)
    }
}

/// Whether the member's file in a folder came by the link of this digest.
pub(crate) fn came_by(folder: &Path, digest: &str) -> bool {
    files::read(&folder.join(LINK), Access::Private, SMALL).is_ok_and(|known| known == digest.as_bytes())
}

fn pem(root: &Root) -> Result<Vec<u8>, Failure> {
    root.0.to_pem().map_err(|why| Failure::new("the authority's certificate", why))
}

fn unwritten(path: &Path, why: &io::Error) -> Failure {
    let failure = Failure::new(path.display().to_string(), format!("cannot be written: {why}"));
    match why.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => failure.hint("free some space"),
        _ => failure.hint("let the daemon's user write to that folder"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample_file;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_folder_is_one_process_s_and_its_owner_s_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b");
        let folder = Folder::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        let said = Folder::open(&path).unwrap_err().to_string();
        assert!(said.contains("another node") && said.contains("hint: "), "{said}");
        drop(folder);
        Folder::open(&path).unwrap();
    }

    #[test]
    fn a_folder_takes_newer_files_of_its_member_and_no_other_s() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        let text = sample_file();
        let read = |text: &str| MemberFile::parse("x", text).unwrap();
        folder.adopt(&read(&text), &text).unwrap();
        assert_eq!(files::read(&folder.place(SECRET), Access::Private, 32).unwrap(), [0x12; 32]);
        let newer = text.replacen("ffff", "fffe", 1);
        folder.adopt(&read(&newer), &newer).unwrap();
        assert_eq!(files::read(&folder.place(FILE), Access::Private, SMALL).unwrap(), newer.as_bytes());
        let other = text.replacen("name: ann", "name: bob", 1);
        let said = folder.adopt(&read(&other), &other).unwrap_err().to_string();
        assert!(said.contains("user `ann` of group `chess`"), "{said}");
        let refounded = sample_file();
        let said = folder.adopt(&read(&refounded), &refounded).unwrap_err().to_string();
        assert!(said.contains("another group that was called `chess`"), "{said}");
    }

    #[test]
    fn a_link_is_known_again() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        assert!(!came_by(home.path(), "12"));
        folder.keep_link("12").unwrap();
        assert!(came_by(home.path(), "12") && !came_by(home.path(), "13"));
    }
}
