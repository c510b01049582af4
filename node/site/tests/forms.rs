//! Every form of the pages: what it does, and that it does nothing for another site's page.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use atoll_core::security::address_of;
use common::node::Node;
use common::{Browser, PASSWORD, Request, Served};
use serde_json::json;

const PAGE: &str = "/groups/chess";

/// Browsers of a founder and of others, who are members.
fn browsers<'a>(served: &'a Served, users: &[&str]) -> (Browser<'a>, Vec<Browser<'a>>) {
    let mut ann = served.browser();
    ann.sign_up("ann");
    done(&mut ann, ("/", "/groups"), &[("name", "chess")]);
    let member = |name: &&str| {
        let mut user = served.browser();
        user.sign_up(name);
        done(&mut user, (PAGE, "/groups/chess/ask"), &[]);
        let place = format!("/groups/chess/requests/{name}");
        done(&mut ann, ("/groups/chess/requests", &place), &[("answer", "admit")]);
        user
    };
    let others = users.iter().map(member).collect();
    (ann, others)
}

/// A form that is done; where the browser is sent.
#[track_caller]
fn done(browser: &mut Browser<'_>, places: (&str, &str), fields: &[(&str, &str)]) -> String {
    let answer = browser.post(places, fields);
    assert_eq!(answer.status, 303, "{places:?}: {}", answer.body);
    answer.header("location").to_owned()
}

#[track_caller]
fn shows(browser: &mut Browser<'_>, page: &str, part: &str) -> bool {
    let answer = browser.get(page);
    assert_eq!(answer.status, 200, "{page}: {}", answer.body);
    answer.body.contains(part)
}

fn address(node: &Node) -> String {
    address_of(&node.key).unwrap().to_string()
}

#[test]
fn the_policy_says_which_nodes_wait_and_administrators_admit_or_refuse_them() {
    let served = Served::new();
    let (mut ann, _) = browsers(&served, &["bob"]);
    let bob = served.again("bob");
    let policy = (PAGE, "/groups/chess/policy");
    assert!(shows(&mut ann, PAGE, "value=\"sign\" checked"));
    assert_eq!(done(&mut ann, policy, &[("policy", "first"), ("first", "2")]), PAGE);
    assert!(shows(&mut ann, PAGE, "value=\"first\" checked"));
    assert!(shows(&mut ann, PAGE, "max=\"64\" value=\"2\""));
    let statuses = [0; 3].map(|_| Node::of(&bob, "chess").enrol(&served).status);
    assert_eq!(statuses, [200, 200, 202]);
    done(&mut ann, policy, &[("policy", "ask"), ("first", "2")]);
    for (word, first) in [("never", "1"), ("first", "0"), ("first", "x"), ("", "")] {
        assert_eq!(ann.post(policy, &[("policy", word), ("first", first)]).status, 422, "{word} {first}");
    }
    assert!(shows(&mut ann, PAGE, "value=\"ask\" checked"), "nothing was changed");

    let requests = "/groups/chess/requests";
    let [one, other] = [0; 2].map(|_| Node::of(&bob, "chess"));
    assert_eq!([&one, &other].map(|node| node.enrol(&served).status), [202; 2]);
    let place = |node: &Node| format!("/groups/chess/nodes/{}", address(node));
    assert!(shows(&mut ann, requests, &place(&one)) && shows(&mut ann, requests, &place(&other)));
    assert_eq!(done(&mut ann, (requests, &place(&one)), &[("act", "admit")]), requests);
    done(&mut ann, (requests, &place(&other)), &[("act", "refuse")]);
    assert!(!shows(&mut ann, requests, &place(&one)) && !shows(&mut ann, requests, &place(&other)));
    one.certificate(&served);
    assert_eq!(other.enrol(&served).reason(), "refused");
    assert_eq!(ann.post((requests, &place(&one)), &[("act", "wave")]).status, 422);
}

#[test]
fn one_node_is_revoked_by_its_user_or_an_administrator_and_the_others_stay() {
    let served = Served::new();
    let (mut ann, mut others) = browsers(&served, &["bob", "eve"]);
    let nodes = [0; 3].map(|_| Node::of(&served.again("bob"), "chess"));
    nodes.iter().for_each(|node| {
        node.certificate(&served);
    });
    let page = "/groups/chess/members/bob";
    let place = |node: &Node| format!("/groups/chess/nodes/{}", address(node));
    assert_eq!(done(&mut ann, (page, &place(&nodes[0])), &[("act", "revoke")]), PAGE);
    done(&mut others[0], (page, &place(&nodes[1])), &[("act", "revoke")]);
    assert_eq!(others[1].post((page, &place(&nodes[2])), &[("act", "revoke")]).status, 403, "not eve");
    assert_eq!([0, 1].map(|node| nodes[node].enrol(&served).reason()), ["revoked", "revoked"]);
    nodes[2].certificate(&served);
    let shown = ann.get(page).body;
    assert_eq!(shown.matches("<td>revoked</td>").count(), 2, "{shown}");
    assert!(!shown.contains(&place(&nodes[0])) && shown.contains(&place(&nodes[2])), "{shown}");
    // And the user with all that is left.
    done(&mut ann, (page, page), &[("act", "revoke")]);
    assert_eq!(nodes[2].enrol(&served).reason(), "revoked");
    assert!(shows(&mut others[0], PAGE, "Your membership was revoked"));
}

#[test]
fn administrators_are_named_and_unnamed_and_the_last_one_stays() {
    let served = Served::new();
    let (mut ann, mut others) = browsers(&served, &["bob"]);
    let bob = &mut others[0];
    let page = "/groups/chess/members/bob";
    assert!(!shows(bob, PAGE, "/groups/chess/audit"));
    assert_eq!(done(&mut ann, (page, page), &[("act", "name")]), PAGE);
    assert!(shows(bob, PAGE, "/groups/chess/audit"));
    assert!(shows(&mut ann, PAGE, "bob</a> <span class=\"tag\">administrator"));
    assert_eq!(ann.post((page, page), &[("act", "name")]).status, 409, "it is one already");
    done(&mut ann, (page, page), &[("act", "unname")]);
    assert!(!shows(bob, PAGE, "/groups/chess/audit"));
    assert_eq!(bob.get("/groups/chess/audit").status, 403);
    let own = "/groups/chess/members/ann";
    assert_eq!(ann.post((own, own), &[("act", "unname")]).status, 409, "the last one stays");
    assert_eq!(ann.post((page, page), &[("act", "dance")]).status, 422);

    // The same by programs.
    let (founder, member) = (served.again("ann"), served.again("bob"));
    let role = ("PUT", "/api/v1/groups/chess/members/bob/administrator");
    founder.done(role.0, role.1, &json!({"administrator": true}));
    member.done("GET", "/api/v1/groups/chess/audit", &json!(null));
    founder.done(role.0, role.1, &json!({"administrator": false}));
    member.refused(("GET", "/api/v1/groups/chess/audit"), &json!(null), "not_administrator");
    founder.refused(role, &json!({"administrator": false}), "state");
    let own = ("PUT", "/api/v1/groups/chess/members/ann/administrator");
    founder.refused(own, &json!({"administrator": false}), "last_administrator");
    member.refused(own, &json!({"administrator": false}), "not_administrator");
}

#[test]
fn members_leave_and_people_are_refused_and_both_may_ask_again() {
    let served = Served::new();
    let (mut ann, mut others) = browsers(&served, &["bob"]);
    let bob = &mut others[0];
    let node = Node::of(&served.again("bob"), "chess");
    node.certificate(&served);
    assert_eq!(done(bob, (PAGE, "/groups/chess/leave"), &[]), "/");
    assert!(shows(bob, PAGE, "You are not a member of this group"));
    assert!(shows(&mut ann, PAGE, "1 member<"));
    assert_eq!(node.enrol(&served).reason(), "not_member");
    assert_eq!(ann.post((PAGE, "/groups/chess/leave"), &[]).status, 409, "the last administrator stays");
    done(bob, (PAGE, "/groups/chess/ask"), &[]);
    let (page, place) = ("/groups/chess/requests", "/groups/chess/requests/bob");
    assert_eq!(done(&mut ann, (page, place), &[("answer", "refuse")]), page);
    assert!(!shows(&mut ann, page, "<strong>bob"));
    assert!(shows(bob, PAGE, "An administrator refused. You may ask again."));
    assert_eq!(ann.post((page, place), &[("answer", "admit")]).status, 409, "it does not ask now");
    done(bob, (PAGE, "/groups/chess/ask"), &[]);
    assert_eq!(ann.post((page, place), &[("answer", "perhaps")]).status, 422);
    done(&mut ann, (page, place), &[("answer", "admit")]);
    assert!(shows(bob, PAGE, "2 members"));
}

#[test]
fn older_files_are_made_useless_and_invitations_are_ended() {
    let served = Served::new();
    let (mut ann, _) = browsers(&served, &[]);
    let older = Node::of(&served.again("ann"), "chess");
    older.certificate(&served);
    assert_eq!(done(&mut ann, (PAGE, "/groups/chess/renew"), &[]), PAGE);
    assert_eq!(older.enrol(&served).reason(), "forged");
    let newer = Node::of(&served.again("ann"), "chess");
    assert_ne!(newer.file.user.key, older.file.user.key);
    newer.certificate(&served);

    let page = "/groups/chess/invitations";
    let shown = ann.post((page, page), &[("uses", "5"), ("days", "2")]).body;
    let (_, rest) = shown.split_once("/invite/chess/").unwrap();
    let link = format!("/invite/chess/{}", rest.split('<').next().unwrap());
    for (uses, days) in [("0", "1"), ("1", "0"), ("10001", "1"), ("1", "366"), ("x", "1")] {
        assert_eq!(ann.post((page, page), &[("uses", uses), ("days", days)]).status, 422, "{uses} {days}");
    }
    let (_, rest) = shown.split_once("action=\"/groups/chess/invitations/").unwrap();
    let end = format!("/groups/chess/invitations/{}", rest.split('"').next().unwrap());
    assert_eq!(done(&mut ann, (page, &end), &[]), page);
    assert!(!shows(&mut ann, page, &end));
    assert_eq!(ann.post((page, &end), &[]).status, 404, "there is none any more");
    let mut bob = served.browser();
    bob.sign_up("bob");
    assert_eq!(bob.get(&link).status, 410);
    assert_eq!(bob.post(("/", &link), &[]).status, 410);
}

#[test]
fn a_new_password_counts_and_the_old_one_and_other_browsers_do_not() {
    let served = Served::new();
    let (mut ann, mut other) = (served.browser(), served.browser());
    ann.sign_up("ann");
    done(&mut other, ("/login", "/login"), &[("name", "ann"), ("password", PASSWORD)]);
    let account = ("/account", "/account");
    let new = "another horse";
    let change = |browser: &mut Browser<'_>, [old, new, again]: [&str; 3]| -> u16 {
        browser.post(account, &[("old", old), ("new", new), ("again", again)]).status
    };
    assert_eq!(change(&mut ann, [PASSWORD, new, "a third horse"]), 422);
    assert_eq!(change(&mut ann, ["wrong horses", new, new]), 401);
    assert_eq!(change(&mut ann, [PASSWORD, "short", "short"]), 422);
    assert_eq!(other.get("/account").status, 200, "nothing was changed");
    assert_eq!(change(&mut ann, [PASSWORD, new, new]), 303);
    assert_eq!(ann.get("/account").status, 200);
    assert_eq!(other.get("/account").status, 303, "it is logged out");
    let mut log_in =
        |password: &str| other.post(("/login", "/login"), &[("name", "ann"), ("password", password)]).status;
    assert_eq!([log_in(PASSWORD), log_in(new)], [401, 303]);
}

/// The pages' routes that take forms, as the program has them.
fn forms(with: &[(&str, &str)]) -> Vec<String> {
    let source = include_str!("../src/web/pages/mod.rs");
    let routes = source.lines().filter_map(|line| line.trim().strip_prefix(".route(\""));
    let forms = routes.filter(|route| route.contains("post(")).map(|route| {
        let path = route.split('"').next().unwrap().to_owned();
        with.iter().fold(path, |path, (name, value)| path.replace(&format!("{{{name}}}"), value))
    });
    forms.collect()
}

#[test]
fn no_form_does_anything_with_a_token_that_this_browser_was_not_shown() {
    let served = Served::new();
    let (mut ann, _) = browsers(&served, &["bob"]);
    let node = Node::of(&served.again("bob"), "chess");
    node.certificate(&served);
    let mut eve = served.browser();
    eve.sign_up("eve");
    done(&mut eve, (PAGE, "/groups/chess/ask"), &[]);
    let page = "/groups/chess/invitations";
    let shown = ann.post((page, page), &[("uses", "5"), ("days", "2")]).body;
    let token = shown.split_once("/invite/chess/").unwrap().1.split('<').next().unwrap().to_owned();
    let address = address(&node);
    let with = [("group", "chess"), ("address", &*address), ("id", "1"), ("token", &*token)];
    let paths = forms(&with);
    assert!(paths.len() >= 17 && paths.contains(&"/logout".to_owned()), "{paths:?}");
    let user = |path: &str| path.replace("{user}", if path.contains("/requests/") { "eve" } else { "bob" });
    // All that any of them reads, so that nothing but the token is in the way.
    let fields = [
        ("name", "bob"),
        ("password", PASSWORD),
        ("again", "bob"),
        ("old", PASSWORD),
        ("new", "another horse"),
        ("answer", "admit"),
        ("act", "revoke"),
        ("policy", "ask"),
        ("first", "1"),
        ("uses", "1"),
        ("days", "1"),
    ];
    let state = |browser: &mut Browser<'_>| {
        let pages = [PAGE, "/groups/chess/requests", page, "/groups/chess/audit", "/", "/account"];
        pages.map(|page| browser.get(page).body)
    };
    let before = state(&mut ann);
    let foreign = eve.token("/");
    for path in &paths {
        let path = user(path);
        assert!(!path.contains('{'), "{path}");
        for token in ["", "0", &foreign] {
            let answer = ann.post_with(&path, token, &fields);
            assert_eq!(answer.status, 403, "{path} `{token}`: {}", answer.body);
        }
        // The right one, sent from another site's page.
        let own = ann.token("/");
        let body = format!("form={own}");
        let kind = "application/x-www-form-urlencoded".to_owned();
        let request =
            Request { method: "POST", path: &path, headers: vec![("Content-Type", kind)], body: &body };
        let crossing = request.with("Cookie", ann.cookie.clone().unwrap());
        let crossing = crossing.with("Sec-Fetch-Site", "cross-site".to_owned());
        assert_eq!(served.ask(&crossing).status, 403, "{path}");
    }
    assert_eq!(state(&mut ann), before, "nothing was done");
    node.certificate(&served);
}
