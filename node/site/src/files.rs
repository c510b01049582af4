//! Files and folders that are complete or absent, and private files that nobody but their owner reads.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::rand::{GetRandomFlags, getrandom};

/// Bytes of a key, a secret or a certificate at most.
pub const SMALL: u64 = 64 * 1024;
/// Bytes of a revocation list at most: some hundred thousand entries.
pub const LARGE: u64 = 16 * 1024 * 1024;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its owner.
    Private,
    /// Anyone.
    Public,
}

impl Access {
    fn mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The system refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The mode of a private file.
    #[error("others may use this private file (mode {0:04o})")]
    Open(u32),
    /// A folder, or a file that is too long.
    #[error("no file of a fitting size")]
    Size,
}

/// Reads a file that has at most `most` bytes.
///
/// # Errors
/// It cannot be read, is private and others may read it, or is longer.
pub fn read(path: &Path, access: Access, most: u64) -> Result<Vec<u8>, Unreadable> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(Unreadable::Size);
    }
    if access == Access::Private && metadata.mode() & 0o077 != 0 {
        return Err(Unreadable::Open(metadata.mode() & 0o7777));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(Unreadable::Size) } else { Ok(bytes) }
}

/// Makes a file with this content.
///
/// # Errors
/// There is one, or it cannot be written.
pub fn publish(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let draft = Draft::new(path)?;
    write(&draft.0, bytes, access)?;
    fs::hard_link(&draft.0, path)?;
    sync_folder_of(path)
}

/// Makes a file with this content in place of the one that is there.
///
/// # Errors
/// It cannot be written; the old one stays.
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let draft = Draft::new(path)?;
    write(&draft.0, bytes, access)?;
    fs::rename(&draft.0, path)?;
    sync_folder_of(path)
}

/// Writes what [`replace`] would write before it takes the file's place, and removes it again.
///
/// # Errors
/// It cannot be written.
pub fn rehearse(path: &Path) -> io::Result<()> {
    write(&Draft::new(path)?.0, b"{}", Access::Private)
}

/// A file of a folder that is to be made.
#[derive(Debug)]
pub struct Page<'a> {
    /// Its name in the folder.
    pub name: &'static str,
    /// Its content.
    pub bytes: &'a [u8],
    /// Who may read it.
    pub access: Access,
}

/// Makes a folder with these files, for its owner alone.
///
/// # Errors
/// There is anything at its place but an empty folder, or it cannot be written.
pub fn publish_folder(path: &Path, pages: &[Page<'_>]) -> io::Result<()> {
    let draft = Draft::new(path)?;
    DirBuilder::new().mode(0o700).create(&draft.0)?;
    for page in pages {
        write(&draft.0.join(page.name), page.bytes, page.access)?;
    }
    File::open(&draft.0)?.sync_all()?;
    // Moves onto nothing and onto an empty folder, and refuses everything else (rename(2)).
    fs::rename(&draft.0, path)?;
    sync_folder_of(path)
}

fn write(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(access.mode()).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// A file or folder that is gone when this is dropped, unless it has another name by then.
struct Draft(PathBuf);

impl Draft {
    /// A name beside `path` that no other process takes, not even one of the same id in another container.
    fn new(path: &Path) -> io::Result<Self> {
        let Some(name) = path.file_name() else { return Err(ErrorKind::InvalidInput.into()) };
        let mut suffix = [0; 8];
        getrandom(&mut suffix, GetRandomFlags::empty())?;
        let mut name = name.to_owned();
        name.push(format!(".{:016x}.new", u64::from_be_bytes(suffix)));
        Ok(Self(path.with_file_name(name)))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0).or_else(|_| fs::remove_dir_all(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_published_once_replaced_at_will_and_leaves_no_draft() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        publish(&path, b"one", Access::Private).unwrap();
        assert_eq!(publish(&path, b"two", Access::Private).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(read(&path, Access::Private, 3).unwrap(), b"one");
        replace(&path, b"three", Access::Public).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o644);
        assert!(matches!(read(&path, Access::Private, 9), Err(Unreadable::Open(0o644))));
        assert!(matches!(read(&path, Access::Public, 4), Err(Unreadable::Size)));
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let pages = [
            Page { name: "key", bytes: b"k", access: Access::Private },
            Page { name: "pem", bytes: b"p", access: Access::Public },
        ];
        let path = folder.path().join("a/");
        publish_folder(&path, &pages).unwrap();
        assert_eq!(names(&path), ["key", "pem"]);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(fs::metadata(path.join("key")).unwrap().mode() & 0o7777, 0o600);
        assert!(publish_folder(&path, &pages).is_err(), "it is not empty");
        let twice = [&pages[0], &pages[0]].map(|page| Page { ..*page });
        assert!(publish_folder(&folder.path().join("b"), &twice).is_err());
        fs::create_dir(folder.path().join("c")).unwrap();
        publish_folder(&folder.path().join("c"), &pages).unwrap();
        fs::write(folder.path().join("d"), "").unwrap();
        assert!(publish_folder(&folder.path().join("d"), &pages).is_err(), "it is a file");
        assert_eq!(names(folder.path()), ["a", "c", "d"]);
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path(), Access::Public, 9), Err(Unreadable::Size)));
        let missing = read(&folder.path().join("x"), Access::Public, 9);
        assert!(matches!(missing, Err(Unreadable::Io(why)) if why.kind() == ErrorKind::NotFound));
    }
}
