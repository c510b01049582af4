//! The names of what experiments measure. Scripts use them, so a name once published stays.

/// How a metric's values are written for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Bytes a second.
    BytesPerSecond,
    /// A share, from 0 to 1.
    Ratio,
    /// How many times as much.
    Times,
    /// Members passed on the way.
    Hops,
    /// Members.
    Members,
}

/// A metric: its name, its unit, and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Name in snake case, with its base unit.
    pub name: &'static str,
    /// Unit.
    pub unit: Unit,
    /// Meaning, in a few words: the title of its figure.
    pub title: &'static str,
}

/// From a member's release until it is connected.
pub const PUBLIC_JOIN: Metric =
    metric("public_join_seconds", Unit::Seconds, "Time to join the public overlay");
/// From a member's start until the DHT of the public overlay first named the others of the private one.
pub const DHT_ANSWER: Metric =
    metric("dht_answer_seconds", Unit::Seconds, "Time until the DHT named the others of the private overlay");
/// From a member's release until it is connected in the private overlay, to others.
pub const PRIVATE_JOIN: Metric =
    metric("private_join_seconds", Unit::Seconds, "Time to join the private overlay");
/// What a joiner sends and receives until it is connected, headers counted.
pub const JOIN_BYTES: Metric =
    metric("join_bytes", Unit::Bytes, "Sent and received by a member until it joined");
/// From the release of all until walking successors visits everyone.
pub const RING_COMPLETE: Metric =
    metric("ring_complete_seconds", Unit::Seconds, "Time until the ring is complete");
/// The same of the private ring.
pub const PRIVATE_RING_COMPLETE: Metric = metric(
    "private_ring_complete_seconds",
    Unit::Seconds,
    "Time until the ring of the private overlay is complete",
);
/// From the end of a partition until walking successors visits everyone again.
pub const RING_MERGE: Metric = metric(
    "ring_merge_seconds",
    Unit::Seconds,
    "Time from the end of a partition until the ring is one again",
);
/// The same of the private ring.
pub const PRIVATE_RING_MERGE: Metric = metric(
    "private_ring_merge_seconds",
    Unit::Seconds,
    "Time from the end of a partition until the private ring is one again",
);
/// Whether a ring was still split when the wait for it ended: 0 or 1 a trial.
pub const SPLIT: Metric = metric("split_ratio", Unit::Ratio, "Trials in which a ring stayed split");
/// Share of requests to members alive that were answered in time while members came and went.
pub const ANSWERED: Metric =
    metric("answered_ratio", Unit::Ratio, "Requests to members alive that were answered in time");
/// The same in the private overlay.
pub const PRIVATE_ANSWERED: Metric = metric(
    "private_answered_ratio",
    Unit::Ratio,
    "Requests to members of the private overlay alive that were answered in time",
);
/// From such a request to its answer, retries included.
pub const REQUEST: Metric =
    metric("request_seconds", Unit::Seconds, "Time to the answer of a request, retries included");
/// Share of reads that found the value while members came and went.
pub const READ: Metric =
    metric("dht_read_ratio", Unit::Ratio, "Reads of the DHT that found the value in time");
/// Share of the values that were still there when members no longer came and went.
pub const KEPT: Metric = metric("dht_kept_ratio", Unit::Ratio, "Values of the DHT that were kept");
/// Hops of a routed packet, the destination included.
pub const ROUTE_HOPS: Metric = metric("route_hops", Unit::Hops, "Hops between two random members");
/// From a routed question to its answer.
pub const ROUTE: Metric = metric("route_seconds", Unit::Seconds, "Round trip between two random members");
/// What one member sends at rest, or while members come and go; headers counted.
pub const SENT: Metric = metric("bytes_per_second", Unit::BytesPerSecond, "Sent by one member");
/// What a member sends at rest that is in the public overlay alone while others are in both, headers counted.
pub const PUBLIC_SENT: Metric = metric(
    "public_bytes_per_second",
    Unit::BytesPerSecond,
    "Sent at rest by one member of the public overlay alone",
);
/// What one member receives at rest, or while members come and go; headers counted.
pub const RECEIVED: Metric =
    metric("received_bytes_per_second", Unit::BytesPerSecond, "Received by one member");
/// Share of ring neighbours that are linked directly.
pub const DIRECT: Metric = metric("direct_ratio", Unit::Ratio, "Ring neighbours that are linked directly");
/// Share of ring neighbours that are linked through others.
pub const RELAYED: Metric =
    metric("relayed_ratio", Unit::Ratio, "Ring neighbours that are linked through others");
/// Of ring neighbours that are linked through a common peer, from one to the other and back.
pub const RELAY_ROUND_TRIP: Metric =
    metric("relay_rtt_seconds", Unit::Seconds, "Round trip of ring neighbours through their relay");
/// That over the shortest round trip through any one member that both can link directly.
pub const RELAY_STRETCH: Metric = metric(
    "relay_stretch_ratio",
    Unit::Times,
    "Round trip through the relay, of that through the best possible relay",
);
/// The same over the round trip that the two would have if their NATs let them link directly.
pub const RELAY_DIRECT: Metric =
    metric("relay_direct_ratio", Unit::Times, "Round trip through the relay, of the direct one");
/// A routed packet's round trip between two random members over their direct one.
pub const ROUTE_DIRECT: Metric =
    metric("route_direct_ratio", Unit::Times, "Round trip of a routed packet, of the direct one");
/// From the death of a relay until a ping of its pair is answered and neither end uses the relay any longer.
pub const RELAY_REPLACED: Metric =
    metric("relay_replaced_seconds", Unit::Seconds, "Time until a dead relay is replaced");
/// Share of pairs whose connection closed, or had no other way in time, when their relay died.
pub const RELAY_LOST: Metric =
    metric("relay_lost_ratio", Unit::Ratio, "Pairs that lost their connection with their relay");
/// Share of the private overlay's ring neighbours that are linked directly.
pub const PRIVATE_DIRECT: Metric = metric(
    "private_direct_ratio",
    Unit::Ratio,
    "Ring neighbours of the private overlay that are linked directly",
);
/// Share of ring neighbours that no hole punching can link.
pub const BLOCKED: Metric =
    metric("blocked_ratio", Unit::Ratio, "Ring neighbours whose NATs allow no direct link");
/// Share of members that did not join within the limit.
pub const FAILED: Metric = metric("failed_ratio", Unit::Ratio, "Members that did not join in time");
/// Share of the private overlay's members that did not join it within the limit.
pub const PRIVATE_FAILED: Metric = metric(
    "private_failed_ratio",
    Unit::Ratio,
    "Members of the private overlay that did not join it in time",
);
/// Members that did not join although no NAT stands between them and their ring neighbours.
pub const UNEXPLAINED: Metric =
    metric("unexplained_failures", Unit::Members, "Members that did not join though theory says they can");

/// From the revocation until a member knows of it.
pub const REVOCATION: Metric =
    metric("revocation_seconds", Unit::Seconds, "Time until a member knows of a revocation");
/// The same of the last member, if all know in the end.
pub const REVOCATION_LAST: Metric =
    metric("revocation_last_seconds", Unit::Seconds, "Time until all members know of a revocation");
/// From when a member that came meanwhile has its place in the ring until it knows; zero if it knew before.
pub const NEWCOMER_TOLD: Metric =
    metric("newcomer_told_seconds", Unit::Seconds, "Time until a newcomer knows of earlier revocations");
/// From the revocation until the last edge to the revoked member is closed.
pub const SEALED: Metric =
    metric("sealed_seconds", Unit::Seconds, "Time until the last edge to the revoked member is closed");
/// What telling everybody costs, for each member that is told; headers and acknowledgements counted.
pub const REVOCATION_BYTES: Metric =
    metric("revocation_bytes", Unit::Bytes, "Sent for each member that is told of a revocation");
/// That over one datagram with the notice.
pub const REVOCATION_OVERHEAD: Metric = metric(
    "revocation_bytes_ratio",
    Unit::Times,
    "Sent for each member that is told, of one datagram with the notice",
);
/// A notice as the authority signs it.
pub const NOTICE_BYTES: Metric = metric("notice_bytes", Unit::Bytes, "Size of a notice");
/// Share of the living members that do not know in the end.
pub const UNTOLD: Metric =
    metric("untold_ratio", Unit::Ratio, "Members that were not told of a revocation in time");
/// Share of looks at members that found an edge to the revoked member while that tried to come back.
pub const ROGUE_LINKED: Metric =
    metric("rogue_linked_ratio", Unit::Ratio, "Members that let the revoked member in again");

/// Every metric that this version measures.
pub const ALL: [Metric; 41] = [
    PUBLIC_JOIN,
    DHT_ANSWER,
    PRIVATE_JOIN,
    JOIN_BYTES,
    RING_COMPLETE,
    PRIVATE_RING_COMPLETE,
    RING_MERGE,
    PRIVATE_RING_MERGE,
    SPLIT,
    ANSWERED,
    PRIVATE_ANSWERED,
    REQUEST,
    READ,
    KEPT,
    ROUTE_HOPS,
    ROUTE,
    SENT,
    PUBLIC_SENT,
    RECEIVED,
    DIRECT,
    RELAYED,
    RELAY_ROUND_TRIP,
    RELAY_STRETCH,
    RELAY_DIRECT,
    ROUTE_DIRECT,
    RELAY_REPLACED,
    RELAY_LOST,
    PRIVATE_DIRECT,
    BLOCKED,
    FAILED,
    PRIVATE_FAILED,
    UNEXPLAINED,
    REVOCATION,
    REVOCATION_LAST,
    NEWCOMER_TOLD,
    SEALED,
    REVOCATION_BYTES,
    REVOCATION_OVERHEAD,
    NOTICE_BYTES,
    UNTOLD,
    ROGUE_LINKED,
];

const fn metric(name: &'static str, unit: Unit, title: &'static str) -> Metric {
    Metric { name, unit, title }
}

/// The metric of that name.
#[must_use]
pub fn find(name: &str) -> Option<Metric> {
    ALL.into_iter().find(|metric| metric.name == name)
}

impl Unit {
    /// The unit as it stands on an axis or in a column; empty where the number says it all.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Bytes => "B",
            Self::BytesPerSecond => "B/s",
            Self::Ratio => "%",
            Self::Times => "times",
            Self::Hops => "hops",
            Self::Members => "members",
        }
    }

    /// A value in that unit with three significant digits, without the symbol.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        let value = if self == Self::Ratio { value * 100.0 } else { value };
        let digits = match value.abs() {
            0.0 => 0,
            size if size >= 100.0 => 0,
            size if size >= 10.0 => 1,
            size if size >= 1.0 => 2,
            _ => 3,
        };
        let counted = matches!(self, Self::Hops | Self::Members) && value.fract() == 0.0;
        let digits = if counted { 0 } else { digits };
        format!("{value:.digits$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_with_three_digits_and_ratios_in_percent() {
        assert_eq!(Unit::Seconds.show(1.234_56), "1.23");
        assert_eq!(Unit::Seconds.show(0.012_34), "0.012");
        assert_eq!(Unit::Ratio.show(0.736), "73.6");
        assert_eq!(Unit::BytesPerSecond.show(1234.5), "1234");
        assert_eq!(Unit::Hops.show(3.0), "3");
        assert_eq!(Unit::Seconds.show(0.0), "0");
    }

    #[test]
    fn names_are_unique() {
        for metric in ALL {
            assert_eq!(find(metric.name), Some(metric));
        }
    }
}
