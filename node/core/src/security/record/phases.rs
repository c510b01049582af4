//! Phases: the keys in use, those that follow, and those that are about to go. Make before break: a record that was
//! sealed before a renewal opens after it.
//!
//! The initiator of a renewal seals with the new keys as soon as it has them, for then the responder has them too. The
//! responder seals with the old ones until a record under the new ones has come.

use std::time::Duration;

use super::cipher::{Cipher, Keys};
use super::{Opener, Purpose, Sealer, Window, phase_of};
use crate::buffer::Buffer;
use crate::counters::DropReason;
use crate::security::{Limits, SendError, Side, Start};
use crate::time::Time;

/// Records that are kept for a renewal when the keys have sealed all the payloads that they may.
const RESERVE: u64 = 256;
/// How long a renewal that failed is not tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(30);
/// A responder begins a renewal, and keys are given up, this many times later than an initiator renews.
const OVERDUE: f64 = 1.5;
const GIVEN_UP: f64 = 2.5;

/// What a handshake yields for records.
#[derive(Debug)]
pub(in crate::security) enum Fresh {
    Keys(Keys),
    Model { padding: usize },
}

#[derive(Debug)]
struct Phase {
    generation: u8,
    sealer: Sealer,
    opener: Opener,
}

impl Phase {
    fn new(fresh: &Fresh, generation: u8) -> Self {
        let (seal, open) = match fresh {
            Fresh::Keys(keys) => keys.ciphers(),
            Fresh::Model { padding } => {
                (Cipher::Model { padding: *padding }, Cipher::Model { padding: *padding })
            }
        };
        let sealer = Sealer { cipher: seal, next: 0 };
        let opener = Opener { cipher: open, window: Window::default(), forged: 0 };
        Self { generation, sealer, opener }
    }

    /// Records that either end has sealed, as far as is known here.
    fn records(&self) -> u64 {
        self.sealer.next.max(self.opener.window.next())
    }
}

/// All keys of an association.
#[derive(Debug)]
pub(in crate::security) struct Phases {
    newest: Phase,
    older: Option<Box<Phase>>,
    /// Which end we were of the handshake that made the newest keys.
    side: Side,
    /// The peer sealed something with the newest keys.
    heard: bool,
    older_until: Time,
    renew_at: Time,
    renew_not_before: Time,
    give_up_at: Time,
}

impl Phases {
    /// The first keys.
    pub(in crate::security) fn new(fresh: &Fresh, start: Start) -> Self {
        Self {
            newest: Phase::new(fresh, start.generation),
            older: None,
            side: start.side,
            heard: true,
            older_until: Time::MAX,
            renew_at: Time::MAX,
            renew_not_before: Time::ZERO,
            give_up_at: Time::MAX,
        }
    }

    /// Plans the next renewal, `after` from now; the end that does not lead waits longer.
    pub(in crate::security) fn plan(&mut self, after: Duration, leads: bool, now: Time) {
        self.renew_at = now + if leads { after } else { after.mul_f64(OVERDUE) };
        self.give_up_at = now + after.mul_f64(GIVEN_UP);
        self.renew_not_before = Time::ZERO;
    }

    /// The next renewal is due now.
    pub(in crate::security) fn hasten(&mut self, now: Time) {
        self.renew_at = self.renew_at.min(now);
    }

    /// A renewal failed: not again soon.
    pub(in crate::security) fn postpone(&mut self, now: Time) {
        self.renew_not_before = now + RENEW_AGAIN;
    }

    /// Takes new keys. The old ones open for a while.
    pub(in crate::security) fn install(&mut self, fresh: &Fresh, start: Start) {
        let in_use = self.seals_newest();
        let before = std::mem::replace(&mut self.newest, Phase::new(fresh, start.generation));
        if in_use {
            self.older = Some(Box::new(before));
        }
        self.side = start.side;
        self.heard = false;
        self.older_until = Time::MAX;
    }

    /// The generation of the next renewal; 0 is the first handshake's only, so that 255 is followed by 4.
    pub(in crate::security) fn next_generation(&self) -> u8 {
        self.in_use().generation.checked_add(1).unwrap_or(4)
    }

    /// Whether the peer has the newest keys for certain.
    pub(in crate::security) fn heard(&self) -> bool {
        self.heard
    }

    /// Whether we answered the handshake that made the newest keys.
    pub(in crate::security) fn answered(&self) -> bool {
        self.side == Side::Responder
    }

    fn seals_newest(&self) -> bool {
        self.heard || self.side == Side::Initiator
    }

    fn in_use(&self) -> &Phase {
        match &self.older {
            Some(older) if !self.seals_newest() => older,
            _ => &self.newest,
        }
    }

    /// Seals in place.
    pub(in crate::security) fn seal(
        &mut self,
        payload: &mut Buffer,
        purpose: Purpose,
        limits: &Limits,
    ) -> Result<(), SendError> {
        let newest = self.seals_newest();
        let phase = match &mut self.older {
            Some(older) if !newest => older,
            _ => &mut self.newest,
        };
        let reserve = if purpose == Purpose::Payload { RESERVE } else { 0 };
        if phase.sealer.next >= limits.records.saturating_sub(reserve) {
            return Err(SendError::Exhausted);
        }
        phase.sealer.seal(payload, phase.generation, purpose);
        Ok(())
    }

    /// Opens in place.
    pub(in crate::security) fn open(
        &mut self,
        record: &mut Buffer,
        purpose: Purpose,
        until: Time,
    ) -> Result<(), DropReason> {
        let phase = phase_of(record).ok_or(DropReason::Malformed)?;
        if phase == self.newest.generation & 3 {
            self.newest.opener.open(record, purpose)?;
            if !self.heard {
                self.heard = true;
                self.older_until = until;
            }
            return Ok(());
        }
        let older = self.older.as_mut().filter(|older| phase == older.generation & 3);
        older.ok_or(DropReason::NoKeys)?.opener.open(record, purpose)
    }

    /// The old keys may go at this time, whatever the peer does.
    pub(in crate::security) fn release_older(&mut self, at: Time) {
        self.older_until = self.older_until.min(at);
    }

    /// Whether more records than allowed failed to open.
    pub(in crate::security) fn is_attacked(&self, limits: &Limits) -> bool {
        let older = self.older.as_ref().map_or(0, |older| older.opener.forged);
        self.newest.opener.forged.max(older) >= limits.forged
    }

    /// When the next renewal is to begin here.
    pub(in crate::security) fn renewal_due(&self, limits: &Limits, leads: bool) -> Time {
        if self.older.is_some() {
            return Time::MAX;
        }
        let most = if leads { limits.renew_records } else { limits.renew_records / 2 * 3 };
        let at = if self.newest.records() >= most { Time::ZERO } else { self.renew_at };
        at.max(self.renew_not_before)
    }

    /// When something else than a renewal is due.
    pub(in crate::security) fn due(&self) -> Time {
        let older = self.older.as_ref().map_or(Time::MAX, |_| self.older_until);
        older.min(self.give_up_at)
    }

    /// Drops old keys whose time is over. True if the newest are too old as well.
    pub(in crate::security) fn expire(&mut self, now: Time) -> bool {
        if self.older_until <= now {
            self.older = None;
            self.older_until = Time::MAX;
        }
        self.give_up_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Pool;

    #[test]
    fn what_does_not_open_with_the_old_keys_counts_while_they_are_in_use() {
        let (fresh, side) = (Fresh::Model { padding: 0 }, Side::Responder);
        let mut phases = Phases::new(&fresh, Start { side, generation: 0 });
        phases.install(&fresh, Start { side, generation: 1 });
        let limits = Limits { forged: 3, ..Limits::default() };
        for number in 0..3 {
            assert!(!phases.is_attacked(&limits));
            let mut forged = Pool::new().copy(&[0, 0, 0, number]);
            forged.extend(&[1; 17]);
            let opened = phases.open(&mut forged, Purpose::Payload, Time::MAX);
            assert_eq!(opened, Err(DropReason::Forged));
        }
        assert!(phases.is_attacked(&limits));
    }
}
