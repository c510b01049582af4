//! The filter that all handshakes share: admission, flights that are sent again, limits, records.
//!
//! A handshake is given up after [`Limits::sends`] sends of one flight. The end that said the last flight cannot know
//! that it arrived: it says it again when the peer repeats itself, until a record proves that it may forget it
//! (RFC 6347 section 4.2.4).

mod association;
mod flight;
mod handshake;
mod renewal;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub(super) use flight::{Backoff, DATAGRAMS_MAX, RETRIES_MAX};
pub use handshake::{Handshake, Handshaker, Outcome, Protection, Reply, Side, Start, Step};

use super::door::Door;
use super::wrap::GroupSecret;
use super::{
    Action, Admission, ChannelId, Claim, Credentials, Down, Engine, Intent, Knock, SendError, Unusable,
};
use crate::buffer::{Buffer, Pool};
use crate::counters::DropReason;
use crate::machine::Deadline;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::Address;
use association::{Association, Call};
use flight::{Attempt, Pace};

/// Associations of others under way at most, if a cookie let them in. A cookie costs a stranger one round trip.
pub const HALF_OPEN_MAX: usize = 256;
/// The same, if a token let them in: a flood of strangers does not keep those out whom we asked.
pub const HALF_OPEN_KNOWN_MAX: usize = 512;

/// Actions that a drained queue has room for.
const ACTIONS_KEPT: usize = 16;

/// Times and counts that a test or an experiment may want otherwise.
#[derive(Clone, Debug)]
pub struct Limits {
    /// First wait for an answer to a flight, if answers do not usually take longer; it grows by half each time, with jitter.
    pub wait: Duration,
    /// The longest such wait.
    pub wait_max: Duration,
    /// Sends of one flight before the peer counts as silent (about 10 s).
    pub sends: u32,
    /// How old keys become before they are renewed.
    pub renew_after: Duration,
    /// Records in one direction before keys are renewed.
    pub renew_records: u64,
    /// Records that one key seals at most (RFC 9001 section 6.6).
    pub records: u64,
    /// Records that may fail to open before the association ends; far below the limit of RFC 9001 section 6.6.
    pub forged: u64,
    /// How long old keys open after the peer has used the new ones.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wait: Duration::from_millis(350),
            wait_max: Duration::from_secs(1),
            sends: 12,
            renew_after: Duration::from_secs(4 * 3600),
            renew_records: 1 << 22,
            records: 1 << 23,
            forged: 1 << 36,
            grace: Duration::from_secs(3),
        }
    }
}

/// What an engine is told about its member.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The member's own address.
    pub address: Address,
    /// The group's secret: without it nobody gets an answer.
    pub secret: Option<GroupSecret>,
    /// Times and counts.
    pub limits: Limits,
}

impl Setting {
    /// A member with this address and the usual limits.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self { address, secret: None, limits: Limits::default() }
    }
}

/// What all associations of one engine use.
#[derive(Debug)]
struct Common {
    door: Door,
    limits: Limits,
    pace: Pace,
    rng: Rng,
    actions: VecDeque<Action>,
    /// Nothing is due before this.
    due: Time,
}

impl Common {
    fn drop(&mut self, reason: DropReason) {
        self.actions.push_back(Action::Dropped(reason));
    }
}

/// An engine that lets `H` say what its flights contain.
#[derive(Debug)]
pub struct Filter<H: Handshaker> {
    handshaker: H,
    common: Common,
    associations: BTreeMap<ChannelId, Association<H::Handshake>>,
}

impl<H: Handshaker> Filter<H> {
    /// An engine without associations.
    #[must_use]
    pub fn new(handshaker: H, setting: Setting, pool: Pool, rng: &Rng, now: Time) -> Self {
        let common = Common {
            door: Door::new(&setting, pool, rng, now),
            pace: Pace::new(&setting.limits),
            limits: setting.limits,
            rng: rng.fork("security"),
            actions: VecDeque::new(),
            due: Time::MAX,
        };
        Self { handshaker, common, associations: BTreeMap::new() }
    }

    /// Associations, half-open ones included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.associations.len()
    }

    /// Runs `act` for one association, if it is known, and removes it if it has ended.
    fn with(
        &mut self,
        channel: ChannelId,
        now: Time,
        act: impl FnOnce(&mut Association<H::Handshake>, &mut Call<'_, H>),
    ) {
        let Some(association) = self.associations.get_mut(&channel) else { return };
        let (common, handshaker) = (&mut self.common, &mut self.handshaker);
        act(association, &mut Call { channel, now, common, handshaker });
        if let Some(why) = association.ended {
            self.associations.remove(&channel);
            self.common.actions.push_back(Action::Down(channel, why));
        } else {
            self.common.due = self.common.due.min(association.due(&self.common));
        }
    }

    fn begin(&mut self, start: Start) -> Result<(Attempt<H::Handshake>, Reply), Down> {
        let mut reply = Reply::default();
        let handshake = self.handshaker.begin(start, &mut reply)?;
        Ok((Attempt::new(handshake, start), reply))
    }
}

impl<H: Handshaker> Engine for Filter<H> {
    fn connect(&mut self, channel: ChannelId, intent: Intent, now: Time) {
        match self.begin(Start { side: Side::Initiator, generation: 0 }) {
            Ok((attempt, reply)) => {
                self.associations.insert(channel, Association::new(attempt.greeting(intent)));
                self.with(channel, now, |association, call| association.say(reply, call));
            }
            Err(why) => self.common.actions.push_back(Action::Down(channel, why)),
        }
    }

    fn admit(&mut self, knock: Knock<'_>, token_known: &dyn Fn(u64) -> bool, now: Time) -> Admission {
        let half_open = || self.associations.values().filter(|one| one.is_half_open()).count();
        self.common.door.admit(knock, token_known, half_open, now)
    }

    fn accept(&mut self, channel: ChannelId, datagram: &[u8], now: Time) {
        let letter = match self.common.door.read(datagram) {
            Ok(letter) => letter,
            Err(reason) => return self.common.drop(reason),
        };
        match self.begin(Start { side: Side::Responder, generation: 0 }) {
            Ok((attempt, _)) => {
                self.associations.insert(channel, Association::new(attempt));
                self.with(channel, now, |association, call| association.accept(&letter.body, call));
            }
            Err(why) => self.common.actions.push_back(Action::Down(channel, why)),
        }
    }

    fn handshake(&mut self, channel: ChannelId, datagram: &[u8], now: Time) {
        match self.common.door.read(datagram) {
            Ok(letter) => self.with(channel, now, |association, call| association.on_letter(letter, call)),
            Err(reason) => self.common.drop(reason),
        }
    }

    fn record(&mut self, channel: ChannelId, record: Buffer, now: Time) {
        self.with(channel, now, |association, call| association.on_record(record, call));
    }

    fn send(&mut self, channel: ChannelId, payload: Buffer, now: Time) -> Result<(), SendError> {
        let mut result = Err(SendError::NotUp);
        self.with(channel, now, |association, call| result = association.send(payload, call));
        result
    }

    fn renew(&mut self, channel: ChannelId, now: Time) {
        self.with(channel, now, Association::renew);
    }

    fn present(&mut self, credentials: &Credentials) -> Result<(), Unusable> {
        self.handshaker.present(credentials)
    }

    fn set_round_trip(&mut self, usual: Duration) {
        self.common.pace.set_round_trip(usual, &mut self.common.limits);
    }

    fn forget(&mut self, channel: ChannelId) {
        self.associations.remove(&channel);
    }

    fn handle_timeout(&mut self, now: Time) {
        if self.common.due > now {
            return;
        }
        self.common.due = Time::MAX;
        let mut due = Vec::new();
        for (channel, association) in &self.associations {
            let at = association.due(&self.common);
            if at <= now {
                due.push(*channel);
            } else {
                self.common.due = self.common.due.min(at);
            }
        }
        for channel in due {
            self.with(channel, now, Association::on_timeout);
        }
    }

    fn poll(&mut self) -> Option<Action> {
        let action = self.common.actions.pop_front();
        if action.is_none() && self.common.actions.capacity() > ACTIONS_KEPT {
            self.common.actions = VecDeque::with_capacity(ACTIONS_KEPT);
        }
        action
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        let at = self.common.due;
        (at < Time::MAX).then_some(Deadline { at, reason: "handshake retransmission" })
    }

    fn overhead(&self) -> usize {
        self.handshaker.overhead()
    }
}
