//! Runs the trials of a plan and keeps what they measured. It knows no environment by name beyond choosing it.

mod draw;
mod join;
mod outcome;
mod schedule;
mod theory;

pub use draw::draw;
pub use outcome::{Measured, Outcome};
pub use schedule::{Place, Run, run};
