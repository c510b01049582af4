//! Containers that run: what can be asked of them and done to them.

use std::path::Path;
use std::time::Duration;

use atoll_core::control::{Command, Reply};
use atoll_fabric::api::{Ask, Attach, Client, FaultOrder, NodeAnswer, NodeReport, Report};
use atoll_fabric::clock::{Clock, monotonic};
use bollard::Docker as Api;
use bollard::query_parameters::KillContainerOptionsBuilder;
use futures_util::{StreamExt as _, stream};

use super::capture;
use super::containers::{self, TOGETHER_MAX};
use super::engine::failed;
use super::files::Files;
use super::place::RunPlace;
use super::questions::Tray;
use super::usage::{self, Usage};
use crate::environment::{
    Answer, Cost, Fault, FaultReport, Health, Lateness, NodeIndex, NodeSpec, NodeStatus, Question, Sample,
    Stop, Traffic,
};
use crate::error::{Error, OrFail, Result};

/// Longest wait for members that said goodbye to end.
const GOODBYE_LIMIT: Duration = Duration::from_secs(10);
/// Pause between two looks whether they have.
const GOODBYE_PAUSE: Duration = Duration::from_millis(20);

/// One member's container.
#[derive(Debug)]
pub(super) struct Member {
    name: String,
    host: u32,
    pid: u32,
    released: Option<Duration>,
    /// It was told to end.
    dismissed: bool,
    /// What it had used when it was told so.
    used: Usage,
    /// What it had sent and received when it had ended.
    passed: Traffic,
    /// What those used whose place it took.
    earlier: Usage,
}

impl Member {
    pub(super) fn new(name: String, host: u32, pid: u32) -> Self {
        let (used, passed) = (Usage::default(), Traffic::default());
        Self { name, host, pid, released: None, dismissed: false, used, passed, earlier: used }
    }

    /// What it and those before it used.
    fn usage(&self) -> Usage {
        self.earlier.and(usage::of(self.pid).filter(|_| !self.dismissed).unwrap_or(self.used))
    }
}

/// A population of containers and their fabric.
pub(super) struct Live {
    api: Api,
    place: RunPlace,
    files: Files,
    client: Client,
    tray: Tray,
    /// The fabric's.
    clock: Clock,
    fabric_pid: u32,
    members: Vec<Member>,
    /// The environment's.
    own: Clock,
    captures: bool,
}

impl Live {
    pub(super) fn new(
        api: Api,
        (place, files): (RunPlace, Files),
        client: Client,
        (clock, fabric_pid): (Clock, u32),
        members: Vec<Member>,
    ) -> Self {
        let (tray, own) = (Tray::new(), clock.started(monotonic()));
        Self { api, place, files, client, tray, clock, fabric_pid, members, own, captures: false }
    }

    pub(super) fn now(&self) -> Duration {
        self.own.now()
    }

    pub(super) async fn sleep_until(&self, until: Duration) {
        tokio::time::sleep(self.own.real(until.saturating_sub(self.now()))).await;
    }

    /// Whether the fabric still runs.
    pub(super) fn check(&self) -> Result<()> {
        match usage::of(self.fabric_pid) {
            Some(_) => Ok(()),
            None => Err(Error::new("the fabric is gone", "its process has ended")
                .with_hint("was it killed? `atoll down --all` removes what is left")),
        }
    }

    pub(super) async fn start(&mut self, nodes: &[NodeIndex]) -> Result<()> {
        let answers =
            self.client.release(&self.names(nodes)).await.or_fail(|| "cannot release members".to_owned())?;
        for (node, answer) in nodes.iter().zip(answers) {
            let member = &self.members[node.index()];
            let at = answer.map_err(|why| Error::new(format!("cannot release {}", member.name), why))?;
            self.members[node.index()].released = Some(self.at_fabric(at));
        }
        Ok(())
    }

    pub(super) async fn stop(&mut self, nodes: &[NodeIndex], how: Stop) -> Result<()> {
        for node in nodes {
            let member = &mut self.members[node.index()];
            member.used = usage::of(member.pid).unwrap_or_default();
            member.dismissed = true;
        }
        let report = match how {
            Stop::Leave => self.leave(nodes).await?,
            Stop::Kill => {
                // The fabric forgets whom it detaches.
                let report = self.report().await?;
                self.kill(nodes).await?;
                report
            }
        };
        for node in nodes {
            let member = &mut self.members[node.index()];
            member.passed = passed(&report, &member.name);
        }
        Ok(())
    }

    /// Starts the container of a member that has ended again, as another member at its gate.
    pub(super) async fn replace(&mut self, node: NodeIndex, member: &NodeSpec) -> Result<()> {
        let what = || format!("cannot replace {}", member.name);
        let before = &self.members[node.index()];
        if !before.dismissed {
            return Err(Error::new(what(), "it still runs"));
        }
        self.client.detach(&vec![member.name.clone()]).await.or_fail(what)?;
        self.files.write(&self.place, member)?;
        let pid = containers::start_again(&self.api, &self.place.container(&member.name)).await?;
        let order = Attach { name: member.name.clone(), host: before.host, pid, held: true };
        let answers = self.client.attach(&[order]).await.or_fail(what)?;
        if let Some(why) = answers.into_iter().next().flatten() {
            return Err(Error::new(what(), why));
        }
        let new = Member::new(before.name.clone(), before.host, pid);
        self.members[node.index()] = Member { earlier: before.usage(), ..new };
        Ok(())
    }

    /// Tells them to leave and waits until they have; what the fabric knows of them then.
    async fn leave(&self, nodes: &[NodeIndex]) -> Result<Report> {
        let answers = self.ask(nodes, &Command::Leave).await?;
        for (node, answer) in nodes.iter().zip(answers) {
            answer.map_err(|why| {
                Error::new(format!("{} does not leave", self.members[node.index()].name), why)
            })?;
        }
        let limit = self.now() + GOODBYE_LIMIT;
        loop {
            let report = self.report().await?;
            let stays = nodes
                .iter()
                .map(|node| &self.members[node.index()].name)
                .find(|name| report.nodes.get(*name).is_some_and(|node| node.exited.is_none()));
            match stays {
                None => return Ok(report),
                Some(name) if self.now() > limit => {
                    return Err(Error::new(format!("{name} does not leave"), "it still runs"));
                }
                Some(_) => tokio::time::sleep(GOODBYE_PAUSE).await,
            }
        }
    }

    /// Silence first: without their devices they cannot say goodbye, however long the engine takes to kill them.
    async fn kill(&self, nodes: &[NodeIndex]) -> Result<()> {
        self.client.detach(&self.names(nodes)).await.or_fail(|| "cannot silence members".to_owned())?;
        let kills = nodes.iter().map(|node| async {
            let name = self.place.container(&self.members[node.index()].name);
            let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
            let killed = self.api.kill_container(&name, Some(options)).await;
            killed.map_err(|error| failed(format!("cannot kill {name}"), &error))
        });
        let results: Vec<Result<()>> = stream::iter(kills).buffer_unordered(TOGETHER_MAX).collect().await;
        results.into_iter().collect()
    }

    pub(super) async fn apply(&self, fault: &Fault) -> Result<FaultReport> {
        let hosts = |nodes: &[NodeIndex]| nodes.iter().map(|node| self.members[node.index()].host).collect();
        let order = match fault {
            Fault::Rebind { nodes } => FaultOrder::Rebind(hosts(nodes)),
            Fault::Reboot { nodes } => FaultOrder::Reboot(hosts(nodes)),
            Fault::Loss { ratio } => FaultOrder::Loss(*ratio),
            Fault::Partition { sides } => FaultOrder::Partition(sides.each_ref().map(|side| hosts(side))),
            Fault::Heal => FaultOrder::Heal,
        };
        let done = self.client.fault(&order).await.or_fail(|| "cannot change the Internet".to_owned())?;
        Ok(FaultReport { at: self.at_fabric(done.at), hosts: done.hosts })
    }

    pub(super) async fn command(&self, node: NodeIndex, command: &Command) -> Result<Reply> {
        let name = &self.members[node.index()].name;
        let answer = self.ask(&[node], command).await?.pop();
        let answer = answer.unwrap_or_else(|| Err("no answer".to_owned()));
        reply(answer).map_err(|why| Error::new(format!("{name} does not answer"), why))
    }

    pub(super) fn ask_only(&mut self, node: NodeIndex, command: &Command) -> Result<Question> {
        let name = self.members[node.index()].name.clone();
        self.tray.ask(&self.client, (name, command), self.own)
    }

    pub(super) fn take_answers(&mut self) -> Vec<Answer> {
        self.tray.take()
    }

    pub(super) async fn statuses(&self, nodes: &[NodeIndex]) -> Result<Vec<Option<NodeStatus>>> {
        let answers = self.ask(nodes, &Command::Status).await?;
        let status = |(node, answer): (&NodeIndex, NodeAnswer)| {
            let released = self.members[node.index()].released?;
            let Reply::Status(overlays) = reply(answer).ok()? else { return None };
            NodeStatus::of(released, overlays)
        };
        Ok(nodes.iter().zip(answers).map(status).collect())
    }

    pub(super) async fn traffic(&self, nodes: &[NodeIndex]) -> Result<Vec<Traffic>> {
        let report = self.report().await?;
        let traffic = |node: &NodeIndex| {
            let member = &self.members[node.index()];
            if member.dismissed { member.passed } else { passed(&report, &member.name) }
        };
        Ok(nodes.iter().map(traffic).collect())
    }

    pub(super) async fn scrape(&mut self) -> Result<Vec<Sample>> {
        let running: Vec<_> = (0..)
            .map(NodeIndex)
            .zip(&self.members)
            .filter(|(_, member)| member.released.is_some() && !member.dismissed)
            .map(|(index, _)| index)
            .collect();
        let answers = self.ask(&running, &Command::Metrics).await?;
        let at = self.now();
        let mut samples = Vec::new();
        for (node, answer) in running.into_iter().zip(answers) {
            let Ok(Reply::Metrics(metrics)) = reply(answer) else { continue };
            samples.extend(metrics.into_iter().map(|metric| Sample {
                at,
                node: Some(node),
                metric: metric.name,
                labels: metric.labels,
                value: metric.value,
            }));
        }
        samples.extend(of_fabric(at, &self.report().await?));
        Ok(samples)
    }

    pub(super) async fn health(&mut self) -> Result<Health> {
        let report = self.report().await?;
        let mut health = Health { lateness: Some(lateness(&report)), ..Health::default() };
        for (index, member) in (0..).map(NodeIndex).zip(&self.members) {
            let exited =
                report.nodes.get(&member.name).is_some_and(|node: &NodeReport| node.exited.is_some());
            if exited && !member.dismissed {
                let words = containers::last_words(&self.api, &self.place.container(&member.name)).await;
                health.crashed.push((index, words));
            }
        }
        for (why, count) in &report.losses {
            if matches!(why.as_str(), "overload" | "refused") {
                health.stalls.push(format!("the fabric lost {count} packets: {why}"));
            }
        }
        let flaw = report.capture.as_ref().and_then(capture::flaw);
        health.stalls.extend(flaw.map(|why| format!("the capture is not complete: {why}")));
        Ok(health)
    }

    pub(super) async fn begin_capture(&mut self) -> Result<()> {
        capture::begin(&self.client).await?;
        self.captures = true;
        Ok(())
    }

    pub(super) async fn save_capture(&mut self, file: &Path) -> Result<Option<String>> {
        if !std::mem::take(&mut self.captures) {
            return Ok(None);
        }
        let flaw = capture::end(&self.client).await?;
        capture::bring(&self.place, file)?;
        Ok(flaw)
    }

    /// What fabric and members cost so far; the engine's own share is not in it.
    pub(super) async fn cost(&self) -> Cost {
        let report = self.report().await.unwrap_or_default();
        let fabric = usage::of(self.fabric_pid).unwrap_or_default();
        let all = self.members.iter().map(Member::usage).chain([fabric]);
        let sum = all.fold(Usage::default(), |sum, one| Usage {
            cpu: sum.cpu + one.cpu,
            peak_rss_bytes: sum.peak_rss_bytes + one.peak_rss_bytes,
        });
        Cost {
            cpu_seconds: sum.cpu.as_secs_f64(),
            wall_seconds: 0.0,
            peak_rss_bytes: sum.peak_rss_bytes,
            events: report.packets,
        }
    }

    pub(super) async fn directions(&mut self) -> Result<Vec<String>> {
        let report = self.report().await?;
        let port = report.pages_port;
        let Some(first) = self.members.first() else { return Ok(Vec::new()) };
        let (name, container) = (&first.name, self.place.container(&first.name));
        let mut lines = vec![
            format!("run {} with {} members", self.place.id, self.members.len()),
            format!("a member's view     docker exec {container} /atoll-node status"),
            format!("a member's log      docker logs {container}"),
            format!("a member's metrics  curl http://127.0.0.1:{port}/nodes/{name}/metrics"),
            format!("the fabric's        curl http://127.0.0.1:{port}/metrics"),
            format!("for Prometheus      http_sd_configs: [{{url: http://127.0.0.1:{port}/sd}}]"),
        ];
        if self.captures {
            let path = capture::path(&self.place);
            lines.push(format!("the capture so far  tail -c +1 -f {} | wireshark -k -i -", path.display()));
        }
        Ok(lines)
    }

    fn names(&self, nodes: &[NodeIndex]) -> Vec<String> {
        nodes.iter().map(|node| self.members[node.index()].name.clone()).collect()
    }

    async fn ask(&self, nodes: &[NodeIndex], command: &Command) -> Result<Vec<NodeAnswer>> {
        let what = || "cannot ask members".to_owned();
        let command = serde_json::to_value(command).or_fail(what)?;
        self.client.command(&Ask { nodes: self.names(nodes), command }).await.or_fail(what)
    }

    async fn report(&self) -> Result<Report> {
        self.client.report().await.or_fail(|| "cannot ask the fabric".to_owned())
    }

    /// From the fabric's clock to the environment's.
    fn at_fabric(&self, seconds: f64) -> Duration {
        self.own.time_at(self.clock.monotonic_at(Duration::from_secs_f64(seconds)))
    }
}

/// What a node sent and received, as far as the fabric knows it.
fn passed(report: &Report, name: &str) -> Traffic {
    let seen = report.nodes.get(name);
    seen.map_or_else(Traffic::default, |seen| Traffic {
        sent_bytes: seen.traffic.sent_bytes,
        received_bytes: seen.traffic.received_bytes,
        sent_packets: seen.traffic.sent_packets,
        received_packets: seen.traffic.received_packets,
    })
}

fn reply(answer: NodeAnswer) -> Result<Reply, String> {
    serde_json::from_value(answer?).map_err(|error| error.to_string())
}

fn lateness(report: &Report) -> Lateness {
    Lateness {
        p50: Duration::from_secs_f64(report.lateness.p50),
        p99: Duration::from_secs_f64(report.lateness.p99),
        max: Duration::from_secs_f64(report.lateness.max),
    }
}

/// The fabric's own values, under the names of its metrics page.
fn of_fabric(at: Duration, report: &Report) -> Vec<Sample> {
    let sample = |metric: &str, label: Option<(&str, &str)>, value: f64| Sample {
        at,
        node: None,
        metric: metric.to_owned(),
        labels: label.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect(),
        value,
    };
    let late = &report.lateness;
    let mut samples: Vec<_> = [("0.5", late.p50), ("0.99", late.p99), ("1", late.max)]
        .map(|(quantile, value)| sample("fabric_lateness_seconds", Some(("quantile", quantile)), value))
        .into();
    let counts =
        [("fabric_lost_packets_total", &report.losses), ("fabric_dropped_packets_total", &report.drops)];
    for (metric, by_reason) in counts {
        samples.extend(
            by_reason.iter().map(|(why, count)| sample(metric, Some(("reason", why)), *count as f64)),
        );
    }
    samples.push(sample("fabric_cpu_seconds_total", None, report.cpu_seconds));
    if let Some(capture) = &report.capture {
        let states = std::iter::once(("held", &capture.packets));
        let states = states.chain(capture.missing.iter().map(|(why, count)| (why.as_str(), count)));
        samples.extend(
            states.map(|(state, count)| {
                sample("fabric_captured_packets", Some(("state", state)), *count as f64)
            }),
        );
    }
    samples
}
