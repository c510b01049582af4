//! The number of the newest revocation list of each group, kept apart from the database.
//!
//! A database that was restored from an older copy has smaller numbers than this file. That is how the site knows that
//! revocations are missing, and signs nothing before they are back.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
    /// It says something else.
    #[error("watermark {}: not what the site writes", .0.display())]
    Malformed(PathBuf),
}

/// The numbers.
#[derive(Debug)]
pub(crate) struct Watermark {
    path: PathBuf,
    numbers: Mutex<BTreeMap<String, i64>>,
}

impl Watermark {
    pub(crate) fn open(path: &Path) -> Result<Self, NoWatermark> {
        let numbers = match files::read(path, Access::Private, LARGE) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|_| NoWatermark::Malformed(path.to_owned()))?
            }
            Err(Unreadable::Io(why)) if why.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(why) => return Err(NoWatermark::Unreadable { path: path.to_owned(), why }),
        };
        Ok(Self { path: path.to_owned(), numbers: Mutex::new(numbers) })
    }

    /// The newest number of a group's list; zero if there was none.
    pub(crate) fn of(&self, group: &str) -> i64 {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.get(group).copied().unwrap_or(0)
    }

    /// Notes a number; on the disk when this returns.
    pub(crate) fn raise(&self, group: &str, number: i64) -> io::Result<()> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if numbers.get(group).is_some_and(|known| *known >= number) {
            return Ok(());
        }
        let mut raised = numbers.clone();
        raised.insert(group.to_owned(), number);
        files::replace(&self.path, &serde_json::to_vec(&raised)?, Access::Private)?;
        *numbers = raised;
        Ok(())
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
}
