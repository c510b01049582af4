//! Revocation lists of the groups: looked at again and again, and handed on when they changed.
//!
//! What cannot be read, is broken, older or of another authority is said aloud once; the last good list stays. It is
//! kept in a file of the node's own, so that an older one does not pass at the next start either.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use atoll_core::security::{Epoch, Identity, Trust, Wall};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::certificate::Renewed;
use crate::config::{Group, Place};
use crate::files::{self, Access, LARGE};
use crate::group;

/// What changed in the files of an overlay's group.
#[derive(Debug)]
pub(super) struct Fresh {
    /// The overlay's place in the configuration.
    pub(super) overlay: usize,
    pub(super) news: News,
}

/// What a file says now.
#[derive(Debug)]
pub(super) enum News {
    /// The newest list, in DER.
    List(Vec<u8>),
    /// The newest list of users from the group's site, in one piece with its signature.
    Users(Vec<u8>),
    /// The last notice from there.
    Notice(Vec<u8>),
    /// The salt that the group has since that.
    Epoch(Epoch),
    Certificate(Renewed),
}

/// One overlay's list.
#[derive(Debug)]
pub(super) struct Watched {
    name: String,
    path: PathBuf,
    own: Option<Identity>,
    trust: Arc<Trust>,
    stamp: Option<Stamp>,
    complaint: Option<String>,
    memory: PathBuf,
    /// That it cannot be written was said.
    is_forgetful: bool,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: (i64, i64),
    inode: u64,
    size: u64,
}

impl Stamp {
    pub(super) fn of(path: &Path) -> Result<Self, String> {
        let metadata = fs::metadata(path).map_err(|why| why.to_string())?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Ok(Self { modified, inode: metadata.ino(), size: metadata.size() })
    }
}

impl Watched {
    pub(super) fn new(name: &str, group: &Group, place: &Place) -> Self {
        let (path, own) = (group.revocations.clone(), place.identity.clone());
        let (trust, memory) = (place.security.trust(), group::memory(group));
        let (name, stamp, complaint, is_forgetful) = (name.to_owned(), None, None, false);
        Self { name, path, own, trust, stamp, complaint, memory, is_forgetful }
    }

    /// The list, if it is another than before and good.
    fn look(&mut self) -> Option<Vec<u8>> {
        match self.read() {
            Ok(list) => {
                self.complaint = None;
                list
            }
            Err(why) => {
                if self.complaint.as_ref() != Some(&why) {
                    let (overlay, file) = (&*self.name, self.path.display());
                    let hint = "take the newest list from the group's authority";
                    tracing::warn!(overlay, %file, why, hint, "revocation list not taken; the last good one stays");
                    self.complaint = Some(why);
                }
                None
            }
        }
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, String> {
        let stamp = Stamp::of(&self.path)?;
        if self.stamp == Some(stamp) {
            return Ok(None);
        }
        let pem = files::read(&self.path, Access::Public, LARGE).map_err(|why| why.to_string())?;
        let (trust, list) = group::revise(&self.trust, &pem)?;
        let (overlay, file) = (&*self.name, self.path.display());
        tracing::info!(overlay, %file, "revocation list read");
        // At any time: only the list counts here.
        let withdrawn = self.own.as_ref().is_some_and(|own| trust.review(own, Wall::default()).is_err());
        if withdrawn {
            tracing::warn!(overlay, "our own membership is revoked: no member takes it");
        }
        self.trust = Arc::new(trust);
        self.stamp = Some(stamp);
        self.remember(&pem);
        Ok(Some(list))
    }

    fn remember(&mut self, pem: &[u8]) {
        let result = group::remember(&self.memory, pem);
        if let Some(why) = result.as_ref().err().filter(|_| !self.is_forgetful) {
            let (overlay, file) = (&*self.name, self.memory.display());
            let hint = "let the daemon write there, or an older list passes at its next start";
            tracing::warn!(overlay, %file, %why, hint, "revocation list not kept");
        }
        self.is_forgetful = result.is_err();
    }
}

/// When to look at files: again and again, and when they were written by this process.
#[derive(Debug)]
pub(super) struct Look {
    poll: Duration,
    written: Option<watch::Receiver<()>>,
}

impl Look {
    pub(super) fn new(poll: Duration, written: Option<watch::Receiver<()>>) -> Self {
        Self { poll, written }
    }

    /// Waits for the next time.
    pub(super) async fn next(&mut self) {
        let Some(written) = &mut self.written else { return sleep(self.poll).await };
        // Whoever wrote may have ended; then time alone counts.
        if let Ok(Err(_)) = timeout(self.poll, written.changed()).await {
            self.written = None;
        }
    }
}

/// Looks at a list until `fresh` closes.
pub(super) async fn follow(overlay: usize, mut watched: Watched, fresh: mpsc::Sender<Fresh>, mut look: Look) {
    while !fresh.is_closed() {
        if let Some(list) = watched.look()
            && fresh.send(Fresh { overlay, news: News::List(list) }).await.is_err()
        {
            return;
        }
        look.next().await;
    }
}
