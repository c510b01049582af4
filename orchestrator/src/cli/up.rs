//! `atoll up`: the members of an experiment in containers, for a person to look at and play with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::console::Console;
use super::{Answer, Changes, experiment_help, interrupt, print};
use crate::environment::docker::capture::FILE;
use crate::environment::docker::{Docker, Options};
use crate::environment::{Cancel, Environment, NodeIndex, Progress, Surroundings};
use crate::error::{Error, Result};
use crate::plan::{Clock, Plan};
use crate::run::draw;

/// How long one wait for Ctrl-C is; the members are looked after in between.
const LOOK: Duration = Duration::from_secs(5);

/// Arguments of `atoll up`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[arg(value_name = "NAME|FILE", help = experiment_help())]
    experiment: String,
    #[command(flatten)]
    changes: Changes,
    /// The daemon for the containers [default: `atoll-node` beside this program]
    #[arg(long, value_name = "FILE")]
    node_binary: Option<PathBuf>,
    /// Write every packet into a file for Wireshark [default: `capture.pcap`]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = FILE)]
    capture: Option<PathBuf>,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

/// Starts every member, joiners included, and removes them at Ctrl-C.
///
/// # Errors
/// The plan is wrong or has several points, or the containers cannot be started.
pub(super) fn run(arguments: &Arguments) -> Result<Answer> {
    if let Some(file) = &arguments.capture {
        check_free(file)?;
    }
    let plan = Plan::load(&arguments.experiment, &arguments.changes.overrides(Clock::Real))?;
    let [point] = &plan.points[..] else {
        return Err(Error::new("cannot start a sweep", format!("it has {} points", plan.points.len()))
            .with_hint("choose one with `--set KEY=VALUE`"));
    };
    let trial = draw(&point.values, plan.turns()[0])?;
    let cancel = Cancel::default();
    interrupt::watch(cancel.clone(), "removing the containers")?;
    let console = Arc::new(Console::new(arguments.quiet, 1));
    let surroundings =
        Surroundings { cancel: cancel.clone(), progress: Arc::clone(&console) as Arc<dyn Progress> };
    let options = Options {
        node_binary: arguments.node_binary.clone(),
        capture: arguments.capture.is_some(),
        ..Options::default()
    };
    let mut docker = Docker::new(surroundings, options)?;
    let members: Vec<NodeIndex> = (0..trial.nodes.len() as u32).map(NodeIndex).collect();
    let lived = docker.prepare(&trial).and_then(|()| docker.start(&members)).and_then(|()| {
        console.finish();
        print(&format!("{} members run\n{}\n", members.len(), docker.directions()?.join("\n")))?;
        live(&mut docker, &cancel)
    });
    let saved = arguments.capture.as_ref().map_or(Ok(None), |file| docker.save_capture(file));
    let removed = docker.tear_down();
    lived?;
    let flaw = saved?;
    removed?;
    flaw.map_or(Ok(Answer::Yes), |why| Err(Error::new("the capture is not complete", why)))
}

/// A file that cannot be had is found out before anything runs, and none is written over.
fn check_free(file: &Path) -> Result<()> {
    let what = || format!("cannot capture into `{}`", file.display());
    let hint = "give a new file in a folder that is there: `--capture=FILE`";
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    match (file.exists(), folder.is_none_or(Path::is_dir)) {
        (true, _) => Err(Error::new(what(), "it is there already").with_hint(hint)),
        (false, false) => Err(Error::new(what(), "its folder is not there").with_hint(hint)),
        (false, true) => Ok(()),
    }
}

fn live(docker: &mut Docker, cancel: &Cancel) -> Result<()> {
    while !cancel.is_cancelled() {
        docker.advance(docker.now() + LOOK)?;
    }
    Ok(())
}
