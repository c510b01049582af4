//! The world as its users see it: hosts that run machines, a clock that they move, and what can be asked.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use atoll_core::control::{Command, Event, FailureKind, Reply};
use atoll_core::wire::Address;
use atoll_core::{Evidence, Input, Machine, Pool, RequestId, Rng, Seed, Telling, Time};
use atoll_topology::{DropReason, Fault, FaultReport, HostId, Internet, NewHost, TopologyError};

use crate::counters::{Counters, Traffic};
use crate::crash::{Contained, Crash, Crashes};
use crate::entropy;
use crate::flight::{Flights, Hold};
use crate::heap::Wakes;
use crate::host::{self, Seat};
use crate::observe::{Events, Observer, Sink, Tap};
use crate::received::{Carried, Heard, Kept, Received, Shelf};
use crate::requests::Requests;
use crate::settings::{Settings, Stop};
use crate::stall::{Stalled, Watch};
use crate::tcp::Tcp;
use crate::trace::{Step, Trace};

/// What wall clocks say at time zero: the beginning of 2026, in seconds since 1970.
const EPOCH: u64 = 1_767_225_600;

/// Hosts, the Internet between them and virtual time.
pub struct World {
    pub(crate) settings: Settings,
    pub(crate) internet: Internet,
    pub(crate) now: Time,
    pub(crate) sequence: u64,
    pub(crate) seats: Vec<Seat>,
    pub(crate) flights: Flights,
    pub(crate) hold: Hold,
    pub(crate) tcp: Tcp,
    pub(crate) wakes: Wakes,
    pub(crate) pool: Pool,
    pub(crate) requests: Requests,
    pub(crate) sink: Sink,
    pub(crate) observer: Option<Observer>,
    pub(crate) tap: Option<Tap>,
    pub(crate) trace: Trace,
    pub(crate) received: Shelf<Received>,
    pub(crate) carried: Shelf<Carried>,
    pub(crate) heard: Shelf<Heard>,
    pub(crate) kept: Shelf<Kept>,
    pub(crate) counters: Counters,
    pub(crate) watch: Watch,
    pub(crate) stalled: Option<Stalled>,
    pub(crate) crashes: Crashes,
    rng: Rng,
    /// What OpenSSL draws from while a machine runs.
    pub(crate) entropy: Rng,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World({} hosts at {})", self.seats.len(), self.now)
    }
}

impl World {
    /// A world at time zero in which nothing runs yet.
    #[must_use]
    pub fn new(internet: Internet, settings: Settings) -> Self {
        entropy::install();
        let rng = Rng::new(settings.seed).fork("world");
        let mut world = Self {
            internet,
            now: Time::ZERO,
            sequence: 0,
            seats: Vec::new(),
            flights: Flights::default(),
            hold: Hold::default(),
            tcp: Tcp::default(),
            wakes: Wakes::default(),
            pool: Pool::new(),
            requests: Requests::default(),
            sink: Sink::new(),
            observer: None,
            tap: None,
            trace: Trace::default(),
            received: Shelf::default(),
            carried: Shelf::default(),
            heard: Shelf::default(),
            kept: Shelf::default(),
            counters: Counters::default(),
            watch: Watch::new(settings.stall),
            stalled: None,
            crashes: Crashes::default(),
            entropy: rng.fork("entropy"),
            rng,
            settings,
        };
        world.seat_hosts();
        world
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Whether the trace hash sees what datagrams hold, or only how long they are.
    pub fn trace_contents(&mut self, contents: bool) {
        self.settings.trace_contents = contents;
    }

    /// Shows every payload that a machine hands to its socket from now on to `tap`.
    pub fn tap(&mut self, tap: Tap) {
        self.tap = Some(tap);
    }

    /// Sends a payload from the member on `host` to the member at `to`, end to end, in the overlay at this place.
    pub fn send(&mut self, host: HostId, (overlay, to): (u8, Address), payload: &[u8]) {
        let payload = self.pool.copy(payload);
        self.input(host, Input::Send { overlay, to, payload });
    }

    /// Takes what arrived for applications since the last call, in its order.
    pub fn take_received(&mut self) -> Vec<Received> {
        self.received.take()
    }

    /// Has the ring carry a datagram of a program that secures itself; otherwise as [`World::send`].
    pub fn carry(&mut self, host: HostId, (overlay, to): (u8, Address), payload: &[u8]) {
        let payload = self.pool.copy(payload);
        self.input(host, Input::Carry { overlay, to, payload });
    }

    /// Takes the carried datagrams that arrived since the last call, in their order.
    pub fn take_carried(&mut self) -> Vec<Carried> {
        self.carried.take()
    }

    /// Has the member on `host` say something to all members of the overlay at this place, or to those in a range.
    pub fn broadcast(
        &mut self,
        host: HostId,
        overlay: u8,
        range: Option<(Address, Address)>,
        payload: &[u8],
    ) {
        self.input(host, Input::Broadcast { overlay, range, payload: payload.to_vec() });
    }

    /// Takes the broadcasts that arrived since the last call, in their order.
    pub fn take_heard(&mut self) -> Vec<Heard> {
        self.heard.take()
    }

    /// Hands the member on `host` something that the authority of its group in the overlay at this place signed.
    pub fn hand(&mut self, host: HostId, overlay: u8, evidence: Evidence) {
        let input = match evidence {
            Evidence::Notice(notice) => Input::Notice { overlay, notice },
            Evidence::List(list) => Input::UserList { overlay, list: list.to_vec() },
            Evidence::Epoch(epoch) => Input::Epoch { overlay, epoch },
        };
        self.input(host, input);
    }

    /// Has the node on `host` tell a group's members of revocations; the answer comes when that is over.
    pub fn announce(&mut self, host: HostId, telling: Telling) -> RequestId {
        let id = self.requests.open();
        self.input(host, Input::Announce { id, telling: Box::new(telling) });
        id
    }

    /// Takes what members wanted to be kept since the last call, in its order.
    pub fn take_kept(&mut self) -> Vec<Kept> {
        self.kept.take()
    }

    /// What the wall clocks that are right say now, in seconds since 1970.
    #[must_use]
    pub fn unix_seconds(&self) -> u64 {
        EPOCH + self.now.since(Time::ZERO).as_secs()
    }

    /// What the wall clock of `host` says now, in seconds since 1970.
    #[must_use]
    pub fn wall_clock(&self, host: HostId) -> u64 {
        let off = self.seat(host).map_or(0, |seat| seat.clock_off);
        self.unix_seconds().saturating_add_signed(off)
    }

    /// Steps the wall clock of `host`: from now on it is this many seconds off, whatever starts there. What runs there is told,
    /// as the daemon tells its machine. Virtual time goes on as before.
    pub fn set_clock(&mut self, host: HostId, off_seconds: i64) {
        let Some(seat) = self.seats.get_mut(host.0 as usize) else { return };
        seat.clock_off = off_seconds;
        self.trace.step(Step::Clock, self.now, host);
        self.input(host, Input::WallClock { unix_seconds: self.wall_clock(host) });
    }

    /// The buffers that all machines of this world share.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Makes something for this world, such as a machine: what OpenSSL draws meanwhile follows from the world's seed.
    pub fn make<T>(&mut self, make: impl FnOnce() -> T) -> T {
        entropy::seeded(&mut self.entropy, make)
    }

    /// A seed for the machine that starts next on `host`; another one after each start.
    #[must_use]
    pub fn seed(&self, host: HostId) -> Seed {
        let starts = self.seat(host).map_or(0, |seat| seat.starts);
        self.rng.seed(u64::from(host.0) << 32 | u64::from(starts))
    }

    /// The address that the socket of `host` is bound to; private behind a NAT. None for a host that is not there.
    #[must_use]
    pub fn socket(&self, host: HostId) -> Option<SocketAddr> {
        self.seat(host).map(|seat| seat.socket)
    }

    /// True if a machine runs on `host`, or is leaving.
    #[must_use]
    pub fn is_running(&self, host: HostId) -> bool {
        self.seat(host).is_some_and(|seat| seat.machine.is_some())
    }

    /// The Internet between the hosts, to look at.
    #[must_use]
    pub fn internet(&self) -> &Internet {
        &self.internet
    }

    /// Starts a machine on `host` now; its first input are its local addresses. One that runs there already is killed.
    ///
    /// # Panics
    /// If the Internet has no such host.
    pub fn start(&mut self, host: HostId, machine: Box<dyn Machine + Send>) {
        self.stop(host, Stop::Kill);
        let machine = self.wrap(host, machine);
        let seat = &mut self.seats[host.0 as usize];
        seat.machine = Some(machine);
        seat.starts += 1;
        let socket = seat.socket;
        self.trace.step(Step::Start, self.now, host);
        self.trace.address(socket);
        self.input(host, Input::LocalAddresses(vec![socket]));
    }

    /// Stops what runs on `host`; nothing happens if nothing does.
    pub fn stop(&mut self, host: HostId, how: Stop) {
        if !self.is_running(host) {
            return;
        }
        if how == Stop::Kill {
            return self.remove(host);
        }
        let seat = &mut self.seats[host.0 as usize];
        if seat.leaving.is_none() {
            seat.leaving = Some(self.now + self.settings.grace);
            let id = self.requests.open();
            self.input(host, Input::Command { id, command: Command::Leave });
            self.requests.forget(id);
        }
    }

    /// Runs everything that is due up to and at `until`; the time is `until` then.
    ///
    /// # Errors
    /// The run gets nowhere; the world stays where it stalled, and every later run fails alike.
    pub fn run_until(&mut self, until: Time) -> Result<(), Stalled> {
        while self.advance(until)? {}
        self.now = self.now.max(until);
        Ok(())
    }

    /// Runs for `span`.
    ///
    /// # Errors
    /// As [`World::run_until`].
    pub fn run_for(&mut self, span: Duration) -> Result<(), Stalled> {
        self.run_until(self.now + span)
    }

    /// Runs as long as `going` says so after each event, at most until `until`; `true` if `going` ended it.
    ///
    /// # Errors
    /// As [`World::run_until`].
    pub fn run_while(&mut self, until: Time, mut going: impl FnMut(&Self) -> bool) -> Result<bool, Stalled> {
        while going(self) {
            if !self.advance(until)? {
                self.now = self.now.max(until);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Runs the next event; `false` if there is none.
    ///
    /// # Errors
    /// As [`World::run_until`].
    pub fn step(&mut self) -> Result<bool, Stalled> {
        self.advance(Time::MAX)
    }

    /// Asks a machine now and returns its immediate answer, a failure if it gives none. No time passes.
    pub fn command(&mut self, host: HostId, command: Command) -> Reply {
        let id = self.request(host, command);
        let reply = self.take_reply(id).map(|(_, reply)| reply);
        self.requests.forget(id);
        reply.unwrap_or_else(|| Reply::failed(FailureKind::NoAnswer, "the machine gives no immediate answer"))
    }

    /// Asks a machine now; the answer comes when it comes. [`REQUESTS_MAX`](crate::REQUESTS_MAX) are remembered.
    pub fn request(&mut self, host: HostId, command: Command) -> RequestId {
        let id = self.requests.open();
        if self.is_running(host) {
            self.input(host, Input::Command { id, command });
        } else {
            let reply = Reply::failed(FailureKind::NotRunning, "no machine runs on the host");
            self.requests.answer(id, self.now, reply);
        }
        id
    }

    /// The answer to a request and when it came, once.
    pub fn take_reply(&mut self, id: RequestId) -> Option<(Time, Reply)> {
        self.requests.take(id)
    }

    /// What the machines reported since the last call, in order.
    pub fn take_events(&mut self) -> Vec<(Time, HostId, Event)> {
        self.sink.take()
    }

    /// Says where the machines' reports go from now on.
    pub fn send_events(&mut self, to: Events) {
        self.sink.redirect(to);
    }

    /// Shows the end of every datagram's way to `observer` from now on.
    pub fn observe(&mut self, observer: Observer) {
        self.observer = Some(observer);
    }

    /// Changes the Internet. A running machine whose host has another address now is told so.
    pub fn apply(&mut self, fault: &Fault) -> FaultReport {
        let report = self.internet.apply(fault, self.now.since(Time::ZERO));
        self.trace.step(Step::Fault, self.now, HostId(report.hosts as u32));
        for host in (0..self.seats.len() as u32).map(HostId) {
            let socket = SocketAddr::new(self.internet.host(host).address, self.settings.port);
            let seat = &mut self.seats[host.0 as usize];
            if seat.socket != socket {
                seat.socket = socket;
                self.input(host, Input::LocalAddresses(vec![socket]));
            }
        }
        report
    }

    /// Adds a host to the Internet; nothing runs on it yet.
    ///
    /// # Errors
    /// The Internet has no place for it.
    pub fn add_host(&mut self, new: NewHost) -> Result<HostId, TopologyError> {
        let host = self.internet.add_host(new)?;
        self.seat_hosts();
        Ok(host)
    }

    /// Every machine that panicked so far, if [`Settings::contain_crashes`] says so.
    #[must_use]
    pub fn crashes(&self) -> Vec<Crash> {
        self.crashes.list()
    }

    /// What `host` sent and received at the emulated wire; zeros for a host that is not there.
    #[must_use]
    pub fn traffic(&self, host: HostId) -> Traffic {
        self.seat(host).map(|seat| seat.traffic).unwrap_or_default()
    }

    /// Events so far; cheaper than all counters.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.counters.events
    }

    /// What the world did so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let counters = self.internet.counters();
        let drops = DropReason::ALL.iter().map(|reason| (reason.name(), counters.drops(*reason)));
        Counters {
            drops: drops.filter(|(_, count)| *count > 0).collect(),
            events_lost: self.sink.lost(),
            ..self.counters.clone()
        }
    }

    /// A hash over everything that happened so far: equal for equal seeds, in every process.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    fn wrap(&self, host: HostId, machine: Box<dyn Machine + Send>) -> Box<dyn Machine + Send> {
        let machine = if self.settings.checked { host::checked(machine) } else { machine };
        if self.settings.contain_crashes {
            return Box::new(Contained::new(machine, host, &self.crashes));
        }
        machine
    }

    fn seat(&self, host: HostId) -> Option<&Seat> {
        self.seats.get(host.0 as usize)
    }

    fn seat_hosts(&mut self) {
        let port = self.settings.port;
        let new = self.internet.hosts().skip(self.seats.len());
        self.seats.extend(new.map(|(_, host)| Seat::new(SocketAddr::new(host.address, port))));
        self.wakes.reserve(self.seats.len());
    }
}
