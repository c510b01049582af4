//! Members that do not pass on as they should. An engine around their engine sees every frame in the clear, and spoils
//! what is not theirs; all else they do as everybody does, so that nobody can tell from their own answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atoll_core::security::{
    Action, Admission, Around, ChannelId, Credentials, Engine, Intent, Knock, SendError, Unusable,
};
use atoll_core::wire::{
    Address, EdgeId, FrameHeader, FrameKind, Header, Mode, OverlayTag, PacketHeader, PacketKind, Part,
};
use atoll_core::{Buffer, Deadline, Pool, Rng, Time};

/// How often a member that floods does so, and how many packets each of its peers gets then.
const FLOOD_EVERY: Duration = Duration::from_millis(20);
const FLOOD: usize = 10;

/// What a member does with what it ought to pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoil {
    /// It says that it has it, and that is all.
    Drop,
    /// It passes it on this much later.
    Delay(Duration),
    /// It passes it on twice.
    Twice,
    /// It passes something else on.
    Alter,
    /// It passes it on, and sends its peers much that nobody asked for.
    Flood,
    /// It passes it on, and keeps what it sees of it.
    Watch,
    /// It says to whoever sent it that it passes nothing on to there.
    Refuse,
    /// It passes on what others send; what it sends itself is for somebody whom nobody knows. It keeps the refusals.
    Misdirect,
}

/// What a member does, and how often it has done it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Switch(Arc<Mutex<Doing>>);

#[derive(Debug, Default)]
struct Doing {
    spoil: Option<(PacketKind, Spoil)>,
    spoiled: u64,
    seen: Vec<Vec<u8>>,
}

impl Switch {
    /// From now on packets of this kind are spoiled; none: the member is honest.
    pub(crate) fn turn(&self, spoil: Option<(PacketKind, Spoil)>) {
        *self.0.lock().unwrap() = Doing { spoil, ..Doing::default() };
    }

    /// Packets that were spoiled since then.
    pub(crate) fn spoiled(&self) -> u64 {
        self.0.lock().unwrap().spoiled
    }

    /// Frames that were watched since then, as the member sees them.
    pub(crate) fn take_seen(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.0.lock().unwrap().seen)
    }

    fn spoil(&self) -> Option<(PacketKind, Spoil)> {
        self.0.lock().unwrap().spoil
    }

    /// Puts the member's engines under this switch.
    pub(crate) fn around(&self, own: Address, pool: &Pool) -> Around {
        let (switch, pool) = (self.clone(), pool.clone());
        Around::new(move |engine| {
            let rng = Rng::new([7; 32]).fork(&own.to_string());
            let (switch, pool) = (switch.clone(), pool.clone());
            Box::new(Spoiler {
                engine,
                own,
                pool,
                switch,
                rng,
                late: VecDeque::new(),
                peers: BTreeSet::new(),
                asked: BTreeMap::new(),
                flood_at: Time::ZERO,
            })
        })
    }
}

#[derive(Debug)]
struct Spoiler {
    engine: Box<dyn Engine>,
    own: Address,
    pool: Pool,
    switch: Switch,
    rng: Rng,
    late: VecDeque<(Time, ChannelId, Buffer)>,
    peers: BTreeSet<ChannelId>,
    /// From where came what others have relayed.
    asked: BTreeMap<Address, ChannelId>,
    flood_at: Time,
}

impl Spoiler {
    /// A frame that holds a packet of somebody else, or where own ones are spoiled one of our own: what is to be done with
    /// it, its header, and the packet.
    fn caught(&self, payload: &Buffer) -> Option<(Spoil, FrameHeader, Buffer)> {
        let (kind, spoil) = self.switch.spoil()?;
        let mut packet = self.pool.copy(payload);
        let frame = FrameHeader::take(&mut packet).ok()?;
        if frame.kind != FrameKind::Packet {
            return None;
        }
        let (header, _) = PacketHeader::read(&packet).ok()?;
        let is_meant = (header.source == self.own) == (spoil == Spoil::Misdirect);
        (header.kind == kind && is_meant).then_some((spoil, frame, packet))
    }

    /// The packet in a frame that nobody acknowledges.
    fn loose(packet: &Buffer) -> Buffer {
        let mut body = packet.clone();
        FrameHeader { kind: FrameKind::Packet, ack: None, sequence: None }.prepend(&mut body);
        body
    }

    /// An empty frame in the place of another, so that nobody misses that.
    fn hush(&self, frame: FrameHeader) -> Buffer {
        let mut body = self.pool.take(0);
        FrameHeader { kind: FrameKind::Ack, ..frame }.prepend(&mut body);
        body
    }

    /// The same frame with one bit of the body of its packet changed.
    fn altered(&mut self, frame: FrameHeader, packet: &Buffer) -> Buffer {
        let (_, offset) = PacketHeader::read(packet).expect("it was read before");
        let mut bytes = packet.to_vec();
        if bytes.len() > offset {
            let at = offset + self.rng.below(bytes.len() - offset);
            bytes[at] ^= 1 << self.rng.below(8);
        }
        let mut body = self.pool.copy(&bytes);
        frame.prepend(&mut body);
        body
    }

    /// Says to whoever sent a packet what a relay says of which more is wanted than it gives.
    fn refuse(&mut self, packet: &Buffer, now: Time) {
        let (header, _) = PacketHeader::read(packet).expect("it was read before");
        let Some(asked) = self.asked.get(&header.source) else { return };
        let mut body = self.pool.copy(&header.destination.to_bytes());
        PacketHeader::new(PacketKind::NotRelayed, Mode::Exact, self.own, header.source).prepend(&mut body);
        FrameHeader { kind: FrameKind::Packet, ack: None, sequence: None }.prepend(&mut body);
        let _ = self.engine.send(*asked, body, now);
    }

    /// Notes who sends us what is for others, and where this one is misdirected that somebody refused it.
    fn note(&mut self, channel: ChannelId, payload: &Buffer) {
        let mut packet = self.pool.copy(payload);
        if !FrameHeader::take(&mut packet).is_ok_and(|frame| frame.kind == FrameKind::Packet) {
            return;
        }
        let Ok((header, _)) = PacketHeader::read(&packet) else { return };
        match header.kind {
            PacketKind::Relayed if header.source != self.own => {
                self.asked.insert(header.source, channel);
            }
            PacketKind::NotRelayed if matches!(self.switch.spoil(), Some((_, Spoil::Misdirect))) => {
                self.switch.0.lock().unwrap().seen.push(payload.to_vec());
            }
            _ => {}
        }
    }

    /// The same frame with another end for its packet.
    fn misdirected(&self, frame: FrameHeader, packet: &Buffer) -> Buffer {
        let (header, offset) = PacketHeader::read(packet).expect("it was read before");
        let mut nobody = header.destination.to_bytes();
        nobody[Address::LEN - 1] ^= 1;
        let route = vec![header.route[0], Address::from_bytes(nobody)];
        let mut body = self.pool.copy(&packet[offset..]);
        let elsewhere = PacketHeader::sourced(header.kind, self.own, route);
        PacketHeader { position: header.position, ..elsewhere }.prepend(&mut body);
        frame.prepend(&mut body);
        body
    }

    /// A packet that nobody asked for, as if others had sent it through this member.
    fn junk(&mut self) -> Buffer {
        let mut source = [0; Address::LEN];
        self.rng.fill(&mut source);
        let mut datagram = vec![0; [30, 200, 1150][self.rng.below(3)]];
        self.rng.fill(&mut datagram);
        let mut datagram = self.pool.copy(&datagram);
        let edge = EdgeId(self.rng.next_u32());
        // A knock at the public overlay, a record of some edge, or whatever it is.
        match self.rng.below(3) {
            0 => Header::Long { tag: tag(), sender: edge, receiver: EdgeId(0) }.prepend(&mut datagram),
            1 => Header::Short { receiver: edge }.prepend(&mut datagram),
            _ => {}
        }
        // Of what is long only the first half is sent.
        let (mut body, _) = Part::split(datagram, 1100, self.rng.next_u32() as u16);
        let route = vec![self.own, self.own];
        let header = PacketHeader::sourced(PacketKind::Relayed, Address::from_bytes(source), route);
        let header = PacketHeader { position: 2, ..header };
        header.prepend(&mut body);
        FrameHeader { kind: FrameKind::Packet, ack: None, sequence: None }.prepend(&mut body);
        body
    }

    fn floods(&self) -> bool {
        matches!(self.switch.spoil(), Some((_, Spoil::Flood)))
    }

    fn flood(&mut self, now: Time) {
        if !self.floods() || self.flood_at > now {
            return;
        }
        self.flood_at = now + FLOOD_EVERY;
        for channel in self.peers.clone() {
            for _ in 0..FLOOD {
                let junk = self.junk();
                let _ = self.engine.send(channel, junk, now);
                self.switch.0.lock().unwrap().spoiled += 1;
            }
        }
    }
}

/// The tag of the public overlay, by the hash of its name.
fn tag() -> OverlayTag {
    let hash = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    OverlayTag(b"public".iter().fold(0x811c_9dc5, hash))
}

impl Engine for Spoiler {
    fn connect(&mut self, channel: ChannelId, intent: Intent, now: Time) {
        self.engine.connect(channel, intent, now);
    }

    fn admit(&mut self, knock: Knock<'_>, token_known: &dyn Fn(u64) -> bool, now: Time) -> Admission {
        self.engine.admit(knock, token_known, now)
    }

    fn accept(&mut self, channel: ChannelId, datagram: &[u8], now: Time) {
        self.engine.accept(channel, datagram, now);
    }

    fn handshake(&mut self, channel: ChannelId, datagram: &[u8], now: Time) {
        self.engine.handshake(channel, datagram, now);
    }

    fn record(&mut self, channel: ChannelId, record: Buffer, now: Time) {
        self.engine.record(channel, record, now);
    }

    fn send(&mut self, channel: ChannelId, payload: Buffer, now: Time) -> Result<(), SendError> {
        let Some((spoil, frame, packet)) = self.caught(&payload) else {
            return self.engine.send(channel, payload, now);
        };
        if spoil != Spoil::Flood {
            self.switch.0.lock().unwrap().spoiled += 1;
        }
        match spoil {
            Spoil::Flood => self.engine.send(channel, payload, now),
            Spoil::Watch => {
                self.switch.0.lock().unwrap().seen.push(payload.to_vec());
                self.engine.send(channel, payload, now)
            }
            Spoil::Drop => self.engine.send(channel, self.hush(frame), now),
            Spoil::Delay(span) => {
                self.late.push_back((now + span, channel, Self::loose(&packet)));
                self.engine.send(channel, self.hush(frame), now)
            }
            Spoil::Twice => {
                self.engine.send(channel, payload, now)?;
                self.engine.send(channel, Self::loose(&packet), now)
            }
            Spoil::Refuse => {
                self.refuse(&packet, now);
                self.engine.send(channel, self.hush(frame), now)
            }
            Spoil::Misdirect => {
                let misdirected = self.misdirected(frame, &packet);
                self.engine.send(channel, misdirected, now)
            }
            Spoil::Alter => {
                let altered = self.altered(frame, &packet);
                self.engine.send(channel, altered, now)
            }
        }
    }

    fn renew(&mut self, channel: ChannelId, now: Time) {
        self.engine.renew(channel, now);
    }

    fn present(&mut self, credentials: &Credentials) -> Result<(), Unusable> {
        self.engine.present(credentials)
    }

    fn forget(&mut self, channel: ChannelId) {
        self.peers.remove(&channel);
        self.engine.forget(channel);
    }

    fn handle_timeout(&mut self, now: Time) {
        while self.late.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, channel, payload)) = self.late.pop_front() else { break };
            let _ = self.engine.send(channel, payload, now);
        }
        self.flood(now);
        self.engine.handle_timeout(now);
    }

    fn poll(&mut self) -> Option<Action> {
        let action = self.engine.poll();
        match &action {
            Some(Action::Up(channel, _)) => drop(self.peers.insert(*channel)),
            Some(Action::Down(channel, _)) => drop(self.peers.remove(channel)),
            Some(Action::Opened(channel, payload)) => self.note(*channel, payload),
            _ => {}
        }
        action
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        let late = self.late.front().map(|(at, ..)| Deadline { at: *at, reason: "late packet" });
        let flood = Some(Deadline { at: self.flood_at, reason: "flood" }).filter(|_| self.floods());
        [late, flood].into_iter().fold(self.engine.poll_timeout(), Deadline::earlier)
    }

    fn overhead(&self) -> usize {
        self.engine.overhead()
    }
}
