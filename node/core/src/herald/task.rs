//! One announcement: where to look for members, whom to tell next, and when that is enough.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::machine::{RequestId, Telling};
use crate::rng::Rng;
use crate::security::{
    Claim, Course, Entries, Entry, Envelope, GroupSecret, SHARDS, Trust, Wall, holds_receipt,
};
use crate::time::Time;
use crate::wire::{Address, Announcement, Key, Mark, PacketKind, Receipt};

/// Receipts of so many members are enough; of fewer, if no more are found.
pub const ENOUGH: usize = 3;
/// How long an announcement is tried. Then whoever has no receipt was away, or nobody is there.
pub const LIMIT: Duration = Duration::from_secs(300);
/// Rounds in a row in which everybody that there is was told in vain, after which nobody is there: one message may get lost.
const VAIN_MAX: u32 = 2;
/// How long a receipt is waited for.
const PATIENCE: Duration = Duration::from_secs(4);
/// Between two members that are told: the first one's broadcast spares the next one its own.
const STAGGER: Duration = Duration::from_millis(600);
/// Members whose receipts are waited for at once.
const PARALLEL: usize = 3;
/// First wait after everybody was told that was found; it doubles.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Entries that are remembered in one round at most.
const FOUND_MAX: usize = 4096;
/// Places in the public overlay that are tried for one member in one round, drawn from all that are named: whoever knows the
/// secret can make up entries, and choose where they stand in the list.
const PLACES_MAX: usize = 3;

/// Who was told, and until when its receipt is waited for.
#[derive(Debug)]
struct Told {
    public: Address,
    until: Time,
}

/// Where one member may be.
#[derive(Debug, Default)]
struct Places {
    drawn: BTreeSet<Address>,
    /// Places that were named, those that are named again counted again if they were not drawn.
    named: usize,
}

/// How many members have the notices.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Done(pub(super) u32);

/// What the DHT says is under a key.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The values.
    pub values: &'a [Vec<u8>],
    /// The mark behind which there may be more.
    pub next: Option<Mark>,
    /// Whether it is certain that there are no others up to there.
    pub is_all: bool,
}

#[derive(Debug)]
pub(super) struct Task {
    id: RequestId,
    trust: Arc<Trust>,
    envelope: Envelope,
    notices: Vec<Vec<u8>>,
    /// Of the epochs that members may be in, the last first.
    entries: Vec<Entries>,
    /// Nodes that the authority knows, and those of them that are revoked.
    members: BTreeSet<Address>,
    revoked: BTreeSet<Address>,
    /// Where members were found in this round, by their addresses in the group.
    found: BTreeMap<Address, Places>,
    /// Whom to tell in this round; the last is the next.
    queue: Vec<Entry>,
    told: BTreeMap<u64, Told>,
    /// Which place each question to the DHT that has no answer yet is about.
    reads: BTreeMap<u64, (usize, u64)>,
    /// Whether the DHT has left something open in this round.
    is_unsure: bool,
    /// Rounds in a row in which everybody that there is was told in vain.
    vain: u32,
    receipts: BTreeSet<Address>,
    until: Time,
    /// When the next round begins; never while one is under way.
    next_round: Time,
    next_told: Time,
    retry: Duration,
}

impl Task {
    pub(super) fn new(id: RequestId, telling: &Telling, trust: Arc<Trust>, now: Time) -> Self {
        let secret = GroupSecret::new(telling.secret);
        let epochs = telling.epochs.iter().map(|epoch| Entries::new(secret.clone(), 0, *epoch));
        Self {
            id,
            trust,
            envelope: Envelope::new(&secret),
            notices: telling.notices.clone(),
            entries: epochs.collect(),
            members: telling.members.clone(),
            revoked: telling.revoked.clone(),
            found: BTreeMap::new(),
            queue: Vec::new(),
            told: BTreeMap::new(),
            reads: BTreeMap::new(),
            is_unsure: false,
            vain: 0,
            receipts: BTreeSet::new(),
            until: now + LIMIT,
            next_round: now,
            next_told: now,
            retry: RETRY,
        }
    }

    pub(super) fn id(&self) -> RequestId {
        self.id
    }

    /// Begins another round if this one came to nothing; tells when it is over for good.
    pub(super) fn look(&mut self, now: Time, rng: &mut Rng) -> Option<Done> {
        self.told.retain(|_, told| told.until > now);
        self.queue.retain(|entry| !self.receipts.contains(&entry.member));
        let done = Done(self.receipts.len() as u32);
        if self.receipts.len() >= ENOUGH || self.until <= now {
            return Some(done);
        }
        let is_idle = self.reads.is_empty() && self.queue.is_empty() && self.told.is_empty();
        if is_idle && self.next_round == Time::MAX {
            if self.is_all_there_is() {
                return Some(done);
            }
            self.next_round = now + rng.jitter(self.retry, 0.25);
            self.retry = (self.retry * 2).min(RETRY_MAX);
        }
        None
    }

    /// At the end of a round: whether another one would find no more. Where some have confirmed the others may come back.
    fn is_all_there_is(&mut self) -> bool {
        if self.is_unsure {
            self.vain = 0;
            return false;
        }
        if !self.receipts.is_empty() {
            return self.found.keys().all(|member| self.receipts.contains(member));
        }
        let is_tried = self.found.values().all(|places| places.named == places.drawn.len());
        self.vain = if is_tried { self.vain + 1 } else { 0 };
        self.found.is_empty() || self.vain == VAIN_MAX
    }

    /// The keys to read at the beginning of a round, each with its place.
    pub(super) fn due_reads(&mut self, now: Time) -> Vec<((usize, u64), Key)> {
        if self.next_round > now {
            return Vec::new();
        }
        self.next_round = Time::MAX;
        self.found.clear();
        self.is_unsure = false;
        let places = (0..self.entries.len()).flat_map(|epoch| (0..SHARDS).map(move |shard| (epoch, shard)));
        let key = |place| Some((place, self.key(place)?));
        places.filter_map(key).collect()
    }

    fn key(&self, (epoch, shard): (usize, u64)) -> Option<Key> {
        Some(Key::Plain(self.entries.get(epoch)?.place(shard)))
    }

    /// A key is asked for.
    pub(super) fn on_asked(&mut self, read: u64, place: (usize, u64)) {
        self.reads.insert(read, place);
    }

    /// What else is under a key cannot be read.
    pub(super) fn on_failure(&mut self, read: u64) {
        self.reads.remove(&read);
        self.is_unsure = true;
    }

    /// Takes note of the members under a key; gives the key and where the next page begins, if there is one.
    pub(super) fn on_page(&mut self, read: u64, page: &Page<'_>, rng: &mut Rng) -> Option<(Key, Mark)> {
        let place = self.reads.get(&read).copied()?;
        self.on_glimpse(read, page.values, rng);
        let more = page.next.filter(|_| !page.values.is_empty() && self.found.len() < FOUND_MAX);
        self.is_unsure |= !page.is_all || more != page.next;
        if more.is_none() {
            self.reads.remove(&read);
        }
        Some((self.key(place)?, more?))
    }

    /// Takes note of the members that somebody names under a key.
    pub(super) fn on_glimpse(&mut self, read: u64, values: &[Vec<u8>], rng: &mut Rng) {
        let place = self.reads.get(&read).and_then(|(epoch, _)| self.entries.get(*epoch));
        let Some(entries) = place else { return };
        let opened: Vec<Entry> = values.iter().filter_map(|value| entries.open(value)).collect();
        opened.into_iter().for_each(|entry| self.find(entry, rng));
        self.order(rng);
    }

    fn find(&mut self, entry: Entry, rng: &mut Rng) {
        let is_over = self.receipts.contains(&entry.member) || self.revoked.contains(&entry.member);
        if is_over || (self.found.len() == FOUND_MAX && !self.found.contains_key(&entry.member)) {
            return;
        }
        let places = self.found.entry(entry.member).or_default();
        if places.drawn.contains(&entry.public) {
            return;
        }
        places.named += 1;
        if places.drawn.len() == PLACES_MAX {
            // Each of those that are named is as likely to be among the drawn (reservoir sampling).
            let Some(out) = places.drawn.iter().nth(rng.below(places.named)).copied() else { return };
            let is_it = |one: &Entry| (one.member, one.public) == (entry.member, out);
            // Who was told already was a try.
            let Some(at) = self.queue.iter().position(is_it) else { return };
            self.queue.swap_remove(at);
            places.drawn.remove(&out);
        }
        places.drawn.insert(entry.public);
        self.queue.push(entry);
    }

    /// In random order, but for members that the authority knows, who come first.
    fn order(&mut self, rng: &mut Rng) {
        rng.shuffle(&mut self.queue);
        self.queue.sort_by_key(|entry| self.members.contains(&entry.member));
    }

    /// The next member to tell, and what.
    pub(super) fn next_to_tell(
        &mut self,
        own: Address,
        now: Time,
        rng: &mut Rng,
    ) -> Option<(Address, Vec<u8>)> {
        if self.told.len() >= PARALLEL || self.next_told > now {
            return None;
        }
        let public = self.queue.pop()?.public;
        let token = rng.next_u64();
        self.told.insert(token, Told { public, until: now + PATIENCE });
        self.next_told = now + STAGGER;
        let mut once = [0; 12];
        rng.fill(&mut once);
        let course = Course { kind: PacketKind::Announcement, from: own, to: public };
        let message = Announcement { token, notices: self.notices.clone() };
        Some((public, self.envelope.seal(course, once, &message.write())))
    }

    /// Whether it is a receipt of this announcement, and proves what it says.
    pub(super) fn on_receipt(
        &mut self,
        (from, own): (Address, Address),
        sealed: &[u8],
        (wall, now): (Wall, Time),
    ) -> bool {
        let course = Course { kind: PacketKind::Receipt, from, to: own };
        let receipt = self.envelope.open(course, sealed).and_then(|plain| Receipt::read(&plain).ok());
        let Some(Receipt { token, member, certificate, signature }) = receipt else { return false };
        if self.told.get(&token).is_none_or(|told| told.public != from) {
            return false;
        }
        self.told.remove(&token);
        let claim =
            if certificate.is_empty() { Claim::Address(member) } else { Claim::Certificate(certificate) };
        let identity = self.trust.verify(&claim, wall).and_then(|identity| identity.at(Some(member)));
        let Ok(identity) = identity else { return false };
        if !holds_receipt(&claim, &self.notices, &signature) {
            return false;
        }
        self.receipts.insert(identity.address);
        self.next_told = self.next_told.min(now);
        true
    }

    /// When something is to be done next.
    pub(super) fn due(&self) -> Time {
        let can_tell = !self.queue.is_empty() && self.told.len() < PARALLEL;
        let told = self.told.values().map(|told| told.until).min();
        let next = can_tell.then_some(self.next_told);
        [Some(self.until), Some(self.next_round), told, next].into_iter().flatten().min().unwrap_or(Time::MAX)
    }
}
