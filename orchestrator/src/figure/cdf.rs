//! The share of samples up to each value, a step line a series.

use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::Series;
use super::style::{Entry, GRID, Sign, canvas, colour, font, refuse, tick, tick_in};
use crate::error::Result;
use crate::metric::{Metric, Unit};
use crate::stats::{quantile, sorted};

/// Beyond this ratio of the largest sample to the median the axis is logarithmic.
const SPREAD_MAX: f64 = 12.0;

pub(super) fn draw(metric: Metric, caption: &str, series: &[&Series]) -> Result<String> {
    let scale = if metric.unit == Unit::Ratio { 100.0 } else { 1.0 };
    let curves: Vec<(String, Vec<f64>)> = series
        .iter()
        .map(|series| {
            let values: Vec<f64> = sorted(&series.samples).iter().map(|value| value * scale).collect();
            (legend(metric, series), values)
        })
        .collect();
    let all = sorted(&curves.iter().flat_map(|(_, values)| values.iter().copied()).collect::<Vec<_>>());
    let (low, high) = (all[0], all[all.len() - 1]);
    let mut svg = String::new();
    let figure = Figure { metric, caption, curves: &curves };
    match low > 0.0 && high > SPREAD_MAX * quantile(&all, 0.5) {
        true => figure.plot(&mut svg, (low * 0.9..high * 1.1).log_scale(), low * 0.9)?,
        false => figure.plot(&mut svg, 0.0..high * 1.05, 0.0)?,
    }
    Ok(svg)
}

fn legend(metric: Metric, series: &Series) -> String {
    let values = sorted(&series.samples);
    let space = if series.label.is_empty() { "" } else { ": " };
    let [median, tail] = [0.5, 0.95].map(|share| metric.unit.show(quantile(&values, share)));
    let unit = metric.unit.symbol();
    format!("{}{space}median {median} {unit}, 95 % {tail} {unit}, n = {}", series.label, values.len())
}

struct Figure<'a> {
    metric: Metric,
    caption: &'a str,
    curves: &'a [(String, Vec<f64>)],
}

impl Figure<'_> {
    fn plot<X>(&self, svg: &mut String, x: X, left: f64) -> Result<()>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let legend: Vec<Entry> = self
            .curves
            .iter()
            .enumerate()
            .map(|(index, (label, _))| Entry {
                text: label.clone(),
                colour: colour(index, self.curves.len()),
                sign: Sign::Line,
            })
            .collect();
        let area = canvas(svg, (self.metric.title, self.caption), &legend)?;
        let mut chart = ChartBuilder::on(&area)
            .x_label_area_size(48)
            .y_label_area_size(64)
            .build_cartesian_2d(x, 0.0..100.0)
            .map_err(|error| refuse(&error))?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .x_desc(format!("{} [{}]", self.metric.name, self.metric.unit.symbol()))
            .y_desc("share of samples [%]")
            .axis_desc_style(font(14, 60))
            .label_style(font(13, 60))
            .x_label_formatter(&|value| tick_in(self.metric.unit, *value))
            .y_label_formatter(&|value| tick(*value))
            .draw()
            .map_err(|error| refuse(&error))?;
        for (index, (_, values)) in self.curves.iter().enumerate() {
            let line = colour(index, self.curves.len()).stroke_width(2);
            let steps = LineSeries::new(steps(values, left), line);
            chart.draw_series(steps).map_err(|error| refuse(&error))?;
        }
        area.present().map_err(|error| refuse(&error))
    }
}

/// The corners of the step line, in percent.
fn steps(sorted: &[f64], left: f64) -> Vec<(f64, f64)> {
    let share = |count: usize| 100.0 * count as f64 / sorted.len() as f64;
    let corners =
        sorted.iter().enumerate().flat_map(|(i, value)| [(*value, share(i)), (*value, share(i + 1))]);
    std::iter::once((left, 0.0)).chain(corners).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_rises_at_each_sample_and_ends_at_the_whole() {
        assert_eq!(steps(&[1.0, 3.0], 0.0), [(0.0, 0.0), (1.0, 0.0), (1.0, 50.0), (3.0, 50.0), (3.0, 100.0)]);
    }
}
