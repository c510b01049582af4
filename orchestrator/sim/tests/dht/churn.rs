//! Hours of coming and going.

use std::time::Duration;

use atoll_core::wire::Address;
use atoll_core::{Rng, Time};
use atoll_sim::Stop;
use atoll_topology::HostId;

use crate::ask::stored;
use crate::town::Town;
use crate::values::held;

const MEMBERS: usize = 100;
const VALUES: usize = 60;
/// What a member stays on average, in seconds.
const STAY: f64 = 600.0;

/// When each host comes or goes next.
struct Churn {
    rng: Rng,
    next: Vec<Time>,
}

impl Churn {
    fn new(town: &Town) -> Self {
        let mut churn = Self { rng: Rng::new([5; 32]).fork("churn"), next: Vec::new() };
        churn.next = town.hosts().iter().map(|_| churn.after(town.world.now())).collect();
        churn
    }

    /// An exponential stay from now on.
    fn after(&mut self, now: Time) -> Time {
        now + Duration::from_secs_f64(-STAY * (1.0 - self.rng.unit()).ln())
    }

    /// Lets members come and go until a time: half crash, the others leave; each that is gone is replaced at once by
    /// another with an address of its own.
    fn run(&mut self, town: &mut Town, until: Time) {
        while let Some(at) = self.next.iter().copied().min().filter(|at| *at <= until) {
            town.world.run_until(at).unwrap();
            let host = self.next.iter().position(|next| *next == at).unwrap();
            self.next[host] = self.after(at);
            // One stays, so that there is somebody to ask.
            if host == 0 {
                continue;
            }
            let how = if self.rng.below(2) == 0 { Stop::Kill } else { Stop::Leave };
            town.stop(HostId(host as u32), how);
            town.world.run_for(Duration::from_millis(100)).unwrap();
            town.world.stop(HostId(host as u32), Stop::Kill);
            let mut bytes = [0; Address::LEN];
            self.rng.fill(&mut bytes);
            let others: Vec<HostId> = (0..3).map(|_| HostId(self.rng.below(MEMBERS) as u32)).collect();
            town.start_at(
                HostId(host as u32),
                Address::from_bytes(bytes),
                &[&[HostId(0)], &others[..]].concat(),
            );
        }
        town.world.run_until(until).unwrap();
    }
}

#[test]
fn two_hours_in_which_members_stay_ten_minutes_lose_no_value() {
    let mut town = Town::settled(MEMBERS, "none", 3);
    let start = town.world.now();
    for number in 0..VALUES {
        let lease = 7300;
        stored(&town.put(
            HostId((number % MEMBERS) as u32),
            (&format!("key {number}"), &format!("{number}")),
            lease,
        ));
    }
    let mut churn = Churn::new(&town);
    let sent =
        |town: &Town| town.hosts().iter().map(|host| town.world.traffic(*host).sent_bytes).sum::<u64>();
    let (mut before, mut incomplete) = (sent(&town), 0);
    for quarter in 1..=8u32 {
        let until = start + Duration::from_secs(u64::from(quarter) * 900 - 100);
        churn.run(&mut town, until);
        let mut lost = Vec::new();
        for number in 0..VALUES {
            let found = town.get(HostId(0), &format!("key {number}"));
            incomplete += usize::from(!found.complete);
            if found.texts() != [format!("{number}")] {
                lost.push((number, found));
            }
        }
        let after = sent(&town);
        let rate = (after - before) as f64 / 900.0 / MEMBERS as f64;
        let (root, copies) = held(&mut town);
        println!(
            "{until}: {root} at roots, {copies} copies, {rate:.0} bytes/s and member, {} lost",
            lost.len()
        );
        assert!(lost.is_empty(), "{lost:?}");
        before = after;
    }
    println!("{incomplete} of {} readings were not complete", 8 * VALUES);
}
