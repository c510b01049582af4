//! What no key can check alone: mistakes between the values of one trial.
//!
//! It says which keys a mistake names and never where they were set.

use atoll_core::control::Spread;

use super::experiment::Experiment;
use super::network::{Nat, topology};
use super::quantity::Span;
use super::values::{CHURN_MAX, Clock, Key, MEMBERS_MAX, Teller, Values};
use super::wrong::Wrong;
use crate::environment::Security;

/// A mistake between keys.
#[derive(Clone, Debug)]
pub(super) struct Clash {
    /// Those that it is about, the one that it names first.
    pub(super) keys: Vec<Key>,
    /// What is wrong.
    pub(super) what: String,
    /// Why, and what to try.
    pub(super) wrong: Wrong,
}

impl Clash {
    pub(super) fn new(keys: impl Into<Vec<Key>>, what: impl Into<String>, wrong: Wrong) -> Self {
        Self { keys: keys.into(), what: what.into(), wrong }
    }

    /// A mistake that names a key without its value.
    pub(super) fn of(key: Key, wrong: Wrong) -> Self {
        Self::new([key], key.name(), wrong)
    }

    /// It is about these as well.
    fn and(mut self, keys: &[Key]) -> Self {
        self.keys.extend(keys);
        self
    }
}

/// Whether a key means something to the experiment.
pub(super) fn key(experiment: Experiment, key: Key) -> Result<(), Clash> {
    if experiment.takes(key) {
        return Ok(());
    }
    let known: Vec<&str> = experiment.keys().map(|(_, name)| name).collect();
    let why = format!("it means nothing to the experiment `{}`", experiment.name());
    Err(Clash::of(key, Wrong::new(why).with_hint(format!("known there: {}", known.join(", ")))))
}

/// Whether the values of one trial go together.
pub(super) fn values(values: &Values, clock: Clock) -> Result<(), Clash> {
    private(values)?;
    going(values)?;
    size(values)?;
    security(values, clock)?;
    measure(values)?;
    teller(values, clock)
}

fn private(values: &Values) -> Result<(), Clash> {
    if values.experiment.shares() && values.private() > values.public {
        let why = format!("{} of {} members are too many", values.private(), values.public);
        let hint = "it counts those of `public` that are in both overlays";
        return Err(Clash::of(Key::Private, Wrong::new(why).with_hint(hint)).and(&[Key::Public]));
    }
    if values.experiment != Experiment::Revocation || values.private() >= 3 {
        return Ok(());
    }
    let why = match values.from {
        Teller::Member => "one member tells, one is told, and one is revoked",
        Teller::Site => "two members are told, and one is revoked",
    };
    let clash = Clash::of(Key::Private, Wrong::new(why).with_hint("raise `private` to 3 or more"));
    Err(clash.and(&[Key::Public, Key::From]))
}

/// Of those who die or go while the others are told, some have to be left.
fn going(values: &Values) -> Result<(), Clash> {
    if values.experiment != Experiment::Revocation {
        return Ok(());
    }
    let shares = [(Key::Deaths, values.deaths), (Key::Churn, values.churn)];
    let clash = |wrong| {
        let keys = shares.iter().filter(|(_, share)| *share > 0.0).map(|(key, _)| *key);
        Err(Clash::new(keys.collect::<Vec<_>>(), "deaths and churn", wrong))
    };
    if values.deaths + values.churn > 1.0 {
        let [deaths, churn] = [Key::Deaths, Key::Churn].map(|key| values.show(key));
        let why = format!("{deaths} and {churn} of the members are more than there are");
        return clash(Wrong::new(why).with_hint("lower one of them"));
    }
    let all = values.may_go();
    let (dead, replaced) = values.going(all);
    if dead + replaced < all {
        return Ok(());
    }
    let who = match values.from {
        Teller::Member => "neither tell nor are revoked",
        Teller::Site => "are not revoked",
    };
    let why =
        format!("{dead} die and {replaced} are replaced of {all} that {who}: nobody is left to be told");
    // Of more members somebody is left only where the shares are not all.
    let is_rounded = values.deaths + values.churn < 1.0;
    let hint = if is_rounded { "lower one of them, or raise `private`" } else { "lower one of them" };
    let clash = clash(Wrong::new(why).with_hint(hint));
    clash.map_err(|clash: Clash| clash.and(&[Key::Private, Key::Public]))
}

fn size(values: &Values) -> Result<(), Clash> {
    if matches!(values.experiment, Experiment::Partition | Experiment::Churn) && values.public < 2 {
        let why = format!("the experiment `{}` needs two members or more", values.experiment.name());
        return Err(Clash::of(Key::Public, Wrong::new(why).with_hint("raise `public`")));
    }
    if values.members() > MEMBERS_MAX {
        let why = format!("{} members are too many", values.members());
        let hint = format!("at most {MEMBERS_MAX} in one trial");
        let keys = [Key::Public, Key::Private, Key::Joiners];
        return Err(Clash::new(keys, "public, private and joiners", Wrong::new(why).with_hint(hint)));
    }
    let Nat::File(file) = &values.nat else { return Ok(()) };
    let drawn = topology(file, [0; 32]).map_err(|error| {
        Clash::new([Key::Nat], file.path.display().to_string(), Wrong::new(error.to_string()))
    })?;
    let hosts = drawn.hosts.len();
    if hosts >= values.members() as usize {
        return Ok(());
    }
    let why = format!("{hosts} hosts for {} members", values.members());
    let hint = "lower `public`, `private` or `joiners`, or add hosts to the file";
    let clash = Clash::new([Key::Nat], format!("nat: {}", file.name), Wrong::new(why).with_hint(hint));
    Err(clash.and(&[Key::Public, Key::Private, Key::Joiners]))
}

/// The values of a churn are to outlive it, and no lease is longer than a day.
fn measure(values: &Values) -> Result<(), Clash> {
    if values.experiment != Experiment::Churn || values.measure <= CHURN_MAX {
        return Ok(());
    }
    let what = format!("measure: {}", Span(values.measure));
    let why = "values of the DHT have to outlive it, and none is kept for more than a day";
    let hint = format!("at most {}; `repeats` runs it with other seeds", Span(CHURN_MAX));
    Err(Clash::new([Key::Measure], what, Wrong::new(why).with_hint(hint)))
}

/// A site is in the public overlay alone, and has members told both ways.
fn teller(values: &Values, clock: Clock) -> Result<(), Clash> {
    if values.experiment != Experiment::Revocation || values.from != Teller::Site {
        return Ok(());
    }
    let clash = |why: &str, hint: &str, and: &[Key]| {
        Err(Clash::new([Key::From], "from: site", Wrong::new(why).with_hint(hint)).and(and))
    };
    if clock == Clock::Real {
        return clash(
            "containers have no site",
            "use `from: member`, or run it in the simulator: `--on sim`",
            &[],
        );
    }
    if values.by != Spread::Both {
        return clash("members that a site told tell others both ways", "use `by: both`", &[Key::By]);
    }
    if values.private() >= values.public {
        let keys = [Key::Private, Key::Public];
        return clash("nobody is in the public overlay alone", "raise `public` above `private`", &keys);
    }
    Ok(())
}

/// A model of a handshake is nothing that a container could run.
fn security(values: &Values, clock: Clock) -> Result<(), Clash> {
    let security = values.security;
    let clash = |why: &str, hint: &str| {
        let what = format!("security: {}", security.name());
        Err(Clash::new([Key::Security], what, Wrong::new(why).with_hint(hint)))
    };
    if values.experiment == Experiment::Revocation && security == Security::None {
        let why = "without security no authority vouches for anybody, and none revokes";
        return clash(why, "use `security: dtls`");
    }
    if clock == Clock::Virtual || !security.is_model() {
        return Ok(());
    }
    clash(
        "containers run real handshakes only",
        "use `security: dtls`, or run it in the simulator: `--on sim`",
    )
}
