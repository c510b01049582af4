//! Real nodes join a group by the file or the link of a real site, stay members, and are out when they are revoked.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, Instant};

use atoll_core::control::State;
use common::group::text;
use common::town::{Town, certificate, enrolment, meet};
use common::{Running, get, until, verb};
use serde_json::{Value, json};

#[track_caller]
fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

#[test]
fn two_nodes_join_by_their_files_with_one_command_each_and_meet() {
    let town = Town::new();
    let own = town.file(&town.token, "chess.atoll");
    let bob = town.file(&town.member("bob"), "bob.atoll");
    let start = Instant::now();
    let ann = town.join(text(&own), "ann");
    let bob = town.join(text(&bob), "bob");
    meet(&[&ann, &bob]);
    println!("from the file to each other: {:?}", start.elapsed());
    assert_eq!(ann.peers_in("chess")[0].user.as_deref(), Some("bob"));
    assert_eq!(ann.peers_in("chess")[0].group.as_deref(), Some("chess"));

    let shown = enrolment(&ann);
    assert_eq!(
        (&shown["state"], &shown["user"], &shown["list"]),
        (&json!("enrolled"), &json!("ann"), &json!(1))
    );
    let days = |key: &str| (shown[key].as_i64().unwrap() - common::group::now()) / 86_400;
    assert!((89..=90).contains(&days("expires_seconds")), "{shown}");
    assert!((57..=62).contains(&days("renewal_seconds")), "{shown}");
    assert_eq!(town.nodes("ann")[0]["address"], shown["address"]);

    let control = ann.control.to_string();
    let text = String::from_utf8(verb(&["status", "--control", &control]).stdout).unwrap();
    says(&text, &["certificate until", "enrolment", "enrolled", "site answered", "renewal at", "number 1"]);
    let all: Value =
        serde_json::from_slice(&verb(&["status", "--json", "--control", &control]).stdout).unwrap();
    assert_eq!((&all[1]["overlay"], &all[1]["enrolment"]["state"]), (&json!("chess"), &json!("enrolled")));
    assert!(all[0].get("enrolment").is_none());

    assert_eq!(ann.metric("atoll_enrolment_state{overlay=\"chess\",state=\"enrolled\"}"), 1.0);
    assert!(ann.metric("atoll_enrolment_remaining_seconds{overlay=\"chess\"}") > 89.0 * 86_400.0);
    assert!(ann.metric("atoll_enrolment_contact_timestamp_seconds{") > 1.7e9);
    assert_eq!(ann.metric("atoll_enrolment_failures_total{"), 0.0);
    assert_eq!(get(ann.metrics, "/healthz").0, 200);

    for (name, mode) in
        [("", 0o700), ("node.key", 0o600), ("public.key", 0o600), ("member.atoll", 0o600), ("secret", 0o600)]
    {
        let metadata = fs::metadata(town.path("ann").join(name)).unwrap();
        assert_eq!(metadata.mode() & 0o777, mode, "{name}");
    }
}

/// Nor is a link used up.
#[test]
fn a_node_whose_place_is_taken_says_so_before_it_asks_for_a_certificate() {
    let town = Town::new();
    let own = town.file(&town.token, "chess.atoll");
    let link = town.link(&town.token);
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let place = taken.local_addr().unwrap().to_string();
    let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let control = door.local_addr().unwrap().to_string();
    for source in [text(&own), &link] {
        for flags in
            [["--listen", &*place, "--control", "off"], ["--listen", "127.0.0.1:0", "--control", &*control]]
        {
            let folder = town.path("late");
            let words = [&["join", source, "--data", text(&folder)][..], &flags].concat();
            let output = verb(&words);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{said}");
            says(&said, &["Address already in use", "hint: "]);
        }
    }
    assert_eq!(town.nodes("ann"), Vec::<Value>::new());
    drop((taken, door));
    let node = town.join(&link, "late");
    until("it is connected", || (node.status_in("chess")?.state == State::Connected).then_some(()));
}

#[test]
fn a_node_joins_by_a_link_once_and_the_same_command_goes_on_later() {
    let town = Town::new();
    let link = town.link(&town.token);
    let mut node = town.join(&link, "ann");
    until("it is connected", || (node.status_in("chess")?.state == State::Connected).then_some(()));
    let address = enrolment(&node)["address"].clone();
    node.signal("TERM");
    assert!(node.wait().success());
    // The link is used up, and the folder knows it.
    let node = town.join(&link, "ann");
    assert_eq!(enrolment(&node)["address"], address);
    let (code, said) = town.join_unready(&link, "elsewhere").last_words();
    assert_eq!(code, Some(2));
    says(
        &said,
        &["error: the site https://localhost", "has been used up", "hint: a link is good for one use"],
    );
    assert!(!town.path("elsewhere").exists(), "nothing is made for a link that does not work");
}

#[test]
fn a_node_waits_for_approval_also_after_it_was_killed_and_other_memberships_do_not() {
    let town = Town::new();
    town.policy("ask");
    let file = town.file(&town.token, "chess.atoll");
    let mut node = town.join(text(&file), "ann");
    let line = node.wait_for_log(
        "waiting: an administrator of the group has to admit this node; it asks again by itself",
    );
    let waiting = town.waiting();
    assert_eq!((waiting.len(), line["address"].as_str()), (1, Some(&*waiting[0])));
    until("the public overlay is there already", || {
        (node.status_in("public")?.state == State::Connected).then_some(())
    });
    assert!(node.status_in("chess").is_none());
    assert_eq!(enrolment(&node)["state"], "waiting");
    assert_eq!(node.metric("atoll_enrolment_state{overlay=\"chess\",state=\"waiting\"}"), 1.0);
    let (status, body) = get(node.metrics, "/healthz");
    assert_eq!((status, body.contains("chess waiting")), (503, true), "{body}");
    let control = node.control.to_string();
    let shown = String::from_utf8(verb(&["status", "--control", &control]).stdout).unwrap();
    says(&shown, &["no member yet", "waits for an administrator's approval", &waiting[0]]);
    node.signal("KILL");
    node.wait();

    let mut node = town.join(text(&file), "ann");
    assert_eq!(town.waiting(), waiting, "it is the same node");
    let at = node.control;
    town.decide(&waiting[0], true);
    node.wait_until_ready();
    until("it is in the group, at the same place", || {
        (node.status_in("chess")?.state == State::Connected).then_some(())
    });
    assert_eq!((node.control, &enrolment(&node)["state"]), (at, &json!("enrolled")));
    assert_eq!(get(node.metrics, "/healthz").0, 200);
}

#[test]
fn a_node_that_an_administrator_refuses_ends_and_says_why() {
    let town = Town::new();
    town.policy("ask");
    let file = town.file(&town.token, "chess.atoll");
    let mut node = town.join(text(&file), "ann");
    let address = until("it waits", || town.waiting().first().cloned());
    town.decide(&address, false);
    let (code, said) = node.last_words();
    assert_eq!(code, Some(2));
    says(
        &said,
        &[
            "error: the site https://localhost",
            "an administrator refused this node",
            "hint: an administrator",
        ],
    );
}

#[test]
fn a_revoked_node_is_out_everywhere_and_its_file_lets_nobody_in() {
    let town = Town::new();
    let own = town.file(&town.token, "ann.atoll");
    let section =
        format!("file: {}, name: chess, folder: {}, poll: 1 s", text(&own), text(&town.path("ann")));
    let ann = town.run("ann", &section, &[town.public.listen]);
    let token = town.member("bob");
    let stolen = town.file(&token, "bob.atoll");
    let mut bob = town.join(text(&stolen), "bob");
    meet(&[&ann, &bob]);
    town.revoke("bob");
    until("nobody is there for ann", || ann.peers_in("chess").is_empty().then_some(()));
    assert_eq!(enrolment(&ann)["list"], 2);
    let (code, said) = bob.last_words();
    assert_eq!(code, Some(2));
    says(&said, &["the membership is revoked", "hint: a revoked user or node stays out"]);
    // With the same folder, and with a new one.
    for data in ["bob", "thief"] {
        let (code, said) = town.join_unready(text(&stolen), data).last_words();
        assert_eq!(code, Some(2));
        says(&said, &["error: the site https://localhost", "hint: "]);
        assert!(said.contains("revoked") || said.contains("not made with the user's key"), "{said}");
    }
    assert!(certificate(&town.path("thief")).is_none());
    assert!(ann.peers_in("chess").is_empty());
}

#[test]
fn without_its_site_a_member_starts_and_stays_and_a_newcomer_waits_for_the_site() {
    let mut town = Town::new();
    let own = town.file(&town.token, "ann.atoll");
    let bob = town.file(&town.member("bob"), "bob.atoll");
    let mut ann = town.join(text(&own), "ann");
    until("it is connected", || (ann.status_in("chess")?.state == State::Connected).then_some(()));
    ann.signal("TERM");
    assert!(ann.wait().success());
    town.site.kill();

    let mut ann = town.join(text(&own), "ann");
    let line = ann.wait_for_log("no news from the group's site");
    says(line["why"].as_str().unwrap(), &["the site does not answer"]);
    says(line["certificate"].as_str().unwrap(), &["valid until"]);
    until("it is connected", || (ann.status_in("chess")?.state == State::Connected).then_some(()));
    let mut bob = town.join_unready(text(&bob), "bob");
    let line = bob.wait_for_log("no news from the group's site");
    assert_eq!(line["certificate"], "none yet");
    bob.wait_until_ready();
    says(enrolment(&bob)["why"].as_str().unwrap(), &["the site does not answer"]);
    assert_eq!(enrolment(&bob)["state"], "asking");

    town.restart_site();
    bob.wait_until_ready();
    meet(&[&ann, &bob]);
    assert!(enrolment(&bob)["failures"].as_u64() > Some(0));
    bob.wait_for_log("the site answers again");
    until("ann has heard from it", || enrolment(&ann)["why"].is_null().then_some(()));
}

#[test]
fn whoever_answers_in_the_site_s_place_hears_nothing() {
    let town = Town::new();
    let file = town.file(&town.token, "chess.atoll");
    let pinned = fs::read_to_string(&file).unwrap().replace(&town.site.pin, &"ab".repeat(32));
    common::group::private(&file, pinned.as_bytes());
    let (code, said) = town.join_unready(text(&file), "ann").last_words();
    assert_eq!(code, Some(2));
    says(&said, &["shows another key than the file names", "hint: somebody answers in the site's place"]);
    assert!(town.nodes("ann").is_empty());
    let link = town.link(&town.token).replace(&town.site.pin, &"ab".repeat(32));
    let (code, said) = town.join_unready(&link, "ann").last_words();
    assert_eq!(code, Some(2));
    says(&said, &["shows another key than the file names"]);
}

#[test]
fn killed_at_any_moment_of_its_enrolment_a_node_goes_on_as_the_same_node() {
    let town = Town::new();
    let file = town.file(&town.token, "chess.atoll");
    for round in 0..10_u64 {
        let mut node = town.join_unready(text(&file), "ann");
        std::thread::sleep(Duration::from_millis(2 + 9 * round));
        node.signal("KILL");
        node.wait();
    }
    let node = town.join(text(&file), "ann");
    until("it is connected", || (node.status_in("chess")?.state == State::Connected).then_some(()));
    let nodes = town.nodes("ann");
    assert_eq!(nodes.len(), 1, "{nodes:?}");
    assert_eq!(nodes[0]["address"], enrolment(&node)["address"]);
    let left = fs::read_dir(town.path("ann"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let drafts: Vec<_> = left.filter(|name| name.ends_with(".new")).collect();
    println!("drafts of writes that were cut off: {drafts:?}");
}

#[test]
fn a_certificate_is_renewed_by_itself_and_shown_without_a_restart() {
    let town = Town::with(&["--valid", "20 s"]);
    let own = town.file(&town.token, "ann.atoll");
    let bob = town.file(&town.member("bob"), "bob.atoll");
    let (ann, bob) = (town.join(text(&own), "ann"), town.join(text(&bob), "bob"));
    meet(&[&ann, &bob]);
    let ends = || ann.status_in("chess").and_then(|status| status.certificate_expires_seconds).unwrap();
    let first = ends();
    until("it has been renewed twice", || (ends() >= first + 24).then_some(()));
    meet(&[&ann, &bob]);
    assert_eq!(enrolment(&ann)["failures"], 0);
    assert_eq!(town.nodes("ann").len(), 1);
}

#[test]
fn a_renewal_that_falls_due_while_the_site_is_away_is_made_up_for_also_past_the_end() {
    let mut town = Town::with(&["--valid", "20 s"]);
    let own = town.file(&town.token, "ann.atoll");
    let bob = town.file(&town.member("bob"), "bob.atoll");
    let (ann, bob) = (town.join(text(&own), "ann"), town.join(text(&bob), "bob"));
    let nodes = [&ann, &bob];
    let ends = |node: &Running| enrolment(node)["expires_seconds"].as_u64();
    for wanted in ["renewing", "asking"] {
        meet(&nodes);
        town.site.kill();
        let before = nodes.map(|node| ends(node).unwrap());
        until("it is time for another certificate", || {
            let is_so = |node: &Running| {
                let shown = enrolment(node);
                let is_in = wanted == "asking" || node.peers_in("chess").len() == 1;
                let is_away = shown["why"].as_str().is_some_and(|why| why.contains("does not answer"));
                shown["state"] == wanted && is_in && is_away
            };
            nodes.iter().all(|node| is_so(node)).then_some(())
        });
        town.restart_site();
        until("both have a later one", || {
            let is_later = |(node, before): (&&Running, &u64)| ends(node) > Some(*before);
            nodes.iter().zip(&before).all(is_later).then_some(())
        });
    }
    meet(&nodes);
    assert!(nodes.iter().all(|node| enrolment(node)["state"] == "enrolled"));
    assert_eq!((town.nodes("ann").len(), town.nodes("bob").len()), (1, 1), "they are the same nodes");
}

#[test]
fn a_folder_belongs_to_one_node_and_one_member() {
    let town = Town::new();
    let own = town.file(&town.token, "ann.atoll");
    let bob = town.file(&town.member("bob"), "bob.atoll");
    let ann = town.join(text(&own), "ann");
    let (code, said) = town.join_unready(text(&own), "ann").last_words();
    assert_eq!(code, Some(2));
    says(&said, &["error: folder ", "another node is a member by it", "--data"]);
    drop(ann);
    let (code, said) = town.join_unready(text(&bob), "ann").last_words();
    assert_eq!(code, Some(2));
    says(&said, &["it belongs to user `ann` of group `chess`, not to `bob` of `chess`", "--data"]);
}

#[test]
fn a_file_that_is_of_no_use_is_named_with_line_key_and_hint() {
    let town = Town::new();
    let path = town.file(&town.token, "chess.atoll");
    let good = fs::read_to_string(&path).unwrap();
    for (old, new, part) in [
        ("atoll: 1", "atoll: 7", "chess.atoll:1:8: atoll: 7 is out of range"),
        ("name: chess", "name: go", "group.authority: it is that of group `chess`"),
        ("urls:", "url:", "site.url: unknown field"),
    ] {
        fs::write(&path, good.replacen(old, new, 1)).unwrap();
        let (code, said) = town.join_unready(text(&path), "ann").last_words();
        assert_eq!(code, Some(2));
        says(&said, &["error: ", part, "hint: download the file again"]);
    }
    let (code, said) = town.join_unready("/nowhere/chess.atoll", "ann").last_words();
    assert_eq!(code, Some(2));
    says(&said, &["error: /nowhere/chess.atoll: No such file", "hint: give the path"]);
    let (code, said) = town.join_unready("atoll://join?site=https://a.example", "ann").last_words();
    assert_eq!(code, Some(2));
    says(
        &said,
        &["error: atoll-node join: ", "the link has no `pin`: was it cut off?", "hint: write atoll://"],
    );
    // What others may read is taken, and the owner is told.
    fs::write(&path, &good).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut node = town.join(text(&path), "ann");
    node.wait_for_log("others may read the member's file");
}

#[test]
fn a_key_that_was_replaced_on_the_page_makes_the_older_file_useless() {
    let town = Town::new();
    let old = town.file(&town.token, "old.atoll");
    town.site.ask("DELETE", "/api/v1/groups/chess/file", (&town.token, &Value::Null));
    let (code, said) = town.join_unready(text(&old), "ann").last_words();
    assert_eq!(code, Some(2));
    says(&said, &["not made with the user's key", "hint: the file is not the newest"]);
    // The newer one goes into the same folder.
    let new = town.file(&town.token, "new.atoll");
    let node = town.join(text(&new), "ann");
    until("it is connected", || (node.status_in("chess")?.state == State::Connected).then_some(()));
}

/// The same site, whose clock is wrong now.
fn serve_at(town: &Town, seconds: i64) -> tokio::runtime::Runtime {
    use atoll_site::{Clock, KeyFile, Places, Site, Told, serve};
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let places = Places {
        data: town.path("data"),
        key: KeyFile::Own(town.path("key")),
        watermark: town.path("key.watermark"),
    };
    let clock =
        move || Clock::new(move || atoll_core::security::Wall((common::group::now() + seconds) as u64));
    let place = town.site.place;
    runtime.block_on(async {
        let open = || Site::open(&places, Told::new(vec![], vec![]), clock());
        let mut opened = open().await;
        // The one before lets go of its folder a moment after its end.
        for _ in 0..100 {
            if opened.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
                opened = open().await;
            }
        }
        let mut site = opened.unwrap();
        let acceptor = site.secure(None).await.unwrap();
        let listener = tokio::net::TcpListener::bind(place).await.unwrap();
        let (stop, stopped) = tokio::sync::watch::channel(());
        tokio::spawn(async move {
            serve(std::sync::Arc::new(site), listener, acceptor, stopped).await;
            drop(stop);
        });
    });
    runtime
}

#[test]
fn clocks_that_are_apart_are_named_and_a_member_goes_on() {
    let mut town = Town::new();
    let (own, bob) = (town.file(&town.token, "ann.atoll"), town.file(&town.member("bob"), "bob.atoll"));
    let mut ann = town.join(text(&own), "ann");
    until("it is connected", || (ann.status_in("chess")?.state == State::Connected).then_some(()));
    ann.signal("TERM");
    ann.wait();
    town.site.kill();
    for seconds in [-86_400, 86_400] {
        let site = serve_at(&town, seconds);
        let (code, said) = town.join_unready(text(&bob), "bob").last_words();
        assert_eq!(code, Some(2));
        says(&said, &["the site's clock says", "and this machine's", "hint: set the clock that is wrong"]);
        let ann = town.join(text(&own), "ann");
        until("it is connected", || (ann.status_in("chess")?.state == State::Connected).then_some(()));
        assert_eq!(enrolment(&ann)["state"], "enrolled");
        drop(ann);
        site.shutdown_background();
    }
    assert!(certificate(&town.path("bob")).is_none());
}
