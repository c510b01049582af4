//! The audit log: every act in a group is in it once, with who did it to whom.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use atoll_core::security::address_of;
use common::club::{give_back, restored};
use common::node::Node;
use common::{Program, START, Served};
use serde_json::{Value, json};

const GROUP: &str = "/api/v1/groups/chess";

/// Who did what to whom, the first first.
fn log(ann: &Program<'_>) -> Vec<[String; 3]> {
    let (mut all, mut before) = (Vec::new(), String::new());
    loop {
        let page = ann.done("GET", &format!("{GROUP}/audit{before}"), &json!(null)).json();
        for row in page["rows"].as_array().unwrap() {
            all.push(["actor", "act", "subject"].map(|part| row[part].as_str().unwrap().to_owned()));
        }
        let Some(next) = page["next"].as_str() else { break };
        before = format!("?before={next}");
    }
    all.reverse();
    all
}

/// What was written since a number of lines.
#[track_caller]
fn adds(ann: &Program<'_>, lines: &mut usize, expected: &[[&str; 3]]) {
    let all = log(ann);
    let fresh: Vec<[&str; 3]> = all[*lines..].iter().map(|row| [0, 1, 2].map(|part| &*row[part])).collect();
    assert_eq!(fresh, expected);
    *lines = all.len();
}

fn address(node: &Node) -> String {
    address_of(&node.key).unwrap().to_string()
}

/// Enrols; what the log says of the certificate.
fn certified(node: &Node, served: &Served) -> String {
    let certificate = node.certificate(served);
    let serial = certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_lowercase();
    format!("{serial} for {}", address(node))
}

#[test]
fn what_people_do_with_memberships_is_noted() {
    let served = Served::new();
    let (ann, bob, eve) = (served.program("ann"), served.program("bob"), served.program("eve"));
    let null = json!(null);
    ann.done("POST", "/api/v1/groups", &json!({"name": "chess"}));
    let lines = &mut 0;
    adds(&ann, lines, &[["ann", "found", "chess"]]);
    let requests = format!("{GROUP}/requests");
    bob.done("POST", &requests, &null);
    ann.done("PUT", &format!("{requests}/bob"), &json!({"admitted": false}));
    bob.done("POST", &requests, &null);
    ann.done("PUT", &format!("{requests}/bob"), &json!({"admitted": true}));
    adds(
        &ann,
        lines,
        &[["bob", "ask", "bob"], ["ann", "refuse", "bob"], ["bob", "ask", "bob"], ["ann", "admit", "bob"]],
    );
    let role = format!("{GROUP}/members/bob/administrator");
    ann.done("PUT", &role, &json!({"administrator": true}));
    ann.done("PUT", &role, &json!({"administrator": false}));
    adds(&ann, lines, &[["ann", "name administrator", "bob"], ["ann", "unname administrator", "bob"]]);
    let invitations = format!("{GROUP}/invitations");
    let made = ann.done("POST", &invitations, &json!({"uses": 2, "days": 3})).json();
    eve.done("POST", &format!("{GROUP}/membership"), &json!({"token": made["token"]}));
    let number = ann.done("GET", &invitations, &null).json()[0]["id"].to_string();
    ann.done("DELETE", &format!("{invitations}/{number}"), &null);
    adds(
        &ann,
        lines,
        &[
            ["ann", "invite", "2 uses, 3 days"],
            ["eve", "accept invitation", "eve"],
            ["ann", "withdraw invitation", &number],
        ],
    );
    bob.done("DELETE", &format!("{GROUP}/file"), &null);
    let link = bob.done("POST", &format!("{GROUP}/links"), &null).json()["link"].as_str().unwrap().to_owned();
    let token = json!({"token": link.split_once("token=").unwrap().1});
    ann.done("POST", "/api/v1/links", &token);
    adds(
        &ann,
        lines,
        &[["bob", "renew file", "bob"], ["bob", "make link", "bob"], ["bob", "use link", "bob"]],
    );
    bob.done("DELETE", &format!("{GROUP}/membership"), &null);
    ann.done("DELETE", &format!("{GROUP}/members/eve"), &null);
    ann.done("DELETE", &format!("{GROUP}/members/zoe?unknown=true"), &null);
    adds(
        &ann,
        lines,
        &[
            ["bob", "leave", "bob"],
            ["bob", "sign list", "2"],
            ["ann", "revoke user", "eve"],
            ["ann", "sign list", "3"],
            ["ann", "revoke unknown user", "zoe"],
            ["ann", "sign list", "4"],
        ],
    );
    // What is refused leaves nothing.
    ann.refused(("DELETE", &format!("{GROUP}/members/zoe?unknown=true")), &null, "state");
    bob.refused(("GET", &format!("{GROUP}/audit")), &null, "not_member");
    adds(&ann, lines, &[]);
}

#[test]
fn what_happens_to_nodes_is_noted() {
    let served = Served::new();
    let ann = served.program("ann");
    let null = json!(null);
    ann.done("POST", "/api/v1/groups", &json!({"name": "chess"}));
    let lines = &mut 1;
    let nodes = [0; 3].map(|_| Node::of(&ann, "chess"));
    let addresses = nodes.each_ref().map(address);
    let first = certified(&nodes[0], &served);
    certified(&nodes[0], &served);
    adds(&ann, lines, &[["ann", "certificate", &first]]);
    for policy in
        [json!({"policy": "first", "first": 3}), json!({"policy": "sign"}), json!({"policy": "ask"})]
    {
        ann.done("PUT", &format!("{GROUP}/policy"), &policy);
    }
    adds(
        &ann,
        lines,
        &[["ann", "set policy", "first 3"], ["ann", "set policy", "sign"], ["ann", "set policy", "ask"]],
    );
    let place = |number: usize| format!("{GROUP}/nodes/{}", addresses[number]);
    for (number, admitted) in [(1, true), (2, false)] {
        assert_eq!(nodes[number].enrol(&served).status, 202);
        ann.done("PUT", &place(number), &json!({"admitted": admitted}));
    }
    let second = certified(&nodes[1], &served);
    assert_eq!(nodes[2].enrol(&served).reason(), "refused");
    adds(
        &ann,
        lines,
        &[
            ["ann", "ask for node", &addresses[1]],
            ["ann", "admit node", &addresses[1]],
            ["ann", "ask for node", &addresses[2]],
            ["ann", "refuse node", &addresses[2]],
            ["ann", "certificate", &second],
        ],
    );
    ann.done("DELETE", &place(0), &null);
    let serial = second.split(' ').next().unwrap();
    ann.done("DELETE", &format!("{GROUP}/certificates/{serial}"), &null);
    ann.done("DELETE", &format!("{GROUP}/certificates/0badc0de?unknown=true"), &null);
    let unknown = log(&ann)[*lines + 4][2].clone();
    assert!(unknown.ends_with("badc0de"), "{unknown}");
    adds(
        &ann,
        lines,
        &[
            ["ann", "revoke node", &addresses[0]],
            ["ann", "sign list", "2"],
            ["ann", "revoke node", &addresses[1]],
            ["ann", "sign list", "3"],
            ["ann", "revoke unknown certificate", &unknown],
            ["ann", "sign list", "4"],
        ],
    );
}

#[test]
fn what_the_site_and_its_operator_do_is_noted() {
    let served = Served::new();
    let (ann, _) = common::club::group(&served, &["bob", "eve"]);
    let own = Node::of(&ann, "chess");
    let token = ann.token.clone();
    drop(ann);
    let (served, backup) = common::club::with_backup(served, START);
    let as_ann = |served: &Served, act: &dyn Fn(&Program<'_>)| act(&Program { served, token: token.clone() });
    as_ann(&served, &|ann| common::club::revoke(ann, "bob"));
    let said: Value = own.list(&served).json();
    // The copy has the founding, and two who asked and were let in.
    let served = restored(served.end(), backup.path(), START);
    as_ann(&served, &|ann| adds(ann, &mut 5, &[["(site)", "hold", "the database was restored"]]));
    give_back(&own, &served, &said);
    as_ann(&served, &|ann| adds(ann, &mut 6, &[["(site)", "take list back", "2"]]));

    let folder = served.end();
    std::fs::remove_file(folder.path().join("watermark")).unwrap();
    let served = restored(folder, backup.path(), START);
    give_back(&own, &served, &said);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(served.site.release()).unwrap();
    as_ann(&served, &|ann| {
        adds(
            ann,
            &mut 5,
            &[["(site)", "hold", "the watermark is missing"], ["(site)", "release", "by the operator"]],
        );
    });
}
