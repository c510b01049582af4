//! Service: values under keys, held at three points of the ring with copies next to each.
//!
//! It holds what other members put here, and carries out what this node wants of the others. It sends nothing: it
//! returns requests to points and messages to neighbours. Whatever one point says, it is believed only if another says
//! the same or the owner's signature holds.

mod around;
mod claims;
mod keeping;
mod operation;
mod proof;
mod stats;
mod store;
mod terms;
#[cfg(test)]
mod tests;
mod upkeep;
mod verdict;

use std::collections::{BTreeMap, VecDeque};

use openssl::pkey::{PKey, Private};

pub use around::Around;
pub use keeping::KEEPS_MAX;
pub use proof::prove;
pub use stats::Stats;
pub use store::{
    BYTES_MAX, ITEM_COST, ITEMS_PER_KEY_MAX, KEYS_MAX, LEASE_MAX, PEER_BYTES_MAX, Source, WRITER_BYTES_MAX,
    WRITER_ITEMS_PER_KEY_MAX,
};
pub use terms::{Failure, Found, How, LEASE_MIN, News, Origin, Outcome, Wanted, Write};

use crate::machine::Deadline;
use crate::rng::Rng;
use crate::security::{Wall, address_of};
use crate::time::Time;
use crate::wire::{
    Address, Ask, Content, Denial, DhtAnswer, DhtRequest, Item, Key, Mark, OWNED_VALUE_MAX, Proof, Said,
    Upkeep, VALUE_MAX, points,
};
use keeping::Keeping;
use operation::{Operation, Phase, Purpose, Work};
use store::{Store, Writing};
use upkeep::{Copies, STRAY};

/// Operations under way at most; more are refused.
pub const OPERATIONS_MAX: usize = 512;
/// News that wait for the node; the oldest are forgotten for more.
pub const NEWS_MAX: usize = 1024;
/// The DHT at one member.
#[derive(Debug)]
pub struct Dht {
    own: Address,
    rng: Rng,
    signer: Option<PKey<Private>>,
    sequence: u64,
    store: Store,
    copies: Copies,
    keeping: Keeping,
    operations: BTreeMap<u64, Operation>,
    last: u64,
    wanted: VecDeque<Wanted>,
    news: VecDeque<(u64, News)>,
    own_news: VecDeque<(u64, News)>,
    stats: Stats,
}

impl Dht {
    /// A member that holds nothing. It signs with `signer` what it puts under keys of its own.
    #[must_use]
    pub fn new(own: Address, signer: Option<PKey<Private>>, rng: &Rng) -> Self {
        let rng = rng.fork("dht");
        Self {
            own,
            signer,
            sequence: 0,
            store: Store::default(),
            copies: Copies::new(own, &rng),
            keeping: Keeping::new(&rng),
            operations: BTreeMap::new(),
            last: 0,
            wanted: VecDeque::new(),
            news: VecDeque::new(),
            own_news: VecDeque::new(),
            stats: Stats::default(),
            rng,
        }
    }

    /// Signs with another key from now on.
    pub fn set_signer(&mut self, signer: PKey<Private>) {
        self.signer = Some(signer);
    }

    /// The address whose owned keys are ours, if we can sign.
    #[must_use]
    pub fn owner(&self) -> Option<Address> {
        address_of(self.signer.as_ref()?).ok()
    }

    /// The ring around us may have changed.
    pub fn set_around(&mut self, around: Around, now: Time) {
        if around != *self.copies.around() {
            self.copies.set_around(around, &self.store, now);
        }
    }

    /// What is held and what was done.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let root = self.copies.around().root();
        let mut stats = self.stats.clone();
        for (place, shelf) in &self.store.shelves {
            let is_root = points(*place).iter().any(|point| root.contains(*point));
            *if is_root { &mut stats.root } else { &mut stats.copies } += shelf.items.len();
        }
        stats.bytes = self.store.bytes();
        stats.kept = self.keeping.len();
        stats.expired = self.store.expired();
        stats.handovers = self.copies.handovers();
        stats
    }

    /// Puts a value; sequence numbers of owned ones are no lower than `wall` says.
    pub fn put(&mut self, origin: Origin, write: Write, wall: Wall, now: Time) {
        self.start(Purpose::Asked(origin), How::Append, write, (wall, now));
    }

    /// Puts a value under a key whose owner proved that it shall be there; the owner may be somebody else. The lease is the
    /// one of the proof. A newer value that is there already makes it [`Failure::Outdated`].
    pub fn put_proved(&mut self, origin: Origin, key: Key, (value, proof): (Vec<u8>, Proof), now: Time) {
        let (stamp, lease) = (self.rng.next_u32(), proof.lease);
        let content = Content::Owned { value, proof };
        let purpose = Purpose::Asked(origin);
        if !proof::holds(&key, &content) {
            return self.settle(purpose, Outcome::Failed(Failure::Invalid), now);
        }
        self.begin(purpose, key, Work::Put(Item { stamp, lease, content }), now);
    }

    /// Creates a value.
    pub fn create(&mut self, origin: Origin, write: Write, now: Time) {
        self.start(Purpose::Asked(origin), How::Create, write, (Wall(0), now));
    }

    /// Puts or creates a value and renews it until it is released. The outcome of the first writing is told; whatever
    /// that is, it is tried again.
    pub fn keep(&mut self, origin: Origin, how: How, write: Write, now: Time) {
        let write = Write { lease: write.lease.clamp(LEASE_MIN, LEASE_MAX), ..write };
        if let Err(failure) = self.check(how, &write) {
            return self.tell(origin, Outcome::Failed(failure));
        }
        if !self.keeping.insert(origin, how, write, now) {
            self.tell(origin, Outcome::Failed(Failure::Busy));
        }
    }

    /// Renews a value no more; it is gone when its lease ends.
    pub fn release(&mut self, key: &Key, value: &[u8]) {
        self.keeping.release(key, value);
    }

    /// Reads what is under a key, behind a mark if one is given.
    pub fn get(&mut self, origin: Origin, key: Key, after: Option<Mark>, now: Time) {
        self.begin(Purpose::Asked(origin), key, Work::Get(after), now);
    }

    /// The next news for the node itself: the number that it chose, and what is heard of it.
    pub fn poll_news(&mut self) -> Option<(u64, News)> {
        self.news.pop_front()
    }

    /// The same for the overlay itself.
    pub fn poll_own_news(&mut self) -> Option<(u64, News)> {
        self.own_news.pop_front()
    }

    fn check(&self, how: How, write: &Write) -> Result<(), Failure> {
        let (max, may) = match write.key {
            Key::Plain(_) => (VALUE_MAX, true),
            Key::Owned { owner, .. } => (OWNED_VALUE_MAX, how == How::Append && self.owner() == Some(owner)),
        };
        match (may, write.value.len() <= max) {
            (false, _) => Err(Failure::NotOwner),
            (_, false) => Err(Failure::TooLong),
            _ => Ok(()),
        }
    }

    fn start(&mut self, purpose: Purpose, how: How, write: Write, (wall, now): (Wall, Time)) {
        let lease = write.lease.clamp(LEASE_MIN, LEASE_MAX);
        let writing = (self.rng.next_u32(), u32::try_from(lease.as_millis()).unwrap_or(u32::MAX));
        self.sequence = (self.sequence + 1).max(wall.0 << 16);
        let key = write.key;
        let work = self.check(how, &write).and_then(|()| match how {
            How::Append => self.put_work(&key, write.value, writing),
            How::Create => {
                let token = self.rng.next_u64();
                Ok(Work::Create { value: write.value, writing, token, phase: Phase::Claiming })
            }
        });
        match work {
            Ok(work) => self.begin(purpose, key, work, now),
            Err(failure) => self.settle(purpose, Outcome::Failed(failure), now),
        }
    }

    /// A put of a value, signed if the key is owned.
    fn put_work(&self, key: &Key, value: Vec<u8>, (stamp, lease): (u32, u32)) -> Result<Work, Failure> {
        let content = match key {
            Key::Plain(_) => Content::Plain { value },
            Key::Owned { .. } => {
                let signer = self.signer.as_ref().ok_or(Failure::NotOwner)?;
                proof::sign(signer, key, value, (self.sequence, lease)).map_err(|_| Failure::NotOwner)?
            }
        };
        Ok(Work::Put(Item { stamp, lease, content }))
    }

    fn begin(&mut self, purpose: Purpose, key: Key, work: Work, now: Time) {
        if self.operations.len() >= OPERATIONS_MAX {
            return self.settle(purpose, Outcome::Failed(Failure::Busy), now);
        }
        self.last += 1;
        let operation = Operation::new(key, work, purpose, &mut self.rng, now);
        self.operations.insert(self.last, operation);
        self.advance(self.last, now);
    }

    /// Tells whoever waits what came of an operation.
    fn settle(&mut self, purpose: Purpose, outcome: Outcome, now: Time) {
        match purpose {
            Purpose::Asked(origin) => self.tell(origin, outcome),
            Purpose::Renewal(id) => {
                let granted = if let Outcome::Stored { lease } = &outcome { Some(*lease) } else { None };
                if let Some(origin) = self.keeping.on_outcome(id, granted, now) {
                    self.tell(origin, outcome);
                }
            }
        }
    }

    fn tell(&mut self, origin: Origin, outcome: Outcome) {
        match origin {
            Origin::User(id) => self.wanted.push_back(Wanted::Reply(id, outcome)),
            Origin::Node(number) => self.tell_node(number, News::Over(outcome)),
            Origin::Overlay(number) => self.tell_own(number, News::Over(outcome)),
        }
    }

    fn tell_own(&mut self, number: u64, news: News) {
        if self.own_news.len() == NEWS_MAX {
            self.own_news.pop_front();
        }
        self.own_news.push_back((number, news));
    }

    fn tell_node(&mut self, number: u64, news: News) {
        if self.news.len() == NEWS_MAX {
            self.news.pop_front();
        }
        self.news.push_back((number, news));
    }

    /// Moves an operation on as far as it goes.
    fn advance(&mut self, id: u64, now: Time) {
        let Some(operation) = self.operations.get_mut(&id) else { return };
        let mut requests = operation.requests(&mut self.rng, now);
        let mut told = None;
        if operation.purpose.is_some()
            && let Some(outcome) = operation.outcome(&mut self.rng, now)
        {
            let may_sign = self.signer.as_ref().is_some_and(|signer| owns(signer, &operation.key));
            let is_outdated = outcome == Outcome::Failed(Failure::Outdated) && may_sign;
            if is_outdated && Self::renumber(operation, &mut self.sequence) {
                return self.sign_again(id, now);
            }
            told = operation.purpose.take().map(|purpose| (purpose, outcome));
        }
        // A claim that is granted becomes a commit at once.
        requests.extend(operation.requests(&mut self.rng, now));
        if operation.is_over(now) && operation.purpose.is_none() {
            requests.extend(operation.repairs());
            self.operations.remove(&id);
        }
        self.wanted.extend(requests.into_iter().map(|(to, request)| Wanted::Ask(to, request)));
        if let Some((purpose, outcome)) = told {
            self.settle(purpose, outcome, now);
        }
    }

    /// Whether a higher sequence number may help.
    fn renumber(operation: &Operation, sequence: &mut u64) -> bool {
        match operation.outdated_by() {
            Some(theirs) if theirs < u64::MAX / 2 => {
                *sequence = (*sequence).max(theirs) + 1;
                true
            }
            _ => false,
        }
    }

    fn sign_again(&mut self, id: u64, now: Time) {
        let Some(operation) = self.operations.get(&id) else { return };
        let (key, Work::Put(item)) = (operation.key, operation.work.clone()) else { return };
        let work = self.put_work(&key, item.content.value().to_vec(), (item.stamp, item.lease));
        let Some(operation) = self.operations.get_mut(&id) else { return };
        match work {
            Ok(work) => {
                operation.restart(work, &mut self.rng, now);
                self.advance(id, now);
            }
            Err(failure) => {
                let purpose = operation.purpose.take();
                self.operations.remove(&id);
                if let Some(purpose) = purpose {
                    self.settle(purpose, Outcome::Failed(failure), now);
                }
            }
        }
    }

    /// An answer arrived; false if nobody asked.
    pub fn on_answer(&mut self, answer: DhtAnswer, now: Time) -> bool {
        let found = self.operations.iter().find_map(|(id, one)| Some((*id, one.point_of(answer.id)?)));
        let Some((id, point)) = found else { return false };
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.on_said(point, answer.said, &mut self.rng, now);
            match operation.glimpse(point) {
                Some((Origin::Node(number), values)) => self.tell_node(number, News::Glimpse(values)),
                Some((Origin::Overlay(number), values)) => self.tell_own(number, News::Glimpse(values)),
                Some((Origin::User(_), _)) | None => {}
            }
        }
        self.advance(id, now);
        true
    }

    /// Answers a request in at most `room` bytes of values.
    pub fn serve(&mut self, source: Source, request: &DhtRequest, room: usize, now: Time) -> Said {
        self.store.expire(now);
        let said = self.answer(source, request, room, now);
        self.stats.count(&request.ask, &said);
        self.copies.spread(&mut self.store, now);
        said
    }

    fn answer(&mut self, source: Source, request: &DhtRequest, room: usize, now: Time) -> Said {
        let (key, sure) = (&request.key, self.copies.is_sure(now));
        let said = match request.ask.clone() {
            // It may be that something else was created there.
            Ask::Put(Item { content: Content::Created { .. }, .. }) if !sure => Err(Denial::Unsure),
            Ask::Put(item) => self.store.put(Writing { key, source, item }, now).map(Said::Stored),
            Ask::Claim { .. } if !sure => Err(Denial::Unsure),
            Ask::Claim { token, value } => {
                self.store.claim(key, source, (token, value), now).map(|()| Said::Granted)
            }
            Ask::Commit { token, stamp, lease } => {
                self.store.commit(key, token, (stamp, lease), now).map(Said::Stored)
            }
            Ask::Abort { token } => {
                self.store.abort(key, token, now);
                Ok(Said::Aborted)
            }
            Ask::Get(after) => {
                let page = self.store.page(key.place(), after, room, now);
                Ok(Said::Page(crate::wire::Page { unsure: !sure, ..page }))
            }
        };
        said.unwrap_or_else(Said::Refused)
    }

    /// A neighbour says something about copies.
    pub fn on_upkeep(&mut self, peer: Address, message: Upkeep, now: Time) {
        self.store.expire(now);
        self.copies.on_message(peer, message, &mut self.store, now);
    }

    /// What the last messages of a leaving member are, and to whom, each of at most `room` bytes.
    pub fn farewell(&mut self, room: usize, now: Time) -> Vec<(Address, Upkeep)> {
        self.store.expire(now);
        self.copies.farewell(&self.store, room, now)
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.store.expire(now);
        while let Some((id, how, write)) = self.keeping.due(now) {
            self.start(Purpose::Renewal(id), how, write, (Wall(0), now));
        }
        let due: Vec<u64> =
            self.operations.iter().filter(|(_, one)| one.due() <= now).map(|(id, _)| *id).collect();
        due.into_iter().for_each(|id| self.advance(id, now));
        for place in self.copies.handle_timeout(&mut self.store, now) {
            self.send_home(place, now);
            self.store.remove_stray(place, STRAY, now);
        }
    }

    /// What is not ours is put where it belongs; those who hold it already take no harm.
    fn send_home(&mut self, place: Address, now: Time) {
        let Some(shelf) = self.store.shelves.get(&place) else { return };
        for (at, point) in points(place).into_iter().enumerate() {
            for kept in shelf.items.values() {
                let ask = Ask::Put(kept.item(now));
                let request = DhtRequest { id: 0, point: at as u8, key: shelf.key, ask };
                self.wanted.push_back(Wanted::Ask(point, request));
            }
        }
    }

    /// The next thing to carry out; messages to neighbours have at most `room` bytes.
    pub fn poll(&mut self, room: usize, now: Time) -> Option<Wanted> {
        if let Some(wanted) = self.wanted.pop_front() {
            return Some(wanted);
        }
        self.copies.poll(&self.store, room, now).map(|(peer, message)| Wanted::Tell(peer, message))
    }

    /// When `handle_timeout` is wanted next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let operations = self.operations.values().map(Operation::due).min().unwrap_or(Time::MAX);
        let ends = self.store.next_end().unwrap_or(Time::MAX);
        let at = operations.min(ends).min(self.keeping.poll_timeout()).min(self.copies.poll_timeout());
        (at < Time::MAX).then_some(Deadline { at, reason: "DHT" })
    }

    /// The member whose requests we serve ourselves.
    #[must_use]
    pub fn own(&self) -> Address {
        self.own
    }
}

/// Whether an owned key is the signer's.
fn owns(signer: &PKey<Private>, key: &Key) -> bool {
    matches!(key, Key::Owned { owner, .. } if address_of(signer).is_ok_and(|own| own == *owner))
}
