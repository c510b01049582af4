//! Faults as the lab orders them; what they mean is the model's.

use std::time::Duration;

use atoll_topology::{Fault, HostId, Internet, Loss};

use super::Fabric;
use crate::api::{FaultDone, FaultOrder};

/// Name of the partition in the model; there is one at a time.
const PARTITION: &str = "partition";

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
    let ids = |hosts: &[u32]| hosts.iter().copied().map(HostId).collect();
    let fault = match order {
        FaultOrder::Rebind(hosts) => Fault::RebindOwn(ids(hosts)),
        FaultOrder::Reboot(hosts) => Fault::RebootOwn(ids(hosts)),
        FaultOrder::Partition(sides) => {
            let sides = sides.each_ref().map(|side| ids(side));
            Fault::PartitionHosts { name: PARTITION.to_owned(), sides }
        }
        FaultOrder::Heal => Fault::Heal { name: PARTITION.to_owned() },
        FaultOrder::Loss(ratio) => {
            Fault::Loss { sites: None, loss: Loss { independent: *ratio, burst: None } }
        }
    };
    u32::try_from(internet.apply(&fault, now).hosts).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_topology::{Latency, Packet, Population, Topology};

    /// A server, and two homes at one carrier with a host in each.
    const TOWN: &str = "
latency: 5 ms
sites:
  - name: town
    gateways:
      - {name: carrier, is: carrier-grade}
      - {name: home, is: full-cone, behind: carrier}
      - {name: other, is: full-cone, behind: carrier}
    hosts: [{name: server}, {name: alice, behind: home}, {name: bob, behind: other}]
";

    #[test]
    fn a_fault_at_a_host_hits_its_own_gateway_and_neither_its_carrier_nor_other_homes() {
        let topology = Topology::from_yaml(TOWN, [1; 32], |_| Err(String::new())).unwrap();
        for order in [FaultOrder::Rebind, FaultOrder::Reboot] {
            let mut internet = Internet::new(topology.clone(), [1; 32]).unwrap();
            let address = |host: usize| (topology.hosts[host].address, 4000).into();
            for host in [1, 2] {
                let mut packet = Packet::udp(address(host as usize), address(0), 100);
                internet.depart(HostId(host), &mut packet, Duration::ZERO);
            }
            assert_eq!(carry_out(&mut internet, &order(vec![1]), Duration::ZERO), 1);
            let [carrier, home, other] =
                [0, 1, 2].map(|id| internet.mappings(atoll_topology::GatewayId(id), Duration::ZERO));
            assert_eq!((carrier, home, other), (2, 0, 1));
            assert_eq!(carry_out(&mut internet, &order(vec![0]), Duration::ZERO), 0, "it is behind nothing");
        }
    }

    #[test]
    fn a_partition_lasts_until_it_is_healed_and_there_is_one_at_a_time() {
        let topology = Topology::draw(
            &Population::named("none").unwrap(),
            4,
            Latency::Constant(Duration::ZERO),
            [1; 32],
        );
        let mut internet = Internet::new(topology.unwrap(), [1; 32]).unwrap();
        let cut = FaultOrder::Partition([vec![0, 1], vec![2, 3]]);
        let hit = [&FaultOrder::Heal, &cut, &cut, &FaultOrder::Heal, &cut]
            .map(|order| carry_out(&mut internet, order, Duration::ZERO));
        assert_eq!(hit, [0, 4, 0, 4, 4]);
    }
}
