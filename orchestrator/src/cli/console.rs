//! What a user sees while a run goes on, on standard error: a bar on a terminal, a line a trial elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::environment::Progress;
use crate::report::table::Colours;

/// Shows progress.
pub(super) enum Console {
    /// A bar on a terminal.
    Bar(ProgressBar),
    /// A line for each trial.
    Lines,
    /// Nothing.
    Quiet,
}

impl Console {
    /// What suits standard error.
    pub(super) fn new(quiet: bool, trials: u64) -> Self {
        if quiet {
            return Self::Quiet;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines;
        }
        let bar = ProgressBar::new(trials);
        let template = "{elapsed_precise} [{bar:24}] {pos}/{len} trials  {wide_msg}";
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.enable_steady_tick(Duration::from_millis(200));
        Self::Bar(bar)
    }

    /// Takes the bar off the terminal.
    pub(super) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Console {
    fn step(&self, what: &str, done: u64, total: u64) {
        match self {
            Self::Quiet => {}
            Self::Bar(bar) if what == "trials" => bar.set_position(done),
            Self::Bar(bar) if total == 0 => bar.set_message(what.to_owned()),
            Self::Bar(bar) => bar.set_message(format!("{what} {done}/{total}")),
            Self::Lines if what == "trials" => eprintln!("{done} of {total} trials done"),
            Self::Lines => {}
        }
    }
}

/// Whether standard output wants colours.
pub(super) fn colours() -> Colours {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted && std::io::stdout().is_terminal() { Colours::On } else { Colours::Off }
}
