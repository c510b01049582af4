//! `junit.xml`: one test case for each expectation and one for the validity of the run.

use std::fmt::Write as _;

use super::html::escape;
use crate::record::{Record, RunSummary, Verdict};

/// The test report of a run.
#[must_use]
pub fn junit(record: &Record, summary: &RunSummary) -> String {
    let failures = summary.expectations.iter().filter(|verdict| !verdict.ok).count();
    let cases = summary.expectations.len() + 1;
    let suite = escape(&format!("{} on {}", record.manifest.name, summary.environment));
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuites>\n  <testsuite name=\"{suite}\" tests=\"{cases}\" failures=\"{failures}\" errors=\"{}\" \
         time=\"{:.3}\" timestamp=\"{}\">",
        u8::from(!summary.valid),
        summary.cost.wall_seconds,
        escape(record.manifest.started.trim_end_matches('Z')),
    );
    for verdict in &summary.expectations {
        expectation(&mut xml, &record.manifest.experiment, verdict);
    }
    validity(&mut xml, summary);
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn expectation(xml: &mut String, class: &str, verdict: &Verdict) {
    let name = escape(&verdict.claim());
    let _ = write!(xml, "    <testcase classname=\"{}\" name=\"{name}\"", escape(class));
    let found = format!("found {}", verdict.found());
    let _ = match verdict.ok {
        true => writeln!(xml, "/>"),
        false => writeln!(xml, "><failure message=\"{}\"/></testcase>", escape(&found)),
    };
}

fn validity(xml: &mut String, summary: &RunSummary) {
    let class = escape(&summary.experiment);
    let _ = write!(xml, "    <testcase classname=\"{class}\" name=\"the run is valid\"");
    let reasons = escape(&summary.invalid_reasons.join("; "));
    let _ = match summary.valid {
        true => writeln!(xml, "/>"),
        false => writeln!(xml, "><error message=\"{reasons}\"/></testcase>"),
    };
}
