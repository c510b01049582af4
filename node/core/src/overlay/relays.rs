//! Relayed edges (section III-B of the paper, Fig. 3): two members that cannot reach each other find a peer of both, make
//! one if there is none, keep a second one in reserve, and move their edge from one to the other without a new handshake.

mod failover;

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Lent, Overlay};
use crate::connection::{Connection, Role, Roles};
use crate::edge::Stage;
use crate::linker::Attempt;
use crate::machine::Deadline;
use crate::path::Path;
use crate::time::Time;
use crate::wire::{Address, Candidate, ConnectToMe, EdgeId, RTT_MAX, Relayed as Through, Remote, Way};

/// Peers of ours that a `ConnectToMe` names as relays at most.
const RELAYS_NAMED_MAX: usize = 6;
/// Of those, such as strangers reach as well, as far as we have any: where UDP is blocked nobody else is a relay.
const RELAYS_OPEN: usize = 3;
/// Common peers that a relayed connection keeps: one that is used, and others in reserve and to choose from.
const RELAYS_KEPT: usize = 4;
/// The same before there is any way to it: a direct one is often found a moment later.
const RELAYS_TRIED: usize = 2;
/// How much shorter another way through a common peer has to be for an edge to take it.
const GAIN_MIN: Duration = Duration::from_millis(20);
/// Round trip that is assumed of a relay without a sample.
const RTT_UNKNOWN: Duration = Duration::from_millis(500);
/// First wait between two looks for a better way; it doubles.
const IMPROVE_WAIT: Duration = Duration::from_secs(30);
const IMPROVE_WAIT_MAX: Duration = Duration::from_secs(1800);
/// The same after a common peer is lost: once the other end has noticed, too, it names others.
const RENEW_WAIT: Duration = Duration::from_secs(8);

/// Refusals to relay that are remembered at most; more are not acted on.
const REFUSED_MAX: usize = 64;
/// How long a peer that refused, or that seems not to pass anything on, is not asked again at first; if it then fails again,
/// so many times as long, up to the longest.
const REFUSED_WAIT: Duration = Duration::from_secs(60);
const REFUSED_GROWTH: u32 = 4;
const REFUSED_WAIT_MAX: Duration = Duration::from_secs(1800);
/// How long a handshake through one common peer keeps out those through others.
const RELAY_TURN: Duration = Duration::from_millis(2500);
/// Round trips that differ by less are as good as equal.
const CLASS: Duration = Duration::from_millis(15);

fn class(rtt: Duration) -> u128 {
    rtt.as_millis() / CLASS.as_millis()
}

/// A peer of a member, which would relay for it.
#[derive(Clone, Copy, Debug)]
struct Named {
    via: Address,
    /// The round trip between the two.
    rtt: Duration,
    /// Strangers reach that peer.
    open: bool,
}

/// That a peer does not pass anything on to a member.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    since: Time,
    wait: Duration,
}

impl Refusal {
    fn holds(self, now: Time) -> bool {
        self.since + self.wait > now
    }

    /// Whether it still says something about another one.
    fn is_remembered(self, now: Time) -> bool {
        self.since + self.wait * 2 > now
    }
}

/// What is known about ways through others.
#[derive(Debug)]
pub(super) struct Relayed {
    /// Peers of members that we reach through others: which relays they named, and their round trips to those.
    named: BTreeMap<Address, Vec<Named>>,
    /// Peers, each with the member to whom it does not relay for us: it has no room, or does not reach that one.
    refused: BTreeMap<(Address, Address), Refusal>,
    improve_at: Time,
    improve_wait: Duration,
}

impl Default for Relayed {
    fn default() -> Self {
        Self {
            named: BTreeMap::new(),
            refused: BTreeMap::new(),
            improve_at: Time::MAX,
            improve_wait: IMPROVE_WAIT,
        }
    }
}

impl Relayed {
    /// A common peer is not asked for a while to pass anything on to a member. False if it was not before, or if too much is
    /// remembered.
    fn remember_refusal(&mut self, via: Address, peer: Address, now: Time) -> bool {
        let refused = &mut self.refused;
        refused.retain(|_, refusal| refusal.is_remembered(now));
        let last = refused.get(&(via, peer)).copied();
        let is_new =
            last.is_none_or(|last| !last.holds(now)) && (last.is_some() || refused.len() < REFUSED_MAX);
        if is_new {
            let longer = |last: Refusal| (last.wait * REFUSED_GROWTH).min(REFUSED_WAIT_MAX);
            let wait = last.map_or(REFUSED_WAIT, longer);
            refused.insert((via, peer), Refusal { since: now, wait });
        }
        is_new
    }

    /// Whether a common peer is not asked to pass anything on to a member.
    fn is_refused(&self, via: Address, peer: Address, now: Time) -> bool {
        self.refused.get(&(via, peer)).is_some_and(|refusal| refusal.holds(now))
    }
}

impl Overlay {
    /// Our peers that are the best to relay for us: the nearest in time, without anybody in between.
    pub(super) fn relays(&self, lent: &Lent<'_>) -> Vec<Candidate> {
        let mut relays: Vec<(Duration, &Connection)> = self
            .connections
            .iter()
            .filter(|connection| connection.way().is_unaided() && !connection.suspected)
            .map(|connection| (self.round_trip(connection, lent), connection))
            .collect();
        // Of those that are equally near in time each member names others, so that none relays for all.
        relays.sort_by_key(|(rtt, via)| (class(*rtt), via.peer.distance(self.own)));
        if let Some(rest) = relays.get_mut(RELAYS_NAMED_MAX - RELAYS_OPEN..) {
            rest.sort_by_key(|(_, via)| !via.open);
        }
        relays.truncate(RELAYS_NAMED_MAX);
        let through = |(rtt, via): (Duration, &Connection)| {
            let rtt = u16::try_from(rtt.as_millis()).unwrap_or(RTT_MAX).min(RTT_MAX);
            Candidate::Through { via: via.peer, rtt, open: via.open }
        };
        relays.into_iter().map(through).collect()
    }

    fn round_trip(&self, connection: &Connection, lent: &Lent<'_>) -> Duration {
        let edge = self.edges.get(connection.edge());
        let path = edge.and_then(|edge| lent.paths.get(edge.path));
        path.and_then(|path: &Path| path.rtt).unwrap_or(RTT_UNKNOWN)
    }

    /// A member named the peers that would relay for it: use one from `wait` on, if nothing better was found until then.
    pub(super) fn plan_relays(
        &mut self,
        peer: Address,
        message: &ConnectToMe,
        wait: Duration,
        lent: &mut Lent<'_>,
    ) {
        let named: Vec<Named> = message
            .candidates
            .iter()
            .filter_map(|candidate| match candidate {
                Candidate::Through { via, rtt, open } if *via != self.own && *via != peer => {
                    Some(Named { via: *via, rtt: Duration::from_millis(u64::from(*rtt)), open: *open })
                }
                _ => None,
            })
            .collect();
        let have = self.connections.get(peer).map(Connection::way);
        let Some(attempt) = self.linker.get_mut(peer) else { return };
        // A relay must itself be reached directly, and a shortcut through another is none.
        let roles = attempt.roles.union(Roles::from_bits(message.roles));
        let wants = have.is_none_or(|have| have < Way::Relayed) && attempt.wants(Way::Relayed);
        if !(roles.has(Role::Near) || roles.has(Role::OnDemand)) || !(wants || have == Some(Way::Relayed)) {
            return;
        }
        if wants {
            attempt.relay_at(lent.now + wait);
        }
        self.keep_relays(peer, named, lent.now);
        self.linker.refresh();
        self.trim_named();
        if !wants {
            self.make_relays(peer, lent);
        }
    }

    /// The relays that a member names now, and those of before that we have in common with it: it names the best only, and one
    /// that is not its peer any longer says so when it is used.
    fn keep_relays(&mut self, peer: Address, mut named: Vec<Named>, now: Time) {
        let before = self.relayed.named.remove(&peer).unwrap_or_default();
        let is_kept = |one: &Named| {
            let is_ours = self.has_direct(one.via) || self.linker.get(one.via).is_some();
            is_ours && !self.relayed.is_refused(one.via, peer, now)
        };
        for one in before.into_iter().filter(is_kept) {
            if named.len() < RELAYS_NAMED_MAX + RELAYS_KEPT && !named.iter().any(|new| new.via == one.via) {
                named.push(one);
            }
        }
        self.relayed.named.insert(peer, named);
    }

    /// Forgets the relays of members that we have nothing to do with.
    fn trim_named(&mut self) {
        let (linker, connections) = (&self.linker, &self.connections);
        self.relayed.named.retain(|peer, _| {
            linker.get(*peer).is_some()
                || connections.get(*peer).is_some_and(|connection| !connection.way().is_unaided())
        });
    }

    /// Time to reach a member through another: over a common peer if there is one, else such a peer is made.
    pub(super) fn relay_to(&mut self, peer: Address, lent: &mut Lent<'_>) {
        self.doubt_handshakes(peer, lent);
        if let Some(via) = self.best_relay(peer, None, lent) {
            let remote = Remote::Relayed(Through { overlay: self.slot, peer, via });
            self.dial_for(peer, remote, lent);
            if let Some(attempt) = self.linker.get_mut(peer) {
                attempt.relay_again(lent.now + lent.paths.paced(RELAY_TURN));
                self.linker.refresh();
            }
        }
        self.make_relays(peer, lent);
    }

    /// Common peers through which a handshake with a member got nowhere had their turn.
    fn doubt_handshakes(&mut self, peer: Address, lent: &Lent<'_>) {
        let Some(attempt) = self.linker.get(peer) else { return };
        let stuck = attempt.dialled.iter().filter_map(|(remote, id)| match remote {
            Remote::Relayed(one) => Some((one.via, self.edges.get(*id)?)),
            _ => None,
        });
        let stuck: Vec<Address> = stuck
            .filter(|(_, edge)| {
                edge.stage == Stage::Handshake && edge.since + lent.paths.paced(RELAY_TURN) <= lent.now
            })
            .map(|(via, _)| via)
            .collect();
        for via in stuck {
            self.relayed.remember_refusal(via, peer, lent.now);
        }
    }

    /// Links so many of the relays that a member named that we have enough in common.
    fn make_relays(&mut self, peer: Address, lent: &mut Lent<'_>) {
        let Some(named) = self.relayed.named.get(&peer) else { return };
        let refused = |via: Address| {
            self.relayed.is_refused(via, peer, lent.now) || self.linker.is_resting(via, lent.now)
        };
        let common = named.iter().filter(|one| self.has_direct(one.via) && !refused(one.via)).count();
        let mut fresh: Vec<Named> = named
            .iter()
            .filter(|one| self.connections.get(one.via).is_none() && !refused(one.via))
            .copied()
            .collect();
        if lent.paths.is_shut(lent.now) {
            fresh.sort_by_key(|one| !one.open);
        }
        let is_linked = self.connections.get(peer).is_some();
        let wanted = if is_linked { RELAYS_KEPT } else { RELAYS_TRIED };
        let lacking = wanted.saturating_sub(common);
        if fresh.len() < lacking {
            self.ask_for_relays(peer, lent);
        }
        for one in fresh.into_iter().take(lacking) {
            self.link(one.via, Role::Overlap, Vec::new(), lent);
        }
    }

    /// Too few of the relays that a relayed peer named are left: it names others when it is asked.
    fn ask_for_relays(&mut self, peer: Address, lent: &Lent<'_>) {
        let Some(connection) = self.connections.get(peer) else { return };
        if connection.way() == Way::Relayed && connection.ours != Roles::NONE {
            let have = (connection.ours, connection.way());
            self.linker.improve(peer, have, lent.now);
        }
    }

    /// Moves an edge to a common peer through which the way is clearly shorter.
    fn shorten(&mut self, peer: Address, lent: &mut Lent<'_>) {
        let Some(id) = self.connections.get(peer).map(Connection::edge) else { return };
        let Some(via) = self.relay_of(id, lent) else { return };
        let whole = |one: Address| {
            let named = self.relayed.named.get(&peer)?.iter().find(|named| named.via == one)?;
            Some(self.round_trip(self.connections.get(one)?, lent) + named.rtt)
        };
        let measured = self.edges.get(id).and_then(|edge| lent.paths.get(edge.path)?.rtt);
        let Some(now) = measured.or_else(|| whole(via)) else { return };
        let better = self.best_relay(peer, Some(via), lent).and_then(|better| Some((better, whole(better)?)));
        if let Some((better, rtt)) = better
            && rtt + GAIN_MIN < now
        {
            self.move_edge(id, Through { overlay: self.slot, peer, via: better }, lent);
            self.make_relays(peer, lent);
        }
    }

    /// The common peer with the shortest way to a member.
    fn best_relay(&self, peer: Address, avoid: Option<Address>, lent: &Lent<'_>) -> Option<Address> {
        self.good_relays(peer, avoid, lent).first().copied()
    }

    /// The common peers through which a member is reached, the shortest way first.
    fn good_relays(&self, peer: Address, avoid: Option<Address>, lent: &Lent<'_>) -> Vec<Address> {
        let named = self.relayed.named.get(&peer).map(Vec::as_slice).unwrap_or_default();
        let ways = named.iter().filter_map(|Named { via, rtt, .. }| {
            let connection = self.connections.get(*via)?;
            let refused = self.relayed.is_refused(*via, peer, lent.now);
            let usable = connection.way().is_unaided() && !connection.suspected && !refused;
            let whole = self.round_trip(connection, lent) + *rtt;
            (usable && Some(*via) != avoid).then(|| (class(whole), via.distance(peer), *via))
        });
        let mut ways: Vec<_> = ways.collect();
        ways.sort_unstable();
        ways.into_iter().map(|(.., via)| via).collect()
    }

    /// There is a new way to a peer: others may now be reached through it, or it is itself reached through another and
    /// needs a reserve.
    pub(super) fn on_way(&mut self, peer: Address, way: Way, lent: &mut Lent<'_>) {
        if way.is_unaided() {
            self.relayed.named.remove(&peer);
            let waiting =
                self.relayed.named.iter().filter(|(_, named)| named.iter().any(|one| one.via == peer));
            let waiting: Vec<Address> = waiting.map(|(target, _)| *target).collect();
            for target in waiting {
                if self.linker.get(target).is_some_and(Attempt::wants_relay) {
                    self.relay_to(target, lent);
                } else {
                    self.leave_useless_relay(target, lent);
                }
            }
        } else {
            self.make_relays(peer, lent);
        }
        if way != Way::Direct {
            self.improve_in(IMPROVE_WAIT, lent.now);
        }
    }

    /// Looks for better ways after about `wait`, and then ever more rarely.
    fn improve_in(&mut self, wait: Duration, now: Time) {
        self.relayed.improve_wait = IMPROVE_WAIT;
        let soon = now + self.rng.jitter(wait, 0.3);
        self.relayed.improve_at = self.relayed.improve_at.min(soon);
    }

    /// Looks for better ways to all whom we reach through others.
    pub(super) fn improve(&mut self, lent: &mut Lent<'_>) {
        if self.relayed.improve_at > lent.now {
            return;
        }
        let others: Vec<(Address, (Roles, Way))> = self
            .connections
            .iter()
            .filter(|connection| connection.way() != Way::Direct && connection.ours != Roles::NONE)
            .map(|connection| (connection.peer, (connection.ours, connection.way())))
            .collect();
        let none = self.connections.iter().all(|connection| connection.way() == Way::Direct);
        self.relayed.improve_wait = (self.relayed.improve_wait * 2).min(IMPROVE_WAIT_MAX);
        let next = lent.now + self.rng.jitter(self.relayed.improve_wait, 0.3);
        self.relayed.improve_at = if none { Time::MAX } else { next };
        for (peer, have) in others {
            self.shorten(peer, lent);
            self.linker.improve(peer, have, lent.now);
        }
        self.run_links(lent);
    }

    pub(super) fn improve_timeout(&self) -> Option<Deadline> {
        let at = self.relayed.improve_at;
        (at < Time::MAX).then_some(Deadline { at, reason: "better way" })
    }

    /// The common peers that relayed connections need.
    pub(super) fn overlaps(&self, lent: &Lent<'_>) -> Vec<Address> {
        let mut overlaps = Vec::new();
        let wanted = |peer: &Address| self.linker.get(*peer).is_some_and(Attempt::wants_relay);
        for (peer, named) in &self.relayed.named {
            let relayed = self.connections.get(*peer).is_some_and(|one| one.way() == Way::Relayed);
            if relayed || wanted(peer) {
                let usable =
                    |via: &Address| self.has_direct(*via) && !self.relayed.is_refused(*via, *peer, lent.now);
                let common = named.iter().map(|one| one.via).filter(usable);
                overlaps.extend(common.take(RELAYS_KEPT));
            }
        }
        for connection in self.connections.iter().filter(|connection| connection.way() == Way::Relayed) {
            overlaps.extend(self.relay_of(connection.edge(), lent));
        }
        overlaps
    }

    /// The peer that passes on the datagrams of an edge.
    fn relay_of(&self, id: EdgeId, lent: &Lent<'_>) -> Option<Address> {
        match lent.paths.get(self.edges.get(id)?.path)?.remote {
            Remote::Relayed(one) => Some(one.via),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Distance;

    fn member(number: u32) -> Address {
        Address::from_bytes([0; Address::LEN]).plus(Distance::from_fraction(f64::from(number) / 1000.0))
    }

    #[test]
    fn a_relay_that_fails_again_is_left_alone_longer_up_to_half_an_hour() {
        let (mut relayed, mut now) = (Relayed::default(), Time::from_secs(1));
        let minute = 60;
        for wait in [minute, 4 * minute, 16 * minute, 30 * minute, 30 * minute] {
            assert!(relayed.remember_refusal(member(1), member(2), now), "that is news");
            assert!(!relayed.remember_refusal(member(1), member(2), now), "that is not");
            assert!(!relayed.is_refused(member(2), member(1), now), "it is about the other direction");
            let wait = Duration::from_secs(wait);
            let end = now + wait;
            assert!(relayed.is_refused(member(1), member(2), now + wait.mul_f64(0.999)));
            assert!(!relayed.is_refused(member(1), member(2), end));
            now = end;
        }
        let much_later = now + 2 * REFUSED_WAIT_MAX;
        assert!(relayed.remember_refusal(member(1), member(2), much_later));
        assert!(!relayed.is_refused(member(1), member(2), much_later + REFUSED_WAIT), "it begins anew");
    }

    #[test]
    fn no_more_refusals_are_kept_than_there_is_room_for() {
        let (mut relayed, now) = (Relayed::default(), Time::from_secs(1));
        let taken = (0..200).filter(|number| relayed.remember_refusal(member(*number), member(500), now));
        assert_eq!(taken.count(), REFUSED_MAX);
        assert_eq!(relayed.refused.len(), REFUSED_MAX);
        let later = now + 2 * REFUSED_WAIT;
        assert!(relayed.remember_refusal(member(999), member(500), later), "old ones make room");
        assert_eq!(relayed.refused.len(), 1);
    }
}
