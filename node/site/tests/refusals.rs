//! What cannot be read or done is refused as the description says: JSON for programs, a page for people.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{Answer, PASSWORD, Program, Request, Served};
use serde_json::json;

/// The group's founder, as a program.
fn founder(served: &Served) -> Program<'_> {
    let ann = served.program("ann");
    ann.done("POST", "/api/v1/groups", &json!({"name": "chess"}));
    ann
}

#[track_caller]
fn is_refusal(answer: &Answer, (status, reason): (u16, &str)) {
    let said = answer.json();
    assert_eq!((answer.status, said["reason"].as_str().unwrap()), (status, reason), "{}", answer.body);
    assert!(said["message"].as_str().unwrap().len() > 10);
}

#[test]
fn programs_get_a_reason_for_whatever_they_send() {
    let served = Served::new();
    let ann = founder(&served);
    let ask = |method: &str, path: &str| ann.ask(method, path, &json!(null));
    for path in ["audit?before=xyz", "audit?before=99999999999999999999", "audit?before=1&before=2"] {
        is_refusal(&ask("GET", &format!("/api/v1/groups/chess/{path}")), (400, "malformed"));
    }
    is_refusal(&ask("DELETE", "/api/v1/groups/chess/members/bob?unknown=perhaps"), (400, "malformed"));
    is_refusal(&ask("DELETE", "/api/v1/groups/chess/invitations/xyz"), (404, "not_found"));
    is_refusal(&ask("GET", "/api/v1/groups/%FF"), (404, "not_found"));
    for (method, path, allowed) in [
        ("PATCH", "/api/v1/groups", "GET,HEAD,POST"),
        ("DELETE", "/api/v1/groups/chess", "GET,HEAD"),
        ("GET", "/api/v1/enrol", "POST"),
    ] {
        let answer = ask(method, path);
        is_refusal(&answer, (405, "method"));
        let mut methods: Vec<&str> = answer.header("allow").split(',').collect();
        methods.sort_unstable();
        assert_eq!(methods.join(","), allowed, "{method} {path}");
    }
}

#[test]
fn people_get_a_page_for_whatever_they_send() {
    let served = Served::new();
    let mut ann = served.browser();
    ann.sign_up("ann");
    ann.post(("/", "/groups"), &[("name", "chess")]);
    let token = ann.token("/");
    let mut answers = vec![
        (400, ann.get("/groups/chess/audit?before=xyz")),
        (400, ann.get("/login?next=a&next=b")),
        (404, ann.get("/groups/%FF")),
        (405, ann.get("/groups/chess/leave")),
        (405, ann.get("/logout")),
        (405, served.ask(&Request { method: "DELETE", path: "/groups/chess", headers: vec![], body: "" })),
    ];
    answers.push((404, ann.post_with("/groups/chess/invitations/xyz/withdraw", &token, &[])));
    for (status, answer) in answers {
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(
            answer.body.contains("This was not done") && answer.body.contains("style.css"),
            "{}",
            answer.body
        );
    }
}

#[test]
fn whoever_goes_to_no_group_sees_all_of_its_own() {
    let served = Served::new();
    let mut ann = served.browser();
    ann.sign_up("ann");
    ann.cookie = None;
    let next = ann.get("/groups?name=chess").header("location").to_owned();
    let fields =
        [("name", "ann"), ("password", PASSWORD), ("next", next.strip_prefix("/login?next=").unwrap())];
    let answer = ann.post((&next, "/login"), &fields);
    let place = answer.header("location").to_owned();
    let answer = ann.get(&place);
    assert_eq!((&*place, answer.status, answer.header("location")), ("/groups", 303, "/"));
    assert_eq!(ann.get("/groups?name=%20").header("location"), "/");
}
