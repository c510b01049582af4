//! The experiment `revocation`: how long it takes until every member of the private overlay knows that a user was revoked and
//! nobody has an edge to the rogue any longer, and what that costs.

use std::collections::BTreeMap;
use std::time::Duration;

use atoll_core::Rng;
use atoll_core::control::{Command, Reply, Revocations, Spread};
use atoll_core::wire::{Address, SHORT_LEN};

use super::outcome::{Cut, names};
use super::rings::Rings;
use super::stage::{LOOK, Stage};
use crate::environment::{Authority, GROUP, NodeIndex, Sample, Stop};
use crate::metric;

/// What is sent because of a notice is counted for so long, and before it for as long at rest.
const WINDOW: Duration = Duration::from_secs(10);
/// How long after the revocation members die, if some do: the notice is on its way then.
const DEATH: Duration = Duration::from_millis(150);
/// The longest wait for everybody to know.
const LIMIT: Duration = Duration::from_secs(30);
/// How long the rogue tries to come back.
const SIEGE: Duration = Duration::from_secs(60);
/// How often its edges are looked at meanwhile.
const GLANCE: Duration = Duration::from_secs(5);
/// Nobody's name: what a notice about this user costs is what telling costs, and no repair of the ring.
const NOBODY: &str = "nobody";
/// Headers of IPv4 and UDP.
const UDP_HEADERS: f64 = 28.0;
/// Bytes of a broadcast datagram beside the notice: headers of IPv4 and UDP 28, of the datagram, record 20, number in it 3,
/// kind 1, and of the broadcast 71.
const AROUND: usize = 28 + SHORT_LEN + 20 + 3 + 1 + 71;

/// Who plays which part.
struct Cast {
    members: Vec<NodeIndex>,
    /// Tells the others.
    teller: NodeIndex,
    rogue: NodeIndex,
    authority: Authority,
}

impl Stage<'_> {
    /// Runs the whole trial; what was measured before a cut stays in the outcome.
    pub(super) fn run_revocation(&mut self) -> Result<(), Cut> {
        let trial = self.trial;
        let (public, _) = self.members();
        self.start_quietly(&public, &Rings::new(trial, &public))?;
        self.pass("at rest", self.values.rest)?;
        let Some(cast) = self.cast(&public)? else {
            self.outcome.invalid_reasons.push("nobody is there to tell and to be revoked".to_owned());
            return Ok(());
        };
        self.count_bytes(&cast)?;
        let dead = self.revoke_rogue(&cast)?;
        self.besiege(&cast, &dead)?;
        self.outcome.miss(&[metric::REVOCATION, metric::NOTICE_BYTES, metric::UNTOLD], false);
        Ok(())
    }

    fn cast(&mut self, public: &[NodeIndex]) -> Result<Option<Cast>, Cut> {
        let Some(group) = &self.trial.group else { return Ok(None) };
        let authority = Authority::of(group)?;
        let mut rng = Rng::new(self.trial.internet_seed).fork("revocation");
        let is_member = |one: &NodeIndex| self.trial.nodes[one.index()].private.is_some();
        let mut members: Vec<NodeIndex> = public.iter().copied().filter(is_member).collect();
        rng.shuffle(&mut members);
        let (Some(teller), Some(rogue)) = (members.first().copied(), members.get(1).copied()) else {
            return Ok(None);
        };
        members.sort_unstable();
        Ok(Some(Cast { members, teller, rogue, authority }))
    }

    /// The user that the authority's certificates, or those who model them, give a member.
    fn user(&self, member: NodeIndex) -> String {
        let node = &self.trial.nodes[member.index()];
        let by_address = node.private.filter(|_| self.trial.security.is_model());
        by_address.map_or_else(|| node.name.clone(), |address: Address| address.to_string())
    }

    /// Has the teller tell of the notice with this number.
    fn tell(&mut self, cast: &Cast, number: u64, user: &str) -> Result<usize, Cut> {
        let notice = cast.authority.notice(number, user)?;
        let bytes = notice.len();
        let command = Command::Revoke { overlay: GROUP.to_owned(), notice, by: self.values.by };
        let reply = self.environment.command(cast.teller, command)?;
        if !matches!(reply, Reply::Revoked { fresh: true, .. }) {
            self.outcome.invalid_reasons.push(format!("the notice was not taken: {reply:?}"));
        }
        Ok(bytes)
    }

    /// What telling everybody of a notice costs: a member's share of what is sent beyond what is sent at rest.
    fn count_bytes(&mut self, cast: &Cast) -> Result<(), Cut> {
        let began = self.sent(cast)?;
        self.pass("at rest, counted", WINDOW)?;
        let middle = self.sent(cast)?;
        let bytes = self.tell(cast, 1, NOBODY)?;
        self.pass("telling everybody", WINDOW)?;
        let end = self.sent(cast)?;
        // What is sent at rest varies: the mean over many trials is right, one may be below zero.
        let extra = (end - middle) - (middle - began);
        let each = extra / (cast.members.len() - 1) as f64;
        self.sample(None, metric::NOTICE_BYTES, bytes as f64);
        self.sample(None, metric::REVOCATION_BYTES, each);
        self.sample(None, metric::REVOCATION_OVERHEAD, each / (bytes + AROUND) as f64);
        Ok(())
    }

    /// Bytes that the members have sent. Of a broadcast the members themselves count what belongs to it, down to the
    /// acknowledgements, as nothing at the wire tells it from the rest; any other way uses both overlays, and the wire counts.
    fn sent(&mut self, cast: &Cast) -> Result<f64, Cut> {
        if self.values.by != Spread::Broadcast {
            let traffic = self.environment.traffic(&cast.members)?;
            return Ok(traffic.iter().map(|one| one.sent_bytes as f64).sum());
        }
        let samples = self.environment.scrape()?;
        let of_group =
            |one: &&Sample| one.labels.iter().any(|label| *label == ("overlay".into(), GROUP.into()));
        let bytes = samples.iter().filter(of_group).map(|sample| {
            let each = match sample.metric.as_str() {
                "atoll_told_bytes_total" => 1.0,
                "atoll_told_datagrams_total" => UDP_HEADERS,
                _ => 0.0,
            };
            each * sample.value
        });
        Ok(bytes.sum())
    }

    /// Revokes the rogue, lets others die meanwhile, and says when each of the living knew; gives the dead.
    fn revoke_rogue(&mut self, cast: &Cast) -> Result<Vec<NodeIndex>, Cut> {
        let user = self.user(cast.rogue);
        let began = self.environment.now();
        self.tell(cast, 2, &user)?;
        let dead = self.dying(cast);
        if !dead.is_empty() {
            self.wait(DEATH)?;
            self.environment.stop(&dead, Stop::Kill)?;
        }
        let told: Vec<NodeIndex> =
            cast.members.iter().copied().filter(|one| *one != cast.rogue && !dead.contains(one)).collect();
        let known = self.wait_until_known(&told, began)?;
        self.say_when_known(cast, (&told, &known), began);
        Ok(dead)
    }

    /// A share of those who neither tell nor are revoked.
    fn dying(&self, cast: &Cast) -> Vec<NodeIndex> {
        let mut rng = Rng::new(self.trial.internet_seed).fork("deaths");
        let mut others: Vec<NodeIndex> =
            cast.members.iter().copied().filter(|one| *one != cast.teller && *one != cast.rogue).collect();
        rng.shuffle(&mut others);
        others.truncate((others.len() as f64 * self.values.deaths).round() as usize);
        others
    }

    /// What each member knows once all know both revocations, or at the limit; when it was released goes with it.
    fn wait_until_known(
        &mut self,
        told: &[NodeIndex],
        began: Duration,
    ) -> Result<BTreeMap<NodeIndex, (Duration, Revocations)>, Cut> {
        loop {
            let statuses = self.environment.statuses(told)?;
            let known: BTreeMap<NodeIndex, (Duration, Revocations)> = told
                .iter()
                .zip(&statuses)
                .filter_map(|(member, status)| {
                    let status = status.as_ref()?;
                    let known = status.private.as_ref()?.revocations.filter(|known| known.count >= 2)?;
                    Some((*member, (status.released, known)))
                })
                .collect();
            self.surroundings.progress.step("know", known.len() as u64, told.len() as u64);
            if known.len() == told.len() || self.environment.now() >= began + LIMIT {
                self.distrust_silence(told, &statuses);
                return Ok(known);
            }
            self.wait(LOOK)?;
        }
    }

    fn say_when_known(
        &mut self,
        cast: &Cast,
        (told, known): (&[NodeIndex], &BTreeMap<NodeIndex, (Duration, Revocations)>),
        began: Duration,
    ) {
        let since = |released: Duration, seconds: f64| {
            (released.as_secs_f64() + seconds - began.as_secs_f64()).max(0.0)
        };
        let (mut last, mut sealed) = (0.0_f64, None::<f64>);
        for (member, (released, known)) in known.iter().filter(|(member, _)| **member != cast.teller) {
            let Some(seconds) = known.learnt_seconds.map(|seconds| since(*released, seconds)) else {
                continue;
            };
            self.sample(Some(*member), metric::REVOCATION, seconds);
            last = last.max(seconds);
        }
        for (released, known) in known.values() {
            let own = known.sealed_seconds.map(|seconds| since(*released, seconds));
            sealed = sealed.into_iter().chain(own).reduce(f64::max);
        }
        let untold: Vec<NodeIndex> = told.iter().copied().filter(|one| !known.contains_key(one)).collect();
        if untold.is_empty() {
            self.sample(None, metric::REVOCATION_LAST, last);
        } else {
            self.note(format!("not told within {} s: {}", LIMIT.as_secs(), names(self.trial, &untold)));
        }
        self.sample(None, metric::UNTOLD, untold.len() as f64 / told.len().max(1) as f64);
        match sealed {
            Some(seconds) => self.sample(None, metric::SEALED, seconds),
            None => self.note("nobody had an edge to the rogue".to_owned()),
        }
    }

    /// The rogue knows the secret, its peers and where they are, and comes back again and again: how many let it in?
    fn besiege(&mut self, cast: &Cast, dead: &[NodeIndex]) -> Result<(), Cut> {
        let Some(address) = self.trial.nodes[cast.rogue.index()].private else { return Ok(()) };
        let others: Vec<NodeIndex> =
            cast.members.iter().copied().filter(|one| *one != cast.rogue && !dead.contains(one)).collect();
        let end = self.environment.now() + SIEGE;
        let (mut looks, mut linked) = (0_usize, 0_usize);
        while self.environment.now() < end {
            self.wait(GLANCE)?;
            // Whoever links it is linked by it: its own table names them all.
            let peers = Command::Peers { overlay: GROUP.to_owned() };
            let Reply::Peers(peers) = self.environment.command(cast.rogue, peers)? else { continue };
            let has = |member: &&NodeIndex| {
                let own = self.trial.nodes[member.index()].private;
                peers.iter().any(|peer| Some(peer.address) == own && own != Some(address))
            };
            looks += others.len();
            linked += others.iter().filter(has).count();
        }
        self.sample(None, metric::ROGUE_LINKED, linked as f64 / looks.max(1) as f64);
        Ok(())
    }
}
