//! Small machines for tests: a puppet that plays what a closure says, and worlds to put it in.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atoll_core::control::{Event, EventKind};
use atoll_core::wire::Transport;
use atoll_core::{Deadline, Input, Machine, Output, Pool, Time};
use atoll_sim::{Settings, World};
use atoll_topology::{HostId, Internet, Latency, Population, Topology};

/// What a puppet is called for.
#[derive(Debug)]
pub(crate) enum Cue {
    Input(Input),
    Timeout,
}

/// What a puppet holds in its hands.
pub(crate) struct Hands {
    pub(crate) now: Time,
    pub(crate) wake: Option<Time>,
    pub(crate) pool: Pool,
    outputs: VecDeque<Output>,
}

impl Hands {
    pub(crate) fn send(&mut self, to: impl Into<Transport>, payload: &[u8]) {
        let payload = self.pool.copy(payload);
        self.output(Output::Transmit { to: to.into(), payload });
    }

    pub(crate) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn report(&mut self, attempts: u32) {
        let bootstrap = SocketAddr::from(([192, 0, 2, 1], 1));
        let kind = EventKind::BootstrapSilent { bootstrap, attempts };
        self.output(Output::Event(Event { overlay: "public".into(), kind }));
    }

    pub(crate) fn wake_in(&mut self, span: Duration) {
        self.wake = Some(self.now + span);
    }
}

/// A machine that plays what a closure says.
pub(crate) struct Puppet<F> {
    hands: Hands,
    play: F,
}

impl<F: FnMut(Cue, &mut Hands)> Puppet<F> {
    fn play(&mut self, cue: Cue, now: Time) {
        self.hands.now = now;
        (self.play)(cue, &mut self.hands);
    }
}

impl<F: FnMut(Cue, &mut Hands)> Machine for Puppet<F> {
    fn handle_input(&mut self, input: Input, now: Time) {
        self.play(Cue::Input(input), now);
    }

    fn handle_timeout(&mut self, now: Time) {
        if self.hands.wake.is_some_and(|at| at <= now) {
            self.hands.wake = None;
            self.play(Cue::Timeout, now);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.hands.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.hands.wake.map(|at| Deadline { at, reason: "the puppet's wish" })
    }
}

/// Starts a puppet on a host.
pub(crate) fn play(world: &mut World, host: u32, play: impl FnMut(Cue, &mut Hands) + Send + 'static) {
    let hands = Hands { now: world.now(), wake: None, pool: world.pool().clone(), outputs: VecDeque::new() };
    world.start(HostId(host), Box::new(Puppet { hands, play }));
}

/// A puppet that sends back what it gets.
pub(crate) fn echo(cue: Cue, hands: &mut Hands) {
    if let Cue::Input(Input::Datagram { from, payload }) = cue {
        hands.output(Output::Transmit { to: from, payload });
    }
}

/// A puppet that takes everything and says nothing.
pub(crate) fn silent(_cue: Cue, _hands: &mut Hands) {}

/// Hosts behind nothing, 50 ms from each other one way.
pub(crate) fn open_world(hosts: usize) -> World {
    world_with(hosts, "none", settings())
}

/// Hosts behind a population of NATs, 50 ms from each other one way.
pub(crate) fn world_with(hosts: usize, population: &str, settings: Settings) -> World {
    let latency = Latency::Constant(ONE_WAY);
    let population = Population::named(population).unwrap();
    let topology = Topology::draw(&population, hosts, latency, settings.seed).unwrap();
    let seed = settings.seed;
    World::new(Internet::new(topology, seed).unwrap(), settings)
}

pub(crate) const ONE_WAY: Duration = Duration::from_millis(50);

pub(crate) fn settings() -> Settings {
    Settings { checked: true, ..Settings::new([3; 32]) }
}

pub(crate) fn at(millis: u64) -> Time {
    Time::from_nanos(millis * 1_000_000)
}

pub(crate) fn socket(world: &World, host: u32) -> SocketAddr {
    world.socket(HostId(host)).unwrap()
}

/// A log that puppets and tests share.
pub(crate) struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Log<T> {
    pub(crate) fn push(&self, entry: T) {
        self.0.lock().unwrap().push(entry);
    }

    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}
