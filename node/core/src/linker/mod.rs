//! Service: from an address to a connection. It decides whom to ask and whom to dial; the overlay does it.
//!
//! An attempt asks the target, through the overlay, to connect to us (`ConnectToMe`); on receipt both sides dial all
//! worthwhile candidates at once, which is UDP hole punching. Attempts end with the first linked edge.

mod bootstrap;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use bootstrap::Bootstraps;

use crate::connection::Roles;
use crate::machine::Deadline;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::{Address, EdgeId, Remote, Way};

/// Attempts under way at most; beyond, new ones wait until the ring asks again.
pub const ATTEMPTS_MAX: usize = 64;
/// Failures that are remembered; beyond, the oldest is forgotten.
pub const FAILURES_MAX: usize = 64;

/// Announcements whose answers are still taken.
pub const ANNOUNCEMENTS_MAX: usize = 16;

/// Remotes of one target that wait for their turn at most; beyond, more are left out.
const FALLBACKS_MAX: usize = 8;

/// First wait for an answer to a `ConnectToMe`; it doubles.
const ASK_WAIT: Duration = Duration::from_millis(1500);
/// An attempt without a linked edge after this long has failed.
const GIVE_UP: Duration = Duration::from_secs(10);
/// How long a failed target is left alone at first; it doubles up to the longest.
const FAILURE_WAIT: Duration = Duration::from_secs(4);
const FAILURE_WAIT_MAX: Duration = Duration::from_secs(40);

/// One attempt to link.
#[derive(Debug)]
pub struct Attempt {
    /// Names it to the target.
    pub id: u32,
    /// What we want the connection for.
    pub roles: Roles,
    /// Stands for the cookie of whoever dials us for this attempt.
    pub token: u64,
    /// The members through which the target is asked; empty if the ring finds it.
    pub via: Vec<Address>,
    /// The target's token for us.
    pub peer_token: Option<u64>,
    /// Candidates that are being dialled.
    pub dialled: Vec<(Remote, EdgeId)>,
    relay: RelayStage,
    /// When another relay gets its turn, unless a better way is found until then.
    next_relay: Option<Time>,
    /// Remotes to dial if no better way was found until then.
    fallbacks: Vec<(Time, Remote)>,
    /// The best way to the target that there is meanwhile: the attempt looks for a better one.
    linked: Option<Way>,
    /// Next time to ask the target; none when it asked us or has answered.
    ask_at: Option<Time>,
    asks: u32,
    give_up: Time,
}

impl Attempt {
    fn due(&self) -> Time {
        let fallbacks = self.fallbacks.iter().map(|(at, _)| *at);
        let relay = match self.relay {
            RelayStage::Planned(at) => Some(at),
            _ => None,
        };
        fallbacks
            .chain(relay)
            .chain(self.next_relay)
            .chain(self.ask_at)
            .chain([self.give_up])
            .min()
            .unwrap_or(Time::MAX)
    }

    /// Whether a way of this kind would be better than what there is.
    #[must_use]
    pub fn wants(&self, way: Way) -> bool {
        self.linked.is_none_or(|linked| linked < way)
    }

    /// Whether a remote is dialled, or will be.
    #[must_use]
    pub fn has(&self, remote: Remote) -> bool {
        self.dialled.iter().any(|(one, _)| *one == remote)
            || self.fallbacks.iter().any(|(_, one)| *one == remote)
    }

    /// A relay is wanted from `at` on, unless a better way is found until then.
    pub fn relay_at(&mut self, at: Time) {
        if self.relay == RelayStage::Unplanned {
            self.relay = RelayStage::Planned(at);
        }
    }

    /// Another relay gets its turn at `at`, unless a way as good is found until then.
    pub fn relay_again(&mut self, at: Time) {
        self.next_relay = Some(at);
    }

    /// Whether it is time for a relay.
    #[must_use]
    pub fn wants_relay(&self) -> bool {
        self.relay == RelayStage::Due && self.wants(Way::Relayed)
    }

    /// Whether it has just become time for one.
    fn take_relay(&mut self, now: Time) -> bool {
        let due = matches!(self.relay, RelayStage::Planned(at) if at <= now);
        if due {
            self.relay = RelayStage::Due;
        }
        let again = self.next_relay.take_if(|at| *at <= now).is_some();
        (due || again) && self.wants(Way::Relayed)
    }

    fn take_fallback(&mut self, now: Time) -> Option<Remote> {
        let at = self.fallbacks.iter().position(|(at, _)| *at <= now)?;
        Some(self.fallbacks.swap_remove(at).1)
    }
}

/// When a relay is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RelayStage {
    /// The target named none yet.
    Unplanned,
    /// From then on.
    Planned(Time),
    /// Now.
    Due,
}

/// A target that could not be linked.
#[derive(Debug)]
struct Failure {
    until: Time,
    wait: Duration,
}

/// A `ConnectToMe` to our own place: whoever stands there answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The answers return it.
    pub id: u32,
    /// Stands for the cookie of whoever dials us for it.
    pub token: u64,
}

/// What the linker's timer wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Ask this target (again) to connect to us.
    Ask(Address),
    /// Dial this remote of a target: no better way was found in time.
    Dial(Address, Remote),
    /// Reach this target through another member: no better way was found in time.
    Relay(Address),
    /// This attempt failed: these edges are of no more use.
    Failed(Address, Vec<EdgeId>),
}

/// All attempts of one member.
#[derive(Debug)]
pub struct Linker {
    rng: Rng,
    attempts: BTreeMap<Address, Attempt>,
    failures: BTreeMap<Address, Failure>,
    announcements: VecDeque<Announcement>,
    /// How many times as long as on a common day everything takes.
    pace: f64,
    /// No attempt is due before this.
    due: Time,
}

impl Linker {
    /// A linker without attempts.
    #[must_use]
    pub fn new(rng: &Rng) -> Self {
        Self {
            rng: rng.fork("linker"),
            attempts: BTreeMap::new(),
            failures: BTreeMap::new(),
            announcements: VecDeque::new(),
            pace: 1.0,
            due: Time::MAX,
        }
    }

    /// Everything takes so many times as long as on a common day, and so do waits from now on.
    pub fn set_pace(&mut self, pace: f64) {
        self.pace = pace;
    }

    /// Begins an attempt that asks the target, or adds roles to the one under way. True if it is new.
    pub fn ask(&mut self, target: Address, roles: Roles, via: Vec<Address>, now: Time) -> bool {
        if let Some(attempt) = self.attempts.get_mut(&target) {
            attempt.roles = attempt.roles.union(roles);
            if !via.is_empty() {
                attempt.via = via;
            }
            if attempt.linked.take().is_some() {
                // The connection is gone before a better way was found.
                attempt.ask_at = Some(now);
                self.due = self.due.min(now);
            }
            return false;
        }
        if self.attempts.len() >= ATTEMPTS_MAX {
            return false;
        }
        let attempt = Attempt { roles, via, ask_at: Some(now), ..self.fresh(now) };
        self.due = self.due.min(now);
        self.attempts.insert(target, attempt);
        true
    }

    /// Begins an attempt to find a better way to a connected peer. True if it is new.
    pub fn improve(&mut self, target: Address, (roles, way): (Roles, Way), now: Time) -> bool {
        if self.attempts.contains_key(&target) || !self.ask(target, roles, Vec::new(), now) {
            return false;
        }
        if let Some(attempt) = self.attempts.get_mut(&target) {
            attempt.linked = Some(way);
        }
        true
    }

    /// Dials this remote at `at`, if no better way is found until then.
    pub fn fall_back(&mut self, target: Address, remote: Remote, at: Time) {
        let Some(attempt) = self.attempts.get_mut(&target) else { return };
        if attempt.fallbacks.len() < FALLBACKS_MAX {
            attempt.fallbacks.push((at, remote));
            self.due = self.due.min(at);
        }
    }

    /// The attempt with a peer that asked us, made if there is none and room is left.
    pub fn answer(&mut self, peer: Address, peer_token: u64, now: Time) -> Option<&mut Attempt> {
        if !self.attempts.contains_key(&peer) {
            if self.attempts.len() >= ATTEMPTS_MAX {
                return None;
            }
            let attempt = self.fresh(now);
            self.due = self.due.min(attempt.give_up);
            self.attempts.insert(peer, attempt);
        }
        let attempt = self.attempts.get_mut(&peer)?;
        attempt.peer_token = Some(peer_token);
        Some(attempt)
    }

    /// A new announcement, whose answers and dials are taken for a while.
    pub fn announce(&mut self) -> Announcement {
        let announcement = Announcement { id: self.rng.next_u32(), token: self.rng.next_u64().max(1) };
        self.announcements.push_front(announcement);
        self.announcements.truncate(ANNOUNCEMENTS_MAX);
        announcement
    }

    /// Whether an answer is to one of the latest announcements.
    #[must_use]
    pub fn is_announcement(&self, id: u32) -> bool {
        self.announcements.iter().any(|announcement| announcement.id == id)
    }

    /// The target answered: it need not be asked again.
    pub fn on_reply(&mut self, target: Address) {
        if let Some(attempt) = self.attempts.get_mut(&target) {
            attempt.ask_at = None;
        }
    }

    fn fresh(&mut self, now: Time) -> Attempt {
        Attempt {
            id: self.rng.next_u32(),
            roles: Roles::NONE,
            token: self.rng.next_u64().max(1),
            via: Vec::new(),
            peer_token: None,
            dialled: Vec::new(),
            relay: RelayStage::Unplanned,
            next_relay: None,
            fallbacks: Vec::new(),
            linked: None,
            ask_at: None,
            asks: 0,
            give_up: now + self.rng.jitter(GIVE_UP.mul_f64(self.pace), 0.1),
        }
    }

    /// An attempt under way.
    #[must_use]
    pub fn get(&self, target: Address) -> Option<&Attempt> {
        self.attempts.get(&target)
    }

    /// An attempt under way, to change.
    pub fn get_mut(&mut self, target: Address) -> Option<&mut Attempt> {
        self.attempts.get_mut(&target)
    }

    /// Whether a token was handed out for an attempt under way.
    #[must_use]
    pub fn knows_token(&self, token: u64) -> bool {
        self.holder(token).is_some() || self.announcements.iter().any(|one| one.token == token)
    }

    /// The member that a token was handed to for an attempt under way.
    #[must_use]
    pub fn holder(&self, token: u64) -> Option<Address> {
        self.attempts.iter().find(|(_, attempt)| attempt.token == token).map(|(peer, _)| *peer)
    }

    /// The attempt has its connection; the edges that are of no more use. It goes on only for a better way.
    pub fn on_linked(&mut self, peer: Address, (way, by): (Way, EdgeId)) -> Vec<EdgeId> {
        self.failures.remove(&peer);
        let Some(attempt) = self.attempts.get_mut(&peer) else { return Vec::new() };
        attempt.linked = attempt.linked.max(Some(way));
        attempt.ask_at = None;
        attempt.roles = Roles::NONE;
        attempt.fallbacks.retain(|(_, remote)| remote.way() > way);
        let better = |remote: &Remote| remote.way() > way;
        let rest = attempt.dialled.iter().filter(|(remote, edge)| *edge != by && !better(remote));
        let rest = rest.map(|(_, edge)| *edge).collect();
        attempt.dialled.retain(|(remote, edge)| *edge != by && better(remote));
        if way == Way::Direct {
            self.attempts.remove(&peer);
        }
        rest
    }

    /// Takes note that an attempt was changed. Call it before [`Linker::poll_timeout`].
    pub fn refresh(&mut self) {
        self.due = self.attempts.values().map(Attempt::due).min().unwrap_or(Time::MAX);
    }

    /// A dialled candidate came to nothing.
    pub fn on_edge_down(&mut self, edge: EdgeId) {
        for attempt in self.attempts.values_mut() {
            attempt.dialled.retain(|(_, dialled)| *dialled != edge);
        }
    }

    /// Whether a target is left alone because it could not be linked lately.
    #[must_use]
    pub fn is_resting(&self, target: Address, now: Time) -> bool {
        self.failures.get(&target).is_some_and(|failure| failure.until > now)
    }

    /// The network may have changed: nobody rests any longer.
    pub fn forgive(&mut self) {
        self.failures.clear();
    }

    /// Targets that could not be linked and were not since.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failures.len()
    }

    /// The next thing that is due at `now`, one a call.
    pub fn handle_timeout(&mut self, now: Time) -> Option<Wanted> {
        if self.due > now {
            return None;
        }
        let over =
            self.attempts.iter().find(|(_, attempt)| attempt.give_up <= now).map(|(target, _)| *target);
        if let Some(target) = over {
            let attempt = self.attempts.remove(&target)?;
            if attempt.asks > 0 && attempt.linked.is_none() {
                self.remember_failure(target, now);
            }
            let edges = attempt.dialled.into_iter().map(|(_, edge)| edge).collect();
            return Some(Wanted::Failed(target, edges));
        }
        let fallback =
            self.attempts.iter_mut().find_map(|(target, one)| Some((*target, one.take_fallback(now)?)));
        if let Some((target, remote)) = fallback {
            return Some(Wanted::Dial(target, remote));
        }
        let relayed =
            self.attempts.iter_mut().find_map(|(target, one)| one.take_relay(now).then_some(*target));
        if let Some(target) = relayed {
            return Some(Wanted::Relay(target));
        }
        let asks = |attempt: &Attempt| attempt.ask_at.is_some_and(|at| at <= now);
        let Some((target, attempt)) = self.attempts.iter_mut().find(|(_, attempt)| asks(attempt)) else {
            self.due = self.attempts.values().map(Attempt::due).min().unwrap_or(Time::MAX);
            return None;
        };
        let wait = ASK_WAIT.mul_f64(self.pace) * 2u32.pow(attempt.asks.min(4));
        attempt.ask_at = Some(now + self.rng.jitter(wait, 0.2));
        attempt.asks += 1;
        Some(Wanted::Ask(*target))
    }

    fn remember_failure(&mut self, target: Address, now: Time) {
        let wait =
            self.failures.get(&target).map_or(FAILURE_WAIT, |last| (last.wait * 2).min(FAILURE_WAIT_MAX));
        if self.failures.len() >= FAILURES_MAX && !self.failures.contains_key(&target) {
            let oldest = self.failures.iter().min_by_key(|(_, failure)| failure.until).map(|(peer, _)| *peer);
            oldest.and_then(|peer| self.failures.remove(&peer));
        }
        let until = now + self.rng.jitter(wait, 0.2);
        self.failures.insert(target, Failure { until, wait });
    }

    /// When something is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        (self.due < Time::MAX).then_some(Deadline { at: self.due, reason: "link attempt" })
    }

    /// When the next resting target may be tried again.
    #[must_use]
    pub fn rest_ends(&self, now: Time) -> Option<Time> {
        self.failures.values().map(|failure| failure.until).filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::numbered;
    use crate::wire::Distance;

    fn target() -> Address {
        Address::from_bytes([0; Address::LEN]).plus(Distance::from_fraction(0.5))
    }

    /// When an attempt that nobody answers asks again, and when it ends.
    fn asks_and_end(pace: f64) -> (Vec<f64>, f64) {
        let mut linker = Linker::new(&Rng::new(numbered(1)));
        linker.set_pace(pace);
        let mut now = Time::from_secs(10);
        linker.ask(target(), Roles::NONE, Vec::new(), now);
        let mut asks = Vec::new();
        loop {
            match linker.handle_timeout(now) {
                Some(Wanted::Ask(_)) => asks.push(now.as_secs_f64() - 10.0),
                Some(Wanted::Failed(..)) => return (asks, now.as_secs_f64() - 10.0),
                _ => now = linker.poll_timeout().unwrap().at,
            }
        }
    }

    #[test]
    fn who_does_not_answer_is_asked_ever_more_rarely_and_in_the_end_left_alone() {
        let (asks, end) = asks_and_end(1.0);
        assert_eq!(asks.len(), 3, "at once, after 1.5 and after 4.5 s: {asks:?}");
        assert!((1.2..1.8).contains(&asks[1]) && (9.0..11.0).contains(&end), "{asks:?} {end}");
    }

    #[test]
    fn where_everything_takes_longer_so_do_the_waits() {
        let ((usual, end), (slow, slow_end)) = (asks_and_end(1.0), asks_and_end(4.0));
        assert_eq!(usual.len(), slow.len());
        let stretched = |quick: f64, slow: f64| (slow / quick - 4.0).abs() < 1e-6;
        assert!(usual.iter().zip(&slow).skip(1).all(|(quick, slow)| stretched(*quick, *slow)));
        assert!(stretched(end, slow_end));
    }

    #[test]
    fn a_target_that_fails_rests_longer_each_time_until_it_is_linked() {
        let mut linker = Linker::new(&Rng::new(numbered(1)));
        let now = Time::from_secs(10);
        let mut rest = || {
            linker.remember_failure(target(), now);
            linker.rest_ends(now).unwrap().since(now).as_secs_f64()
        };
        let rests = [rest(), rest(), rest(), rest(), rest(), rest()];
        let usual = [4.0, 8.0, 16.0, 32.0, 40.0, 40.0];
        assert!(rests.iter().zip(usual).all(|(rest, usual)| (rest / usual - 1.0).abs() <= 0.2), "{rests:?}");
        assert!(linker.is_resting(target(), now));
        linker.on_linked(target(), (Way::Direct, EdgeId(1)));
        assert!(!linker.is_resting(target(), now) && linker.failed() == 0);
    }
}
