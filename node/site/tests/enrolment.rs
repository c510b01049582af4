//! Enrolment: who gets a certificate, who does not and why, and that members take what is signed.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use atoll_core::security::Refusal as NoMember;
use atoll_site::{Enrol, FRESH, VALID, keys};
use common::node::{Node, nonce, request};
use common::{Program, Request, Served};
use openssl::x509::X509;
use serde_json::json;

fn founder<'a>(served: &'a Served, group: &str) -> Program<'a> {
    let ann = served.program("ann");
    ann.done("POST", "/api/v1/groups", &json!({"name": group}));
    ann
}

/// Somebody whom `ann` lets in.
fn member<'a>(served: &'a Served, ann: &Program<'_>, name: &str) -> Program<'a> {
    let user = served.program(name);
    user.done("POST", "/api/v1/groups/chess/requests", &json!(null));
    ann.done("PUT", &format!("/api/v1/groups/chess/requests/{name}"), &json!({"admitted": true}));
    user
}

#[test]
fn a_member_gets_a_certificate_that_members_take_and_its_key_stays_at_home() {
    let served = Served::new();
    let ann = founder(&served, "chess");
    let node = Node::of(&ann, "chess");
    let certificate = node.certificate(&served);
    let judged = node.judged(&certificate, None, served.now()).unwrap();
    assert_eq!(judged.user.as_deref(), Some("ann"));
    assert_eq!(judged.group.as_deref(), Some("chess"));
    assert_eq!(judged.address, atoll_core::security::address_of(&node.key).unwrap());
    assert_eq!(judged.serial.0.len(), 16);
    assert!(certificate.public_key().unwrap().public_eq(&node.key));
    assert_eq!(judged.not_after.unwrap().0 as i64, served.now() + VALID);
    assert_eq!(node.judged(&certificate, None, served.now() + VALID + 1), Err(NoMember::Expired));
}

#[test]
fn an_answer_that_was_lost_is_given_again_and_half_a_life_later_a_new_certificate_is() {
    let served = Served::new();
    let ann = founder(&served, "chess");
    let node = Node::of(&ann, "chess");
    let first = node.certificate(&served);
    served.pass(3600);
    assert_eq!(node.certificate(&served).to_der().unwrap(), first.to_der().unwrap());
    served.pass(VALID as u64 / 2);
    let second = node.certificate(&served);
    assert_ne!(second.serial_number().to_bn().unwrap(), first.serial_number().to_bn().unwrap());
    assert!(node.judged(&second, None, served.now()).is_ok());
}

#[test]
fn forged_replayed_stale_and_misdirected_requests_are_told_apart_and_refused() {
    let served = Served::new();
    let ann = founder(&served, "chess");
    ann.done("POST", "/api/v1/groups", &json!({"name": "go"}));
    let node = Node::of(&ann, "chess");
    let draft = || node.draft(served.now());
    let good = node.signed(draft());
    let refused = |ask: &Enrol, reason: &str| {
        let answer = Node::send(&served, ask);
        assert_eq!(answer.reason(), reason, "{}", answer.body);
    };
    refused(&Enrol { mac: "0".repeat(64), ..good.clone() }, "forged");
    refused(&Enrol { mac: String::new(), ..good.clone() }, "forged");
    refused(&Enrol { nonce: nonce(), ..good.clone() }, "forged");
    refused(&Enrol { time: good.time + 1, ..good.clone() }, "forged");
    refused(&Enrol { request: request(&keys::generate().unwrap()), ..good.clone() }, "forged");
    refused(&Enrol { group: "go".to_owned(), ..good.clone() }, "forged");
    refused(&Enrol { user: "bob".to_owned(), ..good.clone() }, "forged");
    refused(&node.signed(Enrol { group: "go".to_owned(), ..draft() }), "forged");
    refused(&node.signed(Enrol { group: "nowhere".to_owned(), ..draft() }), "forged");
    refused(&node.signed(Enrol { time: served.now() - FRESH - 1, ..draft() }), "stale");
    refused(&node.signed(Enrol { time: served.now() + FRESH + 1, ..draft() }), "stale");
    refused(&node.signed(Enrol { time: i64::MIN, ..draft() }), "stale");
    refused(&node.signed(Enrol { nonce: "xyz".to_owned(), ..draft() }), "malformed");
    assert_eq!(Node::send(&served, &good).status, 200);
    refused(&good, "replayed");
}

#[test]
fn certificate_requests_of_other_kinds_get_nothing() {
    let served = Served::new();
    let ann = founder(&served, "chess");
    let node = Node::of(&ann, "chess");
    let with = |request: String| {
        let ask = node.signed(Enrol { request, ..node.draft(served.now()) });
        Node::send(&served, &ask).reason()
    };
    let rsa = openssl::pkey::PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap();
    assert_eq!(with(request(&rsa)), "bad_request");
    assert_eq!(with(String::new()), "bad_request");
    assert_eq!(
        with("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n".to_owned()),
        "bad_request"
    );
    assert_eq!(with("\u{0}".repeat(20)), "bad_request");
    assert_eq!(with("x".repeat(9000)), "too_long");
    let mut builder = openssl::x509::X509Req::builder().unwrap();
    builder.set_pubkey(&node.key).unwrap();
    builder.sign(&keys::generate().unwrap(), openssl::hash::MessageDigest::sha256()).unwrap();
    let foreign = String::from_utf8(builder.build().to_pem().unwrap()).unwrap();
    assert_eq!(with(foreign), "bad_request", "a key that did not sign is nobody's proof");
}

#[test]
fn the_policy_decides_about_new_nodes_and_never_about_renewals() {
    let served = Served::new();
    let ann = founder(&served, "chess");
    let bob = member(&served, &ann, "bob");
    let policy = |body: serde_json::Value| ann.done("PUT", "/api/v1/groups/chess/policy", &body);
    policy(json!({"policy": "first", "first": 1}));
    let (one, two) = (Node::of(&bob, "chess"), Node::of(&bob, "chess"));
    one.certificate(&served);
    let waiting = two.enrol(&served);
    assert_eq!((waiting.status, waiting.json()["state"].as_str()), (202, Some("waiting")));
    policy(json!({"policy": "ask"}));
    served.pass(VALID as u64);
    one.certificate(&served);
    assert_eq!(two.enrol(&served).status, 202);

    // So much later nobody is logged in any more.
    let (ann, bob) = (served.again("ann"), served.again("bob"));
    let rows = ann.done("GET", "/api/v1/groups/chess/nodes", &json!(null)).json();
    assert_eq!(rows["rows"].as_array().unwrap().len(), 1);
    let place = format!("/api/v1/groups/chess/nodes/{}", rows["rows"][0]["address"].as_str().unwrap());
    bob.refused(("PUT", &place), &json!({"admitted": true}), "not_administrator");
    ann.done("PUT", &place, &json!({"admitted": false}));
    assert_eq!(two.enrol(&served).reason(), "refused");
    ann.done("PUT", &place, &json!({"admitted": true}));
    two.certificate(&served);
}

#[test]
fn a_file_is_of_no_use_once_its_user_was_revoked_left_or_made_a_new_one() {
    let served = Served::new();
    let ann = founder(&served, "chess");
    let (bob, eve) = (member(&served, &ann, "bob"), member(&served, &ann, "eve"));
    let (old, stolen, left) = (Node::of(&ann, "chess"), Node::of(&bob, "chess"), Node::of(&eve, "chess"));
    let fresh = || keys::generate().unwrap();
    left.certificate(&served);
    ann.done("DELETE", "/api/v1/groups/chess/file", &json!(null));
    assert_eq!(old.enrol(&served).reason(), "forged");
    ann.done("DELETE", "/api/v1/groups/chess/members/bob", &json!(null));
    assert_eq!(stolen.enrol(&served).reason(), "revoked");
    assert_eq!(Node { key: fresh(), file: stolen.file.clone() }.enrol(&served).reason(), "revoked");
    eve.done("DELETE", "/api/v1/groups/chess/membership", &json!(null));
    assert_eq!(left.enrol(&served).reason(), "not_member");
    let guess = Enrol { mac: "0".repeat(64), ..stolen.draft(served.now()) };
    assert_eq!(Node::send(&served, &guess).reason(), "forged", "strangers do not learn who is revoked");
    bob.refused(("POST", "/api/v1/groups/chess/requests"), &json!(null), "revoked");
    eve.done("POST", "/api/v1/groups/chess/requests", &json!(null));
    ann.done("PUT", "/api/v1/groups/chess/requests/eve", &json!({"admitted": true}));
    assert_eq!(left.enrol(&served).reason(), "forged", "it has a new key");
    let again = Node { key: left.key, ..Node::of(&eve, "chess") };
    again.certificate(&served);
}

#[test]
fn a_node_that_was_revoked_stays_out_and_its_user_adds_others() {
    let served = Served::new();
    let ann = founder(&served, "chess");
    let bob = member(&served, &ann, "bob");
    let node = Node::of(&bob, "chess");
    let certificate = node.certificate(&served);
    let address = atoll_core::security::address_of(&node.key).unwrap();
    bob.done("DELETE", &format!("/api/v1/groups/chess/nodes/{address}"), &json!(null));
    assert_eq!(node.enrol(&served).reason(), "revoked");
    let list = node.list(&served).json()["x509"].as_str().unwrap().to_owned();
    assert_eq!(node.judged(&certificate, Some(&list), served.now()), Err(NoMember::Revoked));
    let other = Node::of(&bob, "chess");
    let certificate = other.certificate(&served);
    assert!(other.judged(&certificate, Some(&list), served.now()).is_ok());
}

#[test]
fn a_key_belongs_to_one_user() {
    let served = Served::new();
    let ann = founder(&served, "chess");
    let bob = member(&served, &ann, "bob");
    let node = Node::of(&ann, "chess");
    node.certificate(&served);
    let thief = Node { key: node.key.clone(), ..Node::of(&bob, "chess") };
    assert_eq!(thief.enrol(&served).reason(), "other_node");
}

#[test]
fn a_link_fetches_the_file_once_and_within_its_time() {
    let served = Served::new();
    let ann = founder(&served, "chess");
    let link = || {
        let made = ann.done("POST", "/api/v1/groups/chess/links", &json!(null)).json();
        let link = made["link"].as_str().unwrap().to_owned();
        assert!(
            link.starts_with("atoll://join?site=https://") && link.contains(&served.site.pin()),
            "{link}"
        );
        link.split_once("token=").unwrap().1.to_owned()
    };
    let redeem = |token: &str| {
        let body = json!({"token": token}).to_string();
        served.ask(&Request::json("POST", "/api/v1/links", &body))
    };
    let token = link();
    let file = redeem(&token);
    assert_eq!(file.status, 200);
    assert_eq!(file.body, ann.done("GET", "/api/v1/groups/chess/file", &json!(null)).body);
    assert_eq!(redeem(&token).reason(), "ended");
    let token = link();
    served.pass(15 * 60);
    assert_eq!(redeem(&token).reason(), "ended");
    assert_eq!(redeem("nonsense").reason(), "ended");
}

#[test]
fn every_certificate_is_in_the_audit_log() {
    let served = Served::new();
    let ann = founder(&served, "chess");
    let serials: Vec<String> = (0..3)
        .map(|_| {
            let certificate: X509 = Node::of(&ann, "chess").certificate(&served);
            certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_lowercase()
        })
        .collect();
    let log = ann.done("GET", "/api/v1/groups/chess/audit", &json!(null)).body;
    assert!(serials.iter().all(|serial| log.contains(serial)), "{log}");
}

#[test]
fn of_many_at_once_with_one_nonce_one_is_answered_and_each_invitation_is_used_once() {
    let served = Served::new();
    let ann = founder(&served, "chess");
    let node = Node::of(&ann, "chess");
    let ask = node.signed(node.draft(served.now()));
    let at_once = |ask: &(dyn Fn(usize) -> u16 + Sync)| -> Vec<u16> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || ask(number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    };
    let statuses = at_once(&|_| Node::send(&served, &ask).status);
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");

    let made = ann.done("POST", "/api/v1/groups/chess/invitations", &json!({"uses": 3, "days": 1})).json();
    let users: Vec<Program<'_>> = (0..8).map(|number| served.program(&format!("user{number}"))).collect();
    let accept = json!({"token": made["token"]});
    let path = "/api/v1/groups/chess/membership";
    let statuses = at_once(&|number| users[number].ask("POST", path, &accept).status);
    assert_eq!(statuses.iter().filter(|status| **status == 204).count(), 3, "{statuses:?}");
    assert!(statuses.iter().all(|status| [204, 410].contains(status)), "{statuses:?}");
}

#[test]
fn a_node_that_was_revoked_still_counts_among_the_first() {
    let served = Served::new();
    let ann = founder(&served, "chess");
    ann.done("PUT", "/api/v1/groups/chess/policy", &json!({"policy": "first", "first": 1}));
    let bob = member(&served, &ann, "bob");
    let node = Node::of(&bob, "chess");
    node.certificate(&served);
    let address = atoll_core::security::address_of(&node.key).unwrap();
    ann.done("DELETE", &format!("/api/v1/groups/chess/nodes/{address}"), &json!(null));
    assert_eq!(Node::of(&bob, "chess").enrol(&served).status, 202, "nobody gets around a revocation");
}
