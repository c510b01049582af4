//! What a run leaves behind: samples with their origin, and the folder that holds them.
//!
//! Tables, figures, reports and verdicts are computed from a [`Record`] alone, so that `atoll report` and
//! `atoll compare` see exactly what the run saw.

mod folder;
mod manifest;
mod samples;
mod summary;

pub use folder::{Folder, Target, load};
pub use manifest::{Host, INTERRUPTED, Manifest, PointEntry, TrialEntry, Versions};
pub use samples::Row;
pub use summary::{Costs, RunSummary, Verdict};

use crate::stats;

/// A run, whole or interrupted.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Where everything comes from.
    pub manifest: Manifest,
    /// Every sample, ordered by trial and by time of measurement.
    pub rows: Vec<Row>,
}

impl Record {
    /// The samples of a metric, of one point or of all.
    #[must_use]
    pub fn samples(&self, metric: &str, point: Option<usize>) -> Vec<f64> {
        let wanted = |row: &&Row| {
            row.metric == metric && point.is_none_or(|point| self.point_of(row.trial) == Some(point))
        };
        self.rows.iter().filter(wanted).map(|row| row.value).collect()
    }

    /// The figures about a metric, of one point or of all; `None` if nothing was measured.
    #[must_use]
    pub fn summary(&self, metric: &str, point: Option<usize>) -> Option<stats::Summary> {
        stats::Summary::of(&self.samples(metric, point))
    }

    fn point_of(&self, trial: u32) -> Option<usize> {
        let trials = &self.manifest.trials;
        trials.binary_search_by_key(&trial, |entry| entry.number).ok().map(|index| trials[index].point)
    }
}
