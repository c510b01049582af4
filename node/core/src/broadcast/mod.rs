//! Service: a payload for all members of a range (the paper's bounded broadcast, section V-A), with an answer for each
//! range that was handed on. Whoever handed one on hears that it is covered, or covers it in another way.
//!
//! The answer is sent once and carries the acknowledgement of the datagram that it answers, so that most members cost two
//! datagrams. One that is lost is asked for again, without the payload, and given again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::machine::Deadline;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::{Address, Broadcast, BroadcastId, Covered, Range, Uncovered};

/// Ranges that are pursued, or were covered lately, at most; for one more the oldest of the latter is forgotten, else the
/// oldest of all given up.
pub const UNDER_WAY_MAX: usize = 64;
/// Broadcasts that are remembered so that they are delivered once, at most; the oldest is forgotten.
pub const SEEN_MAX: usize = 1024;
/// How long one is remembered.
const MEMORY: Duration = Duration::from_secs(600);
/// How long a range may take at least before its peer is doubted, and asked again.
const DOUBT: Duration = Duration::from_secs(3);
/// How much longer the ranges of the origin may take; each hop takes a third off. Whoever waits for one who waits for others
/// lets that one ask first.
const DOUBT_MORE: Duration = Duration::from_secs(4);
/// How long a broadcast is pursued.
const GIVE_UP: Duration = Duration::from_secs(60);
/// Hops that a range is handed on at most.
const HOPS_MAX: u8 = 64;

/// A range that a peer was asked to cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    peer: Address,
    /// How the peer names it to us.
    number: u16,
    range: Range,
    doubt_at: Time,
    /// How often it has been asked again.
    doubts: u32,
}

/// A range that we were asked to cover, or want covered.
#[derive(Debug)]
struct Task {
    message: Broadcast,
    /// Who wants to hear; nobody if it is our own.
    asker: Option<Address>,
    parts: Vec<Part>,
    members: u32,
    /// It was covered and is kept in case that the answer was lost.
    is_over: bool,
    until: Time,
}

/// What the service wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Hand this on to a peer.
    Send(Address, Broadcast),
    /// Ask a peer that has it whether its range is covered.
    Ask(Address, Uncovered),
    /// Tell a peer that its range is covered.
    Tell(Address, Covered),
    /// Ask a peer whether it lives.
    Doubt(Address),
    /// Our own broadcast reached so many members besides us; all of them if it is complete.
    Done {
        /// Which.
        id: BroadcastId,
        /// Members that have it.
        members: u32,
        /// Whether every range was covered.
        complete: bool,
    },
}

/// The broadcasts of one member.
#[derive(Debug)]
pub struct Broadcasts {
    own: Address,
    rng: Rng,
    /// When each was first seen, and whether it was for us.
    seen: BTreeMap<BroadcastId, (Time, bool)>,
    tasks: Vec<Task>,
    /// The number of the next part.
    next: u16,
    wanted: Vec<Wanted>,
}

impl Broadcasts {
    /// A member that has said and heard nothing.
    #[must_use]
    pub fn new(own: Address, rng: &Rng) -> Self {
        let (seen, tasks, next, wanted) = Default::default();
        Self { own, rng: rng.fork("broadcast"), seen, tasks, next, wanted }
    }

    /// Begins a broadcast; `peers` are those that it may be handed to, in any order.
    pub fn begin(&mut self, range: Range, payload: Vec<u8>, peers: &[Address], now: Time) -> BroadcastId {
        let id = BroadcastId(self.rng.next_u64());
        self.remember(id, true, now);
        let message = Broadcast { id, origin: self.own, part: 0, range, hop_limit: HOPS_MAX, payload };
        self.take_on(message, None, peers, now);
        id
    }

    /// A peer asks to cover a range. True if the payload is new and for us.
    pub fn on_message(&mut self, from: Address, message: Broadcast, peers: &[Address], now: Time) -> bool {
        let same = |task: &Task| task.message.id == message.id && task.message.range == message.range;
        if let Some(task) = self.tasks.iter_mut().find(|task| same(task)) {
            // Asked again because the answer was lost or is not due, or by somebody else after the first one died.
            (task.asker, task.message.part) = (Some(from), message.part);
            if task.is_over {
                self.wanted.push(ended(task, true));
            }
            return false;
        }
        let delivered = self.seen.get(&message.id).is_some_and(|(_, delivered)| *delivered);
        let is_for_us = !delivered && message.range.contains(self.own);
        self.remember(message.id, delivered || is_for_us, now);
        // Whoever began it, and whoever hands it to us, has it.
        let others: Vec<Address> =
            peers.iter().copied().filter(|peer| *peer != from && *peer != message.origin).collect();
        self.take_on(message, Some(from), &others, now);
        is_for_us
    }

    fn remember(&mut self, id: BroadcastId, delivered: bool, now: Time) {
        if let Some(seen) = self.seen.get_mut(&id) {
            seen.1 = delivered;
            return;
        }
        if self.seen.len() >= SEEN_MAX {
            self.seen.retain(|_, (since, _)| *since + MEMORY > now);
        }
        if self.seen.len() >= SEEN_MAX {
            let oldest = self.seen.iter().min_by_key(|(_, (since, _))| *since).map(|(id, _)| *id);
            oldest.and_then(|id| self.seen.remove(&id));
        }
        self.seen.insert(id, (now, delivered));
    }

    fn take_on(&mut self, message: Broadcast, asker: Option<Address>, peers: &[Address], now: Time) {
        if self.tasks.len() >= UNDER_WAY_MAX {
            let over = self.tasks.iter().position(|task| task.is_over);
            self.tasks.remove(over.unwrap_or(0));
        }
        let members = u32::from(asker.is_some() && message.range.contains(self.own));
        let range = message.range;
        let (parts, is_over, until) = (Vec::new(), false, now + GIVE_UP);
        let mut task = Task { message, asker, parts, members, is_over, until };
        self.hand_on(&mut task, range, peers, now);
        self.tasks.push(task);
        self.finish();
    }

    /// Shares a range among the peers in it: each covers what lies between it and the next, the first one also what lies
    /// before it. If none is in it, the peer that is nearest to it does better than we.
    fn hand_on(&mut self, task: &mut Task, range: Range, peers: &[Address], now: Time) {
        let Some(hop_limit) = task.message.hop_limit.checked_sub(1) else { return };
        let mut stops: Vec<Address> =
            peers.iter().copied().chain([self.own]).filter(|stop| range.contains(*stop)).collect();
        stops.sort_by_key(|stop| range.from.clockwise(*stop));
        stops.dedup();
        if stops.is_empty() {
            let nearest = peers.iter().copied().min_by_key(|peer| peer.distance(range.from));
            stops.extend(nearest.filter(|peer| peer.distance(range.from) < self.own.distance(range.from)));
        }
        let bounds = [range.from].into_iter().chain(stops.iter().skip(1).copied());
        let ends = stops.iter().skip(1).copied().chain([range.to]);
        for ((peer, from), to) in stops.iter().zip(bounds).zip(ends) {
            // Between us and the next there is nobody: we would be connected.
            if *peer == self.own {
                continue;
            }
            let (range, number) = (Range { from, to }, self.next);
            self.next = self.next.wrapping_add(1);
            let part = Part { peer: *peer, number, range, doubt_at: now + patience(hop_limit), doubts: 0 };
            self.wanted.push(Wanted::Send(*peer, asking(&task.message, &part, hop_limit)));
            task.parts.push(part);
        }
    }

    /// A peer waits for a range that it asked us to cover.
    pub fn on_uncovered(&mut self, from: Address, uncovered: Uncovered) {
        let is_it = |task: &&Task| {
            task.is_over
                && task.asker == Some(from)
                && (task.message.id, task.message.part) == (uncovered.id, uncovered.part)
        };
        if let Some(task) = self.tasks.iter().find(is_it) {
            self.wanted.push(ended(task, true));
        }
    }

    /// A peer covered its range.
    pub fn on_covered(&mut self, from: Address, covered: Covered) {
        for task in &mut self.tasks {
            let is_it = |part: &Part| part.peer == from && part.number == covered.part;
            if let Some(at) = task.parts.iter().position(is_it) {
                task.parts.remove(at);
                task.members = task.members.saturating_add(covered.members);
                break;
            }
        }
        self.finish();
    }

    /// A peer is gone: what it was to cover is shared among the others.
    pub fn on_lost(&mut self, peer: Address, peers: &[Address], now: Time) {
        let mut tasks = std::mem::take(&mut self.tasks);
        for task in &mut tasks {
            let lost: Vec<Range> =
                task.parts.iter().filter(|part| part.peer == peer).map(|part| part.range).collect();
            task.parts.retain(|part| part.peer != peer);
            let asker = task.asker;
            let others: Vec<Address> =
                peers.iter().copied().filter(|one| *one != peer && Some(*one) != asker).collect();
            for range in lost {
                self.hand_on(task, range, &others, now);
            }
        }
        self.tasks = tasks;
        self.finish();
    }

    /// Answers for every range that is covered.
    fn finish(&mut self) {
        for task in self.tasks.iter_mut().filter(|task| task.parts.is_empty() && !task.is_over) {
            task.is_over = true;
            self.wanted.push(ended(task, true));
        }
        self.tasks.retain(|task| !task.is_over || task.asker.is_some());
    }

    /// Doubts peers that let wait, and gives up what took too long.
    pub fn handle_timeout(&mut self, now: Time) {
        for task in self.tasks.extract_if(.., |task| task.until <= now) {
            if task.asker.is_none() {
                self.wanted.push(ended(&task, false));
            }
        }
        for task in &mut self.tasks {
            let hop_limit = task.message.hop_limit.saturating_sub(1);
            for part in task.parts.iter_mut().filter(|part| part.doubt_at <= now) {
                part.doubt_at = now + DOUBT;
                part.doubts += 1;
                self.wanted.push(Wanted::Doubt(part.peer));
                // It has the payload, or its edge would be lost; unless it forgot.
                self.wanted.push(if part.doubts == 1 {
                    Wanted::Ask(part.peer, Uncovered { id: task.message.id, part: part.number })
                } else {
                    Wanted::Send(part.peer, asking(&task.message, part, hop_limit))
                });
            }
        }
    }

    /// Answers a peer that its part is covered, and does nothing about it.
    pub fn decline(&mut self, from: Address, message: &Broadcast) {
        self.wanted.push(Wanted::Tell(from, Covered { part: message.part, members: 0 }));
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Wanted> {
        (!self.wanted.is_empty()).then(|| self.wanted.remove(0))
    }

    /// When a peer is doubted, or a broadcast given up.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let doubts = self.tasks.iter().flat_map(|task| &task.parts).map(|part| part.doubt_at);
        let ends = self.tasks.iter().map(|task| task.until);
        doubts.chain(ends).min().map(|at| Deadline { at, reason: "broadcast" })
    }
}

/// How long a peer may take that may hand a range on over so many hops.
fn patience(hop_limit: u8) -> Duration {
    let hops = HOPS_MAX.saturating_sub(hop_limit).saturating_sub(1);
    DOUBT + DOUBT_MORE.mul_f64((2.0 / 3.0_f64).powi(i32::from(hops)))
}

/// What a peer is asked that is to cover a part.
fn asking(message: &Broadcast, part: &Part, hop_limit: u8) -> Broadcast {
    Broadcast { part: part.number, range: part.range, hop_limit, ..message.clone() }
}

fn ended(task: &Task, complete: bool) -> Wanted {
    let (id, members) = (task.message.id, task.members);
    match task.asker {
        Some(asker) => Wanted::Tell(asker, Covered { part: task.message.part, members }),
        None => Wanted::Done { id, members, complete },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeSet, VecDeque};

    fn at(number: u8) -> Address {
        let mut bytes = [0; Address::LEN];
        bytes[0] = number;
        Address::from_bytes(bytes)
    }

    /// Members that know their neighbours and some others.
    struct Town {
        members: BTreeMap<Address, (Broadcasts, Vec<Address>)>,
        mail: VecDeque<(Address, Wanted)>,
        heard: Vec<Address>,
        done: Option<(u32, bool)>,
    }

    impl Town {
        fn new(numbers: &BTreeSet<u8>, far: usize) -> Self {
            let all: Vec<Address> = numbers.iter().map(|number| at(*number)).collect();
            let peers = |own: usize| -> Vec<Address> {
                let steps = [1, 2, all.len() - 1, all.len().saturating_sub(2), far % all.len()];
                let peers: BTreeSet<Address> =
                    steps.into_iter().map(|step| all[(own + step) % all.len()]).collect();
                peers.into_iter().filter(|peer| *peer != all[own]).collect()
            };
            let member = |own: usize| {
                let rng = crate::rng::Rng::new([own as u8; 32]);
                (all[own], (Broadcasts::new(all[own], &rng), peers(own)))
            };
            let members = (0..all.len()).map(member).collect();
            Self { members, mail: VecDeque::new(), heard: Vec::new(), done: None }
        }

        fn collect(&mut self, own: Address) {
            let Some((member, _)) = self.members.get_mut(&own) else { return };
            while let Some(wanted) = member.poll() {
                self.mail.push_back((own, wanted));
            }
        }

        fn deliver(&mut self, from: Address, wanted: Wanted) {
            let to = match wanted {
                Wanted::Send(to, message) => {
                    let Some((member, peers)) = self.members.get_mut(&to) else { return };
                    if member.on_message(from, message, peers, Time::ZERO) {
                        self.heard.push(to);
                    }
                    to
                }
                Wanted::Tell(to, covered) => {
                    let Some((member, _)) = self.members.get_mut(&to) else { return };
                    member.on_covered(from, covered);
                    to
                }
                Wanted::Done { members, complete, .. } => {
                    self.done = Some((members, complete));
                    return;
                }
                Wanted::Doubt(_) | Wanted::Ask(..) => return,
            };
            self.collect(to);
        }

        fn run(&mut self) {
            while let Some((from, wanted)) = self.mail.pop_front() {
                self.deliver(from, wanted);
            }
        }

        /// A member dies: its neighbours close the ring and hear of it.
        fn bury(&mut self, dead: Address) {
            self.members.remove(&dead);
            let all: Vec<Address> = self.members.keys().copied().collect();
            for (own, (_, peers)) in &mut self.members {
                let at = all.binary_search(own).unwrap();
                for step in [1, 2, all.len() - 1, all.len().saturating_sub(2)] {
                    peers.push(all[(at + step) % all.len()]);
                }
                peers.retain(|peer| *peer != dead && peer != own);
            }
            for own in all {
                let (member, peers) = self.members.get_mut(&own).unwrap();
                member.on_lost(dead, &peers.clone(), Time::ZERO);
                self.collect(own);
            }
        }
    }

    proptest! {
        #[test]
        fn everybody_in_the_range_hears_it_once_and_nobody_else(
            numbers in prop::collection::btree_set(any::<u8>(), 2..40), far: usize, from: u8, to: u8,
        ) {
            let mut town = Town::new(&numbers, far);
            let range = Range { from: at(from), to: at(to) };
            let own = at(*numbers.first().unwrap());
            let (member, peers) = town.members.get_mut(&own).unwrap();
            member.begin(range, b"news".to_vec(), &peers.clone(), Time::ZERO);
            town.collect(own);
            town.run();
            let mut heard = town.heard.clone();
            heard.sort();
            let wanted: Vec<Address> =
                numbers.iter().map(|number| at(*number)).filter(|one| *one != own && range.contains(*one)).collect();
            prop_assert_eq!(&heard, &wanted);
            prop_assert_eq!(town.done, Some((wanted.len() as u32, true)));
        }

        #[test]
        fn whoever_dies_with_a_range_takes_nobody_along(
            numbers in prop::collection::btree_set(any::<u8>(), 6..40), far: usize, steps in 0..60usize, victim: usize,
        ) {
            let mut town = Town::new(&numbers, far);
            let own = at(*numbers.first().unwrap());
            let (member, peers) = town.members.get_mut(&own).unwrap();
            member.begin(Range::all(own), b"news".to_vec(), &peers.clone(), Time::ZERO);
            town.collect(own);
            for _ in 0..steps {
                let Some((from, wanted)) = town.mail.pop_front() else { break };
                town.deliver(from, wanted);
            }
            let dead = at(*numbers.iter().nth(1 + victim % (numbers.len() - 1)).unwrap());
            town.bury(dead);
            town.run();
            let heard: BTreeSet<Address> = town.heard.iter().copied().filter(|one| *one != dead).collect();
            let wanted: BTreeSet<Address> =
                numbers.iter().map(|number| at(*number)).filter(|one| *one != own && *one != dead).collect();
            prop_assert_eq!(heard, wanted);
        }
    }

    #[test]
    fn a_peer_that_lets_wait_is_doubted_and_in_the_end_given_up() {
        let mut member = Broadcasts::new(at(1), &crate::rng::Rng::new([1; 32]));
        let id = member.begin(Range::all(at(1)), b"news".to_vec(), &[at(9)], Time::ZERO);
        let Some(Wanted::Send(_, Broadcast { part, .. })) = member.poll() else { panic!("nobody is told") };
        member.handle_timeout(Time::from_secs(7));
        assert_eq!(member.poll(), Some(Wanted::Doubt(at(9))));
        assert_eq!(member.poll(), Some(Wanted::Ask(at(9), Uncovered { id, part })));
        member.handle_timeout(Time::from_secs(10));
        assert_eq!(member.poll(), Some(Wanted::Doubt(at(9))));
        assert!(matches!(member.poll(), Some(Wanted::Send(to, _)) if to == at(9)), "perhaps it forgot");
        member.handle_timeout(Time::from_secs(61));
        assert!(matches!(member.poll(), Some(Wanted::Done { members: 0, complete: false, .. })));
        assert!(member.poll_timeout().is_none());
    }

    #[test]
    fn whoever_hands_a_range_on_further_waits_less_long() {
        let waits: Vec<Duration> = (0..HOPS_MAX).rev().map(patience).collect();
        assert_eq!(waits[0], DOUBT + DOUBT_MORE);
        assert!(waits.is_sorted_by(|sooner, later| sooner >= later) && waits[5] < DOUBT + DOUBT_MORE / 5);
        assert!(waits.iter().all(|wait| *wait >= DOUBT));
    }

    #[test]
    fn whoever_is_asked_again_answers_again_and_hands_nothing_on() {
        let mut member = Broadcasts::new(at(5), &crate::rng::Rng::new([1; 32]));
        let (id, range) = (BroadcastId(7), Range { from: at(5), to: at(9) });
        let message =
            Broadcast { id, origin: at(1), part: 3, range, hop_limit: 9, payload: b"news".to_vec() };
        assert!(member.on_message(at(1), message.clone(), &[at(1), at(7)], Time::ZERO));
        let Some(Wanted::Send(to, part)) = member.poll() else { panic!("somebody is in the range") };
        assert_eq!((to, member.poll()), (at(7), None));
        member.on_covered(at(7), Covered { part: part.part, members: 1 });
        let answer = |part| Some(Wanted::Tell(at(1), Covered { part, members: 2 }));
        assert_eq!(member.poll(), answer(3));
        assert!(!member.on_message(at(1), Broadcast { part: 4, ..message }, &[at(1), at(7)], Time::ZERO));
        assert_eq!((member.poll(), member.poll()), (answer(4), None));
        for (from, part) in [(at(1), 3), (at(2), 4), (at(1), 4)] {
            member.on_uncovered(from, Uncovered { id, part });
        }
        assert_eq!((member.poll(), member.poll()), (answer(4), None), "the question of the asker alone");
        member.handle_timeout(Time::from_secs(61));
        assert!(member.poll_timeout().is_none(), "it is forgotten in the end");
    }
}
