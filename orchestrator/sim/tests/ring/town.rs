//! Real nodes in a world, and the observer of their ring.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use atoll_core::config::{Config, DiscoveryConfig, OverlayConfig, RelayConfig, TcpUse};
use atoll_core::control::{Command, Event, EventKind, Peer, Reply};
use atoll_core::security::{Credentials, GroupSecret, QuicOptions, Security};
use atoll_core::wire::{Address, Epoch, PacketKind};
use atoll_core::{Machine, Node, Rng, Time};
use atoll_sim::ring::Follower;
use atoll_sim::{Events, Settings, Stop, World};
use atoll_topology::{HostId, Internet, Latency, Population, Topology};

use crate::spoiler::{Spoil, Switch};

const OVERLAY: &str = "public";
const GROUP: &str = "group";
const BOOTSTRAPS_MAX: usize = 5;

/// Members of one overlay, 100 ms from each other one way if nothing else is said.
pub(crate) struct Town {
    pub(crate) world: World,
    follower: Arc<Mutex<Follower>>,
    rng: Rng,
    security: &'static str,
    tcp: TcpUse,
    /// What each host started with.
    starts: BTreeMap<HostId, (Address, Option<Security>, Vec<HostId>)>,
    told: Arc<Mutex<Vec<(Time, HostId, Event)>>>,
    /// The members of a private overlay, and the observer of its ring.
    group: BTreeSet<HostId>,
    group_follower: Arc<Mutex<Follower>>,
    /// What each host's member does with what it passes on, if it can be turned.
    switches: Option<BTreeMap<HostId, Switch>>,
    /// How the members of the private overlay are secured, if not like those of the public one.
    vouch: Option<Vouch>,
    /// The salts that members were told, as they keep them.
    salts: BTreeMap<HostId, Epoch>,
    /// Hosts that act as members of the private overlay and are none.
    strangers: BTreeSet<HostId>,
    /// How much each member relays.
    relay: RelayConfig,
}

/// Makes the security of a host's member of the private overlay at an address.
type Vouch = Box<dyn FnMut(HostId, Address) -> Security>;

impl Town {
    /// Hosts in a population of NATs; nobody started yet.
    pub(crate) fn new(hosts: usize, population: &str, seed: u8) -> Self {
        Self::apart(hosts, population, Duration::from_millis(100), seed)
    }

    /// The same with members so far from each other one way.
    pub(crate) fn apart(hosts: usize, population: &str, one_way: Duration, seed: u8) -> Self {
        Self::drawn(hosts, &Population::named(population).unwrap(), one_way, seed)
    }

    /// The same in a population that has no name.
    pub(crate) fn drawn(hosts: usize, population: &Population, one_way: Duration, seed: u8) -> Self {
        let seed = [seed; 32];
        let latency = Latency::Constant(one_way);
        let topology = Topology::draw(population, hosts, latency, seed).unwrap();
        let internet = Internet::new(topology, seed).unwrap();
        let mut world = World::new(internet, Settings { checked: true, ..Settings::new(seed) });
        let follower = Arc::new(Mutex::new(Follower::new(OVERLAY)));
        let group_follower = Arc::new(Mutex::new(Follower::new(GROUP)));
        let (hears, group_hears) = (Arc::clone(&follower), Arc::clone(&group_follower));
        let told = Arc::new(Mutex::new(Vec::new()));
        let book = Arc::clone(&told);
        let listener = move |now, host, event: &Event| {
            hears.lock().unwrap().hear(host, event);
            group_hears.lock().unwrap().hear(host, event);
            book.lock().unwrap().push((now, host, event.clone()));
        };
        world.send_events(Events::Call(Box::new(listener)));
        let rng = Rng::new(seed).fork("town");
        Self {
            world,
            follower,
            rng,
            security: "none",
            tcp: TcpUse::Off,
            starts: BTreeMap::new(),
            told,
            group: BTreeSet::new(),
            group_follower,
            switches: None,
            vouch: None,
            strangers: BTreeSet::new(),
            salts: BTreeMap::new(),
            relay: RelayConfig::default(),
        }
    }

    /// The same with members that can be turned into spoilers while they run.
    pub(crate) fn corruptible(self) -> Self {
        Self { switches: Some(BTreeMap::new()), ..self }
    }

    /// From now on a host's member spoils packets of this kind that it ought to pass on; none: it is honest.
    pub(crate) fn turn(&mut self, host: HostId, spoil: Option<(PacketKind, Spoil)>) {
        self.switch(host).turn(spoil);
    }

    /// The switch of a host's member.
    pub(crate) fn switch(&mut self, host: HostId) -> Switch {
        let switches = self.switches.get_or_insert_default();
        switches.entry(host).or_default().clone()
    }

    /// The same with security: `none`, `modelled`, `modelled-quic`, `dtls`, `quic`, or `plain-with-keys`, which
    /// protects nothing and signs all the same.
    pub(crate) fn secured(mut self, security: &'static str) -> Self {
        // What QUIC's library draws is not ours to seed; times and sizes are.
        self.world.trace_contents(security != "quic");
        Self { security, ..self }
    }

    /// The same with members that relay no more than this.
    pub(crate) fn relaying(self, relay: RelayConfig) -> Self {
        Self { relay, ..self }
    }

    /// The same with TCP where UDP does not come through.
    pub(crate) fn with_tcp(self) -> Self {
        Self { tcp: TcpUse::Listens, ..self }
    }

    /// A town in which everybody started at once and the ring is complete.
    pub(crate) fn settled(hosts: usize, population: &str, seed: u8) -> Self {
        Self::new(hosts, population, seed).settle()
    }

    /// The same town after everybody started at once and the ring is complete.
    pub(crate) fn settle(mut self) -> Self {
        self.start_all();
        self.completes_within(Duration::from_secs(60));
        self.world.run_for(Duration::from_secs(60)).unwrap();
        assert!(self.is_complete(), "{} have wrong neighbours at rest", self.wrong());
        self
    }

    /// Starts every host; each knows at most five random public ones before it.
    pub(crate) fn start_all(&mut self) {
        for host in self.hosts() {
            self.start(host);
        }
    }

    /// Starts one host.
    pub(crate) fn start(&mut self, host: HostId) {
        let mut public: Vec<HostId> = self.hosts();
        public.retain(|other| *other < host && self.world.internet().host(*other).is_public());
        self.rng.shuffle(&mut public);
        public.truncate(BOOTSTRAPS_MAX);
        if public.is_empty() {
            let first = self.world.internet().hosts().find(|(_, other)| other.is_public()).unwrap().0;
            public.extend(Some(first).filter(|first| *first != host));
        }
        let security = self.draw_security();
        let address = match &security {
            Some((_, address)) => *address,
            None => self.draw_address(),
        };
        self.start_with(host, (address, security.map(|(security, _)| security)), &public);
    }

    fn draw_address(&mut self) -> Address {
        let mut address = [0; Address::LEN];
        self.rng.fill(&mut address);
        Address::from_bytes(address)
    }

    /// The security of the next member and the address that follows from its key.
    fn draw_security(&mut self) -> Option<(Security, Address)> {
        match self.security {
            "none" => None,
            "modelled" => Some((Security::modelled(), self.draw_address())),
            "modelled-quic" => Some((Security::modelled_quic(), self.draw_address())),
            _ => {
                let number = self.rng.next_u64();
                let seed = self.rng.seed(number);
                let credentials = self.world.make(|| Credentials::derived(seed, OVERLAY)).unwrap();
                let security = match self.security {
                    "quic" => Security::quic(&credentials, QuicOptions::default()),
                    "plain-with-keys" => {
                        let mut plain = Security::none();
                        plain.present(&credentials).map(|()| plain)
                    }
                    _ => Security::dtls(&credentials),
                };
                Some((security.unwrap(), credentials.address().unwrap()))
            }
        }
    }

    /// Starts one host with an address and bootstraps.
    pub(crate) fn start_at(&mut self, host: HostId, address: Address, bootstraps: &[HostId]) {
        self.start_with(host, (address, None), bootstraps);
    }

    fn start_with(
        &mut self,
        host: HostId,
        (address, security): (Address, Option<Security>),
        bootstraps: &[HostId],
    ) {
        self.start_as(host, (address, security), bootstraps, |node| Box::new(node));
    }

    /// Starts a host again at its old address, its node inside another machine.
    #[allow(dead_code, reason = "not every test that uses the town has rogues in it")]
    pub(crate) fn restart_as(&mut self, host: HostId, wrap: impl FnOnce(Node) -> Box<dyn Machine + Send>) {
        let (address, security, bootstraps) = self.starts[&host].clone();
        self.start_as(host, (address, security), &bootstraps, wrap);
    }

    fn start_as(
        &mut self,
        host: HostId,
        (address, security): (Address, Option<Security>),
        bootstraps: &[HostId],
        wrap: impl FnOnce(Node) -> Box<dyn Machine + Send>,
    ) {
        self.starts.insert(host, (address, security.clone(), bootstraps.to_vec()));
        let bootstraps = bootstraps.iter().map(|host| self.world.socket(*host).unwrap()).collect();
        let mut overlay = OverlayConfig::new(OVERLAY, address, bootstraps);
        overlay.security = security.unwrap_or(overlay.security);
        if self.switches.is_some() {
            let around = self.switch(host).around(address, self.world.pool());
            overlay.security = overlay.security.around(around);
        }
        overlay.broadcast = true;
        overlay.relay = self.relay.clone();
        let mut overlays = vec![overlay];
        if self.group.contains(&host) {
            overlays.push(self.membership(host));
        }
        let (unix_seconds, tcp) = (self.world.wall_clock(host), self.tcp);
        let config = Config { unix_seconds, tcp, ..Config::new(overlays) };
        let node = Node::new(&config, self.world.pool(), self.world.seed(host), self.world.now());
        self.lock().started(host, address);
        self.world.start(host, wrap(node));
    }

    /// A membership in the private overlay, whose members find each other through the public one.
    fn membership(&mut self, host: HostId) -> OverlayConfig {
        let address =
            Address::from_bytes(self.rng.seed(1 << 32 | u64::from(host.0))[..20].try_into().unwrap());
        let security = match (&mut self.vouch, self.security) {
            (Some(vouch), _) => self.world.make(|| vouch(host, address)),
            (None, "none") => Security::none(),
            (None, "modelled-quic") => Security::modelled_quic(),
            (None, _) => Security::modelled(),
        };
        if !self.strangers.contains(&host) {
            self.group_follower.lock().unwrap().started(host, address);
        }
        let secret = GroupSecret::new([7; 32]);
        OverlayConfig {
            is_first: false,
            discovery: Some(DiscoveryConfig {
                salted: self.salts.get(&host).copied(),
                ..DiscoveryConfig::new(secret)
            }),
            broadcast: true,
            security,
            ..OverlayConfig::new(GROUP, address, Vec::new())
        }
    }

    /// These hosts are members of a private overlay, too, once they start.
    pub(crate) fn grouped(mut self, hosts: impl IntoIterator<Item = HostId>) -> Self {
        self.group.extend(hosts);
        self
    }

    /// The same with members of the private overlay that are secured like this.
    pub(crate) fn vouched(self, vouch: impl FnMut(HostId, Address) -> Security + 'static) -> Self {
        Self { vouch: Some(Box::new(vouch)), ..self }
    }

    /// A host that will act as a member of the private overlay without being one.
    pub(crate) fn let_intrude(&mut self, host: HostId) {
        self.strangers.insert(host);
        self.group.insert(host);
    }

    /// At its next start a host's member knows this salt of the private overlay.
    pub(crate) fn tell_salt(&mut self, host: HostId, epoch: Epoch) {
        self.salts.insert(host, epoch);
    }

    /// One more member of the private overlay, once it starts.
    pub(crate) fn join_group(&mut self, host: HostId) {
        self.group.insert(host);
    }

    /// Runs until the private ring is complete and returns how long that took; panics after `limit`.
    pub(crate) fn group_completes_within(&mut self, limit: Duration) -> Duration {
        let (start, follower) = (self.world.now(), Arc::clone(&self.group_follower));
        let going = |_: &World| !follower.lock().unwrap().ring().complete();
        let done = self.world.run_while(start + limit, going).unwrap();
        let ring = self.group_follower.lock().unwrap();
        let wrong: Vec<_> = ring.ring().wrong_members().take(5).collect();
        assert!(done, "after {limit:?}: {} with wrong neighbours, such as {wrong:?}", ring.ring().wrong());
        self.world.now().since(start)
    }

    /// When a host was first told of an event of this kind, in this overlay.
    pub(crate) fn first(&self, host: HostId, overlay: &str, is: impl Fn(&EventKind) -> bool) -> Option<Time> {
        let told = self.told.lock().unwrap();
        let mut ours = told.iter().filter(|(_, own, event)| *own == host && event.overlay == overlay);
        ours.find(|(_, _, event)| is(&event.kind)).map(|(at, _, _)| *at)
    }

    /// What a host was told since then.
    pub(crate) fn told_since(&self, host: HostId, since: Time) -> Vec<EventKind> {
        let told = self.told.lock().unwrap();
        let ours = told.iter().filter(|(at, own, _)| *own == host && *at >= since);
        ours.map(|(_, _, event)| event.kind.clone()).collect()
    }

    /// The same of one overlay.
    pub(crate) fn told_in(&self, host: HostId, overlay: &str, since: Time) -> Vec<EventKind> {
        let told = self.told.lock().unwrap();
        let is_ours = |own: HostId, event: &Event| own == host && event.overlay == overlay;
        let ours = told.iter().filter(|(at, own, event)| is_ours(*own, event) && *at >= since);
        ours.map(|(_, _, event)| event.kind.clone()).collect()
    }

    /// The host of a member.
    pub(crate) fn host(&self, member: Address) -> Option<HostId> {
        self.lock().host(member)
    }

    /// Stops one host; from now on the ring is complete without it.
    pub(crate) fn stop(&mut self, host: HostId, how: Stop) {
        self.group_follower.lock().unwrap().stopped(host);
        self.lock().stopped(host);
        self.world.stop(host, how);
    }

    /// From now on the private ring is complete without a host, which runs on.
    pub(crate) fn put_out(&mut self, host: HostId) {
        self.group_follower.lock().unwrap().stopped(host);
    }

    /// Starts a host again as it started before.
    pub(crate) fn restart(&mut self, host: HostId) {
        let (address, security, bootstraps) = self.starts[&host].clone();
        self.start_with(host, (address, security), &bootstraps);
    }

    /// What a host's member said that it could not send: to whom, and why.
    pub(crate) fn not_sent(&self, host: HostId) -> Vec<(Address, String)> {
        let told = self.told.lock().unwrap();
        let ours = told.iter().filter(|(_, own, _)| *own == host);
        ours.filter_map(|(_, _, event)| match &event.kind {
            EventKind::NotSent { peer, why } => Some((*peer, why.clone())),
            _ => None,
        })
        .collect()
    }

    /// A metric of a host's node, over all the series with this value of some label.
    pub(crate) fn metric(&mut self, host: HostId, name: &str, label: &str) -> f64 {
        let Reply::Metrics(metrics) = self.world.command(host, Command::Metrics) else { panic!("metrics") };
        let has = |labels: &[(String, String)]| labels.iter().any(|(_, value)| value == label);
        let series = metrics.iter().filter(|metric| metric.name == name && has(&metric.labels));
        series.map(|metric| metric.value).sum()
    }

    pub(crate) fn hosts(&self) -> Vec<HostId> {
        self.world.internet().hosts().map(|(host, _)| host).collect()
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.lock().ring().complete()
    }

    pub(crate) fn wrong(&self) -> usize {
        self.lock().ring().wrong()
    }

    /// Runs until the ring is complete and returns how long that took; panics after `limit`.
    pub(crate) fn completes_within(&mut self, limit: Duration) -> Duration {
        let (start, follower) = (self.world.now(), Arc::clone(&self.follower));
        let going = |_: &World| !follower.lock().unwrap().ring().complete();
        let done = self.world.run_while(start + limit, going).unwrap();
        let wrong: Vec<_> = self.lock().ring().wrong_members().take(5).collect();
        assert!(done, "after {limit:?}: {} with wrong neighbours, such as {wrong:?}", self.wrong());
        self.world.now().since(start)
    }

    /// The place of a host's member in the private ring.
    pub(crate) fn group_member(&self, host: HostId) -> Address {
        self.group_follower.lock().unwrap().member(host).unwrap()
    }

    /// The host of a member of the private ring.
    pub(crate) fn group_host(&self, member: Address) -> Option<HostId> {
        self.group_follower.lock().unwrap().host(member)
    }

    /// The peers of a host's member in an overlay.
    pub(crate) fn peers_in(&mut self, host: HostId, overlay: &str) -> Vec<Peer> {
        match self.world.command(host, Command::Peers { overlay: overlay.to_owned() }) {
            Reply::Peers(peers) => peers,
            other => panic!("{other:?}"),
        }
    }

    /// The two true neighbours of a host's member, as hosts.
    pub(crate) fn neighbours(&self, host: HostId) -> [HostId; 2] {
        let follower = self.lock();
        let member = follower.member(host).unwrap();
        let truth = follower.ring().truth(member);
        [truth.predecessor, truth.successor].map(|near| follower.host(near.unwrap()).unwrap())
    }

    /// The place on the ring of a host's member.
    pub(crate) fn member(&self, host: HostId) -> Address {
        self.lock().member(host).unwrap()
    }

    fn lock(&self) -> MutexGuard<'_, Follower> {
        self.follower.lock().unwrap()
    }
}
