//! HTTPS to a site whose key is known: the SHA-256 of its public key is all the trust there is, no authority of the web counts.
//!
//! Not a byte of a request leaves before the other end has shown that it holds that key.

use std::net::IpAddr;
use std::pin::Pin;
use std::time::{Duration, UNIX_EPOCH};

use atoll_site::Stream;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{DATE, ETAG, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use openssl::sha::sha256;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslVerifyMode, SslVersion};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_openssl::SslStream;

use super::trouble::Trouble;
use crate::config::{Digits, Url};

/// Bytes of an answer: a list of the largest size with its letters escaped, and the same as a list of X.509.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
const CONNECT_WAIT: Duration = Duration::from_secs(8);
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// A site, and what it is known by.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) urls: Vec<Url>,
    pub(crate) pin: Digits,
}

/// What the site answered.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    /// What its clock says, in seconds since 1970 (UTC).
    pub(crate) date: Option<i64>,
    /// How long to wait before asking again.
    pub(crate) wait: Option<Duration>,
    /// What this answer is known by.
    pub(crate) tag: Option<String>,
}

type Problem = Box<dyn std::error::Error + Send + Sync>;

impl Place {
    /// The URL that people are shown.
    pub(crate) fn shown(&self) -> String {
        self.urls.first().map(ToString::to_string).unwrap_or_default()
    }

    /// A stream to the first URL that is answered by the holder of the key.
    pub(super) async fn open(&self) -> Result<(SslStream<TcpStream>, &Url), Trouble> {
        let mut trouble = None;
        for url in &self.urls {
            match self.connect(url).await {
                Ok(stream) => return Ok((stream, url)),
                // A wrong key is worth more to know than that another place is silent.
                Err(why @ Trouble::OtherKey { .. }) => trouble = Some(why),
                Err(why) => trouble = trouble.or(Some(why)),
            }
        }
        Err(trouble.unwrap_or_else(|| Trouble::Silent("the file names no URL of the site".to_owned())))
    }

    async fn connect(&self, url: &Url) -> Result<SslStream<TcpStream>, Trouble> {
        let connect = async {
            let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
            secure(stream, url).await
        };
        let silent = |why: &dyn std::fmt::Display| Trouble::Silent(format!("{url}: {why}"));
        let stream = timeout(CONNECT_WAIT, connect).await.map_err(|_| silent(&"no answer in time"))?;
        let stream = stream.map_err(|why| silent(&why))?;
        let shown = key_of(&stream).ok_or_else(|| silent(&"it shows no certificate"))?;
        if shown == self.pin.0 { Ok(stream) } else { Err(Trouble::OtherKey { url: url.to_string() }) }
    }
}

/// A handshake in which the certificate proves nothing but that the other end holds its key.
async fn secure(stream: TcpStream, url: &Url) -> Result<SslStream<TcpStream>, Problem> {
    stream.set_nodelay(true)?;
    let mut context = SslContext::builder(SslMethod::tls_client())?;
    context.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    context.set_verify(SslVerifyMode::NONE);
    let mut ssl = Ssl::new(&context.build())?;
    if url.host.parse::<IpAddr>().is_err() {
        ssl.set_hostname(&url.host)?;
    }
    let mut stream = SslStream::new(ssl, stream)?;
    Pin::new(&mut stream).connect().await?;
    Ok(stream)
}

/// The SHA-256 of the public key at the other end.
fn key_of(stream: &SslStream<TcpStream>) -> Option<[u8; 32]> {
    let certificate = stream.ssl().peer_certificate()?;
    Some(sha256(&certificate.public_key().ok()?.public_key_to_der().ok()?))
}

/// One request on a stream, and its answer. `shown` is what people call the other end.
pub(super) async fn exchange(
    stream: Box<dyn Stream>,
    (host, shown): (&str, &str),
    request: Request<Bytes>,
) -> Result<Said, Trouble> {
    let talk = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut request = request.map(Full::new);
        let headers = request.headers_mut();
        headers.insert(HOST, host.parse()?);
        headers
            .insert(USER_AGENT, HeaderValue::from_static(concat!("atoll-node/", env!("CARGO_PKG_VERSION"))));
        // Ends with this exchange, whatever comes of it.
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        whole(sender.send_request(request).await?).await
    };
    match timeout(ANSWER_WAIT, talk).await {
        Ok(Ok(said)) => Ok(said),
        Ok(Err(why)) => Err(Trouble::Silent(format!("{shown}: {why}"))),
        Err(_) => Err(Trouble::Silent(format!("{shown}: no answer in time"))),
    }
}

async fn whole(response: Response<Incoming>) -> Result<Said, Problem> {
    let status = response.status();
    let headers = response.headers();
    let date = text(headers, &DATE).and_then(seconds);
    let wait = text(headers, &RETRY_AFTER).and_then(|wait| wait.parse().ok()).map(Duration::from_secs);
    let tag = text(headers, &ETAG).map(str::to_owned);
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await?.to_bytes();
    Ok(Said { status, body, date, wait, tag })
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A date of HTTP (RFC 9110 section 5.6.7), in seconds since 1970 (UTC).
fn seconds(date: &str) -> Option<i64> {
    let since = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}
