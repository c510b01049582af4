//! A site on the loopback, behind real HTTPS, with a clock that the test sets; browsers, programs and nodes that use it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test may")]

pub mod club;
pub mod node;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use atoll_core::security::Wall;
use atoll_site::{Clock, KeyFile, Places, Site, Told, serve};
use openssl::sha::sha256;
use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

pub const PASSWORD: &str = "correct horse";
pub const START: u64 = 1_800_000_000;
/// What the clock says when it is broken: whoever reads it panics.
pub const NO_TIME: u64 = u64::MAX;

/// Where a site keeps what it keeps.
pub fn places(folder: &Path) -> Places {
    Places {
        data: folder.join("data"),
        key: KeyFile::Own(folder.join("key")),
        watermark: folder.join("watermark"),
    }
}

/// A site that is served; it ends with this.
pub struct Served {
    pub folder: Option<TempDir>,
    pub local: SocketAddr,
    pub clock: Arc<AtomicU64>,
    pub site: Arc<Site>,
    runtime: Option<Runtime>,
    stop: Option<watch::Sender<()>>,
    served: Option<tokio::task::JoinHandle<()>>,
}

impl Served {
    pub fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap(), START)
    }

    /// A site over a folder, as it is.
    pub fn on(folder: TempDir, wall: u64) -> Self {
        Self::telling((folder, wall), None)
    }

    /// The same whose members are told this, and not where it is.
    pub fn telling((folder, wall): (TempDir, u64), told: Option<Told>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let clock = Arc::new(AtomicU64::new(wall));
        let hand = Arc::clone(&clock);
        let read = Clock::new(move || {
            let now = hand.load(Ordering::Relaxed);
            assert_ne!(now, NO_TIME, "a panic on purpose");
            Wall(now)
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let local = listener.local_addr().unwrap();
        let own = || Told::new(vec![format!("https://{local}")], vec!["192.0.2.1:4001".to_owned()]);
        let told = told.unwrap_or_else(own);
        let (stop, stopped) = watch::channel(());
        let (site, served) = runtime.block_on(async {
            let mut site = Site::open(&places(folder.path()), told, read).await.unwrap();
            let acceptor = site.secure(None).await.unwrap();
            let site = Arc::new(site);
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let served = tokio::spawn(serve(Arc::clone(&site), listener, acceptor, stopped));
            (site, served)
        });
        let (runtime, stop, served) = (Some(runtime), Some(stop), Some(served));
        Self { folder: Some(folder), local, clock, site, runtime, stop, served }
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }

    pub fn now(&self) -> i64 {
        self.clock.load(Ordering::Relaxed) as i64
    }

    /// Ends it and gives its folder.
    pub fn end(mut self) -> TempDir {
        self.close();
        self.folder.take().unwrap()
    }

    fn close(&mut self) {
        drop(self.stop.take());
        if let (Some(runtime), Some(served)) = (self.runtime.take(), self.served.take()) {
            runtime.block_on(served).unwrap();
            runtime.shutdown_timeout(Duration::from_secs(10));
        }
    }

    pub fn stream(&self) -> SslStream<TcpStream> {
        connect(self.local, &self.site.pin())
    }

    /// One request of no browser.
    pub fn ask(&self, request: &Request<'_>) -> Answer {
        exchange(&mut self.stream(), self.local, request)
    }

    pub fn browser(&self) -> Browser<'_> {
        Browser { served: self, cookie: None, known: None }
    }

    /// A program that is logged in with a new account.
    pub fn program(&self, name: &str) -> Program<'_> {
        self.enter("/api/v1/accounts", name)
    }

    /// A program that logs in.
    pub fn again(&self, name: &str) -> Program<'_> {
        self.enter("/api/v1/logins", name)
    }

    #[track_caller]
    fn enter(&self, path: &str, name: &str) -> Program<'_> {
        let body = json!({"name": name, "password": PASSWORD}).to_string();
        let answer = self.ask(&Request::json("POST", path, &body));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let token = answer.json()["token"].as_str().unwrap().to_owned();
        Program { served: self, token }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.close();
    }
}

/// A connection to whoever holds the key of this pin.
pub fn connect(place: SocketAddr, pin: &str) -> SslStream<TcpStream> {
    let mut builder = SslConnector::builder(SslMethod::tls()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    let mut configuration = builder.build().configure().unwrap();
    configuration.set_verify_hostname(false);
    let stream = TcpStream::connect(place).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_nodelay(true).unwrap();
    let stream = configuration.connect("site", stream).unwrap();
    let key = stream.ssl().peer_certificate().unwrap().public_key().unwrap().public_key_to_der().unwrap();
    let shown: String = sha256(&key).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(shown, pin, "another key than the pinned one");
    stream
}

pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub headers: Vec<(&'a str, String)>,
    pub body: &'a str,
}

impl<'a> Request<'a> {
    pub fn get(path: &'a str) -> Self {
        Self { method: "GET", path, headers: vec![], body: "" }
    }

    pub fn json(method: &'a str, path: &'a str, body: &'a str) -> Self {
        Self { method, path, headers: vec![("Content-Type", "application/json".to_owned())], body }
    }

    #[must_use]
    pub fn with(mut self, name: &'a str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.body))
    }

    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// One request and its answer, after which the connection may be used again.
pub fn exchange(stream: &mut SslStream<TcpStream>, place: SocketAddr, request: &Request<'_>) -> Answer {
    let Request { method, path, headers, body } = request;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {place}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    // A server that refuses early closes while we write.
    let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes());
    let _ = stream.flush();
    read_answer(stream)
}

pub fn read_answer(stream: &mut impl Read) -> Answer {
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        if let Some(answer) = whole(&bytes, false) {
            return answer;
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return whole(&bytes, true).expect("an answer, however short"),
            Ok(length) => bytes.extend_from_slice(&piece[..length]),
        }
    }
}

fn whole(bytes: &[u8], ended: bool) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let all = headers.entry(name.to_lowercase()).or_default();
        // What comes more often, as cookies do, is in lines.
        if !all.is_empty() {
            all.push('\n');
        }
        all.push_str(value);
    }
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    (ended || body.len() >= length).then(|| Answer { status, headers, body: body.to_owned() })
}

/// What a person uses: it keeps cookies, and sends the token that it was shown in a form.
pub struct Browser<'a> {
    pub served: &'a Served,
    pub cookie: Option<String>,
    /// The one by which it is known after a log-in.
    pub known: Option<String>,
}

impl Browser<'_> {
    fn send(&mut self, request: Request<'_>) -> Answer {
        let cookies: Vec<&str> = self.cookie.iter().chain(&self.known).map(String::as_str).collect();
        let request = if cookies.is_empty() { request } else { request.with("Cookie", cookies.join("; ")) };
        let answer = self.served.ask(&request);
        for set in answer.header("set-cookie").lines() {
            let pair = Some(set.split(';').next().unwrap().to_owned());
            if set.starts_with("__Host-atoll-known=") { self.known = pair } else { self.cookie = pair }
        }
        answer
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send(Request::get(path))
    }

    /// The token that the forms of a page hold.
    #[track_caller]
    pub fn token(&mut self, page: &str) -> String {
        let answer = self.get(page);
        let (_, rest) = answer.body.split_once("name=\"form\" value=\"").expect("a page with a form");
        rest.split('"').next().unwrap().to_owned()
    }

    /// Sends a form whose token is this.
    pub fn post_with(&mut self, path: &str, token: &str, fields: &[(&str, &str)]) -> Answer {
        let pairs = [("form", token)]
            .into_iter()
            .chain(fields.iter().copied())
            .map(|(name, value)| format!("{name}={}", escaped(value)));
        let body = pairs.collect::<Vec<_>>().join("&");
        let kind = "application/x-www-form-urlencoded".to_owned();
        let headers = vec![("Content-Type", kind)];
        self.send(Request { method: "POST", path, headers, body: &body })
    }

    /// Loads a page and sends a form of it.
    #[track_caller]
    pub fn post(&mut self, (page, path): (&str, &str), fields: &[(&str, &str)]) -> Answer {
        let token = self.token(page);
        self.post_with(path, &token, fields)
    }

    #[track_caller]
    pub fn sign_up(&mut self, name: &str) {
        let fields = [("name", name), ("password", PASSWORD), ("again", PASSWORD)];
        let answer = self.post(("/signup", "/signup"), &fields);
        assert_eq!(answer.status, 303, "{}", answer.body);
    }
}

pub fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// What a program of a user uses.
pub struct Program<'a> {
    pub served: &'a Served,
    pub token: String,
}

impl Program<'_> {
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::json(method, path, &body);
        self.served.ask(&request.with("Authorization", format!("Bearer {}", self.token)))
    }

    /// The same, which has to succeed.
    #[track_caller]
    pub fn done(&self, method: &str, path: &str, body: &Value) -> Answer {
        let answer = self.ask(method, path, body);
        assert!((200..300).contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.body);
        answer
    }

    /// The same, which has to be refused for this reason.
    #[track_caller]
    pub fn refused(&self, (method, path): (&str, &str), body: &Value, reason: &str) {
        let answer = self.ask(method, path, body);
        assert_eq!(answer.reason(), reason, "{method} {path}: {} {}", answer.status, answer.body);
    }
}
