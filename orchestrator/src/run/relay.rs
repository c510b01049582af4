//! The experiment `relay`: how far it is through common peers, and what becomes of a pair whose common peer dies.

use std::time::Duration;

use atoll_core::Rng;
use atoll_core::control::{Command, Peer, Reply};

use super::outcome::{Cut, names};
use super::rings::Rings;
use super::stage::Stage;
use super::theory::{Overlay, Theory};
use crate::environment::{NodeIndex, OVERLAY, Stop};
use crate::metric;

/// Relays that are killed at most, and one of so many members.
const KILLED_MAX: usize = 20;
const MEMBERS_PER_KILL: usize = 10;
/// The longest wait for another way; a pair that needs longer is lost.
const REPLACED_LIMIT: Duration = Duration::from_secs(15);
/// How often a pair is looked at meanwhile.
const GLANCE: Duration = Duration::from_millis(25);
/// Between one relay and the next: the ring closes, and pairs find another relay to keep in reserve.
const PAUSE: Duration = Duration::from_secs(30);
/// The way of an edge through a common peer, as members call it.
const RELAYED: &str = "relayed";

/// Two ring neighbours whom a common peer links.
#[derive(Clone, Copy, Debug)]
struct Pair {
    ends: (NodeIndex, NodeIndex),
    relay: NodeIndex,
    /// The smoothed round trip, if an end has measured it.
    seconds: Option<f64>,
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Neither end sends through the relay any longer.
    Moved,
    /// It stands, if only by name.
    Kept,
    /// It closed, and perhaps another was made since.
    Closed,
}

impl Stage<'_> {
    /// Runs the whole trial; what was measured before a cut stays in the outcome.
    pub(super) fn run_relay(&mut self) -> Result<(), Cut> {
        let trial = self.trial;
        let (members, _) = self.members();
        let rings = Rings::new(trial, &members);
        self.start_in_waves(&members, &rings)?;
        self.pass("at rest", self.values.rest)?;
        let explained = self.count(&members, &rings, &[])?;
        for pair in self.relayed(&rings.public)? {
            self.say_how_far(pair, &rings.public);
        }
        self.routes(&members)?;
        self.kill_relays(members)?;
        let wanted = [
            metric::RELAY_ROUND_TRIP,
            metric::RELAY_STRETCH,
            metric::RELAY_DIRECT,
            metric::ROUTE,
            metric::RELAY_REPLACED,
            metric::RELAY_LOST,
        ];
        self.outcome.miss(&wanted, explained);
        Ok(())
    }

    /// Every pair of ring neighbours that a common peer links.
    fn relayed(&mut self, ring: &Theory<'_>) -> Result<Vec<Pair>, Cut> {
        let mut pairs = Vec::new();
        for (low, high) in ring.pairs() {
            self.stop_if_cancelled()?;
            let Some(peer) = self.linked((low, high)).filter(|peer| peer.edge == RELAYED) else { continue };
            let Some(relay) = peer.via.and_then(|via| ring.at(via)) else { continue };
            // Which end pings depends on who began the edge.
            let seconds =
                peer.rtt_seconds.or_else(|| self.linked((high, low)).and_then(|peer| peer.rtt_seconds));
            pairs.push(Pair { ends: (low, high), relay, seconds });
        }
        Ok(pairs)
    }

    fn linked(&mut self, (from, to): (NodeIndex, NodeIndex)) -> Option<Peer> {
        let address = self.trial.nodes[to.index()].address;
        self.peer(Overlay::Public, from, address)
    }

    /// The round trip of a pair, and how it compares with what could be.
    fn say_how_far(&mut self, pair: Pair, ring: &Theory<'_>) {
        let (low, high) = pair.ends;
        let Some(seconds) = pair.seconds else { return };
        let through = |relay: NodeIndex| self.direct(low, relay) + self.direct(relay, high);
        let best = ring.relays(pair.ends).map(through).min();
        self.sample_between(pair.ends, metric::RELAY_ROUND_TRIP, seconds);
        if let Some(best) = best {
            self.sample_between(pair.ends, metric::RELAY_STRETCH, seconds / best.as_secs_f64());
        }
        let direct = self.direct(low, high).as_secs_f64();
        self.sample_between(pair.ends, metric::RELAY_DIRECT, seconds / direct);
    }

    /// Kills the relays of random pairs, one after the other.
    fn kill_relays(&mut self, mut running: Vec<NodeIndex>) -> Result<(), Cut> {
        let mut rng = Rng::new(self.trial.internet_seed).fork("relays");
        let kills = (running.len() / MEMBERS_PER_KILL).clamp(1, KILLED_MAX);
        let (mut affected, mut lost) = (0, Vec::new());
        for done in 0..kills {
            self.surroundings.progress.step("relays killed", done as u64, kills as u64);
            let ring = Rings::new(self.trial, &running).public;
            let mut pairs = self.relayed(&ring)?;
            // Where theory knows no other relay, nothing is to be expected.
            pairs.retain(|pair| ring.relays(pair.ends).any(|other| other != pair.relay));
            if pairs.is_empty() {
                self.note(format!(
                    "no relayed pair has another relay to go to after {done} of {kills} relays were killed"
                ));
                break;
            }
            let chosen = pairs[rng.below(pairs.len())];
            let concerned: Vec<Pair> = pairs.into_iter().filter(|one| one.relay == chosen.relay).collect();
            running.retain(|member| *member != chosen.relay);
            affected += concerned.len();
            lost.extend(self.kill_relay(chosen, &concerned)?);
        }
        if affected > 0 {
            self.sample(None, metric::RELAY_LOST, lost.len() as f64 / affected as f64);
        }
        for (low, high) in lost {
            let ends = names(self.trial, &[low, high]);
            self.note(format!("lost their connection with their relay: {ends}"));
        }
        Ok(())
    }

    /// Kills the relay of a pair and of all others that it relays for; returns whose connections did not last. The pair
    /// talks meanwhile, as whoever is at rest notices later.
    fn kill_relay(&mut self, chosen: Pair, concerned: &[Pair]) -> Result<Vec<(NodeIndex, NodeIndex)>, Cut> {
        let killed = self.environment.now();
        self.environment.stop(&[chosen.relay], Stop::Kill)?;
        let replaced = self.wait_for_another_way(chosen, killed)?;
        if let Some(after) = replaced {
            self.sample_between(chosen.ends, metric::RELAY_REPLACED, after.as_secs_f64());
        }
        self.wait(PAUSE)?;
        let mut lost = Vec::new();
        for pair in concerned {
            let is_chosen = pair.ends == chosen.ends;
            if self.state(*pair, killed) == State::Closed || (is_chosen && replaced.is_none()) {
                lost.push(pair.ends);
            }
        }
        Ok(lost)
    }

    /// How long it took from then until a ping of the pair was answered and neither end used the relay any longer; none if the
    /// connection closed, or after the limit.
    fn wait_for_another_way(&mut self, pair: Pair, killed: Duration) -> Result<Option<Duration>, Cut> {
        let address = self.trial.nodes[pair.ends.1.index()].address;
        let ping = Command::Ping { overlay: OVERLAY.to_owned(), address };
        loop {
            let reply = self.environment.command(pair.ends.0, ping.clone());
            let answered = matches!(reply, Ok(Reply::Ping { .. }));
            let after = self.environment.now() - killed;
            match self.state(pair, killed) {
                State::Moved if answered => return Ok(Some(after)),
                State::Closed => return Ok(None),
                _ if after < REPLACED_LIMIT => self.wait(GLANCE)?,
                _ => return Ok(None),
            }
        }
    }

    /// What became of a pair's connection since its relay was killed.
    fn state(&mut self, pair: Pair, killed: Duration) -> State {
        let (low, high) = pair.ends;
        let relay = self.trial.nodes[pair.relay.index()].address;
        let mut state = State::Moved;
        for ends in [(low, high), (high, low)] {
            let Some(peer) = self.linked(ends) else { return State::Closed };
            if peer.age_seconds < (self.environment.now() - killed).as_secs_f64() {
                return State::Closed;
            }
            if peer.via == Some(relay) {
                state = State::Kept;
            }
        }
        state
    }
}
