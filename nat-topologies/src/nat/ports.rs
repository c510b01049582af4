//! Which external port a new mapping gets (RFC 4787 section 4.2).
//!
//! Ports stay in their range, 1 to 1023 or 1024 to 65535 (REQ-3a), and keep their parity where the gateway says so
//! (REQ-4). Blocks lie above 1023. Never looks at a packet.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use rand_chacha::ChaCha8Rng;
use rand_core::Rng as _;

use super::key::{Lookup, number};
use super::table::{Flow, Subscriber, Table};
use crate::{Allocator, DropReason, Gateway, Pooling};

/// Random tries before a range is searched from end to end.
const RANDOM_TRIES: u32 = 16;
/// After a search of a whole range in vain, the next one waits this long; until then new mappings are refused.
const RETRY_AFTER: u64 = 1_000_000_000;

const LOW: RangeInclusive<u16> = 1..=1023;
const HIGH: RangeInclusive<u16> = 1024..=65535;

/// What the allocator remembers.
#[derive(Debug, Default)]
pub(super) struct PortCursor {
    /// Next port of each range, low and high; 0 before the first use.
    next: [u16; 2],
    exhausted_until: u64,
    subscribers_seen: u32,
    blocks: Lookup<(u16, u16), u128>,
}

/// All that picking a port needs.
pub(super) struct Picker<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) external: &'a [IpAddr],
    pub(super) table: &'a mut Table,
    pub(super) cursor: &'a mut PortCursor,
    pub(super) rng: &'a mut ChaCha8Rng,
    pub(super) now: u64,
}

impl Picker<'_> {
    /// An external transport address that is free for this flow.
    pub(super) fn pick(&mut self, flow: &Flow) -> Result<SocketAddr, DropReason> {
        self.check_limit(flow)?;
        let pool = self.pool_index(flow);
        let ip = self.external[usize::from(pool)];
        if let Some(size) = self.gateway.ports.block {
            return self.pick_in_blocks(flow, pool, size);
        }
        if self.now < self.cursor.exhausted_until {
            return Err(DropReason::PortsExhausted);
        }
        let wanted = flow.inside.port();
        if self.gateway.ports.preserve && wanted != 0 && self.suits(flow, ip, wanted) {
            return Ok(SocketAddr::new(ip, wanted));
        }
        let range = if wanted < 1024 { LOW } else { HIGH };
        let port = match self.gateway.ports.otherwise {
            Allocator::Sequential { step } => self.sequential(flow, ip, range, step),
            Allocator::Random => self.random(flow, ip, range),
        };
        port.map(|port| SocketAddr::new(ip, port)).ok_or_else(|| {
            self.cursor.exhausted_until = self.now + RETRY_AFTER;
            DropReason::PortsExhausted
        })
    }

    fn check_limit(&mut self, flow: &Flow) -> Result<(), DropReason> {
        let Some(limit) = self.gateway.ports_per_subscriber else { return Ok(()) };
        if self.mappings_of(flow) < limit {
            return Ok(());
        }
        self.table.sweep(self.now);
        if self.mappings_of(flow) < limit { Ok(()) } else { Err(DropReason::SubscriberLimit) }
    }

    fn mappings_of(&mut self, flow: &Flow) -> u32 {
        let subscriber = self.table.subscriber(number(flow.inside.ip()));
        subscriber.map_or(0, |subscriber| subscriber.mappings[flow.protocol as usize])
    }

    /// Which external address the flow gets (RFC 4787 REQ-2).
    fn pool_index(&mut self, flow: &Flow) -> u16 {
        let size = self.external.len() as u16;
        let seen = &mut self.cursor.subscribers_seen;
        let subscriber = self.table.subscriber_or(number(flow.inside.ip()), || {
            *seen = seen.wrapping_add(1);
            Subscriber { pool: (seen.wrapping_sub(1) % u32::from(size)) as u16, ..Subscriber::default() }
        });
        match self.gateway.pooling {
            Pooling::Arbitrary if size > 1 => (self.rng.next_u32() % u32::from(size)) as u16,
            _ => subscriber.pool,
        }
    }

    fn suits(&mut self, flow: &Flow, ip: IpAddr, port: u16) -> bool {
        if self.gateway.parity && (port ^ flow.inside.port()) & 1 != 0 {
            return false;
        }
        self.table.is_free(flow, SocketAddr::new(ip, port), self.now)
    }

    fn sequential(&mut self, flow: &Flow, ip: IpAddr, range: RangeInclusive<u16>, step: u16) -> Option<u16> {
        let class = usize::from(*range.start() >= 1024);
        if self.cursor.next[class] == 0 {
            self.cursor.next[class] = self.any_of(&range);
        }
        for _ in 0..=u32::from(range.end() - range.start()) / u32::from(step.max(1)) {
            let port = self.cursor.next[class];
            self.cursor.next[class] = match port.checked_add(step) {
                Some(next) if range.contains(&next) => next,
                _ => *range.start(),
            };
            if self.suits(flow, ip, port) {
                return Some(port);
            }
        }
        self.search(flow, ip, &range)
    }

    fn random(&mut self, flow: &Flow, ip: IpAddr, range: RangeInclusive<u16>) -> Option<u16> {
        for _ in 0..RANDOM_TRIES {
            let port = self.any_of(&range);
            if self.suits(flow, ip, port) {
                return Some(port);
            }
        }
        self.search(flow, ip, &range)
    }

    fn search(&mut self, flow: &Flow, ip: IpAddr, range: &RangeInclusive<u16>) -> Option<u16> {
        let start = self.any_of(range);
        (start..=*range.end()).chain(*range.start()..start).find(|port| self.suits(flow, ip, *port))
    }

    fn any_of(&mut self, range: &RangeInclusive<u16>) -> u16 {
        let count = u32::from(range.end() - range.start()) + 1;
        range.start() + (self.rng.next_u32() % count) as u16
    }

    fn pick_in_blocks(&mut self, flow: &Flow, pool: u16, size: u16) -> Result<SocketAddr, DropReason> {
        let who = number(flow.inside.ip());
        let ip = self.external[usize::from(pool)];
        let mut n = 0;
        while let Some(&(pool, block)) = self.table.subscriber(who).and_then(|s| s.blocks.get(n)) {
            let ip = self.external[usize::from(pool)];
            if let Some(port) = self.search(flow, ip, &block_range(block, size)) {
                return Ok(SocketAddr::new(ip, port));
            }
            n += 1;
        }
        let count = (u32::from(*HIGH.end() - *HIGH.start()) + 1) / u32::from(size);
        let start = self.rng.next_u32() % count;
        let block = (0..count)
            .map(|n| ((start + n) % count) as u16)
            .find(|block| !self.cursor.blocks.contains_key(&(pool, *block)))
            .ok_or(DropReason::PortsExhausted)?;
        self.cursor.blocks.insert((pool, block), who);
        self.table.subscriber_or(who, Subscriber::default).blocks.push((pool, block));
        let port = self.search(flow, ip, &block_range(block, size)).ok_or(DropReason::PortsExhausted)?;
        Ok(SocketAddr::new(ip, port))
    }
}

const fn block_range(block: u16, size: u16) -> RangeInclusive<u16> {
    let start = 1024 + block * size;
    start..=start + (size - 1)
}
