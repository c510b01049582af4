//! Figures about samples: quantiles, means and how sure they are. It reads no files and knows no experiment.

use atoll_core::Rng;
use serde::{Deserialize, Serialize};

const RESAMPLES: usize = 1000;

/// A figure about a set of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// Number of samples.
    Count,
    /// Arithmetic mean.
    Mean,
    /// Smallest.
    Min,
    /// Median.
    P50,
    /// 95th percentile.
    P95,
    /// 99th percentile.
    P99,
    /// Largest.
    Max,
}

/// Every statistic with its name, in the order of `summary.json`.
pub const STATISTICS: [(Statistic, &str); 7] = [
    (Statistic::Count, "count"),
    (Statistic::Mean, "mean"),
    (Statistic::Min, "min"),
    (Statistic::P50, "p50"),
    (Statistic::P95, "p95"),
    (Statistic::P99, "p99"),
    (Statistic::Max, "max"),
];

impl Statistic {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        STATISTICS[self as usize].1
    }
}

/// The figures about one metric, in the metric's base unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of samples, at least 1.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Smallest.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
}

impl Summary {
    /// The figures about these samples; `None` if there are none.
    #[must_use]
    pub fn of(samples: &[f64]) -> Option<Self> {
        let sorted = sorted(samples);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let mean = (sorted.iter().sum::<f64>() / sorted.len() as f64).clamp(min, max);
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| quantile(&sorted, share));
        Some(Self { count: sorted.len() as u64, mean, min, p50, p95, p99, max })
    }

    /// One of the figures.
    #[must_use]
    pub fn get(&self, statistic: Statistic) -> f64 {
        match statistic {
            Statistic::Count => self.count as f64,
            Statistic::Mean => self.mean,
            Statistic::Min => self.min,
            Statistic::P50 => self.p50,
            Statistic::P95 => self.p95,
            Statistic::P99 => self.p99,
            Statistic::Max => self.max,
        }
    }
}

/// The samples in ascending order.
#[must_use]
pub fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The value below which `share` (0 to 1) of the sorted samples lie, between neighbours in a straight line
/// (Hyndman and Fan, type 7). `sorted` is not empty.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

/// Where the median lies with 95 % confidence (bootstrap, percentile method); the same samples and seed give the
/// same interval. `None` for fewer than two samples.
#[must_use]
pub fn median_interval(samples: &[f64], seed: u64) -> Option<(f64, f64)> {
    if samples.len() < 2 {
        return None;
    }
    let mut rng = Rng::new(Rng::new([0; 32]).fork("bootstrap").seed(seed));
    let mut draw = vec![0.0; samples.len()];
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            draw.fill_with(|| samples[rng.below(samples.len())]);
            median(&mut draw)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    Some((quantile(&medians, 0.025), quantile(&medians, 0.975)))
}

fn median(samples: &mut [f64]) -> f64 {
    let middle = (samples.len() - 1) / 2;
    let even = samples.len().is_multiple_of(2);
    let (_, low, above) = samples.select_nth_unstable_by(middle, f64::total_cmp);
    let low = *low;
    match even {
        true => f64::midpoint(low, above.iter().copied().fold(f64::INFINITY, f64::min)),
        false => low,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_one_to_five_are_those_of_the_textbook() {
        let summary = Summary::of(&[5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!((summary.count, summary.min, summary.p50, summary.max), (5, 1.0, 3.0, 5.0));
        assert!((summary.p95 - 4.8).abs() < 1e-12);
        assert!((summary.mean - 3.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_has_no_summary_and_one_sample_is_its_own() {
        assert_eq!(Summary::of(&[]), None);
        let one = Summary::of(&[2.5]).unwrap();
        assert_eq!([one.mean, one.p50, one.p99], [2.5; 3]);
        assert_eq!(median_interval(&[2.5], 1), None);
    }

    #[test]
    fn the_interval_holds_the_median_narrows_with_samples_and_repeats_with_its_seed() {
        let samples = |n: u32| (0..n).map(|i| f64::from(i * 37 % 101)).collect::<Vec<f64>>();
        let (few, many) = (samples(20), samples(1000));
        let (low, high) = median_interval(&few, 7).unwrap();
        let middle = Summary::of(&few).unwrap().p50;
        assert!(low <= middle && middle <= high);
        let (tight_low, tight_high) = median_interval(&many, 7).unwrap();
        assert!(tight_high - tight_low < high - low);
        assert_eq!(median_interval(&few, 7), median_interval(&few, 7));
    }

    #[test]
    fn the_median_of_a_draw_agrees_with_the_quantile() {
        for samples in [vec![3.0, 1.0, 2.0], vec![4.0, 1.0, 3.0, 2.0], vec![1.0, 9.0]] {
            let expected = quantile(&sorted(&samples), 0.5);
            assert_eq!(median(&mut samples.clone()), expected);
        }
    }
}
