//! Counts of what the model did. Owns numbers only; never decides anything.

/// Why a packet was lost. Each has one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// Nobody has the destination address, or it is private and the packet is outside its network.
    NoRoute,
    /// The source address is not the sender's own.
    ForeignSource,
    /// Lost on the path, as the loss model says.
    Loss,
    /// The two sites are partitioned.
    Partition,
    /// The queue of an access link is full.
    QueueFull,
    /// Larger than a link's MTU.
    TooBig,
    /// A gateway does not let this protocol or port out.
    Blocked,
    /// No mapping for the external address.
    NoMapping,
    /// There is a mapping, and its filter does not admit this source.
    Filtered,
    /// Sent to the gateway's own external address, and it does not hairpin.
    NoHairpin,
    /// No free external port.
    PortsExhausted,
    /// The subscriber has as many ports as it may have (RFC 6888 REQ-4).
    SubscriberLimit,
    /// The gateway's table is full.
    TableFull,
    /// The host or the gateway left that address while the packet was on its way.
    Moved,
    /// An ICMP message about nothing that the gateway knows.
    StrayIcmp,
    /// `arrive` got a packet that `depart` never saw.
    NotSent,
}

impl DropReason {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 16] = [
        Self::NoRoute,
        Self::ForeignSource,
        Self::Loss,
        Self::Partition,
        Self::QueueFull,
        Self::TooBig,
        Self::Blocked,
        Self::NoMapping,
        Self::Filtered,
        Self::NoHairpin,
        Self::PortsExhausted,
        Self::SubscriberLimit,
        Self::TableFull,
        Self::Moved,
        Self::StrayIcmp,
        Self::NotSent,
    ];

    /// The name for metrics, in `snake_case`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::ForeignSource => "foreign_source",
            Self::Loss => "loss",
            Self::Partition => "partition",
            Self::QueueFull => "queue_full",
            Self::TooBig => "too_big",
            Self::Blocked => "blocked",
            Self::NoMapping => "no_mapping",
            Self::Filtered => "filtered",
            Self::NoHairpin => "no_hairpin",
            Self::PortsExhausted => "ports_exhausted",
            Self::SubscriberLimit => "subscriber_limit",
            Self::TableFull => "table_full",
            Self::Moved => "moved",
            Self::StrayIcmp => "stray_icmp",
            Self::NotSent => "not_sent",
        }
    }
}

/// What one gateway did since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatewayCounters {
    /// Mappings in the table now, expired ones that nobody missed yet included.
    pub mappings: u64,
    /// Mappings ever made.
    pub created: u64,
    /// Mappings refused for want of a port, by a limit or by the table's bound.
    pub refused: u64,
}

/// What the whole model did since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that hosts sent.
    pub packets_sent: u64,
    /// Bytes that hosts sent, IP headers included.
    pub bytes_sent: u64,
    /// Packets that reached a host.
    pub packets_delivered: u64,
    /// Bytes that reached a host, IP headers included.
    pub bytes_delivered: u64,
    /// Resets and ICMP errors that gateways and links sent.
    pub packets_returned: u64,
    drops: [u64; DropReason::ALL.len()],
}

impl Counters {
    /// Packets lost for this reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Packets lost for any reason.
    pub fn drops_total(&self) -> u64 {
        self.drops.iter().sum()
    }

    pub(crate) fn count_drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }
}
