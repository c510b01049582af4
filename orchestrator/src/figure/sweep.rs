//! A metric over a sweep: the median of each point with its confidence, and the 95th percentile above it.

use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::Series;
use super::style::{GRID, canvas, colour, font, refuse, tick};
use crate::error::Result;
use crate::metric::{Metric, Unit};
use crate::record::Record;
use crate::stats::{median_interval, quantile, sorted};

/// Beyond this ratio of the largest to the smallest place the axis is logarithmic.
const SPREAD_MAX: f64 = 20.0;

/// Where the points stand on the horizontal axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Places {
    axis: String,
    at: Vec<f64>,
    /// Empty for numbers.
    names: Vec<String>,
}

/// The places of a sweep over one key: numbers where it has numbers, else names in their order.
pub(super) fn places(key: &str, record: &Record) -> Places {
    let values = record.manifest.points.iter().map(|point| point.values.get(key)?.parse().ok());
    match values.collect::<Option<Vec<f64>>>() {
        Some(at) => Places { axis: key.to_owned(), at, names: Vec::new() },
        None => Places::named(key, record),
    }
}

impl Places {
    /// A place for each point in its order, under the point's label.
    pub(super) fn named(key: &str, record: &Record) -> Self {
        let points = &record.manifest.points;
        let short = |label: &str| label.strip_prefix(&format!("{key}=")).unwrap_or(label).to_owned();
        Self {
            axis: key.to_owned(),
            at: (0..points.len()).map(|place| place as f64).collect(),
            names: points.iter().map(|point| short(&point.label)).collect(),
        }
    }
}

pub(super) fn draw(metric: Metric, caption: &str, (places, series): (&Places, &[Series])) -> Result<String> {
    let scale = if metric.unit == Unit::Ratio { 100.0 } else { 1.0 };
    let mut marks: Vec<Mark> =
        places.at.iter().zip(series).filter_map(|(place, series)| Mark::of(*place, series, scale)).collect();
    marks.sort_by(|a, b| a.place.total_cmp(&b.place));
    let low = places.at.iter().copied().fold(f64::INFINITY, f64::min);
    let high = places.at.iter().copied().fold(0.0, f64::max);
    let mut svg = String::new();
    let figure = Figure { metric, caption, places, marks: &marks };
    match () {
        () if !places.names.is_empty() => figure.plot(&mut svg, -0.5..high + 0.5)?,
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

    fn top(&self) -> f64 {
        self.interval.map_or(self.tail, |(_, high)| self.tail.max(high))
    }
}

struct Figure<'a> {
    metric: Metric,
    caption: &'a str,
    places: &'a Places,
    marks: &'a [Mark],
}

impl Figure<'_> {
    fn plot<X>(&self, svg: &mut String, x: X) -> Result<()>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let area = canvas(svg, self.metric.title, self.caption)?;
        let top = self.marks.iter().map(Mark::top).fold(0.0, f64::max);
        let mut chart = ChartBuilder::on(&area)
            .x_label_area_size(48)
            .y_label_area_size(64)
            .build_cartesian_2d(x, 0.0..if top > 0.0 { top * 1.12 } else { 1.0 })
            .map_err(|error| refuse(&error))?;
        let label = |place: &f64| self.tick(*place);
        let mut mesh = chart.configure_mesh();
        if !self.places.names.is_empty() {
            mesh.x_labels(self.places.names.len());
        }
        mesh.light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .x_desc(self.places.axis.as_str())
            .y_desc(format!("{} [{}]", self.metric.name, self.metric.unit.symbol()))
            .axis_desc_style(font(14, 60))
            .label_style(font(13, 60))
            .x_label_formatter(&label)
            .y_label_formatter(&|value| tick(*value))
            .draw()
            .map_err(|error| refuse(&error))?;
        self.lines(&mut chart)?;
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(GRID)
            .label_font(font(13, 40))
            .draw()
            .map_err(|error| refuse(&error))?;
        area.present().map_err(|error| refuse(&error))
    }

    fn lines<X>(&self, chart: &mut Chart<'_, '_, X>) -> Result<()>
    where
        X: Ranged<ValueType = f64>,
    {
        let (middle, tail) = (colour(0, 2), colour(1, 2));
        let medians = self.marks.iter().map(|mark| (mark.place, mark.median));
        let tails = self.marks.iter().map(|mark| (mark.place, mark.tail));
        let bars = self.marks.iter().filter_map(|mark| {
            let (low, high) = mark.interval?;
            Some(ErrorBar::new_vertical(mark.place, low, mark.median, high, middle.filled(), 9))
        });
        let key =
            |colour: RGBColor| move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2));
        let mut draw = || -> std::result::Result<(), Box<dyn std::error::Error>> {
            if self.places.names.is_empty() {
                chart
                    .draw_series(LineSeries::new(tails.clone(), tail.stroke_width(1)))
                    .map_err(|e| e.to_string())?;
                chart
                    .draw_series(LineSeries::new(medians.clone(), middle.stroke_width(2)))
                    .map_err(|e| e.to_string())?;
            }
            let dots = tails.map(|at| Circle::new(at, 4, tail.stroke_width(2)));
            chart.draw_series(dots).map_err(|e| e.to_string())?.label("95th percentile").legend(key(tail));
            let dots = medians.map(|at| Circle::new(at, 4, middle.filled()));
            let named = chart.draw_series(dots).map_err(|e| e.to_string())?;
            named.label("median, with its 95 % confidence interval").legend(key(middle));
            chart.draw_series(bars).map_err(|e| e.to_string())?;
            Ok(())
        };
        draw().map_err(|error| refuse(&error))
    }

    fn tick(&self, place: f64) -> String {
        if self.places.names.is_empty() {
            return tick(place);
        }
        let whole = place.round();
        let near = (place - whole).abs() < 1e-6 && whole >= 0.0;
        self.places.names.get(whole as usize).filter(|_| near).cloned().unwrap_or_default()
    }
}

type Chart<'a, 'b, X> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, plotters::coord::types::RangedCoordf64>>;
