//! The experiment `revocation`: how long it takes until every member of the private overlay knows that a user was revoked and
//! nobody has an edge to the rogue any longer, and what that costs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atoll_core::Rng;
use atoll_core::Telling;
use atoll_core::control::{Command, Reply, Revocations, Spread};
use atoll_core::wire::{Address, SHORT_LEN};

use super::churn::crowd::Crowd;
use super::outcome::{Cut, names};
use super::rings::Rings;
use super::stage::{LOOK, Stage};
use crate::environment::{Authority, GROUP, NodeIndex, Sample, Stop, Trial};
use crate::metric;
use crate::plan::Teller;

/// What is sent because of a notice is counted for so long, and before it for as long at rest.
const WINDOW: Duration = Duration::from_secs(10);
/// How long after the revocation members die or go, if some do: the notice is on its way then.
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
    /// Tells the others; of a site, what it has in the public overlay.
    teller: NodeIndex,
    rogue: NodeIndex,
    authority: Authority,
    /// Everybody as they are after some have gone and others have come.
    trial: Trial,
}

/// Who goes while the others are told.
#[derive(Default)]
struct Gone {
    /// Nobody comes in their places.
    dead: Vec<NodeIndex>,
    /// Others come in their places.
    replaced: Vec<NodeIndex>,
}

/// What a member knows.
struct Told {
    known: Revocations,
    /// How long after it had its place it learnt of the last one.
    since_join: Option<f64>,
}

/// Members who know both revocations, each with when it was released.
type Known = BTreeMap<NodeIndex, (Duration, Told)>;

impl Stage<'_> {
    /// Runs the whole trial; what was measured before a cut stays in the outcome.
    pub(super) fn run_revocation(&mut self) -> Result<(), Cut> {
        let trial = self.trial;
        let (public, _) = self.members();
        self.start_quietly(&public, &Rings::new(trial, &public))?;
        self.pass("at rest", self.values.rest)?;
        let Some(mut cast) = self.cast(&public)? else {
            self.outcome.invalid_reasons.push("nobody is there to tell and to be revoked".to_owned());
            return Ok(());
        };
        self.count_bytes(&cast)?;
        let dead = self.revoke_rogue(&mut cast)?;
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
        let outsider = public.iter().copied().find(|one| !is_member(one));
        let teller = match self.values.from {
            Teller::Member => members.first().copied(),
            Teller::Site => outsider,
        };
        let (Some(teller), Some(rogue)) = (teller, members.get(1).copied()) else { return Ok(None) };
        members.sort_unstable();
        Ok(Some(Cast { members, teller, rogue, authority, trial: self.trial.clone() }))
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
        if self.values.from == Teller::Site {
            let telling = self.telling(cast, notice)?;
            self.environment.announce(cast.teller, telling)?;
            return Ok(bytes);
        }
        let command = Command::Revoke { overlay: GROUP.to_owned(), notice, by: self.values.by };
        let reply = self.environment.command(cast.teller, command)?;
        if !matches!(reply, Reply::Revoked { fresh: true, .. }) {
            self.outcome.invalid_reasons.push(format!("the notice was not taken: {reply:?}"));
        }
        Ok(bytes)
    }

    /// What a site that knows its members' nodes has them told.
    fn telling(&self, cast: &Cast, notice: Vec<u8>) -> Result<Telling, Cut> {
        let secret = self.trial.group.as_ref().map(crate::environment::Group::secret).unwrap_or_default();
        let address = |one: &NodeIndex| self.trial.nodes[one.index()].private;
        let rogue = address(&cast.rogue);
        Ok(Telling {
            group: GROUP.to_owned(),
            secret,
            authority: cast.authority.der()?,
            list: None,
            notices: vec![notice],
            epochs: vec![None],
            members: cast.members.iter().filter_map(address).filter(|one| Some(*one) != rogue).collect(),
            revoked: rogue.into_iter().collect::<BTreeSet<Address>>(),
        })
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
        let told = cast.members.iter().filter(|one| **one != cast.teller).count();
        let each = extra / told as f64;
        self.sample(None, metric::NOTICE_BYTES, bytes as f64);
        self.sample(None, metric::REVOCATION_BYTES, each);
        self.sample(None, metric::REVOCATION_OVERHEAD, each / (bytes + AROUND) as f64);
        self.tell_those_who_did_not_subscribe(cast)
    }

    /// By the DHT alone nobody hears of a user whom nobody has for a peer. The others are told as well, so that afterwards all
    /// lack the same notice.
    fn tell_those_who_did_not_subscribe(&mut self, cast: &Cast) -> Result<(), Cut> {
        if self.values.by != Spread::Dht {
            return Ok(());
        }
        let notice = cast.authority.notice(1, NOBODY)?;
        let command = Command::Revoke { overlay: GROUP.to_owned(), notice, by: Spread::Broadcast };
        self.environment.command(cast.teller, command)?;
        self.pass("telling those who did not subscribe", WINDOW)
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

    /// Revokes the rogue, lets others die and go meanwhile, and says when each of the living knew; gives the dead.
    fn revoke_rogue(&mut self, cast: &mut Cast) -> Result<Vec<NodeIndex>, Cut> {
        let user = self.user(cast.rogue);
        let began = self.environment.now();
        self.tell(cast, 2, &user)?;
        let Gone { dead, replaced } = self.going(cast);
        let mut newcomers = Vec::new();
        if !dead.is_empty() || !replaced.is_empty() {
            self.wait(DEATH)?;
            self.environment.stop(&dead, Stop::Kill)?;
            newcomers = self.replace_members(cast, &replaced)?;
        }
        let told: Vec<NodeIndex> =
            cast.members.iter().copied().filter(|one| *one != cast.rogue && !dead.contains(one)).collect();
        let known = self.wait_until_known(&told, began)?;
        let (new, old): (Vec<_>, Vec<_>) = told.into_iter().partition(|one| newcomers.contains(one));
        self.say_when_known(cast, (&old, &known), began);
        self.say_newcomers(&new, &known);
        let ignorant = |told: &[NodeIndex]| told.iter().filter(|one| !known.contains_key(one)).count();
        let untold = (ignorant(&old) + ignorant(&new)) as f64 / (old.len() + new.len()).max(1) as f64;
        self.sample(None, metric::UNTOLD, untold);
        Ok(dead)
    }

    /// Of these every second one crashes, the others leave, and somebody else comes to each one's place at once; gives the places.
    /// Those that are the only way in stay.
    fn replace_members(&mut self, cast: &mut Cast, going: &[NodeIndex]) -> Result<Vec<NodeIndex>, Cut> {
        let rng = Rng::new(self.trial.internet_seed).fork("newcomers");
        let mut crowd = Crowd::new(self.trial, Duration::MAX, &rng);
        let statuses = self.environment.statuses(&crowd.all())?;
        for (node, status) in crowd.all().into_iter().zip(&statuses) {
            status.as_ref().map(|status| crowd.see(node, status));
        }
        let mut newcomers = Vec::new();
        for node in going {
            let (how, successor) = (crowd.way_out(), crowd.successor(*node)?);
            let Some(member) = successor else { continue };
            self.environment.stop(&[*node], how)?;
            self.environment.replace(*node, &member)?;
            self.environment.start(&[*node])?;
            crowd.begin(*node, member, self.environment.now());
            newcomers.push(*node);
        }
        let stayed = going.len() - newcomers.len();
        if stayed > 0 {
            self.note(format!("{stayed} members stayed that were the only way in"));
        }
        cast.trial = crowd.trial;
        Ok(newcomers)
    }

    /// Those who came meanwhile learn it from the first members that they are linked to.
    fn say_newcomers(&mut self, new: &[NodeIndex], known: &Known) {
        for member in new {
            let Some((_, told)) = known.get(member) else { continue };
            let Some(seconds) = told.since_join else { continue };
            self.sample(Some(*member), metric::NEWCOMER_TOLD, seconds);
        }
        let untold: Vec<NodeIndex> = new.iter().copied().filter(|one| !known.contains_key(one)).collect();
        if !untold.is_empty() {
            let names = names(self.trial, &untold);
            self.note(format!("newcomers not told within {} s: {names}", LIMIT.as_secs()));
        }
    }

    /// Shares of those who neither tell nor are revoked.
    fn going(&self, cast: &Cast) -> Gone {
        let mut rng = Rng::new(self.trial.internet_seed).fork("deaths");
        let mut others: Vec<NodeIndex> =
            cast.members.iter().copied().filter(|one| *one != cast.teller && *one != cast.rogue).collect();
        rng.shuffle(&mut others);
        let (dying, going) = self.values.going(others.len());
        let mut dead = others;
        let mut replaced = dead.split_off(dying);
        replaced.truncate(going);
        Gone { dead, replaced }
    }

    /// What each member knows once all know both revocations, or at the limit; when it was released goes with it.
    fn wait_until_known(&mut self, told: &[NodeIndex], began: Duration) -> Result<Known, Cut> {
        loop {
            let statuses = self.environment.statuses(told)?;
            let known: Known = told
                .iter()
                .zip(&statuses)
                .filter_map(|(member, status)| {
                    let status = status.as_ref()?;
                    let own = status.private.as_ref()?;
                    let known = own.revocations.filter(|known| known.count >= 2)?;
                    let joined = own.join_seconds.unwrap_or_default();
                    let since_join = known.learnt_seconds.map(|learnt| (learnt - joined).max(0.0));
                    Some((*member, (status.released, Told { known, since_join })))
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

    fn say_when_known(&mut self, cast: &Cast, (told, known): (&[NodeIndex], &Known), began: Duration) {
        let since = |released: Duration, seconds: f64| {
            (released.as_secs_f64() + seconds - began.as_secs_f64()).max(0.0)
        };
        let (mut last, mut sealed) = (0.0_f64, None::<f64>);
        for member in told.iter().filter(|member| **member != cast.teller) {
            let Some((released, Told { known, .. })) = known.get(member) else { continue };
            let Some(seconds) = known.learnt_seconds.map(|seconds| since(*released, seconds)) else {
                continue;
            };
            self.sample(Some(*member), metric::REVOCATION, seconds);
            last = last.max(seconds);
        }
        for (released, Told { known, .. }) in known.values() {
            let own = known.sealed_seconds.map(|seconds| since(*released, seconds));
            sealed = sealed.into_iter().chain(own).reduce(f64::max);
        }
        let untold: Vec<NodeIndex> = told.iter().copied().filter(|one| !known.contains_key(one)).collect();
        if untold.is_empty() {
            self.sample(None, metric::REVOCATION_LAST, last);
        } else {
            self.note(format!("not told within {} s: {}", LIMIT.as_secs(), names(self.trial, &untold)));
        }
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
                let own = cast.trial.nodes[member.index()].private;
                peers.iter().any(|peer| Some(peer.address) == own && own != Some(address))
            };
            looks += others.len();
            linked += others.iter().filter(has).count();
        }
        self.sample(None, metric::ROGUE_LINKED, linked as f64 / looks.max(1) as f64);
        Ok(())
    }
}
