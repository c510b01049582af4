//! The engine without security: the shape of a handshake, and records that are their payloads.
//!
//! ```text
//! hello   1 | claimed address 20 | target address 20 | proof 8   (target 0: anyone; proof 0: none yet)
//! retry   2 | cookie 8
//! accept  3 | address 20
//! ```
//! A claimed address is believed. Nothing here protects anybody: experiments compare with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::{Action, Admission, ChannelId, CookieJar, Down, Engine, Intent, Knock, SendError};
use crate::buffer::{Buffer, Pool};
use crate::counters::DropReason;
use crate::machine::Deadline;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::Address;
use crate::wire::codec::{Malformed, Reader, Write as _};

const HELLO: u8 = 1;
const RETRY: u8 = 2;
const ACCEPT: u8 = 3;

/// First wait for an answer to a hello; it grows by half each time, with jitter.
const HELLO_WAIT: Duration = Duration::from_millis(400);
/// Hellos before the peer counts as silent (about 8 s).
const HELLOS_MAX: u32 = 6;
/// Retries that one attempt follows, so that a liar cannot keep it busy.
const RETRIES_MAX: u32 = 2;

/// Actions that a drained queue has room for.
const ACTIONS_KEPT: usize = 16;

#[derive(Debug)]
struct Dial {
    intent: Intent,
    proof: u64,
    hellos: u32,
    retries: u32,
    wait: Duration,
    due: Time,
}

struct Hello {
    claimed: Address,
    target: Address,
    proof: u64,
}

/// No security at all.
#[derive(Debug)]
pub struct Plain {
    address: Address,
    nobody: Address,
    pool: Pool,
    rng: Rng,
    jar: CookieJar,
    dials: BTreeMap<ChannelId, Dial>,
    up: BTreeSet<ChannelId>,
    /// No hello is due before this.
    due: Time,
    actions: VecDeque<Action>,
}

impl Plain {
    /// The engine of the member with this address.
    #[must_use]
    pub fn new(address: Address, pool: Pool, rng: &Rng, now: Time) -> Self {
        Self {
            address,
            nobody: Address::from_bytes([0; Address::LEN]),
            pool,
            rng: rng.fork("plain"),
            jar: CookieJar::new(rng.fork("cookie"), now),
            dials: BTreeMap::new(),
            up: BTreeSet::new(),
            due: Time::MAX,
            actions: VecDeque::new(),
        }
    }

    fn say_hello(&mut self, channel: ChannelId, now: Time) {
        let Some(dial) = self.dials.get_mut(&channel) else { return };
        dial.due = now + self.rng.jitter(dial.wait, 0.15);
        self.due = self.due.min(dial.due);
        dial.wait = dial.wait.mul_f64(1.5);
        dial.hellos += 1;
        let mut hello = self.pool.take(49);
        hello.put_u8(HELLO);
        hello.put_address(self.address);
        hello.put_address(dial.intent.target.unwrap_or(self.nobody));
        hello.put_u64(dial.proof);
        self.actions.push_back(Action::Handshake(channel, hello));
    }

    fn say_accept(&mut self, channel: ChannelId) {
        let mut accept = self.pool.take(21);
        accept.put_u8(ACCEPT);
        accept.put_address(self.address);
        self.actions.push_back(Action::Handshake(channel, accept));
    }

    fn on_retry(&mut self, channel: ChannelId, cookie: u64, now: Time) {
        let Some(dial) = self.dials.get_mut(&channel) else { return };
        if dial.retries == RETRIES_MAX {
            return;
        }
        dial.retries += 1;
        dial.proof = cookie;
        self.say_hello(channel, now);
    }

    fn on_accept(&mut self, channel: ChannelId, peer: Address) {
        let Some(dial) = self.dials.get(&channel) else { return };
        if peer == self.address || dial.intent.target.is_some_and(|target| target != peer) {
            self.dials.remove(&channel);
            self.actions.push_back(Action::Down(channel, Down::WrongMember));
            return;
        }
        self.dials.remove(&channel);
        self.up.insert(channel);
        self.actions.push_back(Action::Up(channel, peer));
    }
}

fn read_hello(datagram: &[u8]) -> Result<Hello, Malformed> {
    let mut reader = Reader::new(datagram);
    if reader.u8()? != HELLO {
        return Err(Malformed);
    }
    let hello = Hello { claimed: reader.address()?, target: reader.address()?, proof: reader.u64()? };
    reader.end()?;
    Ok(hello)
}

impl Engine for Plain {
    fn connect(&mut self, channel: ChannelId, intent: Intent, now: Time) {
        let proof = intent.token.unwrap_or(0);
        let dial = Dial { intent, proof, hellos: 0, retries: 0, wait: HELLO_WAIT, due: now };
        self.dials.insert(channel, dial);
        self.say_hello(channel, now);
    }

    fn admit(&mut self, knock: Knock<'_>, token_known: &dyn Fn(u64) -> bool, now: Time) -> Admission {
        let Ok(hello) = read_hello(knock.datagram) else { return Admission::Drop(DropReason::Malformed) };
        let for_us = hello.target == self.address || hello.target == self.nobody;
        if !for_us || hello.claimed == self.address {
            return Admission::Drop(DropReason::WrongMember);
        }
        if hello.proof != 0 && (token_known(hello.proof) || self.jar.check(knock.source, hello.proof, now)) {
            return Admission::Accept;
        }
        let mut retry = self.pool.take(9);
        retry.put_u8(RETRY);
        retry.put_u64(self.jar.make(knock.source, now));
        Admission::Answer(retry)
    }

    fn accept(&mut self, channel: ChannelId, datagram: &[u8], _now: Time) {
        let Ok(hello) = read_hello(datagram) else { return };
        self.up.insert(channel);
        self.say_accept(channel);
        self.actions.push_back(Action::Up(channel, hello.claimed));
    }

    fn handshake(&mut self, channel: ChannelId, datagram: &[u8], now: Time) {
        let mut reader = Reader::new(datagram);
        match reader.u8() {
            Ok(HELLO) if self.up.contains(&channel) => self.say_accept(channel),
            Ok(RETRY) => {
                if let (Ok(cookie), Ok(())) = (reader.u64(), reader.end()) {
                    self.on_retry(channel, cookie, now);
                }
            }
            Ok(ACCEPT) => {
                if let (Ok(peer), Ok(())) = (reader.address(), reader.end()) {
                    self.on_accept(channel, peer);
                }
            }
            _ => {}
        }
    }

    fn record(&mut self, channel: ChannelId, record: Buffer, _now: Time) {
        if self.up.contains(&channel) {
            self.actions.push_back(Action::Opened(channel, record));
        }
    }

    fn send(&mut self, channel: ChannelId, payload: Buffer, _now: Time) -> Result<(), SendError> {
        if !self.up.contains(&channel) {
            return Err(SendError::NotUp);
        }
        self.actions.push_back(Action::Record(channel, payload));
        Ok(())
    }

    fn forget(&mut self, channel: ChannelId) {
        self.dials.remove(&channel);
        self.up.remove(&channel);
    }

    fn handle_timeout(&mut self, now: Time) {
        if self.due > now {
            return;
        }
        self.due = Time::MAX;
        let mut due = Vec::new();
        for (channel, dial) in &self.dials {
            if dial.due <= now {
                due.push((*channel, dial.hellos >= HELLOS_MAX));
            } else {
                self.due = self.due.min(dial.due);
            }
        }
        for (channel, given_up) in due {
            if given_up {
                self.dials.remove(&channel);
                self.actions.push_back(Action::Down(channel, Down::Silent));
            } else {
                self.say_hello(channel, now);
            }
        }
    }

    fn poll(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        if action.is_none() && self.actions.capacity() > ACTIONS_KEPT {
            self.actions = VecDeque::with_capacity(ACTIONS_KEPT);
        }
        action
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        (self.due < Time::MAX).then_some(Deadline { at: self.due, reason: "handshake retransmission" })
    }

    fn overhead(&self) -> usize {
        0
    }
}
