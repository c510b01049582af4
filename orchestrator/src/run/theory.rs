//! What the ring should be, and what the NATs allow: the measure that statuses are held against.

use std::collections::BTreeMap;

use atoll_core::control::{State, Status};
use atoll_core::wire::Address;
use atoll_topology::oracle::{self, Verdict};
use atoll_topology::{HostId, Protocol};

use crate::environment::{GROUP, NodeIndex, NodeSpec, NodeStatus, OVERLAY, Trial};

/// What two hosts are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pair {
    /// Hole punching works, if only when no early packet spoils it, or one opens a TCP connection to the other.
    Direct,
    /// Only others can pass on what they send each other.
    Blocked,
}

/// Whose ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlay {
    /// Everybody's: neighbours that no hole punching can link are relayed.
    Public,
    /// That of the pairs: their members find each other through the public one.
    Private,
}

impl Overlay {
    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Public => OVERLAY,
            Self::Private => GROUP,
        }
    }

    /// Its ring, as notes call it.
    pub(super) fn whose(self) -> &'static str {
        match self {
            Self::Public => "ring",
            Self::Private => "private ring",
        }
    }

    /// A member's place there, if it is one.
    pub(super) fn address(self, node: &NodeSpec) -> Option<Address> {
        match self {
            Self::Public => Some(node.address),
            Self::Private => node.private,
        }
    }

    /// What a member says of itself there.
    pub(super) fn status(self, status: &NodeStatus) -> Option<&Status> {
        match self {
            Self::Public => Some(&status.status),
            Self::Private => status.private.as_ref(),
        }
    }
}

/// The ring that the running members should form.
#[derive(Debug)]
pub(super) struct Theory<'a> {
    trial: &'a Trial,
    overlay: Overlay,
    ring: BTreeMap<Address, NodeIndex>,
    cut_off: Vec<NodeIndex>,
    pairs: BTreeMap<(NodeIndex, NodeIndex), Pair>,
}

/// How the ring is, held against how it should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Census {
    /// Members of the overlay, whether they take part or not.
    pub(super) members: usize,
    /// Pairs of ring neighbours.
    pub(super) pairs: usize,
    /// Pairs that are linked in whatever way, each claiming the other.
    pub(super) linked: usize,
    /// Pairs that no hole punching can link.
    pub(super) blocked: usize,
    /// Pairs that are not linked.
    pub(super) missing: Vec<(NodeIndex, NodeIndex)>,
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

    /// It is complete, and all that can be connected say that they are.
    pub(super) fn whole(&self) -> bool {
        self.complete() && self.unexplained.is_empty()
    }

    /// Nothing more can be expected.
    pub(super) fn settled(&self) -> bool {
        self.missing.is_empty() && self.unexplained.is_empty()
    }
}

impl<'a> Theory<'a> {
    /// The ring of these members. Who can reach no member that lets everybody in cannot take part.
    pub(super) fn new(trial: &'a Trial, overlay: Overlay, members: &[NodeIndex]) -> Self {
        let (ring, pairs) = (BTreeMap::new(), BTreeMap::new());
        let mut theory = Self { trial, overlay, ring, cut_off: Vec::new(), pairs };
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
        let Some(address) = self.overlay.address(node) else { return };
        let reaches = |bootstrap: &NodeIndex| self.pair(member, *bootstrap) != Pair::Blocked;
        if !node.bootstraps.is_empty() && !node.bootstraps.iter().any(reaches) {
            self.cut_off.push(member);
            return;
        }
        self.ring.insert(address, member);
    }

    /// Holds statuses against theory; `members` and `statuses` go together.
    pub(super) fn census(&self, members: &[NodeIndex], statuses: &[Option<NodeStatus>]) -> Census {
        let by_member: BTreeMap<NodeIndex, &Status> = members
            .iter()
            .zip(statuses)
            .filter_map(|(member, status)| Some((*member, self.overlay.status(status.as_ref()?)?)))
            .collect();
        let ours: Vec<NodeIndex> = members.iter().copied().filter(|member| self.has(*member)).collect();
        let mut census = Census { members: ours.len(), pairs: self.pairs.len(), ..Census::default() };
        for ((low, high), pair) in &self.pairs {
            let linked = self.linked((*low, *high), &by_member);
            census.linked += usize::from(linked);
            census.blocked += usize::from(*pair == Pair::Blocked);
            if !linked {
                census.missing.push((*low, *high));
            }
        }
        let connected =
            |member: &NodeIndex| by_member.get(member).is_some_and(|status| status.state == State::Connected);
        census.failed = ours.into_iter().filter(|member| !connected(member)).collect();
        census.unexplained = census.failed.iter().filter(|member| !self.excused(**member)).copied().collect();
        census
    }

    /// Whether it is a member of the overlay.
    pub(super) fn has(&self, member: NodeIndex) -> bool {
        self.overlay.address(&self.trial.nodes[member.index()]).is_some()
    }

    /// Whether theory says that the member cannot join: it reaches nobody who lets others in. All others can, for what
    /// their NATs keep apart is relayed.
    pub(super) fn excused(&self, member: NodeIndex) -> bool {
        self.cut_off.contains(&member)
    }

    /// Members that can reach no bootstrap.
    pub(super) fn cut_off(&self) -> &[NodeIndex] {
        &self.cut_off
    }

    fn linked(&self, (low, high): (NodeIndex, NodeIndex), by_member: &BTreeMap<NodeIndex, &Status>) -> bool {
        let [below, above] =
            [low, high].map(|member| self.overlay.address(&self.trial.nodes[member.index()]));
        let claims = |member: NodeIndex, claim: &dyn Fn(&Status) -> bool| {
            by_member.get(&member).is_some_and(|status| claim(status))
        };
        claims(low, &|status| status.successor == above)
            && claims(high, &|status| status.predecessor == below)
    }

    /// Every pair of ring neighbours: a member and the next one clockwise.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (NodeIndex, NodeIndex)> {
        self.pairs.keys().copied()
    }

    /// Those who could pass on what two members send each other, as far as theory goes: both can link them directly.
    pub(super) fn relays(&self, (low, high): (NodeIndex, NodeIndex)) -> impl Iterator<Item = NodeIndex> {
        let others = self.ring.values().copied().filter(move |one| *one != low && *one != high);
        others.filter(move |one| [low, high].iter().all(|end| self.pair(*one, *end) == Pair::Direct))
    }

    /// The member at an address, if it takes part.
    pub(super) fn at(&self, address: Address) -> Option<NodeIndex> {
        self.ring.get(&address).copied()
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
            Verdict::Direct | Verdict::ByLuck => Pair::Direct,
            // This version predicts no ports.
            Verdict::WithPrediction | Verdict::Never if self.meet_over_tcp(a, b) => Pair::Direct,
            Verdict::WithPrediction | Verdict::Never => Pair::Blocked,
        }
    }

    /// Nobody opens a TCP connection to a member with anything in front of it.
    fn meet_over_tcp(&self, a: HostId, b: HostId) -> bool {
        let is_public = |host: HostId| self.trial.topology.hosts[host.0 as usize].is_public();
        let opens = oracle::direct(&self.trial.topology, a, b, Protocol::Tcp) == Verdict::Direct;
        opens && (is_public(a) || is_public(b))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use atoll_core::control::Status;

    use super::*;
    use crate::plan::{Overrides, Plan};
    use crate::run::draw;

    fn trial(set: &[&str]) -> Trial {
        let set = set.iter().map(|text| (*text).to_owned()).collect();
        let plan = Plan::load("join", &Overrides { set, ..Overrides::default() }).unwrap();
        draw(&plan.points[0].values, plan.turns()[0]).unwrap()
    }

    fn members(trial: &Trial) -> Vec<NodeIndex> {
        (0..trial.nodes.len() as u32).map(NodeIndex).collect()
    }

    /// Statuses of perfect rings of these members.
    fn ring(trial: &Trial, members: &[NodeIndex]) -> Vec<Option<NodeStatus>> {
        let node = |member: &NodeIndex| &trial.nodes[member.index()];
        let mut order: Vec<Address> = members.iter().map(|member| node(member).address).collect();
        let mut private: Vec<Address> = members.iter().filter_map(|member| node(member).private).collect();
        order.sort_unstable();
        private.sort_unstable();
        let status = |member: &NodeIndex| NodeStatus {
            released: Duration::ZERO,
            status: status(node(member).address, &order),
            private: node(member).private.map(|address| status(address, &private)),
        };
        members.iter().map(|member| Some(status(member))).collect()
    }

    fn status(address: Address, order: &[Address]) -> Status {
        let at = order.iter().position(|other| *other == address).unwrap();
        let beside = |step: usize| Some(order[(at + step) % order.len()]);
        Status {
            overlay: "public".to_owned(),
            security: "none".to_owned(),
            certificate_expires_seconds: None,
            refused: None,
            revocations: None,
            address,
            state: State::Connected,
            founded: false,
            silent: Vec::new(),
            uptime_seconds: 9.0,
            join_seconds: Some(1.0),
            neighbours_changed_seconds: 2.0,
            discovered_seconds: None,
            discovered: None,
            predecessor: beside(order.len() - 1),
            successor: beside(1),
            size_estimate: order.len() as f64,
            connections: Vec::new(),
            observed: Vec::new(),
        }
    }

    #[test]
    fn a_perfect_ring_is_complete_and_one_wrong_claim_breaks_it() {
        let trial = trial(&["public=20", "joiners=0", "nat=none"]);
        let members = members(&trial);
        let theory = Theory::new(&trial, Overlay::Public, &members);
        let mut statuses = ring(&trial, &members);
        let census = theory.census(&members, &statuses);
        assert!(census.complete() && census.settled(), "{census:?}");
        assert_eq!((census.pairs, census.linked, census.blocked), (20, 20, 0));
        statuses[3].as_mut().unwrap().status.successor = None;
        let census = theory.census(&members, &statuses);
        assert!(!census.complete() && census.missing.len() == 1, "{census:?}");
    }

    #[test]
    fn a_member_that_is_silent_or_not_connected_failed_without_an_excuse() {
        let trial = trial(&["public=10", "joiners=0", "nat=none"]);
        let members = members(&trial);
        let theory = Theory::new(&trial, Overlay::Public, &members);
        let mut statuses = ring(&trial, &members);
        statuses[4] = None;
        statuses[7].as_mut().unwrap().status.state = State::Joining;
        let census = theory.census(&members, &statuses);
        assert_eq!(census.failed, [NodeIndex(4), NodeIndex(7)]);
        assert_eq!(census.unexplained, census.failed);
        assert!(!census.settled());
    }

    #[test]
    fn nats_that_no_punching_passes_are_no_excuse_for_their_neighbours_are_relayed() {
        let trial = trial(&["public=40", "joiners=0", "nat=symmetric"]);
        let members = members(&trial);
        let theory = Theory::new(&trial, Overlay::Public, &members);
        let census = theory.census(&members, &vec![None; members.len()]);
        assert!(census.blocked > 20 && theory.cut_off().is_empty(), "{census:?}");
        assert_eq!((census.missing.len(), census.unexplained.len()), (40, 40));
    }

    #[test]
    fn who_can_reach_no_bootstrap_takes_no_part_in_the_ring() {
        let trial = trial(&["public=60", "joiners=0", "nat=only-443"]);
        let members = members(&trial);
        let theory = Theory::new(&trial, Overlay::Public, &members);
        assert!(theory.cut_off().len() > 40, "{}", theory.cut_off().len());
        assert_eq!(theory.ring.len() + theory.cut_off().len(), members.len());
        assert!(theory.cut_off().iter().all(|member| theory.excused(*member)));
    }

    #[test]
    fn the_private_ring_has_its_members_only() {
        let trial = trial(&["public=40", "private=10", "joiners=0", "nat=symmetric"]);
        let members = members(&trial);
        let theory = Theory::new(&trial, Overlay::Private, &members);
        let mut statuses = ring(&trial, &members);
        let census = theory.census(&members, &statuses);
        assert_eq!((census.members, census.pairs, census.linked), (10, 10, 10));
        let pair = members.iter().position(|member| theory.has(*member)).unwrap();
        statuses[pair].as_mut().unwrap().private = None;
        let census = theory.census(&members, &statuses);
        assert_eq!(census.unexplained, [members[pair]]);
        assert_eq!(census.missing.len(), 2);
    }

    #[test]
    fn who_can_reach_a_bootstrap_over_tcp_alone_takes_part() {
        let trial = trial(&["public=60", "joiners=0", "nat=udp-blocked"]);
        let members = members(&trial);
        let theory = Theory::new(&trial, Overlay::Public, &members);
        assert!(theory.cut_off().is_empty());
        assert!(theory.pairs.values().any(|pair| *pair == Pair::Direct));
        assert!(theory.pairs.values().any(|pair| *pair == Pair::Blocked));
    }

    #[test]
    fn a_joiner_takes_its_place_between_two_others() {
        let trial = trial(&["public=10", "joiners=1", "nat=none"]);
        let members = members(&trial);
        let mut theory = Theory::new(&trial, Overlay::Public, &members[..10]);
        theory.add(members[10]);
        let census = theory.census(&members, &ring(&trial, &members));
        assert!(census.complete() && census.pairs == 11, "{census:?}");
    }
}
