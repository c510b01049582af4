//! How often somebody may try: a bounded table of buckets that fill up again with time. Who may do at once what takes memory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atoll_core::wire::Address;
use tokio::time::Instant;

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remote {
    /// From an IP address.
    Ip(IpAddr),
    /// From the member of the public overlay at this address, who has proved that it is its own.
    Member(Address),
}

impl From<IpAddr> for Remote {
    fn from(address: IpAddr) -> Self {
        Self::Ip(address)
    }
}

/// Buckets of one table. When it is full of such that are not filled up, newcomers share one.
const BUCKETS_MAX: usize = 16_384;

/// How many at once, and how long until one more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) burst: u32,
    pub(crate) every: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// What is left, in parts of `every`.
    left: f64,
    at: Instant,
}

/// One table.
#[derive(Debug)]
pub(crate) struct Limiter<K> {
    rate: Rate,
    table: Mutex<Table<K>>,
}

#[derive(Debug)]
struct Table<K> {
    own: BTreeMap<K, Bucket>,
    shared: Option<Bucket>,
}

impl<K: Ord> Limiter<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, table: Mutex::new(Table { own: BTreeMap::new(), shared: None }) }
    }

    /// Takes one; whether there was one left.
    pub(crate) fn take(&self, key: K, now: Instant) -> bool {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.own.len() >= BUCKETS_MAX && !table.own.contains_key(&key) {
            table.own.retain(|_, bucket| self.refilled(*bucket, now).left < f64::from(self.rate.burst));
        }
        let full = Bucket { left: f64::from(self.rate.burst), at: now };
        let has_room = table.own.len() < BUCKETS_MAX || table.own.contains_key(&key);
        let bucket =
            if has_room { table.own.entry(key).or_insert(full) } else { table.shared.get_or_insert(full) };
        *bucket = self.refilled(*bucket, now);
        let has_one = bucket.left >= 1.0;
        if has_one {
            bucket.left -= 1.0;
        }
        has_one
    }

    /// Gives one back that was taken.
    pub(crate) fn give_back(&self, key: &K) {
        let mut guard = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Table { own, shared } = &mut *guard;
        if let Some(bucket) = own.get_mut(key).or(shared.as_mut()) {
            bucket.left = (bucket.left + 1.0).min(f64::from(self.rate.burst));
        }
    }

    fn refilled(&self, bucket: Bucket, now: Instant) -> Bucket {
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        let left = bucket.left + passed / self.rate.every.as_secs_f64();
        Bucket { left: left.min(f64::from(self.rate.burst)), at: now }
    }
}

/// Groups at once that something long is read for.
const TURNS_MAX: usize = 4;

/// Whose turn it is to send something long: one of each group, and few of all.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<BTreeSet<String>>);

/// A group's turn, until this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    group: String,
}

impl Turns {
    /// Takes the turn of a group, unless somebody has it or there are as many as there may be.
    pub(crate) fn take(self: &Arc<Self>, group: &str) -> Option<Turn> {
        // Names of groups are the same in all letters.
        let group = group.to_ascii_lowercase();
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let may = turns.len() < TURNS_MAX && turns.insert(group.clone());
        may.then(|| Turn { turns: Arc::clone(self), group })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.group);
    }
}

/// What counts as one place: a member, an IPv4 address, or the network of an IPv6 address that one customer has.
pub(crate) fn place(remote: Remote) -> Remote {
    let Remote::Ip(address) = remote else { return remote };
    Remote::Ip(match address.to_canonical() {
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        four => four,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, every: Duration::from_secs(10) };

    #[tokio::test(start_paused = true)]
    async fn a_bucket_runs_dry_and_fills_up_with_time() {
        let limiter = Limiter::new(RATE);
        let start = Instant::now();
        let taken = |at: Duration| limiter.take("a", start + at);
        assert_eq!([0, 0, 0, 0].map(|_| taken(Duration::ZERO)), [true, true, true, false]);
        assert!(limiter.take("b", start), "others have buckets of their own");
        assert!(!taken(Duration::from_secs(9)) && taken(Duration::from_secs(10)));
        assert_eq!([1, 2, 3, 4].map(|_| taken(Duration::from_secs(3600))), [true, true, true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_is_there_again_and_no_more_than_that() {
        let limiter = Limiter::new(RATE);
        let now = Instant::now();
        limiter.give_back(&"a");
        assert_eq!([0, 0, 0, 0].map(|_| limiter.take("a", now)), [true, true, true, false]);
        limiter.give_back(&"a");
        assert_eq!([0, 0].map(|_| limiter.take("a", now)), [true, false]);
        (0..9).for_each(|_| limiter.give_back(&"a"));
        assert_eq!([0, 0, 0, 0].map(|_| limiter.take("a", now)), [true, true, true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_strangers_does_not_reset_those_that_are_known() {
        let limiter = Limiter::new(RATE);
        let now = Instant::now();
        while limiter.take(0, now) {}
        (1..BUCKETS_MAX * 2).for_each(|key| {
            limiter.take(key, now);
        });
        assert!(!limiter.take(0, now), "it is still empty");
        assert!(!limiter.take(BUCKETS_MAX * 3, now), "newcomers share one bucket");
        assert!(limiter.table.lock().unwrap().own.len() <= BUCKETS_MAX);
        let later = now + Duration::from_secs(60);
        assert!(limiter.take(BUCKETS_MAX * 3, later), "who is filled up again makes room");
    }

    #[test]
    fn one_of_each_group_has_a_turn_four_of_all_and_they_get_it_back() {
        let turns = Arc::new(Turns::default());
        let first = turns.take("a").unwrap();
        assert!(turns.take("a").is_none() && turns.take("A").is_none(), "it is one group");
        let others: Vec<Turn> = ["b", "c", "d"].iter().map(|group| turns.take(group).unwrap()).collect();
        assert!(turns.take("e").is_none());
        drop(first);
        let last = turns.take("e").unwrap();
        drop((others, last));
        assert!(turns.0.lock().unwrap().is_empty(), "nobody is remembered who has none");
    }

    #[test]
    fn one_customer_of_ipv6_is_one_place() {
        let place = |text: &str| place(Remote::Ip(text.parse().unwrap()));
        assert_eq!(place("2001:db8:1:2::1"), place("2001:db8:1:2:ffff::9"));
        assert_ne!(place("2001:db8:1:2::1"), place("2001:db8:1:3::1"));
        assert_ne!(place("192.0.2.1"), place("192.0.2.2"));
        assert_eq!(place("::ffff:192.0.2.1"), place("192.0.2.1"));
    }
}
