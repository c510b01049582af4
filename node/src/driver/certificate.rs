//! A member's own certificate: looked at again and again, and shown once a new one has been put in its place.
//!
//! What does not make the same member of the same group is said aloud once; the one in use stays. Files that are being sent
//! show the old one until the node starts again.

use atoll_core::security::{Identity, Wall};
use openssl::pkey::{PKey, Private};
use tokio::sync::mpsc;

use super::Clock;
use super::revocations::{Fresh, Look, News, Stamp};
use crate::config::{Engine, Group, Place};
use crate::{date, group};

/// One overlay's certificate.
#[derive(Debug)]
pub(super) struct Watched {
    name: String,
    group: Group,
    engine: Engine,
    own: Identity,
    /// Of the certificate and of its key, when they were last in order.
    stamps: Option<[Stamp; 2]>,
    complaint: Option<String>,
}

impl Watched {
    /// Nothing, if no authority made the certificate.
    pub(super) fn new(name: &str, (group, engine): (&Group, Engine), place: &Place) -> Option<Self> {
        let (own, name, group) = (place.identity.clone()?, name.to_owned(), group.clone());
        Some(Self { name, group, engine, own, stamps: None, complaint: None })
    }

    /// The certificate, if it is another than before and good.
    fn look(&mut self, now: Wall) -> Option<Renewed> {
        match self.read(now) {
            Ok(renewed) => {
                self.complaint = None;
                renewed
            }
            Err(why) => {
                if self.complaint.as_ref() != Some(&why) {
                    let (overlay, file) = (&*self.name, self.group.certificate.display());
                    tracing::warn!(overlay, %file, why, "the group's files are not taken; the last good ones stay");
                    self.complaint = Some(why);
                }
                None
            }
        }
    }

    fn read(&mut self, now: Wall) -> Result<Option<Renewed>, String> {
        let stamps = [Stamp::of(&self.group.certificate)?, Stamp::of(&self.group.key)?];
        if self.stamps == Some(stamps) {
            return Ok(None);
        }
        let papers = group::read(&self.group, self.engine, now).map_err(|failure| failure.said())?;
        if papers.member.address != self.own.address {
            return Err(format!("it is for another address than {}", self.own.address));
        }
        self.stamps = Some(stamps);
        if papers.member == self.own {
            return Ok(None);
        }
        self.own = papers.member;
        let (overlay, file) = (&*self.name, self.group.certificate.display());
        let expires = self.own.not_after.map(|end| date::shown(end.0));
        tracing::info!(overlay, %file, expires, "certificate renewed");
        let Some(shown) = papers.security.credentials() else { return Ok(None) };
        let certificate = shown.certificate().to_der().map_err(|why| why.to_string())?;
        Ok(Some(Renewed { certificate, key: shown.key().to_owned(), ends: self.own.not_after }))
    }
}

/// What to show from now on.
#[derive(Debug)]
pub(super) struct Renewed {
    /// In DER.
    pub(super) certificate: Vec<u8>,
    pub(super) key: PKey<Private>,
    /// When the membership ends now.
    pub(super) ends: Option<Wall>,
}

/// Looks at a certificate until `fresh` closes.
pub(super) async fn follow(
    overlay: usize,
    mut watched: Watched,
    fresh: mpsc::Sender<Fresh>,
    (mut look, clock): (Look, Clock),
) {
    while !fresh.is_closed() {
        if let Some(renewed) = watched.look(Wall(clock.wall())) {
            let news = News::Certificate(renewed);
            if fresh.send(Fresh { overlay, news }).await.is_err() {
                return;
            }
        }
        look.next().await;
    }
}
