//! The overlay daemon: it gives the protocol of `atoll-core` a socket, a clock and a configuration.
//!
//! It owns every contact with the operating system and decides nothing about the protocol.

pub mod cli;
pub mod config;
pub mod driver;
pub mod identity;
pub mod logging;

mod authority;
mod date;
mod failure;
mod files;
mod group;
mod keys;

pub use failure::Failure;
