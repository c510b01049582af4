//! Connections on the loopback: what a peer may send, and what a stranger may hold.

use std::time::Duration;

use atoll_core::buffer::PAYLOAD_MAX;
use atoll_core::wire::{EdgeId, Header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(10);

fn loopback() -> (Streams, SocketAddr) {
    // A port that is free for both protocols may not be free any more: try again.
    for _ in 0..20 {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let local = udp.local_addr().unwrap();
        let streams = Streams::bind(local);
        if streams.usage() == TcpUse::Listens {
            return (streams, local);
        }
    }
    panic!("no free port");
}

/// The next thing that the machine would be told.
async fn next(streams: &mut Streams) -> Input {
    let wait = async {
        loop {
            let report = streams.next().await;
            if let Some(input) = streams.take(report) {
                return input;
            }
        }
    };
    timeout(SOON, wait).await.expect("something happens")
}

/// Takes reports as long as there are any; gives what the machine would be told.
async fn settle(streams: &mut Streams) -> Vec<Input> {
    let mut inputs = Vec::new();
    while let Ok(report) = timeout(Duration::from_millis(200), streams.next()).await {
        inputs.extend(streams.take(report));
    }
    inputs
}

fn record(bytes: &[u8]) -> Buffer {
    let mut datagram = Pool::new().copy(bytes);
    Header::Short { receiver: EdgeId(1) }.prepend(&mut datagram);
    datagram
}

fn framed(datagram: &[u8]) -> Vec<u8> {
    [&u16::try_from(datagram.len()).unwrap().to_be_bytes()[..], datagram].concat()
}

async fn closes(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // An end or a reset: either will do.
    let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("it is closed");
}

#[tokio::test]
async fn datagrams_go_both_ways_on_one_connection() {
    let ((mut one, _), (mut other, place)) = (loopback(), loopback());
    one.send(place, record(b"out"));
    let Input::Datagram { from: Transport::Tcp(from), payload } = next(&mut other).await else { panic!() };
    assert_eq!(payload[..], record(b"out")[..]);
    other.send(from, record(b"back"));
    let Input::Datagram { from: Transport::Tcp(from), payload } = next(&mut one).await else { panic!() };
    assert_eq!((from, &payload[..]), (place, &record(b"back")[..]));
    assert_eq!((one.connections.len(), other.connections.len()), (1, 1));
}

#[tokio::test]
async fn a_datagram_that_comes_in_pieces_is_whole() {
    let (mut streams, place) = loopback();
    let mut peer = TcpStream::connect(place).await.unwrap();
    let bytes = [framed(&record(b"one")), framed(&record(&[7; 1000])), framed(&record(b"three"))].concat();
    for piece in bytes.chunks(7) {
        peer.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    for expected in [record(b"one"), record(&[7; 1000]), record(b"three")] {
        let Input::Datagram { payload, .. } = next(&mut streams).await else { panic!("a datagram") };
        assert_eq!(payload[..], expected[..]);
    }
}

#[tokio::test]
async fn lengths_that_cannot_be_and_foreign_protocols_end_the_connection() {
    let huge = (PAYLOAD_MAX as u16 + 1).to_be_bytes().to_vec();
    for bytes in [huge, vec![0, 0], b"GET / HTTP/1.1\r\n\r\n".to_vec(), framed(&[0xff; 20])] {
        let (mut streams, place) = loopback();
        let mut peer = TcpStream::connect(place).await.unwrap();
        peer.write_all(&bytes).await.unwrap();
        assert!(matches!(next(&mut streams).await, Input::Unreachable { .. }), "{bytes:?}");
        closes(&mut peer).await;
        assert!(streams.connections.is_empty());
    }
}

#[tokio::test]
async fn a_connection_that_is_refused_is_told() {
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let (mut streams, _) = loopback();
    streams.send(nobody, record(b"anyone?"));
    let Input::Unreachable { to } = next(&mut streams).await else { panic!("a refusal") };
    assert_eq!(to, Transport::Tcp(nobody));
    assert!(streams.connections.is_empty());
}

#[tokio::test]
async fn a_slow_reader_costs_a_bounded_queue_and_nothing_else() {
    let (mut streams, _) = loopback();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow = listener.local_addr().unwrap();
    streams.send(slow, record(&[1; 1400]));
    let _held = listener.accept().await.unwrap();
    for _ in 0..20_000 {
        streams.send(slow, record(&[1; 1400]));
        tokio::task::yield_now().await;
    }
    assert!(streams.counters.queue_full > 0 && !streams.is_flushed());
    assert_eq!(streams.connections.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stranger_is_closed_after_ten_seconds() {
    let (mut streams, place) = loopback();
    let mut peer = TcpStream::connect(place).await.unwrap();
    let report = streams.next().await;
    assert!(streams.take(report).is_none());
    let since = tokio::time::Instant::now();
    let report = streams.next().await;
    assert!(matches!(streams.take(report), Some(Input::Unreachable { .. })));
    assert!((9..=11).contains(&since.elapsed().as_secs()));
    closes(&mut peer).await;
}

#[tokio::test]
async fn a_flood_of_silent_connections_displaces_strangers_and_no_member() {
    let (mut streams, place) = loopback();
    let mut member = TcpStream::connect(place).await.unwrap();
    member.write_all(&framed(&record(b"hello"))).await.unwrap();
    let Input::Datagram { from, .. } = next(&mut streams).await else { panic!("a datagram") };
    streams.send(from.address(), record(b"welcome"));

    let mut silent = Vec::new();
    for host in 2..6u8 {
        for _ in 0..PER_ADDRESS_MAX {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
            silent.push(socket.connect(place).await.unwrap());
        }
        settle(&mut streams).await;
    }
    assert_eq!(streams.connections.len(), 1 + STRANGERS_MAX);
    assert!(streams.connections.contains_key(&from.address()), "the member is still there");

    let mut late = TcpStream::connect(place).await.unwrap();
    late.write_all(&framed(&record(b"me too"))).await.unwrap();
    let inputs = settle(&mut streams).await;
    assert!(inputs.iter().any(|input| matches!(input, Input::Datagram { .. })), "{inputs:?}");
}

#[tokio::test]
async fn one_address_holds_a_bounded_number_of_connections() {
    let (mut streams, place) = loopback();
    let mut held = Vec::new();
    for _ in 0..PER_ADDRESS_MAX + 5 {
        held.push(TcpStream::connect(place).await.unwrap());
    }
    settle(&mut streams).await;
    assert_eq!(streams.connections.len(), PER_ADDRESS_MAX);
    assert_eq!(streams.counters.displaced, 5);
}

#[tokio::test]
async fn a_port_that_is_taken_leaves_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let streams = Streams::bind(taken.local_addr().unwrap());
    assert_eq!(streams.usage(), TcpUse::Opens);
}

#[tokio::test]
async fn without_tcp_nothing_is_opened() {
    let (_listening, place) = loopback();
    let mut streams = Streams::off();
    streams.send(place, record(b"hello"));
    assert!(streams.connections.is_empty());
}
