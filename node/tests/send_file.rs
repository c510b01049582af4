//! Files between real processes, over the ring.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use atoll_core::control::{Command, Reply};
use atoll_core::wire::Address;
use atoll_node::driver::{Received, TRANSFERS_MAX};
use common::{BINARY, Running, program, until, until_well_formed, verb};
use tempfile::TempDir;

/// A ring, of which each member has an inbox beside the others'.
struct Town {
    folder: TempDir,
    nodes: Vec<Running>,
}

impl Town {
    /// Members that are linked to nobody but their two neighbours.
    fn chain(size: usize) -> Self {
        Self::new(size, "overlays: [{name: public, ring: {near: 1, shortcuts: 0}}]")
    }

    fn new(size: usize, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("node.yaml"), settings).unwrap();
        let mut town = Self { folder, nodes: Vec::new() };
        (0..size).for_each(|_| town.start(&[]));
        if size > 1 {
            until_well_formed(&town.nodes);
        }
        town
    }

    fn start(&mut self, flags: &[&str]) {
        let inbox = self.inbox(self.nodes.len());
        fs::create_dir(&inbox).unwrap();
        let file = self.folder.path().join("node.yaml");
        let bootstrap = self.nodes.first().map(|node| node.listen.to_string());
        let mut all = vec!["--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()];
        all.extend(["--inbox", inbox.to_str().unwrap()]);
        all.extend(bootstrap.iter().flat_map(|bootstrap| ["--bootstrap", bootstrap]));
        all.extend(flags);
        self.nodes.push(Running::start_with(&all));
    }

    fn inbox(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("inbox-{number}"))
    }

    /// A file of bytes that do not repeat.
    fn file(&self, name: &str, bytes: usize) -> PathBuf {
        let path = self.folder.path().join(name);
        let content: Vec<u8> = (0..bytes.div_ceil(8) as u64)
            .flat_map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .collect();
        fs::write(&path, &content[..bytes]).unwrap();
        path
    }

    /// Two members that are not linked, and between which are two others at least.
    fn far_pair(&self) -> (usize, usize) {
        let addresses: Vec<Address> = (0..self.nodes.len()).map(|node| self.address(node)).collect();
        let is_far = |from: usize, to: usize| {
            let (overlay, address) = ("public".to_owned(), addresses[to]);
            let route = self.nodes[from].command(&Command::Route { overlay, address });
            let peers = self.nodes[from].peers();
            let far = matches!(route, Reply::Route { hops, .. } if hops.len() >= 3);
            far && peers.iter().all(|peer| peer.address != addresses[to])
        };
        let pairs = || (0..addresses.len()).flat_map(|from| (0..from).map(move |to| (from, to)));
        until("two members are far from each other", || pairs().find(|(from, to)| is_far(*from, *to)))
    }

    fn forwarded(&self) -> f64 {
        self.nodes.iter().map(|node| node.metric("atoll_forwarded_packets_total")).sum()
    }

    /// A file that no test waits for; it has a length and no content.
    fn large(&self) -> PathBuf {
        let path = self.folder.path().join("large");
        if !path.exists() {
            fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
        }
        path
    }

    fn address(&self, node: usize) -> Address {
        self.nodes[node].status().address
    }

    /// What every inbox holds, drafts included.
    fn received(&self) -> Vec<PathBuf> {
        let inboxes = (0..).map(|number| self.inbox(number)).take_while(|inbox| inbox.exists());
        inboxes.flat_map(|inbox| fs::read_dir(inbox).unwrap().map(|entry| entry.unwrap().path())).collect()
    }

    /// How many files a node is receiving: what it has open in its inbox, named or not.
    fn drafts(&self, node: usize) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.nodes[node].id())).unwrap();
        let targets = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        targets.filter(|target| target.starts_with(self.inbox(node))).count()
    }

    fn send(&self, from: usize, file: &Path, to: Address) -> Output {
        verb(&self.words(from, file, to).iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn begin(&self, from: usize, file: &Path, to: Address) -> Child {
        let words = self.words(from, file, to);
        let mut process = program(&words.iter().map(String::as_str).collect::<Vec<_>>());
        process.arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn words(&self, from: usize, file: &Path, to: Address) -> [String; 5] {
        let control = self.nodes[from].control.to_string();
        ["send".to_owned(), file.display().to_string(), to.to_string(), "--control".to_owned(), control]
    }

    fn files(&self, node: usize) -> Vec<Received> {
        let output = verb(&["files", "--json", "--control", &self.nodes[node].control.to_string()]);
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn exits(output: &Output, code: i32) -> String {
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

fn sum(path: &Path) -> String {
    openssl::sha::sha256(&fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_file_arrives_over_members_in_between_with_its_checksum() {
    let town = Town::chain(7);
    let file = town.file("film.bin", 20_000_000);
    // Members in between pass on each packet. On a machine that is too slow for so many processes two may link each other
    // meanwhile because they took those between them for dead; then there are others.
    let arrived = |turn: usize| {
        let (from, to) = town.far_pair();
        let before = town.forwarded();
        let said = exits(&town.send(from, &file, town.address(to)), 0);
        assert!(said.contains(&sum(&file)) && said.contains("arrived as `film"), "{said}");
        let forwarded = town.forwarded() - before;
        println!("transfer {turn}: {forwarded} packets were forwarded");
        (forwarded > 20_000_000.0 / 1200.0).then_some((from, to))
    };
    let (from, to) = (0..4).find_map(arrived).expect("packets are forwarded");
    assert!(town.received().iter().all(|arrived| sum(arrived) == sum(&file)));
    let files = town.files(to);
    let Received { from: sender, bytes, sha256, .. } = files.last().expect("the file is there");
    assert_eq!((*sender, *bytes), (town.address(from), 20_000_000));
    assert_eq!(*sha256, sum(&file));
}

#[test]
fn an_empty_file_and_one_with_a_strange_name_arrive() {
    let town = Town::new(2, "");
    let names = ["empty", "ä b&c=%2F..", ".hidden"];
    for (bytes, name) in names.iter().enumerate() {
        exits(&town.send(0, &town.file(name, bytes), town.address(1)), 0);
    }
    let output = town.begin(0, &town.file("empty", 9), town.address(1)).wait_with_output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is one JSON document");
    assert_eq!(said["stored"]["name"], "empty (2)");
    let files = town.files(1);
    let files: Vec<_> = files.iter().map(|file| (&file.name[..], file.bytes)).collect();
    assert_eq!(files, [("empty", 0), ("ä b&c=%2F..", 1), ("hidden", 2), ("empty (2)", 9)]);
    assert_eq!(town.received().len(), 4);
}

#[test]
fn a_node_without_an_inbox_or_with_too_small_a_one_says_so() {
    let mut town = Town::new(1, "inbox_max: \"1 MB\"");
    let bootstrap = town.nodes[0].listen;
    town.nodes.push(Running::start(&[bootstrap]));
    until_well_formed(&town.nodes);
    let said = exits(&town.send(0, &town.file("a", 9), town.address(1)), 1);
    assert!(said.contains("that node takes no files: it has no `inbox`"), "{said}");
    let said = exits(&town.send(1, &town.file("b", 1_000_001), town.address(0)), 1);
    assert!(said.contains("1000001 bytes are more than the 1000000"), "{said}");
    assert!(town.received().is_empty());
}

#[test]
fn a_file_for_nobody_is_given_up_in_time() {
    let town = Town::new(2, "");
    let since = Instant::now();
    let nobody = Address::from_bytes([0x12; Address::LEN]);
    let said = exits(&town.send(0, &town.file("a", 9), nobody), 1);
    assert!(said.contains("no answer"), "{said}");
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
}

#[test]
fn what_cannot_be_sent_at_all_exits_with_two() {
    let town = Town::new(2, "overlays: [{name: public}, {name: bare, security: none}]");
    let file = town.file("a", 9);
    let control = town.nodes[0].control.to_string();
    let (own, other) = (town.address(0).to_string(), town.address(1).to_string());
    let place = file.to_str().unwrap();
    // The refusal comes while the file still goes out.
    let large = town.large();
    for (words, why) in [
        (vec![place, &own], "that is this node itself"),
        (vec![large.to_str().unwrap(), &own], "that is this node itself"),
        (vec![place, &other, "--overlay", "bare"], "overlay `bare` has `security: none`"),
        (vec![place, &other, "--overlay", "pubic"], "no overlay is named `pubic`"),
        (vec!["/nowhere/a", &other], "No such file"),
        (vec!["/tmp", &other], "it is no regular file"),
    ] {
        let said = exits(&verb(&[&["send", "--control", &control], &words[..]].concat()), 2);
        assert!(said.contains(why) && said.contains("\nhint: "), "{said}");
    }
    assert!(town.received().is_empty());
}

#[test]
fn a_receiver_that_dies_ends_the_transfer_and_keeps_nothing() {
    let town = Town::chain(4);
    let sending = begun(&town, 0, 2);
    town.nodes[2].signal("KILL");
    let said = exits(&sending.wait_with_output().unwrap(), 1);
    assert!(said.contains("it fell silent"), "{said}");
    assert!(town.received().is_empty());
}

#[test]
fn a_sender_that_is_interrupted_leaves_nothing() {
    let mut town = Town::chain(4);
    let sending = begun(&town, 0, 2);
    let id = sending.id().to_string();
    assert!(std::process::Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    sending.wait_with_output().unwrap();
    town.nodes[2].wait_for_log("file not received");
    assert!(town.received().is_empty());
    let file = town.file("next", 9);
    exits(&town.send(0, &file, town.address(2)), 0);
}

#[test]
fn a_node_that_dies_while_it_sends_is_an_error_and_leaves_nothing() {
    let mut town = Town::new(2, "");
    let sending = begun(&town, 0, 1);
    town.nodes[0].signal("KILL");
    let said = exits(&sending.wait_with_output().unwrap(), 2);
    assert!(said.contains("error: control ") && said.contains("\nhint: "), "{said}");
    town.nodes[1].wait_for_log("file not received");
    assert!(town.received().is_empty());
}

#[test]
fn more_files_than_a_node_takes_at_once_are_refused() {
    let town = Town::new(3, "");
    let mut sending: Vec<Child> = (0..TRANSFERS_MAX).map(|_| begun(&town, 0, 1)).collect();
    let file = town.file("one too many", 9);
    let said = exits(&town.send(2, &file, town.address(1)), 1);
    assert!(said.contains("receives as many files as it takes at once"), "{said}");
    let said = exits(&town.send(0, &file, town.address(2)), 2);
    assert!(said.contains("4 files are being sent already"), "{said}");
    for sending in &mut sending {
        sending.kill().unwrap();
        sending.wait().unwrap();
    }
    until("there is room again", || {
        (town.send(2, &file, town.address(1)).status.code() == Some(0)).then_some(())
    });
}

#[test]
fn a_disk_that_fills_up_meanwhile_is_told_and_nothing_is_left() {
    // A disk of its own takes a namespace of its own; not every host lets a test have one.
    let shell = "mount -t tmpfs -o size=8m none $INBOX && exec \"$0\" \"$@\"";
    let mut try_it = std::process::Command::new("unshare");
    if !try_it.args(["-rm", "true"]).status().is_ok_and(|status| status.success()) {
        return println!("SKIPPED: no namespace for a small disk");
    }
    let mut town = Town::new(1, "");
    let inbox = town.inbox(1);
    fs::create_dir(&inbox).unwrap();
    let mut own = std::process::Command::new("unshare");
    own.args(["-rm", "sh", "-c", shell]).arg(BINARY).env("INBOX", &inbox).stdin(Stdio::null());
    let bootstrap = town.nodes[0].listen.to_string();
    let flags = ["--listen", "127.0.0.1:0", "--bootstrap", &bootstrap, "--inbox", inbox.to_str().unwrap()];
    town.nodes.push(Running::start_as(own, &flags));
    until_well_formed(&town.nodes);
    let inside = PathBuf::from(format!("/proc/{}/root{}", town.nodes[1].id(), inbox.display()));
    let said = exits(&town.send(0, &town.file("too large", 9_000_000), town.address(1)), 1);
    assert!(said.contains("the disk there has not enough room"), "{said}");

    let mut stream = TcpStream::connect(town.nodes[0].control).unwrap();
    let to = town.address(1);
    let head = format!("POST /send?to={to}&name=a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    let head = head + "Content-Type: application/octet-stream\r\nContent-Length: 6000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut said = String::new();
    while !said.contains("accepted") {
        let mut bytes = [0; 1000];
        let len = stream.read(&mut bytes).unwrap();
        said += std::str::from_utf8(&bytes[..len]).unwrap();
    }
    fs::write(inside.join("filler"), vec![1; 5_000_000]).unwrap();
    let _ = stream.write_all(&vec![2; 6_000_000]);
    let _ = stream.read_to_string(&mut said);
    assert!(said.contains("not_accepted") && said.contains("the disk there is full"), "{said}");
    let left: Vec<_> = fs::read_dir(&inside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["filler"]);
    let free = || town.send(0, &town.file("fits", 2_000_000), to).status.code() == Some(0);
    until("the room of the draft is free again", || free().then_some(()));
}

/// A transfer of a large file that has begun.
fn begun(town: &Town, from: usize, to: usize) -> Child {
    let sent = || town.nodes[from].metric("atoll_sent_bytes_total");
    let older = town.drafts(to);
    let sending = town.begin(from, &town.large(), town.address(to));
    until("the file has a draft", || (town.drafts(to) > older).then_some(()));
    let before = sent();
    until("its content is on the way", || (sent() > before + 2_000_000.0).then_some(()));
    sending
}

#[test]
fn two_files_cross() {
    let town = Town::chain(5);
    let (one, other) = (town.file("one", 3_000_000), town.file("other", 3_000_000));
    let sending = [
        town.begin(0, &one, town.address(2)),
        town.begin(2, &other, town.address(0)),
        town.begin(4, &one, town.address(2)),
    ];
    for sending in sending {
        exits(&sending.wait_with_output().unwrap(), 0);
    }
    until("all are there", || (town.received().len() == 3).then_some(()));
    assert!(town.received().iter().all(|file| fs::metadata(file).unwrap().len() == 3_000_000));
}
