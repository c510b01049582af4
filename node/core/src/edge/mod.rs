//! Floor 2: ways to reach a peer: direct, relayed by a common peer, carried by the public ring; all of them over a path.
//!
//! An edge is one association over one channel. Each end names it by an id of its own choice. It knows no ring.

mod parts;
mod probe;
mod reliable;

use std::time::Duration;

pub use parts::{HALVES_MAX, Parts};
pub use probe::{Probe, Wanted};
pub use reliable::{Acked, Again, Overdue, Receipt, Reliable, ack_delay};

use crate::path::PathId;
use crate::security::{ChannelId, Identity};
use crate::time::Time;
use crate::wire::{Address, EdgeId, FrameKind, Remote};

/// Edges of one overlay at most, half-open ones included; beyond, new ones are refused.
pub const EDGES_MAX: usize = 1 << INDEX_BITS;

/// How long an edge that stands may wait for the peer's first frame.
const LINK_WAIT: Duration = Duration::from_secs(8);

/// How often an edge that moves in vain doubles the time for an answer at most.
const DOUBLINGS_MAX: u8 = 4;

/// How far an edge has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The handshake is under way.
    Handshake,
    /// The association is up, the peer's first link frame is not here.
    Up(Address),
    /// Part of a connection.
    Linked(Address),
}

/// One way to reach a peer.
#[derive(Debug)]
pub struct Edge {
    /// The id that the peer chose; 0 before it is known.
    pub remote: EdgeId,
    /// The path under it.
    pub path: PathId,
    /// Since when it is that one.
    pub moved: Time,
    /// Where the path before it led.
    pub left: Option<Remote>,
    /// Whether a record has come that way since.
    pub proven: bool,
    /// How often it was moved before a record came.
    pub vain: u8,
    /// Whether the handshake began here.
    pub initiated: bool,
    /// The member that must answer; anyone if it is not known.
    pub target: Option<Address>,
    /// Who the peer proved to be, if an authority vouches for it.
    pub identity: Option<Box<Identity>>,
    /// How far it has come.
    pub stage: Stage,
    /// When it came to that stage.
    pub since: Time,
    /// Since when we know that the peer has our link frame, and so sends on this edge if there is no better one.
    pub agreed: Option<Time>,
    /// Whether the acknowledgement that is owed is for what all members are told.
    pub was_told: bool,
    /// Acknowledged frames.
    pub reliable: Reliable,
    /// Keepalive.
    pub probe: Probe,
    /// Digest of the roles and list in our link frame.
    pub told_digest: u32,
}

impl Edge {
    /// A fresh edge whose handshake begins.
    #[must_use]
    pub fn new(path: PathId, remote: Option<EdgeId>, now: Time) -> Self {
        Self {
            remote: remote.unwrap_or_default(),
            path,
            moved: now,
            left: None,
            proven: false,
            vain: 0,
            initiated: remote.is_none(),
            target: None,
            identity: None,
            stage: Stage::Handshake,
            since: now,
            agreed: None,
            was_told: false,
            reliable: Reliable::default(),
            probe: Probe::new(Duration::from_secs(25), now),
            told_digest: 0,
        }
    }

    /// Takes another path, and leaves the one that led to `left`. The one it had until then.
    pub fn move_to(&mut self, path: PathId, left: Option<Remote>, now: Time) -> PathId {
        (self.moved, self.left, self.proven) = (now, left, false);
        self.vain = self.vain.saturating_add(1);
        self.probe.start_over(now);
        self.reliable.start_over(now);
        std::mem::replace(&mut self.path, path)
    }

    /// A record came that way.
    pub fn prove(&mut self) {
        (self.proven, self.vain) = (true, 0);
    }

    /// Whether nothing has come that way for longer than an answer takes. Where nobody brings one in time, it may be the time
    /// that is too short: each move in vain doubles it, up to 16 times.
    #[must_use]
    pub fn is_overdue(&self, rto: Duration, now: Time) -> bool {
        let times = 1 << self.vain.saturating_sub(1).min(DOUBLINGS_MAX);
        self.moved + rto * times <= now
    }

    /// The peer acknowledged something.
    pub fn on_acked(&mut self, now: Time) {
        if self.agreed.is_none()
            && self.stage != Stage::Handshake
            && !self.reliable.waits_for(FrameKind::Link)
        {
            self.agreed = Some(now);
        }
    }

    /// Moves to a stage.
    pub fn enter(&mut self, stage: Stage, now: Time) {
        self.stage = stage;
        self.since = now;
    }

    /// Whether the association stands and the peer has said nothing for too long.
    #[must_use]
    pub fn is_abandoned(&self, now: Time) -> bool {
        matches!(self.stage, Stage::Up(_)) && self.since + LINK_WAIT <= now
    }

    /// When something is due on the edge.
    #[must_use]
    pub fn due(&self) -> Time {
        let own = match self.stage {
            Stage::Handshake => Time::MAX,
            Stage::Up(_) => self.since + LINK_WAIT,
            Stage::Linked(_) => self.probe.due(),
        };
        self.reliable.due().map_or(own, |due| due.min(own))
    }

    /// The member at the other end, once the association names it.
    #[must_use]
    pub fn peer(&self) -> Option<Address> {
        match self.stage {
            Stage::Handshake => None,
            Stage::Up(peer) | Stage::Linked(peer) => Some(peer),
        }
    }
}

/// The channel of an edge: the same number, seen from the security floor.
#[must_use]
pub fn channel(id: EdgeId) -> ChannelId {
    ChannelId(id.0)
}

/// The edge of a channel.
#[must_use]
pub fn of_channel(channel: ChannelId) -> EdgeId {
    EdgeId(channel.0)
}

/// Bits of an edge's id that say where it lies in the table; the lowest eight name the overlay.
const INDEX_BITS: u32 = 10;
const INDEX_SHIFT: u32 = 8;
const RANDOM_SHIFT: u32 = INDEX_SHIFT + INDEX_BITS;

#[derive(Debug)]
struct Slot {
    id: EdgeId,
    due: Time,
    edge: Box<Edge>,
}

/// All edges of one overlay.
#[derive(Debug)]
pub struct Table {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// Nothing is due before this; an edge may have become due later than it says.
    due: Time,
    /// Edges that may have changed since `due` was brought up to date.
    touched: Vec<EdgeId>,
}

impl Default for Table {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), due: Time::MAX, touched: Vec::new() }
    }
}

fn index(id: EdgeId) -> usize {
    (id.0 >> INDEX_SHIFT & ((1 << INDEX_BITS) - 1)) as usize
}

impl Table {
    /// Whether another edge fits.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.count() < EDGES_MAX
    }

    /// Adds an edge and gives it an id: `random` in the upper bits, the place in the table, the overlay's slot. Only if
    /// there is room.
    pub fn insert(&mut self, edge: Edge, random: u32, overlay: u8) -> Option<EdgeId> {
        if !self.has_room() {
            return None;
        }
        let at = self.free.pop().unwrap_or(self.slots.len());
        if at == self.slots.len() {
            self.slots.push(None);
        }
        // The upper bits are never all zero: 0 means "no id yet".
        let random = (random | 1 << 31) >> RANDOM_SHIFT << RANDOM_SHIFT;
        let id = EdgeId(random | (at as u32) << INDEX_SHIFT | u32::from(overlay));
        let due = edge.due();
        self.due = self.due.min(due);
        self.slots[at] = Some(Slot { id, due, edge: Box::new(edge) });
        Some(id)
    }

    /// Whether an edge is known.
    #[must_use]
    pub fn contains(&self, id: EdgeId) -> bool {
        self.get(id).is_some()
    }

    /// Removes an edge.
    pub fn remove(&mut self, id: EdgeId) -> Option<Edge> {
        let slot = self.slots.get_mut(index(id))?;
        let slot = slot.take_if(|slot| slot.id == id)?;
        self.free.push(index(id));
        Some(*slot.edge)
    }

    /// An edge.
    #[must_use]
    pub fn get(&self, id: EdgeId) -> Option<&Edge> {
        let slot = self.slots.get(index(id))?.as_ref()?;
        (slot.id == id).then_some(&slot.edge)
    }

    /// An edge, to change.
    pub fn get_mut(&mut self, id: EdgeId) -> Option<&mut Edge> {
        let slot = self.slots.get_mut(index(id))?.as_mut()?;
        if slot.id != id {
            return None;
        }
        if self.touched.last() != Some(&id) {
            self.touched.push(id);
        }
        Some(&mut slot.edge)
    }

    /// The edge that a handshake from this path with this id of its sender belongs to.
    #[must_use]
    pub fn find(&self, path: PathId, remote: EdgeId) -> Option<EdgeId> {
        self.iter().find(|(_, edge)| edge.path == path && edge.remote == remote).map(|(id, _)| id)
    }

    /// All edges in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (EdgeId, &Edge)> {
        self.slots.iter().flatten().map(|slot| (slot.id, &*slot.edge))
    }

    /// Edges in the table.
    #[must_use]
    pub fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes note of the edges that changed. Call it before [`Table::due`].
    pub fn refresh(&mut self) {
        while let Some(id) = self.touched.pop() {
            let slot = self.slots.get_mut(index(id)).and_then(Option::as_mut);
            if let Some(slot) = slot.filter(|slot| slot.id == id) {
                slot.due = slot.edge.due();
                self.due = self.due.min(slot.due);
            }
        }
    }

    /// The earliest time at which something may be due.
    #[must_use]
    pub fn due(&self) -> Time {
        self.due
    }

    /// The edges on which something is due. They must be dealt with.
    pub fn take_due(&mut self, now: Time) -> Vec<EdgeId> {
        if self.due > now {
            return Vec::new();
        }
        let mut due = Vec::new();
        self.due = Time::MAX;
        for slot in self.slots.iter().flatten() {
            if slot.due <= now {
                due.push(slot.id);
            } else {
                self.due = self.due.min(slot.due);
            }
        }
        self.touched.extend(&due);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(paths: &mut crate::path::Table, edges: usize) -> (Table, Vec<EdgeId>) {
        let mut table = Table::default();
        let path = paths.hold(Remote::Udp("192.0.2.1:1".parse().expect("an address")), Time::ZERO);
        let insert =
            |_| table.insert(Edge::new(path, None, Time::ZERO), 0xdead_beef, 7).expect("there is room");
        let ids = (0..edges).map(insert).collect();
        (table, ids)
    }

    #[test]
    fn an_id_names_one_edge_and_its_overlay() {
        let (mut table, ids) = table(&mut crate::path::Table::default(), 3);
        assert!(ids.iter().all(|id| id.0 & 0xff == 7 && table.contains(*id)));
        table.remove(ids[1]);
        assert!(!table.contains(ids[1]) && table.contains(ids[2]) && table.remove(ids[1]).is_none());
        assert_eq!(table.count(), 2);
    }

    #[test]
    fn an_edge_that_moves_in_vain_waits_twice_as_long_each_time_until_a_record_comes() {
        let (rto, mut now) = (Duration::from_millis(500), Time::from_secs(1));
        let path =
            crate::path::Table::default().hold(Remote::Udp("192.0.2.1:1".parse().expect("an address")), now);
        let mut edge = Edge::new(path, None, now);
        for half_seconds in [1, 2, 4, 8, 16, 16] {
            edge.move_to(path, None, now);
            let wait = rto * half_seconds;
            assert!(!edge.is_overdue(rto, now + wait.mul_f64(0.999)));
            assert!(edge.is_overdue(rto, now + wait));
            now += wait;
        }
        edge.prove();
        edge.move_to(path, None, now);
        assert!(edge.is_overdue(rto, now + rto), "a record came meanwhile");
    }

    #[test]
    fn a_guessed_id_with_the_right_place_is_unknown() {
        let (table, ids) = table(&mut crate::path::Table::default(), 1);
        assert!(!table.contains(EdgeId(ids[0].0 ^ 1 << 31)));
    }

    #[test]
    fn a_full_table_refuses() {
        let mut paths = crate::path::Table::default();
        let (mut table, _) = table(&mut paths, EDGES_MAX);
        let path = paths.hold(Remote::Udp("192.0.2.1:1".parse().expect("an address")), Time::ZERO);
        assert!(table.insert(Edge::new(path, None, Time::ZERO), 1, 0).is_none());
    }
}
