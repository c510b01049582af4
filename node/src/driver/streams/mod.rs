//! TCP connections for datagrams, where UDP does not come through: a listener, and a bounded table of connections.
//!
//! Who is a member is not known here. A connection counts as *proved* once the machine sends a record on it, which it does
//! only after a handshake; strangers have few places and lose them to newer ones.

mod connection;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use atoll_core::config::TcpUse;
use atoll_core::control::{Metric, MetricKind};
use atoll_core::wire::{Transport, is_record};
use atoll_core::{Buffer, Input, Pool};
use socket2::{Domain, Protocol, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

pub(super) use self::connection::Report;
use self::connection::{Line, Name, Opener, prepend_length};
use super::socket::{canonical, counter};

/// Connections at most; beyond, a stranger's makes room, and without one no other is opened or taken.
const CONNECTIONS_MAX: usize = 512;
/// Connections of strangers at most; beyond, the oldest is closed.
const STRANGERS_MAX: usize = 64;
/// Connections that one IP address may have opened; beyond, its oldest stranger makes room.
const PER_ADDRESS_MAX: usize = 32;
/// Datagrams that wait for one connection; beyond, new ones are lost as over UDP.
const QUEUE_MAX: usize = 128;
/// What waits for the driver; beyond, connections wait.
const REPORTS_MAX: usize = 64;
/// Connections that wait to be accepted in the kernel.
const BACKLOG: i32 = 128;
/// How long to wait after the system refused to accept one.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What the connections did and did not do.
#[derive(Debug, Default)]
struct Counters {
    opened: u64,
    accepted: u64,
    displaced: u64,
    refused: u64,
    queue_full: u64,
}

#[derive(Debug)]
struct Connection {
    number: u64,
    opener: Opener,
    proved: bool,
    queue: mpsc::Sender<Buffer>,
    task: AbortHandle,
}

impl Connection {
    fn is_strange(&self) -> bool {
        self.opener == Opener::Peer && !self.proved
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All TCP connections of the node.
#[derive(Debug)]
pub(super) struct Streams {
    usage: TcpUse,
    /// Where connections leave from, if the socket is bound to one address.
    from: Option<SocketAddr>,
    pool: Pool,
    connections: BTreeMap<SocketAddr, Connection>,
    next: u64,
    reports: mpsc::Receiver<Report>,
    reporter: mpsc::Sender<Report>,
    /// Peers to which no connection could be opened for want of room.
    unopened: VecDeque<SocketAddr>,
    accepting: Option<AbortHandle>,
    counters: Counters,
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.accepting.take().inspect(AbortHandle::abort);
    }
}

impl Streams {
    /// No TCP at all.
    pub(super) fn off() -> Self {
        let (reporter, reports) = mpsc::channel(REPORTS_MAX);
        Self {
            usage: TcpUse::Off,
            from: None,
            pool: Pool::new(),
            connections: BTreeMap::new(),
            next: 0,
            reports,
            reporter,
            unopened: VecDeque::new(),
            accepting: None,
            counters: Counters::default(),
        }
    }

    /// Listens where the UDP socket is bound. If that is taken, connections are opened and none is accepted.
    pub(super) fn bind(local: SocketAddr) -> Self {
        Self::listening(local).unwrap_or_else(|why| {
            tracing::warn!(%local, %why, "no TCP connections are taken");
            Self::opening(local)
        })
    }

    /// Listens where the UDP socket is bound.
    ///
    /// # Errors
    /// Another program has that port, or the system refuses.
    pub(super) fn listening(local: SocketAddr) -> io::Result<Self> {
        let (listener, mut streams) = (listen(local)?, Self::opening(local));
        let task = tokio::spawn(accept_all(listener, streams.reporter.clone()));
        (streams.accepting, streams.usage) = (Some(task.abort_handle()), TcpUse::Listens);
        Ok(streams)
    }

    fn opening(local: SocketAddr) -> Self {
        let from = (!local.ip().is_unspecified()).then(|| SocketAddr::new(local.ip(), 0));
        let mut streams = Self::off();
        (streams.usage, streams.from) = (TcpUse::Opens, from);
        streams
    }

    /// What the machine may do over TCP.
    pub(super) fn usage(&self) -> TcpUse {
        self.usage
    }

    /// Uses the driver's buffers.
    pub(super) fn with_pool(mut self, pool: &Pool) -> Self {
        self.pool = pool.clone();
        self
    }

    /// What the connections have to tell next.
    pub(super) async fn next(&mut self) -> Report {
        if let Some(peer) = self.unopened.pop_front() {
            return Report::Gone(Name { peer, number: u64::MAX });
        }
        self.reports.recv().await.expect("there is a sender as long as there is a receiver")
    }

    /// The same, if there is something now.
    pub(super) fn try_next(&mut self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// What the machine is to know of a report.
    pub(super) fn take(&mut self, report: Report) -> Option<Input> {
        match report {
            Report::Accepted(stream, peer) => self.accept(stream, canonical(peer)),
            Report::Datagram(name, payload) => {
                let known = self.is(name);
                known.then_some(Input::Datagram { from: Transport::Tcp(name.peer), payload })
            }
            Report::Gone(name) => {
                if self.is(name) {
                    self.connections.remove(&name.peer);
                } else if name.number != u64::MAX {
                    return None;
                }
                Some(Input::Unreachable { to: Transport::Tcp(name.peer) })
            }
        }
    }

    fn is(&self, name: Name) -> bool {
        self.connections.get(&name.peer).is_some_and(|connection| connection.number == name.number)
    }

    fn accept(&mut self, stream: TcpStream, peer: SocketAddr) -> Option<Input> {
        let displaced = match self.displaced_by(peer.ip()) {
            Ok(displaced) => displaced,
            Err(Full) => {
                self.counters.refused += 1;
                return None;
            }
        };
        if let Some(stranger) = displaced {
            self.connections.remove(&stranger);
            self.counters.displaced += 1;
        }
        self.counters.accepted += 1;
        self.add((peer, Opener::Peer), |line| tokio::spawn(line.serve(stream)).abort_handle());
        displaced.map(|stranger| Input::Unreachable { to: Transport::Tcp(stranger) })
    }

    /// Whose connection makes room for one that `ip` opens, if there is none free.
    fn displaced_by(&self, ip: IpAddr) -> Result<Option<SocketAddr>, Full> {
        let all = || self.connections.iter().filter(|(_, one)| one.opener == Opener::Peer);
        let theirs = || all().filter(|(peer, _)| peer.ip() == ip);
        if theirs().count() >= PER_ADDRESS_MAX {
            return oldest_stranger(theirs()).map(Some);
        }
        let strangers = all().filter(|(_, one)| one.is_strange()).count();
        if strangers >= STRANGERS_MAX || self.connections.len() >= CONNECTIONS_MAX {
            return oldest_stranger(all()).map(Some);
        }
        Ok(None)
    }

    fn add(&mut self, (peer, opener): (SocketAddr, Opener), spawn: impl FnOnce(Line) -> AbortHandle) {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let (number, reports) = (self.next, self.reporter.clone());
        self.next += 1;
        let line = Line { name: Name { peer, number }, opener, pool: self.pool.clone(), queue, reports };
        let connection = Connection { number, opener, proved: false, queue: sender, task: spawn(line) };
        self.connections.insert(peer, connection);
    }

    /// Sends in the connection to an address, which is opened if there is none.
    pub(super) fn send(&mut self, to: SocketAddr, mut payload: Buffer) {
        if self.usage == TcpUse::Off || (!self.connections.contains_key(&to) && !self.open(to)) {
            self.counters.refused += 1;
            return;
        }
        let Some(connection) = self.connections.get_mut(&to) else { return };
        connection.proved |= is_record(&payload);
        if !prepend_length(&mut payload) || connection.queue.try_send(payload).is_err() {
            self.counters.queue_full += 1;
        }
    }

    fn open(&mut self, to: SocketAddr) -> bool {
        if self.connections.len() >= CONNECTIONS_MAX {
            self.unopened.truncate(CONNECTIONS_MAX);
            self.unopened.push_back(to);
            return false;
        }
        self.counters.opened += 1;
        let from = self.from;
        self.add((to, Opener::We), |line| tokio::spawn(line.open(from)).abort_handle());
        true
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_flushed(&self) -> bool {
        self.connections.values().all(|one| one.queue.capacity() == one.queue.max_capacity())
    }

    /// The connections' own metrics.
    pub(super) fn metrics(&self) -> Vec<Metric> {
        let counters = &self.counters;
        let gauge = |opener: Opener, label: &str| {
            let count = self.connections.values().filter(|one| one.opener == opener).count();
            let help = "TCP connections, by who opened them.";
            Metric {
                kind: MetricKind::Gauge,
                ..counter("atoll_tcp_connections", help, &[("by", label)], count as u64)
            }
        };
        let of = |name: &str, help: &str, label, value| counter(name, help, &[label], value);
        let ended =
            ("atoll_tcp_unserved_total", "TCP connections that were not taken or were given up, by reason.");
        vec![
            gauge(Opener::We, "node"),
            gauge(Opener::Peer, "peer"),
            of("atoll_tcp_connections_total", "TCP connections so far.", ("by", "node"), counters.opened),
            of("atoll_tcp_connections_total", "TCP connections so far.", ("by", "peer"), counters.accepted),
            of(ended.0, ended.1, ("reason", "displaced"), counters.displaced),
            of(ended.0, ended.1, ("reason", "full"), counters.refused),
            counter(
                "atoll_tcp_dropped_datagrams_total",
                "Datagrams that a TCP connection was too slow for.",
                &[],
                counters.queue_full,
            ),
        ]
    }
}

/// There is no room, and nobody who could make any.
#[derive(Debug)]
struct Full;

fn oldest_stranger<'a>(
    among: impl Iterator<Item = (&'a SocketAddr, &'a Connection)>,
) -> Result<SocketAddr, Full> {
    let strange = among.filter(|(_, one)| one.is_strange());
    strange.min_by_key(|(_, one)| one.number).map(|(peer, _)| *peer).ok_or(Full)
}

async fn accept_all(listener: TcpListener, reports: mpsc::Sender<Report>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if reports.send(Report::Accepted(stream, peer)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a TCP connection was not accepted");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

fn listen(local: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(local), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // A node that starts again need not wait for what is left of its old connections.
    socket.set_reuse_address(true)?;
    if local.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&local.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
