//! Sites of groups in the public overlay: found by what the groups' authorities say in its DHT, and asked on connections of their
//! own over the ring.
//!
//! An authority says which member the site is beside, and signs it; the member at that address proves by its certificate that it
//! is the one. So whoever holds an authority's certificate needs no server of the web to reach its site.

mod announcer;
mod caller;
mod door;
mod tally;

use std::pin::Pin;
use std::sync::Arc;

use atoll_core::control::Metric;
use atoll_site::{Announcement, Call, Refusal, Site, Term};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::Clock;
use super::carried::{Memberships, Service, Standby};
use super::requests::Asker;
use crate::config::{Membership, Settings};
use crate::enrolment::Ring;
use announcer::Announcer;
use caller::Caller;
pub(super) use caller::Known;
use door::Door;
use tally::Tally;

/// Calls that wait for the site.
const CALLS_WAITING_MAX: usize = 8;

/// An answer of the site beside the node.
type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send + 'a>>;

/// What is asked of a site's groups and their authorities. The program of a node without a site has nothing of one in it, its
/// database least of all.
trait Authorities: Send + Sync {
    /// See [`Site::founded`].
    fn founded(&self) -> watch::Receiver<()>;
    /// See [`Site::groups_after`].
    fn groups_after(&self, number: i64) -> Asked<'_, Vec<(i64, String)>>;
    /// See [`Site::announce`].
    fn announce(&self, number: i64, term: Term) -> Asked<'_, Announcement>;
}

impl Authorities for Site {
    fn founded(&self) -> watch::Receiver<()> {
        self.founded()
    }

    fn groups_after(&self, number: i64) -> Asked<'_, Vec<(i64, String)>> {
        Box::pin(self.groups_after(number))
    }

    fn announce(&self, number: i64, term: Term) -> Asked<'_, Announcement> {
        Box::pin(self.announce(number, term))
    }
}

/// A site that runs beside the node.
#[derive(Clone)]
pub(crate) struct Hosted {
    site: Arc<dyn Authorities>,
    calls: mpsc::Sender<Call>,
    tally: Arc<Tally>,
}

impl Hosted {
    /// A site, and what comes for it through the overlay.
    pub(crate) fn new(site: Arc<Site>) -> (Self, mpsc::Receiver<Call>) {
        let (calls, coming) = mpsc::channel(CALLS_WAITING_MAX);
        (Self { site, calls, tally: Arc::default() }, coming)
    }

    /// What lets members of the public overlay in.
    pub(super) fn door(&self) -> Arc<dyn Service> {
        Arc::new(Door::new(self.calls.clone(), Arc::clone(&self.tally)))
    }

    /// How it is, for Prometheus.
    pub(super) fn metrics(&self) -> Vec<Metric> {
        self.tally.metrics()
    }
}

/// The public overlay of a node: its first, if it is no group's.
pub(super) fn public(settings: &Settings) -> Option<&Membership> {
    settings.overlays.first().filter(|membership| membership.group.is_none())
}

fn standby(settings: &Settings, members: &Memberships) -> Option<Standby> {
    members.of(&public(settings)?.name.0)?.clone()
}

/// What reaches sites through the public overlay, if there is one whose members prove who they are.
pub(super) fn ring(
    settings: &Settings,
    members: &Memberships,
    (asker, clock, known): (&Asker, Clock, &Known),
) -> Option<Arc<dyn Ring>> {
    let standby = standby(settings, members)?;
    Some(Arc::new(Caller::new(standby, asker.clone(), (clock, known.clone()))))
}

/// Says in the public overlay where the site is, until what is returned is dropped.
pub(super) fn announce(
    settings: &Settings,
    members: &Memberships,
    (asker, hosted): (&Asker, Option<&Hosted>),
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let Some(hosted) = hosted else { return tasks };
    let Some(standby) = standby(settings, members) else {
        let hint = "the first overlay of --config has to be a public one with `security: dtls` or `quic`";
        tracing::warn!(hint, "nobody finds the site through the overlay");
        return tasks;
    };
    let place = (standby.overlay, standby.own);
    tasks.spawn(Announcer::new(hosted, asker.clone(), place).run());
    tasks
}
