//! Nodes that cannot reach each other over UDP and meet over TCP, and what strangers may do to those.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use common::{Running, until, until_well_formed};

/// A port that passes TCP connections on and takes no UDP.
fn tcp_only(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let far = TcpStream::connect(to).unwrap();
            pass_on(near.try_clone().unwrap(), far.try_clone().unwrap());
            pass_on(far, near);
        }
    });
    place
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if to.write_all(&bytes[..count]).is_err() {
                return;
            }
        }
    });
}

#[test]
fn a_bootstrap_that_is_reached_over_tcp_alone_lets_a_node_in() {
    let first = Running::start(&[]);
    let second = Running::start(&[tcp_only(first.listen)]);
    let nodes = [first, second];
    until_well_formed(&nodes);
    assert!(nodes[1].metric("atoll_tcp_sent_datagrams_total") > 0.0);
    assert!(nodes[0].metric("atoll_tcp_received_datagrams_total") > 0.0);
}

#[test]
fn a_flood_of_silent_connections_keeps_nobody_out() {
    let first = Running::start(&[]);
    let silent: Vec<_> = (0..200).map(|_| TcpStream::connect(first.listen).unwrap()).collect();
    until("they were dealt with", || (first.metric("atoll_tcp_unserved_total") > 0.0).then_some(()));
    let second = Running::start(&[tcp_only(first.listen)]);
    until_well_formed(&[first, second]);
    drop(silent);
}

/// Unlike one that the system chooses, which is tried until it is free for both.
#[test]
fn at_a_port_that_is_given_connections_are_taken_as_well() {
    let place = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let node = Running::start_with(&["--listen", &place.to_string()]);
    assert_eq!(node.listen, place);
    TcpStream::connect(place).unwrap();
}

#[test]
fn without_tcp_no_connection_is_taken() {
    let node = Running::start_with(&["--listen", "127.0.0.1:0", "--tcp", "false"]);
    assert!(TcpStream::connect(node.listen).is_err());
    assert_eq!(node.metric("atoll_tcp_connections{"), 0.0);
}

#[test]
fn a_port_that_another_program_has_for_tcp_is_no_reason_not_to_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let mut node = Running::start_at(&listen, &[]);
    node.wait_for_log("no TCP connections are taken");
    until("it runs", || (node.metric("atoll_connected") > 0.0).then_some(()));
}
