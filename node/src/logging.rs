//! The log on stderr: fields, as text for people or JSON for programs.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;

use crate::config::{Log, LogFormat};

/// Starts logging for the whole process; a second call changes nothing.
pub fn start(log: Log) {
    let terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::from(log.level))
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        .with_target(false)
        // A closed stderr ends no node: the default would print about it there, and panic.
        .log_internal_errors(false);
    let _ = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).try_init(),
    };
}
