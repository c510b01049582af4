//! What nodes ask through the public overlay: enrolment and lists, within the same bounds, and nothing that people do.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use atoll_core::security::{address_of, derived_key};
use atoll_core::wire::{Address, Key};
use atoll_site::{Announcement, Call, Refusal, SITE_KEY, Statement, Term, serve_calls};
use common::node::Node;
use common::{Answer, Program, Request, Served};
use openssl::x509::X509;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// A site that is called.
struct Called {
    served: Served,
    runtime: Runtime,
    calls: mpsc::Sender<Call>,
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

fn member(number: u8) -> Address {
    Address::from_bytes([number; Address::LEN])
}

impl Called {
    fn new() -> Self {
        let (served, runtime) = (Served::new(), Runtime::new().unwrap());
        let (calls, coming) = mpsc::channel(4);
        let (stop, stopped) = watch::channel(());
        let task = runtime.spawn(serve_calls(Arc::clone(&served.site), coming, stopped));
        Self { served, runtime, calls, stop, task }
    }

    fn founder(&self) -> Program<'_> {
        let ann = self.served.program("ann");
        ann.done("POST", "/api/v1/groups", &json!({"name": "chess"}));
        ann
    }

    /// The caller's end of a call.
    fn open(&self, from: Address) -> DuplexStream {
        let (near, far) = duplex(16 * 1024);
        self.calls.blocking_send(Call { from, stream: Box::new(far) }).unwrap();
        near
    }

    /// All that is answered to these bytes.
    fn say(&self, from: Address, bytes: &[u8]) -> String {
        let mut stream = self.open(from);
        self.runtime.block_on(async move {
            let (mut read, mut write) = tokio::io::split(&mut stream);
            // A site that refuses early no longer reads.
            let writing = async { drop(write.write_all(bytes).await) };
            let mut answer = Vec::new();
            let reading = async { drop(read.read_to_end(&mut answer).await) };
            let both = async { tokio::join!(writing, reading) };
            tokio::time::timeout(Duration::from_secs(60), both).await.expect("the call ends");
            String::from_utf8_lossy(&answer).into_owned()
        })
    }

    fn ask(&self, from: Address, request: &Request<'_>) -> Answer {
        let Request { method, path, headers, body } = request;
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: atoll.invalid\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        let said = self.say(from, text.as_bytes());
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {said}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, headers: Default::default(), body: body.to_owned() }
    }

    fn enrol(&self, node: &Node, from: Address) -> Answer {
        let body = serde_json::to_string(&node.signed(node.draft(self.served.now()))).unwrap();
        self.ask(from, &Request::json("POST", "/api/v1/enrol", &body))
    }
}

#[test]
fn a_node_enrols_and_reads_its_group_s_list() {
    let called = Called::new();
    let node = Node::of(&called.founder(), "chess");
    let answer = called.enrol(&node, member(1));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let pem = answer.json()["certificate"].as_str().unwrap().to_owned();
    let certificate = X509::from_pem(pem.as_bytes()).unwrap();
    assert!(node.judged(&certificate, None, called.served.now()).is_ok());
    let list = Request::get("/api/v1/groups/chess/revocations").with("Atoll-Reader", node.proof());
    let answer = called.ask(member(1), &list);
    assert_eq!((answer.status, answer.json()["number"].as_i64()), (200, Some(1)));
    // It is the list that a site gets back which forgot it.
    let body = answer.body;
    let back = Request::json("POST", "/api/v1/groups/chess/revocations", &body);
    let answer = called.ask(member(1), &back.with("Atoll-Reader", node.proof()));
    assert_eq!((answer.status, answer.json()["new"].as_bool()), (200, Some(false)), "{}", answer.body);
}

#[test]
fn what_people_do_is_elsewhere_and_the_answer_says_where() {
    let called = Called::new();
    called.founder();
    let url = called.served.site.url().to_owned();
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/login"),
        ("POST", "/login"),
        ("GET", "/groups/chess"),
        ("POST", "/api/v1/accounts"),
        ("POST", "/api/v1/logins"),
        ("GET", "/api/v1/groups/chess/file"),
        ("DELETE", "/api/v1/groups/chess/members/ann"),
    ] {
        let answer = called.ask(member(1), &Request { method, path, headers: vec![], body: "{}" });
        assert_eq!((answer.status, &*answer.reason()), (421, "elsewhere"), "{method} {path}");
        assert!(answer.body.contains(&url), "{}", answer.body);
    }
}

#[test]
fn a_member_that_forges_is_slowed_down_and_others_are_not() {
    let called = Called::new();
    let node = Node::of(&called.founder(), "chess");
    let forged = || {
        let draft = node.draft(called.served.now());
        serde_json::to_string(&atoll_site::Enrol { mac: "0".repeat(64), ..draft }).unwrap()
    };
    let reason = |from| called.ask(from, &Request::json("POST", "/api/v1/enrol", &forged())).reason();
    let reasons: Vec<String> = (0..70).map(|_| reason(member(1))).collect();
    assert_eq!((&*reasons[0], &*reasons[69]), ("forged", "too_often"));
    assert_eq!(reason(member(2)), "forged", "another member has tries of its own");
    assert_eq!(called.enrol(&node, member(1)).status, 200, "what is genuine is answered");
}

#[test]
fn a_body_that_is_too_long_and_bytes_that_are_no_request_are_refused() {
    let called = Called::new();
    called.founder();
    let long = "x".repeat(200_000);
    let answer = called.ask(member(1), &Request::json("POST", "/api/v1/enrol", &long));
    assert_eq!((answer.status, &*answer.reason()), (413, "too_long"));
    let said = called.say(member(1), &[0xff; 4000]);
    assert!(said.starts_with("HTTP/1.1 400"), "{said}");
    let endless = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 100_000]].concat();
    let said = called.say(member(1), &endless);
    assert!(said.starts_with("HTTP/1.1 431"), "{said}");
}

#[test]
fn half_a_request_ends_and_holds_up_nobody() {
    let called = Called::new();
    let node = Node::of(&called.founder(), "chess");
    let mut silent = called.open(member(1));
    called.runtime.block_on(silent.write_all(b"POST /api/v1/enrol HTTP/1.1\r\n")).unwrap();
    drop(called.open(member(2)));
    assert_eq!(called.enrol(&node, member(3)).status, 200);
    // It is ended after a while, without an answer or with one that says so.
    let mut said = Vec::new();
    let ended = async { tokio::time::timeout(Duration::from_secs(40), silent.read_to_end(&mut said)).await };
    called.runtime.block_on(ended).expect("the call is ended").unwrap();
}

#[test]
fn a_site_that_ends_answers_what_it_has_begun() {
    let called = Called::new();
    let node = Node::of(&called.founder(), "chess");
    assert_eq!(called.enrol(&node, member(1)).status, 200);
    let Called { served, runtime, calls, stop, task } = called;
    drop(stop);
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), task).await }).unwrap().unwrap();
    assert!(calls.is_closed());
    drop(served);
}

#[test]
fn an_authority_says_where_the_site_is_and_its_word_holds_for_nobody_else() {
    let called = Called::new();
    let ann = called.founder();
    ann.done("POST", "/api/v1/groups", &json!({"name": "go"}));
    let site = &called.served.site;
    let groups = called.runtime.block_on(site.groups_after(0)).unwrap();
    let names: Vec<&str> = groups.iter().map(|(_, name)| &**name).collect();
    assert_eq!(names, ["chess", "go"]);
    assert!(called.runtime.block_on(site.groups_after(groups[1].0)).unwrap().is_empty());

    let term = Term { member: member(7), lease: Duration::from_secs(600), sequence: 5 };
    let said = |number| called.runtime.block_on(site.announce(number, term));
    let (chess, go) = (said(groups[0].0).unwrap(), said(groups[1].0).unwrap());
    let root = X509::from_pem(Node::of(&ann, "chess").file.group.authority.as_bytes()).unwrap();
    assert_eq!(chess.authority, address_of(&root.public_key().unwrap()).unwrap());
    assert_ne!(chess.authority, go.authority);
    let until = called.served.now() as u64 + 600;
    assert_eq!(Statement::read(&chess.value), Some(Statement { member: member(7), until }));
    assert_eq!((chess.proof.lease, chess.proof.sequence), (600_000, (called.served.now() as u64) << 16));
    // The later one of two counts, also if the clock has stood still or went back.
    let next = Term { sequence: chess.proof.sequence + 1, ..term };
    let next = called.runtime.block_on(site.announce(groups[0].0, next)).unwrap();
    assert_eq!(next.proof.sequence, chess.proof.sequence + 1);

    // Nobody who lacks the authority's key makes such a word.
    let forger = derived_key([1; 32], "forger").unwrap();
    let key = Key::owned(chess.authority, SITE_KEY);
    let forged = atoll_core::dht::prove(&forger, &key, &chess.value, (1 << 60, 600_000)).unwrap();
    let Announcement { proof, .. } = chess;
    assert_ne!(forged.public, proof.public);
    assert_eq!(said(99), Err(Refusal::NotFound));
}
