//! The loop between the machine and the operating system.
//!
//! One task owns the machine. It reads the clock, hands the machine its inputs, and carries out its outputs;
//! servers reach it through a bounded channel. It decides nothing about the protocol.

mod carried;
mod certificate;
mod clock;
mod control;
mod enrolments;
mod events;
mod expiry;
mod http;
mod interfaces;
mod journal;
mod keeper;
mod metrics;
mod names;
mod process;
mod refusal;
mod requests;
mod revocations;
mod roster;
mod run;
mod signals;
mod sites;
mod socket;
mod streams;
#[cfg(test)]
mod tests;
mod transfer;

use std::net::SocketAddr;
use std::time::Duration;

use atoll_core::config::Config;
use atoll_core::control::{Command, Reply};
use atoll_core::security::Wall;
use atoll_core::wire::Transport;
use atoll_core::{Input, Machine, Output, Pool, Seed, Time};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, interval, sleep_until};

pub use clock::Clock;
pub use enrolments::{Report as EnrolmentReport, Standing};
pub use journal::{EVENTS_MAX, Entry, Page};
pub(crate) use requests::Announce;
pub use run::run;
pub(crate) use run::{rehearse, run_beside, visit};
pub(crate) use signals::asked_to_leave;
pub(crate) use sites::Hosted;
pub use transfer::{Line, RECEIVED_MAX, Received, TRANSFERS_MAX};

pub use crate::enrolment::Via;
use crate::failure::Failure;
use carried::{Arrivals, Departures};
use certificate::Renewed;
use enrolments::{Enrolments, Turn};
use expiry::Expiry;
use interfaces::Watch;
use journal::Journal;
use keeper::Keeper;
use names::Found;
use requests::{Ask, Pending};
use revocations::{Fresh, News};
use roster::Roster;
use signals::Signals;
use socket::Socket;
use streams::{Report, Streams};

/// Datagrams that are taken in one turn, before timers and servers have theirs.
const DATAGRAMS_MAX: usize = 64;
/// How often the machine is told what the wall clock says.
const WALL_CLOCK_LOOK: Duration = Duration::from_secs(60);
/// How long goodbyes may take.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// Makes a machine.
type Make<M> = fn(&Config, &Pool, Seed, Time) -> M;

/// How far the node is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Leaving { until: Time },
    Left { until: Time },
}

/// What reaches the driver from other tasks.
struct Inbox<'a> {
    asks: mpsc::Receiver<Ask>,
    found: mpsc::Receiver<Found>,
    fresh: mpsc::Receiver<Fresh>,
    departures: Departures,
    turns: &'a mut mpsc::Receiver<Turn>,
    announcements: &'a mut mpsc::Receiver<Announce>,
    signals: Signals,
    watch: Watch,
    wall: Interval,
}

/// Why the loop ended.
enum Ended {
    /// Somebody asked the node to leave.
    Left,
    /// There is something that the machine has to be made anew for.
    Turned(Turn),
}

/// The loop and all that it owns.
struct Driver<M> {
    clock: Clock,
    pool: Pool,
    socket: Socket,
    streams: Streams,
    roster: Roster,
    machine: M,
    pending: Pending,
    journal: Journal,
    arrivals: Arrivals,
    local: Vec<SocketAddr>,
    stage: Stage,
    expiry: Expiry,
    enrolments: Enrolments,
    hosted: Option<Hosted>,
    turned: Option<Turn>,
    keeper: Keeper,
}

impl<'a> Inbox<'a> {
    fn new(
        asks: mpsc::Receiver<Ask>,
        (found, fresh): (mpsc::Receiver<Found>, mpsc::Receiver<Fresh>),
        departures: Departures,
        (turns, announcements): (&'a mut mpsc::Receiver<Turn>, &'a mut mpsc::Receiver<Announce>),
    ) -> Result<Self, Failure> {
        let (signals, watch, wall) = (Signals::new()?, Watch::new(), interval(WALL_CLOCK_LOOK));
        Ok(Self { asks, found, fresh, departures, turns, announcements, signals, watch, wall })
    }
}

impl<M: Machine> Driver<M> {
    fn new(clock: Clock, (socket, streams): (Socket, Streams), roster: Roster, make: Make<M>) -> Self {
        let (pool, pending, journal) = (Pool::new(), Pending::default(), Journal::default());
        let streams = streams.with_pool(&pool);
        let config = Config { unix_seconds: clock.wall(), tcp: streams.usage(), ..roster.config() };
        let machine = make(&config, &pool, roster.seed(), clock.now());
        let (local, stage, expiry) = (Vec::new(), Stage::Running, Expiry::new(&roster));
        let (arrivals, enrolments, turned) = (Arrivals::default(), Enrolments::default(), None);
        let hosted = None;
        let keeper = Keeper::new(&roster);
        Self {
            clock,
            pool,
            socket,
            streams,
            roster,
            machine,
            pending,
            journal,
            arrivals,
            local,
            stage,
            expiry,
            enrolments,
            hosted,
            turned,
            keeper,
        }
    }

    /// Tells of the memberships that sites hand out.
    fn with_enrolments(self, enrolments: Enrolments) -> Self {
        Self { enrolments, ..self }
    }

    /// Tells of the site that runs beside it.
    fn with_hosted(self, hosted: Option<Hosted>) -> Self {
        Self { hosted, ..self }
    }

    /// Hands what the ring carries to programs that secure themselves.
    fn with_arrivals(self, arrivals: Arrivals) -> Self {
        Self { arrivals, ..self }
    }

    /// Goes on with what was remembered.
    fn with_journal(self, journal: Journal) -> Self {
        Self { journal, ..self }
    }

    /// What is remembered.
    fn into_journal(self) -> Journal {
        self.journal
    }

    /// Runs until the node has left, for good or to be made anew.
    async fn run(&mut self, inbox: &mut Inbox<'_>) -> Ended {
        self.drain();
        self.look_at_interfaces();
        while !self.is_done() {
            self.fire();
            let deadline = self.clock.instant(self.deadline());
            tokio::select! {
                biased;
                () = sleep_until(deadline) => {}
                name = inbox.signals.next() => self.signalled(name),
                Some(ask) = inbox.asks.recv() => self.ask(ask),
                Some(found) = inbox.found.recv() => self.resolved(found),
                Some(fresh) = inbox.fresh.recv() => self.refresh(fresh),
                Some(announce) = inbox.announcements.recv() => self.announce(announce),
                Some(turn) = inbox.turns.recv(), if self.stage == Stage::Running => self.turn(turn),
                () = inbox.watch.changed() => self.look_at_interfaces(),
                _ = inbox.wall.tick() => self.look_at_wall_clock(),
                Some(carry) = inbox.departures.recv(), if self.socket.is_flushed() => self.depart(carry, inbox),
                report = self.streams.next() => self.take_reports(report),
                () = self.socket.ready() => {}
            }
            self.socket.flush();
            if self.receive() == DATAGRAMS_MAX {
                tokio::task::yield_now().await;
            }
        }
        if !matches!(self.stage, Stage::Left { .. }) {
            tracing::warn!(seconds = LEAVE_MAX.as_secs(), "the goodbyes were not done in time");
        }
        self.turned.take().map_or(Ended::Left, Ended::Turned)
    }

    fn input(&mut self, input: Input) {
        let now = self.clock.now();
        self.machine.handle_input(input, now);
        self.drain();
    }

    /// Runs the timers that are due.
    fn fire(&mut self) {
        let now = self.clock.now();
        if self.machine.poll_timeout().is_some_and(|deadline| deadline.at <= now) {
            self.machine.handle_timeout(now);
            self.drain();
        }
    }

    /// Carries out what the machine wants.
    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Transmit { to, payload } => {
                    tracing::trace!(%to, bytes = payload.len(), "sent");
                    match to {
                        Transport::Udp(to) => self.socket.send(to, payload),
                        Transport::Tcp(to) => self.streams.send(to, payload),
                    }
                }
                Output::Received { overlay, author, payload } => {
                    let (from, bytes) = (author.address, payload.len());
                    tracing::debug!(overlay, %from, bytes, "a payload for no application");
                }
                Output::Carried { overlay, from, payload } => self.arrivals.put(overlay, from, payload),
                Output::Broadcast { overlay, origin, payload } => {
                    let bytes = payload.len();
                    tracing::debug!(overlay, %origin, bytes, "a broadcast for no application");
                }
                Output::Keep { overlay, evidence } => self.keeper.put(overlay, evidence),
                Output::SaltWanted { overlay, number } => {
                    if let Some(name) = self.roster.name(usize::from(overlay)) {
                        self.enrolments.want_salt(&name, number);
                    }
                }
                Output::Reply { id, reply } => {
                    let reply = self.complete(reply);
                    self.pending.answer(id, reply);
                }
                Output::Event(event) => {
                    let now = self.clock.now();
                    events::log(&event, now);
                    self.journal.push(event, now);
                }
            }
        }
        self.keeper.write();
    }

    /// Adds the driver's part to a reply.
    fn complete(&mut self, reply: Reply) -> Reply {
        match reply {
            Reply::Metrics(mut metrics) => {
                metrics.extend(self.socket.metrics());
                metrics.extend(self.streams.metrics());
                metrics.extend(self.arrivals.metrics());
                metrics.extend(self.enrolments.metrics(Wall(self.clock.wall())));
                metrics.extend(self.hosted.iter().flat_map(Hosted::metrics));
                Reply::Metrics(metrics)
            }
            Reply::Left => {
                self.stage = Stage::Left { until: self.clock.now() + LEAVE_MAX };
                Reply::Left
            }
            other => other,
        }
    }

    fn receive(&mut self) -> usize {
        for count in 0..DATAGRAMS_MAX {
            let Some(input) = self.socket.receive(&self.pool) else { return count };
            if let Input::Datagram { from, payload } = &input {
                tracing::trace!(%from, bytes = payload.len(), "received");
            }
            self.input(input);
        }
        DATAGRAMS_MAX
    }

    /// What TCP connections tell, as much as in one turn comes from the socket.
    fn take_reports(&mut self, first: Report) {
        let mut report = first;
        for _ in 1..DATAGRAMS_MAX {
            if let Some(input) = self.streams.take(report) {
                self.input(input);
            }
            let Some(next) = self.streams.try_next() else { return };
            report = next;
        }
        if let Some(input) = self.streams.take(report) {
            self.input(input);
        }
    }

    /// Datagrams of programs that secure themselves, as many as in one turn come from the socket.
    fn depart(&mut self, first: Input, inbox: &mut Inbox<'_>) {
        self.input(first);
        for _ in 1..DATAGRAMS_MAX {
            let Ok(next) = inbox.departures.try_recv() else { return };
            self.input(next);
        }
    }

    fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Command(command, reply) => self.command(command, reply),
            Ask::Events(since, page) => {
                let _ = page.send(self.journal.page(since));
            }
        }
    }

    fn command(&mut self, command: Command, reply: oneshot::Sender<Reply>) {
        if command == Command::Leave {
            tracing::info!(by = "control", "leaving");
            self.turned = None;
            self.leave_within(LEAVE_MAX);
        }
        if let Some(id) = self.pending.attended(reply) {
            self.input(Input::Command { id, command });
        }
    }

    fn announce(&mut self, announce: Announce) {
        if let Some(id) = self.pending.attended(announce.reply) {
            self.input(Input::Announce { id, telling: Box::new(announce.telling) });
        }
    }

    /// The first signal asks for a clean leave, the second for an end at once.
    fn signalled(&mut self, name: &'static str) {
        tracing::info!(by = name, "leaving");
        self.turned = None;
        if self.stage != Stage::Running {
            self.stage = Stage::Left { until: self.clock.now() };
            return;
        }
        self.say_goodbye();
    }

    fn say_goodbye(&mut self) {
        self.leave_within(LEAVE_MAX);
        let id = self.pending.unattended();
        self.input(Input::Command { id, command: Command::Leave });
    }

    /// Something changed that the machine has to be made anew for.
    fn turn(&mut self, turn: Turn) {
        if let Turn::Enrolled { overlay } = &turn {
            tracing::info!(overlay, "starting anew with this membership");
        }
        self.turned = Some(turn);
        self.say_goodbye();
    }

    fn leave_within(&mut self, span: Duration) {
        if self.stage == Stage::Running {
            self.stage = Stage::Leaving { until: self.clock.now() + span };
        }
    }

    fn is_done(&self) -> bool {
        let now = self.clock.now();
        match self.stage {
            Stage::Running => false,
            Stage::Leaving { until } => now >= until,
            Stage::Left { until } => (self.socket.is_flushed() && self.streams.is_flushed()) || now >= until,
        }
    }

    /// When to wake at the latest.
    fn deadline(&self) -> Time {
        let machine = self.machine.poll_timeout().map_or(Time::ZERO + FAR, |deadline| deadline.at);
        match self.stage {
            Stage::Running => machine,
            Stage::Leaving { until } | Stage::Left { until } => machine.min(until),
        }
    }

    fn resolved(&mut self, found: Found) {
        let Found { overlay, bootstraps } = found;
        tracing::debug!(overlay, ?bootstraps, "bootstraps resolved");
        if let Some(overlay) = self.roster.name(overlay) {
            self.input(Input::Bootstraps { overlay, bootstraps });
        }
    }

    fn refresh(&mut self, fresh: Fresh) {
        let Ok(overlay) = u8::try_from(fresh.overlay) else { return };
        match fresh.news {
            News::List(list) => self.input(Input::Revocations { overlay, list }),
            News::Users(list) => self.input(Input::UserList { overlay, list }),
            News::Notice(notice) => self.input(Input::Notice { overlay, notice }),
            News::Epoch(epoch) => self.input(Input::Epoch { overlay, epoch }),
            News::Certificate(Renewed { certificate, key, ends }) => {
                if let Some(name) = self.roster.name(fresh.overlay) {
                    self.expiry.renewed(&name, ends);
                }
                self.input(Input::Credentials { overlay, certificate, key });
            }
        }
    }

    /// It may have been set meanwhile.
    fn look_at_wall_clock(&mut self) {
        let unix_seconds = self.clock.wall();
        self.expiry.look(Wall(unix_seconds));
        self.input(Input::WallClock { unix_seconds });
    }

    fn look_at_interfaces(&mut self) {
        let addresses = interfaces::addresses(self.socket.local());
        if addresses != self.local {
            tracing::debug!(?addresses, "the host's addresses");
            self.local.clone_from(&addresses);
            self.input(Input::LocalAddresses(addresses));
        }
    }
}

/// Further than any uptime: a century.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
