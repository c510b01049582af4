//! Lists that members give back may be long: few are read at once, and none without end.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::club::group;
use common::node::Node;
use common::{Answer, Program, Request, Served, read_answer};
use openssl::ssl::SslStream;
use serde_json::json;

/// The head of a list that is given back, and then what is sent of it.
fn begin(served: &Served, (node, length): (&Node, &str), body: &[u8]) -> SslStream<TcpStream> {
    let mut stream = served.stream();
    let (group, proof) = (&node.file.group.name, node.proof());
    let head = format!(
        "POST /api/v1/groups/{group}/revocations HTTP/1.1\r\nHost: x\r\nAtoll-Reader: {proof}\r\n{length}\r\n\r\n"
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
    stream
}

/// Half a body of this length.
fn half(served: &Served, node: &Node, length: usize) -> SslStream<TcpStream> {
    begin(served, (node, &format!("Content-Length: {length}")), &vec![b' '; length / 2])
}

/// What is answered to a long body that says nothing.
fn whole(served: &Served, node: &Node) -> Answer {
    let length = 100_000;
    read_answer(&mut begin(served, (node, &format!("Content-Length: {length}")), &vec![b' '; length]))
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Members of groups with these names.
fn members(ann: &Program<'_>, names: &[&str]) -> Vec<Node> {
    let member = |name: &&str| {
        ann.done("POST", "/api/v1/groups", &json!({"name": name}));
        Node::of(ann, name)
    };
    names.iter().map(member).collect()
}

#[test]
fn one_long_list_of_a_group_is_read_at_once_and_four_of_all() {
    let served = Served::new();
    let (ann, _) = group(&served, &[]);
    let own = Node::of(&ann, "chess");
    let others = members(&ann, &["a", "b", "c", "d"]);
    let busy = |node: &Node| {
        let answer = whole(&served, node);
        assert_eq!(answer.status, if answer.reason() == "busy" { 503 } else { 400 }, "{}", answer.body);
        answer.reason() == "busy"
    };
    let mut held = vec![half(&served, &own, 100_000)];
    until("the first one has its turn", || busy(&own));
    // Short ones are read meanwhile, however many are under way.
    let short: Vec<_> = (0..20).map(|_| half(&served, &own, 60_000)).collect();
    let said = own.list(&served).json();
    assert_eq!(common::club::give_back(&own, &served, &said).status, 200);
    for node in &others[..3] {
        assert!(!busy(node), "it is another group's turn");
        held.push(half(&served, node, 1_000_000));
        until("it has its turn", || busy(node));
    }
    until("all turns are taken", || busy(&others[3]));
    // Whoever goes gives it back.
    held.remove(0);
    until("it is free again", || !busy(&own));
    until("it is free again", || !busy(&others[3]));
    drop((held, short));
    until("it is free again", || !busy(&others[0]));
}

#[test]
fn what_grows_while_it_is_sent_waits_for_its_turn_as_well() {
    let served = Served::new();
    let (ann, _) = group(&served, &[]);
    let own = Node::of(&ann, "chess");
    let chunk = |length: usize| {
        [format!("{length:x}\r\n").into_bytes(), vec![b' '; length], b"\r\n".to_vec()].concat()
    };
    let mut growing = begin(&served, (&own, "Transfer-Encoding: chunked"), &chunk(40_000));
    let busy = || whole(&served, &own).reason() == "busy";
    assert!(!busy());
    growing.write_all(&chunk(40_000)).unwrap();
    until("it has its turn", busy);
    let mut other = begin(&served, (&own, "Transfer-Encoding: chunked"), &chunk(40_000));
    let _ = other.write_all(&chunk(40_000));
    assert_eq!(read_answer(&mut other).reason(), "busy");
    growing.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut growing).reason(), "malformed");
    until("it is free again", || !busy());
}

#[test]
fn a_body_over_the_bound_is_refused_also_of_somebody_with_the_proof() {
    let served = Served::new();
    let (ann, _) = group(&served, &[]);
    let own = Node::of(&ann, "chess");
    let said = read_answer(&mut begin(&served, (&own, "Content-Length: 40000000"), b"{"));
    assert_eq!((said.status, &*said.reason()), (413, "too_long"));
    // One that does not say how long it is.
    let mut stream = begin(&served, (&own, "Transfer-Encoding: chunked"), b"");
    let chunk = [&b"100000\r\n"[..], &[b' '; 1 << 20], b"\r\n"].concat();
    let sent = (0..64).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    assert!((32..64).contains(&sent), "{sent} MiB");
    assert_eq!(served.ask(&Request::get("/")).status, 200);
    assert_eq!(whole(&served, &own).reason(), "malformed", "it has given its turn back");
}
