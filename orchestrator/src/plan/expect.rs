//! Expectations: the lines of a file that turn a measurement into a verdict.
//!
//! `public_join_seconds p50 <= 1.3 s if start = settled`

use std::collections::BTreeMap;
use std::fmt;

use super::experiment::Experiment;
use super::network::{Files, looks_like_a_file};
use super::quantity::{ratio, span};
use super::values::{Clock, KEYS, Key, Values};
use super::wrong::Wrong;
use crate::error::Error;
use crate::metric::{self, Metric, Unit};
use crate::stats::{STATISTICS, Statistic};

/// A bound that a statistic of a metric has to keep at every point of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// What is measured.
    pub metric: Metric,
    /// Which figure of it.
    pub statistic: Statistic,
    /// How it is compared.
    pub op: Op,
    /// With what, in base units.
    pub bound: f64,
    /// Values for which it holds; all of them have to be so.
    pub conditions: Vec<(Key, String)>,
    text: String,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `>=`
    AtLeast,
    /// `>`
    Above,
}

const OPS: [(&str, Op); 5] =
    [("<=", Op::AtMost), (">=", Op::AtLeast), ("==", Op::Equal), ("<", Op::Below), (">", Op::Above)];

/// What other languages write, or a slip of the finger, and what is meant.
const SLIPS: [(&str, &str); 4] = [("=<", "<="), ("=>", ">="), ("!=", "<` or `>"), ("===", "==")];

impl Op {
    /// As it is written.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        OPS.iter().find(|(_, op)| *op == self).map_or("", |(symbol, _)| symbol)
    }

    /// Whether the comparison holds.
    #[must_use]
    pub fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Below => value < bound,
            Self::AtMost => value <= bound,
            Self::Equal => (value - bound).abs() <= f64::EPSILON * bound.abs().max(1.0),
            Self::AtLeast => value >= bound,
            Self::Above => value > bound,
        }
    }

    /// How far a value is on the wrong side; the larger, the worse.
    #[must_use]
    pub fn miss(self, value: f64, bound: f64) -> f64 {
        match self {
            Self::Below | Self::AtMost => value - bound,
            Self::Equal => (value - bound).abs(),
            Self::AtLeast | Self::Above => bound - value,
        }
    }
}

impl Expectation {
    pub(super) fn read(text: &str) -> Result<Self, Wrong> {
        let (claim, condition) = text.split_once(" if ").unwrap_or((text, ""));
        if let Some((slip, meant)) = SLIPS.iter().find(|(slip, _)| claim.contains(slip)) {
            return Err(
                Wrong::new(format!("`{slip}` is no comparison")).with_hint(format!("write `{meant}`"))
            );
        }
        let Some((at, symbol, op)) =
            OPS.iter().find_map(|(symbol, op)| claim.find(symbol).map(|at| (at, *symbol, *op)))
        else {
            return Err(Wrong::new(format!("`{text}` compares nothing"))
                .with_hint("write it like `public_join_seconds p50 <= 1.3 s`"));
        };
        let (metric, statistic) = subject(claim[..at].trim())?;
        let bound = bound((metric.unit, statistic), claim[at + symbol.len()..].trim())?;
        let conditions = conditions(condition)?;
        Ok(Self { metric, statistic, op, bound, conditions, text: text.to_owned() })
    }

    /// Reads a line as a recorded plan has it.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::read(text).map_err(|wrong| Error {
            what: format!("expect: {text}"),
            why: wrong.why,
            hint: wrong.hint,
        })
    }

    /// Whether it says anything about trials with these values, by name of the key.
    #[must_use]
    pub fn applies(&self, values: &BTreeMap<String, String>) -> bool {
        self.conditions.iter().all(|(key, text)| values.get(key.name()) == Some(text))
    }

    /// What stands behind its `if`; empty if it always holds.
    #[must_use]
    pub fn condition(&self) -> &str {
        self.text.split_once(" if ").map_or("", |(_, condition)| condition.trim())
    }

    /// Metric and statistic in one word, as `summary.json` has it: `public_join_seconds.p50`.
    #[must_use]
    pub fn subject(&self) -> String {
        format!("{}.{}", self.metric.name, self.statistic.name())
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn subject(text: &str) -> Result<(Metric, Statistic), Wrong> {
    let mut words = text.split([' ', '.']).filter(|word| !word.is_empty());
    let name = words.next().unwrap_or_default();
    let Some(metric) = metric::find(name) else {
        let known: Vec<&str> = metric::ALL.iter().map(|metric| metric.name).collect();
        return Err(Wrong::unknown("metric", name, &known));
    };
    let word = words.next().unwrap_or("p50");
    let statistic = STATISTICS.iter().find(|(_, name)| *name == word).map(|(statistic, _)| *statistic);
    let (Some(statistic), None) = (statistic, words.next()) else {
        let known: Vec<&str> = STATISTICS.iter().map(|(_, name)| *name).collect();
        return Err(Wrong::unknown("statistic", word, &known));
    };
    Ok((metric, statistic))
}

fn bound((unit, statistic): (Unit, Statistic), text: &str) -> Result<f64, Wrong> {
    let symbol = match unit {
        _ if statistic == Statistic::Count => "samples",
        Unit::Seconds => return span(text).map(|span| span.as_secs_f64()),
        Unit::Ratio => return ratio(text),
        Unit::Times => "times",
        Unit::Bytes => "B",
        Unit::BytesPerSecond => "B/s",
        Unit::Hops => "hops",
        Unit::Members => "members",
    };
    let number = text.strip_suffix(symbol).unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err(Wrong::new(format!("`{text}` is not a bound in {symbol}"))
            .with_hint(format!("write it like `30 {symbol}`"))),
    }
}

fn conditions(text: &str) -> Result<Vec<(Key, String)>, Wrong> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = part.split_once('=').ok_or_else(|| {
                Wrong::new(format!("`{part}` is no condition"))
                    .with_hint("write it like `if start = settled`")
            })?;
            let name = key.trim();
            let known: Vec<&str> = KEYS.iter().map(|(_, name)| *name).collect();
            let key = KEYS.iter().find(|(_, known)| *known == name).map(|(key, _)| *key);
            let key = key.ok_or_else(|| Wrong::unknown("key", name, &known))?;
            Ok((key, as_shown(key, value.trim())?))
        })
        .collect()
}

/// A value as points show it, however it is written; one that no point can have is refused.
fn as_shown(key: Key, text: &str) -> Result<String, Wrong> {
    // A file is known by its name: a recorded plan is read where the file may be gone.
    if matches!(key, Key::Nat | Key::Latency) && looks_like_a_file(text) {
        return Ok(text.to_owned());
    }
    let mut values = Values::new(Experiment::Join, Clock::Virtual);
    values.set(key, text, &Files::beside("."))?;
    Ok(values.show(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_into_its_parts() {
        let line =
            Expectation::read("public_join_seconds p99 <= 3 s if start = settled, nat = cones").unwrap();
        assert_eq!((line.metric.name, line.statistic), ("public_join_seconds", Statistic::P99));
        assert_eq!((line.op, line.bound), (Op::AtMost, 3.0));
        let values = |start: &str| {
            [("start", start), ("nat", "cones")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
        };
        assert!(line.applies(&values("settled")) && !line.applies(&values("together")));
        assert_eq!(line.subject(), "public_join_seconds.p99");
        assert_eq!(line.condition(), "start = settled, nat = cones");
        assert_eq!(Expectation::read("public_join_seconds count >= 3").unwrap().bound, 3.0);
        assert_eq!(Expectation::read("direct_ratio >= 70 %").unwrap().bound, 0.7);
        assert_eq!(Expectation::read("relay_stretch_ratio <= 1.3 times").unwrap().bound, 1.3);
        assert_eq!(Expectation::read("bytes_per_second.max < 30 B/s").unwrap().bound, 30.0);
    }

    #[test]
    fn a_condition_holds_however_its_value_is_written() {
        let line = Expectation::read("route_hops <= 3 if loss = 2.0%, rest = 60 s, nat = a/b.yaml").unwrap();
        let values = [("loss", "2 %"), ("rest", "1 min"), ("nat", "a/b.yaml")];
        assert!(line.applies(&values.map(|(k, v)| (k.to_owned(), v.to_owned())).into()));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, why) in [
            ("public_join_seconds p50 1.3 s", "`public_join_seconds p50 1.3 s` compares nothing"),
            ("join_seconds <= 1.3 s", "unknown metric `join_seconds`"),
            ("route_hops p51 <= 3", "unknown statistic `p51`"),
            ("route_hops p50 <= many", "`many` is not a bound in hops"),
            ("public_join_seconds <= 3", "`3` has no unit"),
            ("public_join_seconds count >= 3 s", "`3 s` is not a bound in samples"),
            ("route_hops <= 3 if nut = cones", "unknown key `nut`"),
            ("route_hops <= 3 if nat = coness", "unknown NAT population or preset `coness`"),
            ("route_hops <= 3 if query_timer = often", "`often` is no query timer"),
            ("route_hops <= 3 if cones", "`cones` is no condition"),
        ] {
            assert_eq!(Expectation::read(text).unwrap_err().why, why, "{text}");
        }
    }

    #[test]
    fn every_comparison_holds_where_it_should() {
        for (_, op) in OPS {
            let found = [1.0, 2.0, 3.0].map(|value| op.holds(value, 2.0));
            let misses = [1.0, 2.0, 3.0].map(|value| op.miss(value, 2.0) > 0.0);
            let expected = match op {
                Op::Below => [true, false, false],
                Op::AtMost => [true, true, false],
                Op::Equal => [false, true, false],
                Op::AtLeast => [false, true, true],
                Op::Above => [false, false, true],
            };
            assert_eq!(found, expected, "{}", op.symbol());
            assert!((0..3).all(|i| !misses[i] || !found[i]));
        }
    }
}
