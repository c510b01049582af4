//! All that the outside may ask of a node or hear from it. No bytes of the wire pass here.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::wire::Address;

/// A question or an order to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// The state of each overlay that the node is a member of.
    Status,
    /// Every connection of an overlay.
    Peers {
        /// Name of the overlay.
        overlay: String,
    },
    /// A round trip to a member through the overlay.
    Ping {
        /// Name of the overlay.
        overlay: String,
        /// The member.
        address: Address,
    },
    /// The members that a packet to an address passes.
    Route {
        /// Name of the overlay.
        overlay: String,
        /// The member.
        address: Address,
    },
    /// Whether a certificate makes somebody a member by the trust rule as it is now. That its owner holds the key is for
    /// whoever asks to find out.
    Judge {
        /// Name of the overlay.
        overlay: String,
        /// In DER.
        certificate: Vec<u8>,
    },
    /// Put a value into the overlay's DHT.
    DhtPut {
        /// Name of the overlay.
        overlay: String,
        /// The key, as people write it.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// For how long, in seconds (1 to 86400).
        lease_seconds: u64,
        /// Under a key that is this member's own.
        owned: bool,
    },
    /// Put a value into the overlay's DHT under a key of somebody who need not be a member: the proof says that it shall be
    /// there.
    DhtPutProved {
        /// Name of the overlay.
        overlay: String,
        /// The key, as people write it.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// The owner's word for it.
        proof: OwnerProof,
    },
    /// Put a value into the overlay's DHT if nothing is under the key.
    DhtCreate {
        /// Name of the overlay.
        overlay: String,
        /// The key, as people write it.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// For how long, in seconds (1 to 86400).
        lease_seconds: u64,
    },
    /// Read what is under a key of the overlay's DHT, a page a time.
    DhtGet {
        /// Name of the overlay.
        overlay: String,
        /// The key, as people write it.
        key: String,
        /// Whose key, if it is an owned one.
        owner: Option<Address>,
        /// What the page before named as the next.
        after: Option<String>,
    },
    /// Tell the members of a group's overlay what the group's authority revoked.
    Revoke {
        /// Name of the overlay.
        overlay: String,
        /// The notice, as the authority signed it.
        notice: Vec<u8>,
        /// How they are told.
        by: Spread,
    },
    /// Every counter and gauge, as the metrics endpoint shows them.
    Metrics,
    /// Tell the peers goodbye.
    Leave,
}

/// That the owner of a DHT key puts a value there, as [`crate::dht::prove`] makes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerProof {
    /// The owner's public key (P-256; DER, `SubjectPublicKeyInfo`): the key is that of its address.
    pub public: Vec<u8>,
    /// A value with a higher one replaces it.
    pub sequence: u64,
    /// The lease, in milliseconds.
    pub lease_millis: u32,
    /// ECDSA with SHA-256 (DER).
    pub signature: Vec<u8>,
}

/// How members are told of a revocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// By notices in the DHT, which tell those who subscribed.
    Dht,
    /// By a broadcast to everybody.
    Broadcast,
    /// In both ways.
    #[default]
    Both,
}

/// The answer to a [`Command`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Answer to [`Command::Status`], one entry an overlay.
    Status(Vec<Status>),
    /// Answer to [`Command::Peers`].
    Peers(Vec<Peer>),
    /// Answer to [`Command::Ping`].
    Ping {
        /// Round trip through the overlay, in seconds.
        seconds: f64,
        /// Hops on the way there.
        hops: u32,
    },
    /// Answer to [`Command::Route`]: every member passed, the destination last.
    Route {
        /// The members in order, the sender left out.
        hops: Vec<Address>,
        /// Time from the question to the answer, in seconds.
        seconds: f64,
    },
    /// Answer to [`Command::Judge`]: the member.
    Judged(Author),
    /// Answer to [`Command::DhtPut`], [`Command::DhtPutProved`] and [`Command::DhtCreate`]: most points hold the value.
    DhtStored {
        /// For how long, in seconds.
        lease_seconds: f64,
    },
    /// Answer to [`Command::DhtPut`] and [`Command::DhtCreate`]: something else is under the key.
    DhtExists,
    /// Answer to [`Command::DhtGet`].
    DhtValues {
        /// What is certain to be there.
        values: Vec<DhtValue>,
        /// Where the next page begins, if there may be one.
        next: Option<String>,
        /// Whether the members that hold it agreed; if not, values may be missing here.
        complete: bool,
    },
    /// Answer to [`Command::Revoke`]: the members are being told.
    Revoked {
        /// The number of the notice.
        number: u64,
        /// Whether this member did not know of it.
        fresh: bool,
    },
    /// Answer to [`crate::Input::Announce`]: it is over.
    Announced {
        /// Members that signed a receipt.
        members: u32,
    },
    /// Answer to [`Command::Metrics`].
    Metrics(Vec<Metric>),
    /// The goodbyes are sent.
    Left,
    /// The command could not be carried out.
    Failed {
        /// Of which kind the failure is.
        kind: FailureKind,
        /// Why, in one sentence.
        why: String,
    },
}

/// The kinds of failure that a user may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The node is no member of the overlay that was named.
    NotFound,
    /// The question was asked and nobody answered, or nobody is on the way to the member.
    NoAnswer,
    /// The trust rule refuses it.
    Refused,
    /// Too much is under way; later it may work.
    Busy,
    /// The node is not running yet, or not any more.
    NotRunning,
}

impl Reply {
    /// A failure of a kind, with its reason in one sentence.
    #[must_use]
    pub fn failed(kind: FailureKind, why: impl Into<String>) -> Self {
        Self::Failed { kind, why: why.into() }
    }
}

/// Where a member stands in its overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Links to the ring neighbours are not complete.
    Joining,
    /// Linked to the nearest on both sides, neither knowing anyone closer.
    Connected,
    /// The goodbyes are sent.
    Leaving,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joining => "joining",
            Self::Connected => "connected",
            Self::Leaving => "leaving",
        })
    }
}

/// One member's view of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Name of the overlay.
    pub overlay: String,
    /// The member's place on the ring.
    pub address: Address,
    /// Where it stands.
    pub state: State,
    /// The security engine.
    #[serde(default)]
    pub security: String,
    /// When the member's certificate ends, in seconds since 1970 (UTC), if an authority made it.
    #[serde(default)]
    pub certificate_expires_seconds: Option<u64>,
    /// Why a peer took the member for none, if no peer has taken it for one since.
    #[serde(default)]
    pub refused: Option<String>,
    /// What is known of the group's revocations, if there is a group.
    #[serde(default)]
    pub revocations: Option<Revocations>,
    /// Seconds since the node's start.
    pub uptime_seconds: f64,
    /// Whether the member was connected without anybody to join: it is the overlay's first.
    #[serde(default)]
    pub founded: bool,
    /// While it joins: bootstraps that did not answer.
    #[serde(default)]
    pub silent: Vec<SocketAddr>,
    /// Seconds from the node's start until it was first connected.
    pub join_seconds: Option<f64>,
    /// Seconds from the node's start until its nearest neighbours last changed.
    pub neighbours_changed_seconds: f64,
    /// In an overlay whose members find each other through the public one: seconds from the member's start until the
    /// first answer, and the members that the last one named.
    #[serde(default)]
    pub discovered_seconds: Option<f64>,
    /// See above.
    #[serde(default)]
    pub discovered: Option<u32>,
    /// Nearest connected peer with a lower address (counter-clockwise).
    pub predecessor: Option<Address>,
    /// Nearest connected peer with a higher address (clockwise).
    pub successor: Option<Address>,
    /// Members in the overlay, estimated from the distance of the neighbours.
    pub size_estimate: f64,
    /// Connections by role; one connection may have several.
    pub connections: Vec<(String, u32)>,
    /// Our transport addresses as peers saw them.
    pub observed: Vec<SocketAddr>,
}

/// What a member knows of its group's revocations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revocations {
    /// Revoked users and single certificates.
    pub count: u64,
    /// The authority's number up to which it knows everything.
    pub number: u64,
    /// The number of the notice since which the group has the salt that the member is found by; 0 if it was told none.
    #[serde(default)]
    pub epoch: u64,
    /// Certificates on the last revocation list (RFC 5280), which the group's file or site brings.
    #[serde(default)]
    pub listed: u64,
    /// The number of that list; 0 without one.
    #[serde(default)]
    pub list: u64,
    /// Seconds from the node's start until it last learnt of one.
    pub learnt_seconds: Option<f64>,
    /// Seconds from the node's start until it last closed an edge to a member that was revoked.
    pub sealed_seconds: Option<f64>,
}

/// One connection, as [`Command::Peers`] shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// The peer's place on the ring.
    pub address: Address,
    /// Whose node it is, if an authority says so.
    #[serde(default)]
    pub user: Option<String>,
    /// The group, if an authority says so.
    #[serde(default)]
    pub group: Option<String>,
    /// Why the connection is kept.
    pub roles: Vec<String>,
    /// The peer's transport address, if no member is in between.
    #[serde(default)]
    pub transport: Option<SocketAddr>,
    /// If the edge is relayed: the common peer; if it is carried: who the peer is in the public overlay.
    #[serde(default)]
    pub via: Option<Address>,
    /// `direct`, `tcp`, `relayed` or `carried`.
    pub edge: String,
    /// Smoothed round trip, in seconds.
    pub rtt_seconds: Option<f64>,
    /// Seconds since the connection was made.
    pub age_seconds: f64,
    /// Seconds since the peer was last heard.
    pub heard_seconds: f64,
    /// Whether packets take other ways because the peer did not acknowledge one in time and has not answered since.
    #[serde(default)]
    pub avoided: bool,
}

/// What a metric's value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// One value of the metrics endpoint. Names are the same in the simulator and in the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Name with its base unit, for example `atoll_sent_bytes_total`.
    pub name: String,
    /// One sentence for people.
    pub help: String,
    /// Counter or gauge.
    pub kind: MetricKind,
    /// Label names and values, sorted by name.
    pub labels: Vec<(String, String)>,
    /// The value now.
    pub value: f64,
}

/// A value of the DHT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DhtValue {
    /// The value.
    pub value: Vec<u8>,
    /// What is left of its lease, in seconds.
    pub lease_seconds: f64,
    /// Who created it, if it is alone under its key.
    pub creator: Option<Address>,
    /// Its sequence number, if it is its owner's.
    pub sequence: Option<u64>,
}

/// Who an end-to-end payload comes from, as the overlay's trust rule proved it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// The member.
    pub address: Address,
    /// Whose node it is, if an authority says so.
    pub user: Option<String>,
    /// The group, if an authority says so.
    pub group: Option<String>,
}

/// Something that happened in an overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Event {
    /// Name of the overlay.
    pub overlay: String,
    /// What happened.
    pub kind: EventKind,
}

/// The kinds of [`Event`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The member is connected (again).
    Connected,
    /// The member lost its place and is joining again.
    Disconnected,
    /// The nearest neighbours are others than before.
    NeighboursChanged {
        /// Counter-clockwise.
        predecessor: Option<Address>,
        /// Clockwise.
        successor: Option<Address>,
    },
    /// A connection was made.
    PeerConnected {
        /// The peer.
        peer: Address,
    },
    /// A connection ended.
    PeerLost {
        /// The peer.
        peer: Address,
        /// Why, in the receiver's words.
        why: String,
    },
    /// A peer takes us for no member; told once for each reason.
    Refused {
        /// Why, as the peer says.
        why: String,
    },
    /// A payload for a member, or all that waited for it, was not sent.
    NotSent {
        /// The member.
        peer: Address,
        /// Why, as a drop's reason or in words.
        why: String,
    },
    /// The group's authority revoked a user, or some of its certificates.
    Revoked {
        /// Whose nodes.
        user: String,
        /// How many certificates; all that there are and will be if it is 0.
        certificates: u32,
    },
    /// The authority's list of revocations said something new.
    RevocationsListed {
        /// Its number.
        number: u64,
        /// Revocations that were new.
        fresh: u64,
    },
    /// A broadcast of ours is over.
    Broadcast {
        /// Members that have it, without ourselves.
        members: u32,
        /// Whether every part of the range was covered.
        complete: bool,
    },
    /// A look into the DHT of the public overlay, where members of a private one find each other, has its answer.
    Discovered {
        /// Members that were found, without ourselves.
        members: u32,
    },
    /// A bootstrap does not answer; it is tried again.
    BootstrapSilent {
        /// Its transport address.
        bootstrap: SocketAddr,
        /// Attempts so far.
        attempts: u32,
    },
}
