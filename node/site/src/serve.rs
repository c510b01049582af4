//! Connections: bounded in number, in all and for each place they come from, and in every wait.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atoll_core::wire::Address;
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use openssl::ssl::{Ssl, SslAcceptor};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_openssl::SslStream;
use tower::ServiceExt as _;

use crate::limits::{Remote, place};
use crate::site::Site;
use crate::web;

/// Connections at once; further ones wait in the kernel.
const CONNECTIONS_MAX: usize = 1024;
/// Of one place; further ones are closed.
const CONNECTIONS_OF_PLACE_MAX: usize = 128;
const HEADER_BYTES_MAX: usize = 16 * 1024;
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
const HEADER_WAIT: Duration = Duration::from_secs(15);
const CONNECTION_MAX: Duration = Duration::from_secs(600);
/// Calls at once; further ones wait.
const CALLS_MAX: usize = 64;
/// One call, from its first byte to the last of its answer.
const CALL_MAX: Duration = Duration::from_secs(60);
/// How long answers under way may take when the site ends.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Who has how many connections.
#[derive(Debug, Default)]
struct Places(Mutex<BTreeMap<Remote, usize>>);

/// A connection that is counted until this is dropped.
struct Counted(Arc<Places>, Remote);

impl Places {
    fn count(self: &Arc<Self>, from: IpAddr) -> Option<Counted> {
        let from = place(Remote::Ip(from));
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = places.entry(from).or_default();
        if *count >= CONNECTIONS_OF_PLACE_MAX {
            return None;
        }
        *count += 1;
        Some(Counted(Arc::clone(self), from))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut places = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = places.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                places.remove(&self.1);
            }
        }
    }
}

/// Serves a site until `stopped` changes or its sender is gone; answers under way are waited for.
pub async fn serve(
    site: Arc<Site>,
    listener: TcpListener,
    acceptor: SslAcceptor,
    mut stopped: watch::Receiver<()>,
) {
    let door = Door { router: web::router(Arc::clone(&site)), acceptor: Arc::new(acceptor) };
    let (places, mut connections) = (Arc::new(Places::default()), JoinSet::new());
    let mut house = pin!(site.keep_house());
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            () = &mut house => {}
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, from)) => {
                    if let Some(counted) = places.count(from.ip()) {
                        let served = door.clone().serve(stream, from, stopped.clone());
                        connections.spawn(async move {
                            served.await;
                            drop(counted);
                        });
                    }
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
    let _ = timeout(STOP_WAIT, async { while connections.join_next().await.is_some() {} }).await;
}

/// A stream of bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a node has to say to the site through the public overlay: one request of HTTP on a stream that is secured already.
pub struct Call {
    /// The member that calls, which has proved it.
    pub from: Address,
    /// What it says, and where the answer goes.
    pub stream: Box<dyn Stream>,
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("from", &self.from).finish_non_exhaustive()
    }
}

/// Answers the calls that come through the public overlay until `stopped` changes, its sender is gone or no more can come;
/// answers under way are waited for. There is what nodes ask and nothing else: no pages, and no passwords.
pub async fn serve_calls(site: Arc<Site>, mut calls: mpsc::Receiver<Call>, mut stopped: watch::Receiver<()>) {
    let (router, mut served) = (web::calls(site), JoinSet::new());
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = served.join_next() => {}
            call = calls.recv(), if served.len() < CALLS_MAX => match call {
                Some(call) => {
                    served.spawn(answer_call(call, router.clone(), stopped.clone()));
                }
                None => break,
            },
        }
    }
    drop(calls);
    let _ = timeout(STOP_WAIT, async { while served.join_next().await.is_some() {} }).await;
}

async fn answer_call(Call { from, stream }: Call, router: Router, stopped: watch::Receiver<()>) {
    let mut http = http1::Builder::new();
    http.keep_alive(false);
    if let Err(error) = converse(http, stream, (router, Remote::Member(from)), (stopped, CALL_MAX)).await {
        tracing::debug!(%error, %from, "a call ended early");
    }
}

/// Answers what comes on a stream, for so long at most.
async fn converse(
    mut http: http1::Builder,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    (router, from): (Router, Remote),
    (mut stopped, max): (watch::Receiver<()>, Duration),
) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| answer(router.clone(), request, from));
    let connection = http
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
    timeout(max, served).await.unwrap_or(Ok(()))
}

#[derive(Clone)]
struct Door {
    router: Router,
    acceptor: Arc<SslAcceptor>,
}

impl Door {
    async fn serve(self, stream: TcpStream, from: SocketAddr, stopped: watch::Receiver<()>) {
        let _ = stream.set_nodelay(true);
        let Some(stream) = self.shake_hands(stream).await else { return };
        let whom = (self.router, Remote::Ip(from.ip()));
        let served = converse(http1::Builder::new(), stream, whom, (stopped, CONNECTION_MAX)).await;
        if let Err(error) = served {
            tracing::debug!(%error, %from, "a connection ended early");
        }
    }

    async fn shake_hands(&self, stream: TcpStream) -> Option<SslStream<TcpStream>> {
        let ssl = Ssl::new(self.acceptor.context()).ok()?;
        let mut stream = SslStream::new(ssl, stream).ok()?;
        let done = timeout(HANDSHAKE_WAIT, Pin::new(&mut stream).accept()).await;
        done.is_ok_and(|result| result.is_ok()).then_some(stream)
    }
}

async fn answer(
    router: Router,
    mut request: Request<Incoming>,
    from: Remote,
) -> Result<Response<Body>, Infallible> {
    request.extensions_mut().insert(from);
    router.oneshot(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_has_a_bounded_number_of_connections_and_gets_them_back() {
        let places = Arc::new(Places::default());
        let from: IpAddr = "192.0.2.1".parse().unwrap();
        let mut held: Vec<Counted> =
            (0..CONNECTIONS_OF_PLACE_MAX).map(|_| places.count(from).unwrap()).collect();
        assert!(places.count(from).is_none());
        assert!(places.count("192.0.2.2".parse().unwrap()).is_some());
        held.pop();
        assert!(places.count(from).is_some());
        drop(held);
        assert!(places.0.lock().unwrap().is_empty(), "nobody is remembered who has none");
    }
}
