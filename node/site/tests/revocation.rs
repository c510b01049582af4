//! Revocation lists: they only grow, and a database that forgot some signs nothing before they are back.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::time::Duration;

use atoll_core::security::Refusal as NoMember;
use atoll_core::security::{Authority, Claim, Mark, Salt, SignedList, Trust, UserList, Wall, list_digest};
use atoll_core::wire::Address;
use atoll_site::authority::LIFE;
use atoll_site::{Enrol, Term};
use common::club::{give_back, group, restored, revoke, with_backup};
use common::node::{Node, unhex};
use common::{Program, Request, START, Served};
use openssl::base64::{decode_block, encode_block};
use openssl::x509::X509;
use serde_json::{Value, json};

/// A list, after its signature was verified.
fn list(node: &Node, served: &Served) -> (UserList, Value) {
    let answer = node.list(served);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let root = X509::from_pem(node.file.group.authority.as_bytes()).unwrap();
    let said = answer.json();
    let signature = decode_block(said["signature"].as_str().unwrap()).unwrap();
    let list =
        UserList::verified(&root.public_key().unwrap(), said["text"].as_str().unwrap(), &signature).unwrap();
    (list, said)
}

#[test]
fn a_revoked_user_is_on_both_lists_and_members_take_none_of_its_certificates() {
    let served = Served::new();
    let (ann, others) = group(&served, &["bob"]);
    let (own, node) = (Node::of(&ann, "chess"), Node::of(&others[0], "chess"));
    let certificate = node.certificate(&served);
    let (before, _) = list(&own, &served);
    assert_eq!((before.users.len(), before.serials.len()), (0, 0));
    served.pass(10);
    revoke(&ann, "bob");
    let (after, said) = list(&own, &served);
    assert!(after.number > before.number && after.at > before.at);
    assert_eq!(after.users, [("bob".to_owned(), served.now())]);
    assert_eq!(after.serials.len(), 1);
    assert_eq!(said["digest"], list_digest(said["text"].as_str().unwrap()));
    let x509 = said["x509"].as_str();
    assert_eq!(own.judged(&certificate, x509, served.now()), Err(NoMember::Revoked));
    let mine = own.certificate(&served);
    assert!(own.judged(&mine, x509, served.now()).is_ok());
}

/// The group's rule after it was told these notices of an answer.
fn told(node: &Node, notices: &Value) -> Authority {
    let root = X509::from_pem(node.file.group.authority.as_bytes()).unwrap();
    let mut authority = Authority::new(&root.to_der().unwrap(), "chess").unwrap();
    for notice in notices.as_array().unwrap() {
        let (_, fresh) = authority.take_notice(&decode_block(notice.as_str().unwrap()).unwrap()).unwrap();
        assert!(fresh);
    }
    authority
}

/// The mark of the salt in an answer.
fn mark(epoch: &Value) -> Mark {
    Salt(unhex(epoch["salt"].as_str().unwrap()).try_into().unwrap()).mark()
}

#[test]
fn each_revocation_has_a_notice_that_goes_on_where_the_list_before_ended() {
    let served = Served::new();
    let (ann, others) = group(&served, &["bob", "eve", "zoe"]);
    let own = Node::of(&ann, "chess");
    let (first, said) = list(&own, &served);
    assert_eq!(said["notices"], json!([]));
    let [bob, zoe] = [0, 2].map(|user| Node::of(&others[user], "chess").certificate(&served));
    let node = Node::of(&others[1], "chess");
    let many: Vec<X509> = (0..20).map(|_| Node::of(&others[1], "chess").certificate(&served)).collect();
    let lone = node.certificate(&served);
    revoke(&ann, "bob");
    others[1].done("DELETE", "/api/v1/groups/chess/membership", &json!(null));
    let (newest, said) = list(&own, &served);
    assert_eq!(said["notices"].as_array().unwrap().len(), 3, "21 certificates do not fit into one");
    let mut rule = told(&own, &said["notices"]);
    assert_eq!(rule.known().complete(), 0, "what the first list said is not known");
    let signature = decode_block(said["signature"].as_str().unwrap()).unwrap();
    let text = said["text"].as_str().unwrap();
    rule.take_user_list(&SignedList::join(text, &signature)).unwrap();
    assert_eq!(rule.known().complete(), newest.number as u64);
    assert_eq!(newest.number, first.number + 3);
    let trust = Trust::Authority(Box::new(told(&own, &said["notices"])));
    let judged = |certificate: &X509| {
        let claim = Claim::Certificate(certificate.to_der().unwrap());
        trust.verify(&claim, Wall(served.now() as u64)).map(|member| member.user)
    };
    assert!(many.iter().chain([&lone, &bob]).all(|one| judged(one) == Err(NoMember::Revoked)));
    assert_eq!(judged(&zoe), Ok(Some("zoe".to_owned())));
}

#[test]
fn a_clock_that_was_ahead_for_a_while_has_no_revocation_forgotten() {
    let served = Served::new();
    let (ann, others) = group(&served, &["bob", "dan", "eve"]);
    let [own, bob, dan] = [&ann, &others[0], &others[1]].map(|one| Node::of(one, "chess"));
    let certificates = [&bob, &dan].map(|node| node.certificate(&served));
    let end = |by: &Program<'_>, node: &Node| {
        let address = atoll_core::security::address_of(&node.key).unwrap();
        by.done("DELETE", &format!("/api/v1/groups/chess/nodes/{address}"), &json!(null));
    };
    end(&ann, &bob);
    let ahead = 400 * 86_400;
    served.pass(ahead);
    end(&served.again("ann"), &dan);
    let both = list(&own, &served).0.serials;
    assert_eq!(both.len(), 2, "by that clock both certificates have ended");
    served.clock.fetch_sub(ahead, std::sync::atomic::Ordering::Relaxed);
    revoke(&ann, "eve");
    let (list, said) = list(&own, &served);
    assert_eq!(list.serials, both);
    let trust = Trust::Authority(Box::new(told(&own, &said["notices"])));
    for certificate in &certificates {
        assert_eq!(own.judged(certificate, said["x509"].as_str(), served.now()), Err(NoMember::Revoked));
        let claim = Claim::Certificate(certificate.to_der().unwrap());
        let judged = trust.verify(&claim, Wall(served.now() as u64)).map(|member| member.user);
        assert_eq!(judged, Err(NoMember::Revoked), "by the notices alone");
    }
}

#[test]
fn lists_are_for_those_who_know_the_secret() {
    let served = Served::new();
    let (ann, _) = group(&served, &[]);
    let node = Node::of(&ann, "chess");
    let path = "/api/v1/groups/chess/revocations";
    let ask = |proof: &str| served.ask(&Request::get(path).with("Atoll-Reader", proof.to_owned())).status;
    assert_eq!(ask(&node.proof()), 200);
    assert_eq!(ask(""), 401);
    assert_eq!(ask(&"0".repeat(64)), 401);
    assert_eq!(served.ask(&Request::get(path)).status, 401);
    let nowhere = Request::get("/api/v1/groups/nowhere/revocations").with("Atoll-Reader", node.proof());
    assert_eq!(served.ask(&nowhere).status, 401, "as if it were there");
}

#[test]
fn a_list_that_is_known_is_not_made_ready_again() {
    let served = Served::new();
    let (ann, _) = group(&served, &["bob"]);
    let node = Node::of(&ann, "chess");
    let ask = |tag: &str| {
        let request = Request::get("/api/v1/groups/chess/revocations").with("Atoll-Reader", node.proof());
        served.ask(&request.with("If-None-Match", tag.to_owned()))
    };
    let first = ask("\"none\"");
    let tag = first.header("etag").to_owned();
    assert_eq!((first.status, ask(&tag).status, ask(&tag).header("etag")), (200, 304, &*tag));
    revoke(&ann, "bob");
    let second = ask(&tag);
    assert_eq!(second.status, 200);
    let database = served.folder.as_ref().unwrap().path().join("data/site.sqlite");
    let database = rusqlite::Connection::open(database).unwrap();
    database.busy_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!(database.execute("UPDATE lists SET x509 = x'00'", []).unwrap(), 1);
    assert_eq!(ask(second.header("etag")).status, 304, "nothing of it is looked at");
    assert_eq!(ask(&tag).status, 500, "what is spoilt is no list");
}

#[test]
fn the_last_administrator_stays_and_others_go() {
    let served = Served::new();
    let (ann, others) = group(&served, &["bob"]);
    ann.refused(("DELETE", "/api/v1/groups/chess/members/ann"), &json!(null), "last_administrator");
    ann.refused(("DELETE", "/api/v1/groups/chess/membership"), &json!(null), "last_administrator");
    let role = "/api/v1/groups/chess/members/bob/administrator";
    others[0].refused(("PUT", role), &json!({"administrator": true}), "not_administrator");
    ann.done("PUT", role, &json!({"administrator": true}));
    ann.done("DELETE", "/api/v1/groups/chess/membership", &json!(null));
    others[0].refused(("DELETE", "/api/v1/groups/chess/membership"), &json!(null), "last_administrator");
}

#[test]
fn a_restored_database_signs_nothing_until_its_newest_list_is_back() {
    let served = Served::new();
    let (ann, others) = group(&served, &["bob", "eve"]);
    let (own, bob, eve) =
        (Node::of(&ann, "chess"), Node::of(&others[0], "chess"), Node::of(&others[1], "chess"));
    own.certificate(&served);
    revoke(&ann, "eve");
    let (_, middle) = list(&own, &served);
    let (token, wall) = (ann.token.clone(), served.now() as u64);
    drop((ann, others));
    let (served, backup) = with_backup(served, wall);
    let ann = Program { served: &served, token: token.clone() };
    let late = bob.certificate(&served);
    let before = own.enrol(&served).json()["epoch"].clone();
    revoke(&ann, "bob");
    let newer = own.enrol(&served).json()["epoch"].clone();
    let (newest, said) = list(&own, &served);
    let served = restored(served.end(), backup.path(), wall + 1000);

    // The database says that Bob is a member.
    assert_eq!(bob.enrol(&served).reason(), "restored");
    assert_eq!(own.enrol(&served).reason(), "restored");
    assert_eq!(own.list(&served).reason(), "restored");
    let ann = Program { served: &served, token };
    ann.refused(("DELETE", "/api/v1/groups/chess/members/bob"), &json!(null), "restored");
    assert_eq!(give_back(&own, &served, &middle).json()["new"], false, "an older one does not do");
    assert_eq!(own.enrol(&served).reason(), "restored");

    assert_eq!(give_back(&own, &served, &said).json()["new"], true);
    assert_eq!(bob.enrol(&served).reason(), "revoked");
    assert_eq!(eve.enrol(&served).reason(), "revoked");
    let epoch = own.enrol(&served).json()["epoch"].clone();
    let (list, said) = list(&own, &served);
    // Members may have the salt of a notice that the database has forgotten: they get another one, behind that.
    assert_eq!(epoch["number"].as_i64(), Some(list.number));
    let rule = told(&own, &said["notices"]);
    assert_eq!(rule.known().epoch(), (list.number as u64, mark(&epoch)));
    assert!(epoch["salt"] != before["salt"] && epoch["salt"] != newer["salt"]);
    assert!(list.number > newest.number);
    let names: Vec<&str> = list.users.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["bob", "eve"]);
    assert_eq!(
        own.judged(&late, said["x509"].as_str(), served.now()),
        Err(NoMember::Revoked),
        "of after the copy"
    );
}

#[test]
fn the_notices_that_followed_an_older_list_bring_the_rest_back() {
    let served = Served::new();
    let (ann, others) = group(&served, &["bob", "eve", "dan"]);
    let [own, eve, dan] = [&ann, &others[1], &others[2]].map(|one| Node::of(one, "chess"));
    dan.certificate(&served);
    let (token, wall) = (ann.token.clone(), served.now() as u64);
    drop((ann, others));
    let (served, backup) = with_backup(served, wall);
    let ann = Program { served: &served, token };
    revoke(&ann, "bob");
    let (_, older) = list(&own, &served);
    revoke(&ann, "eve");
    let address = atoll_core::security::address_of(&dan.key).unwrap();
    ann.done("DELETE", &format!("/api/v1/groups/chess/nodes/{address}"), &json!(null));
    let (newest, last) = list(&own, &served);
    let notices = last["notices"].as_array().unwrap();
    let served = restored(served.end(), backup.path(), wall + 1000);
    let with = |notices: &[Value]| {
        let given = json!({"text": older["text"], "signature": older["signature"], "notices": notices});
        give_back(&own, &served, &given)
    };
    // Without the one in between nobody knows what the last one follows.
    let gap: Vec<Value> = notices.last().cloned().into_iter().collect();
    assert_eq!(with(&gap).json()["new"], false);
    assert_eq!(own.enrol(&served).reason(), "restored");
    let changed = |at: usize| {
        let mut bytes = decode_block(gap[0].as_str().unwrap()).unwrap();
        bytes[at] ^= 2;
        json!(encode_block(&bytes))
    };
    assert_eq!(with(&[changed(0)]).reason(), "malformed", "of another version");
    assert_eq!(with(&[changed(8)]).reason(), "foreign_list", "with another number");
    assert_eq!(with(&vec![gap[0].clone(); 257]).reason(), "too_many");
    assert_eq!(with(notices).json()["new"], true);
    assert_eq!(eve.enrol(&served).reason(), "revoked");
    let (list, _) = list(&own, &served);
    assert!(list.number > newest.number);
    let names: Vec<&str> = list.users.iter().map(|(name, _)| &**name).collect();
    assert_eq!((names, list.serials), (vec!["bob", "eve"], newest.serials));
}

#[test]
fn the_operator_may_say_that_nothing_is_missing() {
    let served = Served::new();
    let (ann, others) = group(&served, &["bob"]);
    let own = Node::of(&ann, "chess");
    let wall = served.now() as u64;
    drop((ann, others));
    let (served, backup) = with_backup(served, wall);
    revoke(&served.again("ann"), "bob");
    let (newest, _) = list(&own, &served);
    let served = restored(served.end(), backup.path(), wall);
    assert_eq!(own.enrol(&served).reason(), "restored");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // It is found all the same by members that may have the newest list.
    let term =
        Term { member: Address::from_bytes([7; Address::LEN]), lease: Duration::from_secs(60), sequence: 0 };
    let (number, _) = runtime.block_on(served.site.groups_after(0)).unwrap().remove(0);
    assert!(runtime.block_on(served.site.announce(number, term)).is_ok());
    assert_eq!(runtime.block_on(served.site.release()).unwrap(), ["chess"]);
    let epoch = own.enrol(&served).json()["epoch"].clone();
    let (list, said) = list(&own, &served);
    assert!(list.number > newest.number, "members take the list that follows");
    // Nobody is revoked by it, and the salt is another one than the members have since Bob was.
    assert_eq!((list.users.len(), list.serials.len()), (0, 1));
    assert_eq!(told(&own, &said["notices"]).known().epoch(), (list.number as u64, mark(&epoch)));
}

#[test]
fn a_held_group_whose_authority_has_ended_is_in_the_way_of_no_other() {
    let served = Served::new();
    let (ann, others) = group(&served, &["bob"]);
    served.pass(5000);
    ann.done("POST", "/api/v1/groups", &json!({"name": "go"}));
    others[0].done("POST", "/api/v1/groups/go/requests", &json!(null));
    ann.done("PUT", "/api/v1/groups/go/requests/bob", &json!({"admitted": true}));
    let nodes = ["chess", "go"].map(|group| Node::of(&ann, group));
    let (token, wall) = (ann.token.clone(), served.now() as u64);
    drop((ann, others));
    let (served, backup) = with_backup(served, wall);
    let ann = Program { served: &served, token };
    for group in ["chess", "go"] {
        ann.done("DELETE", &format!("/api/v1/groups/{group}/members/bob"), &json!(null));
    }
    let served = restored(served.end(), backup.path(), START + LIFE + 1000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(served.site.release()).unwrap(), ["go"]);
    assert_eq!(nodes[0].list(&served).reason(), "restored", "nothing can be signed for it");
    assert_eq!(nodes[1].list(&served).status, 200);
}

#[test]
fn a_node_that_knows_a_newer_list_than_the_site_gets_nothing() {
    let served = Served::new();
    let (ann, _) = group(&served, &[]);
    let node = Node::of(&ann, "chess");
    let (list, _) = list(&node, &served);
    let with = |number: i64| {
        let ask = node.signed(Enrol { list: number, ..node.draft(served.now()) });
        Node::send(&served, &ask)
    };
    assert_eq!(with(list.number + 1).reason(), "restored");
    assert_eq!(with(list.number).status, 200);
}

#[test]
fn nobody_else_s_list_is_taken() {
    let served = Served::new();
    let (ann, _) = group(&served, &["bob"]);
    ann.done("POST", "/api/v1/groups", &json!({"name": "go"}));
    let (chess, go) = (Node::of(&ann, "chess"), Node::of(&ann, "go"));
    let foreign = go.list(&served).json();
    assert_eq!(give_back(&chess, &served, &foreign).reason(), "foreign_list");
    let mut changed = chess.list(&served).json();
    let text = format!("{}user bob 5\n", changed["text"].as_str().unwrap());
    changed["text"] = json!(text);
    assert_eq!(give_back(&chess, &served, &changed).reason(), "foreign_list");
    let nonsense = json!({"text": "x", "signature": "!"});
    assert_eq!(give_back(&chess, &served, &nonsense).reason(), "malformed");
    assert_eq!(give_back(&go, &served, &chess.list(&served).json()).reason(), "forged");
}
