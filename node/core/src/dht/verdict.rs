//! What is certain about a key, given what its points say. A single point may lie, lag or lack.

use std::collections::{BTreeMap, BTreeSet};

use super::proof;
use crate::wire::{Content, Item, Key, Mark, POINTS, Page};

/// Points that have to agree.
pub(super) const MAJORITY: usize = 2;

/// What one point says.
#[derive(Clone, Debug, Default)]
pub(super) struct Sight {
    items: BTreeMap<Mark, Item>,
    /// The mark up to which it says everything; to the end if there is none.
    upto: Option<Mark>,
    /// Whether it would know of a value that it does not name.
    pub(super) sure: bool,
}

impl Sight {
    /// From a page of the values behind a mark; none if no honest holder sends such a page.
    pub(super) fn new(key: &Key, after: Option<Mark>, page: Page) -> Option<Self> {
        let upto = page.items.last().filter(|_| page.more).map(|item| item.content.mark());
        let marks: Vec<Mark> = page.items.iter().map(|item| item.content.mark()).collect();
        let in_order = after.iter().chain(&marks).is_sorted_by(|one, next| one < next);
        if !in_order || (page.more && upto.is_none()) {
            return None;
        }
        let genuine = |item: &Item| item.lease > 0 && proof::holds(key, &item.content);
        let items = marks.into_iter().zip(page.items).filter(|(_, item)| genuine(item)).collect();
        Some(Self { items, upto, sure: !page.unsure })
    }

    /// The values that it names.
    pub(super) fn values(&self) -> impl Iterator<Item = Vec<u8>> {
        self.items.values().map(|item| item.content.value().to_vec())
    }

    fn covers(&self, mark: Mark) -> bool {
        self.upto.is_none_or(|upto| mark <= upto)
    }

    fn denies(&self, mark: Mark) -> bool {
        self.sure && self.covers(mark) && !self.items.contains_key(&mark)
    }
}

/// What is certain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Values, each with the shortest lease that was reported.
    pub(super) items: Vec<(Mark, Item)>,
    /// The mark behind which there may be more.
    pub(super) next: Option<Mark>,
    /// Whether nothing was left uncertain.
    pub(super) complete: bool,
    /// What points lack that is certain.
    pub(super) missing: Vec<(usize, Mark)>,
}

/// Judges what was seen, if that suffices or nothing more is to come (`is_last`).
pub(super) fn judge(key: &Key, sights: &[Option<Sight>; POINTS], is_last: bool) -> Option<Verdict> {
    let seen: Vec<&Sight> = sights.iter().flatten().collect();
    let sure = seen.iter().filter(|sight| sight.sure).count();
    let verdict = match key {
        Key::Owned { .. } => newest(sights),
        Key::Plain(_) => majority(sights),
    };
    let settled = sure == POINTS || (sure >= MAJORITY && verdict.complete);
    (settled || is_last).then_some(Verdict { complete: verdict.complete && sure >= MAJORITY, ..verdict })
}

/// Every owned value is genuine; the newest one counts.
fn newest(sights: &[Option<Sight>; POINTS]) -> Verdict {
    let all = sights.iter().flatten().flat_map(|sight| &sight.items);
    let Some((mark, item)) = all.max_by_key(|(_, item)| sequence(item)) else {
        return Verdict { complete: true, ..Verdict::default() };
    };
    Verdict {
        items: vec![(*mark, shortest(*mark, item, sights))],
        next: None,
        complete: true,
        missing: lacking(*mark, sights).collect(),
    }
}

fn sequence(item: &Item) -> u64 {
    match &item.content {
        Content::Owned { proof, .. } => proof.sequence,
        _ => 0,
    }
}

/// A value counts if two points name it, and not if two points would know of it.
fn majority(sights: &[Option<Sight>; POINTS]) -> Verdict {
    let seen: Vec<&Sight> = sights.iter().flatten().collect();
    let bound = bound(&seen);
    let marks: BTreeSet<Mark> = seen.iter().flat_map(|sight| sight.items.keys().copied()).collect();
    let mut verdict = Verdict { next: bound, complete: seen.len() >= MAJORITY, ..Verdict::default() };
    for mark in marks.into_iter().filter(|mark| bound.is_none_or(|bound| *mark <= bound)) {
        if votes(&seen, mark) >= MAJORITY {
            let named = seen.iter().find_map(|sight| sight.items.get(&mark));
            verdict.items.extend(named.map(|item| (mark, shortest(mark, item, sights))));
            verdict.missing.extend(lacking(mark, sights));
        } else if seen.iter().filter(|sight| sight.denies(mark)).count() < MAJORITY {
            verdict.complete = false;
        }
    }
    verdict
}

/// How far the view goes: as far as all pages do, or as two of three do if the shortest ends with a value that only it names,
/// which may be made up to stop us.
fn bound(seen: &[&Sight]) -> Option<Mark> {
    // No end is farther than any.
    let mut ends: Vec<Option<Mark>> = seen.iter().map(|sight| sight.upto).collect();
    ends.sort_unstable_by_key(|end| (end.is_none(), *end));
    let shortest = ends.first().copied().flatten()?;
    if ends.len() < POINTS || votes(seen, shortest) >= MAJORITY { Some(shortest) } else { ends[1] }
}

fn votes(seen: &[&Sight], mark: Mark) -> usize {
    seen.iter().filter(|sight| sight.items.contains_key(&mark)).count()
}

fn shortest(mark: Mark, item: &Item, sights: &[Option<Sight>; POINTS]) -> Item {
    let named = sights.iter().flatten().filter_map(|sight| sight.items.get(&mark));
    let lease = named.map(|one| one.lease).min().unwrap_or(item.lease);
    Item { lease, ..item.clone() }
}

fn lacking(mark: Mark, sights: &[Option<Sight>; POINTS]) -> impl Iterator<Item = (usize, Mark)> {
    let lacks = move |sight: &&Sight| sight.covers(mark) && !sight.items.contains_key(&mark);
    let places =
        sights.iter().enumerate().filter_map(move |(at, sight)| sight.as_ref().filter(lacks).map(|_| at));
    places.map(move |at| (at, mark)).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key::Plain([1; 20]);

    fn item(byte: u8) -> Item {
        Item { stamp: 1, lease: 1000, content: Content::Plain { value: vec![byte] } }
    }

    fn page(bytes: &[u8], more: bool) -> Page {
        let mut items: Vec<Item> = bytes.iter().map(|byte| item(*byte)).collect();
        items.sort_by_key(|item| item.content.mark());
        Page { items, more, unsure: false }
    }

    fn sight(bytes: &[u8]) -> Option<Sight> {
        Sight::new(&KEY, None, page(bytes, false))
    }

    fn values(verdict: &Verdict) -> Vec<u8> {
        let mut values: Vec<u8> = verdict.items.iter().map(|(_, item)| item.content.value()[0]).collect();
        values.sort_unstable();
        values
    }

    #[test]
    fn two_points_that_agree_are_enough() {
        let verdict = judge(&KEY, &[sight(&[1, 2]), None, sight(&[1, 2])], false).unwrap();
        assert!(verdict.complete && values(&verdict) == [1, 2], "{verdict:?}");
        let verdict = judge(&KEY, &[None, sight(&[]), sight(&[])], false).unwrap();
        assert!(verdict.complete && verdict.items.is_empty());
    }

    #[test]
    fn one_point_alone_is_not_believed_whatever_it_says() {
        assert_eq!(judge(&KEY, &[sight(&[1]), None, None], false), None);
        let verdict = judge(&KEY, &[sight(&[1]), None, None], true).unwrap();
        assert!(!verdict.complete && verdict.items.is_empty());
    }

    #[test]
    fn a_liar_neither_hides_nor_makes_up_a_value() {
        assert_eq!(judge(&KEY, &[sight(&[1]), sight(&[1, 9]), None], false), None);
        let verdict = judge(&KEY, &[sight(&[1]), sight(&[1, 9]), sight(&[1])], false).unwrap();
        assert!(verdict.complete && values(&verdict) == [1], "{verdict:?}");
        let verdict = judge(&KEY, &[sight(&[1]), sight(&[]), sight(&[1])], false).unwrap();
        assert!(verdict.complete && values(&verdict) == [1], "{verdict:?}");
        assert_eq!(verdict.missing, [(1, item(1).content.mark())]);
    }

    #[test]
    fn a_point_that_may_lack_values_denies_none() {
        let new = Sight::new(&KEY, None, Page { unsure: true, ..page(&[], false) });
        assert_eq!(judge(&KEY, &[new.clone(), new.clone(), None], false), None);
        let verdict = judge(&KEY, &[new.clone(), new, sight(&[1])], true).unwrap();
        assert!(!verdict.complete);
    }

    #[test]
    fn a_page_cut_short_by_a_liar_does_not_stop_the_others() {
        let all: Vec<u8> = (0..20).collect();
        let lowest = (100..=255u8).min_by_key(|byte| item(*byte).content.mark()).unwrap();
        let short = Sight::new(&KEY, None, page(&[lowest], true));
        let verdict = judge(&KEY, &[sight(&all), short, sight(&all)], false).unwrap();
        assert_eq!(values(&verdict), all);
        assert_eq!(verdict.next, None);
        assert!(Sight::new(&KEY, None, page(&[], true)).is_none(), "it would never end");
    }

    #[test]
    fn pages_of_different_length_are_compared_as_far_as_both_go() {
        let mut all: Vec<u8> = (0..20).collect();
        all.sort_by_key(|byte| item(*byte).content.mark());
        let half = Sight::new(&KEY, None, page(&all[..10], true));
        let verdict = judge(&KEY, &[sight(&all), half, None], false).unwrap();
        assert!(verdict.complete);
        assert_eq!(verdict.items.len(), 10);
        assert_eq!(verdict.next, Some(item(all[9]).content.mark()));
    }

    #[test]
    fn values_that_are_out_of_order_or_before_the_mark_are_no_page() {
        let mut turned = page(&[1, 2, 3], false);
        turned.items.reverse();
        assert!(Sight::new(&KEY, None, turned).is_none());
        let last = page(&[1, 2, 3], false).items[2].content.mark();
        assert!(Sight::new(&KEY, Some(last), page(&[1, 2, 3], false)).is_none());
    }
}
