//! Claims about the model, one topic a file.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod carrier;
mod determinism;
mod draw;
mod faults;
mod filtering;
mod hairpin;
mod icmp;
mod lab;
mod latency;
mod mapping;
mod oracle;
mod paths;
mod tcp;
mod timers;
mod yaml;
