//! Which pairs of hosts can connect directly by hole punching: theory, without a packet.
//!
//! Both hosts know each other's observed address, as a third host saw it, and send to it again and again; whoever gets
//! a packet answers to where it came from. Hosts behind the same innermost gateway know their local addresses too.
//!
//! The usual rule says that a pair fails if both mappings depend on the endpoint, or one does and the other side filters
//! by address and port. It is refined here in one point: a gateway that filters endpoint-independently lets the first
//! packet in at the mapping that the third host saw, so even two endpoint-dependent mappings may meet.

use crate::{
    Allocator, Allowed, Dependence, EarlyInbound, Gateway, GatewayId, Hairpin, HostId, OnUnsolicited,
    Protocol, Topology,
};

/// Whether two hosts can connect directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Never.
    Never,
    /// Only if a side predicts the other's next external port.
    WithPrediction,
    /// Only if no early packet spoils it: none reaches a gateway before the host behind that has sent its own.
    ByLuck,
    /// Whatever the timing.
    Direct,
}

/// How a gateway counts in one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Assume {
    /// Every early packet comes at the worst time.
    BadLuck,
    /// None does.
    GoodLuck,
    /// None does, and peers predict ports.
    Prediction,
}

/// One gateway in the way of a host.
#[derive(Clone, Copy, Debug)]
struct Level {
    /// From the host up to here, the external port is the same for all remote addresses.
    is_stable: bool,
    filtering: Dependence,
}

/// Whether `a` and `b` can connect directly by hole punching, over UDP, TCP (simultaneous open) or ICMP echo, of which
/// the last never punches a NAT. Panics if a host is not in the topology.
pub fn direct(topology: &Topology, a: HostId, b: HostId, protocol: Protocol) -> Verdict {
    let [host_a, host_b] = [a, b].map(|id| &topology.hosts[id.0 as usize]);
    if host_a.address.is_ipv4() != host_b.address.is_ipv4() {
        return Verdict::Never;
    }
    if host_a.gateway.is_some() && host_a.gateway == host_b.gateway {
        return Verdict::Direct;
    }
    let chains = [chain(topology, host_a.gateway), chain(topology, host_b.gateway)];
    let gateways = || chains.iter().flatten().map(|id| behaviour(topology, *id));
    if gateways().any(|gateway| !lets_out(gateway, protocol)) {
        return Verdict::Never;
    }
    let meets = |assume| meet(topology, &chains, assume, protocol);
    let resets = protocol == Protocol::Tcp
        && gateways().any(|gateway| {
            gateway.on_unsolicited == OnUnsolicited::Reset
                && gateway.filtering != Dependence::EndpointIndependent
        });
    if meets(Assume::BadLuck) && !resets {
        Verdict::Direct
    } else if meets(Assume::GoodLuck) {
        Verdict::ByLuck
    } else if meets(Assume::Prediction) {
        Verdict::WithPrediction
    } else {
        Verdict::Never
    }
}

/// The gateways of a host, the innermost first.
fn chain(topology: &Topology, mut gateway: Option<GatewayId>) -> Vec<GatewayId> {
    let mut chain = Vec::new();
    while let Some(id) = gateway {
        chain.push(id);
        gateway = topology.gateways[id.0 as usize].behind;
    }
    chain
}

fn behaviour(topology: &Topology, id: GatewayId) -> &Gateway {
    &topology.gateways[id.0 as usize].behaviour
}

fn lets_out(gateway: &Gateway, protocol: Protocol) -> bool {
    match protocol {
        Protocol::Udp => gateway.outbound.udp == Allowed::All,
        Protocol::Tcp => gateway.outbound.tcp == Allowed::All,
        Protocol::Icmp => false,
    }
}

fn levels(topology: &Topology, chain: &[GatewayId], assume: Assume) -> Vec<Level> {
    let mut is_stable = true;
    let level = |id: &GatewayId| {
        let gateway = behaviour(topology, *id);
        is_stable &= stays(gateway, assume);
        Level { is_stable, filtering: gateway.filtering }
    };
    chain.iter().map(level).collect()
}

/// True if the peer can know the external port that this gateway uses towards it.
fn stays(gateway: &Gateway, assume: Assume) -> bool {
    if gateway.mapping == Dependence::EndpointIndependent {
        return true;
    }
    // A shared port that is preserved is the same for all, unless an early packet claimed it.
    let is_shared = gateway.overloading && gateway.ports.preserve;
    let is_sequential = matches!(gateway.ports.otherwise, Allocator::Sequential { .. });
    match assume {
        Assume::BadLuck => is_shared && gateway.early_inbound == EarlyInbound::Ignored,
        Assume::GoodLuck => is_shared,
        Assume::Prediction => is_shared || is_sequential && gateway.ports.block.is_none(),
    }
}

fn meet(topology: &Topology, chains: &[Vec<GatewayId>; 2], assume: Assume, protocol: Protocol) -> bool {
    let sides = [levels(topology, &chains[0], assume), levels(topology, &chains[1], assume)];
    let either = |connects: &dyn Fn(&[Level], &[Level]) -> bool| {
        connects(&sides[0], &sides[1]) || connects(&sides[1], &sides[0])
    };
    let shared = chains[0].last().filter(|outermost| chains[1].last() == Some(*outermost));
    match shared.map(|id| behaviour(topology, *id).hairpin) {
        None | Some(Hairpin::ExternalSource) => match protocol {
            Protocol::Tcp => either(&|from, to| reaches(from, to) && is_stable(to)),
            _ => either(&|from, to| reaches(from, to) && hears(from, to)),
        },
        Some(Hairpin::Off) => false,
        Some(Hairpin::InternalSource) => {
            // The inner gateways see a source that their host never wrote to, and the answer goes past the outermost one.
            let is_open = |side: &[Level]| {
                let inner = &side[..side.len().saturating_sub(1)];
                inner.iter().all(|level| level.filtering == Dependence::EndpointIndependent)
            };
            let outermost_only = |side: &[Level]| side.last().copied().into_iter().collect::<Vec<_>>();
            let is_apart = chains[0].iter().filter(|id| chains[1].contains(id)).count() == 1;
            protocol == Protocol::Udp
                && is_apart
                && sides.iter().all(|side| is_open(side))
                && either(&|from, to| reaches(from, &outermost_only(to)))
        }
    }
}

fn is_stable(side: &[Level]) -> bool {
    side.last().is_none_or(|level| level.is_stable)
}

/// True if the first packets of `from`, to the observed address of `to`, come through.
fn reaches(from: &[Level], to: &[Level]) -> bool {
    to.iter().all(|level| match level.filtering {
        Dependence::EndpointIndependent => true,
        Dependence::AddressDependent => level.is_stable,
        Dependence::AddressAndPortDependent => level.is_stable && is_stable(from),
    })
}

/// True if, after that, the answer of `to` comes back through.
fn hears(from: &[Level], to: &[Level]) -> bool {
    from.iter().all(|level| level.filtering != Dependence::AddressAndPortDependent) || is_stable(to)
}
