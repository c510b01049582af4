//! The way in: remotes that may belong to members, dialled while there is need.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::machine::Deadline;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::{EdgeId, Remote, Way};

/// Bootstraps that are dialled at once.
const DIALS_MAX: usize = 5;

/// Dials in vain after which somebody counts as silent.
const SILENCES_MIN: u32 = 2;

const RETRY_WAIT: Duration = Duration::from_secs(1);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(20);

/// First wait before a connected member looks whether its ring is still the bootstraps' ring.
const PROBE_WAIT: Duration = Duration::from_secs(15);
/// How often a whole ring looks afterwards, if nothing gives reason to doubt. Its members take turns, so that a bootstrap
/// bears the same load from a ring of any size, and a small ring that is cut off looks often.
const PROBE_TURN: Duration = Duration::from_secs(300);
/// Beyond this many members the turns come no more rarely.
const MEMBERS_MAX: f64 = 1e6;

#[derive(Debug)]
enum Stage {
    Waiting(Time),
    Dialling(EdgeId),
    Linked(EdgeId),
}

#[derive(Debug)]
struct Bootstrap {
    remote: Remote,
    stage: Stage,
    silences: u32,
    /// Its last answer was that it takes us for no member.
    refuses: bool,
    /// No longer named: forgotten once its edge is gone.
    former: bool,
}

fn is_tcp(one: &Bootstrap) -> bool {
    one.remote.way() == Way::Stream
}

fn has_room(one: &Bootstrap, [udp, tcp]: [bool; 2]) -> bool {
    if is_tcp(one) { tcp } else { udp }
}

/// All bootstraps of one member, in the order in which they are tried.
#[derive(Debug)]
pub struct Bootstraps {
    rng: Rng,
    list: Vec<Bootstrap>,
    /// Whether those that are named are tried over TCP as well.
    over_tcp: bool,
    /// When they are to be.
    tcp_at: Time,
    probe_at: Time,
}

impl Bootstraps {
    /// Bootstraps that are all due at once; one that is named twice counts once.
    #[must_use]
    pub fn new(remotes: &[Remote], rng: &Rng, now: Time) -> Self {
        let (rng, list) = (rng.fork("bootstrap"), Vec::new());
        let mut bootstraps = Self { rng, list, over_tcp: false, tcp_at: Time::MAX, probe_at: Time::MAX };
        bootstraps.replace(remotes, now);
        bootstraps
    }

    /// The bootstraps are these from now on. New ones are due at once; of the others those with an edge stay until it
    /// is gone.
    pub fn replace(&mut self, remotes: &[Remote], now: Time) {
        let mut fresh: BTreeSet<Remote> = remotes.iter().copied().collect();
        if self.over_tcp {
            fresh.extend(remotes.iter().filter_map(|one| one.udp()).map(Remote::Tcp));
        }
        self.list.retain_mut(|one| {
            one.former = !fresh.remove(&one.remote);
            !one.former || !matches!(one.stage, Stage::Waiting(_))
        });
        let waiting = |remote| Bootstrap {
            remote,
            stage: Stage::Waiting(now),
            silences: 0,
            refuses: false,
            former: false,
        };
        let mut fresh: Vec<Bootstrap> = fresh.into_iter().map(waiting).collect();
        self.rng.shuffle(&mut fresh);
        // The shortest ways first.
        fresh.sort_by_key(|one| Reverse(one.remote.way()));
        self.list.append(&mut fresh);
    }

    /// Whether there are some, and each was dialled twice in vain.
    #[must_use]
    pub fn are_silent(&self) -> bool {
        !self.list.is_empty() && self.list.iter().all(|one| one.silences >= SILENCES_MIN)
    }

    /// From `due` on, or never, bootstraps are tried over TCP as well, at the same IP address and port.
    pub fn tcp_from(&mut self, due: Option<Time>, now: Time) {
        self.tcp_at = due.filter(|_| !self.over_tcp).unwrap_or(Time::MAX);
        if self.tcp_at <= now {
            (self.over_tcp, self.tcp_at) = (true, Time::MAX);
            self.replace(&self.named(), now);
        }
    }

    /// Bootstraps are tried over UDP alone.
    pub fn leave_tcp(&mut self) {
        if std::mem::take(&mut self.over_tcp) {
            // Nobody new is named, so that it does not matter when.
            self.replace(&self.named(), Time::ZERO);
        }
    }

    fn named(&self) -> Vec<Remote> {
        let named = self.list.iter().filter(|one| !one.former && !is_tcp(one));
        named.map(|one| one.remote).collect()
    }

    /// Dials that may begin, over UDP and over TCP: what gets no answer over one does not keep the other waiting.
    fn room(&self) -> [bool; 2] {
        let busy = |tcp: bool| {
            let busy = |one: &&Bootstrap| is_tcp(one) == tcp && !matches!(one.stage, Stage::Waiting(_));
            self.list.iter().filter(busy).count()
        };
        [false, true].map(|tcp| busy(tcp) < DIALS_MAX)
    }

    /// The next bootstrap to dial, if one is due and few enough are under way. Follow with [`Self::on_dial`].
    #[must_use]
    pub fn due(&self, now: Time) -> Option<Remote> {
        let room = self.room();
        let due =
            |one: &&Bootstrap| matches!(one.stage, Stage::Waiting(at) if at <= now) && has_room(one, room);
        self.list.iter().find(due).map(|one| one.remote)
    }

    /// A bootstrap is being dialled over this edge; without an edge (the table is full) it waits.
    pub fn on_dial(&mut self, remote: Remote, edge: Option<EdgeId>, now: Time) {
        let Some(one) = self.list.iter_mut().find(|one| one.remote == remote) else { return };
        one.stage = match edge {
            Some(edge) => Stage::Dialling(edge),
            None => Stage::Waiting(now + self.rng.jitter(RETRY_WAIT, 0.25)),
        };
        one.refuses = false;
    }

    /// The bootstrap at the other end of the edge answers that it takes us for no member. It is tried again as late as one that is
    /// silent.
    pub fn on_refused(&mut self, edge: EdgeId) {
        let dialling = |one: &&mut Bootstrap| matches!(one.stage, Stage::Dialling(own) if own == edge);
        self.list.iter_mut().filter(dialling).for_each(|one| one.refuses = true);
    }

    /// Whether one is being dialled that has not kept silent before.
    #[must_use]
    pub fn is_dialling(&self) -> bool {
        self.list.iter().any(|one| one.silences == 0 && matches!(one.stage, Stage::Dialling(_)))
    }

    /// Whether the edge leads to a bootstrap.
    #[must_use]
    pub fn owns(&self, edge: EdgeId) -> bool {
        let at =
            |one: &Bootstrap| matches!(one.stage, Stage::Dialling(own) | Stage::Linked(own) if own == edge);
        self.list.iter().any(at)
    }

    /// Those that did not answer, and were not linked since.
    #[must_use]
    pub fn silent(&self) -> Vec<Remote> {
        let answers = |one: &Bootstrap, remote| one.remote == remote && matches!(one.stage, Stage::Linked(_));
        let over_tcp = |one: &Bootstrap| {
            one.remote
                .udp()
                .is_some_and(|address| self.list.iter().any(|other| answers(other, Remote::Tcp(address))))
        };
        let silent = self.list.iter().filter(|one| one.silences > 0 && !one.refuses && !over_tcp(one));
        silent.map(|one| one.remote).collect()
    }

    /// The edge is linked.
    pub fn on_linked(&mut self, edge: EdgeId) {
        let dialling = |one: &&mut Bootstrap| matches!(one.stage, Stage::Dialling(own) if own == edge);
        if let Some(one) = self.list.iter_mut().find(dialling) {
            one.stage = Stage::Linked(edge);
            one.silences = 0;
        }
    }

    /// The edge is gone. If it never answered: the bootstrap and how often in a row.
    pub fn on_edge_down(&mut self, edge: EdgeId, now: Time) -> Option<(Remote, u32)> {
        let at = self
            .list
            .iter()
            .position(|one| matches!(one.stage, Stage::Dialling(own) | Stage::Linked(own) if own == edge))?;
        if self.list[at].former {
            self.list.remove(at);
            return None;
        }
        let one = &mut self.list[at];
        let silent = matches!(one.stage, Stage::Dialling(_));
        one.silences += u32::from(silent);
        let wait = (RETRY_WAIT * 2u32.pow(one.silences.min(6))).min(RETRY_WAIT_MAX);
        one.stage = Stage::Waiting(now + self.rng.jitter(wait, 0.25));
        (silent && !one.refuses).then_some((one.remote, one.silences))
    }

    /// There is reason to doubt that everybody is in one ring: probe soon.
    pub fn probe_again(&mut self, now: Time) {
        self.probe_at = self.probe_at.min(now + self.rng.jitter(PROBE_WAIT, 0.3));
    }

    /// The bootstrap that a connected member of a ring of about `size` members dials now, to heal a ring that fell
    /// apart unnoticed.
    pub fn probe(&mut self, size: f64, now: Time) -> Option<Remote> {
        if self.probe_at > now {
            return None;
        }
        self.probe_at = now + self.rng.jitter(PROBE_TURN.mul_f64(size.clamp(1.0, MEMBERS_MAX)), 0.5);
        let idle: Vec<Remote> = self
            .list
            .iter()
            .filter(|one| matches!(one.stage, Stage::Waiting(_)) && is_tcp(one) == self.over_tcp)
            .map(|one| one.remote)
            .collect();
        idle.get(self.rng.below(idle.len())).copied()
    }

    /// When the next probe is due.
    #[must_use]
    pub fn probe_timeout(&self) -> Option<Deadline> {
        let probes = self.probe_at < Time::MAX && !self.list.is_empty();
        probes.then_some(Deadline { at: self.probe_at, reason: "bootstrap probe" })
    }

    /// When the next one is due, if few enough are under way.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let room = self.room();
        let waiting = self.list.iter().filter(|one| has_room(one, room)).filter_map(|one| match one.stage {
            Stage::Waiting(at) => Some(at),
            _ => None,
        });
        let tcp = Some(self.tcp_at).filter(|at| *at < Time::MAX && !self.list.is_empty());
        waiting.chain(tcp).min().map(|at| Deadline { at, reason: "bootstrap" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Remote {
        Remote::Udp(text.parse().expect("an address"))
    }

    fn bootstraps(remotes: &[&str]) -> Bootstraps {
        let remotes: Vec<Remote> = remotes.iter().map(|one| at(one)).collect();
        Bootstraps::new(&remotes, &Rng::new([1; 32]), Time::ZERO)
    }

    #[test]
    fn a_bootstrap_that_is_named_twice_is_dialled_once() {
        let mut list = bootstraps(&["192.0.2.1:1", "192.0.2.1:1"]);
        let remote = list.due(Time::ZERO).expect("one is due");
        list.on_dial(remote, Some(EdgeId(1)), Time::ZERO);
        assert_eq!(list.due(Time::ZERO), None);
    }

    #[test]
    fn what_is_no_longer_named_is_forgotten_once_its_edge_is_gone() {
        let mut list = bootstraps(&["192.0.2.1:1"]);
        let old = list.due(Time::ZERO).expect("one is due");
        list.on_dial(old, Some(EdgeId(1)), Time::ZERO);
        let new = at("192.0.2.2:1");
        list.replace(&[new], Time::ZERO);
        assert_eq!(list.due(Time::ZERO), Some(new));
        assert!(list.owns(EdgeId(1)));
        assert_eq!(list.on_edge_down(EdgeId(1), Time::ZERO), None);
        assert!(list.list.iter().all(|one| one.remote == new));
        list.replace(&[], Time::ZERO);
        assert_eq!(list.due(Time::ZERO), None);
    }

    #[test]
    fn a_bootstrap_that_refuses_is_not_silent_until_it_is() {
        let mut list = bootstraps(&["192.0.2.1:1"]);
        let remote = at("192.0.2.1:1");
        list.on_dial(remote, Some(EdgeId(1)), Time::ZERO);
        list.on_refused(EdgeId(1));
        assert_eq!(list.on_edge_down(EdgeId(1), Time::ZERO), None);
        assert!(list.silent().is_empty());
        list.on_dial(remote, Some(EdgeId(2)), Time::from_secs(9));
        assert_eq!(list.on_edge_down(EdgeId(2), Time::from_secs(12)), Some((remote, 2)));
        assert_eq!(list.silent(), [remote]);
    }

    #[test]
    fn a_bootstrap_is_tried_over_tcp_from_the_time_that_is_told_until_udp_works() {
        let mut list = bootstraps(&["192.0.2.1:1"]);
        list.on_dial(at("192.0.2.1:1"), Some(EdgeId(1)), Time::ZERO);
        list.tcp_from(Some(Time::from_secs(2)), Time::ZERO);
        assert_eq!(list.poll_timeout().map(|deadline| deadline.at), Some(Time::from_secs(2)));
        list.tcp_from(Some(Time::from_secs(2)), Time::from_secs(2));
        let tcp = Remote::Tcp("192.0.2.1:1".parse().expect("an address"));
        assert_eq!(list.due(Time::from_secs(2)), Some(tcp));
        list.on_dial(tcp, Some(EdgeId(2)), Time::from_secs(2));
        list.on_linked(EdgeId(2));
        assert_eq!(
            list.on_edge_down(EdgeId(1), Time::from_secs(3)).map(|(remote, _)| remote.way()),
            Some(Way::Direct)
        );
        assert!(list.silent().is_empty(), "it answers over TCP");
        list.leave_tcp();
        assert_eq!(list.on_edge_down(EdgeId(2), Time::from_secs(4)), None);
        assert_eq!(list.list.len(), 1);
    }

    #[test]
    fn silent_dials_over_udp_do_not_keep_tcp_waiting() {
        let names: Vec<String> = (1..=6).map(|n| format!("192.0.2.{n}:1")).collect();
        let mut list = bootstraps(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut edges = (1..).map(EdgeId);
        while let Some(remote) = list.due(Time::ZERO) {
            list.on_dial(remote, edges.next(), Time::ZERO);
        }
        list.tcp_from(Some(Time::ZERO), Time::ZERO);
        assert!(list.due(Time::ZERO).is_some_and(|remote| remote.way() == Way::Stream));
    }

    #[test]
    fn without_room_for_an_edge_a_bootstrap_waits() {
        let mut list = bootstraps(&["192.0.2.1:1"]);
        let remote = list.due(Time::ZERO).expect("one is due");
        list.on_dial(remote, None, Time::ZERO);
        assert!(list.due(Time::ZERO).is_none() && list.due(Time::from_secs(2)).is_some());
    }

    #[test]
    fn a_ring_of_any_size_probes_equally_often_all_told() {
        for size in [2.0, 1000.0] {
            let mut list = bootstraps(&["192.0.2.1:1"]);
            list.probe_again(Time::ZERO);
            let mut turns = 0.0;
            let end = Time::from_secs(3600 * 240);
            while let Some(deadline) = list.probe_timeout().filter(|deadline| deadline.at < end) {
                assert!(list.probe(size, deadline.at).is_some());
                turns += size;
            }
            assert!((0.6..1.6).contains(&(turns / (10.0 * 288.0))), "{size}: {turns}");
        }
    }

    #[test]
    fn silences_are_counted_until_it_answers_and_thin_out() {
        let mut list = bootstraps(&["192.0.2.1:1"]);
        let mut now = Time::ZERO;
        for silences in 1..=8 {
            now = list.poll_timeout().map_or(now, |deadline| deadline.at.max(now));
            let remote = list.due(now).expect("it is due");
            list.on_dial(remote, Some(EdgeId(silences)), now);
            assert_eq!(list.on_edge_down(EdgeId(silences), now), Some((remote, silences)));
        }
        let wait = list.poll_timeout().expect("it is tried again").at.since(now);
        assert!(wait > Duration::from_secs(14) && wait < Duration::from_secs(26));
        assert_eq!(list.silent(), [at("192.0.2.1:1")]);
        let now = list.poll_timeout().expect("it is tried again").at;
        list.on_dial(at("192.0.2.1:1"), Some(EdgeId(99)), now);
        list.on_linked(EdgeId(99));
        assert!(list.silent().is_empty());
        assert_eq!(list.on_edge_down(EdgeId(99), now), None);
    }
}
