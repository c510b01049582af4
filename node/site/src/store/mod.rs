//! The database: one writer, several readers, and nothing answered before it is on the disk.
//!
//! Writes of many requests share a transaction, so that one wait for the disk serves them all; each stands in a savepoint
//! of its own and fails alone. It knows no tables but those that `schema` makes, and decides nothing.

mod private;
mod reader;
mod schema;
mod writer;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, flock};

use crate::refusal::Refusal;
use reader::Readers;
use writer::Writer;

const DATABASE: &str = "site.sqlite";
const LOCK: &str = "lock";
/// How long a statement waits for another connection.
const WAIT: Duration = Duration::from_secs(5);

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Unopened {
    /// The folder cannot be made or locked.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// SQLite refuses the file.
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    /// Another site works with it.
    #[error("another process has it open")]
    InUse,
    /// A later version of this program made it.
    #[error("its version {0} is newer than this program knows")]
    Newer(i64),
}

/// The open database.
#[derive(Debug)]
pub(crate) struct Store {
    writer: Writer,
    readers: Readers,
    _lock: File,
}

impl Store {
    /// Opens the database in a folder; both are made if they do not exist.
    ///
    /// # Errors
    /// It cannot be opened, or another process has it.
    pub(crate) fn open(folder: &Path) -> Result<Self, Unopened> {
        use std::os::unix::fs::OpenOptionsExt as _;
        make_folder(folder)?;
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(folder.join(LOCK))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| Unopened::InUse)?;
        private::make_private(folder)?;
        let path = folder.join(DATABASE);
        let mut connection = connect(&path)?;
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
        schema::migrate(&mut connection)?;
        Ok(Self { writer: Writer::start(connection)?, readers: Readers::new(path), _lock: lock })
    }

    /// Does something to the database; on the disk when this returns, or not done at all.
    ///
    /// # Errors
    /// What `act` refuses, or that nothing can be written.
    pub(crate) async fn write<T, F>(&self, act: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Refusal> + Send + 'static,
    {
        self.writer.write(act).await
    }

    /// Looks something up; sees all that was written before.
    ///
    /// # Errors
    /// What `ask` refuses, or that nothing can be read.
    pub(crate) async fn read<T, F>(&self, ask: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Refusal> + Send + 'static,
    {
        self.readers.read(ask).await
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn connect(path: &PathBuf) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(WAIT)?;
    connection.execute_batch("PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;")?;
    Ok(connection)
}

#[cfg(test)]
mod tests;
