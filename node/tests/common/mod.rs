//! Real `atoll-node` processes on the loopback, which end when the test does.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test may")]

pub mod browser;
pub mod group;
pub mod site;
pub mod town;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command as Process, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use atoll_core::control::{Command, EventKind, Peer, Reply, State, Status};
use atoll_node::driver::Page;
use serde_json::Value;

pub const BINARY: &str = env!("CARGO_BIN_EXE_atoll-node");
/// Longer than anything that is waited for takes on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program with arguments, its environment free of settings.
pub fn program(arguments: &[&str]) -> Process {
    let mut process = Process::new(BINARY);
    process.args(arguments).env_remove("ATOLL_CONTROL").stdin(Stdio::null());
    process
}

/// Runs a verb to its end.
pub fn verb(arguments: &[&str]) -> Output {
    program(arguments).output().expect("the program runs")
}

/// A node that runs; killed when dropped.
pub struct Running {
    child: Child,
    log: Receiver<Value>,
    seen: Vec<Value>,
    pub listen: SocketAddr,
    pub control: SocketAddr,
    pub metrics: SocketAddr,
}

impl Running {
    /// Starts a node on free ports of the loopback.
    pub fn start(bootstraps: &[SocketAddr]) -> Self {
        Self::start_at("127.0.0.1:0", &bootstraps.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    /// Starts a node whose UDP socket is at `listen`, with bootstraps as the flag takes them.
    pub fn start_at(listen: &str, bootstraps: &[String]) -> Self {
        let flags = bootstraps.iter().flat_map(|bootstrap| ["--bootstrap", bootstrap]);
        Self::start_with(&["--listen", listen].into_iter().chain(flags).collect::<Vec<_>>())
    }

    /// Starts a node with these flags; the servers take free ports.
    pub fn start_with(flags: &[&str]) -> Self {
        Self::start_as(program(&[]), flags)
    }

    /// The same by a process that becomes the program, whose arguments follow.
    pub fn start_as(mut process: Process, flags: &[&str]) -> Self {
        process.arg("run");
        Self::start_verb(process, flags)
    }

    /// The same with the verb among the arguments.
    pub fn start_verb(process: Process, flags: &[&str]) -> Self {
        let mut running = Self::start_unready(process, flags);
        running.wait_until_ready();
        running
    }

    /// The same, but for that it may not get ready.
    pub fn start_unready(mut process: Process, flags: &[&str]) -> Self {
        process.args(["--log", "debug", "--log-format", "json"]);
        process.args(["--control", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]).args(flags);
        let mut child = process.stderr(Stdio::piped()).spawn().expect("the program starts");
        let log = follow(child.stderr.take().expect("its log is piped"));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { child, log, seen: vec![], listen: nowhere, control: nowhere, metrics: nowhere }
    }

    /// Waits until it says where it is.
    pub fn wait_until_ready(&mut self) {
        let ready = self.wait_for_log("ready");
        let place = |key: &str| ready[key].as_str().unwrap().parse().unwrap();
        (self.listen, self.control, self.metrics) = (place("listen"), place("control"), place("metrics"));
    }

    /// What it says before it ends by itself; gives its exit code as well.
    #[track_caller]
    pub fn last_words(&mut self) -> (Option<i32>, String) {
        let status = self.wait();
        let mut said = String::new();
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            if let Value::String(line) = line {
                said += &format!("{line}\n");
            }
        }
        (status.code(), said)
    }

    /// The state in one of its overlays; nothing if it is no member there.
    pub fn status_in(&self, overlay: &str) -> Option<Status> {
        match self.command(&Command::Status) {
            Reply::Status(members) => members.into_iter().find(|member| member.overlay == overlay),
            other => panic!("{other:?}"),
        }
    }

    /// The next log line with this message, or one that has been passed over.
    #[track_caller]
    pub fn wait_for_log(&mut self, message: &str) -> Value {
        let end = Instant::now() + PATIENCE;
        if let Some(place) = self.seen.iter().position(|line| line["message"] == message) {
            return self.seen.remove(place);
        }
        loop {
            let line = self.log.recv_timeout(end.saturating_duration_since(Instant::now()));
            let warned = || self.seen.iter().filter(|line| line["level"] == "WARN").collect::<Vec<_>>();
            let line = line.unwrap_or_else(|why| panic!("no `{message}` in the log: {why}: {:?}", warned()));
            if line["message"] == message {
                return line;
            }
            self.seen.push(line);
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn command(&self, command: &Command) -> Reply {
        let body = serde_json::to_string(command).unwrap();
        let (status, body) = post(self.control, "/command", &body);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    pub fn status(&self) -> Status {
        match self.command(&Command::Status) {
            Reply::Status(mut members) => members.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub fn peers(&self) -> Vec<Peer> {
        self.peers_in("public")
    }

    pub fn peers_in(&self, overlay: &str) -> Vec<Peer> {
        match self.command(&Command::Peers { overlay: overlay.to_owned() }) {
            Reply::Peers(peers) => peers,
            other => panic!("{other:?}"),
        }
    }

    pub fn events(&self) -> Vec<EventKind> {
        let (status, body) = get(self.control, "/events?since=0");
        assert_eq!(status, 200, "{body}");
        let page: Page = serde_json::from_str(&body).unwrap();
        page.events.into_iter().map(|entry| entry.event.kind).collect()
    }

    /// The value of a series as the page has it, name and labels alike.
    pub fn metric(&self, prefix: &str) -> f64 {
        let (status, page) = get(self.metrics, "/metrics");
        assert_eq!(status, 200, "{page}");
        let lines = page.lines().filter(|line| line.starts_with(prefix));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    pub fn signal(&self, name: &str) {
        let id = self.id().to_string();
        assert!(Process::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        until("the process ends", || self.child.try_wait().unwrap())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn follow(stderr: impl Read + Send + 'static) -> Receiver<Value> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
            if sender.send(value).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Asks again until there is an answer.
#[track_caller]
pub fn until<T>(claim: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {claim}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until walking successors visits every node exactly once and all of them are connected.
#[track_caller]
pub fn until_well_formed(nodes: &[Running]) {
    until("the ring is well formed", || {
        let mut states: Vec<Status> = nodes.iter().map(Running::status).collect();
        states.sort_by_key(|status| status.address);
        let linked = (0..states.len()).all(|i| {
            let next = states[(i + 1) % states.len()].address;
            states[i].successor == Some(next)
        });
        (linked && states.iter().all(|status| status.state == State::Connected)).then_some(())
    });
}

/// A ring of `size` nodes, all of them started at once from the first.
#[track_caller]
pub fn ring(size: usize) -> Vec<Running> {
    let first = Running::start(&[]);
    let bootstrap = [first.listen];
    let mut nodes = vec![first];
    nodes.extend((1..size).map(|_| Running::start(&bootstrap)));
    until_well_formed(&nodes);
    nodes
}

pub fn get(place: SocketAddr, path: &str) -> (u16, String) {
    request(place, &format!("GET {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n"))
}

pub fn post(place: SocketAddr, path: &str, body: &str) -> (u16, String) {
    let length = body.len();
    request(
        place,
        &format!(
            "POST {path} HTTP/1.1\r\nHost: {place}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ),
    )
}

/// Sends bytes as they are; gives the status and the body.
pub fn request(place: SocketAddr, text: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(place).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server that refuses early closes while we write.
    let _ = stream.write_all(text.as_bytes());
    let mut answer = Vec::new();
    let mut part = [0; 65536];
    // Not all servers close when they were asked to, nor do all say how long an answer is.
    while !is_whole(&answer) {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(length) => answer.extend_from_slice(&part[..length]),
        }
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, body.to_owned())
}

/// Whether all is there that an answer's head promises.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    length.is_some_and(|length: usize| answer.len() - end - 4 >= length)
}
