//! The discrete-event world: it drives [`Machine`](atoll_core::Machine)s in virtual time over a modelled Internet.
//!
//! It knows nothing of the protocol: a node, a rogue, a recorder and a baseline are machines alike. It has no threads,
//! sockets or OS clock, so the same seed gives the same [`World::trace_hash`]; worlds are independent of each other and
//! may run on several threads, one each.
//!
//! ```
//! use std::time::Duration;
//! use atoll_core::config::{Config, OverlayConfig};
//! use atoll_core::control::{Command, Reply, State};
//! use atoll_core::{Node, Time};
//! use atoll_core::wire::Address;
//! use atoll_sim::{Settings, World};
//! use atoll_topology::{HostId, Internet, Latency, Population, Topology};
//!
//! let latency = Latency::Constant(Duration::from_millis(100));
//! let topology = Topology::draw(&Population::named("none")?, 2, latency, [7; 32])?;
//! let mut world = World::new(Internet::new(topology, [7; 32])?, Settings::new([7; 32]));
//! for host in [HostId(0), HostId(1)] {
//!     let first = world.socket(HostId(0)).filter(|_| host != HostId(0));
//!     let address = Address::from_bytes([host.0 as u8; Address::LEN]);
//!     let overlay = OverlayConfig::new("public", address, first.into_iter().collect());
//!     let node = Node::new(&Config::new(vec![overlay]), world.pool(), world.seed(host), world.now());
//!     world.start(host, Box::new(node));
//! }
//! world.run_until(Time::from_secs(5))?;
//! let Reply::Status(overlays) = world.command(HostId(1), Command::Status) else { panic!() };
//! assert_eq!(overlays[0].state, State::Connected);
//! assert!(world.traffic(HostId(1)).sent_bytes > 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

mod counters;
mod crash;
mod engine;
mod entropy;
mod flight;
mod heap;
mod host;
mod observe;
mod received;
mod requests;
pub mod ring;
mod settings;
mod stall;
mod tcp;
mod trace;
mod world;

pub use counters::{Counters, Traffic};
pub use crash::Crash;
pub use observe::{EVENTS_MAX, Events, Fate, Listener, Observation, Observer, Tap};
pub use received::{Carried, Heard, Kept, RECEIVED_MAX, Received};
pub use requests::REQUESTS_MAX;
pub use ring::Ring;
pub use settings::{PORT, Settings, Stop};
pub use stall::{StallLimits, Stalled};
pub use world::World;
