//! Measured round-trip times and the two text formats that they come in.
//!
//! Cells that were not measured are filled: with the opposite direction, else with the shortest way over one third
//! point, else with the median of what was measured.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::TopologyError;

/// Points of one matrix; 100 MB at that size.
const POINTS_MAX: usize = 5_000;
/// Longest round-trip time that is taken for one, in ms.
const RTT_MAX_MS: f32 = 60_000.0;
/// Not measured.
const MISSING: f32 = -1.0;
/// What to try where rows and columns do not agree.
const NAMES: &str = "names stand in the first row and in the first column, or in neither";
/// What to try where no cells are found.
const CELLS: &str =
    "a CSV has commas between its cells; King's text has blanks, is in µs, and its name does not end in .csv";

/// Round-trip times between measured points.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct RttMatrix {
    points: u32,
    rtt_ms: Vec<f32>,
    filled: usize,
}

/// What another program says is a matrix.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    points: u32,
    rtt_ms: Vec<f32>,
    filled: usize,
}

impl TryFrom<Unchecked> for RttMatrix {
    type Error = TopologyError;

    fn try_from(Unchecked { points, rtt_ms, filled }: Unchecked) -> Result<Self, TopologyError> {
        let wanted = points as usize * points as usize;
        if !is_size(points as usize) || rtt_ms.len() != wanted {
            let found = rtt_ms.len();
            return Err(TopologyError::new(format!("{found} cells are no matrix of {points} points")));
        }
        // A cell that was filled may be the way over a third point.
        match rtt_ms.iter().find(|rtt| !(0.0..=2.0 * RTT_MAX_MS).contains(*rtt)) {
            Some(rtt) => Err(TopologyError::new(format!("{rtt} ms is no round-trip time"))),
            None => Ok(Self { points, rtt_ms, filled }),
        }
    }
}

impl std::fmt::Debug for RttMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RttMatrix").field("points", &self.points).finish_non_exhaustive()
    }
}

impl RttMatrix {
    /// Reads a square CSV of round-trip times in milliseconds: an empty cell is not measured, the diagonal does not
    /// matter. The first row and column are names, or there are none; an error if that cannot be told.
    pub fn from_rtt_ms_csv(text: &str) -> Result<Self, TopologyError> {
        let mut lines = numbered(text).peekable();
        let (line, header) = *lines.peek().ok_or_else(empty)?;
        let is_named = is_named(header).map_err(|error| error.at(line, 1))?;
        let points = header.split(',').count() - usize::from(is_named);
        check_size(points)?;
        let mut rtt_ms = Vec::with_capacity(points * points);
        let mut last = 1;
        for (line, row) in lines.skip(usize::from(is_named)) {
            last = line;
            let cells = row.split(',').skip(usize::from(is_named));
            let start = if is_named { row.find(',').map_or(row.len(), |comma| comma + 1) } else { 0 };
            push_row(&mut rtt_ms, [line, points], Cells::new(cells, start), |cell| match cell.trim() {
                "" => Some(MISSING),
                number => number.parse().ok().filter(|rtt| (0.0..=RTT_MAX_MS).contains(rtt)),
            })?;
        }
        Self::square(points, rtt_ms, last)
    }

    /// Reads a King or p2psim text: one row a line, cells between blanks or commas, round-trip times in
    /// microseconds; 0 or less is not measured.
    pub fn from_rtt_us_king(text: &str) -> Result<Self, TopologyError> {
        let mut rtt_ms = Vec::new();
        let mut points = None;
        let mut last = 1;
        for (line, row) in numbered(text) {
            last = line;
            let count = words(row).count();
            let points = *points.get_or_insert(count);
            check_size(points)?;
            push_row(&mut rtt_ms, [line, points], words(row), |cell| {
                let rtt: f32 = cell.parse().ok().filter(|rtt: &f32| *rtt <= RTT_MAX_MS * 1e3)?;
                Some(if rtt > 0.0 { rtt / 1e3 } else { MISSING })
            })?;
        }
        let points = points.ok_or_else(empty)?;
        Self::square(points, rtt_ms, last)
    }

    fn square(points: usize, rtt_ms: Vec<f32>, last: usize) -> Result<Self, TopologyError> {
        let rows = rtt_ms.len() / points;
        if rows != points {
            let message = format!("expected {points} rows, as many as columns, and found {rows}");
            return Err(TopologyError::new(message).at(last, 1).hint(NAMES));
        }
        let mut matrix = Self { points: points as u32, rtt_ms, filled: 0 };
        matrix.fill(points)?;
        Ok(matrix)
    }

    fn fill(&mut self, points: usize) -> Result<(), TopologyError> {
        for point in 0..points {
            self.rtt_ms[point * points + point] = 0.0;
        }
        let measured = self.rtt_ms.clone();
        let mut sorted: Vec<f32> = measured.iter().copied().filter(|rtt| *rtt > 0.0).collect();
        sorted.sort_by(f32::total_cmp);
        if sorted.is_empty() {
            return Err(TopologyError::new("the matrix has no measured cell"));
        }
        let median = sorted[sorted.len() / 2];
        let cell = |a: usize, b: usize| Some(measured[a * points + b]).filter(|rtt| *rtt >= 0.0);
        for a in 0..points {
            for b in 0..points {
                if cell(a, b).is_some() {
                    continue;
                }
                let over = |third: usize| Some(cell(a, third)? + cell(third, b)?);
                let shortest = || (0..points).filter_map(over).min_by(f32::total_cmp);
                self.rtt_ms[a * points + b] = cell(b, a).or_else(shortest).unwrap_or(median);
                self.filled += 1;
            }
        }
        Ok(())
    }

    /// Number of points.
    pub const fn points(&self) -> u32 {
        self.points
    }

    /// Cells that were not measured and had to be filled.
    pub const fn filled(&self) -> usize {
        self.filled
    }

    /// The round-trip time between two points; panics if a point is not in the matrix.
    pub fn rtt(&self, from: u32, to: u32) -> Duration {
        Duration::from_secs_f64(f64::from(self.rtt_ms(from, to)) / 1e3)
    }

    pub(super) fn rtt_ms(&self, from: u32, to: u32) -> f32 {
        self.rtt_ms[from as usize * self.points as usize + to as usize]
    }
}

/// Cells with their columns in the line, from 1.
struct Cells<I> {
    cells: I,
    column: usize,
}

impl<'a, I: Iterator<Item = &'a str>> Cells<I> {
    const fn new(cells: I, start: usize) -> Self {
        Self { cells, column: start + 1 }
    }
}

impl<'a, I: Iterator<Item = &'a str>> Iterator for Cells<I> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let cell = self.cells.next()?;
        let column = self.column;
        self.column += cell.len() + 1;
        Some((column, cell))
    }
}

/// Whether the first row holds names. A first cell that is a number belongs to the diagonal, unless none of the others
/// is one; an empty one stands before names that count up, as tables of data are written.
fn is_named(row: &str) -> Result<bool, TopologyError> {
    let mut cells = row.split(',').map(str::trim);
    let corner = cells.next().unwrap_or_default();
    let others: Vec<&str> = cells.filter(|cell| !cell.is_empty()).collect();
    let is_number = |cell: &&str| cell.parse::<f32>().is_ok();
    if is_number(&corner) {
        return Ok(!others.is_empty() && !others.iter().any(is_number));
    }
    let counts_up =
        (0..=1).any(|first| others.iter().zip(first..).all(|(name, n): (_, u32)| *name == n.to_string()));
    if !corner.is_empty() || counts_up || !others.iter().all(is_number) {
        return Ok(true);
    }
    let why = "the first cell is empty and the others of its row are numbers: names, or round trips?";
    Err(TopologyError::new(why)
        .hint("write `0` into the first cell if there are no names, a word such as `rtt_ms` if there are"))
}

/// The lines that say something, with their numbers. Spreadsheets begin a CSV with a byte order mark.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines =
        text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate().map(|(n, line)| (n + 1, line));
    lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
}

/// The words of a line, with their columns from 1.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let start = line.as_ptr() as usize;
    line.split([' ', '\t', ','])
        .filter(|word| !word.is_empty())
        .map(move |word| (word.as_ptr() as usize - start + 1, word))
}

fn push_row<'a>(
    rtt_ms: &mut Vec<f32>,
    [line, points]: [usize; 2],
    cells: impl Iterator<Item = (usize, &'a str)>,
    parse: impl Fn(&str) -> Option<f32>,
) -> Result<(), TopologyError> {
    let before = rtt_ms.len();
    let mut end = 1;
    for (column, cell) in cells {
        end = column + cell.len();
        let rtt = parse(cell).ok_or_else(|| {
            let message = format!("expected a round-trip time up to one minute and found `{cell}`");
            TopologyError::new(message).at(line, column).hint("leave a cell empty that was not measured")
        })?;
        rtt_ms.push(rtt);
    }
    let found = rtt_ms.len() - before;
    if found != points {
        let message = format!("expected {points} cells and found {found}");
        return Err(TopologyError::new(message).at(line, end).hint(NAMES));
    }
    Ok(())
}

fn empty() -> TopologyError {
    TopologyError::new("the matrix is empty")
        .at(1, 1)
        .hint("one row a line, with as many cells as there are rows")
}

fn is_size(points: usize) -> bool {
    (2..=POINTS_MAX).contains(&points)
}

fn check_size(points: usize) -> Result<(), TopologyError> {
    if is_size(points) {
        return Ok(());
    }
    let message = format!("expected 2 to {POINTS_MAX} points and found {points}");
    Err(TopologyError::new(message).at(1, 1).hint(CELLS))
}
