//! `atoll-node cert`: what it makes, what it never makes twice, and what it refuses.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use common::group::{Groups, cert, key, now, private, text, try_cert};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::stack::Stack;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{CrlNumber, X509, X509Crl, X509Req};

fn certificate(folder: &Path) -> X509 {
    X509::from_pem(&fs::read(folder.join("node.pem")).unwrap()).unwrap()
}

fn names(certificate: &X509) -> Vec<String> {
    let names = certificate.subject_alt_names().unwrap();
    names.iter().map(|name| name.uri().unwrap().to_owned()).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn list(authority: &Path) -> X509Crl {
    X509Crl::from_pem(&fs::read(authority.join("revocations.pem")).unwrap()).unwrap()
}

fn number(list: &X509Crl) -> BigNum {
    list.extension::<CrlNumber>().unwrap().unwrap().1.to_bn().unwrap()
}

/// Runs a verb that cannot do what it is asked; gives what it says.
#[track_caller]
fn refused(words: &[&str]) -> String {
    let output = try_cert(words);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
    assert!(output.stdout.is_empty() && said.starts_with("error: ") && said.contains("\nhint: "), "{said}");
    said
}

#[test]
fn an_authority_has_a_private_key_a_secret_and_an_empty_list() {
    let groups = Groups::new();
    let made = groups.authority("ca", "chess");
    let root = X509::from_pem(&fs::read(made.join("authority.pem")).unwrap()).unwrap();
    let key = PKey::private_key_from_pem(&fs::read(made.join("authority.key")).unwrap()).unwrap();
    assert!(root.verify(&key).unwrap());
    let shown = String::from_utf8(root.to_text().unwrap()).unwrap();
    assert!(shown.contains("CA:TRUE, pathlen:0") && shown.contains("Certificate Sign, CRL Sign"), "{shown}");
    assert_eq!(names(&root), ["atoll://group/chess"]);
    assert_eq!((mode(&made.join("authority.key")), mode(&made.join("secret"))), (0o600, 0o600));
    assert_eq!(fs::metadata(made.join("secret")).unwrap().len(), 32);
    let list = list(&made);
    assert!(list.verify(&key).unwrap() && list.get_revoked().is_none());
}

#[test]
fn a_member_gets_all_that_a_node_needs_for_its_own_key() {
    let groups = Groups::new();
    let authority = groups.authority("ca", "chess");
    let folder = groups.path("ann");
    let made =
        cert(&["issue", "--ca", text(&authority), "--user", "ann", "--days", "30", "--out", text(&folder)]);
    let (root, leaf) =
        (X509::from_pem(&fs::read(folder.join("authority.pem")).unwrap()).unwrap(), certificate(&folder));
    let spki = leaf.public_key().unwrap().public_key_to_der().unwrap();
    let address: String = sha256(&spki)[..20].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(made["address"], address);
    let expected = ["atoll://group/chess", "atoll://user/ann", &format!("atoll://address/{address}")];
    assert_eq!(names(&leaf), expected);
    assert!(leaf.verify(&root.public_key().unwrap()).unwrap());
    let private = PKey::private_key_from_pem(&fs::read(folder.join("node.key")).unwrap()).unwrap();
    assert!(leaf.public_key().unwrap().public_eq(&private));
    assert_eq!((mode(&folder.join("node.key")), mode(&folder.join("secret"))), (0o600, 0o600));
    for shared in ["authority.pem", "secret", "revocations.pem"] {
        assert_eq!(fs::read(folder.join(shared)).unwrap(), fs::read(authority.join(shared)).unwrap());
    }
    assert!((made["expires_seconds"].as_i64().unwrap() - now() - 30 * 86_400).abs() < 60);
    let shown = String::from_utf8(leaf.to_text().unwrap()).unwrap();
    for part in
        ["TLS Web Client Authentication, TLS Web Server Authentication", "CA:FALSE", "Digital Signature"]
    {
        assert!(shown.contains(part), "{shown}");
    }
}

#[test]
fn no_serial_number_is_used_twice_even_by_many_at_once() {
    let groups = Groups::new();
    let authority = groups.authority("ca", "chess");
    let serials: BTreeSet<String> = std::thread::scope(|scope| {
        let issue = |n: usize| {
            let (out, ca) = (groups.path(&n.to_string()), text(&authority));
            let made = cert(&["issue", "--ca", ca, "--user", "ann", "--out", text(&out)]);
            made["serial"].as_str().unwrap().to_owned()
        };
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || issue(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(serials.len() == 8 && serials.iter().all(|serial| serial.len() == 32));
    let log = fs::read_to_string(authority.join("issued.log")).unwrap();
    assert!(log.lines().count() == 8 && serials.iter().all(|serial| log.contains(serial)));
}

#[test]
fn a_request_gives_its_key_and_nothing_else() {
    let groups = Groups::new();
    let authority = groups.authority("ca", "chess");
    let key = key();
    let mut request = X509Req::builder().unwrap();
    request.set_pubkey(&key).unwrap();
    let wish = SubjectAlternativeName::new().uri("atoll://user/root").build(&request.x509v3_context(None));
    let mut extensions = Stack::new().unwrap();
    extensions.push(wish.unwrap()).unwrap();
    request.add_extensions(&extensions).unwrap();
    request.sign(&key, MessageDigest::sha256()).unwrap();
    let file = groups.path("request.pem");
    fs::write(&file, request.build().to_pem().unwrap()).unwrap();
    let (ca, out) = (text(&authority), groups.path("ann"));
    let made = cert(&["issue", "--ca", ca, "--user", "ann", "--key", text(&file), "--out", text(&out)]);
    assert_eq!(names(&certificate(&out))[1], "atoll://user/ann");
    assert!(certificate(&out).public_key().unwrap().public_eq(&key));
    assert!(!out.join("node.key").exists() && !made["files"].to_string().contains("node.key"));

    let alone = groups.path("ann.pem");
    fs::write(&file, key.public_key_to_pem().unwrap()).unwrap();
    cert(&["issue", "--ca", ca, "--user", "ann", "--key", text(&file), "--out", text(&alone)]);
    assert!(X509::from_pem(&fs::read(&alone).unwrap()).unwrap().public_key().unwrap().public_eq(&key));
}

#[test]
fn an_address_that_is_asked_for_stands_in_the_certificate() {
    let groups = Groups::new();
    let authority = groups.authority("ca", "chess");
    let (out, address) = (groups.path("ann"), "ab".repeat(20));
    let words =
        ["issue", "--ca", text(&authority), "--user", "ann", "--address", &address, "--out", text(&out)];
    assert_eq!(cert(&words)["address"], address);
    assert_eq!(names(&certificate(&out))[2], format!("atoll://address/{address}"));
}

#[test]
fn the_list_grows_in_entries_number_and_time_and_says_how_many() {
    let groups = Groups::new();
    let authority = groups.authority("ca", "chess");
    let ca = text(&authority);
    let first = groups.member(&authority, "ann");
    let more = ["one", "two"].map(|name| groups.path(name));
    for out in &more {
        cert(&["issue", "--ca", ca, "--user", "ann", "--out", text(out)]);
    }
    let bob = groups.member(&authority, "bob");
    let revoke = |words: &[&str]| cert(&[&["revoke", "--ca", ca], words].concat());
    let before = list(&authority);
    let one = revoke(&["--certificate", text(&first.join("node.pem"))]);
    assert_eq!((one["revoked"].as_u64(), one["total"].as_u64()), (Some(1), Some(1)));
    let two = revoke(&["--user", "ann"]);
    assert_eq!(
        (two["revoked"].as_u64(), two["total"].as_u64()),
        (Some(2), Some(3)),
        "one was revoked before"
    );
    let serial = certificate(&bob).serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string();
    let colons: Vec<String> =
        serial.as_bytes().chunks(2).map(|two| String::from_utf8_lossy(two).into()).collect();
    assert_eq!(revoke(&["--serial", &colons.join(":")])["revoked"], 1);
    let after = list(&authority);
    assert!(number(&after) > number(&before));
    assert!(before.last_update() < after.last_update());
    assert_eq!(after.get_revoked().unwrap().len(), 4);

    let again = try_cert(&["revoke", "--ca", ca, "--user", "bob", "--json"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8(again.stdout).unwrap().contains("\"revoked\":0"));
    let said = refused(&["revoke", "--ca", ca, "--user", "nobody"]);
    assert!(
        said.contains("no certificate to that user")
            && said.contains("hint: users: ")
            && said.contains("bob")
    );
    assert_eq!(list(&authority).to_der().unwrap(), after.to_der().unwrap(), "nothing new, no new list");
}

#[test]
fn nothing_is_overwritten_and_nothing_is_left_half_made() {
    let groups = Groups::new();
    let authority = groups.authority("ca", "chess");
    let member = groups.member(&authority, "ann");
    let (ca, out) = (text(&authority), text(&member));
    let secret = fs::read(authority.join("secret")).unwrap();
    let issued = fs::read(authority.join("issued.log")).unwrap();
    let said = refused(&["ca", "--group", "go", "--out", ca]);
    assert!(said.contains("nothing is overwritten"), "{said}");
    refused(&["issue", "--ca", ca, "--user", "bob", "--out", out]);
    let file = groups.path("there.pem");
    fs::write(&file, "mine").unwrap();
    let key = member.join("node.key");
    refused(&["issue", "--ca", ca, "--user", "bob", "--key", text(&key), "--out", text(&file)]);
    let said = refused(&["ca", "--group", "go", "--out", text(&groups.path("missing/ca"))]);
    assert!(said.contains("make the folder"), "{said}");
    refused(&["issue", "--ca", ca, "--user", "bob", "--out", text(&groups.path("missing/bob"))]);
    assert_eq!(fs::read(authority.join("issued.log")).unwrap(), issued, "nobody has such a certificate");
    assert_eq!(fs::read(authority.join("secret")).unwrap(), secret);
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    assert_eq!(names(&certificate(&member))[1], "atoll://user/ann");
    assert_eq!(fs::read_dir(groups.0.path()).unwrap().count(), 3, "a draft was left behind");
}

#[test]
fn every_mistake_is_named_with_a_way_out() {
    let groups = Groups::new();
    let (authority, other) = (groups.authority("ca", "chess"), groups.authority("other", "chess"));
    let (ca, out) = (text(&authority), groups.path("out"));
    let issue = |words: &[&str]| refused(&[&["issue", "--ca", ca, "--out", text(&out)], words].concat());
    let says = |said: String, part: &str| assert!(said.contains(part), "`{part}` is not in:\n{said}");
    says(issue(&["--user", "an n"]), "`an n` is no name");
    says(issue(&[]), "error: atoll-node cert issue: ");
    says(issue(&["--user", "ann", "--days", "0"]), "--days");
    says(issue(&["--user", "ann", "--key", "/nowhere"]), "error: /nowhere: No such file");
    let file = groups.path("file");
    private(&file, b"nonsense");
    says(issue(&["--user", "ann", "--key", text(&file)]), "no key and no certificate request in PEM");
    private(&file, &openssl::rsa::Rsa::generate(1024).unwrap().private_key_to_pem().unwrap());
    says(issue(&["--user", "ann", "--key", text(&file)]), "not on the curve P-256");
    fs::write(groups.path("loose"), key().private_key_to_pem_pkcs8().unwrap()).unwrap();
    says(issue(&["--user", "ann", "--key", text(&groups.path("loose"))]), "hint: chmod 600");
    let new = groups.path("new.pem");
    says(refused(&["issue", "--ca", ca, "--user", "ann", "--out", text(&new)]), "a new key would be lost");
    says(
        refused(&["issue", "--ca", "/nowhere", "--user", "ann", "--out", text(&out)]),
        "hint: --ca takes the folder",
    );
    let revoke = |words: &[&str]| refused(&[&["revoke", "--ca", ca], words].concat());
    says(revoke(&[]), "error: atoll-node cert revoke: ");
    says(revoke(&["--serial", "xyz"]), "`xyz` is no serial number");
    says(revoke(&["--serial", "1234"]), "this authority issued no such certificate");
    let foreign = groups.member(&other, "ann").join("node.pem");
    says(revoke(&["--certificate", text(&foreign)]), "another authority signed it");
    says(revoke(&["--certificate", text(&authority.join("authority.pem"))]), "it is the authority's own");
    fs::write(authority.join("revocations.pem"), fs::read(other.join("revocations.pem")).unwrap()).unwrap();
    groups.member(&authority, "ann");
    says(revoke(&["--user", "ann"]), "another authority than that of authority.pem signed it");
    assert!(!out.exists());
}

#[test]
fn key_material_is_never_printed() {
    let groups = Groups::new();
    let authority = groups.authority("ca", "chess");
    let out = groups.path("ann");
    let output = try_cert(&["issue", "--ca", text(&authority), "--user", "ann", "--out", text(&out)]);
    let said = [output.stdout, output.stderr].concat();
    let key = fs::read_to_string(out.join("node.key")).unwrap();
    let body = key.lines().nth(1).unwrap();
    assert!(!String::from_utf8_lossy(&said).contains(body));
    let secret = fs::read(out.join("secret")).unwrap();
    assert!(!said.windows(8).any(|window| secret.windows(8).any(|part| part == window)));
}
