//! Figures as SVG, drawn from a record alone: black on white, so that they fit into a paper as they are.

mod cdf;
mod paper;
mod style;
mod sweep;

use crate::error::Result;
use crate::metric::{self, Metric};
use crate::record::Record;

/// Fewest samples that make a distribution worth drawing.
const CDF_SAMPLES_MIN: usize = 5;

/// A drawn figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Name of its file, without the folder: `public_join_seconds-cdf.svg`.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// The drawing.
    pub svg: String,
}

/// Samples under one name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    /// The swept values, or the metric's name.
    pub(crate) label: String,
    /// In any order.
    pub(crate) samples: Vec<f64>,
}

/// Every figure that a record has the samples for.
///
/// # Errors
/// A figure could not be drawn.
pub fn draw(record: &Record) -> Result<Vec<Figure>> {
    let mut figures = paper::of(record)?;
    for metric in metric::ALL {
        let series = series(record, metric);
        figures.extend(distribution(record, metric, &series)?);
        figures.extend(course(record, metric, &series)?);
    }
    Ok(figures)
}

/// The metric's samples, a series for each point.
fn series(record: &Record, metric: Metric) -> Vec<Series> {
    let points = record.manifest.points.iter().enumerate();
    points
        .map(|(point, entry)| Series {
            label: entry.label.clone(),
            samples: record.samples(metric.name, Some(point)),
        })
        .collect()
}

fn distribution(record: &Record, metric: Metric, series: &[Series]) -> Result<Option<Figure>> {
    let large: Vec<&Series> =
        series.iter().filter(|series| series.samples.len() >= CDF_SAMPLES_MIN).collect();
    let varies = large.iter().any(|series| series.samples.iter().any(|value| *value != series.samples[0]));
    if !varies {
        return Ok(None);
    }
    let svg = cdf::draw(metric, &caption(record), &large)?;
    Ok(Some(Figure { name: format!("{}-cdf.svg", metric.name), title: metric.title.to_owned(), svg }))
}

fn course(record: &Record, metric: Metric, series: &[Series]) -> Result<Option<Figure>> {
    let swept = record.manifest.swept();
    let measured = series.iter().filter(|series| !series.samples.is_empty()).count();
    if swept.is_empty() || measured < 2 {
        return Ok(None);
    }
    let caption = caption(record) + &constant(metric, series);
    let svg = sweep::draw(metric, &caption, (&sweep::Places::of_sweep(record), series))?;
    let name = format!("{}-by-{}.svg", metric.name, swept.join("-"));
    Ok(Some(Figure { name, title: format!("{} by {}", metric.title, swept.join(" and ")), svg }))
}

/// Says so if every sample is the same: a line along the axis is easily overlooked.
fn constant(metric: Metric, series: &[Series]) -> String {
    let mut samples = series.iter().flat_map(|series| &series.samples);
    match samples.next() {
        Some(first) if samples.all(|value| value == first) => {
            format!(" · every sample is {} {}", metric.unit.show(*first), metric.unit.symbol())
        }
        _ => String::new(),
    }
}

/// What was held fixed, under the title.
fn caption(record: &Record) -> String {
    let manifest = &record.manifest;
    let swept = manifest.swept();
    let Some(point) = manifest.points.first() else { return String::new() };
    let shown =
        ["public", "private", "joiners", "start", "security", "nat", "latency", "loss", "query_timer"]
            .into_iter()
            .filter_map(|key| {
                let value = point.values.get(key).filter(|_| !swept.contains(&key))?;
                // What a run without a private overlay has none of.
                if value == "0" && key == "private" || value == "dynamic" {
                    return None;
                }
                Some(format!("{key} {value}"))
            });
    let fixed: Vec<String> = shown.collect();
    let trials = manifest.trials.len();
    let plural = if trials == 1 { "" } else { "s" };
    format!(
        "{} · in {} · {trials} trial{plural}, seed {}",
        fixed.join(" · "),
        manifest.environment,
        manifest.seed
    )
}
