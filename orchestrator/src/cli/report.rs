//! `atoll report`: figures, page and summary of a results folder, computed again from its samples.

use clap::Args;

use super::console::colours;
use super::run::verdict;
use super::{Answer, ResultsFolder, print};
use crate::error::Result;
use crate::record::{self, Folder};
use crate::report::{publish, table};

/// Arguments of `atoll report`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    results: ResultsFolder,
}

/// Writes the report again and prints it.
///
/// # Errors
/// The folder is none, or cannot be written.
pub(super) fn run(arguments: &Arguments) -> Result<Answer> {
    let path = &arguments.results.folder;
    let record = record::load(path)?;
    let summary = publish(&Folder::open(path), &record)?;
    let text = table::whole(&record, &summary, colours());
    print(&format!("{text}report: {}\n", path.join("report.html").display()))?;
    Ok(verdict(&summary))
}
