//! What the ring should be, and what the NATs allow: the measure that statuses are held against.

use std::collections::BTreeMap;

use atoll_core::control::State;
use atoll_core::wire::Address;
use atoll_topology::oracle::{self, Verdict};
use atoll_topology::{HostId, Protocol};

use crate::environment::{NodeIndex, NodeStatus, Trial};

/// What two hosts are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pair {
    /// Hole punching works whatever the timing.
    Sure,
    /// It works if no early packet spoils it.
    Lucky,
    /// Not without relays.
    Blocked,
}

/// The ring that the running members should form.
#[derive(Debug)]
pub(super) struct Theory<'a> {
    trial: &'a Trial,
    ring: BTreeMap<Address, NodeIndex>,
    cut_off: Vec<NodeIndex>,
    pairs: BTreeMap<(NodeIndex, NodeIndex), Pair>,
}

/// How the ring is, held against how it should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Census {
    /// Pairs of ring neighbours.
    pub(super) pairs: usize,
    /// Pairs that are linked directly, each claiming the other.
    pub(super) linked: usize,
    /// Pairs that no hole punching can link.
    pub(super) blocked: usize,
    /// Pairs that could be linked and are not.
    pub(super) missing: usize,
    /// Members that are not connected.
    pub(super) failed: Vec<NodeIndex>,
    /// Those of them for whom theory has no excuse.
    pub(super) unexplained: Vec<NodeIndex>,
}

impl Census {
    /// Walking successors visits everyone who takes part.
    pub(super) fn complete(&self) -> bool {
        self.linked == self.pairs
    }

    /// Nothing more can be expected without relays.
    pub(super) fn settled(&self) -> bool {
        self.missing == 0 && self.unexplained.is_empty()
    }
}

impl<'a> Theory<'a> {
    /// The ring of these members. Who can reach no member that lets everybody in cannot take part.
    pub(super) fn new(trial: &'a Trial, members: &[NodeIndex]) -> Self {
        let mut theory = Self { trial, ring: BTreeMap::new(), cut_off: Vec::new(), pairs: BTreeMap::new() };
        members.iter().for_each(|member| theory.place(*member));
        theory.pairs = theory.neighbours();
        theory
    }

    /// One more member runs.
    pub(super) fn add(&mut self, member: NodeIndex) {
        self.place(member);
        self.pairs = self.neighbours();
    }

    fn place(&mut self, member: NodeIndex) {
        let node = &self.trial.nodes[member.index()];
        let reaches = |bootstrap: &NodeIndex| self.pair(member, *bootstrap) != Pair::Blocked;
        if !node.bootstraps.is_empty() && !node.bootstraps.iter().any(reaches) {
            self.cut_off.push(member);
            return;
        }
        self.ring.insert(node.address, member);
    }

    /// Holds statuses against theory; `members` and `statuses` go together.
    pub(super) fn census(&self, members: &[NodeIndex], statuses: &[Option<NodeStatus>]) -> Census {
        let by_member: BTreeMap<NodeIndex, &NodeStatus> = members
            .iter()
            .zip(statuses)
            .filter_map(|(member, status)| Some((*member, status.as_ref()?)))
            .collect();
        let mut census = Census { pairs: self.pairs.len(), ..Census::default() };
        for ((low, high), pair) in &self.pairs {
            let linked = self.linked((*low, *high), &by_member);
            census.linked += usize::from(linked);
            census.blocked += usize::from(*pair == Pair::Blocked);
            census.missing += usize::from(!linked && *pair == Pair::Sure);
        }
        let connected = |member: &&NodeIndex| {
            by_member.get(*member).is_some_and(|status| status.status.state == State::Connected)
        };
        census.failed = members.iter().filter(|member| !connected(member)).copied().collect();
        census.unexplained = census.failed.iter().filter(|member| !self.excused(**member)).copied().collect();
        census
    }

    /// Whether theory says that the member may fail to join: a ring neighbour is out of its reach.
    pub(super) fn excused(&self, member: NodeIndex) -> bool {
        let doubtful = |((low, high), pair): (&(NodeIndex, NodeIndex), &Pair)| {
            (*low == member || *high == member) && *pair != Pair::Sure
        };
        self.cut_off.contains(&member) || self.pairs.iter().any(doubtful)
    }

    /// Members that can reach no bootstrap.
    pub(super) fn cut_off(&self) -> &[NodeIndex] {
        &self.cut_off
    }

    fn linked(
        &self,
        (low, high): (NodeIndex, NodeIndex),
        by_member: &BTreeMap<NodeIndex, &NodeStatus>,
    ) -> bool {
        let [below, above] = [low, high].map(|member| self.trial.nodes[member.index()].address);
        let claims = |member: NodeIndex, claim: &dyn Fn(&NodeStatus) -> bool| {
            by_member.get(&member).is_some_and(|status| claim(status))
        };
        claims(low, &|status| status.status.successor == Some(above))
            && claims(high, &|status| status.status.predecessor == Some(below))
    }

    /// Every member with the next one clockwise; none if it is alone.
    fn neighbours(&self) -> BTreeMap<(NodeIndex, NodeIndex), Pair> {
        let members: Vec<NodeIndex> = self.ring.values().copied().collect();
        if members.len() < 2 {
            return BTreeMap::new();
        }
        let next = members.iter().skip(1).chain(&members[..1]);
        let known = |low, high| self.pairs.get(&(low, high)).copied();
        let pairs = members.iter().zip(next);
        pairs
            .map(|(low, high)| ((*low, *high), known(*low, *high).unwrap_or_else(|| self.pair(*low, *high))))
            .collect()
    }

    fn pair(&self, a: NodeIndex, b: NodeIndex) -> Pair {
        let [a, b]: [HostId; 2] = [a, b].map(|member| self.trial.nodes[member.index()].host);
        match oracle::direct(&self.trial.topology, a, b, Protocol::Udp) {
            Verdict::Direct => Pair::Sure,
            Verdict::ByLuck => Pair::Lucky,
            // This version predicts no ports.
            Verdict::WithPrediction | Verdict::Never => Pair::Blocked,
        }
    }
}
