//! What faults do, and how many hosts they say they hit.

use std::time::Duration;

use atoll_topology::*;

use crate::lab::{Lab, gateway};

fn apply(lab: &mut Lab, fault: &Fault) -> usize {
    let report = lab.net.apply(fault, lab.now);
    assert_eq!(report.at, lab.now);
    report.hosts
}

fn passes(lab: &mut Lab, from: u32, to: u32) -> bool {
    lab.got.clear();
    lab.udp(HostId(from), 1, lab.server(to, 1));
    lab.settle();
    !lab.take(HostId(to)).is_empty()
}

#[test]
fn a_partition_cuts_both_ways_until_it_is_healed() {
    let mut lab = Lab::new();
    let cut = Fault::Partition { name: "cable".into(), sides: [vec![SiteId(0)], vec![SiteId(1)]] };
    let heal = Fault::Heal { name: "cable".into() };
    assert_eq!(apply(&mut lab, &cut), 2);
    assert_eq!(apply(&mut lab, &cut), 0, "the name is taken");
    assert!(!passes(&mut lab, 0, 1) && !passes(&mut lab, 1, 0));
    assert!(passes(&mut lab, 0, 2) && passes(&mut lab, 2, 1), "a site on neither side reaches both");
    assert_eq!(lab.drops, [DropReason::Partition; 2]);
    assert_eq!(apply(&mut lab, &heal), 2);
    assert_eq!(apply(&mut lab, &heal), 0);
    assert!(passes(&mut lab, 0, 1));
}

#[test]
fn a_partition_between_hosts_cuts_their_sites() {
    let mut lab = Lab::new();
    let home = lab.home(&[gateway("full-cone")]);
    let site = lab.net.host(home).site;
    let others = [0, 1, 2].map(HostId).into_iter().filter(|host| lab.net.host(*host).site != site);
    let sides = [vec![home], others.collect()];
    let cut = Fault::PartitionHosts { name: "cable".into(), sides };
    let hit = apply(&mut lab, &cut);
    assert_eq!(hit, lab.net.hosts().count(), "every host is at one of these sites");
    assert!(!passes(&mut lab, home.0, 1));
    assert_eq!(apply(&mut lab, &Fault::Heal { name: "cable".into() }), hit);
    assert!(passes(&mut lab, home.0, 1));
}

#[test]
fn loss_can_change_everywhere_or_at_some_sites() {
    let mut lab = Lab::new();
    let all = Loss { independent: 1.0, burst: None };
    let hosts = apply(&mut lab, &Fault::Loss { sites: Some(vec![SiteId(1)]), loss: all });
    assert_eq!(hosts, 1);
    assert!(!passes(&mut lab, 0, 1) && !passes(&mut lab, 1, 0) && passes(&mut lab, 0, 2));
    assert_eq!(apply(&mut lab, &Fault::Loss { sites: None, loss: all }), 3);
    assert!(!passes(&mut lab, 0, 2));
    assert_eq!(apply(&mut lab, &Fault::Loss { sites: None, loss: Loss::default() }), 3);
    assert!(passes(&mut lab, 0, 1));
}

#[test]
fn a_reboot_takes_the_mappings_and_the_address_and_a_rebinding_only_the_mappings() {
    for is_reboot in [true, false] {
        let mut lab = Lab::new();
        let host = lab.home(&[gateway("full-cone")]);
        lab.beside(host);
        let id = lab.net.host(host).gateway.unwrap();
        let before = lab.observed(host, 5000, (0, 1)).unwrap();
        let fault = if is_reboot { Fault::Reboot(id) } else { Fault::Rebind(id) };
        assert_eq!(apply(&mut lab, &fault), 2);
        assert_eq!(lab.net.mappings(id, lab.now), 0);
        assert!(!lab.reaches((0, 1), before, host));
        let after = lab.observed(host, 5000, (0, 1)).unwrap();
        assert_eq!(before.ip() != after.ip(), is_reboot);
        assert!(lab.reaches((1, 1), after, host));
    }
}

#[test]
fn a_rebooted_home_behind_a_carrier_gets_an_address_from_the_carrier() {
    let mut lab = Lab::new();
    let host = lab.home(&[gateway("port-restricted-cone"), gateway("carrier-grade")]);
    let id = lab.net.host(host).gateway.unwrap();
    let old = lab.net.topology().gateways[id.0 as usize].external[0];
    assert_eq!(apply(&mut lab, &Fault::Reboot(id)), 1);
    let new = lab.net.topology().gateways[id.0 as usize].external[0];
    assert_ne!(old, new);
    assert!(lab.net.topology().gateways[0].inside.contains(new));
    assert!(lab.observed(host, 5000, (0, 1)).is_some());
    let outermost = lab.outermost(host);
    assert_eq!(apply(&mut lab, &Fault::Reboot(outermost)), 1);
}

#[test]
fn a_fault_at_a_hosts_own_gateway_leaves_its_carrier_and_the_carriers_other_homes_alone() {
    for fault in [Fault::RebootOwn, Fault::RebindOwn] {
        let mut lab = Lab::new();
        let host = lab.home(&[gateway("full-cone"), gateway("carrier-grade")]);
        let other = lab.subscriber(host, &[gateway("full-cone")]);
        let [own, others] = [host, other].map(|host| lab.net.host(host).gateway.unwrap());
        let carrier = lab.outermost(host);
        let before = [host, other].map(|host| lab.observed(host, 5000, (0, 1)).unwrap());
        assert_eq!(apply(&mut lab, &fault(vec![host])), 1);
        assert_eq!([own, others, carrier].map(|id| lab.net.mappings(id, lab.now)), [0, 1, 2]);
        assert!(!lab.reaches((0, 1), before[0], host) && lab.reaches((0, 1), before[1], other));
        assert!(lab.observed(host, 5000, (0, 1)).is_some());
    }
}

#[test]
fn gateways_that_hosts_share_are_hit_once_and_so_are_the_hosts() {
    let mut lab = Lab::new();
    let host = lab.home(&[gateway("full-cone"), gateway("carrier-grade")]);
    let housemate = lab.beside(host);
    let carrier = lab.outermost(host);
    let customer = lab.place_at(Behind::Gateway(carrier), lab.net.host(host).site);
    assert_eq!(apply(&mut lab, &Fault::RebindOwn(vec![host, housemate, host])), 2);
    assert_eq!(
        apply(&mut lab, &Fault::RebindOwn(vec![host, customer])),
        3,
        "the carrier is the customer's own"
    );
    assert_eq!(apply(&mut lab, &Fault::RebootOwn(vec![HostId(0), HostId(1)])), 0, "they are behind nothing");
}

#[test]
fn a_replaced_gateway_behaves_differently() {
    let mut lab = Lab::new();
    let host = lab.home(&[gateway("full-cone")]);
    let id = lab.net.host(host).gateway.unwrap();
    let before = lab.observed(host, 5000, (0, 1));
    assert_eq!(apply(&mut lab, &Fault::Replace(id, gateway("symmetric"))), 1);
    let [a, b] = [(0, 1), (1, 1)].map(|to| lab.observed(host, 5000, to));
    assert!(a != b && a != before);
    assert_eq!(lab.net.gateway_counters(id).created, 3);
    assert_eq!(apply(&mut lab, &Fault::Replace(id, gateway("stateful-ipv6"))), 0, "another kind of box");
    assert_eq!(apply(&mut lab, &Fault::Replace(id, gateway("carrier-grade"))), 1, "another pool");
    assert!(lab.observed(host, 5000, (0, 1)).is_some());
}

#[test]
fn a_roaming_host_has_a_new_address_and_its_old_one_is_dead() {
    let mut lab = Lab::new();
    let host = lab.home(&[gateway("full-cone")]);
    let cafe = lab.home(&[gateway("port-restricted-cone")]);
    let old = lab.observed(host, 5000, (0, 1)).unwrap();
    let old_address = lab.net.host(host).address;
    let behind = Behind::Gateway(lab.net.host(cafe).gateway.unwrap());
    let site = lab.net.host(cafe).site;
    assert_eq!(apply(&mut lab, &Fault::Roam { host, site, behind }), 1);
    assert!(!lab.reaches((0, 1), old, host));
    assert_eq!(lab.drops.last(), Some(&DropReason::Moved));
    let new = lab.observed(host, 5000, (0, 1)).unwrap();
    assert_ne!(new.ip(), old.ip());
    assert!(lab.reaches((0, 1), new, host) && !lab.reaches((1, 1), new, host));
    let stale = Packet::udp((old_address, 5000).into(), lab.server(0, 1), 100);
    if lab.net.host(host).address != old_address {
        lab.send(host, stale);
        assert_eq!(lab.drops.last(), Some(&DropReason::ForeignSource));
    }
    let site = SiteId(7);
    assert_eq!(apply(&mut lab, &Fault::Roam { host, site, behind: Behind::Public }), 1);
    assert!(lab.net.host(host).is_public());
    let own = lab.address(host, 5000);
    assert!(lab.reaches((0, 1), own, host));
}

#[test]
fn a_packet_to_a_host_that_moved_away_is_lost() {
    let mut lab = Lab::new();
    lab.udp(HostId(0), 1, lab.server(1, 1));
    let roam = Fault::Roam { host: HostId(1), site: SiteId(9), behind: Behind::Public };
    assert_eq!(apply(&mut lab, &roam), 1);
    lab.settle();
    assert_eq!(lab.drops, [DropReason::Moved]);
}

#[test]
fn a_fault_without_a_target_hits_nobody() {
    let mut lab = Lab::new();
    let nowhere = vec![SiteId(999)];
    let faults = [
        Fault::Partition { name: "x".into(), sides: [nowhere.clone(), vec![SiteId(0)]] },
        Fault::PartitionHosts { name: "x".into(), sides: [vec![HostId(0)], vec![HostId(99)]] },
        Fault::PartitionHosts { name: "x".into(), sides: [vec![HostId(0)], Vec::new()] },
        Fault::Heal { name: "x".into() },
        Fault::Loss { sites: Some(nowhere), loss: Loss::default() },
        Fault::Reboot(GatewayId(5)),
        Fault::Rebind(GatewayId(5)),
        Fault::RebootOwn(vec![HostId(0), HostId(99)]),
        Fault::RebindOwn(vec![HostId(99)]),
        Fault::Replace(GatewayId(5), gateway("symmetric")),
        Fault::Roam { host: HostId(99), site: SiteId(0), behind: Behind::Public },
        Fault::Roam { host: HostId(0), site: SiteId(999), behind: Behind::Public },
    ];
    for fault in faults {
        assert_eq!(apply(&mut lab, &fault), 0, "{fault:?}");
    }
    assert!(passes(&mut lab, 0, 1));
    lab.wait(Duration::from_secs(1));
}
