//! Service: what is said to a peer that asks what it has missed of the group's revocations, and how its answers are put
//! together. Whoever asks sets the pace: each answer has an end, and the next one is asked for.

mod epochs;
mod subscriptions;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::connection::CONNECTIONS_MAX;
use crate::machine::Deadline;
use crate::security::{Known, LIST_MAX};
use crate::time::Time;
use crate::wire::{Address, Knowledge, ListPart, PAGE_MAX, PART_MAX, Revocation};

pub use epochs::Epochs;
pub use subscriptions::{LEASE, Subscriptions, Wish};

/// Messages that answer one question at most.
const BURST: usize = 8;
/// Bytes of the notices of one page at most.
const PAGE_BYTES: usize = 1000;
/// How long a list that comes in parts is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a list that its sender brings in a second from then on, or it makes room for another sender.
const PACE: u64 = 4000;
/// The longest wait for what a peer says that it knows, and was asked for in vain again and again: it may not be there.
const PATIENCE_MAX: Duration = Duration::from_secs(3600);
/// Parts of a list that wait for those before them, at most; one more is dropped, and asked for later.
const AHEAD_MAX: usize = 2 * BURST;
/// For how long a notice that was learnt is passed on to everybody.
const RECENT: Duration = Duration::from_secs(60);
/// Notices that are remembered as learnt lately, at most; beyond, the one that was learnt first is forgotten.
const RECENT_MAX: usize = 256;

/// How long whoever learnt something from a new peer waits before it tells the others: a broadcast is perhaps on its way to all.
const HOLD: Duration = Duration::from_secs(3);
/// For how long a peer is new.
const NEW: Duration = Duration::from_secs(5);

/// A list that comes in parts.
#[derive(Debug)]
struct Assembly {
    peer: Address,
    number: u64,
    total: u32,
    bytes: Vec<u8>,
    /// What came before its turn, by its offset.
    ahead: BTreeMap<u32, Vec<u8>>,
    /// Where the answer ends that is under way.
    burst: u32,
    since: Time,
    until: Time,
}

/// What a peer says that it knows, and we do not.
#[derive(Debug)]
struct Claim {
    /// Up to which number.
    complete: u64,
    /// Until when it is waited for, and how long then.
    until: Time,
    patience: Duration,
}

/// What to do after a part of a list.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait for more.
    Wait,
    /// Ask for what comes behind so many bytes.
    Ask(u32),
    /// It is whole; whether it is good is for others to say.
    Whole(Vec<u8>),
}

/// What one member exchanges with its peers.
#[derive(Debug, Default)]
pub struct Exchange {
    assembly: Option<Assembly>,
    /// What peers know and we do not; no more than there are connections.
    claims: BTreeMap<Address, Claim>,
    /// The numbers of notices that were learnt lately, and when.
    recent: BTreeMap<u64, Time>,
    /// When peers are told what a new one said.
    tell_at: Option<Time>,
}

/// How much is known, for a peer.
#[must_use]
pub fn knowledge(known: &Known, epochs: &Epochs) -> Knowledge {
    Knowledge { complete: known.complete(), digest: known.digest(), epoch: epochs.number() }
}

/// The answer to a peer that knows everything up to `after`, and of our list so many bytes.
#[must_use]
pub fn answer(known: &Known, after: u64, offset: u32) -> Vec<Revocation> {
    match known.list().filter(|list| list.number() > after) {
        Some(list) => parts(list.number(), list.bytes(), offset),
        None => pages(known, after),
    }
}

fn parts(number: u64, list: &[u8], offset: u32) -> Vec<Revocation> {
    let total = u32::try_from(list.len()).unwrap_or(u32::MAX);
    let rest = list.get(offset as usize..).filter(|rest| !rest.is_empty());
    // Whoever asks for what is behind the end has another list in mind.
    let (offset, rest) = rest.map_or((0, list), |rest| (offset, rest));
    let parts = rest.chunks(PART_MAX).take(BURST).zip((offset..).step_by(PART_MAX));
    parts
        .map(|(bytes, offset)| Revocation::Part(ListPart { number, total, offset, bytes: bytes.to_vec() }))
        .collect()
}

fn pages(known: &Known, after: u64) -> Vec<Revocation> {
    let mut pages: Vec<(u64, Vec<Vec<u8>>)> = Vec::new();
    let (mut room, mut is_all) = (0, true);
    for (number, notice) in known.notices_after(after) {
        let fits = notice.len() <= room && pages.last().is_some_and(|(_, page)| page.len() < PAGE_MAX);
        if !fits {
            if pages.len() == BURST {
                is_all = false;
                break;
            }
            pages.push((0, Vec::new()));
            room = PAGE_BYTES;
        }
        if let Some((last, page)) = pages.last_mut() {
            *last = number;
            page.push(notice.to_vec());
            room = room.saturating_sub(notice.len());
        }
    }
    let count = pages.len();
    let next = |at: usize, last: u64| if at + 1 == count && !is_all { last } else { 0 };
    let pages = pages.into_iter().enumerate();
    pages.map(|(at, (last, notices))| Revocation::Notices { next: next(at, last), notices }).collect()
}

impl Exchange {
    /// Takes a part of a list from a peer. One list is put together at a time; another takes its place if that one lets wait, or
    /// one that is not older if that one's sender dawdles.
    pub fn on_part(&mut self, peer: Address, part: ListPart, now: Time) -> Next {
        let is_same =
            |one: &Assembly| one.peer == peer && one.number == part.number && one.total == part.total;
        if !self.assembly.as_ref().is_some_and(is_same) {
            let keeps = |one: &Assembly| one.until > now && (part.number < one.number || !one.dawdles(now));
            let is_busy = self.assembly.as_ref().is_some_and(|one| one.peer != peer && keeps(one));
            if is_busy || part.offset != 0 || part.total as usize > LIST_MAX + usize::from(u8::MAX) + 1 {
                return Next::Wait;
            }
            self.assembly = Some(Assembly::new(peer, &part, now));
        }
        let Some(assembly) = &mut self.assembly else { return Next::Wait };
        assembly.until = now + PATIENCE;
        let next = assembly.take(part);
        if matches!(next, Next::Whole(_)) {
            self.assembly = None;
        }
        next
    }

    /// A peer that says that it knows everything up to `complete` was asked for what we lack.
    pub fn on_asked(&mut self, peer: Address, complete: u64, now: Time) {
        let patience = self.claims.get(&peer).map_or(PATIENCE, |claim| claim.patience);
        if self.claims.len() < CONNECTIONS_MAX || self.claims.contains_key(&peer) {
            self.claims.insert(peer, Claim { complete, until: now + patience, patience });
        }
    }

    /// Whether we, who know everything up to `complete`, waited in vain for what this peer knows; it is to be asked for anew.
    pub fn has_stalled(&mut self, peer: Address, complete: u64, now: Time) -> bool {
        self.claims.retain(|_, claim| claim.complete > complete);
        self.assembly.take_if(|assembly| assembly.until <= now);
        if self.assembly.as_ref().is_some_and(|one| one.peer == peer || !one.dawdles(now)) {
            return false;
        }
        let Some(claim) = self.claims.get_mut(&peer).filter(|claim| claim.until <= now) else { return false };
        claim.patience = (claim.patience * 2).min(PATIENCE_MAX);
        claim.until = now + claim.patience;
        true
    }

    /// A peer is gone, and with it what it has not said.
    pub fn on_lost(&mut self, peer: Address) {
        self.assembly.take_if(|assembly| assembly.peer == peer);
        self.claims.remove(&peer);
    }

    /// A peer that is connected since then said something new; whether it is better not to tell the others at once.
    pub fn holds(&mut self, since: Time, now: Time) -> bool {
        let is_new = since + NEW > now;
        if is_new {
            self.tell_at.get_or_insert(now + HOLD);
        }
        is_new
    }

    /// A broadcast brings everybody what was held back, if something was.
    pub fn is_spared(&mut self) -> bool {
        self.tell_at.take().is_some()
    }

    /// Whether what was held back is due.
    pub fn handle_timeout(&mut self, now: Time) -> bool {
        self.tell_at.take_if(|at| *at <= now).is_some()
    }

    /// When what was held back is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        self.tell_at.map(|at| Deadline { at, reason: "revocations" })
    }

    /// Remembers that a notice was learnt just now.
    pub fn on_learnt(&mut self, number: u64, now: Time) {
        self.recent.retain(|_, since| *since + RECENT > now);
        if self.recent.len() == RECENT_MAX {
            let first = self.recent.iter().min_by_key(|(_, since)| **since).map(|(number, _)| *number);
            first.and_then(|number| self.recent.remove(&number));
        }
        self.recent.insert(number, now);
    }

    /// Whether a notice is so new that others may not have it: an old one that is said again goes no further.
    #[must_use]
    pub fn is_recent(&self, number: u64, now: Time) -> bool {
        self.recent.get(&number).is_some_and(|since| *since + RECENT > now)
    }
}

impl Assembly {
    fn new(peer: Address, part: &ListPart, now: Time) -> Self {
        let (number, total) = (part.number, part.total);
        let (bytes, ahead, burst) = (Vec::new(), BTreeMap::new(), end_of_burst(0, total));
        Self { peer, number, total, bytes, ahead, burst, since: now, until: now }
    }

    /// Whether its sender is so slow that another one is to be preferred.
    fn dawdles(&self, now: Time) -> bool {
        let late = now.since(self.since).saturating_sub(PATIENCE);
        u64::from(self.end()) < late.as_secs().saturating_mul(PACE)
    }

    fn end(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    fn take(&mut self, part: ListPart) -> Next {
        if part.offset > self.end() && self.ahead.len() < AHEAD_MAX {
            self.ahead.insert(part.offset, part.bytes);
            return Next::Wait;
        }
        if part.offset != self.end() {
            return Next::Wait;
        }
        self.bytes.extend(part.bytes);
        while let Some(bytes) = self.ahead.remove(&self.end()) {
            self.bytes.extend(bytes);
        }
        let end = self.end();
        if end >= self.total {
            return Next::Whole(std::mem::take(&mut self.bytes));
        }
        if end < self.burst {
            return Next::Wait;
        }
        self.burst = end_of_burst(end, self.total);
        Next::Ask(end)
    }
}

fn end_of_burst(from: u32, total: u32) -> u32 {
    from.saturating_add((BURST * PART_MAX) as u32).min(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::{Mark, Notice, UserList};
    use proptest::prelude::*;

    fn peer(byte: u8) -> Address {
        Address::from_bytes([byte; Address::LEN])
    }

    fn notice(number: u64) -> Notice {
        let (group, user) = ("chess".to_owned(), format!("u{number}"));
        let (mark, digest, serials) = (Mark::default(), [0; 32], Vec::new());
        Notice { group, number, after: number - 1, at: 1, digest, mark, user, serials }
    }

    /// Somebody who knows a list up to a number, of so many bytes, and so many notices behind it.
    fn learned(listed: i64, bytes: usize, notices: u64) -> Known {
        let mut known = Known::default();
        if listed > 0 {
            let list = UserList { group: "chess".to_owned(), number: listed, ..UserList::default() };
            let bytes: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
            known.take_list(&list, &bytes).unwrap();
        }
        for number in listed as u64 + 1..=listed as u64 + notices {
            known.take(&notice(number), format!("{number:0200}").as_bytes());
        }
        known
    }

    #[test]
    fn what_a_new_peer_said_is_held_back_until_a_broadcast_brings_it_or_time_is_over() {
        let (mut exchange, linked) = (Exchange::default(), Time::from_secs(100));
        assert!(!exchange.holds(linked, linked + NEW), "an old peer");
        assert_eq!(exchange.poll_timeout(), None);
        let told = Time::from_secs(101);
        assert!(exchange.holds(linked, told));
        assert!(!exchange.handle_timeout(told));
        assert!(exchange.is_spared() && !exchange.is_spared());
        assert!(!exchange.handle_timeout(told + HOLD), "the broadcast brought it");
        assert!(exchange.holds(linked, told));
        let due = exchange.poll_timeout().unwrap().at;
        assert_eq!(due, told + HOLD);
        assert!(exchange.handle_timeout(due) && !exchange.handle_timeout(due), "once");
    }

    /// Asks until nothing more is said, as the overlay does, each answer in an order that `shuffle` makes of it.
    fn catch_up(
        from: &Known,
        mut shuffle: impl FnMut(&mut Vec<Revocation>),
    ) -> (Option<Vec<u8>>, Vec<u64>, usize) {
        let (mut exchange, mut list, mut numbers, mut asked) = (Exchange::default(), None, Vec::new(), 0);
        let mut questions = vec![(0, 0)];
        while let Some((after, offset)) = questions.pop() {
            asked += 1;
            let mut said = answer(from, after, offset);
            assert!(said.len() <= BURST);
            shuffle(&mut said);
            for one in said {
                match one {
                    Revocation::Part(part) => {
                        let number = part.number;
                        match exchange.on_part(peer(1), part, Time::ZERO) {
                            Next::Wait => {}
                            Next::Ask(offset) => questions.push((after, offset)),
                            Next::Whole(bytes) => {
                                list = Some(bytes);
                                questions.push((number, 0));
                            }
                        }
                    }
                    Revocation::Notices { next, notices } => {
                        assert!(notices.iter().map(Vec::len).sum::<usize>() <= PAGE_BYTES);
                        let read =
                            |notice: Vec<u8>| String::from_utf8(notice).unwrap().parse::<u64>().unwrap();
                        numbers.extend(notices.into_iter().map(read));
                        if next > 0 {
                            questions.push((next, 0));
                        }
                    }
                    _ => panic!("an answer is of notices or of a list"),
                }
            }
        }
        numbers.sort_unstable();
        (list, numbers, asked)
    }

    proptest! {
        #[test]
        fn whoever_asks_until_nothing_is_left_knows_all(
            listed in 0..3i64, bytes in 1..40_000usize, notices in 0..150u64, seed: u8,
        ) {
            let from = learned(listed, bytes, notices);
            let mut rng = crate::rng::Rng::new([seed; 32]);
            let (list, numbers, asked) = catch_up(&from, |said| {
                // The first part of a burst may be lost and come last.
                rng.shuffle(said);
                said.sort_by_key(|one| !matches!(one, Revocation::Part(ListPart { offset: 0, .. })));
            });
            prop_assert_eq!(list.map(|list| list.len()), (listed > 0).then_some(bytes));
            let wanted: Vec<u64> = (listed as u64 + 1..=listed as u64 + notices).collect();
            prop_assert_eq!(numbers, wanted);
            prop_assert!(asked <= 2 + bytes / (BURST * PART_MAX) + notices as usize / 32 + 1);
        }
    }

    #[test]
    fn whoever_knows_as_much_hears_nothing() {
        let known = learned(2, 10, 3);
        assert_eq!(answer(&known, 5, 0), Vec::new());
        assert_eq!(answer(&known, u64::MAX, u32::MAX), Vec::new());
        assert!(answer(&known, 0, u32::MAX).len() == 1, "an odd question has an answer all the same");
    }

    #[test]
    fn one_list_is_put_together_at_a_time_and_another_after_a_silence() {
        let part = |number, offset| ListPart { number, total: 3000, offset, bytes: vec![7; 1000] };
        let mut exchange = Exchange::default();
        assert_eq!(exchange.on_part(peer(1), part(5, 0), Time::ZERO), Next::Wait);
        assert_eq!(exchange.on_part(peer(2), part(5, 0), Time::ZERO), Next::Wait);
        assert_eq!(exchange.assembly.as_ref().unwrap().peer, peer(1));
        exchange.on_part(peer(2), part(5, 0), Time::from_secs(31));
        assert_eq!(exchange.assembly.as_ref().unwrap().peer, peer(2));
        exchange.on_part(peer(2), part(5, 1000), Time::from_secs(31));
        assert_eq!(exchange.on_part(peer(2), part(5, 2000), Time::from_secs(31)), Next::Whole(vec![7; 3000]));
        exchange.on_part(peer(2), part(6, 0), Time::from_secs(31));
        exchange.on_lost(peer(2));
        assert!(exchange.assembly.is_none());
        let huge = ListPart { total: u32::MAX, ..part(5, 0) };
        exchange.on_part(peer(2), huge, Time::ZERO);
        assert!(exchange.assembly.is_none(), "nobody makes us wait for more than a list can be");
    }

    #[test]
    fn whoever_sends_a_list_in_drops_makes_room_for_another() {
        let part = |number, offset| ListPart { number, total: 100_000, offset, bytes: vec![7; 1000] };
        let mut exchange = Exchange::default();
        let sender = |exchange: &Exchange| exchange.assembly.as_ref().unwrap().peer;
        exchange.on_asked(peer(2), 5, Time::ZERO);
        for turn in 0..3 {
            exchange.on_part(peer(1), part(5, 1000 * turn), Time::from_secs(29 * u64::from(turn)));
        }
        let early = Time::from_secs(29);
        exchange.on_part(peer(2), part(5, 0), early);
        assert!(sender(&exchange) == peer(1) && !exchange.has_stalled(peer(2), 0, early));
        let late = Time::from_secs(60);
        assert!(!exchange.has_stalled(peer(1), 0, late) && exchange.has_stalled(peer(2), 0, late));
        exchange.on_part(peer(2), part(4, 0), late);
        assert_eq!(sender(&exchange), peer(1), "an older one is of no use");
        exchange.on_part(peer(2), part(5, 0), late);
        assert_eq!(sender(&exchange), peer(2));
        // It keeps its place, being fast enough.
        for offset in 1..60 {
            exchange.on_part(peer(2), part(5, 1000 * offset), late);
        }
        let later = Time::from_secs(100);
        exchange.on_part(peer(2), part(5, 60_000), Time::from_secs(89));
        exchange.on_part(peer(1), part(5, 0), later);
        assert_eq!(sender(&exchange), peer(2));
    }

    #[test]
    fn what_a_peer_claims_in_vain_is_asked_for_ever_less_often_and_what_another_knows_at_once() {
        let mut exchange = Exchange::default();
        exchange.on_asked(peer(1), u64::MAX, Time::ZERO);
        let hours = 24;
        let mut stalled = |who, seconds| exchange.has_stalled(peer(who), 3, Time::from_secs(seconds));
        let asked = (0..hours * 3600).filter(|second| stalled(1, *second)).count() as u64;
        assert!((hours..hours + 8).contains(&asked), "{asked} times");
        let now = hours * 3600;
        assert!(!stalled(2, now));
        exchange.on_asked(peer(2), 4, Time::from_secs(now));
        let mut stalled =
            |complete, wait| exchange.has_stalled(peer(2), complete, Time::from_secs(now + wait));
        assert!(!stalled(3, 29) && stalled(3, 30) && !stalled(4, 90));
        exchange.on_lost(peer(1));
        assert!(exchange.claims.is_empty());
    }

    #[test]
    fn what_was_learnt_long_ago_is_not_recent_and_few_are_remembered() {
        let mut exchange = Exchange::default();
        for number in 0..300 {
            exchange.on_learnt(number, Time::from_secs(number / 100));
        }
        assert_eq!(exchange.recent.len(), RECENT_MAX);
        assert!(exchange.is_recent(299, Time::from_secs(3)) && !exchange.is_recent(0, Time::from_secs(3)));
        assert!(!exchange.is_recent(299, Time::from_secs(63)));
    }
}
