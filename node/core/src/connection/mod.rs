//! Floor 3: lasting relations with peers, in ring order, and why each is kept.

mod role;

use std::collections::BTreeSet;

pub use role::{Role, Roles};

use crate::time::Time;
use crate::wire::{Address, EdgeId, OPEN, RoleBits, Way};

/// Connections of one member at most; beyond, links that only the peer wants are refused.
pub const CONNECTIONS_MAX: usize = 256;

/// Connections by which the table grows.
const GROWTH: usize = 8;

/// A lasting relation with a peer. It survives a change of edge.
#[derive(Debug)]
pub struct Connection {
    /// The peer.
    pub peer: Address,
    /// Its edges, the worst way first; of one way the oldest first. We send on the last.
    pub edges: Vec<(Way, EdgeId)>,
    /// Why we keep it.
    pub ours: Roles,
    /// Why the peer keeps it.
    pub theirs: Roles,
    /// Strangers reach the peer, it says.
    pub open: bool,
    /// When it was made.
    pub since: Time,
    /// The peer's connections nearest to us, as it last said.
    neighbours: Vec<Address>,
    /// Of those, the one next to us counter-clockwise and the one next to us clockwise.
    closest: [Option<Address>; 2],
    /// Digest of what we last told the peer: our roles and list.
    pub told_digest: u32,
    /// When we last told it.
    pub told: Time,
    /// What we would tell it may have changed since.
    pub stale: bool,
    /// Since when neither side has a role for it.
    pub unwanted: Option<Time>,
    /// It did not answer in time: packets avoid it.
    pub suspected: bool,
}

impl Connection {
    /// A connection over its first edge.
    #[must_use]
    pub fn new(peer: Address, edge: (Way, EdgeId), now: Time) -> Self {
        Self {
            peer,
            edges: vec![edge],
            ours: Roles::NONE,
            theirs: Roles::NONE,
            open: false,
            since: now,
            neighbours: Vec::new(),
            closest: [None; 2],
            told_digest: 0,
            told: now,
            stale: false,
            unwanted: None,
            suspected: false,
        }
    }

    /// The edge that we send on.
    #[must_use]
    pub fn edge(&self) -> EdgeId {
        self.best().1
    }

    /// The kind of way that we send on.
    #[must_use]
    pub fn way(&self) -> Way {
        self.best().0
    }

    fn best(&self) -> (Way, EdgeId) {
        *self.edges.last().expect("a connection without edges is removed")
    }

    /// The peer's connections nearest to us, as it last said.
    #[must_use]
    pub fn neighbours(&self) -> &[Address] {
        &self.neighbours
    }

    /// Of those, the one next to us counter-clockwise and the one next to us clockwise.
    #[must_use]
    pub fn closest(&self) -> [Option<Address>; 2] {
        self.closest
    }

    /// Takes the peer's list in place of the last one, which is returned.
    pub fn set_neighbours(&mut self, list: Vec<Address>, own: Address) -> Vec<Address> {
        let others = || list.iter().copied().filter(|other| *other != own);
        self.closest = [
            others().min_by_key(|other| other.clockwise(own)),
            others().min_by_key(|other| own.clockwise(*other)),
        ];
        std::mem::replace(&mut self.neighbours, list)
    }

    /// Takes what the peer says with its roles.
    pub fn set_theirs(&mut self, bits: RoleBits) {
        (self.theirs, self.open) = (Roles::from_bits(bits), bits & OPEN != 0);
    }

    /// What the peer last said with its roles.
    #[must_use]
    pub fn their_bits(&self) -> RoleBits {
        self.theirs.bits() | if self.open { OPEN } else { 0 }
    }

    /// Whether packets for others may go through the peer: it has a place in the ring, or we put it to use.
    #[must_use]
    pub fn carries_transit(&self) -> bool {
        self.ours.union(self.theirs).without(Role::Leaf) != Roles::NONE
    }
}

/// All connections of one member, sorted by address.
#[derive(Debug)]
pub struct Table {
    own: Address,
    /// The connections' addresses apart, which is what searches read.
    peers: Vec<Address>,
    connections: Vec<Connection>,
}

impl Table {
    /// The empty table of the member with this address.
    #[must_use]
    pub fn new(own: Address) -> Self {
        Self { own, peers: Vec::new(), connections: Vec::new() }
    }

    fn find(&self, peer: Address) -> Result<usize, usize> {
        self.peers.binary_search(&peer)
    }

    /// The connection with a peer.
    #[must_use]
    pub fn get(&self, peer: Address) -> Option<&Connection> {
        self.find(peer).ok().map(|at| &self.connections[at])
    }

    /// The connection with a peer, to change.
    pub fn get_mut(&mut self, peer: Address) -> Option<&mut Connection> {
        self.find(peer).ok().map(|at| &mut self.connections[at])
    }

    /// The connection with a peer, made over `edge` if there is none. False if it was there.
    pub fn insert(&mut self, peer: Address, edge: (Way, EdgeId), now: Time) -> bool {
        match self.find(peer) {
            Ok(at) => {
                let edges = &mut self.connections[at].edges;
                edges.retain(|known| known.1 != edge.1);
                edges.insert(edges.partition_point(|known| known.0 <= edge.0), edge);
                false
            }
            Err(at) => {
                if self.connections.len() == self.connections.capacity() {
                    // Doubling would leave half of the largest table of a node unused.
                    self.connections.reserve_exact(GROWTH);
                }
                self.peers.insert(at, peer);
                self.connections.insert(at, Connection::new(peer, edge, now));
                true
            }
        }
    }

    /// Removes a connection.
    pub fn remove(&mut self, peer: Address) -> Option<Connection> {
        let at = self.find(peer).ok()?;
        self.peers.remove(at);
        Some(self.connections.remove(at))
    }

    /// All connections, by address.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Connection> {
        self.connections.iter()
    }

    /// All connections, by address, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.connections.iter_mut()
    }

    /// Connections in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Connections going clockwise from `address`, itself left out.
    pub fn clockwise(&self, address: Address) -> impl Iterator<Item = &Connection> {
        let start = self.find(address).map_or_else(|at| at, |at| at + 1);
        let (before, after) = self.connections.split_at(start.min(self.connections.len()));
        after.iter().chain(before).filter(move |connection| connection.peer != address)
    }

    /// Connections going counter-clockwise from `address`, itself left out.
    pub fn counter_clockwise(&self, address: Address) -> impl Iterator<Item = &Connection> {
        let start = self.find(address).unwrap_or_else(|at| at);
        let (before, after) = self.connections.split_at(start);
        before.iter().rev().chain(after.iter().rev()).filter(move |connection| connection.peer != address)
    }

    /// The connected peer next to us clockwise.
    #[must_use]
    pub fn successor(&self) -> Option<Address> {
        self.clockwise(self.own).next().map(|connection| connection.peer)
    }

    /// The connected peer next to us counter-clockwise.
    #[must_use]
    pub fn predecessor(&self) -> Option<Address> {
        self.counter_clockwise(self.own).next().map(|connection| connection.peer)
    }

    /// The `each` connections nearest to `address` on each side of it, in order, without it.
    #[must_use]
    pub fn around(&self, address: Address, each: usize) -> Vec<Address> {
        let mut list: Vec<Address> =
            self.counter_clockwise(address).take(each).map(|connection| connection.peer).collect();
        list.reverse();
        for connection in self.clockwise(address).take(each) {
            if !list.contains(&connection.peer) {
                list.push(connection.peer);
            }
        }
        list
    }

    /// The peers that are among the `each` nearest to us on either side.
    #[must_use]
    pub fn nearest(&self, each: usize) -> BTreeSet<Address> {
        self.around(self.own, each).into_iter().collect()
    }
}
