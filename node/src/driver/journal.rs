//! The latest events, numbered, in a ring of fixed size.

use std::collections::VecDeque;

use atoll_core::Time;
use atoll_core::control::Event;
use serde::{Deserialize, Serialize};

/// Events that are remembered; the oldest make room.
pub const EVENTS_MAX: usize = 1024;

/// One remembered event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number: 0 for the first of the process, then one more each.
    pub sequence: u64,
    /// When it happened, in seconds since the start of the process.
    pub seconds: f64,
    /// What happened.
    pub event: Event,
}

/// An answer to `GET /events?since=N`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// Ask for this number next.
    pub next: u64,
    /// Events that were asked for but are forgotten already.
    pub missed: u64,
    /// The events, oldest first.
    pub events: Vec<Entry>,
}

/// The ring.
#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    next: u64,
}

impl Journal {
    /// Remembers an event.
    pub(super) fn push(&mut self, event: Event, now: Time) {
        if self.entries.len() == EVENTS_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { sequence: self.next, seconds: now.as_secs_f64(), event });
        self.next += 1;
    }

    /// The events from number `since` on.
    pub(super) fn page(&self, since: u64) -> Page {
        let oldest = self.next - self.entries.len() as u64;
        let skip = since.saturating_sub(oldest).min(EVENTS_MAX as u64) as usize;
        let events = self.entries.iter().skip(skip).cloned().collect();
        Page { next: self.next, missed: oldest.saturating_sub(since), events }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_core::control::EventKind;

    #[test]
    fn a_page_starts_where_it_is_asked_to_and_counts_what_is_forgotten() {
        let mut journal = Journal::default();
        assert_eq!(journal.page(0), Page::default());
        for _ in 0..EVENTS_MAX + 10 {
            journal.push(Event { overlay: "a".to_owned(), kind: EventKind::Connected }, Time::from_secs(2));
        }
        let all = journal.page(0);
        assert_eq!((all.events.len(), all.missed, all.events[0].sequence), (EVENTS_MAX, 10, 10));
        let last = journal.page(all.next - 1);
        assert_eq!((last.events.len(), last.missed, last.events[0].seconds), (1, 0, 2.0));
        assert!(journal.page(all.next).events.is_empty());
        assert!(journal.page(u64::MAX).events.is_empty());
    }
}
