//! Numbers with units, as people write them: `50 ms`, `2 %`, `700`.

use std::fmt;
use std::time::Duration;

use super::wrong::Wrong;

const SPANS: [(&str, f64); 6] =
    [("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("h", 3600.0)];
/// The longest duration that is believed, in seconds (a year).
const SPAN_MAX: f64 = 365.0 * 86_400.0;

/// A whole number in `low..=high`, with or without `_` between its digits.
pub(crate) fn count(text: &str, (low, high): (u32, u32)) -> Result<u32, Wrong> {
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    let wrong = |why: String| Wrong::new(why).with_hint(format!("write a whole number from {low} to {high}"));
    let number: i128 = digits.parse().map_err(|_| wrong(format!("`{text}` is not a whole number")))?;
    let small = u32::try_from(number).ok().filter(|number| (low..=high).contains(number));
    small.ok_or_else(|| wrong(format!("`{text}` is out of range")))
}

/// A duration with its unit.
pub(crate) fn span(text: &str) -> Result<Duration, Wrong> {
    let (number, unit) = split(text);
    let example = "write it like `50 ms`, `2 s`, `5 min` or `1 h`";
    let wrong = |why: String| Err(Wrong::new(why).with_hint(example));
    let Ok(number) = number.parse::<f64>() else { return wrong(format!("`{text}` is not a duration")) };
    if unit.is_empty() {
        return wrong(format!("`{text}` has no unit"));
    }
    let Some((_, seconds)) = SPANS.iter().find(|(name, _)| *name == unit) else {
        return wrong(format!("`{unit}` is not a unit of time"));
    };
    let seconds = number * seconds;
    if !(0.0..=SPAN_MAX).contains(&seconds) {
        return wrong(format!("`{text}` is out of range: from 0 to a year"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A share written in percent, as a ratio in `[0, 1]`.
pub(crate) fn ratio(text: &str) -> Result<f64, Wrong> {
    let (number, unit) = split(text);
    let wrong = |why: String| Err(Wrong::new(why).with_hint("write it like `2 %`, from 0 % to 100 %"));
    let Ok(number) = number.parse::<f64>() else { return wrong(format!("`{text}` is not a share")) };
    match unit {
        "%" if (0.0..=100.0).contains(&number) => Ok(number / 100.0),
        "%" => wrong(format!("`{text}` is out of range")),
        "" => wrong(format!("`{text}` has no unit")),
        _ => wrong(format!("`{unit}` is not a unit of a share")),
    }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

/// A duration in the largest unit that keeps it short: `50 ms`, `5 min`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        let whole = |unit: f64| seconds >= unit && seconds % unit == 0.0;
        match seconds {
            _ if whole(3600.0) => write!(f, "{} h", seconds / 3600.0),
            _ if whole(60.0) => write!(f, "{} min", seconds / 60.0),
            0.0 | 1.0.. => write!(f, "{seconds} s"),
            _ => write!(f, "{} ms", self.0.as_micros() as f64 / 1e3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_with_and_without_a_space() {
        for (text, millis) in
            [("50 ms", 50), ("50ms", 50), ("1.5 s", 1500), ("5 min", 300_000), ("1 h", 3_600_000)]
        {
            assert_eq!(span(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(span("250 us"), Ok(Duration::from_micros(250)));
        assert_eq!(ratio("2 %"), Ok(0.02));
        assert_eq!(ratio("100%"), Ok(1.0));
        assert_eq!(count("100_000", (1, 1_000_000)), Ok(100_000));
    }

    #[test]
    fn what_has_no_unit_or_the_wrong_one_is_refused() {
        for (text, why) in [
            ("50", "`50` has no unit"),
            ("50 meters", "`meters` is not a unit of time"),
            ("fast", "`fast` is not a duration"),
            ("-1 s", "`-1 s` is out of range: from 0 to a year"),
            ("1e9 h", "`e9 h` is not a unit of time"),
        ] {
            assert_eq!(span(text).unwrap_err().why, why);
        }
        assert_eq!(ratio("0.02").unwrap_err().why, "`0.02` has no unit");
        assert_eq!(ratio("101 %").unwrap_err().why, "`101 %` is out of range");
        assert_eq!(ratio("2 s").unwrap_err().why, "`s` is not a unit of a share");
        assert_eq!(count("-3", (0, 9)).unwrap_err().why, "`-3` is out of range");
        assert_eq!(count("many", (0, 9)).unwrap_err().why, "`many` is not a whole number");
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["50 ms", "5 min", "1 h", "90 s", "1.5 s", "0.25 ms", "0 s"] {
            assert_eq!(Span(span(text).unwrap()).to_string(), text);
        }
    }
}
