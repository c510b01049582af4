//! Revocations in a private overlay: all learn of them, whoever is revoked is out and stays out, and nobody forgets.

mod announced;
mod epochs;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use atoll_core::control::{Command, EventKind, FailureKind, Peer, Reply, Revocations, Spread};
use atoll_core::security::{
    Authority, GroupSecret, Notice, Refusal, SALT_LEN, Salt, Security, SignedList, UserList, sign_list,
};
use atoll_core::wire::Address;
use atoll_core::{Evidence, Time};
use atoll_sim::Stop;
use atoll_topology::{Fault, HostId, Loss};

use crate::makers::Ca;
use crate::town::Town;

const GROUP: &str = "group";
/// The overlay's place in each configuration.
const SLOT: u8 = 1;
const SECRET: [u8; 32] = [7; 32];
/// After all that the simulator's wall clocks show, in seconds since 1970.
const END: i64 = 4_000_000_000;

/// What each host has on its disk.
type Disks = Rc<RefCell<BTreeMap<HostId, Vec<Evidence>>>>;

/// A private overlay whose members are modelled: the user of each is called by its address.
struct Club {
    town: Town,
    ca: Rc<Ca>,
    disks: Disks,
    members: Vec<HostId>,
    number: u64,
}

impl Club {
    /// Members that are settled in a population of NATs.
    fn settled(hosts: u32, population: &str, seed: u8) -> Self {
        Self::new(hosts, population, seed).settle()
    }

    fn settle(self) -> Self {
        let mut club = self;
        club.town.start_all();
        club.town.completes_within(Duration::from_secs(60));
        club.town.group_completes_within(Duration::from_secs(120));
        club.town.world.run_for(Duration::from_secs(60)).unwrap();
        club
    }

    fn new(hosts: u32, population: &str, seed: u8) -> Self {
        Self::among(hosts, hosts, population, seed)
    }

    /// The first `hosts` of `all` are members; the others are in the public overlay alone.
    fn among(hosts: u32, all: u32, population: &str, seed: u8) -> Self {
        let ca = Rc::new(Ca::until(END));
        let (disks, own) = (Disks::default(), Rc::clone(&ca));
        let disk = Rc::clone(&disks);
        let vouch = move |host: HostId, _: Address| {
            let mut authority = Authority::new(&own.der(), GROUP).unwrap();
            for evidence in disk.borrow().get(&host).into_iter().flatten() {
                match evidence {
                    Evidence::Notice(notice) => drop(authority.take_notice(notice).unwrap()),
                    Evidence::List(list) => drop(authority.take_user_list(list).unwrap()),
                    // The town tells a member its salt.
                    Evidence::Epoch(_) => {}
                }
            }
            Security::modelled().in_group(authority, Some(GroupSecret::new(SECRET)))
        };
        let members: Vec<HostId> = (0..hosts).map(HostId).collect();
        let town = Town::new(all as usize, population, seed).secured("modelled").vouched(vouch);
        Self { town: town.grouped(members.clone()), ca, disks, members, number: 0 }
    }

    fn address(&mut self, host: HostId) -> Address {
        let Reply::Status(overlays) = self.town.world.command(host, Command::Status) else {
            panic!("status")
        };
        overlays.iter().find(|status| status.overlay == GROUP).unwrap().address
    }

    /// The next notice, that a host's user is revoked.
    fn notice_of(&mut self, host: HostId) -> Notice {
        let user = self.address(host).to_string();
        self.notice_for(&user)
    }

    /// The next notice, that a user is revoked.
    fn notice_for(&mut self, user: &str) -> Notice {
        self.number += 1;
        Notice {
            group: GROUP.to_owned(),
            number: self.number,
            after: self.number - 1,
            at: 1_767_225_600,
            digest: [0; 32],
            mark: Salt([self.number as u8; SALT_LEN]).mark(),
            user: user.to_owned(),
            serials: Vec::new(),
        }
    }

    /// Has a member tell the others of a notice.
    fn tell(&mut self, teller: HostId, notice: &[u8]) -> Reply {
        self.tell_by(Spread::Broadcast, teller, notice)
    }

    fn tell_by(&mut self, by: Spread, teller: HostId, notice: &[u8]) -> Reply {
        let (overlay, notice) = (GROUP.to_owned(), notice.to_vec());
        self.town.world.command(teller, Command::Revoke { overlay, notice, by })
    }

    fn revoke(&mut self, teller: HostId, rogue: HostId) {
        let notice = self.notice_of(rogue).sign(&self.ca.key).unwrap();
        let number = self.number;
        assert_eq!(self.tell(teller, &notice), Reply::Revoked { number, fresh: true });
        self.town.put_out(rogue);
    }

    /// What a host's member knows; nothing if it does not run.
    fn knows(&mut self, host: HostId) -> Option<Revocations> {
        let Reply::Status(overlays) = self.town.world.command(host, Command::Status) else { return None };
        overlays.into_iter().find(|status| status.overlay == GROUP)?.revocations
    }

    /// Members but for these that do not know of so many revocations.
    fn ignorant(&mut self, count: u64, but: &[HostId]) -> Vec<HostId> {
        let hosts: Vec<HostId> = self.members.iter().copied().filter(|host| !but.contains(host)).collect();
        hosts.into_iter().filter(|host| self.knows(*host).is_none_or(|known| known.count != count)).collect()
    }

    fn peers(&mut self, host: HostId) -> Vec<Peer> {
        match self.town.world.command(host, Command::Peers { overlay: GROUP.to_owned() }) {
            Reply::Peers(peers) => peers,
            other => panic!("{other:?}"),
        }
    }

    /// Members that have an edge to a host's member.
    fn linked(&mut self, address: Address, but: &[HostId]) -> Vec<HostId> {
        let hosts: Vec<HostId> = self.members.iter().copied().filter(|host| !but.contains(host)).collect();
        let has = |club: &mut Self, host| club.peers(host).iter().any(|peer| peer.address == address);
        hosts.into_iter().filter(|host| has(self, *host)).collect()
    }

    fn lose(&mut self, ratio: f64) {
        self.town.world.apply(&Fault::Loss { sites: None, loss: Loss { independent: ratio, burst: None } });
    }

    fn run(&mut self, seconds: u64) {
        self.town.world.run_for(Duration::from_secs(seconds)).unwrap();
        for kept in self.town.world.take_kept() {
            assert_eq!(kept.overlay, SLOT);
            if let Evidence::Epoch(epoch) = kept.evidence {
                self.town.tell_salt(kept.host, epoch);
            }
            self.disks.borrow_mut().entry(kept.host).or_default().push(kept.evidence);
        }
    }

    /// The authority's list of these users.
    fn list(&mut self, users: &BTreeSet<String>) -> Vec<u8> {
        self.number += 1;
        let users = users.iter().map(|user| (user.clone(), 1)).collect();
        let number = i64::try_from(self.number).unwrap();
        let text = UserList { group: GROUP.to_owned(), number, at: 1, users, serials: Vec::new() }.text();
        SignedList::join(&text, &sign_list(&self.ca.key, &text).unwrap())
    }
}

#[test]
fn all_know_within_seconds_and_the_rogue_is_out_however_often_it_comes_back() {
    let mut club = Club::settled(60, "cones", 1);
    club.lose(0.05);
    let (teller, rogue) = (HostId(3), HostId(17));
    let address = club.address(rogue);
    assert!(!club.linked(address, &[rogue]).is_empty());
    let since = club.town.world.now();
    club.revoke(teller, rogue);
    club.run(5);
    assert_eq!(club.ignorant(1, &[rogue]), []);
    let last = club.members.clone().into_iter().filter_map(|host| club.knows(host)?.learnt_seconds);
    let last = last.fold(0.0, f64::max) - since.since(Time::ZERO).as_secs_f64();
    println!("the last knew after {last:.2} s");
    assert_eq!(club.linked(address, &[rogue]), []);
    assert!(club.knows(rogue).unwrap().count == 0, "nobody tells the revoked");
    // It knows the secret and where everybody is, and tries again and again.
    let refused = |club: &mut Club| -> f64 {
        club.members.clone().iter().map(|host| club.town.metric(*host, "atoll_drops_total", "revoked")).sum()
    };
    let before = refused(&mut club);
    for _ in 0..12 {
        club.run(10);
        assert_eq!(club.linked(address, &[rogue]), []);
        assert!(club.peers(rogue).is_empty());
    }
    assert!(refused(&mut club) > before, "it did not even try");
    club.town.group_completes_within(Duration::from_secs(60));
}

#[test]
fn a_rogue_that_could_not_hear_that_it_is_out_hears_so_when_it_next_sends() {
    let mut club = Club::settled(20, "none", 5);
    let (teller, rogue) = (HostId(1), HostId(9));
    let (address, had) = (club.address(rogue), club.peers(rogue).len());
    let site = |host: HostId| club.town.world.internet().host(host).site;
    let others = club.members.iter().copied().filter(|host| *host != rogue);
    let sides = [vec![site(rogue)], others.map(site).collect()];
    club.town.world.apply(&Fault::Partition { name: "cut".to_owned(), sides });
    club.revoke(teller, rogue);
    club.run(2);
    assert_eq!(club.linked(address, &[rogue]), []);
    let believes = club.peers(rogue).len();
    assert!(believes > had / 2, "{believes} of {had}");
    club.town.world.apply(&Fault::Heal { name: "cut".to_owned() });
    let since = club.town.world.now();
    club.run(20);
    let told = club.town.told_in(rogue, GROUP, since).into_iter();
    let lost: Vec<String> = told
        .filter_map(|kind| match kind {
            EventKind::PeerLost { why, .. } => Some(why),
            _ => None,
        })
        .collect();
    let heard = lost.iter().filter(|why| *why == "the peer says that our membership is revoked").count();
    assert!(2 * heard > believes, "{lost:?}");
}

#[test]
fn every_living_member_knows_within_15_s_though_a_tenth_dies_meanwhile() {
    for seed in 1..4 {
        let mut club = Club::settled(100, "cones", seed);
        club.lose(0.02);
        let dead: Vec<HostId> = (0..100).skip(seed as usize).step_by(10).map(HostId).collect();
        let (teller, rogue) = (HostId(5 + u32::from(seed)), HostId(4 + u32::from(seed)));
        let address = club.address(rogue);
        club.revoke(teller, rogue);
        club.town.world.run_for(Duration::from_millis(200)).unwrap();
        dead.iter().for_each(|host| club.town.stop(*host, Stop::Kill));
        club.run(15);
        let but: Vec<HostId> = dead.iter().copied().chain([rogue]).collect();
        assert_eq!(club.ignorant(1, &but), []);
        assert_eq!(club.linked(address, &but), []);
    }
}

#[test]
fn what_is_forged_foreign_late_or_said_before_changes_nothing() {
    let mut club = Club::settled(20, "none", 2);
    let (teller, victim) = (HostId(1), HostId(2));
    let notice = club.notice_of(victim);
    let forged = notice.sign(&Ca::until(END).key).unwrap();
    let foreign = Notice { group: "chess".to_owned(), ..notice.clone() }.sign(&club.ca.key).unwrap();
    let late = Notice { at: END as u64 + 1, ..notice.clone() }.sign(&club.ca.key).unwrap();
    let refusals = [
        (forged, Refusal::UnknownAuthority),
        (foreign, Refusal::WrongGroup),
        (late, Refusal::Expired),
        (b"no notice".to_vec(), Refusal::Malformed),
    ];
    for (bytes, refusal) in refusals {
        let failed = Reply::failed(FailureKind::Refused, refusal.to_string());
        assert_eq!(club.tell(teller, &bytes), failed);
        club.town.world.hand(teller, SLOT, Evidence::Notice(bytes));
    }
    let list = club.list(&BTreeSet::from(["ann".to_owned()]));
    let changed = [&list[..list.len() - 1], b"9"].concat();
    club.town.world.hand(teller, SLOT, Evidence::List(changed.into()));
    club.run(5);
    assert!(club.ignorant(0, &[]).is_empty() && club.disks.borrow().is_empty());

    // Said again long after, a notice goes no further than to the peers of whoever says it.
    let rogue = HostId(9);
    club.revoke(teller, rogue);
    let again = club.disks.borrow().get(&teller).cloned();
    assert!(again.is_none(), "nothing is kept before it is carried out");
    club.run(120);
    let Some(Evidence::Notice(said)) = club.disks.borrow()[&teller].first().cloned() else { panic!("kept") };
    let received = |club: &mut Club| -> f64 {
        let series = |host: &HostId| club.town.metric(*host, "atoll_notices_received_total", GROUP);
        club.members.clone().iter().map(series).sum()
    };
    let (before, peers) = (received(&mut club), club.peers(HostId(4)).len() as f64);
    assert_eq!(club.tell(HostId(4), &said), Reply::Revoked { number: club.number, fresh: false });
    club.run(70);
    // Itself, and each peer once.
    assert!(received(&mut club) - before <= peers + 1.0, "{} of {peers}", received(&mut club) - before);
    assert_eq!(club.ignorant(1, &[rogue]), []);
}

#[test]
fn who_was_away_learns_it_in_the_first_link_and_does_not_forget_it_when_it_is_away_again() {
    let mut club = Club::settled(30, "cones", 3);
    let (away, rogue) = (HostId(11), HostId(20));
    let address = club.address(rogue);
    club.town.stop(away, Stop::Kill);
    club.run(60);
    for one in [rogue, HostId(21), HostId(22)] {
        club.revoke(HostId(2), one);
    }
    club.run(60);
    club.town.restart(away);
    let since = club.town.world.now();
    club.run(20);
    let known = club.knows(away).unwrap();
    assert_eq!((known.count, known.number), (3, 3));
    assert_eq!(club.linked(address, &[rogue]), []);
    println!("it knew {:.2} s after its start", known.learnt_seconds.unwrap());
    let told = |kind: &EventKind| matches!(kind, EventKind::PeerConnected { .. });
    let linked = club.town.first(away, GROUP, told).map(|at| at.since(Time::ZERO));
    assert!(linked.is_some() && known.learnt_seconds.unwrap() < 20.0, "{since}");

    // Everybody else is gone, the rogue is not.
    for host in club.members.clone() {
        if host != rogue {
            club.town.stop(host, Stop::Kill);
        }
    }
    club.run(30);
    club.town.restart(away);
    club.run(120);
    assert_eq!(club.knows(away).unwrap().count, 3);
    assert!(club.peers(away).is_empty() && club.peers(rogue).is_empty());
}

#[test]
fn a_list_of_thousands_reaches_everybody_in_parts_and_an_older_one_takes_nothing_back() {
    let mut club = Club::settled(30, "cones", 4);
    let rogue = HostId(12);
    let address = club.address(rogue);
    let mut users: BTreeSet<String> = (0..4000).map(|number| format!("former-{number:05}")).collect();
    let older = club.list(&users);
    users.insert(address.to_string());
    let newer = club.list(&users);
    assert!(newer.len() > 80_000);
    club.lose(0.02);
    club.town.world.hand(HostId(3), SLOT, Evidence::List(newer.into()));
    club.town.put_out(rogue);
    // A part that is lost for good is waited for 30 s, and then the list is taken from somebody else.
    club.run(90);
    assert_eq!(club.ignorant(4001, &[rogue]), []);
    assert_eq!(club.linked(address, &[rogue]), []);
    club.town.world.hand(HostId(3), SLOT, Evidence::List(older.into()));
    club.run(10);
    assert_eq!(club.ignorant(4001, &[rogue]), []);
    // A notice that comes after it is understood, and one who comes later learns both.
    let late = HostId(7);
    club.town.stop(late, Stop::Kill);
    club.disks.borrow_mut().remove(&late);
    club.run(30);
    club.revoke(HostId(5), HostId(13));
    club.run(10);
    club.town.restart(late);
    club.run(40);
    assert_eq!(club.ignorant(4002, &[rogue, HostId(13)]), []);
    assert_eq!(club.knows(late).unwrap().number, club.number);
}

#[test]
fn the_dht_tells_the_neighbours_who_subscribed_and_they_tell_all_others() {
    let mut club = Club::settled(40, "cones", 5);
    club.run(60);
    let subscribed: f64 = club.town.metric(HostId(3), "atoll_revocation_subscriptions", GROUP);
    assert!((6.0..=8.0).contains(&subscribed), "{subscribed} subscriptions");
    let (teller, rogue) = (HostId(3), HostId(19));
    let address = club.address(rogue);
    let notice = club.notice_of(rogue).sign(&club.ca.key).unwrap();
    let number = club.number;
    assert_eq!(club.tell_by(Spread::Dht, teller, &notice), Reply::Revoked { number, fresh: true });
    club.run(5);
    assert_eq!(club.ignorant(1, &[rogue]), []);
    assert_eq!(club.linked(address, &[rogue]), []);
    // Who keeps trying finds nobody who has not heard of it.
    club.run(300);
    assert_eq!(club.linked(address, &[rogue]), []);
}

/// The last notice on a disk.
fn last_kept(disk: &[Evidence]) -> Vec<u8> {
    let notice = |one: &Evidence| match one {
        Evidence::Notice(notice) => Some(notice.clone()),
        _ => None,
    };
    disk.iter().rev().find_map(notice).expect("it was told one")
}
