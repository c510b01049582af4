//! Members under the socket addresses that QUIC wants.
//!
//! A member's is the first 120 bits of its address behind `fd`: a unique local address (RFC 4193) that no packet bears.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use atoll_core::wire::Address;

const PREFIX: u8 = 0xfd;
/// QUIC takes no port 0.
const PORT: u16 = 1;
/// Members of one generation. The older one is forgotten when the younger is full: who keeps sending stays known.
const GENERATION_MAX: usize = 1024;

/// The members that were named lately.
#[derive(Debug, Default)]
pub(super) struct Addresses(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: BTreeMap<Ipv6Addr, Address>,
    old: BTreeMap<Ipv6Addr, Address>,
}

impl Addresses {
    /// What stands for a member, which is remembered.
    pub(super) fn name(&self, member: Address) -> SocketAddr {
        let mut bytes = [PREFIX; 16];
        bytes[1..].copy_from_slice(&member.to_bytes()[..15]);
        let ip = Ipv6Addr::from(bytes);
        self.lock().put(ip, member);
        SocketAddr::from((ip, PORT))
    }

    /// The member that is meant, if it was named lately.
    pub(super) fn member(&self, name: SocketAddr) -> Option<Address> {
        let IpAddr::V6(ip) = name.ip() else { return None };
        let mut generations = self.lock();
        let member = generations.young.get(&ip).or_else(|| generations.old.get(&ip)).copied()?;
        generations.put(ip, member);
        Some(member)
    }

    /// A map is whole after every step: whoever panicked broke nothing.
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn put(&mut self, ip: Ipv6Addr, member: Address) {
        if self.young.len() == GENERATION_MAX && !self.young.contains_key(&ip) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(ip, member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(number: usize) -> Address {
        let mut bytes = [0; Address::LEN];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        bytes[19] = 7;
        Address::from_bytes(bytes)
    }

    #[test]
    fn a_member_is_found_by_its_name_whole() {
        let addresses = Addresses::default();
        let name = addresses.name(numbered(5));
        assert_eq!(name.to_string(), "[fd00:0:0:0:500::]:1".parse::<SocketAddr>().unwrap().to_string());
        assert_eq!(addresses.member(name), Some(numbered(5)));
        assert_eq!(addresses.member("[fd00::1]:1".parse().unwrap()), None);
        assert_eq!(addresses.member("192.0.2.1:1".parse().unwrap()), None);
    }

    #[test]
    fn of_many_members_those_stay_known_that_are_named_again() {
        let addresses = Addresses::default();
        let (kept, idle) = (addresses.name(numbered(0)), addresses.name(numbered(1)));
        for number in 2..5 * GENERATION_MAX {
            addresses.name(numbered(number));
            assert_eq!(addresses.member(kept), Some(numbered(0)));
        }
        assert_eq!(addresses.member(idle), None);
        let generations = addresses.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION_MAX);
    }
}
