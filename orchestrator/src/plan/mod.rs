//! From an experiment file to trials: sweeps expanded, seeds drawn, everything checked before anything starts.
//!
//! It reads files and starts nothing.

mod check;
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

use crate::error::{Error, OrFail, Result};
use check::Clash;
use source::{Draft, Setting};
use wrong::Wrong;

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
        Self::expand(&draft, &stem.unwrap_or(origin), overrides.clock)
    }

    fn expand(draft: &Draft, stem: &str, clock: Clock) -> Result<Self> {
        let experiment = draft.experiment.unwrap_or_default();
        let mut plan = Self {
            name: draft.name.clone().unwrap_or_else(|| stem.to_owned()),
            experiment,
            seed: draft.seed.unwrap_or(1),
            repeats: draft.repeats.unwrap_or(1),
            points: vec![Point { values: Values::new(experiment, clock), label: String::new() }],
            swept: Vec::new(),
            expect: draft.expect.clone(),
        };
        plan.fill(&draft.settings, clock).map_err(|clash| draft.locate(clash))?;
        Ok(plan)
    }

    /// Sets every key and checks what none can check alone.
    fn fill(&mut self, settings: &[Setting], clock: Clock) -> Result<(), Clash> {
        let mut settings: Vec<&Setting> = settings.iter().collect();
        settings.sort_by_key(|setting| setting.key);
        for setting in settings {
            check::key(self.experiment, setting.key)?;
            self.spread(setting)?;
        }
        self.points.iter().try_for_each(|point| check::values(&point.values, clock))?;
        self.check_size(self.points.len())
    }

    /// Replaces every point by one for each of the texts.
    fn spread(&mut self, Setting { key, texts, files, .. }: &Setting) -> Result<(), Clash> {
        let sweep = texts.len() > 1;
        if sweep {
            self.swept.push(*key);
        }
        self.check_size(self.points.len() * texts.len())?;
        let mut points = Vec::with_capacity(self.points.len() * texts.len());
        for point in &self.points {
            for text in texts {
                let mut point = point.clone();
                point.values.set(*key, text, files).map_err(|wrong| Clash::of(*key, wrong))?;
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
            let why = format!("`{}` stands in the list twice", twice.1.values.show(*key));
            let hint = "keep one of the two; `repeats` runs it several times";
            return Err(Clash::of(*key, Wrong::new(why).with_hint(hint)));
        }
        self.points = points;
        Ok(())
    }

    /// Whether so many points are not too many.
    fn check_size(&self, points: usize) -> Result<(), Clash> {
        if points * self.repeats as usize <= TRIALS_MAX {
            return Ok(());
        }
        let wrong = Wrong::new(format!("more than {TRIALS_MAX} trials")).with_hint("sweep over less");
        Err(Clash::new(self.swept.clone(), "sweep and repeats", wrong))
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

/// Names of the experiments that are built into the program.
pub(crate) fn built_in() -> [&'static str; BUILT_IN.len()] {
    BUILT_IN.map(|(name, _)| name)
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
    if !path.exists() && path.extension().is_none() && !name_or_file.contains('/') {
        let wrong = Experiment::read(name_or_file).err().unwrap_or_else(|| Wrong::new("not found"));
        return Err(Error { what: what(), why: wrong.why, hint: wrong.hint });
    }
    let text = std::fs::read_to_string(path).or_fail(what).map_err(|error| {
        error.with_hint(format!("give a file, or a built-in one: {}", built_in().join(", ")))
    })?;
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    Ok((name_or_file.to_owned(), text, folder.to_path_buf()))
}
