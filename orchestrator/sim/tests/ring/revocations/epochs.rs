//! Whoever is revoked finds nobody any more: the others are found by a salt that it is not told.

use atoll_core::Evidence;
use atoll_core::control::{Command, Reply, State, Status};
use atoll_core::security::{Epoch, SALT_LEN, Salt};
use atoll_sim::Stop;
use atoll_topology::HostId;

use super::{Club, Duration, GROUP, SLOT};

/// The salt whose mark the notice of this number has.
fn epoch(number: u64) -> Epoch {
    Epoch { number, salt: Salt([number as u8; SALT_LEN]) }
}

impl Club {
    fn status(&mut self, host: HostId) -> Option<Status> {
        let Reply::Status(overlays) = self.town.world.command(host, Command::Status) else { return None };
        overlays.into_iter().find(|status| status.overlay == GROUP)
    }

    /// As the group's site would.
    fn tell_salt(&mut self, host: HostId, epoch: Epoch) {
        self.town.world.hand(host, SLOT, Evidence::Epoch(epoch));
    }

    /// Members but for these that are not found by this salt.
    fn elsewhere(&mut self, number: u64, but: &[HostId]) -> Vec<HostId> {
        let hosts: Vec<HostId> = self.members.iter().copied().filter(|host| !but.contains(host)).collect();
        hosts.into_iter().filter(|host| self.knows(*host).is_none_or(|known| known.epoch != number)).collect()
    }
}

#[test]
fn the_revoked_finds_nobody_and_the_others_and_newcomers_find_each_other() {
    let mut club = Club::among(24, 26, "cones", 1).settle();
    let (teller, rogue, newcomer) = (HostId(3), HostId(17), HostId(25));
    club.revoke(teller, rogue);
    club.tell_salt(HostId(5), epoch(1));
    club.run(4);
    assert_eq!(club.elsewhere(1, &[rogue]), [], "members tell each other");
    assert_eq!(club.knows(rogue).unwrap().epoch, 0);
    let shown: f64 = club.town.metric(HostId(9), "atoll_discovery_epoch", GROUP);
    assert!((shown - 1.0).abs() < f64::EPSILON, "{shown}");
    club.town.group_completes_within(Duration::from_secs(60));

    // The last entries of before end with their leases, of half an hour.
    club.run(40 * 60);
    club.town.group_completes_within(Duration::from_secs(60));
    // It sees nobody, and knows better than to take itself for the first.
    let own = club.status(rogue).unwrap();
    assert!(own.state == State::Joining && own.refused.is_some() && own.silent.is_empty(), "{own:?}");
    club.town.stop(rogue, Stop::Kill);
    club.town.let_intrude(rogue);
    club.town.restart(rogue);
    club.town.join_group(newcomer);
    club.town.tell_salt(newcomer, epoch(1));
    club.town.stop(newcomer, Stop::Kill);
    club.town.start(newcomer);
    club.run(120);
    club.town.group_completes_within(Duration::from_secs(60));
    assert_eq!(club.status(rogue).unwrap().discovered, Some(0));
    assert!(club.peers(rogue).is_empty());
    let knocks: f64 = club
        .members
        .clone()
        .iter()
        .filter(|host| **host != rogue)
        .map(|host| club.town.metric(*host, "atoll_drops_total", "revoked"))
        .sum();
    let peers = club.peers(newcomer).len();
    println!("{knocks} knocks in all; the newcomer has {peers} peers");
    assert!(peers >= 4, "{peers}");
}

#[test]
fn who_was_away_is_met_in_the_old_place_for_ten_minutes_and_later_by_the_salt_alone() {
    let mut club = Club::among(20, 22, "cones", 2).settle();
    let (rogue, soon, late) = (HostId(4), HostId(8), HostId(21));
    club.town.stop(soon, Stop::Kill);
    club.run(60);
    club.revoke(HostId(1), rogue);
    club.tell_salt(HostId(2), epoch(1));
    club.run(120);
    assert_eq!(club.elsewhere(1, &[rogue, soon]), []);
    club.town.restart(soon);
    club.run(30);
    assert_eq!(club.knows(soon).unwrap().epoch, 1, "its first peer tells it");
    club.town.group_completes_within(Duration::from_secs(60));

    club.run(45 * 60);
    // Peers that were lost are tried again for long; nobody knows this one.
    club.town.stop(rogue, Stop::Kill);
    club.town.stop(late, Stop::Kill);
    club.town.let_intrude(late);
    club.town.start(late);
    club.run(120);
    assert!(club.peers(late).is_empty(), "nobody is there any more");
    let notice = super::last_kept(&club.disks.borrow()[&HostId(1)]);
    club.tell_salt(late, epoch(1));
    club.town.world.hand(late, SLOT, Evidence::Notice(notice));
    club.run(60);
    assert_eq!(club.knows(late).unwrap().epoch, 1);
    assert!(!club.peers(late).is_empty(), "the salt says where the others are");
}

#[test]
fn revocations_in_a_row_leave_nobody_behind_and_after_a_restart_the_salt_is_known() {
    let mut club = Club::settled(20, "cones", 3);
    let rogues = [HostId(4), HostId(5), HostId(6)];
    for (rogue, number) in rogues.into_iter().zip(1..) {
        club.revoke(HostId(1), rogue);
        club.tell_salt(HostId(number + 10), epoch(u64::from(number)));
        club.run(1);
    }
    club.run(5);
    assert_eq!(club.elsewhere(3, &rogues), []);
    club.town.group_completes_within(Duration::from_secs(60));
    // All of them come back at once, and each knows where the others look.
    for host in club.members.clone() {
        club.town.stop(host, Stop::Kill);
    }
    club.run(5);
    for host in club.members.clone() {
        if !rogues.contains(&host) {
            club.town.restart(host);
        }
    }
    club.town.group_completes_within(Duration::from_secs(120));
    assert_eq!(club.elsewhere(3, &rogues), []);
}

#[test]
fn a_salt_without_the_mark_of_the_notice_moves_nobody() {
    let mut club = Club::settled(10, "none", 4);
    club.revoke(HostId(1), HostId(2));
    club.tell_salt(HostId(3), Epoch { salt: Salt([99; SALT_LEN]), ..epoch(1) });
    club.tell_salt(HostId(3), epoch(2));
    club.run(10);
    assert_eq!(club.elsewhere(0, &[HostId(2)]), []);
    club.tell_salt(HostId(3), epoch(1));
    club.run(5);
    assert_eq!(club.elsewhere(1, &[HostId(2)]), []);
}
