//! Round-trip times that look like the Internet's, as a function of two points.
//!
//! A point is in one of eight regions of the globe, weighted by where hosts are, and has an access line; a few lines
//! are very slow. A pair has a detour: routes are up to half as long again as the distance. The detours make the
//! triangle violations (5 to 6 % of ordered triples), the slow lines the upper tail.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::scramble;

/// Weight out of 256, and the centre on the unit sphere, of each region.
const REGIONS: [(u8, [f32; 3]); 8] = [
    (77, [0.133, -0.754, 0.643]),  // Eastern North America
    (36, [-0.387, -0.698, 0.602]), // Western North America
    (77, [0.650, 0.091, 0.755]),   // Europe
    (33, [-0.476, 0.679, 0.559]),  // East Asia
    (10, [0.201, 0.945, 0.259]),   // South Asia
    (10, [0.620, -0.689, -0.375]), // South America
    (8, [-0.711, 0.444, -0.545]),  // Oceania
    (5, [-0.225, 0.974, 0.017]),   // South-East Asia
];
/// The region of each of 256 lots.
const REGION_OF: [u8; 256] = {
    let mut lots = [0; 256];
    let (mut lot, mut region) = (0, 0);
    while region < REGIONS.len() {
        let mut left = REGIONS[region].0;
        while left > 0 {
            lots[lot] = region as u8;
            lot += 1;
            left -= 1;
        }
        region += 1;
    }
    lots
};
/// Half the edge of the cube that a region's points are in, in radii of the Earth.
const SPREAD: f32 = 0.13;
/// Round trip along one radius of the Earth, in ms: light in fibre, with the usual bends.
const RTT_PER_RADIUS_MS: f32 = 97.0;
/// The longest detour, as a share of the distance.
const DETOUR: f32 = 0.51;
/// The slowest access line, in ms of round trip.
const ACCESS_MS: f32 = 290.0;

/// The built-in latency generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    seed: u64,
}

struct Spot {
    position: [f32; 3],
    access_ms: f32,
}

impl Generated {
    /// The generator with this seed; each seed is another Internet with the same statistics.
    pub const fn new(seed: u64) -> Self {
        Self { seed: scramble(seed) }
    }

    /// The round-trip time between two points, the same in both directions.
    pub fn rtt(&self, from: u32, to: u32) -> Duration {
        Duration::from_secs_f64(f64::from(self.rtt_ms(from, to)) / 1000.0)
    }

    pub(super) fn rtt_ms(&self, from: u32, to: u32) -> f32 {
        let (a, b) = (self.spot(from), self.spot(to));
        let square = |n: usize| (a.position[n] - b.position[n]).powi(2);
        let distance = (square(0) + square(1) + square(2)).sqrt();
        let pair = u64::from(from.min(to)) << 32 | u64::from(from.max(to));
        let detour = DETOUR * unit(scramble(self.seed ^ scramble(pair))).powi(2);
        4.0 + a.access_ms + b.access_ms + distance * RTT_PER_RADIUS_MS * (1.0 + detour)
    }

    fn spot(&self, point: u32) -> Spot {
        let bits = scramble(self.seed.wrapping_add(u64::from(point)));
        let more = scramble(bits);
        let centre = REGIONS[usize::from(REGION_OF[(bits & 0xff) as usize])].1;
        let offset = |shift: u32| (unit16(bits >> shift) * 2.0 - 1.0) * SPREAD;
        Spot {
            position: [centre[0] + offset(8), centre[1] + offset(24), centre[2] + offset(40)],
            access_ms: ACCESS_MS * unit(more).powi(12),
        }
    }
}

/// From 0 to 1, 1 excluded.
fn unit(bits: u64) -> f32 {
    (bits >> 40) as f32 / (1_u32 << 24) as f32
}

fn unit16(bits: u64) -> f32 {
    (bits & 0xffff) as f32 / 65_536.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_of_the_regions_are_whole() {
        assert_eq!(REGIONS.iter().map(|(weight, _)| u32::from(*weight)).sum::<u32>(), 256);
    }
}
