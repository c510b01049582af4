//! What goes wrong, or changes, while the model runs.

use std::time::Duration;

use crate::{Behind, Gateway, GatewayId, HostId, Loss, SiteId};

/// Partitions that can be in force at the same time; one more hits nobody.
pub(crate) const PARTITIONS_MAX: usize = 64;

/// A change of the Internet.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// No packet leaves the sites of one side for those of the other. Packets on their way still arrive.
    Partition {
        /// By this name it can be healed.
        name: String,
        /// The two sides; a site in neither reaches both.
        sides: [Vec<SiteId>; 2],
    },
    /// The same between the sites that these hosts are at.
    PartitionHosts {
        /// By this name it can be healed.
        name: String,
        /// The two sides; a site with hosts of both is cut off from itself, too.
        sides: [Vec<HostId>; 2],
    },
    /// Ends the partition of that name.
    Heal {
        /// Name of the partition.
        name: String,
    },
    /// From now on packets are lost like this.
    Loss {
        /// Only those that leave or enter these sites; `None`: all.
        sites: Option<Vec<SiteId>>,
        /// The new loss; it replaces the old one.
        loss: Loss,
    },
    /// The gateway restarts: its mappings are gone and it gets new external addresses.
    Reboot(GatewayId),
    /// The gateway forgets its mappings and keeps its addresses.
    Rebind(GatewayId),
    /// The own gateways of these hosts restart, as in `Reboot`. A host's own gateway is the innermost that it is behind:
    /// its home router. What is further out, such as a carrier NAT, is not touched; one that several of these
    /// hosts share restarts once; a host behind nothing has none.
    RebootOwn(Vec<HostId>),
    /// The own gateways of these hosts forget their mappings, as in `Rebind`.
    RebindOwn(Vec<HostId>),
    /// The gateway behaves differently from now on; its mappings are gone.
    Replace(GatewayId, Gateway),
    /// The host moves and gets a new address.
    Roam {
        /// Who moves.
        host: HostId,
        /// Where to.
        site: SiteId,
        /// What it is behind then.
        behind: Behind,
    },
}

/// What a fault did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultReport {
    /// When.
    pub at: Duration,
    /// Hosts that it hit; 0 means that nothing changed.
    pub hosts: usize,
}
