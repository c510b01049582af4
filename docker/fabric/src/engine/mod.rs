//! The moving part: reads packets from the containers' devices, sends them through the model and hands them
//! over when they are due. One thread owns it all; orders come to it as closures.
//!
//! It waits for nothing but packets, the next due instant and orders.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use atoll_topology::{HostId, Internet, Packet};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

mod alarm;
mod handle;
mod lateness;
mod motion;
mod priority;
mod queue;
mod reaper;
mod tally;

pub use handle::{Handle, Stopped};
pub use lateness::Lateness;
pub use tally::{Loss, Tally, Traffic};

use crate::capture::{Capture, Summary};
use crate::clock::Clock;
use crate::namespace::Device;
use crate::packet::LENGTH_MAX;
use alarm::Alarm;
use lateness::Meter;
use queue::DelayQueue;
use reaper::Reaper;

/// Exits remembered until they are asked for.
const EXITS_MAX: usize = 1 << 16;

/// A container that ended while its device was attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The host that it was.
    pub host: HostId,
    /// When its first process ended, on the fabric's clock.
    pub at: Duration,
}

/// A packet on its way.
#[derive(Debug)]
struct Parcel {
    packet: Packet,
    bytes: Vec<u8>,
}

/// A container's end.
#[derive(Debug)]
struct Port {
    device: Device,
    /// Becomes readable when the container ends; a stand-in may have none.
    process: Option<OwnedFd>,
}

/// The model, the devices and what is on its way between them.
#[derive(Debug)]
pub struct Engine {
    clock: Clock,
    internet: Internet,
    ports: Vec<Option<Port>>,
    exits: Vec<Exit>,
    queue: DelayQueue<Parcel>,
    meter: Meter,
    tally: Tally,
    capture: Option<Capture>,
    /// What the last capture that has ended holds.
    captured: Option<Summary>,
    spare: Vec<Vec<u8>>,
    scratch: Vec<u8>,
    alarm: Alarm,
    reaper: Reaper,
    epoll: OwnedFd,
    stopping: bool,
}

/// What an event is about; it travels through the kernel as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Orders,
    Alarm,
    Device(HostId),
    Process(HostId),
}

impl Token {
    fn data(self) -> EventData {
        EventData::new_u64(match self {
            Self::Orders => 0,
            Self::Alarm => 3 << 32,
            Self::Device(HostId(host)) => 1 << 32 | u64::from(host),
            Self::Process(HostId(host)) => 2 << 32 | u64::from(host),
        })
    }

    fn from_data(data: EventData) -> Self {
        let number = data.u64();
        let host = HostId((number & 0xFFFF_FFFF) as u32);
        match number >> 32 {
            1 => Self::Device(host),
            2 => Self::Process(host),
            3 => Self::Alarm,
            _ => Self::Orders,
        }
    }
}

impl Engine {
    /// An engine at rest, with no device.
    ///
    /// # Errors
    /// The kernel has no epoll instance or timer left.
    pub fn new(internet: Internet, clock: Clock) -> io::Result<Self> {
        let (alarm, epoll) = (Alarm::new()?, epoll::create(CreateFlags::CLOEXEC)?);
        epoll::add(&epoll, alarm.timer(), Token::Alarm.data(), EventFlags::IN)?;
        Ok(Self {
            clock,
            internet,
            ports: Vec::new(),
            exits: Vec::new(),
            queue: DelayQueue::default(),
            meter: Meter::new(),
            tally: Tally::default(),
            capture: None,
            captured: None,
            spare: Vec::new(),
            scratch: vec![0; LENGTH_MAX],
            alarm,
            reaper: Reaper::start()?,
            epoll,
            stopping: false,
        })
    }

    /// Connects a host with its device. A device that it had before is closed.
    ///
    /// # Errors
    /// The model has no such host, or the kernel cannot watch the device.
    pub fn attach(&mut self, host: HostId, device: Device, process: Option<OwnedFd>) -> io::Result<()> {
        let index = host.0 as usize;
        if index >= self.internet.topology().hosts.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the topology has no such host"));
        }
        epoll::add(&self.epoll, device.as_fd(), Token::Device(host).data(), EventFlags::IN)?;
        if let Some(process) = &process {
            epoll::add(&self.epoll, process, Token::Process(host).data(), EventFlags::IN)?;
        }
        if self.ports.len() <= index {
            self.ports.resize_with(index + 1, || None);
        }
        let before = self.ports[index].replace(Port { device, process });
        self.retire(before);
        Ok(())
    }

    /// Closes a host's device, and so removes it from its container.
    pub fn detach(&mut self, host: HostId) {
        let port = self.ports.get_mut(host.0 as usize).and_then(Option::take);
        self.retire(port);
    }

    fn retire(&self, port: Option<Port>) {
        let Some(port) = port else { return };
        // Both are open and watched, so taking them out does not fail.
        let _ = epoll::delete(&self.epoll, port.device.as_fd());
        if let Some(process) = &port.process {
            let _ = epoll::delete(&self.epoll, process);
        }
        self.reaper.close(port);
    }

    /// Hosts with a device.
    #[must_use]
    pub fn attached(&self) -> usize {
        self.ports.iter().flatten().count()
    }

    /// Takes the exits seen since the last call.
    pub fn take_exits(&mut self) -> Vec<Exit> {
        std::mem::take(&mut self.exits)
    }

    /// The model, to look at.
    #[must_use]
    pub fn internet(&self) -> &Internet {
        &self.internet
    }

    /// The model, to change.
    pub fn internet_mut(&mut self) -> &mut Internet {
        &mut self.internet
    }

    /// What passed so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Begins a host's traffic at zero again.
    pub fn forget_traffic(&mut self, host: HostId) {
        self.tally.forget(host);
    }

    /// How late packets were handed over so far.
    #[must_use]
    pub fn lateness(&self) -> Lateness {
        self.meter.summary()
    }

    /// Begins to measure lateness and traffic anew.
    pub fn forget_counts(&mut self) {
        self.meter = Meter::new();
        self.tally = Tally::default();
    }

    /// Captures every packet from now on.
    ///
    /// # Errors
    /// One goes on already; the new one is given back.
    pub fn begin_capture(&mut self, capture: Capture) -> Result<(), Box<Capture>> {
        match self.capture {
            Some(_) => Err(Box::new(capture)),
            None => {
                self.capture = Some(capture);
                Ok(())
            }
        }
    }

    /// Captures no more. What is taken out still has to be ended, and its summary kept.
    pub fn take_capture(&mut self) -> Option<Capture> {
        self.capture.take()
    }

    /// Keeps what a capture that was taken out holds.
    pub fn keep_captured(&mut self, summary: Summary) {
        self.captured = Some(summary);
    }

    /// What the capture holds that goes on, else the last one that has ended.
    #[must_use]
    pub fn captured(&self) -> Option<Summary> {
        self.capture.as_ref().map(Capture::summary).or_else(|| self.captured.clone())
    }

    /// Packets on their way.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    fn ended(&mut self, host: HostId) {
        let at = self.now();
        self.detach(host);
        if self.exits.len() < EXITS_MAX {
            self.exits.push(Exit { host, at });
        }
    }
}
