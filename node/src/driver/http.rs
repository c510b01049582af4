//! A small HTTP server with bounds: connections, header and body sizes, and every wait.

use std::convert::Infallible;
use std::fs;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::clock::Clock;
use crate::config::Endpoint;
use crate::failure::Failure;

/// Connections at once; further ones wait in the kernel.
const CONNECTIONS_MAX: usize = 32;
const HEADER_BYTES_MAX: usize = 16 * 1024;
const HEADER_WAIT: Duration = Duration::from_secs(5);
const ANSWER_WAIT: Duration = Duration::from_secs(30);
const CONNECTION_MAX: Duration = Duration::from_secs(300);
/// How long answers under way may take when the node ends.
const STOP_WAIT: Duration = Duration::from_millis(500);

/// An answer.
pub(super) type Answer = Response<Content>;

/// The body of an answer.
pub(super) enum Content {
    /// All of it.
    Whole(Full<Bytes>),
    /// What a task says bit by bit.
    Parts(Parts),
}

/// What a task says. The task is ended when nobody listens any more.
pub(super) struct Parts {
    parts: mpsc::Receiver<Bytes>,
    task: AbortHandle,
    /// As long as it is there, the connection is in use.
    in_use: Option<Arc<()>>,
}

impl Parts {
    pub(super) fn new(parts: mpsc::Receiver<Bytes>, task: AbortHandle) -> Self {
        Self { parts, task, in_use: None }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(context),
            Self::Parts(parts) => parts.parts.poll_recv(context).map(|part| part.map(Frame::data).map(Ok)),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Parts(_) => SizeHint::default(),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(whole) if whole.is_end_stream())
    }
}

/// What answers the requests of one server.
pub(super) trait Site: Clone + Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// An answer of one type of content.
pub(super) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Content::Whole(Full::new(body.into())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    answer
}

/// A bound socket that no request has been read from yet.
pub(super) enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket, whose file goes when the listener does.
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// Binds; `key` names the setting in errors. `None` for [`Endpoint::Off`].
    pub(super) fn bind(key: &str, endpoint: &Endpoint) -> Result<Option<Self>, Failure> {
        let bound = match endpoint {
            Endpoint::Off => return Ok(None),
            Endpoint::Tcp(address) => bind_tcp(*address),
            Endpoint::Unix(path) => bind_unix(path),
        };
        bound.map(Some).map_err(|why| explain(key, endpoint, &why))
    }

    /// Where it listens, the port as the kernel chose it.
    pub(super) fn local(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|why| why.to_string(), |a| a.to_string())
            }
            Self::Unix(_, file) => format!("unix:{}", file.0.display()),
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(listener, _) => Box::new(listener.accept().await?.0),
        })
    }
}

/// A byte stream of either kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The file of a Unix socket; removed when dropped.
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn bind_tcp(address: std::net::SocketAddr) -> io::Result<Listener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(Listener::Tcp(TcpListener::from_std(listener)?))
}

/// Binds a socket that only its owner may use. A file that a killed process left is replaced.
fn bind_unix(path: &Path) -> io::Result<Listener> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = || {
        let answer = std::os::unix::net::UnixStream::connect(path);
        answer.is_err_and(|why| why.kind() == ErrorKind::ConnectionRefused)
    };
    if is_socket && refused() {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    let file = SocketFile(path.to_owned());
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(Listener::Unix(listener, file))
}

fn explain(key: &str, endpoint: &Endpoint, why: &io::Error) -> Failure {
    let failure = Failure::new(format!("{key} {endpoint}"), why);
    match why.kind() {
        ErrorKind::AddrInUse => {
            failure.hint(format!("another process has it: choose another with --{key}, or `--{key} off`"))
        }
        ErrorKind::PermissionDenied => {
            failure.hint(format!("choose a place with --{key} that this user may use"))
        }
        ErrorKind::NotFound => failure.hint("make the folder first"),
        _ => failure.hint(format!("choose another with --{key}, or `--{key} off`")),
    }
}

/// A running server.
pub(super) struct Server {
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts to answer; how long an answer may take is measured by the node's clock.
    pub(super) fn start(listener: Listener, site: impl Site, clock: Clock) -> Self {
        let (stop, stopped) = watch::channel(());
        Self { stop, task: tokio::spawn(accept_all(listener, (site, clock.real(ANSWER_WAIT)), stopped)) }
    }

    /// Ends when the answers under way are out, and soon in any case.
    pub(super) async fn stop(mut self) {
        drop(self.stop);
        if timeout(STOP_WAIT, &mut self.task).await.is_err() {
            self.task.abort();
            let _ = self.task.await;
        }
    }
}

async fn accept_all(
    listener: Listener,
    (site, wait): (impl Site, Duration),
    mut stopped: watch::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            stream = listener.accept(), if connections.len() < CONNECTIONS_MAX => match stream {
                Ok(stream) => {
                    connections.spawn(serve(stream, (site.clone(), wait), stopped.clone()));
                }
                // Out of descriptors, most likely: others may be closed meanwhile.
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(
    stream: Box<dyn Stream>,
    (site, wait): (impl Site, Duration),
    mut stopped: watch::Receiver<()>,
) {
    let in_use = Arc::new(());
    let held = Arc::clone(&in_use);
    let service = service_fn(move |request| {
        let (site, held) = (site.clone(), Arc::clone(&held));
        async move {
            let late = |_| answer(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "no answer in time\n");
            let mut answer = timeout(wait, site.answer(request)).await.unwrap_or_else(late);
            if let Content::Parts(parts) = answer.body_mut() {
                parts.in_use = Some(held);
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WAIT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let served = async {
        tokio::select! {
            result = connection.as_mut() => return result,
            _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    };
    let mut served = pin!(served);
    loop {
        match timeout(CONNECTION_MAX, served.as_mut()).await {
            Ok(Err(error)) => return tracing::debug!(%error, "a connection ended early"),
            // Besides us the service holds it, and every answer under way.
            Err(_) if Arc::strong_count(&in_use) > 2 => {}
            Ok(Ok(())) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_a_killed_process_left_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::Unix(folder.path().join("control.sock"));
        let Endpoint::Unix(path) = &endpoint else { unreachable!() };
        drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        assert!(path.exists());
        let living = Listener::bind("control", &endpoint).unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        let shown = Listener::bind("control", &endpoint).err().unwrap().to_string();
        assert!(shown.contains("in use"), "{shown}");
        drop(living);
        assert!(!path.exists(), "the socket's file was left behind");
    }

    #[tokio::test]
    async fn another_kind_of_file_is_never_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        fs::write(&path, "data").unwrap();
        assert!(Listener::bind("control", &Endpoint::Unix(path.clone())).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"data");
    }
}
