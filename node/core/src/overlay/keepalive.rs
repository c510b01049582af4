//! Keepalive of an overlay's edges: who pings, how often, and what a silence means. Edges of several overlays between the same
//! two nodes share a path, and what keeps one of them alive spares the others most of their pings.

use std::time::Duration;

use super::{Lent, Overlay};
use crate::connection::Connection;
use crate::edge::{Edge, Probe, Stage, Wanted};
use crate::machine::Deadline;
use crate::time::Time;
use crate::wire::{Address, CloseReason, EdgeId, FrameKind, Ping, Way};

/// How long a connection at least keeps an edge that a newer one replaced.
const DUPLICATE_GRACE: Duration = Duration::from_millis(400);

impl Overlay {
    /// A linked edge begins to be kept alive: its initiator pings.
    pub(super) fn start_keepalive(&mut self, id: EdgeId, lent: &Lent<'_>) {
        let Some(edge) = self.edges.get_mut(id) else { return };
        if edge.initiated {
            edge.probe.lead(self.keepalive.idle_min, lent.now);
            // Until its round trip is known, an edge waits for answers as long as for those of anybody.
            edge.probe.ask(lent.now);
        } else {
            edge.probe.watch(self.keepalive.idle_min, lent.now);
        }
    }

    /// Our adjacent neighbours changed: the one behind us pings, the one before us is pinged, more often.
    pub(super) fn watch_neighbours(&mut self, lent: &Lent<'_>) {
        let adjacent = self.keepalive.adjacent;
        for (peer, leads) in [(self.place.predecessor, false), (self.place.successor, true)] {
            let Some(connection) = peer.and_then(|peer| self.connections.get(peer)) else { continue };
            let Some(edge) = self.edges.get_mut(connection.edge()) else { continue };
            if edge.probe.interval() <= adjacent {
                continue;
            }
            if leads {
                edge.probe.lead(adjacent, lent.now);
            } else {
                edge.probe.watch(adjacent, lent.now);
            }
        }
    }

    pub(super) fn is_adjacent(&self, peer: Address) -> bool {
        self.place.predecessor == Some(peer) || self.place.successor == Some(peer)
    }

    /// The idle interval after `last` went well.
    fn next_interval(&self, peer: Address, probe: &Probe, bears: Duration) -> Duration {
        if self.is_adjacent(peer) {
            return self.keepalive.adjacent;
        }
        let bears = probe.peer_bears().min(bears);
        (probe.interval() * 2).max(self.keepalive.idle_min).min(self.keepalive.idle_max).min(bears)
    }

    /// The longest silence that our side of an edge bears. A NAT keeps a TCP connection for hours (RFC 5382 REQ-5), so that
    /// only a silent death is a reason to ask.
    fn bears(&self, edge: &Edge, lent: &Lent<'_>) -> Duration {
        if self.way(edge, lent) == Way::Stream {
            return self.keepalive.idle_max;
        }
        lent.paths.mapping_bears().unwrap_or(self.keepalive.idle_max).min(self.keepalive.idle_max)
    }

    fn ping(&self, number: u16, (peer, edge): (Address, &Edge), interval: Duration, lent: &Lent<'_>) -> Ping {
        let neighbours = self.connections.get(peer);
        let digest = neighbours
            .map_or(0, |connection| super::frames::digest(connection.their_bits(), connection.neighbours()));
        let measured = lent.paths.get(edge.path).and_then(crate::path::Path::measured);
        Ping {
            number,
            digest,
            interval: seconds(interval),
            interval_max: seconds(self.bears(edge, lent)),
            wait: measured.map_or(0, steps),
        }
    }

    pub(super) fn on_ping(&mut self, id: EdgeId, peer: Address, ping: Ping, lent: &mut Lent<'_>) {
        self.check_digest(peer, ping.digest);
        let is_adjacent = self.is_adjacent(peer);
        let Some(edge) = self.edges.get(id) else { return };
        let way = self.way(edge, lent);
        let mut rto = Duration::ZERO;
        if let Some(path) = lent.paths.get_mut(edge.path) {
            if ping.wait > 0 {
                path.tell(Ping::STEP * u32::from(ping.wait));
            }
            path.kept = lent.now;
            rto = path.rto();
        }
        let Some(edge) = self.edges.get_mut(id) else { return };
        if let Some(silence) = edge.probe.expects().filter(|_| way == Way::Direct) {
            lent.paths.mapping_held(silence);
        }
        let announced = Duration::from_secs(u64::from(ping.interval.max(1)));
        edge.probe.set_peer_bears(Duration::from_secs(u64::from(ping.interval_max.max(1))));
        let goes_on = edge.probe.meet(edge.initiated, rto, lent.now);
        if !goes_on {
            edge.probe.follow(announced, lent.now);
        }
        if !goes_on && is_adjacent && announced > self.keepalive.adjacent {
            edge.probe.watch(self.keepalive.adjacent, lent.now);
        }
        let Some(edge) = self.edges.get(id) else { return };
        let pong = self.ping(ping.number, (peer, edge), announced, lent);
        let mut body = lent.pool.take(16);
        pong.write(&mut body);
        self.send_frame_once(id, FrameKind::Pong, body, lent);
        self.ask_again(peer, lent);
    }

    pub(super) fn on_pong(&mut self, id: EdgeId, peer: Address, pong: Ping, lent: &mut Lent<'_>) {
        self.check_digest(peer, pong.digest);
        self.ask_again(peer, lent);
        let Some(edge) = self.edges.get_mut(id) else { return };
        let Some(sample) = edge.probe.round_trip(pong.number, lent.now) else { return };
        // What was not acknowledged may have gone with another edge of the connection, so that no acknowledgement comes any more.
        self.trust_again(id);
        let Some(edge) = self.edges.get_mut(id) else { return };
        edge.probe.set_peer_bears(Duration::from_secs(u64::from(pong.interval_max.max(1))));
        lent.paths.sample(edge.path, sample);
        if let Some(path) = lent.paths.get_mut(edge.path) {
            path.kept = lent.now;
        }
        let Some(edge) = self.edges.get(id).filter(|edge| !edge.probe.yields()) else { return };
        let next = self.next_interval(peer, &edge.probe, self.bears(edge, lent));
        if let Some(edge) = self.edges.get_mut(id) {
            edge.probe.lead(next, lent.now);
        }
    }

    /// What the peer has from us ought to be what we told it.
    fn check_digest(&mut self, peer: Address, has: u32) {
        let Some(connection) = self.connections.get_mut(peer) else { return };
        if connection.told_digest != has {
            connection.told_digest = 0;
            connection.stale = true;
            self.dirty = true;
        }
    }

    /// Runs the timers of all edges.
    pub(super) fn run_edges(&mut self, lent: &mut Lent<'_>) {
        self.edges.refresh();
        for id in self.edges.take_due(lent.now) {
            self.run_edge(id, lent);
        }
    }

    fn run_edge(&mut self, id: EdgeId, lent: &mut Lent<'_>) {
        self.run_reliable(id, lent);
        let Some(edge) = self.edges.get_mut(id) else { return };
        let peer = match edge.stage {
            Stage::Handshake => return,
            Stage::Up(_) if edge.is_abandoned(lent.now) => {
                // The peer may think that it stands.
                return self.close_edge(id, CloseReason::Abandoned, lent);
            }
            Stage::Up(_) => return,
            Stage::Linked(peer) => peer,
        };
        let Some(path) = lent.paths.get(edge.path) else { return };
        let (rto, kept) = (path.rto(), path.kept);
        if edge.probe.due() <= lent.now && edge.probe.spare(kept, lent.now) {
            return;
        }
        let wanted = edge.probe.handle_timeout(lent.now, rto);
        match wanted {
            None => {}
            Some(Wanted::Dead) if self.outlives_relay(id, lent) => {}
            Some(Wanted::Dead) => {
                self.miss(id, lent);
                self.drop_edge(id, "no answer", lent);
            }
            Some(Wanted::Ping(number)) => {
                self.counters.pings += 1;
                if self.edges.get(id).is_some_and(|edge| edge.probe.is_unanswered()) {
                    self.doubt_relay(id, lent);
                }
                self.send_ping(id, (number, peer), lent);
            }
        }
    }

    pub(super) fn send_ping(&mut self, id: EdgeId, (number, peer): (u16, Address), lent: &mut Lent<'_>) {
        let Some(edge) = self.edges.get(id) else { return };
        let interval = self.next_interval(peer, &edge.probe, self.bears(edge, lent));
        let ping = self.ping(number, (peer, edge), interval, lent);
        let mut body = lent.pool.take(16);
        ping.write(&mut body);
        self.send_frame_once(id, FrameKind::Ping, body, lent);
    }

    pub(super) fn edges_timeout(&self) -> Option<Deadline> {
        let at = self.edges.due();
        (at < Time::MAX).then_some(Deadline { at, reason: "edge" })
    }

    /// The edges of a connection that a newer one replaced, and when they may go: the peer has the newer one, and whatever it
    /// sent on these before is here, also where the public ring carried it. The higher address closes them, so that only one
    /// does.
    pub(super) fn replaced_edges(&self, connection: &Connection, lent: &Lent<'_>) -> Vec<(EdgeId, Time)> {
        let Some(((_, own), rest)) = connection.edges.split_last() else { return Vec::new() };
        let newer = self.edges.get(*own).filter(|_| self.own > connection.peer);
        let Some((newer, agreed)) = newer.and_then(|newer| Some((newer, newer.agreed?))) else {
            return Vec::new();
        };
        let rto = |edge: &Edge| lent.paths.get(edge.path).map(crate::path::Path::rto).unwrap_or_default();
        let due = |edge: &Edge| newer.since.max(agreed) + DUPLICATE_GRACE.max(rto(edge));
        rest.iter().filter_map(|(_, id)| Some((*id, due(self.edges.get(*id)?)))).collect()
    }
}

/// How often [`Ping::STEP`] goes into a wait, rounded up.
fn steps(wait: Duration) -> u8 {
    u8::try_from(wait.as_millis().div_ceil(Ping::STEP.as_millis())).unwrap_or(u8::MAX)
}

/// Whole seconds, at least one, as a ping says them.
fn seconds(span: Duration) -> u8 {
    u8::try_from(span.as_secs().max(1)).unwrap_or(u8::MAX)
}
