//! The same five members on every environment: what an experiment may rely on wherever it runs.

use std::sync::Arc;
use std::time::Duration;

use atoll::environment::docker::{self, Docker, Options};
use atoll::environment::sim::Sim;
use atoll::environment::{
    Cancel, Environment, Fault, NodeIndex, NodeSpec, NodeStatus, OVERLAY, Progress, Stop, Surroundings,
    Traffic, Trial,
};
use atoll::plan::{Overrides, Plan};
use atoll::run::draw;
use atoll_core::control::{Command, FailureKind, Reply, State};
use atoll_core::wire::Address;
use atoll_topology::Topology;
use tempfile::TempDir;

/// The longest wait for the ring to be as it should be; a silent death is noticed within 15 s.
const LIMIT: Duration = Duration::from_secs(40);

/// The longest wait for the halves of a partition to be one ring.
const MERGE_LIMIT: Duration = Duration::from_secs(120);

struct Silent;

impl Progress for Silent {
    fn step(&self, _what: &str, _done: u64, _total: u64) {}
}

fn surroundings() -> Surroundings {
    Surroundings { cancel: Cancel::default(), progress: Arc::new(Silent) }
}

fn trial() -> Trial {
    let set = ["public=5", "joiners=0", "nat=none", "latency=20 ms"].map(str::to_owned).to_vec();
    let plan = Plan::load("join", &Overrides { set, ..Overrides::default() }).expect("the plan is sound");
    draw(&plan.points[0].values, plan.turns()[0]).expect("five public members")
}

/// The same members: the first public, two in homes of their own at one carrier, two more as it comes.
fn trial_at_a_carrier() -> Trial {
    let text = "
latency: 20 ms
sites:
  - name: town
    gateways:
      - {name: carrier, is: carrier-grade}
      - {name: home, is: port-restricted-cone, behind: carrier}
      - {name: other, is: port-restricted-cone, behind: carrier}
    hosts:
      - {name: server}
      - {name: alice, behind: home}
      - {name: bob, behind: other}
      - {name: customer, behind: carrier}
      - {name: neighbour}
";
    let mut trial = trial();
    trial.topology = Topology::from_yaml(text, [1; 32], |_| Err(String::new())).expect("it is sound");
    for node in &mut trial.nodes[1..] {
        node.bootstraps = vec![NodeIndex(0)];
    }
    trial
}

/// A trial in an environment, taken down whatever happens.
struct Stage<'a> {
    environment: &'a mut dyn Environment,
    trial: &'a Trial,
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        let torn_down = self.environment.tear_down();
        if !std::thread::panicking() {
            torn_down.expect("nothing is left behind");
        }
    }
}

impl<'a> Stage<'a> {
    /// A trial whose five members form a ring.
    fn settled(environment: &'a mut dyn Environment, trial: &'a Trial, all: &[NodeIndex]) -> Self {
        let mut stage = Self { environment, trial };
        stage.environment.prepare(trial).expect("it can be prepared");
        stage.environment.start(all).expect("they can be released");
        stage.wait_for_ring(&[0, 1, 2, 3, 4]);
        stage
    }

    fn address(&self, node: u32) -> Address {
        self.trial.nodes[node as usize].address
    }

    /// Waits until walking successors visits these members and no other.
    fn wait_for_ring(&mut self, nodes: &[u32]) {
        self.wait_for_ring_within(nodes, LIMIT);
    }

    fn wait_for_ring_within(&mut self, nodes: &[u32], limit: Duration) {
        let members: Vec<NodeIndex> = nodes.iter().copied().map(NodeIndex).collect();
        let mut order: Vec<Address> = nodes.iter().map(|node| self.address(*node)).collect();
        order.sort_unstable();
        let next = |address| {
            let at = order.iter().position(|other| *other == address).expect("it is one of them");
            order[(at + 1) % order.len()]
        };
        let began = self.environment.now();
        loop {
            let statuses = self.environment.statuses(&members).expect("the environment answers");
            let closed = statuses.iter().all(|status| {
                status.as_ref().is_some_and(|NodeStatus { status, .. }| {
                    status.state == State::Connected && status.successor == Some(next(status.address))
                })
            });
            if closed {
                return;
            }
            assert!(
                self.environment.now() < began + limit,
                "the ring of {nodes:?} is not closed: {statuses:#?}"
            );
            let until = self.environment.now() + Duration::from_millis(250);
            self.environment.advance(until).expect("time passes");
        }
    }

    fn ask(&mut self, node: u32, command: Command) -> Reply {
        self.environment.command(NodeIndex(node), command).expect("the member answers")
    }
}

fn script(environment: &mut dyn Environment) {
    let trial = trial();
    let all: Vec<NodeIndex> = (0..5).map(NodeIndex).collect();
    let mut stage = Stage { environment, trial: &trial };
    stage.environment.prepare(&trial).expect("it can be prepared");
    assert!(stage.environment.now() < LIMIT);
    let before = stage.environment.statuses(&all).expect("the environment answers");
    assert!(before.iter().all(Option::is_none), "nobody runs before the release: {before:?}");

    stage.environment.start(&all[..4]).expect("four can be released");
    stage.wait_for_ring(&[0, 1, 2, 3]);
    let released = stage.environment.now();
    stage.environment.start(&all[4..]).expect("one more can be released");
    stage.wait_for_ring(&[0, 1, 2, 3, 4]);
    times_count_from_the_release(&mut stage, released);
    members_reach_each_other(&mut stage);
    everything_is_counted(&mut stage, &all);

    stage.environment.stop(&all[4..], Stop::Leave).expect("it can leave");
    stage.wait_for_ring(&[0, 1, 2, 3]);
    stage.environment.stop(&all[3..4], Stop::Kill).expect("it can be killed");
    stage.wait_for_ring(&[0, 1, 2]);
    let after = stage.environment.statuses(&all[3..]).expect("the environment answers");
    assert!(after.iter().all(Option::is_none), "who was stopped is gone: {after:?}");

    faults_say_whom_they_hit(&mut stage, &all);
    it_is_in_good_health_and_keeps_logs(&mut stage);
}

fn times_count_from_the_release(stage: &mut Stage<'_>, released: Duration) {
    let status = stage.environment.statuses(&[NodeIndex(4)]).expect("the environment answers").remove(0);
    let status = status.expect("the fifth runs");
    assert!(status.released >= released, "{status:?}");
    let join = status.status.join_seconds.expect("the fifth has joined");
    assert!((0.02..20.0).contains(&join), "{status:?}");
    assert!(status.status.uptime_seconds >= join, "{status:?}");
}

fn members_reach_each_other(stage: &mut Stage<'_>) {
    let overlay = || OVERLAY.to_owned();
    let address = stage.address(4);
    let Reply::Ping { seconds, hops } = stage.ask(0, Command::Ping { overlay: overlay(), address }) else {
        panic!("the ping got no answer");
    };
    assert!(seconds >= 0.04 && hops >= 1, "two ways of 20 ms each: {seconds} s over {hops} hops");
    let Reply::Route { hops, .. } = stage.ask(0, Command::Route { overlay: overlay(), address }) else {
        panic!("the route got no answer");
    };
    assert_eq!(hops.last(), Some(&address));
    let stranger = Command::Ping { overlay: "no such overlay".to_owned(), address };
    assert!(matches!(stage.ask(0, stranger), Reply::Failed { kind: FailureKind::NotFound, .. }));
}

fn everything_is_counted(stage: &mut Stage<'_>, all: &[NodeIndex]) {
    let counted = |traffic: &Traffic| {
        let least = 28 * traffic.sent_packets;
        traffic.sent_bytes > least && traffic.received_bytes > 0 && traffic.received_packets > 0
    };
    let before = stage.environment.traffic(all).expect("the environment answers");
    assert!(before.iter().all(counted), "{before:?}");
    let until = stage.environment.now() + Duration::from_secs(12);
    stage.environment.advance(until).expect("time passes");
    assert!(stage.environment.now() >= until);
    let after = stage.environment.traffic(all).expect("the environment answers");
    let grew = before.iter().zip(&after).all(|(before, after)| after.sent_bytes > before.sent_bytes);
    assert!(grew, "adjacent neighbours ping each other every 9 s: {before:?} {after:?}");
    let samples = stage.environment.scrape().expect("the environment answers");
    for node in all {
        assert!(samples.iter().any(|sample| sample.node == Some(*node)), "no metric of {node:?}");
    }
}

fn faults_say_whom_they_hit(stage: &mut Stage<'_>, all: &[NodeIndex]) {
    let loss = stage.environment.apply(&Fault::Loss { ratio: 0.01 }).expect("paths can lose");
    assert!(loss.hosts >= 3, "{loss:?}");
    let rebind = stage.environment.apply(&Fault::Rebind { nodes: all.to_vec() }).expect("it hits nobody");
    assert_eq!(rebind.hosts, 0, "no member is behind a NAT");
}

/// Two halves close a ring of their own each, and are one ring again when the partition is over.
fn script_of_a_partition(environment: &mut dyn Environment) {
    let trial = trial();
    let all: Vec<NodeIndex> = (0..5).map(NodeIndex).collect();
    let stage = &mut Stage::settled(environment, &trial, &all);
    let hits =
        |stage: &mut Stage<'_>, fault: &Fault| stage.environment.apply(fault).expect("it can be").hosts;
    assert_eq!(hits(stage, &Fault::Heal), 0, "there is no partition");
    let partition = Fault::Partition { sides: [all[..2].to_vec(), all[2..].to_vec()] };
    assert_eq!(hits(stage, &partition), 5);
    assert_eq!(hits(stage, &partition), 0, "there is one already");
    stage.wait_for_ring(&[0, 1]);
    stage.wait_for_ring(&[2, 3, 4]);
    assert_eq!(hits(stage, &Fault::Heal), 5);
    stage.wait_for_ring_within(&[0, 1, 2, 3, 4], MERGE_LIMIT);
}

/// Members that ended are replaced by others on their hosts, and answers come without anybody waiting for them.
fn script_of_successors(environment: &mut dyn Environment) {
    let first = trial();
    let mut later = first.clone();
    for (node, seed) in [(3, 1003), (4, 1004)] {
        let address = NodeSpec::address_of(seed).expect("a key can be made");
        let bootstraps = vec![NodeIndex(0)];
        later.nodes[node] = NodeSpec { address, seed, bootstraps, ..first.nodes[node].clone() };
    }
    let all: Vec<NodeIndex> = (0..5).map(NodeIndex).collect();
    let stage = &mut Stage { environment, trial: &first };
    stage.environment.prepare(&first).expect("it can be prepared");
    stage.environment.start(&all).expect("they can be released");
    stage.wait_for_ring(&[0, 1, 2, 3, 4]);
    let early = stage.environment.replace(all[3], &later.nodes[3]).expect_err("the first still runs");
    assert!(early.to_string().contains("still runs"), "{early}");
    for (node, how) in [(3, Stop::Kill), (4, Stop::Leave)] {
        stage.environment.stop(&all[node..=node], how).expect("it can be stopped");
        let sent = stage.environment.traffic(&all[node..=node]).expect("the environment answers")[0];
        assert!(sent.sent_bytes > 0, "what it sent is known after its end");
        stage.environment.replace(all[node], &later.nodes[node]).expect("its place is free");
    }
    let waiting = stage.environment.statuses(&all[3..]).expect("the environment answers");
    assert!(waiting.iter().all(Option::is_none), "nobody runs before the release: {waiting:?}");
    let released = stage.environment.now();
    stage.environment.start(&all[3..]).expect("they can be released");
    stage.trial = &later;
    stage.wait_for_ring(&[0, 1, 2, 3, 4]);
    let status = stage.environment.statuses(&all[3..4]).expect("the environment answers").remove(0);
    assert!(status.is_some_and(|status| status.released >= released), "it counts from its own release");
    answers_come_when_they_come(stage);
    let health = stage.environment.health().expect("the environment answers");
    assert!(health.crashed.is_empty(), "{health:?}");
}

fn answers_come_when_they_come(stage: &mut Stage<'_>) {
    let ping = |address| Command::Ping { overlay: OVERLAY.to_owned(), address };
    let asked = stage.environment.now();
    let questions =
        [3, 4].map(|node| stage.environment.ask(NodeIndex(0), ping(stage.address(node))).expect("it runs"));
    let mut answers = stage.environment.take_answers().expect("the environment answers");
    assert!(answers.is_empty(), "two ways of 20 ms each take time: {answers:?}");
    while answers.len() < 2 {
        assert!(stage.environment.now() < asked + LIMIT, "no answer: {answers:?}");
        let until = stage.environment.now() + Duration::from_millis(100);
        stage.environment.advance(until).expect("time passes");
        answers.extend(stage.environment.take_answers().expect("the environment answers"));
    }
    answers.sort_by_key(|answer| answer.question);
    for (question, answer) in questions.into_iter().zip(answers) {
        assert_eq!(answer.question, question);
        assert!(matches!(answer.reply, Reply::Ping { .. }), "{answer:?}");
        assert!(answer.at >= asked + Duration::from_millis(40) && answer.at <= stage.environment.now());
    }
}

/// What members are behind further out is another's: a fault at one of them hits its own gateway only.
fn script_of_nat_faults(environment: &mut dyn Environment) {
    let trial = trial_at_a_carrier();
    let all: Vec<NodeIndex> = (0..5).map(NodeIndex).collect();
    let stage = &mut Stage::settled(environment, &trial, &all);
    let hits =
        |stage: &mut Stage<'_>, fault: Fault| stage.environment.apply(&fault).expect("it can be").hosts;
    let nodes = |nodes: &[u32]| nodes.iter().copied().map(NodeIndex).collect();
    assert_eq!(hits(stage, Fault::Rebind { nodes: nodes(&[1]) }), 1, "its home");
    assert_eq!(hits(stage, Fault::Reboot { nodes: nodes(&[0, 1, 2]) }), 2, "two homes");
    assert_eq!(hits(stage, Fault::Rebind { nodes: nodes(&[1, 3]) }), 3, "the carrier is the customer's own");
    let noticed = stage.environment.now() + Duration::from_secs(15);
    stage.environment.advance(noticed).expect("time passes");
    stage.wait_for_ring(&[0, 1, 2, 3, 4]);
    let health = stage.environment.health().expect("the environment answers");
    assert!(health.crashed.is_empty(), "{health:?}");
}

/// Three of five members are in a private overlay, too, and find each other there.
fn script_of_pairs(environment: &mut dyn Environment, security: &str) {
    let security = format!("security={security}");
    let set = ["public=5", "private=3", "joiners=0", "nat=none", "latency=20 ms", &security];
    let set = set.map(str::to_owned).to_vec();
    let plan = Plan::load("join", &Overrides { set, ..Overrides::default() }).expect("the plan is sound");
    let trial = draw(&plan.points[0].values, plan.turns()[0]).expect("five public members");
    let all: Vec<NodeIndex> = (0..5).map(NodeIndex).collect();
    let mut order: Vec<Address> = trial.nodes.iter().filter_map(|node| node.private).collect();
    order.sort_unstable();
    let stage = &mut Stage { environment, trial: &trial };
    stage.environment.prepare(&trial).expect("it can be prepared");
    stage.environment.start(&all).expect("they can be released");
    stage.wait_for_ring(&[0, 1, 2, 3, 4]);
    let began = stage.environment.now();
    loop {
        let statuses = stage.environment.statuses(&all).expect("the environment answers");
        let pairs: Vec<_> = statuses.iter().flatten().map(|status| status.private.as_ref()).collect();
        let closed = pairs.iter().flatten().filter(|status| {
            let at = order.iter().position(|own| *own == status.address).expect("it is one of them");
            status.state == State::Connected && status.successor == Some(order[(at + 1) % order.len()])
        });
        if closed.count() == order.len() {
            assert_eq!(pairs.iter().flatten().count(), 3, "nobody else is a member: {pairs:?}");
            break;
        }
        assert!(stage.environment.now() < began + LIMIT, "the private ring is not closed: {pairs:#?}");
        let until = stage.environment.now() + Duration::from_millis(250);
        stage.environment.advance(until).expect("time passes");
    }
    let pair = trial.nodes.iter().position(|node| node.private.is_some()).expect("there are three");
    let pair = u32::try_from(pair).expect("five are few");
    // The other end of an edge may still wait for the last packet of the handshake.
    loop {
        let reply = stage.ask(pair, Command::Peers { overlay: "group".to_owned() });
        if matches!(&reply, Reply::Peers(peers) if peers.len() == 2) {
            break;
        }
        assert!(stage.environment.now() < began + LIMIT, "three members are each other's peers: {reply:?}");
        let until = stage.environment.now() + Duration::from_millis(250);
        stage.environment.advance(until).expect("time passes");
    }
    let health = stage.environment.health().expect("the environment answers");
    assert!(health.crashed.is_empty(), "{health:?}");
}

fn it_is_in_good_health_and_keeps_logs(stage: &mut Stage<'_>) {
    let health = stage.environment.health().expect("the environment answers");
    assert!(health.crashed.is_empty() && health.stalls.is_empty(), "{health:?}");
    let folder = TempDir::new().expect("a folder for the test");
    stage.environment.save_logs(folder.path()).expect("the folder is writable");
    assert!(folder.path().read_dir().expect("it is there").next().is_some(), "there are logs");
    let cost = stage.environment.cost();
    assert!(cost.wall_seconds > 0.0 && cost.peak_rss_bytes > 0 && cost.events > 0, "{cost:?}");
    stage.environment.tear_down().expect("nothing is left behind");
    // In real time members go on sending until the last moment.
    assert!(stage.environment.cost().events >= cost.events, "the cost outlives the environment");
}

#[test]
fn the_simulator_keeps_the_contract() {
    script(&mut Sim::new(surroundings()));
    script_of_nat_faults(&mut Sim::new(surroundings()));
    script_of_a_partition(&mut Sim::new(surroundings()));
    script_of_successors(&mut Sim::new(surroundings()));
    for security in ["none", "dtls", "quic", "modelled"] {
        script_of_pairs(&mut Sim::new(surroundings()), security);
    }
}

#[test]
fn containers_keep_the_contract() {
    if let Err(error) = docker::list() {
        eprintln!("SKIPPED: containers cannot be tested here: {error}");
        return;
    }
    let docker = || Docker::new(surroundings(), Options::default()).expect("there is an event loop");
    script(&mut docker());
    script_of_nat_faults(&mut docker());
    script_of_a_partition(&mut docker());
    script_of_successors(&mut docker());
    for security in ["none", "dtls", "quic"] {
        script_of_pairs(&mut docker(), security);
    }
}

#[test]
fn a_cancelled_environment_comes_back_at_once() {
    let surroundings = surroundings();
    let mut sim = Sim::new(surroundings.clone());
    sim.prepare(&trial()).expect("it can be prepared");
    surroundings.cancel.cancel();
    sim.advance(Duration::from_secs(3600)).expect("it is no error");
    assert!(sim.now() < Duration::from_secs(3600));
}
