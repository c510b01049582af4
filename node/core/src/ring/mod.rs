//! Service: the member's place in the ring. It says whom to link and what each connection is worth; it sends nothing.
//!
//! The view of the ring is not stored: it is the union of our connections and of the lists that the peers keep
//! telling us. So whoever dies disappears with the lists that named it.

mod shortcut;

use std::time::Duration;

pub use shortcut::{Shortcuts, Wanted as ShortcutWanted};

use crate::config::RingConfig;
use crate::connection::{Connection, Table};
use crate::machine::Deadline;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::{Address, Distance};

/// First wait between two announcements of ourselves at our own place; it doubles.
const ANNOUNCE_WAIT: Duration = Duration::from_secs(1);
/// The longest wait between two announcements.
const ANNOUNCE_WAIT_MAX: Duration = Duration::from_secs(600);

/// A member that ought to be our neighbour, and a peer that knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The member to link.
    pub target: Address,
    /// The connected peer that named it.
    pub informant: Address,
}

/// Who is next to us, and whether that is certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The connected peer next to us counter-clockwise.
    pub predecessor: Option<Address>,
    /// The connected peer next to us clockwise.
    pub successor: Option<Address>,
    /// Both are there and nobody knows of anyone closer.
    pub settled: bool,
}

/// The ring service of one member.
#[derive(Debug)]
pub struct Ring {
    own: Address,
    config: RingConfig,
    rng: Rng,
    announce_at: Option<Time>,
    announce_wait: Duration,
}

impl Ring {
    /// A member that knows nobody.
    #[must_use]
    pub fn new(own: Address, config: RingConfig, rng: &Rng) -> Self {
        Self { own, config, rng: rng.fork("ring"), announce_at: None, announce_wait: ANNOUNCE_WAIT }
    }

    /// Near connections on each side.
    #[must_use]
    pub fn near(&self) -> usize {
        self.config.near
    }

    /// A way to more of the overlay opened, or the place was lost: announce ourselves soon and often again.
    pub fn announce_again(&mut self, now: Time) {
        self.announce_wait = ANNOUNCE_WAIT;
        let soon = now + self.rng.jitter(ANNOUNCE_WAIT, 0.3);
        self.announce_at = Some(self.announce_at.map_or(soon, |at| at.min(soon)));
    }

    /// Whether an announcement is due; it is then scheduled again, ever later.
    pub fn announcement_is_due(&mut self, now: Time) -> bool {
        if self.announce_at.is_none_or(|at| at > now) {
            return false;
        }
        self.announce_wait = (self.announce_wait * 2).min(ANNOUNCE_WAIT_MAX);
        self.announce_at = Some(now + self.rng.jitter(self.announce_wait, 0.3));
        true
    }

    /// When an announcement is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        self.announce_at.map(|at| Deadline { at, reason: "announcement" })
    }

    /// Who is next to us.
    #[must_use]
    pub fn place(&self, table: &Table) -> Place {
        let (predecessor, successor) = (table.predecessor(), table.successor());
        let (Some(before), Some(after)) = (predecessor, successor) else {
            return Place { predecessor, successor, settled: false };
        };
        let (to_before, to_after) = (before.clockwise(self.own), self.own.clockwise(after));
        let names_closer = |connection: &Connection| {
            let [behind, ahead] = connection.closest();
            behind.is_some_and(|other| other.clockwise(self.own) < to_before)
                || ahead.is_some_and(|other| self.own.clockwise(other) < to_after)
        };
        Place { predecessor, successor, settled: !table.iter().any(names_closer) }
    }

    /// The one member on each side that is closer than our neighbours, as far as anybody knows.
    #[must_use]
    pub fn closer(&self, table: &Table) -> Vec<Missing> {
        let mut closer: Vec<Missing> = Vec::new();
        for (turn, side) in [Side::CounterClockwise, Side::Clockwise].into_iter().enumerate() {
            let named = table.iter().filter_map(|connection| {
                connection.closest()[turn].map(|target| Missing { target, informant: connection.peer })
            });
            let Some(best) = named.min_by_key(|one| side.distance(self.own, one.target)) else { continue };
            if table.get(best.target).is_none() && !closer.iter().any(|known| known.target == best.target) {
                closer.push(best);
            }
        }
        closer
    }

    /// Members among the nearest on either side, as far as anybody knows, that are not connected; `resting` ones do
    /// not count.
    pub fn missing(
        &self,
        table: &Table,
        each: usize,
        mut resting: impl FnMut(Address) -> bool,
    ) -> Vec<Missing> {
        let mut missing = Vec::new();
        for side in [Side::Clockwise, Side::CounterClockwise] {
            let mut nearest: Vec<(Distance, Address, Option<Address>)> =
                Vec::with_capacity(self.config.near + 1);
            for connection in table.iter() {
                offer(
                    &mut nearest,
                    self.config.near,
                    (side.distance(self.own, connection.peer), connection.peer, None),
                );
                for other in connection.neighbours() {
                    let distance = side.distance(self.own, *other);
                    if *other != self.own
                        && would_fit(&nearest, each, distance)
                        && table.get(*other).is_none()
                        && !resting(*other)
                    {
                        offer(&mut nearest, each, (distance, *other, Some(connection.peer)));
                    }
                }
            }
            for (_, target, informant) in nearest {
                if let Some(informant) = informant
                    && !missing.iter().any(|known: &Missing| known.target == target)
                {
                    missing.push(Missing { target, informant });
                }
            }
        }
        missing
    }

    /// Whether a member would be among the nearest on either side, were it connected.
    #[must_use]
    pub fn misses(&self, table: &Table, member: Address) -> bool {
        let each = self.config.near;
        let nearer_ahead = table.clockwise(self.own).take(each);
        let nearer_ahead =
            nearer_ahead.filter(|one| self.own.clockwise(one.peer) < self.own.clockwise(member));
        let nearer_behind = table.counter_clockwise(self.own).take(each);
        let nearer_behind =
            nearer_behind.filter(|one| one.peer.clockwise(self.own) < member.clockwise(self.own));
        member != self.own && (nearer_ahead.count() < each || nearer_behind.count() < each)
    }

    /// Members in the overlay, estimated from how dense the near ones are.
    #[must_use]
    pub fn size_estimate(&self, table: &Table) -> f64 {
        let near = table.nearest(self.config.near);
        let span = |peers: usize, far: Option<Address>, clockwise: bool| {
            let far = far?;
            let distance = if clockwise { self.own.clockwise(far) } else { far.clockwise(self.own) };
            Some((peers, distance.fraction()))
        };
        let each = self.config.near;
        let ahead = table.clockwise(self.own).take(each).map(|connection| connection.peer).last();
        let behind = table.counter_clockwise(self.own).take(each).map(|connection| connection.peer).last();
        let members = table.len() + 1;
        if near.len() < 2 * each {
            return members as f64;
        }
        let spans = [span(each, ahead, true), span(each, behind, false)];
        let (count, length) =
            spans.into_iter().flatten().fold((0, 0.0), |(n, l), (count, length)| (n + count, l + length));
        (f64::from(count as u32) / length).max(members as f64)
    }
}

#[derive(Clone, Copy)]
enum Side {
    Clockwise,
    CounterClockwise,
}

impl Side {
    fn distance(self, own: Address, other: Address) -> Distance {
        match self {
            Self::Clockwise => own.clockwise(other),
            Self::CounterClockwise => other.clockwise(own),
        }
    }
}

fn would_fit<T>(nearest: &[(Distance, Address, T)], max: usize, distance: Distance) -> bool {
    nearest.len() < max || nearest.last().is_some_and(|last| distance < last.0)
}

/// Keeps the `max` nearest, each member once.
fn offer<T>(nearest: &mut Vec<(Distance, Address, T)>, max: usize, one: (Distance, Address, T)) {
    if !would_fit(nearest, max, one.0) {
        return;
    }
    if let Err(at) = nearest.binary_search_by_key(&one.0, |known| known.0) {
        nearest.insert(at, one);
        nearest.truncate(max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{EdgeId, Way};

    fn at(byte: u8) -> Address {
        let mut bytes = [0; 20];
        bytes[0] = byte;
        Address::from_bytes(bytes)
    }

    fn ring() -> (Ring, Table) {
        (
            Ring::new(at(100), RingConfig { near: 2, ..RingConfig::default() }, &Rng::new([0; 32])),
            Table::new(at(100)),
        )
    }

    fn connect(table: &mut Table, peer: u8, neighbours: &[u8]) {
        table.insert(at(peer), (Way::Direct, EdgeId(u32::from(peer))), Time::ZERO);
        let connection = table.get_mut(at(peer)).expect("just inserted");
        connection.set_neighbours(neighbours.iter().map(|one| at(*one)).collect(), at(100));
    }

    #[test]
    fn a_closer_member_that_a_peer_names_is_missing_and_unsettles() {
        let (ring, mut table) = ring();
        connect(&mut table, 90, &[100]);
        connect(&mut table, 120, &[100, 110]);
        assert!(!ring.place(&table).settled);
        let missing = ring.missing(&table, 2, |_| false);
        assert_eq!(missing, [Missing { target: at(110), informant: at(120) }]);
        assert_eq!(ring.closer(&table), missing);
        connect(&mut table, 110, &[100]);
        assert!(ring.place(&table).settled);
    }

    #[test]
    fn a_resting_member_leaves_its_place_to_the_next() {
        let (ring, mut table) = ring();
        connect(&mut table, 120, &[101, 102, 103]);
        let targets = |resting: u8| -> Vec<Address> {
            ring.missing(&table, 2, |one| one == at(resting)).into_iter().map(|one| one.target).collect()
        };
        assert!(targets(0).contains(&at(101)) && targets(0).contains(&at(102)));
        assert!(!targets(101).contains(&at(101)) && targets(101).contains(&at(103)));
    }

    #[test]
    fn two_members_are_each_others_both_neighbours() {
        let (ring, mut table) = ring();
        connect(&mut table, 200, &[]);
        let place = ring.place(&table);
        assert_eq!((place.predecessor, place.successor, place.settled), (Some(at(200)), Some(at(200)), true));
    }

    #[test]
    fn announcements_thin_out() {
        let (mut ring, _) = ring();
        ring.announce_again(Time::ZERO);
        let mut times = Vec::new();
        while let Some(deadline) = ring.poll_timeout().filter(|deadline| deadline.at < Time::from_secs(3600))
        {
            assert!(ring.announcement_is_due(deadline.at));
            times.push(deadline.at);
        }
        assert!(times.len() > 8 && times.len() < 20, "{times:?}");
    }
}
