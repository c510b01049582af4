//! The other end of the control interface.

use std::io::{self, ErrorKind};
use std::time::Duration;

use atoll_core::control::{Command, FailureKind, Reply};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::config::Endpoint;
use crate::failure::Failure;

const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;
const REPLY_WAIT: Duration = Duration::from_secs(35);

/// Talks to one running node.
pub(super) struct Client {
    endpoint: Endpoint,
}

type Problem = Box<dyn std::error::Error + Send + Sync>;

impl Client {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Has a command carried out.
    pub(super) async fn command(&self, command: &Command) -> Result<Reply, Failure> {
        let answer = timeout(REPLY_WAIT, self.ask(command)).await;
        match answer {
            Err(_) => Err(self.failure("no answer in time").hint("is the node overloaded or stopped?")),
            Ok(Err(why)) => Err(self.explain(why.as_ref())),
            Ok(Ok((StatusCode::OK, body))) => serde_json::from_slice(&body).map_err(|why| {
                self.failure(format!("the answer is not understood: {why}"))
                    .hint("is it an `atoll-node` of this version?")
            }),
            Ok(Ok((status, body))) => {
                let text: String = String::from_utf8_lossy(&body).trim().chars().take(300).collect();
                Err(self.failure(format!("{status}: {text}")).hint("is it an `atoll-node` of this version?"))
            }
        }
    }

    /// A failure in the name of this node.
    pub(super) fn failure(&self, why: impl std::fmt::Display) -> Failure {
        Failure::new(format!("control {}", self.endpoint), why)
    }

    /// What to say when the node refused a command, or replied to another.
    pub(super) fn unexpected(&self, reply: Reply) -> Failure {
        match reply {
            Reply::Failed { kind, why } => self.failure(why).hint(match kind {
                FailureKind::Busy | FailureKind::NotRunning => "try again in a moment",
                _ => "`atoll-node status` lists the overlays and where they stand",
            }),
            _ => self.failure("the node replied to another question"),
        }
    }

    async fn ask(&self, command: &Command) -> Result<(StatusCode, Bytes), Problem> {
        match &self.endpoint {
            Endpoint::Tcp(address) => exchange(TcpStream::connect(address).await?, command).await,
            Endpoint::Unix(path) => exchange(UnixStream::connect(path).await?, command).await,
            Endpoint::Off => Err("it is off".into()),
        }
    }

    fn explain(&self, why: &(dyn std::error::Error + 'static)) -> Failure {
        let kind = why.downcast_ref::<io::Error>().map(io::Error::kind);
        let failure = self.failure(why);
        match kind {
            Some(ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {
                failure.hint("no node runs there: give its place with --control or ATOLL_CONTROL")
            }
            Some(ErrorKind::PermissionDenied) => failure.hint("only the node's own user may command it"),
            _ => failure.hint("is it the control interface of an `atoll-node`?"),
        }
    }
}

async fn exchange<S>(stream: S, command: &Command) -> Result<(StatusCode, Bytes), Problem>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::post("/command")
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(serde_json::to_vec(command)?)))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), REPLY_BYTES_MAX).collect().await?.to_bytes();
    connection.abort();
    Ok((status, body))
}
