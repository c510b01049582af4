//! `atoll doctor`: can this machine run experiments in containers?

use clap::Args;

use super::console::Console;
use super::{Answer, print};
use crate::environment::docker::{self, Verdict};
use crate::error::Result;

/// Arguments of `atoll doctor`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Mend what can be mended: remove what dead runs left behind
    #[arg(long)]
    fix: bool,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

/// Prints what was found; the answer is no if something is bad.
///
/// # Errors
/// Nothing could be looked at.
pub(super) fn run(arguments: &Arguments) -> Result<Answer> {
    let console = Console::new(arguments.quiet, 1);
    let findings = docker::doctor(arguments.fix, &console);
    console.finish();
    let findings = findings?;
    for finding in &findings {
        let word = match finding.verdict {
            Verdict::Good => "good",
            Verdict::Doubtful => "doubtful",
            Verdict::Bad => "BAD",
            Verdict::Mended => "mended",
        };
        print(&format!("{word:<9} {}\n", finding.what))?;
        if let Some(hint) = &finding.hint {
            print(&format!("{:<9} hint: {hint}\n", ""))?;
        }
    }
    let bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    Ok(if bad { Answer::No } else { Answer::Yes })
}
