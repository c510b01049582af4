//! Floor 6: one ring. It owns floors 1 to 5 and carries the services' wishes from one to another.

mod broadcasts;
mod carry;
mod departed;
mod dht;
mod dht_report;
mod ends;
mod epochs;
mod frames;
mod heal;
mod heralds;
mod keepalive;
mod links;
mod meeting;
mod members;
mod packets;
mod partings;
mod relays;
mod report;
mod revocations;
mod settle;
mod subscriptions;
mod transit;
mod transports;

use self::departed::Departed;
use self::partings::Partings;
use self::relays::Relayed;
use self::transit::WaysBack;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::broadcast::Broadcasts;
use crate::buffer::{Buffer, Pool};
use crate::config::{KeepaliveConfig, OverlayConfig};
use crate::connection::{self, Roles};
use crate::control::{Event, EventKind};
use crate::counters::{Counters, DropReason};
use crate::dht::Dht;
use crate::discovery::Discovery;
use crate::edge::{self, Edge};
use crate::healing::Healing;
use crate::herald::Herald;
use crate::inquiry::Inquiries;
use crate::linker::{Bootstraps, Linker};
use crate::machine::{Deadline, Output, RequestId};
use crate::path;
use crate::relay::Relay;
use crate::revocations::{Epochs, Exchange, Subscriptions};
use crate::ring::{Place, Ring, Shortcuts};
use crate::rng::Rng;
use crate::security::{Action, Admission, Down, Engine, Entry, Envelope, Knock, Security, Trust, Wall};
use crate::sender::Senders;
use crate::time::Time;
use crate::wire::{Address, CloseReason, EdgeId, Header, OverlayTag, Remote, Transport};

/// The shortest time between two looks at all connections, so that a burst of changes costs one.
const SETTLE_GAP: Duration = Duration::from_millis(20);

/// Rounds over the timers that one call makes.
const TIMER_ROUNDS_MAX: usize = 4;

/// What a node lends to one of its overlays for one call.
#[derive(Debug)]
pub struct Lent<'a> {
    /// The paths of the socket.
    pub paths: &'a mut path::Table,
    /// Where buffers come from.
    pub pool: &'a Pool,
    /// Where outputs go.
    pub outputs: &'a mut VecDeque<Output>,
    /// The time of the call.
    pub now: Time,
    /// The same on the wall clock; zero if nobody told.
    pub wall: Wall,
    /// Datagrams for members of the public overlay, whose ring shall carry them.
    pub carries: &'a mut VecDeque<(Address, Buffer)>,
    /// Datagrams that packets brought, with their far ends; the node tells them apart like those of the socket.
    pub arrivals: &'a mut VecDeque<(Remote, Buffer)>,
    /// The member's address in the public overlay, if that carries for this one.
    pub carrier: Option<Address>,
}

/// A datagram whose long header named this overlay or whose short header named one of its edges.
#[derive(Debug)]
pub struct Arrival {
    /// The header, taken off.
    pub header: Header,
    /// Where it came from.
    pub from: Remote,
    /// What was behind the header.
    pub payload: Buffer,
}

/// What a node knows when an overlay begins.
#[derive(Debug)]
pub struct Start<'a> {
    /// The overlay's place in the node.
    pub slot: u8,
    /// Who the node is in the overlay that members of private ones find each other through.
    pub public: Option<Address>,
    /// Where buffers come from.
    pub pool: &'a Pool,
    /// The node's randomness.
    pub rng: &'a Rng,
    /// When it begins.
    pub now: Time,
}

/// How this node takes part in one ring.
#[derive(Debug)]
pub struct Overlay {
    name: String,
    own: Address,
    tag: OverlayTag,
    slot: u8,
    keepalive: KeepaliveConfig,
    rng: Rng,
    started: Time,
    /// Protects edges.
    engine: Box<dyn Engine>,
    /// Protects end-to-end senders; not there before there is one.
    ends: Option<Box<dyn Engine>>,
    security: Security,
    senders: Senders,
    trust: Arc<Trust>,
    /// When our own certificate ends, for reports.
    certificate_expires: Option<Wall>,
    /// When the first peer's membership may be over.
    review_at: Time,
    /// Why a peer took us for no member, and when, if none has taken us for one since.
    refused: Option<(CloseReason, Time)>,
    /// Reasons that were said aloud, as bits.
    refusals_told: u16,
    edges: edge::Table,
    connections: connection::Table,
    linker: Linker,
    bootstraps: Bootstraps,
    /// A member without bootstraps is the first one: alone, it is connected.
    is_first: bool,
    ring: Ring,
    shortcuts: Shortcuts,
    inquiries: Inquiries,
    discovery: Option<Discovery>,
    healing: Healing,
    broadcasts: Broadcasts,
    /// What is said of revocations, apart from what applications say.
    notices: Broadcasts,
    exchange: Exchange,
    epochs: Epochs,
    subscriptions: Subscriptions,
    /// What groups' sites have us say, and what came of others.
    herald: Herald,
    announced: VecDeque<(Address, Vec<u8>)>,
    /// What the site of our own group seals.
    envelope: Option<Envelope>,
    /// When we last learnt of a revocation, and when we last closed what led to a revoked member.
    learnt: Option<Time>,
    sealed: Option<Time>,
    /// We learnt of revocations that our peers may not know.
    untold: bool,
    /// Whether members may broadcast.
    takes_broadcasts: bool,
    /// When the first look for members had its answer, and how many the last one named.
    discovered: Option<(Time, u32)>,
    /// Members that are known to be gone.
    departed: Departed,
    /// Edges that we closed, in case that was not heard.
    partings: Partings,
    /// Members that were found before we had our place.
    to_meet: Vec<Entry>,
    relay: Relay,
    relayed: Relayed,
    ways_back: WaysBack,
    parts: edge::Parts,
    dht: Dht,
    counters: Counters,
    place: Place,
    place_since: Time,
    joined: Option<Time>,
    /// Whether it was connected without anybody to join.
    founded: bool,
    connected: bool,
    leaving: bool,
    /// Somebody at our place answered an announcement.
    answered: bool,
    /// The table or a neighbour's list changed since the last look.
    dirty: bool,
    /// When that last look was.
    settled: Option<Time>,
    /// When another look is wanted though nothing changed.
    look_at: Time,
    /// Where the datagram under way came from.
    arriving: Option<Remote>,
}

impl Overlay {
    /// A member that begins to join.
    #[must_use]
    pub fn new(config: &OverlayConfig, start: &Start<'_>) -> Self {
        let Start { slot, pool, now, .. } = *start;
        let rng = start.rng.fork(&config.name);
        let own = config.address;
        let remotes: Vec<Remote> = config.bootstraps.iter().copied().map(Remote::Udp).collect();
        let mut healing = Healing::new(&rng);
        remotes.iter().for_each(|remote| healing.on_bootstrap(None, *remote, now));
        Self {
            name: config.name.clone(),
            own,
            tag: tag(config),
            slot,
            keepalive: config.keepalive.clone(),
            started: now,
            engine: config.security.engine(own, pool.clone(), &rng, now),
            ends: None,
            security: config.security.clone(),
            senders: Senders::new(own, &rng),
            trust: config.security.trust(),
            certificate_expires: config.certificate_expires,
            review_at: Time::MAX,
            refused: None,
            refusals_told: 0,
            edges: edge::Table::default(),
            connections: connection::Table::new(own),
            linker: Linker::new(&rng),
            bootstraps: Bootstraps::new(&remotes, &rng, now),
            is_first: config.is_first,
            ring: Ring::new(own, config.ring.clone(), &rng),
            shortcuts: Shortcuts::new(own, config.ring.clone(), &rng),
            inquiries: Inquiries::new(&rng),
            discovered: None,
            departed: Departed::default(),
            partings: Partings::default(),
            to_meet: Vec::new(),
            healing,
            broadcasts: Broadcasts::new(own, &rng),
            notices: Broadcasts::new(own, &rng.fork("notices")),
            exchange: Exchange::default(),
            epochs: Epochs::new(config.discovery.as_ref().and_then(|discovery| discovery.salted)),
            subscriptions: Subscriptions::new(own),
            herald: Herald::new(own, &rng),
            announced: VecDeque::new(),
            envelope: config.security.secret().map(Envelope::new),
            learnt: None,
            sealed: None,
            untold: false,
            takes_broadcasts: config.broadcast,
            discovery: meeting::discovery(config, start.public, &rng, now),
            relay: Relay::new(config.relay.clone(), now),
            relayed: Relayed::default(),
            ways_back: WaysBack::default(),
            parts: edge::Parts::default(),
            dht: Dht::new(own, config.security.credentials().map(|ours| ours.key().to_owned()), &rng),
            counters: Counters::default(),
            place: Place::default(),
            place_since: now,
            joined: None,
            founded: false,
            connected: false,
            leaving: false,
            answered: false,
            dirty: true,
            settled: None,
            look_at: now,
            arriving: None,
            rng: rng.fork("overlay"),
        }
    }

    /// The overlay's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The overlay's tag on the wire.
    #[must_use]
    pub fn tag(&self) -> OverlayTag {
        self.tag
    }

    /// Takes a datagram.
    pub fn handle_datagram(&mut self, arrival: Arrival, lent: &mut Lent<'_>) {
        if let Some(transport) = arrival.from.transport() {
            let bytes = arrival.payload.len() + header_len(arrival.header);
            self.counters.of(transport).receive(bytes);
        }
        self.arriving = Some(arrival.from);
        match arrival.header {
            Header::Short { receiver } if self.edges.contains(receiver) => {
                self.engine.record(edge::channel(receiver), arrival.payload, lent.now);
            }
            Header::Short { receiver } => {
                self.counters.drop(DropReason::UnknownEdge);
                self.close_again(receiver, lent);
            }
            Header::Long { sender, receiver, .. } => self.on_handshake(sender, receiver, &arrival, lent),
        }
        self.pump(lent);
        self.arriving = None;
    }

    fn on_handshake(&mut self, sender: EdgeId, receiver: EdgeId, arrival: &Arrival, lent: &mut Lent<'_>) {
        if let Some(edge) = self.edges.get_mut(receiver) {
            if edge.remote == EdgeId::default() {
                edge.remote = sender;
            }
            self.engine.handshake(edge::channel(receiver), &arrival.payload, lent.now);
        } else if receiver != EdgeId::default() {
            self.counters.drop(DropReason::UnknownEdge);
        } else if sender != EdgeId::default() {
            self.on_knock(sender, arrival, lent);
        } else {
            self.counters.drop(DropReason::Malformed);
        }
    }

    fn on_knock(&mut self, sender: EdgeId, arrival: &Arrival, lent: &mut Lent<'_>) {
        let path = lent.paths.hold(arrival.from, lent.now);
        if let Some(known) = self.edges.find(path, sender) {
            lent.paths.release(path);
            self.engine.handshake(edge::channel(known), &arrival.payload, lent.now);
            return;
        }
        let source = arrival.from.to_string();
        let knock = Knock { source: source.as_bytes(), datagram: &arrival.payload };
        let (linker, shown) = (&self.linker, Cell::new(0));
        let known = |token| {
            shown.set(token);
            linker.knows_token(token)
        };
        match self.engine.admit(knock, &known, lent.now) {
            Admission::Accept => {
                let target = self.linker.holder(shown.get());
                if target.is_none_or(|peer| self.gives_way(peer, arrival.from, lent)) {
                    let edge = Edge { target, ..Edge::new(path, Some(sender), lent.now) };
                    if let Some(id) = self.add_edge(edge) {
                        self.engine.set_round_trip(lent.paths.probable(arrival.from));
                        return self.engine.accept(edge::channel(id), &arrival.payload, lent.now);
                    }
                }
            }
            Admission::Answer(mut answer) => {
                Header::Long { tag: self.tag, sender: EdgeId::default(), receiver: sender }
                    .prepend(&mut answer);
                self.transmit(arrival.from, answer, lent);
            }
            Admission::Drop(reason) => self.counters.drop(reason),
        }
        lent.paths.release(path);
    }

    /// Runs every timer that is due. What one does may make another due: a doubted edge asks, a place that is lost
    /// calls for the bootstraps.
    pub fn handle_timeout(&mut self, lent: &mut Lent<'_>) {
        for _ in 0..TIMER_ROUNDS_MAX {
            if self.poll_timeout().is_none_or(|deadline| deadline.at > lent.now) {
                return;
            }
            self.run_timers(lent);
        }
    }

    fn run_timers(&mut self, lent: &mut Lent<'_>) {
        self.engine.handle_timeout(lent.now);
        self.run_links(lent);
        self.run_edges(lent);
        self.run_inquiries(lent);
        if self.ring.announcement_is_due(lent.now) {
            self.announce_somewhere(lent);
        }
        if self.review_at <= lent.now {
            self.review(lent);
        }
        self.improve(lent);
        self.run_healing(lent);
        self.run_broadcasts(lent);
        self.run_notices(lent);
        self.run_exchange(lent);
        self.look_for_members(lent.now);
        self.dirty |= self.look_at <= lent.now;
        self.run_senders(lent);
        self.dht.handle_timeout(lent.now);
        self.look_at_users(lent);
        self.run_heralds(lent);
        self.run_dht(lent);
        self.pump(lent);
        self.run_shortcuts(lent);
        self.pump(lent);
    }

    /// When `handle_timeout` is wanted next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        if self.leaving {
            return None;
        }
        let services = [
            self.engine.poll_timeout(),
            self.ends.as_ref().and_then(|ends| ends.poll_timeout()),
            self.senders.poll_timeout(),
            self.linker.poll_timeout(),
            self.bootstraps_timeout(),
            self.ring.poll_timeout().filter(|_| !self.connections.is_empty()),
            self.shortcuts.poll_timeout(),
            self.inquiries.poll_timeout(),
            self.dht.poll_timeout(),
            self.edges_timeout(),
            self.review_timeout(),
            self.improve_timeout(),
            self.broadcasts.poll_timeout(),
            self.notices.poll_timeout(),
            self.exchange.poll_timeout(),
            self.subscriptions_timeout(),
            self.herald.poll_timeout(),
            self.healing.poll_timeout().filter(|_| self.connected),
            self.discovery.as_ref().and_then(Discovery::poll_timeout),
            self.settle_timeout(),
        ];
        services.into_iter().fold(None, Deadline::earlier)
    }

    /// Carries out what the engine wants until nothing is left to do.
    pub(super) fn pump(&mut self, lent: &mut Lent<'_>) {
        loop {
            self.run_ends(lent);
            while let Some(action) = self.engine.poll() {
                self.carry_out(action, lent);
            }
            if !self.dirty || self.leaving || self.settled.is_some_and(|last| last + SETTLE_GAP > lent.now) {
                break;
            }
            self.dirty = false;
            self.settled = Some(lent.now);
            self.settle(lent);
        }
        self.edges.refresh();
    }

    /// When the next look at the connections is wanted: after the gap if anything changed, else when it was scheduled.
    fn settle_timeout(&self) -> Option<Deadline> {
        let earliest = self.settled.map_or(Time::ZERO, |last| last + SETTLE_GAP);
        let at = if self.dirty { earliest } else { self.look_at.max(earliest) };
        (at < Time::MAX).then_some(Deadline { at, reason: "housekeeping" })
    }

    fn carry_out(&mut self, action: Action, lent: &mut Lent<'_>) {
        match action {
            Action::Handshake(channel, mut datagram) => {
                let id = edge::of_channel(channel);
                let Some(edge) = self.edges.get(id) else { return };
                Header::Long { tag: self.tag, sender: id, receiver: edge.remote }.prepend(&mut datagram);
                self.transmit_on(id, datagram, lent);
            }
            Action::Record(channel, mut datagram) => {
                let id = edge::of_channel(channel);
                let Some(edge) = self.edges.get(id) else { return };
                Header::Short { receiver: edge.remote }.prepend(&mut datagram);
                self.transmit_on(id, datagram, lent);
            }
            Action::Up(channel, claim) => {
                self.counters.handshakes_completed += 1;
                self.on_claim(edge::of_channel(channel), &claim, lent);
            }
            Action::Renewed(channel, claim) => {
                self.counters.renewals += 1;
                self.on_claim(edge::of_channel(channel), &claim, lent);
            }
            Action::Opened(channel, payload) => self.on_record(edge::of_channel(channel), payload, lent),
            Action::Down(channel, why) => {
                self.counters.handshakes_failed += u64::from(why != Down::Exhausted);
                self.drop_edge(edge::of_channel(channel), &why.to_string(), lent);
            }
            Action::Dropped(reason) => self.counters.drop(reason),
        }
    }

    fn transmit_on(&mut self, id: EdgeId, datagram: Buffer, lent: &mut Lent<'_>) {
        let Some(path) = self.edges.get(id).and_then(|edge| lent.paths.get_mut(edge.path)) else { return };
        path.sent = lent.now;
        let to = path.remote;
        self.transmit(to, datagram, lent);
    }

    fn transmit(&mut self, to: Remote, payload: Buffer, lent: &mut Lent<'_>) {
        match to {
            Remote::Udp(to) => self.put_out(Transport::Udp(to), payload, lent),
            Remote::Tcp(to) => self.put_out(Transport::Tcp(to), payload, lent),
            Remote::Carried(member) => {
                self.counters.carried_datagrams += 1;
                lent.carries.push_back((member, payload));
            }
            Remote::Relayed(to) => {
                self.counters.relayed_datagrams += 1;
                self.send_relayed(to, payload, lent);
            }
        }
    }

    fn put_out(&mut self, to: Transport, payload: Buffer, lent: &mut Lent<'_>) {
        self.counters.of(to).send(payload.len());
        lent.outputs.push_back(Output::Transmit { to, payload });
    }

    /// Adds an edge, if there is room.
    fn add_edge(&mut self, edge: Edge) -> Option<EdgeId> {
        let id = self.edges.insert(edge, self.rng.next_u32(), self.slot);
        if id.is_none() {
            self.counters.drop(DropReason::Full);
        }
        id
    }

    fn tell(&self, kind: EventKind, lent: &mut Lent<'_>) {
        lent.outputs.push_back(Output::Event(Event { overlay: self.name.clone(), kind }));
    }

    fn reply(id: RequestId, reply: crate::control::Reply, lent: &mut Lent<'_>) {
        lent.outputs.push_back(Output::Reply { id, reply });
    }

    /// The roles that we have for a peer, or would have once it is connected.
    fn roles_for(&self, peer: Address, edge: EdgeId) -> Roles {
        let connected = self.connections.get(peer).map_or(Roles::NONE, |connection| connection.ours);
        let wanted = self.linker.get(peer).map_or(Roles::NONE, |attempt| attempt.roles);
        let roles = connected.union(wanted);
        if self.bootstraps.owns(edge) && !self.connected { roles.with(connection::Role::Leaf) } else { roles }
    }
}

fn header_len(header: Header) -> usize {
    match header {
        Header::Short { .. } => crate::wire::SHORT_LEN,
        Header::Long { .. } => crate::wire::LONG_LEN,
    }
}

/// The tag of an overlay: from its secret, else a hash of its name.
fn tag(config: &OverlayConfig) -> OverlayTag {
    if let Some(secret) = config.security.secret() {
        return OverlayTag(secret.tag());
    }
    let hash = config
        .name
        .bytes()
        .fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    OverlayTag(hash)
}
