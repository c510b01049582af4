//! The overlay protocol of Atoll as a state machine.
//!
//! It owns no socket, clock, file, task or global: a driver hands it inputs and the time, and carries out its
//! outputs. The daemon and the simulator are two such drivers.
//!
//! A datagram's way: [`Node`] reads its header and finds the overlay; the overlay's security engine opens the record;
//! the edge and its path take note; the router decides whether the packet ends here; the service that owns the message
//! answers; what it answers goes down the same stairs.

#![deny(unsafe_code)]

pub mod buffer;
pub mod config;
pub mod control;
pub mod counters;
pub mod machine;
pub mod rng;
pub mod time;
pub mod wire;

pub mod broadcast;
pub mod connection;
pub mod dht;
pub mod discovery;
pub mod edge;
pub mod healing;
pub mod herald;
pub mod inquiry;
pub mod linker;
mod node;
pub mod overlay;
pub mod path;
pub mod relay;
pub mod revocations;
pub mod ring;
pub mod router;
pub mod security;
pub mod sender;

pub use buffer::{Buffer, Pool};
pub use machine::{Checked, Deadline, Evidence, Input, Machine, Output, RequestId, Telling};
pub use node::{Node, OVERLAYS_MAX};
pub use rng::{Rng, Seed};
pub use time::Time;
