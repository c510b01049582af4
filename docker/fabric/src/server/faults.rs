//! Faults as the lab orders them, in terms of hosts; the model knows them in terms of gateways.

use std::collections::BTreeSet;
use std::time::Duration;

use atoll_topology::{Fault, GatewayId, Internet, Loss, Topology};

use super::Fabric;
use crate::api::{FaultDone, FaultOrder};

impl Fabric {
    /// Carries out a fault between two packets.
    pub(super) async fn apply(&self, order: FaultOrder) -> Result<FaultDone, String> {
        let apply = move |engine: &mut crate::engine::Engine| {
            let now = engine.now();
            let hosts = carry_out(engine.internet_mut(), &order, now);
            FaultDone { at: now.as_secs_f64(), hosts }
        };
        self.engine.ask(apply).await.map_err(|error| error.to_string())
    }
}

fn carry_out(internet: &mut Internet, order: &FaultOrder, now: Duration) -> u32 {
    let faults: Vec<Fault> = match order {
        FaultOrder::Rebind(hosts) => outermost(internet.topology(), hosts).map(Fault::Rebind).collect(),
        FaultOrder::Reboot(hosts) => outermost(internet.topology(), hosts).map(Fault::Reboot).collect(),
        FaultOrder::Loss(ratio) => {
            let loss = Loss { independent: *ratio, burst: None };
            vec![Fault::Loss { sites: None, loss }]
        }
    };
    let hit: usize = faults.iter().map(|fault| internet.apply(fault, now).hosts).sum();
    u32::try_from(hit).unwrap_or(u32::MAX)
}

/// The gateways nearest to the Internet in front of these hosts, each once.
fn outermost(topology: &Topology, hosts: &[u32]) -> impl Iterator<Item = GatewayId> + use<> {
    let gateways = topology.gateways.as_slice();
    let found: BTreeSet<_> = hosts
        .iter()
        .filter_map(|host| topology.hosts.get(*host as usize)?.gateway)
        .map(|inner| {
            let outwards = |id: &GatewayId| gateways.get(id.0 as usize).and_then(|gateway| gateway.behind);
            std::iter::successors(Some(inner), outwards).last().unwrap_or(inner)
        })
        .collect();
    found.into_iter()
}
