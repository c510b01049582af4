//! Floor 7: one socket, many overlays.

use std::collections::VecDeque;

use crate::buffer::Pool;
use crate::config::Config;
use crate::machine::{Deadline, Input, Machine, Output};
use crate::rng::Seed;
use crate::time::Time;

/// A running participant: one socket and its memberships.
#[derive(Debug)]
pub struct Node {
    outputs: VecDeque<Output>,
}

impl Node {
    /// A node that starts at `now`. It takes its buffers from `pool` and all its randomness from `seed`.
    #[must_use]
    pub fn new(_config: &Config, _pool: &Pool, _seed: Seed, _now: Time) -> Self {
        Self { outputs: VecDeque::new() }
    }
}

impl Machine for Node {
    fn handle_input(&mut self, _input: Input, _now: Time) {}

    fn handle_timeout(&mut self, _now: Time) {}

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        None
    }
}
