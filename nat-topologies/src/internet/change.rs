//! Changes while the model runs: faults, moves, new hosts.

use std::collections::BTreeSet;
use std::time::Duration;

use super::wire::{LossState, SiteState};
use super::{Behind, Internet, NewHost, Spot};
use crate::fault::PARTITIONS_MAX;
use crate::nat::Nat;
use crate::packet::Owner;
use crate::topology::Place;
use crate::{Family, Fault, FaultReport, Gateway, GatewayId, HostId, Kind, Loss, SiteId, TopologyError};

impl Internet {
    /// Changes the Internet from `now` on, and says how many hosts that hits. A fault that names what does not
    /// exist, or that cannot be, hits nobody and changes nothing.
    pub fn apply(&mut self, fault: &Fault, now: Duration) -> FaultReport {
        let hosts = match fault {
            Fault::Partition { name, sides } => self.partition(name, sides),
            Fault::PartitionHosts { name, sides } => self.partition_hosts(name, sides),
            Fault::Heal { name } => self.heal(name),
            Fault::Loss { sites, loss } => self.set_loss(sites.as_deref(), *loss),
            Fault::Reboot(id) => self.change_gateways([*id], Self::reboot),
            Fault::Rebind(id) => self.change_gateways([*id], Self::rebind),
            Fault::RebootOwn(hosts) => self.change_own_gateways(hosts, Self::reboot),
            Fault::RebindOwn(hosts) => self.change_own_gateways(hosts, Self::rebind),
            Fault::Replace(id, behaviour) => self.replace(*id, behaviour),
            Fault::Roam { host, site, behind } => self.roam(*host, *site, behind),
        };
        FaultReport { at: now, hosts }
    }

    fn partition(&mut self, name: &str, sides: &[Vec<SiteId>; 2]) -> usize {
        let exists = |site: &SiteId| (site.0 as usize) < self.sites.len();
        let is_wrong = sides.iter().any(|side| side.is_empty() || !side.iter().all(exists));
        if is_wrong || self.partitions.iter().flatten().any(|known| known == name) {
            return 0;
        }
        let index = match self.partitions.iter().position(Option::is_none) {
            Some(index) => index,
            None if self.partitions.len() < PARTITIONS_MAX => {
                self.partitions.push(None);
                self.partitions.len() - 1
            }
            None => return 0,
        };
        self.partitions[index] = Some(name.into());
        self.is_quiet = false;
        for (side, sites) in sides.iter().enumerate() {
            for site in sites {
                self.sites[site.0 as usize].sides[side] |= 1 << index;
            }
        }
        self.hosts_cut(1 << index)
    }

    fn partition_hosts(&mut self, name: &str, sides: &[Vec<HostId>; 2]) -> usize {
        if sides.iter().flatten().any(|host| host.0 as usize >= self.spots.len()) {
            return 0;
        }
        let site = |host: &HostId| SiteId(self.spots[host.0 as usize].site);
        let sites = sides.each_ref().map(|hosts| {
            let sites: BTreeSet<SiteId> = hosts.iter().map(site).collect();
            sites.into_iter().collect()
        });
        self.partition(name, &sites)
    }

    fn heal(&mut self, name: &str) -> usize {
        let Some(index) = self.partitions.iter().position(|known| known.as_deref() == Some(name)) else {
            return 0;
        };
        let hosts = self.hosts_cut(1 << index);
        self.partitions[index] = None;
        for site in &mut self.sites {
            site.sides = site.sides.map(|side| side & !(1 << index));
        }
        self.is_quiet = self.sites.iter().all(SiteState::is_quiet);
        hosts
    }

    fn hosts_cut(&self, bit: u64) -> usize {
        let is_cut = |site: u32| {
            let sides = self.sites[site as usize].sides;
            (sides[0] | sides[1]) & bit != 0
        };
        self.spots.iter().filter(|spot| is_cut(spot.site)).count()
    }

    fn set_loss(&mut self, sites: Option<&[SiteId]>, loss: Loss) -> usize {
        let state = LossState::new(loss);
        self.is_quiet = false;
        let Some(chosen) = sites else {
            for site in &mut self.sites {
                site.leaving = state;
                site.entering = LossState::default();
            }
            self.topology.path.loss = loss;
            return self.spots.len();
        };
        if chosen.iter().any(|site| site.0 as usize >= self.sites.len()) {
            return 0;
        }
        for site in chosen {
            let site = &mut self.sites[site.0 as usize];
            site.leaving = state;
            site.entering = state;
        }
        self.spots.iter().filter(|spot| chosen.contains(&SiteId(spot.site))).count()
    }

    fn change_own_gateways(&mut self, hosts: &[HostId], change: fn(&mut Self, GatewayId) -> bool) -> usize {
        if hosts.iter().any(|host| host.0 as usize >= self.spots.len()) {
            return 0;
        }
        let own = hosts.iter().filter_map(|host| self.spots[host.0 as usize].gateway);
        self.change_gateways(own.collect::<BTreeSet<_>>(), change)
    }

    /// Changes these gateways, and counts the hosts behind those where that was possible, each once.
    fn change_gateways(
        &mut self,
        gateways: impl IntoIterator<Item = GatewayId>,
        change: fn(&mut Self, GatewayId) -> bool,
    ) -> usize {
        let changed = gateways.into_iter().filter(|id| change(self, *id)).collect();
        self.hosts_behind(&changed)
    }

    fn reboot(&mut self, id: GatewayId) -> bool {
        let Some(gateway) = self.topology.gateways.get(id.0 as usize) else { return false };
        let behaviour = gateway.behaviour.clone();
        self.readdress(id, behaviour)
    }

    fn rebind(&mut self, id: GatewayId) -> bool {
        let Some(gateway) = self.gateways.get_mut(id.0 as usize) else { return false };
        gateway.nat.forget();
        true
    }

    fn replace(&mut self, id: GatewayId, behaviour: &Gateway) -> usize {
        let Some(gateway) = self.topology.gateways.get_mut(id.0 as usize) else { return 0 };
        let old = &gateway.behaviour;
        if behaviour.check().is_err() || (old.kind, old.family) != (behaviour.kind, behaviour.family) {
            return 0;
        }
        let same_pool = old.pool == behaviour.pool;
        gateway.behaviour = behaviour.clone();
        if same_pool {
            let nat = Nat::new(behaviour.clone(), gateway.external.clone());
            self.gateways[id.0 as usize].nat.succeed(nat);
        } else if !self.readdress(id, behaviour.clone()) {
            return 0;
        }
        self.hosts_behind(&BTreeSet::from([id]))
    }

    /// Starts the gateway again with new external addresses; false if there are none left.
    fn readdress(&mut self, id: GatewayId, behaviour: Gateway) -> bool {
        let n = id.0 as usize;
        let behind = self.gateways[n].behind;
        let Ok(external) = self.plan.external(&self.topology, behind, &behaviour) else { return false };
        for address in std::mem::replace(&mut self.topology.gateways[n].external, external.clone()) {
            self.unregister(behind, address);
        }
        for address in &external {
            if self.register(behind, *address, Owner::Gateway(id)).is_err() {
                return false;
            }
        }
        self.gateways[n].nat.succeed(Nat::new(behaviour, external));
        true
    }

    /// Hosts with at least one of these gateways between them and the Internet.
    fn hosts_behind(&self, gateways: &BTreeSet<GatewayId>) -> usize {
        let outwards = |id: &GatewayId| self.gateways[id.0 as usize].behind;
        let is_behind = |spot: &&Spot| {
            std::iter::successors(spot.gateway, outwards).any(|gateway| gateways.contains(&gateway))
        };
        self.spots.iter().filter(is_behind).count()
    }

    fn roam(&mut self, host: HostId, site: SiteId, behind: &Behind) -> usize {
        let n = host.0 as usize;
        if n >= self.spots.len() {
            return 0;
        }
        let old = self.spots[n];
        let family = if old.address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        let Ok(gateway) = self.network_for(&self.topology.hosts[n].name.clone(), site, behind) else {
            return 0;
        };
        let family = self.family_behind(gateway).unwrap_or(family);
        let Ok(address) = self.plan.address(&self.topology, gateway, family) else { return 0 };
        self.unregister(old.gateway, old.address);
        if self.register(gateway, address, Owner::Host(host)).is_err() {
            return 0;
        }
        let spot = &mut self.spots[n];
        (spot.address, spot.gateway, spot.site) = (address, gateway, site.0);
        spot.point = self.sites[site.0 as usize].point;
        let host = &mut self.topology.hosts[n];
        (host.address, host.gateway, host.site) = (address, gateway, site);
        1
    }

    /// Adds a host; fails if the site or the gateway does not exist or no address is left.
    pub fn add_host(&mut self, new: NewHost) -> Result<HostId, TopologyError> {
        let gateway = self.network_for(&new.name, new.site, &new.behind)?;
        // A public host speaks what the others speak.
        let is_v6 = self.topology.hosts.first().is_some_and(|host| host.address.is_ipv6());
        let family = if is_v6 { Family::Ipv6 } else { Family::Ipv4 };
        let family = self.family_behind(gateway).unwrap_or(family);
        let place = Place { name: new.name, site: new.site, behind: gateway };
        let id = self.plan.place_host(&mut self.topology, place, family)?;
        self.take_in_new_machines()?;
        Ok(id)
    }

    /// The innermost gateway for a machine, made if need be.
    fn network_for(
        &mut self,
        name: &str,
        site: SiteId,
        behind: &Behind,
    ) -> Result<Option<GatewayId>, TopologyError> {
        if site.0 as usize >= self.sites.len() {
            return Err(TopologyError::new(format!("site {} does not exist", site.0)));
        }
        let (chain, outer) = match behind {
            Behind::Public => (&[][..], None),
            Behind::Gateway(id) => (&[][..], Some(*id)),
            Behind::Fresh(chain) => (&chain[..], None),
            Behind::FreshBehind(chain, id) => (&chain[..], Some(*id)),
        };
        if let Some(id) = outer.filter(|id| id.0 as usize >= self.gateways.len()) {
            return Err(TopologyError::new(format!("gateway {} does not exist", id.0)));
        }
        chain.iter().try_for_each(Gateway::check)?;
        let mut innermost = outer;
        for (depth, behaviour) in chain.iter().enumerate().rev() {
            if behaviour.kind != Kind::None {
                let place = Place { name: format!("{name}-gateway-{depth}"), site, behind: innermost };
                innermost = Some(self.plan.place_gateway(&mut self.topology, place, behaviour.clone())?);
            }
        }
        self.take_in_new_machines()?;
        Ok(innermost)
    }

    fn family_behind(&self, gateway: Option<GatewayId>) -> Option<Family> {
        gateway.map(|id| self.topology.gateways[id.0 as usize].behaviour.family)
    }
}
