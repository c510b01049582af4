//! Keeps what members learn of revocations, so that they know it at the next start. Writing waits until the machine has
//! nothing more to say, so that many notices at once cost one write.

use atoll_core::Evidence;
use atoll_core::security::Epoch;

use super::Roster;
use crate::revoked::Memory;

/// What is to be kept of one overlay.
#[derive(Debug, Default)]
struct Pile {
    memory: Option<Memory>,
    list: Option<std::sync::Arc<[u8]>>,
    notices: Vec<Vec<u8>>,
    epoch: Option<Epoch>,
    /// That it cannot be written was said.
    is_forgetful: bool,
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
            Evidence::Notice(notice) => pile.notices.push(notice),
            Evidence::List(list) => pile.list = Some(list),
            Evidence::Epoch(epoch) => pile.epoch = Some(epoch),
        }
    }

    /// Writes what was put; what cannot be written is said once, and forgotten at the next start.
    pub(super) fn write(&mut self) {
        for pile in &mut self.0 {
            pile.write();
        }
    }
}

impl Pile {
    fn write(&mut self) {
        let (list, notices) = (self.list.take(), std::mem::take(&mut self.notices));
        let epoch = self.epoch.take();
        let is_any = list.is_some() || !notices.is_empty() || epoch.is_some();
        let Some(memory) = self.memory.as_ref().filter(|_| is_any) else { return };
        let listed = list.map_or(Ok(()), |list| memory.keep_list(&list));
        let noted = if notices.is_empty() { Ok(()) } else { memory.keep_notices(&notices) };
        let salted = epoch.map_or(Ok(()), |epoch| memory.keep_epoch(epoch));
        let result = listed.and(noted).and(salted);
        if let Some(why) = result.as_ref().err().filter(|_| !self.is_forgetful) {
            let hint = "let the daemon write beside the member's key, or it does not know after a restart who was revoked";
            tracing::warn!(%why, hint, "revocations not kept");
        }
        self.is_forgetful = result.is_err();
    }
}
