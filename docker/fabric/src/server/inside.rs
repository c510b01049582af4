//! HTTP to a node's own loopback, through a socket that was made in its namespace: not one byte of it crosses
//! the emulated Internet.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::net::{AddressFamily, SocketType};
use tokio::net::TcpSocket;

use crate::api::NODE_LIMIT;
use crate::clock::Clock;
use crate::namespace::Namespace;

/// Longest answer of a node, in bytes.
const ANSWER_MAX: usize = 16 << 20;

/// What a node is asked.
#[derive(Debug)]
pub(super) enum Question {
    /// The page at this path.
    Get(&'static str),
    /// This JSON, to this path.
    Post(&'static str, Bytes),
}

/// Asks a node, whose clock runs as this one does, on one of its loopback ports.
pub(super) async fn ask(
    namespace: Arc<Namespace>,
    port: u16,
    question: Question,
    clock: Clock,
) -> Result<Bytes, String> {
    let limit = clock.real(NODE_LIMIT);
    let asked = tokio::time::timeout(limit, converse(namespace, port, question)).await;
    asked.unwrap_or_else(|_| Err(format!("no answer within {} s", limit.as_secs())))
}

async fn converse(namespace: Arc<Namespace>, port: u16, question: Question) -> Result<Bytes, String> {
    let socket =
        tokio::task::spawn_blocking(move || namespace.socket(AddressFamily::INET, SocketType::STREAM));
    let socket = socket.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let socket = TcpSocket::from_std_stream(TcpStream::from(socket));
    let stream = socket.connect(address).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let driver = tokio::spawn(connection);
    let request = request(address, question).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
    driver.abort();
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    if status.is_success() { Ok(body) } else { Err(format!("{status}: {}", String::from_utf8_lossy(&body))) }
}

fn request(address: SocketAddr, question: Question) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let builder = Request::builder().header("host", address.to_string());
    match question {
        Question::Get(path) => builder.uri(path).body(Full::default()),
        Question::Post(path, body) => {
            builder.method("POST").uri(path).header("content-type", "application/json").body(Full::new(body))
        }
    }
}
