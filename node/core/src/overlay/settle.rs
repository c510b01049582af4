//! After anything changed: who is near, who is missing, who is told, who is no longer needed.

use std::time::Duration;

use super::{Lent, Overlay};
use crate::connection::{Connection, Role, Roles};
use crate::control::EventKind;
use crate::ring::Place;
use crate::time::Time;
use crate::wire::{Address, CloseReason, EdgeId};

/// The shortest time between two lists to one peer, so that a burst of changes becomes one.
const TELL_GAP: Duration = Duration::from_millis(400);
/// How long after its start a member takes new neighbours for ordinary.
const QUIET_START: Duration = Duration::from_secs(30);
/// How long a connection that nobody needs stays.
const UNWANTED_GRACE: Duration = Duration::from_secs(5);
/// How long a connected member keeps its bootstraps.
const LEAF_GRACE: Duration = Duration::from_secs(10);

impl Overlay {
    /// Brings roles, place, links and lists in line with the connections.
    pub(super) fn settle(&mut self, lent: &mut Lent<'_>) {
        self.assign_roles(lent);
        self.take_place(lent);
        self.place_dht(lent);
        self.link_missing(lent);
        self.tell_stale(lent);
        self.close_surplus(lent);
        self.look_at = self.next_look(lent);
    }

    fn assign_roles(&mut self, lent: &Lent<'_>) {
        let (now, overlaps) = (lent.now, self.overlaps(lent));
        let near = self.connections.nearest(self.ring.near());
        let drops_leafs = self.joined.is_some_and(|joined| joined + LEAF_GRACE <= now) && self.connected;
        for connection in self.connections.iter_mut() {
            let mut ours = connection.ours.without(Role::Near).without(Role::Overlap);
            if near.contains(&connection.peer) {
                ours = ours.with(Role::Near);
            }
            if overlaps.contains(&connection.peer) {
                ours = ours.with(Role::Overlap);
            }
            if drops_leafs {
                ours = ours.without(Role::Leaf);
            }
            if ours != connection.ours {
                connection.ours = ours;
                connection.stale = true;
            }
            let unwanted = connection.ours.union(connection.theirs) == Roles::NONE;
            connection.unwanted = if unwanted { connection.unwanted.or(Some(now)) } else { None };
        }
    }

    fn take_place(&mut self, lent: &mut Lent<'_>) {
        let place = self.ring.place(&self.connections);
        let before = std::mem::replace(&mut self.place, place);
        let moved = |place: Place, before: Place| {
            (place.predecessor, place.successor) != (before.predecessor, before.successor)
        };
        if moved(place, before) {
            self.place_since = lent.now;
            let Place { predecessor, successor, .. } = place;
            self.tell(EventKind::NeighboursChanged { predecessor, successor }, lent);
            self.watch_neighbours(lent);
            let is_late = self.joined.is_some_and(|joined| joined + QUIET_START < lent.now);
            if place.settled && is_late {
                self.healing.hurry(lent.now);
            }
        }
        let alone = self.is_first
            && self.connections.is_empty()
            && self.out_until().is_none_or(|end| end <= lent.now);
        let arrived = alone || (place.settled && (self.answered || self.is_first));
        if arrived && !self.connected {
            self.connected = true;
            self.founded |= alone && self.joined.is_none();
            self.joined.get_or_insert(lent.now);
            self.shortcuts.begin(lent.now);
            self.bootstraps.probe_again(lent.now);
            self.tell(EventKind::Connected, lent);
            self.meet_on_arrival(lent);
        } else if self.connected && !alone && self.connections.is_empty() {
            self.connected = false;
            self.tell(EventKind::Disconnected, lent);
        }
    }

    /// Links those who ought to be near: on the way to our place only the closest, then all.
    fn link_missing(&mut self, lent: &mut Lent<'_>) {
        let (linker, now) = (&self.linker, lent.now);
        let resting = |target| linker.is_resting(target, now);
        let settled = self.connected && self.place.settled;
        let closer = if settled { Vec::new() } else { self.ring.closer(&self.connections) };
        let missing = if settled {
            self.ring.missing(&self.connections, self.ring.near(), resting)
        } else if closer.iter().any(|one| resting(one.target)) {
            self.ring.missing(&self.connections, 1, resting)
        } else {
            closer
        };
        for one in missing {
            self.link(one.target, Role::Near, vec![one.informant], lent);
        }
    }

    fn tell_stale(&mut self, lent: &mut Lent<'_>) {
        let due = |connection: &&Connection| connection.stale && connection.told + TELL_GAP <= lent.now;
        let peers: Vec<Address> =
            self.connections.iter().filter(due).map(|connection| connection.peer).collect();
        for peer in peers {
            self.tell_neighbours(peer, lent);
        }
    }

    fn close_surplus(&mut self, lent: &mut Lent<'_>) {
        let over = |connection: &&Connection| {
            connection.unwanted.is_some_and(|since| since + UNWANTED_GRACE <= lent.now)
        };
        let peers: Vec<Address> =
            self.connections.iter().filter(over).map(|connection| connection.peer).collect();
        for peer in peers {
            self.close_connection(peer, CloseReason::Unwanted, lent);
        }
        let replaced = self.connections.iter().flat_map(|connection| self.replaced_edges(connection, lent));
        let over: Vec<EdgeId> = replaced.filter(|(_, due)| *due <= lent.now).map(|(id, _)| id).collect();
        for id in over {
            self.close_edge(id, CloseReason::Duplicate, lent);
        }
    }

    /// When a look at the connections is wanted though nothing happens until then.
    fn next_look(&self, lent: &Lent<'_>) -> Time {
        let now = lent.now;
        let stale =
            self.connections.iter().filter(|connection| connection.stale).map(|one| one.told + TELL_GAP);
        let unwanted =
            self.connections.iter().filter_map(|one| one.unwanted.map(|since| since + UNWANTED_GRACE));
        let duplicates =
            self.connections.iter().flat_map(|one| self.replaced_edges(one, lent)).map(|(_, due)| due);
        let leafs = self.leafs_due();
        let resting = self.linker.rest_ends(now);
        let all = stale.chain(unwanted).chain(duplicates).chain(leafs).chain(resting).chain(self.out_until());
        all.filter(|at| *at > now).min().unwrap_or(Time::MAX)
    }

    fn leafs_due(&self) -> Option<Time> {
        let has_leaf = self.connections.iter().any(|connection| connection.ours.has(Role::Leaf));
        if has_leaf && self.connected { self.joined.map(|joined| joined + LEAF_GRACE) } else { None }
    }
}
