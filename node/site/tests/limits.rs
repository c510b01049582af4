//! How often one place signs up, one account founds groups, and one member has nodes signed.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::net::IpAddr;
use std::time::Instant;

use atoll_site::Refusal;
use common::node::Node;
use common::{PASSWORD, Request, Served};
use rusqlite::params;
use serde_json::json;

#[test]
fn one_place_signs_up_twenty_times_and_others_go_on() {
    let served = Served::new();
    let (start, mut done) = (Instant::now(), 0);
    let sign_up = |name: &str| {
        let body = json!({"name": name, "password": PASSWORD}).to_string();
        served.ask(&Request::json("POST", "/api/v1/accounts", &body))
    };
    // What is refused before anything is hashed is no sign-up.
    assert_eq!(sign_up("a b").reason(), "name");
    let refused = loop {
        let answer = sign_up(&format!("user{done}"));
        if answer.status != 200 {
            break answer;
        }
        done += 1;
    };
    assert_eq!((refused.status, &*refused.reason()), (429, "too_often"));
    assert_eq!(refused.header("retry-after"), "60");
    // One more every three minutes.
    assert!((20..=20 + start.elapsed().as_secs() / 180).contains(&done), "{done}");
    // The page says the same.
    let fields = [("name", "late"), ("password", PASSWORD), ("again", PASSWORD)];
    let answer = served.browser().post(("/signup", "/signup"), &fields);
    assert!(answer.status == 429 && answer.body.contains("too many attempts"), "{}", answer.body);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let elsewhere = IpAddr::from([192, 0, 2, 1]);
    runtime.block_on(served.site.sign_up("elsewhere", PASSWORD, elsewhere.into())).unwrap();
    served.again("user0");
}

#[test]
fn one_account_founds_ten_groups_at_once_and_others_go_on() {
    let served = Served::new();
    let (ann, bob) = (served.program("ann"), served.program("bob"));
    let (start, mut done) = (Instant::now(), 0);
    ann.refused(("POST", "/api/v1/groups"), &json!({"name": "a b"}), "name");
    let refused = loop {
        let answer = ann.ask("POST", "/api/v1/groups", &json!({"name": format!("group{done}")}));
        if answer.status != 201 {
            break answer;
        }
        done += 1;
    };
    assert_eq!((refused.status, &*refused.reason()), (429, "too_often"));
    assert!((10..=10 + start.elapsed().as_secs() / 360).contains(&done), "{done}");
    assert_eq!(ann.done("GET", "/api/v1/groups", &json!(null)).json().as_array().unwrap().len() as u64, done);
    bob.done("POST", "/api/v1/groups", &json!({"name": "chess"}));
}

#[test]
fn one_member_has_sixty_requests_at_once_and_others_go_on() {
    let served = Served::new();
    let (ann, others) = common::club::group(&served, &["bob"]);
    let [own, bob] = [&ann, &others[0]].map(|one| Node::of(one, "chess"));
    let (start, mut done) = (Instant::now(), 0);
    let refused = loop {
        let answer = own.enrol(&served);
        if answer.status != 200 {
            break answer;
        }
        done += 1;
    };
    assert_eq!((refused.status, &*refused.reason()), (429, "too_often"));
    // One more every two seconds.
    assert!((60..=60 + start.elapsed().as_secs() / 2).contains(&done), "{done}");
    bob.certificate(&served);
}

#[test]
fn one_member_has_sixty_four_nodes_at_once_and_a_thousand_ever() {
    let served = Served::new();
    let (ann, _) = common::club::group(&served, &[]);
    let database = served.folder.as_ref().unwrap().path().join("data/site.sqlite");
    let database = rusqlite::Connection::open(database).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    let add = |from: usize, to: usize, state: &str| {
        let sql = "INSERT INTO nodes (group_id, account, address, state, since, seen)
            VALUES (1, (SELECT id FROM accounts WHERE name = 'ann'), ?1, ?2, 0, 0)";
        for number in from..to {
            database.execute(sql, params![format!("{number:040x}"), state]).unwrap();
        }
    };
    add(0, 63, "admitted");
    let last = Node::of(&ann, "chess");
    last.certificate(&served);
    let refused = Node::of(&ann, "chess").enrol(&served);
    assert_eq!((refused.status, &*refused.reason()), (409, Refusal::TooMany.code()));
    last.certificate(&served);
    // Those that are revoked have room for others, up to a thousand.
    database.execute("UPDATE nodes SET state = 'revoked' WHERE since = 0", []).unwrap();
    Node::of(&ann, "chess").certificate(&served);
    add(63, 1021, "revoked");
    Node::of(&ann, "chess").certificate(&served);
    assert_eq!(Node::of(&ann, "chess").enrol(&served).reason(), "too_many");
    last.certificate(&served);
}
