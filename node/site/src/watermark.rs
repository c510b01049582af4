//! The number of the newest revocation list of each group, kept apart from the database.
//!
//! A database that was restored from an older copy has smaller numbers than this file. That is how the site knows that
//! revocations are missing, and signs nothing before they are back. Without the file it does not know whether any are.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::files::{self, Access, LARGE, Unreadable};

/// Why the file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum NoWatermark {
    /// It cannot be read.
    #[error("watermark {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: Unreadable,
    },
    /// It cannot be written.
    #[error("watermark {} cannot be written: {why}", path.display())]
    Unwritten {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: io::Error,
    },
    /// It says something else.
    #[error("watermark {}: not what the site writes", .0.display())]
    Malformed(PathBuf),
    /// It lies in the folder of the database, and would be restored with it.
    #[error("watermark {}: it lies in the folder of the database, and would be restored with it", .0.display())]
    Beside(PathBuf),
}

/// What a group has in the file of which nobody knows how new its lists are.
const LOST: i64 = 0;
/// What one has that is being founded: of its lists there is the first one at most.
const BEGUN: i64 = -1;

/// The numbers.
#[derive(Debug)]
pub(crate) struct Watermark {
    path: PathBuf,
    /// There was no file when the site started.
    missing: bool,
    numbers: Mutex<Numbers>,
}

#[derive(Debug)]
struct Numbers {
    of: BTreeMap<String, i64>,
    /// Whether the file says the same.
    kept: bool,
}

impl Watermark {
    pub(crate) fn open(path: &Path) -> Result<Self, NoWatermark> {
        let found = match files::read(path, Access::Private, LARGE) {
            Ok(bytes) => {
                Some(serde_json::from_slice(&bytes).map_err(|_| NoWatermark::Malformed(path.to_owned()))?)
            }
            Err(Unreadable::Io(why)) if why.kind() == ErrorKind::NotFound => None,
            Err(why) => return Err(NoWatermark::Unreadable { path: path.to_owned(), why }),
        };
        let (missing, of) = (found.is_none(), found.unwrap_or_default());
        let numbers = Mutex::new(Numbers { of, kept: true });
        Ok(Self { path: path.to_owned(), missing, numbers })
    }

    /// Whether there was no file when the site started.
    pub(crate) fn was_missing(&self) -> bool {
        self.missing
    }

    /// Makes the file of a site that has no group yet.
    pub(crate) fn make(&self) -> Result<(), NoWatermark> {
        self.write(&self.locked().of).map_err(|why| self.unwritten(why))
    }

    /// Whether the file could be written.
    pub(crate) fn check(&self) -> Result<(), NoWatermark> {
        files::rehearse(&self.path).map_err(|why| self.unwritten(why))
    }

    /// Of a group's lists nobody knows how new they are. The file says so with the next number that it gets: before that it stays
    /// missing, which says the same of all groups, those of another copy of the database among them.
    pub(crate) fn lose(&self, group: &str) {
        self.locked().of.insert(group.to_owned(), LOST);
    }

    /// The same of a group that the file does not name.
    pub(crate) fn lose_unknown(&self, group: &str) {
        self.locked().of.entry(group.to_owned()).or_insert(LOST);
    }

    /// Whether that is so. A group that the file does not name came with another copy of the database.
    pub(crate) fn is_lost(&self, group: &str) -> bool {
        self.locked().of.get(group).is_none_or(|number| *number == LOST)
    }

    /// The newest number of a group's list; zero if there was none, or nobody knows.
    pub(crate) fn of(&self, group: &str) -> i64 {
        self.locked().of.get(group).copied().unwrap_or(0).max(0)
    }

    /// A group is about to be founded; on the disk when this returns.
    pub(crate) fn begin(&self, group: &str) -> io::Result<()> {
        let mut numbers = self.locked();
        if !numbers.of.contains_key(group) {
            numbers.of.insert(group.to_owned(), BEGUN);
            numbers.kept = false;
        }
        self.keep_locked(&mut numbers)
    }

    /// It was not founded.
    pub(crate) fn give_up(&self, group: &str) {
        let mut numbers = self.locked();
        if numbers.of.get(group) == Some(&BEGUN) {
            numbers.of.remove(group);
            numbers.kept = false;
        }
    }

    /// Notes a number; on the disk when this returns. If it fails it is known all the same, and [`Watermark::keep`] tries again.
    pub(crate) fn raise(&self, group: &str, number: i64) -> io::Result<()> {
        let mut numbers = self.locked();
        let known = numbers.of.entry(group.to_owned()).or_insert(LOST);
        if *known < number {
            *known = number;
            numbers.kept = false;
        }
        self.keep_locked(&mut numbers)
    }

    /// Writes what is not on the disk yet.
    pub(crate) fn keep(&self) -> io::Result<()> {
        self.keep_locked(&mut self.locked())
    }

    /// Whether everything is on the disk.
    pub(crate) fn is_kept(&self) -> bool {
        self.locked().kept
    }

    fn keep_locked(&self, numbers: &mut Numbers) -> io::Result<()> {
        if !numbers.kept {
            self.write(&numbers.of)?;
            numbers.kept = true;
        }
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, of: &BTreeMap<String, i64>) -> io::Result<()> {
        files::replace(&self.path, &serde_json::to_vec(of)?, Access::Private)
    }

    fn unwritten(&self, why: io::Error) -> NoWatermark {
        NoWatermark::Unwritten { path: self.path.clone(), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_only_grow_and_are_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watermark");
        let mark = Watermark::open(&path).unwrap();
        assert_eq!(mark.of("chess"), 0);
        mark.raise("chess", 7).unwrap();
        mark.raise("chess", 6).unwrap();
        mark.raise("go", 1).unwrap();
        let again = Watermark::open(&path).unwrap();
        assert_eq!((again.of("chess"), again.of("go")), (7, 1));
        std::fs::write(&path, "[]").unwrap();
        assert!(matches!(Watermark::open(&path), Err(NoWatermark::Malformed(_))));
    }

    #[test]
    fn a_file_that_is_missing_stays_so_until_a_number_is_known_and_then_says_which_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watermark");
        let mark = Watermark::open(&path).unwrap();
        mark.lose("chess");
        mark.check().unwrap();
        assert!(mark.was_missing() && mark.is_lost("chess") && mark.is_lost("go") && !path.exists());
        mark.begin("go").unwrap();
        mark.begin("checkers").unwrap();
        assert!(!mark.is_lost("go") && mark.of("go") == 0, "there is nothing that could be missing");
        mark.give_up("checkers");
        mark.raise("go", 1).unwrap();
        mark.give_up("go");
        let again = Watermark::open(&path).unwrap();
        assert!(!again.was_missing() && again.is_lost("chess") && !again.is_lost("go"));
        assert!(again.is_lost("checkers") && again.of("go") == 1);
        again.raise("chess", 3).unwrap();
        assert!(!again.is_lost("chess") && again.of("chess") == 3);
    }

    #[test]
    fn what_could_not_be_written_is_known_and_written_with_the_next_try() {
        let folder = tempfile::tempdir().unwrap();
        let (place, away) = (folder.path().join("place"), folder.path().join("away"));
        std::fs::create_dir(&place).unwrap();
        let mark = Watermark::open(&place.join("watermark")).unwrap();
        mark.make().unwrap();
        std::fs::rename(&place, &away).unwrap();
        assert!(mark.raise("chess", 7).is_err() && mark.keep().is_err());
        assert!(mark.raise("chess", 7).is_err(), "it is not kept because it is known");
        assert!(matches!(mark.check(), Err(NoWatermark::Unwritten { .. })));
        assert_eq!(mark.of("chess"), 7);
        std::fs::rename(&away, &place).unwrap();
        assert_eq!(Watermark::open(&place.join("watermark")).unwrap().of("chess"), 0);
        mark.keep().unwrap();
        assert_eq!(Watermark::open(&place.join("watermark")).unwrap().of("chess"), 7);
    }
}
