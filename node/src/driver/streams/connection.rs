//! One TCP connection on a task of its own: datagrams with their lengths in front of them (RFC 4571), both ways.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use atoll_core::buffer::PAYLOAD_MAX;
use atoll_core::wire::Header;
use atoll_core::{Buffer, Pool};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long opening a connection may take.
const CONNECT_WAIT: Duration = Duration::from_secs(7);
/// How soon a stranger must have sent the first datagram.
const FIRST_WAIT: Duration = Duration::from_secs(10);
/// How long a connection may be silent.
const IDLE_WAIT: Duration = Duration::from_secs(300);
/// How long a datagram may take once its length is here.
const REST_WAIT: Duration = Duration::from_secs(10);
/// How long the peer may take no byte.
const WRITE_WAIT: Duration = Duration::from_secs(30);
/// Bytes that one read takes at most.
const READ_MAX: usize = 4096;

/// Names one connection; two with the same peer at different times have different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::driver) struct Name {
    pub(super) peer: SocketAddr,
    pub(super) number: u64,
}

/// What the tasks tell the driver.
#[derive(Debug)]
pub(in crate::driver) enum Report {
    /// Somebody opened a connection to us.
    Accepted(TcpStream, SocketAddr),
    /// A datagram arrived.
    Datagram(Name, Buffer),
    /// The connection is no more, or could not be opened.
    Gone(Name),
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opener {
    We,
    Peer,
}

/// What one connection needs.
pub(super) struct Line {
    pub(super) name: Name,
    pub(super) opener: Opener,
    pub(super) pool: Pool,
    pub(super) queue: mpsc::Receiver<Buffer>,
    pub(super) reports: mpsc::Sender<Report>,
}

impl Line {
    /// Opens the connection and serves it until it ends; `from` is the address that it leaves from.
    pub(super) async fn open(self, from: Option<SocketAddr>) {
        let opened = timeout(CONNECT_WAIT, connect(self.name.peer, from)).await;
        match opened.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())) {
            Ok(stream) => self.serve(stream).await,
            Err(error) => self.report(&error).await,
        }
    }

    /// Serves an open connection until it ends.
    pub(super) async fn serve(mut self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            return self.report(&error).await;
        }
        let (reader, writer) = stream.into_split();
        let mut queue = std::mem::replace(&mut self.queue, mpsc::channel(1).1);
        let ended = tokio::select! {
            ended = self.read_all(reader) => ended,
            ended = write_all(writer, &mut queue) => ended,
        };
        self.report(&ended.err().unwrap_or_else(|| ErrorKind::UnexpectedEof.into())).await;
    }

    async fn report(&self, error: &io::Error) {
        tracing::debug!(peer = %self.name.peer, %error, "a TCP connection ended");
        // Without a driver nobody wants to know.
        let _ = self.reports.send(Report::Gone(self.name)).await;
    }

    async fn read_all(&self, reader: OwnedReadHalf) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(READ_MAX, reader);
        if self.opener == Opener::Peer {
            let first = self.read(&mut reader, FIRST_WAIT).await?;
            // Whoever does not speak our protocol is no peer.
            Header::take(&mut first.clone()).map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
            self.deliver(first).await?;
        }
        loop {
            let datagram = self.read(&mut reader, IDLE_WAIT).await?;
            self.deliver(datagram).await?;
        }
    }

    async fn read(&self, reader: &mut BufReader<OwnedReadHalf>, wait: Duration) -> io::Result<Buffer> {
        let length = usize::from(timeout(wait, reader.read_u16()).await??);
        if !(1..=PAYLOAD_MAX).contains(&length) {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut datagram = self.pool.take(length);
        datagram.set_len(length);
        timeout(REST_WAIT, reader.read_exact(&mut datagram)).await??;
        Ok(datagram)
    }

    /// A driver that is busy holds up the peer, not the memory.
    async fn deliver(&self, datagram: Buffer) -> io::Result<()> {
        let report = Report::Datagram(self.name, datagram);
        self.reports.send(report).await.map_err(|_| ErrorKind::BrokenPipe.into())
    }
}

async fn connect(to: SocketAddr, from: Option<SocketAddr>) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from {
        socket.bind(from)?;
    }
    socket.connect(to).await
}

async fn write_all(mut writer: OwnedWriteHalf, queue: &mut mpsc::Receiver<Buffer>) -> io::Result<()> {
    while let Some(datagram) = queue.recv().await {
        timeout(WRITE_WAIT, writer.write_all(&datagram)).await??;
    }
    Ok(())
}

/// Puts the length in front of a datagram; `false` if it has none that can be written.
pub(super) fn prepend_length(datagram: &mut Buffer) -> bool {
    let Ok(length) = u16::try_from(datagram.len()) else { return false };
    datagram.prepend(&length.to_be_bytes());
    length > 0
}
