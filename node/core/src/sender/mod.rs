//! Service: end-to-end senders. To an application one is a way to a member that only this member can read; to the
//! security floor it is one more channel, whose datagrams the ring carries.
//!
//! It knows who is at the other end, what waits for the handshake, and when a sender is of no more use. It sends nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::buffer::Buffer;
use crate::control::Author;
use crate::machine::Deadline;
use crate::rng::Rng;
use crate::security::{ChannelId, Identity};
use crate::time::Time;
use crate::wire::{Address, EdgeId};

/// Senders of one overlay at most. Beyond, the one that was idle longest gives way; if none is idle, new ones are refused.
pub const SENDERS_MAX: usize = 256;
/// Payloads that wait for one handshake at most; beyond, the oldest is dropped.
pub const WAITING_MAX: usize = 32;

/// How long a sender that nobody uses stays.
const IDLE: Duration = Duration::from_secs(300);
/// How long a sender must be idle before it gives way to a new one.
const IDLE_ENOUGH: Duration = Duration::from_secs(10);
/// Sending into a silence this long asks the peer whether it is still there.
const SILENCE: Duration = Duration::from_secs(5);
/// Questions without an answer before the association is given up, and the time between them.
const ASKS_MAX: u32 = 4;
const ASK_WAIT: Duration = Duration::from_millis(1500);

/// What an end-to-end record says, in its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Note {
    /// The rest is the application's.
    Data = 0,
    /// Are you there?
    Ask = 1,
    /// Here I am.
    Answer = 2,
    /// The sender forgets the association.
    Close = 3,
}

impl Note {
    /// From the wire; none for a byte without a meaning.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Data, Self::Ask, Self::Answer, Self::Close].into_iter().find(|note| *note as u8 == byte)
    }
}

/// One end of an end-to-end association.
#[derive(Debug)]
pub struct Sender {
    /// The member at the other end, as packets name it; proved once `author` is there.
    pub peer: Address,
    /// The peer's id of the association; 0 before it is known.
    pub remote: EdgeId,
    /// Who the peer proved to be.
    pub author: Option<Arc<Author>>,
    /// The same with the end of its membership, if an authority vouches for it.
    pub identity: Option<Box<Identity>>,
    initiated: bool,
    waiting: VecDeque<Buffer>,
    used: Time,
    heard: Time,
    asks: u32,
    ask_at: Option<Time>,
}

impl Sender {
    fn new(peer: Address, remote: Option<EdgeId>, now: Time) -> Self {
        Self {
            peer,
            remote: remote.unwrap_or_default(),
            author: None,
            identity: None,
            initiated: remote.is_none(),
            waiting: VecDeque::new(),
            used: now,
            heard: now,
            asks: 0,
            ask_at: None,
        }
    }

    fn due(&self) -> Time {
        let idle = self.used + IDLE;
        self.ask_at.map_or(idle, |at| at.min(idle))
    }

    /// Keeps a payload until the handshake is complete. The oldest one that had to give way.
    pub fn wait(&mut self, payload: Buffer) -> Option<Buffer> {
        let oldest = if self.waiting.len() == WAITING_MAX { self.waiting.pop_front() } else { None };
        self.waiting.push_back(payload);
        oldest
    }

    /// What waited, the oldest first.
    pub fn take_waiting(&mut self) -> VecDeque<Buffer> {
        std::mem::take(&mut self.waiting)
    }

    /// A payload of the application goes out. If the peer has been silent for long, it is asked soon.
    pub fn on_sent(&mut self, now: Time) {
        self.used = now;
        if self.ask_at.is_none() && self.heard + SILENCE <= now {
            self.ask_at = Some(now);
        }
    }

    /// Anything authentic came from the peer.
    pub fn on_heard(&mut self, now: Time) {
        self.heard = now;
        (self.asks, self.ask_at) = (0, None);
    }

    /// A payload of the application came in.
    pub fn on_received(&mut self, now: Time) {
        self.used = now;
    }
}

/// What the timer wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Ask the peer whether it is there.
    Ask(ChannelId),
    /// Nobody used it: say goodbye and forget it.
    Close(ChannelId),
    /// The peer does not answer: forget it.
    Forget(ChannelId),
}

/// All senders of one member in one overlay.
#[derive(Debug)]
pub struct Senders {
    own: Address,
    rng: Rng,
    list: BTreeMap<ChannelId, Sender>,
    /// Nothing is due before this.
    due: Time,
}

impl Senders {
    /// No sender yet.
    #[must_use]
    pub fn new(own: Address, rng: &Rng) -> Self {
        Self { own, rng: rng.fork("sender"), list: BTreeMap::new(), due: Time::MAX }
    }

    /// A new sender; `remote` is the peer's id if the peer began. None if all are in use.
    pub fn insert(&mut self, peer: Address, remote: Option<EdgeId>, now: Time) -> Option<ChannelId> {
        if self.list.len() >= SENDERS_MAX {
            return None;
        }
        let channel = loop {
            let channel = ChannelId(self.rng.next_u32());
            if channel.0 != 0 && !self.list.contains_key(&channel) {
                break channel;
            }
        };
        let sender = Sender::new(peer, remote, now);
        self.due = self.due.min(sender.due());
        self.list.insert(channel, sender);
        Some(channel)
    }

    /// The sender that has been idle longest, if the table is full and it was idle for long enough.
    #[must_use]
    pub fn surplus(&self, now: Time) -> Option<ChannelId> {
        if self.list.len() < SENDERS_MAX {
            return None;
        }
        let (channel, sender) = self.list.iter().min_by_key(|(_, sender)| sender.used)?;
        (sender.used + IDLE_ENOUGH <= now).then_some(*channel)
    }

    /// The sender to a member: of several that which both ends prefer, the one that the lower address began; one whose
    /// handshake is complete comes first.
    #[must_use]
    pub fn to(&self, peer: Address) -> Option<ChannelId> {
        let lower_is_us = self.own < peer;
        let preferred = |sender: &Sender| (sender.author.is_some(), sender.initiated == lower_is_us);
        let mine = self.list.iter().filter(|(_, sender)| sender.peer == peer);
        mine.max_by_key(|(_, sender)| preferred(sender)).map(|(channel, _)| *channel)
    }

    /// The sender that a handshake from this member with this id of its own belongs to.
    #[must_use]
    pub fn find(&self, peer: Address, remote: EdgeId) -> Option<ChannelId> {
        let same = |sender: &Sender| sender.peer == peer && sender.remote == remote;
        self.list.iter().find(|(_, sender)| same(sender)).map(|(channel, _)| *channel)
    }

    /// A sender.
    #[must_use]
    pub fn get(&self, channel: ChannelId) -> Option<&Sender> {
        self.list.get(&channel)
    }

    /// A sender, to change.
    pub fn get_mut(&mut self, channel: ChannelId) -> Option<&mut Sender> {
        // Whatever is done to it may make it due now at the earliest.
        let sender = self.list.get_mut(&channel)?;
        self.due = Time::ZERO;
        Some(sender)
    }

    /// Forgets a sender.
    pub fn remove(&mut self, channel: ChannelId) -> Option<Sender> {
        self.list.remove(&channel)
    }

    /// Every sender with its channel.
    pub fn iter(&self) -> impl Iterator<Item = (ChannelId, &Sender)> {
        self.list.iter().map(|(channel, sender)| (*channel, sender))
    }

    /// Every channel.
    pub fn channels(&self) -> impl Iterator<Item = ChannelId> {
        self.list.keys().copied()
    }

    /// Senders whose handshake is complete.
    #[must_use]
    pub fn complete(&self) -> usize {
        self.list.values().filter(|sender| sender.author.is_some()).count()
    }

    /// Brings the earliest due time up to date. Call it before [`Senders::poll_timeout`].
    pub fn refresh(&mut self) {
        if self.due == Time::ZERO {
            self.due = self.list.values().map(Sender::due).min().unwrap_or(Time::MAX);
        }
    }

    /// The next thing that is due, one a call.
    pub fn handle_timeout(&mut self, now: Time) -> Option<Wanted> {
        self.refresh();
        if self.due > now {
            return None;
        }
        self.due = Time::ZERO;
        let (channel, sender) = self.list.iter_mut().find(|(_, sender)| sender.due() <= now)?;
        if sender.used + IDLE <= now {
            return Some(Wanted::Close(*channel));
        }
        if sender.asks == ASKS_MAX {
            return Some(Wanted::Forget(*channel));
        }
        sender.asks += 1;
        sender.ask_at = Some(now + self.rng.jitter(ASK_WAIT, 0.2));
        Some(Wanted::Ask(*channel))
    }

    /// When something is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        (self.due < Time::MAX).then_some(Deadline { at: self.due, reason: "end-to-end sender" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Pool;

    fn at(byte: u8) -> Address {
        Address::from_bytes([byte; Address::LEN])
    }

    fn senders() -> Senders {
        Senders::new(at(5), &Rng::new([1; 32]))
    }

    #[test]
    fn both_ends_prefer_the_sender_that_the_lower_address_began() {
        let mut low = Senders::new(at(1), &Rng::new([1; 32]));
        let (began, answered) =
            (low.insert(at(9), None, Time::ZERO), low.insert(at(9), Some(EdgeId(7)), Time::ZERO));
        assert_eq!(low.to(at(9)), began);
        let mut high = Senders::new(at(9), &Rng::new([2; 32]));
        let (_, theirs) =
            (high.insert(at(1), None, Time::ZERO), high.insert(at(1), Some(EdgeId(7)), Time::ZERO));
        assert_eq!(high.to(at(1)), theirs);
        let complete = answered.and_then(|channel| low.get_mut(channel)).expect("it is there");
        complete.author = Some(Arc::new(Author { address: at(9), user: None, group: None }));
        assert_eq!(low.to(at(9)), answered, "the complete one comes first");
    }

    #[test]
    fn a_full_table_gives_up_only_what_is_idle() {
        let mut senders = senders();
        for _ in 0..SENDERS_MAX {
            assert!(senders.insert(at(1), None, Time::ZERO).is_some());
        }
        assert!(senders.insert(at(2), None, Time::ZERO).is_none());
        assert_eq!(senders.surplus(Time::from_secs(1)), None);
        let idle = senders.surplus(Time::from_secs(60)).expect("all are idle");
        senders.remove(idle);
        assert!(senders.insert(at(2), None, Time::ZERO).is_some());
    }

    #[test]
    fn a_silent_peer_is_asked_and_then_forgotten() {
        let mut senders = senders();
        let channel = senders.insert(at(1), None, Time::ZERO).expect("there is room");
        let now = Time::from_secs(20);
        senders.get_mut(channel).expect("it is there").on_sent(now);
        let mut asks = 0;
        let end = loop {
            senders.refresh();
            let now = senders.poll_timeout().expect("something is due").at;
            match senders.handle_timeout(now) {
                Some(Wanted::Ask(_)) => asks += 1,
                Some(other) => break (now, other),
                None => {}
            }
        };
        assert_eq!((asks, end.1), (ASKS_MAX, Wanted::Forget(channel)));
        assert!(end.0 < Time::from_secs(30), "{}", end.0);
    }

    #[test]
    fn what_waits_is_bounded_and_the_oldest_gives_way() {
        let pool = Pool::new();
        let mut sender = Sender::new(at(1), None, Time::ZERO);
        for number in 0..WAITING_MAX {
            assert!(sender.wait(pool.copy(&[number as u8])).is_none());
        }
        assert_eq!(sender.wait(pool.copy(b"x")).as_deref(), Some(&[0][..]));
        assert_eq!(sender.take_waiting().len(), WAITING_MAX);
    }
}
