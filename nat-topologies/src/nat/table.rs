//! The mappings of one gateway.
//!
//! Mappings expire when they are looked at or swept. A dead one keeps its external port from others until the hold time
//! is over (RFC 6888 REQ-8). Small tables are searched, large ones indexed. Nothing here knows how ports are picked.

use std::net::SocketAddr;

use super::key::{Endpoint, Key, Lookup, number};
use super::session::{Direction, Sessions};
use crate::packet::Owner;
use crate::path::nanos;
use crate::{Dependence, Gateway, Protocol, TcpFlags};

/// Mappings of one gateway. When it is full, expired ones go; if there are none, new ones are refused, since
/// throwing out live ones would break RFC 4787 REQ-11.
pub(super) const MAPPINGS_MAX: usize = 1 << 18;
/// Sessions of one gateway. When it is full, expired ones go; else the packet passes and leaves no session.
const SESSIONS_MAX: usize = 1 << 19;
/// Claims of one gateway. When it is full, the next one is not kept.
const CLAIMS_MAX: usize = 1 << 16;
/// Tables up to this size are searched.
const SEARCHED_MAX: usize = 6;
/// Time between two sweeps of a table, in nanoseconds.
const SWEEP_EVERY: u64 = 30_000_000_000;
/// Expiry of a free slot.
const FREE: u64 = 0;

/// One mapping: internal transport address to external transport address.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    inside: Endpoint,
    outside: Endpoint,
    /// As much of the first remote address as the mapping depends on.
    remote: Endpoint,
    protocol: Protocol,
    /// Who has the internal address.
    pub(super) owner: Owner,
    /// Instant, in nanoseconds, from which on it is dead.
    expires: u64,
    sessions: Sessions,
}

impl Mapping {
    pub(super) fn inside(&self) -> SocketAddr {
        self.inside.address()
    }

    pub(super) fn outside(&self) -> SocketAddr {
        self.outside.address()
    }
}

/// What one internal host has.
#[derive(Clone, Debug, Default)]
pub(super) struct Subscriber {
    /// Which of the external addresses it is paired with.
    pub(super) pool: u16,
    /// Mappings by protocol, dead ones included until they are swept.
    pub(super) mappings: [u32; 3],
    /// Its blocks of ports: number in the pool and number of the block. It keeps them until the gateway restarts.
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
    fn new(gateway: &Gateway) -> Self {
        let timers = &gateway.timers;
        Self {
            udp: nanos(timers.udp),
            established: nanos(timers.tcp_established),
            transitory: nanos(timers.tcp_transitory),
            icmp: nanos(timers.icmp),
            hold: nanos(gateway.hold),
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

/// A packet that passes through a mapping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passing {
    pub(super) protocol: Protocol,
    pub(super) remote: SocketAddr,
    pub(super) direction: Direction,
    pub(super) flags: TcpFlags,
}

/// Where mappings of a large table are.
#[derive(Debug, Default)]
struct Index {
    inside: Lookup<Key, u32>,
    outside: Lookup<Key, u32>,
}

/// What few packets need.
#[derive(Debug, Default)]
struct Rare {
    free: Vec<u32>,
    index: Option<Index>,
    /// Until when an early packet holds an external port towards its own source.
    claims: Lookup<Key, u64>,
    subscribers: Lookup<u128, Subscriber>,
    sessions: usize,
    sweep_at: u64,
}

#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Mapping>,
    mapping: Dependence,
    filtering: Dependence,
    /// How much of the remote address tells external ports apart.
    sharing: Dependence,
    is_indexed: bool,
    pub(super) lifetimes: Lifetimes,
    rare: Box<Rare>,
}

impl Table {
    pub(super) fn new(gateway: &Gateway) -> Self {
        let sharing = if gateway.overloading {
            Dependence::AddressAndPortDependent
        } else {
            Dependence::EndpointIndependent
        };
        Self {
            slots: Vec::new(),
            mapping: gateway.mapping,
            filtering: gateway.filtering,
            sharing,
            is_indexed: false,
            lifetimes: Lifetimes::new(gateway),
            rare: Box::default(),
        }
    }

    pub(super) fn get(&self, slot: u32) -> &Mapping {
        &self.slots[slot as usize]
    }

    /// Mappings in the table, dead ones included.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.rare.free.len()
    }

    /// Mappings that live at `now`.
    pub(super) fn live(&self, now: u64) -> usize {
        self.slots.iter().filter(|mapping| mapping.expires > now).count()
    }

    /// What the internal host with this address has, as a `number`.
    pub(super) fn subscriber(&mut self, inside: u128) -> Option<&mut Subscriber> {
        self.rare.subscribers.get_mut(&inside)
    }

    /// The same, new if need be.
    pub(super) fn subscriber_or(
        &mut self,
        inside: u128,
        new: impl FnOnce() -> Subscriber,
    ) -> &mut Subscriber {
        self.rare.subscribers.entry(inside).or_insert_with(new)
    }

    /// The live mapping for a packet from inside.
    pub(super) fn find_inside(&self, key: (Protocol, SocketAddr, SocketAddr), now: u64) -> Option<u32> {
        let (protocol, inside, remote) = key;
        let key = Key::new(protocol, inside, remote, self.mapping);
        let slot = match &self.rare.index {
            Some(index) if self.is_indexed => *index.inside.get(&key)?,
            _ => self.search(|mapping| {
                mapping.inside == key.local
                    && mapping.protocol == protocol
                    && mapping.remote == key.remote
                    && mapping.expires > now
            })?,
        };
        (self.get(slot).expires > now).then_some(slot)
    }

    /// The live mapping for a packet from outside.
    pub(super) fn find_outside(&self, key: (Protocol, SocketAddr, SocketAddr), now: u64) -> Option<u32> {
        let slot = self.holder(key)?;
        (self.get(slot).expires > now).then_some(slot)
    }

    /// The mapping, dead or alive, that has an external transport address.
    fn holder(&self, key: (Protocol, SocketAddr, SocketAddr)) -> Option<u32> {
        let (protocol, outside, remote) = key;
        if self.is_indexed {
            let key = Key::new(protocol, outside, remote, self.sharing);
            return self.rare.index.as_ref()?.outside.get(&key).copied();
        }
        let local = Endpoint::new(outside);
        let is_shared = self.sharing != Dependence::EndpointIndependent;
        self.search(|mapping| {
            mapping.outside == local
                && mapping.protocol == protocol
                && mapping.expires != FREE
                && (!is_shared || mapping.remote == Endpoint::new(remote))
        })
    }

    fn search(&self, is_it: impl Fn(&Mapping) -> bool) -> Option<u32> {
        self.slots.iter().position(is_it).map(|slot| slot as u32)
    }

    /// True if nobody else has or holds this external transport address towards `flow.remote`.
    pub(super) fn is_free(&mut self, flow: &Flow, outside: SocketAddr, now: u64) -> bool {
        if !self.rare.claims.is_empty() {
            let key = claim_key(flow.protocol, outside, flow.remote);
            if self.rare.claims.get(&key).is_some_and(|until| *until > now) {
                return false;
            }
        }
        let Some(slot) = self.holder((flow.protocol, outside, flow.remote)) else { return true };
        let mapping = self.get(slot);
        if mapping.expires > now {
            return false;
        }
        let is_released = now >= mapping.expires.saturating_add(self.lifetimes.hold);
        if !is_released && mapping.inside().ip() != flow.inside.ip() {
            return false;
        }
        self.remove(slot);
        true
    }

    /// Makes the mapping, to be refreshed at once; the caller made sure that `outside` is free.
    pub(super) fn insert(&mut self, flow: &Flow, outside: SocketAddr, now: u64) -> u32 {
        let mapping = Mapping {
            inside: Endpoint::new(flow.inside),
            outside: Endpoint::new(outside),
            remote: Endpoint::masked(flow.remote, self.mapping),
            protocol: flow.protocol,
            owner: flow.owner,
            expires: now + 1,
            sessions: Sessions::default(),
        };
        let slot = if let Some(slot) = self.rare.free.pop() {
            self.slots[slot as usize] = mapping;
            slot
        } else {
            self.slots.push(mapping);
            (self.slots.len() - 1) as u32
        };
        if self.is_indexed {
            self.index(slot);
        } else if self.slots.len() > SEARCHED_MAX {
            self.is_indexed = true;
            self.rare.index = Some(Index::default());
            (0..self.slots.len() as u32).for_each(|slot| self.index(slot));
        }
        let subscriber = self.subscriber_or(number(flow.inside.ip()), Subscriber::default);
        subscriber.mappings[flow.protocol as usize] += 1;
        slot
    }

    fn keys(&self, mapping: &Mapping) -> [Key; 2] {
        let Mapping { inside, outside, remote, protocol, .. } = *mapping;
        let shared = match self.sharing {
            Dependence::EndpointIndependent => Endpoint::masked(outside.address(), self.sharing),
            _ => remote,
        };
        [Key { local: inside, remote, protocol }, Key { local: outside, remote: shared, protocol }]
    }

    fn index(&mut self, slot: u32) {
        let mapping = self.get(slot);
        if mapping.expires == FREE {
            return;
        }
        let [inside, outside] = self.keys(mapping);
        let Some(index) = &mut self.rare.index else { return };
        index.outside.insert(outside, slot);
        // A dead mapping of the same flow may still hold its port.
        let other = index.inside.entry(inside).or_insert(slot);
        if self.slots[*other as usize].expires < self.slots[slot as usize].expires {
            *other = slot;
        }
    }

    /// A packet passed through the mapping: its timer, and with it the filter's entry, starts again.
    pub(super) fn refresh(&mut self, slot: u32, packet: &Passing, now: u64) {
        let lifetime = match packet.protocol {
            Protocol::Udp => self.lifetimes.udp,
            Protocol::Icmp => self.lifetimes.icmp,
            Protocol::Tcp => return self.refresh_tcp(slot, packet, now),
        };
        let mapping = &mut self.slots[slot as usize];
        mapping.expires = now + lifetime;
        if self.filtering != Dependence::EndpointIndependent {
            let remote = Endpoint::masked(packet.remote, self.filtering);
            self.keep_session(slot, remote, now, |session| session.set_expires(now + lifetime));
        }
    }

    fn refresh_tcp(&mut self, slot: u32, packet: &Passing, now: u64) {
        let Lifetimes { established, transitory, .. } = self.lifetimes;
        let mut expires = now + transitory;
        self.keep_session(slot, Endpoint::new(packet.remote), now, |session| {
            session.advance(packet.direction, packet.flags);
            expires = now + if session.is_established() { established } else { transitory };
            session.set_expires(expires);
        });
        if self.filtering == Dependence::AddressDependent {
            let remote = Endpoint::masked(packet.remote, self.filtering);
            self.keep_session(slot, remote, now, |session| {
                session.set_expires(expires.max(session.expires()))
            });
        }
        let mapping = &mut self.slots[slot as usize];
        let alone = if self.filtering == Dependence::AddressDependent { 2 } else { 1 };
        // With several connections the one that lives longest counts.
        let is_alone = mapping.sessions.len() <= alone;
        mapping.expires = if is_alone { expires } else { mapping.expires.max(expires) };
    }

    fn keep_session(
        &mut self,
        slot: u32,
        remote: Endpoint,
        now: u64,
        change: impl FnOnce(&mut super::session::Session),
    ) {
        if self.rare.sessions >= SESSIONS_MAX {
            self.sweep(now);
            if self.rare.sessions >= SESSIONS_MAX {
                return;
            }
        }
        let sessions = &mut self.slots[slot as usize].sessions;
        let before = sessions.len();
        change(sessions.entry(remote));
        self.rare.sessions += sessions.len() - before;
    }

    /// True if the filter lets packets from `remote` in through this mapping.
    pub(super) fn admits(&self, slot: u32, remote: SocketAddr, now: u64) -> bool {
        if self.filtering == Dependence::EndpointIndependent {
            return true;
        }
        let session = self.get(slot).sessions.get(Endpoint::masked(remote, self.filtering));
        session.is_some_and(|session| session.expires() > now)
    }

    /// An early inbound packet: until then `outside` is taken towards `remote`.
    pub(super) fn claim(&mut self, protocol: Protocol, outside: SocketAddr, remote: SocketAddr, until: u64) {
        if self.rare.claims.len() < CLAIMS_MAX {
            self.rare.claims.insert(claim_key(protocol, outside, remote), until);
        }
    }

    /// Sweeps if it is time to.
    pub(super) fn sweep_now_and_then(&mut self, now: u64) {
        if now >= self.rare.sweep_at {
            self.sweep(now);
        }
    }

    /// Removes what is dead and no longer held.
    pub(super) fn sweep(&mut self, now: u64) {
        let mut sessions = 0;
        for slot in 0..self.slots.len() as u32 {
            let mapping = &mut self.slots[slot as usize];
            if mapping.expires == FREE {
                continue;
            }
            if now >= mapping.expires.saturating_add(self.lifetimes.hold) {
                self.remove(slot);
                continue;
            }
            mapping.sessions.sweep(now);
            sessions += mapping.sessions.len();
        }
        self.rare.sweep_at = now + SWEEP_EVERY;
        self.rare.sessions = sessions;
        self.rare.claims.retain(|_, until| *until > now);
    }

    fn remove(&mut self, slot: u32) {
        let mapping = self.get(slot);
        let (protocol, inside) = (mapping.protocol, mapping.inside.number());
        let [inside_key, outside_key] = self.keys(mapping);
        if let Some(index) = &mut self.rare.index {
            if index.inside.get(&inside_key) == Some(&slot) {
                index.inside.remove(&inside_key);
            }
            index.outside.remove(&outside_key);
        }
        let mapping = &mut self.slots[slot as usize];
        mapping.expires = FREE;
        self.rare.sessions -= mapping.sessions.len().min(self.rare.sessions);
        mapping.sessions = Sessions::default();
        self.rare.free.push(slot);
        if let Some(subscriber) = self.subscriber(inside) {
            subscriber.mappings[protocol as usize] -= 1;
        }
    }
}

const fn claim_key(protocol: Protocol, outside: SocketAddr, remote: SocketAddr) -> Key {
    Key::new(protocol, outside, remote, Dependence::AddressAndPortDependent)
}
