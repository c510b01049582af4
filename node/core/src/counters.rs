//! Counts of what went by and of what was dropped, and why.

use crate::wire::Transport;

/// Why something was dropped. Each is counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum DropReason {
    /// Too short, another version, or fields that do not parse.
    Malformed,
    /// Meant for an overlay that the node is no member of.
    UnknownOverlay,
    /// For an edge that is not, or no longer, known.
    UnknownEdge,
    /// A first datagram whose cookie or token is wrong or too old.
    BadCookie,
    /// A handshake for another member, or with oneself.
    WrongMember,
    /// A reliable frame that had arrived before.
    Duplicate,
    /// A reliable frame outside the receive window.
    OutOfWindow,
    /// No member is nearer to the destination.
    NoRoute,
    /// A packet between two peers that is more than we pass on, or that we do not stand between.
    NotRelayed,
    /// The packet has taken all its hops.
    HopLimit,
    /// The packet is larger than every edge must carry.
    TooBig,
    /// A table or queue was full.
    Full,
    /// A frame before the edge belonged to a connection.
    NotLinked,
    /// An answer to a question that nobody asked, or that was answered.
    Unasked,
    /// The next hop died with the packet, and no other was left.
    PeerLost,
    /// A handshake datagram after its handshake was over.
    LateHandshake,
    /// A record before the association was up.
    NotUp,
    /// A peer's certificate that cannot be read, or is none of the kind that is wanted.
    BadCertificate,
    /// A handshake datagram that the group's secret does not open.
    Foreign,
    /// What a handshake datagram holds besides the handshake: anybody can make up an alert.
    PlainAlert,
    /// A record of a phase whose keys are not, or no longer, here.
    NoKeys,
    /// A record that its keys do not open: changed, cut, or made up.
    Forged,
    /// A record that QUIC does not take: changed, cut, made up, or taken before.
    Unopened,
    /// A record that was opened before.
    Replayed,
    /// A record too far behind the newest to tell whether it was opened before.
    TooOld,
    /// A peer's certificate for another group.
    WrongGroup,
    /// A peer's certificate that another authority signed.
    UnknownAuthority,
    /// A peer's certificate that no authority signed.
    SelfSigned,
    /// A peer whose membership is over.
    Expired,
    /// A peer whose membership has not begun.
    NotYetValid,
    /// A peer whose membership was withdrawn.
    Revoked,
}

impl DropReason {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 31] = [
        Self::Malformed,
        Self::UnknownOverlay,
        Self::UnknownEdge,
        Self::BadCookie,
        Self::WrongMember,
        Self::Duplicate,
        Self::OutOfWindow,
        Self::NoRoute,
        Self::NotRelayed,
        Self::HopLimit,
        Self::TooBig,
        Self::Full,
        Self::NotLinked,
        Self::Unasked,
        Self::PeerLost,
        Self::LateHandshake,
        Self::NotUp,
        Self::BadCertificate,
        Self::Foreign,
        Self::PlainAlert,
        Self::NoKeys,
        Self::Forged,
        Self::Unopened,
        Self::Replayed,
        Self::TooOld,
        Self::WrongGroup,
        Self::UnknownAuthority,
        Self::SelfSigned,
        Self::Expired,
        Self::NotYetValid,
        Self::Revoked,
    ];

    /// The value of the metric's `reason` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownOverlay => "unknown_overlay",
            Self::UnknownEdge => "unknown_edge",
            Self::BadCookie => "bad_cookie",
            Self::WrongMember => "wrong_member",
            Self::Duplicate => "duplicate",
            Self::OutOfWindow => "out_of_window",
            Self::NoRoute => "no_route",
            Self::NotRelayed => "not_relayed",
            Self::HopLimit => "hop_limit",
            Self::TooBig => "too_big",
            Self::Full => "full",
            Self::NotLinked => "not_linked",
            Self::Unasked => "unasked",
            Self::PeerLost => "peer_lost",
            Self::LateHandshake => "late_handshake",
            Self::NotUp => "not_up",
            Self::BadCertificate => "bad_certificate",
            Self::Foreign => "foreign",
            Self::PlainAlert => "plain_alert",
            Self::NoKeys => "no_keys",
            Self::Forged => "forged",
            Self::Unopened => "unopened",
            Self::Replayed => "replayed",
            Self::TooOld => "too_old",
            Self::WrongGroup => "wrong_group",
            Self::UnknownAuthority => "unknown_authority",
            Self::SelfSigned => "self_signed",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Revoked => "revoked",
        }
    }
}

/// What went over one transport protocol.
#[derive(Clone, Copy, Debug, Default)]
pub struct Volume {
    /// Datagrams handed to the driver.
    pub sent_datagrams: u64,
    /// Their payload bytes, headers of IP and of the protocol not counted.
    pub sent_bytes: u64,
    /// Datagrams taken from the driver.
    pub received_datagrams: u64,
    /// Their payload bytes.
    pub received_bytes: u64,
}

impl Volume {
    /// Counts a datagram that is sent.
    pub fn send(&mut self, bytes: usize) {
        self.sent_datagrams += 1;
        self.sent_bytes += bytes as u64;
    }

    /// Counts a datagram that arrived.
    pub fn receive(&mut self, bytes: usize) {
        self.received_datagrams += 1;
        self.received_bytes += bytes as u64;
    }
}

/// The counters of one overlay. They only grow.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// What went through the UDP socket.
    pub udp: Volume,
    /// What went through TCP connections.
    pub tcp: Volume,
    /// Datagrams that went into the public ring.
    pub carried_datagrams: u64,
    /// Datagrams that went through a common peer.
    pub relayed_datagrams: u64,
    /// What was sent to tell all members of something: ranges to cover, revocations, the answers and acknowledgements of both. Of
    /// what goes through others as it leaves its edge.
    pub told: Volume,
    /// Payloads that were broadcast and arrived.
    pub broadcasts_received: u64,
    /// Revocations that were learnt, however.
    pub revocations_learnt: u64,
    /// Announcements of a group's site that a member was told.
    pub announcements_heard: u64,
    /// Notices of revocations that arrived, known ones included.
    pub notices_received: u64,
    /// Edges and senders to revoked members that were closed.
    pub revoked_closed: u64,
    /// Relayed edges that took another common peer.
    pub relays_changed: u64,
    /// Packets that this member passed on for others.
    pub forwarded_packets: u64,
    /// Packets that ended here.
    pub delivered_packets: u64,
    /// Frames sent again for want of an acknowledgement.
    pub retransmitted_frames: u64,
    /// Handshakes begun by this member with transport addresses.
    pub links_started: u64,
    /// Handshakes that were completed, whoever began them: a peer proved what it claims.
    pub handshakes_completed: u64,
    /// Handshakes that came to nothing.
    pub handshakes_failed: u64,
    /// Associations that got new keys.
    pub renewals: u64,
    /// Connections made.
    pub connections_made: u64,
    /// Connections whose peer fell silent.
    pub peers_lost: u64,
    /// Payloads that members sent to our applications, end to end.
    pub received_payloads: u64,
    /// Pings sent at rest.
    pub pings: u64,
    drops: [u64; DropReason::ALL.len()],
}

impl Counters {
    /// What went over the protocol of this transport address.
    pub fn of(&mut self, transport: Transport) -> &mut Volume {
        match transport {
            Transport::Udp(_) => &mut self.udp,
            Transport::Tcp(_) => &mut self.tcp,
        }
    }

    /// Counts one drop.
    pub fn drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    /// Drops for one reason.
    #[must_use]
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }
}
