//! QUIC between two members over the ring, for every service of the node that wants it.
//!
//! QUIC secures itself, and both ends show their certificates; the overlay's trust rule judges them before a byte of content
//! moves. Which service a connection is for, its protocol says (RFC 7301). Nothing here names a transport address: a
//! [`carrier::Carrier`] is all the network that QUIC has.

mod addresses;
mod carrier;
mod ends;
mod gate;
mod member;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use atoll_core::control::Author;
use atoll_core::wire::Address;
use quinn::{Connection, Incoming};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

pub(super) use carrier::{Arrivals, Departures};
pub(super) use ends::{of_connection, plain};
pub(super) use gate::{Gate, Place};
pub(super) use member::{ANSWER_MAX, Member};

use super::requests::Asker;
use super::roster::Roster;
use carrier::Carrier;

/// Whatever keeps a membership from using QUIC.
type Problem = Box<dyn std::error::Error + Send + Sync>;

/// Connections of one overlay that others began, of all services; one more is refused.
const CONNECTIONS_MAX: usize = 48;
/// Of one member.
const CONNECTIONS_OF_ONE_MAX: usize = 8;

/// What the ends of a connection speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    /// One file.
    Files,
    /// One request to the site of a group.
    Sites,
}

impl Protocol {
    const ALL: [Self; 2] = [Self::Files, Self::Sites];

    /// Its name (RFC 7301).
    fn name(self) -> &'static [u8] {
        match self {
            Self::Files => b"atoll-file/1",
            Self::Sites => b"atoll-site/1",
        }
    }
}

/// A connection that another member began.
pub(super) struct Visit {
    pub(super) member: Arc<Member>,
    pub(super) connection: Connection,
    /// Who is at the other end, proved.
    pub(super) author: Author,
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What serves the connections of one protocol.
pub(super) trait Service: Send + Sync {
    /// The protocol.
    fn protocol(&self) -> Protocol;
    /// Serves a connection to its end.
    fn serve(self: Arc<Self>, visit: Visit) -> Task;
}

/// The services of one membership.
pub(super) type Services = Vec<Arc<dyn Service>>;

/// A membership whose QUIC takes no memory before somebody wants it.
#[derive(Clone)]
pub(super) struct Standby {
    /// The member's own place on the ring.
    pub(super) own: Address,
    /// The overlay.
    pub(super) overlay: String,
    wanted: Arc<Notify>,
    started: watch::Receiver<Started>,
}

type Started = Option<Result<Arc<Member>, String>>;

impl Standby {
    /// The membership, started now at the latest.
    pub(super) async fn member(&mut self) -> Result<Arc<Member>, String> {
        self.wanted.notify_one();
        let started = self.started.wait_for(Option::is_some).await;
        started.ok().and_then(|started| started.clone()).unwrap_or_else(|| Err("the node ends".to_owned()))
    }
}

/// The memberships of a node by their overlays; none where there is no security. Clones share it.
#[derive(Clone)]
pub(super) struct Memberships(Arc<BTreeMap<String, Option<Standby>>>);

/// The driver's ends.
pub(super) struct Exchange {
    pub(super) departures: Departures,
    pub(super) arrivals: Arrivals,
}

impl Memberships {
    /// Is ready for connections in every overlay that has security; `services` gives those of the overlay at a place.
    pub(super) fn start(
        roster: &Roster,
        asker: &Asker,
        services: impl Fn(usize) -> Services,
    ) -> (Self, Exchange) {
        let (departing, departures) = carrier::departures();
        let (mut members, mut arrivals) = (BTreeMap::new(), Arrivals::default());
        for (number, (overlay, place)) in roster.members().enumerate() {
            let Some(credentials) = place.security.credentials() else {
                arrivals.skip();
                members.insert(overlay.to_owned(), None);
                continue;
            };
            let (wanted, (sender, started)) = (Arc::new(Notify::new()), watch::channel(None));
            let (name, credentials, asker) = (overlay.to_owned(), credentials.clone(), asker.clone());
            let services = services(number);
            let protocols: Vec<Protocol> = services.iter().map(|service| service.protocol()).collect();
            let start = move |carrier| Member::new(name, &credentials, &protocols, (carrier, asker));
            let carrier = arrivals.carrier(&departing);
            tokio::spawn(stand_by(carrier, Arc::clone(&wanted), start, (sender, services)));
            let standby = Standby { own: place.address, overlay: overlay.to_owned(), wanted, started };
            members.insert(overlay.to_owned(), Some(standby));
        }
        (Self(Arc::new(members)), Exchange { departures, arrivals })
    }

    /// That of an overlay: nothing if there is no such overlay, and nothing inside if it has no security.
    pub(super) fn of(&self, overlay: &str) -> Option<&Option<Standby>> {
        self.0.get(overlay)
    }
}

/// Starts a membership's QUIC once it is wanted, or the first datagram comes; then takes connections until the node ends.
async fn stand_by(
    mut carrier: Carrier,
    wanted: Arc<Notify>,
    start: impl FnOnce(Carrier) -> Result<Member, Problem>,
    (started, services): (watch::Sender<Started>, Services),
) {
    tokio::select! {
        () = carrier.stirred() => {}
        () = wanted.notified() => {}
    }
    let member = start(carrier).map(Arc::new).map_err(|why| format!("QUIC does not start: {why}"));
    started.send_replace(Some(member.clone()));
    match member {
        Ok(member) => accept_all(member, services).await,
        Err(why) => tracing::warn!(why, "no files, and no site through the overlay"),
    }
}

/// Takes connections until the node ends.
async fn accept_all(member: Arc<Member>, services: Services) {
    let (gate, services) = (Gate::new(CONNECTIONS_MAX, CONNECTIONS_OF_ONE_MAX), Arc::new(services));
    while let Some(incoming) = member.quic.accept().await {
        // Nothing is kept for whoever does not receive what is sent to its address.
        if !incoming.remote_address_validated() {
            let _ = incoming.retry();
            continue;
        }
        match member.at(incoming.remote_address()).and_then(|from| gate.enter(from)) {
            Some(place) => {
                drop(tokio::spawn(attend(Arc::clone(&member), Arc::clone(&services), incoming, place)));
            }
            None => incoming.refuse(),
        }
    }
}

async fn attend(member: Arc<Member>, services: Arc<Services>, incoming: Incoming, _place: Place) {
    let Ok(connecting) = incoming.accept() else { return };
    let Ok(Ok(connection)) = timeout(ANSWER_MAX, connecting).await else { return };
    let spoken = member::spoken(&connection);
    let service = services.iter().find(|service| spoken.as_deref() == Some(service.protocol().name()));
    let Some(service) = service else { return };
    match member.judge(&connection).await {
        Ok(author) => Arc::clone(service).serve(Visit { member, connection, author }).await,
        Err(why) => {
            tracing::debug!(overlay = member.overlay, why, "connection of a stranger refused");
            connection.close(1u8.into(), why.as_bytes());
        }
    }
}
