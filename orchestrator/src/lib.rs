//! The lab: one experiment file, a simulator and containers behind emulated NATs.

pub mod environment;
pub mod error;
