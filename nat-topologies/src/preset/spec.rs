//! A gateway as YAML says it: every key optional, over a base.

use std::time::Duration;

use serde::Deserialize;

use crate::value::Span;
use crate::{
    Allocator, Allowed, Dependence, EarlyInbound, Family, Gateway, Hairpin, Kind, OnUnsolicited, Outbound,
    Pooling, Ports, Refresh, Timers, TopologyError,
};

/// The YAML keys of a gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatewaySpec {
    /// Name of the gateway to start from.
    pub(crate) preset: Option<String>,
    kind: Option<Kind>,
    family: Option<Family>,
    mapping: Option<Dependence>,
    filtering: Option<Dependence>,
    ports: Option<PortsWord>,
    taken: Option<TakenWord>,
    step: Option<u16>,
    block: Option<u16>,
    parity: Option<bool>,
    overloading: Option<bool>,
    early_inbound: Option<EarlyInbound>,
    hairpin: Option<Hairpin>,
    udp_timeout: Option<Span>,
    udp_refresh: Option<Refresh>,
    tcp_established: Option<Span>,
    tcp_transitory: Option<Span>,
    icmp_timeout: Option<Span>,
    pool: Option<u16>,
    pooling: Option<Pooling>,
    on_unsolicited: Option<OnUnsolicited>,
    ports_per_subscriber: Option<u32>,
    hold: Option<Span>,
    allow_udp: Option<AllowedSpec>,
    allow_tcp: Option<AllowedSpec>,
    allow_icmp: Option<bool>,
    subscribers: Option<u16>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PortsWord {
    Preserve,
    Sequential,
    Random,
    Blocks,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TakenWord {
    Random,
    Sequential,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected `all`, `none` or a list of ports")]
enum AllowedSpec {
    Word(AllowedWord),
    Ports(Vec<u16>),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AllowedWord {
    All,
    None,
}

impl From<AllowedSpec> for Allowed {
    fn from(spec: AllowedSpec) -> Self {
        match spec {
            AllowedSpec::Word(AllowedWord::All) => Self::All,
            AllowedSpec::Word(AllowedWord::None) => Self::None,
            AllowedSpec::Ports(ports) => Self::Ports(ports),
        }
    }
}

impl Default for Gateway {
    /// A home router as the RFCs want it; the preset `port-restricted-cone`.
    fn default() -> Self {
        Self {
            kind: Kind::Nat,
            family: Family::Ipv4,
            mapping: Dependence::EndpointIndependent,
            filtering: Dependence::AddressAndPortDependent,
            ports: Ports { preserve: true, otherwise: Allocator::Random, block: None },
            parity: true,
            overloading: false,
            early_inbound: EarlyInbound::Ignored,
            hairpin: Hairpin::ExternalSource,
            timers: Timers {
                udp: Duration::from_secs(120),
                udp_refresh: Refresh::Outbound,
                tcp_established: Duration::from_secs(7440),
                tcp_transitory: Duration::from_secs(240),
                icmp: Duration::from_secs(60),
            },
            pool: 1,
            pooling: Pooling::Paired,
            on_unsolicited: OnUnsolicited::Silent,
            ports_per_subscriber: None,
            hold: Duration::ZERO,
            outbound: Outbound { udp: Allowed::All, tcp: Allowed::All, icmp: true },
            subscribers: 1,
        }
    }
}

impl GatewaySpec {
    /// The gateway that has these keys, and the others from `base`.
    pub(crate) fn over(self, base: Gateway) -> Result<Gateway, TopologyError> {
        let ports = self.ports_over(base.ports)?;
        let span = |value: Option<Span>, other| value.map_or(other, |span| span.0);
        let timers = Timers {
            udp: span(self.udp_timeout, base.timers.udp),
            udp_refresh: self.udp_refresh.unwrap_or(base.timers.udp_refresh),
            tcp_established: span(self.tcp_established, base.timers.tcp_established),
            tcp_transitory: span(self.tcp_transitory, base.timers.tcp_transitory),
            icmp: span(self.icmp_timeout, base.timers.icmp),
        };
        let outbound = Outbound {
            udp: self.allow_udp.map_or(base.outbound.udp, Allowed::from),
            tcp: self.allow_tcp.map_or(base.outbound.tcp, Allowed::from),
            icmp: self.allow_icmp.unwrap_or(base.outbound.icmp),
        };
        let gateway = Gateway {
            kind: self.kind.unwrap_or(base.kind),
            family: self.family.unwrap_or(base.family),
            mapping: self.mapping.unwrap_or(base.mapping),
            filtering: self.filtering.unwrap_or(base.filtering),
            ports,
            parity: self.parity.unwrap_or(base.parity),
            overloading: self.overloading.unwrap_or(base.overloading),
            early_inbound: self.early_inbound.unwrap_or(base.early_inbound),
            hairpin: self.hairpin.unwrap_or(base.hairpin),
            timers,
            pool: self.pool.unwrap_or(base.pool),
            pooling: self.pooling.unwrap_or(base.pooling),
            on_unsolicited: self.on_unsolicited.unwrap_or(base.on_unsolicited),
            ports_per_subscriber: self.ports_per_subscriber.or(base.ports_per_subscriber),
            hold: span(self.hold, base.hold),
            outbound,
            subscribers: self.subscribers.unwrap_or(base.subscribers),
        };
        gateway.check()?;
        Ok(gateway)
    }

    fn ports_over(&self, base: Ports) -> Result<Ports, TopologyError> {
        let step = self.step.unwrap_or(match base.otherwise {
            Allocator::Sequential { step } => step,
            Allocator::Random => 1,
        });
        let sequential = Allocator::Sequential { step };
        let taken = match self.taken {
            Some(TakenWord::Random) => Allocator::Random,
            Some(TakenWord::Sequential) => sequential,
            None => base.otherwise,
        };
        let block = self.block.or(base.block);
        Ok(match self.ports {
            None => Ports { otherwise: taken, block, ..base },
            Some(PortsWord::Preserve) => Ports { preserve: true, otherwise: taken, block: None },
            Some(PortsWord::Sequential) => Ports { preserve: false, otherwise: sequential, block: None },
            Some(PortsWord::Random) => Ports { preserve: false, otherwise: Allocator::Random, block: None },
            Some(PortsWord::Blocks) => {
                let needed = || TopologyError::new("`ports: blocks` needs `block`, the ports of one block");
                let block = Some(block.ok_or_else(|| needed().key("block").hint("block: 512"))?);
                Ports { preserve: false, otherwise: Allocator::Random, block }
            }
        })
    }
}
