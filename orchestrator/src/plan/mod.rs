//! From an experiment file to trials: sweeps expanded, seeds drawn, everything checked before anything starts.
//!
//! It reads files and starts nothing.

mod expect;
mod experiment;
mod network;
mod quantity;
mod source;
mod values;
mod wrong;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use atoll_core::Rng;
use atoll_core::control::Spread;

use crate::environment::Security;
use crate::error::{Error, OrFail, Result};
use quantity::Span;
use source::Setting;

pub use expect::{Expectation, Op};
pub use experiment::Experiment;
pub use network::{Latency, Nat, TextFile};
pub use values::{Clock, KEYS, Key, Start, Teller, Values};

pub(crate) use network::{Files, topology};
pub(crate) use source::REPEATS_MAX;

/// Most trials in one plan.
const TRIALS_MAX: usize = 100_000;
/// The experiments that are built into the program.
const BUILT_IN: [(&str, &str); 7] = [
    ("join", include_str!("../../experiments/join.yaml")),
    ("pool", include_str!("../../experiments/pool.yaml")),
    ("bandwidth", include_str!("../../experiments/bandwidth.yaml")),
    ("relay", include_str!("../../experiments/relay.yaml")),
    ("partition", include_str!("../../experiments/partition.yaml")),
    ("churn", include_str!("../../experiments/churn.yaml")),
    ("revocation", include_str!("../../experiments/revocation.yaml")),
];

/// What a user asks for beside the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `KEY=VALUE[,VALUE]...`, in the order given.
    pub set: Vec<String>,
    /// Seed of the whole plan.
    pub seed: Option<u64>,
    /// Trials for each set of values.
    pub repeats: Option<u32>,
    /// Whose time the trials take: decides on what neither file nor user says.
    pub clock: Clock,
}

/// An experiment, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Name of the results folder.
    pub name: String,
    /// What is measured.
    pub experiment: Experiment,
    /// Seed of the whole plan.
    pub seed: u64,
    /// Trials for each point.
    pub repeats: u32,
    /// Every set of values, in the order of the sweep.
    pub points: Vec<Point>,
    /// Keys that differ between points.
    pub swept: Vec<Key>,
    /// Bounds to keep.
    pub expect: Vec<Expectation>,
}

/// One set of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its values.
    pub values: Values,
    /// The swept ones: `public=700 nat=cones`; empty without a sweep.
    pub label: String,
}

impl Point {
    /// Every value as it would be written, by its key.
    #[must_use]
    pub fn texts(&self) -> BTreeMap<String, String> {
        let keys = self.values.experiment.keys();
        keys.map(|(key, name)| (name.to_owned(), self.values.show(key))).collect()
    }
}

/// A trial to run: which point, which repeat, which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Number within the plan, from 0.
    pub number: u32,
    /// Index of the point.
    pub point: usize,
    /// Seed; the same for the same repeat of every point, so that points differ by their values alone.
    pub seed: u64,
}

impl Plan {
    /// The plan for a built-in experiment or a file.
    ///
    /// # Errors
    /// What is wrong in the file or the overrides, with its place and a hint.
    pub fn load(name_or_file: &str, overrides: &Overrides) -> Result<Self> {
        let (origin, text, folder) = find(name_or_file)?;
        let files = Files::beside(folder);
        let mut draft = source::read(&origin, &text, &files)?;
        let here = Files::beside(".");
        for assignment in &overrides.set {
            draft.set(assignment, &here)?;
        }
        draft.seed = overrides.seed.or(draft.seed);
        draft.repeats = overrides.repeats.or(draft.repeats);
        let stem = Path::new(&origin).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Self::expand(draft, &stem.unwrap_or(origin), overrides.clock)
    }

    fn expand(draft: source::Draft, stem: &str, clock: Clock) -> Result<Self> {
        let experiment = draft.experiment.unwrap_or_default();
        let mut plan = Self {
            name: draft.name.unwrap_or_else(|| stem.to_owned()),
            experiment,
            seed: draft.seed.unwrap_or(1),
            repeats: draft.repeats.unwrap_or(1),
            points: vec![Point { values: Values::new(experiment, clock), label: String::new() }],
            swept: Vec::new(),
            expect: draft.expect,
        };
        let mut settings = draft.settings;
        settings.sort_by_key(|setting| setting.key);
        for setting in &settings {
            check_key(experiment, setting.key)?;
            plan.spread(setting)?;
        }
        plan.check(clock)?;
        Ok(plan)
    }

    /// Replaces every point by one for each of the texts.
    fn spread(&mut self, Setting { key, texts, files }: &Setting) -> Result<()> {
        let sweep = texts.len() > 1;
        if sweep {
            self.swept.push(*key);
        }
        if self.points.len() * texts.len() * self.repeats as usize > TRIALS_MAX {
            return Err(too_many());
        }
        let mut points = Vec::with_capacity(self.points.len() * texts.len());
        for point in &self.points {
            for text in texts {
                let mut point = point.clone();
                let set = point.values.set(*key, text, files);
                set.map_err(|wrong| Error { what: key.name().to_owned(), why: wrong.why, hint: wrong.hint })?;
                if sweep {
                    let space = if point.label.is_empty() { "" } else { " " };
                    let _ = write!(point.label, "{space}{}={}", key.name(), point.values.show(*key));
                }
                points.push(point);
            }
        }
        if let Some(twice) = points
            .iter()
            .enumerate()
            .find(|(at, one)| points[..*at].iter().any(|other| other.label == one.label))
        {
            let value = twice.1.values.show(*key);
            return Err(Error::new(key.name(), format!("`{value}` stands in the list twice"))
                .with_hint("keep one of the two; `repeats` runs it several times"));
        }
        self.points = points;
        Ok(())
    }

    /// What no key can check alone.
    fn check(&self, clock: Clock) -> Result<()> {
        for point in &self.points {
            check_size(&point.values)?;
            check_security(&point.values, clock)?;
            check_measure(&point.values)?;
            check_teller(&point.values, clock)?;
        }
        if self.points.len() * self.repeats as usize > TRIALS_MAX {
            return Err(too_many());
        }
        Ok(())
    }

    /// Every trial in its order: all repeats of a point, then the next point.
    #[must_use]
    pub fn turns(&self) -> Vec<Turn> {
        let seeds = self.seeds();
        let turns = (0..self.points.len()).flat_map(|point| seeds.iter().map(move |seed| (point, *seed)));
        turns.zip(0..).map(|((point, seed), number)| Turn { number, point, seed }).collect()
    }

    fn seeds(&self) -> Vec<u64> {
        let mut root = [0; 32];
        root[..8].copy_from_slice(&self.seed.to_be_bytes());
        let root = Rng::new(root).fork("trials");
        (0..self.repeats)
            .map(|repeat| {
                let seed = root.seed(u64::from(repeat));
                // 53 bits, so that a seed survives every JSON reader.
                seed[..8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)) >> 11
            })
            .collect()
    }

    /// The plan as a file that runs the same again from anywhere.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut yaml = String::new();
        let mut line = |text: String| {
            yaml.push_str(&text);
            yaml.push('\n');
        };
        line(format!("experiment: {}", self.experiment.name()));
        line(format!("name: {}", self.name));
        line(format!("seed: {}", self.seed));
        line(format!("repeats: {}", self.repeats));
        for (key, name) in self.experiment.keys() {
            let mut texts: Vec<String> = Vec::new();
            for point in &self.points {
                let text = quoted(&point.values.show_anywhere(key));
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
            // A default that depends on another key stays unsaid.
            let unsaid = match key {
                Key::Private => self.swept.contains(&Key::Public) && self.points[0].values.private.is_none(),
                Key::Latency => self.points.iter().any(|point| point.values.latency.is_none()),
                Key::Loss => self.points.iter().any(|point| point.values.loss.is_none()),
                Key::Joiners => self.swept.contains(&Key::Start) && !self.swept.contains(&key),
                _ => false,
            };
            match &texts[..] {
                _ if unsaid => {}
                [text] => line(format!("{name}: {text}")),
                _ => line(format!("{name}: [{}]", texts.join(", "))),
            }
        }
        if !self.expect.is_empty() {
            line("expect:".to_owned());
        }
        for expectation in &self.expect {
            line(format!("  - {}", quoted(&expectation.to_string())));
        }
        yaml
    }
}

fn check_key(experiment: Experiment, key: Key) -> Result<()> {
    if experiment.takes(key) {
        return Ok(());
    }
    let known: Vec<&str> = experiment.keys().map(|(_, name)| name).collect();
    Err(Error::new(key.name(), format!("it means nothing to the experiment `{}`", experiment.name()))
        .with_hint(format!("known there: {}", known.join(", "))))
}

fn check_size(values: &Values) -> Result<()> {
    if values.experiment.shares() && values.private() > values.public {
        let why = format!("{} of {} members are too many", values.private(), values.public);
        return Err(
            Error::new("private", why).with_hint("it counts those of `public` that are in both overlays")
        );
    }
    if values.experiment == Experiment::Revocation && values.private() < 3 {
        let why = match values.from {
            Teller::Member => "one member tells, one is told, and one is revoked",
            Teller::Site => "two members are told, and one is revoked",
        };
        return Err(Error::new("private", why).with_hint("raise `private` to 3 or more"));
    }
    if values.experiment == Experiment::Revocation && values.deaths + values.churn > 1.0 {
        let shares = format!("{} % and {} % of the members", values.deaths * 100.0, values.churn * 100.0);
        return Err(Error::new("deaths and churn", format!("{shares} are more than there are"))
            .with_hint("lower one of them"));
    }
    if matches!(values.experiment, Experiment::Partition | Experiment::Churn) && values.public < 2 {
        let why = format!("the experiment `{}` needs two members or more", values.experiment.name());
        return Err(Error::new("public", why).with_hint("raise `public`"));
    }
    if values.members() > values::MEMBERS_MAX {
        return Err(Error::new(
            "public, private and joiners",
            format!("{} members are too many", values.members()),
        )
        .with_hint(format!("at most {} in one trial", values::MEMBERS_MAX)));
    }
    let Nat::File(file) = &values.nat else { return Ok(()) };
    let hosts = topology(file, [0; 32]).or_fail(|| file.path.display().to_string())?.hosts.len();
    if hosts < values.members() as usize {
        let why = format!("{hosts} hosts for {} members", values.members());
        return Err(Error::new(format!("nat: {}", file.name), why)
            .with_hint("lower `public`, `private` or `joiners`, or add hosts to the file"));
    }
    Ok(())
}

/// The values of a churn are to outlive it, and no lease is longer than a day.
fn check_measure(values: &Values) -> Result<()> {
    if values.experiment != Experiment::Churn || values.measure <= values::CHURN_MAX {
        return Ok(());
    }
    let what = format!("measure: {}", Span(values.measure));
    let hint = format!("at most {}; `repeats` runs it with other seeds", Span(values::CHURN_MAX));
    Err(Error::new(what, "values of the DHT have to outlive it, and none is kept for more than a day")
        .with_hint(hint))
}

/// A site is in the public overlay alone, and has members told both ways.
fn check_teller(values: &Values, clock: Clock) -> Result<()> {
    if values.experiment != Experiment::Revocation || values.from != Teller::Site {
        return Ok(());
    }
    let wrong = |why: &str, hint: &str| Err(Error::new("from: site", why).with_hint(hint));
    if clock == Clock::Real {
        return wrong(
            "containers have no site",
            "use `from: member`, or run it in the simulator: `--on sim`",
        );
    }
    if values.by != Spread::Both {
        return wrong("members that a site told tell others both ways", "use `by: both`");
    }
    if values.private() >= values.public {
        return wrong("nobody is in the public overlay alone", "raise `public` above `private`");
    }
    Ok(())
}

/// A model of a handshake is nothing that a container could run.
fn check_security(values: &Values, clock: Clock) -> Result<()> {
    let security = values.security;
    if values.experiment == Experiment::Revocation && security == Security::None {
        let why = "without security no authority vouches for anybody, and none revokes";
        return Err(Error::new("security: none", why).with_hint("use `security: dtls`"));
    }
    if clock == Clock::Virtual || !security.is_model() {
        return Ok(());
    }
    Err(Error::new(format!("security: {}", security.name()), "containers run real handshakes only")
        .with_hint("use `security: dtls`, or run it in the simulator: `--on sim`"))
}

fn too_many() -> Error {
    Error::new("sweep and repeats", format!("more than {TRIALS_MAX} trials")).with_hint("sweep over less")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// An experiment's origin for errors, its text and the folder that its files are relative to.
fn find(name_or_file: &str) -> Result<(String, String, std::path::PathBuf)> {
    if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_file) {
        return Ok((format!("{name}.yaml"), (*text).to_owned(), ".".into()));
    }
    let path = Path::new(name_or_file);
    let what = || format!("cannot read the experiment `{name_or_file}`");
    let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
    if !path.exists() && path.extension().is_none() && !name_or_file.contains('/') {
        let wrong = Experiment::read(name_or_file).err().unwrap_or_else(|| wrong::Wrong::new("not found"));
        return Err(Error { what: what(), why: wrong.why, hint: wrong.hint });
    }
    let text = std::fs::read_to_string(path)
        .or_fail(what)
        .map_err(|error| error.with_hint(format!("give a file, or a built-in one: {}", names.join(", "))))?;
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    Ok((name_or_file.to_owned(), text, folder.to_path_buf()))
}
