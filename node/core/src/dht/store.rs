//! What a member holds: values under keys until their leases end, within bounds for all, for each writer, and for
//! each peer that brings them.
//!
//! A full store refuses what is new; nothing that lives makes room for it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use super::proof;
use crate::time::Time;
use crate::wire::{Address, Content, Copied, Denial, ITEMS_MAX, Item, Key, Mark, Page};

/// Keys that a member holds at most; new ones are refused beyond.
pub const KEYS_MAX: usize = 16_384;
/// Values under one key at most; new ones are refused beyond.
pub const ITEMS_PER_KEY_MAX: usize = 1024;
/// Values of one writer under one key at most, so that no single one fills it.
pub const WRITER_ITEMS_PER_KEY_MAX: usize = 256;
/// Bytes at most, [`ITEM_COST`] for each value counted.
pub const BYTES_MAX: usize = 8 << 20;
/// Bytes of one writer at most.
pub const WRITER_BYTES_MAX: usize = 512 << 10;
/// Bytes of strangers' values that came through one peer at most.
pub const PEER_BYTES_MAX: usize = 1 << 20;
/// What a value costs beside its own bytes.
pub const ITEM_COST: usize = 256;
/// The longest lease; a longer one is cut.
pub const LEASE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Ends of leases that are nearer to each other than this are the same for neighbours that compare them.
const LEASE_SLACK: Duration = Duration::from_secs(1);

/// How much of the store a write may fill: a stranger's stops at half, so that there is room for what neighbours hold. A
/// packet may name any writer; whose edge it came over is certain, so that one peer brings no more than a part either.
#[derive(Clone, Copy, Debug)]
struct Share {
    bytes: usize,
    writer: usize,
    peer: usize,
}

const STRANGER: Share = Share { bytes: BYTES_MAX / 2, writer: WRITER_BYTES_MAX / 2, peer: PEER_BYTES_MAX };
const NEIGHBOUR: Share = Share { bytes: BYTES_MAX, writer: WRITER_BYTES_MAX, peer: BYTES_MAX / 2 };

/// Where a neighbour stands that says something about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nearer to it than we are.
    Nearer,
    /// Farther from it.
    Farther,
}

/// A value that is held.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) stamp: u32,
    pub(super) ends: Time,
    pub(super) writer: Address,
    /// The peer that brought it, and whether it is a copy of what that holds.
    peer: Address,
    copied: bool,
    pub(super) content: Content,
    /// Since when it is here, under whatever lease.
    pub(super) since: Time,
    /// The claim that it came of, and until when the creator may take it back.
    pub(super) token: Option<(u64, Time)>,
}

/// A key that a creator holds for a few seconds.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) token: u64,
    pub(super) creator: Address,
    /// The peer that brought the claim.
    pub(super) peer: Address,
    pub(super) value: Vec<u8>,
    pub(super) ends: Time,
}

/// What is under one key.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) key: Key,
    pub(super) items: BTreeMap<Mark, Kept>,
    pub(super) claim: Option<Claimed>,
    /// Since when no point of the key is ours to hold.
    pub(super) stray: Option<Time>,
}

impl Shelf {
    fn new(key: Key) -> Self {
        Self { key, items: BTreeMap::new(), claim: None, stray: None }
    }

    /// The only value, if nothing may stand beside it.
    pub(super) fn alone(&self) -> Option<(&Mark, &Kept)> {
        self.items.first_key_value().filter(|(_, kept)| !matches!(kept.content, Content::Plain { .. }))
    }

    /// Finds a difference between two holders; it does not resist an attacker (FNV-1a over marks and stamps).
    pub(super) fn digest(&self) -> u64 {
        let one = |(mark, kept): (&Mark, &Kept)| {
            let bytes = mark.0.to_be_bytes().into_iter().chain(kept.stamp.to_be_bytes());
            bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            })
        };
        self.items.iter().map(one).fold(0, u64::wrapping_add)
    }
}

/// Who writes, as the packet says, and the peer that brought the packet, or whose copy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Who writes.
    pub writer: Address,
    /// Who brought it.
    pub peer: Address,
    /// Whether it is a copy of what the peer holds, and not a request that came through it: those are accounts of their own.
    pub copied: bool,
}

impl Source {
    /// Whose bytes they are.
    fn account(&self) -> (Address, bool) {
        (self.peer, self.copied)
    }
}

/// Less of what somebody uses, who is forgotten with the last of it.
fn take_off<K: Ord>(of: &mut BTreeMap<K, usize>, who: &K, bytes: usize) {
    if let Some(used) = of.get_mut(who) {
        *used = used.saturating_sub(bytes);
        if *used == 0 {
            of.remove(who);
        }
    }
}

/// A write, and on whose account.
#[derive(Debug)]
pub(super) struct Writing<'a> {
    pub(super) key: &'a Key,
    pub(super) source: Source,
    pub(super) item: Item,
}

/// All that a member holds.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) shelves: BTreeMap<Address, Shelf>,
    ends: BTreeSet<(Time, Address, Option<Mark>)>,
    bytes: usize,
    writers: BTreeMap<Address, usize>,
    peers: BTreeMap<(Address, bool), usize>,
    expired: u64,
    /// What changed and neighbours do not know yet.
    pub(super) fresh: Vec<(Address, Mark)>,
    /// What was taken back, by place and stamp.
    pub(super) gone: Vec<(Address, u32)>,
}

impl Store {
    /// Bytes of all values, [`ITEM_COST`] for each counted.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Values whose lease ended here.
    pub(super) fn expired(&self) -> u64 {
        self.expired
    }

    /// When the next lease or claim ends.
    pub(super) fn next_end(&self) -> Option<Time> {
        self.ends.first().map(|(at, _, _)| *at)
    }

    /// Forgets what is over.
    pub(super) fn expire(&mut self, now: Time) {
        while let Some((_, place, mark)) = self.ends.first().copied().filter(|(at, _, _)| *at <= now) {
            match mark {
                Some(mark) => {
                    self.remove(place, mark);
                    self.expired += 1;
                }
                None => self.remove_claim(place),
            }
        }
    }

    /// Puts a stranger's value; what is left of its lease then, in milliseconds.
    ///
    /// # Errors
    /// It is refused.
    pub(super) fn put(&mut self, writing: Writing<'_>, now: Time) -> Result<u32, Denial> {
        let place = writing.key.place();
        let known = self.knows(place, &writing.item.content);
        if writing.item.lease == 0 || !(known || proof::holds(writing.key, &writing.item.content)) {
            return Err(Denial::Invalid);
        }
        let mark = writing.item.content.mark();
        self.admit(place, mark, &writing)?;
        let is_refresh = match &writing.item.content {
            Content::Plain { .. } => true,
            Content::Created { creator, .. } => *creator == writing.source.writer,
            // Only the owner renews, by a higher sequence number.
            Content::Owned { .. } => false,
        };
        // What comes twice, or back from somebody who held it, brings no new lease.
        let changes = |kept: &Kept| {
            is_refresh && kept.stamp != writing.item.stamp && ends(&writing.item, now) > kept.ends
        };
        if let Some(kept) = self.get(place, mark).filter(|kept| !changes(kept)) {
            return Ok(millis(kept.ends, now));
        }
        self.write(place, mark, writing, now, STRANGER)?;
        self.fresh.push((place, mark));
        self.get(place, mark).map(|kept| millis(kept.ends, now)).ok_or(Denial::Full)
    }

    /// Whether this very value with this very proof is here, so that it need not be verified again.
    fn knows(&self, place: Address, content: &Content) -> bool {
        self.get(place, content.mark()).is_some_and(|kept| kept.content == *content)
    }

    /// Whether a stranger's value may stand beside what is there.
    fn admit(&self, place: Address, mark: Mark, writing: &Writing<'_>) -> Result<(), Denial> {
        let Some(shelf) = self.shelves.get(&place) else { return Ok(()) };
        let other = || shelf.items.keys().any(|there| *there != mark);
        match &writing.item.content {
            Content::Owned { proof, .. } => match shelf.alone() {
                Some((there, Kept { content: Content::Owned { proof: ours, .. }, .. }))
                    if *there != mark && ours.sequence >= proof.sequence =>
                {
                    Err(Denial::Outdated(ours.sequence))
                }
                _ => Ok(()),
            },
            Content::Created { .. } if other() => Err(Denial::Exists),
            Content::Plain { .. } if shelf.alone().is_some() => Err(Denial::Exists),
            _ if shelf.claim.is_some() => Err(Denial::Contended),
            _ => Ok(()),
        }
    }

    /// Takes what a neighbour holds; true if that changes anything.
    pub(super) fn merge(&mut self, peer: Address, copied: Copied, standing: Standing, now: Time) -> bool {
        let Copied { key, writer, item } = copied;
        let (place, mark) = (key.place(), item.content.mark());
        // A neighbour does not move what is there to another's account.
        let writer = self.get(place, mark).map_or(writer, |kept| kept.writer);
        let source = Source { writer, peer, copied: true };
        if let Some(kept) = self.get(place, mark) {
            if kept.stamp == item.stamp || !supersedes(&item, kept, now) {
                return false;
            }
        } else if item.lease == 0 || !self.yields(place, mark, (&item, standing)) {
            return false;
        }
        // The same mark may come with another proof.
        if !(self.knows(place, &item.content) || proof::holds(&key, &item.content)) {
            return false;
        }
        self.write(place, mark, Writing { key: &key, source, item }, now, NEIGHBOUR).is_ok()
    }

    /// Whether what is there leaves room for what a neighbour holds: of two created values the one of whoever is nearer to
    /// the key stays, so that neighbours agree, and none of them overrules the root.
    fn yields(&self, place: Address, mark: Mark, (item, standing): (&Item, Standing)) -> bool {
        let Some(shelf) = self.shelves.get(&place) else { return true };
        match (shelf.alone(), &item.content) {
            (
                Some((_, Kept { content: Content::Owned { proof: ours, .. }, .. })),
                Content::Owned { proof, .. },
            ) => proof.sequence > ours.sequence,
            (Some((there, _)), Content::Created { .. }) => mark != *there && standing == Standing::Nearer,
            (Some(_), _) => false,
            (None, Content::Created { .. }) => shelf.items.is_empty(),
            (None, _) => true,
        }
    }

    /// Writes a value that may be there, in place of what must not stand beside it, if there is room.
    pub(super) fn write_created(
        &mut self,
        place: Address,
        writing: Writing<'_>,
        now: Time,
    ) -> Result<(), Denial> {
        let mark = writing.item.content.mark();
        self.write(place, mark, writing, now, STRANGER)?;
        self.fresh.push((place, mark));
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a value has a place, a mark, a writer, a time and a share"
    )]
    fn write(
        &mut self,
        place: Address,
        mark: Mark,
        writing: Writing<'_>,
        now: Time,
        share: Share,
    ) -> Result<(), Denial> {
        let Writing { key, source, item } = writing;
        let replaced = match (self.shelves.get(&place).and_then(Shelf::alone), &item.content) {
            (Some((there, _)), _) => Some(*there),
            (None, _) => None,
        };
        let replaced = replaced.or_else(|| self.get(place, mark).map(|_| mark));
        let freed = replaced.and_then(|old| self.get(place, old)).map(Freed::of);
        if !self.has_room(place, (source, cost(&item.content)), freed, share) {
            return Err(Denial::Full);
        }
        let since = self.get(place, mark).map_or(now, |kept| kept.since);
        if let Some(old) = replaced {
            self.remove(place, old);
        }
        let ends = ends(&item, now);
        self.charge(source, cost(&item.content));
        self.ends.insert((ends, place, Some(mark)));
        let shelf = self.shelves.entry(place).or_insert_with(|| Shelf::new(*key));
        let (Source { writer, peer, copied }, Item { stamp, content, .. }) = (source, item);
        shelf.items.insert(mark, Kept { stamp, ends, writer, peer, copied, content, since, token: None });
        Ok(())
    }

    /// Whether so much of a source fits in under a key, in place of what is freed. What takes no more than that always does.
    fn has_room(
        &self,
        place: Address,
        (source, more): (Source, usize),
        freed: Option<Freed>,
        share: Share,
    ) -> bool {
        let shelf = self.shelves.get(&place);
        let all = freed.map_or(0, |freed| freed.bytes);
        let own = freed.filter(|freed| freed.source.writer == source.writer).map_or(0, |freed| freed.bytes);
        let brought =
            freed.filter(|freed| freed.source.account() == source.account()).map_or(0, |freed| freed.bytes);
        let crowds = |shelf: &Shelf| {
            shelf.items.len() >= WRITER_ITEMS_PER_KEY_MAX && own == 0 && {
                let own = shelf.items.values().filter(|kept| kept.writer == source.writer).count();
                own >= WRITER_ITEMS_PER_KEY_MAX
            }
        };
        if shelf.is_some_and(crowds) {
            return false;
        }
        let key_fits = shelf.is_some() || self.shelves.len() < KEYS_MAX;
        let item_fits = freed.is_some() || shelf.is_none_or(|shelf| shelf.items.len() < ITEMS_PER_KEY_MAX);
        let fits = |used: usize, freed: usize, share: usize| more <= freed || used + more <= share + freed;
        let written = self.writers.get(&source.writer).copied().unwrap_or_default();
        let used = self.peers.get(&source.account()).copied().unwrap_or_default();
        key_fits
            && item_fits
            && fits(self.bytes, all, share.bytes)
            && fits(written, own, share.writer)
            && (all >= more || fits(used, brought, share.peer))
    }

    fn charge(&mut self, source: Source, bytes: usize) {
        self.bytes += bytes;
        *self.writers.entry(source.writer).or_default() += bytes;
        *self.peers.entry(source.account()).or_default() += bytes;
    }

    fn discharge(&mut self, source: Source, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        take_off(&mut self.writers, &source.writer, bytes);
        take_off(&mut self.peers, &source.account(), bytes);
    }

    /// A value.
    pub(super) fn get(&self, place: Address, mark: Mark) -> Option<&Kept> {
        self.shelves.get(&place)?.items.get(&mark)
    }

    pub(super) fn remove(&mut self, place: Address, mark: Mark) {
        let Some(shelf) = self.shelves.get_mut(&place) else { return };
        if let Some(kept) = shelf.items.remove(&mark) {
            self.ends.remove(&(kept.ends, place, Some(mark)));
            self.discharge(kept.source(), cost(&kept.content));
        }
        self.tidy(place);
    }

    /// Claims a key for a creator, if there is room; whoever renews needs some for the time of the claim.
    pub(super) fn insert_claim(
        &mut self,
        key: &Key,
        claim: Claimed,
        renews: Option<Mark>,
    ) -> Result<(), Denial> {
        let place = key.place();
        let bytes = ITEM_COST + claim.value.len();
        let freed = renews.and_then(|mark| self.get(place, mark)).map(Freed::of);
        let fits = self.has_room(place, (claim.source(), bytes), freed, STRANGER);
        if !fits || self.bytes + bytes > BYTES_MAX {
            return Err(Denial::Full);
        }
        self.charge(claim.source(), bytes);
        self.ends.insert((claim.ends, place, None));
        self.shelves.entry(place).or_insert_with(|| Shelf::new(*key)).claim = Some(claim);
        Ok(())
    }

    pub(super) fn remove_claim(&mut self, place: Address) {
        let Some(shelf) = self.shelves.get_mut(&place) else { return };
        if let Some(claim) = shelf.claim.take() {
            self.ends.remove(&(claim.ends, place, None));
            self.discharge(claim.source(), ITEM_COST + claim.value.len());
        }
        self.tidy(place);
    }

    /// Drops all that is under a key.
    pub(super) fn remove_shelf(&mut self, place: Address) {
        let marks = self.shelves.get(&place).map(|shelf| shelf.items.keys().copied().collect::<Vec<_>>());
        marks.unwrap_or_default().into_iter().for_each(|mark| self.remove(place, mark));
        self.remove_claim(place);
    }

    /// Drops all that is under a key if it has not been ours for so long.
    pub(super) fn remove_stray(&mut self, place: Address, span: Duration, now: Time) {
        let stray = self.shelves.get(&place).and_then(|shelf| shelf.stray);
        if stray.is_some_and(|since| since + span <= now) {
            self.remove_shelf(place);
        }
    }

    fn tidy(&mut self, place: Address) {
        if self.shelves.get(&place).is_some_and(|shelf| shelf.items.is_empty() && shelf.claim.is_none()) {
            self.shelves.remove(&place);
        }
    }

    /// The values behind a mark that fit into so many bytes; one at least, if there is any.
    pub(super) fn page(&self, place: Address, after: Option<Mark>, room: usize, now: Time) -> Page {
        let Some(shelf) = self.shelves.get(&place) else { return Page::default() };
        let from = after.map_or(Unbounded, Excluded);
        let mut page = Page::default();
        let mut left = room;
        for kept in shelf.items.range((from, Unbounded)).map(|(_, kept)| kept) {
            let item = kept.item(now);
            let len = item.wire_len();
            if page.items.len() == ITEMS_MAX || (len > left && !page.items.is_empty()) {
                page.more = true;
                break;
            }
            left = left.saturating_sub(len);
            page.items.push(item);
        }
        page
    }
}

/// Room that a write makes, by taking the place of something.
#[derive(Clone, Copy, Debug)]
struct Freed {
    source: Source,
    bytes: usize,
}

impl Freed {
    fn of(kept: &Kept) -> Self {
        Self { source: kept.source(), bytes: cost(&kept.content) }
    }
}

impl Claimed {
    /// On whose account it is.
    pub(super) fn source(&self) -> Source {
        Source { writer: self.creator, peer: self.peer, copied: false }
    }
}

impl Kept {
    fn source(&self) -> Source {
        Source { writer: self.writer, peer: self.peer, copied: self.copied }
    }

    /// The value as it goes on its way now.
    pub(super) fn item(&self, now: Time) -> Item {
        Item { stamp: self.stamp, lease: millis(self.ends, now), content: self.content.clone() }
    }
}

/// Whether a neighbour's lease for a value stands in place of ours.
fn supersedes(item: &Item, kept: &Kept, now: Time) -> bool {
    let theirs = ends(item, now);
    theirs > kept.ends + LEASE_SLACK || (theirs + LEASE_SLACK >= kept.ends && item.stamp > kept.stamp)
}

/// When the lease of an item that arrives now ends here.
fn ends(item: &Item, now: Time) -> Time {
    let signed = match &item.content {
        Content::Owned { proof, .. } => proof.lease,
        _ => u32::MAX,
    };
    now + Duration::from_millis(u64::from(item.lease.min(signed))).min(LEASE_MAX)
}

fn millis(ends: Time, now: Time) -> u32 {
    u32::try_from(ends.since(now).as_millis()).unwrap_or(u32::MAX)
}

fn cost(content: &Content) -> usize {
    let proof = match content {
        Content::Owned { proof, .. } => proof.public.len() + proof.signature.len(),
        _ => 0,
    };
    ITEM_COST + content.value().len() + proof
}
