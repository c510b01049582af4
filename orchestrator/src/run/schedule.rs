//! Which trial runs when: several at once in virtual time, one after the other in real time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::draw;
use super::outcome::{Cut, Outcome};
use super::stage::Stage;
use crate::environment::docker::{self, Docker};
use crate::environment::sim::Sim;
use crate::environment::{Cancel, Environment, Progress, Sample, Surroundings, Trial};
use crate::error::{Error, OrFail, Result};
use crate::plan::{Experiment, Plan, Turn};
use crate::record::{Costs, Folder, INTERRUPTED, Manifest, Record, Row};

/// The shortest time between two saves of an unfinished run.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// Where trials run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In virtual time.
    Sim,
    /// In containers on this host.
    Docker(docker::Options),
}

impl Place {
    /// As it is written.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::Docker(_) => "docker",
        }
    }

    /// Trials that may run at the same time.
    fn workers(&self) -> usize {
        match self {
            Self::Sim => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            Self::Docker(_) => 1,
        }
    }

    /// An environment for one trial.
    ///
    /// # Errors
    /// It cannot be had on this host.
    pub fn environment(&self, surroundings: Surroundings) -> Result<Box<dyn Environment>> {
        Ok(match self {
            Self::Sim => Box::new(Sim::new(surroundings)),
            Self::Docker(options) => Box::new(Docker::new(surroundings, options.clone())?),
        })
    }
}

/// A plan, where to run it and where its results go.
pub struct Run<'a> {
    /// What to run.
    pub plan: &'a Plan,
    /// Where to run it.
    pub place: Place,
    /// Where the results go.
    pub folder: &'a Folder,
    /// Set by Ctrl-C.
    pub cancel: Cancel,
    /// Told about slow steps and finished trials.
    pub progress: Arc<dyn Progress>,
}

/// Runs every trial, saves what they measured and returns it, with the error that ended the run if there was one.
///
/// # Errors
/// The results could not be written.
pub fn run(run: &Run<'_>, manifest: Manifest) -> Result<(Record, Option<Error>)> {
    let desk = Desk::new(run, manifest);
    let turns = run.plan.turns();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..run.place.workers().min(turns.len()) {
            scope.spawn(|| {
                while let Some(turn) = turns.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if desk.is_closed() {
                        break;
                    }
                    desk.take(*turn, trial(run, *turn));
                }
            });
        }
    });
    desk.finish()
}

/// Rows and entry of one trial.
struct Finished {
    outcome: Outcome,
    names: Vec<String>,
}

fn trial(run: &Run<'_>, turn: Turn) -> Result<Finished> {
    let point = &run.plan.points[turn.point];
    let trial = draw(&point.values, turn)?;
    let surroundings = Surroundings { cancel: run.cancel.clone(), progress: Arc::clone(&run.progress) };
    let mut environment = run.place.environment(surroundings.clone())?;
    let mut outcome = Outcome::default();
    let prepared = environment.prepare(&trial);
    let ended = prepared.map(|()| {
        let environment = environment.as_mut();
        let stage = Stage {
            environment,
            trial: &trial,
            values: &point.values,
            surroundings: &surroundings,
            outcome: &mut outcome,
        };
        perform(stage)
    });
    let wrapped = ended.and_then(|ended| {
        close(&mut outcome, ended);
        look_back(run.folder, (&trial, environment.as_mut()), &mut outcome)
    });
    if let Err(left) = environment.tear_down() {
        // What was measured stays; that something was left behind is said with it.
        let hint = left.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
        outcome.invalid_reasons.push(format!("{left}{hint}"));
        wrapped.map_err(|error| Error { why: format!("{}; then {left}", error.why), ..error })?;
    } else {
        wrapped?;
    }
    Ok(Finished { outcome, names: trial.nodes.into_iter().map(|node| node.name).collect() })
}

fn perform(mut stage: Stage<'_>) -> std::result::Result<(), Cut> {
    match stage.values.experiment {
        Experiment::Join => stage.run_join(),
        Experiment::Pool => stage.run_pool(),
        Experiment::Bandwidth => stage.run_bandwidth(),
        Experiment::Relay => stage.run_relay(),
        Experiment::Partition => stage.run_partition(),
        Experiment::Churn => stage.run_churn(),
        Experiment::Revocation => stage.run_revocation(),
    }
}

fn close(outcome: &mut Outcome, ended: Result<(), Cut>) {
    match ended {
        Ok(()) => {}
        Err(Cut::Cancelled) => {
            outcome.cancelled = true;
            outcome.invalid_reasons.push(INTERRUPTED.to_owned());
        }
        Err(Cut::Failed(error)) => outcome.invalid_reasons.push(error.to_string()),
    }
}

/// What the environment has to tell after the measurement.
fn look_back(
    folder: &Folder,
    (trial, environment): (&Trial, &mut dyn Environment),
    outcome: &mut Outcome,
) -> Result<()> {
    let logs = format!("logs/trial-{:04}", trial.number);
    match environment.health() {
        Ok(health) => outcome.judge(&health, trial),
        Err(error) => outcome.invalid_reasons.push(error.to_string()),
    }
    // An environment that is gone has no metrics; why it is gone is said already.
    let samples = environment.scrape().unwrap_or_default();
    folder.write(&format!("{logs}/metrics.csv"), &metrics(&samples)?)?;
    environment.save_logs(&folder.path().join(&logs))?;
    outcome.trace_hash = environment.trace_hash();
    outcome.cost = Costs::from(environment.cost());
    Ok(())
}

/// The members' last metrics, summed: a line for each metric and its labels.
fn metrics(samples: &[Sample]) -> Result<Vec<u8>> {
    let mut sums: BTreeMap<(&str, String), (u64, f64, f64)> = BTreeMap::new();
    for sample in samples {
        let labels: Vec<String> =
            sample.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let (count, sum, max) = sums.entry((&sample.metric, labels.join(" "))).or_default();
        *count += 1;
        *sum += sample.value;
        *max = max.max(sample.value);
    }
    let mut csv = csv::Writer::from_writer(Vec::new());
    let what = || "cannot write metrics.csv".to_owned();
    csv.write_record(["metric", "labels", "members", "sum", "max"]).or_fail(what)?;
    for ((metric, labels), (count, sum, max)) in sums {
        csv.write_record([metric, &labels, &count.to_string(), &sum.to_string(), &max.to_string()])
            .or_fail(what)?;
    }
    csv.into_inner().or_fail(what)
}

/// Collects finished trials, in whatever order they end.
struct Desk<'a> {
    run: &'a Run<'a>,
    began: Instant,
    pile: Mutex<Pile>,
}

struct Pile {
    manifest: Manifest,
    finished: BTreeMap<u32, (Turn, Finished)>,
    failed: Option<Error>,
    saved: Instant,
}

impl<'a> Desk<'a> {
    fn new(run: &'a Run<'a>, manifest: Manifest) -> Self {
        let saved = Instant::now();
        let pile = Mutex::new(Pile { manifest, finished: BTreeMap::new(), failed: None, saved });
        Self { run, began: saved, pile }
    }

    fn pile(&self) -> std::sync::MutexGuard<'_, Pile> {
        self.pile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.run.cancel.is_cancelled() || self.pile().failed.is_some()
    }

    fn take(&self, turn: Turn, finished: Result<Finished>) {
        let mut pile = self.pile();
        match finished {
            Ok(finished) => {
                pile.finished.insert(turn.number, (turn, finished));
            }
            Err(error) => pile.failed = Some(pile.failed.take().unwrap_or(error)),
        }
        let total = self.run.plan.points.len() * self.run.plan.repeats as usize;
        let whole = pile.finished.values().filter(|(_, finished)| !finished.outcome.cancelled).count();
        self.run.progress.step("trials", whole as u64, total as u64);
        if pile.saved.elapsed() >= SAVE_EVERY && pile.finished.len() < total {
            let saved = self.run.folder.save(&self.record(&pile));
            pile.failed = pile.failed.take().or_else(|| saved.err());
            pile.saved = Instant::now();
        }
    }

    fn record(&self, pile: &Pile) -> Record {
        let mut manifest = pile.manifest.clone();
        let mut rows: Vec<Row> = Vec::new();
        let mut cost = Costs { wall_seconds: self.began.elapsed().as_secs_f64(), ..Costs::default() };
        for (turn, Finished { outcome, names }) in pile.finished.values() {
            rows.extend(outcome.rows(*turn, &self.run.plan.points[turn.point], names));
            manifest.trials.push(outcome.entry(*turn));
            cost.cpu_seconds += outcome.cost.cpu_seconds;
            cost.peak_rss_bytes = cost.peak_rss_bytes.max(outcome.cost.peak_rss_bytes);
            cost.events += outcome.cost.events;
        }
        let planned = self.run.plan.points.len() * self.run.plan.repeats as usize;
        let cancelled = pile.finished.values().any(|(_, finished)| finished.outcome.cancelled);
        manifest.complete = pile.finished.len() == planned && !cancelled;
        manifest.cost = cost;
        Record { manifest, rows }
    }

    /// Saves everything.
    fn finish(self) -> Result<(Record, Option<Error>)> {
        let pile = self.pile();
        let record = self.record(&pile);
        self.run.folder.save(&record)?;
        Ok((record, pile.failed.clone()))
    }
}
