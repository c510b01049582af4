//! Counts of what passed the containers' devices. What the model lost, the model counts.

use std::collections::BTreeMap;

use atoll_topology::HostId;
use serde::{Deserialize, Serialize};

use crate::packet::Unusable;

/// Why the fabric itself, and not its model, lost a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loss {
    /// The model cannot carry it.
    Unusable(Unusable),
    /// Too many packets are on their way; the run is not to be trusted.
    Overload,
    /// The receiving container is not there.
    NoDevice,
    /// The kernel did not take it.
    Refused,
}

impl Loss {
    /// The name for metrics, in `snake_case`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unusable(Unusable::Malformed) => "malformed",
            Self::Unusable(Unusable::Fragment) => "fragment",
            Self::Unusable(Unusable::NotUnicast) => "not_unicast",
            Self::Unusable(Unusable::Protocol) => "protocol",
            Self::Overload => "overload",
            Self::NoDevice => "no_device",
            Self::Refused => "refused",
        }
    }
}

/// What passed between a host and the emulated Internet, IP headers counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Packets received.
    pub received_packets: u64,
}

/// All counts.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    hosts: Vec<Traffic>,
    losses: BTreeMap<Loss, u64>,
    packets: u64,
}

impl Tally {
    /// A host's traffic.
    #[must_use]
    pub fn traffic(&self, host: HostId) -> Traffic {
        self.hosts.get(host.0 as usize).copied().unwrap_or_default()
    }

    /// Packets lost by the fabric, by reason.
    #[must_use]
    pub fn losses(&self) -> &BTreeMap<Loss, u64> {
        &self.losses
    }

    /// Packets read from and written to all devices.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    pub(super) fn forget(&mut self, host: HostId) {
        *self.host(host) = Traffic::default();
    }

    pub(super) fn sent(&mut self, host: HostId, length: u32) {
        self.packets += 1;
        let traffic = self.host(host);
        traffic.sent_packets += 1;
        traffic.sent_bytes += u64::from(length);
    }

    pub(super) fn received(&mut self, host: HostId, length: u32) {
        self.packets += 1;
        let traffic = self.host(host);
        traffic.received_packets += 1;
        traffic.received_bytes += u64::from(length);
    }

    pub(super) fn lost(&mut self, why: Loss) {
        *self.losses.entry(why).or_default() += 1;
    }

    fn host(&mut self, host: HostId) -> &mut Traffic {
        let index = host.0 as usize;
        if self.hosts.len() <= index {
            self.hosts.resize(index + 1, Traffic::default());
        }
        &mut self.hosts[index]
    }
}
