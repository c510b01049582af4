//! Randomness as a tree: every component draws from its own fork, so that a new draw in one shifts no other.

use std::fmt;
use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng as _, SeedableRng};

/// The seed of a whole node, or of a whole simulation.
pub type Seed = [u8; 32];

/// The seed of a node that is told a number.
#[must_use]
pub fn numbered(number: u64) -> Seed {
    Rng::new(Seed::default()).seed(number)
}

/// A deterministic generator (ChaCha12) that can be forked by name.
///
/// It keeps its place and not the block under way: members have a dozen each, draw seldom, and there may be many.
#[derive(Clone)]
pub struct Rng {
    seed: Seed,
    /// 32-bit words that were drawn.
    drawn: u64,
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

impl Rng {
    /// The root of a tree of generators.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self { seed, drawn: 0 }
    }

    /// An independent generator named after the component that owns it.
    #[must_use]
    pub fn fork(&self, name: &str) -> Self {
        let mut seed = self.seed;
        mix(&mut seed, name.as_bytes());
        Self::new(ChaCha12Rng::from_seed(seed).next_seed())
    }

    /// A seed for a child that is told apart by number, for example a simulated node.
    #[must_use]
    pub fn seed(&self, number: u64) -> Seed {
        let mut seed = self.seed;
        mix(&mut seed, &number.to_be_bytes());
        ChaCha12Rng::from_seed(seed).next_seed()
    }

    /// A uniform 32-bit number.
    pub fn next_u32(&mut self) -> u32 {
        self.draw(ChaCha12Rng::next_u32)
    }

    /// A uniform 64-bit number.
    pub fn next_u64(&mut self) -> u64 {
        self.draw(ChaCha12Rng::next_u64)
    }

    /// Fills `bytes` uniformly.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.draw(|stream| stream.fill_bytes(bytes));
    }

    fn draw<T>(&mut self, draw: impl FnOnce(&mut ChaCha12Rng) -> T) -> T {
        let mut stream = ChaCha12Rng::from_seed(self.seed);
        stream.set_word_pos(self.drawn.into());
        let drawn = draw(&mut stream);
        self.drawn = stream.get_word_pos() as u64;
        drawn
    }

    /// A uniform number in `0..bound`; 0 if the bound is 0. The bias is below 2^-32.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u128;
        ((u128::from(self.next_u64()) * bound) >> 64) as usize
    }

    /// A uniform number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `span` scaled by a uniform factor in `[1 - spread, 1 + spread)`.
    pub fn jitter(&mut self, span: Duration, spread: f64) -> Duration {
        span.mul_f64(1.0 - spread + 2.0 * spread * self.unit())
    }

    /// Shuffles in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }
}

/// Folds a name into a seed (FNV-1a over each half); ChaCha then spreads it.
fn mix(seed: &mut Seed, name: &[u8]) {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for (turn, chunk) in seed.chunks_mut(8).enumerate() {
        for byte in name.iter().chain(&[turn as u8]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        for (byte, mask) in chunk.iter_mut().zip(hash.to_le_bytes()) {
            *byte ^= mask;
        }
    }
}

trait NextSeed {
    fn next_seed(self) -> Seed;
}

impl NextSeed for ChaCha12Rng {
    fn next_seed(mut self) -> Seed {
        let mut seed = Seed::default();
        self.fill_bytes(&mut seed);
        seed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_are_repeatable_and_differ_by_name() {
        let root = Rng::new([7; 32]);
        assert_eq!(root.fork("ring").next_u64(), root.fork("ring").next_u64());
        assert_ne!(root.fork("ring").next_u64(), root.fork("linker").next_u64());
        assert_ne!(root.seed(1), root.seed(2));
    }

    #[test]
    fn draws_go_on_along_the_stream_of_the_seed() {
        let (mut rng, mut stream) = (Rng::new([3; 32]), ChaCha12Rng::from_seed([3; 32]));
        for length in 0..90 {
            let (mut ours, mut theirs) = (vec![0; length], vec![0; length]);
            rng.fill(&mut ours);
            stream.fill_bytes(&mut theirs);
            assert_eq!(ours, theirs);
            assert_eq!(rng.next_u32(), stream.next_u32());
            assert_eq!(rng.next_u64(), stream.next_u64());
        }
    }

    #[test]
    fn draws_stay_in_their_bounds() {
        let mut rng = Rng::new([1; 32]);
        for _ in 0..1000 {
            assert!(rng.below(7) < 7);
            assert!((0.0..1.0).contains(&rng.unit()));
            let span = rng.jitter(Duration::from_secs(1), 0.25);
            assert!((0.75..1.25).contains(&span.as_secs_f64()));
        }
        assert_eq!(rng.below(0), 0);
    }
}
