//! End-to-end senders of an overlay: what the engine of the ends wants, carried by packets of the ring.
//!
//! The body of such a packet is a datagram as a socket would carry it, so one piece of code secures both.

use std::sync::Arc;

use super::{Lent, Overlay};
use crate::buffer::Buffer;
use crate::control::{Author, EventKind};
use crate::counters::DropReason;
use crate::machine::Output;
use crate::security::{Action, Admission, ChannelId, Claim, Down, Engine, Intent, Knock};
use crate::sender::{Note, Wanted};
use crate::wire::{Address, EdgeId, Header, Malformed, Mode, PacketHeader, PacketKind, SHORT_LEN};

impl Overlay {
    /// The longest payload of an application that one end-to-end record carries, in bytes.
    #[must_use]
    pub fn payload_max(&self) -> usize {
        self.packet_max() - PacketHeader::LEN - SHORT_LEN - self.engine.overhead() - 1
    }

    /// Sends a payload that only the member at `to` can read. It may be lost; it is never altered or read on its way.
    pub fn send_to(&mut self, to: Address, mut payload: Buffer, lent: &mut Lent<'_>) {
        if to == self.own {
            return self.not_sent(to, DropReason::NoRoute, lent);
        }
        if payload.len() > self.payload_max() {
            return self.not_sent(to, DropReason::TooBig, lent);
        }
        let Some(channel) = self.senders.to(to).or_else(|| self.open_sender(to, lent)) else {
            return self.not_sent(to, DropReason::Full, lent);
        };
        payload.prepend(&[Note::Data as u8]);
        let Some(sender) = self.senders.get_mut(channel) else { return };
        if sender.author.is_some() {
            sender.on_sent(lent.now);
            self.seal(channel, payload, lent);
        } else if sender.wait(payload).is_some() {
            self.not_sent(to, DropReason::Full, lent);
        }
        self.pump(lent);
    }

    /// The engine of the ends, made once somebody uses it.
    fn ends(&mut self, lent: &Lent<'_>) -> &mut dyn Engine {
        let (own, rng) = (self.own, &self.rng);
        let make = || self.security.end_engine(own, lent.pool.clone(), &rng.fork("ends"), lent.now);
        &mut **self.ends.get_or_insert_with(make)
    }

    pub(super) fn not_sent(&mut self, peer: Address, reason: DropReason, lent: &mut Lent<'_>) {
        self.counters.drop(reason);
        self.tell(EventKind::NotSent { peer, why: reason.label().to_owned() }, lent);
    }

    fn open_sender(&mut self, to: Address, lent: &mut Lent<'_>) -> Option<ChannelId> {
        let channel = self.insert_sender(to, None, lent)?;
        self.ends(lent).connect(channel, Intent { target: Some(to), token: None }, lent.now);
        Some(channel)
    }

    fn insert_sender(
        &mut self,
        peer: Address,
        remote: Option<EdgeId>,
        lent: &mut Lent<'_>,
    ) -> Option<ChannelId> {
        if let Some(idle) = self.senders.surplus(lent.now) {
            self.close_sender(idle, lent);
        }
        self.senders.insert(peer, remote, lent.now)
    }

    pub(super) fn close_sender(&mut self, channel: ChannelId, lent: &mut Lent<'_>) {
        self.note(channel, Note::Close, lent);
        // What is sealed leaves before the keys are gone.
        self.run_ends(lent);
        self.forget_sender(channel);
    }

    fn forget_sender(&mut self, channel: ChannelId) {
        self.senders.remove(channel);
        if let Some(ends) = &mut self.ends {
            ends.forget(channel);
        }
    }

    fn note(&mut self, channel: ChannelId, note: Note, lent: &mut Lent<'_>) {
        let body = lent.pool.copy(&[note as u8]);
        self.seal(channel, body, lent);
    }

    fn seal(&mut self, channel: ChannelId, body: Buffer, lent: &mut Lent<'_>) {
        // One whose keys are not there or used up says so by an action of its own.
        let _ = self.ends(lent).send(channel, body, lent.now);
    }

    /// A packet of the ring brought a datagram from somebody who says that it is `source`.
    pub(super) fn on_end_to_end(
        &mut self,
        source: Address,
        body: &[u8],
        lent: &mut Lent<'_>,
    ) -> Result<(), Malformed> {
        let mut datagram = lent.pool.copy(body);
        match Header::take(&mut datagram)? {
            Header::Short { receiver } => {
                let channel = ChannelId(receiver.0);
                if self.senders.get(channel).is_none() {
                    self.counters.drop(DropReason::UnknownEdge);
                    return Ok(());
                }
                self.ends(lent).record(channel, datagram, lent.now);
            }
            Header::Long { tag, .. } if tag != self.tag => self.counters.drop(DropReason::UnknownOverlay),
            Header::Long { sender, receiver, .. } => {
                self.on_end_handshake(source, (sender, receiver), &datagram, lent);
            }
        }
        self.run_ends(lent);
        Ok(())
    }

    fn on_end_handshake(
        &mut self,
        source: Address,
        (remote, receiver): (EdgeId, EdgeId),
        datagram: &Buffer,
        lent: &mut Lent<'_>,
    ) {
        let channel = ChannelId(receiver.0);
        if receiver == EdgeId::default() {
            return self.on_end_knock(source, remote, datagram, lent);
        }
        let Some(sender) = self.senders.get_mut(channel).filter(|sender| sender.peer == source) else {
            return self.counters.drop(DropReason::UnknownEdge);
        };
        if sender.remote == EdgeId::default() {
            sender.remote = remote;
        }
        self.ends(lent).handshake(channel, datagram, lent.now);
    }

    /// A stranger begins: nothing is kept of it before its cookie shows that packets to its address reach it.
    fn on_end_knock(&mut self, source: Address, remote: EdgeId, datagram: &Buffer, lent: &mut Lent<'_>) {
        if remote == EdgeId::default() {
            return self.counters.drop(DropReason::Malformed);
        }
        if let Some(known) = self.senders.find(source, remote) {
            return self.ends(lent).handshake(known, datagram, lent.now);
        }
        let knock = Knock { source: &source.to_bytes(), datagram };
        match self.ends(lent).admit(knock, &|_| false, lent.now) {
            Admission::Accept => match self.insert_sender(source, Some(remote), lent) {
                Some(channel) => self.ends(lent).accept(channel, datagram, lent.now),
                None => self.counters.drop(DropReason::Full),
            },
            Admission::Answer(mut answer) => {
                let header = Header::Long { tag: self.tag, sender: EdgeId::default(), receiver: remote };
                header.prepend(&mut answer);
                self.send_end_to_end(source, answer, lent);
            }
            Admission::Drop(reason) => self.counters.drop(reason),
        }
    }

    fn send_end_to_end(&mut self, to: Address, datagram: Buffer, lent: &mut Lent<'_>) {
        let header = PacketHeader::new(PacketKind::EndToEnd, Mode::Exact, self.own, to);
        self.send_packet(&header, datagram, lent);
    }

    /// Carries out what the engine of the ends wants.
    pub(super) fn run_ends(&mut self, lent: &mut Lent<'_>) {
        while let Some(action) = self.ends.as_mut().and_then(|ends| ends.poll()) {
            match action {
                Action::Handshake(channel, datagram) => self.send_as(channel, datagram, true, lent),
                Action::Record(channel, datagram) => self.send_as(channel, datagram, false, lent),
                Action::Up(channel, claim) => {
                    self.counters.handshakes_completed += 1;
                    self.on_end_claim(channel, &claim, lent);
                }
                Action::Renewed(channel, claim) => {
                    self.counters.renewals += 1;
                    self.on_end_claim(channel, &claim, lent);
                }
                Action::Opened(channel, payload) => self.on_end_record(channel, payload, lent),
                Action::Down(channel, why) => {
                    self.counters.handshakes_failed += u64::from(why != Down::Exhausted);
                    if let Some(sender) = self.senders.remove(channel) {
                        self.tell(EventKind::NotSent { peer: sender.peer, why: why.to_string() }, lent);
                    }
                }
                Action::Dropped(reason) => self.counters.drop(reason),
            }
        }
        self.senders.refresh();
    }

    fn send_as(&mut self, channel: ChannelId, mut datagram: Buffer, handshake: bool, lent: &mut Lent<'_>) {
        let Some(sender) = self.senders.get(channel) else { return };
        let (to, remote) = (sender.peer, sender.remote);
        let header = if handshake {
            Header::Long { tag: self.tag, sender: EdgeId(channel.0), receiver: remote }
        } else {
            Header::Short { receiver: remote }
        };
        header.prepend(&mut datagram);
        self.send_end_to_end(to, datagram, lent);
    }

    fn on_end_claim(&mut self, channel: ChannelId, claim: &Claim, lent: &mut Lent<'_>) {
        let Some(sender) = self.senders.get_mut(channel) else { return };
        let verdict = self.trust.verify(claim, lent.wall).and_then(|identity| identity.at(Some(sender.peer)));
        match verdict {
            Ok(identity) => {
                let (user, group) = (identity.user.clone(), identity.group.clone());
                sender.author = Some(Arc::new(Author { address: identity.address, user, group }));
                sender.on_heard(lent.now);
                let waiting = sender.take_waiting();
                self.remember_sender(channel, identity, lent);
                for payload in waiting {
                    self.seal(channel, payload, lent);
                }
            }
            Err(refusal) => {
                self.counters.drop(refusal.into());
                let peer = sender.peer;
                self.forget_sender(channel);
                self.tell(EventKind::NotSent { peer, why: refusal.to_string() }, lent);
            }
        }
    }

    fn on_end_record(&mut self, channel: ChannelId, mut payload: Buffer, lent: &mut Lent<'_>) {
        let Some(sender) = self.senders.get_mut(channel) else { return };
        let Some(author) = sender.author.clone() else { return };
        sender.on_heard(lent.now);
        let note = payload.first().copied().and_then(Note::from_byte);
        payload.advance(1);
        match note {
            Some(Note::Data) => {
                sender.on_received(lent.now);
                self.counters.received_payloads += 1;
                lent.outputs.push_back(Output::Received { overlay: self.slot, author, payload });
            }
            Some(Note::Ask) => self.note(channel, Note::Answer, lent),
            Some(Note::Answer) => {}
            Some(Note::Close) => self.forget_sender(channel),
            None => self.counters.drop(DropReason::Malformed),
        }
    }

    /// Runs the timers of the ends.
    pub(super) fn run_senders(&mut self, lent: &mut Lent<'_>) {
        if let Some(ends) = &mut self.ends {
            ends.handle_timeout(lent.now);
        }
        while let Some(wanted) = self.senders.handle_timeout(lent.now) {
            match wanted {
                Wanted::Ask(channel) => self.note(channel, Note::Ask, lent),
                Wanted::Close(channel) => self.close_sender(channel, lent),
                Wanted::Forget(channel) => self.forget_sender(channel),
            }
        }
        self.run_ends(lent);
    }

    /// Says goodbye to all ends.
    pub(super) fn close_senders(&mut self, lent: &mut Lent<'_>) {
        for channel in self.senders.channels().collect::<Vec<_>>() {
            self.close_sender(channel, lent);
        }
    }
}
