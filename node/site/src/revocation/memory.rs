//! What follows when a list was signed: its number is kept apart from the database, and members are told. It follows even if
//! whoever asked has gone meanwhile.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Notify;
use tokio::task::{spawn, spawn_blocking};
use tokio::time::sleep;

use crate::refusal::Refusal;
use crate::site::Site;
use crate::watermark::Watermark;

/// Groups that are said to be outdated at most; of further ones nothing is said.
const OUTDATED_MAX: usize = 1024;
/// When numbers that could not be kept are written again; then after twice as long, and so on.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// A list that was signed.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) group: String,
    pub(crate) number: i64,
}

/// What the site knows of its lists beside the database.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) watermark: Watermark,
    /// Told when a list was signed.
    pub(crate) signed: Notify,
    /// Groups of which a node knows a newer list than the site, so that each is said once.
    outdated: Mutex<BTreeSet<i64>>,
    /// Whether a task tries to keep numbers.
    trying: AtomicBool,
}

impl Memory {
    pub(crate) fn new(watermark: Watermark) -> Self {
        Self { watermark, signed: Notify::new(), outdated: Mutex::default(), trying: AtomicBool::new(false) }
    }

    /// A member's node has shown a newer list than the site has signed as far as it knows.
    pub(crate) fn say_outdated(&self, (group, name): (i64, &str), number: i64) {
        let mut outdated = self.outdated.lock().unwrap_or_else(PoisonError::into_inner);
        if outdated.len() < OUTDATED_MAX && outdated.insert(group) {
            let hint =
                "if the database was restored, the watermark was as well: let a node bring its list home";
            tracing::warn!(
                group = name,
                number,
                hint,
                "a node says that it knows a newer list than the site"
            );
        }
    }

    /// Keeps the number of a list that is on the disk, and lets members be told. What cannot be kept is tried again.
    pub(super) async fn keep(self: Arc<Self>, Listed { group, number }: Listed) {
        self.signed.notify_one();
        let name = group.clone();
        if let Err(why) = self.write(move |watermark| watermark.raise(&name, number)).await {
            let hint = "let the site write there, or it does not know when its database is restored";
            tracing::warn!(group, number, %why, hint, "the list's number is not kept yet");
            self.keep_trying();
        }
    }

    async fn write(
        self: &Arc<Self>,
        act: impl FnOnce(&Watermark) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let memory = Arc::clone(self);
        let written = spawn_blocking(move || act(&memory.watermark)).await;
        written.unwrap_or_else(|why| Err(io::Error::other(why)))
    }

    /// One task is enough for all numbers.
    fn keep_trying(self: Arc<Self>) {
        if !self.trying.swap(true, Ordering::SeqCst) {
            spawn(self.try_again());
        }
    }

    async fn try_again(self: Arc<Self>) {
        let mut wait = RETRY_MIN;
        loop {
            sleep(wait).await;
            wait = (2 * wait).min(RETRY_MAX);
            if self.write(Watermark::keep).await.is_ok() {
                self.trying.store(false, Ordering::SeqCst);
                // Another one may have failed before this was said.
                if self.watermark.is_kept() || self.trying.swap(true, Ordering::SeqCst) {
                    break;
                }
            }
        }
        tracing::info!("the numbers of all lists are kept again");
    }
}

impl Site {
    /// Does something to the database by which a list may be signed.
    ///
    /// # Errors
    /// What `act` refuses, or that nothing can be written.
    pub(crate) async fn write_list<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Connection) -> Result<(T, Option<Listed>), Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (store, memory) = (Arc::clone(&self.store), Arc::clone(&self.memory));
        // The call may be dropped at any moment, and what the writer has taken is written all the same.
        let written = spawn(async move {
            let (done, listed) = store.write(act).await?;
            if let Some(listed) = listed {
                memory.keep(listed).await;
            }
            Ok(done)
        });
        written.await.unwrap_or(Err(Refusal::Broken))
    }
}
