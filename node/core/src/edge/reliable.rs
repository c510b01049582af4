//! Acknowledged frames on one edge: bounded on both sides, acknowledged cumulatively, piggybacked where possible.

use std::collections::VecDeque;
use std::time::Duration;

use crate::buffer::Buffer;
use crate::time::Time;
use crate::wire::{Ack, FrameKind};

/// Frames that wait for an acknowledgement at most.
const UNACKED_MAX: usize = 128;
/// Retransmissions of one frame before its edge counts as dead.
const RETRANSMISSIONS_MAX: u8 = 3;
/// How long an acknowledgement waits for a frame to ride on.
const ACK_DELAY: Duration = Duration::from_millis(60);
/// The same for what all members are told: whoever hands it on to a few answers within this time.
const ANSWER_DELAY: Duration = Duration::from_millis(500);

const WINDOW: u16 = 33;

#[derive(Debug)]
struct Unacked {
    sequence: u16,
    kind: FrameKind,
    body: Buffer,
    retransmissions: u8,
    /// When it was sent first.
    sent: Time,
    due: Time,
}

/// What to make of a reliable frame that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The first time.
    New,
    /// It was here before; the acknowledgement was lost.
    Duplicate,
    /// Too far ahead; the sender will try again.
    OutOfWindow,
}

/// A frame to send again.
#[derive(Debug)]
pub struct Again {
    /// Its number.
    pub sequence: u16,
    /// What the body is.
    pub kind: FrameKind,
    /// The body.
    pub body: Buffer,
    /// How often it has been sent again, this time included.
    pub retransmissions: u8,
}

/// News of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// How long ago the latest frame that it is for was sent first.
    pub waited: Duration,
    /// That frame was sent once: the wait is a round trip (RFC 6298, section 3), and not only at least as long as one.
    pub once: bool,
}

/// What the retransmission timer found.
#[derive(Debug)]
pub enum Overdue {
    /// Send these again.
    Again(Vec<Again>),
    /// The peer is silent.
    Dead,
}

/// How long an acknowledgement of such a frame may wait for another to ride on.
#[must_use]
pub fn ack_delay(kind: FrameKind) -> Duration {
    if kind.tells() { ANSWER_DELAY } else { ACK_DELAY }
}

/// Sender's and receiver's state of one edge.
#[derive(Debug, Default)]
pub struct Reliable {
    next: u16,
    unacked: VecDeque<Unacked>,
    received: Ack,
    ack_due: Option<Time>,
}

impl Reliable {
    /// Takes a frame in charge that is sent now and again after `wait`, and numbers it; none if too many are waiting.
    pub fn send(&mut self, kind: FrameKind, body: &Buffer, now: Time, wait: Duration) -> Option<u16> {
        let oldest = self.unacked.front().map_or(self.next, |frame| frame.sequence);
        if self.unacked.len() == UNACKED_MAX || self.next.wrapping_sub(oldest) >= WINDOW {
            return None;
        }
        let sequence = self.next;
        self.next = self.next.wrapping_add(1);
        if self.unacked.len() == self.unacked.capacity() {
            // Most edges never have more than one frame on its way, and a node has many.
            self.unacked.reserve_exact(self.unacked.len().max(1));
        }
        let (body, due) = (body.clone(), now + wait);
        self.unacked.push_back(Unacked { sequence, kind, body, retransmissions: 0, sent: now, due });
        Some(sequence)
    }

    /// The peer says what it has.
    pub fn on_ack(&mut self, ack: Ack, now: Time) -> Option<Acked> {
        let mut acked = None;
        self.unacked.retain(|frame| {
            let ahead = frame.sequence.wrapping_sub(ack.next);
            let before_next = ahead >= 0x8000;
            let in_bits = (1..WINDOW).contains(&ahead) && ack.bits & (1 << (ahead - 1)) != 0;
            if before_next || in_bits {
                acked = Some(Acked { waited: now.since(frame.sent), once: frame.retransmissions == 0 });
            }
            !(before_next || in_bits)
        });
        acked
    }

    /// Whether a frame of this kind waits for its acknowledgement.
    #[must_use]
    pub fn waits_for(&self, kind: FrameKind) -> bool {
        self.unacked.iter().any(|frame| frame.kind == kind)
    }

    /// A reliable frame arrived.
    pub fn on_sequence(&mut self, sequence: u16, delay: Duration, now: Time) -> Receipt {
        let ahead = sequence.wrapping_sub(self.received.next);
        if ahead >= 0x8000 {
            self.owe(now);
            return Receipt::Duplicate;
        }
        if ahead >= WINDOW {
            return Receipt::OutOfWindow;
        }
        self.owe(now + delay);
        if ahead == 0 {
            self.received.next = self.received.next.wrapping_add(1);
            while self.received.bits & 1 != 0 {
                self.received.bits >>= 1;
                self.received.next = self.received.next.wrapping_add(1);
            }
            self.received.bits >>= 1;
            return Receipt::New;
        }
        let bit = 1 << (ahead - 1);
        if self.received.bits & bit != 0 {
            return Receipt::Duplicate;
        }
        self.received.bits |= bit;
        Receipt::New
    }

    fn owe(&mut self, due: Time) {
        self.ack_due = Some(self.ack_due.map_or(due, |other| other.min(due)));
    }

    /// The acknowledgement that is owed, to ride on the next frame.
    pub fn take_ack(&mut self) -> Option<Ack> {
        self.ack_due.take().map(|_| self.received)
    }

    /// Whether an acknowledgement has waited long enough.
    #[must_use]
    pub fn ack_is_due(&self, now: Time) -> bool {
        self.ack_due.is_some_and(|due| due <= now)
    }

    /// Counts retransmissions anew, the next at `due`, because there is a reason for the silence other than the peer.
    pub fn start_over(&mut self, due: Time) {
        for frame in &mut self.unacked {
            (frame.retransmissions, frame.due) = (0, due);
        }
    }

    /// Frames to send again, each with the wait that `rto` gives for its number of retransmissions.
    pub fn overdue(&mut self, now: Time, rto: Duration) -> Overdue {
        let mut again = Vec::new();
        for frame in self.unacked.iter_mut().filter(|frame| frame.due <= now) {
            if frame.retransmissions == RETRANSMISSIONS_MAX {
                return Overdue::Dead;
            }
            frame.retransmissions += 1;
            frame.due = now + rto.mul_f64(1.0 + 0.5 * f64::from(frame.retransmissions));
            again.push(Again {
                sequence: frame.sequence,
                kind: frame.kind,
                body: frame.body.clone(),
                retransmissions: frame.retransmissions,
            });
        }
        Overdue::Again(again)
    }

    /// Gives up the overlay packets in charge, so that they can take another way.
    pub fn take_packets(&mut self) -> Vec<Buffer> {
        let (packets, rest) = std::mem::take(&mut self.unacked)
            .into_iter()
            .partition::<VecDeque<_>, _>(|frame| frame.kind == FrameKind::Packet);
        self.unacked = rest;
        packets.into_iter().map(|frame| frame.body).collect()
    }

    /// When something here is due next.
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        let retransmission = self.unacked.iter().map(|frame| frame.due).min();
        match (self.ack_due, retransmission) {
            (Some(ack), Some(frame)) => Some(ack.min(frame)),
            (ack, frame) => ack.or(frame),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Pool;
    use proptest::prelude::*;

    fn body() -> Buffer {
        Pool::new().copy(b"body")
    }

    #[test]
    fn a_frame_is_sent_again_until_it_is_acknowledged_or_the_peer_is_dead() {
        let mut sender = Reliable::default();
        let rto = Duration::from_millis(100);
        sender.send(FrameKind::Packet, &body(), Time::ZERO, rto);
        let mut now = Time::ZERO;
        for _ in 0..RETRANSMISSIONS_MAX {
            now = sender.due().expect("a frame waits");
            assert!(matches!(sender.overdue(now, rto), Overdue::Again(again) if again.len() == 1));
        }
        now = sender.due().unwrap_or(now);
        assert!(matches!(sender.overdue(now, rto), Overdue::Dead));
        assert_eq!(sender.take_packets().len(), 1);
        assert_eq!(sender.due(), None);
    }

    #[test]
    fn an_acknowledgement_tells_the_round_trip_of_what_was_sent_once() {
        let (mut sender, second) = (Reliable::default(), Duration::from_secs(1));
        sender.send(FrameKind::Link, &body(), Time::ZERO, second);
        assert!(
            matches!(sender.overdue(Time::ZERO + second, second), Overdue::Again(again) if again.len() == 1)
        );
        sender.send(FrameKind::Packet, &body(), Time::ZERO + second, second);
        let upto = |next| Ack { next, bits: 0 };
        let [first, later] = [1, 2].map(|next| sender.on_ack(upto(next), Time::from_secs(3)));
        assert_eq!(first, Some(Acked { waited: 3 * second, once: false }));
        assert_eq!(later, Some(Acked { waited: 2 * second, once: true }));
        assert_eq!(sender.on_ack(upto(2), Time::from_secs(4)), None, "no news");
    }

    #[test]
    fn an_acknowledgement_waits_no_longer_than_the_most_urgent_one() {
        let (mut receiver, at) = (Reliable::default(), |millis| Time::ZERO + Duration::from_millis(millis));
        receiver.on_sequence(0, ack_delay(FrameKind::Broadcast), Time::ZERO);
        assert_eq!(receiver.due(), Some(at(500)));
        receiver.on_sequence(1, ack_delay(FrameKind::Packet), at(100));
        assert_eq!(receiver.due(), Some(at(160)));
        receiver.on_sequence(1, ack_delay(FrameKind::Packet), at(120));
        assert!(receiver.ack_is_due(at(120)), "the last one was lost");
        assert_eq!(receiver.take_ack(), Some(Ack { next: 2, bits: 0 }));
        assert_eq!(receiver.due(), None);
    }

    #[test]
    fn the_window_bounds_what_waits() {
        let mut sender = Reliable::default();
        let sent = (0..200)
            .filter(|_| sender.send(FrameKind::Link, &body(), Time::ZERO, Duration::ZERO).is_some())
            .count();
        assert_eq!(sent, usize::from(WINDOW));
    }

    proptest! {
        #[test]
        fn every_frame_arrives_once_whatever_is_lost(losses in prop::collection::vec(any::<(bool, bool)>(), 0..300)) {
            let (mut sender, mut receiver) = (Reliable::default(), Reliable::default());
            let mut arrived = Vec::new();
            let mut sent = 0u16;
            for (forth, back) in losses.into_iter().chain(std::iter::repeat_n((true, true), 60)) {
                if sent < 100 && sender.send(FrameKind::Packet, &body(), Time::ZERO, Duration::ZERO).is_some() {
                    sent += 1;
                }
                for frame in &mut sender.unacked {
                    frame.retransmissions = 0;
                    frame.due = Time::ZERO;
                }
                let Overdue::Again(again) = sender.overdue(Time::ZERO, Duration::ZERO) else { panic!("dead") };
                for Again { sequence, .. } in again {
                    if forth && receiver.on_sequence(sequence, ACK_DELAY, Time::ZERO) == Receipt::New {
                        arrived.push(sequence);
                    }
                }
                if let Some(ack) = receiver.take_ack() && back {
                    sender.on_ack(ack, Time::ZERO);
                }
            }
            arrived.sort_unstable();
            prop_assert_eq!(arrived, (0..sent).collect::<Vec<_>>());
        }
    }
}
