//! One association: what is said before the peer is heard, and quinn's connection once there is one.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn_proto::{
    Connection, ConnectionError, ConnectionHandle, DatagramEvent, Endpoint, EndpointEvent, Event, FrameStats,
    SendDatagramError, TransportErrorCode, VarInt,
};
use rustls::pki_types::CertificateDer;

use super::clock::Moment;
use super::packets;
use super::transport::{PAYLOAD_MAX, address_of};
use super::{
    Action, Buffer, ChannelId, Claim, Common, Down, DropReason, Intent, Limits, SendError, Side, Time,
};
use crate::security::door::{Kind, Letter};
use crate::security::filter::{Backoff, DATAGRAMS_MAX, RETRIES_MAX};
use crate::wire::Address;

/// A peer that was heard in a handshake gets this many times as long: quinn waits twice as long after each loss.
const WAITS_MAX: u32 = 3;
/// Records kept at most that came before the end of the handshake that they overtook.
const EARLY_MAX: usize = 4;

/// How much later quinn's timers run once an association has settled: longer than from one ping to the next, which carries
/// the acknowledgement. On its own it would cost a datagram for each pong, and a probe where it is late; nothing but the
/// end of a handshake is sent again, and acknowledgements of many packets are sent at once all the same.
const REST: Duration = Duration::from_secs(150);

/// What one call into the engine works with.
pub(super) struct Call<'a> {
    pub(super) channel: ChannelId,
    pub(super) now: Time,
    pub(super) common: &'a mut Common,
    pub(super) endpoint: &'a mut Endpoint,
}

impl Call<'_> {
    fn act(&mut self, action: impl FnOnce(ChannelId) -> Action) {
        self.common.actions.push_back(action(self.channel));
    }

    fn drop(&mut self, reason: DropReason) {
        self.common.drop(reason);
    }

    fn moment(&self) -> Moment {
        self.common.clock.moment(self.now)
    }
}

/// What stands in front of an initiator's datagrams until the peer is heard.
#[derive(Clone, Copy, Debug)]
struct Hello {
    target: Option<Address>,
    proof: u64,
    retries: u32,
}

#[derive(Debug)]
enum Stage {
    /// A hello without proof and without anything of QUIC asks for a cookie.
    Asking(Backoff),
    Talking(Box<Talk>),
}

/// The state with one peer.
#[derive(Debug)]
pub(super) struct Association {
    side: Side,
    hello: Option<Hello>,
    stage: Stage,
    /// When the engine looks at it next.
    pub(super) scheduled: Time,
    pub(super) ended: Option<Down>,
}

impl Association {
    /// The initiator's, with nothing said yet.
    pub(super) fn asking(intent: Intent, common: &Common) -> Self {
        let proof = intent.token.unwrap_or(0);
        let hello = Some(Hello { target: intent.target, proof, retries: 0 });
        let stage = Stage::Asking(Backoff::new(&common.limits));
        Self { side: Side::Initiator, hello, stage, scheduled: Time::MAX, ended: None }
    }

    /// The responder's.
    pub(super) fn answering(talk: Talk) -> Self {
        let stage = Stage::Talking(Box::new(talk));
        Self { side: Side::Responder, hello: None, stage, scheduled: Time::MAX, ended: None }
    }

    pub(super) fn is_half_open(&self) -> bool {
        self.side == Side::Responder && !self.talk().is_some_and(|talk| talk.is_up)
    }

    fn talk(&self) -> Option<&Talk> {
        match &self.stage {
            Stage::Asking(_) => None,
            Stage::Talking(talk) => Some(talk),
        }
    }

    pub(super) fn due(&mut self, common: &Common) -> Time {
        match &mut self.stage {
            Stage::Asking(backoff) => backoff.due,
            Stage::Talking(talk) => talk.due(common),
        }
    }

    /// Leaves nothing of it behind in quinn.
    pub(super) fn release(self, endpoint: &mut Endpoint) {
        if let Stage::Talking(talk) = self.stage {
            talk.release(endpoint);
        }
    }

    /// Ends what was begun. quinn has room for one connection to an address, so this comes before the next.
    pub(super) fn fall_silent(&mut self, call: &mut Call<'_>) {
        let asking = Stage::Asking(Backoff::new(&call.common.limits));
        if let Stage::Talking(talk) = std::mem::replace(&mut self.stage, asking) {
            talk.release(call.endpoint);
        }
    }

    /// Begins to talk.
    pub(super) fn begin(&mut self, talk: Talk, call: &mut Call<'_>) {
        self.stage = Stage::Talking(Box::new(talk));
        self.settle(call);
    }

    /// Asks for a cookie.
    pub(super) fn ask(&mut self, call: &mut Call<'_>) {
        let kind = self.kind();
        let Stage::Asking(backoff) = &mut self.stage else { return };
        backoff.sent(&call.common.limits, &mut call.common.rng, call.now);
        let letter = call.common.door.write(kind, &[0]);
        call.act(|channel| Action::Handshake(channel, letter));
    }

    fn kind(&self) -> Kind {
        self.hello.map_or(Kind::Flight, |Hello { target, proof, .. }| Kind::Hello { target, proof })
    }

    /// A handshake datagram arrived; true if the handshake is to be begun (again) with the proof that it brought.
    pub(super) fn on_letter(&mut self, letter: &Letter, call: &mut Call<'_>) -> bool {
        match (letter.kind, self.side) {
            (Kind::Retry { cookie }, _) => return self.on_retry(cookie, call),
            (Kind::Flight, _) | (Kind::Hello { .. }, Side::Responder) => self.on_flight(&letter.body, call),
            _ => call.drop(DropReason::LateHandshake),
        }
        false
    }

    fn on_retry(&mut self, cookie: u64, call: &mut Call<'_>) -> bool {
        let wanted = |hello: &&mut Hello| hello.retries < RETRIES_MAX && hello.proof != cookie;
        let Some(hello) = self.hello.as_mut().filter(wanted) else {
            call.drop(DropReason::LateHandshake);
            return false;
        };
        hello.retries += 1;
        hello.proof = cookie;
        true
    }

    fn on_flight(&mut self, flight: &[u8], call: &mut Call<'_>) {
        let Stage::Talking(talk) = &mut self.stage else { return call.drop(DropReason::LateHandshake) };
        let len = packets::acceptable(flight);
        if len < flight.len() {
            call.drop(DropReason::PlainAlert);
        }
        if len == 0 {
            return;
        }
        if !talk.takes_another() {
            return call.drop(DropReason::Full);
        }
        if talk.hear(&flight[..len], call) {
            self.hello = None;
            let wait = patience(&call.common.limits);
            talk.until = talk.began + wait * WAITS_MAX;
        } else {
            call.drop(if talk.is_up { DropReason::LateHandshake } else { DropReason::Unopened });
        }
        self.settle(call);
    }

    pub(super) fn on_record(&mut self, record: Buffer, call: &mut Call<'_>) {
        // What begins a handshake comes through the door, or not at all.
        if record.is_empty() || packets::is_handshake(&record) {
            return call.drop(DropReason::Malformed);
        }
        let Stage::Talking(talk) = &mut self.stage else { return call.drop(DropReason::NotUp) };
        if !talk.is_up {
            return talk.keep(record, call);
        }
        talk.hear_record(&record, call);
        self.settle(call);
    }

    pub(super) fn send(&mut self, payload: &[u8], call: &mut Call<'_>) -> Result<(), SendError> {
        let Stage::Talking(talk) = &mut self.stage else { return Err(SendError::NotUp) };
        talk.send(payload)?;
        self.settle(call);
        Ok(())
    }

    pub(super) fn renew(&mut self, call: &mut Call<'_>) {
        if let Stage::Talking(talk) = &mut self.stage {
            talk.connection.force_key_update();
            self.settle(call);
        }
    }

    pub(super) fn on_timeout(&mut self, call: &mut Call<'_>) {
        match &mut self.stage {
            Stage::Asking(backoff) if backoff.is_spent(&call.common.limits) => {
                self.ended = Some(Down::Silent);
            }
            Stage::Asking(_) => self.ask(call),
            Stage::Talking(talk) if !talk.is_up && talk.until <= call.now => {
                self.ended = Some(Down::Silent);
            }
            Stage::Talking(talk) => {
                talk.connection.handle_timeout(call.moment());
                talk.say_again(call);
                self.settle(call);
            }
        }
    }

    /// Carries out what quinn wants.
    pub(super) fn settle(&mut self, call: &mut Call<'_>) {
        let kind = self.kind();
        let Stage::Talking(talk) = &mut self.stage else { return };
        talk.take_events(call);
        talk.transmit(kind, call);
        talk.tell(call);
        self.ended = self.ended.or(talk.ended);
    }
}

/// The initiator's last flight. quinn would say it again too late, for it waits twice as long after each loss, and
/// counts what was lost before as time that the way takes.
#[derive(Debug)]
struct Farewell {
    flight: Vec<Vec<u8>>,
    backoff: Backoff,
}

impl Farewell {
    /// Whether it has not been said yet.
    fn is_fresh(&self) -> bool {
        self.backoff.due == Time::MAX
    }
}

/// A connection of quinn.
#[derive(Debug)]
pub(super) struct Talk {
    handle: ConnectionHandle,
    connection: Connection,
    /// When the handshake began, and once it is complete, when that was.
    began: Time,
    /// When the handshake is given up.
    until: Time,
    is_up: bool,
    /// What is said again until a record shows that it arrived.
    farewell: Option<Box<Farewell>>,
    /// Handshake datagrams that were taken.
    letters: u32,
    /// Records that came before the handshake was complete.
    early: Vec<Buffer>,
    /// Frames that quinn has read. A genuine packet has one at least, so one that leaves the count was not taken.
    frames: u64,
    unopened: u64,
    ended: Option<Down>,
    /// quinn's endpoint has forgotten it.
    drained: bool,
}

impl Talk {
    pub(super) fn new(
        (handle, connection): (ConnectionHandle, Connection),
        now: Time,
        limits: &Limits,
    ) -> Self {
        let (began, until) = (now, now + patience(limits));
        let frames = frames(&connection.stats().frame_rx);
        let (is_up, farewell, letters, early, unopened, ended, drained) =
            (false, None, 0, Vec::new(), 0, None, false);
        Self {
            handle,
            connection,
            began,
            until,
            is_up,
            farewell,
            letters,
            early,
            frames,
            unopened,
            ended,
            drained,
        }
    }

    fn release(self, endpoint: &mut Endpoint) {
        if !self.drained {
            endpoint.handle_event(self.handle, EndpointEvent::drained());
        }
    }

    fn due(&mut self, common: &Common) -> Time {
        let timer = self.connection.poll_timeout().map_or(Time::MAX, |moment| common.clock.time(moment));
        let is_new = timer < self.began + patience(&common.limits);
        let timer = if self.is_up && !is_new { timer + REST } else { timer };
        let again = self.farewell.as_ref().map_or(Time::MAX, |farewell| farewell.backoff.due);
        if self.is_up { timer.min(again) } else { timer.min(self.until) }
    }

    fn takes_another(&mut self) -> bool {
        self.letters = self.letters.saturating_add(1);
        self.is_up || self.letters <= DATAGRAMS_MAX
    }

    /// Hands a datagram to quinn; false if it took nothing of it.
    fn hear(&mut self, datagram: &[u8], call: &mut Call<'_>) -> bool {
        let (moment, address) = (call.moment(), address_of(call.channel));
        let reply = &mut call.common.scratch;
        reply.clear();
        match call.endpoint.handle(moment, address, None, None, BytesMut::from(datagram), reply) {
            Some(DatagramEvent::ConnectionEvent(handle, event)) if handle == self.handle => {
                self.connection.handle_event(event);
            }
            Some(DatagramEvent::NewConnection(incoming)) => call.endpoint.ignore(incoming),
            _ => {}
        }
        let before = std::mem::replace(&mut self.frames, frames(&self.connection.stats().frame_rx));
        self.frames != before
    }

    fn hear_record(&mut self, record: &[u8], call: &mut Call<'_>) {
        if self.hear(record, call) {
            self.farewell = None;
            return;
        }
        self.unopened += 1;
        if self.unopened >= call.common.limits.forged {
            self.ended = Some(Down::Exhausted);
        }
        call.drop(DropReason::Unopened);
    }

    /// Keeps a record until the handshake that it overtook is complete.
    fn keep(&mut self, record: Buffer, call: &mut Call<'_>) {
        if self.early.len() < EARLY_MAX {
            self.early.push(record);
        } else {
            call.drop(DropReason::NotUp);
        }
    }

    fn send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        if !self.is_up {
            return Err(SendError::NotUp);
        }
        if payload.len() > PAYLOAD_MAX {
            return Err(SendError::TooBig);
        }
        let sent = self.connection.datagrams().send(Bytes::copy_from_slice(payload), true);
        sent.map_err(|error| match error {
            SendDatagramError::TooLarge => SendError::TooBig,
            _ => SendError::NotUp,
        })
    }

    fn take_events(&mut self, call: &mut Call<'_>) {
        while let Some(event) = self.connection.poll() {
            match event {
                Event::Connected => self.complete(call),
                Event::DatagramReceived => self.open(call),
                Event::ConnectionLost { reason } => self.ended = Some(why(&reason)),
                _ => {}
            }
        }
    }

    fn complete(&mut self, call: &mut Call<'_>) {
        let fits = self.connection.datagrams().max_size().is_some_and(|size| size >= PAYLOAD_MAX);
        let Some(claim) = self.claim().filter(|_| fits) else {
            self.connection.close(call.moment(), VarInt::from_u32(0), Bytes::new());
            self.ended = Some(Down::Failed);
            return;
        };
        (self.is_up, self.began) = (true, call.now);
        if self.connection.side().is_client() {
            let (flight, backoff) = (Vec::new(), Backoff::new(&call.common.limits));
            self.farewell = Some(Box::new(Farewell { flight, backoff }));
        }
        call.act(|channel| Action::Up(channel, claim));
        for record in std::mem::take(&mut self.early) {
            self.hear_record(&record, call);
        }
    }

    fn claim(&self) -> Option<Claim> {
        let identity = self.connection.crypto_session().peer_identity()?;
        let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        chain.first().map(|certificate| Claim::Certificate(certificate.to_vec()))
    }

    fn open(&mut self, call: &mut Call<'_>) {
        while let Some(payload) = self.connection.datagrams().recv() {
            if self.is_up && !payload.is_empty() {
                let payload = call.common.pool.copy(&payload);
                call.act(|channel| Action::Opened(channel, payload));
            }
        }
    }

    fn transmit(&mut self, kind: Kind, call: &mut Call<'_>) {
        let moment = call.moment();
        let Common { scratch, door, pool, actions, limits, rng, .. } = &mut *call.common;
        let mut farewell = self.farewell.as_mut().filter(|farewell| farewell.is_fresh());
        scratch.clear();
        while self.connection.poll_transmit(moment, 1, scratch).is_some() {
            if packets::is_handshake(scratch) {
                actions.push_back(Action::Handshake(call.channel, door.write(kind, scratch)));
                farewell.iter_mut().for_each(|farewell| farewell.flight.push(scratch.clone()));
            } else {
                actions.push_back(Action::Record(call.channel, pool.copy(scratch)));
            }
            scratch.clear();
        }
        if let Some(farewell) = farewell {
            farewell.backoff.sent(limits, rng, call.now);
        }
    }

    /// Says the last flight again, if it is time. The peer knows by the packets' numbers what it has taken.
    fn say_again(&mut self, call: &mut Call<'_>) {
        let Some(farewell) = self.farewell.as_mut().filter(|farewell| farewell.backoff.due <= call.now)
        else {
            return;
        };
        let Common { door, actions, limits, rng, .. } = &mut *call.common;
        if farewell.backoff.is_spent(limits) {
            self.farewell = None;
            return;
        }
        farewell.backoff.sent(limits, rng, call.now);
        for datagram in &farewell.flight {
            actions.push_back(Action::Handshake(call.channel, door.write(Kind::Flight, datagram)));
        }
    }

    fn tell(&mut self, call: &mut Call<'_>) {
        while let Some(event) = self.connection.poll_endpoint_events() {
            self.drained |= event.is_drained();
            if let Some(answer) = call.endpoint.handle_event(self.handle, event) {
                self.connection.handle_event(answer);
            }
        }
    }
}

/// How long a peer may be silent in a handshake.
fn patience(limits: &Limits) -> Duration {
    limits.wait_max * limits.sends
}

fn why(reason: &ConnectionError) -> Down {
    match reason {
        ConnectionError::TransportError(error) if error.code == TransportErrorCode::AEAD_LIMIT_REACHED => {
            Down::Exhausted
        }
        ConnectionError::TimedOut => Down::Silent,
        _ => Down::Failed,
    }
}

/// Frames of all kinds that a peer may send here.
fn frames(read: &FrameStats) -> u64 {
    let streams = read.stream + read.reset_stream + read.stop_sending + read.stream_data_blocked;
    let credit = read.max_data + read.max_stream_data + read.max_streams_bidi + read.max_streams_uni;
    let blocked = read.data_blocked + read.streams_blocked_bidi + read.streams_blocked_uni;
    let ids = read.new_connection_id + read.retire_connection_id + read.new_token;
    let paths =
        read.path_challenge + read.path_response + read.ping + read.immediate_ack + read.ack_frequency;
    let handshake = read.crypto + u64::from(read.handshake_done) + read.connection_close;
    read.acks + read.datagram + streams + credit + blocked + ids + paths + handshake
}
