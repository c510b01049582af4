//! Service: whether those whom the member once knew are still in its ring. A ring that fell apart does not notice it by
//! itself, for each part closes up; whoever is not found through it any more is dialled where it was reached before.

use std::collections::VecDeque;
use std::time::Duration;

use crate::machine::Deadline;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::{Address, Remote};

/// Peers that fell silent and are remembered at most; beyond, the oldest is forgotten.
pub const LOST_MAX: usize = 8;
/// Bootstraps that are remembered at most.
pub const BOOTSTRAPS_MAX: usize = 8;

/// First wait between two looks. The longest wait is so many times this as the ring has members: all together look as often
/// in a small part of a ring as in a large one, and a bootstrap bears no more of them.
const LOOK_WAIT: Duration = Duration::from_secs(10);
/// Each wait is so many times the last one, and of a member whose peers fell silent so many times.
const GROWTH: u32 = 4;
const DOUBT_GROWTH: u32 = 2;
/// The longest wait of a member whose peers fell silent.
const DOUBT_MAX: Duration = Duration::from_secs(120);
/// Members beyond which the waits grow no longer.
const MEMBERS_MAX: f64 = 1000.0;
/// Within this time after strangers came a member looks.
const HURRY_WAIT: Duration = Duration::from_secs(2);
/// How long an answer through the ring may take.
const ANSWER_WAIT: Duration = Duration::from_secs(3);
/// How long a peer that fell silent is looked for.
const MEMORY: Duration = Duration::from_secs(6 * 3600);

/// Somebody who was in our ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    address: Option<Address>,
    remote: Remote,
    /// When it fell silent; a bootstrap is never forgotten.
    lost: Option<Time>,
}

/// What the service wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Ask this member through the ring whether it is there; its answer bears the id.
    Ask(Address, u32),
    /// Dial this remote: nobody there is found through the ring.
    Dial(Option<Address>, Remote),
}

/// Those whom a member knew.
#[derive(Debug)]
pub struct Healing {
    rng: Rng,
    known: VecDeque<Known>,
    asked: Option<(u32, Known, Time)>,
    next: Time,
    wait: Duration,
}

impl Healing {
    /// A member that knows nobody.
    #[must_use]
    pub fn new(rng: &Rng) -> Self {
        Self {
            rng: rng.fork("healing"),
            known: VecDeque::new(),
            asked: None,
            next: Time::MAX,
            wait: LOOK_WAIT,
        }
    }

    /// A bootstrap is, or may be, this member.
    pub fn on_bootstrap(&mut self, address: Option<Address>, remote: Remote, now: Time) {
        if let Some(known) = self.known.iter_mut().find(|known| known.remote == remote) {
            known.address = address.or(known.address);
            known.lost = None;
            return;
        }
        if self.known.iter().filter(|known| known.lost.is_none()).count() < BOOTSTRAPS_MAX {
            self.known.push_back(Known { address, remote, lost: None });
            self.plan(now);
        }
    }

    /// A peer fell silent. It may be dead, or on the other side of a cut.
    pub fn on_lost(&mut self, address: Address, remote: Remote, now: Time) {
        let same = |known: &Known| known.address == Some(address) || known.remote == remote;
        if !self.known.iter().any(same) {
            let lost = |known: &&Known| known.lost.is_some();
            if self.known.iter().filter(lost).count() >= LOST_MAX {
                let oldest = self.known.iter().position(|known| known.lost.is_some());
                oldest.and_then(|at| self.known.remove(at));
            }
            self.known.push_back(Known { address: Some(address), remote, lost: Some(now) });
        }
        self.wait = LOOK_WAIT;
        self.next = self.next.min(now + self.rng.jitter(LOOK_WAIT, 0.5));
    }

    /// A member said goodbye, or is linked again.
    pub fn forget(&mut self, address: Address) {
        self.known.retain(|known| known.lost.is_none() || known.address != Some(address));
    }

    /// Strangers came, perhaps from another part of the ring: others may soon be found there.
    pub fn hurry(&mut self, now: Time) {
        if self.next < Time::MAX {
            self.next = self.next.min(now + self.rng.jitter(HURRY_WAIT, 0.9));
        }
    }

    fn plan(&mut self, now: Time) {
        if self.next == Time::MAX {
            self.next = now + self.rng.jitter(self.wait, 0.5);
        }
    }

    /// Somebody answered through the ring: it is in ours.
    pub fn on_answer(&mut self, id: u32) {
        if self.asked.is_some_and(|(asked, ..)| asked == id) {
            self.asked = None;
        }
    }

    /// What is due in a ring of about `size` members; `is_connected` tells whom there is no need to look for.
    pub fn handle_timeout(
        &mut self,
        (size, is_connected): (f64, impl Fn(Address) -> bool),
        now: Time,
    ) -> Option<Wanted> {
        if let Some((_, known, until)) = self.asked
            && until <= now
        {
            self.asked = None;
            return Some(Wanted::Dial(known.address, known.remote));
        }
        if self.next > now {
            return None;
        }
        self.next = now + self.rng.jitter(self.wait, 0.5);
        self.known.retain(|known| known.lost.is_none_or(|since| since + MEMORY > now));
        let doubts = self.known.iter().any(|known| known.lost.is_some());
        let (growth, longest) = if doubts { (DOUBT_GROWTH, DOUBT_MAX) } else { (GROWTH, Duration::MAX) };
        let share = LOOK_WAIT.mul_f64(size.clamp(1.0, MEMBERS_MAX));
        self.wait = (self.wait * growth).min(share).min(longest);
        if self.known.is_empty() {
            self.next = Time::MAX;
        }
        let away = |known: &&Known| known.address.is_none_or(|address| !is_connected(address));
        let away: Vec<Known> = self.known.iter().filter(away).copied().collect();
        let known = *away.get(self.rng.below(away.len()))?;
        let Some(address) = known.address else { return Some(Wanted::Dial(None, known.remote)) };
        let id = self.rng.next_u32();
        self.asked = Some((id, known, now + ANSWER_WAIT));
        Some(Wanted::Ask(address, id))
    }

    /// When something is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let answer = self.asked.map_or(Time::MAX, |(.., until)| until);
        let at = self.next.min(answer);
        (at < Time::MAX).then_some(Deadline { at, reason: "healing" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(byte: u8) -> (Address, Remote) {
        let address = Address::from_bytes([byte; Address::LEN]);
        (address, Remote::Udp(([192, 0, 2, byte], 1).into()))
    }

    fn next(healing: &mut Healing) -> (Time, Option<Wanted>) {
        let now = healing.poll_timeout().expect("something is planned").at;
        (now, healing.handle_timeout((100.0, |_| false), now))
    }

    #[test]
    fn whoever_is_not_found_through_the_ring_is_dialled() {
        let mut healing = Healing::new(&Rng::new([1; 32]));
        let (address, remote) = at(1);
        healing.on_lost(address, remote, Time::ZERO);
        let (_, wanted) = next(&mut healing);
        let Some(Wanted::Ask(asked, _)) = wanted else { panic!("{wanted:?}") };
        assert_eq!(asked, address);
        assert_eq!(next(&mut healing).1, Some(Wanted::Dial(Some(address), remote)));
    }

    #[test]
    fn whoever_answers_is_left_alone_and_looked_for_ever_more_rarely() {
        let mut healing = Healing::new(&Rng::new([1; 32]));
        let (address, remote) = at(1);
        healing.on_lost(address, remote, Time::ZERO);
        let mut looks = 0;
        while let (now, wanted) = next(&mut healing)
            && now < Time::from_secs(3600)
        {
            let Some(Wanted::Ask(_, id)) = wanted else { panic!("{wanted:?}") };
            healing.on_answer(id);
            looks += 1;
        }
        assert!((20..60).contains(&looks), "{looks}");
    }

    #[test]
    fn the_dead_are_forgotten_and_bootstraps_are_not() {
        let mut healing = Healing::new(&Rng::new([1; 32]));
        for byte in 0..=LOST_MAX as u8 {
            healing.on_lost(at(byte).0, at(byte).1, Time::ZERO);
        }
        assert_eq!(healing.known.len(), LOST_MAX);
        healing.on_bootstrap(None, at(99).1, Time::ZERO);
        healing.forget(at(3).0);
        assert_eq!(healing.known.len(), LOST_MAX);
        healing.handle_timeout((100.0, |_| false), Time::ZERO + MEMORY * 2);
        assert_eq!(healing.known.iter().map(|known| known.remote).collect::<Vec<_>>(), [at(99).1]);
    }

    #[test]
    fn nobody_is_looked_for_while_connected() {
        let mut healing = Healing::new(&Rng::new([1; 32]));
        healing.on_bootstrap(Some(at(1).0), at(1).1, Time::ZERO);
        let now = healing.poll_timeout().expect("a look is planned").at;
        assert_eq!(healing.handle_timeout((100.0, |_| true), now), None);
    }
}
