//! Service: brings notices of a group to some of its members, for a site that is none itself. It reads the group's entries in
//! the DHT, asks one member after the other to tell all others, and is content with receipts that members signed.
//!
//! Whoever was revoked may know the group's secret, answer, and put any number of entries there. Its receipts do not count, for
//! the trust rule knows that it is revoked; its entries cost time, which random order and members known beforehand bound.

mod task;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::machine::{Deadline, RequestId, Telling};
use crate::rng::Rng;
use crate::security::{Trust, Wall};
use crate::time::Time;
use crate::wire::{Address, Key, Mark};
use task::{Done, Task};

pub use task::{ENOUGH, LIMIT, Page};

/// Announcements under way at most; one more is refused.
const TASKS_MAX: usize = 64;

/// What the service wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Read what is under this key, behind the mark if there is one.
    Get(u64, Key, Option<Mark>),
    /// Send a sealed announcement to a member of this overlay.
    Tell(Address, Vec<u8>),
    /// It is over: so many members of the group have the notices.
    Done(RequestId, u32),
}

/// The announcements of one member of the public overlay.
#[derive(Debug)]
pub struct Herald {
    own: Address,
    rng: Rng,
    tasks: BTreeMap<u64, Task>,
    /// Questions to the DHT, and whose they are.
    reads: BTreeMap<u64, u64>,
    last: u64,
    wishes: VecDeque<Wish>,
}

impl Herald {
    /// A member with nothing to announce.
    #[must_use]
    pub fn new(own: Address, rng: &Rng) -> Self {
        let (tasks, reads, last, wishes) = Default::default();
        Self { own, rng: rng.fork("herald"), tasks, reads, last, wishes }
    }

    /// Begins to tell a group, whose members this rule judges; false if too much is under way.
    pub fn begin(&mut self, id: RequestId, telling: &Telling, trust: Arc<Trust>, now: Time) -> bool {
        if self.tasks.len() == TASKS_MAX {
            return false;
        }
        self.last += 1;
        self.tasks.insert(self.last, Task::new(id, telling, trust, now));
        self.handle_timeout(now);
        true
    }

    /// What is under a key that was asked for.
    pub fn on_page(&mut self, number: u64, page: &Page<'_>, now: Time) {
        let Some(task) = self.reads.remove(&number) else { return };
        let task_of = self.tasks.get_mut(&task);
        let found = task_of.and_then(|task| task.on_page(number, page, &mut self.rng));
        if let Some((key, after)) = found {
            self.reads.insert(number, task);
            self.wishes.push_back(Wish::Get(number, key, Some(after)));
        }
        self.handle_timeout(now);
    }

    /// What one holder says is under a key that was asked for; more is to come.
    pub fn on_glimpse(&mut self, number: u64, values: &[Vec<u8>], now: Time) {
        let task = self.reads.get(&number).and_then(|task| self.tasks.get_mut(task));
        if let Some(task) = task {
            task.on_glimpse(number, values, &mut self.rng);
            self.handle_timeout(now);
        }
    }

    /// The DHT does not answer.
    pub fn on_failure(&mut self, number: u64, now: Time) {
        let task = self.reads.remove(&number).and_then(|task| self.tasks.get_mut(&task));
        if let Some(task) = task {
            task.on_failure(number);
            self.handle_timeout(now);
        }
    }

    /// A member of this overlay says that it has the notices; false if it does not prove so.
    pub fn on_receipt(&mut self, from: Address, sealed: &[u8], (wall, now): (Wall, Time)) -> bool {
        let own = self.own;
        let counts = self.tasks.values_mut().any(|task| task.on_receipt((from, own), sealed, (wall, now)));
        self.handle_timeout(now);
        counts
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        let mut over = Vec::new();
        for (number, task) in &mut self.tasks {
            if let Some(Done(members)) = task.look(now, &mut self.rng) {
                self.wishes.push_back(Wish::Done(task.id(), members));
                over.push(*number);
                continue;
            }
            for key in task.due_reads(now) {
                self.last += 1;
                task.on_asked(self.last, key.0);
                self.reads.insert(self.last, *number);
                self.wishes.push_back(Wish::Get(self.last, key.1, None));
            }
            while let Some((to, sealed)) = task.next_to_tell(self.own, now, &mut self.rng) {
                self.wishes.push_back(Wish::Tell(to, sealed));
            }
        }
        for number in over {
            self.tasks.remove(&number);
            self.reads.retain(|_, task| *task != number);
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }

    /// When `handle_timeout` is wanted next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let at = self.tasks.values().map(Task::due).min()?;
        Some(Deadline { at, reason: "herald" })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::security::{Course, Entries, Entry, Envelope, GroupSecret, SHARDS};
    use crate::wire::{Announcement, PacketKind, Receipt};

    const SECRET: [u8; 32] = [7; 32];

    fn address(number: u32) -> Address {
        let mut bytes = [0; Address::LEN];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Address::from_bytes(bytes)
    }

    const fn second(number: u64) -> Time {
        Time::from_secs(number)
    }

    /// A site's member, whose group believes everybody.
    struct Site {
        herald: Herald,
        own: Address,
        envelope: Envelope,
        done: Option<u32>,
        /// Who was told, and when.
        told: Vec<(Time, Address, Announcement)>,
        /// Questions to the DHT without an answer.
        asked: Vec<u64>,
    }

    impl Site {
        fn new(members: &[u32], revoked: &[u32]) -> Self {
            let own = address(u32::MAX);
            let addresses = |all: &[u32]| all.iter().map(|number| address(*number)).collect::<BTreeSet<_>>();
            let telling = Telling {
                group: "chess".to_owned(),
                secret: SECRET,
                authority: Vec::new(),
                list: None,
                notices: vec![b"notice".to_vec()],
                epochs: vec![None],
                members: addresses(members),
                revoked: addresses(revoked),
            };
            let mut herald = Herald::new(own, &Rng::new([1; 32]));
            assert!(herald.begin(RequestId(1), &telling, Arc::new(Trust::Believe), Time::ZERO));
            let envelope = Envelope::new(&GroupSecret::new(SECRET));
            let mut site = Self { herald, own, envelope, done: None, told: Vec::new(), asked: Vec::new() };
            site.drain(Time::ZERO);
            site
        }

        fn drain(&mut self, now: Time) {
            while let Some(wish) = self.herald.poll() {
                match wish {
                    Wish::Get(number, ..) => self.asked.push(number),
                    Wish::Tell(to, sealed) => {
                        let course = Course { kind: PacketKind::Announcement, from: self.own, to };
                        let message = self.envelope.open(course, &sealed).unwrap();
                        self.told.push((now, to, Announcement::read(&message).unwrap()));
                    }
                    Wish::Done(RequestId(1), members) => self.done = Some(members),
                    Wish::Done(..) => panic!("another request"),
                }
            }
            assert!(self.herald.poll_timeout().is_none_or(|due| due.at > now));
        }

        /// The DHT names members, each with its place in the public overlay.
        fn found(&mut self, members: &[(u32, u32)], now: Time) {
            let entries = Entries::new(GroupSecret::new(SECRET), 0, None);
            let seal = |(member, public): &(u32, u32)| {
                let (member, public) = (address(*member), address(*public));
                entries.seal(Entry { member, public, transport: None })
            };
            let values: Vec<Vec<u8>> = members.iter().map(seal).collect();
            self.says(&Page { values: &values, next: None, is_all: true }, now);
        }

        /// The DHT answers every question with this.
        fn says(&mut self, page: &Page<'_>, now: Time) {
            for number in std::mem::take(&mut self.asked) {
                self.herald.on_page(number, page, now);
            }
            self.drain(now);
        }

        /// The DHT answers no question.
        fn fails(&mut self, now: Time) {
            for number in std::mem::take(&mut self.asked) {
                self.herald.on_failure(number, now);
            }
            self.drain(now);
        }

        /// Runs the timers until then; nobody answers.
        fn run(&mut self, until: Time) {
            while let Some(due) = self.herald.poll_timeout().filter(|due| due.at <= until) {
                self.herald.handle_timeout(due.at);
                self.drain(due.at);
            }
        }

        /// A member of the public overlay answers what it was told last.
        fn confirms(&mut self, public: u32, member: u32, now: Time) -> bool {
            let told = self.told.iter().rev().find(|(_, to, _)| *to == address(public));
            let token = told.map_or(0, |(_, _, message)| message.token);
            let (certificate, signature) = (Vec::new(), Vec::new());
            let receipt = Receipt { token, member: address(member), certificate, signature }.write();
            let course = Course { kind: PacketKind::Receipt, from: address(public), to: self.own };
            let sealed = self.envelope.seal(course, [3; 12], &receipt);
            let counts = self.herald.on_receipt(address(public), &sealed, (Wall(0), now));
            self.drain(now);
            counts
        }

        fn places(&self) -> Vec<Address> {
            self.told.iter().map(|(_, to, _)| *to).collect()
        }
    }

    #[test]
    fn known_members_are_told_first_and_revoked_ones_never() {
        let mut site = Site::new(&[1, 2], &[3]);
        assert_eq!(site.asked.len() as u64, SHARDS);
        let others: Vec<(u32, u32)> = (1..40).map(|number| (number, 100 + number)).collect();
        site.found(&others, Time::ZERO);
        site.run(second(60));
        let places = site.places();
        assert_eq!(
            places[..2].iter().collect::<BTreeSet<_>>(),
            [address(101), address(102)].iter().collect()
        );
        assert!(!places.contains(&address(103)));
        assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), 38);
    }

    #[test]
    fn three_receipts_are_enough_and_a_false_one_does_not_count() {
        let mut site = Site::new(&[], &[]);
        let all: Vec<(u32, u32)> = (1..10).map(|number| (number, 100 + number)).collect();
        site.found(&all, Time::ZERO);
        assert_eq!(site.places().len(), 1, "the first one's broadcast may spare the others theirs");
        assert!(!site.confirms(1, 1, Time::ZERO), "it was not told");
        for count in 1..=3_usize {
            assert_eq!((site.done, site.places().len()), (None, count));
            let public = u32::from_be_bytes(site.places()[count - 1].to_bytes()[..4].try_into().unwrap());
            let now = Time::ZERO + Duration::from_millis(10 * count as u64);
            assert!(site.confirms(public, public - 100, now));
            assert!(!site.confirms(public, public - 100, now), "once");
        }
        assert_eq!(site.done, Some(3));
        assert_eq!(site.herald.poll_timeout(), None);
    }

    #[test]
    fn who_is_silent_is_told_again_and_all_that_there_are_are_enough() {
        let mut site = Site::new(&[], &[]);
        site.found(&[(1, 101), (2, 102)], Time::ZERO);
        site.run(second(1));
        assert_eq!(site.places().len(), 2);
        assert!(site.confirms(101, 1, second(1)));
        site.run(second(4));
        assert!(site.asked.is_empty());
        site.run(second(12));
        assert_eq!((site.done, site.asked.len() as u64), (None, SHARDS), "the other one is looked for again");
        site.found(&[(1, 101), (2, 102)], second(12));
        assert_eq!(site.places()[2..], [address(102)], "who has confirmed is left alone");
        assert!(site.confirms(102, 2, second(13)));
        site.run(second(14));
        assert_eq!(site.done, Some(2));
    }

    #[test]
    fn where_nobody_is_it_is_over_at_once_and_where_everybody_is_silent_after_two_rounds() {
        let mut site = Site::new(&[], &[]);
        site.found(&[], Time::ZERO);
        assert_eq!((site.done, site.herald.poll_timeout()), (Some(0), None));

        let mut site = Site::new(&[], &[]);
        let all = [(1, 101), (1, 102), (2, 103)];
        site.found(&all, Time::ZERO);
        site.run(second(9));
        assert_eq!((site.done, site.asked.len() as u64), (None, SHARDS), "what was sent may be lost");
        site.found(&all, second(9));
        site.run(second(20));
        assert_eq!((site.done, site.places().len()), (Some(0), 6));
    }

    #[test]
    fn what_the_dht_leaves_open_is_not_all_that_there_is() {
        let mut site = Site::new(&[], &[]);
        site.says(&Page { values: &[], next: None, is_all: false }, Time::ZERO);
        site.run(second(4));
        assert_eq!((site.done, site.asked.len() as u64), (None, SHARDS));
        site.says(&Page { values: &[], next: Some(Mark(1)), is_all: true }, second(4));
        site.run(second(10));
        assert_eq!(
            (site.done, site.asked.len() as u64),
            (None, SHARDS),
            "more stands behind what nobody named"
        );

        let mut site = Site::new(&[], &[]);
        site.found(&[(1, 101), (2, 102)], Time::ZERO);
        site.run(second(1));
        let first = u32::from(site.places()[0].to_bytes()[3]);
        assert!(site.confirms(first, first - 100, second(1)));
        site.run(second(12));
        site.fails(second(12));
        site.run(second(13));
        assert_eq!(site.done, None, "the other one may be there all the same");
        site.run(Time::ZERO + LIMIT);
        assert_eq!(site.done, Some(1));
    }

    #[test]
    fn false_entries_of_one_name_cost_few_tries_and_nobody_at_all_ends_it_in_time() {
        let mut site = Site::new(&[], &[]);
        let false_ones: Vec<(u32, u32)> = (0..1000).map(|number| (1, 100 + number)).collect();
        site.found(&false_ones, Time::ZERO);
        site.run(second(5));
        assert_eq!(site.places().len(), 3);
        site.run(Time::ZERO + LIMIT);
        assert_eq!((site.done, site.herald.poll_timeout()), (Some(0), None));
    }

    #[test]
    fn false_entries_that_stand_first_do_not_hide_the_true_one_for_long() {
        let mut site = Site::new(&[1], &[]);
        let named: Vec<(u32, u32)> = (0..10).map(|number| (1, 100 + number)).collect();
        site.found(&named, Time::ZERO);
        while let Some(due) = site.herald.poll_timeout() {
            site.run(due.at);
            site.found(&named, due.at);
        }
        // Each round draws three of them anew.
        let tried: BTreeSet<Address> = site.places().into_iter().collect();
        assert!(tried.len() >= 7, "{} of ten places", tried.len());
    }

    #[test]
    fn no_more_is_under_way_than_may_be() {
        let mut site = Site::new(&[], &[]);
        let telling = Telling {
            group: "go".to_owned(),
            secret: SECRET,
            authority: Vec::new(),
            list: None,
            notices: vec![Vec::new()],
            epochs: vec![None],
            members: BTreeSet::new(),
            revoked: BTreeSet::new(),
        };
        let mut begin =
            |number| site.herald.begin(RequestId(number), &telling, Arc::new(Trust::Believe), Time::ZERO);
        assert!((2..=TASKS_MAX as u64).all(&mut begin) && !begin(1000));
    }
}
