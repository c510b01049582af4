//! The DHT of an overlay: its requests find the members nearest to their points, its copies the neighbours.

use std::time::Duration;

use openssl::pkey::PKey;

use super::{Lent, Overlay};
use crate::connection::Connection;
use crate::control::{Command, DhtValue, FailureKind, OwnerProof, Reply};
use crate::counters::DropReason;
use crate::dht::{Around, Failure, How, News, Origin, Outcome, Source, Wanted, Write};
use crate::machine::RequestId;
use crate::router::{self, Route};
use crate::security::{Credentials, address_of};
use crate::wire::{
    Address, DhtAnswer, DhtRequest, FrameKind, Key, Malformed, Mark, Mode, PacketHeader, PacketKind, Proof,
    Said, Upkeep, points,
};

/// A request of more bytes does not record its way, if its answer finds back without: a long way may not fit beside it.
const RECORDED_MAX: usize = 600;
/// Room for values that every answer must have; one whose way back leaves less takes the ring's.
const ROOM_MIN: usize = 1100;
/// Peers on each side of us that may take us for theirs: those between may not be connected to them yet, as where NATs are.
const BESIDE: usize = 3;
/// Bytes of a route's count and position.
const ROUTE_HEAD: usize = 2;

impl Overlay {
    /// Puts a value under a key, beside others, or under an owned key in place of the last one.
    pub fn dht_put(&mut self, origin: Origin, write: Write, lent: &mut Lent<'_>) {
        self.dht.put(origin, write, lent.wall, lent.now);
        self.run_dht(lent);
        self.pump(lent);
    }

    /// Puts a value under the key of this text that belongs to whoever proved it.
    fn dht_put_proved(
        &mut self,
        origin: Origin,
        key: &str,
        (value, said): (Vec<u8>, OwnerProof),
        lent: &mut Lent<'_>,
    ) {
        let OwnerProof { public, sequence, lease_millis: lease, signature } = said;
        // A key that is none owns nothing: the proof does not hold then.
        let owner = PKey::public_key_from_der(&public).and_then(|key| address_of(&key));
        let key = Key::owned(owner.unwrap_or(self.own), key);
        let proof = Proof { public, sequence, lease, signature };
        self.dht.put_proved(origin, key, (value, proof), lent.now);
        self.run_dht(lent);
        self.pump(lent);
    }

    /// Puts a value under a key if nothing is there. Of several that try at once one at most succeeds.
    pub fn dht_create(&mut self, origin: Origin, write: Write, lent: &mut Lent<'_>) {
        self.dht.create(origin, write, lent.now);
        self.run_dht(lent);
        self.pump(lent);
    }

    /// Puts or creates a value and renews it at half of its lease until it is released; the first outcome is told.
    pub fn dht_keep(&mut self, origin: Origin, how: How, write: Write, lent: &mut Lent<'_>) {
        self.dht.keep(origin, how, write, lent.now);
        self.dht.handle_timeout(lent.now);
        self.run_dht(lent);
        self.pump(lent);
    }

    /// Renews a value no more; it is gone when its lease ends.
    pub fn dht_release(&mut self, key: &Key, value: &[u8]) {
        self.dht.release(key, value);
    }

    /// Reads what is under a key, behind a mark that an earlier page ended with.
    pub fn dht_get(&mut self, origin: Origin, key: Key, after: Option<Mark>, lent: &mut Lent<'_>) {
        self.dht.get(origin, key, after, lent.now);
        self.run_dht(lent);
        self.pump(lent);
    }

    /// The next news of an operation of [`Origin::Node`].
    pub fn poll_dht(&mut self) -> Option<(u64, News)> {
        self.dht.poll_news()
    }

    /// The key of this text: anybody's, or of the owner with this address.
    #[must_use]
    pub fn dht_key(text: &str, owner: Option<Address>) -> Key {
        owner.map_or_else(|| Key::named(text), |owner| Key::owned(owner, text))
    }

    /// The address whose owned keys are this member's own, if it has a key to sign with.
    #[must_use]
    pub fn dht_owner(&self) -> Option<Address> {
        self.dht.owner()
    }

    pub(super) fn sign_dht_with(&mut self, credentials: &Credentials) {
        self.dht.set_signer(credentials.key().to_owned());
    }

    /// The ring around us may have changed.
    pub(super) fn place_dht(&mut self, lent: &mut Lent<'_>) {
        let peer = |connection: Option<&Connection>| connection.map(|one| one.peer);
        let table = &self.connections;
        let around = Around {
            own: self.own,
            connected: self.connected,
            next: [table.predecessor(), table.successor()],
            far: [peer(table.counter_clockwise(self.own).nth(1)), peer(table.clockwise(self.own).nth(1))],
        };
        self.dht.set_around(around, lent.now);
    }

    /// Carries out what the DHT wants.
    pub(super) fn run_dht(&mut self, lent: &mut Lent<'_>) {
        loop {
            self.carry_out_dht(lent);
            if !self.run_subscriptions(lent) {
                return;
            }
        }
    }

    fn carry_out_dht(&mut self, lent: &mut Lent<'_>) {
        let room = self.packet_max();
        while let Some(wanted) = self.dht.poll(room, lent.now) {
            match wanted {
                Wanted::Ask(point, request) => self.ask_point(point, &request, lent),
                Wanted::Tell(peer, message) => self.tell_upkeep(peer, &message, lent),
                Wanted::Reply(id, outcome) => Self::reply(id, reply(outcome), lent),
            }
        }
    }

    fn ask_point(&mut self, point: Address, request: &DhtRequest, lent: &mut Lent<'_>) {
        let mut body = lent.pool.take(200);
        request.write(&mut body);
        let header = PacketHeader::new(PacketKind::DhtRequest, Mode::Nearest, self.own, point);
        if !self.connected {
            // Without a place in the ring we are nearest to nothing; whoever let us in forwards what we ask.
            let usable = self.connections.iter().filter(|connection| !connection.suspected);
            let first = usable.map(|connection| connection.peer).min_by_key(|peer| peer.distance(point));
            if let Some(first) = first {
                header.recorded().prepend_departing(&mut body);
                self.hand_over(first, body, lent);
            }
            return;
        }
        let header = if body.len() > RECORDED_MAX { header } else { header.recorded() };
        if router::route(&header, self.own, &self.connections, None) == Route::Here {
            return self.serve_ourselves(request, lent);
        }
        self.send_packet(&header, body, lent);
    }

    fn serve_ourselves(&mut self, request: &DhtRequest, lent: &Lent<'_>) {
        let room = self.packet_max() - PacketHeader::LEN - DhtAnswer::PAGE_LEN;
        let said = self.dht.serve(
            Source { writer: self.own, peer: self.own, copied: false },
            request,
            room,
            lent.now,
        );
        self.dht.on_answer(DhtAnswer { id: request.id, said }, lent.now);
    }

    /// A member asks us as the one nearest to a point; this peer brought the request.
    pub(super) fn on_dht_request(
        &mut self,
        header: &PacketHeader,
        (peer, body): (Address, &[u8]),
        lent: &mut Lent<'_>,
    ) -> Result<(), Malformed> {
        let request = DhtRequest::read(body)?;
        let point = points(request.key.place()).get(usize::from(request.point)).copied();
        if header.mode != Mode::Nearest || point != Some(header.destination) {
            return Err(Malformed);
        }
        let (back, room) = self.way_back(header);
        let source = Source { writer: header.source, peer, copied: false };
        let said = self.dht.serve(source, &request, room, lent.now);
        if request.id != 0 {
            self.answer_dht(&back, request.id, said, lent);
        }
        self.run_dht(lent);
        Ok(())
    }

    /// How an answer gets back, and the room for values that it has.
    fn way_back(&self, header: &PacketHeader) -> (PacketHeader, usize) {
        let all = self.packet_max() - PacketHeader::LEN - DhtAnswer::PAGE_LEN;
        let route = header.way_back();
        let room = all.saturating_sub(ROUTE_HEAD + Address::LEN * route.len());
        if header.record && room >= ROOM_MIN {
            (PacketHeader::sourced(PacketKind::DhtAnswer, self.own, route), room)
        } else {
            (PacketHeader::new(PacketKind::DhtAnswer, Mode::Exact, self.own, header.source), all)
        }
    }

    fn answer_dht(&mut self, back: &PacketHeader, id: u32, said: Said, lent: &mut Lent<'_>) {
        let mut body = lent.pool.take(200);
        DhtAnswer { id, said }.write(&mut body);
        self.send_packet(back, body, lent);
    }

    pub(super) fn on_dht_answer(&mut self, body: &[u8], lent: &mut Lent<'_>) -> Result<(), Malformed> {
        if !self.dht.on_answer(DhtAnswer::read(body)?, lent.now) {
            self.counters.drop(DropReason::Unasked);
        }
        self.run_dht(lent);
        Ok(())
    }

    fn tell_upkeep(&mut self, peer: Address, message: &Upkeep, lent: &mut Lent<'_>) {
        let Some(id) = self.connections.get(peer).map(Connection::edge) else { return };
        let mut body = lent.pool.take(200);
        message.write(&mut body);
        self.send_frame(id, FrameKind::Upkeep, body, lent);
    }

    /// A neighbour says something about copies; whoever is none has no say in what we hold.
    pub(super) fn on_upkeep(
        &mut self,
        peer: Address,
        body: &[u8],
        lent: &mut Lent<'_>,
    ) -> Result<(), Malformed> {
        let message = Upkeep::read(body)?;
        // By our own table: what a peer says of itself makes it no neighbour.
        if !self.connections.around(self.own, BESIDE).contains(&peer) {
            self.counters.drop(DropReason::Unasked);
            return Ok(());
        }
        self.dht.on_upkeep(peer, message, lent.now);
        self.run_dht(lent);
        Ok(())
    }

    pub(super) fn leave_dht(&mut self, lent: &mut Lent<'_>) {
        for (peer, message) in self.dht.farewell(self.packet_max(), lent.now) {
            self.tell_upkeep(peer, &message, lent);
        }
        // What is sealed leaves before the edges are closed.
        self.pump(lent);
    }

    /// Carries out what a local user asks of the DHT.
    pub fn on_dht_command(&mut self, id: RequestId, command: Command, lent: &mut Lent<'_>) {
        let origin = Origin::User(id);
        match command {
            Command::DhtPut { key, value, lease_seconds, owned, .. } => {
                let owner = self.dht.owner().filter(|_| owned);
                if owned && owner.is_none() {
                    return Self::reply(id, reply(Outcome::Failed(Failure::NotOwner)), lent);
                }
                let write = Write {
                    key: Self::dht_key(&key, owner),
                    value,
                    lease: Duration::from_secs(lease_seconds),
                };
                self.dht_put(origin, write, lent);
            }
            Command::DhtPutProved { key, value, proof, .. } => {
                self.dht_put_proved(origin, &key, (value, proof), lent);
            }
            Command::DhtCreate { key, value, lease_seconds, .. } => {
                let write = Write { key: Key::named(&key), value, lease: Duration::from_secs(lease_seconds) };
                self.dht_create(origin, write, lent);
            }
            Command::DhtGet { key, owner, after, .. } => match after.as_deref().map(mark) {
                Some(None) => {
                    Self::reply(id, Reply::failed(FailureKind::Refused, "no page begins there"), lent)
                }
                after => self.dht_get(origin, Self::dht_key(&key, owner), after.flatten(), lent),
            },
            _ => {}
        }
    }
}

/// A mark as [`reply`] writes it.
fn mark(text: &str) -> Option<Mark> {
    u128::from_str_radix(text, 16).ok().map(Mark)
}

/// An outcome as a command's reply.
fn reply(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Stored { lease } => Reply::DhtStored { lease_seconds: lease.as_secs_f64() },
        Outcome::Exists => Reply::DhtExists,
        Outcome::Page { values, next, complete } => {
            let value = |found: crate::dht::Found| DhtValue {
                value: found.value,
                lease_seconds: found.lease.as_secs_f64(),
                creator: found.creator,
                sequence: found.sequence,
            };
            let values = values.into_iter().map(value).collect();
            Reply::DhtValues { values, next: next.map(|Mark(mark)| format!("{mark:032x}")), complete }
        }
        Outcome::Failed(failure) => {
            let kind = match failure {
                Failure::NoAnswer => FailureKind::NoAnswer,
                Failure::Contended | Failure::Busy | Failure::Full => FailureKind::Busy,
                _ => FailureKind::Refused,
            };
            Reply::failed(kind, failure.to_string())
        }
    }
}
