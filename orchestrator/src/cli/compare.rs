//! `atoll compare`: do two runs agree?

use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::{CellAlignment, Table};

use super::console::colours;
use super::{Answer, print};
use crate::error::{Error, Result};
use crate::metric::{self, Metric, Unit};
use crate::record::{self, Manifest, PointEntry, Record, RunSummary};
use crate::report::table::table;
use crate::stats::{median_interval, quantile, sorted};

/// Most points of a run that a hint names.
const POINTS_MAX: usize = 5;

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
    /// Exit with 1 if a median differs by more than this share of the first, or only one run has the metric; with 2 if a
    /// run is not valid
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    fail_above: Option<f64>,
}

/// Two runs with short names that tell them apart.
struct Pair {
    records: [Record; 2],
    names: [String; 2],
}

/// One metric at one point.
struct Line {
    point: String,
    metric: Metric,
    sides: [Option<Side>; 2],
}

/// What one run found.
struct Side {
    count: usize,
    median: f64,
    interval: Option<(f64, f64)>,
}

/// Prints the comparison.
///
/// # Errors
/// A folder is none, a metric is unknown, or the runs have nothing in common.
pub(super) fn run(arguments: &Arguments) -> Result<Answer> {
    let metrics = metrics(&arguments.metric)?;
    let folders = [&arguments.first, &arguments.second];
    let pair = Pair::load(folders)?;
    let lines = pair.lines(&metrics);
    if lines.iter().all(|line| line.ratio().is_none()) {
        return Err(Error::new("cannot compare", "the two runs have no metric at the same values in common")
            .with_hint(pair.nothing_in_common(&arguments.metric)));
    }
    print(&format!("{}{}\n{}", pair.legend(folders), pair.table(&lines), pair.remarks(&lines)))?;
    let Some(limit) = arguments.fail_above else { return Ok(Answer::Yes) };
    if pair.records.iter().any(|record| !distrust(record).is_empty()) {
        return Ok(Answer::CouldNot);
    }
    let apart = |line: &Line| line.ratio().is_none_or(|ratio| (ratio - 1.0).abs() > limit / 100.0);
    Ok(if lines.iter().any(apart) { Answer::No } else { Answer::Yes })
}

/// Why the figures of a run cannot be trusted.
fn distrust(record: &Record) -> Vec<String> {
    RunSummary::of(record, &[]).invalid_reasons
}

/// A share in percent; what is no number would pass every comparison.
fn percent(text: &str) -> std::result::Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| *share >= 0.0);
    share.ok_or_else(|| "write a share in percent, 0 or more, such as `10`".to_owned())
}

impl Line {
    /// The second median as a multiple of the first, where both are there; two zeros agree.
    fn ratio(&self) -> Option<f64> {
        let [Some(first), Some(second)] = &self.sides else { return None };
        Some(if first.median == second.median { 1.0 } else { second.median / first.median })
    }
}

impl Side {
    fn of(samples: &[f64]) -> Option<Self> {
        let interval = median_interval(samples, 1);
        let count = samples.len();
        (count > 0).then(|| Self { count, median: quantile(&sorted(samples), 0.5), interval })
    }

    fn cells(side: Option<&Self>, unit: Unit) -> [String; 3] {
        let Some(side) = side else { return ["0", "-", "-"].map(str::to_owned) };
        let span = |(low, high)| format!("{} to {}", unit.show(low), unit.show(high));
        let interval = side.interval.map_or_else(|| "-".to_owned(), span);
        [side.count.to_string(), unit.show(side.median), interval]
    }
}

impl Pair {
    fn load(folders: [&PathBuf; 2]) -> Result<Self> {
        let records = [record::load(folders[0])?, record::load(folders[1])?];
        let names = names(records.each_ref().map(|record| record.manifest.environment.clone()))
            .or_else(|| names(folders.map(|folder| last_name(folder))))
            .unwrap_or_else(|| ["first", "second"].map(str::to_owned));
        Ok(Self { records, names })
    }

    /// Every metric of the points that both runs have; one side of it may be empty.
    fn lines(&self, metrics: &[Metric]) -> Vec<Line> {
        let [first, second] = &self.records;
        let mut lines = Vec::new();
        for (at, point) in first.manifest.points.iter().enumerate() {
            let same = second.manifest.points.iter().position(|other| other.label == point.label);
            let Some(same) = same else { continue };
            for metric in metrics {
                let sides = [first.samples(metric.name, Some(at)), second.samples(metric.name, Some(same))];
                let sides = sides.map(|samples| Side::of(&samples));
                if sides.iter().any(Option::is_some) {
                    lines.push(Line { point: point.label.clone(), metric: *metric, sides });
                }
            }
        }
        lines
    }

    /// What to try where no metric can be compared.
    fn nothing_in_common(&self, asked: &[String]) -> String {
        let [first, second] = self.records.each_ref().map(|record| &record.manifest);
        if first.experiment != second.experiment {
            let [one, other] = &self.names;
            let (kind, other_kind) = (&first.experiment, &second.experiment);
            return format!("{one} is of `{kind}`, and {other} of `{other_kind}`: run the same one twice");
        }
        let is_shared = |point: &PointEntry| second.points.iter().any(|other| other.label == point.label);
        if !first.points.iter().any(is_shared) {
            let [one, other] = [0, 1].map(|i| format!("{} has {}", self.names[i], self.points(i)));
            return format!("{one}, and {other}: give both the same values of what is swept");
        }
        match asked.is_empty() {
            true => "run the same plan twice".to_owned(),
            false => "run the same plan twice, or leave `--metric` out".to_owned(),
        }
    }

    /// The points of one run in a few words.
    fn points(&self, i: usize) -> String {
        let points = &self.records[i].manifest.points;
        let labels: Vec<&str> = points.iter().map(|point| point.label.as_str()).collect();
        match &labels[..] {
            [] => "no points".to_owned(),
            [""] => "one point without a sweep".to_owned(),
            few if few.len() <= POINTS_MAX => few.join(", "),
            many => format!("{} and {} more", many[..POINTS_MAX].join(", "), many.len() - POINTS_MAX),
        }
    }

    /// Which name stands for which folder, and which way the ratio goes.
    fn legend(&self, folders: [&PathBuf; 2]) -> String {
        let [first, second] = &self.names;
        let line = |i: usize| {
            let Manifest { environment, seed, trials, .. } = &self.records[i].manifest;
            let (name, folder, count) = (&self.names[i], folders[i].display(), trials.len());
            format!("{name}: {folder}, in {environment}, {count} trial(s), seed {seed}\n")
        };
        format!(
            "{}{}{second} / {first}: the ratio of the medians, above 1 where that of {second} is larger\n\n",
            line(0),
            line(1)
        )
    }

    fn table(&self, lines: &[Line]) -> Table {
        let [first, second] = &self.names;
        let columns = |name: &str| ["n", "median", "95 % interval"].map(|word| format!("{name}: {word}"));
        let (first_columns, second_columns) = (columns(first), columns(second));
        let ratio = format!("{second} / {first}");
        let mut head = vec!["at", "metric", "unit"];
        head.extend(first_columns.iter().chain(&second_columns).chain([&ratio]).map(String::as_str));
        // Without a sweep there is but one point, and it has no name.
        let unsaid = usize::from(lines.iter().all(|line| line.point.is_empty()));
        let mut table = table(&head[unsaid..], colours());
        for line in lines {
            let unit = line.metric.unit;
            let mut row = vec![line.point.clone(), line.metric.name.to_owned(), unit.symbol().to_owned()];
            row.extend(line.sides.iter().flat_map(|side| Side::cells(side.as_ref(), unit)));
            row.push(line.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}")));
            table.add_row(row.split_off(unsaid));
        }
        for column in table.column_iter_mut().skip(3 - unsaid) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// What the table cannot say: what only one of the two has, and how the plans differ.
    fn remarks(&self, lines: &[Line]) -> String {
        let mut text = String::new();
        for (record, name) in self.records.iter().zip(&self.names) {
            for reason in distrust(record) {
                text += &format!("note: {name} is NOT VALID: {reason}\n");
            }
        }
        for line in lines {
            let only = match &line.sides {
                [Some(_), None] => &self.names[0],
                [None, Some(_)] => &self.names[1],
                _ => continue,
            };
            let at = if line.point.is_empty() { String::new() } else { format!(" at {}", line.point) };
            text += &format!("note: only {only} has {}{at}\n", line.metric.name);
        }
        for (one, other) in [(0, 1), (1, 0)] {
            let points = |i: usize| self.records[i].manifest.points.iter();
            for point in points(one).filter(|point| points(other).all(|other| other.label != point.label)) {
                text += &format!("note: only {} has values at {}\n", self.names[one], point.label);
            }
        }
        text + &self.differences()
    }

    /// Values that differ though the points have the same name.
    fn differences(&self) -> String {
        let [first, second] = self.records.each_ref().map(|record| &record.manifest.points);
        let same = |one: &&PointEntry| second.iter().find(|other| other.label == one.label);
        let Some((one, other)) = first.iter().find_map(|one| Some((one, same(&one)?))) else {
            return String::new();
        };
        let differ = one.values.iter().filter_map(|(key, value)| {
            let found = other.values.get(key).filter(|found| *found != value)?;
            Some(format!("note: {key} is {value} in {} and {found} in {}\n", self.names[0], self.names[1]))
        });
        differ.collect()
    }
}

/// The names, if they tell the two apart.
fn names(names: [String; 2]) -> Option<[String; 2]> {
    (names[0] != names[1] && names.iter().all(|name| !name.is_empty())).then_some(names)
}

fn last_name(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
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
