//! Packets of an overlay: forwarded, delivered, answered.

use std::time::Duration;

use super::{Lent, Overlay};
use crate::buffer::Buffer;
use crate::connection::{Connection, Role};
use crate::control::{FailureKind, Reply};
use crate::counters::DropReason;
use crate::inquiry::{Question, Wanted};
use crate::machine::RequestId;
use crate::ring::ShortcutWanted;
use crate::router::{self, Route};
use crate::wire::codec::Write as _;
use crate::wire::{
    Address, ConnectToMe, Echo, EdgeId, FrameHeader, FrameKind, Malformed, Members, Mode, PacketHeader,
    PacketKind, SAMPLE_MAX, Sample, read_address, read_id,
};

/// Sending packets that nobody acknowledges into a silence this long asks the peer whether it lives.
const SILENCE: Duration = Duration::from_secs(3);

impl Overlay {
    /// The largest packet of this overlay, in bytes; forwarders never fragment.
    pub(super) fn packet_max(&self) -> usize {
        self.engine.payload_max() - FrameHeader::LEN_MAX
    }

    /// Sends a packet of our own.
    pub(super) fn send_packet(&mut self, header: &PacketHeader, mut body: Buffer, lent: &mut Lent<'_>) {
        let peer = match router::route(header, self.own, &self.connections, None) {
            Route::Next(peer) => peer,
            Route::Here => return self.counters.drop(DropReason::NoRoute),
            Route::Drop(reason) => return self.counters.drop(reason),
        };
        let is_bulk = header.is_bulk(&body);
        header.prepend_departing(&mut body);
        if body.len() > self.packet_max() {
            return self.counters.drop(DropReason::TooBig);
        }
        if is_bulk {
            return self.hand_over_once(peer, body, lent);
        }
        self.hand_over(peer, body, lent);
    }

    /// A packet arrived from a peer.
    pub(super) fn on_packet(
        &mut self,
        from: Address,
        mut packet: Buffer,
        lent: &mut Lent<'_>,
    ) -> Result<(), Malformed> {
        let (mut header, offset) = PacketHeader::read(&packet)?;
        if packet.len() > self.packet_max() {
            self.counters.drop(DropReason::TooBig);
            return Ok(());
        }
        if header.source == self.own {
            self.counters.drop(DropReason::Duplicate);
            return Ok(());
        }
        match router::route(&header, self.own, &self.connections, Some(from)) {
            // Only the peer that passed it on can say that it did.
            Route::Here if header.kind == PacketKind::Relayed && header.route.first() != Some(&from) => {
                self.counters.drop(DropReason::NotRelayed);
            }
            Route::Here => {
                self.counters.delivered_packets += 1;
                self.deliver(&header, (from, &packet[offset..]), lent)?;
            }
            Route::Next(_)
                if header.kind == PacketKind::Relayed
                    && !self.passes_on(&header, from, (&packet, offset), lent.now) =>
            {
                self.counters.drop(DropReason::NotRelayed);
                self.refuse_to_relay(&header, from, lent);
            }
            Route::Next(peer) => {
                self.counters.forwarded_packets += 1;
                let is_bulk = header.is_bulk(&packet[offset..]);
                header.advance(self.own, &mut packet);
                if packet.len() > self.packet_max() {
                    // It has recorded its way until it is too long. No edge would carry it, and seem dead for that.
                    self.counters.drop(DropReason::TooBig);
                } else if is_bulk {
                    self.hand_over_once(peer, packet, lent);
                } else {
                    self.hand_over(peer, packet, lent);
                }
            }
            Route::Drop(reason) => {
                self.counters.drop(reason);
                if header.kind == PacketKind::Relayed {
                    self.refuse_to_relay(&header, from, lent);
                }
            }
        }
        Ok(())
    }

    /// Hands an encoded packet to a connected peer.
    pub(super) fn hand_over(&mut self, peer: Address, packet: Buffer, lent: &mut Lent<'_>) {
        let Some(connection) = self.connections.get(peer) else { return };
        let id = connection.edge();
        self.send_frame(id, FrameKind::Packet, packet, lent);
    }

    /// The same for one of many that may be lost. Nobody acknowledges it, so a peer that has been silent for long is asked
    /// whether it lives.
    fn hand_over_once(&mut self, peer: Address, packet: Buffer, lent: &mut Lent<'_>) {
        let Some(id) = self.connections.get(peer).map(Connection::edge) else { return };
        let Some(edge) = self.edges.get(id) else { return };
        if lent.paths.get(edge.path).is_some_and(|path| path.heard + SILENCE <= lent.now) {
            self.doubt(peer, lent);
        }
        self.send_frame_once(id, FrameKind::Packet, packet, lent);
    }

    /// A packet that `failed` does not acknowledge takes the next best way. False if there is none.
    pub(super) fn detour(&mut self, packet: Buffer, failed: Address, lent: &mut Lent<'_>) -> bool {
        let Ok((header, _)) = PacketHeader::read(&packet) else { return false };
        match router::route(&header, self.own, &self.connections, Some(failed)) {
            Route::Next(peer) if peer != failed => {
                self.hand_over(peer, packet, lent);
                true
            }
            _ => false,
        }
    }

    /// A packet whose next hop is lost takes the next best way, or is lost with it.
    pub(super) fn reroute(&mut self, packet: Buffer, failed: Address, lent: &mut Lent<'_>) {
        if !self.detour(packet, failed, lent) {
            self.counters.drop(DropReason::PeerLost);
        }
    }

    /// A peer did not acknowledge in time: packets avoid it, and it is asked whether it lives.
    pub(super) fn suspect(&mut self, id: EdgeId, lent: &mut Lent<'_>) {
        let Some(peer) = self.edges.get(id).and_then(crate::edge::Edge::peer) else { return };
        self.doubt_relay(id, lent);
        let Some(connection) = self.connections.get_mut(peer) else { return };
        if std::mem::replace(&mut connection.suspected, true) {
            return;
        }
        self.doubt(peer, lent);
        self.leave_relay(peer, lent);
    }

    fn deliver(
        &mut self,
        header: &PacketHeader,
        (from, body): (Address, &[u8]),
        lent: &mut Lent<'_>,
    ) -> Result<(), Malformed> {
        match header.kind {
            PacketKind::ConnectRequest => {
                let message = ConnectToMe::read(body)?;
                if header.mode == Mode::Nearest {
                    self.pass_to_other_side(header, body, lent);
                }
                self.on_connect_request(header, &message, lent);
            }
            PacketKind::ConnectReply => self.on_connect_reply(header, &ConnectToMe::read(body)?, lent),
            PacketKind::SampleRequest => self.on_sample_request(header, read_id(body)?, lent),
            PacketKind::SampleReply => self.on_sample_reply(&Sample::read(body)?, lent),
            PacketKind::EchoRequest => self.on_echo_request(header, read_id(body)?, lent),
            PacketKind::EchoReply => {
                let echo = Echo::read(body)?;
                self.healing.on_answer(echo.id);
                let answer = self.inquiries.on_echo(echo, lent.now);
                self.answer(answer, lent);
            }
            PacketKind::EndToEnd => self.on_end_to_end(header.source, body, lent)?,
            PacketKind::Carried => self.on_carried(header.source, body, lent),
            PacketKind::Edge | PacketKind::Relayed => self.on_edge_packet(header, body, lent)?,
            PacketKind::NotRelayed => self.on_not_relayed(header.source, read_address(body)?, lent),
            PacketKind::DhtRequest => self.on_dht_request(header, (from, body), lent)?,
            PacketKind::DhtAnswer => self.on_dht_answer(body, lent)?,
            PacketKind::Notice => self.hear_notice(body, lent),
            PacketKind::Announcement => self.on_announcement(header.source, body),
            PacketKind::Receipt => self.on_receipt(header.source, body, lent),
            PacketKind::TraceRequest => self.on_trace_request(header, read_id(body)?, lent),
            PacketKind::TraceReply => {
                let answer = self.inquiries.on_trace(Members::read(body)?, header.source, lent.now);
                self.answer(answer, lent);
            }
        }
        Ok(())
    }

    /// An announcement ends at the nearest member; the one on the other side of the newcomer wants it too.
    fn pass_to_other_side(&mut self, header: &PacketHeader, body: &[u8], lent: &mut Lent<'_>) {
        let newcomer = header.source;
        let we_follow = newcomer.clockwise(self.own) < self.own.clockwise(newcomer);
        let other = if we_follow {
            self.connections.counter_clockwise(newcomer).next()
        } else {
            self.connections.clockwise(newcomer).next()
        };
        let Some(other) = other.map(|connection| connection.peer) else { return };
        let mut route = header.route.clone();
        route.extend([self.own, other]);
        if route.len() > crate::wire::ROUTE_MAX {
            return;
        }
        let copy = PacketHeader {
            position: route.len() as u8,
            hop_limit: header.hop_limit.saturating_sub(1),
            ..PacketHeader::sourced(PacketKind::ConnectRequest, newcomer, route)
        };
        let mut packet = lent.pool.copy(body);
        copy.prepend(&mut packet);
        self.hand_over(other, packet, lent);
    }

    fn on_sample_request(&mut self, header: &PacketHeader, id: u32, lent: &mut Lent<'_>) {
        let near = self.connections.around(self.own, self.ring.near());
        let is_open = |peer: &Address| self.connections.get(*peer).is_some_and(|one| one.open);
        let near = near.into_iter().filter(|one| *one != header.source).take(SAMPLE_MAX - 1);
        let (mut open, mut others): (Vec<Address>, Vec<Address>) = near.partition(is_open);
        if self.takes_shortcuts() {
            if lent.paths.is_open() { &mut open } else { &mut others }.push(self.own);
        }
        let sample = Sample { id, open, others };
        let mut body = lent.pool.take(400);
        sample.write(&mut body);
        let back = PacketHeader::sourced(PacketKind::SampleReply, self.own, header.way_back());
        self.send_packet(&back, body, lent);
    }

    fn on_sample_reply(&mut self, sample: &Sample, lent: &mut Lent<'_>) {
        let needs_open = lent.paths.is_blocked(lent.now);
        let fresh = self.shortcuts.on_sample(sample, needs_open, &self.connections, lent.now);
        let Some(fresh) = fresh else {
            self.counters.drop(DropReason::Unasked);
            return;
        };
        for member in fresh {
            self.link(member, Role::Shortcut, Vec::new(), lent);
        }
    }

    /// Runs the shortcut service's timer.
    pub(super) fn run_shortcuts(&mut self, lent: &mut Lent<'_>) {
        let size = self.ring.size_estimate(&self.connections);
        while let Some(wanted) = self.shortcuts.handle_timeout(&self.connections, size, lent.now) {
            match wanted {
                ShortcutWanted::Sample { id, target } => {
                    let header =
                        PacketHeader::new(PacketKind::SampleRequest, Mode::Nearest, self.own, target)
                            .recorded();
                    let mut body = lent.pool.take(4);
                    body.put_u32(id);
                    self.send_packet(&header, body, lent);
                }
                ShortcutWanted::Choose(linked) => self.choose_shortcut(&linked, lent),
            }
        }
    }

    fn choose_shortcut(&mut self, linked: &[Address], lent: &Lent<'_>) {
        let rtt = |peer: &Address| {
            let edge =
                self.connections.get(*peer).and_then(|connection| self.edges.get(connection.edge()))?;
            lent.paths.get(edge.path)?.rtt
        };
        let best = linked.iter().copied().min_by_key(|peer| (rtt(peer).is_none(), rtt(peer)));
        for peer in linked.iter().filter(|peer| Some(**peer) != best) {
            if let Some(connection) = self.connections.get_mut(*peer) {
                connection.ours = connection.ours.without(Role::Shortcut);
                connection.stale = true;
            }
        }
        self.dirty = true;
    }

    fn on_echo_request(&mut self, header: &PacketHeader, id: u32, lent: &mut Lent<'_>) {
        let mut body = lent.pool.take(8);
        Echo { id, hops: header.hops() as u8 }.write(&mut body);
        let back = PacketHeader::new(PacketKind::EchoReply, Mode::Exact, self.own, header.source);
        self.send_packet(&back, body, lent);
    }

    fn on_trace_request(&mut self, header: &PacketHeader, id: u32, lent: &mut Lent<'_>) {
        let mut body = lent.pool.take(700);
        Members { id, members: header.route.clone() }.write(&mut body);
        let back = PacketHeader::new(PacketKind::TraceReply, Mode::Exact, self.own, header.source);
        self.send_packet(&back, body, lent);
    }

    /// Asks a member for an echo, or for the way to it, on behalf of a local user.
    pub fn inquire(&mut self, request: RequestId, kind: PacketKind, target: Address, lent: &mut Lent<'_>) {
        if target == self.own {
            let reply = match kind {
                PacketKind::TraceRequest => Reply::Route { hops: Vec::new(), seconds: 0.0 },
                _ => Reply::Ping { seconds: 0.0, hops: 0 },
            };
            return Self::reply(request, reply, lent);
        }
        let question = Question { kind, target };
        let Some(id) = self.inquiries.ask(request, question, lent.now) else {
            let reply = Reply::failed(FailureKind::Busy, "too many questions under way");
            return Self::reply(request, reply, lent);
        };
        self.send_question(question, id, lent);
        self.pump(lent);
    }

    fn question_header(&self, Question { kind, target }: Question) -> PacketHeader {
        let header = PacketHeader::new(kind, Mode::Exact, self.own, target);
        if kind == PacketKind::TraceRequest { header.recorded() } else { header }
    }

    fn send_question(&mut self, question: Question, id: u32, lent: &mut Lent<'_>) {
        let mut body = lent.pool.take(4);
        body.put_u32(id);
        self.send_packet(&self.question_header(question), body, lent);
    }

    /// Asks again what was not answered, and gives up what is too old. Where there is no way the first time, the target may
    /// be about to take its place beside us; later on there is nobody.
    pub(super) fn run_inquiries(&mut self, lent: &mut Lent<'_>) {
        while let Some(wanted) = self.inquiries.handle_timeout(lent.now) {
            match wanted {
                Wanted::Ask(question, id) => {
                    let header = self.question_header(question);
                    match router::route(&header, self.own, &self.connections, None) {
                        Route::Drop(_) => {
                            let answer = self.inquiries.give_up(id);
                            self.answer(answer, lent);
                        }
                        _ => self.send_question(question, id, lent),
                    }
                }
                Wanted::Reply(id, reply) => Self::reply(id, reply, lent),
            }
        }
    }

    fn answer(&self, answer: Option<(RequestId, Reply)>, lent: &mut Lent<'_>) {
        if let Some((id, reply)) = answer {
            Self::reply(id, reply, lent);
        }
    }
}
