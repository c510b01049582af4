//! Floor 2: ways to reach a peer. Today a direct one, over a path.
//!
//! An edge is one association over one channel. Each end names it by an id of its own choice. It knows no ring.

mod probe;
mod reliable;

use std::collections::BTreeMap;
use std::time::Duration;

pub use probe::{Probe, Wanted};
pub use reliable::{ACK_DELAY, Overdue, Receipt, Reliable};

use crate::path::PathId;
use crate::security::ChannelId;
use crate::time::Time;
use crate::wire::{Address, EdgeId};

/// Edges of one overlay at most, half-open ones included; beyond, new ones are refused.
pub const EDGES_MAX: usize = 1024;

/// How long an edge that stands may wait for the peer's first frame.
const LINK_WAIT: Duration = Duration::from_secs(8);

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
    /// Whether the handshake began here.
    pub initiated: bool,
    /// How far it has come.
    pub stage: Stage,
    /// When it came to that stage.
    pub since: Time,
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
            initiated: remote.is_none(),
            stage: Stage::Handshake,
            since: now,
            reliable: Reliable::default(),
            probe: Probe::new(Duration::from_secs(25), now),
            told_digest: 0,
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

/// All edges of one overlay.
#[derive(Debug)]
pub struct Table {
    edges: BTreeMap<EdgeId, Edge>,
    /// Nothing is due before this; an edge may have become due later than it says.
    due: Time,
    /// Edges that may have changed since `due` was brought up to date.
    touched: Vec<EdgeId>,
}

impl Default for Table {
    fn default() -> Self {
        Self { edges: BTreeMap::new(), due: Time::MAX, touched: Vec::new() }
    }
}

impl Table {
    /// Whether another edge fits.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.edges.len() < EDGES_MAX
    }

    /// Adds an edge under an unused id.
    pub fn insert(&mut self, id: EdgeId, edge: Edge) {
        self.due = self.due.min(edge.due());
        self.edges.insert(id, edge);
    }

    /// Whether an id is taken.
    #[must_use]
    pub fn contains(&self, id: EdgeId) -> bool {
        self.edges.contains_key(&id)
    }

    /// Removes an edge.
    pub fn remove(&mut self, id: EdgeId) -> Option<Edge> {
        self.edges.remove(&id)
    }

    /// An edge.
    #[must_use]
    pub fn get(&self, id: EdgeId) -> Option<&Edge> {
        self.edges.get(&id)
    }

    /// An edge, to change.
    pub fn get_mut(&mut self, id: EdgeId) -> Option<&mut Edge> {
        if self.touched.last() != Some(&id) {
            self.touched.push(id);
        }
        self.edges.get_mut(&id)
    }

    /// The edge that a handshake from this path with this id of its sender belongs to.
    #[must_use]
    pub fn find(&self, path: PathId, remote: EdgeId) -> Option<EdgeId> {
        self.iter().find(|(_, edge)| edge.path == path && edge.remote == remote).map(|(id, _)| id)
    }

    /// All edges in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (EdgeId, &Edge)> {
        self.edges.iter().map(|(id, edge)| (*id, edge))
    }

    /// Edges in the table.
    #[must_use]
    pub fn count(&self) -> usize {
        self.edges.len()
    }

    /// Takes note of the edges that changed. Call it before [`Table::due`].
    pub fn refresh(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            if let Some(edge) = self.edges.get(&id) {
                self.due = self.due.min(edge.due());
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
        for (id, edge) in &self.edges {
            match edge.due() {
                at if at <= now => due.push(*id),
                at => self.due = self.due.min(at),
            }
        }
        self.touched.extend(&due);
        due
    }
}
