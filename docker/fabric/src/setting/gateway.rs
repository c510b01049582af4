//! The form of a gateway in a file: field by field what the model has.

use std::time::Duration;

use atoll_topology as model;
use model::{
    Allocator, Allowed, Dependence, EarlyInbound, Family, Hairpin, Kind, OnUnsolicited, Outbound, Pooling,
    Ports, Refresh, Timers,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(remote = "model::Gateway")]
pub(super) struct GatewayShape {
    #[serde(with = "KindShape")]
    kind: Kind,
    #[serde(with = "FamilyShape")]
    family: Family,
    #[serde(with = "DependenceShape")]
    mapping: Dependence,
    #[serde(with = "DependenceShape")]
    filtering: Dependence,
    #[serde(with = "PortsShape")]
    ports: Ports,
    parity: bool,
    overloading: bool,
    #[serde(with = "EarlyInboundShape")]
    early_inbound: EarlyInbound,
    #[serde(with = "HairpinShape")]
    hairpin: Hairpin,
    #[serde(with = "TimersShape")]
    timers: Timers,
    pool: u16,
    #[serde(with = "PoolingShape")]
    pooling: Pooling,
    #[serde(with = "OnUnsolicitedShape")]
    on_unsolicited: OnUnsolicited,
    ports_per_subscriber: Option<u32>,
    hold: Duration,
    #[serde(with = "OutboundShape")]
    outbound: Outbound,
    subscribers: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Kind")]
enum KindShape {
    None,
    Firewall,
    Nat,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Family")]
enum FamilyShape {
    Ipv4,
    Ipv6,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Dependence")]
enum DependenceShape {
    EndpointIndependent,
    AddressDependent,
    AddressAndPortDependent,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Allocator")]
enum AllocatorShape {
    Sequential { step: u16 },
    Random,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Ports")]
struct PortsShape {
    preserve: bool,
    #[serde(with = "AllocatorShape")]
    otherwise: Allocator,
    block: Option<u16>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "EarlyInbound")]
enum EarlyInboundShape {
    Ignored,
    ClaimsPort,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Hairpin")]
enum HairpinShape {
    Off,
    InternalSource,
    ExternalSource,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Refresh")]
enum RefreshShape {
    Outbound,
    Both,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Timers")]
struct TimersShape {
    udp: Duration,
    #[serde(with = "RefreshShape")]
    udp_refresh: Refresh,
    tcp_established: Duration,
    tcp_transitory: Duration,
    icmp: Duration,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Pooling")]
enum PoolingShape {
    Paired,
    Arbitrary,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "OnUnsolicited")]
enum OnUnsolicitedShape {
    Silent,
    Reset,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Allowed")]
enum AllowedShape {
    All,
    None,
    Ports(Vec<u16>),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Outbound")]
struct OutboundShape {
    #[serde(with = "AllowedShape")]
    udp: Allowed,
    #[serde(with = "AllowedShape")]
    tcp: Allowed,
    icmp: bool,
}
