//! `atoll run`: an experiment from its file to its verdict.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::console::{Console, colours};
use super::{Answer, Changes, Format, On, experiment_help, interrupt, print};
use crate::environment::docker::{Dilation, Options};
use crate::environment::{Cancel, Progress};
use crate::error::{Error, OrFail, Result};
use crate::plan::{Clock, Plan};
use crate::record::{Folder, Manifest, Record, RunSummary, Target};
use crate::report::{publish, table};
use crate::run::{Place, Run, run as run_plan};

/// Arguments of `atoll run`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[arg(value_name = "NAME|FILE", help = experiment_help())]
    experiment: String,
    /// Where the members live
    #[arg(long, value_enum, default_value_t = On::Sim)]
    on: On,
    #[command(flatten)]
    changes: Changes,
    /// Folder for the results, new or empty [default: results/NAME/DATE-TIME-SEED]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace the result of an earlier run in the folder of `--out`
    #[arg(long, requires = "out")]
    force: bool,
    /// The daemon for the containers [default: `atoll-node` beside this program]
    #[arg(long, value_name = "FILE")]
    node_binary: Option<PathBuf>,
    /// Write every packet into `logs/TRIAL/capture.pcap` of the results, for Wireshark; in containers only
    #[arg(long)]
    capture: bool,
    /// Let time run so many times slower for members and network (1 to 1000), where the machine is too slow for all of them; in
    /// containers only
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = dilation)]
    dilation: u32,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

/// Runs the plan and prints its results.
///
/// # Errors
/// The plan is wrong, cannot be carried out, or its results cannot be written.
pub(super) fn run(arguments: &Arguments) -> Result<Answer> {
    let place = place(arguments)?;
    let clock = if place == Place::Sim { Clock::Virtual } else { Clock::Real };
    let plan = Plan::load(&arguments.experiment, &arguments.changes.overrides(clock))?;
    let manifest = Manifest::new(&plan, place.name(), std::env::args().collect());
    let folder = Folder::create(target(arguments), &manifest)?;
    let cancel = Cancel::default();
    interrupt::watch(cancel.clone(), "cleaning up and saving what was measured")?;
    let console = Arc::new(Console::new(arguments.quiet, plan.points.len() as u64 * u64::from(plan.repeats)));
    let progress = Arc::clone(&console) as Arc<dyn Progress>;
    let ran = run_plan(&Run { plan: &plan, place, folder: &folder, cancel, progress }, manifest);
    console.finish();
    let (record, failed) = ran?;
    if let Some(error) = failed.as_ref().filter(|_| record.manifest.trials.is_empty()) {
        folder.discard();
        return Err(error.clone());
    }
    let summary = publish(&folder, &record)?;
    folder.link_latest()?;
    show(arguments, (&record, &summary), &folder)?;
    failed.map_or_else(|| Ok(verdict(&summary)), Err)
}

fn dilation(text: &str) -> std::result::Result<u32, String> {
    let times = text.parse().ok().filter(|times| (1..=Dilation::MAX).contains(times));
    let hint = format!("write a whole number from 1 to {}", Dilation::MAX);
    times.ok_or_else(|| format!("time cannot run so many times slower\nhint: {hint}"))
}

fn target(arguments: &Arguments) -> Target<'_> {
    match &arguments.out {
        None => Target::Dated,
        Some(out) if arguments.force => Target::Replaced(out),
        Some(out) => Target::Fresh(out),
    }
}

fn place(arguments: &Arguments) -> Result<Place> {
    let &Arguments { on, capture, ref node_binary, dilation, .. } = arguments;
    match on {
        On::Sim if capture => Err(Error::new(
            "cannot capture on sim",
            "the simulator has datagrams, but no IP packets to write",
        )
        .with_hint("run it in containers: `--on docker`")),
        On::Sim if dilation > 1 => Err(Error::new(
            "cannot slow down time on sim",
            "the simulator's time is virtual: members wait for no machine",
        )
        .with_hint("leave out `--dilation`, or run it in containers: `--on docker`")),
        On::Sim => Ok(Place::Sim),
        On::Docker => Ok(Place::Docker(Options {
            node_binary: node_binary.clone(),
            capture,
            dilation: Dilation(dilation),
        })),
        On::Model => Err(Error::new("cannot run on model", "this version has no model environment")
            .with_hint("use `--on sim` or `--on docker`")),
    }
}

fn show(arguments: &Arguments, (record, summary): (&Record, &RunSummary), folder: &Folder) -> Result<()> {
    match arguments.format {
        Format::Json => {
            let json =
                serde_json::to_string_pretty(summary).or_fail(|| "cannot write the summary".to_owned())?;
            print(&format!("{json}\n"))
        }
        Format::Table => {
            let text = table::whole(record, summary, colours());
            print(&format!("{text}results: {}\n", folder.path().display()))
        }
    }
}

/// An invalid run answers nothing, whatever its figures say.
pub(super) fn verdict(summary: &RunSummary) -> Answer {
    match (summary.valid, summary.all_ok()) {
        (false, _) => Answer::CouldNot,
        (true, true) => Answer::Yes,
        (true, false) => Answer::No,
    }
}
