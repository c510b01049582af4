//! The lab: one experiment file, a simulator and containers behind emulated NATs.

pub mod cli;
pub mod environment;
pub mod error;
pub mod figure;
pub mod metric;
pub mod plan;
pub mod record;
pub mod report;
pub mod run;
pub mod stats;
