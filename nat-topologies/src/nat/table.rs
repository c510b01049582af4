//! The mappings of one gateway and the sessions that its filter remembers.
//!
//! Entries expire when they are looked at or swept. A dead mapping keeps its external port from others until
//! the hold time is over (RFC 6888 REQ-8). Nothing here knows how ports are picked.

use std::net::SocketAddr;

use super::key::{Key, Lookup, SessionKey, number};
use crate::packet::Owner;
use crate::{Dependence, Gateway, Protocol, TcpFlags};

/// Mappings of one gateway. When it is full, expired ones go; if there are none, new ones are refused, since
/// throwing out live ones would break RFC 4787 REQ-11.
pub(super) const MAPPINGS_MAX: usize = 1 << 18;
/// Sessions and claims of one gateway, each. When it is full, expired ones go; else the new one is not kept.
pub(super) const SESSIONS_MAX: usize = 1 << 19;
/// Time between two sweeps of a table.
const SWEEP_EVERY: u64 = 30_000_000_000;

/// Which side a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Outbound,
    Inbound,
}

/// One mapping: internal transport address to external transport address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapping {
    pub(super) inside: SocketAddr,
    pub(super) outside: SocketAddr,
    /// Who has the internal address.
    pub(super) owner: Owner,
    /// Instant, in nanoseconds, from which on it is dead.
    pub(super) expires: u64,
    /// Unique in this table; sessions refer to it.
    pub(super) serial: u32,
    tcp_sessions: u32,
    pub(super) protocol: Protocol,
    inside_key: Key,
    outside_key: Key,
}

/// What the filter remembers of one remote transport address.
#[derive(Clone, Copy, Debug, Default)]
struct Session {
    expires: u64,
    sent: bool,
    received: bool,
    closing: bool,
}

/// What one internal host has.
#[derive(Clone, Debug, Default)]
pub(super) struct Subscriber {
    /// Which of the external addresses it is paired with.
    pub(super) pool: u16,
    /// Mappings by protocol, dead ones included until they are swept.
    pub(super) mappings: [u32; 3],
    /// Its blocks of ports: number in the pool and number of the block.
    pub(super) blocks: Vec<(u16, u16)>,
}

/// The timers of a gateway, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetimes {
    pub(super) udp: u64,
    established: u64,
    pub(super) transitory: u64,
    icmp: u64,
    hold: u64,
}

impl Lifetimes {
    pub(super) fn new(gateway: &Gateway) -> Self {
        let timers = &gateway.timers;
        Self {
            udp: crate::path::nanos(timers.udp),
            established: crate::path::nanos(timers.tcp_established),
            transitory: crate::path::nanos(timers.tcp_transitory),
            icmp: crate::path::nanos(timers.icmp),
            hold: crate::path::nanos(gateway.hold),
        }
    }
}

/// A mapping about to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) protocol: Protocol,
    pub(super) inside: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) owner: Owner,
}

#[derive(Debug)]
pub(super) struct Table {
    mapping: Dependence,
    filtering: Dependence,
    /// How much of the remote address tells external ports apart.
    sharing: Dependence,
    lifetimes: Lifetimes,
    slots: Vec<Mapping>,
    free: Vec<u32>,
    by_inside: Lookup<Key, u32>,
    by_outside: Lookup<Key, u32>,
    sessions: Lookup<SessionKey, Session>,
    claims: Lookup<Key, u64>,
    pub(super) subscribers: Lookup<u128, Subscriber>,
    serial: u32,
    sweep_at: u64,
}

impl Table {
    pub(super) fn new(gateway: &Gateway) -> Self {
        let sharing = if gateway.overloading {
            Dependence::AddressAndPortDependent
        } else {
            Dependence::EndpointIndependent
        };
        Self {
            mapping: gateway.mapping,
            filtering: gateway.filtering,
            sharing,
            lifetimes: Lifetimes::new(gateway),
            slots: Vec::new(),
            free: Vec::new(),
            by_inside: Lookup::default(),
            by_outside: Lookup::default(),
            sessions: Lookup::default(),
            claims: Lookup::default(),
            subscribers: Lookup::default(),
            serial: 0,
            sweep_at: 0,
        }
    }

    pub(super) fn get(&self, slot: u32) -> &Mapping {
        &self.slots[slot as usize]
    }

    /// Mappings in the table, dead ones included.
    pub(super) const fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Mappings that live at `now`.
    pub(super) fn live(&self, now: u64) -> usize {
        self.slots.iter().filter(|mapping| mapping.expires > now).count()
    }

    /// The live mapping for a packet from inside.
    pub(super) fn from_inside(
        &mut self,
        protocol: Protocol,
        inside: SocketAddr,
        remote: SocketAddr,
        now: u64,
    ) -> Option<u32> {
        let key = Key::new(protocol, inside, remote, self.mapping);
        let slot = *self.by_inside.get(&key)?;
        if self.get(slot).expires > now {
            return Some(slot);
        }
        self.by_inside.remove(&key);
        if self.lifetimes.hold == 0 {
            self.remove(slot);
        }
        None
    }

    /// The live mapping for a packet from outside.
    pub(super) fn from_outside(
        &self,
        protocol: Protocol,
        outside: SocketAddr,
        remote: SocketAddr,
        now: u64,
    ) -> Option<u32> {
        let slot = *self.by_outside.get(&Key::new(protocol, outside, remote, self.sharing))?;
        (self.get(slot).expires > now).then_some(slot)
    }

    /// True if nobody else has or holds this external transport address towards `flow.remote`.
    pub(super) fn is_free(&mut self, flow: &Flow, outside: SocketAddr, now: u64) -> bool {
        if self.claims.get(&claim_key(flow.protocol, outside, flow.remote)).is_some_and(|until| *until > now)
        {
            return false;
        }
        let key = Key::new(flow.protocol, outside, flow.remote, self.sharing);
        let Some(&slot) = self.by_outside.get(&key) else { return true };
        let mapping = self.get(slot);
        if mapping.expires > now {
            return false;
        }
        let released = now >= mapping.expires.saturating_add(self.lifetimes.hold);
        if !released && mapping.inside.ip() != flow.inside.ip() {
            return false;
        }
        self.remove(slot);
        true
    }

    /// Makes the mapping, to be refreshed at once; the caller made sure that `outside` is free.
    pub(super) fn insert(&mut self, flow: &Flow, outside: SocketAddr, now: u64) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        let mapping = Mapping {
            inside: flow.inside,
            outside,
            owner: flow.owner,
            expires: now + 1,
            serial: self.serial,
            tcp_sessions: 0,
            protocol: flow.protocol,
            inside_key: Key::new(flow.protocol, flow.inside, flow.remote, self.mapping),
            outside_key: Key::new(flow.protocol, outside, flow.remote, self.sharing),
        };
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = mapping;
            slot
        } else {
            self.slots.push(mapping);
            (self.slots.len() - 1) as u32
        };
        self.by_inside.insert(mapping.inside_key, slot);
        self.by_outside.insert(mapping.outside_key, slot);
        let subscriber = self.subscribers.entry(number(flow.inside.ip())).or_default();
        subscriber.mappings[flow.protocol as usize] += 1;
        slot
    }

    /// A packet passed through the mapping: its timer, and with it the filter's entry, starts again.
    pub(super) fn refresh(&mut self, slot: u32, packet: &Passing, now: u64) {
        let dependence = if packet.protocol == Protocol::Tcp {
            Dependence::AddressAndPortDependent
        } else {
            self.filtering
        };
        let mapping = &mut self.slots[slot as usize];
        let serial = mapping.serial;
        match packet.protocol {
            Protocol::Udp => mapping.expires = now + self.lifetimes.udp,
            Protocol::Icmp => mapping.expires = now + self.lifetimes.icmp,
            Protocol::Tcp => {}
        }
        let expires = mapping.expires;
        if dependence == Dependence::EndpointIndependent || !self.has_room_for_session(now) {
            return;
        }
        let session = self.sessions.entry(SessionKey::new(serial, packet.remote, dependence)).or_default();
        if packet.protocol != Protocol::Tcp {
            session.expires = expires;
            return;
        }
        let is_new = session.expires <= now;
        session.advance(packet);
        session.expires = now
            + if session.is_established() { self.lifetimes.established } else { self.lifetimes.transitory };
        let expires = session.expires;
        self.refresh_tcp(slot, packet.remote, is_new, expires);
    }

    fn refresh_tcp(&mut self, slot: u32, remote: SocketAddr, is_new: bool, expires: u64) {
        let mapping = &mut self.slots[slot as usize];
        mapping.tcp_sessions += u32::from(is_new);
        // With several sessions the longest-lived one counts.
        mapping.expires = if mapping.tcp_sessions > 1 { mapping.expires.max(expires) } else { expires };
        if self.filtering == Dependence::AddressDependent {
            let key = SessionKey::new(mapping.serial, remote, self.filtering);
            let session = self.sessions.entry(key).or_default();
            session.expires = session.expires.max(expires);
        }
    }

    fn has_room_for_session(&mut self, now: u64) -> bool {
        if self.sessions.len() < SESSIONS_MAX {
            return true;
        }
        self.sweep(now);
        self.sessions.len() < SESSIONS_MAX
    }

    /// True if the filter lets packets from `remote` in through this mapping.
    pub(super) fn admits(&self, slot: u32, remote: SocketAddr, now: u64) -> bool {
        if self.filtering == Dependence::EndpointIndependent {
            return true;
        }
        let key = SessionKey::new(self.get(slot).serial, remote, self.filtering);
        self.sessions.get(&key).is_some_and(|session| session.expires > now)
    }

    /// An early inbound packet: from now on `outside` is taken towards `remote`.
    pub(super) fn claim(&mut self, protocol: Protocol, outside: SocketAddr, remote: SocketAddr, until: u64) {
        if self.claims.len() < SESSIONS_MAX {
            self.claims.insert(claim_key(protocol, outside, remote), until);
        }
    }

    /// Sweeps if it is time to.
    pub(super) fn sweep_now_and_then(&mut self, now: u64) {
        if now >= self.sweep_at {
            self.sweep(now);
        }
    }

    /// Removes what is dead and no longer held.
    pub(super) fn sweep(&mut self, now: u64) {
        self.sweep_at = now + SWEEP_EVERY;
        for slot in 0..self.slots.len() as u32 {
            let mapping = self.get(slot);
            if mapping.expires != 0 && now >= mapping.expires.saturating_add(self.lifetimes.hold) {
                self.remove(slot);
            }
        }
        self.sessions.retain(|_, session| session.expires > now);
        self.claims.retain(|_, until| *until > now);
    }

    fn remove(&mut self, slot: u32) {
        let mapping = self.slots[slot as usize];
        if self.by_inside.get(&mapping.inside_key) == Some(&slot) {
            self.by_inside.remove(&mapping.inside_key);
        }
        self.by_outside.remove(&mapping.outside_key);
        // An expiry of 0 marks the slot as empty.
        self.slots[slot as usize].expires = 0;
        self.free.push(slot);
        if let Some(subscriber) = self.subscribers.get_mut(&number(mapping.inside.ip())) {
            subscriber.mappings[mapping.protocol as usize] -= 1;
        }
    }
}

/// A packet that passes through a mapping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passing {
    pub(super) protocol: Protocol,
    pub(super) remote: SocketAddr,
    pub(super) direction: Direction,
    pub(super) flags: TcpFlags,
}

impl Session {
    fn advance(&mut self, packet: &Passing) {
        if packet.flags.has(TcpFlags::SYN) && self.closing {
            *self = Self::default();
        }
        self.closing |= packet.flags.has(TcpFlags::FIN) || packet.flags.has(TcpFlags::RST);
        match packet.direction {
            Direction::Outbound => self.sent = true,
            Direction::Inbound => self.received = true,
        }
    }

    const fn is_established(self) -> bool {
        self.sent && self.received && !self.closing
    }
}

const fn claim_key(protocol: Protocol, outside: SocketAddr, remote: SocketAddr) -> Key {
    Key::new(protocol, outside, remote, Dependence::AddressAndPortDependent)
}
