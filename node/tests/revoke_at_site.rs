//! Somebody is revoked at a site: its member of the public overlay has the group told, and the salt changes by which its members
//! are found. The members look for lists so seldom here that they do not learn it by themselves.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use atoll_core::control::Revocations;
use common::group::text;
use common::site::Site;
use common::town::{Town, meet};
use common::{Running, program, until, verb};
use serde_json::Value;

const USERS: [&str; 3] = ["bob", "cleo", "eve"];

/// A site with or without a member of the public overlay, and a group of `ann` and three others.
struct Club {
    town: Town,
    others: [Running; 2],
    config: PathBuf,
}

impl Club {
    fn new(beside: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let public = Running::start(&[]);
        let others = [(); 2].map(|()| Running::start(&[public.listen]));
        let config = folder.path().join("site.yaml");
        let overlay = format!("overlays: [{{name: public, bootstraps: [\"{}\"]}}]", public.listen);
        fs::write(&config, format!("listen: \"127.0.0.1:0\"\ncontrol: off\n{overlay}\n")).unwrap();
        let mut flags = vec!["--bootstrap".to_owned(), public.listen.to_string()];
        if beside {
            flags.extend(["--config".to_owned(), text(&config).to_owned()]);
        }
        let site = Site::start(folder.path(), &flags.iter().map(String::as_str).collect::<Vec<_>>());
        Self { town: Town::found(folder, public, (site, flags)), others, config }
    }

    /// A node of each user, the last of them Eve's.
    fn members(&self) -> Vec<Running> {
        let mut tokens = vec![("ann", self.town.token.clone())];
        tokens.extend(USERS.map(|user| (user, self.town.member(user))));
        tokens.iter().for_each(|(user, token)| drop(self.town.file(token, &format!("{user}.atoll"))));
        let nodes: Vec<Running> = tokens.iter().map(|(user, _)| self.join(user)).collect();
        meet(&nodes.iter().collect::<Vec<_>>());
        nodes
    }

    fn join(&self, user: &str) -> Running {
        let (file, data) = (self.town.path(&format!("{user}.atoll")), self.town.path(user));
        let flags = ["--listen", "127.0.0.1:0", "--poll", "10 min", "--data", text(&data)];
        let mut node = Running::start_unready(program(&["join", text(&file)]), &flags);
        node.wait_until_ready();
        node
    }

    fn epoch_file(&self, user: &str) -> PathBuf {
        self.town.path(user).join("node.epoch")
    }
}

fn known(node: &Running) -> Option<Revocations> {
    node.status_in("chess")?.revocations
}

/// Waits until all of these were told of a revocation after the one with this number, and are found by the same salt; gives the
/// number of its notice.
#[track_caller]
fn all_know(nodes: &[Running], after: u64) -> u64 {
    until("all know, and have the salt", || {
        let known: Vec<Revocations> = nodes.iter().map(known).collect::<Option<_>>()?;
        let first = known.first()?.epoch;
        known.iter().all(|one| one.count > 0 && one.epoch == first && first > after).then_some(first)
    })
}

#[test]
fn a_user_who_is_revoked_at_the_site_is_out_within_seconds_and_finds_nobody() {
    let club = Club::new(true);
    let mut nodes = club.members();
    let eve = nodes.pop().unwrap();
    assert!(!club.epoch_file("ann").exists(), "nobody was revoked");
    let since = Instant::now();
    club.town.revoke("eve");
    until("eve is out", || eve.peers_in("chess").is_empty().then_some(()));
    until("all know", || {
        nodes.iter().all(|node| known(node).is_some_and(|known| known.count >= 1)).then_some(())
    });
    println!("all knew after {:?}", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
    let number = all_know(&nodes, 0);
    println!("and had the salt after {:?}", since.elapsed());
    for user in ["ann", "bob", "cleo"] {
        let kept = club.epoch_file(user);
        assert_eq!(fs::metadata(&kept).unwrap().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(&kept).unwrap().starts_with(&format!("{number} ")));
    }
    assert!(!club.epoch_file("eve").exists());
    assert_eq!(nodes[1].metric("atoll_discovery_epoch{overlay=\"chess\"}"), number as f64);
    let shown = verb(&["status", "--control", &nodes[0].control.to_string()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(&format!("the salt since notice {number}")), "{shown}");

    // Two come back where the third one looks for them, and a newcomer is told the salt at once.
    drop(nodes.drain(1..));
    nodes.extend(["bob", "cleo"].map(|user| club.join(user)));
    let token = club.town.member("zoe");
    club.town.file(&token, "zoe.atoll");
    nodes.push(club.join("zoe"));
    assert!(fs::read_to_string(club.epoch_file("zoe")).unwrap().starts_with(&format!("{number} ")));
    meet(&nodes.iter().collect::<Vec<_>>());
    assert!(eve.peers_in("chess").is_empty());
    drop(club.others);
}

#[test]
fn what_nobody_was_told_is_told_after_a_restart_of_the_site() {
    let mut club = Club::new(false);
    let mut nodes = club.members();
    let eve = nodes.pop().unwrap();
    club.town.revoke("eve");
    std::thread::sleep(Duration::from_secs(2));
    assert!(nodes.iter().all(|node| known(node).unwrap().count == 0), "there is nobody to tell them");
    let bootstrap = club.town.public.listen.to_string();
    let flags = ["--bootstrap", &bootstrap, "--config", text(&club.config)];
    let folder = club.town.folder.path().to_owned();
    club.town.site.start_again(&folder, &flags);
    until("eve is out", || eve.peers_in("chess").is_empty().then_some(()));
    let first = all_know(&nodes, 0);
    // What was told is not told again, and what comes next is.
    let place = "/api/v1/groups/chess/members/cleo";
    club.town.site.ask("DELETE", place, (&club.town.token, &Value::Null));
    let cleo = nodes.pop().unwrap();
    until("cleo is out", || cleo.peers_in("chess").is_empty().then_some(()));
    all_know(&nodes, first);
}

#[test]
fn a_member_whose_salt_was_lost_asks_for_it_again() {
    let club = Club::new(true);
    let mut nodes = club.members();
    nodes.pop();
    club.town.revoke("eve");
    let number = all_know(&nodes, 0);
    drop(nodes);
    fs::remove_file(club.epoch_file("bob")).unwrap();
    let bob = club.join("bob");
    until("it has it again", || (known(&bob)?.epoch == number).then_some(()));
    until("and keeps it", || club.epoch_file("bob").exists().then_some(()));
}
