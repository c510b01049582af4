//! Says aloud when a certificate is about to end: every day from two weeks before.

use atoll_core::security::Wall;

use super::Roster;
use crate::date;

const DAY: u64 = 86_400;
const WARN_DAYS: u64 = 14;
/// In the last one of so many parts of its time a certificate that a site renews is late.
const OVERDUE_PART: u64 = 4;

/// The certificates of a node's memberships.
#[derive(Debug)]
pub(super) struct Expiry(Vec<Dated>);

#[derive(Debug)]
struct Dated {
    overlay: String,
    ends: Wall,
    /// Its site hands out the next one in time.
    renews: bool,
    /// When it was first looked at.
    seen: Option<Wall>,
    /// The last that was said.
    said: Option<Notice>,
}

/// What there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    Soon { days: u64 },
    Over { days: u64 },
}

impl Expiry {
    pub(super) fn new(roster: &Roster) -> Self {
        let dated = roster.members().filter_map(|(name, place)| {
            let (overlay, ends) = (name.to_owned(), place.identity.as_ref()?.not_after?);
            Some(Dated { renews: roster.has_site(name), overlay, ends, seen: None, said: None })
        });
        Self(dated.collect())
    }

    /// An overlay's certificate ends later now.
    pub(super) fn renewed(&mut self, overlay: &str, ends: Option<Wall>) {
        for dated in self.0.iter_mut().filter(|dated| dated.overlay == overlay) {
            (dated.ends, dated.seen, dated.said) = (ends.unwrap_or(dated.ends), None, None);
        }
    }

    /// Says what is due.
    pub(super) fn look(&mut self, now: Wall) {
        for dated in &mut self.0 {
            let notice = dated.notice(now);
            let (overlay, expires) = (&*dated.overlay, date::shown(dated.ends.0));
            match notice {
                Some(Notice::Soon { days }) => {
                    tracing::warn!(overlay, days, expires, "the certificate expires soon: get a new one");
                }
                Some(Notice::Over { .. }) => {
                    tracing::warn!(overlay, expires, "the certificate has expired: no member takes it");
                }
                None => {}
            }
        }
    }
}

impl Dated {
    fn notice(&mut self, now: Wall) -> Option<Notice> {
        let notice = if self.ends < now {
            Notice::Over { days: (now.0 - self.ends.0) / DAY }
        } else {
            Notice::Soon { days: (self.ends.0 - now.0) / DAY }
        };
        let seen = self.seen.get_or_insert(now).0;
        // The next one should have come long ago.
        let is_late = self.ends.0.saturating_sub(now.0) < self.ends.0.saturating_sub(seen) / OVERDUE_PART;
        let is_early =
            matches!(notice, Notice::Soon { days } if days >= WARN_DAYS || (self.renews && !is_late));
        let is_due = !is_early && self.said != Some(notice);
        if is_due {
            self.said = Some(notice);
        }
        is_due.then_some(notice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_announced_from_fourteen_days_before_once_a_day() {
        let ends = Wall(100 * DAY);
        let mut dated = Dated { overlay: "a".to_owned(), ends, renews: false, seen: None, said: None };
        let mut at = |seconds: u64| dated.notice(Wall(seconds));
        assert_eq!(at(86 * DAY), None);
        assert_eq!(at(86 * DAY + 1), Some(Notice::Soon { days: 13 }));
        assert_eq!(at(86 * DAY + 61), None);
        assert_eq!(at(87 * DAY + 1), Some(Notice::Soon { days: 12 }));
        assert_eq!(at(100 * DAY), Some(Notice::Soon { days: 0 }));
        assert_eq!(at(100 * DAY + 1), Some(Notice::Over { days: 0 }));
        assert_eq!(at(100 * DAY + 61), None);
        assert_eq!(at(101 * DAY + 1), Some(Notice::Over { days: 1 }));
        let mut renews = Dated { overlay: "a".to_owned(), ends, renews: true, seen: None, said: None };
        assert_eq!([60, 87, 90].map(|day| renews.notice(Wall(day * DAY))), [None; 3]);
        assert_eq!(renews.notice(Wall(91 * DAY)), Some(Notice::Soon { days: 9 }));
        assert_eq!(renews.notice(Wall(100 * DAY + 1)), Some(Notice::Over { days: 0 }));
    }
}
