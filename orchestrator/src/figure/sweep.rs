//! A metric over a sweep: the median of each point with its confidence, and the 95th percentile above it.

mod places;

use std::ops::Range;

use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::Series;
use super::style::{Entry, GRID, Sign, canvas, colour, font, refuse, tick, tick_in};
use crate::error::Result;
use crate::metric::{Metric, Unit};
use crate::stats::{median_interval, quantile, sorted};

pub(super) use places::Places;

/// Beyond this ratio of the largest to the smallest place the axis is logarithmic.
const SPREAD_MAX: f64 = 20.0;
/// Parts that the vertical axis is divided into at most.
const TICKS_MAX: usize = 10;
/// The axis shows at least this many members, so that it need not divide them.
const MEMBERS_MIN: f64 = 5.0;
/// Letters that fit under the axis side by side.
const LETTERS_MAX: usize = 90;

pub(super) fn draw(metric: Metric, caption: &str, (places, series): (&Places, &[Series])) -> Result<String> {
    let scale = if metric.unit == Unit::Ratio { 100.0 } else { 1.0 };
    let groups: Vec<(String, Vec<Mark>)> = places
        .groups()
        .into_iter()
        .map(|group| {
            let points = places.of(&group);
            let mut marks: Vec<Mark> =
                points.filter_map(|(point, place)| Mark::of(place, &series[point], scale)).collect();
            marks.sort_by(|a, b| a.place.total_cmp(&b.place));
            (group, marks)
        })
        .collect();
    let (low, high) = places.range();
    let mut svg = String::new();
    let figure = Figure { metric, caption, places, groups: &groups };
    match () {
        () if places.is_named() => figure.plot(&mut svg, -0.5..high + 0.5)?,
        () if low > 0.0 && high > SPREAD_MAX * low => {
            figure.plot(&mut svg, (low / 1.3..high * 1.3).log_scale())?;
        }
        () => figure.plot(&mut svg, 0.0..high * 1.08)?,
    }
    Ok(svg)
}

/// What is drawn at one place.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Mark {
    place: f64,
    median: f64,
    interval: Option<(f64, f64)>,
    tail: f64,
}

impl Mark {
    fn of(place: f64, series: &Series, scale: f64) -> Option<Self> {
        let values: Vec<f64> = sorted(&series.samples).iter().map(|value| value * scale).collect();
        (!values.is_empty()).then(|| Self {
            place,
            median: quantile(&values, 0.5),
            interval: median_interval(&values, 1),
            tail: quantile(&values, 0.95),
        })
    }
}

struct Figure<'a> {
    metric: Metric,
    caption: &'a str,
    places: &'a Places,
    groups: &'a [(String, Vec<Mark>)],
}

type Chart<'a, 'b, X> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, RangedCoordf64>>;
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

impl Figure<'_> {
    fn plot<X>(&self, svg: &mut String, x: X) -> Result<()>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        self.try_plot(svg, x).map_err(|error| refuse(&error))
    }

    fn try_plot<X>(&self, svg: &mut String, x: X) -> Drawn
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let area = canvas(svg, (self.metric.title, self.caption), &self.legend())?;
        let crowded = self.places.letters() > LETTERS_MAX;
        let mut chart = ChartBuilder::on(&area)
            .x_label_area_size(if crowded { 170 } else { 48 })
            .y_label_area_size(64)
            .build_cartesian_2d(x, self.vertical())
            .map_err(|error| error.to_string())?;
        let turn = if crowded { FontTransform::Rotate90 } else { FontTransform::None };
        let names = ("sans-serif", 13).into_font().transform(turn).color(&RGBColor(60, 60, 60));
        let label = |place: &f64| self.places.name(*place).unwrap_or_else(|| tick(*place));
        let mut mesh = chart.configure_mesh();
        mesh.x_labels(8).y_labels(self.ticks());
        if self.places.is_named() {
            mesh.x_labels(2 * self.places.count());
        }
        mesh.light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .x_desc(if crowded { "" } else { self.places.axis() })
            .y_desc(format!("{} [{}]", self.metric.name, self.metric.unit.symbol()))
            .axis_desc_style(font(14, 60))
            .label_style(font(13, 60))
            .x_label_style(names)
            .x_label_formatter(&label)
            .y_label_formatter(&|value| tick_in(self.metric.unit, *value))
            .draw()
            .map_err(|error| error.to_string())?;
        match self.groups {
            [(_, marks)] => self.alone(&mut chart, marks)?,
            groups => self.side_by_side(&mut chart, groups)?,
        }
        Ok(area.present().map_err(|error| error.to_string())?)
    }

    fn legend(&self) -> Vec<Entry> {
        const MEDIAN: &str = "median, with its 95 % confidence interval";
        let entry = |text: String, index, sign| Entry { text, colour: self.colour(index), sign };
        match self.groups {
            [_] => {
                let tail = entry("95th percentile".to_owned(), 1, Sign::Ring);
                vec![entry(MEDIAN.to_owned(), 0, Sign::Dot), tail]
            }
            groups => {
                let groups = groups.iter().enumerate();
                groups
                    .map(|(index, (group, _))| entry(format!("{group}: {MEDIAN}"), index, Sign::Dot))
                    .collect()
            }
        }
    }

    /// Of one group the medians and the tail have each a colour, else each group has one.
    fn colour(&self, index: usize) -> RGBColor {
        colour(index, self.groups.len().max(2))
    }

    /// The vertical axis: from just below zero, so that marks there are whole, to just above the highest mark.
    fn vertical(&self) -> Range<f64> {
        let highest = self.highest();
        let top = match self.metric.unit {
            Unit::Ratio if highest > 0.0 => (highest * 1.15).min(104.0),
            Unit::Ratio => 104.0,
            Unit::Members => (highest * 1.15).max(MEMBERS_MIN),
            _ if highest > 0.0 => highest * 1.15,
            _ => 1.0,
        };
        -0.03 * top..top
    }

    fn ticks(&self) -> usize {
        let few = self.metric.unit == Unit::Members && self.vertical().end <= MEMBERS_MIN;
        if few { MEMBERS_MIN as usize + 1 } else { TICKS_MAX }
    }

    fn highest(&self) -> f64 {
        let alone = self.groups.len() == 1;
        let marks = self.groups.iter().flat_map(|(_, marks)| marks);
        let tops = marks.map(|mark| {
            let tail = if alone { mark.tail } else { mark.median };
            mark.interval.map_or(tail, |(_, high)| tail.max(high))
        });
        tops.fold(0.0, f64::max)
    }

    /// One group: medians, and the tail above them.
    fn alone<X: Ranged<ValueType = f64>>(&self, chart: &mut Chart<'_, '_, X>, marks: &[Mark]) -> Drawn {
        let tail = self.colour(1);
        let tails = marks.iter().map(|mark| (mark.place, mark.tail));
        if !self.places.is_named() {
            chart
                .draw_series(LineSeries::new(tails.clone(), tail.stroke_width(1)))
                .map_err(|e| e.to_string())?;
        }
        let dots = tails.map(|at| Circle::new(at, 4, tail.stroke_width(2)));
        chart.draw_series(dots).map_err(|e| e.to_string())?;
        self.medians(chart, marks, self.colour(0))
    }

    /// Several groups: the medians of each.
    fn side_by_side<X: Ranged<ValueType = f64>>(
        &self,
        chart: &mut Chart<'_, '_, X>,
        groups: &[(String, Vec<Mark>)],
    ) -> Drawn {
        for (index, (_, marks)) in groups.iter().enumerate() {
            // Side by side, so that one interval does not hide another.
            let aside = if self.places.is_named() {
                0.06 * (index as f64 - (groups.len() - 1) as f64 / 2.0)
            } else {
                0.0
            };
            let moved: Vec<Mark> =
                marks.iter().map(|mark| Mark { place: mark.place + aside, ..*mark }).collect();
            self.medians(chart, &moved, self.colour(index))?;
        }
        Ok(())
    }

    fn medians<X: Ranged<ValueType = f64>>(
        &self,
        chart: &mut Chart<'_, '_, X>,
        marks: &[Mark],
        colour: RGBColor,
    ) -> Drawn {
        let medians = marks.iter().map(|mark| (mark.place, mark.median));
        if !self.places.is_named() {
            let line = LineSeries::new(medians.clone(), colour.stroke_width(2));
            chart.draw_series(line).map_err(|e| e.to_string())?;
        }
        let bars = marks.iter().filter_map(|mark| {
            let (low, high) = mark.interval?;
            Some(ErrorBar::new_vertical(mark.place, low, mark.median, high, colour.filled(), 9))
        });
        chart.draw_series(bars).map_err(|e| e.to_string())?;
        let dots = medians.map(|at| Circle::new(at, 4, colour.filled()));
        chart.draw_series(dots).map_err(|e| e.to_string())?;
        Ok(())
    }
}
