//! How values look to people, and JSON to programs.

use std::io::Write;

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::failure::Failure;

/// Prints a line; a reader that has gone away is no error.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Tells people something beside the data.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "note: {text}");
}

/// Prints a value as one line of JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|why| Failure::new("the answer as JSON", why))?;
    line(&text);
    Ok(())
}

/// Prints columns under a header.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table.add_rows(rows);
    line(&table.trim_fmt());
}

/// A length of time with the unit that suits it.
pub(super) fn seconds(value: f64) -> String {
    match value {
        _ if value < 0.001 => format!("{:.0} µs", value * 1e6),
        _ if value < 1.0 => format!("{:.1} ms", value * 1e3),
        _ if value < 120.0 => format!("{value:.1} s"),
        _ if value < 7200.0 => format!("{:.0} min", value / 60.0),
        _ => format!("{:.1} h", value / 3600.0),
    }
}

/// A number of bytes with the unit that suits it.
pub(super) fn bytes(value: u64) -> String {
    let float = value as f64;
    match value {
        0..1000 => format!("{value} B"),
        1000..1_000_000 => format!("{:.1} kB", float / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", float / 1e6),
        _ => format!("{:.2} GB", float / 1e9),
    }
}

/// A value that may be absent.
pub(super) fn or_dash<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_suits_them() {
        let shown: Vec<String> = [0.0002, 0.0123, 2.0, 600.0, 36_000.0].map(seconds).into();
        assert_eq!(shown, ["200 µs", "12.3 ms", "2.0 s", "10 min", "10.0 h"]);
    }
}
