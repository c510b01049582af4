//! The one UDP socket: pooled receiving, a bounded queue for sending, and what the network refused.
//!
//! An error of the socket is counted and never ends the node.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use atoll_core::buffer::PAYLOAD_MAX;
use atoll_core::control::{Metric, MetricKind};
use atoll_core::{Buffer, Input, Pool};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::refusal;
use crate::config::Listen;
use crate::failure::Failure;

const PORT_DEFAULT: u16 = 4001;
/// Datagrams that wait for the kernel; the newest is dropped when there are more.
const SEND_QUEUE_MAX: usize = 1024;
/// Bytes that the kernel shall keep for us while others have the processor; it gives less where `net.core.rmem_max` says so,
/// and counts the memory that a datagram takes, a few times its length.
const RECEIVE_BUFFER: usize = 2 << 20;
/// Socket errors that one call passes over while it looks for a datagram.
const ERRORS_MAX: usize = 16;
/// Room for a datagram that is too large, so that it is seen to be.
const SCRATCH: usize = PAYLOAD_MAX + 1;

/// What the socket did and did not do.
#[derive(Debug, Default)]
struct Counters {
    received: u64,
    received_bytes: u64,
    sent: u64,
    sent_bytes: u64,
    oversize: u64,
    queue_full: u64,
    receive_errors: u64,
    send_errors: u64,
    refused: u64,
}

/// The node's UDP socket.
pub(super) struct Socket {
    udp: UdpSocket,
    dual_stack: bool,
    local: SocketAddr,
    queue: VecDeque<(SocketAddr, Buffer)>,
    scratch: Box<[u8; SCRATCH]>,
    counters: Counters,
}

impl Socket {
    /// Binds the socket; without an address it is the default port on IPv6 and IPv4, or IPv4 alone.
    pub(super) fn bind(listen: Option<Listen>) -> Result<Self, Failure> {
        let bound = match listen {
            Some(Listen(address)) => open(address).map_err(|why| explain(address, &why))?,
            None => {
                let dual = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT_DEFAULT));
                let single = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT_DEFAULT));
                match open(dual) {
                    Err(why) if lacks_ipv6(&why) => open(single).map_err(|why| explain(single, &why))?,
                    other => other.map_err(|why| explain(dual, &why))?,
                }
            }
        };
        Self::new(bound).map_err(|why| Failure::new("the UDP socket", why))
    }

    fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let local = socket.local_addr()?;
        Ok(Self {
            udp: UdpSocket::from_std(socket)?,
            dual_stack: local.is_ipv6(),
            local,
            queue: VecDeque::new(),
            scratch: Box::new([0; SCRATCH]),
            counters: Counters::default(),
        })
    }

    /// Where the socket is bound, the port as the kernel chose it.
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Waits until there is something to receive, or to send while datagrams wait.
    pub(super) async fn ready(&self) {
        let mut interest = Interest::READABLE | Interest::ERROR;
        if !self.queue.is_empty() {
            interest |= Interest::WRITABLE;
        }
        if let Err(error) = self.udp.ready(interest).await {
            tracing::debug!(%error, "socket readiness failed");
        }
    }

    /// The next datagram or refusal; `None` if there is nothing more now.
    pub(super) fn receive(&mut self, pool: &Pool) -> Option<Input> {
        for _ in 0..ERRORS_MAX {
            match self.udp.try_recv_from(&mut self.scratch[..]) {
                Ok((len, _)) if len > PAYLOAD_MAX => self.counters.oversize += 1,
                Ok((len, from)) => {
                    self.counters.received += 1;
                    self.counters.received_bytes += len as u64;
                    let payload = pool.copy(&self.scratch[..len]);
                    return Some(Input::Datagram { from: canonical(from).into(), payload });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.refusal(),
                Err(_) => self.counters.receive_errors += 1,
            }
        }
        None
    }

    fn refusal(&mut self) -> Option<Input> {
        let to = self.udp.try_io(Interest::ERROR, || refusal::next(&self.udp)).ok()??;
        self.counters.refused += 1;
        Some(Input::Unreachable { to: canonical(to).into() })
    }

    /// Sends, or queues if the kernel's buffer is full.
    pub(super) fn send(&mut self, to: SocketAddr, payload: Buffer) {
        if self.queue.is_empty() && self.attempt(to, &payload) {
            return;
        }
        if self.queue.len() < SEND_QUEUE_MAX {
            self.queue.push_back((to, payload));
        } else {
            self.counters.queue_full += 1;
        }
    }

    /// Sends what waits, as far as the kernel takes it.
    pub(super) fn flush(&mut self) {
        while let Some((to, payload)) = self.queue.pop_front() {
            if !self.attempt(to, &payload) {
                self.queue.push_front((to, payload));
                return;
            }
        }
    }

    /// Whether all that was to be sent has been handed to the kernel.
    pub(super) fn is_flushed(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the datagram is done with: sent, or impossible to send.
    fn attempt(&mut self, to: SocketAddr, payload: &[u8]) -> bool {
        let Some(target) = self.target(to) else {
            self.counters.send_errors += 1;
            return true;
        };
        // An earlier datagram's refusal may be reported here in place of sending: then once more.
        for _ in 0..2 {
            match self.udp.try_send_to(payload, target) {
                Ok(_) => {
                    self.counters.sent += 1;
                    self.counters.sent_bytes += payload.len() as u64;
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => tracing::trace!(%to, %error, "send failed"),
            }
        }
        self.counters.send_errors += 1;
        true
    }

    fn target(&self, to: SocketAddr) -> Option<SocketAddr> {
        match to {
            SocketAddr::V4(v4) if self.dual_stack => {
                Some(SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())))
            }
            SocketAddr::V6(_) if !self.dual_stack => None,
            _ => Some(to),
        }
    }

    /// The socket's own counters, for the metrics page.
    pub(super) fn metrics(&self) -> Vec<Metric> {
        let counters = &self.counters;
        let plain = |name: &str, help: &str, value: u64| counter(name, help, &[], value);
        let labelled =
            |name: &str, help: &str, label: (&str, &str), value| counter(name, help, &[label], value);
        let errors = ("atoll_socket_errors_total", "Errors of the UDP socket, by operation.");
        let drops = ("atoll_socket_dropped_datagrams_total", "Datagrams that the socket dropped, by reason.");
        let missed = kernel_drops(&self.udp, self.dual_stack).unwrap_or_default();
        vec![
            plain("atoll_socket_received_datagrams_total", "Datagrams received.", counters.received),
            plain(
                "atoll_socket_received_bytes_total",
                "UDP payload bytes received.",
                counters.received_bytes,
            ),
            plain("atoll_socket_sent_datagrams_total", "Datagrams sent.", counters.sent),
            plain("atoll_socket_sent_bytes_total", "UDP payload bytes sent.", counters.sent_bytes),
            plain("atoll_socket_refused_total", "ICMP messages that refused a datagram.", counters.refused),
            labelled(errors.0, errors.1, ("operation", "receive"), counters.receive_errors),
            labelled(errors.0, errors.1, ("operation", "send"), counters.send_errors),
            labelled(drops.0, drops.1, ("reason", "kernel_buffer_full"), missed),
            labelled(drops.0, drops.1, ("reason", "oversize"), counters.oversize),
            labelled(drops.0, drops.1, ("reason", "queue_full"), counters.queue_full),
        ]
    }
}

pub(super) fn counter(name: &str, help: &str, labels: &[(&str, &str)], value: u64) -> Metric {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (name, help) = (name.to_owned(), help.to_owned());
    Metric { name, help, kind: MetricKind::Counter, labels, value: value as f64 }
}

/// What the kernel dropped because the node did not read in time: the last column of `/proc/net/udp` (proc(5)).
fn kernel_drops(socket: &impl AsFd, ipv6: bool) -> Option<u64> {
    let inode = rustix::fs::fstat(socket).ok()?.st_ino.to_string();
    let table = if ipv6 { "/proc/self/net/udp6" } else { "/proc/self/net/udp" };
    let table = std::fs::read_to_string(table).ok()?;
    let mut rows = table.lines().map(|line| line.split_ascii_whitespace());
    let mut row = rows.find(|row| row.clone().nth(9) == Some(&inode))?;
    row.nth(12)?.parse().ok()
}

/// An IPv4 sender in an IPv6 socket's form, as the IPv4 address it is.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        IpAddr::V6(_) => address,
    }
}

fn open(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    refusal::enable(&socket, address.is_ipv6());
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn lacks_ipv6(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(nix::errno::Errno::from_raw);
    use nix::errno::Errno::{EADDRNOTAVAIL, EAFNOSUPPORT};
    matches!(code, Some(EAFNOSUPPORT | EADDRNOTAVAIL))
}

fn explain(address: SocketAddr, why: &io::Error) -> Failure {
    let failure = Failure::new(format!("listen {address}"), why);
    match why.kind() {
        ErrorKind::AddrInUse => failure.hint("another process has this port: choose another with --listen"),
        ErrorKind::PermissionDenied => failure.hint("ports below 1024 need a privilege: choose a higher one"),
        ErrorKind::AddrNotAvailable => {
            failure.hint("no interface has this address: `0.0.0.0` and `[::]` stand for all")
        }
        _ => failure.hint("try --listen 0.0.0.0:4001"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn next(socket: &mut Socket, pool: &Pool) -> Input {
        let wait = async {
            loop {
                socket.ready().await;
                socket.flush();
                if let Some(input) = socket.receive(pool) {
                    return input;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(5), wait).await.expect("an arrival")
    }

    fn bound(address: &str) -> Socket {
        Socket::bind(Some(address.parse().unwrap())).unwrap()
    }

    fn loopback(socket: &Socket) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, socket.local().port()))
    }

    #[tokio::test]
    async fn ipv4_peers_look_like_ipv4_to_a_dual_stack_socket() {
        let pool = Pool::new();
        let (mut dual, mut single) = (bound("[::]:0"), bound("127.0.0.1:0"));
        dual.send(single.local(), pool.copy(b"out"));
        dual.ready().await;
        dual.flush();
        let Input::Datagram { from, payload } = next(&mut single, &pool).await else { panic!("a datagram") };
        assert_eq!((from.address(), &payload[..]), (loopback(&dual), &b"out"[..]));
        single.send(from.address(), pool.copy(b"back"));
        single.ready().await;
        single.flush();
        let Input::Datagram { from, .. } = next(&mut dual, &pool).await else { panic!("a datagram") };
        assert_eq!(from.address(), single.local());
    }

    #[tokio::test]
    async fn a_refused_datagram_names_its_destination_and_the_next_one_is_sent() {
        for listen in ["127.0.0.1:0", "[::]:0"] {
            let pool = Pool::new();
            let mut socket = bound(listen);
            let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            socket.send(nobody, pool.copy(b"anyone?"));
            let Input::Unreachable { to } = next(&mut socket, &pool).await else { panic!("a refusal") };
            assert_eq!(to, nobody.into());
            let me = loopback(&socket);
            socket.send(me, pool.copy(b"still here"));
            assert!(matches!(next(&mut socket, &pool).await, Input::Datagram { .. }));
        }
    }

    #[tokio::test]
    async fn a_datagram_that_is_too_large_is_counted_and_dropped() {
        let pool = Pool::new();
        let mut socket = bound("127.0.0.1:0");
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(&[0; PAYLOAD_MAX + 1], socket.local()).unwrap();
        sender.send_to(&[0; PAYLOAD_MAX], socket.local()).unwrap();
        let Input::Datagram { payload, .. } = next(&mut socket, &pool).await else { panic!("a datagram") };
        assert_eq!((payload.len(), socket.counters.oversize), (PAYLOAD_MAX, 1));
    }

    #[tokio::test]
    async fn what_comes_while_nobody_reads_is_counted() {
        for listen in ["127.0.0.1:0", "[::]:0"] {
            let socket = bound(listen);
            let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            assert_eq!(kernel_drops(&socket.udp, socket.dual_stack), Some(0));
            for _ in 0..2000 {
                sender.send_to(&[0; 1000], loopback(&socket)).unwrap();
            }
            assert!(kernel_drops(&socket.udp, socket.dual_stack) > Some(0));
        }
    }

    #[tokio::test]
    async fn what_the_kernel_does_not_take_waits_up_to_a_bound() {
        let pool = Pool::new();
        let mut socket = bound("127.0.0.1:0");
        let me = socket.local();
        // Before the first readiness report nothing is handed to the kernel.
        (0..SEND_QUEUE_MAX + 3).for_each(|_| socket.send(me, pool.copy(b"x")));
        assert_eq!((socket.queue.len(), socket.counters.queue_full), (SEND_QUEUE_MAX, 3));
        socket.ready().await;
        socket.flush();
        assert!(socket.is_flushed());
    }

    #[tokio::test]
    async fn a_port_that_is_taken_gives_a_hint() {
        let first = bound("127.0.0.1:0");
        let shown = Socket::bind(Some(Listen(first.local()))).err().unwrap().to_string();
        assert!(shown.contains("in use") && shown.contains("hint: another process"), "{shown}");
    }
}
