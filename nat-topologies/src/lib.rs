//! A model of the Internet, for a simulator and for containers alike.
//!
//! It has no sockets, no clock and no threads: packets and instants go in, packets and instants come out. The same
//! topology, seed and calls give the same results.
//!
//! # Tour
//!
//! A [`Topology`] is plain data: sites, hosts, gateways (NATs and firewalls, each perhaps behind another one) and a
//! [`Latency`]. It is drawn from a [`Population`], read from YAML, or handed over by another program of the same build
//! with serde. [`Internet::new`] checks it and starts the model.
//!
//! A packet's way has two calls. [`Internet::depart`] takes it out through the sender's own line and gateways, outermost
//! last, rewrites it in place, and says when it is at the far side. [`Internet::arrive`], to be called at that instant,
//! takes it in through the receiver's gateways, outermost first; mappings and filters are asked then and not before.
//! Where a line has a rate or a gateway stands at another site, `arrive` says `InFlight` and wants to be called again.
//! Resets and ICMP errors of the model's own come back as `Returned`: give them to `arrive` as any other packet. The
//! driver keeps the [`Packet`] itself between the calls, for it also knows in which network it is: private addresses
//! repeat, and the way between two hosts of one home, or two homes of one carrier, never sees the Internet.
//!
//! A [`Gateway`] is data in the words of RFC 4787. Presets are names for such data, and nothing reads the name again.
//! [`Internet::apply`] changes things under way: partitions, loss, reboots, moves. [`oracle::direct`] says what punching
//! should achieve between two hosts, and tests hold the model against it.
//!
//! Reading order: `gateway` (the data), `nat` (one gateway at work), `nat::table` (its mappings), `internet::ways` (a
//! packet's way), then whatever you need.
//!
//! # Not here
//!
//! Fragments (RFC 4787 REQ-13, 14): every packet counts as if DF were set. TCP timers (RFC 5382 REQ-5) follow SYN, FIN and
//! RST but no sequence numbers. ICMP never ends a mapping. No port mapping protocols, no NAT64, no ALGs.
//!
//! # Example
//!
//! ```
//! use std::{net::SocketAddr, time::Duration};
//! use atoll_topology::{Arrival, Departure, Internet, Latency, Packet, Population, Topology};
//!
//! let latency = Latency::Constant(Duration::from_millis(50));
//! let topology = Topology::draw(&Population::named("none")?, 2, latency, [7; 32])?;
//! let mut internet = Internet::new(topology, [7; 32])?;
//! let ids: Vec<_> = internet.hosts().map(|(id, host)| (id, host.address)).collect();
//! let from = SocketAddr::new(ids[0].1, 4000);
//! let to = SocketAddr::new(ids[1].1, 4000);
//!
//! let mut packet = Packet::udp(from, to, 128);
//! let Departure::InFlight { at } = internet.depart(ids[0].0, &mut packet, Duration::ZERO) else { panic!() };
//! assert_eq!(at, Duration::from_millis(50));
//! assert_eq!(internet.arrive(&mut packet, at), Arrival::Delivered(ids[1].0));
//! # Ok::<(), atoll_topology::TopologyError>(())
//! ```
#![deny(unsafe_code)]

mod counters;
mod error;
mod fault;
mod gateway;
mod internet;
mod latency;
mod nat;
pub mod oracle;
mod packet;
mod path;
mod population;
mod preset;
mod topology;
mod value;
mod yaml;

use serde::{Deserialize, Serialize};

pub use counters::{Counters, DropReason, GatewayCounters};
pub use error::TopologyError;
pub use fault::{Fault, FaultReport};
pub use gateway::{
    Allocator, Allowed, Dependence, EarlyInbound, Family, Gateway, Hairpin, Kind, OnUnsolicited, Outbound,
    Pooling, Ports, Refresh, Timers,
};
pub use internet::{Arrival, Behind, Departure, Internet, NewHost};
pub use latency::{Generated, Latency, RttMatrix};
pub use packet::{Body, Icmp, IcmpError, Packet, Protocol, Quote, TcpFlags};
pub use path::{Burst, Link, Loss, Path, Rate};
pub use population::{Population, Share};
pub use preset::{preset, preset_names, preset_source};
pub use topology::{Host, PlacedGateway, Site, Subnet, Topology};
pub use yaml::hushed;

/// Number of a host, in the order of the topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub u32);

/// Number of a site: a point of the latency matrix with the machines there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SiteId(pub u32);

/// Number of a gateway: a box with a NAT, a firewall or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GatewayId(pub u32);
