//! Service: how members of a private overlay find each other through the DHT of another one (section III-B of the
//! paper). It decides what to store and when to ask; the node does both with the DHT of its public overlay.

mod timer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::DiscoveryConfig;
use crate::machine::Deadline;
use crate::rng::Rng;
use crate::security::{Entries, Entry, GroupSecret, SHARDS};
use crate::time::Time;
use crate::wire::{Epoch, Key, Mark};
use timer::Timer;

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
/// How long others are looked for under the keys of before the last notice as well: they may be told the salt later. From then
/// on whoever was not told it finds nobody, by this service.
pub const FORMER: Duration = Duration::from_secs(600);
/// Former epochs that are looked into at most; beyond, the oldest is left out.
const FORMER_MAX: usize = 3;
/// Within this time after the salt changed, members look again: not all at once.
const MOVE_SPREAD: f64 = 5.0;
/// After a wait of this length or more a connected member glances: nothing has spoken for missing anybody, and a page from
/// anywhere in the list names members of whichever part of the ring there may be.
const GLANCE_AFTER: Duration = Duration::from_secs(240);

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
    /// Of the epoch that is read.
    entries: Arc<Entries>,
    /// Those that are read then.
    next: VecDeque<Arc<Entries>>,
    found: BTreeSet<Entry>,
    /// The holders agreed so far.
    complete: bool,
    /// One page is enough.
    glance: bool,
    /// It did not begin with the first value, and may do so yet.
    wraps: bool,
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
    secret: GroupSecret,
    /// What the configuration counts.
    number: u64,
    entries: Arc<Entries>,
    /// Of the epochs before, and until when others are looked for there, the last first.
    former: VecDeque<(Arc<Entries>, Time)>,
    /// The epoch changed while a look was under way.
    moved: bool,
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
    /// The next look is a glance.
    glance: bool,
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
            secret: config.secret.clone(),
            number: config.epoch,
            entries: Arc::new(Entries::new(config.secret.clone(), config.epoch, config.salted)),
            former: VecDeque::new(),
            moved: false,
            timer: Timer::new(config.timer),
            reachable: false,
            kept: BTreeMap::new(),
            look: None,
            looks: 0,
            shard: rng.below(SHARDS as usize) as u64,
            glance: false,
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

    /// The group has another salt from now on: our entry moves to where those look who were told it, too.
    pub fn set_epoch(&mut self, epoch: Epoch, size: f64, now: Time) {
        for (shard, value) in std::mem::take(&mut self.kept) {
            self.wanted.push(Wanted::Release(self.key(shard), value));
        }
        let entries = Arc::new(Entries::new(self.secret.clone(), self.number, Some(epoch)));
        let before = std::mem::replace(&mut self.entries, entries);
        self.former.truncate(FORMER_MAX - 1);
        self.former.push_front((before, now + FORMER));
        self.moved = self.look.is_some();
        if self.reachable {
            self.store(size);
        }
        self.start_over();
        self.next = self.next.min(self.soon(now));
    }

    fn soon(&mut self, now: Time) -> Time {
        now + Duration::from_secs_f64(MOVE_SPREAD * self.rng.unit())
    }

    /// Something speaks for looking again soon: neighbours that vanished, a place that was lost.
    pub fn hurry(&mut self, now: Time) {
        self.start_over();
        self.next = self.next.min(now);
    }

    fn start_over(&mut self) {
        self.timer.reset();
        self.retry = RETRY_WAIT;
        self.glance = false;
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
        key(&self.entries, shard)
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
        let entries = self.look.as_ref().map_or(&self.entries, |look| &look.entries);
        let others = values.iter().filter_map(|value| entries.open(value));
        others.filter(|entry| entry.member != self.own.member).take(FOUND_MAX).collect()
    }

    /// What is under the key that was asked for last; whom it names once nothing more is to be read.
    pub fn on_page(&mut self, values: &[Vec<u8>], next: Option<Mark>, complete: bool) -> Option<Found> {
        let others = self.opened(values);
        let look = self.look.as_mut()?;
        look.found.extend(others);
        look.complete &= complete;
        let enough = look.found.len() >= if look.glance { 1 } else { FOUND_MAX };
        let more = next.filter(|_| !enough && !values.is_empty());
        let wraps = more.is_none() && !enough && std::mem::take(&mut look.wraps);
        let is_over = more.is_none() && !wraps && !look.go_on();
        let found =
            Found { entries: look.found.iter().copied().collect(), partial: !is_over || !look.complete };
        if is_over {
            self.look = None;
        } else {
            self.wanted.push(Wanted::Get(key(&look.entries, look.shard), more));
        }
        Some(found)
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
        self.glance = wait >= GLANCE_AFTER;
        self.next = now + self.rng.jitter(wait, 0.25);
        if std::mem::take(&mut self.moved) {
            self.next = self.next.min(self.soon(now));
        }
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
        self.former.retain(|(_, until)| *until > now);
        let glance = self.glance && self.former.is_empty();
        self.look = Some(Look {
            shard: self.shard,
            entries: Arc::clone(&self.entries),
            next: self.former.iter().map(|(entries, _)| Arc::clone(entries)).collect(),
            found: BTreeSet::new(),
            complete: true,
            glance,
            wraps: glance,
        });
        self.next = Time::MAX;
        self.looks += 1;
        let after = glance.then(|| Mark(u128::from(self.rng.next_u64()) << 64));
        self.wanted.push(Wanted::Get(self.key(self.shard), after));
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

impl Look {
    /// Goes on to the epoch before; false if there is none.
    fn go_on(&mut self) -> bool {
        let next = self.next.pop_front();
        let any = next.is_some();
        self.entries = next.unwrap_or_else(|| Arc::clone(&self.entries));
        any
    }
}

fn key(entries: &Entries, shard: u64) -> Key {
    Key::Plain(entries.place(shard))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Address, SALT_LEN, Salt};

    fn entry(byte: u8) -> Entry {
        let address = Address::from_bytes([byte; Address::LEN]);
        Entry { member: address, public: address, transport: None }
    }

    fn epoch(number: u64) -> Epoch {
        Epoch { number, salt: Salt([number as u8; SALT_LEN]) }
    }

    fn entries(salted: Option<Epoch>) -> Entries {
        Entries::new(GroupSecret::new([1; 32]), 0, salted)
    }

    fn discovery() -> Discovery {
        let config = DiscoveryConfig::new(GroupSecret::new([1; 32]));
        let mut discovery = Discovery::new(&config, entry(1), &Rng::new([1; 32]), Time::ZERO);
        discovery.set_reachable(true, 3.0, Time::ZERO);
        discovery
    }

    /// What it asks for, in its order, if each answer is an empty page.
    fn asked(discovery: &mut Discovery, now: Time) -> Vec<Key> {
        let mut keys = Vec::new();
        discovery.handle_timeout(3.0, now);
        while let Some(wanted) = discovery.poll() {
            if let Wanted::Get(key, None) = wanted {
                keys.push(key);
                let found = discovery.on_page(&[], None, true).unwrap();
                assert_eq!(found.partial, discovery.is_looking());
            }
        }
        discovery.on_looked(1, true, now);
        keys
    }

    fn is_of(salted: Option<Epoch>, key: &Key) -> bool {
        (0..SHARDS).any(|shard| super::key(&entries(salted), shard) == *key)
    }

    #[test]
    fn after_the_salt_has_changed_others_are_looked_for_in_both_places_for_a_while() {
        let mut discovery = discovery();
        let keys = asked(&mut discovery, Time::ZERO);
        assert!(keys.len() == 1 && is_of(None, &keys[0]));
        let moved = Time::from_secs(10);
        discovery.set_epoch(epoch(1), 3.0, moved);
        let wanted: Vec<Wanted> = std::iter::from_fn(|| discovery.poll()).collect();
        let ends = |wanted: &&Wanted| matches!(wanted, Wanted::Release(key, _) if is_of(None, key));
        let begins = |wanted: &&Wanted| matches!(wanted, Wanted::Keep(key, _) if is_of(Some(epoch(1)), key));
        assert_eq!(wanted.iter().filter(ends).count() as u64, SHARDS);
        assert_eq!(wanted.iter().filter(begins).count() as u64, SHARDS);
        let soon = discovery.poll_timeout().unwrap().at;
        assert!(soon <= moved + Duration::from_secs_f64(MOVE_SPREAD), "it looks again soon");
        let keys = asked(&mut discovery, soon);
        assert!(keys.len() == 2 && is_of(Some(epoch(1)), &keys[0]) && is_of(None, &keys[1]));
        let keys = asked(&mut discovery, moved + FORMER);
        assert!(keys.len() == 1 && is_of(Some(epoch(1)), &keys[0]), "nobody stays behind for ever");
    }

    /// A member that has looked so often that its next look is a glance; how it asks then.
    fn glancing() -> (Discovery, Wanted) {
        let (mut discovery, mut now) = (discovery(), Time::ZERO);
        while !discovery.glance {
            asked(&mut discovery, now);
            now = discovery.poll_timeout().unwrap().at;
        }
        discovery.handle_timeout(3.0, now);
        let wanted = discovery.poll().unwrap();
        (discovery, wanted)
    }

    #[test]
    fn who_has_been_well_for_minutes_reads_one_page_from_anywhere() {
        let (mut discovery, Wanted::Get(_, Some(from))) = glancing() else { panic!("from anywhere") };
        let page = [entries(None).seal(entry(2))];
        let found = discovery.on_page(&page, Some(Mark(from.0 + 1)), true).unwrap();
        assert_eq!((found.entries, found.partial), (vec![entry(2)], false));
        assert!(discovery.poll().is_none() && !discovery.is_looking());
        discovery.on_looked(1, true, Time::ZERO);
        discovery.hurry(Time::from_secs(1));
        discovery.handle_timeout(3.0, Time::from_secs(1));
        assert!(
            matches!(discovery.poll(), Some(Wanted::Get(_, None))),
            "a reason to look is one to read all"
        );
    }

    #[test]
    fn a_page_without_others_is_followed_by_the_first_one_and_that_by_none() {
        let (mut discovery, _) = glancing();
        let ours = entries(None).seal(entry(1));
        let found = discovery.on_page(std::slice::from_ref(&ours), None, true).unwrap();
        assert!(found.partial && matches!(discovery.poll(), Some(Wanted::Get(_, None))));
        let found = discovery.on_page(&[ours], None, true).unwrap();
        assert!(found.entries.is_empty() && !found.partial && discovery.poll().is_none());
        discovery.on_looked(0, true, Time::ZERO);
        assert!(!discovery.glance);
    }

    #[test]
    fn few_former_places_are_looked_into() {
        let mut discovery = discovery();
        for number in 1..=9 {
            discovery.set_epoch(epoch(number), 3.0, Time::from_secs(number));
        }
        while discovery.poll().is_some() {}
        let keys = asked(&mut discovery, Time::from_secs(60));
        assert_eq!(keys.len(), 1 + FORMER_MAX);
        for (key, number) in keys.iter().zip((6..=9).rev()) {
            assert!(is_of(Some(epoch(number)), key));
        }
    }

    #[test]
    fn a_look_that_is_under_way_ends_where_it_began_and_another_follows_soon() {
        let mut discovery = discovery();
        discovery.handle_timeout(3.0, Time::ZERO);
        discovery.set_epoch(epoch(1), 3.0, Time::ZERO);
        let found = discovery.on_page(&[entries(None).seal(entry(2))], None, true).unwrap();
        assert_eq!((found.entries, found.partial, discovery.is_looking()), (vec![entry(2)], false, false));
        discovery.on_looked(1, true, Time::ZERO);
        assert!(discovery.poll_timeout().unwrap().at <= Time::from_secs(5));
    }
}
