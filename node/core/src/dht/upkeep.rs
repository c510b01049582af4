//! Copies at the neighbours: handed over when the ring changes, compared now and then, dropped when they are no longer ours.
//!
//! Neighbours compare sums over an arc of the ring; if those differ they list what they have and send what the other
//! lacks. A member without values sends nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::around::Around;
use super::store::{Kept, Shelf, Standing, Store};
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::{Address, Copied, Distance, ITEMS_MAX, LISTED_MAX, Listed, Mark, RingArc, Upkeep, points};

/// Messages that wait to be sent at most; what is beyond heals at the next comparison.
const OUTBOX_MAX: usize = 16_384;
/// Messages that leave at once, and the pause after them: an edge repeats no more than 33 that are under way.
const BURST: usize = 12;
const GAP: Duration = Duration::from_millis(80);
/// How often neighbours compare what they hold.
const ROUND: Duration = Duration::from_secs(60);
/// How soon they do after the ring changed.
const SOON: Duration = Duration::from_millis(100);
/// How long after a neighbour's last comparison one that has only copies begins one.
const UNHEARD: Duration = Duration::from_secs(150);
/// How long a member that got a larger part of the ring may lack what is there.
const UNSURE: Duration = Duration::from_secs(3);
/// How long what is no longer ours is kept.
pub(super) const STRAY: Duration = Duration::from_secs(60);
/// Keys that are sent to where they belong at once.
const STRAYS_MAX: usize = 32;
/// Messages that a leaving member sends to a neighbour at most.
const LEAVING_MAX: usize = 64;

#[derive(Debug)]
enum Out {
    Message(Upkeep),
    Copy(Address, Mark),
}

/// Why neighbours compare now.
#[derive(Clone, Copy, Debug)]
struct Why {
    /// The ring changed.
    changed: bool,
    /// We may lack what is ours.
    asks: bool,
}

/// The copies of one member.
#[derive(Debug)]
pub(super) struct Copies {
    around: Around,
    rng: Rng,
    outbox: VecDeque<(Address, Out)>,
    /// Messages that may leave before the next pause; 0 during one.
    burst: usize,
    flush_at: Time,
    round_at: Time,
    /// The next comparison is about the neighbour's points as well.
    changed: bool,
    unsure_until: Time,
    /// The next comparison begins though we have nothing: the neighbours do not notice that we restarted.
    asks: bool,
    /// When each neighbour last compared.
    heard: BTreeMap<Address, Time>,
    handovers: u64,
}

impl Copies {
    pub(super) fn new(own: Address, rng: &Rng) -> Self {
        Self {
            around: Around::nobody(own),
            rng: rng.fork("copies"),
            outbox: VecDeque::new(),
            burst: BURST,
            flush_at: Time::ZERO,
            round_at: Time::MAX,
            changed: false,
            unsure_until: Time::ZERO,
            asks: false,
            heard: BTreeMap::new(),
            handovers: 0,
        }
    }

    pub(super) fn around(&self) -> &Around {
        &self.around
    }

    /// Values sent to neighbours that lacked them.
    pub(super) fn handovers(&self) -> u64 {
        self.handovers
    }

    /// Whether the member holds all that it ought to, as far as anybody can tell.
    pub(super) fn is_sure(&self, now: Time) -> bool {
        self.around.connected && self.unsure_until <= now
    }

    /// The ring around us changed.
    pub(super) fn set_around(&mut self, around: Around, store: &Store, now: Time) {
        let has_values = !store.shelves.is_empty();
        let grew = around.connected && around.grew_from(&self.around);
        if grew {
            self.unsure_until = now + UNSURE;
            self.asks = true;
        }
        self.around = around;
        self.heard.retain(|peer, _| around.next.contains(&Some(*peer)));
        self.changed = true;
        if has_values || grew {
            self.round_at = self.round_at.min(now + self.rng.jitter(SOON, 0.3));
        }
    }

    /// Values that are new here go to the neighbours, and so does the news of those that are gone.
    pub(super) fn spread(&mut self, store: &mut Store, now: Time) {
        let (fresh, gone) = (std::mem::take(&mut store.fresh), std::mem::take(&mut store.gone));
        let neighbours: Vec<Address> = self.around.neighbours().collect();
        for peer in neighbours {
            fresh.iter().for_each(|(place, mark)| self.put_out(peer, Out::Copy(*place, *mark)));
            for (place, stamp) in gone.iter().copied() {
                self.put_out(peer, Out::Message(Upkeep::Gone { place, stamp }));
            }
        }
        if !fresh.is_empty() {
            self.round_at = self.round_at.min(now + self.rng.jitter(ROUND, 0.2));
        }
    }

    fn put_out(&mut self, peer: Address, out: Out) {
        if self.outbox.len() < OUTBOX_MAX {
            self.outbox.push_back((peer, out));
        }
    }

    /// A neighbour says something. Before we have our place we cannot tell who is one; then we ask.
    pub(super) fn on_message(&mut self, peer: Address, message: Upkeep, store: &mut Store, now: Time) {
        if !self.around.connected {
            return;
        }
        match message {
            Upkeep::Sum { arc, count, sum } => {
                if self.around.next.contains(&Some(peer)) {
                    self.heard.insert(peer, now);
                }
                if total(store, arc) != (count, sum) {
                    self.list(peer, arc, store);
                }
            }
            Upkeep::Have { arc, list } => self.compare(peer, arc, &list, store),
            Upkeep::Want(places) => places.into_iter().for_each(|place| self.copy_all(peer, place, store)),
            Upkeep::Keep(list) => self.take(peer, list, store, now),
            Upkeep::Gone { place, stamp } if self.may_take_back(peer, place) => {
                store.take_back(place, stamp, now);
            }
            Upkeep::Gone { .. } => {}
        }
    }

    /// Lists what we hold in an arc.
    fn list(&mut self, peer: Address, arc: RingArc, store: &Store) {
        let all = within(store, arc);
        let mut from = arc.from;
        let mut parts = all.chunks(LISTED_MAX).peekable();
        if parts.peek().is_none() {
            return self.put_out(peer, Out::Message(Upkeep::Have { arc, list: Vec::new() }));
        }
        while let Some(part) = parts.next() {
            let last = part.last().map_or(arc.to, |(point, _)| *point);
            let to = if parts.peek().is_none() { arc.to } else { last };
            let list = part.iter().map(|(_, listed)| *listed).collect();
            self.put_out(peer, Out::Message(Upkeep::Have { arc: RingArc { from, to }, list }));
            from = to;
        }
    }

    /// Sends what a neighbour lacks and asks for what we lack.
    fn compare(&mut self, peer: Address, arc: RingArc, list: &[Listed], store: &Store) {
        let theirs: BTreeMap<Address, u32> = list.iter().map(|one| (one.place, one.digest)).collect();
        let ours: BTreeMap<Address, u32> =
            within(store, arc).into_iter().map(|(_, one)| (one.place, one.digest)).collect();
        for (place, digest) in &ours {
            if theirs.get(place) != Some(digest) {
                self.copy_all(peer, *place, store);
            }
        }
        let wanted = theirs.iter().filter(|(place, digest)| ours.get(*place) != Some(*digest));
        let wanted: Vec<Address> = wanted.map(|(place, _)| *place).collect();
        if !wanted.is_empty() {
            self.put_out(peer, Out::Message(Upkeep::Want(wanted)));
        }
    }

    fn copy_all(&mut self, peer: Address, place: Address, store: &Store) {
        let Some(shelf) = store.shelves.get(&place) else { return };
        self.handovers += shelf.items.len() as u64;
        shelf.items.keys().for_each(|mark| self.put_out(peer, Out::Copy(place, *mark)));
    }

    /// Whether a neighbour is nearer than we are to a point that we hold: creations fail at roots.
    fn may_take_back(&self, peer: Address, place: Address) -> bool {
        let held = self.around.held();
        points(place)
            .into_iter()
            .any(|point| held.contains(point) && peer.distance(point) < self.around.own.distance(point))
    }

    /// Where a neighbour stands, by the nearest point of either: the same whoever of the two asks.
    fn standing(&self, peer: Address, place: Address) -> Standing {
        let nearest = |member: Address| points(place).map(|point| member.distance(point)).into_iter().min();
        if nearest(peer) < nearest(self.around.own) { Standing::Nearer } else { Standing::Farther }
    }

    fn take(&mut self, peer: Address, list: Vec<Copied>, store: &mut Store, now: Time) {
        let (held, root) = (self.around.held(), self.around.root());
        for copied in list {
            let place = copied.key.place();
            let (points, standing) = (points(place), self.standing(peer, place));
            let ours = points.iter().any(|point| held.contains(*point));
            if ours && store.merge(peer, copied, standing, now) {
                // What reached us as the root has to reach the neighbour on our other side.
                let pause = if points.iter().any(|point| root.contains(*point)) { SOON * 10 } else { ROUND };
                self.round_at = self.round_at.min(now + self.rng.jitter(pause, 0.2));
            }
        }
    }

    /// Runs what is due. Returns keys that are no longer ours, to be sent to where they belong.
    pub(super) fn handle_timeout(&mut self, store: &mut Store, now: Time) -> Vec<Address> {
        if self.round_at > now {
            return Vec::new();
        }
        let again = if store.shelves.is_empty() { Time::MAX } else { now + self.rng.jitter(ROUND, 0.2) };
        self.round_at = again;
        if !self.around.connected {
            return Vec::new();
        }
        let why = Why { changed: std::mem::take(&mut self.changed), asks: std::mem::take(&mut self.asks) };
        let neighbours: Vec<Address> = self.around.neighbours().collect();
        for peer in neighbours {
            self.sum_up(peer, why, store, now);
        }
        self.sweep(store, now)
    }

    /// Begins a comparison with a neighbour if there is anything to compare.
    fn sum_up(&mut self, peer: Address, why: Why, store: &Store, now: Time) {
        let root = self.around.root();
        let is_root = total(store, root).0 > 0;
        let unheard = self.heard.get(&peer).is_none_or(|heard| *heard + UNHEARD <= now);
        let arc = if why.changed || !is_root { self.around.shared(peer) } else { root };
        let (count, sum) = total(store, arc);
        if why.asks || (count > 0 && (is_root || why.changed || unheard)) {
            self.put_out(peer, Out::Message(Upkeep::Sum { arc, count, sum }));
        }
    }

    /// Finds what is no longer ours, and drops what has not been for long. What was created is named once more before it goes:
    /// a member that was new then did not take it.
    fn sweep(&mut self, store: &mut Store, now: Time) -> Vec<Address> {
        let held = self.around.held();
        let (mut strays, mut over) = (Vec::new(), Vec::new());
        for (place, shelf) in &mut store.shelves {
            if points(*place).iter().any(|point| held.contains(*point)) {
                shelf.stray = None;
                continue;
            }
            match shelf.stray {
                Some(since) if since + STRAY > now => {}
                Some(_) if shelf.alone().is_none() => over.push(*place),
                since if strays.len() < STRAYS_MAX => {
                    shelf.stray = since.or(Some(now));
                    strays.push(*place);
                }
                _ => self.round_at = self.round_at.min(now + SOON * 10),
            }
        }
        over.into_iter().for_each(|place| store.remove_shelf(place));
        strays
    }

    /// When something here is due.
    pub(super) fn poll_timeout(&self) -> Time {
        if self.outbox.is_empty() { self.round_at } else { self.round_at.min(self.flush_at) }
    }

    /// The next message to a neighbour, of at most `room` bytes, if it may leave now.
    pub(super) fn poll(&mut self, store: &Store, room: usize, now: Time) -> Option<(Address, Upkeep)> {
        if self.burst == 0 && self.flush_at > now {
            return None;
        }
        let message = self.take_out(store, room, now)?;
        self.burst = if self.burst == 0 { BURST } else { self.burst } - 1;
        if self.burst == 0 {
            self.flush_at = now + GAP;
        }
        Some(message)
    }

    fn take_out(&mut self, store: &Store, room: usize, now: Time) -> Option<(Address, Upkeep)> {
        loop {
            let (peer, out) = self.outbox.pop_front()?;
            let (place, mark) = match out {
                Out::Message(message) => return Some((peer, message)),
                Out::Copy(place, mark) => (place, mark),
            };
            let Some(first) = copied(store, place, mark, now) else { continue };
            let mut len = Upkeep::KEEP_LEN + first.wire_len();
            let mut list = vec![first];
            while let Some((next, Out::Copy(place, mark))) = self.outbox.front()
                && *next == peer
                && list.len() < ITEMS_MAX
            {
                if let Some(more) = copied(store, *place, *mark, now) {
                    len += more.wire_len();
                    if len > room {
                        break;
                    }
                    list.push(more);
                }
                self.outbox.pop_front();
            }
            return Some((peer, Upkeep::Keep(list)));
        }
    }

    /// What a member that leaves sends to its neighbours, so that all is where it will be looked for.
    pub(super) fn farewell(&mut self, store: &Store, room: usize, now: Time) -> Vec<(Address, Upkeep)> {
        self.outbox.clear();
        let places: Vec<Address> =
            within(store, self.around.root()).into_iter().map(|(_, listed)| listed.place).collect();
        let neighbours: Vec<Address> = self.around.neighbours().collect();
        let mut messages = Vec::new();
        for peer in neighbours {
            places.iter().for_each(|place| self.copy_all(peer, *place, store));
            messages.extend((0..LEAVING_MAX).map_while(|_| self.take_out(store, room, now)));
            self.outbox.clear();
        }
        messages
    }
}

fn copied(store: &Store, place: Address, mark: Mark, now: Time) -> Option<Copied> {
    let shelf = store.shelves.get(&place)?;
    let kept: &Kept = shelf.items.get(&mark)?;
    Some(Copied { key: shelf.key, writer: kept.writer, item: kept.item(now) })
}

/// What is held in an arc, clockwise: a key once for each of its points there.
fn within(store: &Store, arc: RingArc) -> Vec<(Address, Listed)> {
    let mut found: Vec<(Distance, Address, Listed)> = Vec::new();
    for (place, shelf) in store.shelves.iter().filter(|(_, shelf)| !shelf.items.is_empty()) {
        for point in points(*place).into_iter().filter(|point| arc.contains(*point)) {
            let listed = Listed { place: *place, digest: digest(shelf) };
            found.push((arc.from.clockwise(point), point, listed));
        }
    }
    found.sort_unstable_by_key(|(distance, _, listed)| (*distance, listed.place));
    found.into_iter().map(|(_, point, listed)| (point, listed)).collect()
}

fn digest(shelf: &Shelf) -> u32 {
    let digest = shelf.digest();
    (digest ^ digest >> 32) as u32
}

/// How many keys are held in an arc, and the sum of what [`Listed`] says of them.
fn total(store: &Store, arc: RingArc) -> (u32, u64) {
    let mix = |place: Address, shelf: &Shelf| {
        place
            .to_bytes()
            .into_iter()
            .fold(shelf.digest(), |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    let (mut count, mut sum) = (0u32, 0u64);
    for (place, shelf) in store.shelves.iter().filter(|(_, shelf)| !shelf.items.is_empty()) {
        let inside = points(*place).iter().filter(|point| arc.contains(**point)).count() as u32;
        count += inside;
        sum = sum.wrapping_add(mix(*place, shelf).wrapping_mul(u64::from(inside)));
    }
    (count, sum)
}
