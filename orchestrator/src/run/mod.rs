//! Runs the trials of a plan and keeps what they measured. It knows no environment by name beyond choosing it.
//!
//! An experiment is one file, made of steps that it shares with others: `settle`, `count`, `ways`, `routes`, `rest`.

mod bandwidth;
mod churn;
mod count;
mod draw;
mod join;
mod outcome;
mod partition;
mod pool;
mod relay;
mod rest;
mod revocation;
mod rings;
mod routes;
mod schedule;
mod settle;
mod stage;
mod theory;
mod ways;

pub use draw::draw;
pub use outcome::{Measured, Outcome};
pub use schedule::{Place, Run, run};
