//! What the filter remembers of the remote transport addresses of one mapping.
//!
//! A hash table with linear probing and 16 bytes per session, since every packet that passes touches one: most of the
//! cost of the whole model is in that memory access. Entries go only when the set is rebuilt.

use super::key::Endpoint;
use crate::TcpFlags;

/// Flags in the low bits of `Session::state`; the instant has a resolution of 8 ns.
const SENT: u64 = 1;
const RECEIVED: u64 = 2;
const CLOSING: u64 = 4;
const FLAGS: u64 = SENT | RECEIVED | CLOSING;

/// Which side a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Outbound,
    Inbound,
}

/// One remote transport address, or one remote IP address with port 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Session {
    /// Folded address; 0 if the place is free.
    key: u64,
    state: u64,
}

impl Session {
    pub(super) const fn expires(&self) -> u64 {
        self.state & !FLAGS
    }

    /// Rounds up to the resolution.
    pub(super) const fn set_expires(&mut self, at: u64) {
        self.state = at.saturating_add(FLAGS) & !FLAGS | self.state & FLAGS;
    }

    /// Follows a TCP connection (RFC 5382 section 2.1); a new SYN opens a closing one again.
    pub(super) const fn advance(&mut self, direction: Direction, flags: TcpFlags) {
        if flags.has(TcpFlags::SYN) && self.state & CLOSING != 0 {
            self.state &= !FLAGS;
        }
        if flags.has(TcpFlags::FIN) || flags.has(TcpFlags::RST) {
            self.state |= CLOSING;
        }
        self.state |= match direction {
            Direction::Outbound => SENT,
            Direction::Inbound => RECEIVED,
        };
    }

    pub(super) const fn is_established(&self) -> bool {
        self.state & FLAGS == SENT | RECEIVED
    }
}

/// The sessions of one mapping.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    /// Empty, or a power of two of places.
    places: Vec<Session>,
    used: u32,
}

impl Sessions {
    pub(super) const fn len(&self) -> usize {
        self.used as usize
    }

    /// The session with this remote address, expired or not.
    pub(super) fn get(&self, remote: Endpoint) -> Option<&Session> {
        if self.places.is_empty() {
            return None;
        }
        let session = &self.places[self.place(remote.folded())];
        (session.key != 0).then_some(session)
    }

    /// The session with this remote address, new if need be.
    pub(super) fn entry(&mut self, remote: Endpoint) -> &mut Session {
        let key = remote.folded();
        if self.places.is_empty() {
            self.places.resize(4, Session::default());
        }
        let mut place = self.place(key);
        if self.places[place].key == 0 {
            self.used += 1;
            if self.used as usize * 4 > self.places.len() * 3 {
                self.rebuild(self.places.len() * 2, 0);
                self.used += 1;
                place = self.place(key);
            }
            self.places[place] = Session { key, state: 0 };
        }
        &mut self.places[place]
    }

    /// Removes what expired at `now`.
    pub(super) fn sweep(&mut self, now: u64) {
        let live = self.places.iter().filter(|session| session.key != 0 && session.expires() > now).count();
        if live < self.len() {
            self.rebuild((live * 2).next_power_of_two().max(4), now);
        }
    }

    fn rebuild(&mut self, places: usize, now: u64) {
        let old = std::mem::replace(&mut self.places, vec![Session::default(); places]);
        self.used = 0;
        for session in old {
            if session.key != 0 && (now == 0 || session.expires() > now) {
                let place = self.place(session.key);
                self.places[place] = session;
                self.used += 1;
            }
        }
    }

    /// Where the key is, or would be.
    fn place(&self, key: u64) -> usize {
        let mask = self.places.len() - 1;
        let mut place = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & mask;
        while self.places[place].key != key && self.places[place].key != 0 {
            place = (place + 1) & mask;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_finds_what_it_holds_after_growth_and_sweep() {
        let remote = |n: u16| Endpoint::new(([203, 0, (n >> 8) as u8, n as u8], n).into());
        let mut sessions = Sessions::default();
        for n in 0..1000 {
            sessions.entry(remote(n)).set_expires(u64::from(n) * 8);
        }
        assert_eq!(sessions.len(), 1000);
        sessions.sweep(500 * 8);
        assert_eq!(sessions.len(), 499);
        assert!(sessions.get(remote(500)).is_none());
        assert_eq!(sessions.get(remote(501)).map(Session::expires), Some(501 * 8));
    }
}
