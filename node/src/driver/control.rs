//! The control interface: commands and events as JSON over HTTP, for this host alone.
//!
//! A web page in a browser on this host must not reach it: every request names a loopback host (so that a name
//! that was rebound to 127.0.0.1 fails), carries no `Origin`, and a command is declared as JSON.

use std::net::IpAddr;
use std::time::Duration;

use atoll_core::control::{Command, Reply};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, ORIGIN};
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use tokio::time::timeout;

use super::enrolments::Enrolments;
use super::http::{Answer, Site, answer};
use super::requests::Asker;
use super::transfer::{self, Transfers};
use crate::config::{Endpoint, decoded};
use crate::failure::Failure;

/// How long the rest of a refused body is taken in.
const DISCARD: Duration = Duration::from_secs(5);
/// A command is a short text.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Refuses an endpoint that other hosts could reach: whoever reaches it commands the node.
pub(super) fn check(endpoint: &Endpoint) -> Result<(), Failure> {
    match endpoint {
        Endpoint::Tcp(address) if !address.ip().to_canonical().is_loopback() => {
            Err(Failure::new(format!("control {address}"), "other hosts could reach it and command the node")
                .hint("use a loopback address such as 127.0.0.1:9101, or unix:/PATH"))
        }
        _ => Ok(()),
    }
}

/// `/command`, `/status`, `/peers`, `/events`, `/enrolments`, `/files` and `/send`.
#[derive(Clone)]
pub(super) struct ControlSite {
    /// The way to the driver.
    pub(super) asker: Asker,
    /// Files that come and go.
    pub(super) transfers: Transfers,
    /// Memberships that sites hand out.
    pub(super) enrolments: Enrolments,
    /// Whether it is served over TCP, where browsers may come from.
    pub(super) tcp: bool,
}

/// Why a request is not carried out.
#[derive(Serialize)]
struct Refusal {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
    #[serde(skip)]
    status: StatusCode,
}

fn refuse(status: StatusCode, error: impl Into<String>) -> Refusal {
    Refusal { error: error.into(), hint: None, status }
}

impl Site for ControlSite {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        self.carry_out(request).await.unwrap_or_else(|refusal| json(refusal.status, &refusal))
    }
}

impl ControlSite {
    async fn carry_out(&self, request: Request<Incoming>) -> Result<Answer, Refusal> {
        if self.tcp {
            check_sender(request.headers())?;
        }
        let query = request.uri().query().unwrap_or_default().to_owned();
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/status") => Ok(self.reply(Command::Status).await),
            (&Method::GET, "/peers") => {
                let overlay = self.overlay(&query).await;
                Ok(self.reply(Command::Peers { overlay }).await)
            }
            (&Method::GET, "/events") => self.events(&query).await,
            (&Method::POST, "/command") => Ok(self.reply(read(request).await?).await),
            (&Method::GET, "/enrolments") => Ok(json(StatusCode::OK, &self.enrolments.reports())),
            (&Method::GET, "/files") => Ok(json(StatusCode::OK, &self.transfers.received())),
            (&Method::POST, "/send") => self.send(&query, request).await,
            (_, "/status" | "/peers" | "/events" | "/enrolments" | "/files") => {
                Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET"))
            }
            (_, "/command" | "/send") => Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "only POST")),
            _ => Err(refuse(
                StatusCode::NOT_FOUND,
                "here are /command, /status, /peers, /events, /enrolments, /files and /send",
            )),
        }
    }

    async fn reply(&self, command: Command) -> Answer {
        json::<Reply>(StatusCode::OK, &self.asker.command(command).await)
    }

    /// The overlay that a query names, else the first.
    async fn overlay(&self, query: &str) -> String {
        if let Some(name) = parameter(query, "overlay") {
            return name.to_owned();
        }
        match self.asker.command(Command::Status).await {
            Reply::Status(members) => {
                members.into_iter().next().map(|member| member.overlay).unwrap_or_default()
            }
            _ => String::new(),
        }
    }

    /// Sends the request's body as a file; the answer says line by line how far it is.
    async fn send(&self, query: &str, request: Request<Incoming>) -> Result<Answer, Refusal> {
        check_type(request.headers(), "application/octet-stream")?;
        let wrong = |why: &str| refuse(StatusCode::BAD_REQUEST, why);
        let to = parameter(query, "to").and_then(|to| to.parse().ok());
        let to = to.ok_or_else(|| wrong("to: expected an address of 40 hexadecimal digits"))?;
        let name = parameter(query, "name").and_then(decoded);
        let name = name.ok_or_else(|| wrong("name: expected a file's name, percent-encoded UTF-8"))?;
        let bytes = request.body().size_hint().exact();
        let bytes = bytes.ok_or_else(|| refuse(StatusCode::LENGTH_REQUIRED, "no Content-Length"))?;
        let wanted = transfer::Request { overlay: self.overlay(query).await, to, name, bytes };
        match self.transfers.admit(&wanted) {
            Ok(admitted) => Ok(admitted.send(wanted, request.into_body())),
            Err(why) => {
                discard(request.into_body());
                Err(Refusal { hint: Some(why.hint()), ..refuse(StatusCode::CONFLICT, why.to_string()) })
            }
        }
    }

    async fn events(&self, query: &str) -> Result<Answer, Refusal> {
        let since = match parameter(query, "since").map(str::parse::<u64>) {
            None => 0,
            Some(Ok(since)) => since,
            Some(Err(_)) => return Err(refuse(StatusCode::BAD_REQUEST, "since: expected a whole number")),
        };
        let page = self.asker.events(since).await;
        page.map(|page| json(StatusCode::OK, &page))
            .ok_or_else(|| refuse(StatusCode::SERVICE_UNAVAILABLE, "the node has left"))
    }
}

/// Takes the rest of a body in: who still sends would not hear the answer if the connection closed on it.
fn discard(mut body: Incoming) {
    tokio::spawn(timeout(DISCARD, async move { while let Some(Ok(_)) = body.frame().await {} }));
}

fn check_sender(headers: &HeaderMap) -> Result<(), Refusal> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !is_loopback(host) {
        return Err(refuse(StatusCode::FORBIDDEN, "the Host header does not name this host's loopback"));
    }
    if headers.contains_key(ORIGIN) {
        return Err(refuse(StatusCode::FORBIDDEN, "web pages may not ask"));
    }
    Ok(())
}

/// Whether a `Host` header (RFC 9110 section 7.2), with or without a port, names the loopback.
fn is_loopback(host: &str) -> bool {
    let without_port = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    let name = without_port.unwrap_or_default();
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn check_type(headers: &HeaderMap, wanted: &str) -> Result<(), Refusal> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    let why = format!("the header Content-Type must be {wanted}");
    Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, why))
}

async fn read(request: Request<Incoming>) -> Result<Command, Refusal> {
    check_type(request.headers(), "application/json")?;
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, format!("more than {BODY_BYTES_MAX} bytes"));
        }
        refuse(StatusCode::BAD_REQUEST, format!("the body did not arrive: {error}"))
    })?;
    serde_json::from_slice(&body.to_bytes())
        .map_err(|error| refuse(StatusCode::BAD_REQUEST, format!("no command: {error}")))
}

/// The value of a parameter as it was written.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => answer(status, "application/json", body),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_hosts_are_answered() {
        for host in ["127.0.0.1", "127.0.0.1:9101", "localhost", "LOCALHOST:1", "[::1]:9101", "127.9.9.9"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "example.com", "127.0.0.1.example.com", "[::2]:1", "10.0.0.1", "localhost.example:1"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn an_endpoint_that_others_reach_is_refused() {
        for refused in ["0.0.0.0:9101", "[::]:9101", "192.0.2.1:9101"] {
            let shown = check(&refused.parse().unwrap()).unwrap_err().to_string();
            assert!(shown.contains("hint: use a loopback"), "{shown}");
        }
        for fine in ["127.0.0.1:0", "[::1]:0", "unix:/tmp/x", "off"] {
            assert_eq!(check(&fine.parse().unwrap()), Ok(()));
        }
    }
}
