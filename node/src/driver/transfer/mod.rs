//! Files from member to member, each on a connection of its own over the ring.

mod inbox;
mod names;
mod receive;
mod send;
mod words;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use atoll_core::wire::Address;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::Clock;
use super::carried::{Memberships, Service, Standby};
use super::http::{Answer, Content, Parts};
use crate::config::Settings;
use crate::failure::Failure;
use inbox::Inbox;
use receive::Receiving;
use send::Trouble;
use words::Offer;

/// Files that are received at once, and as many that are sent; one more is refused.
pub const TRANSFERS_MAX: usize = 4;
/// Received files that are remembered; the oldest make room.
pub const RECEIVED_MAX: usize = 256;
/// Lines that wait for whoever sends; progress beyond is not told.
const LINES_MAX: usize = 16;

/// A line of the answer to `POST /send`. The first of `stored`, `not_accepted` and `failed` is the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The receiver wants the file.
    Accepted,
    /// So much is at the receiver.
    Progress {
        /// Bytes of the content.
        bytes: u64,
    },
    /// It is there, and its checksum was verified there.
    Stored {
        /// The name that it got there.
        name: String,
        /// Its size.
        bytes: u64,
        /// Its checksum, in hexadecimal digits.
        sha256: String,
        /// How long everything took.
        seconds: f64,
    },
    /// The other side did not take it, or did not answer.
    NotAccepted {
        /// For people.
        why: String,
    },
    /// This side could not send it.
    Failed {
        /// For people.
        why: String,
    },
}

/// A file that was received, as `GET /files` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// The overlay.
    pub overlay: String,
    /// The member that sent it, proved.
    pub from: Address,
    /// Whose node that is, if an authority says so.
    pub user: Option<String>,
    /// Its name in the inbox.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its checksum, in hexadecimal digits.
    pub sha256: String,
    /// When it was complete, in seconds since 1970 (UTC).
    pub unix_seconds: u64,
}

/// What all receiving tasks share.
#[derive(Debug)]
struct Desk {
    inbox: Option<Inbox>,
    receiving: Semaphore,
    received: Mutex<VecDeque<Received>>,
    clock: Clock,
}

impl Desk {
    fn remember(&self, file: Received) {
        let file = Received { unix_seconds: self.clock.wall(), ..file };
        let Received { overlay, from, user, name, bytes, sha256, .. } = &file;
        tracing::info!(overlay, %from, user, name, bytes, sha256, "file received");
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        if received.len() == RECEIVED_MAX {
            received.pop_front();
        }
        received.push_back(file);
    }
}

/// What is asked for with `POST /send`.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) overlay: String,
    pub(super) to: Address,
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// Why a request is refused before anything is sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("no overlay is named `{0}`")]
    NoOverlay(String),
    #[error("overlay `{0}` has `security: none`, and files need members that prove who they are")]
    NoSecurity(String),
    #[error("that is this node itself")]
    Ourselves,
    #[error("{TRANSFERS_MAX} files are being sent already")]
    Busy,
}

impl Refused {
    /// What to try.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::NoOverlay(_) => "`atoll-node status` lists the overlays",
            Self::NoSecurity(_) => "send it in an overlay with `security: dtls` or `quic`",
            Self::Ourselves => "give another member's address: `atoll-node peers` lists some",
            Self::Busy => "wait until one of them has arrived",
        }
    }
}

/// Files that come: what every membership's service shares.
#[derive(Clone)]
pub(super) struct Receipts(Arc<Desk>);

impl Receipts {
    /// Is ready to receive.
    ///
    /// # Errors
    /// If the inbox cannot be used.
    pub(super) fn open(settings: &Settings, clock: Clock) -> Result<Self, Failure> {
        let inbox = settings.inbox.as_deref().map(|folder| Inbox::open(folder, settings.inbox_max.0));
        let (inbox, receiving) = (inbox.transpose()?, Semaphore::new(TRANSFERS_MAX));
        Ok(Self(Arc::new(Desk { inbox, receiving, received: Mutex::default(), clock })))
    }

    /// The service of one membership.
    pub(super) fn service(&self) -> Arc<dyn Service> {
        Arc::new(Receiving::new(&self.0))
    }
}

/// Files that come and go. Clones share it.
#[derive(Clone)]
pub(super) struct Transfers {
    members: Memberships,
    desk: Arc<Desk>,
    sending: Arc<Semaphore>,
}

impl Transfers {
    /// Is ready to send.
    pub(super) fn new(members: Memberships, receipts: &Receipts) -> Self {
        let sending = Arc::new(Semaphore::new(TRANSFERS_MAX));
        Self { members, desk: Arc::clone(&receipts.0), sending }
    }

    /// Whether a file can be sent as it is asked for.
    pub(super) fn admit(&self, request: &Request) -> Result<Admitted, Refused> {
        let overlay = request.overlay.clone();
        let standby = match self.members.of(&overlay) {
            None => return Err(Refused::NoOverlay(overlay)),
            Some(None) => return Err(Refused::NoSecurity(overlay)),
            Some(Some(member)) if member.own == request.to => return Err(Refused::Ourselves),
            Some(Some(member)) => member.clone(),
        };
        let place = Arc::clone(&self.sending).try_acquire_owned().map_err(|_| Refused::Busy)?;
        Ok(Admitted { standby, place })
    }

    /// The files that were received lately, the oldest first.
    pub(super) fn received(&self) -> Vec<Received> {
        self.desk.received.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// The right to send one file.
pub(super) struct Admitted {
    standby: Standby,
    place: OwnedSemaphorePermit,
}

impl Admitted {
    /// Sends the content; the answer says line by line how far it is.
    pub(super) fn send(self, request: Request, content: Incoming) -> Answer {
        let Request { overlay, to, name, bytes } = request;
        let Self { mut standby, place } = self;
        let (sender, lines) = mpsc::channel(LINES_MAX);
        let task = tokio::spawn(async move {
            let _place = place;
            let sent = match standby.member().await {
                Ok(member) => send::send(&member, to, Offer { name, bytes }, content, &sender).await,
                Err(why) => Err(Trouble::Failed(why)),
            };
            let last = sent.unwrap_or_else(|trouble| match trouble {
                Trouble::NotAccepted(why) => Line::NotAccepted { why },
                Trouble::Failed(why) => Line::Failed { why },
            });
            tracing::debug!(overlay, %to, ?last, "file sent or not");
            let _ = sender.send(last).await;
        });
        answer(lines, &task)
    }
}

/// The lines as they come. Whoever no longer reads them ends the task.
fn answer(mut lines: mpsc::Receiver<Line>, task: &JoinHandle<()>) -> Answer {
    let (sender, parts) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            let Ok(mut text) = serde_json::to_vec(&line) else { return };
            text.push(b'\n');
            if sender.send(Bytes::from(text)).await.is_err() {
                return;
            }
        }
    });
    let mut answer = Answer::new(Content::Parts(Parts::new(parts, task.abort_handle())));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
    answer
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
