//! `atoll down`: nothing of any run is left.

use clap::Args;

use super::console::Console;
use super::{Answer, print};
use crate::environment::docker;
use crate::error::Result;

/// Arguments of `atoll down`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Runs whose owner still lives as well, and the images
    #[arg(long)]
    all: bool,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

/// Removes runs.
///
/// # Errors
/// No engine answers, or something could not be removed.
pub(super) fn run(arguments: &Arguments) -> Result<Answer> {
    let console = Console::new(arguments.quiet, 1);
    let removed = docker::down(arguments.all, &console);
    console.finish();
    let removed = removed?;
    print(&format!(
        "removed {} run(s), {} container(s), {} folder(s), {} image(s)\n",
        removed.runs, removed.containers, removed.folders, removed.images
    ))?;
    for capture in &removed.captures {
        print(&format!("kept a capture: {}\n", capture.display()))?;
    }
    Ok(Answer::Yes)
}
