//! The result on a terminal.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, LineStyle, Table, TableStyle};

use crate::metric;
use crate::record::{Record, RunSummary, Verdict};

/// A line under the head and none else.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Whether a terminal's colours are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// The reader is a person at a terminal.
    On,
    /// It goes into a file, or `NO_COLOR` is set.
    Off,
}

/// The measurements, a line for each metric of each point.
#[must_use]
pub fn measurements(record: &Record, colours: Colours) -> Table {
    let swept = !record.manifest.swept().is_empty();
    let mut head = vec!["metric", "unit", "n", "p50", "p95", "p99", "max"];
    if swept {
        head.insert(0, "at");
    }
    let mut table = table(&head, colours);
    for (point, entry) in record.manifest.points.iter().enumerate() {
        for metric in metric::ALL {
            let Some(summary) = record.summary(metric.name, Some(point)) else { continue };
            let mut row =
                vec![metric.name.to_owned(), metric.unit.symbol().to_owned(), summary.count.to_string()];
            row.extend(
                [summary.p50, summary.p95, summary.p99, summary.max].map(|value| metric.unit.show(value)),
            );
            if swept {
                row.insert(0, entry.label.clone());
            }
            table.add_row(row);
        }
    }
    let words = if swept { 3 } else { 2 };
    for column in table.column_iter_mut().skip(words) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The expectations with their verdicts.
#[must_use]
pub fn expectations(verdicts: &[Verdict], colours: Colours) -> Table {
    let mut table = table(&["expected", "found", ""], colours);
    for verdict in verdicts {
        let (word, colour) = if verdict.ok { ("ok", Color::Green) } else { ("FAILED", Color::Red) };
        let word = match colours {
            Colours::On => Cell::new(word).fg(colour).add_attribute(Attribute::Bold),
            Colours::Off => Cell::new(word),
        };
        table.add_row(vec![Cell::new(verdict.claim()), Cell::new(verdict.found()), word]);
    }
    table
}

/// Everything that the end of a run says, for people.
#[must_use]
pub fn whole(record: &Record, summary: &RunSummary, colours: Colours) -> String {
    let mut text = format!("{}\n", measurements(record, colours));
    if !summary.expectations.is_empty() {
        text += &format!("\n{}\n", expectations(&summary.expectations, colours));
    }
    let cost = &summary.cost;
    text += &format!(
        "\n{} trial(s), {:.1} s of processor time in {:.1} s, {:.0} MB at most, {} events\n",
        record.manifest.trials.len(),
        cost.cpu_seconds,
        cost.wall_seconds,
        cost.peak_rss_bytes as f64 / 1e6,
        cost.events
    );
    let silent = record.manifest.expect.len().saturating_sub(summary.expectations.len());
    if silent > 0 {
        text += &format!("note: {silent} expectation(s) of the file apply to no trial of this plan\n");
    }
    for trial in &record.manifest.trials {
        for note in &trial.notes {
            text += &format!("note: trial {}: {note}\n", trial.number);
        }
    }
    for reason in &summary.invalid_reasons {
        text += &format!("NOT VALID: {reason}\n");
    }
    text
}

/// An empty table with a head.
#[must_use]
pub fn table(head: &[&str], colours: Colours) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
    if colours == Colours::Off {
        table.force_no_tty();
    }
    table.set_header(head.iter().map(|word| match colours {
        Colours::On => Cell::new(word).add_attribute(Attribute::Bold),
        Colours::Off => Cell::new(word),
    }));
    table
}
