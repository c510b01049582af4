//! Keeps what members learn of revocations, so that they know it at the next start. Writing waits until the machine has
//! nothing more to say, so that many notices at once cost one write.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use atoll_core::Evidence;
use atoll_core::security::Epoch;

use super::Roster;
use crate::revoked::Memory;

/// How long nothing is written after that failed.
const RETRY_WAIT: Duration = Duration::from_secs(5);
/// Notices that wait for room at most, as many as a member knows besides its list; beyond, the oldest is let go.
const NOTICES_MAX: usize = 4096;

/// What is to be kept of one overlay.
#[derive(Debug, Default)]
struct Pile {
    memory: Option<Memory>,
    list: Option<std::sync::Arc<[u8]>>,
    notices: VecDeque<Vec<u8>>,
    epoch: Option<Epoch>,
    /// It could not be written, which was said, and is not tried again until then.
    rests_until: Option<Instant>,
}

/// What is to be kept of each overlay, in the order of the configuration.
#[derive(Debug)]
pub(super) struct Keeper(Vec<Pile>);

impl Keeper {
    pub(super) fn new(roster: &Roster) -> Self {
        let pile = |memory| Pile { memory, ..Pile::default() };
        Self(roster.memories().map(pile).collect())
    }

    pub(super) fn put(&mut self, overlay: u8, evidence: Evidence) {
        let Some(pile) = self.0.get_mut(usize::from(overlay)) else { return };
        match evidence {
            Evidence::Notice(notice) => pile.note(notice),
            Evidence::List(list) => pile.list = Some(list),
            Evidence::Epoch(epoch) => pile.epoch = Some(epoch),
        }
    }

    /// Writes what was put; what cannot be written is said once, and tried again later.
    pub(super) fn write(&mut self) {
        for pile in &mut self.0 {
            pile.write();
        }
    }
}

impl Pile {
    fn note(&mut self, notice: Vec<u8>) {
        if self.notices.len() == NOTICES_MAX {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
    }

    fn write(&mut self) {
        let is_any = self.list.is_some() || !self.notices.is_empty() || self.epoch.is_some();
        let may = self.rests_until.is_none_or(|until| until <= Instant::now());
        let Some(memory) = self.memory.as_ref().filter(|_| is_any && may) else { return };
        let listed = self.list.as_ref().map_or(Ok(()), |list| memory.keep_list(list));
        let noted = if self.notices.is_empty() {
            Ok(())
        } else {
            memory.keep_notices(self.notices.make_contiguous())
        };
        let salted = self.epoch.map_or(Ok(()), |epoch| memory.keep_epoch(epoch));
        if listed.is_ok() {
            self.list = None;
        }
        if noted.is_ok() {
            self.notices.clear();
        }
        if salted.is_ok() {
            self.epoch = None;
        }
        let result = listed.and(noted).and(salted);
        if let Some(why) = result.as_ref().err().filter(|_| self.rests_until.is_none()) {
            let hint = "let the daemon write beside the member's key, or it does not know after a restart who was revoked";
            tracing::warn!(%why, hint, "revocations not kept; tried again until they are");
        }
        self.rests_until = result.is_err().then(|| Instant::now() + RETRY_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_written_is_written_once_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("full");
        let mut pile = Pile { memory: Some(Memory::beside(&place.join("node.key"))), ..Pile::default() };
        pile.note(b"notice".to_vec());
        pile.write();
        assert!(pile.rests_until.is_some() && pile.notices.len() == 1);
        std::fs::create_dir(&place).unwrap();
        pile.write();
        assert_eq!(pile.notices.len(), 1, "not at once");
        pile.rests_until = Some(Instant::now());
        pile.write();
        assert!(pile.rests_until.is_none() && pile.notices.is_empty());
        assert!(place.read_dir().unwrap().count() > 0);
    }

    #[test]
    fn of_more_notices_than_wait_for_room_the_oldest_are_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("full").join("node.key");
        let mut pile = Pile { memory: Some(Memory::beside(&place)), ..Pile::default() };
        let notice = |number: usize| number.to_be_bytes().to_vec();
        for number in 0..NOTICES_MAX + 3 {
            pile.note(notice(number));
            pile.write();
            pile.rests_until = None;
        }
        let last = NOTICES_MAX + 2;
        assert_eq!((pile.notices.front(), pile.notices.back()), (Some(&notice(3)), Some(&notice(last))));
        assert_eq!(pile.notices.len(), NOTICES_MAX);
    }
}
