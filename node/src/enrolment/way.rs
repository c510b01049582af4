//! The two ways to a group's site: HTTPS to one of its URLs, and a stream over the ring of the public overlay.
//!
//! The one that was answered last is tried first; the other one only if not a byte of the request has left. What went wrong after
//! that is for whoever asks again: a request may have been answered, and its number is used up.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use atoll_core::wire::Address;
use atoll_site::Stream;
use hyper::Request;
use hyper::body::Bytes;
use hyper::http::request::Builder;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;

use super::https::{Place, Said, exchange};
use super::trouble::Trouble;

/// How long this node may take until it is in the public overlay at all, and until a site there has answered the call.
const START_WAIT: Duration = Duration::from_secs(20);
const CALL_WAIT: Duration = Duration::from_secs(40);
/// What the site is called in a request that names no host.
const HOST: &str = "atoll.invalid";

/// A way to a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// One of its URLs.
    Https,
    /// The public overlay.
    Overlay,
}

impl Via {
    /// The word for programs and people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Overlay => "overlay",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Https => Self::Overlay,
            Self::Overlay => Self::Https,
        }
    }
}

/// A stream that is being opened; or why it cannot be.
pub(crate) type Opening<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn Stream>, String>> + Send + 'a>>;

/// The public overlay, as the way to sites.
pub(crate) trait Ring: Send + Sync {
    /// Opens a stream to the site that the authority with this address names, and to nobody else.
    fn open(&self, authority: Address) -> Opening<'_>;
}

/// The public overlay as long as this node is in it.
pub(crate) type Rings = watch::Receiver<Option<Arc<dyn Ring>>>;

/// The overlay's part of a way.
#[derive(Clone)]
pub(crate) struct Around {
    /// The address that belongs to the key of the group's authority.
    pub(crate) authority: Address,
    pub(crate) rings: Rings,
    /// Told when something waits for the node to be in the public overlay.
    pub(crate) waits: watch::Sender<bool>,
}

/// Both ways to one site.
pub(crate) struct Way {
    place: Place,
    around: Option<Around>,
    first: Via,
    last: Option<Via>,
}

/// What is said on a stream, or why there is none.
enum Tried {
    /// The other way may be tried.
    Unopened(Trouble),
    /// The request may have arrived.
    Over(Trouble),
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("first", &self.first).finish_non_exhaustive()
    }
}

impl Way {
    /// To a site at a place of the web, and around that through the overlay if there is one.
    pub(crate) fn new(place: Place, around: Option<Around>) -> Self {
        let first = if place.urls.is_empty() { Via::Overlay } else { Via::Https };
        Self { place, around, first, last: None }
    }

    /// Where the site is, for people.
    pub(crate) fn shown(&self) -> String {
        if self.place.urls.is_empty() { "in the public overlay".to_owned() } else { self.place.shown() }
    }

    /// The way that was answered last.
    pub(crate) fn last(&self) -> Option<Via> {
        self.last
    }

    /// Asks the site, in the way that worked last or else in the other.
    pub(crate) async fn ask(&mut self, request: Builder, body: Vec<u8>) -> Result<Said, Trouble> {
        let request = request.body(Bytes::from(body)).map_err(|why| Trouble::Strange(why.to_string()))?;
        let ways: Vec<Via> =
            [self.first, self.first.other()].into_iter().filter(|via| self.has(*via)).collect();
        let mut trouble = None;
        for via in ways {
            match self.by(via, request.clone()).await {
                Ok(said) => {
                    if let Some(Trouble::OtherKey { url }) = &trouble {
                        let hint = "the file may be old: download it again";
                        tracing::warn!(url, by = via.word(), hint, "another answers at the site's URL");
                    }
                    (self.first, self.last) = (via, Some(via));
                    return Ok(said);
                }
                Err(Tried::Unopened(why)) => trouble = Some(both(trouble, why)),
                Err(Tried::Over(why)) => {
                    self.first = if self.has(via.other()) { via.other() } else { via };
                    return Err(why);
                }
            }
        }
        Err(trouble.unwrap_or_else(|| {
            Trouble::Silent("the file names no URL of it, and this node is in no public overlay".to_owned())
        }))
    }

    fn has(&self, via: Via) -> bool {
        match via {
            Via::Https => !self.place.urls.is_empty(),
            Via::Overlay => self.around.is_some(),
        }
    }

    async fn by(&self, via: Via, request: Request<Bytes>) -> Result<Said, Tried> {
        match (via, &self.around) {
            (Via::Overlay, Some(around)) => around.ask(request).await,
            _ => {
                let (stream, url) = self.place.open().await.map_err(Tried::Unopened)?;
                let host = url.to_string();
                let host = host.trim_start_matches("https://");
                exchange(Box::new(stream), (host, &url.to_string()), request).await.map_err(Tried::Over)
            }
        }
    }
}

impl Around {
    async fn ask(&self, request: Request<Bytes>) -> Result<Said, Tried> {
        let silent = |why: String| Trouble::Silent(format!("through the overlay: {why}"));
        let late = || silent("no answer in time".to_owned());
        let ring = self.ring().await.map_err(|why| Tried::Unopened(silent(why)))?;
        let opened = timeout(CALL_WAIT, ring.open(self.authority)).await;
        let opened = opened.map_err(|_| Tried::Unopened(late()))?;
        let stream = opened.map_err(|why| Tried::Unopened(silent(why)))?;
        exchange(stream, (HOST, "through the overlay"), request).await.map_err(Tried::Over)
    }

    /// Waits until this node is in the public overlay.
    async fn ring(&self) -> Result<Arc<dyn Ring>, String> {
        let mut rings = self.rings.clone();
        if let Some(ring) = rings.borrow_and_update().clone() {
            return Ok(ring);
        }
        self.waits.send_replace(true);
        let started = timeout(START_WAIT, rings.wait_for(Option::is_some)).await;
        let ring = started.ok().and_then(|ring| ring.ok()?.clone());
        ring.ok_or_else(|| "this node is not in the public overlay".to_owned())
    }
}

/// What is told of two ways that both led nowhere. A wrong key is worth more to know than that another place is silent.
fn both(before: Option<Trouble>, after: Trouble) -> Trouble {
    match (before, after) {
        (None, after) => after,
        (Some(Trouble::Silent(one)), Trouble::Silent(other)) => Trouble::Silent(format!("{one}; {other}")),
        (Some(Trouble::Silent(_)), other) => other,
        (Some(before), _) => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

    /// A ring whose site says this on each stream, or is not found.
    struct Site {
        says: Option<&'static str>,
        opened: AtomicUsize,
    }

    impl Ring for Site {
        fn open(&self, _: Address) -> Opening<'_> {
            self.opened.fetch_add(1, Ordering::Relaxed);
            let Some(says) = self.says else { return Box::pin(async { Err("nobody is there".to_owned()) }) };
            let (near, mut far) = duplex(4096);
            tokio::spawn(async move {
                let _ = far.read(&mut [0; 4096]).await;
                let _ = far.write_all(says.as_bytes()).await;
            });
            Box::pin(async move { Ok(Box::new(near) as Box<dyn Stream>) })
        }
    }

    /// A way whose only URL is of a port where nobody listens.
    fn way(says: Option<&'static str>, urls: usize) -> (Way, Arc<Site>) {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let urls = vec![format!("https://{closed}").parse().unwrap(); urls];
        let site = Arc::new(Site { says, opened: AtomicUsize::new(0) });
        let ring: Arc<dyn Ring> = Arc::<Site>::clone(&site);
        let (_, rings) = watch::channel(Some(ring));
        let authority = Address::from_bytes([1; Address::LEN]);
        let around = Around { authority, rings, waits: watch::Sender::new(false) };
        let place = Place { urls, pin: "ab".repeat(32).parse().unwrap() };
        (Way::new(place, Some(around)), site)
    }

    async fn ask(way: &mut Way) -> Result<Bytes, Trouble> {
        way.ask(Request::get("/x"), Vec::new()).await.map(|said| said.body)
    }

    #[tokio::test]
    async fn the_overlay_is_the_way_where_no_url_answers_and_then_comes_first() {
        for urls in [0, 1] {
            let (mut way, _) = way(Some(ANSWER), urls);
            assert_eq!(ask(&mut way).await, Ok(Bytes::from("hi")));
            assert_eq!((way.last(), way.first), (Some(Via::Overlay), Via::Overlay));
        }
    }

    #[tokio::test]
    async fn when_neither_way_leads_anywhere_both_are_named() {
        let (mut way, _) = way(None, 1);
        let why = ask(&mut way).await.unwrap_err().why();
        assert!(why.contains("https://127.0.0.1") && why.contains("overlay: nobody is there"), "{why}");
        assert_eq!(way.last(), None);
    }

    #[tokio::test]
    async fn a_request_that_has_left_is_not_sent_again_by_itself() {
        let (mut way, site) = way(Some(""), 1);
        way.first = Via::Overlay;
        ask(&mut way).await.unwrap_err();
        assert_eq!((site.opened.load(Ordering::Relaxed), way.first), (1, Via::Https));
    }

    #[test]
    fn a_wrong_key_is_told_before_silence() {
        let silent = || Trouble::Silent("a".to_owned());
        let other = || Trouble::OtherKey { url: "b".to_owned() };
        assert_eq!(both(Some(silent()), other()), other());
        assert_eq!(both(Some(other()), silent()), other());
    }
}
