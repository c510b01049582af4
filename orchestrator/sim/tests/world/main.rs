//! The world with small machines: one file a topic, one binary for all.
#![expect(clippy::unwrap_used, reason = "an unwrap in a test is an assertion")]

mod commands;
mod crashes;
mod determinism;
mod faults;
mod nats;
mod order;
mod puppet;
mod stall;
mod stopping;
mod traffic;
mod wakes;
