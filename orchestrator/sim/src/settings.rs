//! What a world is told when it is made, and the two ways to stop a host.

use std::time::Duration;

use atoll_core::Seed;

use crate::stall::StallLimits;

/// The UDP port that every host's socket is bound to unless the settings say otherwise.
pub const PORT: u16 = 4242;

/// Settings of a world.
#[derive(Clone, Debug)]
pub struct Settings {
    /// All randomness that [`World::seed`](crate::World::seed) hands to machines comes from here.
    pub seed: Seed,
    /// Asserts the laws of the machine trait around every machine, by panicking.
    pub checked: bool,
    /// A machine that panics ends its host and not the run; see [`World::crashes`](crate::World::crashes).
    pub contain_crashes: bool,
    /// Whether the trace hash sees what datagrams hold, and not only how long they are.
    pub trace_contents: bool,
    /// When a run counts as stalled.
    pub stall: StallLimits,
    /// The UDP port of every host's socket.
    pub port: u16,
    /// How long a host that was told to leave may still talk.
    pub grace: Duration,
}

impl Settings {
    /// The default settings: machines are checked in builds with debug assertions, and a panic
    /// ends the run.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self {
            seed,
            checked: cfg!(debug_assertions),
            contain_crashes: false,
            trace_contents: true,
            stall: StallLimits::default(),
            port: PORT,
            grace: Duration::from_secs(2),
        }
    }
}

/// How a host stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is told to leave, and is gone once it replies `Left` or the grace is over.
    Leave,
    /// It is gone at once, and says nothing to anyone.
    Kill,
}
