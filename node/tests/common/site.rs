//! A site as a process, and what people do at it.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::sync::mpsc;

use atoll_core::security::UserList;
use atoll_site::MemberFile;
use openssl::base64::decode_block;
use openssl::sha::sha256;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use serde_json::{Value, json};

use super::group::text;
use super::{PATIENCE, program};

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The lines of a log.
fn follow(log: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

/// A site that runs; killed when dropped.
pub struct Site {
    pub child: Child,
    pub place: SocketAddr,
    pub pin: String,
    /// What it said before it was ready.
    pub began: Vec<Value>,
}

impl Site {
    /// Starts it over a folder and waits until it is ready.
    pub fn start(folder: &Path, flags: &[&str]) -> Self {
        Self::start_as(program(&[]), folder, flags)
    }

    /// The same by a process that becomes the program, whose arguments follow.
    pub fn start_as(process: Process, folder: &Path, flags: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", process, (folder, flags))
    }

    /// Comes back at the place where it was.
    pub fn start_again(&mut self, folder: &Path, flags: &[&str]) {
        let place = self.place.to_string();
        self.kill();
        *self = Self::start_at(&place, program(&[]), (folder, flags));
    }

    fn start_at(listen: &str, mut process: Process, (folder, flags): (&Path, &[&str])) -> Self {
        let (data, key) = (folder.join("data"), folder.join("key"));
        process.args(["site", "--listen", listen, "--log-format", "json"]);
        process.args(["--data", text(&data), "--key-file", text(&key)]).args(flags);
        let mut child = process.stderr(Stdio::piped()).spawn().unwrap();
        let lines = follow(child.stderr.take().unwrap());
        let place = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut site = Self { child, place, pin: String::new(), began: Vec::new() };
        loop {
            let line = lines.recv_timeout(PATIENCE).expect("the site gets ready");
            let value: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            if value["message"] == "site ready" {
                site.place = value["listen"].as_str().unwrap().parse().unwrap();
                value["pin"].as_str().unwrap().clone_into(&mut site.pin);
                return site;
            }
            site.began.push(value);
        }
    }

    /// One request; nothing if the site went away before it answered.
    pub fn try_ask(&self, method: &str, path: &str, (token, body): (&str, &str)) -> Option<(u16, String)> {
        self.exchange(method, path, (&format!("Authorization: Bearer {token}"), body))
    }

    /// What the site says of a group's newest list to whoever has a member's file.
    pub fn lists(&self, file: &MemberFile) -> String {
        let secret = &file.group.secret;
        let byte = |at: usize| u8::from_str_radix(&secret[at..at + 2], 16).unwrap();
        let secret: Vec<u8> = (0..secret.len()).step_by(2).map(byte).collect();
        let header = format!("Atoll-Reader: {}", atoll_site::reader_proof(&secret).unwrap());
        let path = format!("/api/v1/groups/{}/revocations", file.group.name);
        let (status, said) = self.exchange("GET", &path, (&header, "")).unwrap();
        assert_eq!(status, 200, "{said}");
        said
    }

    /// That list, whose signature is the authority's.
    pub fn list(&self, file: &MemberFile) -> UserList {
        let said: Value = serde_json::from_str(&self.lists(file)).unwrap();
        let root = X509::from_pem(file.group.authority.as_bytes()).unwrap();
        let signature = decode_block(said["signature"].as_str().unwrap()).unwrap();
        UserList::verified(&root.public_key().unwrap(), said["text"].as_str().unwrap(), &signature).unwrap()
    }

    fn exchange(&self, method: &str, path: &str, (header, body): (&str, &str)) -> Option<(u16, String)> {
        let mut builder = SslConnector::builder(SslMethod::tls()).unwrap();
        builder.set_verify(SslVerifyMode::NONE);
        let stream = TcpStream::connect(self.place).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let configuration = builder.build().configure().unwrap().verify_hostname(false);
        let mut stream = configuration.connect("site", stream).ok()?;
        let shown = stream.ssl().peer_certificate()?.public_key().ok()?.public_key_to_der().ok()?;
        assert_eq!(hex(&sha256(&shown)), self.pin);
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
             {header}\r\nContent-Type: application/json\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length = head.to_lowercase().split_once("content-length: ").map(|(_, rest)| rest.to_owned());
        let length = length.and_then(|rest| rest.lines().next()?.trim().parse().ok()).unwrap_or(0);
        (body.len() >= length).then(|| (status, body.to_owned()))
    }

    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, (token, body): (&str, &Value)) -> String {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, said) = self.try_ask(method, path, (token, &body)).expect("an answer");
        assert!((200..300).contains(&status), "{method} {path}: {status} {said}");
        said
    }

    /// A new account's token.
    pub fn account(&self, name: &str) -> String {
        let body = json!({"name": name, "password": "correct horse"});
        let said: Value = serde_json::from_str(&self.ask("POST", "/api/v1/accounts", ("", &body))).unwrap();
        said["token"].as_str().unwrap().to_owned()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Process::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
