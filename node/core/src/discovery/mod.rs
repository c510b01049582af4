//! Service: how members of a private overlay find each other through the DHT of another one (section III-B of the
//! paper). It decides what to store and when to ask; the node does both with the DHT of its public overlay.

mod timer;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::DiscoveryConfig;
use crate::machine::Deadline;
use crate::rng::Rng;
use crate::security::{Entries, Entry};
use crate::time::Time;
use crate::wire::{Key, Mark};
use timer::Timer;

/// Keys that the entries of a group stand under; a newcomer reads one, and another if that one is empty.
pub const SHARDS: u64 = 2;
/// Entries that a shard of a large group is meant to have: its members draw lots.
const SHARD_SIZE: f64 = 32.0;
/// A member that has drawn well keeps its entry while the group grows to this many times the size.
const STICKY: f64 = 2.0;
/// Entries that one answer is read for at most.
pub const FOUND_MAX: usize = 256;
/// How long the DHT keeps an entry that nobody renews.
pub const LEASE: Duration = Duration::from_secs(1800);
/// First wait for another look while nobody is found or connected; it doubles.
const RETRY_WAIT: Duration = Duration::from_secs(1);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(30);

/// What the service wants of the DHT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Keep this value under this key.
    Keep(Key, Vec<u8>),
    /// Let the value expire.
    Release(Key, Vec<u8>),
    /// Ask what is under this key, behind the mark if there is one.
    Get(Key, Option<Mark>),
}

/// One look at what is stored.
#[derive(Debug)]
struct Look {
    shard: u64,
    found: BTreeSet<Entry>,
}

/// Who was found, and whether that is everybody who is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The members, without ourselves.
    pub entries: Vec<Entry>,
    /// More may be stored, or the holders do not agree.
    pub partial: bool,
}

/// The discovery of one private overlay.
#[derive(Debug)]
pub struct Discovery {
    own: Entry,
    entries: Entries,
    rng: Rng,
    timer: Timer,
    /// Whether the public overlay can be asked.
    reachable: bool,
    /// What is kept of us, by shard.
    kept: BTreeMap<u64, Vec<u8>>,
    look: Option<Look>,
    looks: u64,
    /// The shard to read next.
    shard: u64,
    /// Looks in a row that found nobody.
    empty: u32,
    next: Time,
    retry: Duration,
    wanted: Vec<Wanted>,
}

impl Discovery {
    /// The member `own` of a private overlay, which is `public` where it is found through.
    #[must_use]
    pub fn new(config: &DiscoveryConfig, own: Entry, rng: &Rng, now: Time) -> Self {
        let mut rng = rng.fork("discovery");
        Self {
            own,
            entries: Entries::new(config.secret.clone(), config.epoch),
            timer: Timer::new(config.timer),
            reachable: false,
            kept: BTreeMap::new(),
            look: None,
            looks: 0,
            shard: rng.below(SHARDS as usize) as u64,
            empty: 0,
            next: now,
            retry: RETRY_WAIT,
            wanted: Vec::new(),
            rng,
        }
    }

    /// Whether the public overlay can be asked. As soon as it can, our entry is stored and the others' are looked for.
    pub fn set_reachable(&mut self, reachable: bool, size: f64, now: Time) {
        if reachable && !self.reachable {
            self.store(size);
            self.hurry(now);
        }
        self.reachable = reachable;
    }

    /// Where strangers may reach us. Whoever has our entry from before finds us through the public overlay.
    pub fn set_transport(&mut self, transport: Option<SocketAddr>, size: f64) {
        if self.own.transport != transport {
            self.own.transport = transport;
            if self.reachable {
                self.store(size);
            }
        }
    }

    /// Something speaks for looking again soon: neighbours that vanished, a place that was lost.
    pub fn hurry(&mut self, now: Time) {
        self.timer.reset();
        self.retry = RETRY_WAIT;
        self.next = self.next.min(now);
    }

    /// Stores our entry where it belongs in a group of about `size` members.
    fn store(&mut self, size: f64) {
        for shard in 0..SHARDS {
            let key = self.key(shard);
            let value = self.entries.seal(self.own);
            let share = SHARD_SIZE / size.max(1.0);
            let is_kept = self.kept.contains_key(&shard);
            let wanted = self.lot(shard) < if is_kept { share * STICKY } else { share };
            if let Some(old) = self.kept.remove(&shard).filter(|old| !wanted || *old != value) {
                self.wanted.push(Wanted::Release(key, old));
            } else if is_kept {
                self.kept.insert(shard, value);
                continue;
            }
            if wanted {
                self.kept.insert(shard, value.clone());
                self.wanted.push(Wanted::Keep(key, value));
            }
        }
    }

    /// Our lot for a shard, in `[0, 1)`: the same each time.
    fn lot(&self, shard: u64) -> f64 {
        let bytes = self.own.member.to_bytes();
        let at = 4 * (shard as usize % 4);
        let mut number = [0; 4];
        number.copy_from_slice(&bytes[at..at + 4]);
        f64::from(u32::from_be_bytes(number)) / 2f64.powi(32)
    }

    fn key(&self, shard: u64) -> Key {
        Key::Plain(self.entries.place(shard))
    }

    /// Our entry was stored. Whoever stored theirs before we looked was seen; who did so since will see ours. Nobody seen
    /// at all is looked for once more.
    pub fn on_stored(&mut self, now: Time) {
        if self.empty > 0 && self.look.is_none() {
            self.next = self.next.min(now);
        }
    }

    /// The others whose entries are among these values.
    #[must_use]
    pub fn opened(&self, values: &[Vec<u8>]) -> Vec<Entry> {
        let others = values.iter().filter_map(|value| self.entries.open(value));
        others.filter(|entry| entry.member != self.own.member).take(FOUND_MAX).collect()
    }

    /// What is under the key that was asked for last; whom it names once nothing more is to be read.
    pub fn on_page(&mut self, values: &[Vec<u8>], next: Option<Mark>, complete: bool) -> Option<Found> {
        let others = self.opened(values);
        let look = self.look.as_mut()?;
        look.found.extend(others);
        let more = next.filter(|_| look.found.len() < FOUND_MAX && !values.is_empty());
        let (shard, entries) = (look.shard, look.found.iter().copied().collect());
        if more.is_some() {
            self.wanted.push(Wanted::Get(self.key(shard), more));
        } else {
            self.look = None;
        }
        Some(Found { entries, partial: more.is_some() || !complete })
    }

    /// Nobody answered.
    pub fn on_failure(&mut self) {
        self.look = None;
    }

    /// Takes note of what a look has found, as the overlay stands now: when to look again.
    pub fn on_looked(&mut self, found: usize, connected: bool, now: Time) {
        self.empty = if found == 0 { self.empty + 1 } else { 0 };
        self.shard = (self.shard + 1) % SHARDS;
        let wait = if connected && self.empty == 0 {
            self.retry = RETRY_WAIT;
            self.timer.next()
        } else {
            let wait = self.retry;
            self.retry = (wait * 2).min(RETRY_WAIT_MAX);
            wait
        };
        self.next = now + self.rng.jitter(wait, 0.25);
    }

    /// Looks in a row that found nobody.
    #[must_use]
    pub fn empty_looks(&self) -> u32 {
        self.empty
    }

    /// Begins a look if one is due, in a group of about `size` members.
    pub fn handle_timeout(&mut self, size: f64, now: Time) {
        if !self.reachable || self.next > now || self.look.is_some() {
            return;
        }
        self.store(size);
        self.look = Some(Look { shard: self.shard, found: BTreeSet::new() });
        self.next = Time::MAX;
        self.looks += 1;
        self.wanted.push(Wanted::Get(self.key(self.shard), None));
    }

    /// The next thing that the DHT shall do.
    pub fn poll(&mut self) -> Option<Wanted> {
        (!self.wanted.is_empty()).then(|| self.wanted.remove(0))
    }

    /// When a look is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let due = self.reachable && self.look.is_none() && self.next < Time::MAX;
        due.then_some(Deadline { at: self.next, reason: "discovery" })
    }

    /// Whether the public overlay can be asked.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.reachable
    }

    /// Whether an answer is awaited.
    #[must_use]
    pub fn is_looking(&self) -> bool {
        self.look.is_some()
    }

    /// Looks so far.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.looks
    }

    /// Who we are, here and where we are found.
    #[must_use]
    pub fn own(&self) -> Entry {
        self.own
    }
}
