//! What a fabric starts from, as a file: the topology in every detail, with the addresses that were drawn.
//!
//! The file travels from one program to the other of one build; it is no format for people.

use std::path::Path;

use atoll_topology::Topology;
use serde::{Deserialize, Serialize};

/// Everything that an emulated Internet starts from; `Internet::new` checks whether it can be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Sites, gateways, hosts and what joins them.
    pub topology: Topology,
    /// Seed of ports and losses.
    pub seed: [u8; 32],
    /// How many times slower than the kernel's the fabric's clock runs, at least 1.
    pub dilation: u32,
}

/// A setting that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// The file cannot be read.
    #[error("{0}")]
    Unreadable(#[from] std::io::Error),
    /// It is not of this form; names the key.
    #[error("{0}")]
    Malformed(#[from] serde_path_to_error::Error<serde_json::Error>),
    /// It does not end where it should.
    #[error("{0}")]
    Trailing(serde_json::Error),
}

impl Setting {
    /// The setting as bytes of a file.
    ///
    /// # Errors
    /// Never for a setting that an `Internet` accepts.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// They are not what [`Setting::to_json`] made.
    pub fn from_json(bytes: &[u8]) -> Result<Self, SettingError> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let setting = serde_path_to_error::deserialize(&mut reader)?;
        reader.end().map_err(SettingError::Trailing)?;
        Ok(setting)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It is not there, or not what [`Setting::to_json`] made.
    pub fn read(path: &Path) -> Result<Self, SettingError> {
        Self::from_json(&std::fs::read(path)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::time::Duration;

    use super::*;
    use atoll_topology::{Generated, Internet, Latency, Population, RttMatrix};
    use serde_json::{Value, json};

    fn drawn(hosts: usize, latency: Latency) -> Setting {
        let topology =
            Topology::draw(&Population::named("default").unwrap(), hosts, latency, [3; 32]).unwrap();
        Setting { topology, seed: [9; 32], dilation: 1 }
    }

    /// Round trips such as a measurement gives them, with a gap.
    fn matrix(points: usize) -> Latency {
        let mut csv = String::from("rtt_ms");
        (0..points).for_each(|point| write!(csv, ",p{point}").unwrap());
        for row in 0..points {
            write!(csv, "\np{row}").unwrap();
            for column in 0..points {
                let micros = 1_000 + (row * 7_919 + column * 104_729) % 400_000;
                write!(csv, ",{}", micros as f64 / 1_000.0).unwrap();
            }
        }
        let gap = csv.rfind(',').unwrap();
        let gap = csv[..gap].rfind(',').unwrap();
        let end = gap + 1 + csv[gap + 1..].find(',').unwrap();
        csv.replace_range(gap + 1..end, "");
        Latency::Matrix(RttMatrix::from_rtt_ms_csv(&csv).unwrap())
    }

    #[test]
    fn a_setting_survives_the_journey_whatever_its_latency() {
        let made_up = Latency::Generated(Generated::new(u64::MAX));
        for latency in [Latency::Constant(Duration::from_millis(50)), made_up, matrix(70)] {
            let setting = drawn(60, latency);
            let copy = Setting::from_json(&setting.to_json().unwrap()).unwrap();
            assert_eq!(copy, setting);
            assert!(Internet::new(copy.topology, copy.seed).is_ok());
        }
    }

    #[test]
    fn a_large_matrix_takes_a_few_bytes_a_cell() {
        let size = |latency| drawn(300, latency).to_json().unwrap().len();
        let without = size(Latency::Generated(Generated::new(5)));
        assert!(without < 500_000, "{without}");
        let cells = size(matrix(490)) - without;
        assert!(cells < 9 * 490 * 490, "{cells}");
    }

    /// The error for a setting of which one value is another one.
    fn refused(place: &str, value: Value) -> String {
        let mut setting = serde_json::to_value(drawn(20, matrix(20))).unwrap();
        *setting.pointer_mut(place).unwrap() = value;
        Setting::from_json(setting.to_string().as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_setting_is_refused_with_its_key() {
        let kind = refused("/topology/gateways/0/behaviour/kind", json!("natt"));
        assert!(kind.starts_with("topology.gateways[0].behaviour.kind: unknown variant `natt`"), "{kind}");
        let link = refused("/topology/hosts/3/link", json!({"delay": {"secs": 0, "nanos": 0}, "colour": 7}));
        assert!(link.starts_with("topology.hosts[3].link.colour: unknown field `colour`"), "{link}");
        let seed = refused("/seed", json!([1, 2]));
        assert!(seed.starts_with("seed"), "{seed}");
    }

    #[test]
    fn what_is_no_matrix_is_refused() {
        let cells = "/topology/latency/matrix/rtt_ms";
        let few = refused(cells, json!([1.0, 2.0]));
        assert!(few.contains("2 cells are no matrix of 20 points"), "{few}");
        let negative = refused(&format!("{cells}/5"), json!(-3.0));
        assert!(negative.contains("-3 ms is no round-trip time"), "{negative}");
        let none = refused("/topology/latency/matrix/points", json!(0));
        assert!(none.contains("400 cells are no matrix of 0 points"), "{none}");
    }

    #[test]
    fn what_is_no_file_of_ours_is_refused() {
        assert!(matches!(Setting::from_json(b"{}"), Err(SettingError::Malformed(_))));
        assert!(matches!(Setting::read(Path::new("/nowhere")), Err(SettingError::Unreadable(_))));
        let mut twice = drawn(2, matrix(2)).to_json().unwrap();
        twice.extend_from_within(..);
        assert!(matches!(Setting::from_json(&twice), Err(SettingError::Trailing(_))));
    }
}
