//! Far connections: about half of log2 N of them, at harmonic distances (Symphony), the nearest in time of a sample.

use std::time::Duration;

use crate::config::RingConfig;
use crate::connection::{Role, Table};
use crate::machine::Deadline;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::{Address, Distance, Sample};

const RETRY_WAIT: Duration = Duration::from_secs(4);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(300);
const FIRST_WAIT: Duration = Duration::from_millis(400);
/// How long the candidates of one draw have to link and to answer a ping before the nearest in time is chosen.
const CHOICE_WAIT: Duration = Duration::from_secs(3);
/// Below this many members everybody is near anyway.
const SIZE_MIN: f64 = 8.0;

#[derive(Debug)]
enum Stage {
    /// Nothing under way; the next draw is due then.
    Idle(Time),
    /// Asked for a sample around a drawn address.
    Asked { id: u32, until: Time },
    /// Linking some of the sample.
    Choosing { candidates: Vec<Address>, until: Time },
}

/// What the service wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Ask the member nearest to the address for the members around it.
    Sample {
        /// Names the request.
        id: u32,
        /// The drawn address.
        target: Address,
    },
    /// Of these linked candidates the one with the shortest round trip stays; the others have one role less.
    Choose(Vec<Address>),
}

/// The shortcuts of one member.
#[derive(Debug)]
pub struct Shortcuts {
    own: Address,
    config: RingConfig,
    rng: Rng,
    stage: Stage,
    wait: Duration,
}

impl Shortcuts {
    /// No shortcut yet; none is drawn before [`Shortcuts::begin`].
    #[must_use]
    pub fn new(own: Address, config: RingConfig, rng: &Rng) -> Self {
        Self { own, config, rng: rng.fork("shortcut"), stage: Stage::Idle(Time::MAX), wait: RETRY_WAIT }
    }

    /// The member is connected, or lost a shortcut: draw soon.
    pub fn begin(&mut self, now: Time) {
        self.wait = RETRY_WAIT;
        if let Stage::Idle(at) = &mut self.stage {
            *at = (*at).min(now + self.rng.jitter(FIRST_WAIT, 0.8));
        }
    }

    /// How many shortcuts a member of an overlay of this size keeps.
    #[must_use]
    pub fn target_count(&self, size: f64) -> usize {
        if size < SIZE_MIN { 0 } else { (self.config.shortcuts * size.log2()).ceil() as usize }
    }

    /// A sample arrived: the members to link, at most as many as one draw tries. Who needs open ones links no others.
    pub fn on_sample(
        &mut self,
        sample: &Sample,
        needs_open: bool,
        table: &Table,
        now: Time,
    ) -> Option<Vec<Address>> {
        let Stage::Asked { id: asked, .. } = self.stage else { return None };
        if asked != sample.id {
            return None;
        }
        let others = sample.others.iter().filter(|_| !needs_open);
        let is_fresh = |one: &Address| *one != self.own && table.get(*one).is_none();
        let mut fresh: Vec<Address> = sample.open.iter().chain(others).copied().filter(is_fresh).collect();
        self.rng.shuffle(&mut fresh);
        fresh.truncate(self.config.shortcut_sample);
        self.stage = if fresh.is_empty() {
            Stage::Idle(now + self.back_off())
        } else {
            Stage::Choosing { candidates: fresh.clone(), until: now + CHOICE_WAIT }
        };
        Some(fresh)
    }

    /// What is due, given the connections as they are; call again until it returns nothing.
    pub fn handle_timeout(&mut self, table: &Table, size: f64, now: Time) -> Option<Wanted> {
        match &self.stage {
            Stage::Idle(at) if *at <= now => self.draw(table, size, now),
            Stage::Asked { until, .. } if *until <= now => {
                self.stage = Stage::Idle(now + self.back_off());
                None
            }
            Stage::Choosing { until, .. } if *until <= now => self.choose(table, now),
            _ => None,
        }
    }

    fn draw(&mut self, table: &Table, size: f64, now: Time) -> Option<Wanted> {
        let have = table.iter().filter(|connection| connection.ours.has(Role::Shortcut)).count();
        if have >= self.target_count(size) {
            // The size may grow: look again much later.
            self.stage = Stage::Idle(now + self.rng.jitter(RETRY_WAIT_MAX, 0.3));
            return None;
        }
        let id = self.rng.next_u32();
        self.stage = Stage::Asked { id, until: now + self.wait };
        Some(Wanted::Sample { id, target: self.draw_target(size) })
    }

    /// A harmonic distance: its logarithm is uniform between the neighbours' and half the ring (Symphony, section 3).
    fn draw_target(&mut self, size: f64) -> Address {
        let share = (size / 2.0).powf(self.rng.unit() - 1.0) / 2.0;
        let distance = Distance::from_fraction(share);
        if self.rng.next_u32() & 1 == 0 {
            self.own.plus(distance)
        } else {
            self.own.plus(Distance::from_fraction(1.0 - share))
        }
    }

    fn choose(&mut self, table: &Table, now: Time) -> Option<Wanted> {
        let idle = Stage::Idle(now + self.rng.jitter(FIRST_WAIT, 0.8));
        let Stage::Choosing { candidates, .. } = std::mem::replace(&mut self.stage, idle) else {
            return None;
        };
        let linked: Vec<Address> = candidates.into_iter().filter(|one| table.get(*one).is_some()).collect();
        if linked.is_empty() {
            self.stage = Stage::Idle(now + self.back_off());
            return None;
        }
        self.wait = RETRY_WAIT;
        Some(Wanted::Choose(linked))
    }

    fn back_off(&mut self) -> Duration {
        let wait = self.rng.jitter(self.wait, 0.3);
        self.wait = (self.wait * 2).min(RETRY_WAIT_MAX);
        wait
    }

    /// When something is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let at = match &self.stage {
            Stage::Idle(at) => *at,
            Stage::Asked { until, .. } | Stage::Choosing { until, .. } => *until,
        };
        (at < Time::MAX).then_some(Deadline { at, reason: "shortcut" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::numbered;
    use crate::wire::{EdgeId, OPEN, Way};

    const SIZE: f64 = 100.0;

    fn member(number: u32) -> Address {
        Address::from_bytes([0; Address::LEN]).plus(Distance::from_fraction(f64::from(number) / 1000.0))
    }

    fn connect(table: &mut Table, peer: Address, edge: u32) {
        table.insert(peer, (Way::Direct, EdgeId(edge)), Time::ZERO);
    }

    /// A member that has begun to look, and the sample that it asked for.
    fn asked(config: RingConfig) -> (Shortcuts, u32, Time) {
        let mut shortcuts = Shortcuts::new(member(0), config, &Rng::new(numbered(1)));
        shortcuts.begin(Time::from_secs(1));
        let now = shortcuts.poll_timeout().expect("it looks").at;
        let wanted = shortcuts.handle_timeout(&Table::new(member(0)), SIZE, now);
        let Some(Wanted::Sample { id, .. }) = wanted else { panic!("{wanted:?}") };
        (shortcuts, id, now)
    }

    #[test]
    fn who_needs_open_members_links_no_others_of_a_sample() {
        let table = Table::new(member(0));
        let sample =
            |id| Sample { id, open: vec![member(1), member(2)], others: (3..9).map(member).collect() };
        let (mut shortcuts, id, now) = asked(RingConfig { shortcut_sample: 8, ..RingConfig::default() });
        let mut open = shortcuts.on_sample(&sample(id), true, &table, now).expect("it asked");
        open.sort_unstable();
        assert_eq!(open, [member(1), member(2)]);
        let (mut shortcuts, id, now) = asked(RingConfig { shortcut_sample: 8, ..RingConfig::default() });
        let all = shortcuts.on_sample(&sample(id), false, &table, now).expect("it asked");
        assert_eq!(all.len(), 8);
    }

    #[test]
    fn a_sample_that_nobody_asked_for_and_members_that_are_known_are_left_out() {
        let mut table = Table::new(member(0));
        connect(&mut table, member(1), 1);
        let (mut shortcuts, id, now) = asked(RingConfig::default());
        let sample = Sample { id: id ^ 1, open: Vec::new(), others: vec![member(5)] };
        assert_eq!(shortcuts.on_sample(&sample, false, &table, now), None);
        let sample = Sample { id, open: vec![member(0), member(1)], others: vec![member(2)] };
        assert_eq!(shortcuts.on_sample(&sample, false, &table, now), Some(vec![member(2)]));
        assert_eq!(shortcuts.on_sample(&sample, false, &table, now), None, "it is answered already");
    }

    #[test]
    fn a_lost_shortcut_is_drawn_again_at_once_however_long_the_next_look_was_away() {
        let config = RingConfig { shortcuts: 0.1, ..RingConfig::default() };
        let (mut shortcuts, id, now) = asked(config);
        let mut table = Table::new(member(0));
        let sample = Sample { id, open: Vec::new(), others: vec![member(5)] };
        shortcuts.on_sample(&sample, false, &table, now);
        connect(&mut table, member(5), 5);
        table.get_mut(member(5)).expect("just linked").ours = Role::Shortcut.into();
        let chosen = shortcuts.poll_timeout().expect("it chooses").at;
        let wanted = shortcuts.handle_timeout(&table, SIZE, chosen);
        assert_eq!(wanted, Some(Wanted::Choose(vec![member(5)])));
        let enough = shortcuts.poll_timeout().expect("it looks again").at;
        assert_eq!(shortcuts.handle_timeout(&table, SIZE, enough), None, "it has as many as it keeps");
        assert!(shortcuts.poll_timeout().expect("later").at > enough + RETRY_WAIT_MAX / 2);
        table.remove(member(5));
        let lost = enough + Duration::from_secs(10);
        shortcuts.begin(lost);
        let again = shortcuts.poll_timeout().expect("soon").at;
        assert!(again <= lost + FIRST_WAIT * 2, "{again} {lost}");
        assert!(matches!(shortcuts.handle_timeout(&table, SIZE, again), Some(Wanted::Sample { .. })));
    }

    #[test]
    fn what_a_peer_says_with_its_roles_is_kept_whole() {
        let mut table = Table::new(member(0));
        connect(&mut table, member(1), 1);
        let connection = table.get_mut(member(1)).expect("just linked");
        for bits in [OPEN, OPEN | 1, 1, 0] {
            connection.set_theirs(bits);
            assert_eq!((connection.their_bits(), connection.open), (bits, bits & OPEN != 0));
        }
    }
}
