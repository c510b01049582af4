//! Somebody with the site's own key serves an older revocation list, well signed: no member goes back to it.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atoll_core::control::State;
use atoll_site::MemberFile;
use common::group::{Forger, Leaf, private, text};
use common::town::{Town, enrolment};
use common::until;
use openssl::ssl::{SslAcceptor, SslMethod};

/// Answers whoever asks for lists with what it was given, and takes back whatever it is given without a change.
struct Stub {
    lists: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    given: Arc<AtomicUsize>,
}

impl Stub {
    fn start(place: SocketAddr, tls: &Forger, lists: String) -> Self {
        let stub = Self { lists: Arc::new(Mutex::new(lists)), asked: Arc::default(), given: Arc::default() };
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
        acceptor.set_private_key(&tls.key).unwrap();
        acceptor.set_certificate(&tls.certificate).unwrap();
        let (acceptor, listener) = (acceptor.build(), TcpListener::bind(place).unwrap());
        let (lists, asked, given) =
            (Arc::clone(&stub.lists), Arc::clone(&stub.asked), Arc::clone(&stub.given));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let Ok(mut stream) = acceptor.accept(stream) else { continue };
                let request = head(&mut stream);
                let answer = if request.starts_with("GET ") {
                    asked.fetch_add(1, Ordering::Relaxed);
                    lists.lock().unwrap().clone()
                } else {
                    given.fetch_add(usize::from(request.contains("/revocations ")), Ordering::Relaxed);
                    "{\"new\": false}".to_owned()
                };
                let head =
                    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}", answer.len());
                let _ = stream.write_all(format!("{head}\r\n\r\n{answer}").as_bytes());
                let _ = stream.shutdown();
            }
        });
        stub
    }

    /// Waits until it was asked for lists so many times more.
    fn is_asked(&self, times: usize) {
        let before = self.asked.load(Ordering::Relaxed);
        until("the member asks", || (self.asked.load(Ordering::Relaxed) >= before + times).then_some(()));
    }
}

/// The first line of a request, which is read to its end.
fn head(stream: &mut impl Read) -> String {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase().split_once("content-length: ").map(|(_, rest)| rest.to_owned());
            let length: usize = length.and_then(|rest| rest.lines().next()?.trim().parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return head.lines().next().unwrap_or_default().to_owned();
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return String::new(),
            Ok(length) => bytes.extend_from_slice(&piece[..length]),
        }
    }
}

#[test]
fn an_older_list_under_the_authority_s_signature_is_not_taken_and_the_newer_one_stays() {
    let folder = tempfile::tempdir().unwrap();
    let tls = Forger::alone(&Leaf::new(&["https://site.example"]));
    let [certificate, key] = ["tls.pem", "tls.key"].map(|name| folder.path().join(name));
    fs::write(&certificate, tls.certificate.to_pem().unwrap()).unwrap();
    private(&key, &tls.key.private_key_to_pem_pkcs8().unwrap());
    let mut town = Town::with(&["--tls-certificate", text(&certificate), "--tls-key", text(&key)]);
    let own = town.file(&town.token, "ann.atoll");
    let file = MemberFile::read(&fs::read_to_string(&own).unwrap()).unwrap();
    town.member("bob");
    let old = town.site.lists(&file);
    let ann = town.join(text(&own), "ann");
    until("it is connected", || (ann.status_in("chess")?.state == State::Connected).then_some(()));
    town.revoke("bob");
    until("the newer list is at home", || (enrolment(&ann)["list"] == 2).then_some(()));
    let data = town.path("ann");
    let kept =
        || ["revocations.pem", "revocations.signed"].map(|name| fs::read_to_string(data.join(name)).unwrap());
    let newer = kept();
    let newest = town.site.lists(&file);
    town.site.kill();
    let stub = Stub::start(town.site.place, &tls, old);
    stub.is_asked(4);
    assert!(stub.given.load(Ordering::Relaxed) > 0, "it is given the newer one back");
    let shown = enrolment(&ann);
    assert!(shown["why"].as_str().unwrap().contains("its list is older than ours"), "{shown}");
    assert_eq!((&shown["list"], kept()), (&serde_json::json!(2), newer.clone()));
    // The same after a restart of the member, which has its memory from the folder alone.
    drop(ann);
    let ann = town.join(text(&own), "ann");
    stub.is_asked(4);
    assert_eq!((&enrolment(&ann)["list"], kept()), (&serde_json::json!(2), newer.clone()));
    // What nobody signed neither.
    *stub.lists.lock().unwrap() = newest.replacen("bob", "eve", 1);
    stub.is_asked(4);
    assert_eq!((&enrolment(&ann)["list"], kept()), (&serde_json::json!(2), newer.clone()));
    *stub.lists.lock().unwrap() = newest;
    until("the site is as it was", || enrolment(&ann)["why"].is_null().then_some(()));
    assert_eq!(kept(), newer);
}
