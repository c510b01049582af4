//! Everything that a node needs, made in the order in which it can fail; then the loop.

#[cfg(debug_assertions)]
use atoll_core::Checked;
use atoll_core::config::Config;
use atoll_core::rng::numbered;
use atoll_core::security::Wall;
use atoll_core::{Node, Pool, Seed, Time};
use rustix::rand::{GetRandomFlags, getrandom};
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

use super::carried::{Exchange, Memberships};
use super::certificate;
use super::control::{self, ControlSite};
use super::enrolments::{self, Enrolments, Turn};
use super::http::{Listener, Server};
use super::journal::Journal;
use super::metrics::MetricsSite;
use super::names::{self, Found};
use super::requests::{self, Announce, Asker};
use super::revocations::{self, Fresh, Look, Watched};
use super::roster::{Roster, Start};
use super::sites::{self, Hosted, Known};
use super::socket::Socket;
use super::streams::Streams;
use super::transfer::{Receipts, Transfers};
use super::{Clock, Driver, Ended, Inbox};
use crate::config::{CONTROL_DEFAULT, Endpoint, Listen, Settings};
use crate::enrolment::Ring;
use crate::failure::Failure;
use crate::identity::Identity;

/// Ports of the system's choice that are tried for UDP and TCP at once.
const PORTS_TRIED: usize = 8;
/// Lookups that wait for the driver.
const FOUND_MAX: usize = 16;
/// Revocation lists and certificates that wait for it.
const FRESH_MAX: usize = 1;

/// Runs a node until a signal or a command lets it leave.
///
/// # Errors
/// If a socket cannot be bound or the identity cannot be used; nothing is left behind then. If the membership that it was
/// started for is refused.
pub async fn run(settings: Settings, clock: Clock) -> Result<(), Failure> {
    let (_, announcements) = mpsc::channel(1);
    run_beside(settings, clock, (None, announcements)).await
}

/// Takes the places without which the node does not start, and gives them back: what is wrong with them is said before a
/// certificate or the file of a link is asked for.
///
/// # Errors
/// As [`run`].
pub(crate) fn rehearse(settings: &Settings) -> Result<(), Failure> {
    let socket = Socket::bind(settings.listen)?;
    let servers = bind_servers(settings)?;
    drop((socket, servers));
    Ok(())
}

/// The same beside a site, which members of the first overlay find and call if that is a public one, and which has members of
/// its groups told something.
///
/// # Errors
/// As [`run`].
pub(crate) async fn run_beside(
    settings: Settings,
    clock: Clock,
    (hosted, mut announcements): (Option<Hosted>, mpsc::Receiver<Announce>),
) -> Result<(), Failure> {
    let settings = settings.with_defaults();
    let clock = clock.dilated(settings.dilation.map_or(1, |dilation| dilation.0));
    // What is wrong there is said before anybody asks for a certificate.
    drop(Receipts::open(&settings, clock)?);
    rehearse(&settings)?;
    let (enrolments, mut turns) = Enrolments::start(&settings, clock)?;
    enrolments.first_answers().await;
    let (seed, journal, known) = (seed(&settings)?, Journal::default(), Known::default());
    let mut round = Round { seed, settings, clock, enrolments, journal, hosted, known, is_visit: false };
    loop {
        // What is told by now, the next round sees by itself.
        while let Ok(turn) = turns.try_recv() {
            turn.refused()?;
        }
        match round.run((&mut turns, &mut announcements)).await? {
            Ended::Left => break,
            Ended::Turned(turn) => turn.refused()?,
        }
    }
    tracing::info!(seconds = clock.now().as_secs_f64(), "left");
    Ok(())
}

/// Carries out what may have to wait for a node in the public overlay: one is there from when it is waited for (`waits`) until it
/// is done.
///
/// # Errors
/// As [`run`], or somebody has the node leave before.
pub(crate) async fn visit<T>(
    settings: Settings,
    clock: Clock,
    (ring, mut waits): (watch::Sender<Option<Arc<dyn Ring>>>, watch::Receiver<bool>),
    wanted: impl Future<Output = T>,
) -> Result<T, Failure> {
    let mut wanted = pin!(wanted);
    tokio::select! {
        done = &mut wanted => return Ok(done),
        Ok(_) = waits.wait_for(|waits| *waits) => {}
    }
    let settings = Settings { control: Some(Endpoint::Off), metrics: Some(Endpoint::Off), ..settings };
    let (seed, journal, known) = (seed(&settings)?, Journal::default(), Known::default());
    let (enrolments, hosted) = (Enrolments::none(ring), None);
    let mut round = Round { seed, settings, clock, enrolments, journal, hosted, known, is_visit: true };
    let ((turn, mut turns), (_, mut announcements)) = (mpsc::channel(1), mpsc::channel(1));
    let mut running = pin!(round.run((&mut turns, &mut announcements)));
    tokio::select! {
        ended = &mut running => {
            ended?;
            Err(Failure::new("the public overlay", "the node left it before it was done there"))
        }
        done = &mut wanted => {
            let _ = turn.send(Turn::Done).await;
            running.await?;
            Ok(done)
        }
    }
}

/// What goes on when the machine is made anew.
struct Round {
    settings: Settings,
    seed: Seed,
    clock: Clock,
    enrolments: Enrolments,
    journal: Journal,
    hosted: Option<Hosted>,
    known: Known,
    /// It is over once something was fetched: nobody is to take it for the node.
    is_visit: bool,
}

/// The UDP socket, and TCP at the same port if it is wanted. Where the system chooses, it chooses one that is free for both.
fn bind_ports(settings: &Settings) -> Result<(Socket, Streams), Failure> {
    let (wants_tcp, listen) = (settings.tcp.unwrap_or(true), settings.listen);
    if wants_tcp && listen.is_some_and(|Listen(address)| address.port() == 0) {
        for _ in 1..PORTS_TRIED {
            let socket = Socket::bind(listen)?;
            if let Ok(streams) = Streams::listening(socket.local()) {
                return Ok((socket, streams));
            }
        }
    }
    let socket = Socket::bind(listen)?;
    let streams = if wants_tcp { Streams::bind(socket.local()) } else { Streams::off() };
    Ok((socket, streams))
}

impl Round {
    /// Runs the memberships that have their certificates.
    async fn run(
        &mut self,
        inboxes: (&mut mpsc::Receiver<Turn>, &mut mpsc::Receiver<Announce>),
    ) -> Result<Ended, Failure> {
        let now = Wall(self.clock.wall());
        let settings = enrolments::present(&self.settings, now)?;
        let (socket, streams) = bind_ports(&settings)?;
        let (control, metrics) = bind_servers(&settings)?;
        self.stay_at(&socket, [&control, &metrics])?;
        let identity = settings.identity.as_deref().map(Identity::load_or_create).transpose()?;
        let roster = Roster::new(settings.clone(), identity.as_ref(), Start { seed: self.seed, now })?;
        let (asker, asks) = requests::channel();
        let (members, transfers, exchange) = self.carried(&settings, &roster, &asker)?;
        if self.is_visit {
            tracing::info!("in the public overlay, for the file of the link");
        } else {
            announce(&socket, &roster, [&control, &metrics]);
        }

        let enrolments = self.enrolments.clone();
        let servers = [
            control.map(|listener| {
                let tcp = matches!(listener, Listener::Tcp(_));
                let enrolments = enrolments.clone();
                Server::start(
                    listener,
                    ControlSite { asker: asker.clone(), transfers, enrolments, tcp },
                    self.clock,
                )
            }),
            metrics.map(|listener| {
                let site = MetricsSite { asker: asker.clone(), enrolments: enrolments.clone() };
                Server::start(listener, site, self.clock)
            }),
        ];
        let followed = (follow_names(&settings), follow_groups(&settings, &roster, self));
        let told = (&asker, self.clock, &self.known);
        enrolments.set_ring(sites::ring(&settings, &members, told));
        let announced = sites::announce(&settings, &members, (&asker, self.hosted.as_ref()));
        let mut inbox = Inbox::new(asks, followed, exchange.departures, inboxes)?;
        let mut driver = Driver::new(self.clock, (socket, streams), roster, member)
            .with_arrivals(exchange.arrivals)
            .with_enrolments(enrolments)
            .with_hosted(self.hosted.clone())
            .with_journal(std::mem::take(&mut self.journal));
        let ended = driver.run(&mut inbox).await;
        self.enrolments.set_ring(None);
        drop(announced);
        self.journal = driver.into_journal();
        drop(inbox);
        for server in servers.into_iter().flatten() {
            server.stop().await;
        }
        // Tasks that were ended let go of their sockets in a turn of their own.
        tokio::task::yield_now().await;
        Ok(ended)
    }

    /// The services of this node that other members come to over the ring.
    fn carried(
        &self,
        settings: &Settings,
        roster: &Roster,
        asker: &Asker,
    ) -> Result<(Memberships, Transfers, Exchange), Failure> {
        let receipts = Receipts::open(settings, self.clock)?;
        let has_door = sites::public(settings).is_some();
        let services = |number| {
            let door = self.hosted.as_ref().filter(|_| number == 0 && has_door).map(Hosted::door);
            [receipts.service()].into_iter().chain(door).collect()
        };
        let (members, exchange) = Memberships::start(roster, asker, services);
        let transfers = Transfers::new(members.clone(), &receipts);
        Ok((members, transfers, exchange))
    }

    /// The next round is where this one is, also at ports that the kernel chose.
    fn stay_at(
        &mut self,
        socket: &Socket,
        [control, metrics]: [&Option<Listener>; 2],
    ) -> Result<(), Failure> {
        let place = |listener: &Option<Listener>| {
            let Some(listener) = listener else { return Ok(Endpoint::Off) };
            listener.local().parse().map_err(|why: String| Failure::new("the node's servers", why))
        };
        self.settings.listen = Some(Listen(socket.local()));
        self.settings.control = Some(place(control)?);
        self.settings.metrics = Some(place(metrics)?);
        Ok(())
    }
}

/// The machine; a development build asserts the laws of the trait around it.
#[cfg(debug_assertions)]
fn member(config: &Config, pool: &Pool, seed: Seed, now: Time) -> Checked<Node> {
    Checked::new(Node::new(config, pool, seed, now))
}

/// The machine.
#[cfg(not(debug_assertions))]
fn member(config: &Config, pool: &Pool, seed: Seed, now: Time) -> Node {
    Node::new(config, pool, seed, now)
}

fn bind_servers(settings: &Settings) -> Result<(Option<Listener>, Option<Listener>), Failure> {
    let default = || CONTROL_DEFAULT.parse().expect("the default is an endpoint");
    let control: Endpoint = settings.control.clone().unwrap_or_else(default);
    control::check(&control)?;
    let metrics = settings.metrics.clone().unwrap_or(Endpoint::Off);
    Ok((Listener::bind("control", &control)?, Listener::bind("metrics", &metrics)?))
}

fn seed(settings: &Settings) -> Result<Seed, Failure> {
    if let Some(number) = settings.seed {
        return Ok(numbered(number));
    }
    // The system call itself: `/dev` may be empty where the daemon runs. 32 bytes come whole (getrandom(2)).
    let mut seed = Seed::default();
    getrandom(&mut seed, GetRandomFlags::empty())
        .map_err(|why| Failure::new("the system's randomness", why))?;
    Ok(seed)
}

/// One line that says where everything is; ports that were 0 are known now.
fn announce(socket: &Socket, roster: &Roster, [control, metrics]: [&Option<Listener>; 2]) {
    let place =
        |listener: &Option<Listener>| listener.as_ref().map_or_else(|| "off".to_owned(), Listener::local);
    for (overlay, place) in roster.members() {
        tracing::info!(overlay, address = %place.address, security = %place.security, "member");
    }
    tracing::info!(listen = %socket.local(), control = place(control), metrics = place(metrics), "ready");
}

fn follow_names(settings: &Settings) -> mpsc::Receiver<Found> {
    let (sender, receiver) = mpsc::channel(FOUND_MAX);
    for (overlay, member) in settings.overlays.iter().enumerate() {
        if names::has_names(&member.bootstraps) {
            tokio::spawn(names::follow(overlay, member.bootstraps.clone(), sender.clone()));
        }
    }
    receiver
}

fn follow_groups(settings: &Settings, roster: &Roster, round: &Round) -> mpsc::Receiver<Fresh> {
    let (sender, receiver) = mpsc::channel(FRESH_MAX);
    let members = settings.overlays.iter().zip(roster.members()).enumerate();
    for (overlay, (member, (name, place))) in members {
        let Some(group) = &member.group else { continue };
        let look = || Look::new(group.poll.0, round.enrolments.written(name));
        let watched = Watched::new(name, group, place);
        tokio::spawn(revocations::follow(overlay, watched, sender.clone(), look()));
        tokio::spawn(round.enrolments.follow_site(name, overlay, sender.clone()));
        if let Some(watched) = certificate::Watched::new(name, (group, member.security), place) {
            let when = (look(), round.clock);
            tokio::spawn(certificate::follow(overlay, watched, sender.clone(), when));
        }
    }
    receiver
}
