//! Numbers with units as people write them in YAML: `120 s`, `2 h 4 min`, `1.5 %`, `10 Mbit/s`.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A duration with units, such as `500 us`, `100 ms` or `2 h 4 min`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span(pub(crate) Duration);

/// A share: `2 %`, or a number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Portion(pub(crate) f64);

/// Bits per second, such as `10 Mbit/s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BitRate(pub(crate) u64);

/// Bytes, such as `64 KB` or `1500`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Size(pub(crate) u32);

/// Splits `2 h 4 min` into pairs of number and unit.
fn pairs(text: &str) -> Option<Vec<(f64, &str)>> {
    let mut rest = text.trim();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number = rest[..end].parse().ok()?;
        rest = rest[end..].trim_start();
        let end = rest.find(|c: char| c == ' ' || c.is_ascii_digit()).unwrap_or(rest.len());
        found.push((number, &rest[..end]));
        rest = rest[end..].trim_start();
    }
    (!found.is_empty()).then_some(found)
}

/// Reads a duration; `None` if it is not one.
pub(crate) fn span(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    for (number, unit) in pairs(text)? {
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "min" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number * factor;
    }
    Duration::try_from_secs_f64(total).ok()
}

fn portion(text: &str) -> Option<f64> {
    let value = match pairs(text)?[..] {
        [(number, "%")] => number / 100.0,
        [(number, "")] => number,
        _ => return None,
    };
    (0.0..=1.0).contains(&value).then_some(value)
}

fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let [(number, unit)] = pairs(text)?[..] else { return None };
    units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| number * factor)
}

fn bit_rate(text: &str) -> Option<u64> {
    let units = [("bit/s", 1.0), ("kbit/s", 1e3), ("Mbit/s", 1e6), ("Gbit/s", 1e9)];
    scaled(text, &units).filter(|rate| (1.0..=1e12).contains(rate)).map(|rate| rate as u64)
}

fn size(text: &str) -> Option<u32> {
    let units = [("", 1.0), ("B", 1.0), ("KB", 1e3), ("KiB", 1024.0), ("MB", 1e6), ("MiB", 1_048_576.0)];
    scaled(text, &units).filter(|size| (0.0..=4e9).contains(size)).map(|size| size as u32)
}

struct Text<T> {
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

macro_rules! readable {
    ($type:ident, $parse:expr, $expected:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Text { expected: $expected, parse: $parse }).map(Self)
            }
        }
    };
}

readable!(Span, span, "a duration such as `100 ms`, `120 s` or `2 h 4 min`");
readable!(Portion, portion, "a share such as `2 %` or 0.02");
readable!(BitRate, bit_rate, "a rate such as `10 Mbit/s`");
readable!(Size, size, "a size such as `1500` or `64 KB`");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_units_and_may_have_several() {
        assert_eq!(span("2 h 4 min"), Some(Duration::from_secs(7440)));
        assert_eq!(span("500us"), Some(Duration::from_micros(500)));
        assert_eq!(span("1.5 s"), Some(Duration::from_millis(1500)));
        assert_eq!(span("120"), None);
        assert_eq!(span("soon"), None);
        assert_eq!(span(""), None);
    }

    #[test]
    fn shares_stay_between_nothing_and_all() {
        assert_eq!(portion("2 %"), Some(0.02));
        assert_eq!(portion("0.5"), Some(0.5));
        assert_eq!(portion("120 %"), None);
    }

    #[test]
    fn rates_and_sizes_have_units() {
        assert_eq!(bit_rate("10 Mbit/s"), Some(10_000_000));
        assert_eq!(bit_rate("10"), None);
        assert_eq!(size("64 KB"), Some(64_000));
        assert_eq!(size("1500"), Some(1500));
    }
}
