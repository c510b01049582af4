//! The figures of the paper: medians over the size of the private overlay, and what the paper claims, named in the legend.
//!
//! Both axes are logarithmic: what grows with the logarithm of the size bends to the right, and a claim may be far above.

use plotters::prelude::*;

use super::style::{Entry, GRID, Sign, canvas, colour, font, refuse, tick};
use super::sweep::Places;
use super::{Figure, Series, caption, series};
use crate::error::Result;
use crate::metric::{self, Metric};
use crate::record::Record;
use crate::stats::{quantile, sorted};

/// The key that makes the horizontal axis.
const AXIS: &str = "private";

/// A figure of the paper.
struct Sheet {
    experiment: &'static str,
    name: &'static str,
    title: &'static str,
    /// The metrics that it shows, as the legend calls them.
    lines: &'static [(Metric, &'static str)],
    claim: Option<Claim>,
}

/// What the paper says of it (section VI).
struct Claim {
    value: f64,
    text: &'static str,
}

const CONNECTED: Claim =
    Claim { value: 30.0, text: "the paper: connected to the private overlay in less than 30 s" };

const SHEETS: [Sheet; 5] = [
    Sheet {
        experiment: "join",
        name: "join-by-private.svg",
        title: "Time to join, by size of the private overlay (paper: Fig. 6)",
        lines: &[
            (metric::PUBLIC_JOIN, "public overlay"),
            (metric::DHT_ANSWER, "answer of the DHT"),
            (metric::PRIVATE_JOIN, "private overlay"),
        ],
        claim: Some(CONNECTED),
    },
    Sheet {
        experiment: "pool",
        name: "pool-by-private.svg",
        title: "Time until all that start at once form a ring (paper: Fig. 8)",
        lines: &[(metric::RING_COMPLETE, "public ring"), (metric::PRIVATE_RING_COMPLETE, "private ring")],
        claim: Some(CONNECTED),
    },
    Sheet {
        experiment: "bandwidth",
        name: "bandwidth-by-private.svg",
        title: "Sent at rest by a pair, by size of the private overlay (paper: Fig. 9)",
        lines: &[
            (metric::SENT, "both overlays in one process"),
            (metric::PUBLIC_SENT, "public overlay alone"),
        ],
        claim: Some(Claim { value: 100.0, text: "the paper: on the order of 100 B/s" }),
    },
    Sheet {
        experiment: "revocation",
        name: "revocation-time-by-private.svg",
        title: "Time until all members know of a revocation (paper: Figs. 10 and 11)",
        lines: &[(metric::REVOCATION_LAST, "the last member knows"), (metric::REVOCATION, "a member knows")],
        // It shows times and claims none.
        claim: None,
    },
    Sheet {
        experiment: "revocation",
        name: "revocation-by-private.svg",
        title: "Sent for each member that is told of a revocation (paper: Figs. 10 to 12)",
        lines: &[
            (metric::REVOCATION_BYTES, "headers and acknowledgements included"),
            (metric::NOTICE_BYTES, "the notice alone"),
        ],
        claim: Some(Claim {
            value: 300.0,
            text: "the paper: a notice of 300 bytes, sent once for each member",
        }),
    },
];

/// Medians under one name, by place.
struct Line {
    label: String,
    marks: Vec<(f64, f64)>,
}

/// The figures of the paper that a record repeats.
///
/// # Errors
/// One could not be drawn.
pub(super) fn of(record: &Record) -> Result<Vec<Figure>> {
    let manifest = &record.manifest;
    if !manifest.swept().contains(&AXIS) {
        return Ok(Vec::new());
    }
    let own = SHEETS.iter().filter(|sheet| sheet.experiment == manifest.experiment);
    let figures = own.map(|sheet| figure(sheet, record)).collect::<Result<Vec<_>>>()?;
    Ok(figures.into_iter().flatten().collect())
}

fn figure(sheet: &Sheet, record: &Record) -> Result<Option<Figure>> {
    let places = Places::over(record, AXIS);
    let lines: Vec<Line> = sheet
        .lines
        .iter()
        .flat_map(|(metric, name)| lines(&places, &series(record, *metric), name))
        .filter(|line| line.marks.len() > 1)
        .collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let svg = draw(sheet, &caption(record), &lines)?;
    Ok(Some(Figure { name: sheet.name.to_owned(), title: sheet.title.to_owned(), svg }))
}

/// A line for each group of points; places without a logarithm are left out.
fn lines(places: &Places, series: &[Series], name: &str) -> Vec<Line> {
    let groups = places.groups().into_iter();
    groups
        .map(|group| {
            let of_group = places.of(&group).filter(|(_, place)| *place > 0.0);
            let mut marks: Vec<(f64, f64)> = of_group
                .filter_map(|(point, place)| Some((place, median(&series[point].samples)?)))
                .collect();
            marks.sort_by(|a, b| a.0.total_cmp(&b.0));
            let comma = if group.is_empty() { "" } else { ", " };
            Line { label: format!("{name}{comma}{group}"), marks }
        })
        .collect()
}

fn median(samples: &[f64]) -> Option<f64> {
    (!samples.is_empty()).then(|| quantile(&sorted(samples), 0.5)).filter(|median| *median > 0.0)
}

fn draw(sheet: &Sheet, caption: &str, lines: &[Line]) -> Result<String> {
    let mut svg = String::new();
    try_draw(&mut svg, sheet, caption, lines).map_err(|error| refuse(&error))?;
    Ok(svg)
}

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn try_draw(svg: &mut String, sheet: &Sheet, caption: &str, lines: &[Line]) -> Drawn {
    let marks = || lines.iter().flat_map(|line| &line.marks);
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (left, right) = range(&mut marks().map(|mark| mark.0));
    let (low, high) =
        range(&mut marks().map(|mark| mark.1).chain(sheet.claim.iter().map(|claim| claim.value)));
    let legend = legend(sheet, lines);
    let area = canvas(svg, (sheet.title, caption), &legend)?;
    let (metric, _) = sheet.lines[0];
    let mut chart = ChartBuilder::on(&area)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d((left / 1.2..right * 1.2).log_scale(), (low / 1.4..high * 1.4).log_scale())
        .map_err(|error| error.to_string())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .x_desc("members of the private overlay")
        .y_desc(format!("[{}]", metric.unit.symbol()))
        .axis_desc_style(font(14, 60))
        .label_style(font(13, 60))
        .x_label_formatter(&|value| tick(*value))
        .y_label_formatter(&|value| tick(*value))
        .draw()
        .map_err(|error| error.to_string())?;
    for (line, Entry { colour: own, .. }) in lines.iter().zip(&legend) {
        let drawn = LineSeries::new(line.marks.iter().copied(), own.stroke_width(2));
        chart.draw_series(drawn).map_err(|error| error.to_string())?;
        let dots = line.marks.iter().map(|mark| Circle::new(*mark, 4, own.filled()));
        chart.draw_series(dots).map_err(|error| error.to_string())?;
    }
    if let Some(Claim { value, .. }) = &sheet.claim {
        let ends = [(left / 1.2, *value), (right * 1.2, *value)];
        let own = colour(lines.len(), legend.len()).stroke_width(1);
        chart.draw_series(DashedLineSeries::new(ends, 6, 4, own)).map_err(|error| error.to_string())?;
    }
    Ok(area.present().map_err(|error| error.to_string())?)
}

/// A line for each series, then the claim.
fn legend(sheet: &Sheet, lines: &[Line]) -> Vec<Entry> {
    let texts: Vec<String> = lines
        .iter()
        .map(|line| format!("{}: median", line.label))
        .chain(sheet.claim.iter().map(|claim| claim.text.to_owned()))
        .collect();
    let count = texts.len();
    let entry = |(index, text)| Entry { text, colour: colour(index, count), sign: Sign::Line };
    texts.into_iter().enumerate().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Overrides, Plan};
    use crate::record::{Costs, Manifest, Row, TrialEntry};

    /// A run over sizes and engines in which everything takes as many seconds as there are members.
    fn record(experiment: &str, set: &[&str]) -> Record {
        let set = set.iter().map(|text| (*text).to_owned()).collect();
        let plan =
            Plan::load(experiment, &Overrides { set, repeats: Some(1), ..Overrides::default() }).unwrap();
        let mut manifest = Manifest::new(&plan, "sim", Vec::new());
        let mut rows = Vec::new();
        for turn in plan.turns() {
            let (number, seed, point) = (turn.number, turn.seed, turn.point);
            manifest.trials.push(TrialEntry {
                number,
                point,
                seed,
                invalid_reasons: Vec::new(),
                notes: Vec::new(),
                trace_hash: None,
                cost: Costs::default(),
            });
            rows.extend(metric::ALL.map(|metric| Row {
                trial: number,
                seed,
                point: plan.points[point].label.clone(),
                at_seconds: 0.0,
                node: String::new(),
                metric: metric.name.to_owned(),
                value: f64::from(plan.points[point].values.private()),
                detail: String::new(),
            }));
        }
        Record { manifest, rows }
    }

    #[test]
    fn each_experiment_of_the_paper_has_its_figure_with_the_claim_in_the_legend() {
        for (experiment, name, lines, claim) in [
            ("join", "join", ["public overlay", "answer of the DHT"], "less than 30 s"),
            ("pool", "pool", ["public ring", "private ring"], "less than 30 s"),
            ("bandwidth", "bandwidth", ["both overlays", "public overlay alone"], "on the order of 100 B/s"),
            ("revocation", "revocation", ["acknowledgements included", "the notice alone"], "300 bytes"),
            ("revocation", "revocation-time", ["the last member knows", "a member knows"], "members know"),
        ] {
            let record = record(experiment, &["private=3,20,100", "security=modelled,dtls"]);
            let name = format!("{name}-by-private.svg");
            let figure = of(&record).unwrap().into_iter().find(|figure| figure.name == name).unwrap();
            let named = lines.iter().all(|line| figure.svg.contains(line));
            assert!(
                named && figure.svg.contains(claim) && figure.svg.contains("security dtls"),
                "{experiment}"
            );
        }
    }

    #[test]
    fn one_size_makes_no_line() {
        assert_eq!(of(&record("join", &["private=20", "security=none,dtls"])).unwrap(), []);
        assert_eq!(of(&record("join", &["private=0,20"])).unwrap(), []);
    }
}
