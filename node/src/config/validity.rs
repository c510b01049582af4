//! How long a site's certificates are valid.

use std::ops::RangeInclusive;
use std::str::FromStr;

use super::value::{Text, span};

const DAY: u64 = 24 * 3600;
const SECONDS: RangeInclusive<u32> = 20..=1000 * 24 * 3600;

/// How long certificates are valid: whole seconds, from `20 s` to `1000 days`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity(pub u32);

impl Text for Validity {
    const FORM: &'static str = "a duration with its unit, such as \"90 days\", \"12 h\" or \"10 min\"";
}

impl FromStr for Validity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let days = text.strip_suffix("days").or_else(|| text.strip_suffix("day"));
        let seconds = match days.map(|days| days.trim_end().parse::<u64>()) {
            Some(days) => {
                days.map_err(|_| format!("`{text}` does not begin with a whole number"))?.saturating_mul(DAY)
            }
            None => span(text)?.as_secs(),
        };
        let fits = u32::try_from(seconds).ok().filter(|seconds| SECONDS.contains(seconds));
        fits.map(Self).ok_or_else(|| format!("`{text}` is out of range (20 s to 1000 days)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validity_is_written_in_days_or_less() {
        let read = |text: &str| text.parse::<Validity>().map(|Validity(seconds)| seconds);
        assert_eq!(read("90 days"), Ok(90 * 86_400));
        assert_eq!(read("1 day"), Ok(86_400));
        assert_eq!(read("12 h"), Ok(12 * 3600));
        assert_eq!(read("20 s"), Ok(20));
        for wrong in
            ["90", "1 s", "1001 days", "1.5 days", "-1 days", "days", "99999999999999999999 days", "forever"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
