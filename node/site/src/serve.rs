//! Connections: bounded in number, in all and for each place they come from, and in every wait.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use openssl::ssl::{Ssl, SslAcceptor};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_openssl::SslStream;
use tower::ServiceExt as _;

use crate::limits::place;
use crate::site::Site;
use crate::web;

/// Connections at once; further ones wait in the kernel.
const CONNECTIONS_MAX: usize = 1024;
/// Of one place; further ones are closed.
const CONNECTIONS_OF_PLACE_MAX: usize = 128;
const HEADER_BYTES_MAX: usize = 16 * 1024;
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
const HEADER_WAIT: Duration = Duration::from_secs(15);
const ANSWER_WAIT: Duration = Duration::from_secs(30);
const CONNECTION_MAX: Duration = Duration::from_secs(600);
/// How long answers under way may take when the site ends.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remote(pub(crate) IpAddr);

/// Who has how many connections.
#[derive(Debug, Default)]
struct Places(Mutex<BTreeMap<IpAddr, usize>>);

/// A connection that is counted until this is dropped.
struct Counted(Arc<Places>, IpAddr);

impl Places {
    fn count(self: &Arc<Self>, from: IpAddr) -> Option<Counted> {
        let from = place(from);
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

#[derive(Clone)]
struct Door {
    router: Router,
    acceptor: Arc<SslAcceptor>,
}

impl Door {
    async fn serve(self, stream: TcpStream, from: SocketAddr, mut stopped: watch::Receiver<()>) {
        let _ = stream.set_nodelay(true);
        let Some(stream) = self.shake_hands(stream).await else { return };
        let router = self.router;
        let service = service_fn(move |request| answer(router.clone(), request, from.ip()));
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
        if let Ok(Err(error)) = timeout(CONNECTION_MAX, served).await {
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
    from: IpAddr,
) -> Result<Response<Body>, Infallible> {
    request.extensions_mut().insert(Remote(from));
    let late = || (StatusCode::SERVICE_UNAVAILABLE, "no answer in time\n").into_response();
    match timeout(ANSWER_WAIT, router.oneshot(request)).await {
        Ok(answered) => answered,
        Err(_) => Ok(late()),
    }
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
