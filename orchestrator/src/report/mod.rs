//! A record for people and for other programs: tables, a page, a test report. It measures nothing.

pub mod html;
pub mod junit;
pub mod table;

use crate::error::Result;
use crate::figure;
use crate::plan::Expectation;
use crate::record::{Folder, Record, RunSummary};

/// Writes everything that is computed from a record into its folder: figures, page, test report, summary.
///
/// # Errors
/// A figure cannot be drawn or a file cannot be written; what was there before stays.
pub fn publish(folder: &Folder, record: &Record) -> Result<RunSummary> {
    let lines = record.manifest.expect.iter();
    let expect: Vec<Expectation> = lines.map(|line| Expectation::parse(line)).collect::<Result<_>>()?;
    let summary = RunSummary::of(record, &expect);
    let figures = figure::draw(record)?;
    for figure in &figures {
        folder.write(&format!("figures/{}", figure.name), figure.svg.as_bytes())?;
    }
    folder.keep_figures(&figures.iter().map(|figure| figure.name.clone()).collect::<Vec<_>>())?;
    folder.write("report.html", html::page(record, &summary, &figures).as_bytes())?;
    folder.write("junit.xml", junit::junit(record, &summary).as_bytes())?;
    // The summary comes last: where it is, everything is.
    folder.write_json("summary.json", &summary)?;
    Ok(summary)
}
