//! Members in real containers. Without a Docker engine these tests say so loudly and pass.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod containers;

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use atoll::environment::docker::{Dilation, Docker, Options, RunState, down, list};
use atoll::environment::{Environment, NodeIndex, Stop};
use atoll_core::control::{Command as Question, Reply};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, WaitContainerOptions,
};
use containers::{Silent, ask_engine, assert_gone, engine, runs, runs_of, surroundings, trial, wait_for_all};
use futures_util::StreamExt as _;

#[test]
fn members_behind_nats_join_answer_and_leave_nothing() {
    let Some(_alone) = engine("members_behind_nats_join_answer_and_leave_nothing") else { return };
    let mut environment = Docker::new(surroundings(), Options::default()).unwrap();
    let trial = trial("cones", 8);
    environment.prepare(&trial).unwrap();
    let nodes: Vec<_> = (0..8).map(NodeIndex).collect();
    assert!(environment.statuses(&nodes).unwrap().iter().all(Option::is_none), "nobody is released yet");
    assert!(environment.traffic(&nodes).unwrap().iter().all(|traffic| traffic.sent_packets == 0));
    environment.start(&nodes).unwrap();
    wait_for_all(&mut environment, &nodes);
    let reply = environment.command(nodes[1], Question::Peers { overlay: "public".to_owned() }).unwrap();
    assert!(matches!(reply, Reply::Peers(peers) if !peers.is_empty()));
    assert!(environment.scrape().unwrap().iter().any(|sample| sample.metric == "fabric_lateness_seconds"));
    assert!(environment.traffic(&nodes).unwrap().iter().all(|traffic| traffic.sent_bytes > 0));
    environment.stop(&nodes[6..7], Stop::Leave).unwrap();
    environment.stop(&nodes[7..], Stop::Kill).unwrap();
    assert_eq!(environment.statuses(&nodes[6..]).unwrap(), vec![None, None]);
    assert_eq!(environment.health().unwrap().crashed, vec![]);
    println!("{:?}\n{:?}", environment.cost(), environment.health().unwrap().lateness);
    let folder = tempfile::tempdir().unwrap();
    environment.save_logs(folder.path()).unwrap();
    assert!(folder.path().join("m000.log").exists() && folder.path().join("fabric.log").exists());
    let run = runs().pop().unwrap();
    environment.tear_down().unwrap();
    assert_gone(&run);
}

#[test]
fn dilated_time_runs_slower_for_members_and_network_alike() {
    const TIMES: u32 = 4;
    let Some(_alone) = engine("dilated_time_runs_slower_for_members_and_network_alike") else { return };
    let options = Options { dilation: Dilation(TIMES), ..Options::default() };
    let mut environment = Docker::new(surroundings(), options).unwrap();
    let trial = trial("cones", 8);
    environment.prepare(&trial).unwrap();
    let (nodes, began): (Vec<_>, _) = ((0..8).map(NodeIndex).collect(), Instant::now());
    let zero = environment.now();
    environment.start(&nodes).unwrap();
    wait_for_all(&mut environment, &nodes);
    let (passed, wall) = (environment.now() - zero, began.elapsed());
    assert!(passed * TIMES <= wall + Duration::from_millis(1), "{passed:?} in {wall:?}");
    let target = environment.statuses(&nodes).unwrap()[3].as_ref().unwrap().status.address;
    let (ping, began) = (Question::Ping { overlay: "public".to_owned(), address: target }, Instant::now());
    let reply = environment.command(nodes[1], ping).unwrap();
    let wall = began.elapsed().as_secs_f64();
    // 10 ms each way, and the machine took as many times longer for it.
    let Reply::Ping { seconds, .. } = reply else { panic!("{reply:?}") };
    assert!(seconds >= 0.02 && seconds * f64::from(TIMES) <= wall, "{seconds} s in {wall} s");
    assert_eq!(environment.health().unwrap().dilation, Some(TIMES));
    let run = runs().pop().unwrap();
    environment.tear_down().unwrap();
    assert_gone(&run);
}

#[test]
fn members_at_sites_that_block_udp_join_over_tcp() {
    let Some(_alone) = engine("members_at_sites_that_block_udp_join_over_tcp") else { return };
    let mut environment = Docker::new(surroundings(), Options::default()).unwrap();
    let trial = trial("udp-blocked", 12);
    let blocked: Vec<_> = (0..12).filter(|n| !trial.topology.hosts[*n].is_public()).collect();
    assert!(!blocked.is_empty());
    environment.prepare(&trial).unwrap();
    let nodes: Vec<_> = (0..12).map(NodeIndex).collect();
    environment.start(&nodes).unwrap();
    wait_for_all(&mut environment, &nodes);
    let statuses = environment.statuses(&nodes).unwrap();
    for n in blocked {
        let status = &statuses[n].as_ref().unwrap().status;
        assert!(status.join_seconds.unwrap() < 20.0, "{status:?}");
        let reply = environment.command(nodes[n], Question::Peers { overlay: "public".to_owned() }).unwrap();
        assert!(matches!(reply, Reply::Peers(peers) if peers.iter().any(|peer| peer.edge == "tcp")));
    }
    let run = runs().pop().unwrap();
    environment.tear_down().unwrap();
    assert_gone(&run);
}

#[test]
fn when_the_fabric_is_killed_the_environment_says_so_and_leaves_nothing() {
    let Some(_alone) = engine("when_the_fabric_is_killed_the_environment_says_so_and_leaves_nothing") else {
        return;
    };
    let mut environment = Docker::new(surroundings(), Options::default()).unwrap();
    environment.prepare(&trial("none", 4)).unwrap();
    let nodes: Vec<_> = (0..4).map(NodeIndex).collect();
    environment.start(&nodes[..2]).unwrap();
    let run = runs().pop().unwrap();
    kill_container(&format!("atoll-{}-fabric", run.id));
    let soon = environment.now() + Duration::from_millis(10);
    let error = environment.advance(soon).unwrap_err();
    assert!(error.to_string().contains("the fabric is gone"), "{error}");
    assert!(environment.statuses(&nodes).is_err());
    environment.tear_down().unwrap();
    assert_gone(&run);
}

#[test]
fn what_a_killed_lab_left_is_listed_and_removed() {
    let Some(_alone) = engine("what_a_killed_lab_left_is_listed_and_removed") else { return };
    let mut lab = Lab::up("public: 4\njoiners: 1\nnat: cones\n");
    let run = lab.run();
    assert!(!run.is_left_over && run.has_fabric && run.running == 5, "{run:?}");
    lab.kill();
    let left = list().unwrap().into_iter().find(|left| left.id == run.id).unwrap();
    assert!(left.is_left_over && left.has_fabric && left.running == 5, "{left:?}");
    let removed = down(false, &Silent).unwrap();
    assert!(removed.runs >= 1 && removed.containers >= 6, "{removed:?}");
    assert_gone(&run);
}

#[test]
fn down_all_leaves_nothing_of_a_killed_lab() {
    let test = "down_all_leaves_nothing_of_a_killed_lab";
    let Some(_alone) = engine(test) else { return };
    let others = list().unwrap();
    if !others.is_empty() {
        eprintln!("SKIPPED: {test}: it removes every run of this host, and there are others: {others:?}");
        return;
    }
    let mut lab = Lab::up("public: 3\njoiners: 0\nnat: none\nlatency: 10 ms\n");
    let run = lab.run();
    let pids = processes(&run);
    assert_eq!(pids.len(), 4, "three members and the fabric");
    assert!(images().len() >= 2, "of the members and of the fabric");
    lab.kill();
    assert!(pids.iter().all(|pid| program(pid).is_some()), "containers outlive the lab");
    let output =
        Command::new(env!("CARGO_BIN_EXE_atoll")).args(["down", "--all", "--quiet"]).output().unwrap();
    let (shown, said) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{shown}{said}");
    assert!(shown.starts_with("removed 1 run(s), 4 container(s), 0 folder(s), "), "{shown}");
    assert_gone(&run);
    assert_eq!(list().unwrap(), vec![]);
    assert_eq!(images(), Vec::<String>::new());
    let still: Vec<String> = pids.iter().filter_map(program).collect();
    assert!(still.is_empty(), "processes are left: {still:?}");
}

#[test]
fn relays_die_in_containers_and_their_pairs_go_on() {
    let Some(_alone) = engine("relays_die_in_containers_and_their_pairs_go_on") else { return };
    let set = ["public=20", "nat=symmetric", "latency=20 ms", "rest=20 s"];
    let metrics = measured("relay", &set);
    assert!(metrics["relay_rtt_seconds"]["count"].as_f64() > Some(5.0), "{metrics}");
    assert!(metrics["relay_replaced_seconds"]["count"].as_f64() >= Some(1.0), "{metrics}");
    assert_eq!(metrics["relay_lost_ratio"]["max"].as_f64(), Some(0.0), "{metrics}");
}

#[test]
fn a_partition_of_containers_heals() {
    let Some(_alone) = engine("a_partition_of_containers_heals") else { return };
    let set = ["public=10", "private=6", "nat=none", "latency=20 ms", "partition=20 s"];
    let metrics = measured("partition", &set);
    assert_eq!(metrics["split_ratio"]["max"].as_f64(), Some(0.0), "{metrics}");
    for metric in ["ring_merge_seconds", "private_ring_merge_seconds"] {
        assert_eq!(metrics[metric]["count"].as_f64(), Some(1.0), "{metrics}");
    }
}

#[test]
fn containers_come_and_go_and_values_stay() {
    let Some(_alone) = engine("containers_come_and_go_and_values_stay") else { return };
    let set = ["public=12", "private=4", "nat=none", "latency=20 ms", "session=2 min", "measure=40 s"];
    let metrics = measured("churn", &set);
    assert!(metrics["answered_ratio"]["min"].as_f64() > Some(0.99), "{metrics}");
    assert_eq!(metrics["dht_kept_ratio"]["min"].as_f64(), Some(1.0), "{metrics}");
    assert!(metrics["public_join_seconds"]["count"].as_f64() >= Some(1.0), "{metrics}");
}

#[test]
fn what_containers_send_at_rest_is_counted_at_the_emulated_wire() {
    let Some(_alone) = engine("what_containers_send_at_rest_is_counted_at_the_emulated_wire") else { return };
    let set = ["public=8", "private=4", "nat=none", "latency=20 ms", "rest=20 s", "measure=30 s"];
    let metrics = measured("bandwidth", &set);
    assert_eq!(metrics["bytes_per_second"]["count"].as_f64(), Some(4.0), "{metrics}");
    assert_eq!(metrics["public_bytes_per_second"]["count"].as_f64(), Some(8.0), "{metrics}");
    // So soon after the start pings still come more often than at rest.
    let mean = metrics["bytes_per_second"]["mean"].as_f64().unwrap_or_default();
    assert!((10.0..1000.0).contains(&mean), "{metrics}");
}

#[test]
fn a_revocation_reaches_all_containers_and_the_rogue_stays_out() {
    let Some(_alone) = engine("a_revocation_reaches_all_containers_and_the_rogue_stays_out") else { return };
    let set = ["public=12", "nat=none", "latency=20 ms", "rest=20 s"];
    let metrics = measured("revocation", &set);
    assert_eq!(metrics["revocation_seconds"]["count"].as_f64(), Some(10.0), "{metrics}");
    assert_eq!(metrics["untold_ratio"]["max"].as_f64(), Some(0.0), "{metrics}");
    assert_eq!(metrics["rogue_linked_ratio"]["max"].as_f64(), Some(0.0), "{metrics}");
    assert!(metrics["sealed_seconds"]["count"].as_f64() >= Some(1.0), "{metrics}");
}

/// Runs that nobody owns any more.
fn left_over() -> BTreeSet<String> {
    list().unwrap().into_iter().filter(|run| run.is_left_over).map(|run| run.id).collect()
}

/// What one trial of an experiment in containers measured; it leaves nothing.
fn measured(experiment: &str, set: &[&str]) -> serde_json::Value {
    let before = left_over();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
    command.args(["run", experiment, "--on", "docker", "--quiet", "--repeats", "1", "--out"]).arg(&out);
    command.args(set.iter().flat_map(|set| ["--set", set]));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let summary = std::fs::read_to_string(out.join("summary.json"));
    let summary = summary.unwrap_or_else(|_| panic!("it came to nothing: {said}"));
    let left: BTreeSet<String> = left_over().difference(&before).cloned().collect();
    assert!(left.is_empty(), "{left:?}: {said}");
    serde_json::from_str::<serde_json::Value>(&summary).unwrap()["metrics"].take()
}

/// A program `atoll up`. Whatever becomes of the test, it ends with this value, and its run with it.
struct Lab {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Lab {
    /// Starts the members of an experiment and waits until they run.
    fn up(experiment: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tiny.yaml");
        std::fs::write(&file, experiment).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
        command.args(["up", "--quiet"]).arg(&file).stdout(Stdio::piped());
        let mut lab = Self { child: command.spawn().unwrap(), _folder: folder };
        let mut line = String::new();
        BufReader::new(lab.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("members run"), "it did not start: {line}");
        lab
    }

    fn run(&self) -> RunState {
        runs_of(self.child.id()).pop().unwrap()
    }

    /// Ends it without a chance to clean up.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its owner is gone, so it is left over.
        let _ = down(false, &Silent);
    }
}

fn kill_container(name: &str) {
    ask_engine(async |api| {
        api.kill_container(name, None).await.unwrap();
        let mut ends = api.wait_container(name, None::<WaitContainerOptions>);
        while ends.next().await.is_some_and(|end| end.is_ok()) {}
    });
}

/// The first processes of a run's containers.
fn processes(run: &RunState) -> Vec<i64> {
    ask_engine(async |api| {
        let label = format!("atoll.run={}", run.id);
        let filters = HashMap::from([("label", vec![label.as_str()])]);
        let options = ListContainersOptionsBuilder::default().filters(&filters).build();
        let mut pids = Vec::new();
        for container in api.list_containers(Some(options)).await.unwrap() {
            let seen = api.inspect_container(&container.id.unwrap(), None).await.unwrap();
            pids.extend(seen.state.and_then(|state| state.pid));
        }
        pids
    })
}

/// The program of Atoll that a process of this host is.
fn program(pid: &i64) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    name.starts_with("atoll").then_some(name)
}

/// The names of the images that Atoll made.
fn images() -> Vec<String> {
    ask_engine(async |api| {
        let filters = HashMap::from([("label", vec!["atoll.image"])]);
        let options = ListImagesOptionsBuilder::default().filters(&filters).build();
        let images = api.list_images(Some(options)).await.unwrap();
        images.into_iter().flat_map(|image| image.repo_tags).collect()
    })
}
