//! Says aloud when a certificate is about to end: every day from two weeks before.

use atoll_core::security::Wall;

use super::Roster;
use crate::date;

const DAY: u64 = 86_400;
const WARN_DAYS: u64 = 14;

/// The certificates of a node's memberships.
#[derive(Debug)]
pub(super) struct Expiry(Vec<Dated>);

#[derive(Debug)]
struct Dated {
    overlay: String,
    ends: Wall,
    /// Its site hands out the next one in time, and what keeps it from that is said elsewhere.
    renews: bool,
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
            Some(Dated { renews: roster.has_site(name), overlay, ends, said: None })
        });
        Self(dated.collect())
    }

    /// An overlay's certificate ends later now.
    pub(super) fn renewed(&mut self, overlay: &str, ends: Option<Wall>) {
        for dated in self.0.iter_mut().filter(|dated| dated.overlay == overlay) {
            (dated.ends, dated.said) = (ends.unwrap_or(dated.ends), None);
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
        let is_early = matches!(notice, Notice::Soon { days } if self.renews || days >= WARN_DAYS);
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
        let mut dated = Dated { overlay: "a".to_owned(), ends, renews: false, said: None };
        let mut at = |seconds: u64| dated.notice(Wall(seconds));
        assert_eq!(at(86 * DAY), None);
        assert_eq!(at(86 * DAY + 1), Some(Notice::Soon { days: 13 }));
        assert_eq!(at(86 * DAY + 61), None);
        assert_eq!(at(87 * DAY + 1), Some(Notice::Soon { days: 12 }));
        assert_eq!(at(100 * DAY), Some(Notice::Soon { days: 0 }));
        assert_eq!(at(100 * DAY + 1), Some(Notice::Over { days: 0 }));
        assert_eq!(at(100 * DAY + 61), None);
        assert_eq!(at(101 * DAY + 1), Some(Notice::Over { days: 1 }));
        let mut renews = Dated { overlay: "a".to_owned(), ends, renews: true, said: None };
        assert_eq!(renews.notice(Wall(99 * DAY)), None);
        assert_eq!(renews.notice(Wall(100 * DAY + 1)), Some(Notice::Over { days: 0 }));
    }
}
