//! What a world counts: of itself, and of each host at the emulated wire.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// UDP header (RFC 768) behind an IPv4 (RFC 791) or IPv6 (RFC 8200) header without options, in bytes.
pub(crate) fn headers(destination: SocketAddr) -> u32 {
    if destination.is_ipv4() { 20 + 8 } else { 40 + 8 }
}

/// What one host sent and received, IP and UDP headers counted. It goes on over a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams that left the host, whatever became of them.
    pub sent_datagrams: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Datagrams that reached the host's running machine.
    pub received_datagrams: u64,
    /// Their bytes.
    pub received_bytes: u64,
}

/// What a world did since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Steps taken: datagrams that came up, and wakes.
    pub events: u64,
    /// Datagrams that machines sent.
    pub datagrams: u64,
    /// Datagrams that machines received.
    pub delivered: u64,
    /// Wakes that ran a machine's timers.
    pub wakes: u64,
    /// Wakes that came too early because the deadline had moved back.
    pub skipped_wakes: u64,
    /// Most datagrams in flight and wakes scheduled at one time.
    pub heap_max: usize,
    /// Datagrams that reached a host where nobody listened.
    pub unclaimed: u64,
    /// Datagrams that a host could not send: of another address family, or larger than UDP carries.
    pub unsent: u64,
    /// Events of machines that did not fit the buffer.
    pub events_lost: u64,
    /// Packets that the Internet lost, by reason; reasons that never occurred are left out.
    pub drops: BTreeMap<&'static str, u64>,
}
