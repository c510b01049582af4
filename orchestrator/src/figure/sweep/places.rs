//! Where the points of a sweep stand: one swept key makes the horizontal axis, the others make groups.

use crate::record::{Manifest, Record};

/// Places of all points.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::figure) struct Places {
    axis: String,
    /// Of each point: its place on the axis, and its group.
    points: Vec<(f64, String)>,
    /// Names of the places 0, 1, 2 ...; empty for numbers.
    names: Vec<String>,
}

impl Places {
    /// The key with the most different numbers makes the axis; without numbers, the key with the most values.
    pub(in crate::figure) fn of_sweep(record: &Record) -> Self {
        let manifest = &record.manifest;
        let swept = manifest.swept();
        let axis = swept
            .iter()
            .max_by_key(|key| (numbers(manifest, key).is_some(), different(&values(manifest, key)).len()))
            .copied()
            .unwrap_or_default();
        Self::over(record, axis)
    }

    /// This key makes the axis.
    pub(in crate::figure) fn over(record: &Record, axis: &str) -> Self {
        let manifest = &record.manifest;
        let swept = manifest.swept();
        let others: Vec<&str> = swept.iter().filter(|key| **key != axis).copied().collect();
        let texts = values(manifest, axis);
        let names = if numbers(manifest, axis).is_some() { Vec::new() } else { different(&texts) };
        let place = |text: &String| {
            let named = names.iter().position(|name| name == text).map(|place| place as f64);
            named.or_else(|| text.parse().ok()).unwrap_or_default()
        };
        let group = |point: usize| {
            let parts: Vec<String> =
                others.iter().map(|key| format!("{key} {}", values(manifest, key)[point])).collect();
            parts.join(", ")
        };
        let points = texts.iter().enumerate().map(|(point, text)| (place(text), group(point))).collect();
        Self { axis: axis.to_owned(), points, names }
    }

    pub(super) fn axis(&self) -> &str {
        &self.axis
    }

    /// True if the places are names and not numbers.
    pub(super) fn is_named(&self) -> bool {
        !self.names.is_empty()
    }

    /// Number of different names.
    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    /// Letters of all names.
    pub(super) fn letters(&self) -> usize {
        self.names.iter().map(|name| name.len() + 3).sum()
    }

    /// Every group once, in the order of the points.
    pub(in crate::figure) fn groups(&self) -> Vec<String> {
        different(&self.points.iter().map(|(_, group)| group.clone()).collect::<Vec<_>>())
    }

    /// Index and place of the points of a group.
    pub(in crate::figure) fn of<'a>(&'a self, group: &'a str) -> impl Iterator<Item = (usize, f64)> + 'a {
        let points = self.points.iter().enumerate();
        points.filter(move |(_, (_, other))| other == group).map(|(point, (place, _))| (point, *place))
    }

    /// The smallest and the largest place.
    pub(super) fn range(&self) -> (f64, f64) {
        let places = || self.points.iter().map(|(place, _)| *place);
        (places().fold(f64::INFINITY, f64::min), places().fold(0.0, f64::max))
    }

    /// The name at a place; empty between names, `None` for numbers.
    pub(super) fn name(&self, place: f64) -> Option<String> {
        if !self.is_named() {
            return None;
        }
        let whole = place.round();
        let near = (place - whole).abs() < 1e-6 && whole >= 0.0;
        Some(self.names.get(whole as usize).filter(|_| near).cloned().unwrap_or_default())
    }
}

fn values(manifest: &Manifest, key: &str) -> Vec<String> {
    manifest.points.iter().map(|point| point.values.get(key).cloned().unwrap_or_default()).collect()
}

fn numbers(manifest: &Manifest, key: &str) -> Option<Vec<f64>> {
    values(manifest, key).iter().map(|text| text.parse().ok()).collect()
}

fn different(texts: &[String]) -> Vec<String> {
    let mut different: Vec<String> = Vec::new();
    for text in texts {
        if !different.contains(text) {
            different.push(text.clone());
        }
    }
    different
}
