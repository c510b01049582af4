//! What one trial is set to: the keys of an experiment file with their checked values.

use std::time::Duration;

use atoll_core::config::QueryTimer;
use atoll_core::control::Spread;

use super::experiment::Experiment;
use super::network::{Files, Latency, Nat};
use super::quantity::{Span, count, ratio, span};
use super::wrong::Wrong;
use crate::environment::Security;

/// Most members that one trial may have.
pub(super) const MEMBERS_MAX: u32 = 1_000_000;
const JOINERS: u32 = 30;
/// Pairs that a pool has unless something else is said.
const PAIRS: u32 = 200;
/// Of so many public members one is in the private overlay, too, where that is not said and some have to be.
const SHARED: u32 = 4;
/// The shortest stay on average: who stays no longer than it takes to join is hardly ever a member.
const SESSION_MIN: Duration = Duration::from_secs(1);
/// The longest churn: values of the DHT outlive it, and no lease is longer than a day.
pub(super) const CHURN_MAX: Duration = Duration::from_secs(23 * 3600);
/// The shortest and the longest time between two looks for other members of a private overlay.
const QUERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));
const MINUTE: Duration = Duration::from_secs(60);

/// A key that every experiment understands if it makes sense for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Members before the measurement starts.
    Public,
    /// How many of them are members of a private overlay too; in a pool, the pairs that come at once.
    Private,
    /// Further members that are measured, one after the other.
    Joiners,
    /// How the first members start.
    Start,
    /// The security engine.
    Security,
    /// Delays between sites.
    Latency,
    /// What the members are behind.
    Nat,
    /// Share of packets that is lost.
    Loss,
    /// How often members of the private overlay look for others.
    QueryTimer,
    /// Time between the last join and the measurement at rest.
    Rest,
    /// Length of the measurement.
    Measure,
    /// How long the two halves cannot reach each other.
    Partition,
    /// How long a member stays on average.
    Session,
    /// How members are told of a revocation.
    By,
    /// Who tells members of a revocation.
    From,
    /// Share of the members that die while they are told.
    Deaths,
    /// Share of the members that go while they are told, and in whose places others come.
    Churn,
}

/// Every key that means something, in the order of the documentation.
pub const KEYS: [(Key, &str); 17] = [
    (Key::Public, "public"),
    (Key::Private, "private"),
    (Key::Joiners, "joiners"),
    (Key::Start, "start"),
    (Key::Security, "security"),
    (Key::Latency, "latency"),
    (Key::Nat, "nat"),
    (Key::Loss, "loss"),
    (Key::QueryTimer, "query_timer"),
    (Key::Rest, "rest"),
    (Key::Measure, "measure"),
    (Key::Partition, "partition"),
    (Key::Session, "session"),
    (Key::By, "by"),
    (Key::From, "from"),
    (Key::Deaths, "deaths"),
    (Key::Churn, "churn"),
];

impl Key {
    /// The key as it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        KEYS.iter().find(|(key, _)| *key == self).map_or("", |(_, name)| name)
    }

    pub(super) fn find(name: &str) -> Option<Self> {
        KEYS.iter().find(|(_, known)| *known == name).map(|(key, _)| *key)
    }
}

/// Who tells members of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// One of them.
    Member,
    /// The group's site, which is in the public overlay alone.
    Site,
}

/// How the first members start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// They settle first; joiners are measured.
    Settled,
    /// All at one instant, and that is measured.
    Together,
}

/// Whose time a trial takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// Nobody's: an hour at rest costs seconds.
    #[default]
    Virtual,
    /// The user's: what is long is shortened unless it is asked for.
    Real,
}

/// The values of one trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// What they are for.
    pub experiment: Experiment,
    /// Members before the measurement starts (1 to 1,000,000).
    pub public: u32,
    /// How many of them are members of a private overlay too; in a pool, the pairs that come at once. `None`: it depends.
    pub(super) private: Option<u32>,
    /// Further members, one after the other; `None`: 30 onto settled members, else none.
    joiners: Option<u32>,
    /// How the first members start.
    pub start: Start,
    /// How members protect their edges.
    pub security: Security,
    /// Delays; `None`: those of the topology file, else the built-in generator.
    pub latency: Option<Latency>,
    /// What the members are behind.
    pub nat: Nat,
    /// Share of packets that is lost, in `[0, 1]`; `None`: as in the topology file, else none.
    pub loss: Option<f64>,
    /// How often members of the private overlay look for others.
    pub query_timer: QueryTimer,
    /// Time between the last join and the measurement at rest.
    pub rest: Duration,
    /// Length of the measurement; zero: none.
    pub measure: Duration,
    /// How long the two halves cannot reach each other.
    pub partition: Duration,
    /// How long a member stays on average, 1 s or more.
    pub session: Duration,
    /// How members are told of a revocation.
    pub by: Spread,
    /// Who tells them.
    pub from: Teller,
    /// Share of the members that die while they are told, in `[0, 1]`.
    pub deaths: f64,
    /// Share of the members that go while they are told, and in whose places others come, in `[0, 1]`.
    pub churn: f64,
}

impl Values {
    /// What a file that says nothing means.
    #[must_use]
    pub fn new(experiment: Experiment, clock: Clock) -> Self {
        let (rest, measure) = match (experiment, clock) {
            (Experiment::Join, Clock::Virtual) => (30 * MINUTE, 30 * MINUTE),
            (Experiment::Join, Clock::Real) => (MINUTE / 2, MINUTE),
            (Experiment::Pool, _) => (Duration::ZERO, Duration::ZERO),
            (Experiment::Bandwidth, Clock::Virtual) => (60 * MINUTE, 60 * MINUTE),
            (Experiment::Bandwidth, Clock::Real) => (10 * MINUTE, 10 * MINUTE),
            (Experiment::Relay, _) => (5 * MINUTE, Duration::ZERO),
            (Experiment::Partition, _) => (Duration::ZERO, Duration::ZERO),
            (Experiment::Churn, Clock::Virtual) => (Duration::ZERO, 30 * MINUTE),
            (Experiment::Churn, Clock::Real) => (Duration::ZERO, 5 * MINUTE),
            (Experiment::Revocation, Clock::Virtual) => (30 * MINUTE, Duration::ZERO),
            (Experiment::Revocation, Clock::Real) => (4 * MINUTE, Duration::ZERO),
        };
        let nat = if experiment == Experiment::Relay { "default" } else { "cones" };
        Self {
            experiment,
            public: 200,
            private: None,
            joiners: None,
            start: Start::Settled,
            security: Security::default(),
            latency: None,
            nat: Nat::Named(nat.to_owned()),
            loss: None,
            query_timer: QueryTimer::Dynamic,
            rest,
            measure,
            partition: 5 * MINUTE,
            session: 10 * MINUTE,
            by: Spread::Both,
            from: Teller::Member,
            deaths: 0.0,
            churn: 0.0,
        }
    }

    /// How many of the public members are members of a private overlay too; in a pool, the pairs that come at once.
    #[must_use]
    pub fn private(&self) -> u32 {
        self.private.unwrap_or_else(|| match self.experiment {
            Experiment::Join | Experiment::Relay => 0,
            Experiment::Pool | Experiment::Bandwidth => PAIRS,
            Experiment::Partition | Experiment::Churn => self.public / SHARED,
            Experiment::Revocation if self.from == Teller::Site => self.public.saturating_sub(1),
            Experiment::Revocation => self.public,
        })
    }

    /// Further members that are measured, one after the other.
    #[must_use]
    pub fn joiners(&self) -> u32 {
        self.joiners.unwrap_or(match self.start {
            Start::Settled => JOINERS,
            Start::Together => 0,
        })
    }

    /// Everybody.
    #[must_use]
    pub fn members(&self) -> u32 {
        self.public
            + match self.experiment {
                Experiment::Join => self.joiners(),
                Experiment::Pool | Experiment::Bandwidth => self.private(),
                Experiment::Relay | Experiment::Partition | Experiment::Churn | Experiment::Revocation => 0,
            }
    }

    /// Members that may go while the others are told of a revocation: all that neither tell nor are revoked.
    pub(super) fn may_go(&self) -> usize {
        let stay = match self.from {
            Teller::Member => 2,
            Teller::Site => 1,
        };
        (self.private() as usize).saturating_sub(stay)
    }

    /// Of so many members that may go, how many die and how many are replaced, together at most all.
    pub(crate) fn going(&self, all: usize) -> (usize, usize) {
        let share = |ratio: f64| (all as f64 * ratio).round() as usize;
        let dead = share(self.deaths).min(all);
        (dead, share(self.churn).min(all - dead))
    }

    /// Sets one key from its text.
    pub(super) fn set(&mut self, key: Key, text: &str, files: &Files) -> Result<(), Wrong> {
        match key {
            Key::Public => self.public = count(text, (1, MEMBERS_MAX))?,
            Key::Private => self.private = Some(count(text, (0, MEMBERS_MAX))?),
            Key::Joiners => self.joiners = Some(count(text, (0, MEMBERS_MAX))?),
            Key::Start => self.start = start(text)?,
            Key::Security => self.security = security(text)?,
            Key::Latency => self.latency = Some(Latency::read(text, files)?),
            Key::Nat => self.nat = Nat::read(text, files)?,
            Key::Loss => self.loss = Some(ratio(text)?),
            Key::QueryTimer => self.query_timer = query_timer(text)?,
            Key::Rest => self.rest = span(text)?,
            Key::Measure => self.measure = span(text)?,
            Key::Partition => self.partition = span(text)?,
            Key::Session => self.session = session(text)?,
            Key::By => self.by = by(text)?,
            Key::From => self.from = from(text)?,
            Key::Deaths => self.deaths = ratio(text)?,
            Key::Churn => self.churn = ratio(text)?,
        }
        Ok(())
    }

    /// One key's value as a file elsewhere would have to write it: paths are absolute.
    #[must_use]
    pub fn show_anywhere(&self, key: Key) -> String {
        let path = match (key, &self.latency, &self.nat) {
            (Key::Latency, Some(Latency::Matrix { path, .. }), _) => path,
            (Key::Nat, _, Nat::File(file)) => &file.path,
            _ => return self.show(key),
        };
        std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string()
    }

    /// One key's value as it would be written.
    #[must_use]
    pub fn show(&self, key: Key) -> String {
        match key {
            Key::Public => self.public.to_string(),
            Key::Private => self.private().to_string(),
            Key::Joiners => self.joiners().to_string(),
            Key::Start => match self.start {
                Start::Settled => "settled".to_owned(),
                Start::Together => "together".to_owned(),
            },
            Key::Security => self.security.name().to_owned(),
            Key::Latency => match (&self.latency, &self.nat) {
                (Some(latency), _) => latency.to_string(),
                (None, Nat::Named(_)) => "builtin".to_owned(),
                (None, Nat::File(file)) => format!("as in {}", file.name),
            },
            Key::Nat => self.nat.to_string(),
            Key::Loss => match (self.loss, &self.nat) {
                (None, Nat::File(file)) => format!("as in {}", file.name),
                (loss, _) => percent(loss.unwrap_or(0.0)),
            },
            Key::QueryTimer => match self.query_timer {
                QueryTimer::Dynamic => "dynamic".to_owned(),
                QueryTimer::Static(span) => Span(span).to_string(),
            },
            Key::Rest => Span(self.rest).to_string(),
            Key::Measure => Span(self.measure).to_string(),
            Key::Partition => Span(self.partition).to_string(),
            Key::Session => Span(self.session).to_string(),
            Key::By => BY.into_iter().find(|(by, _)| *by == self.by).map_or("", |(_, name)| name).to_owned(),
            Key::From => match self.from {
                Teller::Member => "member".to_owned(),
                Teller::Site => "site".to_owned(),
            },
            Key::Deaths => percent(self.deaths),
            Key::Churn => percent(self.churn),
        }
    }
}

fn start(text: &str) -> Result<Start, Wrong> {
    match text {
        "settled" => Ok(Start::Settled),
        "together" => Ok(Start::Together),
        _ => Err(Wrong::unknown("start", text, &["settled", "together"])),
    }
}

fn security(text: &str) -> Result<Security, Wrong> {
    let known = Security::ALL.into_iter().find(|(_, name)| *name == text);
    let names = Security::ALL.map(|(_, name)| name);
    known.map(|(security, _)| security).ok_or_else(|| Wrong::unknown("security engine", text, &names))
}

/// How members are told, as it is written.
const BY: [(Spread, &str); 3] =
    [(Spread::Dht, "dht"), (Spread::Broadcast, "broadcast"), (Spread::Both, "both")];

/// A share as it was written: 57 % are not 56.99999999999999 %.
fn percent(share: f64) -> String {
    format!("{} %", (share * 1e14).round() / 1e12)
}

fn by(text: &str) -> Result<Spread, Wrong> {
    let known = BY.into_iter().find(|(_, name)| *name == text);
    known
        .map(|(by, _)| by)
        .ok_or_else(|| Wrong::unknown("way to tell members", text, &BY.map(|(_, name)| name)))
}

fn from(text: &str) -> Result<Teller, Wrong> {
    match text {
        "member" => Ok(Teller::Member),
        "site" => Ok(Teller::Site),
        _ => Err(Wrong::unknown("teller", text, &["member", "site"])),
    }
}

fn session(text: &str) -> Result<Duration, Wrong> {
    let span = span(text)?;
    if span < SESSION_MIN {
        return Err(Wrong::new(format!("`{text}` is out of range")).with_hint("write a span of 1 s or more"));
    }
    Ok(span)
}

fn query_timer(text: &str) -> Result<QueryTimer, Wrong> {
    if text == "dynamic" {
        return Ok(QueryTimer::Dynamic);
    }
    let hint = "write `dynamic`, or a span from 1 s to 24 h like `5 min`";
    let wrong = |why: &str| Wrong::new(format!("`{text}` {why}")).with_hint(hint);
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(wrong("is no query timer"));
    }
    let span = span(text).map_err(|wrong| wrong.with_hint(hint))?;
    if (QUERY.0..=QUERY.1).contains(&span) {
        Ok(QueryTimer::Static(span))
    } else {
        Err(wrong("is out of range"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_their_names() {
        for (key, name) in KEYS {
            assert_eq!(key.name(), name);
            assert_eq!(Key::find(name), Some(key));
        }
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        let files = Files::beside(".");
        let values = Values::new(Experiment::Join, Clock::Virtual);
        for (key, _) in KEYS {
            let mut again = values.clone();
            again.set(key, &values.show(key), &files).unwrap();
            assert_eq!(again.show(key), values.show(key), "{}", key.name());
        }
    }

    #[test]
    fn nobody_joins_after_a_start_together_unless_asked() {
        let mut values = Values::new(Experiment::Join, Clock::Virtual);
        assert_eq!(values.joiners(), 30);
        values.start = Start::Together;
        assert_eq!(values.members(), values.public);
        values.joiners = Some(5);
        assert_eq!(values.members(), values.public + 5);
    }

    #[test]
    fn the_pairs_of_a_pool_come_on_top() {
        let values = Values::new(Experiment::Pool, Clock::Virtual);
        assert_eq!((values.members(), values.private()), (values.public + PAIRS, PAIRS));
        assert_eq!(Values::new(Experiment::Join, Clock::Virtual).private(), 0);
    }

    #[test]
    fn a_query_timer_is_dynamic_or_a_sensible_span() {
        assert_eq!(query_timer("5 min").unwrap(), QueryTimer::Static(5 * MINUTE));
        assert_eq!(query_timer("slow").unwrap_err().why, "`slow` is no query timer");
        assert_eq!(query_timer("0 s").unwrap_err().why, "`0 s` is out of range");
    }
}
