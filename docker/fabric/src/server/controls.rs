//! What must hold before a measurement is worth anything, tried with real sockets in the containers' namespaces:
//! a packet that may pass does, one that nobody asked for does not, and private networks are apart.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use atoll_topology::{Allowed, Fault, GatewayId, HostId, Topology};

use super::Fabric;
use crate::api::Control;
use crate::namespace::Namespace;

/// Added to the longest delay of the topology before a packet counts as lost.
const PATIENCE: Duration = Duration::from_millis(400);

/// A node that takes part.
#[derive(Clone)]
struct Party {
    namespace: Arc<Namespace>,
    host: HostId,
    address: IpAddr,
    /// The outermost gateway, and one of its addresses.
    outside: Option<(GatewayId, IpAddr)>,
    point: u32,
    /// Whether its site lets UDP out to any port.
    sends: bool,
}

/// The nodes that the controls are tried with.
#[derive(Clone)]
struct Cast {
    public: Party,
    other_public: Option<Party>,
    /// Behind two different gateways.
    private: Vec<Party>,
}

impl Fabric {
    /// Tries the controls between attached nodes that wait at their gates. What the tries left in gateways is
    /// forgotten afterwards.
    pub(super) async fn controls(&self) -> Result<Vec<Control>, String> {
        let topology = self.engine.ask(|engine| engine.internet().topology().clone()).await;
        let topology = topology.map_err(|error| error.to_string())?;
        let cast = self.cast(&topology).ok_or("no node has a public address")?;
        let patience = self.clock.real(patience(&topology, &cast));
        let gateways: Vec<_> = cast.private.iter().filter_map(|party| party.outside).collect();
        let tried = tokio::task::spawn_blocking(move || try_all(&cast, patience)).await;
        let tidy = move |engine: &mut crate::engine::Engine| {
            let now = engine.now();
            for (gateway, _) in gateways {
                engine.internet_mut().apply(&Fault::Rebind(gateway), now);
            }
        };
        self.engine.ask(tidy).await.map_err(|error| error.to_string())?;
        tried.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    fn cast(&self, topology: &Topology) -> Option<Cast> {
        let nodes = self.nodes.lock();
        let parties = nodes.values().filter_map(|node| {
            let host = topology.hosts.get(node.host.0 as usize)?;
            let outside = outermost(topology, host.gateway);
            let point = topology.sites.get(host.site.0 as usize)?.point;
            let namespace = Arc::clone(&node.namespace);
            let sends = outwards(topology, host.gateway)
                .all(|gateway| topology.gateways[gateway.0 as usize].behaviour.outbound.udp == Allowed::All);
            Some(Party { namespace, host: node.host, address: host.address, outside, point, sends })
        });
        let (mut publics, mut private): (Vec<_>, Vec<Party>) = (Vec::new(), Vec::new());
        for party in parties {
            let is_public = topology.hosts[party.host.0 as usize].is_public();
            if is_public && publics.len() < 2 {
                publics.push(party);
            } else if !is_public && private.len() < 2 && is_elsewhere(&party, &private) {
                private.push(party);
            }
        }
        let mut publics = publics.into_iter();
        Some(Cast { public: publics.next()?, other_public: publics.next(), private })
    }
}

/// Whether a party is behind a gateway with addresses, and not behind one that others are behind.
fn is_elsewhere(party: &Party, others: &[Party]) -> bool {
    let Some((gateway, _)) = party.outside else { return false };
    others.iter().all(|other| other.outside.is_none_or(|(known, _)| known != gateway))
}

/// What a host is behind, from the inside out.
fn outwards(topology: &Topology, inner: Option<GatewayId>) -> impl Iterator<Item = GatewayId> + '_ {
    std::iter::successors(inner, |id| topology.gateways.get(id.0 as usize)?.behind)
}

fn outermost(topology: &Topology, inner: Option<GatewayId>) -> Option<(GatewayId, IpAddr)> {
    let last = outwards(topology, inner).last()?;
    Some((last, *topology.gateways.get(last.0 as usize)?.external.first()?))
}

/// How long a packet between any two of the cast may take.
fn patience(topology: &Topology, cast: &Cast) -> Duration {
    let points: Vec<_> = std::iter::once(&cast.public)
        .chain(&cast.other_public)
        .chain(&cast.private)
        .map(|party| party.point)
        .collect();
    let pairs = points.iter().flat_map(|from| points.iter().map(move |to| (*from, *to)));
    let apart = pairs.filter(|(from, to)| from != to);
    let longest = apart.map(|(from, to)| topology.latency.one_way(from, to)).max().unwrap_or_default();
    longest + topology.path.jitter + PATIENCE
}

fn try_all(cast: &Cast, patience: Duration) -> io::Result<Vec<Control>> {
    let mut controls = Vec::new();
    let mut claim = |claim: &str, holds| controls.push(Control { claim: claim.to_owned(), holds });
    let private = || cast.private.iter().find(|party| party.sends);
    if let Some(sender) = cast.other_public.as_ref().or_else(private) {
        let arrives = arrives(sender, &cast.public, |receiver| receiver, patience)?;
        claim("a datagram to a public host arrives", arrives);
    }
    if let Some(party) = cast.private.first() {
        if let Some((_, outside)) = party.outside {
            let at_gateway = |receiver: SocketAddr| SocketAddr::new(outside, receiver.port());
            let arrives = arrives(&cast.public, party, at_gateway, patience)?;
            claim("a datagram that nobody asked for vanishes at a gateway", !arrives);
        }
        let arrives = arrives(&cast.public, party, |receiver| receiver, patience)?;
        claim("a private address is not reached from outside", !arrives);
    }
    if let [one, other] = cast.private.as_slice() {
        let arrives = arrives(one, other, |receiver| receiver, patience)?;
        claim("private networks do not reach each other", !arrives);
    }
    Ok(controls)
}

/// Whether a datagram from one party comes to another, sent to what `aim` makes of the receiver's own address.
fn arrives(
    from: &Party,
    to: &Party,
    aim: impl Fn(SocketAddr) -> SocketAddr,
    patience: Duration,
) -> io::Result<bool> {
    let bind = |party: &Party| party.namespace.enter(|| UdpSocket::bind(SocketAddr::new(party.address, 0)));
    let (sender, receiver) = (bind(from)?, bind(to)?);
    receiver.set_read_timeout(Some(patience))?;
    // An ICMP answer of the gateway may come as an error of this socket: it is a way of not arriving.
    let sent = sender.send_to(b"control", aim(receiver.local_addr()?));
    let mut bytes = [0; 16];
    Ok(sent.is_ok() && matches!(receiver.recv(&mut bytes), Ok(7) if bytes.starts_with(b"control")))
}
