//! Everything that a node needs, made in the order in which it can fail; then the loop.

#[cfg(debug_assertions)]
use atoll_core::Checked;
use atoll_core::config::Config;
use atoll_core::rng::numbered;
use atoll_core::security::Wall;
use atoll_core::{Node, Pool, Seed, Time};
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::sync::mpsc;

use super::certificate;
use super::control::{self, ControlSite};
use super::http::{Listener, Server};
use super::metrics::MetricsSite;
use super::names::{self, Found};
use super::requests;
use super::revocations::{self, Fresh, Watched};
use super::roster::{Roster, Start};
use super::socket::Socket;
use super::streams::Streams;
use super::transfer::Transfers;
use super::{Clock, Driver, Inbox};
use crate::config::{CONTROL_DEFAULT, Endpoint, Settings};
use crate::failure::Failure;
use crate::identity::Identity;

/// Lookups that wait for the driver.
const FOUND_MAX: usize = 16;
/// Revocation lists and certificates that wait for it.
const FRESH_MAX: usize = 1;

/// Runs a node until a signal or a command lets it leave.
///
/// # Errors
/// If a socket cannot be bound or the identity cannot be used. Nothing is left behind then.
pub async fn run(settings: Settings, clock: Clock) -> Result<(), Failure> {
    let settings = settings.with_defaults();
    let socket = Socket::bind(settings.listen)?;
    let streams = if settings.tcp.unwrap_or(true) { Streams::bind(socket.local()) } else { Streams::off() };
    let (control, metrics) = bind_servers(&settings)?;
    let identity = settings.identity.as_deref().map(Identity::load_or_create).transpose()?;
    let start = Start { seed: seed(&settings)?, now: Wall(clock.wall()) };
    let roster = Roster::new(settings.clone(), identity.as_ref(), start)?;
    let (asker, asks) = requests::channel();
    let (transfers, exchange) = Transfers::start(&settings, &roster, &asker, clock)?;
    announce(&socket, &roster, [&control, &metrics]);

    let servers = [
        control.map(|listener| {
            let tcp = matches!(listener, Listener::Tcp(_));
            Server::start(listener, ControlSite { asker: asker.clone(), transfers, tcp })
        }),
        metrics.map(|listener| Server::start(listener, MetricsSite(asker.clone()))),
    ];
    let (found, fresh) = (follow_names(&settings), follow_groups(&settings, &roster, clock));
    let mut inbox = Inbox::new(asks, found, fresh, exchange.departures)?;
    Driver::new(clock, (socket, streams), roster, member)
        .with_arrivals(exchange.arrivals)
        .run(&mut inbox)
        .await;
    drop(inbox);
    for server in servers.into_iter().flatten() {
        server.stop().await;
    }
    tracing::info!(seconds = clock.now().as_secs_f64(), "left");
    Ok(())
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

fn follow_groups(settings: &Settings, roster: &Roster, clock: Clock) -> mpsc::Receiver<Fresh> {
    let (sender, receiver) = mpsc::channel(FRESH_MAX);
    let members = settings.overlays.iter().zip(roster.members()).enumerate();
    for (overlay, (member, (name, place))) in members {
        let Some(group) = &member.group else { continue };
        let watched = Watched::new(name, group, place);
        tokio::spawn(revocations::follow(overlay, watched, sender.clone()));
        if let Some(watched) = certificate::Watched::new(name, (group, member.security), place) {
            tokio::spawn(certificate::follow(overlay, watched, sender.clone(), clock));
        }
    }
    receiver
}
