//! Floor 1: what belongs to the socket and not to an overlay.
//!
//! A path is the pair of our socket and one far end. All overlays of the process share its round
//! trip, its liveness and what is known of the NAT mapping on it. It sends nothing by itself.

mod fallback;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use self::fallback::Fallback;
pub use self::fallback::{Patience, TcpUse};
use crate::time::Time;
use crate::wire::{Candidate, Remote, Way};

/// Round trip that is assumed before the first sample.
const RTT_UNKNOWN: Duration = Duration::from_millis(400);
const RTO_MIN: Duration = Duration::from_millis(120);
/// How much longer than a round trip to wait at least, however even round trips are: both ends may have other things to do
/// (the granularity of RFC 6298, section 2).
const RTO_SLACK: Duration = Duration::from_millis(100);
const RTO_MAX: Duration = Duration::from_secs(6);
/// The weight of one round trip in what is usual.
const SHARE: u32 = 8;
/// Usual round trips up to this one need no patience beyond the common one.
const RTT_COMMON: Duration = Duration::from_millis(500);
/// How many times as long as usual anything takes at most.
const PACE_MAX: f64 = 8.0;
/// Members from one end of a carried edge to the other, about.
const CARRIED_HOPS: u32 = 3;
/// Paths by which the table grows.
const GROWTH: usize = 8;
/// Own transport addresses that are remembered, the latest first.
const OBSERVED_MAX: usize = 4;
/// Closed mappings in a row before it counts: a single one may have been loss.
const MAPPING_CLOSED_MIN: u32 = 2;
/// Own interface addresses that are remembered.
const LOCAL_MAX: usize = 16;

/// Names one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(u32);

/// What is known of one path.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Its far end.
    pub remote: Remote,
    /// Smoothed round trip (RFC 6298).
    pub rtt: Option<Duration>,
    rtt_variation: Duration,
    /// What the round trip is taken for before the first sample.
    rtt_guess: Duration,
    /// How long the peer waits on it.
    told: Option<Duration>,
    /// When a datagram last left.
    pub sent: Time,
    /// When an authentic record last arrived.
    pub heard: Time,
    /// When a ping was last answered on it, at either end.
    pub kept: Time,
    users: u32,
}

impl Path {
    /// How long to wait for an answer before asking again (RFC 6298, with a shorter minimum).
    #[must_use]
    pub fn rto(&self) -> Duration {
        let unmeasured = || self.told.unwrap_or(self.rtt_guess * 2);
        self.measured().unwrap_or_else(unmeasured).clamp(RTO_MIN, RTO_MAX)
    }

    /// The same as far as own samples tell.
    #[must_use]
    pub fn measured(&self) -> Option<Duration> {
        self.rtt.map(|rtt| rtt + (4 * self.rtt_variation).max(RTO_SLACK))
    }

    /// The peer, who measures this path, waits so long. Used as long as nothing is measured here.
    pub fn tell(&mut self, wait: Duration) {
        self.told = Some(wait);
    }

    /// An acknowledgement came after `waited`. As it may have waited for a frame to ride on it is no sample, and tells only the
    /// end of a path that never pings whether it has to wait for longer than is common.
    fn guess(&mut self, waited: Duration, is_exact: bool) {
        let least = if is_exact { RTT_UNKNOWN } else { self.rtt_guess };
        self.rtt_guess = waited.max(least).min(RTO_MAX);
    }

    /// Takes one sample of the round trip.
    fn sample(&mut self, sample: Duration) {
        match self.rtt {
            None => {
                self.rtt = Some(sample);
                self.rtt_variation = sample / 2;
            }
            Some(rtt) => {
                self.rtt_variation = (3 * self.rtt_variation + rtt.abs_diff(sample)) / 4;
                self.rtt = Some((7 * rtt + sample) / 8);
            }
        }
    }
}

/// All paths of one socket, and what peers and interfaces tell of its own addresses.
#[derive(Debug, Default)]
pub struct Table {
    paths: Vec<Path>,
    free: Vec<PathId>,
    by_remote: BTreeMap<Remote, PathId>,
    local: Vec<SocketAddr>,
    observed: Vec<SocketAddr>,
    fallback: Fallback,
    mapping_bears: Option<Duration>,
    /// What round trips usually are lately.
    usual: Duration,
    /// Closed mappings in a row, and the shortest silence after which one was closed.
    closed: (u32, Duration),
}

impl Table {
    /// The path to a remote, made if there is none. Pair with [`Table::release`].
    pub fn hold(&mut self, remote: Remote, now: Time) -> PathId {
        let id = match self.by_remote.get(&remote) {
            Some(id) => *id,
            None => self.add(remote, now),
        };
        self.paths[id.0 as usize].users += 1;
        id
    }

    fn add(&mut self, remote: Remote, now: Time) -> PathId {
        let path = Path {
            remote,
            rtt: None,
            rtt_variation: Duration::ZERO,
            rtt_guess: self.usual.max(RTT_UNKNOWN),
            told: None,
            sent: now,
            heard: now,
            kept: Time::ZERO,
            users: 0,
        };
        let id = self.free.pop().unwrap_or(PathId(self.paths.len() as u32));
        if id.0 as usize == self.paths.len() {
            if self.paths.len() == self.paths.capacity() {
                self.paths.reserve_exact(GROWTH);
            }
            self.paths.push(path);
        } else {
            self.paths[id.0 as usize] = path;
        }
        self.by_remote.insert(remote, id);
        id
    }

    /// Lets go of a path; the last to do so removes it.
    pub fn release(&mut self, id: PathId) {
        let Some(path) = self.get_mut(id) else { return };
        path.users -= 1;
        if path.users == 0 {
            let remote = path.remote;
            self.by_remote.remove(&remote);
            self.free.push(id);
        }
    }

    /// A path that is held.
    #[must_use]
    pub fn get(&self, id: PathId) -> Option<&Path> {
        self.paths.get(id.0 as usize).filter(|path| path.users > 0)
    }

    /// A path that is held, to change.
    pub fn get_mut(&mut self, id: PathId) -> Option<&mut Path> {
        self.paths.get_mut(id.0 as usize).filter(|path| path.users > 0)
    }

    /// A frame was acknowledged on a path after so long; `is_exact` if it was sent once.
    pub fn guess(&mut self, id: PathId, waited: Duration, is_exact: bool) {
        if let Some(path) = self.get_mut(id) {
            path.guess(waited, is_exact);
        }
    }

    /// Takes one sample of a path's round trip.
    pub fn sample(&mut self, id: PathId, sample: Duration) {
        if let Some(path) = self.get_mut(id) {
            path.sample(sample);
            self.note(sample);
        }
    }

    /// An exchange over some path took so long.
    pub fn note(&mut self, sample: Duration) {
        self.usual = (self.usual * (SHARE - 1) + sample) / SHARE;
    }

    /// What a round trip to a remote probably is if nothing was measured there: datagrams that others pass on wait at each of
    /// them.
    #[must_use]
    pub fn probable(&self, remote: Remote) -> Duration {
        let times = match remote.way() {
            Way::Direct | Way::Stream => 1,
            Way::Relayed => 2,
            Way::Carried => CARRIED_HOPS,
        };
        self.usual * times
    }

    /// How many times as long as on a common day everything takes, 1 to 8: where the machine or its link is busy, to give up
    /// and begin again in a hurry would make it busier.
    #[must_use]
    pub fn pace(&self) -> f64 {
        self.usual.div_duration_f64(RTT_COMMON).clamp(1.0, PACE_MAX)
    }

    /// A wait for others, at the pace at which they answer.
    #[must_use]
    pub fn paced(&self, wait: Duration) -> Duration {
        wait.mul_f64(self.pace())
    }

    /// The host's own transport addresses.
    pub fn set_local(&mut self, mut local: Vec<SocketAddr>) {
        local.truncate(LOCAL_MAX);
        self.local = local;
    }

    /// A peer says how it sees us; the latest comes first.
    pub fn observe(&mut self, observed: SocketAddr) {
        if self.observed.first() == Some(&observed) {
            return;
        }
        self.observed.retain(|known| *known != observed);
        self.observed.insert(0, observed);
        self.observed.truncate(OBSERVED_MAX);
    }

    /// Our transport addresses as peers see them, the latest first.
    #[must_use]
    pub fn observed(&self) -> &[SocketAddr] {
        &self.observed
    }

    /// Where strangers may reach us: an own address that peers see, so that no NAT is in front of us.
    #[must_use]
    pub fn unmapped(&self) -> Option<SocketAddr> {
        self.observed.iter().copied().find(|observed| self.local.contains(observed))
    }

    /// Whether strangers reach us, or have over TCP.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.unmapped().is_some() || !self.fallback.named(&self.local, &self.observed).is_empty()
    }

    /// Transport addresses that may reach us, best first (RFC 8445: server-reflexive, then host candidates).
    #[must_use]
    pub fn candidates(&self, max: usize) -> Vec<Candidate> {
        let tcp = self.fallback.named(&self.local, &self.observed);
        let host = self.local.iter().filter(|local| !self.observed.contains(local));
        let udp = self.observed.iter().chain(host).take(max - tcp.len()).copied().map(Candidate::Udp);
        udp.chain(tcp.iter().copied().map(Candidate::Tcp)).collect()
    }

    /// The node starts at `now` and may use TCP this far.
    pub fn start(&mut self, tcp: TcpUse, now: Time) {
        self.fallback.start(tcp, now);
    }

    /// Something for one of our overlays came over UDP.
    pub fn on_udp(&mut self, now: Time) {
        self.fallback.on_udp(now);
    }

    /// A peer linked us over a TCP connection that it opened.
    pub fn on_reached_over_tcp(&mut self) {
        self.fallback.on_reached();
    }

    /// When a node without a place in its ring is to try TCP, unless it hears something over UDP until then.
    #[must_use]
    pub fn tcp_due(&self) -> Option<Time> {
        self.fallback.due()
    }

    /// How soon TCP is tried; never if it is off.
    #[must_use]
    pub fn tcp(&self, now: Time) -> Option<Patience> {
        self.fallback.tcp(now)
    }

    /// Whether a candidate of a peer is worth a try: a private one only where both may be behind one NAT.
    #[must_use]
    pub fn is_worth_dialling(&self, candidate: SocketAddr, peer: &[Candidate]) -> bool {
        if self.local.contains(&candidate) {
            return false;
        }
        if is_global(candidate.ip()) {
            return true;
        }
        let ours = || self.observed.iter().map(SocketAddr::ip);
        let theirs = || peer.iter().filter_map(|one| one.udp()).map(|one| one.ip());
        let shared = ours().filter(|ip| is_global(*ip)).any(|ip| theirs().any(|other| other == ip));
        let none_global = !ours().chain(theirs()).any(is_global);
        shared || none_global
    }

    /// Whether our NAT seems to choose a port for each peer (RFC 4787 section 4.1).
    #[must_use]
    pub fn is_hard(&self) -> bool {
        varies(&self.candidates(OBSERVED_MAX))
    }

    /// Whether few can be linked from here: UDP does not come through, or a NAT chooses a port for each peer.
    #[must_use]
    pub fn is_shut(&self, now: Time) -> bool {
        self.is_hard() || self.is_blocked(now)
    }

    /// Whether UDP seems not to come through, so that only members that take TCP connections are linked.
    #[must_use]
    pub fn is_blocked(&self, now: Time) -> bool {
        self.tcp(now) == Some(Patience::AtOnce)
    }

    /// The longest silence that our NAT is known to bear; none while nothing speaks against the default.
    #[must_use]
    pub fn mapping_bears(&self) -> Option<Duration> {
        self.mapping_bears
    }

    /// A mapping or permission of ours seems to have closed in this much silence. It counts the second time in a row.
    pub fn mapping_closed(&mut self, after: Duration) {
        let (times, shortest) = self.closed;
        let shortest = if times == 0 { after } else { shortest.min(after) };
        self.closed = (times + 1, shortest);
        if times + 1 < MAPPING_CLOSED_MIN {
            return;
        }
        self.closed = (0, Duration::ZERO);
        let bears = (shortest * 45 / 100).max(Duration::from_secs(10));
        self.mapping_bears = Some(self.mapping_bears.map_or(bears, |known| known.min(bears)));
    }

    /// A peer's announced word came through after this much silence.
    pub fn mapping_held(&mut self, after: Duration) {
        if after >= self.closed.1 {
            self.closed = (0, Duration::ZERO);
        }
    }
}

/// Whether a member was seen at several ports of one address of the Internet, as behind a NAT that chooses one for each
/// peer (RFC 4787 section 4.1).
#[must_use]
pub fn varies(candidates: &[Candidate]) -> bool {
    let mut seen = candidates.iter().filter_map(|one| one.udp()).filter(|one| is_global(one.ip()));
    let Some(first) = seen.next() else { return false };
    seen.any(|other| other.ip() == first.ip() && other.port() != first.port())
}

/// Whether an address is unique on the Internet, as far as it shows (RFC 6890).
fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || shared)
        }
        IpAddr::V6(ip) => {
            let local = ip.segments()[0] & 0xffc0 == 0xfe80 || ip.segments()[0] & 0xfe00 == 0xfc00;
            !(local || ip.is_loopback() || ip.is_unspecified())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Address;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_path_lives_as_long_as_somebody_holds_it() {
        let mut table = Table::default();
        let one = table.hold(at("192.0.2.1:1").into(), Time::ZERO);
        assert_eq!(table.hold(at("192.0.2.1:1").into(), Time::ZERO), one);
        table.release(one);
        assert!(table.get(one).is_some());
        table.release(one);
        assert!(table.get(one).is_none());
        let two = table.hold(at("192.0.2.2:1").into(), Time::ZERO);
        assert_eq!(table.get(two).map(|path| path.remote), Some(at("192.0.2.2:1").into()));
    }

    #[test]
    fn waits_grow_with_what_answers_usually_take_and_shrink_again() {
        let mut table = Table::default();
        let first = table.hold(at("192.0.2.1:1").into(), Time::ZERO);
        let wait = Duration::from_secs(1);
        let rto = |table: &Table, id| table.get(id).map(Path::rto);
        let common = rto(&table, first);
        for _ in 0..40 {
            table.sample(first, Duration::from_secs(3));
        }
        let (near, far) = (table.probable(at("192.0.2.3:1").into()), Address::from_bytes([1; 20]));
        assert!(near > Duration::from_secs(2) && table.probable(Remote::Carried(far)) == 3 * near);
        assert!(
            rto(&table, first) >= Some(Duration::from_secs(3)),
            "an answer is not waited for long enough"
        );
        let new = table.hold(at("192.0.2.2:1").into(), Time::ZERO);
        assert!(rto(&table, new) > common, "the same holds for peers that have not answered yet");
        assert!(table.paced(wait) > 5 * wait && table.paced(wait) <= 8 * wait);
        for _ in 0..40 {
            table.sample(first, Duration::from_millis(50));
        }
        assert_eq!(table.paced(wait), wait);
    }

    #[test]
    fn a_private_candidate_is_worth_it_behind_one_nat_only() {
        let mut table = Table::default();
        table.set_local(vec![at("192.168.1.2:4001")]);
        table.observe(at("198.51.100.1:7"));
        let (private, same, other) = (at("192.168.1.3:4001"), at("198.51.100.1:8"), at("203.0.113.1:8"));
        assert!(table.is_worth_dialling(private, &[same, private].map(Candidate::Udp)));
        assert!(!table.is_worth_dialling(private, &[other, private].map(Candidate::Udp)));
        assert!(table.is_worth_dialling(other, &[other, private].map(Candidate::Udp)));
        assert!(!table.is_worth_dialling(at("192.168.1.2:4001"), &[Candidate::Udp(same)]));
    }

    #[test]
    fn one_closed_mapping_may_be_loss_and_two_are_a_timer() {
        let mut table = Table::default();
        let (long, short) = (Duration::from_secs(50), Duration::from_secs(9));
        table.mapping_closed(long);
        table.mapping_held(long);
        table.mapping_closed(long);
        assert_eq!(table.mapping_bears(), None);
        table.mapping_held(short);
        table.mapping_closed(long);
        assert_eq!(table.mapping_bears(), Some(Duration::from_millis(22_500)));
    }

    #[test]
    fn the_wait_for_an_answer_follows_the_round_trip() {
        let mut table = Table::default();
        let id = table.hold(at("192.0.2.1:1").into(), Time::ZERO);
        let path = table.get_mut(id).expect("it is held");
        assert_eq!(path.rto(), Duration::from_millis(800));
        for _ in 0..50 {
            path.sample(Duration::from_millis(200));
        }
        let told = table.hold(at("192.0.2.2:1").into(), Time::ZERO);
        let path = table.get_mut(told).expect("it is held");
        path.tell(Duration::from_millis(325));
        assert_eq!((path.rto(), path.measured()), (Duration::from_millis(325), None));
        let least = Duration::from_millis(200) + RTO_SLACK;
        let path = table.get(id).expect("it is held");
        assert!(path.rto() >= least && path.rto() < least + Duration::from_millis(60));
    }
}
