//! Revocations by the DHT (section III-C of the paper): whoever has a neighbour subscribes under a key of its user, and
//! whoever publishes a notice tells the subscribers, who tell their peers.
//!
//! A notice and a subscription may cross. Whoever publishes puts the notice first and reads the subscribers then; whoever
//! subscribes puts that first and looks for a notice then: one of the two sees the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::machine::Deadline;
use crate::time::Time;
use crate::wire::{Address, Key, Mark};

/// Users that a member subscribes for at most; it learns of others by broadcasts and from its peers.
const USERS_MAX: usize = 128;
/// How long the DHT holds a notice or a subscription that nobody renews.
pub const LEASE: Duration = Duration::from_secs(86_400);
/// How long a user's nodes have to be peers before a subscription is worth it, and to be gone before it ends.
const SETTLE: Duration = Duration::from_secs(30);
/// Questions to the DHT whose answers are awaited at most; beyond, the oldest is forgotten.
const ASKED_MAX: usize = 256;
/// Notices that a member keeps in the DHT at most; beyond, the oldest is no longer renewed. Its places there are also for other
/// values.
const PUBLISHED_MAX: usize = 64;
/// How often a question that nobody answers is asked.
const TRIES: u8 = 4;

/// What the service wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Keep this value under this key, and say under the number when it is stored.
    Keep(u64, Key, Vec<u8>),
    /// Let the value expire.
    Release(Key, Vec<u8>),
    /// Read what is under this key, behind the mark if there is one.
    Get(u64, Key, Option<Mark>),
    /// Send a notice to a member.
    Tell(Address, Vec<u8>),
}

#[derive(Debug)]
struct Subscription {
    since: Time,
    is_kept: bool,
    /// Since when no peer is the user's.
    gone: Option<Time>,
}

#[derive(Clone, Debug)]
enum Question {
    /// Is our subscription for this user stored?
    Subscribed(String),
    /// Is there a notice about this user?
    Noticed(String),
    /// Is our notice about this user stored?
    Published(String, Vec<u8>),
    /// Who subscribed for this user, to be told this?
    Subscribers(String, Vec<u8>),
}

#[derive(Debug)]
struct Asked {
    question: Question,
    /// Behind which mark it asked.
    after: Option<Mark>,
    tries: u8,
}

/// The subscriptions of one member, and the notices that it publishes.
#[derive(Debug)]
pub struct Subscriptions {
    own: Address,
    users: BTreeMap<String, Subscription>,
    /// Notices that are kept in the DHT, and whom they are about.
    published: VecDeque<(String, Vec<u8>)>,
    asked: BTreeMap<u64, Asked>,
    last: u64,
    look_at: Time,
    wishes: VecDeque<Wish>,
}

fn notices(user: &str) -> Key {
    Key::named(&format!("revocations of {user}"))
}

fn subscribers(user: &str) -> Key {
    Key::named(&format!("revocations of {user}: subscribers"))
}

impl Subscriptions {
    /// A member that has no peers yet.
    #[must_use]
    pub fn new(own: Address) -> Self {
        let (users, published, asked, last, wishes) = Default::default();
        Self { own, users, published, asked, last, look_at: Time::ZERO, wishes }
    }

    /// When the peers are to be looked at again.
    #[must_use]
    pub fn poll_timeout(&self) -> Deadline {
        Deadline { at: self.look_at, reason: "subscriptions" }
    }

    /// Subscribes for users that have been among the peers for a while, and no more for those who left.
    pub fn look(&mut self, users: &BTreeSet<&str>, now: Time) {
        self.look_at = now + SETTLE;
        for user in users {
            let fresh = || Subscription { since: now, is_kept: false, gone: None };
            self.users.entry((*user).to_owned()).or_insert_with(fresh).gone = None;
        }
        let own = self.own.to_bytes().to_vec();
        let mut wanted: Vec<String> = Vec::new();
        self.users.retain(|user, one| {
            if !users.contains(user.as_str()) {
                let stays = *one.gone.get_or_insert(now) + SETTLE > now;
                if !stays && one.is_kept {
                    self.wishes.push_back(Wish::Release(subscribers(user), own.clone()));
                }
                return stays;
            }
            if !one.is_kept && one.since + SETTLE <= now {
                wanted.push(user.clone());
            }
            true
        });
        let kept = self.users.values().filter(|one| one.is_kept).count();
        for user in wanted.into_iter().take(USERS_MAX.saturating_sub(kept)) {
            if let Some(one) = self.users.get_mut(&user) {
                one.is_kept = true;
            }
            let number = self.note(Question::Subscribed(user.clone()), None, 1);
            self.wishes.push_back(Wish::Keep(number, subscribers(&user), own.clone()));
        }
    }

    /// Publishes a notice about a user.
    pub fn publish(&mut self, user: &str, notice: &[u8]) {
        self.published.retain(|(_, kept)| kept != notice);
        if self.published.len() == PUBLISHED_MAX
            && let Some((user, notice)) = self.published.pop_front()
        {
            self.wishes.push_back(Wish::Release(notices(&user), notice));
        }
        self.published.push_back((user.to_owned(), notice.to_vec()));
        let number = self.note(Question::Published(user.to_owned(), notice.to_vec()), None, 1);
        self.wishes.push_back(Wish::Keep(number, notices(user), notice.to_vec()));
    }

    fn note(&mut self, question: Question, after: Option<Mark>, tries: u8) -> u64 {
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_first();
        }
        self.last += 1;
        self.asked.insert(self.last, Asked { question, after, tries });
        self.last
    }

    fn ask(&mut self, question: Question, after: Option<Mark>, tries: u8) {
        let key = match &question {
            Question::Noticed(user) => notices(user),
            Question::Subscribers(user, _) => subscribers(user),
            Question::Subscribed(_) | Question::Published(..) => return,
        };
        let number = self.note(question, after, tries);
        self.wishes.push_back(Wish::Get(number, key, after));
    }

    /// Something of ours is stored.
    pub fn on_stored(&mut self, number: u64) {
        match self.asked.remove(&number).map(|asked| asked.question) {
            Some(Question::Subscribed(user)) => self.ask(Question::Noticed(user), None, 1),
            Some(Question::Published(user, notice)) => {
                self.ask(Question::Subscribers(user, notice), None, 1);
            }
            Some(Question::Noticed(_) | Question::Subscribers(..)) | None => {}
        }
    }

    /// What is under the key that was asked for; gives what looks like notices, which still have to prove themselves.
    pub fn on_page(&mut self, number: u64, values: Vec<Vec<u8>>, next: Option<Mark>) -> Vec<Vec<u8>> {
        let Some(asked) = self.asked.remove(&number) else { return Vec::new() };
        if next.is_some() && !values.is_empty() {
            self.ask(asked.question.clone(), next, 1);
        }
        match asked.question {
            Question::Noticed(_) => return values,
            Question::Subscribers(_, notice) => {
                let members = values.iter().filter_map(|value| value.as_slice().try_into().ok());
                let others = members.map(Address::from_bytes).filter(|member| *member != self.own);
                self.wishes.extend(others.map(|member| Wish::Tell(member, notice.clone())));
            }
            Question::Subscribed(_) | Question::Published(..) => {}
        }
        Vec::new()
    }

    /// Nobody answered. What is kept is tried again by itself.
    pub fn on_failure(&mut self, number: u64) {
        let Some(Asked { question, after, tries }) = self.asked.remove(&number) else { return };
        match question {
            Question::Noticed(_) | Question::Subscribers(..) if tries < TRIES => {
                self.ask(question, after, tries + 1);
            }
            // Not stored at once: the other one may not see it, so that it is looked for all the same.
            Question::Subscribed(user) => self.ask(Question::Noticed(user), None, 1),
            Question::Published(user, notice) => self.ask(Question::Subscribers(user, notice), None, 1),
            Question::Noticed(_) | Question::Subscribers(..) => {}
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }

    /// Users that are subscribed for.
    #[must_use]
    pub fn count(&self) -> usize {
        self.users.values().filter(|one| one.is_kept).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(byte: u8) -> Address {
        Address::from_bytes([byte; Address::LEN])
    }

    fn subscribed() -> (Subscriptions, u64) {
        let mut ours = Subscriptions::new(at(1));
        let users = BTreeSet::from(["ann"]);
        ours.look(&users, Time::ZERO);
        assert_eq!(ours.poll(), None, "a peer of a moment is none");
        ours.look(&users, Time::from_secs(30));
        let Some(Wish::Keep(number, key, value)) = ours.poll() else { panic!("a subscription") };
        assert_eq!((key, value), (subscribers("ann"), at(1).to_bytes().to_vec()));
        (ours, number)
    }

    #[test]
    fn whoever_subscribes_looks_for_a_notice_once_that_is_stored_and_again_if_nobody_answers() {
        for stored in [true, false] {
            let (mut ours, number) = subscribed();
            assert_eq!(ours.poll(), None, "it does not look before");
            if stored {
                ours.on_stored(number)
            } else {
                ours.on_failure(number)
            }
            for _ in 1..TRIES {
                let Some(Wish::Get(number, key, None)) = ours.poll() else { panic!("a look") };
                assert_eq!(key, notices("ann"));
                ours.on_failure(number);
            }
            let Some(Wish::Get(number, ..)) = ours.poll() else { panic!("another look") };
            assert_eq!(ours.on_page(number, vec![b"notice".to_vec()], None), [b"notice".to_vec()]);
            assert_eq!(ours.on_page(number, vec![b"notice".to_vec()], None), Vec::<Vec<u8>>::new());
        }
    }

    #[test]
    fn whoever_publishes_tells_every_page_of_subscribers_once_the_notice_is_stored() {
        let mut ours = Subscriptions::new(at(1));
        ours.publish("ann", b"notice");
        let Some(Wish::Keep(number, key, _)) = ours.poll() else { panic!("the notice") };
        assert_eq!((key, ours.poll()), (notices("ann"), None));
        ours.on_stored(number);
        let Some(Wish::Get(number, key, None)) = ours.poll() else { panic!("a look") };
        assert_eq!(key, subscribers("ann"));
        let value = |byte| at(byte).to_bytes().to_vec();
        ours.on_page(number, vec![value(2), b"odd".to_vec(), value(1)], Some(Mark(7)));
        let Some(Wish::Get(number, _, Some(Mark(7)))) = ours.poll() else { panic!("the next page") };
        assert_eq!((ours.poll(), ours.poll()), (Some(Wish::Tell(at(2), b"notice".to_vec())), None));
        ours.on_page(number, vec![value(3)], None);
        assert_eq!((ours.poll(), ours.poll()), (Some(Wish::Tell(at(3), b"notice".to_vec())), None));
    }

    #[test]
    fn of_many_notices_the_oldest_is_renewed_no_longer() {
        let mut ours = Subscriptions::new(at(1));
        for byte in 0..=PUBLISHED_MAX as u8 {
            ours.publish("ann", &[byte]);
            ours.publish("ann", &[byte]);
        }
        let released: Vec<Wish> =
            std::iter::from_fn(|| ours.poll()).filter(|wish| matches!(wish, Wish::Release(..))).collect();
        assert_eq!(released, [Wish::Release(notices("ann"), vec![0])]);
    }

    #[test]
    fn a_subscription_ends_when_the_user_is_gone_for_a_while_and_there_are_not_too_many() {
        let (mut ours, _) = subscribed();
        let (ann, nobody) = (BTreeSet::from(["ann"]), BTreeSet::new());
        ours.look(&nobody, Time::from_secs(60));
        ours.look(&ann, Time::from_secs(80));
        ours.look(&nobody, Time::from_secs(90));
        assert_eq!(ours.poll(), None);
        ours.look(&nobody, Time::from_secs(120));
        assert_eq!(ours.poll(), Some(Wish::Release(subscribers("ann"), at(1).to_bytes().to_vec())));
        let names: Vec<String> = (0..500).map(|number| format!("u{number}")).collect();
        let many: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        ours.look(&many, Time::from_secs(200));
        ours.look(&many, Time::from_secs(230));
        assert_eq!(ours.count(), USERS_MAX);
    }
}
