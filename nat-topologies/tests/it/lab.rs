//! A small Internet to test with: public servers, and homes as wanted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use atoll_topology::*;

/// One-way delay between sites.
pub(crate) const DELAY: Duration = Duration::from_millis(10);

/// A packet that reached a host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Got {
    pub(crate) at: Duration,
    pub(crate) host: HostId,
    pub(crate) packet: Packet,
}

pub(crate) struct Lab {
    pub(crate) net: Internet,
    pub(crate) now: Duration,
    pub(crate) got: Vec<Got>,
    pub(crate) drops: Vec<DropReason>,
    queue: BTreeMap<(Duration, u64), Packet>,
    sequence: u64,
    next_site: u32,
}

pub(crate) fn gateway(name: &str) -> Gateway {
    preset(name).unwrap()
}

impl Lab {
    /// Three public servers, hosts 0 to 2, and room for 30 more sites.
    pub(crate) fn new() -> Self {
        Self::with_family(Family::Ipv4)
    }

    pub(crate) fn with_family(family: Family) -> Self {
        let sites = (0..33).map(|point| Site { name: format!("s{point}"), point }).collect();
        let address = match family {
            Family::Ipv4 => [44, 128, 0, 1].into(),
            Family::Ipv6 => [0x2600, 0x4400, 0, 0, 0, 0, 0, 1_u16].into(),
        };
        let first =
            Host { name: "h0".into(), site: SiteId(0), gateway: None, address, link: Link::default() };
        let topology = Topology {
            sites,
            gateways: vec![],
            hosts: vec![first],
            latency: Latency::Constant(DELAY),
            path: Path::default(),
        };
        let mut lab = Self::of(topology);
        for _ in 0..2 {
            lab.home(&[]);
        }
        lab
    }

    pub(crate) fn of(topology: Topology) -> Self {
        let net = Internet::new(topology, [3; 32]).unwrap();
        let (got, drops, queue) = Default::default();
        Self { net, now: Duration::ZERO, got, drops, queue, sequence: 0, next_site: 1 }
    }

    /// A host at a site of its own behind new gateways, the innermost first.
    pub(crate) fn home(&mut self, chain: &[Gateway]) -> HostId {
        self.place(if chain.is_empty() { Behind::Public } else { Behind::Fresh(chain.to_vec()) })
    }

    /// A host in the network of another one's gateway.
    pub(crate) fn beside(&mut self, other: HostId) -> HostId {
        let gateway = self.net.host(other).gateway.unwrap();
        self.place_at(Behind::Gateway(gateway), self.net.host(other).site)
    }

    /// A host behind gateways of its own at the outermost gateway of another host.
    pub(crate) fn subscriber(&mut self, of: HostId, chain: &[Gateway]) -> HostId {
        let behind = Behind::FreshBehind(chain.to_vec(), self.outermost(of));
        self.place_at(behind, self.net.host(of).site)
    }

    pub(crate) fn outermost(&self, host: HostId) -> GatewayId {
        let mut id = self.net.host(host).gateway.unwrap();
        while let Some(outer) = self.net.topology().gateways[id.0 as usize].behind {
            id = outer;
        }
        id
    }

    fn place(&mut self, behind: Behind) -> HostId {
        self.next_site += 1;
        self.place_at(behind, SiteId(self.next_site - 1))
    }

    pub(crate) fn place_at(&mut self, behind: Behind, site: SiteId) -> HostId {
        let name = format!("h{}", self.net.hosts().count());
        self.net.add_host(NewHost { name, site, behind }).unwrap()
    }

    pub(crate) fn address(&self, host: HostId, port: u16) -> SocketAddr {
        SocketAddr::new(self.net.host(host).address, port)
    }

    pub(crate) fn server(&self, n: u32, port: u16) -> SocketAddr {
        self.address(HostId(n), port)
    }

    pub(crate) fn send(&mut self, from: HostId, mut packet: Packet) {
        match self.net.depart(from, &mut packet, self.now) {
            Departure::InFlight { at } => self.push(at, packet),
            Departure::Returned(answer, at) => self.push(at, answer),
            Departure::Dropped(reason) => self.drops.push(reason),
        }
    }

    pub(crate) fn udp(&mut self, from: HostId, port: u16, to: SocketAddr) {
        let packet = Packet::udp(self.address(from, port), to, 100);
        self.send(from, packet);
    }

    pub(crate) fn tcp(&mut self, from: HostId, port: u16, to: SocketAddr, flags: TcpFlags) {
        let packet = Packet::tcp(self.address(from, port), to, flags);
        self.send(from, packet);
    }

    fn push(&mut self, at: Duration, packet: Packet) {
        assert!(at >= self.now);
        self.queue.insert((at, self.sequence), packet);
        self.sequence += 1;
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= until
        {
            let ((at, _), mut packet) = entry.remove_entry();
            self.now = at;
            match self.net.arrive(&mut packet, at) {
                Arrival::Delivered(host) => self.got.push(Got { at, host, packet }),
                Arrival::InFlight { at } => self.push(at, packet),
                Arrival::Returned(answer, at) => self.push(at, answer),
                Arrival::Dropped(reason) => self.drops.push(reason),
            }
        }
        self.now = until;
    }

    /// Lets all packets arrive, within two seconds.
    pub(crate) fn settle(&mut self) {
        self.wait(Duration::from_secs(2));
        assert!(self.queue.is_empty());
    }

    /// What arrived at a host since the last look at any host.
    pub(crate) fn take(&mut self, host: HostId) -> Vec<Packet> {
        std::mem::take(&mut self.got)
            .into_iter()
            .filter(|got| got.host == host)
            .map(|got| got.packet)
            .collect()
    }

    /// How a server sees the host's port: the observed address.
    pub(crate) fn observed(&mut self, host: HostId, port: u16, to: (u32, u16)) -> Option<SocketAddr> {
        self.got.clear();
        self.udp(host, port, self.server(to.0, to.1));
        self.wait(DELAY * 20);
        self.take(HostId(to.0)).first().map(|packet| packet.source)
    }

    /// Sends from a server and says whether that reaches the host.
    pub(crate) fn reaches(&mut self, from: (u32, u16), to: SocketAddr, host: HostId) -> bool {
        self.got.clear();
        self.udp(HostId(from.0), from.1, to);
        self.wait(DELAY * 20);
        !self.take(host).is_empty()
    }
}
