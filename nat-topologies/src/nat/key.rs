//! Keys of the tables and the hash for them: fixed, since a random one would make runs differ.

use std::hash::{BuildHasherDefault, Hasher};
use std::net::{IpAddr, SocketAddr};

use crate::{Dependence, Protocol};

/// An IP address as one number; IPv4 addresses are mapped (RFC 4291 section 2.5.5.2).
pub(crate) const fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => 0xffff_0000_0000 | ip.to_bits() as u128,
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// One local and one remote transport address; parts that do not matter are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    local: u128,
    remote: u128,
    ports: u32,
    protocol: Protocol,
}

impl Key {
    /// The key that keeps as much of `remote` as `dependence` says.
    pub(super) const fn new(
        protocol: Protocol,
        local: SocketAddr,
        remote: SocketAddr,
        dependence: Dependence,
    ) -> Self {
        let (ip, port) = masked(remote, dependence);
        Self {
            local: number(local.ip()),
            remote: ip,
            ports: (local.port() as u32) << 16 | port as u32,
            protocol,
        }
    }
}

impl std::hash::Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.local);
        state.write_u128(self.remote);
        state.write_u64(u64::from(self.ports) << 8 | self.protocol as u64);
    }
}

/// One mapping and one remote transport address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionKey {
    remote: u128,
    serial: u32,
    port: u16,
}

impl SessionKey {
    pub(super) const fn new(serial: u32, remote: SocketAddr, dependence: Dependence) -> Self {
        let (ip, port) = masked(remote, dependence);
        Self { remote: ip, serial, port }
    }
}

impl std::hash::Hash for SessionKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.remote);
        state.write_u64(u64::from(self.serial) << 16 | u64::from(self.port));
    }
}

const fn masked(remote: SocketAddr, dependence: Dependence) -> (u128, u16) {
    match dependence {
        Dependence::EndpointIndependent => (0, 0),
        Dependence::AddressDependent => (number(remote.ip()), 0),
        Dependence::AddressAndPortDependent => (number(remote.ip()), remote.port()),
    }
}

/// Multiply, fold, repeat: fast and good enough for addresses that we give out ourselves.
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
        *self = self.mix(word as u64 ^ (word >> 64) as u64);
    }

    fn finish(&self) -> u64 {
        self.mix(0).0
    }
}

/// A hash map for look-ups only.
pub(crate) type Lookup<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Fold>>;
