//! How edges and connections of an overlay come and go.

use std::time::Duration;

use super::{Lent, Overlay};
use crate::connection::{CONNECTIONS_MAX, Connection, Role, Roles};
use crate::control::EventKind;
use crate::counters::DropReason;
use crate::edge::{self, Edge, Stage};
use crate::linker::Wanted;
use crate::machine::Deadline;
use crate::path;
use crate::security::{Action, Claim, Intent};
use crate::time::Time;
use crate::wire::{
    Address, Candidate, CloseReason, ConnectToMe, EdgeId, FrameKind, Header, Link, Mode, PacketHeader,
    PacketKind, Remote, Way,
};

/// Transport addresses of ours that a `ConnectToMe` names at most.
const TRANSPORTS_MAX: usize = 8;
/// How much later than its transport addresses the other remotes of a member are dialled: most handshakes that can come
/// to something have done so by then.
const FALLBACK_WAIT: Duration = Duration::from_millis(1000);
/// The same where one side's NAT chooses a port for each peer, so that little is to be hoped for.
const FALLBACK_WAIT_HARD: Duration = Duration::from_millis(100);
/// Round trips that a handshake takes about, the wait for the other side to open its NAT included.
const HANDSHAKE_ROUND_TRIPS: u32 = 4;
/// How long our own handshake keeps out the peer's over the same path.
const OWN_TURN: Duration = Duration::from_secs(1);

impl Overlay {
    /// Begins a handshake with a remote.
    pub(super) fn dial(&mut self, remote: Remote, intent: Intent, lent: &mut Lent<'_>) -> Option<EdgeId> {
        let path = lent.paths.hold(remote, lent.now);
        let edge = Edge { target: intent.target, ..Edge::new(path, None, lent.now) };
        let Some(id) = self.add_edge(edge) else {
            lent.paths.release(path);
            return None;
        };
        self.counters.links_started += 1;
        self.engine.set_round_trip(lent.paths.probable(remote));
        self.engine.connect(edge::channel(id), intent, lent.now);
        Some(id)
    }

    /// Whether a peer's handshake over this path shall go on, although ours over the same path may be under way: of the two
    /// that which the lower address began goes on. One that gets nowhere gives way to the other.
    pub(super) fn gives_way(&mut self, peer: Address, from: Remote, lent: &mut Lent<'_>) -> bool {
        let Some(attempt) = self.linker.get(peer) else { return true };
        let ours = attempt.dialled.iter().find(|(remote, _)| *remote == from).map(|(_, id)| *id);
        let Some(edge) = ours.and_then(|id| self.edges.get(id)) else { return true };
        if edge.stage != Stage::Handshake {
            return true;
        }
        if self.own < peer && edge.since + lent.paths.paced(OWN_TURN) > lent.now {
            return false;
        }
        if let Some(id) = ours {
            self.drop_edge(id, "the peer's handshake goes on", lent);
        }
        true
    }

    /// Dials what a peer named, as far as it is worth it and not under way: transport addresses at once, other ways a
    /// little later (RFC 8305 does so with addresses).
    fn dial_candidates(&mut self, peer: Address, message: &ConnectToMe, lent: &mut Lent<'_>) {
        // A handshake that the peer began got through to us, and so its answer gets through to the peer.
        let is_to = |edge: &Edge| edge.peer() == Some(peer) || (!edge.initiated && edge.target == Some(peer));
        let ways = self.edges.iter().filter(|(_, edge)| is_to(edge)).map(|(_, edge)| self.way(edge, lent));
        let best = ways.max();
        if let Some(attempt) = self.linker.get_mut(peer) {
            attempt.peer_token = Some(message.token);
        }
        let is_better = |way: Way| best.is_none_or(|best| best < way);
        let varies = path::varies(&message.candidates);
        let mut direct: Vec<Remote> = Vec::new();
        for candidate in &message.candidates {
            let (address, remote) = match *candidate {
                Candidate::Udp(address) => (address, Remote::Udp(address)),
                Candidate::Tcp(address) => (address, Remote::Tcp(address)),
                _ => continue,
            };
            // A NAT that chooses a port for each peer has chosen none of these for us. One of them opens our own to its address.
            let is_another_port = |one: &Remote| one.udp().is_some_and(|one| one.ip() == address.ip());
            let is_pointless = varies && remote.udp().is_some() && direct.iter().any(is_another_port);
            if is_better(remote.way())
                && !is_pointless
                && lent.paths.is_worth_dialling(address, &message.candidates)
            {
                direct.push(remote);
            }
        }
        let wait = match direct.is_empty() {
            true => Duration::ZERO,
            false if lent.paths.is_hard() || varies => FALLBACK_WAIT_HARD,
            false => lent.paths.paced(FALLBACK_WAIT),
        };
        for remote in direct {
            self.dial_direct(peer, remote, lent);
        }
        self.plan_relays(peer, message, wait, lent);
        // Who is only to relay has to be reached without others.
        let roles = self.linker.get(peer).map(|attempt| attempt.roles.union(Roles::from_bits(message.roles)));
        let is_only_relay = roles == Some(Role::Overlap.into());
        for candidate in &message.candidates {
            if let (Candidate::Carried(member), true, false) =
                (candidate, is_better(Way::Carried), is_only_relay)
            {
                self.plan(peer, Remote::Carried(*member), lent.now + wait);
            }
        }
        self.run_attempts(lent);
    }

    /// The kind of way that an edge takes.
    pub(super) fn way(&self, edge: &Edge, lent: &Lent<'_>) -> Way {
        lent.paths.get(edge.path).map_or(Way::Carried, |path| path.remote.way())
    }

    /// Dials a remote of a member that an attempt is under way with, if that would be better than what there is.
    pub(super) fn dial_for(&mut self, peer: Address, remote: Remote, lent: &mut Lent<'_>) {
        let Some(attempt) = self.linker.get(peer) else { return };
        if attempt.has(remote) || !attempt.wants(remote.way()) {
            return;
        }
        let intent = Intent { target: Some(peer), token: attempt.peer_token };
        if let Some(id) = self.dial(remote, intent, lent)
            && let Some(attempt) = self.linker.get_mut(peer)
        {
            attempt.dialled.push((remote, id));
        }
    }

    /// Dials a remote later, if no better way is found until then.
    pub(super) fn plan(&mut self, peer: Address, remote: Remote, at: Time) {
        if self.linker.get(peer).is_some_and(|attempt| attempt.wants(remote.way()) && !attempt.has(remote)) {
            self.linker.fall_back(peer, remote, at);
        }
    }

    /// What may reach us, best first.
    pub(super) fn candidates(&self, lent: &Lent<'_>) -> Vec<Candidate> {
        let mut candidates = lent.paths.candidates(TRANSPORTS_MAX);
        candidates.extend(self.relays(lent));
        if self.discovery.is_some() {
            candidates.extend(lent.carrier.map(Candidate::Carried));
        }
        candidates
    }

    /// Begins to link a member; `via` leads to it if it is not empty.
    pub(super) fn link(&mut self, target: Address, role: Role, via: Vec<Address>, lent: &mut Lent<'_>) {
        if target == self.own || self.linker.is_resting(target, lent.now) {
            return;
        }
        if let Some(connection) = self.connections.get_mut(target) {
            if !connection.ours.has(role) {
                connection.ours = connection.ours.with(role);
                connection.stale = true;
                self.dirty = true;
            }
            return;
        }
        if self.linker.ask(target, role.into(), via, lent.now) {
            self.run_attempts(lent);
        }
    }

    /// Runs the linker's and the bootstraps' timers.
    pub(super) fn run_links(&mut self, lent: &mut Lent<'_>) {
        self.run_attempts(lent);
        self.choose_transport(lent);
        if self.connected {
            let size = self.ring.size_estimate(&self.connections);
            if let Some(remote) = self.bootstraps.probe(size, lent.now) {
                let id = self.dial(remote, Intent::default(), lent);
                self.bootstraps.on_dial(remote, id, lent.now);
            }
            return;
        }
        self.dial_bootstraps(lent);
    }

    /// The bootstraps are these from now on.
    pub fn set_bootstraps(&mut self, remotes: &[Remote], lent: &mut Lent<'_>) {
        self.bootstraps.replace(remotes, lent.now);
        for remote in remotes {
            self.healing.on_bootstrap(None, *remote, lent.now);
        }
        if !self.leaving {
            self.run_links(lent);
            self.pump(lent);
        }
    }

    pub(super) fn bootstraps_timeout(&self) -> Option<Deadline> {
        if self.connected { self.bootstraps.probe_timeout() } else { self.bootstraps.poll_timeout() }
    }

    fn run_attempts(&mut self, lent: &mut Lent<'_>) {
        self.linker.set_pace(lent.paths.pace());
        while let Some(wanted) = self.linker.handle_timeout(lent.now) {
            match wanted {
                Wanted::Ask(target) => self.ask_to_connect(target, lent),
                Wanted::Dial(target, remote) => self.dial_for(target, remote, lent),
                Wanted::Relay(target) => self.relay_to(target, lent),
                Wanted::Failed(_, edges) => {
                    for id in edges {
                        self.give_up_edge(id, lent);
                    }
                    self.dirty = true;
                }
            }
        }
    }

    fn ask_to_connect(&mut self, target: Address, lent: &mut Lent<'_>) {
        let Some(attempt) = self.linker.get(target) else { return };
        let message = ConnectToMe {
            id: attempt.id,
            roles: attempt.roles.bits(),
            token: attempt.token,
            candidates: self.candidates(lent),
        };
        let header = if attempt.via.is_empty() {
            PacketHeader::new(PacketKind::ConnectRequest, Mode::Exact, self.own, target).recorded()
        } else {
            let route = attempt.via.iter().copied().chain([target]).collect();
            PacketHeader::sourced(PacketKind::ConnectRequest, self.own, route)
        };
        let mut body = lent.pool.take(200);
        message.write(&mut body);
        self.send_packet(&header, body, lent);
    }

    /// Sends a `ConnectToMe` to our own place in the ring, through `first`.
    pub(super) fn announce(&mut self, first: Address, lent: &mut Lent<'_>) {
        let announcement = self.linker.announce();
        // Once connected it only looks for strangers: those who know us need not answer.
        let roles = if self.connected { Roles::NONE } else { Roles::from(Role::Near) };
        let message = ConnectToMe {
            id: announcement.id,
            roles: roles.bits(),
            token: announcement.token,
            candidates: self.candidates(lent),
        };
        let header =
            PacketHeader::new(PacketKind::ConnectRequest, Mode::Nearest, self.own, self.own).recorded();
        let mut body = lent.pool.take(200);
        message.write(&mut body);
        header.prepend(&mut body);
        self.hand_over(first, body, lent);
    }

    /// Announces ourselves through some connection, a far one if there is one.
    pub(super) fn announce_somewhere(&mut self, lent: &mut Lent<'_>) {
        let far: Vec<Address> = self
            .connections
            .iter()
            .filter(|connection| !connection.ours.has(Role::Near))
            .map(|connection| connection.peer)
            .collect();
        let all: Vec<Address> = self.connections.iter().map(|connection| connection.peer).collect();
        let from = if far.is_empty() { &all } else { &far };
        if let Some(first) = from.get(self.rng.below(from.len())) {
            self.announce(*first, lent);
        }
    }

    /// A member asks us to connect to it.
    pub(super) fn on_connect_request(
        &mut self,
        header: &PacketHeader,
        message: &ConnectToMe,
        lent: &mut Lent<'_>,
    ) {
        let peer = header.source;
        if message.roles == Roles::NONE.bits() && self.connections.get(peer).is_some() {
            return;
        }
        let local_id = self.linker.answer(peer, message.token, lent.now).map(|attempt| attempt.token);
        let Some(token) = local_id else {
            self.counters.drop(DropReason::Full);
            return;
        };
        let reply = ConnectToMe { id: message.id, roles: 0, token, candidates: self.candidates(lent) };
        let mut body = lent.pool.take(200);
        reply.write(&mut body);
        let back = PacketHeader::sourced(PacketKind::ConnectReply, self.own, header.way_back());
        self.send_packet(&back, body, lent);
        self.dial_candidates(peer, message, lent);
    }

    /// A member that we asked, or that stands at our place, answers.
    pub(super) fn on_connect_reply(
        &mut self,
        header: &PacketHeader,
        message: &ConnectToMe,
        lent: &mut Lent<'_>,
    ) {
        let peer = header.source;
        let announced = self.linker.is_announcement(message.id);
        if announced {
            self.answered = true;
            self.dirty = true;
            self.linker.answer(peer, message.token, lent.now);
            if let Some(attempt) = self.linker.get_mut(peer) {
                attempt.roles = attempt.roles.with(Role::Near);
            }
        } else if self.linker.get(peer).is_none_or(|attempt| attempt.id != message.id) {
            // Often the peer's own dialling was faster than its answer.
            self.counters.drop(DropReason::Unasked);
            return;
        }
        self.linker.on_reply(peer);
        self.dial_candidates(peer, message, lent);
    }

    /// The peer of an association proved its claim: it is a member, the one that we meant, and it stays the same.
    pub(super) fn on_claim(&mut self, id: EdgeId, claim: &Claim, lent: &mut Lent<'_>) {
        let Some(edge) = self.edges.get(id) else { return };
        let meant = edge.peer().or(edge.target);
        let is_new = edge.stage == Stage::Handshake;
        let verdict = self.trust.verify(claim, lent.wall).and_then(|identity| identity.at(meant));
        match verdict {
            Ok(identity) if identity.address == self.own => {
                self.counters.drop(DropReason::WrongMember);
                self.drop_edge(id, "it is we ourselves", lent);
            }
            Ok(identity) => {
                let peer = identity.address;
                self.remember(id, identity, lent);
                if is_new {
                    self.on_up(id, peer, lent);
                }
            }
            Err(refusal) => self.refuse(id, refusal, lent),
        }
    }

    /// The association of an edge stands: say who we are to the peer.
    fn on_up(&mut self, id: EdgeId, peer: Address, lent: &mut Lent<'_>) {
        let Some(edge) = self.edges.get_mut(id) else { return };
        if edge.initiated {
            lent.paths.note(lent.now.since(edge.since) / HANDSHAKE_ROUND_TRIPS);
        }
        edge.enter(Stage::Up(peer), lent.now);
        let Some(path) = lent.paths.get_mut(edge.path) else { return };
        path.heard = lent.now;
        let observed = path.remote.udp();
        let neighbours = self.connections.around(peer, self.ring.near());
        let roles = self.roles_for(peer, id).bits() | self.open_bit(lent);
        let told_digest = super::frames::digest(roles, &neighbours);
        if let Some(edge) = self.edges.get_mut(id) {
            edge.told_digest = told_digest;
        }
        let link = Link { roles, observed, neighbours, known: self.knowledge() };
        let mut body = lent.pool.take(200);
        link.write(&mut body);
        self.send_frame(id, FrameKind::Link, body, lent);
    }

    /// The peer's first frame on an edge: the edge joins or makes a connection.
    pub(super) fn on_link(&mut self, id: EdgeId, link: Link, lent: &mut Lent<'_>) {
        let Some(Stage::Up(peer)) = self.edges.get(id).map(|edge| edge.stage) else { return };
        let roles = self.roles_for(peer, id);
        let is_new = self.connections.get(peer).is_none();
        let theirs = Roles::from_bits(link.roles);
        if is_new && !(self.has_place_for(roles, theirs) && self.make_room(roles, lent)) {
            self.counters.drop(DropReason::Full);
            self.close_edge(id, CloseReason::Full, lent);
            return;
        }
        let Some(edge) = self.edges.get_mut(id) else { return };
        edge.enter(Stage::Linked(peer), lent.now);
        let (told_digest, initiated, path) = (edge.told_digest, edge.initiated, edge.path);
        let way = lent.paths.get(path).map_or(Way::Carried, |path| path.remote.way());
        self.connections.insert(peer, (way, id), lent.now);
        self.refused = None;
        self.bootstraps.on_linked(id);
        if let Some(observed) = link.observed {
            lent.paths.observe(observed);
        }
        if way == Way::Stream && !initiated {
            lent.paths.on_reached_over_tcp();
        }
        for other in self.linker.on_linked(peer, (way, id)) {
            self.give_up_edge(other, lent);
        }
        if let Some(connection) = self.connections.get_mut(peer) {
            connection.ours = connection.ours.union(roles);
            connection.set_theirs(link.roles);
            connection.set_neighbours(link.neighbours, self.own);
            connection.suspected = false;
            connection.told_digest = told_digest;
            connection.stale = true;
        }
        if let Some(known) = link.known {
            self.compare(peer, known, lent);
        }
        self.dirty = true;
        self.start_keepalive(id, lent);
        if let Some(edge) = self.edges.get_mut(id).filter(|_| roles.has(Role::Shortcut)) {
            // Which candidate is kept depends on its round trip.
            edge.probe.ask(lent.now);
        }
        if is_new {
            self.on_connected_to(peer, lent);
        }
        self.on_way(peer, way, lent);
        self.healing.forget(peer);
        if is_new {
            self.introduce(peer, lent);
        }
        if self.bootstraps.owns(id) {
            if let Some(remote) =
                lent.paths.get(path).map(|path| path.remote).filter(|one| one.transport().is_some())
            {
                self.healing.on_bootstrap(Some(peer), remote, lent.now);
            }
            self.announce(peer, lent);
            if !self.connected {
                self.ring.announce_again(lent.now);
            }
        } else if is_new && !self.connected && self.ring.poll_timeout().is_none() {
            // Whom others found has no bootstrap through which it would ask for its place.
            self.announce(peer, lent);
            self.ring.announce_again(lent.now);
        }
    }

    /// Whether the peer wants more than to be one shortcut too many: whoever is near to many in time would else bear
    /// the keepalives of all of them.
    fn has_place_for(&self, ours: Roles, theirs: Roles) -> bool {
        ours != Roles::NONE || theirs != Role::Shortcut.into() || self.takes_shortcuts()
    }

    /// Whether there are fewer shortcuts to us than members keep twice over (Symphony's bound).
    pub(super) fn takes_shortcuts(&self) -> bool {
        let size = self.ring.size_estimate(&self.connections);
        let theirs = self.connections.iter().filter(|one| one.theirs.has(Role::Shortcut)).count();
        theirs < 2 * self.shortcuts.target_count(size).max(1)
    }

    /// A full table gives up its oldest newcomer, who has had the most time to find its place. False if there is none
    /// and we want nothing of the new peer ourselves.
    fn make_room(&mut self, wanted: Roles, lent: &mut Lent<'_>) -> bool {
        if self.connections.len() < CONNECTIONS_MAX {
            return true;
        }
        let is_guest =
            |one: &&Connection| one.ours == Roles::NONE && one.theirs.without(Role::Leaf) == Roles::NONE;
        let oldest = self.connections.iter().filter(is_guest).min_by_key(|one| one.since).map(|one| one.peer);
        match oldest {
            Some(peer) => self.close_connection(peer, CloseReason::Full, lent),
            None if wanted == Roles::NONE => return false,
            None => {}
        }
        true
    }

    /// An edge of an attempt is of no more use. One that is up may be linked at its other end, which then sends on it: it goes
    /// as those do that were replaced, or if it is abandoned.
    fn give_up_edge(&mut self, id: EdgeId, lent: &mut Lent<'_>) {
        if self.edges.get(id).is_some_and(|edge| edge.stage == Stage::Handshake) {
            self.drop_edge(id, "another edge was faster", lent);
        }
    }

    fn on_connected_to(&mut self, peer: Address, lent: &mut Lent<'_>) {
        self.counters.connections_made += 1;
        self.mark_stale_around(peer);
        self.departed.forget(peer);
        self.tell(EventKind::PeerConnected { peer }, lent);
    }

    /// The lists that we tell change for the peers next to `peer` in our table.
    pub(super) fn mark_stale_around(&mut self, peer: Address) {
        for near in self.connections.around(peer, self.ring.near()) {
            if let Some(connection) = self.connections.get_mut(near) {
                connection.stale = true;
            }
        }
        self.dirty = true;
    }

    /// Tells the peer that the edge ends, and forgets it.
    pub(super) fn close_edge(&mut self, id: EdgeId, reason: CloseReason, lent: &mut Lent<'_>) {
        self.say_close(id, reason, lent);
        self.drop_edge(id, reason.describe(), lent);
    }

    pub(super) fn say_close(&mut self, id: EdgeId, reason: CloseReason, lent: &mut Lent<'_>) {
        let body = lent.pool.copy(&[reason as u8]);
        self.send_frame_once(id, FrameKind::Close, body, lent);
        while let Some(action) = self.engine.poll() {
            if let Action::Record(channel, farewell) = &action
                && *channel == edge::channel(id)
            {
                self.note_parting(id, farewell, lent);
            }
            self.carry_out(action, lent);
        }
    }

    fn note_parting(&mut self, id: EdgeId, farewell: &[u8], lent: &mut Lent<'_>) {
        let Some(edge) = self.edges.get(id) else { return };
        let Some(path) = lent.paths.get(edge.path) else { return };
        let mut datagram = lent.pool.copy(farewell);
        Header::Short { receiver: edge.remote }.prepend(&mut datagram);
        self.partings.note(id, (path.remote, &datagram), path.rto(), lent.now);
    }

    /// A peer sends on an edge that is no more: if we closed it, it has not heard that.
    pub(super) fn close_again(&mut self, id: EdgeId, lent: &mut Lent<'_>) {
        let Some((to, farewell)) = self.partings.answer(id, lent.now) else { return };
        let farewell = lent.pool.copy(farewell);
        self.transmit(to, farewell, lent);
    }

    /// Ends a connection with all edges to the peer, those too that only its end has linked yet.
    pub(super) fn close_connection(&mut self, peer: Address, reason: CloseReason, lent: &mut Lent<'_>) {
        let edges = self.edges.iter().filter(|(_, edge)| edge.peer() == Some(peer));
        for id in edges.map(|(id, _)| id).collect::<Vec<_>>() {
            self.close_edge(id, reason, lent);
        }
    }

    /// Forgets an edge without a word; what it carried takes another way if there is one.
    pub(super) fn drop_edge(&mut self, id: EdgeId, why: &str, lent: &mut Lent<'_>) {
        let Some(mut edge) = self.edges.remove(id) else { return };
        self.engine.forget(edge::channel(id));
        lent.paths.release(edge.path);
        self.linker.on_edge_down(id);
        if let Some((Remote::Udp(bootstrap), attempts)) = self.bootstraps.on_edge_down(id, lent.now) {
            self.tell(EventKind::BootstrapSilent { bootstrap, attempts }, lent);
        }
        let Stage::Linked(peer) = edge.stage else { return };
        if let Some(connection) = self.connections.get_mut(peer) {
            connection.edges.retain(|(_, own)| *own != id);
            connection.stale = true;
            if connection.edges.is_empty() {
                self.lose(peer, why, lent);
            }
        }
        for packet in edge.reliable.take_packets() {
            self.reroute(packet, peer, lent);
        }
        self.dirty = true;
    }

    fn lose(&mut self, peer: Address, why: &str, lent: &mut Lent<'_>) {
        self.mark_stale_around(peer);
        let lost = self.connections.remove(peer);
        if self.connected && lost.is_some_and(|connection| connection.ours.has(Role::Shortcut)) {
            self.shortcuts.begin(lent.now);
        }
        self.leave_relay(peer, lent);
        self.exchange.on_lost(peer);
        self.cover_for(peer, lent);
        if self.place.predecessor == Some(peer) || self.place.successor == Some(peer) {
            self.ring.announce_again(lent.now);
            self.bootstraps.probe_again(lent.now);
        }
        self.tell(EventKind::PeerLost { peer, why: why.to_owned() }, lent);
        if self.connections.is_empty() {
            self.answered = false;
            self.doubt_ring(lent.now);
        }
    }

    /// Says goodbye to everybody.
    pub fn leave(&mut self, lent: &mut Lent<'_>) {
        self.close_senders(lent);
        self.leave_dht(lent);
        let standing = self.edges.iter().filter(|(_, edge)| edge.peer().is_some());
        for id in standing.map(|(id, _)| id).collect::<Vec<_>>() {
            self.close_edge(id, CloseReason::Leaving, lent);
        }
        self.leaving = true;
        self.connected = false;
    }
}
