//! A site that is in the public overlay alone has the members told: some confirm, and all know.

use atoll_core::control::{FailureKind, Reply};
use atoll_core::{RequestId, Telling, Time};
use atoll_sim::Stop;
use atoll_topology::HostId;

use super::{BTreeSet, Ca, Club, END, GROUP, Refusal, SECRET};

const MEMBERS: u32 = 30;
const SITE: HostId = HostId(34);

impl Club {
    fn with_site(seed: u8) -> Self {
        Self::among(MEMBERS, 36, "cones", seed).settle()
    }

    /// What the site knows: that these hosts' nodes are revoked.
    fn telling(&mut self, notices: &[Vec<u8>], revoked: &[HostId]) -> Telling {
        Telling {
            group: GROUP.to_owned(),
            secret: SECRET,
            authority: self.ca.der(),
            list: None,
            notices: notices.to_vec(),
            epochs: vec![None],
            members: BTreeSet::new(),
            revoked: revoked.iter().map(|host| self.address(*host)).collect(),
        }
    }

    /// The next notice, signed.
    fn signed(&mut self, rogue: HostId) -> Vec<u8> {
        self.notice_of(rogue).sign(&self.ca.key).unwrap()
    }

    fn announce(&mut self, telling: Telling) -> RequestId {
        self.town.world.announce(SITE, telling)
    }

    /// How long after `since` the last member knew, in seconds.
    fn last_knew(&mut self, since: Time) -> f64 {
        let hosts = self.members.clone();
        let last = hosts.into_iter().filter_map(|host| self.knows(host)?.learnt_seconds).fold(0.0, f64::max);
        last - since.since(Time::ZERO).as_secs_f64()
    }
}

#[test]
fn all_members_know_within_seconds_and_the_revoked_one_is_not_told() {
    let mut club = Club::with_site(1);
    club.lose(0.05);
    let rogue = HostId(17);
    let address = club.address(rogue);
    let notice = club.signed(rogue);
    let telling = club.telling(&[notice], &[rogue]);
    let since = club.town.world.now();
    let id = club.announce(telling);
    club.town.put_out(rogue);
    club.run(8);
    assert_eq!(club.ignorant(1, &[rogue]), []);
    println!("the last knew after {:.2} s", club.last_knew(since));
    assert_eq!(club.linked(address, &[rogue]), []);
    assert_eq!(club.knows(rogue).unwrap().count, 0, "nobody tells the revoked");
    let (at, reply) = club.town.world.take_reply(id).expect("three have confirmed by now");
    println!("three had confirmed after {:.2} s", at.since(since).as_secs_f64());
    assert_eq!(reply, Reply::Announced { members: 3 });
    club.town.group_completes_within(std::time::Duration::from_secs(60));
}

#[test]
fn members_who_died_lately_hold_it_up_for_seconds_only() {
    let mut club = Club::with_site(2);
    let dead: Vec<HostId> = (0..MEMBERS).filter(|host| host % 3 != 0).map(HostId).collect();
    dead.iter().for_each(|host| club.town.stop(*host, Stop::Kill));
    // The ring of the others heals; the entries of the dead are there for minutes.
    club.run(45);
    club.town.group_completes_within(std::time::Duration::from_secs(60));
    let rogue = HostId(6);
    let notice = club.signed(rogue);
    let telling = club.telling(&[notice], &[rogue]);
    let since = club.town.world.now();
    let id = club.announce(telling);
    club.run(30);
    let but: Vec<HostId> = dead.into_iter().chain([rogue]).collect();
    assert_eq!(club.ignorant(1, &but), []);
    println!("the last knew after {:.2} s", club.last_knew(since));
    assert_eq!(club.town.world.take_reply(id).map(|(_, reply)| reply), Some(Reply::Announced { members: 3 }));
}

#[test]
fn whoever_is_revoked_confirms_in_vain_under_whatever_key() {
    let mut club = Club::with_site(3);
    let rogues: Vec<HostId> = (0..MEMBERS - 2).map(HostId).collect();
    let users = rogues.iter().map(|host| club.address(*host).to_string()).collect();
    let list = club.list(&users);
    let notice = club.signed(rogues[0]);
    // The site knows the users and not their nodes: it tells any of them.
    let telling = Telling { list: Some(list), ..club.telling(&[notice], &[]) };
    let id = club.announce(telling);
    club.run(60);
    let honest = [HostId(MEMBERS - 2), HostId(MEMBERS - 1)];
    assert!(honest.iter().all(|host| club.knows(*host).unwrap().count >= 1));
    assert_eq!(club.town.world.take_reply(id), None, "two of two, and the others may be back");
    club.run(260);
    assert_eq!(club.town.world.take_reply(id).map(|(_, reply)| reply), Some(Reply::Announced { members: 2 }));
}

#[test]
fn where_nobody_is_nobody_is_told_and_the_site_hears_so() {
    let mut club = Club::with_site(4);
    for host in club.members.clone() {
        club.town.stop(host, Stop::Kill);
    }
    club.run(60);
    let id = {
        let notice = club.notice_for("eve").sign(&club.ca.key).unwrap();
        let telling = club.telling(&[notice], &[]);
        club.announce(telling)
    };
    let since = club.town.world.now();
    club.run(150);
    let (at, reply) = club.town.world.take_reply(id).expect("it is over");
    println!("it was over after {:.2} s", at.since(since).as_secs_f64());
    assert_eq!(reply, Reply::Announced { members: 0 });
    // Once the entries have ended there is nobody to be tried.
    club.run(1800);
    let id = {
        let notice = club.notice_for("bob").sign(&club.ca.key).unwrap();
        let telling = club.telling(&[notice], &[]);
        club.announce(telling)
    };
    club.run(5);
    assert_eq!(club.town.world.take_reply(id).map(|(_, reply)| reply), Some(Reply::Announced { members: 0 }));
}

#[test]
fn members_who_come_back_within_minutes_are_told() {
    let mut club = Club::with_site(5);
    // The public members that stay know the first ones, and try them again.
    let (rogue, back) = (HostId(3), [HostId(0), HostId(1), HostId(2), HostId(5)]);
    let notice = club.signed(rogue);
    let telling = club.telling(&[notice], &[rogue]);
    for host in club.members.clone() {
        club.town.stop(host, Stop::Kill);
    }
    let mut id = club.announce(telling.clone());
    for second in 0..220 {
        if second == 100 {
            back.iter().for_each(|host| club.town.restart(*host));
        }
        // A site tries again what nobody confirmed.
        if let Some((_, Reply::Announced { members: 0 })) = club.town.world.take_reply(id) {
            id = club.announce(telling.clone());
        }
        club.run(1);
    }
    assert!(back.iter().all(|host| club.knows(*host).unwrap().count == 1));
}

#[test]
fn what_others_make_up_reaches_nobody() {
    let mut club = Club::with_site(6);
    let notice = club.notice_of(HostId(3));
    let forged = notice.sign(&Ca::until(END).key).unwrap();
    let id = {
        let telling = club.telling(&[forged], &[]);
        club.announce(telling)
    };
    let failed = Reply::failed(FailureKind::Refused, Refusal::UnknownAuthority.to_string());
    assert_eq!(club.town.world.take_reply(id).map(|(_, reply)| reply), Some(failed));
    // Without the secret not even the site finds anybody.
    let signed = notice.sign(&club.ca.key).unwrap();
    let telling = Telling { secret: [8; 32], ..club.telling(&[signed], &[]) };
    club.announce(telling);
    club.run(20);
    assert_eq!(club.ignorant(0, &[]), []);
    let heard: f64 = club
        .members
        .clone()
        .iter()
        .map(|host| club.town.metric(*host, "atoll_announcements_heard_total", GROUP))
        .sum();
    assert!(heard.abs() < f64::EPSILON, "{heard}");
}
