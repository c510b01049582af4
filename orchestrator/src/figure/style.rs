//! Size, colours and type that all figures share.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::error::{Error, Result};
use crate::metric::Unit;

/// Width and height of a figure, in pixels.
const SIZE: (u32, u32) = (860, 500);
/// Height of one line of a legend.
const LINE: u32 = 18;
/// Okabe and Ito's colours: told apart by readers with any colour vision, and readable on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(80, 80, 80),
];
/// Lines of the grid.
pub(super) const GRID: RGBColor = RGBColor(225, 225, 225);

/// The colour of the `index`th of `count` series.
pub(super) fn colour(index: usize, count: usize) -> RGBColor {
    if count <= COLOURS.len() {
        return COLOURS[index % COLOURS.len()];
    }
    let share = index as f64 / count as f64;
    let (r, g, b) = HSLColor(0.85 * share, 0.7, 0.4).rgb();
    RGBColor(r, g, b)
}

/// Type of a size and grey.
pub(super) fn font(size: u32, grey: u8) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&RGBColor(grey, grey, grey))
}

/// What a legend calls a series, and how it looks in the drawing.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) text: String,
    pub(super) colour: RGBColor,
    pub(super) sign: Sign,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sign {
    Line,
    Dot,
    Ring,
}

impl Entry {
    fn draw(&self, below: &DrawingArea<SVGBackend<'_>, Shift>, y: i32) -> Result<()> {
        let middle = (92, y + 5);
        let drawn = match self.sign {
            Sign::Line => {
                let ends = [(82, y + 5), (102, y + 5)];
                below.draw(&PathElement::new(ends, self.colour.stroke_width(3)))
            }
            Sign::Dot => below.draw(&Circle::new(middle, 4, self.colour.filled())),
            Sign::Ring => below.draw(&Circle::new(middle, 4, self.colour.stroke_width(2))),
        };
        drawn.map_err(|error| refuse(&error))?;
        write(below, &self.text, (112, y), font(13, 40))
    }
}

/// A drawing under a title and a caption, with a line for each series below: there a legend hides nothing.
pub(super) fn canvas<'a>(
    svg: &'a mut String,
    (title, caption): (&str, &str),
    legend: &[Entry],
) -> Result<DrawingArea<SVGBackend<'a>, Shift>> {
    let height = legend.len() as u32 * LINE + 10;
    let root = SVGBackend::with_string(svg, (SIZE.0, SIZE.1 + height)).into_drawing_area();
    root.fill(&WHITE).map_err(|error| refuse(&error))?;
    let (above, below) = root.split_vertically(SIZE.1);
    write(&above, title, (24, 16), font(20, 20))?;
    write(&above, caption, (24, 43), font(12, 110))?;
    for (index, entry) in legend.iter().enumerate() {
        entry.draw(&below, (index as u32 * LINE) as i32)?;
    }
    Ok(above.margin(66, 14, 18, 26))
}

fn write(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    text: &str,
    at: (i32, i32),
    style: TextStyle<'static>,
) -> Result<()> {
    area.draw(&Text::new(text.to_owned(), at, style)).map_err(|error| refuse(&error))
}

/// A figure that could not be drawn.
pub(super) fn refuse(error: &dyn std::fmt::Display) -> Error {
    Error::new("cannot draw a figure", error)
}

/// A number on an axis: no more digits than the distance between two ticks needs.
pub(super) fn tick(value: f64) -> String {
    let size = value.abs();
    match size {
        0.0 => "0".to_owned(),
        _ if size >= 10_000.0 => format!("{:.0}k", value / 1000.0),
        _ if size >= 100.0 || (size >= 1.0 && value.fract() == 0.0) => format!("{value:.0}"),
        _ if size >= 1.0 => trim(&format!("{value:.2}")),
        _ => trim(&format!("{value:.4}")),
    }
}

/// A number on the axis of a metric; what is counted has no halves.
pub(super) fn tick_in(unit: Unit, value: f64) -> String {
    let counted = matches!(unit, Unit::Hops | Unit::Members);
    if counted && value.fract() != 0.0 { String::new() } else { tick(value) }
}

fn trim(text: &str) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_short() {
        let found = [0.0, 0.05, 0.25, 1.0, 1.5, 12.25, 100.0, 700.0, 30_000.0].map(tick);
        assert_eq!(found, ["0", "0.05", "0.25", "1", "1.5", "12.25", "100", "700", "30k"]);
    }

    #[test]
    fn neighbouring_series_have_different_colours() {
        for count in [1, 7, 8, 30] {
            let colours: Vec<RGBColor> = (0..count).map(|index| colour(index, count)).collect();
            assert!(colours.windows(2).all(|pair| pair[0] != pair[1]), "{count}");
        }
    }
}
