//! The fabric as a service: its nodes, and the interface through which the lab and Prometheus reach it.

mod batch;
mod captures;
mod controls;
mod faults;
mod inside;
mod nodes;
mod pages;
mod routes;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, Semaphore};

use crate::clock::Clock;
use crate::engine::Handle;
use crate::owner::give_to_owner_of_folder;
use nodes::Nodes;

/// Connections served at once; more wait.
const CONNECTIONS_MAX: usize = 128;

/// Longest wait for the last answers at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// Ports on which every node serves inside its own container, on loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePorts {
    /// Prometheus metrics.
    pub metrics: u16,
    /// Control interface.
    pub control: u16,
}

impl Default for NodePorts {
    fn default() -> Self {
        Self { metrics: 9100, control: 9101 }
    }
}

/// A fabric that can be asked.
#[derive(Debug)]
pub struct Fabric {
    engine: Handle,
    clock: Clock,
    ports: NodePorts,
    nodes: Nodes,
    pages: SocketAddr,
    /// Where the lab's socket is, and where captures go.
    folder: PathBuf,
    over: Notify,
}

/// Who asks: decides what may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// The lab, on the unix socket.
    Lab,
    /// Anyone on this host, on loopback.
    Reader,
}

/// Serves until the lab says stop.
///
/// # Errors
/// The sockets cannot be opened.
pub async fn serve(engine: Handle, clock: Clock, socket: &Path, pages: SocketAddr) -> io::Result<()> {
    let readers = TcpListener::bind(pages).await?;
    let lab = UnixListener::bind(socket)?;
    give_to_owner_of_folder(socket)?;
    let pages = readers.local_addr()?;
    let ports = NodePorts::default();
    let folder = socket.parent().unwrap_or_else(|| Path::new(".")).to_owned();
    let (nodes, over) = (Nodes::default(), Notify::new());
    let fabric = Arc::new(Fabric { engine, clock, ports, nodes, pages, folder, over });
    tracing::info!(socket = %socket.display(), %pages, "the fabric is ready");
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        tokio::select! {
            () = fabric.over.notified() => break,
            Ok((stream, _)) = lab.accept() => tokio::spawn(converse(Arc::clone(&fabric), stream, Asker::Lab, permit)),
            Ok((stream, _)) = readers.accept() => tokio::spawn(converse(Arc::clone(&fabric), stream, Asker::Reader, permit)),
        };
    }
    let all = u32::try_from(CONNECTIONS_MAX).map_err(io::Error::other)?;
    let _ = tokio::time::timeout(FAREWELL, places.acquire_many(all)).await;
    let _ = fabric.engine.stop().await;
    std::fs::remove_file(socket)
}

async fn converse(
    fabric: Arc<Fabric>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    asker: Asker,
    permit: tokio::sync::OwnedSemaphorePermit,
) {
    let answer = service_fn(move |request| {
        let fabric = Arc::clone(&fabric);
        async move { Ok::<_, std::convert::Infallible>(routes::answer(&fabric, asker, request).await) }
    });
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await {
        tracing::debug!(%error, "a connection broke");
    }
    drop(permit);
}
