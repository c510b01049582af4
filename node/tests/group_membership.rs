//! Groups of real processes: who gets in, who does not, and who is put out.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use atoll_core::wire::LONG_LEN;
use common::group::{ADDRESS, Forger, Groups, Leaf, cert, now, private, section, text};
use common::{Running, until, until_well_formed, verb};

/// A group `chess`, its authority's folder, and a ring of members.
struct Chess {
    groups: Groups,
    authority: PathBuf,
    nodes: Vec<Running>,
}

impl Chess {
    fn of(users: &[&str]) -> Self {
        let groups = Groups::new();
        let authority = groups.authority("ca", "chess");
        let mut nodes: Vec<Running> = Vec::new();
        for user in users {
            let bootstraps: Vec<SocketAddr> = nodes.iter().take(1).map(|node| node.listen).collect();
            let member = groups.member(&authority, user);
            nodes.push(groups.start(&section(&member, &authority), &bootstraps));
        }
        if nodes.len() > 1 {
            until_well_formed(&nodes);
        }
        Self { groups, authority, nodes }
    }

    /// A member of another kind whose files are in `folder`, with the secret of the group.
    fn intrude(&self, group: &str, folder: &Path) -> Running {
        private(&folder.join("secret"), &fs::read(self.authority.join("secret")).unwrap());
        self.groups.start(&format!("name: {group}, folder: {}", text(folder)), &[self.nodes[0].listen])
    }

    fn drops(&self, reason: &str) -> f64 {
        let series = format!("atoll_drops_total{{overlay=\"public\",reason=\"{reason}\"}}");
        self.nodes[0].metric(&series)
    }

    /// Waits until the first node has refused `intruder` for this reason, and asserts that nobody let it in.
    #[track_caller]
    fn refuses(&self, intruder: &Running, reason: &str) {
        until(reason, || (self.drops(reason) > 0.0).then_some(()));
        std::thread::sleep(Duration::from_secs(1));
        assert!(intruder.peers().is_empty(), "{reason}");
        until_well_formed(&self.nodes);
        let size = self.nodes.len() - 1;
        assert!(self.nodes.iter().all(|node| node.peers().len() == size), "{reason}");
    }
}

#[test]
fn three_members_of_a_group_form_a_ring_and_know_each_other() {
    let chess = Chess::of(&["ann", "bob", "eve"]);
    let mut users: Vec<_> = chess.nodes[0].peers().into_iter().map(|peer| (peer.user, peer.group)).collect();
    users.sort();
    let known = |user: &str| (Some(user.to_owned()), Some("chess".to_owned()));
    assert_eq!(users, [known("bob"), known("eve")]);
    let status = chess.nodes[0].status();
    let expires = status.certificate_expires_seconds.unwrap();
    assert_eq!(status.security, "dtls");
    assert_eq!(chess.nodes[0].metric("atoll_certificate_expires_seconds{"), expires as f64);
    let control = chess.nodes[0].control.to_string();
    let said = |word: &str| String::from_utf8(verb(&[word, "--control", &control]).stdout).unwrap();
    assert!(said("peers").contains("bob") && said("peers").contains("group"), "{}", said("peers"));
    assert!(said("status").contains("dtls") && said("status").contains("certificate until"));
    let made = fs::read_to_string(chess.authority.join("issued.log")).unwrap();
    assert!(made.contains(&status.address.to_string()), "the address is that of the certificate");
}

/// Passes datagrams on to a node, and counts those that come back.
struct Tap {
    socket: UdpSocket,
    target: SocketAddr,
    outward: Vec<Vec<u8>>,
    back: usize,
    other: Option<SocketAddr>,
}

impl Tap {
    fn new(target: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Self { socket, target, outward: Vec::new(), back: 0, other: None }
    }

    fn place(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn run(&mut self, span: Duration, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + span;
        let mut bytes = [0; 2048];
        while Instant::now() < end && !done() {
            let Ok((len, from)) = self.socket.recv_from(&mut bytes) else { continue };
            if from == self.target {
                self.back += 1;
                self.other.into_iter().for_each(|to| drop(self.socket.send_to(&bytes[..len], to)));
            } else {
                self.other = Some(from);
                self.outward.push(bytes[..len].to_vec());
                self.socket.send_to(&bytes[..len], self.target).unwrap();
            }
        }
    }
}

#[test]
fn a_stranger_without_the_secret_gets_no_answer_at_all() {
    let chess = Chess::of(&["ann"]);
    let other = chess.groups.authority("other", "chess");
    let stranger = chess.groups.member(&other, "mallory");
    let mut tap = Tap::new(chess.nodes[0].listen);
    let _stranger = chess.groups.start(&section(&stranger, &other), &[tap.place()]);
    tap.run(Duration::from_secs(4), || false);
    assert!(tap.outward.len() >= 3, "it knocked {} times", tap.outward.len());
    assert_eq!(tap.back, 0, "somebody answered");
    assert!(chess.nodes[0].metric("atoll_unknown_datagrams_total{reason=\"unknown_overlay\"}") >= 3.0);

    // Nor if it has seen the tag of the overlay on the wire.
    let bob = chess.groups.member(&chess.authority, "bob");
    let mut members = Tap::new(chess.nodes[0].listen);
    let bob = chess.groups.start(&section(&bob, &chess.authority), &[members.place()]);
    members.run(common::PATIENCE, || !bob.peers().is_empty());
    let tagged = members.outward.remove(0);
    let mut tap = Tap::new(chess.nodes[0].listen);
    for number in 0..200usize {
        let mut datagram = if number % 2 == 0 { tagged.clone() } else { made_up(&tagged, number) };
        let at = LONG_LEN + number % (datagram.len() - LONG_LEN);
        datagram[at] ^= 1 << (number % 8);
        tap.socket.send_to(&datagram, tap.target).unwrap();
        if number % 20 == 19 {
            // A socket's buffer holds no more of them than this for sure.
            tap.run(Duration::from_millis(20), || false);
        }
    }
    tap.run(Duration::from_secs(1), || false);
    assert_eq!(tap.back, 0, "somebody answered");
    assert!(chess.drops("foreign") >= 150.0, "{}", chess.drops("foreign"));
}

/// The header of a handshake of the group before words of the stranger's own.
fn made_up(tagged: &[u8], number: usize) -> Vec<u8> {
    let own = (0..1200 - number).map(|at| (at * 31 + number) as u8);
    tagged[..LONG_LEN].iter().copied().chain(own).collect()
}

#[test]
fn a_member_of_another_group_is_refused() {
    let chess = Chess::of(&["ann", "bob"]);
    let folder = chess.groups.path("go");
    Forger::with(&chess.authority).member(&folder, &Leaf::new(&["atoll://group/go", ADDRESS]));
    let intruder = chess.intrude("go", &folder);
    chess.refuses(&intruder, "wrong_group");
}

#[test]
fn a_certificate_that_signed_itself_is_refused() {
    let chess = Chess::of(&["ann", "bob"]);
    let folder = chess.groups.path("self");
    Forger::alone(&Leaf::new(&["atoll://group/chess", ADDRESS])).own_member(&folder);
    let intruder = chess.intrude("chess", &folder);
    chess.refuses(&intruder, "self_signed");
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let chess = Chess::of(&["ann", "bob"]);
    let impostor = chess.groups.authority("impostor", "chess");
    let folder = chess.groups.member(&impostor, "ann");
    let intruder = chess.intrude("chess", &folder);
    chess.refuses(&intruder, "unknown_authority");
}

#[test]
fn a_member_whose_certificate_expires_is_out_and_stays_out() {
    let chess = Chess::of(&["ann", "bob"]);
    let folder = chess.groups.path("short");
    let leaf = Leaf { until: now() + 8, ..Leaf::new(&["atoll://group/chess", ADDRESS]) };
    Forger::with(&chess.authority).member(&folder, &leaf);
    let intruder = chess.intrude("chess", &folder);
    until("it is in", || (!intruder.peers().is_empty()).then_some(()));
    until("it is out", || chess.nodes.iter().all(|node| node.peers().len() == 1).then_some(()));
    assert!(now() > leaf.until, "not before its time");
    chess.refuses(&intruder, "expired");
}

#[test]
fn a_revoked_member_is_put_out_without_a_restart_and_stays_out() {
    let mut chess = Chess::of(&["ann", "bob", "mallory"]);
    let mut mallory = chess.nodes.pop().unwrap();
    let address = mallory.status().address;
    let sees = |node: &Running| node.peers().iter().any(|peer| peer.address == address);
    assert!(chess.nodes.iter().all(sees));
    let done = cert(&["revoke", "--ca", text(&chess.authority), "--user", "mallory"]);
    assert_eq!(done["revoked"], 1);
    let since = Instant::now();
    until("it is out", || (!chess.nodes.iter().any(sees)).then_some(()));
    assert!(since.elapsed() < Duration::from_secs(5), "it took {:?}", since.elapsed());
    mallory.wait_for_log("our own membership is revoked: no member takes it");
    chess.refuses(&mallory, "revoked");
    let own = chess.nodes[0].status();
    let known = own.revocations.unwrap();
    assert_eq!((known.listed, known.list, known.count), (1, 2, 0), "{known:?}");
    assert_eq!(chess.nodes[0].metric("atoll_revocation_list_certificates{"), 1.0);
    let before = chess.drops("revoked");
    until("it knocks again, in vain", || {
        assert!(!chess.nodes.iter().any(sees), "it came back");
        (chess.drops("revoked") > before).then_some(())
    });
    assert!(mallory.is_running() && mallory.peers().is_empty());
}

/// Replaces a file at once.
fn put(path: &Path, bytes: &[u8]) {
    let draft = path.with_extension("draft");
    fs::write(&draft, bytes).unwrap();
    fs::rename(&draft, path).unwrap();
}

#[test]
fn a_list_that_is_broken_or_older_is_said_aloud_and_the_last_good_one_stays() {
    let groups = Groups::new();
    let authority = groups.authority("ca", "chess");
    let [ann, mallory] = ["ann", "mallory"].map(|user| groups.member(&authority, user));
    let old = fs::read(authority.join("revocations.pem")).unwrap();
    cert(&["revoke", "--ca", text(&authority), "--user", "mallory"]);
    let list = authority.join("revocations.pem");
    let mut node = groups.start(&section(&ann, &authority), &[]);
    let good = fs::read(&list).unwrap();
    for (bytes, why) in
        [(&old[..], "older"), (b"nonsense", "no revocation list"), (&good[..100], "no revocation list")]
    {
        put(&list, bytes);
        let line = node.wait_for_log("revocation list not taken; the last good one stays");
        assert!(line["why"].as_str().unwrap().contains(why) && line["level"] == "WARN", "{line}");
        put(&list, &good);
        node.wait_for_log("revocation list read");
    }
    fs::remove_file(&list).unwrap();
    node.wait_for_log("revocation list not taken; the last good one stays");
    mallory_is_refused(&groups, &mallory, &node);
}

/// The revoked member comes with its files and gets no connection.
#[track_caller]
fn mallory_is_refused(groups: &Groups, folder: &Path, node: &Running) {
    let files = format!("name: chess, folder: {}", text(folder));
    let mallory = groups.start(&files, &[node.listen]);
    let refused = "atoll_drops_total{overlay=\"public\",reason=\"revoked\"}";
    until("it is refused", || (node.metric(refused) > 0.0).then_some(()));
    assert!(mallory.peers().is_empty());
}

#[test]
fn an_older_list_does_not_pass_at_the_next_start_either() {
    let groups = Groups::new();
    let authority = groups.authority("ca", "chess");
    let [ann, mallory] = ["ann", "mallory"].map(|user| groups.member(&authority, user));
    let list = authority.join("revocations.pem");
    let old = fs::read(&list).unwrap();
    cert(&["revoke", "--ca", text(&authority), "--user", "mallory"]);
    let mut node = groups.start(&section(&ann, &authority), &[]);
    node.wait_for_log("revocation list read");
    until("the list is kept", || ann.join("node.revocations.pem").exists().then_some(()));
    drop(node);
    put(&list, &old);
    let mut node = groups.start(&section(&ann, &authority), &[]);
    let line = node.wait_for_log("revocation list not taken; the last good one stays");
    assert!(line["why"].as_str().unwrap().contains("older") && line["hint"].is_string(), "{line}");
    mallory_is_refused(&groups, &mallory, &node);
}

#[test]
fn a_list_that_cannot_be_kept_is_said_aloud_and_counts_all_the_same() {
    let groups = Groups::new();
    let authority = groups.authority("ca", "chess");
    let ann = groups.member(&authority, "ann");
    // Not even root writes a file in the place of a folder that is not empty.
    fs::create_dir_all(ann.join("node.revocations.pem/taken")).unwrap();
    let mut node = groups.start(&section(&ann, &authority), &[]);
    let line = node.wait_for_log("revocation list not kept");
    assert!(line["level"] == "WARN" && line["hint"].is_string(), "{line}");
    assert!(node.is_running());
}

#[test]
fn a_certificate_that_ends_soon_is_announced_in_the_log() {
    let groups = Groups::new();
    let authority = groups.authority("ca", "chess");
    let member = groups.path("ann");
    cert(&["issue", "--ca", text(&authority), "--user", "ann", "--days", "10", "--out", text(&member)]);
    let mut node = groups.start(&section(&member, &authority), &[]);
    let line = node.wait_for_log("the certificate expires soon: get a new one");
    assert!([9, 10].contains(&line["days"].as_u64().unwrap()) && line["level"] == "WARN", "{line}");
}

#[test]
fn a_renewed_certificate_is_taken_up_without_a_restart() {
    let groups = Groups::new();
    let authority = groups.authority("ca", "chess");
    let [member, other] = ["ann", "bob"].map(|user| groups.member(&authority, user));
    let mut node = groups.start(&section(&member, &authority), &[]);
    let before = node.status().certificate_expires_seconds.unwrap();
    let (key, fresh) = (member.join("node.key"), groups.path("fresh.pem"));
    let issue = ["issue", "--ca", text(&authority), "--user", "ann", "--key", text(&key)];
    cert(&[&issue[..], &["--days", "700", "--out", text(&fresh)]].concat());
    let place = member.join("node.pem");
    put(&place, &fs::read(other.join("node.pem")).unwrap());
    let line = node.wait_for_log("the group's files are not taken; the last good ones stay");
    assert!(line["why"].as_str().unwrap().contains("another key"), "{line}");
    put(&place, &fs::read(&fresh).unwrap());
    node.wait_for_log("certificate renewed");
    let later = before + 300 * 86_400;
    until("it is shown", || (node.status().certificate_expires_seconds.unwrap() > later).then_some(()));
}

#[test]
fn secrets_do_not_reach_the_log() {
    let groups = Groups::new();
    let authority = groups.authority("ca", "chess");
    let member = groups.member(&authority, "ann");
    let config = groups.config(&section(&member, &authority), &[]);
    let flags =
        ["run", "--log", "trace", "--control", "off", "--listen", "127.0.0.1:0", "--config", text(&config)];
    let mut child = common::program(&flags).stderr(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    child.kill().unwrap();
    let said = String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr).into_owned();
    assert!(said.contains("ready"), "{said}");
    let secret: String =
        fs::read(member.join("secret")).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    let key = fs::read_to_string(member.join("node.key")).unwrap();
    assert!(!said.contains(&secret[..16]) && !said.contains(key.lines().nth(1).unwrap()));
}
