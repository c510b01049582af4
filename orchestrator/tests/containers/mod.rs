//! What tests with real containers share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atoll::environment::docker::{Docker, RunState, list};
use atoll::environment::{Cancel, Environment, NodeIndex, NodeSpec, Progress, Security, Surroundings, Trial};
use atoll_core::control::State;
use atoll_topology::{HostId, Latency, Population, Topology};

pub(crate) struct Silent;

impl Progress for Silent {
    fn step(&self, _what: &str, _done: u64, _total: u64) {}
}

pub(crate) fn surroundings() -> Surroundings {
    Surroundings { cancel: Cancel::default(), progress: Arc::new(Silent) }
}

/// The tests of one program tell their runs apart by its process: one at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The right to make containers, if that is possible here. Says loudly if not.
pub(crate) fn engine(test: &str) -> Option<MutexGuard<'static, ()>> {
    match list() {
        Ok(_) => Some(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)),
        Err(error) => {
            eprintln!("SKIPPED: {test}: {error}");
            None
        }
    }
}

pub(crate) fn trial(population: &str, nodes: u32) -> Trial {
    let latency = Latency::Constant(Duration::from_millis(10));
    let population = Population::named(population).unwrap();
    let topology = Topology::draw(&population, nodes as usize, latency, [5; 32]).unwrap();
    let public: Vec<_> = (0..nodes).filter(|n| topology.hosts[*n as usize].is_public()).collect();
    let first = NodeIndex(public[0]);
    let nodes = (0..nodes).map(|n| NodeSpec {
        name: format!("m{n:03}"),
        address: NodeSpec::address_of(u64::from(n)).unwrap(),
        host: HostId(n),
        behind: String::new(),
        bootstraps: if n == first.0 { Vec::new() } else { vec![first] },
        seed: u64::from(n),
        private: None,
    });
    let (nodes, security) = (nodes.collect(), Security::default());
    Trial { number: 0, seed: 1, nodes, security, group: None, topology, internet_seed: [6; 32] }
}

/// Lets time pass until all of them say that they are connected.
pub(crate) fn wait_for_all(environment: &mut Docker, nodes: &[NodeIndex]) {
    let limit = environment.now() + Duration::from_secs(60);
    loop {
        let statuses = environment.statuses(nodes).unwrap();
        let connected = |status: &Option<atoll::environment::NodeStatus>| {
            status.as_ref().is_some_and(|status| status.status.state == State::Connected)
        };
        if statuses.iter().all(connected) {
            return;
        }
        assert!(environment.now() < limit, "not connected: {statuses:#?}\n{:#?}", environment.health());
        let next = environment.now() + Duration::from_millis(100);
        environment.advance(next).unwrap();
    }
}

/// The runs of this test program.
pub(crate) fn runs() -> Vec<RunState> {
    runs_of(std::process::id())
}

pub(crate) fn runs_of(pid: u32) -> Vec<RunState> {
    let is_its = |run: &RunState| {
        let owner = run.folder.as_ref().and_then(|folder| std::fs::read_to_string(folder.join("owner")).ok());
        owner.is_some_and(|owner| owner.starts_with(&format!("{pid}:")))
    };
    list().unwrap().into_iter().filter(is_its).collect()
}

#[track_caller]
pub(crate) fn assert_gone(run: &RunState) {
    assert!(list().unwrap().iter().all(|left| left.id != run.id), "containers of {} are left", run.id);
    assert!(!run.folder.as_ref().unwrap().exists(), "files of {} are left", run.id);
}

pub(crate) fn ask_engine<T>(question: impl AsyncFnOnce(bollard::Docker) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let api = bollard::Docker::connect_with_defaults().unwrap().negotiate_version().await.unwrap();
        question(api).await
    })
}
