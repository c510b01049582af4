//! `samples.csv`: one line a sample.

use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::error::{OrFail, Result};

/// One sample with its origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Number of the trial within the plan.
    pub trial: u32,
    /// Seed of the trial.
    pub seed: u64,
    /// Swept values: `public=700`; empty without a sweep.
    pub point: String,
    /// When it was measured on the trial's clock, in seconds.
    pub at_seconds: f64,
    /// Whose it is; empty for the trial as a whole.
    pub node: String,
    /// Name of the metric.
    pub metric: String,
    /// The value, in the metric's base unit.
    pub value: f64,
    /// What else is known: `nat=symmetric to=m0042`.
    pub detail: String,
}

/// Writes every row below a header.
pub(super) fn write(rows: &[Row], to: impl Write) -> Result<()> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(to);
    let what = || "cannot write samples.csv".to_owned();
    writer
        .write_record(["trial", "seed", "point", "at_seconds", "node", "metric", "value", "detail"])
        .or_fail(what)?;
    rows.iter().try_for_each(|row| writer.serialize(row)).or_fail(what)?;
    writer.flush().or_fail(what)
}

/// Reads every row.
pub(super) fn read(text: &str) -> Result<Vec<Row>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader
        .deserialize()
        .collect::<std::result::Result<_, _>>()
        .or_fail(|| "cannot read samples.csv".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were() {
        let row = |value, detail: &str| Row {
            trial: 3,
            seed: (1 << 53) - 1,
            point: "public=700 nat=cones".to_owned(),
            at_seconds: 12.25,
            node: "j01".to_owned(),
            metric: "public_join_seconds".to_owned(),
            value,
            detail: detail.to_owned(),
        };
        let rows = vec![row(0.1 + 0.2, ""), row(1e-9, "a, \"b\"\nc"), row(700.0, "nat=cones")];
        let mut bytes = Vec::new();
        write(&rows, &mut bytes).unwrap();
        assert_eq!(read(std::str::from_utf8(&bytes).unwrap()).unwrap(), rows);
    }

    #[test]
    fn no_rows_still_have_a_header() {
        let mut bytes = Vec::new();
        write(&[], &mut bytes).unwrap();
        assert_eq!(bytes, b"trial,seed,point,at_seconds,node,metric,value,detail\n");
    }
}
