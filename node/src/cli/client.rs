//! The other end of the control interface.

use std::io::{self, ErrorKind};
use std::time::Duration;

use atoll_core::control::{Command, FailureKind, Reply};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use hyper::http::request::Builder;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::Endpoint;
use crate::failure::Failure;

const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;
const REPLY_WAIT: Duration = Duration::from_secs(35);
/// Bytes of a file that are read at once.
const READ: usize = 64 * 1024;
/// Bytes of one line of an answer.
const LINE_MAX: usize = 64 * 1024;

/// Talks to one running node.
pub(super) struct Client {
    endpoint: Endpoint,
}

type Problem = Box<dyn std::error::Error + Send + Sync>;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Client {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Has a command carried out.
    pub(super) async fn command(&self, command: &Command) -> Result<Reply, Failure> {
        let text = serde_json::to_vec(command).map_err(|why| self.failure(why))?;
        let request = Request::post("/command").header(CONTENT_TYPE, "application/json");
        self.ask(request, text).await
    }

    /// The overlay of that name, else the first that the node is a member of.
    pub(super) async fn overlay(&self, named: Option<String>) -> Result<String, Failure> {
        let members = match self.command(&Command::Status).await? {
            Reply::Status(members) => members,
            other => return Err(self.unexpected(other)),
        };
        let known: Vec<String> = members.into_iter().map(|member| member.overlay).collect();
        let wanted = named.or_else(|| known.first().cloned());
        let wanted = wanted.ok_or_else(|| self.failure("the node is a member of nothing"))?;
        if known.contains(&wanted) {
            return Ok(wanted);
        }
        let hint = format!("name one of this node's with `--overlay`: {}", known.join(", "));
        Err(self.failure(format!("no overlay is named `{wanted}`")).hint(hint))
    }

    /// Reads what is at a place.
    pub(super) async fn get<T: DeserializeOwned>(&self, place: &str) -> Result<T, Failure> {
        self.ask(Request::get(place), Vec::new()).await
    }

    /// Sends a file, of which so many bytes are read while the answer comes.
    pub(super) async fn upload(&self, place: &str, file: File, bytes: u64) -> Result<Parts, Failure> {
        let request = Request::post(place)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, bytes);
        let (sender, body) = Channel::<Bytes, io::Error>::new(2);
        let reader = tokio::spawn(read(file, bytes, sender));
        let sent = timeout(REPLY_WAIT, self.exchange(request, body)).await;
        let (response, _connection) = self.in_time(sent)?;
        if response.status() == StatusCode::OK {
            return Ok(Parts {
                body: response.into_body(),
                text: Vec::new(),
                reader: Task(reader),
                _connection,
            });
        }
        let (status, body) = whole(response).await.map_err(|why| self.explain(why.as_ref()))?;
        Err(self.refusal(status, &body))
    }

    async fn ask<T: DeserializeOwned>(&self, request: Builder, body: Vec<u8>) -> Result<T, Failure> {
        let ask = async {
            let (response, _connection) = self.exchange(request, Full::new(Bytes::from(body))).await?;
            whole(response).await
        };
        let (status, body) = self.in_time(timeout(REPLY_WAIT, ask).await)?;
        if status != StatusCode::OK {
            return Err(self.refusal(status, &body));
        }
        serde_json::from_slice(&body).map_err(|why| {
            self.failure(format!("the answer is not understood: {why}"))
                .hint("is it an `atoll-node` of this version?")
        })
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

    fn in_time<T, E>(&self, answer: Result<Result<T, Problem>, E>) -> Result<T, Failure> {
        let Ok(answer) = answer else {
            return Err(self.failure("no answer in time").hint("is the node overloaded or stopped?"));
        };
        answer.map_err(|why| self.explain(why.as_ref()))
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> Failure {
        let said = serde_json::from_slice::<serde_json::Value>(body).ok();
        if let Some(why) = said.as_ref().and_then(|said| said["error"].as_str()) {
            let hint = said.as_ref().and_then(|said| said["hint"].as_str());
            return self
                .failure(why)
                .hint(hint.unwrap_or("`atoll-node status` lists the overlays and how they are protected"));
        }
        let text: String = String::from_utf8_lossy(body).trim().chars().take(300).collect();
        self.failure(format!("{status}: {text}")).hint("is it an `atoll-node` of this version?")
    }

    async fn exchange<B>(&self, request: Builder, body: B) -> Result<(Response<Incoming>, Task<()>), Problem>
    where
        B: Body<Data = Bytes, Error: Into<Problem>> + Send + 'static,
    {
        let stream: Box<dyn Stream> = match &self.endpoint {
            Endpoint::Tcp(address) => Box::new(TcpStream::connect(address).await?),
            Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Endpoint::Off => return Err("it is off".into()),
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = Task(tokio::spawn(async move { drop(connection.await) }));
        Ok((sender.send_request(request.header(HOST, "localhost").body(body)?).await?, connection))
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

async fn whole(response: Response<Incoming>) -> Result<(StatusCode, Bytes), Problem> {
    let status = response.status();
    let body = Limited::new(response.into_body(), REPLY_BYTES_MAX).collect().await?.to_bytes();
    Ok((status, body))
}

/// Reads so many bytes of a file into a body, which fails if the file has fewer.
async fn read(mut file: File, bytes: u64, mut body: Sender<Bytes, io::Error>) -> io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let mut part = vec![0; usize::try_from(left).unwrap_or(READ).min(READ)];
        let len = match file.read(&mut part).await {
            Ok(0) => Err(io::Error::new(ErrorKind::UnexpectedEof, "it became shorter")),
            other => other,
        };
        let len = match len {
            Ok(len) => len,
            Err(why) => {
                body.abort(why.kind().into());
                return Err(why);
            }
        };
        part.truncate(len);
        left -= len as u64;
        if body.send_data(part.into()).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// A task that ends with its owner.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer that comes line by line.
pub(super) struct Parts {
    body: Incoming,
    text: Vec<u8>,
    reader: Task<io::Result<()>>,
    _connection: Task<()>,
}

impl Parts {
    /// The next line; none after the last.
    pub(super) async fn line(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line = self.text.drain(..=end).collect::<Vec<_>>();
                return Ok(Some(line.into()));
            }
            if self.text.len() > LINE_MAX {
                return Err("a line without an end".to_owned());
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(part) => {
                    self.text.extend(part.map_err(|why| why.to_string())?.into_data().unwrap_or_default())
                }
            }
        }
    }

    /// Why the file was not read to its end, if that is so.
    pub(super) async fn unread(&mut self) -> Option<io::Error> {
        if !self.reader.0.is_finished() {
            return None;
        }
        (&mut self.reader.0).await.ok()?.err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_became_shorter_is_an_error_and_one_that_grew_is_cut() {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), b"eight...").unwrap();
        for (bytes, whole) in [(7, true), (8, true), (9, false)] {
            let (sender, body) = Channel::<Bytes, io::Error>::new(8);
            let read = read(File::open(path.path()).await.unwrap(), bytes, sender).await;
            let body = body.collect().await.map(|body| body.to_bytes().len() as u64);
            assert_eq!((read.is_ok(), body.ok()), (whole, whole.then_some(bytes)));
        }
    }
}
