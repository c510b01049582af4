//! Windows into a run: what becomes of each datagram, and what the machines report.

use std::fmt;
use std::net::SocketAddr;

use atoll_core::Time;
use atoll_core::control::Event;
use atoll_topology::{DropReason, HostId};

/// Events that a world keeps for [`World::take_events`](crate::World::take_events). When it is full, new ones are
/// counted and lost.
pub const EVENTS_MAX: usize = 1 << 20;

/// Hears an event of the machine on a host.
pub type Listener = Box<dyn FnMut(Time, HostId, &Event) + Send>;

/// Where machines' events go.
pub enum Events {
    /// Kept until they are taken, at most [`EVENTS_MAX`].
    Keep,
    /// Nowhere.
    Off,
    /// To a function, at once. It sees them in the order in which they happen.
    Call(Listener),
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keep => "Keep",
            Self::Off => "Off",
            Self::Call(_) => "Call",
        })
    }
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The machine of this host took it.
    Delivered(HostId),
    /// The Internet lost it.
    Dropped(DropReason),
    /// The Internet sent it back with an error.
    Returned,
    /// It reached this host, and nobody listened.
    Unclaimed(HostId),
    /// The sender's socket could not send it.
    Unsent,
}

/// The end of one datagram's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When it ended.
    pub time: Time,
    /// The host that sent it.
    pub sender: HostId,
    /// Its source, as seen where it ended.
    pub source: SocketAddr,
    /// Its destination, as seen where it ended.
    pub destination: SocketAddr,
    /// Bytes, IP and UDP headers counted.
    pub length: u32,
    /// How it ended.
    pub fate: Fate,
}

/// Sees the end of every datagram's way.
pub type Observer = Box<dyn FnMut(&Observation) + Send>;

/// Sees what every machine hands to its socket: the host and the payload, before any NAT or loss.
pub type Tap = Box<dyn FnMut(HostId, &[u8]) + Send>;

/// Keeps events or passes them on.
#[derive(Debug)]
pub(crate) struct Sink {
    to: Events,
    kept: Vec<(Time, HostId, Event)>,
    lost: u64,
}

impl Sink {
    pub(crate) fn new() -> Self {
        Self { to: Events::Keep, kept: Vec::new(), lost: 0 }
    }

    pub(crate) fn redirect(&mut self, to: Events) {
        self.to = to;
    }

    pub(crate) fn put(&mut self, now: Time, host: HostId, event: Event) {
        match &mut self.to {
            Events::Keep if self.kept.len() < EVENTS_MAX => self.kept.push((now, host, event)),
            Events::Keep => self.lost += 1,
            Events::Off => {}
            Events::Call(call) => call(now, host, &event),
        }
    }

    pub(crate) fn take(&mut self) -> Vec<(Time, HostId, Event)> {
        std::mem::take(&mut self.kept)
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }
}
