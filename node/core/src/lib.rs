//! The overlay protocol of Atoll as a state machine.
//!
//! It owns no socket, clock, file, task or global: a driver hands it inputs and the time, and carries out its
//! outputs. The daemon and the simulator are two such drivers.

pub mod buffer;
pub mod config;
pub mod control;
pub mod machine;
pub mod rng;
pub mod time;
pub mod wire;

mod node;

pub use buffer::{Buffer, Pool};
pub use machine::{Checked, Deadline, Input, Machine, Output, RequestId};
pub use node::Node;
pub use rng::{Rng, Seed};
pub use time::Time;
