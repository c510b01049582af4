//! A run's fingerprint: the same seed must give the same one, in every process and on every machine.
//!
//! It never sees a pointer, a hash map's order or the OS clock.

use std::net::{IpAddr, SocketAddr};

use atoll_core::Time;
use atoll_topology::HostId;

const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a step of a run was.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Start = 1,
    Stop,
    Wake,
    Sent,
    Delivered,
    Dropped,
    Refused,
    Reply,
    Event,
    Fault,
    Received,
    Carried,
    Broadcast,
    Keep,
    Clock,
}

/// A 64-bit hash over every step so far, in their order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trace(u64);

impl Trace {
    pub(crate) fn hash(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(PRIME);
        mixed ^ (mixed >> 29)
    }

    pub(crate) fn step(&mut self, step: Step, now: Time, host: HostId) {
        self.word(now.as_nanos());
        self.word((u64::from(host.0) << 8) | step as u64);
    }

    pub(crate) fn addresses(&mut self, source: SocketAddr, destination: SocketAddr) {
        self.address(source);
        self.address(destination);
    }

    pub(crate) fn address(&mut self, address: SocketAddr) {
        match address.ip() {
            IpAddr::V4(ip) => self.word(u64::from(ip.to_bits())),
            IpAddr::V6(ip) => {
                let bits = ip.to_bits();
                self.word(bits as u64);
                self.word((bits >> 64) as u64);
            }
        }
        self.word(u64::from(address.port()));
    }

    /// The length of `bytes`.
    pub(crate) fn length(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
    }

    /// The length of `bytes` and the bytes themselves.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.word(u64::from_le_bytes(word.try_into().expect("a chunk has 8 bytes")));
        }
        let mut rest = [0; 8];
        rest[..words.remainder().len()].copy_from_slice(words.remainder());
        self.word(u64::from_le_bytes(rest));
    }

    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(PRIME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_order_host_time_and_bytes() {
        let hash = |steps: &[(u64, u32, &[u8])]| {
            let mut trace = Trace::default();
            for (time, host, bytes) in steps {
                trace.step(Step::Sent, Time::from_nanos(*time), HostId(*host));
                trace.bytes(bytes);
            }
            trace.hash()
        };
        let base = hash(&[(1, 2, b"abc"), (1, 3, b"d")]);
        assert_eq!(base, hash(&[(1, 2, b"abc"), (1, 3, b"d")]));
        let others: [&[(u64, u32, &[u8])]; 4] = [
            &[(1, 3, b"d"), (1, 2, b"abc")],
            &[(1, 2, b"abc"), (2, 3, b"d")],
            &[(1, 2, b"abc"), (1, 3, b"d\0")],
            &[(1, 2, b"abc")],
        ];
        for other in others {
            assert_ne!(base, hash(other), "{other:?}");
        }
    }
}
