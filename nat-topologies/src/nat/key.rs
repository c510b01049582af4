//! Compact transport addresses, keys of the tables, and the hash for them: fixed, since a random one would make runs
//! differ.

use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::{Dependence, Protocol};

/// An IP address as one number; IPv4 addresses are mapped (RFC 4291 section 2.5.5.2).
pub(crate) const fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => 0xffff_0000_0000 | ip.to_bits() as u128,
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// A transport address in 18 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    ip: [u8; 16],
    port: u16,
}

impl Endpoint {
    pub(super) const fn new(address: SocketAddr) -> Self {
        Self { ip: number(address.ip()).to_be_bytes(), port: address.port() }
    }

    /// As much of the address as `dependence` keeps; the rest is 0.
    pub(super) const fn masked(address: SocketAddr, dependence: Dependence) -> Self {
        match dependence {
            Dependence::EndpointIndependent => Self { ip: [0; 16], port: 0 },
            Dependence::AddressDependent => Self { port: 0, ..Self::new(address) },
            Dependence::AddressAndPortDependent => Self::new(address),
        }
    }

    pub(super) fn address(self) -> SocketAddr {
        SocketAddr::new(Ipv6Addr::from(self.ip).to_canonical(), self.port)
    }

    pub(super) fn number(self) -> u128 {
        u128::from_be_bytes(self.ip)
    }

    /// The address in 64 bits, never 0. IPv4 fits; IPv6 is folded, so that one pair of addresses in 2^62 looks alike.
    pub(super) fn folded(self) -> u64 {
        let ip = self.number();
        if ip >> 32 == 0xffff {
            return 1 << 63 | (ip as u32 as u64) << 16 | u64::from(self.port);
        }
        let mut hash = Fold::default();
        self.hash(&mut hash);
        hash.finish() >> 2 | 1 << 62
    }
}

impl Hash for Endpoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.number() ^ u128::from(self.port) << 48);
    }
}

/// One local transport address, and as much of a remote one as matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) local: Endpoint,
    pub(super) remote: Endpoint,
    pub(super) protocol: Protocol,
}

impl Key {
    /// The key that keeps as much of `remote` as `dependence` says.
    pub(super) const fn new(
        protocol: Protocol,
        local: SocketAddr,
        remote: SocketAddr,
        dependence: Dependence,
    ) -> Self {
        Self { local: Endpoint::new(local), remote: Endpoint::masked(remote, dependence), protocol }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.local.hash(state);
        self.remote.hash(state);
        state.write_u64(self.protocol as u64);
    }
}

/// Multiply, fold, repeat: fast, and good enough for addresses that we give out ourselves.
#[derive(Clone, Copy, Default)]
pub(crate) struct Fold(u64);

impl Fold {
    const fn mix(self, word: u64) -> Self {
        let product = (self.0 ^ word) as u128 * 0x9e37_79b9_7f4a_7c15_u128;
        Self((product as u64) ^ (product >> 64) as u64 ^ 0x2545_f491_4f6c_dd1d)
    }
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            *self = self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, word: u32) {
        *self = self.mix(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        *self = self.mix(word);
    }

    fn write_u128(&mut self, word: u128) {
        *self = self.mix(word as u64).mix((word >> 64) as u64);
    }

    fn finish(&self) -> u64 {
        self.mix(0).0
    }
}

/// A hash map for look-ups only.
pub(crate) type Lookup<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Fold>>;
