//! The discrete-event world: it drives [`Machine`](atoll_core::Machine)s in virtual time over a modelled Internet.
//!
//! It knows nothing of the protocol: a node, a rogue, a recorder and a baseline are machines alike. It has no threads,
//! sockets or OS clock, so the same seed gives the same [`World::trace_hash`]; worlds are independent of each other and
//! may run on several threads, one each.
#![deny(unsafe_code)]

mod counters;
mod crash;
mod engine;
mod flight;
mod heap;
mod host;
mod observe;
mod requests;
pub mod ring;
mod settings;
mod stall;
mod trace;
mod world;

pub use counters::{Counters, Traffic};
pub use crash::Crash;
pub use observe::{EVENTS_MAX, Events, Fate, Listener, Observation, Observer};
pub use requests::REQUESTS_MAX;
pub use ring::Ring;
pub use settings::{PORT, Settings, Stop};
pub use stall::{StallLimits, Stalled};
pub use world::World;
