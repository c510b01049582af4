//! The folder for received files. A file has no name there before it is complete.
//!
//! Where the file system can, the draft is a file without any name (open(2), `O_TMPFILE`), of which nothing is left
//! however the node ends; elsewhere it has a name of its own that goes with it, or at the next start.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, open, renameat_with, statvfs};
use rustix::rand::{GetRandomFlags, getrandom};

use super::names::numbered;
use crate::failure::Failure;

/// Files of one name.
const NUMBERS_MAX: u32 = 1000;
const DRAFT_BEGIN: &str = ".atoll-";
const DRAFT_END: &str = ".part";
/// As any program's new file; the process's mask takes away what it does.
const MODE: Mode = Mode::from_raw_mode(0o666);

/// Where received files go, and how large they may be.
#[derive(Debug)]
pub(super) struct Inbox {
    folder: PathBuf,
    bytes_max: u64,
}

/// A file that is being received.
#[derive(Debug)]
pub(super) struct Draft {
    file: File,
    folder: PathBuf,
    /// Its name for the time being, if it needs one.
    name: Option<PathBuf>,
}

impl Inbox {
    /// The folder, if files can be made there. Drafts of a node that was killed are removed.
    pub(super) fn open(folder: &Path, bytes_max: u64) -> Result<Self, Failure> {
        let wrong = |why: io::Error| {
            Failure::new(format!("inbox {}", folder.display()), why)
                .hint("`inbox` needs a folder that exists and that the daemon's user may write to")
        };
        for entry in fs::read_dir(folder).map_err(wrong)?.flatten() {
            if is_draft(&entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path()).map_err(wrong)?;
            }
        }
        let inbox = Self { folder: folder.to_owned(), bytes_max };
        inbox.draft().map_err(wrong)?;
        Ok(inbox)
    }

    /// Why a file of this size is not taken.
    pub(super) fn refusal(&self, bytes: u64) -> Option<String> {
        if bytes > self.bytes_max {
            return Some(format!("{bytes} bytes are more than the {} that are taken there", self.bytes_max));
        }
        let free = statvfs(&self.folder).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        match free {
            Ok(free) if free < bytes => Some("the disk there has not enough room".to_owned()),
            _ => None,
        }
    }

    /// A new file without a name, or with one that nobody takes for a received file.
    pub(super) fn draft(&self) -> io::Result<Draft> {
        let (folder, flags) = (self.folder.clone(), OFlags::WRONLY | OFlags::CLOEXEC);
        match open(&folder, flags | OFlags::TMPFILE, MODE) {
            Ok(file) => return Ok(Draft { file: file.into(), folder, name: None }),
            Err(why) if is_unsupported(why) => {}
            Err(why) => return Err(why.into()),
        }
        let mut number = [0; 8];
        getrandom(&mut number, GetRandomFlags::empty())?;
        let name = folder.join(format!("{DRAFT_BEGIN}{:016x}{DRAFT_END}", u64::from_be_bytes(number)));
        let file = open(&name, flags | OFlags::CREATE | OFlags::EXCL, MODE)?;
        Ok(Draft { file: file.into(), folder, name: Some(name) })
    }
}

impl Draft {
    /// Another handle to the file.
    pub(super) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Gives the file its name, numbered if that is taken; the one that it got.
    pub(super) fn publish(mut self, name: &str) -> io::Result<String> {
        self.file.sync_all()?;
        for time in 0..NUMBERS_MAX {
            let name = numbered(name, time);
            match self.name_it(&self.folder.join(&name)) {
                Err(why) if why.kind() == ErrorKind::AlreadyExists => {}
                Err(why) => return Err(why),
                Ok(()) => {
                    self.name = None;
                    File::open(&self.folder)?.sync_all()?;
                    return Ok(name);
                }
            }
        }
        Err(io::Error::new(ErrorKind::AlreadyExists, "too many files have this name"))
    }

    fn name_it(&self, path: &Path) -> io::Result<()> {
        match &self.name {
            Some(draft) => renameat_with(CWD, draft, CWD, path, RenameFlags::NOREPLACE)?,
            None => {
                let nameless = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                linkat(CWD, nameless, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
            }
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = fs::remove_file(name);
        }
    }
}

fn is_draft(name: &str) -> bool {
    name.starts_with(DRAFT_BEGIN) && name.ends_with(DRAFT_END)
}

/// What open(2) says where files need names.
fn is_unsupported(why: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    [Errno::OPNOTSUPP, Errno::ISDIR, Errno::NOENT, Errno::INVAL].contains(&why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn inbox(bytes_max: u64) -> (tempfile::TempDir, Inbox) {
        let folder = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(folder.path(), bytes_max).unwrap();
        (folder, inbox)
    }

    fn entries(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The same with a name of its own, as on a file system that has no files without.
    fn named(inbox: &Inbox) -> Draft {
        let name = inbox.folder.join(format!("{DRAFT_BEGIN}1{DRAFT_END}"));
        Draft { file: File::create(&name).unwrap(), folder: inbox.folder.clone(), name: Some(name) }
    }

    #[test]
    fn a_file_gets_its_name_when_it_is_published_and_never_replaces_another() {
        let (folder, inbox) = inbox(10);
        for (turn, name) in ["a.txt", "a (2).txt", "a (3).txt"].iter().enumerate() {
            let draft = if turn == 1 { named(&inbox) } else { inbox.draft().unwrap() };
            draft.file().unwrap().write_all(&[b'0' + turn as u8]).unwrap();
            assert_eq!(draft.publish("a.txt").unwrap(), *name);
        }
        assert_eq!(entries(folder.path()), ["a (2).txt", "a (3).txt", "a.txt"]);
        assert_eq!(fs::read(folder.path().join("a.txt")).unwrap(), b"0");
    }

    #[test]
    fn of_a_draft_that_is_given_up_nothing_is_left() {
        let (folder, inbox) = inbox(10);
        for draft in [inbox.draft().unwrap(), named(&inbox)] {
            draft.file().unwrap().write_all(b"half").unwrap();
            drop(draft);
        }
        assert!(entries(folder.path()).is_empty());
    }

    #[test]
    fn drafts_of_a_killed_node_go_at_the_next_start_and_nothing_else_does() {
        let (folder, inbox) = inbox(10);
        std::mem::forget(named(&inbox));
        fs::write(folder.path().join("mine.part"), "x").unwrap();
        Inbox::open(folder.path(), 10).unwrap();
        assert_eq!(entries(folder.path()), ["mine.part"]);
    }

    #[test]
    fn what_is_too_large_or_has_no_room_is_refused() {
        let (_folder, inbox) = inbox(u64::MAX);
        assert_eq!(inbox.refusal(1000), None);
        assert_eq!(inbox.refusal(1 << 60).unwrap(), "the disk there has not enough room");
        let small = Inbox { bytes_max: 10, ..inbox };
        assert_eq!(small.refusal(10), None);
        assert!(small.refusal(11).unwrap().contains("more than the 10"));
    }

    #[test]
    fn a_folder_that_is_not_there_gives_a_hint() {
        let shown = Inbox::open(Path::new("/nowhere"), 1).unwrap_err().to_string();
        assert!(shown.contains("inbox /nowhere: ") && shown.contains("hint: `inbox` needs"), "{shown}");
    }
}
