//! What the fabric can be asked, as JSON over HTTP: types for both sides.
//!
//! The whole interface is served on a unix socket that only its owner can reach. On loopback TCP there are only
//! pages to read: the fabric's metrics, the list of targets for Prometheus, and every node's own metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::capture::Summary;
use crate::engine::{Lateness, Traffic};

mod client;

pub use client::{Client, ClientError};

/// Nodes that one fabric serves.
pub const NODES_MAX: usize = 4096;
/// Longest request or answer, in bytes.
pub const BODY_MAX: usize = 64 << 20;
/// Longest wait for one node's answer: longer than a node takes until it says that nobody answered it.
pub const NODE_LIMIT: Duration = Duration::from_secs(15);

/// `POST /attach`: gives containers their devices. Answer: a list with `null` or an error for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// The node's name, unique in this fabric.
    pub name: String,
    /// The host of the topology that it is.
    pub host: u32,
    /// Its first process, as the fabric's host numbers it.
    pub pid: u32,
    /// Whether it waits in `atoll-hold`.
    pub held: bool,
}

/// `POST /command`: puts one question to many nodes at once. Answer: a list of [`NodeAnswer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// The nodes' names.
    pub nodes: Vec<String>,
    /// A command of the node's control interface.
    pub command: Value,
}

/// One node's answer.
pub type NodeAnswer = Result<Value, String>;

/// `POST /release` and `POST /detach`: names of nodes. Answer to a release: a list of [`Released`].
pub type Names = Vec<String>;

/// When a node was let go, in seconds on the fabric's clock, or why it was not.
pub type Released = Result<f64, String>;

/// `POST /fault`: changes the emulated Internet. Answer: [`FaultDone`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultOrder {
    /// The own gateways of these hosts, the innermost, forget their mappings.
    Rebind(Vec<u32>),
    /// The own gateways of these hosts restart with new addresses.
    Reboot(Vec<u32>),
    /// Every path loses this share of its packets, in `[0, 1]`.
    Loss(f64),
    /// No packet leaves the sites of one side's hosts for those of the other.
    Partition([Vec<u32>; 2]),
    /// Ends the partition.
    Heal,
}

/// What a fault did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultDone {
    /// When it took effect, in seconds on the fabric's clock.
    pub at: f64,
    /// Hosts that it hit.
    pub hosts: u32,
}

/// `POST /controls`: one thing that must hold before a measurement is worth anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// What must hold, in words.
    pub claim: String,
    /// Whether it does.
    pub holds: bool,
}

/// `POST /capture`: begins to write every packet into a file. `POST /capture-end` ends it; answer: a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureOrder {
    /// Name of a new file, which is made in the folder of the fabric's socket.
    pub file: String,
    /// Its bound, in bytes; the capture ends before the packet that would exceed it.
    pub bytes_max: u64,
}

/// `GET /report`: everything that the fabric knows about itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What the kernel's monotonic clock showed when the fabric's stood at zero, in nanoseconds.
    pub clock_start_nanos: u64,
    /// The fabric's clock, in seconds.
    pub now: f64,
    /// TCP port of the pages on loopback.
    pub pages_port: u16,
    /// How late packets were handed over.
    pub lateness: Lateness,
    /// Packets on their way.
    pub queued: u64,
    /// Packets read from and written to devices.
    pub packets: u64,
    /// Packets that the fabric lost, by reason. They make a run doubtful.
    pub losses: BTreeMap<String, u64>,
    /// Packets that the emulated Internet dropped as it should, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Mappings by gateway.
    pub mappings: BTreeMap<String, u64>,
    /// The capture that goes on, or the last that has ended.
    pub capture: Option<Summary>,
    /// The nodes by name.
    pub nodes: BTreeMap<String, NodeReport>,
    /// Processor time that the fabric used, in seconds.
    pub cpu_seconds: f64,
}

/// What the fabric knows about a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The host that it is.
    pub host: u32,
    /// When it was let go, in seconds on the fabric's clock.
    pub released: Option<f64>,
    /// When its process ended, in seconds on the fabric's clock.
    pub exited: Option<f64>,
    /// Traffic since the release.
    pub traffic: Traffic,
}

/// What a request that failed is answered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why, in one sentence.
    pub error: String,
}
