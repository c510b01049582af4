//! Which group's members are told next: a fresh revocation before all others, and groups in which nobody answered in places of
//! their own, so that however many they are they keep nobody waiting. It reads no clock, and tells nobody itself.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::Id;
use tokio::time::Instant;

/// Groups that are told at once at most; others wait for their turn.
const GROUPS_MAX: usize = 16;
/// How many of them may be such as were told in vain before.
const AGAIN_MAX: usize = 8;
/// First wait after nobody confirmed; it doubles.
const PAUSE: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(1800);
/// How long nothing is looked for at most.
const LOOK: Duration = Duration::from_secs(60);

/// A group whose members have something to be told, and the number of its newest notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) group: i64,
    pub(super) newest: i64,
}

/// A group that is told now, and the task that does it.
struct Turn {
    due: Due,
    task: Id,
    again: bool,
}

/// What was told in vain, how often in a row, and until when it is not tried.
struct Rest {
    newest: i64,
    failures: u32,
    until: Instant,
}

/// Who has a turn, and who rests.
pub(super) struct Turns {
    busy: Vec<Turn>,
    resting: BTreeMap<i64, Rest>,
}

impl Turns {
    /// After a restart. What is untold then may have been told in vain before: nothing of it is fresh.
    pub(super) fn resumed(untold: &[Due], now: Instant) -> Self {
        let rest = |due: &Due| (due.group, Rest { newest: due.newest, failures: 0, until: now });
        Self { busy: Vec::new(), resting: untold.iter().map(rest).collect() }
    }

    /// Of what is untold, the newest first, that whose turn is now.
    pub(super) fn next(&self, untold: &[Due], now: Instant) -> Vec<Due> {
        let idle =
            untold.iter().copied().filter(|due| !self.busy.iter().any(|turn| turn.due.group == due.group));
        let (mut again, mut next): (Vec<Due>, Vec<Due>) = idle.partition(|due| self.rest(*due).is_some());
        let until = |due: &Due| self.rest(*due).map(|rest| rest.until);
        again.retain(|due| until(due) <= Some(now));
        again.sort_by_key(until);
        let others = self.busy.iter().filter(|turn| turn.again).count();
        next.extend(again.into_iter().take(AGAIN_MAX.saturating_sub(others)));
        next.truncate(GROUPS_MAX.saturating_sub(self.busy.len()));
        next
    }

    /// The turn of a group begins.
    pub(super) fn begin(&mut self, due: Due, task: Id) {
        let again = self.rest(due).is_some();
        self.busy.push(Turn { due, task, again });
    }

    /// It is over, and somebody has confirmed.
    pub(super) fn done(&mut self, task: Id) {
        if let Some(due) = self.end(task) {
            self.resting.remove(&due.group);
        }
    }

    /// It is over, and nobody has confirmed, or the task broke down.
    pub(super) fn failed(&mut self, task: Id, now: Instant) {
        let Some(due) = self.end(task) else { return };
        let failures = self.rest(due).map_or(0, |rest| rest.failures);
        let pause = (PAUSE * 2_u32.pow(failures.min(10))).min(PAUSE_MAX);
        let rest = Rest { newest: due.newest, failures: failures + 1, until: now + pause };
        self.resting.insert(due.group, rest);
    }

    fn end(&mut self, task: Id) -> Option<Due> {
        let at = self.busy.iter().position(|turn| turn.task == task)?;
        Some(self.busy.swap_remove(at).due)
    }

    /// When to look again, although nothing was heard of.
    pub(super) fn wake(&self, now: Instant) -> Instant {
        // Whoever has rested for long enough waits for a place, and not for a moment.
        let rests = self.resting.values().map(|rest| rest.until).filter(|until| *until > now);
        rests.chain([now + LOOK]).min().unwrap_or(now)
    }

    /// Whether it is known already that nobody confirms: once is said, and not each time.
    pub(super) fn was_vain(&self, due: Due) -> bool {
        self.rest(due).is_some_and(|rest| rest.failures > 0)
    }

    /// The rest of a group, unless something was revoked since.
    fn rest(&self, due: Due) -> Option<&Rest> {
        self.resting.get(&due.group).filter(|rest| rest.newest == due.newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups with these numbers, in each of which one revocation is untold.
    fn silent(numbers: std::ops::Range<i64>) -> Vec<Due> {
        numbers.map(|group| Due { group, newest: 1 }).collect()
    }

    fn begin(turns: &mut Turns, untold: &[Due], now: Instant) -> Vec<Id> {
        let next = turns.next(untold, now);
        let begin = |due| {
            let task = tokio::spawn(async {}).id();
            turns.begin(due, task);
            task
        };
        next.into_iter().map(begin).collect()
    }

    #[tokio::test]
    async fn groups_that_were_told_in_vain_leave_half_of_the_places() {
        let start = Instant::now();
        let mut turns = Turns::resumed(&[], start);
        let untold = silent(0..20);
        assert_eq!(turns.next(&untold, start), untold[..GROUPS_MAX], "the newest first");
        assert!(!turns.was_vain(untold[0]));
        begin(&mut turns, &untold, start).into_iter().for_each(|task| turns.failed(task, start));
        assert_eq!(turns.next(&untold, start), untold[GROUPS_MAX..], "others rest");
        assert!(turns.was_vain(untold[0]) && !turns.was_vain(Due { group: 0, newest: 2 }));
        let later = start + PAUSE;
        begin(&mut turns, &untold[..GROUPS_MAX], later);
        assert_eq!(turns.busy.len(), AGAIN_MAX);
        let fresh = Due { group: 99, newest: 1 };
        assert_eq!(turns.next(&[fresh], later), [fresh]);
        assert!(turns.next(&untold[..GROUPS_MAX], later + PAUSE_MAX).is_empty());
    }

    #[tokio::test]
    async fn what_is_revoked_while_others_are_told_in_vain_has_no_rest() {
        let start = Instant::now();
        let mut turns = Turns::resumed(&[], start);
        let (first, second) = (Due { group: 1, newest: 1 }, Due { group: 1, newest: 2 });
        let tasks = begin(&mut turns, &[first], start);
        assert!(turns.next(&[second], start).is_empty(), "one turn of a group at once");
        turns.failed(tasks[0], start);
        assert!(turns.next(&[first], start).is_empty());
        assert_eq!(turns.next(&[second], start), [second]);
        // It is tried as if nothing had failed before.
        let tasks = begin(&mut turns, &[second], start);
        turns.failed(tasks[0], start);
        assert_eq!(turns.wake(start), start + PAUSE);
    }

    #[tokio::test]
    async fn whoever_has_rested_the_longest_is_the_first_of_the_silent() {
        let start = Instant::now();
        let untold = silent(0..12);
        let mut turns = Turns::resumed(&untold, start);
        let tasks = begin(&mut turns, &untold, start);
        tasks.into_iter().for_each(|task| turns.failed(task, start));
        let next = turns.next(&untold, start + PAUSE_MAX);
        assert_eq!(next[..4], untold[8..]);
        assert_eq!(next[4..], untold[..4]);
    }

    #[tokio::test]
    async fn a_minute_is_the_longest_that_nothing_is_looked_for() {
        let start = Instant::now();
        let mut turns = Turns::resumed(&[], start);
        assert_eq!(turns.wake(start), start + LOOK);
        let untold = silent(0..1);
        for _ in 0..9 {
            let tasks = begin(&mut turns, &untold, start + PAUSE_MAX);
            turns.failed(tasks[0], start);
        }
        assert_eq!(turns.wake(start), start + LOOK, "whatever rests for longer");
        // One that waits for a place does not keep the site from sleeping.
        assert_eq!(turns.wake(start + PAUSE_MAX), start + PAUSE_MAX + LOOK);
    }
}
