//! `atoll-node site` as a process: it serves HTTPS, comes back after any end with all that it answered, and names mistakes.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command as Process, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use atoll_core::security::address_of;
use atoll_site::{Enrol, MemberFile, keys};
use common::group::{now, text};
use common::site::{Site, hex};
use common::{until, verb};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rand::rand_bytes;
use openssl::sha::sha256;
use openssl::x509::X509Req;
use serde_json::{Value, json};

fn request(key: &PKey<Private>) -> String {
    let mut builder = X509Req::builder().unwrap();
    builder.set_pubkey(key).unwrap();
    builder.sign(key, MessageDigest::sha256()).unwrap();
    String::from_utf8(builder.build().to_pem().unwrap()).unwrap()
}

fn enrol(file: &MemberFile, key: &PKey<Private>) -> String {
    let mut nonce = [0; 16];
    rand_bytes(&mut nonce).unwrap();
    let draft = Enrol {
        group: file.group.name.clone(),
        user: file.user.name.clone(),
        request: request(key),
        time: now(),
        nonce: hex(&nonce),
        list: 0,
        mac: String::new(),
    };
    let shared: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&file.user.key[2 * at..2 * at + 2], 16).unwrap()).collect();
    let mac = draft.code(&shared).unwrap();
    serde_json::to_string(&Enrol { mac, ..draft }).unwrap()
}

fn member_file(site: &Site, token: &str, group: &str) -> MemberFile {
    let path = format!("/api/v1/groups/{group}/file");
    MemberFile::read(&site.ask("GET", &path, (token, &Value::Null))).unwrap()
}

#[test]
fn a_node_enrols_at_a_real_site_beside_a_member_of_the_public_overlay() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("node.yaml");
    fs::write(&config, "listen: 127.0.0.1:0\ncontrol: off\n").unwrap();
    let flags = ["--config", text(&config), "--bootstrap", "192.0.2.1:4001", "--url", "https://site.example"];
    let mut site = Site::start(folder.path(), &flags);
    let token = site.account("ann");
    site.ask("POST", "/api/v1/groups", (&token, &json!({"name": "chess"})));
    let file = member_file(&site, &token, "chess");
    assert_eq!((&*file.site.urls[0], &*file.site.pin), ("https://site.example", &*site.pin));
    assert_eq!(file.bootstraps, ["192.0.2.1:4001"]);
    let key = keys::generate().unwrap();
    let (status, said) = site.try_ask("POST", "/api/v1/enrol", ("", &enrol(&file, &key))).unwrap();
    assert_eq!(status, 200, "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    let certificate =
        openssl::x509::X509::from_pem(said["certificate"].as_str().unwrap().as_bytes()).unwrap();
    let address = address_of(&key).unwrap();
    let names = certificate.subject_alt_names().unwrap();
    let names: Vec<&str> = names.iter().filter_map(|name| name.uri()).collect();
    assert_eq!(names, ["atoll://group/chess", "atoll://user/ann", &format!("atoll://address/{address}")]);
    site.signal("TERM");
    assert!(site.child.wait().unwrap().success());
}

/// The key of the member beside the site among it.
#[test]
fn the_folder_of_the_database_of_a_site_with_a_member_holds_no_private_key() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("node.yaml");
    fs::write(&config, "listen: 127.0.0.1:0\ncontrol: off\n").unwrap();
    let flags = ["--config", text(&config), "--bootstrap", "192.0.2.1:4001"];
    let site = Site::start(folder.path(), &flags);
    let token = site.account("ann");
    site.ask("POST", "/api/v1/groups", (&token, &json!({"name": "chess"})));
    let key = folder.path().join("key.member");
    until("the member has its key", || key.exists().then_some(()));
    drop(site);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.path().join("data")).unwrap() {
        let entry = entry.unwrap();
        let bytes = fs::read(entry.path()).unwrap();
        let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        // The beginning of every one in PKCS #8 on P-256, and any in PEM.
        assert!(!holds(
            b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x6d\x30\x6b"
        ));
        assert!(!holds(b"PRIVATE KEY"));
        names.push(entry.file_name().into_string().unwrap());
    }
    assert!(names.iter().any(|name| name == "site.sqlite"), "{names:?}");
    let pem = fs::read(&key).unwrap();
    assert!(pem.starts_with(b"-----BEGIN PRIVATE KEY"), "it is where it is said to be");
    // One that was made in the folder before goes on to be used, and that is said.
    fs::rename(&key, folder.path().join("data/member.key")).unwrap();
    let site = Site::start(folder.path(), &flags);
    let said =
        |line: &Value| line["message"].as_str().unwrap().contains("in the clear") && line["hint"].is_string();
    assert!(site.began.iter().any(said), "{:?}", site.began);
    drop(site);
    assert!(!key.exists());
}

/// What a person was answered who lets people sign up and in, and revokes them.
#[derive(Default)]
struct Deeds {
    /// Who signed up, with their tokens.
    accounts: Vec<(String, String)>,
    admitted: BTreeSet<String>,
    /// Those that are not revoked yet.
    left: Vec<String>,
    revoked: BTreeSet<String>,
}

impl Deeds {
    /// Revokes somebody, and lets somebody new in; nothing if the site went away.
    fn go_on(&mut self, site: &Site, (ann, name): (&str, &str)) -> Option<()> {
        if let Some(user) = self.left.pop() {
            Self::ask(site, ("DELETE", &format!("/api/v1/groups/chess/members/{user}")), (ann, ""))?;
            self.revoked.insert(user);
        }
        self.let_in(site, (ann, name))
    }

    /// Has somebody sign up, ask and be let in.
    fn let_in(&mut self, site: &Site, (ann, name): (&str, &str)) -> Option<()> {
        let body = json!({"name": name, "password": "correct horse"}).to_string();
        let said = Self::ask(site, ("POST", "/api/v1/accounts"), ("", &body))?;
        let said: Value = serde_json::from_str(&said).unwrap();
        let token = said["token"].as_str().unwrap().to_owned();
        self.accounts.push((name.to_owned(), token.clone()));
        Self::ask(site, ("POST", "/api/v1/groups/chess/requests"), (&token, ""))?;
        let place = format!("/api/v1/groups/chess/requests/{name}");
        Self::ask(site, ("PUT", &place), (ann, "{\"admitted\": true}"))?;
        self.admitted.insert(name.to_owned());
        self.left.push(name.to_owned());
        Some(())
    }

    fn ask(site: &Site, (method, path): (&str, &str), who: (&str, &str)) -> Option<String> {
        let (status, said) = site.try_ask(method, path, who)?;
        assert!((200..300).contains(&status), "{method} {path}: {status} {said}");
        Some(said)
    }

    #[track_caller]
    fn are_known(&self, site: &Site, file: &MemberFile) {
        for (name, token) in &self.accounts {
            let said = site.ask("GET", "/api/v1/groups/chess", (token, &Value::Null));
            let said: Value = serde_json::from_str(&said).unwrap();
            // What was not answered may have been done all the same.
            let fits: &[&str] = match name {
                name if self.revoked.contains(name) => &["revoked"],
                name if self.admitted.contains(name) => &["member", "revoked"],
                _ => continue,
            };
            assert!(fits.contains(&said["state"].as_str().unwrap_or_default()), "{name}: {said}");
        }
        let list = site.list(file);
        let listed: BTreeSet<&String> = list.users.iter().map(|(user, _)| user).collect();
        let lost: Vec<&String> = self.revoked.iter().filter(|user| !listed.contains(user)).collect();
        assert!(lost.is_empty(), "not on the list: {lost:?}");
    }
}

/// Nodes with this file enrol, one after the other; the serial numbers that were answered.
fn enrol_until(site: &Site, file: &MemberFile, stop: &AtomicBool) -> Vec<String> {
    let mut own = Vec::new();
    while !stop.load(Ordering::Relaxed) && own.len() < 6 {
        let body = enrol(file, &keys::generate().unwrap());
        match site.try_ask("POST", "/api/v1/enrol", ("", &body)) {
            Some((200, said)) => {
                let said: Value = serde_json::from_str(&said).unwrap();
                own.push(said["serial"].as_str().unwrap().to_owned());
            }
            Some((status, said)) => panic!("{status} {said}"),
            None => break,
        }
    }
    own
}

/// Everything that a site answered before it was killed, at any moment of many requests at once.
#[test]
fn killed_at_any_moment_a_site_has_lost_nothing_that_it_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut site = Site::start(folder.path(), &[]);
    let token = site.account("ann");
    site.ask("POST", "/api/v1/groups", (&token, &json!({"name": "chess"})));
    let files = ["a", "b", "c", "d"].map(|name| {
        let user = site.account(name);
        site.ask("POST", "/api/v1/groups/chess/requests", (&user, &Value::Null));
        let place = format!("/api/v1/groups/chess/requests/{name}");
        site.ask("PUT", &place, (&token, &json!({"admitted": true})));
        member_file(&site, &user, "chess")
    });
    let (mut serials, mut deeds) = (BTreeSet::<String>::new(), Deeds::default());
    (0..8).for_each(|number| deeds.let_in(&site, (&token, &format!("early{number}"))).unwrap());
    for round in 0..8_u64 {
        let stop = AtomicBool::new(false);
        let answered: Vec<String> = std::thread::scope(|scope| {
            let (site, stop, token, deeds) = (&site, &stop, &token, &mut deeds);
            let enrols = |file| scope.spawn(move || enrol_until(site, file, stop));
            let threads: Vec<_> = files.iter().map(enrols).collect();
            let people = scope.spawn(move || {
                let mut names = (0..6).map(|number| format!("user{round}-{number}"));
                while !stop.load(Ordering::Relaxed)
                    && names.next().and_then(|name| deeds.go_on(site, (token, &name))).is_some()
                {
                }
            });
            // Another moment in every round.
            std::thread::sleep(Duration::from_millis(10 + 40 * round));
            site.signal("KILL");
            stop.store(true, Ordering::Relaxed);
            people.join().unwrap();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        for serial in answered {
            assert!(serials.insert(serial), "a serial number was used twice");
        }
        site.kill();
        site = Site::start(folder.path(), &[]);
        let known = audit(&site, &token);
        let lost: Vec<&String> = serials.iter().filter(|serial| !known.contains(*serial)).collect();
        assert!(lost.is_empty(), "round {round}: lost {lost:?}");
        deeds.are_known(&site, &files[0]);
    }
    assert!(!serials.is_empty() && !deeds.revoked.is_empty(), "some were answered before the end");
    let counts = [deeds.accounts.len(), deeds.admitted.len(), deeds.revoked.len()];
    println!("answered: {} certificates, {counts:?} sign-ups, admissions and revocations", serials.len());
}

/// The serial numbers that the audit log names.
fn audit(site: &Site, token: &str) -> BTreeSet<String> {
    let (mut known, mut before) = (BTreeSet::new(), String::new());
    loop {
        let page = site.ask("GET", &format!("/api/v1/groups/chess/audit{before}"), (token, &Value::Null));
        let page: Value = serde_json::from_str(&page).unwrap();
        for row in page["rows"].as_array().unwrap() {
            if row["act"] == "certificate" {
                known.insert(row["subject"].as_str().unwrap().split(' ').next().unwrap().to_owned());
            }
        }
        match page["next"].as_str() {
            Some(next) => before = format!("?before={next}"),
            None => return known,
        }
    }
}

/// Runs the verb, which cannot do what it is asked; gives what it says.
#[track_caller]
fn refused(flags: &[&str]) -> String {
    let output = verb(&[&["site", "--listen", "127.0.0.1:0"], flags].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("error: ") && said.contains("\nhint: "), "{said}");
    said
}

#[test]
fn every_mistake_is_named_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name)).to_owned();
    let (data, key) = (path("data"), path("key"));
    let says = |said: String, part: &str| assert!(said.contains(part), "`{part}` is not in:\n{said}");
    says(refused(&["--data", &data]), "nothing says where it is");
    says(refused(&["--data", &data, "--key-file", &path("data/key")]), "lies in the folder of the database");
    says(refused(&["--data", &data, "--key-file", &path("missing/key")]), "cannot be written");
    says(refused(&["--data", &data, "--key-file", &key, "--url", "http://x"]), "no URL of a site");
    let mark = path("missing/mark");
    says(
        refused(&["--data", &data, "--key-file", &key, "--watermark", &mark]),
        "missing/mark cannot be written",
    );
    let mark = path("data/mark");
    says(
        refused(&["--data", &data, "--key-file", &key, "--watermark", &mark]),
        "data/mark: it lies in the folder of the database",
    );
    let tls = ["--tls-certificate", "/nowhere", "--tls-key", "/nowhere"];
    says(refused(&[&["--data", &data, "--key-file", &key][..], &tls].concat()), "/nowhere");
    let site = Site::start(folder.path(), &[]);
    says(refused(&["--data", &data, "--key-file", &key]), "another process has it open");
    drop(site);
    fs::remove_file(&key).unwrap();
    says(refused(&["--data", &data, "--key-file", &key]), "put the key file back");
}

/// On a disk of two megabytes, in a mount namespace of its own.
#[test]
fn on_a_full_disk_a_site_refuses_loses_nothing_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let mount = format!("mount -t tmpfs -o size=2m none {} || exit 77; exec \"$@\"", text(&data));
    let isolated = |words: &[&str]| {
        let mut process = Process::new("unshare");
        process
            .args(["--map-root-user", "--mount", "sh", "-c", &mount, "sh"])
            .args(words)
            .stdin(Stdio::null());
        process
    };
    let may = isolated(&["true"]).status().is_ok_and(|status| status.success());
    if !may {
        return println!("SKIPPED: a full disk: no mount namespace may be made here");
    }
    let site = Site::start_as(isolated(&[common::BINARY]), folder.path(), &[]);
    let token = site.account("ann");
    site.ask("POST", "/api/v1/groups", (&token, &json!({"name": "chess"})));
    let filler = format!("/proc/{}/root{}/filler", site.child.id(), text(&data));
    // Longer than there is room.
    let filled = fs::write(&filler, vec![7; 4 << 20]);
    assert!(filled.is_err());
    let mut refusals = Vec::new();
    let mut founded = Vec::new();
    for number in 0..8 {
        let body = json!({"name": format!("group{number}")}).to_string();
        let (status, said) = site.try_ask("POST", "/api/v1/groups", (&token, &body)).unwrap();
        match status {
            201 => founded.push(format!("group{number}")),
            503 => refusals.push(said),
            other => panic!("{other}: {said}"),
        }
    }
    assert!(!refusals.is_empty() && refusals.iter().all(|said| said.contains("unavailable")), "{refusals:?}");
    let own = site.ask("GET", "/api/v1/groups", (&token, &Value::Null));
    let own: Vec<Value> = serde_json::from_str(&own).unwrap();
    assert_eq!(own.len(), founded.len() + 1, "what was answered is there, what was refused is not");
    fs::remove_file(&filler).unwrap();
    site.ask("POST", "/api/v1/groups", (&token, &json!({"name": "room"})));
}

#[test]
fn an_operator_s_certificate_is_shown_and_pinned() {
    let folder = tempfile::tempdir().unwrap();
    let key = common::group::key();
    let forger = common::group::Forger::alone(&common::group::Leaf::new(&["https://site.example"]));
    let (certificate, path) = (folder.path().join("tls.pem"), folder.path().join("tls.key"));
    fs::write(&certificate, forger.certificate.to_pem().unwrap()).unwrap();
    common::group::private(&path, &forger.key.private_key_to_pem_pkcs8().unwrap());
    let flags = ["--tls-certificate", text(&certificate), "--tls-key", text(&path)];
    let site = Site::start(folder.path(), &flags);
    let spki = forger.key.public_key_to_der().unwrap();
    assert_eq!(site.pin, hex(&sha256(&spki)));
    site.account("ann");
    drop(site);
    common::group::private(&path, &key.private_key_to_pem_pkcs8().unwrap());
    let (data, own) = (folder.path().join("data"), folder.path().join("key"));
    let said = refused(&[&["--data", text(&data), "--key-file", text(&own)][..], &flags].concat());
    assert!(said.contains("that belong together"), "{said}");
}

#[test]
fn a_site_in_which_no_group_is_held_does_not_say_that_one_signs_again() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path(), &["--bootstrap", "192.0.2.1:4001", "--release-restored"]);
    let said = |part: &str| site.began.iter().any(|line| line["message"].as_str().unwrap().contains(part));
    assert!(said("has let no group sign again") && !said("signs again"), "{:?}", site.began);
}
