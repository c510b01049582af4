//! Whole nodes of one group in virtual time: who is out, when, and for how long.

mod clocks;
mod intruders;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use atoll_core::config::{Config, OverlayConfig};
use atoll_core::control::{Command, EventKind, Metric, Peer, Reply, State, Status};
use atoll_core::security::{Authority, Credentials, GroupSecret, QuicOptions, Security, Unusable, Wall};
use atoll_core::wire::Address;
use atoll_core::{Checked, Input, Machine, Node, Output, Pool, RequestId, Time};

use crate::makers::{Ca, Leaf, SECRET, address, key};

const GROUP: &str = "chess";
const WALL: u64 = 1_500_000;
const DELAY: Duration = Duration::from_millis(10);

/// Members of one group; member `n` has the serial `70 + n` and belongs to user `n`.
struct Club {
    ca: Ca,
    nodes: Vec<Checked<Node>>,
    pool: Pool,
    now: Time,
    flying: BTreeMap<(Time, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    number: u64,
    replies: Vec<Reply>,
    events: Vec<(usize, EventKind)>,
}

fn place(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1 + n as u8], 4001))
}

fn own(n: usize) -> Address {
    address(n as u8 * 60)
}

type Make = fn(&Credentials) -> Result<Security, Unusable>;

fn security(make: Make, ca: &Ca, n: usize, until: i64) -> Security {
    let authority = Authority::new(&ca.der(), GROUP).unwrap();
    let credentials = credentials(ca, n, until);
    make(&credentials).unwrap().in_group(authority, Some(GroupSecret::new(SECRET)))
}

fn credentials(ca: &Ca, n: usize, until: i64) -> Credentials {
    let names = [
        format!("atoll://group/{GROUP}"),
        format!("atoll://user/{n}"),
        format!("atoll://address/{}", own(n)),
    ];
    let leaf = Leaf { serial: 70 + n as u32, until, ..Leaf::new(&names.each_ref().map(String::as_str)) };
    let key = key();
    Credentials::new(&ca.sign(&key, &leaf), key).unwrap()
}

impl Club {
    /// As many members as there are ends of certificates, in one ring.
    fn settled(ends: &[i64]) -> Self {
        Self::settled_with(Security::dtls, ends)
    }

    fn settled_with(make: Make, ends: &[i64]) -> Self {
        let mut club = Self::begun(make, ends);
        club.run(Duration::from_secs(10));
        assert!(club.is_ring(&(0..ends.len()).collect::<Vec<_>>()));
        club
    }

    /// The same, just started.
    fn begun(make: Make, ends: &[i64]) -> Self {
        let (ca, pool) = (Ca::new(), Pool::new());
        let node = |(n, end): (usize, &i64)| {
            let bootstraps = if n == 0 { vec![] } else { vec![place(0)] };
            let security = security(make, &ca, n, *end);
            let overlay = OverlayConfig { security, ..OverlayConfig::new(GROUP, own(n), bootstraps) };
            let config = Config { unix_seconds: WALL, ..Config::new(vec![overlay]) };
            Checked::new(Node::new(&config, &pool, [n as u8; 32], Time::ZERO))
        };
        let nodes = ends.iter().enumerate().map(node).collect();
        let (flying, replies, events) = (BTreeMap::new(), Vec::new(), Vec::new());
        let mut club = Self { ca, nodes, pool, now: Time::ZERO, flying, number: 0, replies, events };
        (0..ends.len()).for_each(|n| club.input(n, Input::LocalAddresses(vec![place(n)])));
        club
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let datagram = self.flying.first_key_value().map(|((at, _), _)| *at);
            let timer = self.nodes.iter().filter_map(|node| Some(node.poll_timeout()?.at)).min();
            let next = datagram.into_iter().chain(timer).min().unwrap_or(Time::MAX).max(self.now);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            match datagram {
                Some(at) if at <= next => self.land(),
                _ => (0..self.nodes.len()).for_each(|n| self.wake(n)),
            }
        }
    }

    fn land(&mut self) {
        let (_, (from, to, bytes)) = self.flying.pop_first().unwrap();
        if let Some(n) = (0..self.nodes.len()).find(|n| place(*n) == to) {
            let payload = self.pool.copy(&bytes);
            self.input(n, Input::Datagram { from: from.into(), payload });
        }
    }

    fn wake(&mut self, n: usize) {
        if self.nodes[n].poll_timeout().is_some_and(|deadline| deadline.at <= self.now) {
            self.nodes[n].handle_timeout(self.now);
            self.drain(n);
        }
    }

    fn input(&mut self, n: usize, input: Input) {
        self.nodes[n].handle_input(input, self.now);
        self.drain(n);
    }

    fn drain(&mut self, n: usize) {
        while let Some(output) = self.nodes[n].poll_output() {
            match output {
                Output::Transmit { to, payload } => {
                    self.number += 1;
                    self.flying
                        .insert((self.now + DELAY, self.number), (place(n), to.address(), payload.to_vec()));
                }
                Output::Reply { reply, .. } => self.replies.push(reply),
                Output::Event(event) => self.events.push((n, event.kind)),
                Output::Received { .. }
                | Output::Carried { .. }
                | Output::Broadcast { .. }
                | Output::Keep { .. }
                | Output::SaltWanted { .. } => {}
            }
        }
    }

    fn ask(&mut self, n: usize, command: Command) -> Reply {
        self.input(n, Input::Command { id: RequestId(1), command });
        self.replies.pop().unwrap()
    }

    fn status(&mut self, n: usize) -> Status {
        let Reply::Status(mut members) = self.ask(n, Command::Status) else { panic!("a status") };
        members.remove(0)
    }

    fn peers(&mut self, n: usize) -> Vec<Peer> {
        let Reply::Peers(peers) = self.ask(n, Command::Peers { overlay: GROUP.to_owned() }) else {
            panic!("peers")
        };
        peers
    }

    fn sees(&mut self, n: usize, other: usize) -> bool {
        self.peers(n).iter().any(|peer| peer.address == own(other))
    }

    fn metric(&mut self, n: usize, name: &str, label: &str) -> f64 {
        let Reply::Metrics(metrics) = self.ask(n, Command::Metrics) else { panic!("metrics") };
        let fits =
            |metric: &Metric| metric.name == name && metric.labels.iter().any(|(_, value)| value == label);
        metrics.into_iter().find(fits).expect("there is such a metric").value
    }

    /// A metric without labels but the overlay's name.
    fn metric_of(&mut self, n: usize, name: &str) -> f64 {
        self.metric(n, name, GROUP)
    }

    fn drops(&mut self, n: usize, reason: &str) -> f64 {
        self.metric(n, "atoll_drops_total", reason)
    }

    fn senders(&mut self, n: usize) -> f64 {
        self.metric(n, "atoll_associations", "end_to_end")
    }

    fn is_ring(&mut self, members: &[usize]) -> bool {
        (0..members.len()).all(|i| {
            let status = self.status(members[i]);
            let next = own(members[(i + 1) % members.len()]);
            status.state == State::Connected && status.successor == Some(next)
        })
    }

    fn revoke(&mut self, n: usize, at: i64, serials: &[u32]) {
        let list = self.ca.list(at, serials);
        self.input(n, Input::Revocations { overlay: 0, list });
    }
}

impl Club {
    fn present(&mut self, n: usize, credentials: &Credentials) {
        let (certificate, key) = (credentials.certificate().to_der().unwrap(), credentials.key().to_owned());
        self.input(n, Input::Credentials { overlay: 0, certificate, key });
    }
}

const LATE: i64 = 8_000_000;

#[test]
fn members_know_each_others_user_and_group() {
    let mut club = Club::settled(&[LATE; 3]);
    for n in 0..3 {
        for peer in club.peers(n) {
            let user = (0..3).find(|other| own(*other) == peer.address).unwrap().to_string();
            assert_eq!((peer.user, peer.group), (Some(user), Some(GROUP.to_owned())));
        }
        assert_eq!(club.status(n).security, "dtls");
    }
}

#[test]
fn a_revoked_member_loses_its_edges_at_once_and_stays_out() {
    let mut club = Club::settled(&[LATE; 4]);
    for n in 0..3 {
        assert!(club.sees(n, 3));
        club.revoke(n, 100, &[73]);
        assert!(!club.sees(n, 3) && club.drops(n, "revoked") >= 1.0);
        let lost = EventKind::PeerLost { peer: own(3), why: "the membership is revoked".to_owned() };
        assert!(club.events.contains(&(n, lost)));
    }
    club.run(DELAY * 3);
    assert!(club.peers(3).is_empty(), "the goodbyes say so");
    club.run(Duration::from_secs(300));
    assert!(club.is_ring(&[0, 1, 2]) && club.peers(3).is_empty());
    assert!((0..3).all(|n| !club.sees(n, 3)));
    assert!(club.drops(0, "revoked") > 3.0, "it knocks again and again");
}

#[test]
fn a_refused_member_learns_why_says_it_once_and_forgets_it_when_it_is_taken() {
    for make in [Security::dtls, |own: &Credentials| Security::quic(own, QuicOptions::default())] {
        let mut club = Club::settled_with(make, &[LATE; 3]);
        (0..2).for_each(|n| club.revoke(n, 100, &[72]));
        club.run(Duration::from_secs(60));
        let why = "the peer says that our membership is revoked";
        assert_eq!(club.status(2).refused.as_deref(), Some(why));
        let told = club.events.iter().filter(|(_, kind)| matches!(kind, EventKind::Refused { .. }));
        assert_eq!(told.collect::<Vec<_>>(), [&(2, EventKind::Refused { why: why.to_owned() })]);
        (0..2).for_each(|n| club.revoke(n, 200, &[]));
        club.run(Duration::from_secs(120));
        assert!(club.is_ring(&[0, 1, 2]) && club.status(2).refused.is_none());
    }
}

#[test]
fn a_member_that_never_was_one_learns_why_from_the_handshake() {
    let mut club = Club::begun(Security::dtls, &[LATE, LATE, WALL as i64 - 1]);
    club.run(Duration::from_secs(20));
    assert!(club.is_ring(&[0, 1]) && club.peers(2).is_empty());
    let why = "the peer says that our membership has expired";
    assert_eq!(club.status(2).refused.as_deref(), Some(why));
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart() {
    let mut club = Club::settled(&[LATE, LATE, WALL as i64 + 60]);
    let credentials = credentials(&club.ca, 2, LATE);
    club.present(2, &credentials);
    club.run(Duration::from_secs(5));
    assert!(club.metric(0, "atoll_renewals_total", GROUP) >= 1.0);
    club.run(Duration::from_secs(100));
    assert!(club.is_ring(&[0, 1, 2]) && club.drops(0, "expired") == 0.0);
}

#[test]
fn over_quic_a_renewed_certificate_is_shown_when_the_old_one_has_ended() {
    let quic: Make = |own| Security::quic(own, QuicOptions::default());
    let mut club = Club::settled_with(quic, &[LATE, LATE, WALL as i64 + 60]);
    let credentials = credentials(&club.ca, 2, LATE);
    club.present(2, &credentials);
    club.run(Duration::from_secs(70));
    assert!(club.is_ring(&[0, 1, 2]) && club.status(2).refused.is_none());
}

#[test]
fn a_certificate_that_our_own_rule_refuses_is_not_shown() {
    let mut club = Club::settled(&[LATE; 3]);
    let of = |ca: &Ca, n, until| credentials(ca, n, until);
    let expired = of(&club.ca, 2, WALL as i64 - 1);
    let (others, foreign) = (of(&club.ca, 1, LATE), of(&Ca::new(), 2, LATE));
    for (credentials, why) in [(expired, "expired"), (others, "wrong_member"), (foreign, "unknown_authority")]
    {
        club.present(2, &credentials);
        assert_eq!(club.drops(2, why), 1.0);
    }
    club.run(Duration::from_secs(5));
    assert!(club.is_ring(&[0, 1, 2]));
}

#[test]
fn an_end_to_end_sender_ends_with_the_membership_of_its_peer() {
    let mut club = Club::settled(&[LATE; 3]);
    let payload = club.pool.copy(b"e4 e5");
    club.input(0, Input::Send { overlay: 0, to: own(2), payload });
    club.run(Duration::from_secs(2));
    assert_eq!(club.senders(0), 1.0);
    club.revoke(0, 100, &[72]);
    assert_eq!(club.senders(0), 0.0);
    assert_eq!(club.drops(0, "revoked"), 2.0, "one edge and one sender");
    let payload = club.pool.copy(b"Nf3");
    club.input(0, Input::Send { overlay: 0, to: own(2), payload });
    club.run(Duration::from_secs(30));
    assert_eq!(club.senders(0), 0.0);
}

#[test]
fn a_group_over_quic_stands_and_its_end_to_end_senders_get_through() {
    let mut club =
        Club::settled_with(|credentials| Security::quic(credentials, QuicOptions::default()), &[LATE; 3]);
    let payload = club.pool.copy(b"e4 e5");
    club.input(0, Input::Send { overlay: 0, to: own(2), payload });
    club.run(Duration::from_secs(2));
    assert_eq!((club.senders(0), club.drops(0, "too_big")), (1.0, 0.0));
    assert!(!club.events.iter().any(|(_, kind)| matches!(kind, EventKind::NotSent { .. })));
}

#[test]
fn an_edge_ends_within_a_second_of_the_certificate_of_its_peer() {
    let mut club = Club::settled(&[LATE, LATE, WALL as i64 + 60]);
    club.run(Duration::from_millis(50_900));
    assert!(club.sees(0, 2) && club.sees(1, 2), "the last second counts");
    club.run(Duration::from_millis(1_100));
    assert!(!club.sees(0, 2) && !club.sees(1, 2));
    assert!(club.drops(0, "expired") >= 1.0 && club.drops(1, "expired") >= 1.0);
    club.run(Duration::from_secs(60));
    assert!(club.is_ring(&[0, 1]) && club.peers(2).is_empty());
}

#[test]
fn a_clock_that_is_put_forward_ends_memberships() {
    let mut club = Club::settled(&[LATE, LATE, 2_000_000]);
    club.input(0, Input::WallClock { unix_seconds: 2_000_000 });
    assert!(club.sees(0, 2));
    club.input(0, Input::WallClock { unix_seconds: 2_000_001 });
    assert!(!club.sees(0, 2) && club.sees(0, 1));
}

#[test]
fn a_list_that_is_older_or_of_another_authority_or_for_no_overlay_changes_nothing() {
    let mut club = Club::settled(&[LATE; 3]);
    club.revoke(0, 100, &[]);
    let lists = [club.ca.list(99, &[71]), Ca::new().list(200, &[71]), vec![], vec![0x30; 70_000]];
    for list in lists {
        club.input(0, Input::Revocations { overlay: 0, list });
    }
    let list = club.ca.list(200, &[71]);
    club.input(0, Input::Revocations { overlay: 1, list });
    assert!(club.sees(0, 1) && club.drops(0, "revoked") == 0.0);
}

#[test]
fn when_a_certificate_ends_is_reported_as_it_was_configured() {
    let security = security(Security::dtls, &Ca::new(), 0, LATE);
    let certificate_expires = Some(Wall(LATE as u64));
    let overlay =
        OverlayConfig { security, certificate_expires, ..OverlayConfig::new(GROUP, own(0), vec![]) };
    let mut node = Node::new(&Config::new(vec![overlay]), &Pool::new(), [1; 32], Time::ZERO);
    let mut ask = |command| {
        node.handle_input(Input::Command { id: RequestId(1), command }, Time::ZERO);
        match std::iter::from_fn(|| node.poll_output()).last() {
            Some(Output::Reply { reply, .. }) => reply,
            other => panic!("{other:?}"),
        }
    };
    let Reply::Status(members) = ask(Command::Status) else { panic!("a status") };
    assert_eq!(members[0].certificate_expires_seconds, Some(LATE as u64));
    let Reply::Metrics(metrics) = ask(Command::Metrics) else { panic!("metrics") };
    let metric = metrics.iter().find(|metric| metric.name == "atoll_certificate_expires_seconds");
    assert_eq!(metric.unwrap().value, LATE as f64);
}
