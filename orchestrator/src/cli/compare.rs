//! `atoll compare`: do two runs agree?

use std::path::PathBuf;

use clap::Args;

use super::console::colours;
use super::{Answer, print};
use crate::error::{Error, Result};
use crate::metric::{self, Metric};
use crate::record::{self, Record};
use crate::report::table::table;
use crate::stats::{median_interval, quantile, sorted};

/// Arguments of `atoll compare`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The results folder that others are measured by
    #[arg(value_name = "DIR")]
    first: PathBuf,
    /// The results folder that is compared with it
    #[arg(value_name = "DIR")]
    second: PathBuf,
    /// Compare only this metric; may be given several times
    #[arg(long, value_name = "NAME")]
    metric: Vec<String>,
    /// Exit with 1 if a median differs by more than this share of the first
    #[arg(long, value_name = "PERCENT")]
    fail_above: Option<f64>,
}

/// One metric at one point in both runs.
struct Line {
    point: String,
    metric: Metric,
    medians: [f64; 2],
    intervals: [Option<(f64, f64)>; 2],
    counts: [usize; 2],
}

/// Prints the comparison.
///
/// # Errors
/// A folder is none, a metric is unknown, or the runs have nothing in common.
pub(super) fn run(arguments: &Arguments) -> Result<Answer> {
    let metrics = metrics(&arguments.metric)?;
    let records = [record::load(&arguments.first)?, record::load(&arguments.second)?];
    let lines = lines(&records, &metrics);
    if lines.is_empty() {
        return Err(Error::new("cannot compare", "the two runs have no metric at the same values in common")
            .with_hint("run the same plan twice, or leave `--metric` out"));
    }
    show(&lines)?;
    let limit = arguments.fail_above.unwrap_or(f64::INFINITY) / 100.0;
    let apart = lines.iter().any(|line| (line.ratio() - 1.0).abs() > limit);
    Ok(if apart { Answer::No } else { Answer::Yes })
}

impl Line {
    /// The second median as a multiple of the first; two zeros agree.
    fn ratio(&self) -> f64 {
        let [first, second] = self.medians;
        if first == second { 1.0 } else { second / first }
    }
}

fn metrics(names: &[String]) -> Result<Vec<Metric>> {
    if names.is_empty() {
        return Ok(metric::ALL.to_vec());
    }
    let find = |name: &String| {
        metric::find(name).ok_or_else(|| {
            let known: Vec<&str> = metric::ALL.iter().map(|metric| metric.name).collect();
            Error::new("cannot compare", format!("unknown metric `{name}`"))
                .with_hint(format!("known: {}", known.join(", ")))
        })
    };
    names.iter().map(find).collect()
}

fn lines([first, second]: &[Record; 2], metrics: &[Metric]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (at, point) in first.manifest.points.iter().enumerate() {
        let same = second.manifest.points.iter().position(|other| other.label == point.label);
        let Some(same) = same else { continue };
        for metric in metrics {
            let samples = [first.samples(metric.name, Some(at)), second.samples(metric.name, Some(same))];
            if samples.iter().any(Vec::is_empty) {
                continue;
            }
            lines.push(Line {
                point: point.label.clone(),
                metric: *metric,
                medians: [0, 1].map(|i| quantile(&sorted(&samples[i]), 0.5)),
                intervals: [0, 1].map(|i| median_interval(&samples[i], 1)),
                counts: [0, 1].map(|i| samples[i].len()),
            });
        }
    }
    lines
}

fn show(lines: &[Line]) -> Result<()> {
    let head =
        ["at", "metric", "unit", "n", "median", "95 % interval", "n", "median", "95 % interval", "ratio"];
    let mut table = table(&head, colours());
    for line in lines {
        let unit = line.metric.unit;
        let interval = |i: usize| {
            line.intervals[i]
                .map_or_else(String::new, |(low, high)| format!("{} to {}", unit.show(low), unit.show(high)))
        };
        let mut row = vec![line.point.clone(), line.metric.name.to_owned(), unit.symbol().to_owned()];
        for i in [0, 1] {
            row.extend([line.counts[i].to_string(), unit.show(line.medians[i]), interval(i)]);
        }
        row.push(format!("{:.3}", line.ratio()));
        table.add_row(row);
    }
    print(&format!("{table}\n"))
}
