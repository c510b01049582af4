//! Files from member to member: QUIC over the ring.
//!
//! QUIC secures itself, and both sides show their certificates; the overlay's trust rule judges them before a byte of
//! content moves. Nothing here names a transport address: a [`carrier::Carrier`] is all the network that QUIC has.

mod addresses;
mod carrier;
mod inbox;
mod member;
mod names;
mod receive;
mod send;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use atoll_core::wire::Address;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

pub(super) use carrier::{Arrivals, Departures};

use super::Clock;
use super::http::{Answer, Content, Parts};
use super::requests::Asker;
use super::roster::Roster;
use crate::config::Settings;
use crate::failure::Failure;
use carrier::Carrier;
use inbox::Inbox;
use member::Member;
use send::Trouble;
use words::Offer;

/// Whatever keeps a membership from sending files.
type Problem = Box<dyn std::error::Error + Send + Sync>;

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

/// The service of a node. Clones share it.
#[derive(Clone)]
pub(super) struct Transfers {
    /// None where there is no security.
    members: Arc<BTreeMap<String, Option<Standby>>>,
    desk: Arc<Desk>,
    sending: Arc<Semaphore>,
}

/// A membership whose QUIC takes no memory before somebody wants it.
#[derive(Clone)]
struct Standby {
    own: Address,
    wanted: Arc<Notify>,
    started: watch::Receiver<Started>,
}

type Started = Option<Result<Arc<Member>, String>>;

impl Standby {
    /// The membership, started now at the latest.
    async fn member(&mut self) -> Result<Arc<Member>, String> {
        self.wanted.notify_one();
        let started = self.started.wait_for(Option::is_some).await;
        started.ok().and_then(|started| started.clone()).unwrap_or_else(|| Err("the node ends".to_owned()))
    }
}

/// Starts a membership's QUIC once it is wanted, or the first datagram comes; then receives until the node ends.
async fn stand_by(
    mut carrier: Carrier,
    wanted: Arc<Notify>,
    start: impl FnOnce(Carrier) -> Result<Member, Problem>,
    (started, desk): (watch::Sender<Started>, Arc<Desk>),
) {
    tokio::select! {
        () = carrier.stirred() => {}
        () = wanted.notified() => {}
    }
    let member = start(carrier).map(Arc::new).map_err(|why| format!("QUIC does not start: {why}"));
    started.send_replace(Some(member.clone()));
    match member {
        Ok(member) => receive::accept_all(member, desk).await,
        Err(why) => tracing::warn!(why, "no files"),
    }
}

/// The driver's ends.
pub(super) struct Exchange {
    pub(super) departures: Departures,
    pub(super) arrivals: Arrivals,
}

impl Transfers {
    /// Is ready to receive in every overlay that has security.
    ///
    /// # Errors
    /// If the inbox cannot be used.
    pub(super) fn start(
        settings: &Settings,
        roster: &Roster,
        asker: &Asker,
        clock: Clock,
    ) -> Result<(Self, Exchange), Failure> {
        let inbox = settings.inbox.as_deref().map(|folder| Inbox::open(folder, settings.inbox_max.0));
        let (inbox, receiving) = (inbox.transpose()?, Semaphore::new(TRANSFERS_MAX));
        let desk = Arc::new(Desk { inbox, receiving, received: Mutex::default(), clock });
        let (departing, departures) = carrier::departures();
        let (mut members, mut arrivals) = (BTreeMap::new(), Arrivals::default());
        for (overlay, place) in roster.members() {
            let Some(credentials) = place.security.credentials() else {
                arrivals.skip();
                members.insert(overlay.to_owned(), None);
                continue;
            };
            let (wanted, (sender, started)) = (Arc::new(Notify::new()), watch::channel(None));
            let (name, credentials, asker) = (overlay.to_owned(), credentials.clone(), asker.clone());
            let start = move |carrier| Member::new(name, &credentials, carrier, asker);
            let (carrier, out) = (arrivals.carrier(&departing), (sender, Arc::clone(&desk)));
            tokio::spawn(stand_by(carrier, Arc::clone(&wanted), start, out));
            members.insert(overlay.to_owned(), Some(Standby { own: place.address, wanted, started }));
        }
        let sending = Arc::new(Semaphore::new(TRANSFERS_MAX));
        Ok((Self { members: Arc::new(members), desk, sending }, Exchange { departures, arrivals }))
    }

    /// Whether a file can be sent as it is asked for.
    pub(super) fn admit(&self, request: &Request) -> Result<Admitted, Refused> {
        let overlay = request.overlay.clone();
        let standby = match self.members.get(&overlay) {
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
