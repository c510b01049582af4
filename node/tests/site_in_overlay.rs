//! A site without a public web server: real nodes find it in the public overlay by what their group's authority says there, and join,
//! wait, renew and bring lists home over the ring.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use atoll_core::control::{Command, DhtValue, Reply, State};
use atoll_core::security::address_of;
use atoll_core::wire::Address;
use atoll_site::{MemberFile, SITE_KEY, Statement};
use common::group::{Groups, private, text};
use common::site::Site;
use common::town::{Town, enrolment, meet};
use common::{Running, get, ring, until, verb};
use openssl::x509::X509;
use serde_json::{Value, json};

/// A URL of a port where nobody listens.
const NOWHERE: &str = "https://127.0.0.1:1";

/// A site in a public overlay, whose pages only the test knows.
struct Place {
    town: Town,
    others: Vec<Running>,
    metrics: SocketAddr,
}

impl std::ops::Deref for Place {
    type Target = Town;

    fn deref(&self) -> &Town {
        &self.town
    }
}

impl Place {
    /// With files that name a URL which leads nowhere.
    fn new(flags: &[&str]) -> Self {
        Self::with(&[&["--url", NOWHERE], flags].concat())
    }

    fn with(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut others = ring(4);
        let public = others.remove(0);
        let (bootstrap, config) = (public.listen.to_string(), folder.path().join("site.yaml"));
        let overlay = format!("overlays: [{{name: public, bootstraps: [\"{bootstrap}\"]}}]\n");
        // The port is free for the moment; nothing else of the test asks for it.
        let metrics = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text_of = format!("listen: 127.0.0.1:0\ncontrol: off\nmetrics: \"{metrics}\"\n{overlay}");
        fs::write(&config, text_of).unwrap();
        let all = [&["--config", text(&config)], flags].concat();
        let site = Site::start(folder.path(), &all);
        let town = Town::found(folder, public, (site, all.iter().map(ToString::to_string).collect()));
        let (place, start) = (Self { town, others, metrics }, Instant::now());
        let authority = place.authority();
        until("the site is announced", || place.said(authority));
        println!("from the founding of the group until the site is found: {:?}", start.elapsed());
        place
    }

    /// The address of the group's authority.
    fn authority(&self) -> Address {
        let file = self.site.ask("GET", "/api/v1/groups/chess/file", (&self.token, &Value::Null));
        let root = X509::from_pem(MemberFile::read(&file).unwrap().group.authority.as_bytes()).unwrap();
        address_of(&root.public_key().unwrap()).unwrap()
    }

    /// What the authority says in the DHT, as another member finds it.
    fn said(&self, authority: Address) -> Option<DhtValue> {
        let (overlay, key) = ("public".to_owned(), SITE_KEY.to_owned());
        let get = Command::DhtGet { overlay, key, owner: Some(authority), after: None };
        match self.others[1].command(&get) {
            Reply::DhtValues { values, .. } => values.into_iter().next(),
            other => panic!("{other:?}"),
        }
    }

    /// What the site says of its group.
    fn said_of(&self, what: &str) -> String {
        self.site.ask("GET", &format!("/api/v1/groups/chess/{what}"), (&self.token, &Value::Null))
    }

    fn member_of(said: &DhtValue) -> Address {
        Statement::read(&said.value).unwrap().member
    }
}

/// Waits until a node that began without a certificate is in the group; what it says of the site meanwhile is printed.
#[track_caller]
fn in_group(node: &mut Running) {
    let start = Instant::now();
    // Its certificate comes when it is in the public overlay already, and it starts anew then.
    let line = node.wait_for_log("certificate from the site");
    println!("certificate after {:?}, by {}", start.elapsed(), line["by"]);
    node.wait_for_log("starting anew with this membership");
    node.wait_until_ready();
    until("it is connected in the group", || {
        (node.status_in("chess")?.state == State::Connected).then_some(())
    });
}

/// A node that has joined.
#[track_caller]
fn joined(place: &Place, file: &Path, folder: &str) -> Running {
    let mut node = place.join(text(file), folder);
    in_group(&mut node);
    node
}

#[track_caller]
fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

#[test]
fn two_nodes_join_by_files_whose_url_leads_nowhere_and_meet() {
    let place = Place::new(&[]);
    let own = place.file(&place.token, "chess.atoll");
    let bob = place.file(&place.member("bob"), "bob.atoll");
    assert!(fs::read_to_string(&own).unwrap().contains(NOWHERE));
    let start = Instant::now();
    let mut ann = place.join(text(&own), "ann");
    let line = ann.wait_for_log("certificate from the site");
    assert_eq!((&line["by"], &line["site"]), (&json!("overlay"), &json!(NOWHERE)));
    ann.wait_for_log("starting anew with this membership");
    ann.wait_until_ready();
    until("it is in the group", || (ann.status_in("chess")?.state == State::Connected).then_some(()));
    println!("from the file to the group, through the overlay: {:?}", start.elapsed());
    let bob = joined(&place, &bob, "bob");
    meet(&[&ann, &bob]);
    println!("two nodes to each other: {:?}", start.elapsed());
    assert_eq!(enrolment(&ann)["reached_by"], "overlay");
    let shown = verb(&["status", "--control", &ann.control.to_string()]).stdout;
    let shown = String::from_utf8(shown).unwrap();
    let row =
        shown.lines().find(|line| line.contains("site reached by")).unwrap_or_else(|| panic!("{shown}"));
    assert!(row.contains("overlay"), "{row}");
    assert_eq!(place.nodes("ann")[0]["address"], enrolment(&ann)["address"]);
    assert_eq!(ann.metric("atoll_enrolment_reached_by{overlay=\"chess\",way=\"overlay\"}"), 1.0);
    let (_, page) = get(place.metrics, "/metrics");
    says(
        &page,
        &["atoll_site_announced_groups 1", "atoll_site_refused_calls_total 0", "atoll_site_calls_total "],
    );
    // Lists come the same way.
    until("the list was looked at again", || {
        (enrolment(&ann)["failures"] == 0 && enrolment(&ann)["list"] == 1).then_some(())
    });
}

#[test]
fn a_site_without_any_url_has_files_and_links_and_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("site.yaml");
    fs::write(&config, "listen: 127.0.0.1:0\ncontrol: off\n").unwrap();
    let (data, key) = (folder.path().join("data"), folder.path().join("key"));
    let start = ["site", "--data", text(&data), "--key-file", text(&key), "--overlay-only"];
    for (flags, parts) in [
        (vec![], ["--config", "hint: "]),
        (vec!["--config", text(&config)], ["nothing says how members get into", "hint: name a member"]),
        (vec!["--config", text(&config), "--url", NOWHERE], ["--url", "hint: "]),
    ] {
        let output = verb(&[&start[..], &flags].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        says(&said, &parts);
    }
    let place = Place::with(&["--overlay-only"]);
    let file = place.file(&place.token, "chess.atoll");
    says(&fs::read_to_string(&file).unwrap(), &["urls: []"]);
    let node = joined(&place, &file, "ann");
    let shown = enrolment(&node);
    assert_eq!((&shown["site"], &shown["reached_by"]), (&json!("in the public overlay"), &json!("overlay")));
    joins_by_link(&place, "bob", "authority=");
}

/// Somebody's node joins by a link that begins like this, which is of use once.
#[track_caller]
fn joins_by_link(place: &Place, user: &str, begins: &str) {
    let link = place.link(&place.member(user));
    assert!(link.starts_with(&format!("atoll://join?{begins}")), "{link}");
    let start = Instant::now();
    let mut node = place.join_unready(&link, user);
    node.wait_until_ready();
    in_group(&mut node);
    println!("from the link to the group, through the overlay: {:?}", start.elapsed());
    let (code, said) = place.join_unready(&link, "another").last_words();
    assert_eq!(code, Some(2));
    says(&said, &["the link is not valid, has been used up, or has ended"]);
}

#[test]
fn a_link_whose_url_leads_nowhere_is_fetched_over_the_ring() {
    joins_by_link(&Place::new(&[]), "bob", &format!("site={NOWHERE}&pin="));
}

#[test]
fn a_node_asks_for_approval_and_gets_it_over_the_ring() {
    let place = Place::new(&[]);
    place.policy("ask");
    let file = place.file(&place.token, "chess.atoll");
    let mut node = place.join(text(&file), "ann");
    let address = until("it waits", || place.waiting().first().cloned());
    until("it knows", || (enrolment(&node)["state"] == "waiting").then_some(()));
    assert_eq!(enrolment(&node)["reached_by"], "overlay");
    place.decide(&address, true);
    in_group(&mut node);
    // One that is refused hears it.
    let bob = place.file(&place.member("bob"), "bob.atoll");
    let mut node = place.join(text(&bob), "bob");
    let address = until("it waits", || place.waiting().first().cloned());
    place.decide(&address, false);
    let (code, said) = node.last_words();
    assert_eq!(code, Some(2));
    says(&said, &["an administrator refused this node", "hint: an administrator"]);
}

#[test]
fn a_certificate_is_renewed_over_the_ring() {
    let place = Place::new(&["--valid", "20 s"]);
    let own = place.file(&place.token, "ann.atoll");
    let bob = place.file(&place.member("bob"), "bob.atoll");
    let (ann, bob) = (joined(&place, &own, "ann"), joined(&place, &bob, "bob"));
    meet(&[&ann, &bob]);
    let ends = || ann.status_in("chess").and_then(|status| status.certificate_expires_seconds).unwrap();
    let first = ends();
    until("it has been renewed twice", || (ends() >= first + 24).then_some(()));
    meet(&[&ann, &bob]);
    assert_eq!(
        (&enrolment(&ann)["failures"], &enrolment(&ann)["reached_by"]),
        (&json!(0), &json!("overlay"))
    );
}

#[test]
fn a_revocation_comes_home_over_the_ring_and_the_revoked_is_out() {
    let place = Place::new(&[]);
    let own = place.file(&place.token, "ann.atoll");
    let stolen = place.file(&place.member("bob"), "bob.atoll");
    let (ann, mut bob) = (joined(&place, &own, "ann"), joined(&place, &stolen, "bob"));
    meet(&[&ann, &bob]);
    let start = Instant::now();
    place.revoke("bob");
    until("nobody is there for ann", || ann.peers_in("chess").is_empty().then_some(()));
    println!("from the revocation until the member is out: {:?}", start.elapsed());
    until("the list is at home", || (enrolment(&ann)["list"] == 2).then_some(()));
    assert_eq!(enrolment(&ann)["reached_by"], "overlay");
    let (code, said) = bob.last_words();
    assert_eq!(code, Some(2));
    says(&said, &["the membership is revoked", "hint: a revoked user or node stays out"]);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A group in which Bob was revoked after its database was copied, with Ann's file and her node, which has the list.
fn revoked_after_a_backup() -> (Place, PathBuf, Running) {
    let mut place = Place::new(&[]);
    let own = place.file(&place.token, "ann.atoll");
    let token = place.member("bob");
    place.file(&token, "bob.atoll");
    let ann = joined(&place, &own, "ann");
    place.town.site.kill();
    copy(&place.path("data"), &place.path("backup"));
    place.town.restart_site();
    place.revoke("bob");
    until("the list is at home", || (enrolment(&ann)["list"] == 2).then_some(()));
    (place, own, ann)
}

/// Ends the site and puts the copy of its database back.
fn put_back(place: &mut Place) {
    place.town.site.kill();
    fs::remove_dir_all(place.path("data")).unwrap();
    copy(&place.path("backup"), &place.path("data"));
}

/// A site whose database is an older one has its list again as soon as a member polls, long before any certificate ends.
#[test]
fn a_site_that_forgot_its_list_gets_it_back_over_the_ring() {
    let (mut place, _, ann) = revoked_after_a_backup();
    put_back(&mut place);
    place.town.restart_site();
    assert!(!place.said_of("audit").contains("give back"), "it has forgotten");
    let start = Instant::now();
    until("it has its list again", || (!place.said_of("members").contains("bob")).then_some(()));
    println!("from the restored database to the list that was given back: {:?}", start.elapsed());
    is_enrolled_again(&ann);
}

/// With the watermark gone, too, it does not know whether it has forgotten anything: it takes what members say, and signs nothing
/// before the operator says so.
#[test]
fn a_site_that_does_not_know_whether_it_forgot_anything_takes_what_members_say_and_waits_for_its_operator() {
    let (mut place, _, ann) = revoked_after_a_backup();
    put_back(&mut place);
    fs::remove_file(place.path("key.watermark")).unwrap();
    place.town.restart_site();
    until("what the member knows is there", || (!place.said_of("members").contains("bob")).then_some(()));
    until("the member hears it", || enrolment(&ann)["why"].as_str()?.contains("may have been").then_some(()));
    place.town.restart_site_with(&["--release-restored"]);
    until("a list is at home that follows the one before", || {
        (enrolment(&ann)["list"].as_i64() > Some(2)).then_some(())
    });
    is_enrolled_again(&ann);
    assert!(!place.said_of("members").contains("bob"));
}

fn is_enrolled_again(ann: &Running) {
    until("it is asked again", || enrolment(ann)["why"].is_null().then_some(()));
    assert_eq!(
        (&enrolment(ann)["state"], &enrolment(ann)["reached_by"]),
        (&json!("enrolled"), &json!("overlay"))
    );
}

/// An operator has a site sign again while those who know better are away; they come back.
#[test]
fn what_an_operator_passed_over_comes_back_with_the_members() {
    let (mut place, own, ann) = revoked_after_a_backup();
    drop(ann);
    put_back(&mut place);
    place.town.restart_site_with(&["--release-restored"]);
    until("it signs again", || place.said_of("audit").contains("\"release\"").then_some(()));
    assert!(place.said_of("members").contains("bob"), "it has forgotten");
    let ann = place.join(text(&own), "ann");
    until("it has its list again", || (!place.said_of("members").contains("bob")).then_some(()));
    until("its list is at home", || (enrolment(&ann)["list"].as_i64() > Some(3)).then_some(()));
}

#[test]
fn a_site_that_is_killed_at_any_moment_and_comes_back_is_found_again() {
    let mut place = Place::new(&[]);
    let users = ["bob", "eve", "dan"];
    let tokens: Vec<String> = users.iter().map(|user| place.member(user)).collect();
    let files: Vec<_> = users.iter().zip(&tokens).map(|(user, token)| place.file(token, user)).collect();
    let mut nodes = Vec::new();
    for (round, (user, file)) in users.iter().zip(&files).enumerate() {
        let mut node = place.join_unready(text(file), &format!("folder-{user}"));
        std::thread::sleep(Duration::from_millis(200 + 300 * round as u64));
        place.town.site.kill();
        place.town.restart_site();
        node.wait_until_ready();
        in_group(&mut node);
        assert_eq!(place.nodes(user).len(), 1, "no node is there twice");
        nodes.push(node);
    }
    place.policy("ask");
    let own = place.file(&place.token, "ann.atoll");
    let mut ann = place.join(text(&own), "ann");
    let address = until("it waits", || place.waiting().first().cloned());
    place.town.site.kill();
    place.town.restart_site();
    place.decide(&address, true);
    in_group(&mut ann);
    nodes.push(ann);
    meet(&nodes.iter().collect::<Vec<_>>());
}

#[test]
fn whoever_says_that_it_is_the_site_is_believed_only_with_the_authority_s_word() {
    let place = Place::new(&[]);
    let authority = place.authority();
    let true_one = until("the site is announced", || place.said(authority));
    let rogue = &place.others[0];
    let own = rogue.status().address;
    let lie = String::from_utf8(Statement { member: own, until: 1 << 40 }.value().unwrap()).unwrap();
    let control = rogue.control.to_string();
    for flags in [&["--owned"][..], &[]] {
        let put = verb(&[&["dht", "put", SITE_KEY, &lie, "--control", &control], flags].concat());
        assert_eq!(put.status.code(), Some(0), "{put:?}");
    }
    // The word of the authority, replayed and changed.
    let (overlay, key) = ("public".to_owned(), SITE_KEY.to_owned());
    let forged = atoll_core::control::OwnerProof {
        public: common::group::key().public_key_to_der().unwrap(),
        sequence: 1 << 60,
        lease_millis: 600_000,
        signature: vec![7; 70],
    };
    let put = Command::DhtPutProved { overlay, key, value: lie.into_bytes(), proof: forged };
    assert!(matches!(rogue.command(&put), Reply::Failed { .. }));
    let said = place.said(authority).unwrap();
    assert_eq!(Place::member_of(&said), Place::member_of(&true_one));
    let own = place.file(&place.token, "ann.atoll");
    joined(&place, &own, "ann");

    // A file with another authority of the same name leads nowhere, and says so.
    let groups = Groups::new();
    let other = groups.authority("ca", "chess");
    let file = fs::read_to_string(&own).unwrap();
    let mut parsed = MemberFile::read(&file).unwrap();
    parsed.group.authority = fs::read_to_string(other.join("authority.pem")).unwrap();
    let strange = place.path("strange.atoll");
    private(&strange, parsed.text().unwrap().as_bytes());
    let mut node = place.join_unready(text(&strange), "strange");
    let line = node.wait_for_log("no news from the group's site");
    let why = line["why"].as_str().unwrap();
    says(why, &[NOWHERE, "through the overlay: its group's authority says nothing there about a site"]);
    assert_eq!(line["certificate"], "none yet");
}

#[test]
fn the_authority_says_it_again_after_a_restart_also_of_a_member_at_another_address() {
    let mut place = Place::new(&[]);
    let authority = place.authority();
    let first = until("the site is announced", || place.said(authority));
    let sequence = |said: &DhtValue| said.sequence.unwrap();
    assert!((900.0..=1800.0).contains(&first.lease_seconds), "{first:?}");
    place.town.site.kill();
    place.town.restart_site();
    let newer = |than: u64| move |said: &DhtValue| said.sequence.unwrap() > than;
    let second = until("it is said again", || place.said(authority).filter(newer(sequence(&first))));
    assert_eq!(Place::member_of(&second), Place::member_of(&first), "the site's member keeps its key");
    place.town.site.kill();
    fs::remove_file(place.path("key.member")).unwrap();
    place.town.restart_site();
    let third = until("it is said again", || place.said(authority).filter(newer(sequence(&second))));
    assert_ne!(Place::member_of(&third), Place::member_of(&first));
    let own = place.file(&place.token, "ann.atoll");
    joined(&place, &own, "ann");
    // A group that is founded while the site runs is found at once.
    place.site.ask("POST", "/api/v1/groups", (&place.token, &json!({"name": "go"})));
    let file = place.site.ask("GET", "/api/v1/groups/go/file", (&place.token, &Value::Null));
    let root = X509::from_pem(MemberFile::read(&file).unwrap().group.authority.as_bytes()).unwrap();
    let go = address_of(&root.public_key().unwrap()).unwrap();
    let start = Instant::now();
    until("the new group is announced", || place.said(go));
    println!("from the founding of a group until it is found: {:?}", start.elapsed());
}

#[test]
fn a_member_whose_site_s_url_dies_goes_on_over_the_ring() {
    let mut place = Place::with(&[]);
    let own = place.file(&place.token, "ann.atoll");
    let mut ann = place.join(text(&own), "ann");
    until("it is in the group", || (ann.status_in("chess")?.state == State::Connected).then_some(()));
    assert_eq!(enrolment(&ann)["reached_by"], "https", "where a URL answers it is the way");
    place.member("bob");
    // The site moves to another port.
    place.town.site.kill();
    let before = place.site.place;
    let config = place.path("site.yaml");
    place.town.site = Site::start(place.folder.path(), &["--config", text(&config)]);
    assert_ne!(place.site.place, before);
    place.revoke("bob");
    let start = Instant::now();
    until("the list came over the ring", || {
        let shown = enrolment(&ann);
        (shown["list"] == 2 && shown["reached_by"] == "overlay").then_some(())
    });
    println!("from the death of the URL until lists come over the ring: {:?}", start.elapsed());
    assert!(ann.is_running());
}
