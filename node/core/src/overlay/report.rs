//! What an overlay tells about itself.

use std::net::SocketAddr;

use super::{Lent, Overlay};
use crate::connection::Role;
use crate::control::{Metric, MetricKind, Peer, State, Status};
use crate::counters::{Counters, DropReason};
use crate::edge::Edge;
use crate::path;
use crate::security::Wall;
use crate::time::Time;
use crate::wire::{Address, EdgeId, Remote, Transport, Way};

impl Overlay {
    /// Where the member stands.
    #[must_use]
    pub fn status(&self, paths: &path::Table, now: Time) -> Status {
        let state = match (self.leaving, self.connected) {
            (true, _) => State::Leaving,
            (false, true) => State::Connected,
            (false, false) => State::Joining,
        };
        Status {
            overlay: self.name.clone(),
            address: self.own,
            state,
            security: self.security.to_string(),
            refused: self.refused.map(|(reason, _)| reason.describe().to_owned()),
            certificate_expires_seconds: self.certificate_expires.map(|Wall(seconds)| seconds),
            revocations: self.revocations(),
            uptime_seconds: now.since(self.started).as_secs_f64(),
            founded: self.founded,
            silent: if self.connected { Vec::new() } else { self.silent_bootstraps() },
            join_seconds: self.joined.map(|joined| joined.since(self.started).as_secs_f64()),
            neighbours_changed_seconds: self.place_since.since(self.started).as_secs_f64(),
            discovered_seconds: self.discovered.map(|(first, _)| first.since(self.started).as_secs_f64()),
            discovered: self.discovered.map(|(_, last)| last),
            predecessor: self.place.predecessor,
            successor: self.place.successor,
            size_estimate: self.ring.size_estimate(&self.connections),
            connections: self.by_role(),
            observed: paths.observed().to_vec(),
        }
    }

    fn silent_bootstraps(&self) -> Vec<SocketAddr> {
        self.bootstraps.silent().into_iter().filter_map(Remote::udp).collect()
    }

    fn by_role(&self) -> Vec<(String, u32)> {
        let count = |role: Role| {
            self.connections.iter().filter(|one| one.ours.union(one.theirs).has(role)).count() as u32
        };
        Role::ALL.into_iter().map(|role| (role.label().to_owned(), count(role))).collect()
    }

    /// Every connection.
    #[must_use]
    pub fn peers(&self, lent: &Lent<'_>) -> Vec<Peer> {
        let peer = |connection: &crate::connection::Connection| {
            let edge = self.edges.get(connection.edge())?;
            let path = lent.paths.get(edge.path)?;
            let identity = edge.identity.as_deref();
            Some(Peer {
                address: connection.peer,
                user: identity.and_then(|identity| identity.user.clone()),
                group: identity.and_then(|identity| identity.group.clone()),
                roles: connection
                    .ours
                    .union(connection.theirs)
                    .iter()
                    .map(|role| role.label().to_owned())
                    .collect(),
                transport: path.remote.transport().map(Transport::address),
                via: via(path.remote),
                edge: path.remote.way().label().to_owned(),
                rtt_seconds: path.rtt.map(|rtt| rtt.as_secs_f64()),
                age_seconds: lent.now.since(connection.since).as_secs_f64(),
                heard_seconds: lent.now.since(path.heard).as_secs_f64(),
                avoided: connection.suspected,
            })
        };
        self.connections.iter().filter_map(peer).collect()
    }

    /// Adds the overlay's metrics to the list.
    pub fn metrics(&self, now: Time, metrics: &mut Vec<Metric>) {
        let mut add = |name: &str, help: &str, kind, label: Option<(&str, &str)>, value: f64| {
            metrics.push(metric(&self.name, (name, help, kind), label, value));
        };
        for (name, help, value) in totals(&self.counters).into_iter().chain(tellings(&self.counters)) {
            add(name, help, MetricKind::Counter, None, value as f64);
        }
        let counters = &self.counters;
        for reason in DropReason::ALL {
            let help = "What was dropped, by reason";
            let value = counters.drops(reason) as f64;
            add("atoll_drops_total", help, MetricKind::Counter, Some(("reason", reason.label())), value);
        }
        for (role, count) in self.by_role() {
            let help = "Connections by role; one may have several";
            add("atoll_connections", help, MetricKind::Gauge, Some(("role", &role)), f64::from(count));
        }
        let up = |(_, edge): &(EdgeId, &Edge)| edge.peer().is_some();
        let standing =
            [("edge", self.edges.iter().filter(up).count()), ("end_to_end", self.senders.complete())];
        for (carrier, count) in standing {
            let help = "Associations that stand, by what carries them";
            add("atoll_associations", help, MetricKind::Gauge, Some(("carrier", carrier)), count as f64);
        }
        let edges = self.edges.count() as f64;
        add("atoll_edges", "Edges, half-open ones included", MetricKind::Gauge, None, edges);
        let connected = f64::from(u8::from(self.connected));
        add(
            "atoll_connected",
            "1 while linked to the nearest on both sides",
            MetricKind::Gauge,
            None,
            connected,
        );
        let size = self.ring.size_estimate(&self.connections);
        add(
            "atoll_size_estimate_members",
            "Members, estimated from the neighbours",
            MetricKind::Gauge,
            None,
            size,
        );
        let failed = self.linker.failed() as f64;
        add(
            "atoll_unreachable_members",
            "Members that could not be linked lately",
            MetricKind::Gauge,
            None,
            failed,
        );
        if let Some(joined) = self.joined {
            let seconds = joined.since(self.started).as_secs_f64();
            add("atoll_join_seconds", "From start until first connected", MetricKind::Gauge, None, seconds);
        }
        if let Some(Wall(seconds)) = self.certificate_expires {
            let help = "When the member's certificate ends, in seconds since 1970 (UTC)";
            add("atoll_certificate_expires_seconds", help, MetricKind::Gauge, None, seconds as f64);
        }
        let uptime = now.since(self.started).as_secs_f64();
        add("atoll_uptime_seconds", "Since the member's start", MetricKind::Gauge, None, uptime);
        self.dht_metrics(metrics);
        self.way_metrics(now, metrics);
        self.revocation_metrics(metrics);
    }

    /// What is known of those who are members no longer.
    fn revocation_metrics(&self, metrics: &mut Vec<Metric>) {
        let Some((known, listed)) = self.trust.known().zip(self.trust.listed()) else { return };
        let gauges = [
            (
                "atoll_discovery_epoch",
                "The number of the revocation since which the group has the salt that the member is found by; 0 without one",
                self.epochs.number() as f64,
            ),
            (
                "atoll_revocations",
                "Revoked users and single certificates that are known",
                known.count() as f64,
            ),
            (
                "atoll_revocations_number",
                "The number of the group's authority up to which every revocation is known",
                known.complete() as f64,
            ),
            (
                "atoll_revocation_list_certificates",
                "Certificates on the last revocation list (RFC 5280)",
                listed.certificates as f64,
            ),
            (
                "atoll_revocation_list_number",
                "The number of the last revocation list (RFC 5280); 0 without one",
                listed.number as f64,
            ),
            (
                "atoll_revocation_subscriptions",
                "Users for whose revocation the DHT is asked",
                self.subscriptions.count() as f64,
            ),
        ];
        let gauges = gauges
            .map(|(name, help, value)| metric(&self.name, (name, help, MetricKind::Gauge), None, value));
        metrics.extend(gauges);
    }

    /// How peers are found and reached, and what is passed on for others.
    fn way_metrics(&self, now: Time, metrics: &mut Vec<Metric>) {
        let mut add = |name: &str, help: &str, kind, label: Option<(&str, &str)>, value: f64| {
            metrics.push(metric(&self.name, (name, help, kind), label, value));
        };
        if let Some(discovery) = &self.discovery {
            let help = "Looks for other members in the DHT of the public overlay";
            add("atoll_discovery_looks_total", help, MetricKind::Counter, None, discovery.looks() as f64);
            let found = self.discovered.map_or(0, |(_, last)| last);
            let help = "Members that the last look found";
            add("atoll_discovered_members", help, MetricKind::Gauge, None, f64::from(found));
        }
        for way in Way::ALL {
            let help = "Connections by the kind of way that datagrams take";
            let count = self.connections.iter().filter(|connection| connection.way() == way).count() as f64;
            add("atoll_ways", help, MetricKind::Gauge, Some(("way", way.label())), count);
        }
        let pairs = self.relay.pairs(now) as f64;
        add(
            "atoll_relayed_pairs",
            "Pairs of peers that this member relays for",
            MetricKind::Gauge,
            None,
            pairs,
        );
        let passed = self.relay.bytes() as f64;
        let help = "Bytes of packets that this member relayed for pairs of peers";
        add("atoll_relay_bytes_total", help, MetricKind::Counter, None, passed);
    }
}

/// A metric of an overlay, with one label more at most.
fn metric(
    overlay: &str,
    (name, help, kind): (&str, &str, MetricKind),
    label: Option<(&str, &str)>,
    value: f64,
) -> Metric {
    let mut labels = vec![("overlay".to_owned(), overlay.to_owned())];
    labels.extend(label.map(|(name, value)| (name.to_owned(), value.to_owned())));
    labels.sort();
    Metric { name: name.to_owned(), help: help.to_owned(), kind, labels, value }
}

/// The member that passes datagrams on, or that stands for the peer in the public overlay.
fn via(remote: Remote) -> Option<Address> {
    match remote {
        Remote::Udp(_) | Remote::Tcp(_) => None,
        Remote::Carried(member) => Some(member),
        Remote::Relayed(one) => Some(one.via),
    }
}

fn totals(counters: &Counters) -> [(&'static str, &'static str, u64); 22] {
    [
        ("atoll_sent_datagrams_total", "Datagrams handed to the socket", counters.udp.sent_datagrams),
        ("atoll_sent_bytes_total", "UDP payload bytes handed to the socket", counters.udp.sent_bytes),
        (
            "atoll_carried_datagrams_total",
            "Datagrams of this overlay that went into the public ring",
            counters.carried_datagrams,
        ),
        (
            "atoll_relayed_datagrams_total",
            "Datagrams of this overlay that went through a common peer",
            counters.relayed_datagrams,
        ),
        ("atoll_relays_changed_total", "Relayed edges that took another relay", counters.relays_changed),
        (
            "atoll_received_datagrams_total",
            "Datagrams taken from the socket",
            counters.udp.received_datagrams,
        ),
        (
            "atoll_received_bytes_total",
            "UDP payload bytes taken from the socket",
            counters.udp.received_bytes,
        ),
        ("atoll_tcp_sent_datagrams_total", "Datagrams for TCP connections", counters.tcp.sent_datagrams),
        ("atoll_tcp_sent_bytes_total", "Their bytes, lengths not counted", counters.tcp.sent_bytes),
        (
            "atoll_tcp_received_datagrams_total",
            "Datagrams from TCP connections",
            counters.tcp.received_datagrams,
        ),
        ("atoll_tcp_received_bytes_total", "Their bytes, lengths not counted", counters.tcp.received_bytes),
        ("atoll_forwarded_packets_total", "Packets passed on for others", counters.forwarded_packets),
        ("atoll_delivered_packets_total", "Packets that ended here", counters.delivered_packets),
        ("atoll_retransmitted_frames_total", "Frames sent again", counters.retransmitted_frames),
        ("atoll_links_started_total", "Handshakes begun here", counters.links_started),
        (
            "atoll_handshakes_completed_total",
            "Handshakes completed, whoever began them",
            counters.handshakes_completed,
        ),
        ("atoll_handshakes_failed_total", "Handshakes that came to nothing", counters.handshakes_failed),
        ("atoll_renewals_total", "Associations that got new keys", counters.renewals),
        ("atoll_connections_made_total", "Connections made", counters.connections_made),
        ("atoll_peers_lost_total", "Connections whose peer fell silent", counters.peers_lost),
        (
            "atoll_received_payloads_total",
            "Payloads from members to applications, end to end",
            counters.received_payloads,
        ),
        ("atoll_pings_total", "Keepalive pings sent", counters.pings),
    ]
}

/// Of what all members are told.
fn tellings(counters: &Counters) -> [(&'static str, &'static str, u64); 7] {
    [
        (
            "atoll_told_datagrams_total",
            "Datagrams that tell all members of something",
            counters.told.sent_datagrams,
        ),
        (
            "atoll_told_bytes_total",
            "UDP payload bytes of what tells all members of something, answers and acknowledgements included",
            counters.told.sent_bytes,
        ),
        ("atoll_broadcasts_received_total", "Payloads for all that arrived", counters.broadcasts_received),
        ("atoll_revocations_learnt_total", "Revocations that were learnt", counters.revocations_learnt),
        (
            "atoll_notices_received_total",
            "Notices of revocations, known ones included",
            counters.notices_received,
        ),
        (
            "atoll_announcements_heard_total",
            "Announcements of the group's site that this member was told",
            counters.announcements_heard,
        ),
        (
            "atoll_revoked_closed_total",
            "Edges and senders to revoked members that were closed",
            counters.revoked_closed,
        ),
    ]
}
