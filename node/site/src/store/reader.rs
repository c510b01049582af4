//! Connections that only read, each used by one question at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::connect;
use crate::refusal::Refusal;

/// Questions at once; further ones wait.
const READERS_MAX: usize = 4;

/// The connections that nobody uses now.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Arc::default(), permits: Arc::new(Semaphore::new(READERS_MAX)) }
    }

    pub(super) async fn read<T, F>(&self, ask: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Refusal> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Refusal::Broken)?;
        let (path, idle) = (self.path.clone(), Arc::clone(&self.idle));
        let asked = spawn_blocking(move || {
            let _permit = permit;
            let taken = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = taken.map_or_else(|| open(&path), Ok)?;
            let answer = catch_unwind(AssertUnwindSafe(|| ask(&connection)));
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            answer.unwrap_or(Err(Refusal::Broken))
        });
        asked.await.unwrap_or(Err(Refusal::Broken))
    }
}

fn open(path: &PathBuf) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    connection.execute_batch("PRAGMA query_only = ON")?;
    Ok(connection)
}
