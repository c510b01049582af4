//! The command line: one verb, one file. Data goes to standard output, everything else to standard error.

mod compare;
mod console;
mod doctor;
mod down;
mod interrupt;
mod ls;
mod mistake;
mod report;
mod run;
mod up;
mod validate;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::error::{Error, Result};
use crate::plan::{Clock, Overrides, REPEATS_MAX, built_in};

/// The lab of Atoll: experiments on an overlay network behind emulated NATs.
///
/// An experiment is a YAML file. `atoll run join` runs a built-in one in the simulator: no Docker, no root.
#[derive(Debug, Parser)]
#[command(name = "atoll", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run an experiment and write its results
    Run(run::Arguments),
    /// Check an experiment file and show what it would run
    Validate(validate::Arguments),
    /// Start the members of an experiment in containers and leave them running until Ctrl-C
    Up(up::Arguments),
    /// List what runs in containers
    Ls,
    /// Remove what was left behind in containers; with `--all` everything
    Down(down::Arguments),
    /// Look whether this machine can run experiments in containers
    Doctor(doctor::Arguments),
    /// Compute the report of a results folder again
    Report(report::Arguments),
    /// Compare the medians of two results folders
    Compare(compare::Arguments),
}

/// Where the members of an experiment live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum On {
    /// In virtual time, in this process
    Sim,
    /// In containers behind emulated NATs
    Docker,
    /// In a mathematical model: known, so that it is refused by name, and not offered
    #[value(hide = true)]
    Model,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

/// What changes an experiment without changing its file.
#[derive(Debug, Args)]
struct Changes {
    /// Seed of the whole plan; the same seed gives the same results in the simulator
    #[arg(long, value_name = "N", value_parser = seed, allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Trials for each set of values
    #[arg(long, value_name = "N", value_parser = repeats, allow_negative_numbers = true)]
    repeats: Option<u32>,
    /// Set a key; several values make a sweep: `--set public=100,300,700`. The last one of a key counts
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// What may be given as an experiment.
fn experiment_help() -> String {
    format!("A built-in experiment ({}) or a file", built_in().map(|name| format!("`{name}`")).join(", "))
}

fn seed(text: &str) -> std::result::Result<u64, String> {
    text.parse().map_err(|_| format!("no seed\nhint: write a whole number from 0 to {}", u64::MAX))
}

fn repeats(text: &str) -> std::result::Result<u32, String> {
    let count = text.parse().ok().filter(|count| (1..=REPEATS_MAX).contains(count));
    count.ok_or_else(|| format!("no number of trials\nhint: write a whole number from 1 to {REPEATS_MAX}"))
}

impl Changes {
    fn overrides(&self, clock: Clock) -> Overrides {
        Overrides { set: self.set.clone(), seed: self.seed, repeats: self.repeats, clock }
    }
}

/// A results folder that is there.
#[derive(Debug, Args)]
struct ResultsFolder {
    /// A results folder, such as `results/join/latest`
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// What the program has to say at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Everything is as it should be: exit code 0.
    Yes,
    /// An expectation failed: exit code 1.
    No,
    /// It could not be found out: exit code 2.
    CouldNot,
}

/// Parses the command line, does what it says and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => carry_out(cli.verb),
        Err(mistake) => match mistake::explain(&mistake, &Cli::command()) {
            Some(error) => {
                complain(&error);
                ExitCode::from(2)
            }
            None => mistake.exit(),
        },
    }
}

fn carry_out(verb: Verb) -> ExitCode {
    let answer = match verb {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Validate(arguments) => validate::run(&arguments),
        Verb::Up(arguments) => up::run(&arguments),
        Verb::Ls => ls::run(),
        Verb::Down(arguments) => down::run(&arguments),
        Verb::Doctor(arguments) => doctor::run(&arguments),
        Verb::Report(arguments) => report::run(&arguments),
        Verb::Compare(arguments) => compare::run(&arguments),
    };
    ExitCode::from(match answer {
        Ok(Answer::Yes) => 0,
        Ok(Answer::No) => 1,
        Ok(Answer::CouldNot) => 2,
        Err(error) => {
            complain(&error);
            2
        }
    })
}

fn complain(error: &Error) {
    eprintln!("error: {error}");
    if let Some(hint) = &error.hint {
        eprintln!("hint: {hint}");
    }
}

/// Prints to standard output; a reader that went away is no error.
fn print(text: &str) -> Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::new("cannot write to standard output", error))
        }
        _ => Ok(()),
    }
}
