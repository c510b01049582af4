//! An older copy of the database was put back: whoever it does not know can be revoked all the same.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use atoll_core::security::{Authority, Claim, Refusal as NoMember, SignedList, Trust, UserList, Wall};
use common::club::{give_back, group, restored, with_backup};
use common::node::Node;
use common::{Program, START, Served};
use openssl::base64::decode_block;
use openssl::x509::X509;
use serde_json::json;

/// A group whose database has forgotten Bob's membership, but not his account, and all of Eve.
struct Forgotten {
    served: Served,
    token: String,
    own: Node,
    certificates: Vec<X509>,
}

impl Forgotten {
    fn new() -> Self {
        let served = Served::new();
        let (ann, _) = group(&served, &[]);
        let own = Node::of(&ann, "chess");
        served.program("bob");
        let token = ann.token.clone();
        drop(ann);
        let (served, backup) = with_backup(served, START);
        let ann = Program { served: &served, token: token.clone() };
        let certificates = [served.again("bob"), served.program("Eve")].map(|user| {
            user.done("POST", "/api/v1/groups/chess/requests", &json!(null));
            let name = user.done("GET", "/api/v1/account", &json!(null)).json()["name"].clone();
            let path = format!("/api/v1/groups/chess/requests/{}", name.as_str().unwrap());
            ann.done("PUT", &path, &json!({"admitted": true}));
            Node::of(&user, "chess").certificate(&served)
        });
        let said = own.list(&served).json();
        let served = restored(served.end(), backup.path(), START + 1000);
        // Nothing was revoked after the copy, so nothing is missing on the list.
        assert_eq!(give_back(&own, &served, &said).json()["new"], false);
        Self { served, token, own, certificates: certificates.into() }
    }

    fn ann(&self) -> Program<'_> {
        Program { served: &self.served, token: self.token.clone() }
    }

    fn list(&self) -> UserList {
        UserList::read(self.own.list(&self.served).json()["text"].as_str().unwrap()).unwrap()
    }

    /// What members think of the certificates, by the list and by the notices alone.
    fn judged(&self) -> Vec<[bool; 2]> {
        let said = self.own.list(&self.served).json();
        let root = X509::from_pem(self.own.file.group.authority.as_bytes()).unwrap();
        let rule = || Authority::new(&root.to_der().unwrap(), "chess").unwrap();
        let (mut listed, mut noticed) = (rule(), rule());
        let signature = decode_block(said["signature"].as_str().unwrap()).unwrap();
        listed.take_user_list(&SignedList::join(said["text"].as_str().unwrap(), &signature)).unwrap();
        for notice in said["notices"].as_array().unwrap() {
            noticed.take_notice(&decode_block(notice.as_str().unwrap()).unwrap()).unwrap();
        }
        let rules = [listed, noticed].map(|rule| Trust::Authority(Box::new(rule)));
        let is_in = |rule: &Trust, one: &X509| {
            let claim = Claim::Certificate(one.to_der().unwrap());
            match rule.verify(&claim, Wall(self.served.now() as u64)) {
                Ok(_) => true,
                Err(why) => {
                    assert_eq!(why, NoMember::Revoked);
                    false
                }
            }
        };
        let each = |one| [is_in(&rules[0], one), is_in(&rules[1], one)];
        self.certificates.iter().map(each).collect()
    }
}

fn member(name: &str, unknown: bool) -> String {
    format!("/api/v1/groups/chess/members/{name}{}", if unknown { "?unknown=true" } else { "" })
}

#[test]
fn whoever_became_a_member_after_the_copy_is_revoked_by_name() {
    let forgotten = Forgotten::new();
    let ann = forgotten.ann();
    for name in ["bob", "Eve", "nobody"] {
        let answer = ann.ask("DELETE", &member(name, false), &json!(null));
        assert_eq!((answer.status, &*answer.reason()), (404, "not_found"), "it may be mistyped");
        assert!(answer.body.contains("?unknown=true"), "{}", answer.body);
    }
    assert_eq!(forgotten.judged(), [[true; 2]; 2]);
    let number = forgotten.list().number;
    // Bob's account is there, so that its letters are known.
    ann.done("DELETE", &member("BOB", true), &json!(null));
    assert_eq!(forgotten.judged(), [[false; 2], [true; 2]]);
    ann.done("DELETE", &member("Eve", true), &json!(null));
    assert_eq!(forgotten.judged(), [[false; 2]; 2]);
    let list = forgotten.list();
    let names: Vec<&str> = list.users.iter().map(|(name, _)| &**name).collect();
    assert_eq!((names, list.number), (vec!["Eve", "bob"], number + 2));
    for unknown in [false, true] {
        ann.refused(("DELETE", &member("Eve", unknown)), &json!(null), "state");
        ann.refused(("DELETE", &member("bob", unknown)), &json!(null), "state");
    }
    // Neither comes in again.
    let ask = ("POST", "/api/v1/groups/chess/requests");
    forgotten.served.again("bob").refused(ask, &json!(null), "revoked");
    forgotten.served.program("eve").refused(ask, &json!(null), "revoked");
}

#[test]
fn a_name_in_other_letters_is_revoked_as_well() {
    let forgotten = Forgotten::new();
    let ann = forgotten.ann();
    ann.done("DELETE", &member("eve", true), &json!(null));
    assert_eq!(forgotten.judged()[1], [true; 2], "members take a name letter by letter");
    ann.refused(("DELETE", &member("Eve", false)), &json!(null), "state");
    ann.done("DELETE", &member("Eve", true), &json!(null));
    assert_eq!(forgotten.judged()[1], [false; 2]);
}

#[test]
fn only_an_administrator_revokes_unknown_names_and_only_what_is_a_name() {
    let forgotten = Forgotten::new();
    let ann = forgotten.ann();
    for name in ["a%20b", ".bob", &"x".repeat(65)] {
        ann.refused(("DELETE", &member(name, true)), &json!(null), "name");
    }
    ann.refused(("DELETE", &member("ann", true)), &json!(null), "last_administrator");
    let eve = forgotten.served.program("eve");
    eve.refused(("DELETE", &member("bob", true)), &json!(null), "not_member");
    let dan = group_member(&forgotten, "dan");
    dan.refused(("DELETE", &member("bob", true)), &json!(null), "not_administrator");
    let path = "/api/v1/groups/chess/certificates/0a?unknown=true";
    dan.refused(("DELETE", path), &json!(null), "not_administrator");
    assert!(forgotten.list().users.is_empty() && forgotten.list().serials.is_empty());
    ann.done("DELETE", &member("dan", true), &json!(null));
    assert_eq!(forgotten.list().users.len(), 1, "a member is revoked like any");
}

fn group_member<'a>(forgotten: &'a Forgotten, name: &str) -> Program<'a> {
    let user = forgotten.served.program(name);
    user.done("POST", "/api/v1/groups/chess/requests", &json!(null));
    let path = format!("/api/v1/groups/chess/requests/{name}");
    forgotten.ann().done("PUT", &path, &json!({"admitted": true}));
    user
}

#[test]
fn a_certificate_is_revoked_by_its_serial_number() {
    let forgotten = Forgotten::new();
    let ann = forgotten.ann();
    let serial = |one: &X509| one.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string();
    let path = |serial: &str, more: &str| format!("/api/v1/groups/chess/certificates/{serial}{more}");
    let bob = serial(&forgotten.certificates[0]);
    ann.refused(("DELETE", &path("xyz", "?unknown=true")), &json!(null), "field");
    ann.refused(("DELETE", &path(&bob, "")), &json!(null), "not_found");
    ann.done("DELETE", &path(&bob, "?unknown=true"), &json!(null));
    assert_eq!(forgotten.judged(), [[false; 2], [true; 2]]);
    ann.refused(("DELETE", &path(&bob, "?unknown=true")), &json!(null), "state");
    // One that the site knows ends with its node.
    let dan = Node::of(&group_member(&forgotten, "dan"), "chess");
    let known = serial(&dan.certificate(&forgotten.served));
    ann.done("DELETE", &path(&known, ""), &json!(null));
    assert_eq!(dan.enrol(&forgotten.served).reason(), "revoked");
    ann.refused(("DELETE", &path(&known, "")), &json!(null), "state");
}

#[test]
fn the_page_revokes_an_unknown_name_that_is_typed_twice_and_none_by_a_mistake() {
    let served = Served::new();
    let mut ann = served.browser();
    ann.sign_up("ann");
    ann.post(("/", "/groups"), &[("name", "chess")]);
    let page = "/groups/chess";
    assert!(ann.get(page).body.contains("Revoke a name that is not on this list"));
    let answer = ann.post((page, "/groups/chess/members/eve"), &[("act", "revoke")]);
    assert_eq!(answer.status, 404, "{}", answer.body);
    let mut revoke = |name: &str, again: &str| {
        ann.post((page, "/groups/chess/revoke"), &[("name", name), ("again", again)]).status
    };
    assert_eq!([revoke("eve", "evf"), revoke("e v e", "e v e"), revoke("", "")], [422; 3]);
    assert_eq!(revoke("eve", "eve"), 303);
    assert_eq!(revoke("eve", "eve"), 409);
    assert!(ann.get("/groups/chess/audit").body.contains("revoke unknown user"));
    assert_eq!(ann.post_with("/groups/chess/revoke", "", &[("name", "x"), ("again", "x")]).status, 403);
}
