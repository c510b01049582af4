//! Commands that wait for their replies, and replies that wait to be taken.

use std::collections::BTreeMap;

use atoll_core::control::Reply;
use atoll_core::{RequestId, Time};

/// Requests whose replies are remembered. When one more comes, the oldest is forgotten.
pub const REQUESTS_MAX: usize = 1 << 16;

/// The book of requests.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    next: u64,
    open: BTreeMap<RequestId, Option<(Time, Reply)>>,
}

impl Requests {
    pub(crate) fn open(&mut self) -> RequestId {
        if self.open.len() == REQUESTS_MAX {
            self.open.pop_first();
        }
        let id = RequestId(self.next);
        self.next += 1;
        self.open.insert(id, None);
        id
    }

    /// Keeps the first reply to an open request; anything else was not asked for.
    pub(crate) fn answer(&mut self, id: RequestId, now: Time, reply: Reply) {
        if let Some(slot @ None) = self.open.get_mut(&id) {
            *slot = Some((now, reply));
        }
    }

    pub(crate) fn take(&mut self, id: RequestId) -> Option<(Time, Reply)> {
        let reply = self.open.get_mut(&id)?.take()?;
        self.open.remove(&id);
        Some(reply)
    }

    pub(crate) fn forget(&mut self, id: RequestId) {
        self.open.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_core::control::FailureKind;

    fn failed(why: &str) -> Reply {
        Reply::failed(FailureKind::NoAnswer, why)
    }

    #[test]
    fn only_the_first_reply_to_an_open_request_is_kept_and_only_once() {
        let mut requests = Requests::default();
        let id = requests.open();
        assert_eq!(requests.take(id), None);
        requests.answer(id, Time::from_secs(1), failed("first"));
        requests.answer(id, Time::from_secs(2), failed("second"));
        requests.answer(RequestId(99), Time::from_secs(2), failed("unasked"));
        assert_eq!(requests.take(id), Some((Time::from_secs(1), failed("first"))));
        assert_eq!(requests.take(id), None);
        assert_eq!(requests.take(RequestId(99)), None);
    }

    #[test]
    fn the_oldest_request_is_forgotten_when_the_book_is_full() {
        let mut requests = Requests::default();
        let first = requests.open();
        let second = requests.open();
        for _ in 0..REQUESTS_MAX - 1 {
            requests.open();
        }
        requests.answer(first, Time::ZERO, failed("late"));
        requests.answer(second, Time::ZERO, failed("kept"));
        assert_eq!(requests.take(first), None);
        assert!(requests.take(second).is_some());
    }
}
