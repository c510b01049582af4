//! Which part of the ring is a member's to hold, as far as it sees its neighbours.

use crate::wire::{Address, RingArc};

/// A member and those next to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Around {
    /// The member.
    pub own: Address,
    /// Whether it has its place in the ring.
    pub connected: bool,
    /// The peers next to it: counter-clockwise and clockwise.
    pub next: [Option<Address>; 2],
    /// Those behind them.
    pub far: [Option<Address>; 2],
}

impl Around {
    /// A member that knows nobody and has no place yet.
    #[must_use]
    pub fn nobody(own: Address) -> Self {
        Self { own, connected: false, next: [None; 2], far: [None; 2] }
    }

    /// The neighbours, each once.
    pub fn neighbours(&self) -> impl Iterator<Item = Address> {
        let [before, after] = self.next;
        before.into_iter().chain(after.filter(|_| after != before))
    }

    /// The points that nobody is nearer to.
    #[must_use]
    pub fn root(&self) -> RingArc {
        let [Some(before), Some(after)] = self.next else { return RingArc::whole(self.own) };
        RingArc { from: middle(before, self.own), to: middle(self.own, after) }
    }

    /// The points of which we hold what is there: ours and our neighbours'.
    #[must_use]
    pub fn held(&self) -> RingArc {
        match self.next {
            [Some(before), Some(after)] if before != after => {
                RingArc { from: self.far_edge(0, before), to: self.far_edge(1, after) }
            }
            _ => RingArc::whole(self.own),
        }
    }

    /// The points that are ours or this neighbour's.
    #[must_use]
    pub fn shared(&self, peer: Address) -> RingArc {
        let [Some(before), Some(after)] = self.next else { return RingArc::whole(self.own) };
        if before == after {
            RingArc::whole(self.own)
        } else if peer == before {
            RingArc { from: self.far_edge(0, before), to: middle(self.own, after) }
        } else {
            RingArc { from: middle(before, self.own), to: self.far_edge(1, after) }
        }
    }

    /// Where the arc of a neighbour ends on its other side.
    fn far_edge(&self, side: usize, peer: Address) -> Address {
        let beyond = self.far[side].unwrap_or(self.own);
        if side == 0 { middle(beyond, peer) } else { middle(peer, beyond) }
    }

    /// Whether points are ours now that were not.
    #[must_use]
    pub fn grew_from(&self, earlier: &Self) -> bool {
        if !earlier.connected {
            // The first member of all misses nothing.
            return self.next != [None; 2];
        }
        let reach = |around: &Self, side: usize| {
            around.next[side]
                .map(|peer| if side == 0 { peer.clockwise(self.own) } else { self.own.clockwise(peer) })
        };
        (0..2).any(|side| match (reach(self, side), reach(earlier, side)) {
            (Some(now), Some(before)) => now > before,
            (None, Some(_)) => true,
            (_, None) => false,
        })
    }
}

fn middle(from: Address, to: Address) -> Address {
    from.plus(from.clockwise(to).half())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(byte: u8) -> Address {
        let mut bytes = [0; Address::LEN];
        bytes[0] = byte;
        Address::from_bytes(bytes)
    }

    /// What a member of a ring of these sees.
    fn seen(members: &[u8], own: usize) -> Around {
        let count = members.len();
        let other = |step: usize| {
            let place = (own + step) % count;
            Some(at(members[place])).filter(|_| place != own)
        };
        let far = |step: usize| other(step).filter(|_| count > 2);
        Around {
            own: at(members[own]),
            connected: true,
            next: [other(count - 1), other(1)],
            far: [far(2 * count - 2), far(2)],
        }
    }

    proptest! {
        #[test]
        fn every_point_has_one_root_and_is_held_by_it_and_those_next_to_it(
            mut members in prop::collection::btree_set(any::<u8>(), 1..12), point: [u8; 20],
        ) {
            let point = Address::from_bytes(point);
            let members: Vec<u8> = std::mem::take(&mut members).into_iter().collect();
            let count = members.len();
            let around: Vec<Around> = (0..count).map(|own| seen(&members, own)).collect();
            let roots: Vec<usize> = (0..count).filter(|own| around[*own].root().contains(point)).collect();
            prop_assert_eq!(roots.len(), 1);
            let nearest = (0..count).min_by_key(|own| at(members[*own]).distance(point)).unwrap();
            let tie = at(members[nearest]).distance(point) == at(members[roots[0]]).distance(point);
            prop_assert!(nearest == roots[0] || tie);
            let mut holders: Vec<usize> = vec![(roots[0] + count - 1) % count, roots[0], (roots[0] + 1) % count];
            holders.sort_unstable();
            holders.dedup();
            let holds: Vec<usize> = (0..count).filter(|own| around[*own].held().contains(point)).collect();
            prop_assert_eq!(holds, holders);
            for peer in around[roots[0]].neighbours() {
                prop_assert!(around[roots[0]].shared(peer).contains(point));
            }
        }
    }

    #[test]
    fn an_arc_grows_when_a_neighbour_is_lost_and_not_when_one_comes() {
        let (few, more) = (seen(&[10, 100, 200], 1), seen(&[10, 90, 100, 200], 2));
        assert!(few.grew_from(&more) && !more.grew_from(&few));
        assert!(!few.grew_from(&few));
        let alone = Around { connected: true, ..Around::nobody(at(1)) };
        assert!(!alone.grew_from(&Around::nobody(at(1))), "the first member misses nothing");
        assert!(few.grew_from(&Around { connected: false, ..few }));
    }
}
