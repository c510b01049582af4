//! The control interface answers this host's programs and nothing else.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use common::{Running, get, post, program, request, until, verb};

#[track_caller]
fn refused(place: SocketAddr, text: &str, status: u16, why: &str) {
    let (got, body) = request(place, text);
    assert_eq!(got, status, "{body}");
    assert!(body.contains(why), "`{why}` is not in {body}");
}

#[test]
fn commands_that_are_none_are_refused_and_the_node_goes_on() {
    let node = Running::start(&[]);
    for body in ["", "{", "\"fly\"", "{\"ping\":{\"overlay\":\"public\",\"address\":\"12\"}}", "[]"] {
        let (status, body) = post(node.control, "/command", body);
        assert_eq!(status, 400, "{body}");
        assert!(body.contains("{\"error\":\"no command: "), "{body}");
    }
    let (status, body) = post(node.control, "/command", &"x".repeat(1 << 20));
    assert!(status == 413 || status == 0, "{status} {body}");
    let (status, body) = get(node.control, "/events?since=x");
    assert_eq!((status, body.contains("whole number")), (400, true), "{body}");
    assert_eq!(get(node.control, "/nothing").0, 404);
    assert_eq!(get(node.control, "/command").0, 405);
    assert_eq!(get(node.control, "/events?since=0").0, 200);
}

#[test]
fn web_pages_cannot_command_the_node() {
    let node = Running::start(&[]);
    let place = node.control;
    let post = |headers: &str| {
        format!("POST /command HTTP/1.1\r\n{headers}Content-Length: 8\r\nConnection: close\r\n\r\n\"status\"")
    };
    let json = "Content-Type: application/json\r\n";
    refused(place, &post(&format!("Host: rebound.example\r\n{json}")), 403, "loopback");
    refused(place, &post(&format!("Host: {place}\r\nOrigin: http://x.example\r\n{json}")), 403, "web pages");
    refused(place, &post(&format!("Host: {place}\r\nContent-Type: text/plain\r\n")), 415, "application/json");
    refused(place, &post(&format!("Host: {place}\r\n")), 415, "application/json");
}

#[test]
fn connections_that_say_nothing_do_not_keep_others_out() {
    let node = Running::start(&[]);
    let mut silent: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(node.control).unwrap()).collect();
    silent.iter_mut().for_each(|stream| stream.write_all(b"GET /st").unwrap());
    until("the silent ones are closed", || (get(node.control, "/events").0 == 200).then_some(()));
}

#[test]
fn verbs_without_a_node_say_so() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let address = "00".repeat(20);
    let verbs: [&[&str]; 5] =
        [&["status"], &["peers"], &["ping", &address], &["route", &address], &["leave"]];
    for words in verbs {
        let output = verb(&[words, &["--control", &nobody]].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("error: control {nobody}: ")), "{said}");
        assert!(said.contains("hint: no node runs there"), "{said}");
    }
    let output = program(&["status"]).env("ATOLL_CONTROL", "unix:/nowhere/x.sock").output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("error: control unix:/nowhere/x.sock: "));
}

#[test]
fn a_server_that_is_no_node_is_recognised() {
    let node = Running::start(&[]);
    let metrics = node.metrics.to_string();
    let output = verb(&["status", "--control", &metrics]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("404") && said.contains("hint: is it an `atoll-node`"), "{said}");
}
