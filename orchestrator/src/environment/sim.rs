//! Members in virtual time: the daemon's own core over the modelled Internet, in one thread.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use atoll_core::config::{Config, OverlayConfig, TcpUse};
use atoll_core::control::{Command, Reply};
use atoll_core::rng::numbered;
use atoll_core::security::{Credentials, GroupSecret, QuicOptions, Security as Secured, Unusable};
use atoll_core::{Node, RequestId, Telling, Time};
use atoll_sim::{Events, Settings, World};
use atoll_topology::{HostId, Internet, Loss};

use super::{
    Answer, Authority, COMMAND_LIMIT, Cost, Environment, Fault, FaultReport, GROUP, Group, Health, NODE_PORT,
    NodeIndex, NodeSpec, NodeStatus, OVERLAY, PARTITION, Question, Sample, Security, Stop, Surroundings,
    Traffic, Trial,
};
use crate::error::{Error, OrFail, Result};

/// Virtual time between two looks at the switch that stops a run.
const SLICE: Duration = Duration::from_secs(1);
/// Virtual time between two looks for an answer.
const ANSWER: Duration = Duration::from_millis(10);

/// The simulator.
pub struct Sim {
    surroundings: Surroundings,
    world: Option<World>,
    nodes: Vec<NodeSpec>,
    security: Security,
    group: Option<Group>,
    authority: Option<Authority>,
    released: Vec<Option<Duration>>,
    /// What each host had sent and received before its member was released.
    before: Vec<Traffic>,
    /// Asked and not answered, each with when it was asked.
    asked: Vec<(RequestId, Time)>,
    stall: Option<String>,
    began: Instant,
    cpu_began: Duration,
    cost: Cost,
}

impl Sim {
    /// A simulator in which nothing is prepared yet. Use it in the thread that made it.
    #[must_use]
    pub fn new(surroundings: Surroundings) -> Self {
        Self {
            surroundings,
            world: None,
            nodes: Vec::new(),
            security: Security::default(),
            group: None,
            authority: None,
            released: Vec::new(),
            before: Vec::new(),
            asked: Vec::new(),
            stall: None,
            began: Instant::now(),
            cpu_began: thread_time(),
            cost: Cost::default(),
        }
    }

    fn world(&mut self) -> Result<&mut World> {
        self.world.as_mut().ok_or_else(|| Error::new("the simulator is gone", "it was torn down"))
    }

    fn host(&self, node: NodeIndex) -> HostId {
        self.nodes[node.index()].host
    }

    /// What a host sent and received since the beginning.
    fn passed(&mut self, node: NodeIndex) -> Result<Traffic> {
        let host = self.host(node);
        let traffic = self.world()?.traffic(host);
        Ok(Traffic {
            sent_bytes: traffic.sent_bytes,
            received_bytes: traffic.received_bytes,
            sent_packets: traffic.sent_datagrams,
            received_packets: traffic.received_datagrams,
        })
    }

    fn config(&mut self, index: usize) -> Result<Config> {
        let security = self.security(index)?;
        let private = self.private_overlay(index)?;
        let node = &self.nodes[index];
        let socket = |bootstrap: &NodeIndex| -> Option<SocketAddr> {
            self.world.as_ref().and_then(|world| world.socket(self.host(*bootstrap)))
        };
        let bootstraps = node.bootstraps.iter().filter_map(socket).collect();
        let unix_seconds = self.world.as_ref().map_or(0, World::unix_seconds);
        let public = OverlayConfig { security, ..OverlayConfig::new(OVERLAY, node.address, bootstraps) };
        let overlays = std::iter::once(public).chain(private).collect();
        Ok(Config { unix_seconds, tcp: TcpUse::Listens, ..Config::new(overlays) })
    }

    /// The second membership of a member that has one.
    fn private_overlay(&mut self, index: usize) -> Result<Option<OverlayConfig>> {
        let (Some(address), Some(group)) = (self.nodes[index].private, self.group.clone()) else {
            return Ok(None);
        };
        let overlay = OverlayConfig {
            is_first: false,
            security: self.group_security(index, &group)?,
            discovery: Some(group.discovery()),
            ..OverlayConfig::new(GROUP, address, Vec::new())
        };
        Ok(Some(overlay))
    }

    fn security(&mut self, index: usize) -> Result<Secured> {
        let seed = numbered(self.nodes[index].seed);
        let engine = match engine(self.security) {
            Engine::Keyless(make) => return Ok(make()),
            Engine::Keyed(with) => with,
        };
        let make = || Credentials::derived(seed, OVERLAY).and_then(|own| engine(&own));
        self.world()?.make(make).or_fail(|| "cannot secure a member".to_owned())
    }

    fn group_security(&mut self, index: usize, group: &Group) -> Result<Secured> {
        let security = self.security;
        if security == Security::None {
            return Ok(Secured::none());
        }
        let (seed, name) = (self.nodes[index].seed, self.nodes[index].name.clone());
        let mut authority = self.authority.take();
        let world = self.world()?;
        let make = || {
            let authority = match &mut authority {
                Some(authority) => authority,
                none => none.insert(Authority::of(group)?),
            };
            let security = match engine(security) {
                Engine::Keyless(make) => make(),
                Engine::Keyed(with) => with(&authority.issue(seed, &name)?)
                    .or_fail(|| "cannot secure a member of the group".to_owned())?,
            };
            Ok(security.in_group(authority.rule()?, Some(GroupSecret::new(group.secret()))))
        };
        let made = world.make(make);
        self.authority = authority;
        made
    }

    fn run_until(&mut self, until: Time) -> Result<()> {
        let ran = self.world()?.run_until(until);
        if let Err(stalled) = ran {
            self.stall = Some(stalled.to_string());
            return Err(Error::new("the simulation stalled", stalled));
        }
        Ok(())
    }
}

/// What protects edges.
enum Engine {
    /// Something that needs no key.
    Keyless(fn() -> Secured),
    /// Something that is made from a key and its certificate.
    Keyed(fn(&Credentials) -> std::result::Result<Secured, Unusable>),
}

fn engine(security: Security) -> Engine {
    match security {
        Security::None => Engine::Keyless(Secured::none),
        Security::Modelled => Engine::Keyless(Secured::modelled),
        Security::ModelledQuic => Engine::Keyless(Secured::modelled_quic),
        Security::Dtls => Engine::Keyed(Secured::dtls),
        Security::Quic => Engine::Keyed(|own| Secured::quic(own, QuicOptions::default())),
    }
}

impl Environment for Sim {
    fn prepare(&mut self, trial: &Trial) -> Result<()> {
        let internet = Internet::new(trial.topology.clone(), trial.internet_seed)
            .or_fail(|| "cannot start the modelled Internet".to_owned())?;
        let mut settings = Settings::new(trial.internet_seed);
        settings.port = NODE_PORT;
        settings.contain_crashes = true;
        // The library draws what it sends from a generator of its own; times and sizes still follow from the seed.
        settings.trace_contents = trial.security != Security::Quic;
        let mut world = World::new(internet, settings);
        // Nobody reads them here, and a large world has many.
        world.send_events(Events::Off);
        self.world = Some(world);
        self.nodes.clone_from(&trial.nodes);
        self.security = trial.security;
        self.group.clone_from(&trial.group);
        self.released = vec![None; trial.nodes.len()];
        self.before = vec![Traffic::default(); trial.nodes.len()];
        Ok(())
    }

    fn start(&mut self, nodes: &[NodeIndex]) -> Result<()> {
        let now = self.now();
        for index in nodes {
            let node = &self.nodes[index.index()];
            let (host, seed) = (node.host, numbered(node.seed));
            let config = self.config(index.index())?;
            let world = self.world()?;
            let machine = Node::new(&config, world.pool(), seed, world.now());
            world.start(host, Box::new(machine));
            self.released[index.index()] = Some(now);
            self.before[index.index()] = self.passed(*index)?;
        }
        Ok(())
    }

    fn stop(&mut self, nodes: &[NodeIndex], how: Stop) -> Result<()> {
        let how = match how {
            Stop::Leave => atoll_sim::Stop::Leave,
            Stop::Kill => atoll_sim::Stop::Kill,
        };
        for node in nodes {
            let host = self.host(*node);
            self.world()?.stop(host, how);
        }
        Ok(())
    }

    fn replace(&mut self, node: NodeIndex, member: &NodeSpec) -> Result<()> {
        let host = self.host(node);
        if self.world()?.is_running(host) {
            return Err(Error::new(format!("cannot replace {}", member.name), "it still runs"));
        }
        self.nodes[node.index()] = member.clone();
        self.released[node.index()] = None;
        Ok(())
    }

    fn apply(&mut self, fault: &Fault) -> Result<FaultReport> {
        let hosts = |nodes: &[NodeIndex]| nodes.iter().map(|node| self.host(*node)).collect();
        let name = PARTITION.to_owned();
        let fault = match fault {
            Fault::Rebind { nodes } => atoll_topology::Fault::RebindOwn(hosts(nodes)),
            Fault::Reboot { nodes } => atoll_topology::Fault::RebootOwn(hosts(nodes)),
            Fault::Partition { sides } => {
                let sides = sides.each_ref().map(|side| hosts(side));
                atoll_topology::Fault::PartitionHosts { name, sides }
            }
            Fault::Heal => atoll_topology::Fault::Heal { name },
            Fault::Loss { ratio } => {
                atoll_topology::Fault::Loss { sites: None, loss: Loss { independent: *ratio, burst: None } }
            }
        };
        let report = self.world()?.apply(&fault);
        Ok(FaultReport { at: report.at, hosts: u32::try_from(report.hosts).unwrap_or(u32::MAX) })
    }

    fn command(&mut self, node: NodeIndex, command: Command) -> Result<Reply> {
        let host = self.host(node);
        let limit = self.world()?.now() + COMMAND_LIMIT;
        let id = self.world()?.request(host, command);
        loop {
            let world = self.world()?;
            if let Some((_, reply)) = world.take_reply(id) {
                return Ok(reply);
            }
            if world.now() >= limit {
                let name = &self.nodes[node.index()].name;
                let why = format!("it was silent for {} s", COMMAND_LIMIT.as_secs());
                return Err(Error::new(format!("{name} does not answer"), why));
            }
            let next = world.now() + ANSWER;
            self.run_until(next)?;
        }
    }

    fn announce(&mut self, node: NodeIndex, telling: Telling) -> Result<()> {
        let host = self.host(node);
        self.world()?.announce(host, telling);
        Ok(())
    }

    fn ask(&mut self, node: NodeIndex, command: Command) -> Result<Question> {
        let host = self.host(node);
        let world = self.world()?;
        let (id, now) = (world.request(host, command), world.now());
        self.asked.push((id, now));
        Ok(Question(id.0))
    }

    fn take_answers(&mut self) -> Result<Vec<Answer>> {
        let asked = std::mem::take(&mut self.asked);
        let world = self.world()?;
        let (mut answers, mut open) = (Vec::new(), Vec::new());
        for (id, since) in asked {
            match world.take_reply(id) {
                Some((at, reply)) => {
                    let at = at.since(Time::ZERO);
                    answers.push(Answer { question: Question(id.0), at, reply });
                }
                None if world.now() < since + COMMAND_LIMIT => open.push((id, since)),
                None => {}
            }
        }
        self.asked = open;
        Ok(answers)
    }

    fn statuses(&mut self, nodes: &[NodeIndex]) -> Result<Vec<Option<NodeStatus>>> {
        let mut statuses = Vec::with_capacity(nodes.len());
        for node in nodes {
            let host = self.host(*node);
            let released = self.released[node.index()];
            let world = self.world()?;
            let reply = released.filter(|_| world.is_running(host)).map(|released| {
                let Reply::Status(overlays) = world.command(host, Command::Status) else { return None };
                NodeStatus::of(released, overlays)
            });
            statuses.push(reply.flatten());
        }
        Ok(statuses)
    }

    fn advance(&mut self, until: Duration) -> Result<()> {
        let until = Time::ZERO + until;
        while self.world()?.now() < until && !self.surroundings.cancel.is_cancelled() {
            let next = (self.world()?.now() + SLICE).min(until);
            self.run_until(next)?;
        }
        Ok(())
    }

    fn now(&self) -> Duration {
        self.world.as_ref().map_or(Duration::ZERO, |world| world.now().since(Time::ZERO))
    }

    fn traffic(&mut self, nodes: &[NodeIndex]) -> Result<Vec<Traffic>> {
        nodes.iter().map(|node| Ok(self.passed(*node)?.since(&self.before[node.index()]))).collect()
    }

    fn scrape(&mut self) -> Result<Vec<Sample>> {
        let at = self.now();
        let places: Vec<(NodeIndex, HostId)> =
            (0..).map(NodeIndex).zip(self.nodes.iter().map(|node| node.host)).collect();
        let world = self.world()?;
        let mut samples = Vec::new();
        for (node, host) in places {
            if !world.is_running(host) {
                continue;
            }
            let Reply::Metrics(metrics) = world.command(host, Command::Metrics) else { continue };
            samples.extend(metrics.into_iter().map(|metric| Sample {
                at,
                node: Some(node),
                metric: metric.name,
                labels: metric.labels,
                value: metric.value,
            }));
        }
        let dropped = world.counters().drops;
        samples.extend(dropped.into_iter().map(|(reason, count)| Sample {
            at,
            node: None,
            metric: "atoll_internet_dropped_packets_total".to_owned(),
            labels: vec![("reason".to_owned(), reason.to_owned())],
            value: count as f64,
        }));
        Ok(samples)
    }

    fn health(&mut self) -> Result<Health> {
        let member = |host: HostId| (0..).zip(&self.nodes).find(|(_, node)| node.host == host);
        let crashes = self.world.as_ref().map(World::crashes).unwrap_or_default();
        let crashed = crashes.into_iter().filter_map(|crash| {
            let (index, _) = member(crash.host)?;
            Some((NodeIndex(index), format!("{} (at {})", crash.why, crash.time)))
        });
        Ok(Health {
            crashed: crashed.collect(),
            lateness: None,
            stalls: self.stall.clone().into_iter().collect(),
            dilation: None,
        })
    }

    fn cost(&self) -> Cost {
        let Some(world) = &self.world else { return self.cost };
        Cost {
            cpu_seconds: thread_time().saturating_sub(self.cpu_began).as_secs_f64(),
            wall_seconds: self.began.elapsed().as_secs_f64(),
            peak_rss_bytes: peak_rss(),
            events: world.events(),
        }
    }

    fn trace_hash(&self) -> Option<u64> {
        self.world.as_ref().map(World::trace_hash)
    }

    fn save_logs(&mut self, folder: &Path) -> Result<()> {
        let Some(world) = &self.world else { return Ok(()) };
        let path = folder.join("world.txt");
        let write = |mut file: std::fs::File| writeln!(file, "{:#?}", world.counters());
        std::fs::File::create(&path).and_then(write).or_fail(|| format!("cannot write `{}`", path.display()))
    }

    fn tear_down(&mut self) -> Result<()> {
        self.cost = self.cost();
        self.world = None;
        Ok(())
    }
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Most memory that this process ever held, in bytes; 0 where the kernel does not say.
fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
