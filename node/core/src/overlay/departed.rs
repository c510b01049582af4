//! Members of a private overlay that are known to be gone: what the DHT still says of them leads nowhere.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::discovery::LEASE;
use crate::security::Entry;
use crate::time::Time;
use crate::wire::Address;

/// Departed members that are remembered; beyond, the one that left first is forgotten.
const DEPARTED_MAX: usize = 256;
/// How long: nothing of what they kept outlives it.
const KEPT: Duration = LEASE;

/// Who said goodbye, or was put out, and until when that is remembered.
#[derive(Debug, Default)]
pub(super) struct Departed {
    until: BTreeMap<Address, Time>,
}

impl Departed {
    /// A member leaves, or is a member no longer.
    pub(super) fn note(&mut self, member: Address, now: Time) {
        self.until.retain(|_, until| *until > now);
        if self.until.len() >= DEPARTED_MAX
            && let Some(first) = self.until.iter().min_by_key(|(_, until)| **until).map(|(member, _)| *member)
        {
            self.until.remove(&first);
        }
        self.until.insert(member, now + KEPT);
    }

    /// It is linked again.
    pub(super) fn forget(&mut self, member: Address) {
        self.until.remove(&member);
    }

    /// Of entries, those of members that may be there.
    pub(super) fn present(&self, mut entries: Vec<Entry>, now: Time) -> Vec<Entry> {
        entries.retain(|entry| self.until.get(&entry.member).is_none_or(|until| *until <= now));
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u8) -> Entry {
        Entry {
            member: Address::from_bytes([n; 20]),
            public: Address::from_bytes([n + 100; 20]),
            transport: None,
        }
    }

    #[test]
    fn whoever_left_is_not_there_until_it_is_linked_or_its_entries_have_ended() {
        let (mut departed, start) = (Departed::default(), Time::ZERO);
        departed.note(entry(1).member, start);
        departed.note(entry(2).member, start);
        departed.forget(entry(2).member);
        let all = vec![entry(1), entry(2), entry(3)];
        assert_eq!(departed.present(all.clone(), start), all[1..]);
        assert_eq!(departed.present(all.clone(), start + KEPT), all);
    }

    #[test]
    fn the_first_ones_are_forgotten_when_there_are_too_many() {
        let mut departed = Departed::default();
        let member = |n: usize| {
            let mut bytes = [0; 20];
            bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
            Address::from_bytes(bytes)
        };
        for n in 0..=DEPARTED_MAX {
            departed.note(member(n), Time::ZERO + Duration::from_secs(n as u64));
        }
        assert_eq!(departed.until.len(), DEPARTED_MAX);
        assert!(!departed.until.contains_key(&member(0)));
    }
}
