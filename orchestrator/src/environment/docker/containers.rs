//! The containers of a run: what they may do, and how they come and go.

use std::collections::HashMap;
use std::path::Path;

use bollard::Docker as Api;
use bollard::models::{
    ContainerCreateBody, ContainerSummary, DeviceMapping, HostConfig, HostConfigLogConfig,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, WaitContainerOptions,
};
use futures_util::{StreamExt as _, stream};

use super::engine::{failed, is_absent};
use super::papers;
use super::place::{NODE, RUN, RunPlace};
use crate::environment::NodeSpec;
use crate::error::{Error, Result};

/// Containers that are made or removed at the same time.
pub(super) const TOGETHER_MAX: usize = 8;
/// Memory of one member's container, in bytes.
const MEMORY_MAX: i64 = 64 << 20;
/// Threads and processes of one member's container.
const PIDS_MAX: i64 = 64;
/// What the fabric may do: enter network namespaces, make devices there, look at other users' processes to find
/// them, run before them, and hand its socket to the owner of the run.
const FABRIC_RIGHTS: [&str; 6] =
    ["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "SYS_NICE", "CHOWN", "DAC_OVERRIDE"];
/// The root group of the processor's share, on hosts with version 1 control groups.
const SCHEDULER_GROUP: &str = "/sys/fs/cgroup/cpu";
/// User and group of members: nobody.
const NOBODY: (u32, u32) = (65_534, 65_534);
/// Name of the fabric among a run's containers.
pub(super) const FABRIC: &str = "fabric";

/// A container that is about to be.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    name: String,
    body: ContainerCreateBody,
}

/// The fabric's container: it sees the host's processes, and may enter their networks; nothing else.
pub(super) fn fabric(place: &RunPlace, image: &str) -> Recipe {
    let command =
        ["/atoll-fabric", "--setting", "/run/atoll/setting.json", "--socket", "/run/atoll/fabric.sock"];
    let mut command = command.map(str::to_owned).to_vec();
    let mut binds = vec![format!("{}:/run/atoll", place.folder.display())];
    if Path::new(SCHEDULER_GROUP).join("tasks").exists() {
        binds.push(format!("{SCHEDULER_GROUP}:/run/scheduler"));
        command.extend(["--scheduler-group", "/run/scheduler"].map(str::to_owned));
    }
    let tun = DeviceMapping {
        path_on_host: Some("/dev/net/tun".to_owned()),
        path_in_container: Some("/dev/net/tun".to_owned()),
        cgroup_permissions: Some("rw".to_owned()),
    };
    let host = HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(FABRIC_RIGHTS.map(str::to_owned).to_vec()),
        // Docker's own confinement forbids to look at other processes' namespaces.
        security_opt: Some(vec!["apparmor=unconfined".to_owned(), "seccomp=unconfined".to_owned()]),
        devices: Some(vec![tun]),
        readonly_rootfs: Some(true),
        network_mode: Some("host".to_owned()),
        pid_mode: Some("host".to_owned()),
        binds: Some(binds),
        log_config: Some(log_config()),
        ..HostConfig::default()
    };
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(command),
        labels: Some(place.labels()),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    };
    Recipe { name: place.container(FABRIC), body }
}

/// User and group that members run as: nobody, or whoever runs the lab where that is not root, since a member's private
/// files can belong to nobody else then.
pub(super) fn user() -> (u32, u32) {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if user.is_root() { NOBODY } else { (user.as_raw(), group.as_raw()) }
}

/// A member's container: no network but what the fabric brings, no capability, nothing to write to.
pub(super) fn node(place: &RunPlace, node: &NodeSpec, image: &str) -> Recipe {
    let name = &node.name;
    let mut binds = vec![
        format!("{}:/atoll-hold:ro", place.hold().display()),
        format!("{}:/etc/atoll/node.yaml:ro", place.config(name).display()),
    ];
    let papers = || format!("{}:{}:ro", place.papers(name).display(), papers::FOLDER);
    binds.extend(node.private.map(|_| papers()));
    let host = HostConfig {
        network_mode: Some("none".to_owned()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        readonly_rootfs: Some(true),
        sysctls: with_ipv6(),
        memory: Some(MEMORY_MAX),
        pids_limit: Some(PIDS_MAX),
        binds: Some(binds),
        log_config: Some(log_config()),
        ..HostConfig::default()
    };
    let mut labels = place.labels();
    labels.insert(NODE.to_owned(), name.clone());
    let command = ["/atoll-hold", "/atoll-node", "run", "--config", "/etc/atoll/node.yaml"];
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        user: Some(format!("{}:{}", user().0, user().1)),
        entrypoint: Some(command.map(str::to_owned).to_vec()),
        labels: Some(labels),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    };
    Recipe { name: place.container(name), body }
}

/// The engine switches IPv6 off where it has no network of its own to give; a kernel without it has no such switch.
fn with_ipv6() -> Option<HashMap<String, String>> {
    let switch = ("net.ipv6.conf.all.disable_ipv6".to_owned(), "0".to_owned());
    Path::new("/proc/sys/net/ipv6").exists().then(|| HashMap::from([switch]))
}

fn log_config() -> HostConfigLogConfig {
    let limits = [("max-size", "8m"), ("max-file", "1")];
    let limits = limits.map(|(key, value)| (key.to_owned(), value.to_owned()));
    HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(HashMap::from(limits)) }
}

/// Makes and starts a container; returns the number of its first process on the engine's host.
///
/// # Errors
/// The engine does not make or start it, or it ended at once.
pub(super) async fn launch(api: &Api, recipe: Recipe) -> Result<u32> {
    let Recipe { name, body } = recipe;
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    let made = api.create_container(Some(options), body).await;
    made.map_err(|error| failed(format!("cannot make the container {name}"), &error))?;
    start(api, &name).await
}

/// Starts a container again once it has ended; returns the number of its first process.
///
/// # Errors
/// The engine does not start it, or it ended at once.
pub(super) async fn start_again(api: &Api, name: &str) -> Result<u32> {
    let mut ends = api.wait_container(name, None::<WaitContainerOptions>);
    // A killed program ends with an error of its own; that it has ended is all that is waited for.
    while ends.next().await.is_some_and(|end| end.is_ok()) {}
    start(api, name).await
}

async fn start(api: &Api, name: &str) -> Result<u32> {
    let started = api.start_container(name, None).await;
    started.map_err(|error| failed(format!("cannot start the container {name}"), &error))?;
    let seen = api.inspect_container(name, None).await;
    let seen = seen.map_err(|error| failed(format!("cannot look at the container {name}"), &error))?;
    let pid = seen.state.and_then(|state| state.pid).and_then(|pid| u32::try_from(pid).ok());
    match pid {
        Some(pid) if pid > 0 => Ok(pid),
        _ => Err(Error::new(format!("the container {name} ended at once"), last_words(api, name).await)),
    }
}

/// Ends and removes a container; one that is gone already is fine.
///
/// # Errors
/// The engine does not remove it.
pub(super) async fn remove(api: &Api, name: &str) -> Result<()> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    match api.remove_container(name, Some(options)).await {
        Err(error) if !is_absent(&error) && !is_under_way(&error) => {
            Err(failed(format!("cannot remove the container {name}"), &error))
        }
        _ => Ok(()),
    }
}

/// Whether someone else is removing it already.
fn is_under_way(error: &bollard::errors::Error) -> bool {
    matches!(error, bollard::errors::Error::DockerResponseServerError { status_code: 409, message }
        if message.contains("already in progress"))
}

/// Removes many containers, some at a time; returns what could not be removed.
pub(super) async fn remove_all(api: &Api, names: Vec<String>) -> Vec<Error> {
    let removals = names.into_iter().map(|name| async move { remove(api, &name).await.err() });
    stream::iter(removals).buffer_unordered(TOGETHER_MAX).filter_map(async |error| error).collect().await
}

/// Every container of a run, or of all runs.
///
/// # Errors
/// The engine does not list its containers.
pub(super) async fn list(api: &Api, run: Option<&str>) -> Result<Vec<ContainerSummary>> {
    let label = run.map_or_else(|| RUN.to_owned(), |run| format!("{RUN}={run}"));
    let filters = HashMap::from([("label", vec![label.as_str()])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
    let listed = api.list_containers(Some(options)).await;
    listed.map_err(|error| failed("cannot list the containers", &error))
}

/// The name of a listed container.
pub(super) fn name_of(container: &ContainerSummary) -> Option<String> {
    let name = container.names.as_ref()?.first()?;
    Some(name.trim_start_matches('/').to_owned())
}

/// Everything that a container wrote.
pub(super) async fn log(api: &Api, name: &str, tail: &str) -> Vec<u8> {
    let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(tail).build();
    let lines = api.logs(name, Some(options)).filter_map(async |line| line.ok());
    lines
        .fold(Vec::new(), async |mut all, line| {
            all.extend_from_slice(&line.into_bytes());
            all
        })
        .await
}

/// The last lines that a container wrote, for an error.
pub(super) async fn last_words(api: &Api, name: &str) -> String {
    let words = String::from_utf8_lossy(&log(api, name, "3").await).trim().to_owned();
    if words.is_empty() { "it said nothing".to_owned() } else { words }
}
