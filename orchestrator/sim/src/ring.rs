//! Whether the ring is complete, kept up to date claim by claim.
//!
//! It knows the living members and what each claims to be its neighbours, and never asks a machine anything.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use atoll_core::control::{Event, EventKind};
use atoll_core::wire::Address;
use atoll_topology::HostId;

/// What one member says of its neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Its nearest peer counter-clockwise.
    pub predecessor: Option<Address>,
    /// Its nearest peer clockwise.
    pub successor: Option<Address>,
}

/// The living members of one overlay and their claims.
///
/// Each call costs O(log N), the two questions O(1).
#[derive(Clone, Debug, Default)]
pub struct Ring {
    members: BTreeMap<Address, Claim>,
    wrong: usize,
}

impl Ring {
    /// A ring without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A member came; it claims no neighbours yet. One that is there already loses its claim.
    pub fn join(&mut self, member: Address) {
        self.change(member, |members| members.insert(member, Claim::default()));
    }

    /// A member is gone; what others claim of it is wrong from now on.
    pub fn leave(&mut self, member: Address) {
        self.change(member, |members| members.remove(&member));
    }

    /// A member says who its neighbours are. One that never came, or is gone, is not heard.
    pub fn claim(&mut self, member: Address, claim: Claim) {
        let Some(before) = self.members.get(&member).copied() else { return };
        let truth = self.truth(member);
        self.members.insert(member, claim);
        self.wrong = self.wrong + usize::from(claim != truth) - usize::from(before != truth);
    }

    /// True if walking successors, and walking predecessors, visits every member exactly once.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.wrong == 0
    }

    /// Members that claim a neighbour that is not the true one.
    #[must_use]
    pub fn wrong(&self) -> usize {
        self.wrong
    }

    /// Living members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// True if nobody lives there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The true neighbours of an address among the living; none for the only member.
    #[must_use]
    pub fn truth(&self, member: Address) -> Claim {
        Claim { predecessor: self.before(member), successor: self.after(member) }
    }

    /// Every member whose claim is wrong, in ring order, with its claim; O(N).
    pub fn wrong_members(&self) -> impl Iterator<Item = (Address, Claim)> + '_ {
        let wrong = |(member, claim): &(&Address, &Claim)| self.truth(**member) != **claim;
        self.members.iter().filter(wrong).map(|(member, claim)| (*member, *claim))
    }

    fn after(&self, member: Address) -> Option<Address> {
        let mut clockwise = self.members.range((Excluded(member), Unbounded)).chain(&self.members);
        clockwise.next().map(|(next, _)| *next).filter(|next| *next != member)
    }

    fn before(&self, member: Address) -> Option<Address> {
        let mut counter = self.members.range(..member).rev().chain(self.members.iter().rev());
        counter.next().map(|(previous, _)| *previous).filter(|previous| *previous != member)
    }

    /// Applies a change at `member`; only its own claim and those of its two neighbours can turn.
    fn change(
        &mut self,
        member: Address,
        apply: impl FnOnce(&mut BTreeMap<Address, Claim>) -> Option<Claim>,
    ) {
        let near = self.near(member);
        self.wrong -= self.count_wrong(&near);
        apply(&mut self.members);
        self.wrong += self.count_wrong(&near);
    }

    fn near(&self, member: Address) -> [Option<Address>; 3] {
        let Claim { predecessor, successor } = self.truth(member);
        [predecessor, Some(member), successor.filter(|_| successor != predecessor)]
    }

    fn count_wrong(&self, members: &[Option<Address>]) -> usize {
        let wrong =
            |member: &Address| self.members.get(member).is_some_and(|claim| *claim != self.truth(*member));
        members.iter().flatten().filter(|member| wrong(member)).count()
    }
}

/// A [`Ring`] that is fed with the events of the hosts that its members run on.
#[derive(Clone, Debug)]
pub struct Follower {
    overlay: String,
    places: BTreeMap<HostId, Address>,
    ring: Ring,
}

impl Follower {
    /// Follows the overlay of this name.
    #[must_use]
    pub fn new(overlay: &str) -> Self {
        Self { overlay: overlay.to_owned(), places: BTreeMap::new(), ring: Ring::new() }
    }

    /// A member started on `host`; one that ran there before is gone.
    pub fn started(&mut self, host: HostId, member: Address) {
        self.stopped(host);
        self.places.insert(host, member);
        self.ring.join(member);
    }

    /// The member on `host` is gone, or is to be left out.
    pub fn stopped(&mut self, host: HostId) {
        if let Some(member) = self.places.remove(&host) {
            self.ring.leave(member);
        }
    }

    /// The member on `host` reported something.
    pub fn hear(&mut self, host: HostId, event: &Event) {
        let EventKind::NeighboursChanged { predecessor, successor } = event.kind else { return };
        if let Some(member) = self.places.get(&host).filter(|_| event.overlay == self.overlay) {
            self.ring.claim(*member, Claim { predecessor, successor });
        }
    }

    /// The place of the member that lives on `host`.
    #[must_use]
    pub fn member(&self, host: HostId) -> Option<Address> {
        self.places.get(&host).copied()
    }

    /// The host that a member lives on; O(N).
    #[must_use]
    pub fn host(&self, member: Address) -> Option<HostId> {
        self.places.iter().find(|(_, place)| **place == member).map(|(host, _)| *host)
    }

    /// The ring as it is now.
    #[must_use]
    pub fn ring(&self) -> &Ring {
        &self.ring
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(number: u8) -> Address {
        let mut bytes = [0; Address::LEN];
        bytes[0] = number;
        Address::from_bytes(bytes)
    }

    /// Walks from the first member in both directions, as the definition says.
    fn walks_everyone(ring: &Ring) -> bool {
        let walk = |step: fn(&Claim) -> Option<Address>| {
            let Some(start) = ring.members.keys().next() else { return true };
            let mut at = *start;
            for visited in 1..=ring.members.len() {
                let Some(next) = ring.members.get(&at).and_then(step) else { return ring.members.len() == 1 };
                if next == *start {
                    return visited == ring.members.len();
                }
                at = next;
            }
            false
        };
        walk(|claim| claim.successor) && walk(|claim| claim.predecessor)
    }

    /// All claims point to the true neighbours, found by looking at every pair.
    fn naive_wrong(ring: &Ring) -> usize {
        let members: Vec<Address> = ring.members.keys().copied().collect();
        let nearest = |from: Address, clockwise: bool| {
            let others = members.iter().copied().filter(|other| *other != from);
            others.min_by_key(|other| if clockwise { from.clockwise(*other) } else { other.clockwise(from) })
        };
        let wrong = |member: &&Address| {
            let claim = ring.members[*member];
            claim.successor != nearest(**member, true) || claim.predecessor != nearest(**member, false)
        };
        members.iter().filter(wrong).count()
    }

    proptest! {
        #[test]
        fn the_observer_agrees_with_a_naive_look_at_every_step(
            steps in prop::collection::vec((0..4u8, 0..6u8, 0..7u8, 0..7u8), 1..120),
        ) {
            let mut ring = Ring::new();
            for (verb, member, predecessor, successor) in steps {
                let member = address(member);
                match verb {
                    0 => ring.join(member),
                    1 => ring.leave(member),
                    2 => ring.claim(member, ring.truth(member)),
                    _ => {
                        let name = |number| (number < 6).then(|| address(number));
                        ring.claim(member, Claim { predecessor: name(predecessor), successor: name(successor) });
                    }
                }
                prop_assert_eq!(ring.wrong(), naive_wrong(&ring));
                prop_assert_eq!(ring.wrong(), ring.wrong_members().count());
                prop_assert!(!ring.complete() || walks_everyone(&ring));
            }
            for member in ring.members.keys().copied().collect::<Vec<_>>() {
                ring.claim(member, ring.truth(member));
            }
            prop_assert!(ring.complete() && walks_everyone(&ring));
        }
    }

    #[test]
    fn two_rings_side_by_side_are_not_complete() {
        let mut ring = Ring::new();
        (0..4).for_each(|number| ring.join(address(number)));
        for (member, other) in [(0, 2), (2, 0), (1, 3), (3, 1)] {
            let other = Some(address(other));
            ring.claim(address(member), Claim { predecessor: other, successor: other });
        }
        assert_eq!(ring.wrong(), 4);
        assert!(!walks_everyone(&ring));
    }

    #[test]
    fn a_death_turns_both_neighbours_wrong() {
        let mut ring = Ring::new();
        (0..5).for_each(|number| ring.join(address(number)));
        (0..5).for_each(|number| ring.claim(address(number), ring.truth(address(number))));
        assert!(ring.complete());
        ring.leave(address(0));
        let wrong: Vec<Address> = ring.wrong_members().map(|(member, _)| member).collect();
        assert_eq!(wrong, [address(1), address(4)]);
    }
}
