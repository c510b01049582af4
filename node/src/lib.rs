//! The overlay daemon: it gives the protocol of `atoll-core` a socket, a clock and a configuration.
//!
//! It owns every contact with the operating system and decides nothing about the protocol.

pub mod cli;
pub mod config;
pub mod driver;
pub mod identity;
pub mod logging;

mod authority;
mod enrolment;
mod failure;
mod group;
mod revoked;

use atoll_site::{date, files, keys};

pub use failure::Failure;
