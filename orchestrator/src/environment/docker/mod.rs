//! Members as containers on this host, behind the emulated Internet of `atoll-fabric`.
//!
//! What happens inside a container it never changes; whatever it makes carries the run's id, so that nothing is
//! left behind even if this process is killed.

pub mod capture;
mod config;
mod containers;
mod doctor;
mod engine;
mod files;
mod images;
mod live;
mod papers;
mod place;
mod prepare;
mod programs;
mod questions;
mod runs;
mod usage;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use atoll_core::control::{Command, Reply};
use bollard::Docker as Api;
use tokio::runtime::Runtime;

use super::{
    Answer, Cost, Environment, Fault, FaultReport, Health, NodeIndex, NodeSpec, NodeStatus, Question, Sample,
    Stop, Surroundings, Traffic, Trial,
};
use crate::error::{Error, OrFail, Result};
pub use doctor::{Finding, Verdict, doctor};
use live::Live;
use place::RunPlace;
pub use programs::Programs;
pub use runs::{Removed, RunState, down, list};

/// Members that join at once for each processor: with twice as many the last ones wait longer for their turn than anybody
/// does for an answer.
const WAVE_PER_CORE: usize = 4;

/// What a user may choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The daemon to run instead of the one beside `atoll`.
    pub node_binary: Option<PathBuf>,
    /// Write every packet into a file.
    pub capture: bool,
    /// How many times slower than the kernel's the clock of all members and of the fabric runs.
    pub dilation: Dilation,
}

/// How many times slower time runs: 1 to [`Dilation::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dilation(pub u32);

impl Dilation {
    /// The slowest.
    pub const MAX: u32 = 1000;
}

/// As the kernel's.
impl Default for Dilation {
    fn default() -> Self {
        Self(1)
    }
}

/// Containers on this host.
pub struct Docker {
    surroundings: Surroundings,
    options: Options,
    runtime: Runtime,
    api: Option<Api>,
    place: Option<RunPlace>,
    live: Option<Live>,
    began: Instant,
    /// What everything had cost when it was torn down.
    cost: Cost,
}

impl Docker {
    /// An environment in which nothing is prepared yet.
    ///
    /// # Errors
    /// No event loop can be had.
    pub fn new(surroundings: Surroundings, options: Options) -> Result<Self> {
        Ok(Self {
            surroundings,
            options,
            runtime: runtime()?,
            api: None,
            place: None,
            live: None,
            began: Instant::now(),
            cost: Cost::default(),
        })
    }

    /// How a person reaches what runs here: lines for the terminal.
    ///
    /// # Errors
    /// The environment is gone.
    pub fn directions(&mut self) -> Result<Vec<String>> {
        self.with_live(Live::directions)
    }

    /// Ends the capture and leaves it in a file; returns why it is not complete, if it is not. Without a capture that
    /// goes on it does nothing.
    ///
    /// # Errors
    /// The fabric does not end it, or the file cannot be written.
    pub fn save_capture(&mut self, file: &Path) -> Result<Option<String>> {
        match &mut self.live {
            Some(live) => self.runtime.block_on(live.save_capture(file)),
            None => Ok(None),
        }
    }

    fn with_live<T>(&mut self, work: impl AsyncFnOnce(&mut Live) -> Result<T>) -> Result<T> {
        let live = self.live.as_mut().ok_or_else(gone)?;
        self.runtime.block_on(work(live))
    }
}

/// The event loop of one call or one environment.
fn runtime() -> Result<Runtime> {
    let made = tokio::runtime::Builder::new_current_thread().enable_all().build();
    made.or_fail(|| "cannot start an event loop".to_owned())
}

fn gone() -> Error {
    Error::new("the containers are gone", "they were torn down, or never prepared")
}

impl Environment for Docker {
    fn prepare(&mut self, trial: &Trial) -> Result<()> {
        let programs = Programs::find(self.options.node_binary.as_deref(), &*self.surroundings.progress)?;
        let api = self.runtime.block_on(engine::connect())?;
        self.runtime.block_on(doctor::check_for(&api, trial.nodes.len()))?;
        let place = RunPlace::create()?;
        // From here on `tear_down` has something to do, whatever fails below.
        self.api = Some(api.clone());
        self.place = Some(place.clone());
        let (surroundings, options) = (self.surroundings.clone(), self.options.clone());
        let preparation = prepare::Preparation { api, place, programs, surroundings, options };
        self.live = Some(self.runtime.block_on(preparation.carry_out(trial))?);
        Ok(())
    }

    fn start(&mut self, nodes: &[NodeIndex]) -> Result<()> {
        self.with_live(async |live| live.start(nodes).await)
    }

    fn wave(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        cores * WAVE_PER_CORE * self.options.dilation.0 as usize
    }

    fn stop(&mut self, nodes: &[NodeIndex], how: Stop) -> Result<()> {
        self.with_live(async |live| live.stop(nodes, how).await)
    }

    fn replace(&mut self, node: NodeIndex, member: &NodeSpec) -> Result<()> {
        self.with_live(async |live| live.replace(node, member).await)
    }

    fn apply(&mut self, fault: &Fault) -> Result<FaultReport> {
        self.with_live(async |live| live.apply(fault).await)
    }

    fn command(&mut self, node: NodeIndex, command: Command) -> Result<Reply> {
        self.with_live(async |live| live.command(node, &command).await)
    }

    fn ask(&mut self, node: NodeIndex, command: Command) -> Result<Question> {
        self.with_live(async |live| live.ask_only(node, &command))
    }

    fn take_answers(&mut self) -> Result<Vec<Answer>> {
        self.with_live(async |live| Ok(live.take_answers()))
    }

    fn statuses(&mut self, nodes: &[NodeIndex]) -> Result<Vec<Option<NodeStatus>>> {
        self.with_live(async |live| live.statuses(nodes).await)
    }

    fn advance(&mut self, until: Duration) -> Result<()> {
        let cancel = self.surroundings.cancel.clone();
        self.with_live(async |live| {
            tokio::select! {
                () = live.sleep_until(until) => live.check(),
                () = cancel.cancelled() => Ok(()),
            }
        })
    }

    fn now(&self) -> Duration {
        self.live.as_ref().map_or(Duration::ZERO, Live::now)
    }

    fn traffic(&mut self, nodes: &[NodeIndex]) -> Result<Vec<Traffic>> {
        self.with_live(async |live| live.traffic(nodes).await)
    }

    fn scrape(&mut self) -> Result<Vec<Sample>> {
        self.with_live(Live::scrape)
    }

    fn health(&mut self) -> Result<Health> {
        let dilation = Some(self.options.dilation.0).filter(|dilation| *dilation > 1);
        let health = self.with_live(Live::health)?;
        Ok(Health { dilation, ..health })
    }

    fn cost(&self) -> Cost {
        let Some(live) = &self.live else { return self.cost };
        Cost { wall_seconds: self.began.elapsed().as_secs_f64(), ..self.runtime.block_on(live.cost()) }
    }

    fn save_logs(&mut self, folder: &Path) -> Result<()> {
        // What it lacks is in the run's health and in the fabric's log.
        self.save_capture(&folder.join(capture::FILE))?;
        let (Some(api), Some(place)) = (&self.api, &self.place) else { return Ok(()) };
        self.runtime.block_on(runs::save_logs(api, place, folder))
    }

    fn tear_down(&mut self) -> Result<()> {
        self.cost = self.cost();
        self.live = None;
        let (Some(api), Some(place)) = (&self.api, &self.place) else { return Ok(()) };
        self.runtime.block_on(runs::remove(api, place, &*self.surroundings.progress))?;
        self.place = None;
        Ok(())
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // A caller that panicked or forgot must not leave containers behind.
        if self.place.is_some() {
            let _ = self.tear_down();
        }
    }
}
