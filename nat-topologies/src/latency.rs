//! One-way delay between two points: constant, measured or made up. Pure functions; no state per pair beyond the
//! matrix itself.

mod generated;
mod matrix;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use generated::Generated;
pub use matrix::RttMatrix;

/// Delay between two sites.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Latency {
    /// The same one-way delay between any two sites.
    Constant(Duration),
    /// Measured round-trip times, halved.
    Matrix(RttMatrix),
    /// Round-trip times made up without a file, halved.
    Generated(Generated),
}

impl Latency {
    /// The one-way delay between two different points.
    pub fn one_way(&self, from: u32, to: u32) -> Duration {
        Duration::from_nanos(self.one_way_nanos(from, to))
    }

    /// The round-trip time between two different points: there and back.
    pub fn rtt(&self, from: u32, to: u32) -> Duration {
        self.one_way(from, to) + self.one_way(to, from)
    }

    pub(crate) fn one_way_nanos(&self, from: u32, to: u32) -> u64 {
        match self {
            Self::Constant(delay) => crate::path::nanos(*delay),
            Self::Matrix(matrix) => half(matrix.rtt_ms(from, to)),
            Self::Generated(generated) => half(generated.rtt_ms(from, to)),
        }
    }
}

fn half(rtt_ms: f32) -> u64 {
    (f64::from(rtt_ms) * 500_000.0) as u64
}

/// Mixes 64 bits well (Steele, Lea and Flood's `SplitMix64`).
pub(crate) const fn scramble(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
