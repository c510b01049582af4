//! Associations of QUIC (RFC 9000, RFC 9001) by quinn-proto; payloads are its datagrams (RFC 9221).
//!
//! A handshake is QUIC's, with certificates on both sides, behind the shared door: a hello without proof carries nothing
//! of QUIC, and the first packets follow with the cookie. quinn repeats what is lost. One endpoint of quinn is both
//! sides of all associations of a member; it knows a channel as a made-up transport address and uses empty connection
//! ids, for our own header names the receiver. What begins with a long header of QUIC goes out as a handshake datagram,
//! all else as a record.
//!
//! A record that overtakes the end of its handshake is kept until that has come; of more than a few the rest is counted
//! as [`DropReason::NotUp`]. quinn does not say why it throws a record away, so one that was changed and one that came
//! twice are both [`DropReason::Unopened`]. Keys are updated by volume, and when [`Engine::renew`] asks; QUIC cannot
//! show another certificate within an association, so that takes a new one.
//!
//! Acknowledgements ride on the next payload, which at rest is a ping: once an association has settled quinn's timers run
//! late, and peers are asked to acknowledge many packets at once.
//!
//! It is for edges. End-to-end senders need another engine: a first datagram of QUIC does not fit into a packet of a ring,
//! which an edge carries sealed and with headers of its own.
//!
//! Streams, when there are any, belong beside the payloads in `association`; today a peer may open none.

mod association;
mod clock;
mod packets;
mod signer;
mod tls;
mod transport;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use quinn_proto::{DatagramEvent, Endpoint, TransportConfig};

pub use tls::{QuicOptions, QuicTls};

use super::door::Door;
use super::{
    Action, Admission, ChannelId, Claim, Credentials, Down, Engine, Intent, Knock, Limits, SendError,
    Setting, Side, Unusable,
};
use crate::buffer::{Buffer, Pool};
use crate::counters::DropReason;
use crate::machine::Deadline;
use crate::rng::Rng;
use crate::time::Time;
use association::{Association, Call, Talk};
use clock::Clock;

/// Actions that a drained queue has room for.
const ACTIONS_KEPT: usize = 16;
/// How soon a timer fires again that stays in the past.
const GRAIN: Duration = Duration::from_millis(1);
/// What edges speak (RFC 7301).
const PROTOCOL: &[u8] = b"atoll/1";
/// No name is sent; rustls wants one all the same.
const NAME: &str = "atoll";

/// Makes engines of QUIC; its clones, and the engines that it makes, share what is costly.
#[derive(Clone)]
pub struct Quic {
    tls: QuicTls,
    options: QuicOptions,
}

impl fmt::Debug for Quic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quic({:?})", self.options)
    }
}

impl Quic {
    /// A maker of engines that present these credentials.
    ///
    /// # Errors
    /// rustls does not take them.
    pub fn new(credentials: &Credentials, options: QuicOptions) -> Result<Self, Unusable> {
        Ok(Self { tls: QuicTls::new(credentials, options, &[PROTOCOL])?, options })
    }

    pub(super) fn options(&self) -> QuicOptions {
        self.options
    }

    /// An engine without associations.
    #[must_use]
    pub fn engine(&self, setting: Setting, pool: Pool, rng: &Rng, now: Time) -> QuicEngine {
        let door = Door::new(&setting, pool.clone(), rng, now);
        let mut rng = rng.fork("quic");
        let transport = Arc::new(transport::transport(&setting.limits));
        let responder = transport::responder_config(&self.tls, Arc::clone(&transport), &mut rng);
        let own = transport::own_config(&mut rng);
        let endpoint = Endpoint::new(Arc::new(own), Some(Arc::new(responder)), false, None);
        let (clock, actions, scratch) = (Clock::new(), VecDeque::new(), Vec::new());
        let common = Common { door, limits: setting.limits, rng, pool, clock, actions, scratch };
        let (associations, timers) = (BTreeMap::new(), BTreeSet::new());
        QuicEngine { maker: self.clone(), transport, endpoint, common, associations, timers }
    }
}

/// What all associations of one engine use.
#[derive(Debug)]
struct Common {
    door: Door,
    limits: Limits,
    rng: Rng,
    pool: Pool,
    clock: Clock,
    actions: VecDeque<Action>,
    /// Where quinn writes a datagram.
    scratch: Vec<u8>,
}

impl Common {
    fn drop(&mut self, reason: DropReason) {
        self.actions.push_back(Action::Dropped(reason));
    }
}

/// The engine of one member.
#[derive(Debug)]
pub struct QuicEngine {
    maker: Quic,
    transport: Arc<TransportConfig>,
    endpoint: Endpoint,
    common: Common,
    associations: BTreeMap<ChannelId, Association>,
    /// Every association that wants to be looked at, by when.
    timers: BTreeSet<(Time, ChannelId)>,
}

impl QuicEngine {
    /// Associations, half-open ones included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.associations.len()
    }

    /// Runs `act` for one association, if it is known, and removes it if it has ended.
    fn with<T>(
        &mut self,
        channel: ChannelId,
        now: Time,
        act: impl FnOnce(&mut Association, &mut Call<'_>) -> T,
    ) -> Option<T> {
        let association = self.associations.get_mut(&channel)?;
        let (common, endpoint) = (&mut self.common, &mut self.endpoint);
        let result = act(association, &mut Call { channel, now, common, endpoint });
        if let Some(why) = association.ended {
            self.forget(channel);
            self.common.actions.push_back(Action::Down(channel, why));
        } else {
            let due = association.due(&self.common);
            self.schedule(channel, due);
        }
        Some(result)
    }

    fn schedule(&mut self, channel: ChannelId, due: Time) {
        let Some(association) = self.associations.get_mut(&channel) else { return };
        let last = std::mem::replace(&mut association.scheduled, due);
        if last == due {
            return;
        }
        self.timers.remove(&(last, channel));
        if due < Time::MAX {
            self.timers.insert((due, channel));
        }
    }

    fn insert(&mut self, channel: ChannelId, association: Association) {
        self.forget(channel);
        self.associations.insert(channel, association);
    }

    /// Begins a handshake of QUIC, with what the peer wants to see already at hand.
    fn begin(&mut self, channel: ChannelId, now: Time) {
        self.with(channel, now, Association::fall_silent);
        let transport = Arc::clone(&self.transport);
        let config = transport::initiator_config(&self.maker.tls, transport, &mut self.common.rng);
        let (moment, address) = (self.common.clock.moment(now), transport::address_of(channel));
        let Ok(connection) = self.endpoint.connect(moment, config, address, NAME) else {
            self.with(channel, now, |association, _| association.ended = Some(Down::Failed));
            return;
        };
        let talk = Talk::new(connection, now, &self.common.limits);
        self.with(channel, now, |association, call| association.begin(talk, call));
    }

    /// Lets quinn answer a first packet.
    fn answer(&mut self, channel: ChannelId, datagram: &[u8], now: Time) -> Option<Talk> {
        let len = packets::acceptable(datagram);
        let (moment, address) = (self.common.clock.moment(now), transport::address_of(channel));
        let (reply, first) = (&mut self.common.scratch, BytesMut::from(&datagram[..len]));
        reply.clear();
        let event = self.endpoint.handle(moment, address, None, None, first, reply)?;
        let DatagramEvent::NewConnection(incoming) = event else { return None };
        let connection = self.endpoint.accept(incoming, moment, reply, None).ok()?;
        Some(Talk::new(connection, now, &self.common.limits))
    }
}

impl Engine for QuicEngine {
    fn connect(&mut self, channel: ChannelId, intent: Intent, now: Time) {
        self.insert(channel, Association::asking(intent, &self.common));
        if intent.token.is_some() {
            self.begin(channel, now);
        } else {
            self.with(channel, now, Association::ask);
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
        self.forget(channel);
        match self.answer(channel, &letter.body, now) {
            Some(talk) => {
                self.insert(channel, Association::answering(talk));
                self.with(channel, now, Association::settle);
            }
            None => self.common.actions.push_back(Action::Down(channel, Down::Failed)),
        }
    }

    fn handshake(&mut self, channel: ChannelId, datagram: &[u8], now: Time) {
        let letter = match self.common.door.read(datagram) {
            Ok(letter) => letter,
            Err(reason) => return self.common.drop(reason),
        };
        let begins = self.with(channel, now, |association, call| association.on_letter(&letter, call));
        if begins == Some(true) {
            self.begin(channel, now);
        }
    }

    fn record(&mut self, channel: ChannelId, record: Buffer, now: Time) {
        self.with(channel, now, |association, call| association.on_record(record, call));
    }

    fn send(&mut self, channel: ChannelId, payload: Buffer, now: Time) -> Result<(), SendError> {
        let sent = self.with(channel, now, |association, call| association.send(&payload, call));
        sent.unwrap_or(Err(SendError::NotUp))
    }

    fn renew(&mut self, channel: ChannelId, now: Time) {
        self.with(channel, now, Association::renew);
    }

    fn present(&mut self, credentials: &Credentials) -> Result<(), Unusable> {
        self.maker.tls = QuicTls::new(credentials, self.maker.options, &[PROTOCOL])?;
        let transport = Arc::clone(&self.transport);
        let responder = transport::responder_config(&self.maker.tls, transport, &mut self.common.rng);
        self.endpoint.set_server_config(Some(Arc::new(responder)));
        Ok(())
    }

    fn forget(&mut self, channel: ChannelId) {
        self.schedule(channel, Time::MAX);
        if let Some(association) = self.associations.remove(&channel) {
            association.release(&mut self.endpoint);
        }
    }

    fn handle_timeout(&mut self, now: Time) {
        let due: Vec<_> =
            self.timers.range(..=(now, ChannelId(u32::MAX))).map(|(_, channel)| *channel).collect();
        for channel in due {
            self.with(channel, now, Association::on_timeout);
            let scheduled = self.associations.get(&channel).map_or(Time::MAX, |one| one.scheduled);
            if scheduled <= now {
                self.schedule(channel, now + GRAIN);
            }
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
        self.timers.first().map(|(at, _)| Deadline { at: *at, reason: "QUIC" })
    }

    fn overhead(&self) -> usize {
        transport::OVERHEAD
    }

    fn payload_max(&self) -> usize {
        transport::PAYLOAD_MAX
    }
}
