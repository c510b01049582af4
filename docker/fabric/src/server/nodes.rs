//! The nodes of a fabric: attaching them to their devices, holding them at the gate, letting them go.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use atoll_topology::HostId;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect};

use super::{Fabric, batch};
use crate::api::{Attach, NODES_MAX, Released};
use crate::gate;
use crate::namespace::{Device, DeviceSpec, Namespace};

/// Longest wait for a container to reach its gate.
const GATE_LIMIT: Duration = Duration::from_secs(30);
/// Pause between two knocks: nothing tells us when a process in another namespace begins to listen.
const KNOCK_PAUSE: Duration = Duration::from_millis(2);
/// MTU of a device where the host's link has none of its own.
const MTU: u32 = 1500;
/// Smallest MTU that IPv6 works with (RFC 8200 section 5).
const MTU_MIN: u32 = 1280;

/// A container that has its device.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) host: HostId,
    pub(super) namespace: Arc<Namespace>,
    pub(super) released: Option<Duration>,
    pub(super) exited: Option<Duration>,
    gate: Option<UnixStream>,
}

/// Why a node cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Absent {
    #[error("no node is called {0}")]
    Unknown(String),
    #[error("its process has ended")]
    Ended,
}

/// The nodes by name.
#[derive(Debug, Default)]
pub(super) struct Nodes(Mutex<BTreeMap<String, Node>>);

impl Nodes {
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Node>> {
        // Nothing panics while it holds the lock, and what is inside is whole at every point.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn namespace(&self, name: &str) -> Result<Arc<Namespace>, Absent> {
        let nodes = self.lock();
        let node = nodes.get(name).ok_or_else(|| Absent::Unknown(name.to_owned()))?;
        match node.exited {
            Some(_) => Err(Absent::Ended),
            None => Ok(Arc::clone(&node.namespace)),
        }
    }
}

impl Fabric {
    /// Gives containers their devices; one answer each.
    pub(super) async fn attach(self: &Arc<Self>, orders: Vec<Attach>) -> Vec<Option<String>> {
        let lost = || Some("the work on it failed".to_owned());
        let works = orders.into_iter().map(|order| {
            let fabric = Arc::clone(self);
            async move { fabric.attach_one(order).await.err() }
        });
        batch::all(works, lost).await
    }

    async fn attach_one(&self, order: Attach) -> Result<(), String> {
        if self.nodes.lock().len() >= NODES_MAX {
            return Err(format!("a fabric has at most {NODES_MAX} nodes"));
        }
        let host = HostId(order.host);
        let found = self.engine.ask(move |engine| device_spec(engine.internet(), host)).await;
        let spec = found.map_err(|error| error.to_string())??;
        let make = move || -> io::Result<_> {
            let namespace = Namespace::of_process(order.pid)?;
            let device = Device::create(&namespace, &spec)?;
            Ok((namespace.process().try_clone()?, device, namespace))
        };
        let made = tokio::task::spawn_blocking(make).await.map_err(|error| error.to_string())?;
        let (process, device, namespace) = made.map_err(|error| format!("no eth0: {error}"))?;
        let namespace = Arc::new(namespace);
        let attached = self.engine.ask(move |engine| engine.attach(host, device, Some(process))).await;
        attached.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let gate = if order.held { Some(knock(&namespace).await?) } else { None };
        let node = Node { host, namespace, released: None, exited: None, gate };
        self.nodes.lock().insert(order.name, node);
        Ok(())
    }

    /// Lets nodes go, all at once; one answer each.
    pub(super) async fn release(&self, names: Vec<String>) -> Result<Vec<Released>, String> {
        self.notice_exits().await?;
        let hosts: Vec<_> = {
            let nodes = self.nodes.lock();
            names.iter().filter_map(|name| nodes.get(name)).map(|node| node.host).collect()
        };
        let forget = move |engine: &mut crate::engine::Engine| {
            hosts.iter().for_each(|host| engine.forget_traffic(*host));
        };
        self.engine.ask(forget).await.map_err(|error| error.to_string())?;
        let mut nodes = self.nodes.lock();
        Ok(names.iter().map(|name| self.open_gate(name, nodes.get_mut(name))).collect())
    }

    fn open_gate(&self, name: &str, node: Option<&mut Node>) -> Released {
        let node = node.ok_or_else(|| Absent::Unknown(name.to_owned()).to_string())?;
        let gate = node.gate.take().ok_or("it does not wait at a gate")?;
        let at = self.clock.now();
        rustix::io::write(&gate, &[gate::GO]).map_err(|error| format!("it left its gate: {error}"))?;
        node.released = Some(at);
        Ok(at.as_secs_f64())
    }

    /// Takes devices away.
    pub(super) async fn detach(&self, names: Vec<String>) -> Result<(), String> {
        let hosts: Vec<_> = {
            let mut nodes = self.nodes.lock();
            names.iter().filter_map(|name| nodes.remove(name)).map(|node| node.host).collect()
        };
        let detach = move |engine: &mut crate::engine::Engine| {
            hosts.iter().for_each(|host| engine.detach(*host));
        };
        self.engine.ask(detach).await.map_err(|error| error.to_string())
    }

    /// Writes down which processes have ended.
    pub(super) async fn notice_exits(&self) -> Result<(), String> {
        let exits = self.engine.ask(crate::engine::Engine::take_exits).await;
        let exits = exits.map_err(|error| error.to_string())?;
        let mut nodes = self.nodes.lock();
        for exit in exits {
            for node in nodes.values_mut().filter(|node| node.host == exit.host) {
                node.exited.get_or_insert(exit.at);
            }
        }
        Ok(())
    }
}

fn device_spec(internet: &atoll_topology::Internet, host: HostId) -> Result<DeviceSpec, String> {
    let known = internet.topology().hosts.get(host.0 as usize);
    let known = known.ok_or_else(|| format!("the topology has no host {}", host.0))?;
    let mtu = known.link.mtu.map_or(MTU, u32::from).max(MTU_MIN);
    Ok(DeviceSpec { addresses: vec![known.address], mtu })
}

/// Connects to the container's side of the gate.
async fn knock(namespace: &Arc<Namespace>) -> Result<UnixStream, String> {
    let address = SocketAddrUnix::new_abstract_name(gate::NAME).map_err(|error| error.to_string())?;
    let start = Instant::now();
    loop {
        let inside = Arc::clone(namespace);
        let socket = move || inside.socket(AddressFamily::UNIX, SocketType::STREAM);
        let socket = tokio::task::spawn_blocking(socket).await.map_err(|error| error.to_string())?;
        let socket = socket.map_err(|error| error.to_string())?;
        match connect(&socket, &address) {
            Ok(()) => return Ok(UnixStream::from(socket)),
            Err(error) if start.elapsed() > GATE_LIMIT => {
                return Err(format!("it did not come to its gate: {error}"));
            }
            Err(_) if namespace.is_over() => return Err("its process has ended".to_owned()),
            Err(_) => tokio::time::sleep(KNOCK_PAUSE).await,
        }
    }
}
