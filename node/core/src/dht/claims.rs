//! Creation at one point: a claim for a few seconds, then the value, or nothing.

use std::time::Duration;

use super::store::{Claimed, Source, Store, Writing};
use crate::time::Time;
use crate::wire::{Address, Content, Denial, Item, Key, Mark, VALUE_MAX};

/// How long a claim stands.
const CLAIM: Duration = Duration::from_secs(6);
/// How long after a commit its creator may take the value back: longer than it tries to commit at the other points.
const REGRET: Duration = Duration::from_secs(15);

impl Store {
    /// Claims a key, if nothing is there but what the same creator made, and nobody else claims it.
    ///
    /// # Errors
    /// It is refused.
    pub(super) fn claim(
        &mut self,
        key: &Key,
        Source { writer: creator, peer, .. }: Source,
        (token, value): (u64, Vec<u8>),
        now: Time,
    ) -> Result<(), Denial> {
        if !matches!(key, Key::Plain(_)) || value.len() > VALUE_MAX {
            return Err(Denial::Invalid);
        }
        let (place, mut renews) = (key.place(), None);
        if let Some(shelf) = self.shelves.get(&place) {
            let mark = Content::Created { value: value.clone(), creator }.mark();
            let is_ours = shelf.items.contains_key(&mark);
            if !shelf.items.is_empty() && !is_ours {
                return Err(Denial::Exists);
            }
            renews = Some(mark).filter(|_| is_ours);
            match &shelf.claim {
                Some(claim) if claim.token == token => return Ok(()),
                Some(_) => return Err(Denial::Contended),
                None => {}
            }
        }
        self.insert_claim(key, Claimed { token, creator, peer, value, ends: now + CLAIM }, renews)
    }

    /// Makes a claim a value; what is left of its lease then, in milliseconds.
    ///
    /// # Errors
    /// It is refused.
    pub(super) fn commit(
        &mut self,
        key: &Key,
        token: u64,
        (stamp, lease): (u32, u32),
        now: Time,
    ) -> Result<u32, Denial> {
        let place = key.place();
        let shelf = self.shelves.get(&place).ok_or(Denial::Unclaimed)?;
        let Some(claim) = shelf.claim.as_ref().filter(|claim| claim.token == token) else {
            let made = self.made_of(place, token).ok_or(Denial::Unclaimed)?;
            let kept = self.get(place, made).ok_or(Denial::Unclaimed)?;
            return Ok(kept.item(now).lease);
        };
        if lease == 0 {
            return Err(Denial::Invalid);
        }
        let source = claim.source();
        let content = Content::Created { value: claim.value.clone(), creator: source.writer };
        let mark = content.mark();
        let is_new = !shelf.items.contains_key(&mark);
        self.remove_claim(place);
        let item = Item { stamp, lease, content };
        self.write_created(place, Writing { key, source, item }, now)?;
        let kept = self.shelves.get_mut(&place).and_then(|shelf| shelf.items.get_mut(&mark));
        let kept = kept.ok_or(Denial::Full)?;
        kept.token = is_new.then_some((token, now + REGRET));
        Ok(kept.item(now).lease)
    }

    /// Forgets a claim and what came of it.
    pub(super) fn abort(&mut self, key: &Key, token: u64, now: Time) {
        let place = key.place();
        let Some(shelf) = self.shelves.get(&place) else { return };
        if shelf.claim.as_ref().is_some_and(|claim| claim.token == token) {
            return self.remove_claim(place);
        }
        let Some(mark) = self.made_of(place, token) else { return };
        let Some(kept) = self.get(place, mark) else { return };
        if kept.token.is_some_and(|(_, until)| until > now) {
            self.gone.push((place, kept.stamp));
            self.remove(place, mark);
        }
    }

    /// A neighbour took a value back: no later than its creator may.
    pub(super) fn take_back(&mut self, place: Address, stamp: u32, now: Time) {
        let Some(shelf) = self.shelves.get(&place) else { return };
        let created = shelf.items.iter().find(|(_, kept)| {
            kept.stamp == stamp
                && kept.since + REGRET > now
                && matches!(kept.content, Content::Created { .. })
        });
        if let Some(mark) = created.map(|(mark, _)| *mark) {
            self.remove(place, mark);
        }
    }

    fn made_of(&self, place: Address, token: u64) -> Option<Mark> {
        let shelf = self.shelves.get(&place)?;
        let made = shelf.items.iter().find(|(_, kept)| kept.token.is_some_and(|(made, _)| made == token));
        made.map(|(mark, _)| *mark)
    }
}
